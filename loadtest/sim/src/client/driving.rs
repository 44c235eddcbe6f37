//! A client's process at work: datagrams, time and the client's outputs, and what it keeps.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use client_core::{Input, Output, Plan, Write};
use rand::Rng;
use wire::Request;
use wire_link::Event;

use super::{Death, SimClient, name};
use crate::Sabotage;
use crate::check::Violation;
use crate::outside::Outside;

impl SimClient {
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        let timers = [
            running.endpoint.poll_timeout(),
            running.client.poll_timeout(),
            self.dawdles_until,
            self.registers_at,
        ];
        timers.into_iter().flatten().min()
    }

    pub(crate) fn datagram(&mut self, out: &Outside, from: SocketAddr, bytes: &[u8]) {
        if let Some(running) = &mut self.running {
            let now = out.time.instant();
            running.heard_at = Some(now);
            running.endpoint.handle_datagram(now, from, None, None, BytesMut::from(bytes));
        }
    }

    /// Whether its process does not read now.
    fn dawdles(&mut self, now: Instant) -> bool {
        self.dawdles_until = self.dawdles_until.filter(|&until| now < until);
        self.dawdles_until.is_some()
    }

    /// Does all that can be done now; true if there was something.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn turn(&mut self, out: &mut Outside) -> Result<bool, Violation> {
        let now = self.now(out);
        let mut any = false;
        let dawdles = self.dawdles(now.instant);
        let Some(running) = &mut self.running else { return Ok(false) };
        if running.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            running.endpoint.handle_timeout(now.instant);
            any = true;
        }
        if running.client.poll_timeout().is_some_and(|at| at <= now.instant) {
            running.client.handle_timeout(now);
            self.drain(out)?;
            any = true;
        }
        if self.registers_at.is_some_and(|at| at <= now.instant) {
            self.registers_at = None;
            self.register(out)?;
            self.drain(out)?;
            any = true;
        }
        while !dawdles
            && let Some(running) = &mut self.running
            && let Some((link, event)) = running.endpoint.poll_event()
        {
            any = true;
            match event {
                Event::Early { .. } => running.is_first_flight = true,
                Event::Connected { early: Some(true), .. } => out.counts.early_accepted += 1,
                Event::Connected { early: Some(false), .. } => out.counts.early_refused += 1,
                _ => {}
            }
            if let Some(input) = running.bridge.input_of(&mut running.endpoint, link, event) {
                if let Input::Frame { body, .. } = &input
                    && let Ok(wire::Event::ChatDown { chat, .. }) = wire::Event::decode(body)
                {
                    out.checker.sent_of(self.user, chat);
                }
                running.client.handle_input(input, now);
                self.drain(out)?;
            }
        }
        Ok(self.flush(out)? || any)
    }

    /// Sends what is to be sent; the thief may have a copy.
    fn flush(&mut self, out: &mut Outside) -> Result<bool, Violation> {
        let Some(running) = &mut self.running else { return Ok(false) };
        if std::mem::take(&mut running.is_first_flight) {
            let far = wire::limits::EARLY_CLOCK_MAX;
            out.counts.early_wrong_clock += u64::from(self.wrong.0 > far || self.wrong.1 > far);
            if let Some(cut) = self.captured.take() {
                if !cut.is_zero() {
                    out.cuts.insert(self.address, out.time.instant() + cut);
                }
                let flight = out.flush_copied(self.address, &mut running.endpoint);
                out.say(format_args!("{}'s first flight is copied", name(self.user)));
                out.captured(flight, running.node);
                return Ok(true);
            }
        }
        let sent = out.flush(self.address, &mut running.endpoint);
        let now = out.time.instant();
        // The farewell goes with falling asleep; later it only answers.
        let is_answer = running.heard_at == Some(now) || running.asleep == Some(now);
        if sent && running.background && running.asleep.is_some() && !is_answer {
            return Err(Violation::NotQuiet { user: self.user, what: "sends a datagram while asleep" });
        }
        Ok(sent)
    }

    /// Performs everything the client asks for: first what is to be kept, in one transaction, then the rest.
    pub(super) fn drain(&mut self, out: &mut Outside) -> Result<(), Violation> {
        loop {
            let Some(running) = &mut self.running else { return Ok(()) };
            let outputs: Vec<Output> = std::iter::from_fn(|| running.client.poll_output()).collect();
            if outputs.is_empty() {
                return Ok(());
            }
            let writes = outputs.iter().any(|output| matches!(output, Output::Persist(_)));
            if writes && self.dies == Some(Death::BeforeWrite) {
                self.kill(out);
                return Ok(());
            }
            let mut rest = Vec::with_capacity(outputs.len());
            for output in outputs {
                match output {
                    Output::Persist(write) => self.keep(out, &write)?,
                    other => rest.push(other),
                }
            }
            if writes && self.dies == Some(Death::AfterWrite) {
                self.kill(out);
                return Ok(());
            }
            for output in rest {
                self.perform(out, output)?;
            }
        }
    }

    fn keep(&mut self, out: &mut Outside, write: &Write) -> Result<(), Violation> {
        match write {
            Write::Queue(row) => out.checker.queued(self.user, row),
            Write::Arrived(message) => {
                out.counts.stored += 1;
                if self.sabotage == Some(Sabotage::ForgetfulDisk) && out.counts.stored.is_multiple_of(50) {
                    return Ok(());
                }
                out.checker.stored(self.user, self.disk.have(message.chat), message)?;
            }
            Write::Passed { chat, seq, what, .. } => {
                out.checker.passed(self.user, self.disk.have(*chat), (*chat, *seq), *what)?;
            }
            Write::Joined { chat, seq } => {
                out.counts.joined += 1;
                out.checker.joined(self.user, *chat, *seq);
            }
            Write::Commit(row) => {
                out.counts.commits += 1;
                out.checker.asked(row.request.client_msg_id);
            }
            Write::Plan(row) => {
                if matches!(row.plan, Plan::Create { .. }) {
                    out.checker.may_group(row.chat, self.user);
                }
                out.checker.asked(row.client_msg_id);
            }
            Write::Failed { client_msg_id, code } => {
                out.counts.failed += 1;
                out.checker.failed(self.user, *client_msg_id, *code)?;
            }
            Write::LoggedOut => return Err(Violation::LoggedOut { user: self.user }),
            Write::Login(login) => {
                out.counts.renewed += u64::from(self.disk.login().is_some());
                out.checker.registered(self.phone, login.account, login.device, self.is_late);
            }
            _ => {}
        }
        self.disk.apply(write);
        Ok(())
    }

    fn perform(&mut self, out: &mut Outside, output: Output) -> Result<(), Violation> {
        let now = self.now(out);
        let Some(running) = &mut self.running else { return Ok(()) };
        if let Output::Send { frame, .. } = &output
            && running.background
            && matches!(Request::decode(&wire::frame::body_of(frame)), Ok(Request::Ping { .. }))
        {
            return Err(Violation::NotQuiet { user: self.user, what: "sends a heartbeat" });
        }
        match running.bridge.perform(&mut running.endpoint, output) {
            Some(Output::Connect { early }) => {
                if running.background && running.asleep.is_some() {
                    return Err(Violation::NotQuiet { user: self.user, what: "connects for nothing" });
                }
                // A phone does not choose its node.
                running.node = out.rng.random_range(0..crate::world::NODES);
                let node = running.node + 1;
                let to = SocketAddr::from(([10, 0, 0, node as u8], 443));
                match running.endpoint.connect_with(now.instant, to, crate::world::NAME, early) {
                    Ok(link) => running.bridge.connecting(link),
                    Err(error) => {
                        let input = Input::Closed { reason: error.to_string() };
                        running.client.handle_input(input, now);
                    }
                }
                out.say(format_args!("{} connects to node {node}", name(self.user)));
            }
            Some(Output::Notify(event)) => self.notice(out, event)?,
            _ => {}
        }
        Ok(())
    }
}
