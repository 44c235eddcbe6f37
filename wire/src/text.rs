//! Text that people type, parsed once into types that cannot be wrong, and secrets that cannot be printed.

use std::fmt;

use crate::limits;

/// A phone number in E.164 form: a plus sign, then 7 to 15 digits, the first not zero.
///
/// `Debug` hides all but the last two digits, and there is no `Display`, so that no log line carries a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(String);

/// A text that is no E.164 number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a phone number is '+', the country code and the number: 7 to 15 digits in all, like +4915112345678")]
pub struct PhoneError;

impl Phone {
    /// Parses an E.164 number. Spaces, hyphens, dots and parentheses between digits are what people type, and dropped.
    ///
    /// # Errors
    /// [`PhoneError`] for anything else.
    pub fn parse(text: &str) -> Result<Phone, PhoneError> {
        let rest = text.trim().strip_prefix('+').ok_or(PhoneError)?;
        let digits: String = rest.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
        let long_enough = (limits::PHONE_DIGITS_MIN..=limits::PHONE_DIGITS_MAX).contains(&digits.len());
        if !long_enough || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PhoneError);
        }
        Ok(Phone(format!("+{digits}")))
    }

    /// The number, for the wire, the store and the SMS provider; never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone(…{})", &self.0[self.0.len() - 2..])
    }
}

/// A person's name: 1 to 255 characters, no control or bidirectional-override characters (R13, R152, C19, C34).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PersonName(String);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("a name needs at least one character")]
    Empty,
    /// More than [`limits::NAME_CHARS_MAX`] characters.
    #[error("a name has at most 255 characters")]
    TooLong,
    /// A control character or a bidirectional override, which could make one name look like another.
    #[error("a name has no control or text-direction characters")]
    Forbidden,
}

impl PersonName {
    /// Parses a name; white space around it is dropped.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<PersonName, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().count() > limits::NAME_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        if text.chars().any(is_forbidden) {
            return Err(NameError::Forbidden);
        }
        Ok(PersonName(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Cuts a label (a device's or client's name, shown to its owner) to what may be stored: at most
/// [`limits::LABEL_CHARS_MAX`] characters, forbidden ones dropped. A label is never refused.
pub fn label(text: &str) -> String {
    text.trim().chars().filter(|&c| !is_forbidden(c)).take(limits::LABEL_CHARS_MAX).collect()
}

fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

/// A value that must not reach a log: `Debug` shows only that it is there.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret, for the wire and the store.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_phone_is_e164() {
        for (text, parsed) in [
            ("+4915112345678", Some("+4915112345678")),
            (" +49 (151) 123-45.678 ", Some("+4915112345678")),
            ("+1234567", Some("+1234567")),
            ("+123456", None),
            ("+1234567890123456", None),
            ("+0123456789", None),
            ("4915112345678", None),
            ("+49151x2345678", None),
            ("+49１５１12345", None),
            ("+", None),
            ("", None),
        ] {
            assert_eq!(Phone::parse(text).ok().as_ref().map(Phone::expose), parsed, "{text:?}");
        }
    }

    #[test]
    fn r13_c34_name_is_1_to_255_characters() {
        assert_eq!(PersonName::parse(" Ünal 🐦 ").unwrap().as_str(), "Ünal 🐦");
        assert_eq!(PersonName::parse(&"ü".repeat(255)).unwrap().as_str().chars().count(), 255);
        assert_eq!(PersonName::parse(&"x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(PersonName::parse(" \t "), Err(NameError::Empty));
        assert_eq!(PersonName::parse("a\u{202e}b"), Err(NameError::Forbidden));
        assert_eq!(PersonName::parse("a\nb"), Err(NameError::Forbidden));
    }

    #[test]
    fn r162_numbers_and_secrets_do_not_print() {
        let phone = format!("{:?}", Phone::parse("+4915112345678").unwrap());
        assert_eq!(phone, "Phone(…78)");
        assert_eq!(format!("{:?}", Secret::new("token")), "Secret(…)");
    }
}
