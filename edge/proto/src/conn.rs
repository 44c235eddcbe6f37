//! One connection: its stage, its streams, and which frames belong on each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::proof::Exporter;
use wire::{CloseCode, DecodeError, ErrorCode, Event, Refusal, Request};

use crate::collect::Collecting;
use crate::command::append::ChatUp;
use crate::command::inbox::InboxUp;
use crate::command::{self, Caller, Identity, Step};
use crate::cx::{Cx, Pending};
use crate::early::{self, EarlyHello};
use crate::io::{LinkId, Output, StreamId};
use crate::session::{self, Session};

/// A connection says at most this often who types where; more is dropped. Leaving one chat and typing in the next is two.
const TYPING_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It has not said `Hello`.
    Greeting,
    /// Its `Hello` is being looked at; there is no session to hint.
    Admitting { version: u16 },
    /// Its `Hello` came as early data and is being looked at.
    EarlyAdmitting(Box<EarlyHello>),
    /// Its early data is taken; everything else waits for the handshake.
    Early(Box<Session>),
    /// It is registered for hints, and its state is being read.
    Opening(Box<Session>),
    /// It may register, verify and refresh.
    Anonymous,
    /// It is a device.
    Active(Box<Session>),
    /// It was told why it ends, and then ends with this code.
    Closing(CloseCode),
}

/// A stream the client opened.
#[derive(Debug)]
pub(crate) enum Up {
    /// The session stream.
    Session,
    /// Nothing has been said on it.
    New,
    /// A request in work, and how many bytes of a commit it holds.
    Request { commit_bytes: u32 },
    /// A commit that is not whole yet.
    Commit(Box<Collecting>),
    /// The device's inbox's.
    Inbox(InboxUp),
    /// A chat's. Boxed: most connections have none, and a leaf of their map has room for eleven.
    Chat(Box<ChatUp>),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) link: LinkId,
    pub(crate) remote: IpAddr,
    /// What proofs cover; `None` until the handshake is complete, and what is said until then is early data.
    pub(crate) exporter: Option<Exporter>,
    /// The handshake is complete, and the connection carried early data.
    pub(crate) had_early: bool,
    pub(crate) stage: Stage,
    /// When it said `Hello`.
    pub(crate) hello_at: Option<Instant>,
    pub(crate) session_stream: Option<StreamId>,
    /// Bounded by the streams that QUIC lets the client open.
    pub(crate) streams: BTreeMap<StreamId, Up>,
    /// Requests in work.
    requests: usize,
    /// Whether a timer looks at commits that are not whole.
    pub(crate) commits_timed: bool,
    /// Streams opened before `Hello` was accepted: nothing is read from them until then.
    held: Vec<StreamId>,
    /// When the connection may say again that its person types.
    typing_at: Option<Instant>,
    /// Requests that came as early data and may not be answered as such. They count as in work.
    deferred: Vec<(StreamId, Request)>,
}

impl Conn {
    pub(crate) fn new(link: LinkId, remote: IpAddr) -> Conn {
        Conn {
            link,
            remote,
            exporter: None,
            had_early: false,
            stage: Stage::Greeting,
            hello_at: None,
            session_stream: None,
            streams: BTreeMap::new(),
            requests: 0,
            commits_timed: false,
            held: Vec::new(),
            typing_at: None,
            deferred: Vec::new(),
        }
    }

