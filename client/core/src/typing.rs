//! Who types: this person, as the server is told, and others, as this device shows it (R34, R35).

use std::collections::BTreeMap;
use std::time::Instant;

use wire::limits::{TYPING_IDLE, TYPING_INTERVAL, TYPING_SHOWN};
use wire::{AccountId, ChatId};

/// This person in one chat that is open on the screen.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pressed_at: Option<Instant>,
    told_at: Option<Instant>,
}

impl Keys {
    /// A key was pressed; `true` if the server is to be told: at first, and then every three seconds.
    pub(crate) fn pressed(&mut self, now: Instant) -> bool {
        self.pressed_at = Some(now);
        let due = self.told_at.is_none_or(|told| told + TYPING_INTERVAL <= now);
        if due {
            self.told_at = Some(now);
        }
        due
    }

    /// When the server is to be told that it is over, if it was told at all.
    pub(crate) fn stops_at(&self) -> Option<Instant> {
        self.told_at.and(self.pressed_at).map(|pressed| pressed + TYPING_IDLE)
    }

    /// It is over, since nothing was pressed or since the message is sent; `true` if the server thinks otherwise.
    pub(crate) fn stop(&mut self) -> bool {
        self.pressed_at = None;
        self.told_at.take().is_some()
    }
}

/// Others, as shown. Bounded by the members of chats that are open.
#[derive(Debug, Default)]
pub(crate) struct Shown(BTreeMap<(ChatId, AccountId), Instant>);

impl Shown {
    /// A member types, or has stopped; `true` if that is news.
    pub(crate) fn set(&mut self, chat: ChatId, member: AccountId, typing: bool, now: Instant) -> bool {
        if typing {
            self.0.insert((chat, member), now + TYPING_SHOWN).is_none()
        } else {
            self.0.remove(&(chat, member)).is_some()
        }
    }

    /// When the next one ends by itself.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Those that have ended by themselves.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(ChatId, AccountId)> {
        self.0.extract_if(.., |_, until| *until <= now).map(|(who, _)| who).collect()
    }

    /// All of them: the connection is gone.
    pub(crate) fn take_all(&mut self) -> Vec<(ChatId, AccountId)> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn r34_r35_one_per_three_seconds_and_a_stop_after_three_without_a_key() {
        let (mut keys, t) = (Keys::default(), start());
        let at = |ms| t + Duration::from_millis(ms);
        let told: Vec<bool> = (0..=40).map(|n| keys.pressed(at(n * 100))).collect();
        assert_eq!(told.iter().filter(|&&told| told).count(), 2, "at 0 and at 3 s");
        assert_eq!(keys.stops_at(), Some(at(7000)));
        assert!(keys.stop() && !keys.stop());
        assert_eq!(keys.stops_at(), None);
    }

    #[test]
    fn r35_what_is_shown_ends_by_itself() {
        let (mut shown, t) = (Shown::default(), start());
        let (chat, who) = (ChatId::new([1; 16]), AccountId::new([2; 16]));
        assert!(shown.set(chat, who, true, t));
        assert!(!shown.set(chat, who, true, t + Duration::from_secs(3)), "no news");
        assert_eq!(shown.take_due(t + TYPING_SHOWN), []);
        assert_eq!(shown.take_due(t + Duration::from_secs(9)), [(chat, who)]);
        assert!(!shown.set(chat, who, false, t));
    }
}
