//! Wrong frames inside right connections: before `Hello`, as `Hello`, and after it, on streams of every role.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::proof::Exporter;
use wire::{AccountId, ChatId, CloseCode, Event, Role};
use wire_link::{Event as LinkEvent, LinkId, OpenError, StreamId};
use wire_udp::Driver;

use crate::dose::Pace;
use crate::tally::{Ends, Tally};
use crate::target::hello;
use crate::wrong::{FrameKind, Wrong};
use crate::{Dose, HostileError, Identity, Target};

/// Frames on one connection; then it is ended, and another begun.
const PER_CONNECTION: u64 = 400;

/// Said before the answers are looked at.
const BATCH: u64 = 8;

/// Streams that are open at a time; the oldest is given up for a new one.
const STREAMS_MAX: usize = 24;

/// What a handshake or an answer is waited for at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// What [`frames`] is to do.
#[derive(Debug, Clone)]
pub struct Frames {
    /// How many frames, and how fast; a `Hello` that is as it should be is not counted.
    pub dose: Dose,
    /// Decides them.
    pub seed: u64,
    /// Who says them; nobody, if `None`.
    pub identity: Option<Identity>,
    /// A chat of theirs, for frames that name one.
    pub chat: ChatId,
    /// Who else is in it.
    pub peer: AccountId,
}

/// What was sent and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FramesReport {
    /// Frames sent, in each way of being wrong.
    pub sent: Tally<FrameKind>,
    /// Those of them before a `Hello` was answered.
    pub before_hello: u64,
    /// Connections begun.
    pub connections: u64,
    /// `Hello`s that were accepted.
    pub accepted: u64,
    /// Whole answers that came, refusals aside.
    pub answers: u64,
    /// Refusals, by the numbers of [`wire::ErrorCode`].
    pub refusals: Tally<u16>,
    /// Streams that the node ended early, by the numbers of [`wire::CloseCode`].
    pub streams_ended: Tally<u64>,
    /// How connections ended.
    pub ends: Ends,
    /// Frames of the node's that cannot be read: there should be none.
    pub unreadable: u64,
    /// How long it took.
    pub took: Duration,
}

/// Says wrong frames in right connections, and begins another connection whenever the node has had enough.
///
/// # Errors
/// [`HostileError`].
pub fn frames(target: &Target, options: &Frames) -> Result<FramesReport, HostileError> {
    let wrong = Wrong::new(options.chat, options.peer);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut report = FramesReport::default();
    let mut pace = Pace::begin(&options.dose);
    let endpoint = target.endpoint(&mut rng, Instant::now());
    let mut driver = Driver::bind((target.from(0), 0).into(), endpoint)?;
    while !pace.is_over() {
        let (now, server) = (Instant::now(), target.server);
        let link = driver.endpoint().connect_with(now, server, &target.name, false)?;
        report.connections += 1;
        let mut talk = Talk {
            driver: &mut driver,
            link,
            wrong: &wrong,
            rng: &mut rng,
            report: &mut report,
            exporter: None,
            is_in: false,
            closed: false,
            streams: VecDeque::new(),
        };
        talk.whole(options, &mut pace)?;
    }
    driver.endpoint().close_all(CloseCode::Done, "");
    driver.linger(Duration::from_millis(200))?;
    report.took = pace.took();
    Ok(report)
}

/// One connection.
struct Talk<'a> {
    driver: &'a mut Driver,
    link: LinkId,
    wrong: &'a Wrong,
    rng: &'a mut ChaCha8Rng,
    report: &'a mut FramesReport,
    exporter: Option<Exporter>,
    is_in: bool,
    closed: bool,
    streams: VecDeque<StreamId>,
}

