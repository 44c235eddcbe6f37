//! One file per thing a client may ask. A request is a small state machine: each [`Step`] performs one effect, answers,
//! or refuses; [`begin`] and [`Call::resume`] drive it and hold what all requests share: who may ask, and how often.

mod account;
pub(crate) mod append;
mod chats;
pub(crate) mod commit;
mod device;
mod group;
pub(crate) mod history;
pub(crate) mod inbox;
mod key_packages;
mod register;
mod typing;

use std::net::IpAddr;

use bytes::Bytes;
use store::ephemeral::{Bucket, EphemeralOp, EphemeralOutput, Take};
use wire::proof::Exporter;
use wire::{AccountId, DeviceId, ErrorCode, Event, Refusal, Request, WallTime};

use crate::cx::Cx;
use crate::io::{Effect, EffectError, EffectOutput};
use crate::limits::Rates;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) remote: IpAddr,
    pub(crate) exporter: Option<Exporter>,
    pub(crate) identity: Option<Identity>,
}

/// A device, identified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
}

/// What a request does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// One effect, and what goes on after it.
    Perform(Box<Effect>, Box<Call>),
    /// The answer, as frames.
    Answer(Vec<Bytes>),
    /// New tokens for a device, as frames, and when its access token ends: if the session is its own, it knows.
    Renewed { answer: Vec<Bytes>, device: DeviceId, expires: WallTime },
    /// No.
    Refuse(Refusal),
}

/// A request in work: what it waits for.
#[derive(Debug)]
pub(crate) enum Call {
    /// To be counted.
    Counted(Request),
    Register(register::Register),
    Verify(register::Verify),
    Refresh(account::Refresh),
    Lookup(account::Lookup),
    Device(device::DeviceCall),
    History(history::HistoryCall),
    Chats(chats::ChatsCall),
    Commit(Box<commit::CommitCall>),
    Group(group::GroupCall),
    KeyPackages(key_packages::KeyPackagesCall),
}

impl Step {
    fn perform(effect: Effect, call: Call) -> Step {
        Step::Perform(Box::new(effect), Box::new(call))
    }

    fn answer(event: &Event) -> Step {
        Step::Answer(vec![event.encode()])
    }
}

impl From<ErrorCode> for Step {
    fn from(code: ErrorCode) -> Step {
        Step::Refuse(code.refuse())
    }
}

/// Begins a request: who may ask it, and is it within its rates.
pub(crate) fn begin(cx: &mut Cx, caller: &Caller, request: Request) -> Step {
    match rates(&cx.limits.rates, caller, &request) {
        Ok(takes) => Step::perform(Effect::Ephemeral(EphemeralOp::Take(takes)), Call::Counted(request)),
        Err(code) => code.into(),
    }
}

/// What a request counts against, or why this caller may not ask it. Without a wildcard: who may ask a new request is
/// decided here.
fn rates(rates: &Rates, caller: &Caller, request: &Request) -> Result<Vec<Take>, ErrorCode> {
    let who = caller.identity.ok_or(ErrorCode::Unauthenticated);
    let take = match request {
        Request::Register(_) | Request::VerifyOtp(_) | Request::Refresh(_) => {
            let bucket = Bucket::Anonymous(caller.remote);
            Take { bucket, rate: Rates::per_minute(rates.anonymous_per_minute) }
        }
        Request::Lookup { .. } => {
            let bucket = Bucket::Lookups(who?.account);
            Take { bucket, rate: Rates::per_hour(rates.lookups_per_hour) }
        }
        Request::Logout
        | Request::ListDevices
        | Request::RevokeDevice { .. }
        | Request::GetMessages(_)
        | Request::GetChats { .. }
        | Request::GetReceipts { .. }
        | Request::LeaveGroup { .. }
        | Request::GetGroup { .. }
        | Request::GetTree { .. }
        | Request::PublishKeyPackages(_) => {
            let bucket = Bucket::Requests(who?.account);
            Take { bucket, rate: Rates::per_minute(rates.requests_per_minute) }
        }
        Request::ClaimKeyPackages(claim) => return Ok(key_packages::claim_takes(rates, who?, claim)),
        // Counted once all of it is there, by `commit::begin`.
        Request::CommitGroup(_) => return Err(who.err().unwrap_or(ErrorCode::Unsupported)),
        Request::Hello(_)
        | Request::Ping { .. }
        | Request::ChatUp { .. }
        | Request::Append(_)
        | Request::MoveCursor { .. }
        | Request::Typing { .. }
        | Request::Part { .. }
        | Request::InboxUp
        | Request::Unknown => return Err(ErrorCode::Unsupported),
    };
    Ok(vec![take])
}

