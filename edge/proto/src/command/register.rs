//! Registration: a number, a one-time password, an account and a device (R13–R19). A known number and a new one go the
//! same way and get the same answers (C4).

use std::time::Duration;

use store::ephemeral::{self, Bucket, EphemeralOp, EphemeralOutput, OtpError, PutOtp, Take};
use store::op::{AddDevice, AddDeviceError, DeviceAdded, Op, OpOutput};
use wire::proof::Purpose;
use wire::{
    AccountId, ErrorCode, Event, PersonName, Phone, Refusal, RegistrationId, RequestId, Secret, label,
    limits, request,
};

use super::account::issue_tokens;
use super::{Call, Caller, Step, mismatch, taken};
use crate::cx::{Cx, Pending};
use crate::fanout::Hint;
use crate::io::{Effect, EffectOutput, Sms};
use crate::limits::Rates;
use crate::token::{self, Claims, RefreshToken};

/// `Register`: count, keep a code, send it.
#[derive(Debug)]
pub(crate) enum Register {
    Counted { put: PutOtp, code: Secret<String>, takes: Vec<Take> },
    Kept { phone: Phone, code: Secret<String>, takes: Vec<Take> },
    Sent { registration: RegistrationId, expires_in: Duration },
}

impl Register {
    pub(super) fn begin(cx: &mut Cx, request: request::Register) -> Step {
        let Ok(phone) = Phone::parse(request.phone.expose()) else { return ErrorCode::PhoneInvalid.into() };
        let Ok(name) = PersonName::parse(&request.name) else { return ErrorCode::NameInvalid.into() };
        let registration = RegistrationId::new(cx.random_id());
        let code = cx.random_otp();
        let rate = Rates::per_hour(cx.limits.rates.otp_per_hour);
        let takes = vec![
            Take { bucket: Bucket::OtpPhone(phone.clone()), rate },
            Take { bucket: Bucket::OtpInstall(request.install), rate },
        ];
        let put = PutOtp {
            registration,
            request: request.request,
            phone,
            name,
            code_hash: cx.keys.otp_hash(registration, &code),
            ttl: Duration::from_secs(cx.limits.otp_ttl_s.into()),
            attempts_max: cx.limits.otp_attempts,
            now: cx.now.wall,
        };
        let take = Effect::Ephemeral(EphemeralOp::Take(takes.clone()));
        Step::perform(take, Call::Register(Register::Counted { put, code: Secret::new(code), takes }))
    }

    pub(super) fn resume(self, cx: &mut Cx, output: EffectOutput) -> Step {
        match self {
            Register::Counted { put, code, takes } => {
                if let Err(refusal) = taken(&output) {
                    return Step::Refuse(refusal);
                }
                let phone = put.phone.clone();
                let keep = Effect::Ephemeral(EphemeralOp::PutOtp(put));
                Step::perform(keep, Call::Register(Register::Kept { phone, code, takes }))
            }
            Register::Kept { phone, code, takes } => match output {
                EffectOutput::Ephemeral(EphemeralOutput::PutOtp { registration, repeat, expires_in }) => {
                    let sent = Register::Sent { registration, expires_in };
                    if repeat {
                        for take in takes {
                            cx.ephemeral(EphemeralOp::Refund(take), Pending::Nothing);
                        }
                        return sent.resume(cx, EffectOutput::Sms);
                    }
                    let text = format!("Your {} verification code is: {}", cx.app_name, code.expose());
                    let sms = Sms { to: phone, text: Secret::new(text) };
                    Step::perform(Effect::Sms(sms), Call::Register(sent))
                }
                other => mismatch("PutOtp", &other),
            },
            Register::Sent { registration, expires_in } => {
                Step::answer(&Event::Registered { registration, expires_in })
            }
        }
    }
}

/// `VerifyOtp`: compare, count the registration, add the device.
#[derive(Debug)]
pub(crate) enum Verify {
    Compared { request: request::VerifyOtp },
    Counted { request: request::VerifyOtp, proved: ephemeral::Verified },
    Added { phone: Phone, device_name: String, claims: Box<Claims>, refresh: RefreshToken },
}

impl Verify {
    pub(super) fn begin(cx: &Cx, caller: &Caller, request: request::VerifyOtp) -> Step {
        let fields: [&[u8]; 2] = [request.registration.as_bytes(), &request.device_key];
        let (key, proof) = (&request.device_key, &request.proof);
        if token::check_proof(key, proof, Purpose::VerifyOtp, caller.exporter.as_ref(), &fields).is_err() {
            return ErrorCode::ProofInvalid.into();
        }
        let code = request.otp.expose().trim();
        if code.len() != limits::OTP_DIGITS || !code.bytes().all(|b| b.is_ascii_digit()) {
            // Not a code at all, so it costs no try.
            return ErrorCode::OtpWrong.into();
        }
        let compare = EphemeralOp::VerifyOtp(ephemeral::VerifyOtp {
            registration: request.registration,
            code_hash: cx.keys.otp_hash(request.registration, code),
            device: token::device_id(&request.device_key),
            now: cx.now.wall,
        });
        Step::perform(Effect::Ephemeral(compare), Call::Verify(Verify::Compared { request }))
    }

