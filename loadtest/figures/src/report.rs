//! A benchmark's figures, on their way out.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process::ExitCode;

use crate::Options;

/// Named numbers, in the order in which they were measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds one. Its key is made of `a-z`, `0-9` and `_`, says its unit, and is used once.
    ///
    /// # Panics
    /// On another key, or a value that is infinite or not a number: a mistake in the benchmark.
    pub fn add(&mut self, key: impl Into<String>, value: f64) {
        let key = key.into();
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        assert!(!key.is_empty() && key.bytes().all(plain), "`{key}` is no key");
        assert!(self.0.iter().all(|(other, _)| *other != key), "`{key}` was measured before");
        assert!(value.is_finite(), "{key} is {value}");
        self.0.push((key, value));
    }

    /// One flat object on one line. Values have five significant digits, and all of a whole part.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (place, (key, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(json, "{comma}\"{key}\":{}", rounded(*value)).expect("a string takes all");
        }
        json.push('}');
        json
    }
}

fn rounded(value: f64) -> f64 {
    let whole_digits = if value == 0.0 { 1.0 } else { value.abs().log10().floor() + 1.0 };
    let scale = 10f64.powf((5.0 - whole_digits).max(0.0));
    (value * scale).round() / scale
}

/// What a benchmark says while it runs, and at its end.
#[derive(Debug)]
pub struct Report {
    json: bool,
    figures: Figures,
    invalid: Vec<String>,
}

impl Report {
    /// As the command line asked for it.
    pub fn new(options: &Options) -> Report {
        Report { json: options.json, figures: Figures::default(), invalid: Vec::new() }
    }

    /// A line for people. Whoever reads it may have gone; the run goes on.
    pub fn line(&self, line: fmt::Arguments<'_>) {
        let _ = match self.json {
            true => writeln!(std::io::stderr(), "{line}"),
            false => writeln!(std::io::stdout(), "{line}"),
        };
    }

    /// Adds a figure ([`Figures::add`]).
    ///
    /// # Panics
    /// As there.
    pub fn figure(&mut self, key: impl Into<String>, value: f64) {
        self.figures.add(key, value);
    }

    /// The run says nothing, for this reason; it may go on to show more of it.
    pub fn invalid(&mut self, why: impl Into<String>) {
        self.invalid.push(why.into());
    }

    /// Prints the figures if JSON was asked for, or why there are none.
    pub fn finish(self) -> ExitCode {
        for why in &self.invalid {
            let _ = writeln!(std::io::stderr(), "invalid run: {why}");
        }
        if !self.invalid.is_empty() {
            return ExitCode::FAILURE;
        }
        if self.json && writeln!(std::io::stdout(), "{}", self.figures.to_json()).is_err() {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_one_flat_object_in_the_order_of_measuring() {
        let mut figures = Figures::default();
        for (key, value) in
            [("b_ns", 12.345_678), ("a_per_s_8", 1_234_567.8), ("none", 0.0), ("less", -0.000_25)]
        {
            figures.add(key, value);
        }
        assert_eq!(figures.to_json(), r#"{"b_ns":12.346,"a_per_s_8":1234568,"none":0,"less":-0.00025}"#);
        assert_eq!(Figures::default().to_json(), "{}");
    }

    #[test]
    #[should_panic(expected = "was measured before")]
    fn a_key_is_used_once() {
        let mut figures = Figures::default();
        figures.add("a_ns", 1.0);
        figures.add("a_ns", 2.0);
    }

    #[test]
    #[should_panic(expected = "a_ns is NaN")]
    fn what_is_no_number_is_no_figure() {
        Figures::default().add("a_ns", f64::NAN);
    }
}
