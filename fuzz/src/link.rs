//! A client's and a server's endpoint, and between them a network that does what the input says: datagrams are lost,
//! repeated, late, cut, bent, replayed, forged and sent from elsewhere, while streams open, carry frames and end.
//!
//! Keys are those of `wire_link::testing`, which seal with a checksum: a bent packet must be dropped, and what is outside
//! the seal (versions, connection ids, lengths, coalesced packets, resets) reaches the parsers as the input has it.
//!
//! `bench` has the network and the endpoints, `ledger` what should arrive.

mod act;
mod bench;
mod ledger;

use arbitrary::{Arbitrary, Unstructured};

use self::act::{Act, Setting};
use self::bench::Bench;

/// Acts of one input; what is past them is not looked at.
const ACTS_MAX: usize = 256;

/// Takes one input.
///
/// # Panics
/// If something arrives that was not sent, if what a connection that lives was given does not arrive, or if something
/// grows that must not.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(setting) = Setting::arbitrary(&mut input) else { return };
    let mut bench = Bench::new(&setting);
    for _ in 0..ACTS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(act) = Act::arbitrary(&mut input) else { break };
        crate::show(&act);
        bench.act(act);
    }
    bench.settle();
}
