//! What somebody who has the key sees: every page of the database and of its log, decrypted, whatever SQLite would say of
//! it: live, free, or a page's slack. Written from SQLCipher 4's description of its format; no code of SQLite's runs here.

use std::path::Path;

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};

const PAGE_BYTES: usize = 4096;

/// At a page's end: an initialisation vector of 16 bytes, and an HMAC-SHA512.
const RESERVED_BYTES: usize = 16 + 64;

/// The salt that the first page begins with is not encrypted.
const SALT_BYTES: usize = 16;

/// All pages of the database, then those of its log.
pub fn decrypted(dir: &Path) -> Vec<Vec<u8>> {
    let key = &std::fs::read(dir.join("state.key")).expect("a key")[25..57];
    let database = std::fs::read(dir.join("state.db")).expect("a database");
    let of_file = database.chunks(PAGE_BYTES).zip(1..);
    let log = std::fs::read(dir.join("state.db-wal")).unwrap_or_default();
    let frames = log.get(32..).unwrap_or_default().chunks_exact(24 + PAGE_BYTES);
    let of_log = frames.map(|frame| {
        let number = u32::from_be_bytes(*frame.first_chunk().expect("a frame's header"));
        (&frame[24..], number)
    });
    let pages: Vec<Vec<u8>> =
        of_file.chain(of_log).map(|(page, number)| decrypt(key, page, number)).collect();
    // The first page names its size: the key was right, and so is this reader.
    assert_eq!(pages[0][..2], [0x10, 0x00], "the first page is readable");
    pages
}

fn decrypt(key: &[u8], page: &[u8], number: u32) -> Vec<u8> {
    let (content, reserved) = page.split_at(PAGE_BYTES - RESERVED_BYTES);
    let mut content = content[if number == 1 { SALT_BYTES } else { 0 }..].to_vec();
    let iv: [u8; 16] = *reserved.first_chunk().expect("an initialisation vector");
    let key = UnboundCipherKey::new(&AES_256, key).expect("a key");
    let cbc = DecryptingKey::cbc(key).expect("a key");
    cbc.decrypt(&mut content, DecryptionContext::Iv128(iv.into())).expect("whole blocks");
    content
}