    /// The session, once it is active.
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Active(session) => Some(session),
            _ => None,
        }
    }

    /// The session as hints see it: from when it was registered.
    pub(crate) fn hinted_session(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Active(session) | Stage::Opening(session) => Some(session),
            _ => None,
        }
    }

    /// Sends an event on the session stream.
    pub(crate) fn say(&self, cx: &mut Cx, event: &Event) {
        if let Some(stream) = self.session_stream {
            cx.send(self.link, stream, event);
        }
    }

    /// The client opened a stream.
    pub(crate) fn on_opened(&mut self, cx: &mut Cx, stream: StreamId) {
        let link = self.link;
        match self.stage {
            Stage::Greeting if self.session_stream.is_none() => {
                self.session_stream = Some(stream);
                self.streams.insert(stream, Up::Session);
            }
            Stage::Greeting | Stage::Admitting { .. } | Stage::EarlyAdmitting(_) | Stage::Opening(_) => {
                cx.output(Output::Pause { link, stream });
                self.held.push(stream);
            }
            Stage::Anonymous | Stage::Early(_) | Stage::Active(_) => {
                self.streams.insert(stream, Up::New);
            }
            Stage::Closing(code) => cx.output(Output::Reset { link, stream, code }),
        }
    }

    /// `Hello` is accepted: the streams that waited for it are read.
    pub(crate) fn release(&mut self, cx: &mut Cx) {
        for stream in std::mem::take(&mut self.held) {
            self.streams.insert(stream, Up::New);
            cx.output(Output::Resume { link: self.link, stream });
        }
    }

    /// A frame arrived.
    pub(crate) fn on_frame(&mut self, cx: &mut Cx, stream: StreamId, body: &Bytes) {
        if matches!(self.stage, Stage::Closing(_)) {
            // It was told that this is the end: what it says after that, it says again on its next connection.
            return;
        }
        let link = self.link;
        let Some(up) = self.streams.get_mut(&stream) else { return };
        let request = match Request::decode(body) {
            Ok(request) => request,
            Err(error) => return self.malformed(cx, stream, &error),
        };
        match up {
            Up::Session => self.session_frame(cx, stream, &request),
            Up::New => self.first_frame(cx, stream, request),
            Up::Request { .. } => self.abandon(cx, stream, CloseCode::Unexpected),
            Up::Commit(_) => self.commit_frame(cx, stream, request),
            Up::Chat(_) => self.chat_frame(cx, stream, request),
            Up::Inbox(up) => match up.frame(cx, link, stream, &request) {
                Ok(()) => {}
                Err(code) => self.abandon(cx, stream, code),
            },
        }
    }

    fn malformed(&mut self, cx: &mut Cx, stream: StreamId, error: &DecodeError) {
        cx.counters.malformed += 1;
        tracing::debug!(link = self.link.0, stream = stream.0, %error, "malformed frame");
        self.abandon(cx, stream, error.close_code());
    }

    fn session_frame(&mut self, cx: &mut Cx, stream: StreamId, request: &Request) {
        match (&self.stage, request) {
            (Stage::Greeting, Request::Hello(hello)) => session::hello(cx, self, hello),
            (Stage::Anonymous | Stage::Active(_), Request::Ping { client_time }) => {
                session::ping(cx, self, *client_time)
            }
            (Stage::Anonymous | Stage::Active(_), Request::Unknown) | (Stage::Closing(_), _) => {}
            _ => self.abandon(cx, stream, CloseCode::Unexpected),
        }
    }

    /// The first frame says what a stream is for.
    fn first_frame(&mut self, cx: &mut Cx, stream: StreamId, request: Request) {
        match request {
            Request::ChatUp { chat, peer } => {
                let Some(who) = self.identity() else {
                    return self.answer_refused(cx, stream, ErrorCode::Unauthenticated.refuse());
                };
                match ChatUp::new(who, chat, peer) {
                    Ok(up) => drop(self.streams.insert(stream, Up::Chat(Box::new(up)))),
                    Err(code) => self.answer_refused(cx, stream, code.refuse()),
                }
            }
            Request::InboxUp => match self.identity() {
                Some(who) => drop(self.streams.insert(stream, Up::Inbox(InboxUp { who }))),
                None => self.answer_refused(cx, stream, ErrorCode::Unauthenticated.refuse()),
            },
            Request::Hello(_)
            | Request::Ping { .. }
            | Request::Append(_)
            | Request::MoveCursor { .. }
            | Request::Typing { .. }
            | Request::Part { .. } => self.abandon(cx, stream, CloseCode::Unexpected),
            request => self.begin_call(cx, stream, request),
        }
    }

    fn begin_call(&mut self, cx: &mut Cx, stream: StreamId, request: Request) {
        cx.counters.requests += 1;
        if cx.is_busy() || self.requests >= cx.limits.requests_in_flight {
            return self.answer_refused(cx, stream, ErrorCode::Busy.refuse());
        }
        self.streams.insert(stream, Up::Request { commit_bytes: 0 });
        self.requests += 1;
        if matches!(self.stage, Stage::Early(_) | Stage::Opening(_)) && !early::may_answer(&request) {
            if matches!(request, Request::CommitGroup(_)) {
                // Its parts wait where they are.
                cx.output(Output::Pause { link: self.link, stream });
            }
            return self.deferred.push((stream, request));
        }
        self.call(cx, stream, request);
    }

    fn call(&mut self, cx: &mut Cx, stream: StreamId, request: Request) {
        let caller = self.caller();
        let step = match request {
            Request::CommitGroup(commit) if caller.identity.is_some() => {
                return self.begin_commit(cx, stream, commit);
            }
            request => command::begin(cx, &caller, request),
        };
        let place = (self.link, stream);
        step_call(cx, Some(self), place, caller, step);
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller { remote: self.remote, exporter: self.exporter, identity: self.identity() }
    }

    /// Performs the requests that had to wait for the handshake.
    pub(crate) fn call_deferred(&mut self, cx: &mut Cx) {
        for (stream, request) in std::mem::take(&mut self.deferred) {
            if !matches!(self.streams.get(&stream), Some(Up::Request { .. })) {
                continue;
            }
            if matches!(request, Request::CommitGroup(_)) {
                cx.output(Output::Resume { link: self.link, stream });
            }
            if cx.is_busy() {
                self.answer_refused(cx, stream, ErrorCode::Busy.refuse());
            } else {
                self.call(cx, stream, request);
            }
        }
    }

    /// Who may say something in chats and ask: also in early data, and while the session's state is read after it.
    fn identity(&self) -> Option<Identity> {
        match &self.stage {
            Stage::Active(session) | Stage::Early(session) | Stage::Opening(session) => {
                Some(Identity { account: session.account, device: session.device })
            }
            _ => None,
        }
    }

    fn chat_frame(&mut self, cx: &mut Cx, stream: StreamId, request: Request) {
        let link = self.link;
        let Some(Up::Chat(up)) = self.streams.get_mut(&stream) else { return };
        match request {
            Request::Append(append) => up.append(cx, link, stream, append),
            Request::MoveCursor { delivered, read } => up.move_cursor(cx, link, stream, delivered, read),
            Request::Typing { typing } => {
                // However many streams say it: each costs a read of the chat's members.
                let now = cx.now.instant;
                if self.exporter.is_some() && self.typing_at.is_none_or(|next| next <= now) {
                    self.typing_at = Some(now + TYPING_INTERVAL_MIN);
                    up.typing(cx, link, stream, typing);
                } else {
                    cx.counters.typing_dropped += 1;
                }
            }
            Request::Unknown => {}
            _ => self.abandon(cx, stream, CloseCode::Unexpected),
        }
    }

    /// Refuses what a stream asked for and ends it.
    pub(crate) fn answer_refused(&mut self, cx: &mut Cx, stream: StreamId, refusal: Refusal) {
        cx.counters.refused.add(refusal.code);
        self.answer(cx, stream, std::iter::once(Event::Refused(refusal).encode()));
    }

    /// Answers a request and ends its stream.
    pub(crate) fn answer(&mut self, cx: &mut Cx, stream: StreamId, frames: impl IntoIterator<Item = Bytes>) {
        let link = self.link;
        match self.streams.remove(&stream) {
            Some(Up::Request { .. } | Up::Commit(_)) => self.requests -= 1,
            Some(_) => {}
            None => return,
        }
        for frame in frames {
            cx.send_frame(link, stream, frame);
        }
        cx.output(Output::Finish { link, stream });
        cx.output(Output::Stop { link, stream, code: CloseCode::Done });
    }

    /// Abandons a stream for its peer's fault; without its session stream a connection is over.
    pub(crate) fn abandon(&mut self, cx: &mut Cx, stream: StreamId, code: CloseCode) {
        let link = self.link;
        match self.streams.remove(&stream) {
            Some(Up::Session) => cx.output(Output::Close { link, code }),
            Some(Up::Request { .. } | Up::Commit(_)) => {
                self.requests -= 1;
                self.deferred.retain(|&(deferred, _)| deferred != stream);
                cx.output(Output::Reset { link, stream, code });
            }
            Some(_) => cx.output(Output::Reset { link, stream, code }),
            None => {}
        }
    }

    /// The client has said all it will on a stream.
    pub(crate) fn on_finished(&mut self, cx: &mut Cx, stream: StreamId) {
        let link = self.link;
        match self.streams.get_mut(&stream) {
            Some(Up::Session) => cx.output(Output::Close { link, code: CloseCode::Done }),
            Some(Up::New | Up::Inbox(_)) => {
                self.streams.remove(&stream);
                cx.output(Output::Finish { link, stream });
            }
            Some(Up::Chat(up)) => {
                if up.finish(cx, link, stream) {
                    self.streams.remove(&stream);
                }
            }
            // It ends before all of it is there.
            Some(Up::Commit(_)) => self.abandon(cx, stream, CloseCode::Malformed),
            Some(Up::Request { .. }) | None => {}
        }
        self.held.retain(|&held| held != stream);
    }

    /// The client cancelled a stream, or no longer reads it. What was committed stays committed.
    pub(crate) fn on_reset(&mut self, cx: &mut Cx, stream: StreamId) {
        self.held.retain(|&held| held != stream);
        if self.streams.contains_key(&stream) {
            self.abandon(cx, stream, CloseCode::Cancelled);
        } else {
            self.down_reset(cx, stream);
        }
    }

    /// The client finished a stream within a frame.
    pub(crate) fn on_torn(&mut self, cx: &mut Cx, stream: StreamId) {
        self.held.retain(|&held| held != stream);
        cx.counters.malformed += 1;
        self.abandon(cx, stream, CloseCode::Malformed);
    }

    /// Its last words have arrived, or had their time.
    pub(crate) fn close(&self, cx: &mut Cx) {
        let code = if let Stage::Closing(code) = self.stage { code } else { CloseCode::Refused };
        cx.output(Output::Close { link: self.link, code });
    }

    /// Room in a stream, or its end.
    pub(crate) fn on_delivered(&mut self, cx: &mut Cx, stream: StreamId) {
        match self.stage {
            Stage::Closing(_) if self.session_stream == Some(stream) => self.close(cx),
            Stage::Active(_) => self.down_delivered(cx, stream),
            _ => {}
        }
    }
}

