//! One file per thing a client may ask. A request is a small state machine: each [`Step`] performs one effect, answers,
//! or refuses; [`begin`] and [`Call::resume`] drive it and hold what all requests share: who may ask, and how often.

mod account;
pub(crate) mod append;
mod chats;
mod device;
pub(crate) mod history;
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
    let rates = &cx.limits.rates;
    let take = match (&request, caller.identity) {
        (Request::Unknown, _) => return ErrorCode::Unsupported.into(),
        (Request::Register(_) | Request::VerifyOtp(_) | Request::Refresh(_), _) => Take {
            bucket: Bucket::Anonymous(caller.remote),
            rate: Rates::per_minute(rates.anonymous_per_minute),
        },
        (_, None) => return ErrorCode::Unauthenticated.into(),
        (Request::Lookup { .. }, Some(who)) => {
            Take { bucket: Bucket::Lookups(who.account), rate: Rates::per_hour(rates.lookups_per_hour) }
        }
        (_, Some(who)) => {
            Take { bucket: Bucket::Requests(who.account), rate: Rates::per_minute(rates.requests_per_minute) }
        }
    };
    Step::perform(Effect::Ephemeral(EphemeralOp::Take(vec![take])), Call::Counted(request))
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
            Err(error) => return Step::Refuse(error.into()),
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
        }
    }
}

fn admitted(cx: &mut Cx, caller: &Caller, request: Request) -> Step {
    match (request, caller.identity) {
        (Request::Register(request), _) => register::Register::begin(cx, request),
        (Request::VerifyOtp(request), _) => register::Verify::begin(cx, caller, request),
        (Request::Refresh(request), _) => account::Refresh::begin(cx, caller, &request),
        (Request::Lookup { phone }, Some(who)) => account::Lookup::begin(who, phone.expose()),
        (Request::Logout, Some(who)) => device::DeviceCall::revoke(cx, who, who.device),
        (Request::RevokeDevice { device }, Some(who)) => device::DeviceCall::revoke(cx, who, device),
        (Request::ListDevices, Some(who)) => device::DeviceCall::list(who),
        (Request::GetMessages(request), Some(who)) => history::HistoryCall::messages(who, &request),
        (Request::GetReceipts { chat, seq }, Some(who)) => history::HistoryCall::receipts(who, chat, seq),
        (Request::GetChats { after }, Some(who)) => chats::ChatsCall::begin(who, after),
        _ => ErrorCode::Unsupported.into(),
    }
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
