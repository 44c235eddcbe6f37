//! Whole sessions: two nodes on one store, the devices of three people, and an input that is a list of what they do and
//! of what goes wrong around them. A small model says what should be true (`model`). Of MLS there is only what a node sees (`group`).
//!
//! The driver here obeys what the real one does (`edge/proto/src/quic.rs`): frames of a stream come in order and not
//! while it is paused, a stream that was opened is reported before anything on it, and `OpenDown` is answered at once.
//! Everything else is the input's: effects finish in any order, fail before or after they happened, hints are lost,
//! late and repeated, readers stall, time jumps.

mod act;
mod client;
mod group;
mod link;
mod model;
mod outside;
mod request;
mod settle;
mod world;

use arbitrary::{Arbitrary, Unstructured};

use self::act::Act;
use self::world::World;

/// Acts of one input; what is past them is not looked at.
const ACTS_MAX: usize = 256;

/// Takes one input.
///
/// # Panics
/// If the model and the nodes disagree.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let small = input.arbitrary().unwrap_or_default();
    let mut world = World::new(small);
    for _ in 0..ACTS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(act) = Act::arbitrary(&mut input) else { break };
        crate::show(&act);
        world.act(act);
    }
    world.settle();
}