impl Talk<'_> {
    fn whole(&mut self, options: &Frames, pace: &mut Pace) -> Result<(), HostileError> {
        self.until(|talk| talk.exporter.is_some())?;
        if let Some(exporter) = self.exporter {
            self.greet(options, pace, &exporter)?;
        }
        let (mut said, mut room_at) = (0, Instant::now());
        while !self.closed && !pace.is_over() && said < PER_CONNECTION && room_at.elapsed() < PATIENCE {
            let batch = pace.now(BATCH);
            let given = self.say_batch(batch);
            pace.gave(given);
            said += given;
            if given == batch {
                room_at = Instant::now();
            }
            let nap = if given == 0 || given < batch { Duration::from_millis(1) } else { Duration::ZERO };
            self.turn(nap)?;
        }
        if !self.closed {
            // The answers that are on their way, and an end in good manners.
            self.turn(Duration::from_millis(5))?;
            let link = self.link;
            self.driver.endpoint().close(link, CloseCode::Done, "");
            self.turn(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Now and then something is said before `Hello`, or instead of it.
    fn greet(&mut self, options: &Frames, pace: &mut Pace, exporter: &Exporter) -> Result<(), HostileError> {
        if self.rng.random_bool(0.3) {
            let early = pace.now(BATCH);
            pace.gave(self.say_batch(early));
            self.turn(Duration::ZERO)?;
        }
        if self.rng.random_bool(0.1) {
            let (kind, bytes) = self.wrong.make(self.rng);
            pace.gave(u64::from(self.say(Role::Session, kind, bytes)));
            return self.turn(Duration::from_millis(5));
        }
        let nobody = self.rng.random_bool(0.1);
        let hello = hello(options.identity.as_ref().filter(|_| !nobody), exporter);
        let (link, endpoint) = (self.link, self.driver.endpoint());
        if let Ok(session) = endpoint.open(link, Role::Session)
            && endpoint.send(link, session, hello).is_ok()
        {
            self.until(|talk| talk.is_in)?;
        }
        Ok(())
    }

    /// Says up to so many; how many there was room for.
    fn say_batch(&mut self, batch: u64) -> u64 {
        (0..batch).take_while(|_| self.say_wrong()).count() as u64
    }

    /// Says one, on a stream that is there or on a new one; `false` if the node has no room for it now.
    fn say_wrong(&mut self) -> bool {
        let (kind, bytes) = self.wrong.make(self.rng);
        if let Some(&stream) = self.streams.make_contiguous().choose(self.rng)
            && self.rng.random_bool(0.6)
            && self.send(stream, kind, bytes.clone())
        {
            // Now and then it is ended, in one way or another.
            let (link, ending) = (self.link, self.rng.random_range(0..8));
            match ending {
                0 => self.driver.endpoint().finish(link, stream),
                1 => self.driver.endpoint().reset(link, stream, CloseCode::Cancelled),
                _ => return true,
            }
            self.streams.retain(|open| *open != stream);
            return true;
        }
        let role = *[Role::Request, Role::ChatUp, Role::Session].choose(self.rng).unwrap_or(&Role::Request);
        self.say(role, kind, bytes)
    }

    fn say(&mut self, role: Role, kind: FrameKind, bytes: Bytes) -> bool {
        let opened = self.driver.endpoint().open(self.link, role);
        if (opened.is_err() || self.streams.len() >= STREAMS_MAX)
            && let Some(oldest) = self.streams.pop_front()
        {
            self.driver.endpoint().abandon(self.link, oldest, CloseCode::Cancelled);
        }
        match opened {
            Ok(stream) => {
                self.streams.push_back(stream);
                self.send(stream, kind, bytes)
            }
            // The node has not let go of the streams before: it will, once it has been heard.
            Err(OpenError::Exhausted | OpenError::Closed) => false,
        }
    }

    fn send(&mut self, stream: StreamId, kind: FrameKind, bytes: Bytes) -> bool {
        let sent = self.driver.endpoint().send(self.link, stream, bytes).is_ok();
        if sent {
            self.report.sent.add(kind);
            self.report.before_hello += u64::from(!self.is_in);
        } else {
            self.streams.retain(|open| *open != stream);
        }
        sent
    }

    /// Turns until something holds, the connection is over, or patience is.
    fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Result<(), HostileError> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) && !self.closed && Instant::now() < deadline {
            self.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Sends what is to be sent, and takes what comes within a while.
    fn turn(&mut self, wait: Duration) -> Result<(), HostileError> {
        self.driver.flush()?;
        self.driver.wait(Some(Instant::now() + wait))?;
        while let Some((link, event)) = self.driver.endpoint().poll_event() {
            if let LinkEvent::Closed { reason } = &event {
                self.report.ends.add(reason);
            }
            if link == self.link {
                self.hear(event);
            }
        }
        Ok(self.driver.flush()?)
    }

    fn hear(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected { exporter, .. } => self.exporter = Some(exporter),
            LinkEvent::Frame { body, .. } => match Event::decode(&body) {
                Ok(Event::Connected(_)) => {
                    self.is_in = true;
                    self.report.accepted += 1;
                }
                Ok(Event::Refused(refusal) | Event::AppendRefused { refusal, .. }) => {
                    self.report.refusals.add(refusal.code as u16);
                }
                Ok(_) => self.report.answers += 1,
                Err(_) => self.report.unreadable += 1,
            },
            LinkEvent::Reset { stream, code } | LinkEvent::Stopped { stream, code } => {
                self.report.streams_ended.add(code);
                self.streams.retain(|open| *open != stream);
            }
            LinkEvent::Closed { .. } => self.closed = true,
            _ => {}
        }
    }
}
