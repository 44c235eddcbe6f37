//! What a check of a set-up found, and how it is said to people and to scripts.
//!
//! The checks themselves are where their subject is: `edge_node::doctor` for a node, `client_cli::doctor` for the way to
//! one. This crate only holds what they have in common, and does no IO.

use std::fmt::Write;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is wrong.
    Ok,
    /// It works, but slower, less safely, or not for long.
    Warning,
    /// It does not work.
    Problem,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check, as a stable name for scripts: `udp_port`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// One plain sentence: what was found.
    pub found: String,
    /// One plain sentence: what to do about it. `None` if there is nothing to do.
    pub advice: Option<String>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, found: found.into(), advice: None }
    }

    /// It works, but.
    pub fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding::ok(check, found).worse(Level::Warning, advice)
    }

    /// It does not work.
    pub fn problem(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding::ok(check, found).worse(Level::Problem, advice)
    }

    /// The same, with something that is good to know or to do.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Finding {
        Finding { advice: Some(advice.into()), ..self }
    }

    fn worse(self, level: Level, advice: impl Into<String>) -> Finding {
        Finding { level, ..self.advise(advice) }
    }

    /// One JSON object on one line, without its end.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and names serialise")
    }

    /// Two lines at most, for people. What files, certificates and servers say of themselves is in it, so control
    /// characters are replaced: nothing can move the cursor.
    pub fn text(&self, colour: bool) -> String {
        let (word, code) = match self.level {
            Level::Ok => ("ok", "32"),
            Level::Warning => ("warning", "33"),
            Level::Problem => ("problem", "31"),
        };
        let (on, off) = if colour { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") };
        let check = self.check.replace('_', " ");
        let mut text = format!("{on}{word:<8}{off} {check:<13} {}", printable(&self.found));
        if let Some(advice) = &self.advice {
            let _ = write!(text, "\n{:>23}→ {}", "", printable(advice));
        }
        text
    }
}

/// The worst of all; fine if there is none.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// One line that sums up: `1 problem, 2 warnings, 9 ok`.
pub fn summary(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let many = |n: usize, word| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (problems, warnings) =
        (many(count(Level::Problem), "problem"), many(count(Level::Warning), "warning"));
    format!("{problems}, {warnings}, {} ok", count(Level::Ok))
}

/// A list for people: `a, b and c`.
pub fn listed<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => "nothing".into(),
        [one] => one.as_ref().into(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}

/// Bytes for people: `64 MiB`, `1.5 GiB`.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 10.0 && value.fract() >= 0.05);
    format!("{value:.decimals$} {}", units[unit])
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_get_an_object_and_people_two_lines_without_escapes_of_others() {
        let finding = Finding::warning("udp_port", "a \x1b[2Jb", "do\nthis");
        let json: serde_json::Value = serde_json::from_str(&finding.json()).expect("JSON");
        assert_eq!((json["check"].as_str(), json["level"].as_str()), (Some("udp_port"), Some("warning")));
        assert_eq!(finding.json().lines().count(), 1);
        let text = finding.text(false);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b') && text.contains("udp port"), "{text}");
        assert!(finding.text(true).starts_with("\x1b[33mwarning"));
        let ok: serde_json::Value = serde_json::from_str(&Finding::ok("x", "y").json()).expect("JSON");
        assert!(ok["advice"].is_null());
    }

    #[test]
    fn the_worst_decides() {
        let (ok, warning) = (Finding::ok("a", ""), Finding::warning("b", "", ""));
        let problem = Finding::problem("c", "", "");
        assert_eq!(worst(&[]), Level::Ok);
        assert_eq!(worst(&[warning.clone(), ok.clone()]), Level::Warning);
        assert_eq!(worst(&[problem.clone(), warning.clone(), ok.clone()]), Level::Problem);
        assert_eq!(summary(&[problem, warning.clone(), warning, ok]), "1 problem, 2 warnings, 1 ok");
    }

    #[test]
    fn numbers_and_lists_are_for_people() {
        for (n, said) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (64 << 20, "64 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(n), said);
        }
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!((listed(&["a"]), listed::<&str>(&[])), ("a".into(), "nothing".into()));
    }
}
