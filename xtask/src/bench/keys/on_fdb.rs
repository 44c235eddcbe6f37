//! The figures of the part "fdb": the same of each of three stores, so that they can be read side by side.
//!
//! All are there, or none, where FoundationDB is not ("machine_has_fdb" says which); the cluster's own estimate is of clusters alone.

use super::{Key, key};

/// One store's figures, in the order in which they are printed.
macro_rules! of_store {
    ($store:literal, alone: $alone:literal, many: $many:literal, hot: $hot:literal, disk: $disk:literal, node: $node:literal) => {
        [
            of_store!(@ $store, "commits_per_s_1", "per s", $alone),
            of_store!(@ $store, "commits_per_s_8", "per s", $many),
            of_store!(@ $store, "commits_per_s_64", "per s", $many),
            of_store!(@ $store, "commits_per_s_512", "per s", $many),
            of_store!(@ $store, "commit_p50_ms_1", "ms", $alone),
            of_store!(@ $store, "commit_p99_ms_1", "ms", "the slowest syncs, and the scheduler"),
            of_store!(@ $store, "commit_p50_ms_8", "ms", $many),
            of_store!(@ $store, "commit_p99_ms_8", "ms", "the slowest syncs, and the scheduler"),
            of_store!(@ $store, "commit_p50_ms_64", "ms", $many),
            of_store!(@ $store, "commit_p99_ms_64", "ms", "the slowest syncs, and the scheduler"),
            of_store!(@ $store, "commit_p50_ms_512", "ms", "512 writers by the rate: all of them wait for the cores"),
            of_store!(@ $store, "commit_p99_ms_512", "ms", "the same"),
            of_store!(@ $store, "hot_commits_per_s_1", "per s", $alone),
            of_store!(@ $store, "hot_commits_per_s_8", "per s", $hot),
            of_store!(@ $store, "hot_commits_per_s_64", "per s", $hot),
            of_store!(@ $store, "hot_commits_per_s_512", "per s", $hot),
            of_store!(@ $store, "hot_commit_p50_ms_1", "ms", $alone),
            of_store!(@ $store, "hot_commit_p99_ms_1", "ms", "the slowest syncs, and the scheduler"),
            of_store!(@ $store, "hot_commit_p50_ms_8", "ms", "the batch under way, then the own one"),
            of_store!(@ $store, "hot_commit_p99_ms_8", "ms", "the same"),
            of_store!(@ $store, "hot_commit_p50_ms_64", "ms", "the batch under way, then the own one"),
            of_store!(@ $store, "hot_commit_p99_ms_64", "ms", "the same"),
            of_store!(@ $store, "hot_commit_p50_ms_512", "ms", "the batch under way, then the own one"),
            of_store!(@ $store, "hot_commit_p99_ms_512", "ms", "the same"),
            of_store!(@ $store, "many_to_hot_1", "", "the same load twice: what differs is noise"),
            of_store!(@ $store, "many_to_hot_8", "", "one transaction at a time; the goal is 3 at most"),
            of_store!(@ $store, "many_to_hot_64", "", "one transaction at a time; the goal is 3 at most"),
            of_store!(@ $store, "many_to_hot_512", "", "one transaction at a time; the goal is 3 at most"),
            of_store!(@ $store, "unbatched_commits_per_s_64", "per s", "conflicts: what the batcher is for"),
            of_store!(@ $store, "many_to_unbatched_64", "", "the same: what a hot chat would be without it"),
            of_store!(@ $store, "client_cpu_us_per_commit_64", "µs", "the store's code and the client library, all threads of the process"),
            of_store!(@ $store, "servers_cpu_us_per_commit_64", "µs", "all servers of the store: reads, the log, the storage engine"),
            of_store!(@ $store, "hot_client_cpu_us_per_commit_64", "µs", "the same, of a batch's share"),
            of_store!(@ $store, "hot_servers_cpu_us_per_commit_64", "µs", "the same, of a batch's share"),
            of_store!(@ $store, "unknown_commits", "", "tries of all cells; each was repeated and found its own traces, or nothing"),
            of_store!(@ $store, "given_up", "", "appends of all batched cells that their budget was not enough for"),
            of_store!(@ $store, "keys_per_message", "", "the entry, its id, the outbox key; the head and a cursor are written over"),
            of_store!(@ $store, "kv_bytes_per_message", "bytes", "keys and values, one copy, 100 bytes of them the message"),
            of_store!(@ $store, "disk_bytes_per_message", "bytes", $disk),
            of_store!(@ $store, "log_files_mb", "MB", "journals or logs: bounded, however many messages there are"),
            of_store!(@ $store, "others_cores", "", "cores that others used meanwhile; over a quarter of all the run is invalid"),
            of_store!(@ $store, "delivered_per_s_w8", "per s", $node),
            of_store!(@ $store, "latency_p50_ms_w8", "ms", "4,000 messages under way by the rate"),
            of_store!(@ $store, "latency_p99_ms_w8", "ms", "the same"),
            of_store!(@ $store, "server_cpu_us_per_message_w8", "µs", "the node's process alone, not the store's servers"),
            of_store!(@ $store, "delivered_per_s_200ps", "per s", "what was asked for, unless it does not hold that"),
            of_store!(@ $store, "latency_p50_ms_200ps", "ms", "the commit, as at one writer, and two ways through the node"),
            of_store!(@ $store, "latency_p99_ms_200ps", "ms", "the slowest syncs, and the scheduler"),
            of_store!(@ $store, "delivered_per_s_1000ps", "per s", "what was asked for, unless it does not hold that"),
            of_store!(@ $store, "latency_p50_ms_1000ps", "ms", "the commit; where the rate is not held, a queue that grows"),
            of_store!(@ $store, "latency_p99_ms_1000ps", "ms", "the same, and the slowest syncs"),
            of_store!(@ $store, "server_cpu_us_per_message_1000ps", "µs", "the node's process alone, not the store's servers"),
            of_store!(@ $store, "store_transactions_per_message_1000ps", "", "the append, and the recipient's cursor"),
            of_store!(@ $store, "node_others_cores", "", "cores that others used meanwhile; over a quarter of all the run is invalid"),
        ]
    };
    (@ $store:literal, $figure:literal, $unit:literal, $limit:literal) => {
        key("fdb", concat!("fdb_", $store, "_", $figure), $unit, $limit)
    };
}

