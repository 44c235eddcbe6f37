//! An account's devices: listed, ended (G6). Ending one holds at once: its tokens die with its record, and its live
//! connections are told.

use store::op::{Devices, Op, OpOutput, RevokeDevice};
use wire::event::Device;
use wire::{DeviceId, Event};

use super::{Call, Identity, Step, mismatch};
use crate::cx::Cx;
use crate::fanout::Hint;
use crate::io::{Effect, EffectOutput};
use crate::session::device_refusal;

/// `ListDevices`, `RevokeDevice` and `Logout`.
#[derive(Debug)]
pub(crate) enum DeviceCall {
    List(Identity),
    Revoke { who: Identity, device: DeviceId },
}

impl DeviceCall {
    pub(super) fn list(who: Identity) -> Step {
        let op = Op::Devices(Devices { account: who.account });
        Step::perform(Effect::Store(op), Call::Device(DeviceCall::List(who)))
    }

    pub(super) fn revoke(cx: &Cx, who: Identity, device: DeviceId) -> Step {
        let op = Op::RevokeDevice(RevokeDevice { account: who.account, device, now: cx.now.wall });
        Step::perform(Effect::Store(op), Call::Device(DeviceCall::Revoke { who, device }))
    }

    pub(super) fn resume(self, cx: &mut Cx, output: EffectOutput) -> Step {
        match (self, output) {
            (DeviceCall::List(who), EffectOutput::Store(OpOutput::Devices(devices))) => {
                let device = |d: store::op::DeviceInfo| Device {
                    current: d.device == who.device,
                    device: d.device,
                    name: d.name,
                    added_at: d.added_at,
                };
                Step::answer(&Event::Devices(devices.into_iter().map(device).collect()))
            }
            (DeviceCall::Revoke { who, device }, EffectOutput::Store(OpOutput::RevokeDevice(result))) => {
                match result {
                    Ok(revoked) => {
                        let told = revoked.told.into_iter().filter_map(|left| Hint::of_left(left, &[]));
                        told.for_each(|hint| cx.publish(hint));
                        cx.publish(Hint::DeviceEnded { account: who.account, device });
                        Step::answer(&Event::Done)
                    }
                    Err(error) => Step::Refuse(device_refusal(error)),
                }
            }
            (_, other) => mismatch("a device op", &other),
        }
    }
}
