//! What clients say, as values, signed as devices sign.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use edge_proto::LinkId;
use store::keys::direct_chat_id;
use wire::proof::{self, Purpose};
use wire::request::{self, Request};
use wire::{ChatId, ClientMsgId, Epoch, InstallId, RegistrationId, RequestId, Secret, Seq, WallTime};
use wire_mls::Lifetime;
use wire_mls::inspect::KeyPackage;

use super::act::{Ask, Place};
use super::client::NUMBERS;
use super::model::Device;
use super::world::{NAME, World};
use crate::mls::write;

impl World {
    pub(super) fn credentials(&self, link: LinkId, device: usize) -> request::Credentials {
        let Device { key, verified, .. } = &self.devices[device];
        let token = verified.tokens.access.clone();
        let proof = sign(key, Purpose::Hello, link, &[token.expose().as_bytes()]);
        request::Credentials { token, proof, early: None }
    }

    pub(super) fn early_credentials(&self, device: usize, late_s: i16) -> request::Credentials {
        let Device { key, verified, .. } = &self.devices[device];
        let token = verified.tokens.access.clone();
        let off = Duration::from_secs(late_s.unsigned_abs().into());
        let at = if late_s < 0 { self.now.wall - off } else { self.now.wall + off };
        let proof = bytes_of(key.sign(&proof::early_message(token.expose(), NAME, at)).as_ref());
        let early = Some(request::EarlyProof { signed_at: at, server_name: NAME.into() });
        request::Credentials { token, proof, early }
    }

    pub(super) fn refresh(&self, link: LinkId, device: usize, request: u8) -> Request {
        let device = &self.devices[device];
        let token = device.verified.tokens.refresh.clone();
        let request = RequestId::new([request; 16]);
        let proof = sign(&device.key, Purpose::Refresh, link, &[token.expose(), request.as_bytes()]);
        Request::Refresh(request::Refresh { token, request, device_key: device.public(), proof })
    }

    pub(super) fn seq(&self, chat: ChatId, place: Place) -> Seq {
        seq_of(self.model.last(chat), place)
    }

    pub(super) fn request(&mut self, link: LinkId, ask: Ask) -> Request {
        let me = self.link(link).and_then(|link| link.claims).unwrap_or_default();
        let account = self.devices[me].account();
        match ask {
            Ask::Ping => Request::Ping { client_time: self.now.wall },
            Ask::Register { number, request } => {
                register(NUMBERS[usize::from(number) % NUMBERS.len()], request)
            }
            Ask::VerifyOtp { registration, right, key: seed } => {
                let places = self.registrations.len().max(1);
                let registration = self.registrations.get(usize::from(registration) % places);
                let registration = registration.copied().unwrap_or(RegistrationId::new([seed; 16]));
                let code = if right { self.code.clone() } else { "000000".to_owned() };
                verify(&key(seed.max(100)), link, registration, &code)
            }
            Ask::Refresh { device, request } => self.refresh(link, self.device(device), request),
            Ask::Logout => Request::Logout,
            Ask::ListDevices => Request::ListDevices,
            Ask::RevokeDevice { device } => {
                Request::RevokeDevice { device: self.devices[self.device(device)].verified.device }
            }
            Ask::Lookup { person } => {
                Request::Lookup { phone: self.devices[self.device(person)].verified.phone.clone() }
            }
            Ask::GetMessages { with, limit, before, after } => {
                let chat = direct_chat_id(account, self.account(with));
                let (before, after) = (self.seq(chat, before), self.seq(chat, after));
                Request::GetMessages(request::GetMessages { chat, limit, before, after })
            }
            Ask::GetChats { after } => Request::GetChats { after: after.map(|byte| ChatId::new([byte; 16])) },
            Ask::GetReceipts { with, seq } => {
                let chat = direct_chat_id(account, self.account(with));
                Request::GetReceipts { chat, seq: self.seq(chat, seq) }
            }
            ask @ (Ask::Part { .. }
            | Ask::LeaveGroup { .. }
            | Ask::GetGroup { .. }
            | Ask::GetTree { .. }
            | Ask::GetLog { .. }
            | Ask::Publish { .. }
            | Ask::Claim { .. }
            | Ask::InboxUp) => self.group_request(me, ask),
            Ask::Hello => Request::Hello(hello(None)),
            Ask::ChatUp { with } => {
                Request::ChatUp { chat: direct_chat_id(account, self.account(with)), peer: None }
            }
        }
    }
}