static EMBEDDED: [Key; 54] = of_store!(
    "embedded",
    alone: "a sync for each",
    many: "as many as wait share a sync; then CPU of the appends",
    hot: "one transaction at a time, of all that wait",
    disk: "tables, whose blocks share the beginnings of keys; nothing is compressed",
    node: "the machine: node and load share its cores"
);

static ONE: [Key; 54] = of_store!(
    "one",
    alone: "a read version, a round of reads, a commit with its sync: three trips one after another",
    many: "CPU: the client library's one thread, and the server's one",
    hot: "one transaction at a time, of all that wait: its trips and its sync",
    disk: "the storage engine's B-tree, whose pages are partly free",
    node: "the machine: node, load, client library and server share its cores"
);

static THREE: [Key; 54] = of_store!(
    "three",
    alone: "as with one server, between processes that share two cores, and two logs that sync",
    many: "CPU: the client library's one thread, and three servers on the same cores",
    hot: "one transaction at a time, of all that wait: its trips and two syncs",
    disk: "the same, and two copies",
    node: "the machine: node, load, client library and three servers share its cores"
);

static OTHERS: [Key; 3] = [
    key("fdb", "fdb_fdatasync_ms", "ms", "the disk, after 4 KiB more of a file beside the stores"),
    key(
        "fdb",
        "fdb_one_estimated_kv_bytes_per_message",
        "bytes",
        "the cluster's own estimate of keys and values, by samples",
    ),
    key("fdb", "fdb_three_estimated_kv_bytes_per_message", "bytes", "the same"),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    EMBEDDED.iter().chain(&ONE).chain(&THREE).chain(&OTHERS)
}
