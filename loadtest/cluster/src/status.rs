//! What a cluster says of itself: `status json`, and the few questions that tests ask of it.

use std::net::SocketAddr;

use serde_json::Value;

/// One `status json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Status(Value);

impl Status {
    /// Out of what `fdbcli` printed, which may have lines before the object.
    pub(crate) fn parse(text: &str) -> Option<Status> {
        let start = text.find('{')?;
        // Lines may follow, too.
        let value = serde_json::Deserializer::from_str(&text[start..]).into_iter().next()?.ok()?;
        Some(Status(value))
    }

    /// All of it, as FoundationDB's documentation has it ("Machine-readable status").
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// Whether it commits.
    pub fn is_available(&self) -> bool {
        self.flag("/client/database_status/available")
    }

    /// Whether it commits and has recovered wholly.
    pub fn has_recovered(&self) -> bool {
        self.is_available()
            && self.0.pointer("/cluster/recovery_state/name") == Some(&"fully_recovered".into())
    }

    /// Whether it commits, has recovered wholly, has as many copies of everything as it was configured for, and every
    /// coordinator answers.
    pub fn is_healthy(&self) -> bool {
        let coordinators = self.0.pointer("/client/coordinators/coordinators").and_then(Value::as_array);
        self.has_recovered()
            && self.flag("/cluster/data/state/healthy")
            && coordinators.is_some_and(|all| all.iter().all(|one| one["reachable"] == true))
    }

    /// Whether it is healthy and moves nothing from one server to another.
    pub fn is_at_rest(&self) -> bool {
        let moving =
            |what| self.0.pointer(&format!("/cluster/data/moving_data/{what}")).and_then(Value::as_u64);
        self.is_healthy() && moving("in_flight_bytes") == Some(0) && moving("in_queue_bytes") == Some(0)
    }

    /// Its own estimate of the bytes of all keys and values, one copy of each. It samples them: within a few percent of a
    /// hundred megabytes, worth little below some.
    pub fn kv_bytes(&self) -> Option<u64> {
        self.0.pointer("/cluster/data/total_kv_size_bytes").and_then(Value::as_u64)
    }

    /// Whether a server is known to the cluster and has a part in it.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.process(address).is_some()
    }

    /// What a server does, sorted: `storage`, `log`, `coordinator`, `master`, `cluster_controller`, …
    pub fn roles(&self, address: SocketAddr) -> Vec<String> {
        let roles = self.process(address).and_then(|process| process["roles"].as_array());
        let names = roles.into_iter().flatten().filter_map(|role| role["role"].as_str());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// How it is, in a few words.
    pub fn summary(&self) -> String {
        let text = |pointer| self.0.pointer(pointer).map_or_else(|| "unknown".to_owned(), Value::to_string);
        format!(
            "available {}, recovery {}, data {}, {} servers",
            text("/client/database_status/available"),
            text("/cluster/recovery_state/name"),
            text("/cluster/data/state/name"),
            self.processes().count(),
        )
    }

    fn flag(&self, pointer: &str) -> bool {
        self.0.pointer(pointer) == Some(&Value::Bool(true))
    }

    fn processes(&self) -> impl Iterator<Item = &Value> {
        self.0
            .pointer("/cluster/processes")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|all| all.values())
    }

    fn process(&self, address: SocketAddr) -> Option<&Value> {
        let address = address.to_string();
        self.processes().find(|process| process["address"] == address.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of FoundationDB 7.3's, with what is asked for alone.
    const HEALTHY: &str = r#"
Using cluster file `fdb.cluster'.
{
  "client": {
    "coordinators": {"coordinators": [{"address": "127.0.0.1:4500", "reachable": true}], "quorum_reachable": true},
    "database_status": {"available": true, "healthy": true}
  },
  "cluster": {
    "recovery_state": {"name": "fully_recovered"},
    "data": {
      "state": {"healthy": true, "name": "healthy"}, "total_kv_size_bytes": 123,
      "moving_data": {"in_flight_bytes": 0, "in_queue_bytes": 0}
    },
    "processes": {
      "a": {"address": "127.0.0.1:4500", "roles": [{"role": "storage"}, {"role": "log"}, {"role": "coordinator"}, {"role": "storage"}]},
      "b": {"address": "127.0.0.1:4501"}
    }
  }
}
"#;

    #[test]
    fn a_healthy_cluster_and_its_roles() {
        let status = Status::parse(HEALTHY).expect("an object");
        assert!(status.is_available() && status.is_healthy(), "{}", status.summary());
        let [first, second, other] = [4500, 4501, 4502].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(status.roles(first), ["coordinator", "log", "storage"]);
        assert!(status.roles(second).is_empty());
        assert!(status.has(second) && !status.has(other));
    }

    #[test]
    fn what_moves_is_not_at_rest_and_what_is_stored_is_estimated() {
        let status = Status::parse(HEALTHY).expect("an object");
        assert!(status.is_at_rest());
        assert_eq!(status.kv_bytes(), Some(123));
        for what in ["in_flight_bytes", "in_queue_bytes"] {
            let was = format!("\"{what}\": 0");
            assert!(HEALTHY.contains(&was), "{was}");
            let moves = Status::parse(&HEALTHY.replace(&was, &format!("\"{what}\": 7"))).expect("an object");
            assert!(moves.is_healthy() && !moves.is_at_rest(), "{what}");
        }
        let nothing = Status::parse(r#"{"client": {}}"#).expect("an object");
        assert!(!nothing.is_at_rest() && nothing.kv_bytes().is_none());
    }

    #[test]
    fn each_thing_that_is_wrong_is_not_healthy() {
        for (was, is) in [
            (r#""available": true"#, r#""available": false"#),
            (r#""fully_recovered""#, r#""accepting_commits""#),
            (r#""healthy": true, "name""#, r#""healthy": false, "name""#),
            (r#""reachable": true}"#, r#""reachable": false}"#),
        ] {
            assert!(HEALTHY.contains(was), "{was}");
            let status = Status::parse(&HEALTHY.replace(was, is)).expect("an object");
            assert!(!status.is_healthy(), "{is}");
        }
        let nothing = Status::parse(r#"{"client": {}}"#).expect("an object");
        assert!(!nothing.is_available() && !nothing.is_healthy());
        assert_eq!(nothing.summary(), "available unknown, recovery unknown, data unknown, 0 servers");
        assert_eq!(Status::parse("ERROR: no cluster"), None);
    }
}
