//! The ephemeral side in memory passes the suite.

#![cfg(feature = "testing")]

use std::task::{Context, Poll, Waker};

use store::ephemeral::memory::Memory;
use store::ephemeral::suite;

/// Memory never waits.
fn run(case: impl Future<Output = ()>) {
    let polled = std::pin::pin!(case).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(()));
}

macro_rules! cases {
    ($($case:ident,)*) => {
        $(#[test] fn $case() { run(suite::$case(&Memory::default())) })*
    };
}

cases! {
    r117_i9_buckets_limit_exactly,
    c2_takes_are_all_or_none,
    a_refund_is_bounded,
    r18_r124_a_code_dies_of_tries_and_time,
    r16_a_new_request_replaces_and_a_repeat_does_not,
    a_code_is_used_by_one_device,
    r26_r28_routes_end_with_their_connection,
}
