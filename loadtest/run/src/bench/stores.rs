//! The same whole node on three stores, in one sitting: its own on disk, a FoundationDB of one server, one of three with two copies of
//! everything. Servers, node and load share the machine, and each store has it to itself while it is measured.

use anyhow::{Context, Result, ensure};
use loadtest_cluster::{Cluster, Shape, StoreOfNode};
use loadtest_figures::Cores;

use super::{Figures, Setting, load};

/// Messages a second that every store is to hold, so that latencies can be compared, and those that show where it ends.
const CALM: u32 = 200;
const BUSY: u32 = 1_000;

/// Less than this share of a rate delivered, and what is late grows as long as it lasts: the latencies are those of a queue.
const HELD: f64 = 0.95;

/// A share of the machine's cores. With more of it in use by others a run says nothing.
const OTHERS_MAX: f64 = 0.25;

/// What is kept of the loads' figures.
const KEPT: [&str; 12] = [
    "delivered_per_s_w8",
    "latency_p50_ms_w8",
    "latency_p99_ms_w8",
    "server_cpu_us_per_message_w8",
    "delivered_per_s_200ps",
    "latency_p50_ms_200ps",
    "latency_p99_ms_200ps",
    "delivered_per_s_1000ps",
    "latency_p50_ms_1000ps",
    "latency_p99_ms_1000ps",
    "server_cpu_us_per_message_1000ps",
    "store_transactions_per_message_1000ps",
];

/// One store's: eight messages under way in each pair, then two rates.
///
/// # Errors
/// Those of the loads, a cluster that does not start, or others that use the machine.
pub(super) fn node(setting: &Setting, shape: Option<Shape>, figures: &mut Figures) -> Result<()> {
    let name = match shape {
        None => "embedded",
        Some(Shape::One) => "one",
        Some(Shape::Three) => "three",
    };
    let cluster = shape.map(Cluster::start).transpose().context("there is no cluster")?;
    let pids = cluster.as_ref().map(Cluster::pids).unwrap_or_default();
    let before = Cores::now(&pids);
    let mut own = Figures::new();
    for (number, load) in LOADS.iter().enumerate() {
        let dir = tempfile::tempdir().context("there is no room for a node's data")?;
        let store = match &cluster {
            Some(cluster) => format!("fdb:{}", cluster.cluster_file().display()),
            // Said, so that no variable of tests chooses another.
            None => format!("embedded:{}", dir.path().join("store").display()),
        };
        let store = StoreOfNode { store, prefix: format!("bench{number}") };
        load(&Setting { store: Some(store), ..setting.clone() }, &mut own)?;
    }
    if let Some((before, after)) = before.zip(Cores::now(&pids)) {
        others(setting, after.others_since(&before), name, figures)?;
    }
    keep(name, &own, figures);
    Ok(())
}

type Load = fn(&Setting, &mut Figures) -> Result<()>;

const LOADS: [Load; 3] = [
    |setting, figures| load::closed(setting, 8, figures),
    |setting, figures| load::open(setting, CALM, figures),
    |setting, figures| load::open(setting, BUSY, figures),
];

fn others(setting: &Setting, others: f64, name: &str, figures: &mut Figures) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    eprintln!("others used {others:.2} of {cores} cores meanwhile");
    let is_quiet = others <= OTHERS_MAX * cores as f64;
    ensure!(is_quiet || setting.quick, "others used {others:.2} of {cores} cores: the run says nothing");
    figures.insert(format!("fdb_{name}_node_others_cores"), others);
    Ok(())
}

/// Takes over what is kept, under the store's name, and says of a rate that was not held what its latencies are.
fn keep(name: &str, own: &Figures, figures: &mut Figures) {
    for rate in [CALM, BUSY] {
        let delivered = own.get(&format!("delivered_per_s_{rate}ps")).copied().unwrap_or_default();
        if delivered < HELD * f64::from(rate) {
            eprintln!(
                "NOT HELD: {name}: {delivered:.0} delivered of {rate} a second; latencies at this rate are those of a queue that grows"
            );
        }
    }
    for key in KEPT {
        // One that is missing is missed by whoever asked for it.
        if let Some(value) = own.get(key) {
            figures.insert(format!("fdb_{name}_{key}"), *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_store_carry_its_name_and_only_the_chosen_are_kept() {
        let own = [("delivered_per_s_w8", 7.0), ("latency_p95_ms_w8", 1.0), ("datagrams_per_message", 3.0)];
        let own: Figures = own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut figures = Figures::new();
        keep("one", &own, &mut figures);
        assert_eq!(figures, Figures::from([("fdb_one_delivered_per_s_w8".to_owned(), 7.0)]));
    }

    #[test]
    fn a_machine_that_others_use_makes_a_run_invalid_unless_it_is_a_short_one() {
        let setting = |quick| Setting { godwit: "godwit".into(), quick, store: None };
        let mut figures = Figures::new();
        assert!(others(&setting(false), 1e3, "one", &mut figures).is_err() && figures.is_empty());
        others(&setting(false), 0.0, "one", &mut figures).expect("quiet");
        others(&setting(true), 1e3, "three", &mut figures).expect("short");
        assert_eq!(figures.len(), 2);
    }
}
