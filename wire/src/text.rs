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
    /// More than [`limits::NAME_CHARS_MAX`] characters, or [`limits::DESCRIPTION_CHARS_MAX`].
    #[error("a name has at most 255 characters, a description 1,000")]
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
        parse_name(text).map(PersonName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A group's name (R59, R126): by the same rules as a person's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupName(String);

impl GroupName {
    /// Parses a name; white space around it is dropped.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<GroupName, NameError> {
        parse_name(text).map(GroupName)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a group is about: up to [`limits::DESCRIPTION_CHARS_MAX`] characters by the rules of names (C19), but that it may be
/// empty and have line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Description(String);

impl Description {
    /// Parses a description; white space around it is dropped.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<Description, NameError> {
        let text = text.trim();
        if text.chars().count() > limits::DESCRIPTION_CHARS_MAX {
            return Err(NameError::TooLong);
        }
        if text.chars().any(|c| c != '\n' && is_forbidden(c)) {
            return Err(NameError::Forbidden);
        }
        Ok(Description(text.to_owned()))
    }

    /// The description as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_name(text: &str) -> Result<String, NameError> {
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
    Ok(text.to_owned())
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
    fn r126_c19_groups_are_named_and_described_as_people_are() {
        assert_eq!(GroupName::parse(" Ünal 🐦 ").unwrap().as_str(), "Ünal 🐦");
        assert_eq!(GroupName::parse(&"x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(GroupName::parse(""), Err(NameError::Empty));
        assert_eq!(Description::parse("").unwrap(), Description::default());
        assert_eq!(Description::parse("a\nb").unwrap().as_str(), "a\nb");
        assert_eq!(Description::parse(&"ü".repeat(1000)).unwrap().as_str().chars().count(), 1000);
        assert_eq!(Description::parse(&"x".repeat(1001)), Err(NameError::TooLong));
        assert_eq!(Description::parse("a\u{202e}b"), Err(NameError::Forbidden));
    }

    #[test]
    fn r162_numbers_and_secrets_do_not_print() {
        let phone = format!("{:?}", Phone::parse("+4915112345678").unwrap());
        assert_eq!(phone, "Phone(…78)");
        assert_eq!(format!("{:?}", Secret::new("token")), "Secret(…)");
    }
}
