//! The mistake that this thread makes.

use std::cell::Cell;

use crate::Mutation;

thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether this mistake is to be made.
pub fn on(mutation: Mutation) -> bool {
    CHOSEN.get() == Some(mutation)
}

/// While it lives, this thread makes a mistake, or none.
#[derive(Debug)]
#[must_use = "the mistake is made for as long as this lives"]
pub struct Planted(Option<Mutation>);

impl Planted {
    /// Chooses a mistake, or the honest code, for this thread; what was chosen before comes back when this is dropped.
    pub fn new(mutation: Option<Mutation>) -> Planted {
        Planted(CHOSEN.replace(mutation))
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        CHOSEN.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mistake_at_a_time_in_one_thread_for_as_long_as_it_is_wanted() {
        let outer = Planted::new(Some(Mutation::SweeperOff));
        {
            let _inner = Planted::new(None);
            assert!(!on(Mutation::SweeperOff));
        }
        assert!(on(Mutation::SweeperOff));
        assert!(!on(Mutation::NoSteering));
        assert!(!std::thread::spawn(|| on(Mutation::SweeperOff)).join().expect("it ends"));
        drop(outer);
        assert!(!on(Mutation::SweeperOff));
    }
}
