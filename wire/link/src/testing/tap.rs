//! A copy of every frame that the endpoints of this process hand to their owners, for a test that reads what a server was told.
//!
//! It is off until [`record`], and then keeps everything: for tests whose other side is in another process.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::event::Event;

static HEARD: Mutex<Option<Vec<Bytes>>> = Mutex::new(None);

/// Begins to keep frames; what was kept is dropped.
pub fn record() {
    *HEARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// The bodies of the frames so far, in the order in which they were handed out.
pub fn recorded() -> Vec<Bytes> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

pub(crate) fn note(event: &Event) {
    let Event::Frame { body, .. } = event else { return };
    if let Some(heard) = HEARD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        heard.push(body.clone());
    }
}
