//! Figures of all parts in one place, and what is refused on the way there.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Number, Value};

use super::keys::{self, Key};

/// Named numbers, each once.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, Number>);

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) unit: &'static str,
    pub(super) limit: &'static str,
}

impl Figures {
    /// Takes what a part said: one flat JSON object of numbers, beside which it may say `"valid"`.
    ///
    /// # Errors
    /// It is something else, calls its run invalid (and may say `"why"`), or names a figure that another part has named.
    pub(super) fn take(&mut self, part: &str, said: &str) -> Result<()> {
        let said: Value = serde_json::from_str(said.trim()).context("what it said is not one JSON object")?;
        let Value::Object(said) = said else { bail!("what it said is no JSON object") };
        match said.get("valid") {
            None | Some(Value::Bool(true)) => {}
            Some(_) => {
                let why = said.get("why").and_then(Value::as_str).unwrap_or("it does not say why");
                bail!("it calls its run invalid: {why}");
            }
        }
        let mut taken = 0;
        for (key, value) in said.into_iter().filter(|(key, _)| !matches!(key.as_str(), "valid" | "why")) {
            let Value::Number(number) = value else { bail!("`{key}` is no number") };
            taken += 1;
            if let Some(known) = keys::find(&key).filter(|known| known.part != part) {
                bail!("`{key}` is a figure of \"{}\"", known.part);
            }
            if self.0.insert(key.clone(), number).is_some() {
                bail!("`{key}` was measured twice");
            }
        }
        if taken == 0 {
            bail!("it said no figure");
        }
        Ok(())
    }

    /// Notes the machine: cores that this process may use, and how busy it was before.
    ///
    /// # Errors
    /// None in practice: a load is a number.
    pub(super) fn machine(&mut self, load: Option<f64>) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        self.0.insert("machine_cores".into(), cores.into());
        if let Some(load) = load {
            let load = Number::from_f64(load).context("the load average is no number")?;
            self.0.insert("machine_load_before".into(), load);
        }
        Ok(())
    }

    /// Notes whether FoundationDB is here, and with it the figures that are of it.
    pub(super) fn has_fdb(&mut self, is_here: bool) {
        self.0.insert("machine_has_fdb".into(), u64::from(is_here).into());
    }

    /// # Errors
    /// A figure that these parts owe, as the table says, is not there; all such are named.
    pub(super) fn refuse_gaps(&self, parts: &[&str]) -> Result<()> {
        let owed = keys::all().filter(|key| parts.contains(&key.part));
        let missing: Vec<&str> = owed.map(|key| key.key).filter(|key| !self.0.contains_key(*key)).collect();
        if !missing.is_empty() {
            bail!("these figures are missing: {}", missing.join(", "));
        }
        Ok(())
    }

    /// Known ones in the table's order, then the others by name.
    fn ordered(&self) -> impl Iterator<Item = (&str, &Number, Option<&'static Key>)> {
        let known = keys::all().filter_map(|key| Some((key.key, self.0.get(key.key)?, Some(key))));
        let others = self.0.iter().filter(|(key, _)| keys::find(key).is_none());
        known.chain(others.map(|(key, number)| (key.as_str(), number, None)))
    }

    /// The table.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |(key, number, known): (&str, &Number, Option<&'static Key>)| Row {
            key: key.to_owned(),
            value: shown(number.as_f64().unwrap_or(f64::NAN)),
            unit: known.map_or("", |known| known.unit),
            limit: known.map_or("", |known| known.limit),
        };
        self.ordered().map(row).collect()
    }

    /// One flat object, a figure a line.
    pub(super) fn to_json(&self) -> String {
        let lines: Vec<String> =
            self.ordered().map(|(key, number, _)| format!("  {}: {number}", Value::from(key))).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

/// Three digits or the whole part.
fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_part(part: &str) -> String {
        let figures: BTreeMap<&str, f64> =
            keys::all().filter(|key| key.part == part).map(|key| (key.key, 1.5)).collect();
        serde_json::to_string(&figures).expect("numbers")
    }

    #[test]
    fn parts_are_merged_into_one_flat_object() {
        let mut figures = Figures::default();
        figures.take("store", &of_part("store")).expect("figures");
        figures
            .take("node", r#"{"valid": true, "later_ms": 7, "datagrams_per_message": 1.02}"#)
            .expect("figures");
        figures.machine(Some(0.25)).expect("a load");
        let json: BTreeMap<String, f64> =
            serde_json::from_str(&figures.to_json()).expect("a flat object of numbers");
        let by_key = |key: &str| json.get(key).copied();
        assert_eq!(by_key("fdatasync_ms"), Some(1.5));
        assert_eq!(by_key("later_ms"), Some(7.0));
        assert_eq!(by_key("machine_load_before"), Some(0.25));
        assert!(by_key("machine_cores").is_some_and(|cores| cores >= 1.0));
        assert_eq!(by_key("valid"), None);
        assert_eq!(json.len(), figures.rows().len());
    }

    #[test]
    fn a_missing_figure_is_an_error_that_names_it() {
        let mut figures = Figures::default();
        figures.take("store", r#"{"fdatasync_ms": 4}"#).expect("figures");
        let error = figures.refuse_gaps(&["store"]).expect_err("most are missing").to_string();
        assert!(error.contains("embedded_commits_per_s_64") && !error.contains("fdatasync_ms"), "{error}");
        assert!(!error.contains("handshakes_per_s_core"), "another part's is not owed: {error}");
        figures.refuse_gaps(&[]).expect("nothing is owed");
        let mut whole = Figures::default();
        whole.take("store", &of_part("store")).expect("figures");
        whole.refuse_gaps(&["store"]).expect("all are there");
        assert!(whole.refuse_gaps(&["store", "node"]).is_err());
    }

    #[test]
    fn what_is_no_flat_object_of_numbers_is_refused() {
        for said in [
            "",
            "warning: x",
            "[1]",
            "{}",
            r#"{"valid":true}"#,
            r#"{"a_ms":null}"#,
            r#"{"a_ms":"4"}"#,
            r#"{"a_ms":1} {"b_ms":2}"#,
            r#"{"a":{"b_ms":2}}"#,
        ] {
            assert!(Figures::default().take("store", said).is_err(), "{said}");
        }
    }

    #[test]
    fn an_invalid_run_is_refused_with_its_reason() {
        let said = r#"{"fdatasync_ms":4,"valid":false,"why":"1.31 datagrams per message"}"#;
        let error = Figures::default().take("node", said).expect_err("invalid").to_string();
        assert!(error.contains("1.31 datagrams per message"), "{error}");
        assert!(Figures::default().take("node", r#"{"later_ms":4,"valid":0}"#).is_err());
    }

    #[test]
    fn a_figure_has_one_part() {
        let mut figures = Figures::default();
        figures.take("store", r#"{"later_ms":1}"#).expect("figures");
        assert!(figures.take("echo", r#"{"later_ms":1}"#).is_err(), "measured twice");
        assert!(figures.take("node", r#"{"fdatasync_ms":1}"#).is_err(), "the store's");
    }

    #[test]
    fn values_are_shown_with_what_they_are_worth() {
        for (value, text) in
            [(47_742.4, "47742"), (29.12, "29.1"), (1.026, "1.03"), (0.1642, "0.164"), (0.0, "0")]
        {
            assert_eq!(shown(value), text);
        }
    }
}
