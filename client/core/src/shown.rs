//! How what is kept is shown to those who debug: never what people say, and no secret (R162).

use std::fmt;

use crate::kept::{Message, MlsRow, OutboxRow};

impl fmt::Debug for MlsRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value.as_ref().map(Vec::len);
        f.debug_struct("MlsRow").field("bytes", &bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for OutboxRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxRow")
            .field("client_msg_id", &self.client_msg_id)
            .field("chat", &self.chat)
            .field("bytes", &self.content.len())
            .field("sealed_for", &self.sealed.as_ref().map(|sealed| sealed.epoch))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("client_msg_id", &self.client_msg_id)
            .field("chat", &self.chat)
            .field("seq", &self.seq)
            .field("sender", &self.sender)
            .field("at", &self.at)
            .field("bytes", &self.content.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::{AccountId, ChatId, ClientMsgId, Seq, WallTime};

    use super::*;
    use crate::io::{ClientEvent, Output};
    use crate::kept::Write;

    #[test]
    fn r162_what_people_say_and_secrets_are_not_shown() {
        let (client_msg_id, chat) = (ClientMsgId::new([1; 16]), ChatId::new([2; 16]));
        let content = Bytes::from_static(b"between us");
        let row = OutboxRow { client_msg_id, chat, peer: None, content: content.clone(), sealed: None };
        let (sender, at) = (AccountId::new([3; 16]), WallTime(4));
        let message = Message { chat, seq: Seq(5), sender, client_msg_id, at, content };
        let secret = MlsRow { key: b"between us".to_vec(), value: Some(b"between us".to_vec()) };
        let writes = [Write::Queue(row), Write::Sent(message.clone()), Write::Mls(secret)];
        let shown: String = writes.map(|write| format!("{:?}", Output::Persist(write))).concat();
        let shown = shown + &format!("{:?}", ClientEvent::Arrived(message));
        let numbers = format!("{:?}", &b"between us"[..]);
        let numbers = numbers.trim_matches(['[', ']']);
        assert!(!shown.contains("between") && !shown.contains(numbers), "{shown}");
        assert!(shown.contains("bytes: 10") && shown.contains("Seq(5)"), "{shown}");
    }
}
