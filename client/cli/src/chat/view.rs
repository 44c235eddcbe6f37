//! Draws the state. It reads nothing else, and changes nothing: what it showed goes back as [`Seen`].
//!
//! Every character goes through [`put`]: clusters stay whole, nothing invisible or steering is drawn, and nothing leaves
//! its part of the screen, whatever the size.
//!
//! Text that runs from right to left is handed over in logical order, for the terminal to turn around and to shape; its
//! paragraphs stand at the right. Invisible marks ([`RLM`], [`LRM`]) close each piece off, so that a terminal that
//! reorders whole rows cannot mix the columns of two panes. Isolates (FSI, PDI) would say the same in the words of
//! UAX #9, but terminals that reorder do not keep them, and others show them as boxes.

mod chat;
mod list;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Clear, Widget};
use unicode_segmentation::UnicodeSegmentation;

use super::keys::HELP;
use super::layout::{input_columns, prompt_columns};
use super::state::{Focus, Link, Seen, State};
use super::text::{drawable, fit, has_rtl, is_rtl, one_line, width, wrap};

/// Stands before and behind a piece that runs from right to left: the signs and emoji at its ends go with it (UAX #9, N1).
/// Invisible and of no width.
const RLM: char = '\u{200f}';

/// Ends every piece with right-to-left text in it: what follows on the same row is not drawn into its order.
const LRM: char = '\u{200e}';

const DIM: Style = Style::new().fg(Color::DarkGray);
const WARN: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const GOOD: Style = Style::new().fg(Color::Green);
const ACCENT: Style = Style::new().fg(Color::Cyan);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) -> Seen {
    let layout = state.layout();
    let area = frame.area();
    let buf = frame.buffer_mut();
    list::draw(buf, layout.list, state);
    for at in layout.divider.positions() {
        put(buf, (at.x, at.y), 1, "│", DIM);
    }
    let seen = chat::draw(buf, &layout, state);
    let mut cursor = draw_input(buf, layout.input, state);
    draw_status(buf, layout.status, state);
    if let Some(number) = &state.number {
        cursor = Some(draw_number(buf, area, number.text()));
    }
    if state.help {
        draw_help(buf, area);
        cursor = None;
    }
    if let Some(at) = cursor.filter(|&at| area.contains(at)) {
        frame.set_cursor_position(at);
    }
    seen
}

/// Draws a piece of text from a place on, in so many columns at most, cluster by cluster. Returns the columns it took.
fn put(buf: &mut Buffer, (x, y): (u16, u16), columns: usize, text: &str, style: Style) -> usize {
    let right = usize::from(x) + columns;
    let mut at = usize::from(x);
    let (mut first, mut last) = (None, None);
    for cluster in text.graphemes(true) {
        let Some(shown) = drawable(cluster) else { continue };
        let wide = width(shown);
        if at + wide > right || at + wide > usize::from(buf.area.right()) {
            break;
        }
        for n in 0..wide {
            if let Some(cell) = column(at + n).and_then(|x| buf.cell_mut((x, y))) {
                cell.reset();
                cell.set_style(style);
                if n == 0 {
                    cell.set_symbol(shown);
                }
            }
        }
        first.get_or_insert(at);
        last = Some(at);
        at += wide;
    }
    if let Some((first, last)) = first.zip(last).filter(|_| has_rtl(text)) {
        close_off(buf, y, (first, last), is_rtl(text));
    }
    at - usize::from(x)
}

/// Puts the marks around a piece with right-to-left text in it. A terminal keeps what has no width with the character
/// before it, so the first mark is part of the cell before the piece: whoever draws that cell anew takes it away.
fn close_off(buf: &mut Buffer, y: u16, (first, last): (usize, usize), rtl: bool) {
    let buf_left = buf.area.left();
    let mut mark = |x: usize, marked: &dyn Fn(&str) -> String| {
        if let Some(cell) = column(x).and_then(|x| buf.cell_mut((x, y))) {
            let symbol = marked(cell.symbol());
            cell.set_symbol(&symbol);
        }
    };
    if rtl {
        if first > usize::from(buf_left) {
            mark(first - 1, &|symbol| format!("{symbol}{RLM}"));
        }
        mark(last, &|symbol| format!("{symbol}{RLM}"));
    }
    mark(last, &|symbol| format!("{symbol}{LRM}"));
}

fn column(x: usize) -> Option<u16> {
    u16::try_from(x).ok()
}

/// Draws a piece in the middle of a row.
fn put_centred(buf: &mut Buffer, area: Rect, y: u16, text: &str, style: Style) {
    let columns = usize::from(area.width);
    let text = fit(text, columns);
    let left = (columns - width(&text).min(columns)) / 2;
    put(buf, (area.x + column(left).unwrap_or(0), y), columns - left, &text, style);
}

