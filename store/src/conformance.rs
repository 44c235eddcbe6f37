//! The one suite that every backend passes.
//!
//! A backend's test names an [`Env`] and calls [`conformance_tests!`](crate::conformance_tests) with a function that
//! runs one case by its name; each case becomes a test of its own.

mod accounts;
mod epochs;
mod group_world;
mod groups;
mod key_packages;
mod logs;
mod transactions;
mod world;

use std::future::Future;
use std::time::Duration;

use crate::run::Clock;
use crate::tx::Backend;

/// An empty store and the time it lives in.
pub trait Env: Sync {
    /// The store's backend.
    type Backend: Backend;
    /// The clock that its transactions and retries go by.
    type Clock: Clock;

    /// The store; the same one at each call.
    fn backend(&self) -> Self::Backend;

    /// Its clock.
    fn clock(&self) -> Self::Clock;

    /// Lets time pass.
    fn advance(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

macro_rules! cases {
    (($d:tt) transactions { $($tx:ident,)* } logs { $($log:ident,)* } accounts { $($account:ident,)* }
        epochs { $($epoch:ident,)* } groups { $($group:ident,)* } key_packages { $($key:ident,)* }) => {
        /// Runs one case against an empty store; those of ops also hold while the store has faults.
        ///
        /// # Panics
        /// If the store does not conform, or there is no such case.
        pub async fn run<E: Env>(env: &E, case: &str) {
            match case {
                $(stringify!($tx) => transactions::$tx(env).await,)*
                $(stringify!($log) => logs::$log(env).await,)*
                $(stringify!($account) => accounts::$account(env).await,)*
                $(stringify!($epoch) => epochs::$epoch(env).await,)*
                $(stringify!($group) => groups::$group(env).await,)*
                $(stringify!($key) => key_packages::$key(env).await,)*
                _ => panic!("no case {case}"),
            }
        }

        /// Makes a test of each case of transactions: `fn(case: &str)` runs it.
        #[macro_export]
        macro_rules! conformance_tests {
            ($d run:path) => {
                $(#[test] fn $tx() { $d run(stringify!($tx)) })*
            };
        }

        /// Makes a test of each case of ops: `fn(case: &str)` runs it.
        #[macro_export]
        macro_rules! op_conformance_tests {
            ($d run:path) => {
                $(#[test] fn $log() { $d run(stringify!($log)) })*
                $(#[test] fn $account() { $d run(stringify!($account)) })*
                $(#[test] fn $epoch() { $d run(stringify!($epoch)) })*
                $(#[test] fn $group() { $d run(stringify!($group)) })*
                $(#[test] fn $key() { $d run(stringify!($key)) })*
            };
        }
    };
}

cases! {
    ($)
    transactions {
        reads_see_own_writes,
        reads_stay_at_their_version,
        what_was_read_and_changed_conflicts,
        ranges_conflict_with_phantoms,
        snapshot_reads_and_blind_writes_do_not_conflict,
        concurrent_increments_add_up,
        ranges_keep_order_and_limits,
        versionstamps_follow_commit_order,
        limits_are_typed_errors,
        a_transaction_grows_too_old,
        a_watch_sees_a_change,
    }
    logs {
        i2_concurrent_appends_are_dense_and_in_order,
        i3_a_repeat_returns_the_first_place,
        i3_a_repeat_outlives_membership,
        r38_strangers_are_refused,
        the_first_append_makes_the_chat_for_both,
        time_in_a_log_never_goes_back,
        a_full_batch_commits,
        i4_cursors_only_advance,
        i4_a_device_s_cursor_moves_over_its_own_messages,
        i4_a_burst_of_own_messages_moves_along,
        c44_cursors_are_members_and_within_the_log,
        c15_receipts_are_exact,
        c43_the_furthest_device_counts,
        one_result_per_request,
        r47_history_is_paged_for_members,
        tails_are_bounded_and_whole,
        a_sweep_finds_who_is_behind,
        c29_what_is_not_due_makes_nobody_behind,
    }
    accounts {
        c4_a_known_number_gets_a_new_device,
        a_repeated_registration_is_the_same_device,
        r24_sessions_are_refused_with_a_reason,
        a_session_begins_with_its_chats,
        i5_no_device_resumes_before_its_account_joined,
        chats_are_paged,
        r30_the_latest_time_that_somebody_was_seen_stays,
        c1_refresh_rotates_and_repeats,
        c1_reuse_ends_the_family,
        refresh_refuses_what_it_must,
        a_revoked_device_is_gone,
    }
    epochs {
        i6_exactly_one_commit_wins_an_epoch,
        i6_nothing_of_another_epoch_is_appended,
        i6_of_two_first_commits_one_makes_the_group,
        i3_a_repeat_of_a_commit_gets_its_first_place,
        i4_an_id_stands_for_one_kind_of_entry,
        i1_what_was_said_before_there_was_a_group_is_still_owed,
        c5_a_commit_is_refused_with_its_reason,
        c5_what_goes_is_what_was_asked_for,
        leaves_are_given_from_the_left,
        a_commit_larger_than_a_frame_travels_in_parts,
        a_tree_is_kept_for_whom_it_is_and_no_longer,
    }
    groups {
        r59_r60_a_group_is_made_with_its_members,
        r65_r67_admins_add_and_remove,
        i5_who_is_removed_gets_nothing_after,
        i5_a_removal_races_with_what_is_said,
        c39_who_comes_back_has_one_membership,
        g16_the_last_admin_s_heir_and_the_last_member,
        g16_who_leaves_is_removed_by_the_next_commit,
        g6_a_device_that_ends_is_removed_by_the_next_commit,
        g6_an_interrupted_end_of_a_device_is_completed,
        r125_a_group_of_256_accounts_is_built_by_commits,
    }
    key_packages {
        r165_a_key_package_is_handed_out_once,
        r165_key_packages_are_refused_with_a_reason,
        r165_claims_come_in_pages,
        c48_a_welcome_waits_in_the_device_s_inbox,
        an_inbox_is_its_device_s_alone,
    }
}
