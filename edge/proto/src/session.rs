//! One device's session: who it is, and how `Hello` makes it so.
//!
//! The order is the point: the token and the proof are checked first, without IO; then the session is registered for
//! hints, here and as a route; only then are the heads read, fresh. A sender looks routes up after its commit, so one
//! of the two sees the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mutation::Mutation;
use store::ephemeral::{Bucket, EphemeralOp, Route, Take};
use store::op::{DeviceError, Op, OpenSession, SessionState};
use wire::event::Connected;
use wire::proof::Purpose;
use wire::request::{Credentials, Hello};
use wire::{AccountId, ChatId, CloseCode, DeviceId, ErrorCode, Event, LogId, Refusal, Seq, WallTime};

use crate::conn::{Conn, Stage};
use crate::counters::Timing;
use crate::cx::{Cx, Pending};
use crate::delivery::{Large, LogDelivery, Waiting};
use crate::heads::Heads;
use crate::io::{EffectError, LinkId, Output, StreamId};
use crate::limits::Rates;
use crate::timers::Timer;
use crate::token::{self, Claims};
use crate::{early, presence};

/// Clocks of nodes may differ by this much: receipts are re-sent that far back.
pub(crate) const RECEIPTS_MARGIN: Duration = Duration::from_secs(120);

/// A session that began with an expired token is to renew it by then.
const RENEW_WITHIN: Duration = Duration::from_secs(60);

/// A busy node asks whoever says `Hello` to come back between a second and this much more later, each at another time.
const BUSY_SPREAD: Duration = Duration::from_secs(4);

/// What a busy node puts off is looked at again after this long.
const PUT_OFF: Duration = Duration::from_secs(5);

/// One device, identified.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) version: u16,
    pub(crate) token_expires: WallTime,
    /// Chats, and the device's inbox, with something to deliver, or that lately had. Boxed: a leaf of the map has room for
    /// eleven, most have few.
    pub(crate) logs: BTreeMap<LogId, Box<LogDelivery>>,
    /// Up to where the device's inbox was sent, while it is none of them.
    pub(crate) inbox_sent: Seq,
    /// An entry of several frames that is being sent.
    pub(crate) large: Large,
    /// Logs that wait for a stream: the inbox, then chats, newest activity first.
    pub(crate) waiting: BTreeSet<(Reverse<WallTime>, LogId)>,
    /// Logs that wait for a read.
    pub(crate) reads: Waiting,
    /// Down streams opening, open, or with an end not yet acknowledged.
    pub(crate) downs: usize,
    /// Those of them that are open, and whose they are.
    pub(crate) streams: BTreeMap<StreamId, LogId>,
    /// What `Hello` stated, until the session's state is read.
    pub(crate) stated: BTreeMap<ChatId, Seq>,
    /// Cursor moves since then are owed.
    pub(crate) receipts_since: WallTime,
    /// Logs that were owed something at `Hello` and still are; `None` once `Synced` was sent.
    pub(crate) unsynced: Option<BTreeSet<LogId>>,
    /// The server's time when the session began.
    pub(crate) began: WallTime,
    /// Whether hints were lost since the heads of its chats were read.
    pub(crate) heads: Heads,
    /// When they were read last, or else when the session began: cursors that have moved since then may have been lost with hints.
    pub(crate) heads_at: WallTime,
}

impl Session {
    pub(crate) fn new(claims: &Claims, version: u16, hello: &Hello, now: WallTime) -> Session {
        Session {
            account: claims.account,
            device: claims.device,
            version,
            token_expires: claims.expires,
            logs: BTreeMap::new(),
            inbox_sent: Seq::ZERO,
            large: Large::default(),
            waiting: BTreeSet::new(),
            reads: Waiting::default(),
            downs: 0,
            streams: BTreeMap::new(),
            stated: hello.cursors.iter().copied().collect(),
            receipts_since: hello.receipts_since - RECEIPTS_MARGIN,
            unsynced: Some(BTreeSet::new()),
            began: now,
            heads: Heads::Known,
            heads_at: now,
        }
    }