fn draw_input(buf: &mut Buffer, area: Rect, state: &State) -> Option<Position> {
    let open = state.open.as_ref().filter(|_| !area.is_empty())?;
    let has_focus = state.focus == Focus::Message;
    let (columns, prompt) = (input_columns(area.width), prompt_columns(area.width));
    let text = open.editor.text();
    let (row, column_in_row) = open.editor.place(columns);
    let rows = wrap(text, columns);
    let height = usize::from(area.height);
    let first = (row + 1).saturating_sub(height);
    for (n, shown) in rows.iter().skip(first).take(height).enumerate() {
        let y = area.y + n as u16;
        if n + first == 0 {
            put(buf, (area.x, y), prompt, "› ", if has_focus { ACCENT } else { DIM });
        }
        put(buf, (area.x + prompt as u16, y), columns, &text[shown.range.clone()], Style::new());
    }
    if open.editor.is_empty() && prompt > 0 {
        let hint = if has_focus { "Message" } else { "Tab to write" };
        put(buf, (area.x + prompt as u16, area.y), columns, hint, DIM);
    }
    let x = area.x + (prompt + column_in_row.min(columns)) as u16;
    has_focus.then(|| Position::new(x.min(area.right() - 1), area.y + (row - first) as u16))
}

fn draw_status(buf: &mut Buffer, area: Rect, state: &State) {
    if area.is_empty() {
        return;
    }
    let (words, style) = match &state.link {
        Link::Connected => ("● connected".to_owned(), GOOD),
        Link::Connecting => ("○ connecting…".to_owned(), WARN),
        Link::Waiting { until, why } => {
            let left = until.saturating_duration_since(state.now).as_millis().div_ceil(1000);
            (format!("○ reconnecting in {left} s ({})", one_line(why)), WARN)
        }
    };
    let keys = "F1 keys";
    let columns = usize::from(area.width);
    let mut used = put(buf, (area.x, area.y), columns, &words, style);
    let mut more = |words: &str, style: Style| {
        let gap = if used == 0 { 0 } else { 2 };
        let x = area.x + column(used + gap).unwrap_or(u16::MAX);
        used += gap + put(buf, (x, area.y), columns.saturating_sub(used + gap), words, style);
    };
    match state.outbox {
        0 => {}
        1 => more("◷ 1 message waits", WARN),
        n => more(&format!("◷ {n} messages wait"), WARN),
    }
    if let Some((notice, _)) = &state.notice {
        more(notice, BOLD);
    } else if let Some(typing) = typing_words(state) {
        more(&typing, ACCENT);
    }
    if used + 2 + keys.len() <= columns {
        put(buf, (area.right() - keys.len() as u16, area.y), keys.len(), keys, DIM);
    }
}

/// "Ana is typing…", in the open chat or elsewhere.
fn typing_words(state: &State) -> Option<String> {
    let typists = state.open_chat().map(|chat| state.typists(chat)).unwrap_or_default();
    match &typists[..] {
        [] => None,
        [one] => Some(format!("{one} is typing…")),
        [one, others @ ..] => Some(format!("{one} and {} more are typing…", others.len())),
    }
}

/// The prompt for a number, on the last row.
fn draw_number(buf: &mut Buffer, area: Rect, number: &str) -> Position {
    let Some(y) = area.bottom().checked_sub(1) else { return Position::default() };
    let columns = usize::from(area.width);
    put(buf, (area.x, y), columns, &" ".repeat(columns), Style::new());
    let used = put(buf, (area.x, y), columns, "New chat with number: ", ACCENT);
    let typed = put(buf, (area.x + used as u16, y), columns - used, number, BOLD);
    Position::new((area.x + (used + typed) as u16).min(area.right().saturating_sub(1)), y)
}

fn draw_help(buf: &mut Buffer, screen: Rect) {
    let keys = HELP.iter().map(|(key, _)| width(key)).max().unwrap_or(0);
    let what = HELP.iter().map(|(_, what)| width(what)).max().unwrap_or(0);
    let (wide, high) = (column(keys + what + 7).unwrap_or(u16::MAX), HELP.len() as u16 + 2);
    let area = Rect {
        x: screen.x + screen.width.saturating_sub(wide) / 2,
        y: screen.y + screen.height.saturating_sub(high) / 2,
        width: wide.min(screen.width),
        height: high.min(screen.height),
    };
    Clear.render(area, buf);
    Block::bordered().title(" Keys ").border_style(ACCENT).render(area, buf);
    let columns = usize::from(area.width).saturating_sub(2);
    for (n, (key, does)) in HELP.iter().enumerate().take(usize::from(area.height.saturating_sub(2))) {
        let y = area.y + 1 + n as u16;
        put(buf, (area.x + 1, y), columns, &format!(" {key}"), BOLD);
        let left = keys + 3;
        put(buf, (area.x + 1 + left as u16, y), columns.saturating_sub(left), does, Style::new());
    }
}

#[cfg(test)]
mod tests;
