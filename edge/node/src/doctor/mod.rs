//! `godwit doctor`: what is wrong with a node's set-up, in plain words, before it runs or while it does.
//!
//! Each check looks at the world and hands what it saw to a plain function `judge_…`, which makes the [`Finding`]. Nothing
//! is changed: the only file that is written is a temporary one in the data directory, to time the disk.

mod certificate;
mod clock;
mod disk;
mod files;
mod kernel;
mod memory;
mod ports;
mod store;
mod system;

use ::doctor::Finding;

use crate::config::{Config, ConfigError, Flags};

pub(crate) use memory::memory_bytes;

/// Examines a set-up, as `godwit serve` would find it with the same flags, file and environment.
pub fn examine(flags: &Flags) -> Vec<Finding> {
    let (mut findings, config) = match Config::load(flags) {
        Ok(config) => (vec![judge_config(flags, &config)], Some(config)),
        Err(error) => (vec![judge_config_error(&error)], None),
    };
    if let Some(config) = &config {
        let node = ports::node_at(config.admin);
        findings.extend(ports::examine(config, node));
        findings.extend(files::examine(config));
        findings.extend(disk::examine(config));
        findings.push(store::examine(config, node));
        findings.extend(certificate::examine(config, node));
        findings.push(memory::examine(config));
    }
    findings.extend(clock::examine(config.as_ref()));
    findings.extend(system::examine());
    findings
}

fn judge_config(flags: &Flags, config: &Config) -> Finding {
    let from = match &flags.config {
        Some(file) => format!("{} with what the environment and flags change", file.display()),
        None => "the defaults with what the environment and flags change".into(),
    };
    let found =
        format!("the settings are {from}: listen {}, data in {}.", config.listen, config.data.display());
    Finding::ok("configuration", found)
}

fn judge_config_error(error: &ConfigError) -> Finding {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let advice = match error {
        ConfigError::NoFile(_) => "Correct --config or GODWIT_CONFIG, or make the file.",
        ConfigError::Read(_) => {
            "Correct the setting that is named; docs/CONFIGURATION.md lists them all, and GODWIT_… variables count as settings."
        }
        _ => "Change this setting; docs/CONFIGURATION.md says what it may be.",
    };
    Finding::problem("configuration", format!("a node would not start: {error}{source}."), advice)
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn a_wrong_setting_is_a_finding_that_names_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("godwit.toml");
        let flags = Flags { config: Some(file.clone()), ..Flags::default() };
        let said = |findings: &[Finding]| findings[0].clone();
        assert!(said(&examine(&flags)).found.contains("there is no configuration file"));
        std::fs::write(&file, "lisen = 'x'").expect("a file");
        let findings = examine(&flags);
        let first = said(&findings);
        assert!(first.level == Level::Problem && first.found.contains("lisen"), "{first:?}");
        assert!(
            findings.iter().any(|finding| finding.check == "cpu"),
            "what needs no settings is looked at still"
        );
    }
}