/// Carries a request one step on. The connection may be gone: what was committed is still told to others.
pub(crate) fn step_call(
    cx: &mut Cx,
    conn: Option<&mut Conn>,
    (link, stream): (LinkId, StreamId),
    caller: Caller,
    step: Step,
) {
    match step {
        Step::Perform(effect, call) => {
            cx.perform(*effect, Pending::Call { link, stream, caller: Box::new(caller), call });
        }
        Step::Answer(frames) => {
            if let Some(conn) = conn {
                conn.answer(cx, stream, frames);
            }
        }
        Step::Renewed { answer, device, expires } => {
            if let Some(conn) = conn {
                session::renewed(conn, device, expires);
                conn.answer(cx, stream, answer);
            }
        }
        Step::Refuse(refusal) => {
            if let Some(conn) = conn {
                conn.answer_refused(cx, stream, refusal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Instant;

    use wire::request::Hello;
    use wire::{AccountId, DeviceId, Secret, WallTime};

    use super::*;
    use crate::io::Now;
    use crate::token::Claims;
    use crate::{KeyMaterial, Keys, Limits, NodeConfig, TokenKey};

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
    fn cx() -> Cx {
        let token_keys = vec![TokenKey { kid: "test".into(), seed: Secret::new([1; 32]) }];
        let keys = Keys::new(&KeyMaterial { token_keys, secret: Secret::new([2; 32]) }).unwrap();
        let config = NodeConfig {
            limits: Limits::default(),
            keys: Arc::new(keys),
            node: 1,
            app_name: "Godwit".into(),
            names: Vec::new(),
            seed: [3; 32],
        };
        Cx::new(config, Now { instant: Instant::now(), wall: WallTime(1) })
    }

    #[test]
    fn g18_a_request_that_waits_for_the_handshake_and_is_cancelled_leaves_nothing() {
        let mut cx = cx();
        let mut conn = Conn::new(LinkId(1), Ipv4Addr::LOCALHOST.into());
        let (account, device) = (AccountId::new([1; 16]), DeviceId::new([2; 16]));
        let claims = Claims { account, device, device_key: [0; 32], expires: WallTime(2) };
        let hello = Hello {
            version: 1,
            credentials: None,
            cursors: Vec::new(),
            receipts_since: WallTime(0),
            client: String::new(),
        };
        conn.stage = Stage::Early(Box::new(Session::new(&claims, 1, &hello, WallTime(1))));
        for stream in (0..1000).map(StreamId) {
            conn.on_opened(&mut cx, stream);
            conn.on_frame(&mut cx, stream, &wire::frame::body_of(&Request::Logout.encode()));
            assert_eq!((conn.deferred.len(), conn.requests), (1, 1));
            conn.on_reset(&mut cx, stream);
            assert_eq!((conn.deferred.len(), conn.requests), (0, 0));
        }
    }
}
