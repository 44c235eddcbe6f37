//! Every key shape, in one file.
