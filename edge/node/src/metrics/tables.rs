//! What is published of plain numbers that others count: for each metric its name, its help, and where its value is.

use std::time::Duration;

use store::StoreStats;
use store::embedded::WriteStats;
use store::recent::RecentStats;
use wire_link::tls::SessionStats;

use super::process::Process;
use super::register::OneLabel;

/// One metric read from an `S`.
pub(super) struct Row<S> {
    pub(super) name: &'static str,
    pub(super) label: OneLabel,
    pub(super) help: &'static str,
    pub(super) read: fn(&S) -> u64,
}

/// What a loop says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoopState {
    pub(crate) node: edge_proto::Counters,
    pub(crate) link: wire_link::Counters,
    pub(crate) udp: wire_udp::Stats,
    pub(crate) links: usize,
    pub(crate) handshakes: usize,
    pub(crate) accounts: usize,
    pub(crate) effects: usize,
    pub(crate) hints_lost: u64,
}

/// What the process holds beside its loops.
pub(super) struct Shared {
    pub(super) store: StoreStats,
    pub(super) writes: WriteStats,
    pub(super) recent: RecentStats,
    pub(super) sessions: SessionStats,
}

macro_rules! rows {
    ($state:ty: $($name:literal $([$key:literal = $value:literal])?, $read:expr, $help:literal;)*) => {
        &[$(Row::<$state> {
            name: $name,
            label: rows!(@label $($key, $value)?),
            help: $help,
            read: $read,
        }),*]
    };
    (@label) => { None };
    (@label $key:literal, $value:literal) => { Some(($key, $value)) };
}

/// Counters of a loop.
pub(super) const LOOP_COUNTERS: &[Row<LoopState>] = rows! { LoopState:
    "godwit_connections_opened_total", |s| s.link.accepted, "Connections whose handshake was begun.";
    "godwit_connections_established_total", |s| s.link.connected, "Connections whose handshake was completed.";
    "godwit_connections_closed_total", |s| s.link.closed, "Connections that ended, unfinished handshakes included.";
    "godwit_newcomers_refused_total" ["reason" = "address"], |s| s.link.refused_by_address, "Newcomers turned away.";
    "godwit_newcomers_refused_total" ["reason" = "full"], |s| s.link.refused - s.link.refused_by_address, "Newcomers turned away.";
    "godwit_retry_sent_total", |s| s.link.retried, "Newcomers who were asked to prove their address first.";
    "godwit_migrations_total", |s| s.link.moved, "Connections whose peer's address changed.";
    "godwit_oversized_total", |s| s.link.oversized, "Connections closed for a frame over the cap.";
    "godwit_frames_received_total", |s| s.link.frames_in, "Frames received.";
    "godwit_frames_sent_total", |s| s.link.frames_out, "Frames sent.";
    "godwit_datagrams_received_total", |s| s.udp.datagrams_in, "Datagrams received.";
    "godwit_received_bytes_total", |s| s.udp.bytes_in, "Bytes of datagrams received.";
    "godwit_datagrams_sent_total", |s| s.udp.datagrams_out, "Datagrams sent.";
    "godwit_sent_bytes_total", |s| s.udp.bytes_out, "Bytes of datagrams sent.";
    "godwit_datagrams_unsent_total", |s| s.udp.dropped_out, "Datagrams that the system refused to send.";
    "godwit_icmp_errors_total", |s| s.udp.icmp_errors, "Reports that a peer cannot be reached.";
    "godwit_datagrams_handed_over_total", |s| s.udp.handed_over, "Datagrams handed to the loop of their connection.";
    "godwit_datagrams_handover_dropped_total", |s| s.udp.handover_dropped, "Datagrams dropped because their loop takes no more.";
    "godwit_loop_wakeups_total", |s| s.udp.wakeups, "Times that loops woke up.";
    "godwit_hellos_total" ["kind" = "device"], |s| s.node.hellos, "Hellos accepted.";
    "godwit_hellos_total" ["kind" = "anonymous"], |s| s.node.hellos_anonymous, "Hellos accepted.";
    "godwit_malformed_frames_total", |s| s.node.malformed, "Frames that did not verify.";
    "godwit_requests_total", |s| s.node.requests, "Requests begun; messages, cursor moves and typing are none.";
    "godwit_early_data_total" ["outcome" = "accepted"], |s| s.node.early_accepted, "Hellos in early data.";
    "godwit_early_data_total" ["outcome" = "refused"], |s| s.node.early_refused, "Hellos in early data.";
    "godwit_early_data_total" ["outcome" = "counted_out"], |s| s.node.early_counted_out, "Hellos in early data.";
    "godwit_appends_total", |s| s.node.appends, "Messages committed for the first time.";
    "godwit_append_repeats_total", |s| s.node.repeats, "Messages that had been committed before.";
    "godwit_cursor_moves_total", |s| s.node.cursor_moves, "Cursor moves committed.";
    "godwit_deliveries_total", |s| s.node.deliveries, "Entries handed to recipients' streams.";
    "godwit_typing_received_total", |s| s.node.typing_published, "Typing indicators of clients that were told on.";
    "godwit_typing_sent_total", |s| s.node.typing_sent, "Typing indicators handed to recipients' streams.";
    "godwit_typing_dropped_total", |s| s.node.typing_dropped, "Typing indicators dropped.";
    "godwit_hints_published_total", |s| s.node.hints_published, "Hints that loops had for others.";
    "godwit_hints_received_total", |s| s.node.hints_received, "Hints that loops took from others.";
    "godwit_heads_read_again_total", |s| s.node.heads_read, "Sessions that looked at their chats again after hints were lost.";
    "godwit_hints_lost_total", |s| s.hints_lost, "Hints lost because a loop's channel was full.";
    "godwit_timings_lost_total", |s| s.node.timings_lost, "Latencies that were not recorded.";
};

