//! The second act: Bob is on the move. His way to the node leads through a relay that delays it, and that gives him another
//! address in mid-conversation, as a phone's network does.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::paint::{Paint, milliseconds};
use super::person::To;
use super::story::{PATIENCE, Story};

/// Half of Bob's round trip.
const ONE_WAY: Duration = Duration::from_millis(20);

/// Messages before each move, and after the last one.
const MESSAGES: usize = 5;

/// Where Bob is after his address has changed.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What Bob's moves cost.
pub(super) struct Moving {
    /// Latencies of the messages that were the first after a move, microseconds.
    first_us: Vec<u64>,
    /// Those of the others.
    other_us: Vec<u64>,
}

/// What Bob's return from sleep cost.
pub(super) struct Waking {
    full_ms: f64,
    early_ms: f64,
}

impl Story {
    /// Bob gets another address, and then another port.
    pub(super) fn move_bob(&mut self, paint: &mut Paint) -> Result<Moving> {
        paint.chapter(
            "Second act: Bob is on the move, 40 ms away, and his address changes in mid-conversation",
        );
        self.bob.go_offline()?;
        self.path.set_delay(ONE_WAY);
        self.bob_comes_online()?;
        let from = self.next_seq();
        let (connects, lost) = (self.bob.connects_ms.len(), self.bob.lost);
        self.alice.go_offline()?;
        let mut moving = Moving { first_us: Vec::new(), other_us: Vec::new() };
        let mut sending = self.alice.send_each(&To::Chat(&self.chat))?;
        for part in ["at home", "on the street", "in the train"] {
            for n in 1..=MESSAGES {
                let text = format!("to Bob {part}, {n} of {MESSAGES}");
                let before = self.bob.latencies_us.len();
                sending.say(&text)?;
                self.said.push((true, text));
                let deadline = Instant::now() + PATIENCE;
                while self.bob.screen.last() < self.last_seq() {
                    if Instant::now() > deadline {
                        bail!("a message did not arrive within {PATIENCE:?} after Bob moved");
                    }
                    self.bob.watch_once(deadline)?;
                }
                let is_first = n == 1 && part != "at home";
                let latencies = if is_first { &mut moving.first_us } else { &mut moving.other_us };
                latencies.extend(self.bob.latencies_us.drain(before..));
            }
            match part {
                "at home" => {
                    self.path.move_to(ELSEWHERE).context("this machine has no 127.0.0.2")?;
                    self.bob.system_says("moved")?;
                    paint.note("Wi-Fi is gone: Bob's phone has another address, and its system tells the application");
                }
                "on the street" => {
                    self.path.rebind()?;
                    self.bob.system_says("moved")?;
                    paint.note("a NAT on the way gives him another port");
                }
                _ => {}
            }
        }
        self.alice.sent(sending)?;
        self.alice.come_online()?;
        self.everything_read("what Bob got on the way to be read")?;
        self.print_screens(paint, from.max(self.next_seq() - 4));
        if (self.bob.connects_ms.len(), self.bob.lost) != (connects, lost) {
            self.broken.push("Bob's connection did not survive his change of address".to_owned());
        }
        Ok(moving)
    }

    /// Bob's phone sleeps, and he answers from a notification: once as it should be, and once after the node was killed
    /// and has forgotten him.
    pub(super) fn wake_bob(&mut self, paint: &mut Paint) -> Result<Waking> {
        paint.chapter("Bob's phone sleeps, and comes back in one flight");
        let from = self.next_seq();
        self.sleep()?;
        self.say(true, &["Asleep?"])?;
        paint.note("in the background, with nothing left to do, his application has closed its connection;");
        paint.note("Alice writes, and he answers from the notification:");
        let early_ms = self.answer("Not any more.", true)?;
        self.print_screens(paint, from);
        self.sleep()?;
        let id = self.node.kill()?;
        self.node.start()?;
        paint.note(&format!(
            "he sleeps again; kill -9 {id}, and the node is started again: it knows his ticket no more"
        ));
        let full_ms = self.answer("Still here.", false)?;
        Ok(Waking { full_ms, early_ms })
    }

    fn sleep(&mut self) -> Result<()> {
        let asleep = self.bob.asleep;
        self.everything_read("everything to be read before Bob sleeps")?;
        self.bob.system_says("background")?;
        self.wait_for("Bob's application to let its connection go", |_, bob| bob.asleep > asleep)
    }

    /// Bob answers without opening his application; returns how long the tick took from the attempt to connect.
    fn answer(&mut self, text: &str, early: bool) -> Result<f64> {
        let (connects, ticks) = (self.bob.connects_ms.len(), self.bob.ticks_ms.len());
        self.say(false, &[text])?;
        self.wait_for("Bob's application to be back", |_, bob| {
            bob.connects_ms.len() > connects && bob.ticks_ms.len() > ticks
        })?;
        if self.bob.early[connects] != early {
            self.broken.push(format!("Bob's answer {text:?} left in the first flight: {}", !early));
        }
        // In the background he would let go of the connection again, and not hear that it was read.
        self.bob.system_says("foreground")?;
        self.everything_read("the answer to be read")?;
        Ok(self.bob.ticks_ms[ticks])
    }

    /// Opens Bob's application and waits until it is connected.
    fn bob_comes_online(&mut self) -> Result<()> {
        let connects = self.bob.connects_ms.len();
        self.bob.come_online()?;
        self.wait_for("Bob to be back", |_, bob| bob.connects_ms.len() > connects)?;
        self.everything_read("Bob's screen to be as it was")
    }
}

impl Moving {
    pub(super) fn print(mut self, paint: &Paint) {
        self.other_us.sort_unstable();
        let median =
            self.other_us.get(self.other_us.len() / 2).map_or("none".to_owned(), |us| milliseconds(*us));
        let first: Vec<String> = self.first_us.iter().map(|us| milliseconds(*us)).collect();
        paint.note(&format!(
            "a new address: the first message after it took {}, the others {median} (p50), with {} one way;",
            first.join(" and "),
            milliseconds(ONE_WAY.as_micros() as u64)
        ));
        paint.note("no reconnect, no gap, nothing twice");
    }
}

impl Waking {
    pub(super) fn print(&self, paint: &Paint) {
        let round_trip_ms = 2.0 * ONE_WAY.as_secs_f64() * 1000.0;
        let trips = |ms: f64| format!("{ms:.0} ms ({:.1} round trips)", ms / round_trip_ms);
        paint.note(&format!(
            "back from sleep, from waking to the tick of his answer: {} in the first flight,",
            trips(self.early_ms)
        ));
        paint
            .note(&format!("{} with the full handshake that a restarted node asks for", trips(self.full_ms)));
    }
}
