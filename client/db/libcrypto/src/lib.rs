//! The libcrypto that SQLCipher is compiled and linked with: AWS-LC, under the name of the crate that `libsqlite3-sys` asks
//! for.
//!
//! SQLCipher is written for OpenSSL's libcrypto, which AWS-LC offers too, but for one interface of OpenSSL 3
//! (`include/evp_mac.h`). So one cryptographic library serves TLS and the database, and nothing is built or installed for
//! the database that was not there before. The build script hands on the headers, of the very version that `aws-lc-rs` has;
//! this file makes the linker take the library along. There is nothing to call.

extern crate aws_lc_rs;