/// Gauges of a loop: a node's is their sum.
pub(super) const LOOP_GAUGES: &[Row<LoopState>] = rows! { LoopState:
    "godwit_connections", |s| s.links as u64, "Connections, those in handshake included.";
    "godwit_handshakes", |s| s.handshakes as u64, "Connections in handshake.";
    "godwit_sessions", |s| s.node.sessions_begun - s.node.sessions_ended, "Sessions of identified devices.";
    "godwit_accounts", |s| s.accounts as u64, "Accounts with a session, counted per loop.";
    "godwit_effects", |s| s.effects as u64, "Store and other effects in work.";
};

/// Counters of the process.
pub(super) const SHARED_COUNTERS: &[Row<Shared>] = rows! { Shared:
    "godwit_store_transactions_total", |s| s.store.transactions, "Transactions that succeeded, reads included.";
    "godwit_store_retries_total", |s| s.store.retries, "Tries of transactions made again.";
    "godwit_store_conflicts_total", |s| s.store.conflicts, "Tries that lost against another transaction.";
    "godwit_store_unknown_total", |s| s.store.unknown, "Tries of which nobody knows whether they were committed.";
    "godwit_store_batches_total", |s| s.store.batches, "Transactions of appends and cursor moves of one log.";
    "godwit_store_batched_ops_total", |s| s.store.batched_ops, "Appends and cursor moves in those.";
    "godwit_store_writes_total", |s| s.writes.groups, "Groups of transactions written and synced to disk.";
    "godwit_store_written_transactions_total", |s| s.writes.transactions, "Transactions in those.";
    "godwit_recent_hits_total", |s| s.recent.hits, "Reads for delivery answered from memory.";
    "godwit_recent_misses_total", |s| s.recent.misses, "Reads for delivery that went to the store.";
    "godwit_tls_sessions_taken_total", |s| s.sessions.taken, "Remembered TLS sessions used.";
    "godwit_tls_sessions_missed_total", |s| s.sessions.missed, "TLS sessions asked for that were not remembered.";
    "godwit_tls_sessions_dropped_total", |s| s.sessions.dropped, "TLS sessions forgotten unused.";
};

/// Gauges of the process.
pub(super) const SHARED_GAUGES: &[Row<Shared>] = rows! { Shared:
    "godwit_store_queued_bytes", |s| s.writes.queued_bytes as u64, "Bytes of commits that wait for the disk.";
    "godwit_recent_bytes", |s| s.recent.bytes as u64, "Bytes of recent entries in memory.";
    "godwit_tls_sessions", |s| s.sessions.sessions as u64, "TLS sessions remembered.";
    "godwit_tls_session_bytes", |s| s.sessions.bytes as u64, "Bytes of them.";
};

/// Gauges that the system tells.
pub(super) const PROCESS_GAUGES: &[Row<Process>] = rows! { Process:
    "process_resident_memory_bytes", |p| p.resident_bytes, "Resident memory.";
    "process_open_fds", |p| p.open_files, "Open files.";
    "process_max_fds", |p| p.open_files_max, "Files that may be open.";
    "godwit_memory_limit_bytes", |p| p.memory_limit_bytes, "Memory of the machine or the container.";
    "godwit_cores", |p| p.cores, "Cores that may be used.";
    "godwit_disk_bytes", |p| p.disk_bytes, "Size of the disk that the data is on.";
    "godwit_disk_free_bytes", |p| p.disk_free_bytes, "Room on it.";
};

/// A counter that grows in fractions: the exporter's are whole numbers.
pub(super) struct Seconds {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: Duration,
}

impl Seconds {
    /// As the exporter would write it.
    pub(super) fn write(&self, text: &mut String) {
        let Seconds { name, help, value } = self;
        let seconds = value.as_secs_f64();
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {seconds}\n\n"));
    }
}
