//! Tokens renewed, and people found.

use std::time::Duration;

use store::keys::direct_chat_id;
use store::op::{self, FindAccount, Op, OpOutput, RefreshError};
use wire::event::Tokens;
use wire::proof::Purpose;
use wire::{AccountId, ErrorCode, Event, Phone, Refusal, WallTime, request};

use super::{Call, Caller, Identity, Step, mismatch};
use crate::cx::Cx;
use crate::fanout::Hint;
use crate::io::{Effect, EffectOutput};
use crate::session::device_refusal;
use crate::token::{self, Claims, RefreshToken};

/// `Refresh`: the proof first, then the rotation.
#[derive(Debug)]
pub(crate) struct Refresh {
    device_key: [u8; wire::limits::DEVICE_KEY_BYTES],
    successor: RefreshToken,
}

impl Refresh {
    pub(super) fn begin(cx: &Cx, caller: &Caller, request: &request::Refresh) -> Step {
        let fields: [&[u8]; 2] = [request.token.expose(), request.request.as_bytes()];
        let (key, proof) = (&request.device_key, &request.proof);
        if token::check_proof(key, proof, Purpose::Refresh, caller.exporter.as_ref(), &fields).is_err() {
            return ErrorCode::ProofInvalid.into();
        }
        let presented = RefreshToken::from_wire(&request.token);
        let successor = cx.keys.successor(&presented, request.request);
        let rotate = op::Refresh {
            family: presented.family,
            device: token::device_id(&request.device_key),
            presented: presented.hash(),
            request: request.request,
            successor: successor.hash(),
            successor_expires: cx.now.wall + Duration::from_secs(cx.limits.refresh_token_s.into()),
            now: cx.now.wall,
        };
        let call = Refresh { device_key: request.device_key, successor };
        Step::perform(Effect::Store(Op::Refresh(rotate)), Call::Refresh(call))
    }

    pub(super) fn resume(self, cx: &mut Cx, output: EffectOutput) -> Step {
        let refreshed = match output {
            EffectOutput::Store(OpOutput::Refresh(Ok(refreshed))) => refreshed,
            EffectOutput::Store(OpOutput::Refresh(Err(error))) => {
                if let RefreshError::Reused { account } = error {
                    // Either of the two who have its tokens may be on: nobody can tell which is the thief.
                    let device = token::device_id(&self.device_key);
                    cx.publish(Hint::DeviceEnded { account, device });
                }
                return refresh_refusal(error).into();
            }
            other => mismatch("Refresh", &other),
        };
        let claims = Claims {
            account: refreshed.account,
            device: token::device_id(&self.device_key),
            device_key: self.device_key,
            expires: cx.now.wall + Duration::from_secs(cx.limits.access_token_s.into()),
        };
        let tokens = issue_tokens(cx, &claims, &refreshed.phone, &self.successor, refreshed.expires);
        let answer = vec![Event::Refreshed(tokens).encode()];
        Step::Renewed { answer, device: claims.device, expires: claims.expires }
    }
}

fn refresh_refusal(error: RefreshError) -> Refusal {
    match error {
        RefreshError::Unknown => ErrorCode::TokenInvalid.refuse(),
        RefreshError::Expired => ErrorCode::TokenRevoked.refuse(),
        RefreshError::Revoked => ErrorCode::TokenRevoked.refuse(),
        RefreshError::Reused { .. } => ErrorCode::RefreshReused.refuse(),
        RefreshError::Device(error) => device_refusal(error),
    }
}

/// A new access token and the refresh token that goes with it.
pub(super) fn issue_tokens(
    cx: &Cx,
    claims: &Claims,
    phone: &Phone,
    refresh: &RefreshToken,
    refresh_expires: WallTime,
) -> Tokens {
    Tokens {
        access: cx.keys.issue(claims, phone, cx.now.wall),
        access_expires: claims.expires,
        refresh: refresh.to_wire(),
        refresh_expires,
    }
}

/// `Lookup`: a person by number.
#[derive(Debug)]
pub(crate) struct Lookup {
    asker: AccountId,
}

impl Lookup {
    pub(super) fn begin(who: Identity, phone: &str) -> Step {
        let Ok(phone) = Phone::parse(phone) else { return ErrorCode::PhoneInvalid.into() };
        let find = Op::FindAccount(FindAccount { phone });
        Step::perform(Effect::Store(find), Call::Lookup(Lookup { asker: who.account }))
    }

    pub(super) fn resume(self, output: EffectOutput) -> Step {
        match output {
            EffectOutput::Store(OpOutput::FindAccount(Some(found))) => Step::answer(&Event::Found {
                account: found.account,
                name: found.name.as_str().to_owned(),
                chat: direct_chat_id(self.asker, found.account),
            }),
            EffectOutput::Store(OpOutput::FindAccount(None)) => ErrorCode::NotFound.into(),
            other => mismatch("FindAccount", &other),
        }
    }
}
