//! Every figure that is owed, in the order in which it is printed: its unit, who measures it, what limits it.

mod on_fdb;

/// One figure.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) key: &'static str,
    /// Empty for a ratio or a count.
    pub(super) unit: &'static str,
    /// The part that owes it.
    pub(super) part: &'static str,
    /// What it would take to make it better, in a few words.
    pub(super) limit: &'static str,
}

/// The figure of this name.
pub(super) fn find(key: &str) -> Option<&'static Key> {
    all().find(|known| known.key == key)
}

/// All. The machine's own are always there, and come last.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(on_fdb::all()).chain(&MACHINE)
}

const fn key(part: &'static str, key: &'static str, unit: &'static str, limit: &'static str) -> Key {
    Key { key, unit, part, limit }
}

static KEYS: &[Key] = &[
    key(
        "node",
        "server_cpu_us_per_message_w1",
        "µs",
        "as below, with fewer messages to a packet, a wake-up and a commit",
    ),
    key(
        "node",
        "server_cpu_us_per_message_w8",
        "µs",
        "CPU of one node, its commits shared by those that wait: packets in and out, then the store",
    ),
    key(
        "node",
        "server_cpu_us_per_message_1000ps",
        "µs",
        "the same at 1,000 a second, where batches are small: a packet and a wake-up for almost every frame",
    ),
    key("node", "delivered_per_s_w1", "per s", "the latency of one message: the sync, then the scheduler"),
    key("node", "delivered_per_s_w8", "per s", "the machine: node and load share its cores"),
    key("node", "latency_p50_ms_1000ps", "ms", "the sync of the commit"),
    key("node", "latency_p95_ms_1000ps", "ms", "syncs behind which others wait"),
    key("node", "latency_p99_ms_1000ps", "ms", "the slowest syncs, and the scheduler where cores are shared"),
    key(
        "node",
        "datagrams_per_message",
        "",
        "at 1,000 a second: a message, its ack, the entry, its cursor move, the move told on, and what QUIC acknowledges alone",
    ),
    key("node", "datagrams_per_message_w8", "", "frames that share a datagram"),
    key("node", "store_transactions_per_message_1000ps", "", "the append, and the recipient's cursor"),
    key("node", "messages_per_fsync_1000ps", "", "a fast disk syncs before the next message is there"),
    key(
        "node",
        "idle_bytes_per_connection",
        "bytes",
        "at 10,000: QUIC's state in quinn-proto, keys, then the session",
    ),
    key("node", "idle_bytes_per_connection_1000", "bytes", "the same, and what the allocator rounds up"),
    key(
        "node",
        "bytes_per_used_chat_open",
        "bytes",
        "two QUIC streams, what is known of the chat, and store and cache of more logs",
    ),
    key(
        "node",
        "bytes_per_used_chat_closed",
        "bytes",
        "not taken apart yet: store and cache of more logs are in it",
    ),
    key("node", "catch_up_1000_ms", "ms", "reading and sending of the log, within the congestion window"),
    key(
        "node",
        "connect_500_chats_ms",
        "ms",
        "reading the heads and cursors of 500 chats in one transaction",
    ),
    key(
        "handshake",
        "handshakes_per_s_core",
        "per s",
        "one ECDSA signature, one X25519MLKEM768 exchange, key derivations; packets of 1,200 bytes",
    ),
    key("handshake", "handshake_cpu_us", "µs", "the same"),
    key("handshake", "handshake_datagrams", "", "two of hello, two of acknowledgements, one of goodbye"),
    key(
        "handshake",
        "resumed_handshakes_per_s_core",
        "per s",
        "the exchange stays, only certificate and signature are saved",
    ),
    key("handshake", "resumed_handshake_cpu_us", "µs", "the same"),
    key("handshake", "resumed_handshake_datagrams", "", "as in a full one"),
    key(
        "handshake",
        "early_handshakes_per_s_core",
        "per s",
        "as resumed, and a message of 128 bytes there and back",
    ),
    key("handshake", "early_handshake_cpu_us", "µs", "the same"),
    key(
        "handshake",
        "early_handshake_datagrams",
        "",
        "as resumed, one with early data, one acknowledgement of the answer",
    ),
    key("store", "fdatasync_ms", "ms", "the disk, after 4 KiB more of a file beside the store"),
    key("store", "embedded_lone_commits_per_s", "per s", "one sync after another"),
    key("store", "embedded_commits_per_s_1", "per s", "a sync for each"),
    key("store", "embedded_commits_per_s_8", "per s", "up to 8 share a sync"),
    key("store", "embedded_commits_per_s_64", "per s", "the disk, then CPU of the appends"),
    key("store", "embedded_commits_per_s_512", "per s", "CPU of the appends"),
    key("store", "embedded_hot_commits_per_s_1", "per s", "a sync for each"),
    key(
        "store",
        "embedded_hot_commits_per_s_8",
        "per s",
        "one transaction at a time for the log, of up to 8",
    ),
    key("store", "embedded_hot_commits_per_s_64", "per s", "one transaction at a time, of up to 64"),
    key("store", "embedded_hot_commits_per_s_512", "per s", "CPU of the appends"),
    key("store", "embedded_unbatched_commits_per_s_1", "per s", "a sync for each"),
    key("store", "embedded_unbatched_commits_per_s_8", "per s", "conflicts: what the batcher is for"),
    key("store", "embedded_unbatched_commits_per_s_64", "per s", "conflicts: what the batcher is for"),
    key("store", "embedded_unbatched_commits_per_s_512", "per s", "conflicts: what the batcher is for"),
    key(
        "store",
        "embedded_cpu_us_per_commit_64",
        "µs",
        "reads, checks and the write of one append, all threads",
    ),
    key(
        "store",
        "embedded_bytes_per_commit_64",
        "bytes",
        "the journal; twice as much in a second in which a table is written too",
    ),
    key("store", "embedded_commits_per_sync_64", "", "who waits while the disk syncs"),
    key(
        "allocations",
        "embedded_allocations_per_commit_1",
        "",
        "keys, values and views of one transaction, and its share of the group",
    ),
    key("allocations", "embedded_allocated_bytes_per_commit_1", "bytes", "the same"),
    key("allocations", "embedded_allocations_per_commit_64", "", "the same, where a group is shared"),
    key("allocations", "embedded_allocated_bytes_per_commit_64", "bytes", "the same"),
    key("wire", "wire_encode_append_ns", "ns", "one allocation and one copy, the builder reused"),
    key("wire", "wire_verify_append_ns", "ns", "the table walk: each field once"),
    key("wire", "wire_decode_append_ns", "ns", "verifying; content is not copied"),
    key("wire", "wire_encode_move_cursor_ns", "ns", "one allocation and one copy, the builder reused"),
    key("wire", "wire_verify_move_cursor_ns", "ns", "the table walk: each field once"),
    key("wire", "wire_decode_move_cursor_ns", "ns", "verifying; content is not copied"),
    key("wire", "wire_encode_entry_ns", "ns", "one allocation and one copy, the builder reused"),
    key("wire", "wire_verify_entry_ns", "ns", "the table walk: each field once"),
    key("wire", "wire_decode_entry_ns", "ns", "verifying; content is not copied"),
    key("wire", "wire_encode_append_ack_ns", "ns", "one allocation and one copy, the builder reused"),
    key("wire", "wire_verify_append_ack_ns", "ns", "the table walk: each field once"),
    key("wire", "wire_decode_append_ack_ns", "ns", "verifying; content is not copied"),
    key("wire", "wire_encode_cursor_moved_ns", "ns", "one allocation and one copy, the builder reused"),
    key("wire", "wire_verify_cursor_moved_ns", "ns", "the table walk: each field once"),
    key("wire", "wire_decode_cursor_moved_ns", "ns", "verifying; content is not copied"),
    key(
        "echo",
        "echo_cpu_us_1000",
        "µs",
        "system calls, AEAD and QUIC of a datagram each way, 128 bytes, 1,000 links",
    ),
    key("echo", "echo_datagrams_per_message_1000", "", "one each way; over 1.2 the run is invalid"),
    key("echo", "echo_plain_cpu_us_1000", "µs", "the same without cryptography"),
    key("echo", "echo_plain_datagrams_per_message_1000", "", "the same"),
    key("idle", "idle_link_bytes", "bytes", "quinn-proto's connection and what rustls keeps"),
    key("idle", "idle_link_stream_bytes", "bytes", "the same, with one used stream"),
];

