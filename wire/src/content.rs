//! What a message says, between clients. A server carries these bytes and never calls this module.
//!
//! Encryption goes around them: a client seals what [`Content::encode`] makes and opens before [`Content::decode`].

use bytes::Bytes;
use flatbuffers::FlatBufferBuilder;

use crate::error::DecodeError;
use crate::generated::content as fb;
use crate::{Seq, limits};

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A text.
    Text(Text),
    /// Something a newer client says: shown as "update to see this".
    Unknown,
}

/// A text message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text, UTF-8, as typed.
    pub text: String,
    /// The sender's clock when it was sent, microseconds since the Unix epoch: for display and figures, never for order (G19).
    pub sent_at_us: u64,
    /// The message it answers, in the same chat.
    pub reply_to: Option<Seq>,
}

impl Content {
    /// The bytes a client seals.
    pub fn encode(&self) -> Bytes {
        let mut b = FlatBufferBuilder::new();
        let (said_type, said) = match self {
            Content::Text(text) => {
                let string = b.create_string(&text.text);
                let args = fb::TextArgs {
                    text: Some(string),
                    sent_at_us: text.sent_at_us,
                    reply_to: text.reply_to.map_or(0, |seq| seq.0),
                };
                (fb::Said::Text, Some(fb::Text::create(&mut b, &args).as_union_value()))
            }
            Content::Unknown => (fb::Said::NONE, None),
        };
        let content = fb::Content::create(&mut b, &fb::ContentArgs { said_type, said });
        b.finish(content, None);
        Bytes::copy_from_slice(b.finished_data())
    }

    /// Reads what another client sealed.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not verify: they came from a person, not from the server.
    pub fn decode(bytes: &[u8]) -> Result<Content, DecodeError> {
        if bytes.len() > limits::CONTENT_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: bytes.len() as u64 });
        }
        let content = fb::root_as_content(bytes).map_err(DecodeError::Malformed)?;
        Ok(match content.said_as_text() {
            Some(text) => Content::Text(Text {
                text: text.text().to_owned(),
                sent_at_us: text.sent_at_us(),
                reply_to: Some(Seq(text.reply_to())).filter(|&seq| seq != Seq::ZERO),
            }),
            None => Content::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_garbage_is_refused() {
        let text = Text { text: "grüße 🐦 שלום".into(), sent_at_us: 5, reply_to: Some(Seq(3)) };
        let content = Content::Text(text);
        assert_eq!(Content::decode(&content.encode()), Ok(content));
        assert_eq!(Content::decode(&Content::Unknown.encode()), Ok(Content::Unknown));
        assert!(matches!(Content::decode(b"hello"), Err(DecodeError::Malformed(_))));
    }
}
