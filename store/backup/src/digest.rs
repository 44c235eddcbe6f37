//! One side of a comparison: what was read, counted and hashed by kind.
//!
//! Entries are hashed in a chain per log (each link over the one before, the key and the value), and the chains over all
//! logs; every other kind is hashed in the order in which it is read. So two sides agree only if each log has the same
//! entries in the same order, and everything else is the same.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::parsed::{Key, Kind, LogKey};
use wire::LogId;

/// What was read of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindDigest {
    /// How many keys.
    pub count: u64,
    /// SHA-256 over them, in hexadecimal.
    pub sha256: String,
}

/// What was read of each kind, by [`Kind::name`]; kinds of which nothing was read are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests(pub BTreeMap<String, KindDigest>);

impl Digests {
    /// How many keys of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.0.get(kind.name()).map_or(0, |kind| kind.count)
    }

    /// How many keys in all.
    pub fn keys(&self) -> u64 {
        self.0.values().map(|kind| kind.count).sum()
    }

    /// One digest of everything, in hexadecimal.
    pub fn total(&self) -> String {
        let mut context = Context::new(&SHA256);
        for (name, kind) in &self.0 {
            context.update(name.as_bytes());
            context.update(&[0]);
            context.update(&kind.count.to_be_bytes());
            context.update(kind.sha256.as_bytes());
        }
        hex(context.finish().as_ref())
    }

    /// Those of several streams together, in their order.
    pub(crate) fn of_all<'a>(streams: impl IntoIterator<Item = &'a Digests>) -> Digests {
        let mut together = BTreeMap::<String, (u64, Context)>::new();
        for (name, kind) in streams.into_iter().flat_map(|stream| &stream.0) {
            let (count, context) = together.entry(name.clone()).or_insert_with(|| (0, Context::new(&SHA256)));
            *count += kind.count;
            context.update(kind.sha256.as_bytes());
        }
        let kinds = together
            .into_iter()
            .map(|(name, (count, context))| (name, KindDigest { count, sha256: hex(&sha256_of(context)) }));
        Digests(kinds.collect())
    }

    /// The first kind in which two differ.
    pub(crate) fn first_difference(&self, other: &Digests) -> Option<String> {
        let names = self.0.keys().chain(other.0.keys());
        names.filter(|name| self.0.get(*name) != other.0.get(*name)).min().cloned()
    }
}

/// Reads keys and values in order.
#[derive(Default)]
pub(crate) struct Digester {
    kinds: BTreeMap<&'static str, (u64, Option<Context>)>,
    chain: Option<(LogId, Chain)>,
}

/// The hash of a log's entries so far.
pub(crate) type Chain = [u8; 32];

impl Digester {
    /// One more. Answers the chain of its log if it is an entry.
    pub(crate) fn feed(&mut self, key: &Bytes, value: &Bytes) -> Option<Chain> {
        let parsed = Key::parse(key);
        let kind = parsed.map_or(Kind::Unknown, |key| key.kind());
        let counted = self.kinds.entry(kind.name()).or_default();
        counted.0 += 1;
        if let Some(Key::Log(log, LogKey::Entry(_))) = parsed {
            return Some(self.link(log, key, value));
        }
        update(counted.1.get_or_insert_with(|| Context::new(&SHA256)), key, value);
        None
    }

    fn link(&mut self, log: LogId, key: &Bytes, value: &Bytes) -> Chain {
        let before = match self.chain {
            Some((of, chain)) if of == log => chain,
            _ => {
                self.end_log();
                [0; 32]
            }
        };
        let mut context = Context::new(&SHA256);
        context.update(&before);
        update(&mut context, key, value);
        let chain = sha256_of(context);
        self.chain = Some((log, chain));
        chain
    }

    fn end_log(&mut self) {
        if let Some((_, chain)) = self.chain.take() {
            let entries = self.kinds.entry(Kind::Entry.name()).or_default();
            entries.1.get_or_insert_with(|| Context::new(&SHA256)).update(&chain);
        }
    }

    pub(crate) fn finish(mut self) -> Digests {
        self.end_log();
        let kinds = self.kinds.into_iter().map(|(name, (count, context))| {
            let context = context.unwrap_or_else(|| Context::new(&SHA256));
            (name.to_owned(), KindDigest { count, sha256: hex(&sha256_of(context)) })
        });
        Digests(kinds.collect())
    }
}

/// Lengths first, so that no two pairs look like another two.
fn update(context: &mut Context, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
}

fn sha256_of(context: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use store::keys;
    use wire::{AccountId, ChatId, Seq};

    use super::*;

    const A: LogId = LogId::Chat(ChatId::new([1; 16]));
    const B: LogId = LogId::Chat(ChatId::new([2; 16]));

    fn digests(pairs: &[(Bytes, &'static [u8])]) -> Digests {
        let mut digester = Digester::default();
        for (key, value) in pairs {
            digester.feed(key, &Bytes::from_static(value));
        }
        digester.finish()
    }

    #[test]
    fn every_difference_shows() {
        let entry = |log, seq, value: &'static [u8]| (keys::entry(log, Seq(seq)), value);
        let base: Vec<(Bytes, &'static [u8])> = vec![
            entry(A, 1, b"a"),
            entry(A, 2, b"b"),
            (keys::head(A), b"h"),
            entry(B, 1, b"c"),
            (keys::account(AccountId::new([3; 16])), b"d"),
        ];
        let good = digests(&base);
        assert_eq!((good.keys(), good.count(Kind::Entry), good.count(Kind::Head)), (5, 3, 1));
        assert_eq!(good, digests(&base));
        for change in 0..base.len() {
            let mut other = base.clone();
            other[change].1 = b"x";
            let other = digests(&other);
            assert_ne!(good.total(), other.total(), "{change}");
            assert_eq!(good.first_difference(&other).as_deref(), Some(Kind::of(&base[change].0).name()));
            let mut fewer = base.clone();
            fewer.remove(change);
            assert_ne!(good.total(), digests(&fewer).total(), "{change}");
        }
        let mut swapped = base.clone();
        (swapped[0].1, swapped[1].1) = (base[1].1, base[0].1);
        assert_ne!(good.total(), digests(&swapped).total());
        assert_eq!(good.first_difference(&good), None);
    }

    #[test]
    fn a_cut_between_two_parts_is_no_accident() {
        let long = digests(&[(Bytes::from_static(b"p+1"), b"23")]);
        assert_ne!(long, digests(&[(Bytes::from_static(b"p+12"), b"3")]));
    }
}