static MACHINE: [Key; 3] = [
    key("machine", "machine_cores", "", ""),
    key(
        "machine",
        "machine_load_before",
        "",
        "programs that wanted a core in the minute before: over a few tenths, read with care",
    ),
    key(
        "machine",
        "machine_has_fdb",
        "",
        "1 if FoundationDB is here, 0 if not, and then figures that begin with fdb_ are not",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::parts::PARTS;
    use super::*;

    #[test]
    fn the_figures_that_others_rely_on_are_owed() {
        for wanted in [
            "server_cpu_us_per_message_w8",
            "server_cpu_us_per_message_1000ps",
            "delivered_per_s_w8",
            "latency_p50_ms_1000ps",
            "latency_p99_ms_1000ps",
            "fdatasync_ms",
            "idle_bytes_per_connection",
            "handshakes_per_s_core",
            "catch_up_1000_ms",
            "connect_500_chats_ms",
            "datagrams_per_message",
            "embedded_commits_per_s_64",
        ] {
            assert!(find(wanted).is_some(), "{wanted}");
        }
    }

    #[test]
    fn every_figure_is_named_once_and_owed_by_a_part() {
        let names: BTreeSet<&str> = all().map(|key| key.key).collect();
        assert_eq!(names.len(), all().count());
        for key in all() {
            let known = PARTS.iter().any(|part| part.name == key.part) || key.part == "machine";
            assert!(known, "{key:?}");
        }
        assert!(PARTS.iter().all(|part| all().any(|key| key.part == part.name)));
    }

    #[test]
    fn figures_of_stores_are_told_by_their_beginning() {
        let on_fdb = all().filter(|key| key.part == "fdb").count();
        assert_eq!(on_fdb, all().filter(|key| key.key.starts_with("fdb_")).count());
        for store in ["embedded", "one", "three"] {
            for figure in
                ["commits_per_s_512", "hot_commits_per_s_512", "disk_bytes_per_message", "delivered_per_s_w8"]
            {
                assert!(find(&format!("fdb_{store}_{figure}")).is_some(), "{store} {figure}");
            }
        }
    }
}
