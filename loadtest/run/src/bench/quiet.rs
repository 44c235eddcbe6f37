//! Phones that are connected and quiet, and phones that come back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use client_core::ClientEvent;
use wire::content::{Content, Text};
use wire::{AccountId, ChatId};

use super::{Figures, Setting, Stage};

/// Connected before memory is looked at for the first time, so that what a node needs for its first clients is not counted.
const FIRST: usize = 50;

/// Coming back is measured so often.
const SAMPLES: usize = 9;

const PATIENCE: Duration = Duration::from_secs(120);

/// Connections that are identified and synced and have nothing to say.
pub(super) fn idle(setting: &Setting, count: usize, figures: &mut Figures) -> Result<()> {
    let measured = if setting.quick { count.min(200) } else { count };
    let mut stage = Stage::new(setting)?;
    stage.people(FIRST + measured)?;
    let before = restart(&mut stage)?;
    connect(&mut stage, FIRST..FIRST + measured)?;
    stage.rest(Duration::from_secs(5))?;
    let bytes = grown(&stage, before, measured)?;
    figures.insert(format!("idle_bytes_per_connection_{count}"), bytes);
    if count == 10_000 {
        figures.insert("idle_bytes_per_connection".into(), bytes);
    }
    Ok(())
}

/// What chats add in which something was said both ways, while their streams are open and after they have closed: the
/// same number of messages is said in twenty chats of each phone and in two, so that what the store and the cache of
/// recent entries hold is in both.
pub(super) fn used(setting: &Setting, figures: &mut Figures) -> Result<()> {
    const MANY: usize = 20;
    const FEW: usize = 2;
    let (many, few) = (talked(setting, MANY, MANY)?, talked(setting, FEW, MANY)?);
    for (what, many, few) in [("open", many.0, few.0), ("closed", many.1, few.1)] {
        let bytes = (many - few) / (MANY - FEW) as f64;
        figures.insert(format!("bytes_per_used_chat_{what}"), bytes);
        if let Some(idle) = figures.get("idle_bytes_per_connection").copied() {
            figures.insert(format!("bytes_per_connection_20_chats_{what}"), idle + bytes * MANY as f64);
        }
    }
    Ok(())
}

/// Phones that talk to `chats` others each, `messages` in all: bytes a connection with its streams open, and closed.
fn talked(setting: &Setting, chats: usize, messages: usize) -> Result<(f64, f64)> {
    let count = if setting.quick { 60 } else { 1_000 };
    let mut stage = Stage::new(setting)?;
    stage.people(FIRST + count)?;
    // Each with as many on either side.
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|n| (1..=chats / 2).flat_map(move |by| [(n, by), (n, count - by)]))
        .map(|(n, by)| (FIRST + n, FIRST + (n + by) % count))
        .collect();
    let found = stage.fleet.find(&pairs)?;
    // The chats are there before, so that what the store needs to make them is in neither figure.
    say_in_all(&mut stage, &pairs, &found)?;
    stage.rest(Duration::from_secs(1))?;
    let before = restart(&mut stage)?;
    connect(&mut stage, FIRST..FIRST + count)?;
    for _ in 0..messages / chats {
        say_in_all(&mut stage, &pairs, &found)?;
    }
    stage.rest(Duration::from_secs(5))?;
    let open = grown(&stage, before, count)?;
    let idle = if setting.quick {
        Duration::from_secs(3)
    } else {
        wire::limits::CHAT_STREAM_IDLE + Duration::from_secs(10)
    };
    stage.rest(idle)?;
    Ok((open, grown(&stage, before, count)?))
}

/// One message from each phone in each of its chats, until all are acknowledged.
fn say_in_all(stage: &mut Stage, pairs: &[(usize, usize)], found: &[(ChatId, AccountId)]) -> Result<()> {
    for (&(phone, _), &(chat, peer)) in pairs.iter().zip(found) {
        stage.fleet.send(phone, chat, peer, text())?;
    }
    let mut left = pairs.len();
    stage.until(PATIENCE, |happened| {
        left -= usize::from(matches!(happened.event, ClientEvent::Sent(_)));
        left == 0
    })?;
    Ok(())
}

