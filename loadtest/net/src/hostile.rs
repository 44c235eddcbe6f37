//! Traffic that means harm, from a machine of its own, while honest people talk from theirs: nothing of theirs is lost,
//! the node stays up, its memory is bounded and its log knows no error (R115, R152, C20).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::signature::Ed25519KeyPair;
use loadtest_emulator::{Host, Namespace};
use loadtest_hostile::{
    Datagrams, Dose, Flood, Frames, HostileError, Identity, SlowLoris, Target, datagrams, flood, frames,
    slow_loris,
};
use wire::{AccountId, ChatId};
use wire_link::tls::Trust;

use crate::cases::{Case, Choice};
use crate::row::{Report, Value};
use crate::stage::Stage;
use crate::talk::{Pace, talk};

/// Where attackers are.
const ATTACKERS: Ipv4Addr = Ipv4Addr::new(10, 77, 6, 6);

/// Honest people's paths are perfect; a network later than this is none that anybody asked for.
const LATE_MAX: Duration = Duration::from_millis(100);

/// What the node may grow by while it is attacked.
const GROWTH_BYTES_MAX: f64 = 192.0 * 1024.0 * 1024.0;

/// Threads that say wrong frames, each as a device of its own.
const FRAME_THREADS: u64 = 6;

/// Datagrams for each wrong frame.
const DATAGRAMS_PER_FRAME: u64 = 4;

/// The limits of one address as they are by default: attackers have one, honest people another.
const ADDRESS_LIMITS: [(&str, &str); 2] =
    [("GODWIT_HANDSHAKES__PER_ADDRESS_PER_MINUTE", "6000"), ("GODWIT_HANDSHAKES__PER_ADDRESS_BURST", "2000")];

/// Handshakes that one address may have under way: few, so that those that are dripped meet it.
const PER_ADDRESS: (&str, &str) = ("GODWIT_HANDSHAKES__PER_ADDRESS_MAX", "64");

/// Under way at a time; past it, newcomers must prove their address.
const RETRY_PAST: &str = "handshakes.retry_past = 16";

pub(crate) fn cases(choice: &Choice) -> Vec<Case> {
    let (number, newcomers, dripped) = choice.pick((30_000, 4_000, 400), (1_000_000, 50_000, 4_000));
    vec![
        Case::new("hostile", format!("{number} datagrams and frames"), move |choice| noise(choice, number)),
        Case::new("hostile", format!("flood of {newcomers}, Retry past 16"), move |choice| {
            newcomers_flood(choice, newcomers)
        }),
        Case::new("hostile", format!("{dripped} handshakes, dripped"), move |choice| drip(choice, dripped)),
    ]
}

fn noise(choice: &Choice, number: u64) -> Result<Report> {
    let lasts = Duration::from_secs(choice.pick(8, 240));
    let assault = Assault::new(choice, &[])?;
    let frames_each = number / (DATAGRAMS_PER_FRAME + 1) / FRAME_THREADS;
    let datagrams_number = number - frames_each * FRAME_THREADS;
    let victims = assault.people(FRAME_THREADS as usize + 1, choice.seed)?;
    let dose = |number| even(number, lasts);
    let wrong = |n: u64| Frames {
        dose: dose(frames_each),
        seed: choice.seed.wrapping_add(n),
        identity: Some(victims[n as usize].identity.clone()),
        chat: victims[n as usize].chat,
        peer: victims[n as usize].peer,
    };
    let noisy = Datagrams {
        identity: Some(victims[FRAME_THREADS as usize].identity.clone()),
        ..Datagrams::new(dose(datagrams_number), choice.seed)
    };
    let mut report = Report::default();
    let attack = |target: &Target| {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..FRAME_THREADS).map(|n| scope.spawn(move || frames(target, &wrong(n)))).collect();
            let noise = datagrams(target, &noisy)?;
            let said = threads.into_iter().map(|thread| thread.join().expect("it ends by itself"));
            Ok::<_, HostileError>((noise, said.collect::<Result<Vec<_>, _>>()?))
        })
    };
    let (noise, said) = assault.run(choice, lasts, attack, &mut report)?;
    let frames: u64 = said.iter().map(|report| report.sent.total()).sum();
    report.figure("datagrams", Value::Count(noise.sent.total()));
    report.figure("frames", Value::Count(frames));
    report.figure("refused", Value::Count(said.iter().map(|report| report.refusals.total()).sum()));
    report.figure(
        "attack",
        Value::Seconds(said.iter().map(|report| report.took).fold(noise.took, Duration::max)),
    );
    ensure!(noise.sent.total() + noise.unsent + frames >= number, "the attack was not given whole");
    ensure!(noise.unsent < datagrams_number / 10, "{} datagrams were never sent", noise.unsent);
    ensure!(noise.victim.lost.total() == 0, "damaged datagrams ended connections: {:?}", noise.victim.lost);
    ensure!(said.iter().all(|report| report.accepted > 0 && report.unreadable == 0), "{said:?}");
    Ok(report)
}

fn newcomers_flood(choice: &Choice, number: u64) -> Result<Report> {
    let lasts = Duration::from_secs(choice.pick(5, 60));
    let assault = Assault::new(choice, &[RETRY_PAST])?;
    let options = Flood { dose: even(number, lasts), seed: choice.seed, vanishing: 8 };
    let mut report = Report::default();
    let flooded = assault.run(choice, lasts, |target| flood(target, &options), &mut report)?;
    report.figure("newcomers", Value::Count(flooded.silent + flooded.vanishing));
    report.figure("told to prove their address", Value::Count(flooded.answers.retries));
    report.figure("attack", Value::Seconds(flooded.took));
    ensure!(flooded.silent + flooded.vanishing >= number, "the flood was not given whole");
    ensure!(flooded.answers.retries > flooded.silent / 2, "{flooded:?}");
    Ok(report)
}

