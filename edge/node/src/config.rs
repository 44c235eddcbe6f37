//! How a node is set up: built-in defaults, then a TOML file, then `GODWIT_…` environment variables, then flags, each
//! overriding the one before.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use edge_proto::Limits;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use store::any::Location;

use crate::registry::LOOPS_MAX;

/// A node's whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients connect, UDP.
    pub listen: SocketAddr,
    /// Where operators look, HTTP; only a loopback address is accepted.
    pub admin: SocketAddr,
    /// Where the keys, the development certificates and, unless [`store`](Config::store) says otherwise, the store live.
    pub data: PathBuf,
    /// Where the store is; nothing is `embedded:` in the directory `store` under [`data`](Config::data).
    #[serde(with = "location")]
    pub store: Option<Location>,
    /// On FoundationDB, which of the Godwits on the cluster this is; nothing is `godwit`. Keys begin with it.
    pub store_prefix: Option<String>,
    /// How long a start waits for a store that cannot be reached, seconds.
    pub store_patience_s: u32,
    /// Names and addresses that development certificates are made for, and that clients may know the node by besides
    /// those in its certificate.
    pub names: Vec<String>,
    /// A PEM chain to serve instead of development certificates.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// How text messages leave.
    pub sms: SmsConfig,
    /// What the SMS calls the service.
    pub app_name: String,
    /// This node's number in its cluster.
    pub node: u32,
    /// Loops, each a thread with its own socket and connections; 0 for one per core.
    pub loops: u8,
    /// Who may begin a connection, and what is remembered of those who had one.
    pub handshakes: Handshakes,
    /// After the stop signal, commits get this long to finish, milliseconds.
    pub stop_timeout_ms: u32,
    /// Bytes of recent entries kept in memory.
    pub recent_bytes: usize,
    /// Rates, lifetimes and counts.
    pub limits: Limits,
}

/// Who may begin a connection, before anybody knows who they are; the whole node's numbers, shared out among its loops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Handshakes {
    /// Under way at a time; past it, newcomers are refused.
    pub max: usize,
    /// Under way at a time; past it, newcomers must prove their address first, one round trip more.
    pub retry_past: usize,
    /// Of one IPv4 address or IPv6 /64, per minute in the long run.
    pub per_address_per_minute: u32,
    /// Of one address, at once.
    pub per_address_burst: u32,
    /// Of one address, under way at a time.
    pub per_address_max: u32,
    /// Sessions kept for phones that come back: with one, their first flight carries what they have to say.
    pub sessions: usize,
    /// Bytes of them.
    pub session_bytes: usize,
}

impl Default for Handshakes {
    fn default() -> Self {
        Handshakes {
            max: 4_000,
            retry_past: 1_000,
            per_address_per_minute: 6_000,
            per_address_burst: 2_000,
            per_address_max: 1_000,
            sessions: 100_000,
            session_bytes: 48 << 20,
        }
    }
}

/// How text messages leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SmsConfig {
    /// Nowhere: each is appended to a file that only the node's user can read, one JSON object a line.
    /// For development and tests; relative to [`Config::data`].
    File(PathBuf),
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 4433)),
            admin: SocketAddr::from(([127, 0, 0, 1], 4480)),
            data: PathBuf::from("godwit-data"),
            store: None,
            store_prefix: None,
            store_patience_s: 60,
            names: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            cert: None,
            key: None,
            sms: SmsConfig::File("sms.jsonl".into()),
            app_name: "Godwit".into(),
            node: 1,
            loops: 0,
            handshakes: Handshakes::default(),
            stop_timeout_ms: 10_000,
            recent_bytes: 64 << 20,
            limits: Limits::default(),
        }
    }
}

