//! Early data: what a phone says in its first flight, before the handshake is complete.
//!
//! Whoever captured such a flight can send it again, and learns nothing from it, since without the keys no handshake
//! completes. So early data may only append, move cursors and read (G18), which idempotency keys make harmless; the
//! route, the session and delivery wait for the handshake, as do all other requests. It costs a replayer's victim work:
//! it is counted by address before a signature is looked at, and the device record is read before anything is done.
//!
//! An access token that has only expired is good enough here, while its device and its refresh tokens are alive:
//! `Connected` then says that it is to be renewed.

use mutation::Mutation;
use wire::proof::{self, Exporter};
use wire::request::{Credentials, EarlyProof, Hello};
use wire::{ErrorCode, Refusal, Request, limits};

use store::ephemeral::{Bucket, EphemeralOp, Take};
use store::op::DeviceError;

use crate::conn::{Conn, Stage};
use crate::cx::{Cx, Pending};
use crate::io::EffectError;
use crate::limits::Rates;
use crate::session::{self, Session};
use crate::token::{self, Claims};

/// A `Hello` that came as early data.
#[derive(Debug)]
pub(crate) struct EarlyHello {
    version: u16,
    hello: Hello,
    /// Once it is believed.
    session: Option<Box<Session>>,
}

/// Begins with a `Hello` whose proof was made for early data. It may be looked at only after the handshake, if that was
/// faster; but a connection that had no early data has no use for such a proof.
pub(crate) fn hello(cx: &mut Cx, conn: &mut Conn, hello: &Hello, version: u16) {
    if conn.exporter.is_some() && !conn.had_early {
        cx.counters.early_refused += 1;
        return conn.refuse(cx, ErrorCode::EarlyRefused.refuse());
    }
    conn.stage = Stage::EarlyAdmitting(Box::new(EarlyHello { version, hello: hello.clone(), session: None }));
    let rate = Rates::per_minute(cx.limits.rates.early_per_minute);
    let take = Take { bucket: Bucket::Early(conn.remote), rate };
    cx.ephemeral(EphemeralOp::Take(vec![take]), Pending::EarlyCounted { link: conn.link });
}

/// It was counted: now it is looked at.
pub(crate) fn counted(cx: &mut Cx, conn: &mut Conn, counted: Result<(), Refusal>) {
    let link = conn.link;
    let Stage::EarlyAdmitting(early) = &mut conn.stage else { return };
    if counted.is_err() {
        cx.counters.early_counted_out += 1;
        return conn.refuse(cx, ErrorCode::EarlyRefused.refuse());
    }
    let claims = match check(cx, &early.hello) {
        Ok(claims) => claims,
        Err(code) => {
            cx.counters.early_refused += 1;
            return conn.refuse(cx, code.refuse());
        }
    };
    early.session = Some(Box::new(Session::new(&claims, early.version, &early.hello, cx.now.wall)));
    cx.check_device(claims.account, claims.device, Pending::EarlyDevice { link });
}

/// A token of ours, made for the device key that signed this server's name and about this time.
fn check(cx: &Cx, hello: &Hello) -> Result<Claims, ErrorCode> {
    let Some(Credentials { token, proof, early: Some(early) }) = &hello.credentials else {
        return Err(ErrorCode::EarlyRefused);
    };
    let claims = token::verify(&cx.keys, token.expose())?;
    let message = proof::early_message(token.expose(), &early.server_name, early.signed_at);
    token::check_signature(&claims.device_key, proof, &message)?;
    if !is_timely(cx, early) || !is_ours(cx, early) {
        return Err(ErrorCode::EarlyRefused);
    }
    Ok(claims)
}

fn is_timely(cx: &Cx, early: &EarlyProof) -> bool {
    let (now, then) = (cx.now.wall, early.signed_at);
    now.saturating_since(then).max(then.saturating_since(now)) <= limits::EARLY_CLOCK_MAX
}

fn is_ours(cx: &Cx, early: &EarlyProof) -> bool {
    cx.names.iter().any(|name| is_for(name, &early.server_name))
}

/// Whether a name of a certificate is for a host: the same, or a wildcard for its first label (RFC 9525, section 6.3).
fn is_for(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => name.eq_ignore_ascii_case(host),
    }
}

/// Its device was looked up: what it says is taken. If the handshake is complete meanwhile, it is a session like any.
pub(crate) fn admitted(cx: &mut Cx, conn: &mut Conn, device: Result<Result<(), DeviceError>, EffectError>) {
    let Stage::EarlyAdmitting(early) = &mut conn.stage else { return };
    let Some(session) = early.session.take() else { return };
    let refusal = match device {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(session::device_refusal(error)),
        Err(error) => Some(error.into()),
    };
    if let Some(refusal) = refusal {
        cx.counters.early_refused += 1;
        return conn.refuse(cx, refusal);
    }
    cx.counters.early_accepted += 1;
    conn.stage = Stage::Early(session);
    conn.release(cx);
    if conn.exporter.is_some() || mutation::on(Mutation::EarlyBelieved) {
        begin(cx, conn);
    }
}

/// The handshake is complete: whoever said what came early holds the keys, and the session begins.
pub(crate) fn completed(cx: &mut Cx, conn: &mut Conn, exporter: Exporter, had_early: bool) {
    conn.exporter = Some(exporter);
    conn.had_early = had_early;
    begin(cx, conn);
}

fn begin(cx: &mut Cx, conn: &mut Conn) {
    match std::mem::replace(&mut conn.stage, Stage::Greeting) {
        Stage::Early(session) => session::begin(cx, conn, session),
        stage => conn.stage = stage,
    }
}

/// Whether a request may be answered before the handshake is complete: it reads, and costs no rare right. Without a
/// wildcard: a replayer may ask a new request only if that is said here.
pub(crate) fn may_answer(request: &Request) -> bool {
    match request {
        Request::GetMessages(_)
        | Request::GetReceipts { .. }
        | Request::GetChats { .. }
        | Request::ListDevices
        | Request::Unknown => true,
        Request::Register(_)
        | Request::VerifyOtp(_)
        | Request::Refresh(_)
        | Request::Logout
        | Request::RevokeDevice { .. }
        | Request::Lookup { .. }
        | Request::CommitGroup(_)
        | Request::Part { .. }
        | Request::LeaveGroup { .. }
        | Request::GetGroup { .. }
        | Request::GetTree { .. }
        | Request::PublishKeyPackages(_)
        | Request::ClaimKeyPackages(_)
        | Request::InboxUp => false,
        // What is said on streams of its own, and never comes here.
        Request::Hello(_)
        | Request::Ping { .. }
        | Request::ChatUp { .. }
        | Request::Append(_)
        | Request::MoveCursor { .. }
        | Request::Typing { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_for;

    #[test]
    fn g18_a_proof_is_for_this_server_s_names_alone() {
        for (name, host, ours) in [
            ("edge.test", "EDGE.test", true),
            ("edge.test", "edge.test.evil", false),
            ("*.edge.test", "a.edge.test", true),
            ("*.edge.test", "edge.test", false),
            ("*.edge.test", "a.b.edge.test", false),
            ("::1", "::1", true),
        ] {
            assert_eq!(is_for(name, host), ours, "{name} {host}");
        }
    }
}
