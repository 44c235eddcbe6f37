//! `godwit chat`: the chats of a profile on a terminal.
//!
//! Three threads: one reads the keyboard, one waits for signals, and this one does everything else: it waits on the
//! network in [`Session::turn`], from which the other two wake it. What is shown is [`state`], a function of what
//! happened; [`view`] draws it; [`app`] does what the state asks for.
//!
//! Its one rule: **a message is shown as queued only when it is on disk**, so no end of this process loses one.
//! Everything is bounded: the keys that wait, the messages in memory, the length of a message.

mod app;
mod editor;
mod keys;
mod layout;
mod lines;
mod react;
mod screen;
mod state;
mod text;
mod typing;
mod view;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::app::App;
use self::keys::Input;
use self::screen::Screen;
use crate::error::CliError;
use crate::session::Session;
use crate::unlock::ProfileArgs;

/// Keys that wait to be handled; the keyboard waits when there are more.
const INPUTS_MAX: usize = 256;

/// Between two drawings.
const FRAME: Duration = Duration::from_millis(33);

/// The longest wait: the clock on the wall moves.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What the other threads say.
struct Terminal {
    inputs: Receiver<Input>,
    stop: Arc<AtomicBool>,
}

/// Runs it until the user or a signal ends it.
///
/// # Errors
/// [`CliError::Usage`] if standard output is no terminal; what [`Session`] ends with; [`CliError::Output`] when the
/// terminal is gone.
pub(crate) fn run(profile: &ProfileArgs) -> Result<(), CliError> {
    if !std::io::stdout().is_terminal() {
        return Err(CliError::Usage(
            "chat needs a terminal as its standard output; scripts use `godwit send` and `godwit tail`",
        ));
    }
    let session = Session::open(profile.open()?)?;
    let mut app = App::new(session)?;
    let result = run_on_screen(&mut app);
    let ended = app.close();
    result.and(ended)
}

fn run_on_screen(app: &mut App) -> Result<(), CliError> {
    let stop = wait_for_signals(app.session())?;
    let mut screen = Screen::open()?;
    let terminal = Terminal { inputs: read_keys(app.session()), stop };
    let size = screen.size()?;
    app.state().on_resize(size.0, size.1);
    let mut drawn_at: Option<Instant> = None;
    while !terminal.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let draw_at = drawn_at.map_or(now, |at| at + FRAME);
        if app.state().changed && draw_at <= now {
            draw(app, &mut screen)?;
            drawn_at = Some(now);
            continue;
        }
        let frame = app.state().changed.then_some(draw_at);
        let until = [frame, app.next_change()].into_iter().flatten().fold(now + WAIT_MAX, Instant::min);
        app.turn(until)?;
        while let Ok(input) = terminal.inputs.try_recv() {
            match app.on_input(input)? {
                app::Next::GoOn => {}
                app::Next::Redraw => screen.clear()?,
                app::Next::Quit => return Ok(()),
            }
        }
    }
    Ok(())
}

fn draw(app: &mut App, screen: &mut Screen) -> Result<(), CliError> {
    let size = screen.size()?;
    if size != app.state().size {
        app.state().on_resize(size.0, size.1);
    }
    app.state().changed = false;
    let seen = screen.draw(app.state())?;
    app.on_seen(seen)
}

/// Reads the keyboard on a thread of its own, which ends with the process or the terminal.
fn read_keys(session: &Session) -> Receiver<Input> {
    let (sender, inputs) = sync_channel(INPUTS_MAX);
    let waker = session.waker();
    std::thread::spawn(move || {
        loop {
            let input = match ratatui::crossterm::event::read() {
                Ok(event) => keys::read(event),
                Err(_) => Some(Input::Gone),
            };
            let Some(input) = input else { continue };
            let is_gone = input == Input::Gone;
            let is_over = sender.send(input).is_err();
            waker.wake();
            if is_gone || is_over {
                return;
            }
        }
    });
    inputs
}

/// SIGTERM and SIGHUP end it as a key does.
fn wait_for_signals(session: &Session) -> Result<Arc<AtomicBool>, CliError> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT])?;
    let stop = Arc::new(AtomicBool::new(false));
    let (told, waker) = (Arc::clone(&stop), session.waker());
    std::thread::spawn(move || {
        for _ in signals.forever() {
            told.store(true, Ordering::Relaxed);
            waker.wake();
        }
    });
    Ok(stop)
}
