//! Which loops an account is connected to: the one table that loops share.
//!
//! It says where a hint is worth sending. A stale or missing row costs a hint, and a hint is repaired by the sweeper.

use dashmap::DashMap;
use wire::AccountId;

/// Loops of one process; each is one bit.
pub const LOOPS_MAX: usize = 64;

/// Account -> how many connections on each loop.
#[derive(Debug, Default)]
pub struct Registry(DashMap<AccountId, Vec<(u8, u32)>>);

impl Registry {
    /// An account connected on a loop.
    pub fn add(&self, account: AccountId, loop_no: u8) {
        let mut loops = self.0.entry(account).or_default();
        match loops.iter_mut().find(|(l, _)| *l == loop_no) {
            Some((_, count)) => *count += 1,
            None => loops.push((loop_no, 1)),
        }
    }

    /// A connection of an account on a loop ended.
    pub fn remove(&self, account: AccountId, loop_no: u8) {
        if let Some(mut loops) = self.0.get_mut(&account) {
            if let Some((_, count)) = loops.iter_mut().find(|(l, _)| *l == loop_no) {
                *count = count.saturating_sub(1);
            }
            loops.retain(|&(_, count)| count > 0);
        }
        self.0.remove_if(&account, |_, loops| loops.is_empty());
    }

    /// The loops that any of these accounts is on, each once.
    pub fn loops<'a>(&self, accounts: impl IntoIterator<Item = &'a AccountId>) -> LoopSet {
        let mut set = LoopSet::default();
        for account in accounts {
            if let Some(loops) = self.0.get(account) {
                loops.iter().for_each(|&(loop_no, _)| set.0 |= 1 << loop_no);
            }
        }
        set
    }
}

/// A set of loops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoopSet(u64);

impl LoopSet {
    /// Whether a loop is in it.
    pub const fn contains(self, loop_no: u8) -> bool {
        self.0 & 1 << loop_no != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k6_an_account_is_found_until_its_last_connection_ends() {
        let (registry, a, b) = (Registry::default(), AccountId::new([1; 16]), AccountId::new([2; 16]));
        registry.add(a, 0);
        registry.add(a, 3);
        registry.add(a, 3);
        registry.remove(a, 3);
        let loops = registry.loops([&a, &b]);
        assert_eq!((0..5).filter(|&l| loops.contains(l)).collect::<Vec<_>>(), [0, 3]);
        registry.remove(a, 3);
        registry.remove(a, 0);
        registry.remove(a, 0);
        assert_eq!(registry.loops([&a]), LoopSet::default());
        assert!(registry.0.is_empty());
    }
}
