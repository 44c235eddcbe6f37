//! Whole stores: copied, backed up, restored. One program, so that it is linked once.

mod copies;
mod groups;
mod p6;
mod s3;
mod seals;
mod simulated;
mod support;
