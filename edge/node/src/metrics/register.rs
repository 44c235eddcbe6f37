//! Registers metrics, each with its help, so that all of them are there at zero from the start.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Bounds of latencies, in seconds; those of the requirements (0.1, 0.2, 0.5) are among them.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of a loop's turns, in seconds. Few, as each loop has them.
const TURN_BUCKETS: [f64; 7] = [0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0];

/// The name of the one metric with [`TURN_BUCKETS`].
pub(super) const TURN: &str = "godwit_loop_turn_seconds";

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A metric's one label, if it has one.
pub(super) type OneLabel = Option<(&'static str, &'static str)>;

/// One node's recorder. Never the process's: several nodes may run in one process, each with figures of its own.
pub(super) struct Register {
    recorder: PrometheusRecorder,
}

impl Register {
    pub(super) fn new() -> Register {
        // Both lists of bounds are constants that are not empty, which is all that the builder asks for.
        let builder = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS).unwrap_or_default();
        let builder =
            builder.set_buckets_for_metric(Matcher::Full(TURN.to_owned()), &TURN_BUCKETS).unwrap_or_default();
        Register { recorder: builder.build_recorder() }
    }

    pub(super) fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }

    pub(super) fn counter(&self, name: &'static str, help: &'static str, label: OneLabel) -> Counter {
        self.recorder.describe_counter(name.into(), None, help.into());
        self.recorder.register_counter(&key(name, label), &METADATA)
    }

    pub(super) fn gauge(&self, name: &'static str, help: &'static str, label: OneLabel) -> Gauge {
        self.recorder.describe_gauge(name.into(), None, help.into());
        self.recorder.register_gauge(&key(name, label), &METADATA)
    }

    pub(super) fn histogram(&self, name: &'static str, help: &'static str, label: OneLabel) -> Histogram {
        self.recorder.describe_histogram(name.into(), None, help.into());
        self.recorder.register_histogram(&key(name, label), &METADATA)
    }

    /// A loop's histogram: loops have numbers, so that the label's values are as few as cores.
    pub(super) fn of_loop(&self, name: &'static str, help: &'static str, loop_no: u8) -> Histogram {
        self.recorder.describe_histogram(name.into(), None, help.into());
        let label = Label::new("loop", loop_no.to_string());
        self.recorder.register_histogram(&Key::from_parts(name, vec![label]), &METADATA)
    }
}

fn key(name: &'static str, label: OneLabel) -> Key {
    Key::from_parts(
        name,
        label.map(|(key, value)| Label::from_static_parts(key, value)).into_iter().collect::<Vec<_>>(),
    )
}
