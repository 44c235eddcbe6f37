//! Damaged files of the embedded store: what is intact is read, the rest is named, and nothing else is.
//!
//! The body belongs to the store, whose format it knows: [`store::testing::torn`].

/// Takes one input.
///
/// # Panics
/// If what is read was never written, or what lies in an undamaged file is missing.
pub fn run(data: &[u8]) {
    // It opens, or says why not: which of the two is the input's, and both are right.
    drop(store::testing::torn(data));
}
