//! When somebody is offline (R30, as C30 settles it): no device of theirs has been connected anywhere for a grace time, so
//! that a reconnect shows nothing to anybody. When they were last seen is then kept.
//!
//! A node that drains keeps it at once, since it will not be there after the grace time; one that is killed keeps nothing of those who were connected to it: their routes end by themselves, five minutes
//! after the last heartbeat, and their next connection says more.

use std::time::Duration;

use store::ephemeral::EphemeralOp;
use store::op::{Op, SawLast};
use wire::{AccountId, WallTime};

use crate::cx::{Cx, Pending};
use crate::timers::Timer;

/// A connection that ended may come back for this long before its person is offline.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// The last connection of an account on this loop ended.
pub(crate) fn left(cx: &mut Cx, account: AccountId) {
    let at = cx.now.wall;
    // A node that is about to stop has no time for grace.
    let grace = if cx.draining { Duration::ZERO } else { GRACE };
    cx.after(grace, Timer::Offline(account, at));
}

/// The grace time is over: are they anywhere?
pub(crate) fn look(cx: &mut Cx, account: AccountId, at: WallTime) {
    if cx.accounts.contains_key(&account) {
        return;
    }
    if cx.is_loaded() {
        // It can wait; messages cannot.
        return cx.after(GRACE, Timer::Offline(account, at));
    }
    cx.ephemeral(EphemeralOp::IsOnline(account), Pending::Online { account, at });
}

/// They are, or were last seen when that connection ended. What the store does not take now is lost: the next time
/// counts as well.
pub(crate) fn looked(cx: &mut Cx, account: AccountId, at: WallTime, online: bool) {
    if !online && !cx.accounts.contains_key(&account) {
        cx.store(Op::SawLast(SawLast { account, at }), Pending::Nothing);
    }
}
