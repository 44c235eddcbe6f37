//! Seeded users: who there is, and what they do when. The simulation plays it in virtual time, a load test in real time;
//! both find here what was said, so that whoever checks what arrived needs to keep nothing.
//!
//! Arrivals are open-loop: an act has its moment whether or not the last one is done. What a phone does depends on the
//! seed, the shape and the phone alone, so a part of the phones can be played by another process, and more phones
//! change nothing for the others.
//!
//! Invariant: nothing here reads a clock or draws a random number that does not follow from the seed.

mod acts;
mod words;

use std::time::Duration;

pub use acts::{Act, Acts};
pub use words::{name, words};

/// How many people there are and how they behave. Times are means of exponential distributions, per phone.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// People, at least two.
    pub people: usize,
    /// The first so many of them have a second phone.
    pub second_phones: usize,
    /// Whom a person talks to: so many others, next to it in a ring, half on either side; at most all.
    pub contacts: usize,
    /// How long all of it lasts.
    pub lasts: Duration,
    /// After this nobody says or reads anything more, so that no later message helps an earlier one.
    pub quiet_after: Duration,
    /// Between messages, or bursts of them.
    pub says_every: Duration,
    /// The part of them that are bursts, and the most messages in one.
    pub bursts: (f64, u32),
    /// Between looks at what has come.
    pub reads_every: Duration,
    /// Between chats in which somebody types.
    pub types_every: Option<Duration>,
    /// The part of those in a chat of two others, where nobody should hear it.
    pub snoops: f64,
    /// Between departures from the network, and the longest absence.
    pub leaves_every: Option<(Duration, Duration)>,
    /// Between moments when the app goes into the background, and the longest time there.
    pub hides_every: Option<(Duration, Duration)>,
}

/// One phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Phone {
    /// Its number: first everybody's first phone, in the order of people, then the second ones.
    pub number: usize,
    /// Whose it is.
    pub person: usize,
}

impl Shape {
    /// Every phone, by number.
    pub fn phones(&self) -> impl Iterator<Item = Phone> {
        let people = self.people;
        let count = people + self.second_phones.min(people);
        (0..count).map(move |number| Phone { number, person: number % people })
    }

    /// Whom a person talks to, in the order of the ring. If one of two is in the other's list, so is the other.
    pub fn contacts_of(&self, person: usize) -> impl Iterator<Item = usize> {
        let people = self.people;
        let all = self.contacts.min(people - 1);
        // With everybody as a contact the two halves would meet; the ring is then walked once.
        let (before, after) = if all == people - 1 { (0, all) } else { (all / 2, all / 2) };
        let behind = (1..=before).map(move |n| (person + people - n) % people);
        behind.chain((1..=after).map(move |n| (person + n) % people))
    }

    /// What a phone does, from its first act to its last.
    pub fn acts(&self, seed: u64, phone: Phone) -> Acts {
        Acts::new(seed, self, phone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn shape(people: usize, contacts: usize) -> Shape {
        Shape {
            people,
            second_phones: 1,
            contacts,
            lasts: Duration::from_secs(60),
            quiet_after: Duration::from_secs(40),
            says_every: Duration::from_secs(1),
            bursts: (0.2, 10),
            reads_every: Duration::from_secs(2),
            types_every: Some(Duration::from_secs(4)),
            snoops: 0.2,
            leaves_every: Some((Duration::from_secs(20), Duration::from_secs(5))),
            hides_every: Some((Duration::from_secs(20), Duration::from_secs(5))),
        }
    }

    #[test]
    fn p3_a_phone_does_the_same_whoever_else_there_is() {
        let (small, large) = (shape(10, 4), Shape { second_phones: 3, ..shape(10, 4) });
        for phone in small.phones() {
            let acts: Vec<_> = small.acts(7, phone).collect();
            assert_eq!(acts, large.acts(7, phone).collect::<Vec<_>>());
            assert_ne!(acts, small.acts(8, phone).collect::<Vec<_>>());
            assert!(acts.is_sorted_by_key(|(at, _)| *at));
            assert!(acts.iter().all(|(at, _)| *at < small.lasts));
            let said = acts.iter().filter(|(_, act)| matches!(act, Act::Say { .. }));
            assert!((15..100).contains(&said.clone().count()), "about one a second for forty seconds");
            assert!(said.into_iter().all(|(at, _)| *at < small.quiet_after));
        }
    }

    #[test]
    fn p3_contacts_are_mutual_and_never_oneself() {
        for (people, contacts) in [(2, 1), (4, 3), (4, 9), (10, 4), (1000, 8)] {
            let shape = shape(people, contacts);
            for person in 0..people {
                let theirs: Vec<usize> = shape.contacts_of(person).collect();
                assert!(!theirs.is_empty() && !theirs.contains(&person), "{people} {contacts}");
                for other in theirs {
                    assert!(shape.contacts_of(other).any(|back| back == person), "{people} {contacts}");
                }
            }
        }
    }

    #[test]
    fn p3_second_phones_belong_to_the_first_people() {
        let phones: Vec<Phone> = shape(3, 2).phones().collect();
        assert_eq!(phones.iter().map(|phone| phone.person).collect::<Vec<_>>(), [0, 1, 2, 0]);
        assert!(phones.iter().enumerate().all(|(n, phone)| phone.number == n));
    }
}
