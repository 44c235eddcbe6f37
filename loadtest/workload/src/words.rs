//! What is said: every text once, and known from who says it and how many things that phone said before.

use std::borrow::Cow;

use crate::Phone;

/// What a person is called.
pub fn name(person: usize) -> Cow<'static, str> {
    match ["Alice", "Bob", "Carol", "Dave"].get(person) {
        Some(name) => (*name).into(),
        None => format!("Person {person}").into(),
    }
}

/// The text that a phone says after `before` others: one in thirty is long (up to 30 kB), the others a line.
pub fn words(seed: u64, phone: Phone, before: u64) -> String {
    let mixed = mix(seed ^ (phone.number as u64) << 40 ^ before);
    let length = if mixed.is_multiple_of(30) { 1_000 + mix(mixed) % 29_000 } else { 20 };
    let mut text =
        format!("{}{} {before} ", name(phone.person), if phone.number == phone.person { "" } else { "'s" });
    text.extend(std::iter::repeat_n("la", length as usize / 2));
    text
}

/// splitmix64.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn p3_every_text_is_said_once_and_some_are_long() {
        let phones =
            [Phone { number: 0, person: 0 }, Phone { number: 4, person: 0 }, Phone { number: 5, person: 5 }];
        let texts: BTreeSet<String> =
            phones.iter().flat_map(|&phone| (0..300).map(move |n| words(3, phone, n))).collect();
        assert_eq!(texts.len(), 900);
        let long = texts.iter().filter(|text| text.len() >= 1_000).count();
        assert!((10..80).contains(&long), "{long}");
        assert!(texts.iter().all(|text| text.len() < 31_000));
    }
}
