//! The list of chats: two rows each.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::{ACCENT, BAD, BOLD, DIM, GOOD, put};
use crate::chat::lines::Stamp;
use crate::chat::state::{Focus, Item, State};
use crate::chat::text::{fit, one_line, width, wrap};
use crate::chat::view::chat::{clock, weekday};

/// Rows of a chat.
const ROWS: u16 = 2;

const BADGE: Style = Style::new().fg(Color::Black).bg(Color::Green).add_modifier(Modifier::BOLD);

pub(super) fn draw(buf: &mut Buffer, area: Rect, state: &State) {
    if area.is_empty() {
        return;
    }
    if state.chats.is_empty() {
        return draw_empty(buf, area);
    }
    let visible = usize::from(area.height.div_ceil(ROWS)).max(1);
    let whole = usize::from(area.height / ROWS).max(1);
    let first = (state.selected + 1).saturating_sub(whole);
    for (n, item) in state.chats.iter().enumerate().skip(first).take(visible) {
        let y = area.y + (n - first) as u16 * ROWS;
        let height = ROWS.min(area.bottom() - y);
        draw_item(buf, Rect { y, height, ..area }, state, item, n == state.selected);
    }
}

fn draw_empty(buf: &mut Buffer, area: Rect) {
    let words = "No chats yet.\nPress n to write to somebody by number.";
    let columns = usize::from(area.width);
    for (n, row) in wrap(words, columns).into_iter().take(usize::from(area.height)).enumerate() {
        put(buf, (area.x, area.y + n as u16), columns, &words[row.range], DIM);
    }
}

fn draw_item(buf: &mut Buffer, area: Rect, state: &State, item: &Item, is_selected: bool) {
    let is_open = state.open_chat() == Some(item.chat);
    let columns = usize::from(area.width);
    let mark = if is_selected { "▌" } else { " " };
    for y in area.top()..area.bottom() {
        put(buf, (area.x, y), columns, mark, ACCENT);
    }
    let inner = Rect { x: area.x + 1, width: area.width - 1, ..area };
    let style = if is_open || item.unread > 0 { BOLD } else { Style::new() };
    two_ends(buf, inner, (&state.title_of(item), style), (&time(state.local_s, item.last), DIM));
    if area.height > 1 {
        let below = Rect { y: inner.y + 1, ..inner };
        let badge = if item.unread > 0 { format!(" {} ", item.unread.min(999)) } else { String::new() };
        let (words, style) = second_row(state, item, is_open);
        two_ends(buf, below, (&words, style), (&badge, BADGE));
    }
    if is_selected && state.focus == Focus::List {
        buf.set_style(inner, Style::new().add_modifier(Modifier::REVERSED));
    }
}

fn second_row(state: &State, item: &Item, is_open: bool) -> (String, Style) {
    if !state.typists(item.chat).is_empty() {
        return ("typing…".into(), GOOD);
    }
    let draft = one_line(&item.draft);
    if !draft.is_empty() && !is_open {
        return (format!("Draft: {draft}"), BAD);
    }
    match &item.preview {
        Some((text, true)) => (format!("You: {text}"), DIM),
        Some((text, false)) => (text.clone(), DIM),
        None => (String::new(), DIM),
    }
}

/// Something at the left, cut as need be, and something at the right.
fn two_ends(
    buf: &mut Buffer,
    area: Rect,
    (left, left_style): (&str, Style),
    (right, right_style): (&str, Style),
) {
    let columns = usize::from(area.width);
    let end = if width(right) < columns { width(right) } else { 0 };
    let room = columns - end - usize::from(end > 0);
    put(buf, (area.x, area.y), room, &fit(left, room), left_style);
    if end > 0 {
        put(buf, (area.right() - end as u16, area.y), end, right, right_style);
    }
}

/// The time today, the day before that.
fn time(now_s: i64, last: Stamp) -> String {
    if last.at.as_millis() == 0 {
        return String::new();
    }
    match now_s.div_euclid(86_400) - last.local_s.div_euclid(86_400) {
        ..1 => clock(last.local_s),
        1..7 => weekday(last.local_s),
        _ => time::OffsetDateTime::from_unix_timestamp(last.local_s)
            .map(|at| format!("{:02}.{:02}.", at.day(), u8::from(at.month())))
            .unwrap_or_default(),
    }
}