impl World {
    /// Those that are of groups, key packages and inboxes.
    fn group_request(&self, me: usize, ask: Ask) -> Request {
        let account = self.devices[me].account();
        match ask {
            Ask::Part { left } => Request::Part { bytes: Bytes::from_static(b"part"), left: left.into() },
            Ask::LeaveGroup { group, id } => {
                let (chat, client_msg_id) = (self.group(account, group), ClientMsgId::new([id; 16]));
                Request::LeaveGroup { chat, client_msg_id }
            }
            Ask::GetGroup { group } => Request::GetGroup { chat: self.group(account, group) },
            Ask::GetTree { group, epoch } => {
                Request::GetTree { chat: self.group(account, group), epoch: Epoch(epoch.into()) }
            }
            Ask::GetLog { group, before, after } => {
                let chat = self.group(account, group);
                let (before, after) = (self.seq(chat, before), self.seq(chat, after));
                Request::GetMessages(request::GetMessages { chat, limit: 50, before, after })
            }
            Ask::Publish { request, count, last_resort, whose } => {
                let leaf = self.leaf(whose.map_or(me, |device| self.device(device)));
                let package = |n: u8, last_resort: bool| {
                    let lifetime = Lifetime { from: n.into(), until: u64::MAX };
                    let package = KeyPackage { leaf, lifetime, last_resort, reference: [0; 32] };
                    Bytes::from(write::key_package(&package))
                };
                Request::PublishKeyPackages(request::PublishKeyPackages {
                    request: RequestId::new([request; 16]),
                    packages: (0..count % 8).map(|n| package(n, false)).collect(),
                    last_resort: last_resort.then(|| package(0, true)),
                })
            }
            Ask::Claim { people, after } => Request::ClaimKeyPackages(request::ClaimKeyPackages {
                accounts: people.iter().map(|person| self.account(*person)).collect(),
                after: after.map(|device| {
                    let device = &self.devices[self.device(device)];
                    (device.account(), device.verified.device)
                }),
            }),
            _ => Request::InboxUp,
        }
    }
}

/// A place, from the last that is known.
pub(super) fn seq_of(Seq(last): Seq, place: Place) -> Seq {
    Seq(match place {
        Place::Zero => 0,
        Place::Back(by) => last.saturating_sub(by.into()),
        Place::Ahead(by) => last.saturating_add(by.into()),
        Place::Any(seq) => seq,
    })
}

pub(super) fn exporter(link: LinkId) -> proof::Exporter {
    let mut exporter = [7; 32];
    exporter[..8].copy_from_slice(&link.0.to_le_bytes());
    exporter
}

pub(super) fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is a key")
}

pub(super) fn sign(key: &Ed25519KeyPair, purpose: Purpose, link: LinkId, fields: &[&[u8]]) -> [u8; 64] {
    bytes_of(key.sign(&proof::message(purpose, &exporter(link), fields)).as_ref())
}

/// Keys and signatures have their size.
pub(super) fn bytes_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("of this size")
}

pub(super) fn hello(credentials: Option<request::Credentials>) -> request::Hello {
    let (version, receipts_since) = (1, WallTime(0));
    request::Hello { version, credentials, receipts_since, cursors: Vec::new(), client: "fuzz".into() }
}

pub(super) fn register(phone: &str, request: u8) -> Request {
    Request::Register(request::Register {
        phone: Secret::new(phone.into()),
        name: "Somebody".into(),
        install: InstallId::new([request; 16]),
        request: RequestId::new([request; 16]),
    })
}

pub(super) fn verify(key: &Ed25519KeyPair, link: LinkId, registration: RegistrationId, otp: &str) -> Request {
    let device_key: [u8; 32] = bytes_of(key.public_key().as_ref());
    let proof = sign(key, Purpose::VerifyOtp, link, &[registration.as_bytes(), &device_key]);
    let (otp, device_name) = (Secret::new(otp.to_owned()), "fuzz".into());
    Request::VerifyOtp(request::VerifyOtp { registration, otp, device_key, device_name, proof })
}