/// From a connection's start to the last of 1,000 messages of one chat that a phone has missed.
pub(super) fn catch_up(setting: &Setting, figures: &mut Figures) -> Result<()> {
    let missed = 1_000;
    let mut stage = Stage::new(setting)?;
    stage.people(2)?;
    let (chat, peer) = stage.fleet.find(&[(0, 1)])?[0];
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        stage.fleet.stop(1);
        for _ in 0..missed / 50 {
            for _ in 0..50 {
                stage.fleet.send(0, chat, peer, text())?;
            }
            let mut left = 50;
            stage.until(PATIENCE, |happened| {
                left -= usize::from(matches!(happened.event, ClientEvent::Sent(_)));
                left == 0
            })?;
        }
        stage.rest(Duration::from_millis(300))?;
        let began = Instant::now();
        stage.fleet.start(1);
        let (mut came, mut place) = (0, None);
        let mut in_order = true;
        let at = stage.until(PATIENCE, |happened| {
            if let ClientEvent::Arrived(message) = &happened.event {
                came += 1;
                in_order &= place.replace(message.seq).is_none_or(|place| message.seq == place.next());
            }
            came == missed
        })?;
        ensure!(in_order, "a missed message was lost, doubled or reordered");
        samples.push(at - began);
    }
    figures.insert(format!("catch_up_{missed}_ms"), median_ms(samples));
    Ok(())
}

/// From a connection's start to `Synced`, for a phone with 500 chats in which nothing is new.
pub(super) fn heads(setting: &Setting, figures: &mut Figures) -> Result<()> {
    let count = 500;
    let mut stage = Stage::new(setting)?;
    stage.people(1 + count)?;
    let pairs: Vec<(usize, usize)> = (1..=count).map(|other| (other, 0)).collect();
    for (&(phone, _), (chat, peer)) in pairs.iter().zip(stage.fleet.find(&pairs)?) {
        stage.fleet.send(phone, chat, peer, text())?;
    }
    let mut left = count;
    stage.until(PATIENCE, |happened| {
        left -= usize::from(matches!(happened.event, ClientEvent::Arrived(_)));
        left == 0
    })?;
    stage.rest(Duration::from_secs(2))?;
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        stage.fleet.stop(0);
        stage.rest(Duration::from_millis(300))?;
        let began = Instant::now();
        stage.fleet.start(0);
        let at =
            stage.until(PATIENCE, |happened| happened.phone == 0 && happened.event == ClientEvent::Synced)?;
        samples.push(at - began);
    }
    figures.insert(format!("connect_{count}_chats_ms"), median_ms(samples));
    Ok(())
}

/// Starts the node's process anew, so that no memory of earlier work is in what is measured, and connects the first
/// phones. What it has then.
fn restart(stage: &mut Stage) -> Result<u64> {
    for phone in 0..stage.fleet.len() {
        stage.fleet.stop(phone);
    }
    stage.rest(Duration::from_millis(500))?;
    stage.server.restart(|_| Ok(()))?;
    connect(stage, 0..FIRST)?;
    stage.rest(Duration::from_secs(2))?;
    Ok(stage.server.resident_bytes()?)
}

/// Connects phones, some hundred at a time, until all are synced.
fn connect(stage: &mut Stage, phones: std::ops::Range<usize>) -> Result<()> {
    const AT_A_TIME: usize = 256;
    let (mut next, mut synced) = (phones.start, phones.start);
    let mut progress = Instant::now();
    while synced < phones.end {
        while next < phones.end && next - synced < AT_A_TIME {
            stage.fleet.start(next);
            next += 1;
        }
        stage.fleet.turn(Instant::now() + Duration::from_millis(100))?;
        while let Some(happened) = stage.fleet.happened() {
            if happened.event == ClientEvent::Synced {
                synced += 1;
                progress = Instant::now();
            }
        }
        ensure!(progress.elapsed() < PATIENCE, "{} phones do not connect", phones.end - synced);
    }
    Ok(())
}

fn grown(stage: &Stage, before: u64, count: usize) -> Result<f64> {
    Ok(stage.server.resident_bytes()?.saturating_sub(before) as f64 / count as f64)
}

fn text() -> Bytes {
    Content::Text(Text { text: "g".repeat(100), sent_at_us: 0, reply_to: None }).encode()
}

fn median_ms(mut samples: Vec<Duration>) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64() * 1e3
}