fn drip(choice: &Choice, number: u64) -> Result<Report> {
    let lasts = Duration::from_secs(choice.pick(5, 60));
    let assault = Assault::new(choice, &[])?;
    let at_once = choice.pick(200, 1_000);
    let options = SlowLoris {
        drip: Duration::from_millis(500),
        life: Duration::from_secs(choice.pick(2, 10)),
        ..SlowLoris::new(even(number, lasts), choice.seed, at_once)
    };
    let mut report = Report::default();
    let dripped = assault.run(choice, lasts, |target| slow_loris(target, &options), &mut report)?;
    report.figure("begun", Value::Count(dripped.begun));
    report.figure("gone into", Value::Count(dripped.held));
    report.figure("turned away", Value::Count(dripped.turned_away.total()));
    report.figure("attack", Value::Seconds(dripped.took));
    ensure!(dripped.begun >= number && dripped.held > 0, "{dripped:?}");
    ensure!(dripped.turned_away.by_transport.of(&2) > 0, "its address had no limit: {dripped:?}");
    Ok(report)
}

/// So many, spread over most of a time, and given whole if it takes longer.
fn even(number: u64, lasts: Duration) -> Dose {
    let per_second = number * 10 / (lasts.as_secs() * 9).max(1) + 1;
    Dose::new(number, per_second.try_into().unwrap_or(u32::MAX)).within(10 * lasts)
}

/// Somebody who is known to the node, for an attack to speak as.
struct Mallory {
    identity: Identity,
    chat: ChatId,
    peer: AccountId,
}

/// A stage, and attackers on a machine of their own.
struct Assault {
    stage: Stage,
    attackers: Host,
    target: Target,
}

impl Assault {
    fn new(choice: &Choice, settings: &[&str]) -> Result<Assault> {
        let env: Vec<_> = ADDRESS_LIMITS.into_iter().chain([PER_ADDRESS]).collect();
        let stage = Stage::new(choice, settings, &env)?;
        let attackers = stage.network.attach(&Namespace::new()?, ATTACKERS)?;
        let roots = certs::load_roots(&stage.server().ca())?;
        let crypto = wire_link::tls::client(Trust::roots(roots))?;
        let (server, name) = (stage.server().address(), "localhost".to_owned());
        let target = Target { server, name, crypto, from: vec![ATTACKERS.into()] };
        Ok(Assault { stage, attackers, target })
    }

    /// Registers some, who know the first of them, and are not connected afterwards.
    fn people(&self, count: usize, seed: u64) -> Result<Vec<Mallory>> {
        self.attackers.namespace().run(|| {
            let mut fleet = self.stage.fleet(1, seed ^ u64::MAX)?;
            // Their numbers are far from those of honest people; one more, for the others to know.
            let person = |phone: usize| 1_000_000 + phone;
            (0..=count).for_each(|phone| {
                fleet.add_of(person(phone));
            });
            fleet.register(0..count + 1, &self.stage.server().sms())?;
            let pairs: Vec<_> = (0..count).map(|phone| (phone, person(count))).collect();
            let found = fleet.find(&pairs)?;
            let identities = (0..count).map(|phone| {
                let login = fleet.kept(phone).login.as_ref().context("somebody has no login")?;
                let key = Ed25519KeyPair::from_seed_unchecked(fleet.device_key(phone).expose());
                let key = Arc::new(key.map_err(|_| anyhow::anyhow!("a seed is no key"))?);
                Ok(Identity { token: login.access.clone(), key })
            });
            let identities = identities.collect::<Result<Vec<_>>>()?;
            let all = identities.into_iter().zip(found);
            Ok(all.map(|(identity, (chat, peer))| Mallory { identity, chat, peer }).collect())
        })?
    }

    /// Attacks while people talk, and holds the node to what it owes them.
    fn run<R: Send, E: std::error::Error + Send + Sync + 'static>(
        &self,
        choice: &Choice,
        lasts: Duration,
        attack: impl FnOnce(&Target) -> Result<R, E> + Send,
        report: &mut Report,
    ) -> Result<R> {
        let mut memory = None::<(u64, u64)>;
        let mut look = || {
            let now = self.stage.server().resident_bytes()?;
            let (_, most) = memory.get_or_insert((now, now));
            *most = now.max(*most);
            Ok(())
        };
        let (result, talked) = std::thread::scope(|scope| {
            let attacked = scope.spawn(|| self.attackers.namespace().run(|| attack(&self.target)));
            let pace = Pace::calm(lasts);
            let talked = self.stage.with_phones(|| talk(&self.stage, choice.seed, pace, |_, _| look()));
            (attacked.join().expect("an attack ends by itself"), talked)
        });
        let (result, talked) = (result??, talked?);
        look()?;
        talked.figures(report);
        let lost = talked.played.lost_connections;
        report.demand(lost == 0, || format!("{lost} connections of honest people were lost"));
        let (first, most) = memory.context("nobody looked at the node's memory")?;
        let grown = (most - first) as f64;
        report.figure("node grew at most", Value::Mib(grown));
        ensure!(grown < GROWTH_BYTES_MAX, "the node grew by {:.0} MiB", grown / f64::from(1 << 20));
        self.stage.end(report, LATE_MAX)?;
        Ok(result)
    }
}