    pub(crate) fn route(&self, node: u64, link: LinkId) -> Route {
        Route { account: self.account, device: self.device, node, connection: link.0 }
    }
}

/// Handles the first frame of a connection.
pub(crate) fn hello(cx: &mut Cx, conn: &mut Conn, hello: &Hello) {
    conn.hello_at = Some(cx.now.instant);
    if cx.draining {
        return conn.refuse(cx, ErrorCode::ShuttingDown.refuse());
    }
    if cx.is_busy() {
        return refuse_busy(cx, conn);
    }
    let version = hello.version.min(wire::VERSION);
    if version == 0 {
        return conn.refuse(cx, ErrorCode::VersionUnsupported.refuse());
    }
    let Some(credentials) = &hello.credentials else {
        if conn.exporter.is_none() {
            // Nothing that an anonymous session may do may be done early.
            cx.counters.early_refused += 1;
            return conn.refuse(cx, ErrorCode::EarlyRefused.refuse());
        }
        conn.stage = Stage::Admitting { version };
        let take = Take { bucket: Bucket::Anonymous(conn.remote), rate: anonymous_rate(cx) };
        return cx.ephemeral(EphemeralOp::Take(vec![take]), Pending::Anonymous { link: conn.link });
    };
    if credentials.early.is_some() {
        return early::hello(cx, conn, hello, version);
    }
    let claims = match check(cx, conn, credentials) {
        Ok(claims) => claims,
        Err(code) => return conn.refuse(cx, code.refuse()),
    };
    let session = Box::new(Session::new(&claims, version, hello, cx.now.wall));
    if claims.expires <= cx.now.wall {
        conn.stage = Stage::Admitting { version };
        return cx.check_device(claims.account, claims.device, Pending::Expired { link: conn.link });
    }
    begin(cx, conn, session);
}

/// What follows `Hello` is more than the node takes on now: the client comes back, each at a time of its own.
fn refuse_busy(cx: &mut Cx, conn: &mut Conn) {
    let after = Duration::from_secs(1) + cx.random_part_of(BUSY_SPREAD);
    conn.refuse(cx, ErrorCode::Busy.after(after));
}

/// Registers a session for hints, here and as a route, before anything of it is read.
pub(crate) fn begin(cx: &mut Cx, conn: &mut Conn, session: Box<Session>) {
    // What came as early data waited for its handshake without anything in work.
    if cx.is_busy() {
        return refuse_busy(cx, conn);
    }
    cx.counters.sessions_begun += 1;
    if mutation::on(Mutation::RouteAfterHeads) {
        conn.stage = Stage::Opening(session);
        return routed(cx, conn);
    }
    register(cx, conn.link, &session, Pending::Route { link: conn.link });
    conn.stage = Stage::Opening(session);
}

fn register(cx: &mut Cx, link: LinkId, session: &Session, then: Pending) {
    cx.accounts.entry(session.account).or_default().push(link);
    cx.ephemeral(EphemeralOp::PutRoute(session.route(cx.node, link)), then);
}

fn anonymous_rate(cx: &Cx) -> store::ephemeral::Rate {
    Rates::per_minute(cx.limits.rates.anonymous_per_minute)
}

/// A token of ours, made for the device key that signed this connection.
fn check(cx: &Cx, conn: &Conn, credentials: &Credentials) -> Result<Claims, ErrorCode> {
    let token = credentials.token.expose();
    let claims = token::verify(&cx.keys, token)?;
    let (key, proof) = (&claims.device_key, &credentials.proof);
    token::check_proof(key, proof, Purpose::Hello, conn.exporter.as_ref(), &[token.as_bytes()])?;
    Ok(claims)
}