    pub(super) fn resume(self, cx: &mut Cx, caller: &Caller, output: EffectOutput) -> Step {
        match self {
            Verify::Compared { request } => {
                let proved = match output {
                    EffectOutput::Ephemeral(EphemeralOutput::VerifyOtp(Ok(proved))) => proved,
                    EffectOutput::Ephemeral(EphemeralOutput::VerifyOtp(Err(error))) => {
                        return otp_code(error).into();
                    }
                    other => mismatch("VerifyOtp", &other),
                };
                let rate = Rates::per_hour(cx.limits.rates.registrations_per_hour);
                let take = Take { bucket: Bucket::Registrations(caller.remote), rate };
                let count = Effect::Ephemeral(EphemeralOp::Take(vec![take]));
                Step::perform(count, Call::Verify(Verify::Counted { request, proved }))
            }
            Verify::Counted { request, proved } => match taken(&output) {
                Ok(()) => add_device(cx, &request, proved),
                Err(refusal) => Step::Refuse(refusal),
            },
            Verify::Added { phone, device_name, claims, refresh } => match output {
                EffectOutput::Store(OpOutput::AddDevice(Ok(added))) => {
                    verified(cx, &phone, &device_name, *claims, &refresh, &added)
                }
                EffectOutput::Store(OpOutput::AddDevice(Err(error))) => add_device_refusal(error).into(),
                other => mismatch("AddDevice", &other),
            },
        }
    }
}

fn add_device(cx: &mut Cx, request: &request::VerifyOtp, proved: ephemeral::Verified) -> Step {
    let device = token::device_id(&request.device_key);
    let device_name = label(&request.device_name);
    let secret = [cx.random_id(), cx.random_id()].concat();
    let secret = Secret::new(secret.try_into().expect("two ids are 32 bytes"));
    let refresh = RefreshToken { family: RequestId::new(cx.random_id()), secret };
    let claims = Box::new(Claims {
        account: AccountId::new(cx.random_id_by_time()),
        device,
        device_key: request.device_key,
        expires: cx.now.wall + Duration::from_secs(cx.limits.access_token_s.into()),
    });
    let add = AddDevice {
        phone: proved.phone.clone(),
        name: proved.name,
        new_account: claims.account,
        device,
        device_key: request.device_key,
        device_name: device_name.clone(),
        family: refresh.family,
        refresh_hash: refresh.hash(),
        refresh_expires: cx.now.wall + Duration::from_secs(cx.limits.refresh_token_s.into()),
        now: cx.now.wall,
    };
    let added = Verify::Added { phone: proved.phone, device_name, claims, refresh };
    Step::perform(Effect::Store(Op::AddDevice(add)), Call::Verify(added))
}

fn verified(
    cx: &mut Cx,
    phone: &Phone,
    device_name: &str,
    mut claims: Claims,
    refresh: &RefreshToken,
    added: &DeviceAdded,
) -> Step {
    claims.account = added.account.account;
    let (account, device) = (claims.account, claims.device);
    if added.device_new && !added.created {
        cx.publish(Hint::DeviceAdded { account, device, name: device_name.into(), at: cx.now.wall });
    }
    let refresh_expires = cx.now.wall + Duration::from_secs(cx.limits.refresh_token_s.into());
    let tokens = issue_tokens(cx, &claims, phone, refresh, refresh_expires);
    Step::answer(&Event::Verified(wire::event::Verified {
        account,
        device,
        name: added.account.name.as_str().to_owned(),
        phone: Secret::new(phone.expose().to_owned()),
        tokens,
    }))
}

fn otp_code(error: OtpError) -> ErrorCode {
    match error {
        OtpError::Wrong => ErrorCode::OtpWrong,
        OtpError::Expired => ErrorCode::OtpExpired,
        OtpError::Exhausted => ErrorCode::OtpExhausted,
        OtpError::Unknown => ErrorCode::RegistrationUnknown,
    }
}

fn add_device_refusal(error: AddDeviceError) -> ErrorCode {
    match error {
        AddDeviceError::KeyTaken => ErrorCode::DeviceKeyInvalid,
        AddDeviceError::Suspended => ErrorCode::AccountSuspended,
    }
}

impl From<Refusal> for Step {
    fn from(refusal: Refusal) -> Step {
        Step::Refuse(refusal)
    }
}
