//! What is said over the socket: a length of four bytes, a kind of one, and fields. Integers are little-endian; bytes are a
//! length of four bytes and themselves.
//!
//! The server greets. Then each request but [`Request::End`] gets one answer, in order. Every length is held against what
//! may be meant before anything is kept.

use bytes::{Buf, Bytes};

use super::Malformed;
use crate::buffer::{Stored, Wanted};
use crate::tx::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// The protocol's version.
pub(super) const VERSION: u16 = 1;

const MAGIC: &[u8; 12] = b"godwit reads";

/// Bytes of keys and values after which a page ends, whatever was asked for.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// Pairs of a page.
pub(super) const PAGE_PAIRS_MAX: usize = 4_096;

/// A bound of a range may be the key right after the longest.
const BOUND_BYTES_MAX: usize = KEY_BYTES_MAX + 1;

/// The longest request, without its length: a page's.
pub(super) const REQUEST_BYTES_MAX: usize = 1 + 2 * (4 + BOUND_BYTES_MAX) + 1 + 2 * 4;

/// The longest answer, without its length: a page whose last pair came a byte before its end.
pub(super) const ANSWER_BYTES_MAX: usize =
    1 + 1 + 4 + PAGE_BYTES_MAX + KEY_BYTES_MAX + VALUE_BYTES_MAX + 8 * (PAGE_PAIRS_MAX + 1);

/// What a server may say of a failure, in bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// What the server says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Ask. The number is this server's: one that is started later has another.
    Welcome(u64),
    /// Too many do already.
    Busy,
    /// To its own user and root alone.
    Denied,
}

/// What a reader asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// A snapshot, instead of the one before.
    Begin,
    /// A value of the snapshot.
    Get(Bytes),
    /// The first pairs of a range of it, which is not empty.
    Page { begin: Bytes, end: Bytes, reverse: bool, pairs: u32, bytes: u32 },
    /// No snapshot. There is no answer.
    End,
}

/// What it is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// The snapshot's version.
    Began(u64),
    /// A value, if there is one.
    Value(Option<Bytes>),
    /// Pairs in the asked order.
    Pairs(Stored),
    /// The snapshot has had its time.
    TooOld,
    /// The store cannot be read, and why.
    Unavailable(String),
}

/// Bytes that become a frame.
struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8, room: usize) -> Frame {
        let mut bytes = Vec::with_capacity(4 + 1 + room);
        bytes.extend_from_slice(&[0, 0, 0, 0, kind]);
        Frame(bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Frame {
        self.0.extend_from_slice(bytes);
        self
    }

    fn bytes(self, bytes: &[u8]) -> Frame {
        // Nothing here is longer than an answer.
        self.raw(&(bytes.len() as u32).to_le_bytes()).raw(bytes)
    }

    fn done(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// A frame's fields, taken from its front.
struct Fields(Bytes);

impl Fields {
    fn u8(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed("it is cut"))
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.0.try_get_u16_le().map_err(|_| Malformed("it is cut"))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32_le().map_err(|_| Malformed("it is cut"))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64_le().map_err(|_| Malformed("it is cut"))
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither set nor not")),
        }
    }

    fn bytes(&mut self, max: usize) -> Result<Bytes, Malformed> {
        let length = self.u32()? as usize;
        if length > max || length > self.0.len() {
            return Err(Malformed("a field is too long"));
        }
        Ok(self.0.split_to(length))
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("it goes on after its end")) }
    }
}

impl Greeting {
    pub(super) fn encode(self) -> Vec<u8> {
        let frame = |kind| Frame::new(kind, 22).raw(MAGIC).raw(&VERSION.to_le_bytes());
        match self {
            Greeting::Welcome(instance) => frame(0).raw(&instance.to_le_bytes()).done(),
            Greeting::Busy => frame(1).done(),
            Greeting::Denied => frame(2).done(),
        }
    }