impl Call {
    /// Goes on with a request after one effect.
    pub(crate) fn resume(
        self,
        cx: &mut Cx,
        caller: &Caller,
        result: Result<EffectOutput, EffectError>,
    ) -> Step {
        let output = match result {
            Ok(output) => output,
            Err(error) => {
                if let Call::Commit(call) = &self {
                    call.failed(cx, error);
                }
                return Step::Refuse(error.into());
            }
        };
        match self {
            Call::Counted(request) => match taken(&output) {
                Ok(()) => admitted(cx, caller, request),
                Err(refusal) => Step::Refuse(refusal),
            },
            Call::Register(call) => call.resume(cx, output),
            Call::Verify(call) => call.resume(cx, caller, output),
            Call::Refresh(call) => call.resume(cx, output),
            Call::Lookup(call) => call.resume(output),
            Call::Device(call) => call.resume(cx, output),
            Call::History(call) => call.resume(output),
            Call::Chats(call) => call.resume(output),
            Call::Commit(call) => call.resume(cx, output),
            Call::Group(call) => call.resume(cx, output),
            Call::KeyPackages(call) => call.resume(output),
        }
    }
}

fn admitted(cx: &mut Cx, caller: &Caller, request: Request) -> Step {
    match start(cx, caller, request) {
        Ok(step) => step,
        Err(code) => code.into(),
    }
}

/// The first step of a request that was counted. Without a wildcard: what a new request does is decided here.
fn start(cx: &mut Cx, caller: &Caller, request: Request) -> Result<Step, ErrorCode> {
    let who = caller.identity.ok_or(ErrorCode::Unauthenticated);
    Ok(match request {
        Request::Register(request) => register::Register::begin(cx, request),
        Request::VerifyOtp(request) => register::Verify::begin(cx, caller, request),
        Request::Refresh(request) => account::Refresh::begin(cx, caller, &request),
        Request::Lookup { phone } => account::Lookup::begin(who?, phone.expose()),
        Request::Logout => {
            let who = who?;
            device::DeviceCall::revoke(cx, who, who.device)
        }
        Request::RevokeDevice { device } => device::DeviceCall::revoke(cx, who?, device),
        Request::ListDevices => device::DeviceCall::list(who?),
        Request::GetMessages(request) => history::HistoryCall::messages(who?, &request),
        Request::GetReceipts { chat, seq } => history::HistoryCall::receipts(who?, chat, seq),
        Request::GetChats { after } => chats::ChatsCall::begin(who?, after),
        Request::LeaveGroup { chat, client_msg_id } => group::GroupCall::leave(cx, who?, chat, client_msg_id),
        Request::GetGroup { chat } => group::GroupCall::state(who?, chat),
        Request::GetTree { chat, epoch } => group::GroupCall::tree(who?, chat, epoch),
        Request::PublishKeyPackages(request) => {
            key_packages::KeyPackagesCall::publish(who?, cx.now.wall, request)?
        }
        Request::ClaimKeyPackages(request) => key_packages::KeyPackagesCall::claim(request),
        Request::Hello(_)
        | Request::Ping { .. }
        | Request::ChatUp { .. }
        | Request::Append(_)
        | Request::MoveCursor { .. }
        | Request::Typing { .. }
        | Request::CommitGroup(_)
        | Request::Part { .. }
        | Request::InboxUp
        | Request::Unknown => return Err(ErrorCode::Unsupported),
    })
}

/// Whether the tokens that were asked for are there.
pub(crate) fn taken(output: &EffectOutput) -> Result<(), Refusal> {
    match output {
        EffectOutput::Ephemeral(EphemeralOutput::Take(Ok(()))) => Ok(()),
        EffectOutput::Ephemeral(EphemeralOutput::Take(Err(limited))) => {
            Err(ErrorCode::RateLimited.after(limited.retry_after))
        }
        other => mismatch("Take", other),
    }
}

/// An effect that answers something else is the driver's bug; no peer can cause it.
#[track_caller]
pub(crate) fn mismatch(asked: &str, got: &EffectOutput) -> ! {
    panic!("the driver answered {asked} with {got:?}")
}