/// What the command line may override.
#[derive(Debug, Clone, Default, clap::Args, Serialize)]
pub struct Flags {
    /// TOML file with any of the settings; see docs/CONFIGURATION.md.
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Directory of the keys, the development certificates and the embedded store [default: ./godwit-data].
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where the store is: `embedded:DIR`, or `fdb:CLUSTERFILE` for FoundationDB [default: embedded in DATA/store].
    #[arg(long, value_name = "embedded:DIR|fdb:FILE", value_parser = str::parse::<Location>)]
    #[serde(with = "location", skip_serializing_if = "Option::is_none")]
    pub store: Option<Location>,
    /// Which of several Godwits on one FoundationDB cluster this is [default: godwit].
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_prefix: Option<String>,
    /// UDP address where clients connect [default: 127.0.0.1:4433].
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Loopback HTTP address for health checks and metrics [default: 127.0.0.1:4480].
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Where text messages go: `log` (DATA/sms.jsonl) or `file:PATH`.
    #[arg(long, value_name = "log|file:PATH", value_parser = parse_sms)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sms: Option<SmsConfig>,
}

/// A [`Location`] as its text.
mod location {
    use serde::de::Error;

    use super::{Deserialize, Deserializer, Location, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(location: &Option<Location>, to: S) -> Result<S::Ok, S::Error> {
        location.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Location>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
    }
}

fn parse_sms(text: &str) -> Result<SmsConfig, String> {
    match text.split_once(':') {
        None if text == "log" => Ok(SmsConfig::File("sms.jsonl".into())),
        Some(("file", path)) if !path.is_empty() => Ok(SmsConfig::File(path.into())),
        _ => Err("say `log` or `file:PATH`".into()),
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source does not parse, or has a setting that does not exist.
    #[error("the configuration cannot be read")]
    Read(#[source] Box<figment::Error>),
    /// The named file is not there.
    #[error("there is no configuration file {0}")]
    NoFile(PathBuf),
    /// The admin listener would be reachable from elsewhere.
    #[error(
        "admin = {0} is not a loopback address: the admin listener has no login, so it stays on this machine"
    )]
    AdminNotLoopback(SocketAddr),
    /// Half a certificate.
    #[error("cert and key go together: set both, or neither for development certificates")]
    HalfCertificate,
    /// A limit that would refuse everything.
    #[error("limit {0} is zero: nothing would be accepted")]
    ZeroLimit(&'static str),
    /// More loops than can be told apart.
    #[error("loops = {0} are too many: {LOOPS_MAX} at most, 0 for one per core")]
    TooManyLoops(u8),
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// [`ConfigError`] says which setting is wrong and why.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = &flags.config {
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.clone()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        // Read elsewhere: by the client commands, and for the log.
        let client_side = ["profile", "passphrase_file", "server", "ca", "config", "log", "log_format"];
        // What the project's tests are told is no setting of the nodes they start.
        let env = Env::prefixed("GODWIT_")
            .ignore(&client_side)
            .filter(|name| !name.starts_with("test_"))
            .split("__");
        let figment = figment.merge(env).merge(Serialized::defaults(flags));
        figment.extract::<Config>().map_err(|e| ConfigError::Read(Box::new(e)))?.checked()
    }

    fn checked(self) -> Result<Config, ConfigError> {
        if !self.admin.ip().is_loopback() {
            return Err(ConfigError::AdminNotLoopback(self.admin));
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(ConfigError::HalfCertificate);
        }
        let rates = &self.limits.rates;
        for (name, value) in [
            ("limits.rates.messages_per_minute", rates.messages_per_minute as usize),
            ("limits.rates.requests_per_minute", rates.requests_per_minute as usize),
            ("limits.rates.anonymous_per_minute", rates.anonymous_per_minute as usize),
            ("limits.rates.otp_per_hour", rates.otp_per_hour as usize),
            ("limits.access_token_s", self.limits.access_token_s as usize),
            ("limits.connections", self.limits.connections),
            ("handshakes.max", self.handshakes.max),
            ("handshakes.per_address_per_minute", self.handshakes.per_address_per_minute as usize),
            ("handshakes.per_address_burst", self.handshakes.per_address_burst as usize),
            ("handshakes.per_address_max", self.handshakes.per_address_max as usize),
            ("limits.effects_in_flight", self.limits.effects_in_flight),
            ("limits.requests_in_flight", self.limits.requests_in_flight),
        ] {
            if value == 0 {
                return Err(ConfigError::ZeroLimit(name));
            }
        }
        if usize::from(self.loops) > LOOPS_MAX {
            return Err(ConfigError::TooManyLoops(self.loops));
        }
        Ok(self)
    }

    /// How many loops there are to be.
    pub fn loop_count(&self) -> u8 {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(LOOPS_MAX));
        if self.loops > 0 { self.loops } else { cores as u8 }
    }