    /// The greeting, or the version of a server whose greetings are others.
    pub(super) fn decode(frame: Bytes) -> Result<Result<Greeting, u16>, Malformed> {
        let mut fields = Fields(frame);
        let kind = fields.u8()?;
        if fields.0.len() < MAGIC.len() || fields.0.split_to(MAGIC.len()) != MAGIC[..] {
            return Err(Malformed("no greeting"));
        }
        let version = fields.u16()?;
        if version != VERSION {
            return Ok(Err(version));
        }
        let greeting = match kind {
            0 => Greeting::Welcome(fields.u64()?),
            1 => Greeting::Busy,
            2 => Greeting::Denied,
            _ => return Err(Malformed("an unknown greeting")),
        };
        fields.end()?;
        Ok(Ok(greeting))
    }
}

impl Request {
    pub(super) fn page(begin: &Bytes, end: &Bytes, reverse: bool, wanted: Wanted) -> Request {
        let most = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let (pairs, bytes) = (most(wanted.pairs), most(wanted.bytes));
        Request::Page { begin: begin.clone(), end: end.clone(), reverse, pairs, bytes }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Request::Begin => Frame::new(0, 0).done(),
            Request::Get(key) => Frame::new(1, 4 + key.len()).bytes(key).done(),
            Request::Page { begin, end, reverse, pairs, bytes } => {
                Frame::new(2, 17 + begin.len() + end.len())
                    .bytes(begin)
                    .bytes(end)
                    .raw(&[u8::from(*reverse)])
                    .raw(&pairs.to_le_bytes())
                    .raw(&bytes.to_le_bytes())
                    .done()
            }
            Request::End => Frame::new(3, 0).done(),
        }
    }

    pub(super) fn decode(frame: Bytes) -> Result<Request, Malformed> {
        let mut fields = Fields(frame);
        let request = match fields.u8()? {
            0 => Request::Begin,
            1 => Request::Get(fields.bytes(KEY_BYTES_MAX)?),
            2 => {
                let (begin, end) = (fields.bytes(BOUND_BYTES_MAX)?, fields.bytes(BOUND_BYTES_MAX)?);
                if begin >= end {
                    return Err(Malformed("a range that ends where it begins, or before"));
                }
                Request::Page {
                    begin,
                    end,
                    reverse: fields.flag()?,
                    pairs: fields.u32()?,
                    bytes: fields.u32()?,
                }
            }
            3 => Request::End,
            _ => return Err(Malformed("an unknown request")),
        };
        fields.end()?;
        Ok(request)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Began(version) => Frame::new(0, 8).raw(&version.to_le_bytes()).done(),
            Answer::Value(None) => Frame::new(1, 0).done(),
            Answer::Value(Some(value)) => Frame::new(2, 4 + value.len()).bytes(value).done(),
            Answer::Pairs(Stored { pairs, more }) => {
                let room: usize = pairs.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
                let frame = Frame::new(3, 5 + room).raw(&[u8::from(*more)]);
                let frame = frame.raw(&(pairs.len() as u32).to_le_bytes());
                pairs.iter().fold(frame, |frame, (key, value)| frame.bytes(key).bytes(value)).done()
            }
            Answer::TooOld => Frame::new(4, 0).done(),
            Answer::Unavailable(reason) => {
                let reason = &reason.as_bytes()[..reason.len().min(REASON_BYTES_MAX)];
                Frame::new(5, 4 + reason.len()).bytes(reason).done()
            }
        }
    }

    pub(super) fn decode(frame: Bytes) -> Result<Answer, Malformed> {
        let mut fields = Fields(frame);
        let answer = match fields.u8()? {
            0 => Answer::Began(fields.u64()?),
            1 => Answer::Value(None),
            2 => Answer::Value(Some(fields.bytes(VALUE_BYTES_MAX)?)),
            3 => Answer::Pairs(fields.pairs()?),
            4 => Answer::TooOld,
            5 => {
                let reason = fields.bytes(REASON_BYTES_MAX)?;
                Answer::Unavailable(String::from_utf8_lossy(&reason).into_owned())
            }
            _ => return Err(Malformed("an unknown answer")),
        };
        fields.end()?;
        Ok(answer)
    }
}

