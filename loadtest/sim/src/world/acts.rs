//! What happens at its time: people act, things break and are mended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::seal;
use rand::Rng;
use store::keys::direct_chat_id;
use wire::content::{Content, Text};
use wire::{ChatId, Seq};
use wire_link::testing::Datagram;

use super::{USERS, World};
use crate::Sabotage;
use crate::check::Violation;
use crate::client::name;
use crate::plan::Action;
use crate::replay::Replay;

impl World {
    pub(super) fn at(&mut self, at: Instant, action: Action) {
        self.agenda.insert((at, self.planned), action);
        self.planned += 1;
    }

    fn later(&mut self, after: Duration, action: Action) {
        self.at(self.out.time.instant() + after, action);
    }

    pub(super) fn acts(&mut self) -> Result<(), Violation> {
        let now = self.out.time.instant();
        while self.agenda.first_key_value().is_some_and(|(&(at, _), _)| at <= now) {
            if let Some((_, action)) = self.agenda.pop_first() {
                self.act(action)?;
            }
        }
        for (after, replay) in std::mem::take(&mut self.out.thief.plans) {
            self.later(after, Action::Replay(replay));
        }
        for user in 0..USERS {
            if std::mem::take(&mut self.clients[user].replaced) {
                self.later(Duration::from_secs(1), Action::Online { user });
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Say { user, peer, count } => self.say(user, peer, count)?,
            Action::Read { user, peer, part } => self.read(user, peer, part)?,
            Action::Offline { user, down } => {
                self.clients[user].go_offline(&mut self.out)?;
                self.later(down, Action::Online { user });
            }
            Action::Online { user } => self.clients[user].go_online(&mut self.out)?,
            Action::Kill { user, death, down } => {
                self.clients[user].dies = Some(death);
                self.later(down, Action::Online { user });
            }
            Action::Cut { user, down } => self.cut(name(user), self.clients[user].address, down),
            Action::CutNode { node, down } => {
                self.cut(["node 1", "node 2"][node], self.nodes[node].address, down);
            }
            Action::KillNode { node, down, memory_too, sessions_kept } => {
                self.kill_node(node, down, memory_too, sessions_kept);
            }
            Action::Boot { process } => self.boot(process),
            Action::Weather(weather) => self.out.weather = weather,
            Action::Faults(faults) => self.set_faults(faults),
            Action::CrashStore => {
                self.out.say(format_args!("the store crashes"));
                self.backend.sim.crash();
            }
            Action::Reach(reachable) => {
                self.out.say(format_args!("the store is {}", if reachable { "back" } else { "gone" }));
                self.set_reachable(reachable);
            }
            Action::Bus(conditions) if self.sabotage != Some(Sabotage::NoHintsNoSweeper) => {
                self.out.bus.conditions = conditions;
            }
            Action::Bus(_) => {}
            Action::Early { node, policy } => self.nodes[node].common.plan.sessions.set_policy(policy),
            Action::Stall { node, no, down } => {
                self.out.say(format_args!(
                    "loop {no} of node {} stands still for {} ms",
                    node + 1,
                    down.as_millis()
                ));
                self.nodes[node].stall(no, self.out.time.instant() + down);
            }
            Action::Replay(replay) => self.replay(&replay),
            phone => self.phone(phone)?,
        }
        Ok(())
    }

    /// Something happens to a phone, or its owner does something with it.
    fn phone(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Move { user, told } => self.clients[user].change_address(&mut self.out, told),
            Action::Look { user, foreground } => {
                self.clients[user].set_foreground(&mut self.out, foreground)?;
            }
            Action::Clock { user, wrong } => {
                self.out.say(format_args!("{}'s clock is wrong: {wrong:?}", name(user)));
                self.clients[user].wrong = wrong;
            }
            Action::Open { user, of, open } => {
                let peer = of.iter().find(|&&other| other != user && of.contains(&user));
                let peer = peer.map(|&peer| self.account(peer));
                let chat = self.chat(of);
                self.clients[user].look_at(&mut self.out, chat, peer, open)?;
            }
            Action::Press { user, of } => {
                let is_snoop = !of.contains(&user) && self.clients[user].is_ready();
                self.out.counts.snooped += u64::from(is_snoop);
                let chat = self.chat(of);
                self.clients[user].press(&mut self.out, chat)?;
            }
            Action::Capture { user, cut } => self.clients[user].captured = Some(cut),
            _ => {}
        }
        Ok(())
    }

    fn chat(&self, of: [usize; 2]) -> ChatId {
        direct_chat_id(self.account(of[0]), self.account(of[1]))
    }

    /// Somebody sends what a client once said.
    fn replay(&mut self, replay: &Replay) {
        self.out.counts.replays += 1;
        self.out.say(format_args!("a first flight is replayed to node {}", replay.node + 1));
        let (from, to) = (self.out.thief.address(), self.nodes[replay.node].address);
        for bytes in &replay.flight {
            self.out.send(Datagram { from, to, bytes: bytes.clone() });
        }
    }

    fn cut(&mut self, who: &str, address: SocketAddr, down: Duration) {
        self.out.say(format_args!("{who} is cut off for {} ms", down.as_millis()));
        self.out.cuts.insert(address, self.out.time.instant() + down);
    }

    fn kill_node(&mut self, node: usize, down: Duration, memory_too: bool, sessions_kept: bool) {
        let process = self.nodes[node].common.plan.process;
        if !self.alive[process] {
            return;
        }
        self.kill_process(process, sessions_kept);
        if memory_too {
            self.out.memory = Arc::default();
        }
        self.later(down, Action::Boot { process });
    }

    fn say(&mut self, user: usize, peer: usize, count: usize) -> Result<(), Violation> {
        let (own, other) = (self.account(user), self.account(peer));
        let chat = direct_chat_id(own, other);
        for _ in 0..count {
            let content = self.words(chat, user);
            self.out.say(format_args!("{} writes to {} ({} B)", name(user), name(peer), content.len()));
            self.clients[user].say(&mut self.out, chat, other, content)?;
        }
        Ok(())
    }

    /// A text that is said once; one in thirty is long.
    fn words(&mut self, chat: ChatId, user: usize) -> Bytes {
        let length =
            if self.out.rng.random_ratio(1, 30) { self.out.rng.random_range(1_000..30_000) } else { 20 };
        let text = format!("{} {} {}", name(user), self.out.counts.sent, "la".repeat(length / 2));
        let sent_at_us = self.out.time.since_start().as_micros() as u64;
        seal::seal(chat, &Content::Text(Text { text, sent_at_us, reply_to: None }))
    }

    fn read(&mut self, user: usize, peer: usize, part: f64) -> Result<(), Violation> {
        let chat = direct_chat_id(self.account(user), self.account(peer));
        let have = self.clients[user].disk.have(chat).0;
        let seq = Seq((have as f64 * part).ceil() as u64);
        self.clients[user].read(&mut self.out, chat, seq)
    }

    pub(super) fn read_all(&mut self, user: usize) -> Result<(), Violation> {
        for peer in (0..USERS).filter(|&peer| peer != user) {
            self.read(user, peer, 1.0)?;
        }
        Ok(())
    }
}
