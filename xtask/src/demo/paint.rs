//! How the demo looks on a terminal: chapters, two screens side by side, figures.

use std::io::IsTerminal;
use std::time::Duration;

use super::screen::{Screen, Tick};
use super::server::Stored;

/// Width of one person's screen, in characters.
const SCREEN_CHARS: usize = 36;

/// Prints, in colour on a terminal that wants it.
pub(crate) struct Paint {
    colour: bool,
    chapters: u32,
}

impl Paint {
    pub(crate) fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Paint { colour, chapters: 0 }
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Opens a chapter of the story.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        println!("\n{}", self.coloured("1", &format!("{}. {title}", self.chapters)));
    }

    /// One step done.
    pub(crate) fn note(&self, text: &str) {
        println!("   {}", self.coloured("2", text));
    }

    /// The verdict's lines.
    pub(crate) fn good(&self, text: &str) {
        println!("   {} {text}", self.coloured("32", "✔"));
    }

    /// See [`Paint::good`].
    pub(crate) fn bad(&self, text: &str) {
        println!("   {} {text}", self.coloured("31", "✘"));
    }

    /// A line to copy.
    pub(crate) fn command(&self, text: &str) {
        println!("     {}", self.coloured("36", text));
    }

    /// Both sides of the conversation from `from` on.
    pub(crate) fn screens(&self, from: u64, left: (&str, &Screen), right: (&str, &Screen)) {
        let titles = [left.0, right.0].map(|name| pad(&format!("{name}'s screen"), SCREEN_CHARS));
        println!("   {}", self.coloured("4", &titles.join(" │ ")));
        let last = left.1.last().max(right.1.last());
        for seq in from..=last {
            println!("   {} │ {}", self.cell(left.1, seq), self.cell(right.1, seq).trim_end());
        }
    }

    /// One entry as the server has it, beside what people read in it.
    pub(crate) fn stored(&self, entry: &Stored, read: &str) {
        let Stored { seq, kind, epoch, bytes, excerpt } = entry;
        let stored = format!("{seq:>3} {kind:<7} epoch {epoch}, {bytes:>5} bytes, …{excerpt}");
        println!("   {} │ {}", self.coloured("2", &stored), fit(read, SCREEN_CHARS));
    }

    /// One message on one screen: others' to the left, own to the right with its ticks.
    fn cell(&self, screen: &Screen, seq: u64) -> String {
        let Some(line) = screen.lines().get(&seq) else {
            return " ".repeat(SCREEN_CHARS);
        };
        if !line.mine {
            return pad(&format!("{seq:>3} {}", line.text), SCREEN_CHARS);
        }
        let (plain, code) = match screen.tick(seq) {
            Tick::Sent => ("✓", "2"),
            Tick::Delivered => ("✓✓", "2"),
            // Blue where there is blue.
            Tick::Read if self.colour => ("✓✓", "1;34"),
            Tick::Read => ("✓✓ read", ""),
        };
        let text = fit(&line.text, SCREEN_CHARS - 6 - plain.chars().count());
        let space = SCREEN_CHARS - 5 - text.chars().count() - plain.chars().count();
        format!("{seq:>3} {}{text} {}", " ".repeat(space), self.coloured(code, plain))
    }
}

/// `text` cut to `chars`, with a mark where it was cut.
fn fit(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// `text` in exactly `chars` columns.
fn pad(text: &str, chars: usize) -> String {
    let mut text = fit(text, chars);
    let space = chars - text.chars().count();
    text.push_str(&" ".repeat(space));
    text
}

/// The value below which `percent` of `sorted` lie (nearest rank). Nothing for nothing.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Microseconds as milliseconds with a digit that means something.
pub(crate) fn milliseconds(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1000.0)
}

/// A duration in the same form.
pub(crate) fn short(elapsed: Duration) -> String {
    match elapsed.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::Line;
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        let cases: [(&[u64], usize, Option<u64>); 6] = [
            (&[], 50, None),
            (&[7], 50, Some(7)),
            (&[7], 99, Some(7)),
            (&[1, 2, 3, 4], 50, Some(2)),
            (&hundred, 50, Some(50)),
            (&hundred, 99, Some(99)),
        ];
        for (sorted, percent, expected) in cases {
            assert_eq!(percentile(sorted, percent), expected, "{percent} of {} values", sorted.len());
        }
    }

    #[test]
    fn cells_are_as_wide_as_the_screen() {
        let paint = Paint { colour: false, chapters: 0 };
        let mut screen = Screen::default();
        let long = "x".repeat(200);
        for (seq, text) in [(1, "short"), (2, "ümläut ✓"), (3, long.as_str())] {
            screen.message(seq, Line { text: text.to_owned(), mine: seq != 2 });
            screen.cursors(seq, seq / 2);
        }
        for seq in 1..=4 {
            assert_eq!(paint.cell(&screen, seq).chars().count(), SCREEN_CHARS, "message {seq}");
        }
    }
}