/// An anonymous session was counted: it may begin.
pub(crate) fn anonymous(cx: &mut Cx, conn: &mut Conn, limited: Option<Refusal>) {
    let Stage::Admitting { version } = conn.stage else { return };
    if let Some(refusal) = limited {
        return conn.refuse(cx, refusal);
    }
    conn.stage = Stage::Anonymous;
    let now = cx.now.wall;
    let connected = Connected {
        version,
        identity: None,
        server_time: now,
        token_expires: WallTime(0),
        chats: 0,
        refresh: false,
        key_packages: 0,
    };
    cx.counters.hellos_anonymous += 1;
    conn.connected(cx, connected);
    conn.release(cx);
}

/// An expired token's device was looked up: alive, it may refresh; ended, it must register.
pub(crate) fn expired(cx: &mut Cx, conn: &mut Conn, device: Result<Result<(), DeviceError>, EffectError>) {
    let refusal = match device {
        Ok(Ok(())) => ErrorCode::TokenExpired.refuse(),
        Ok(Err(error)) => device_refusal(error),
        Err(error) => error.into(),
    };
    conn.refuse(cx, refusal);
}

/// The route is registered: now the heads may be read.
pub(crate) fn routed(cx: &mut Cx, conn: &Conn) {
    let Stage::Opening(session) = &conn.stage else { return };
    let (account, device, receipts_since) = (session.account, session.device, session.receipts_since);
    let op = Op::OpenSession(OpenSession { account, device, receipts_since });
    cx.store(op, Pending::Session { link: conn.link });
}

/// The session's state is read: it begins, and so does delivery.
pub(crate) fn opened(
    cx: &mut Cx,
    conn: &mut Conn,
    result: Result<Result<SessionState, DeviceError>, EffectError>,
) {
    if !matches!(conn.stage, Stage::Opening(_)) {
        return;
    }
    let state = match result {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => return conn.refuse(cx, device_refusal(error)),
        Err(error) => return conn.refuse(cx, error.into()),
    };
    let Stage::Opening(session) = std::mem::replace(&mut conn.stage, Stage::Anonymous) else { return };
    let connected = Connected {
        version: session.version,
        identity: Some((session.account, session.device)),
        server_time: session.began,
        token_expires: session.token_expires,
        chats: state.chats.len().try_into().unwrap_or(u32::MAX),
        refresh: session.token_expires <= cx.now.wall,
        key_packages: state.key_packages,
    };
    if mutation::on(Mutation::RouteAfterHeads) {
        register(cx, conn.link, &session, Pending::Nothing);
    }
    let recheck = if connected.refresh {
        cx.after(RENEW_WITHIN, Timer::Stale(conn.link));
        Duration::from_secs(cx.limits.access_token_s.into())
    } else {
        session.token_expires.saturating_since(cx.now.wall)
    };
    cx.after(recheck, Timer::Recheck(conn.link));
    conn.stage = Stage::Active(session);
    cx.counters.hellos += 1;
    conn.connected(cx, connected);
    conn.release(cx);
    conn.call_deferred(cx);
    conn.begin_delivery(cx, state.inbox, state.chats);
}

/// A session that began with an expired token has had its time to renew it.
pub(crate) fn stale(cx: &mut Cx, conn: &mut Conn) {
    if conn.session().is_some_and(|session| session.token_expires <= cx.now.wall) {
        conn.goodbye(cx, ErrorCode::TokenExpired.refuse());
    }
}

/// A device renewed its tokens; if it did so on its own session, that one is as good as a new one.
pub(crate) fn renewed(conn: &mut Conn, device: DeviceId, expires: WallTime) {
    if let Stage::Active(session) = &mut conn.stage
        && session.device == device
    {
        session.token_expires = expires;
    }
}

/// Looks again whether a live session's device may have it: at each token lifetime, and on a hint.
pub(crate) fn recheck(cx: &mut Cx, conn: &Conn) {
    if cx.is_busy() {
        return cx.after(PUT_OFF, Timer::Recheck(conn.link));
    }
    if let Some(session) = conn.session() {
        cx.check_device(session.account, session.device, Pending::Recheck { link: conn.link });
    }
}