    /// Where the file of text messages is.
    pub fn sms_file(&self) -> PathBuf {
        let SmsConfig::File(path) = &self.sms;
        self.data.join(path)
    }

    /// Where the store is.
    pub fn store_location(&self) -> Location {
        self.store.clone().unwrap_or_else(|| Location::Embedded(self.data_path("store")))
    }

    /// A path under the data directory.
    pub fn data_path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.data.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(toml: &str) -> (tempfile::TempDir, Flags) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("godwit.toml");
        std::fs::write(&file, toml).expect("a file in it");
        (dir, Flags { config: Some(file), ..Flags::default() })
    }

    #[test]
    fn flags_override_the_file_and_the_file_the_defaults() {
        let (_dir, mut flags) =
            flags("listen = '127.0.0.1:1'\nadmin = '127.0.0.1:2'\n[limits.rates]\nmessages_per_minute = 7\n");
        flags.listen = Some("127.0.0.1:3".parse().unwrap());
        let config = Config::load(&flags).unwrap();
        assert_eq!((config.listen.port(), config.admin.port()), (3, 2));
        assert_eq!(config.limits.rates.messages_per_minute, 7);
        assert_eq!(config.limits.rates.otp_per_hour, 3);
    }

    #[test]
    fn a_store_is_where_it_is_said_to_be() {
        let (_dir, mut flags) =
            flags("data = 'd'\nstore = 'fdb:/etc/foundationdb/fdb.cluster'\nstore_prefix = 'chat'");
        let config = Config::load(&flags).unwrap();
        assert_eq!(config.store_location(), Location::Fdb("/etc/foundationdb/fdb.cluster".into()));
        assert_eq!(config.store_prefix.as_deref(), Some("chat"));
        flags.store = Some(Location::Embedded("elsewhere".into()));
        assert_eq!(Config::load(&flags).unwrap().store_location(), Location::Embedded("elsewhere".into()));
        assert_eq!(Config::default().store_location().to_string(), "embedded:godwit-data/store");
    }

    #[test]
    fn every_setting_is_documented() {
        fn leaves(prefix: &str, value: &serde_json::Value, found: &mut Vec<String>) {
            match value.as_object() {
                Some(fields) => {
                    fields.iter().for_each(|(name, value)| leaves(&format!("{prefix}{name}."), value, found))
                }
                None => found.push(prefix.trim_end_matches('.').to_owned()),
            }
        }
        let mut settings = Vec::new();
        leaves("", &serde_json::to_value(Config::default()).unwrap(), &mut settings);
        let page = include_str!("../../../docs/CONFIGURATION.md");
        for setting in settings {
            assert!(page.contains(&format!("`{setting}`")), "docs/CONFIGURATION.md lacks {setting}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (toml, error) in [
            ("lisen = 'x'", "lisen"),
            ("listen = 'nowhere'", "listen"),
            ("admin = '0.0.0.0:80'", "loopback"),
            ("cert = 'a.pem'", "cert and key"),
            ("[limits.rates]\notp_per_hour = 0", "otp_per_hour"),
            ("loops = 65", "64 at most"),
            ("store = 'mysql:x'", "embedded:DIRECTORY"),
            ("store = 'fdb:'", "fdb:CLUSTERFILE"),
        ] {
            let (_dir, flags) = flags(toml);
            let wrong = Config::load(&flags).unwrap_err();
            let said = format!(
                "{wrong}: {}",
                std::error::Error::source(&wrong).map(ToString::to_string).unwrap_or_default()
            );
            assert!(said.contains(error), "{toml}: {said}");
        }
    }
}
