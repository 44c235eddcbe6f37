//! Looks for what people said in bytes that a server has: received, stored, logged. A text is looked for by its pieces, each in
//! every form in which it might have been written.

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest piece that is looked for: random bytes are no such piece by accident.
pub const PIECE_BYTES: usize = 12;

/// Texts to look for.
pub struct Planted {
    search: Option<AhoCorasick>,
    /// The text that each pattern is of, and the form it has.
    of: Vec<(usize, &'static str)>,
    texts: Vec<String>,
}

/// Something that was found.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub text: String,
    pub form: &'static str,
}

impl Planted {
    /// Of every text each piece of [`PIECE_BYTES`] bytes, wherever in it that begins: nothing longer can be there unseen.
    pub fn every_piece<'a>(texts: impl IntoIterator<Item = &'a str>) -> Planted {
        Planted::of(texts, |text| text.windows(PIECE_BYTES).map(<[u8]>::to_vec).collect())
    }

    /// Of every text how it begins: for many texts. Those shorter than a piece are left out.
    pub fn beginnings<'a>(texts: impl IntoIterator<Item = &'a str>) -> Planted {
        Planted::of(texts, |text| text.get(..PIECE_BYTES).map(<[u8]>::to_vec).into_iter().collect())
    }

    fn of<'a>(texts: impl IntoIterator<Item = &'a str>, pieces: fn(&[u8]) -> Vec<Vec<u8>>) -> Planted {
        let (mut patterns, mut of) = (Vec::new(), Vec::new());
        let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
        for (n, text) in texts.iter().enumerate() {
            let bytes = pieces(text.as_bytes()).into_iter().flat_map(|piece| forms(&piece));
            let wide = wide_forms(text, pieces);
            for (form, pattern) in bytes.chain(wide) {
                patterns.push(pattern);
                of.push((n, form));
            }
        }
        let search =
            (!patterns.is_empty()).then(|| AhoCorasick::new(&patterns).expect("patterns of some bytes"));
        Planted { search, of, texts }
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// The first that is in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<Found> {
        let found = self.search.as_ref()?.find(bytes)?;
        let (text, form) = self.of[found.pattern().as_usize()];
        Some(Found { text: self.texts[text].clone(), form })
    }
}

/// One piece, as bytes of UTF-8 might be written.
fn forms(piece: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("UTF-8", piece.to_vec()),
        ("upper hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
    ];
    // Where it begins within a group of three bytes decides what base64 makes of it; the first and the last characters
    // are of its neighbours, too.
    for before in 0..3_usize {
        let shifted = [&[0; 3][..before], piece].concat();
        let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.push(("base64", engine.encode(&shifted).as_bytes()[first..last].to_vec()));
        }
    }
    forms
}

/// A text as UTF-16, in pieces of as many characters.
fn wide_forms(text: &str, pieces: fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<(&'static str, Vec<u8>)> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let places: Vec<u8> = vec![0; units.len()];
    let count = pieces(&places).len();
    let piece = |at: usize| &units[at..at + PIECE_BYTES];
    let little =
        (0..count).map(|at| ("UTF-16", piece(at).iter().flat_map(|unit| unit.to_le_bytes()).collect()));
    let big = (0..count).map(|at| ("UTF-16", piece(at).iter().flat_map(|unit| unit.to_be_bytes()).collect()));
    little.chain(big).collect()
}

/// Every form is found wherever it stands, and what is not there is not.
pub fn assert_finds_what_is_planted() {
    let text = "the heron stands in the reeds at dawn, grüßend";
    let planted = Planted::every_piece([text]);
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_eq!(planted.find(&noise), None);
    let found =
        |inside: &[u8]| planted.find(&[&noise[..100], inside, &noise[..77]].concat()).map(|found| found.form);
    let piece = &text.as_bytes()[9..9 + PIECE_BYTES + 2];
    assert_eq!(found(piece), Some("UTF-8"));
    let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (found(hex.as_bytes()), found(hex.to_uppercase().as_bytes())),
        (Some("hex"), Some("upper hex"))
    );
    for (order, name) in [(u16::to_le_bytes as fn(u16) -> [u8; 2], "UTF-16"), (u16::to_be_bytes, "UTF-16")] {
        let wide: Vec<u8> = text.encode_utf16().skip(5).take(14).flat_map(order).collect();
        assert_eq!(found(&wide), Some(name));
    }
    for before in 0..3 {
        let among = [&b"xyz"[..before], text.as_bytes(), b"!"].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            assert_eq!(found(engine.encode(&among).as_bytes()), Some("base64"), "behind {before}");
        }
    }
}