/// A live session's device was looked up again.
pub(crate) fn rechecked(cx: &mut Cx, conn: &mut Conn, device: Result<Result<(), DeviceError>, EffectError>) {
    let again = match device {
        Ok(Err(error)) => return conn.goodbye(cx, device_refusal(error)),
        Ok(Ok(())) => Duration::from_secs(cx.limits.access_token_s.into()),
        Err(error) => error.retry_after,
    };
    cx.after(again, Timer::Recheck(conn.link));
}

/// A heartbeat: it keeps the route, and presence with it, alive (R28).
pub(crate) fn ping(cx: &mut Cx, conn: &Conn, client_time: WallTime) {
    conn.say(cx, &Event::Pong { client_time, server_time: cx.now.wall });
    // A route outlives several heartbeats.
    if let (Some(session), false) = (conn.session(), cx.is_busy()) {
        let route = session.route(cx.node, conn.link);
        cx.ephemeral(EphemeralOp::TouchRoute(route), Pending::Nothing);
    }
}

/// A session is over: nobody is hinted on it any more.
pub(crate) fn ended(cx: &mut Cx, session: &Session, link: LinkId) {
    cx.counters.sessions_ended += 1;
    cx.turns.leave(&session.reads);
    if let Some(links) = cx.accounts.get_mut(&session.account) {
        links.retain(|&l| l != link);
        if links.is_empty() {
            cx.accounts.remove(&session.account);
            presence::left(cx, session.account);
        }
    }
    let route = session.route(cx.node, link);
    cx.ephemeral(EphemeralOp::DropRoute(route), Pending::Nothing);
}

pub(crate) fn device_refusal(error: DeviceError) -> Refusal {
    match error {
        DeviceError::AccountUnknown => ErrorCode::AccountUnknown.refuse(),
        DeviceError::Suspended => ErrorCode::AccountSuspended.refuse(),
        DeviceError::Revoked => ErrorCode::TokenRevoked.refuse(),
    }
}

/// Sends the last words and closes when they have arrived, or after a moment.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

impl Conn {
    /// Says that the session has begun.
    fn connected(&mut self, cx: &mut Cx, connected: Connected) {
        if let Some(at) = self.hello_at.take() {
            cx.timed(Timing::Connected(cx.now.instant.saturating_duration_since(at)));
        }
        self.say(cx, &Event::Connected(connected));
    }

    /// Refuses `Hello`, says why, and closes.
    pub(crate) fn refuse(&mut self, cx: &mut Cx, refusal: Refusal) {
        cx.counters.refused.add(refusal.code);
        tracing::debug!(link = self.link.0, code = ?refusal.code, "hello refused");
        self.say(cx, &Event::Refused(refusal));
        self.close_after_last_words(cx, CloseCode::Refused);
    }

    /// Ends a live connection, says why, and closes.
    pub(crate) fn goodbye(&mut self, cx: &mut Cx, refusal: Refusal) {
        if !matches!(self.stage, Stage::Closing(_)) {
            cx.counters.goodbyes.add(refusal.code);
        }
        self.say(cx, &Event::Goodbye(refusal));
        let code = match refusal.code {
            ErrorCode::ShuttingDown => CloseCode::ShuttingDown,
            ErrorCode::SessionReplaced => CloseCode::Replaced,
            ErrorCode::TokenRevoked => CloseCode::Revoked,
            _ => CloseCode::Refused,
        };
        self.close_after_last_words(cx, code);
    }

    fn close_after_last_words(&mut self, cx: &mut Cx, code: CloseCode) {
        if let Stage::Opening(session) | Stage::Active(session) =
            std::mem::replace(&mut self.stage, Stage::Closing(code))
        {
            ended(cx, &session, self.link);
        }
        match self.session_stream {
            Some(stream) => {
                cx.output(Output::Finish { link: self.link, stream });
                cx.after(LAST_WORDS, Timer::Close(self.link));
            }
            None => self.close(cx),
        }
    }
}
