//! An embedded store that is open, read by others over its socket: they see what it holds and nothing else, and whatever they do
//! harms nobody.
#![cfg(unix)]

mod ends;
mod hostile;
mod same;
mod support;
mod who;
