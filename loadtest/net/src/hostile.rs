use crate::cases::{Case, Choice};
pub(crate) fn cases(_: &Choice) -> Vec<Case> {
    Vec::new()
}
