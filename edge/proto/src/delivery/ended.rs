//! A membership has ended: what is left of it was sent, and the chat's streams end (I5).
//!
//! That it has ended is what the store says, of a tail, a chat or a session; a hint only makes a session look.

use wire::LogId;

use super::{Down, finish_down};
use crate::conn::{Conn, Up};
use crate::cx::Cx;

impl Conn {
    /// The account has all of a log that was its to have.
    pub(super) fn end_log(&mut self, cx: &mut Cx, log: LogId) {
        self.end_ups(cx, log);
        let Some((session, link)) = self.log_mut(log) else { return };
        let Some(delivery) = session.logs.get_mut(&log) else { return };
        if !std::mem::take(&mut delivery.named_again) {
            return self.forget(cx, log);
        }
        // It was hinted on something later: perhaps it has joined again.
        delivery.opening = true;
        if let Down::Open { stream, .. } = delivery.down {
            finish_down(cx, link, stream, delivery);
        }
        self.open_log(cx, log);
    }

    /// What the device says in a chat that its account is no member of would be refused: it is told so.
    fn end_ups(&mut self, cx: &mut Cx, log: LogId) {
        let link = self.link;
        for (stream, up) in &mut self.streams {
            if let Up::Chat(up) = up
                && LogId::Chat(up.chat()) == log
            {
                up.expel(cx, link, *stream);
            }
        }
    }

    /// Somebody's membership in a chat has ended: whoever types in it asks anew who hears of it.
    pub(crate) fn members_changed(&mut self, log: Option<LogId>) {
        for up in self.streams.values_mut() {
            if let Up::Chat(up) = up
                && log.is_none_or(|log| log == LogId::Chat(up.chat()))
            {
                up.members_changed();
            }
        }
    }
}
