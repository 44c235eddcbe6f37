//! What happens at its time: people act, things break and are mended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest_workload::{Act, words};
use store::keys::direct_chat_id;
use wire::content::{Content, Text};
use wire::{AccountId, ChatId, Seq};
use wire_link::testing::Datagram;

use super::{USERS, World};
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
        for phone in 0..self.clients.len() {
            if std::mem::take(&mut self.clients[phone].replaced) {
                self.later(Duration::from_secs(1), Action::Online { phone });
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Cut { phone, down } => self.cut(name(phone), self.clients[phone].address, down),
            Action::CutNode { node, down } => {
                self.cut(["node 1", "node 2", "node 3"][node], self.nodes[node].address, down);
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
            Action::Bus(conditions) => {
                let percent = conditions.loss * 100.0;
                self.out.say(format_args!("the bus loses {percent:.0} of 100 hints"));
                self.out.bus.set(self.out.time.instant(), conditions);
            }
            Action::Early { node, policy } => self.nodes[node].common.plan.sessions.set_policy(policy),
            Action::Stall { node, no, down } => self.stall(node, no, down),
            Action::NodeClock { node, skew } => {
                self.out.counts.clock_jumps += 1;
                let (node_no, ms) = (node + 1, skew.as_millis());
                self.out.say(format_args!("the clock of node {node_no} jumps to {ms} ms ahead"));
                self.nodes[node].set_skew(skew);
            }
            Action::Replay(replay) => self.replay(&replay),
            of_phone => self.of_phone(of_phone)?,
        }
        Ok(())
    }

    /// Something happens to a phone, or its owner does something with it.
    fn of_phone(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Act { phone, act } => self.does(phone, act)?,
            Action::Group { phone, act } => self.does_in_group(phone, act)?,
            Action::Online { phone } => self.clients[phone].go_online(&mut self.out)?,
            Action::Look { phone } => self.clients[phone].set_foreground(&mut self.out, true)?,
            Action::Close { phone, of } => self.look_at(phone, of, false)?,
            Action::Press { phone, of } => {
                let is_snoop = !of.contains(&(phone % USERS)) && self.clients[phone].is_ready();
                self.out.counts.snooped += u64::from(is_snoop);
                let chat = self.chat(of);
                self.clients[phone].press(&mut self.out, chat)?;
            }
            Action::Kill { phone, death, down } => {
                self.clients[phone].dies = Some(death);
                self.later(down, Action::Online { phone });
            }
            Action::Dawdle { phone, down } => {
                self.out.counts.dawdled += 1;
                self.out.say(format_args!("{} does not read for {} ms", name(phone), down.as_millis()));
                self.clients[phone].dawdles_until = Some(self.out.time.instant() + down);
            }
            Action::Move { phone, told } => self.clients[phone].change_address(&mut self.out, told),
            Action::Clock { phone, wrong } => {
                self.out.say(format_args!("{}'s clock is wrong: {wrong:?}", name(phone)));
                self.clients[phone].wrong = wrong;
            }
            Action::Capture { phone, cut } => self.clients[phone].captured = Some(cut),
            _ => {}
        }
        Ok(())
    }

    /// A person does something.
    fn does(&mut self, phone: usize, act: Act) -> Result<(), Violation> {
        match act {
            Act::Say { to, count } => self.say(phone, to, count)?,
            Act::Read { of, part } => self.read(phone, of, part)?,
            Act::Leave { down } => {
                self.clients[phone].go_offline(&mut self.out)?;
                self.later(down, Action::Online { phone });
            }
            Act::Hide { down } => {
                self.clients[phone].set_foreground(&mut self.out, false)?;
                self.later(down, Action::Look { phone });
            }
            Act::Type { of, keys, closes } => {
                self.look_at(phone, of, true)?;
                // Where somebody has no business, the others are busy.
                let snoops = !of.contains(&(phone % USERS));
                for other in of.into_iter().filter(|other| snoops && *other != phone % USERS) {
                    self.look_at(other, of, true)?;
                    keys.iter().for_each(|&after| self.later(after, Action::Press { phone: other, of }));
                }
                keys.into_iter().for_each(|after| self.later(after, Action::Press { phone, of }));
                if let Some(after) = closes {
                    self.later(after, Action::Close { phone, of });
                }
            }
        }
        Ok(())
    }

    fn look_at(&mut self, phone: usize, of: [usize; 2], open: bool) -> Result<(), Violation> {
        let person = phone % USERS;
        let peer = of.iter().find(|&&other| other != person && of.contains(&person));
        let peer = peer.map(|&peer| self.account(peer));
        let chat = self.chat(of);
        self.clients[phone].look_at(&mut self.out, chat, peer, open)
    }

    fn chat(&self, of: [usize; 2]) -> ChatId {
        direct_chat_id(self.account(of[0]), self.account(of[1]))
    }

    fn stall(&mut self, node: usize, no: usize, down: Duration) {
        let (node_no, ms) = (node + 1, down.as_millis());
        self.out.say(format_args!("loop {no} of node {node_no} stands still for {ms} ms"));
        self.nodes[node].stall(no, self.out.time.instant() + down);
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
        if self.processes[process].is_none() {
            return;
        }
        self.kill_process(process, sessions_kept);
        if memory_too {
            self.out.memory = Arc::default();
        }
        self.later(down, Action::Boot { process });
    }

    fn say(&mut self, phone: usize, to: usize, count: u32) -> Result<(), Violation> {
        let (own, other) = (self.account(phone % USERS), self.account(to));
        let chat = direct_chat_id(own, other);
        self.say_in(phone, chat, Some(other), count)
    }

    pub(super) fn say_in(
        &mut self,
        phone: usize,
        chat: ChatId,
        peer: Option<AccountId>,
        count: u32,
    ) -> Result<(), Violation> {
        for _ in 0..count {
            let client = &mut self.clients[phone];
            let text = words(self.seed, client.phone, client.said);
            client.said += 1;
            let start: String = text.chars().take(24).collect();
            let sent_at_us = self.out.time.since_start().as_micros() as u64;
            let content = Content::Text(Text { text, sent_at_us, reply_to: None }).encode();
            self.out.say(format_args!(
                "{} writes to {}: {start} ({} B)",
                name(phone),
                self.to(chat, peer),
                content.len()
            ));
            self.clients[phone].say(&mut self.out, chat, peer, content)?;
        }
        Ok(())
    }

    /// To whom somebody writes, in words.
    fn to(&self, chat: ChatId, peer: Option<AccountId>) -> String {
        match peer {
            Some(peer) => self.out.checker.account_name(peer).to_owned(),
            None => self.out.checker.chat_name(chat).to_owned(),
        }
    }

    fn read(&mut self, phone: usize, of: usize, part: f64) -> Result<(), Violation> {
        let chat = direct_chat_id(self.account(phone % USERS), self.account(of));
        self.read_in(phone, chat, part)
    }

    fn read_in(&mut self, phone: usize, chat: ChatId, part: f64) -> Result<(), Violation> {
        let have = self.clients[phone].disk.have(chat).0;
        let seq = Seq((have as f64 * part).ceil() as u64);
        self.clients[phone].read(&mut self.out, chat, seq)
    }

    pub(super) fn read_all(&mut self, phone: usize) -> Result<(), Violation> {
        for of in (0..USERS).filter(|&of| of != phone % USERS) {
            self.read(phone, of, 1.0)?;
        }
        for chat in self.out.checker.groups() {
            self.read_in(phone, chat, 1.0)?;
        }
        Ok(())
    }
}