impl Fields {
    fn pairs(&mut self) -> Result<Stored, Malformed> {
        let (more, count) = (self.flag()?, self.u32()? as usize);
        if count > PAGE_PAIRS_MAX {
            return Err(Malformed("too many pairs"));
        }
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((self.bytes(KEY_BYTES_MAX)?, self.bytes(VALUE_BYTES_MAX)?));
        }
        Ok(Stored { pairs, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(encoded: Vec<u8>) -> Bytes {
        let length = u32::from_le_bytes(*encoded.first_chunk().unwrap()) as usize;
        assert_eq!(length, encoded.len() - 4);
        Bytes::from(encoded).slice(4..)
    }

    fn b(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn requests() -> Vec<Request> {
        let page = |begin, end, reverse, pairs, bytes| Request::Page { begin, end, reverse, pairs, bytes };
        let longest = [Bytes::from(vec![1; BOUND_BYTES_MAX]), Bytes::from(vec![2; BOUND_BYTES_MAX])];
        let [begin, end] = longest;
        vec![
            Request::Begin,
            Request::Get(b("")),
            Request::Get(b("key")),
            page(b(""), b("z"), false, 0, u32::MAX),
            page(begin, end, true, u32::MAX, 1),
            Request::End,
        ]
    }

    #[test]
    fn what_is_said_is_understood_whole_and_nothing_else_is() {
        for request in requests() {
            let frame = body(request.encode());
            assert!(frame.len() <= REQUEST_BYTES_MAX);
            assert_eq!(Request::decode(frame.clone()), Ok(request.clone()));
            (0..frame.len()).for_each(|cut| assert!(Request::decode(frame.slice(..cut)).is_err()));
            assert!(Request::decode([&frame[..], b"x"].concat().into()).is_err());
        }
        for greeting in [Greeting::Welcome(7), Greeting::Busy, Greeting::Denied] {
            let frame = body(greeting.encode());
            assert_eq!(Greeting::decode(frame.clone()), Ok(Ok(greeting)));
            (0..frame.len()).for_each(|cut| assert!(Greeting::decode(frame.slice(..cut)).is_err()));
        }
        let mut later = Greeting::Busy.encode();
        later[17] += 1;
        assert_eq!(Greeting::decode(body(later)), Ok(Err(VERSION + 1)));
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let pairs = vec![(b("a"), b("1")), (b("b"), b(""))];
        for answer in [
            Answer::Began(u64::MAX),
            Answer::Value(None),
            Answer::Value(Some(b(""))),
            Answer::Pairs(Stored { pairs, more: true }),
            Answer::TooOld,
            Answer::Unavailable("disk".into()),
        ] {
            let frame = body(answer.encode());
            let decoded = Answer::decode(frame.clone()).unwrap();
            assert_eq!(format!("{decoded:?}"), format!("{answer:?}"));
            (0..frame.len()).for_each(|cut| assert!(Answer::decode(frame.slice(..cut)).is_err()));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let page = |begin, end| Request::Page { begin, end, reverse: false, pairs: 1, bytes: 1 };
        let too_long = Bytes::from(vec![1; BOUND_BYTES_MAX + 1]);
        for request in [
            page(b("b"), b("a")),
            page(b("a"), b("a")),
            page(b(""), too_long.clone()),
            Request::Get(too_long.slice(1..)),
        ] {
            assert!(Request::decode(body(request.encode())).is_err(), "{request:?}");
        }
        for frame in
            [&b""[..], b"\x04", b"\x01\xff\xff\xff\xff", b"\x02\0\0\0\0\x01\0\0\0z\x02\0\0\0\0\0\0\0\0"]
        {
            assert!(Request::decode(Bytes::from_static(frame)).is_err(), "{frame:?}");
        }
        let many = [&b"\x03\0"[..], &u32::MAX.to_le_bytes()].concat();
        assert!(Answer::decode(many.into()).is_err());
        assert!(matches!(Greeting::decode(b("HTTP/1.1 400 Bad Request")), Err(Malformed(_))));
    }
}
