//! The open chat: who it is with, and its messages from the bottom up.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use time::OffsetDateTime;
use wire::AccountId;

use super::{ACCENT, BAD, BOLD, DIM, GOOD, WARN, column, put, put_centred};
use crate::chat::layout::{Columns, Layout, Piece, pieces};
use crate::chat::lines::{Line, Older, Standing, Tick};
use crate::chat::state::{Open, Seen, State};
use crate::chat::text::fit;

/// Names of others have one of these colours each.
const NAMES: [Color; 5] = [Color::Cyan, Color::Magenta, Color::Yellow, Color::Blue, Color::LightRed];

/// Blue ticks.
const READ: Style = Style::new().fg(Color::LightBlue);

pub(super) fn draw(buf: &mut Buffer, layout: &Layout, state: &State) -> Seen {
    let Some(open) = &state.open else {
        if !layout.chat.is_empty() {
            let y = layout.chat.y + layout.chat.height / 2;
            put_centred(buf, layout.chat, y, "Choose a chat, or press n for a new one", DIM);
        }
        return Seen::default();
    };
    draw_title(buf, layout.title, state, open);
    if layout.chat.is_empty() {
        return Seen::default();
    }
    draw_messages(buf, layout.chat, state, open)
}

fn draw_title(buf: &mut Buffer, area: Rect, state: &State, open: &Open) {
    let Some(item) = state.item(open.lines.chat).filter(|_| !area.is_empty()) else { return };
    let columns = usize::from(area.width);
    let back = if area.x == 0 { "‹ " } else { "" };
    let title = fit(&format!("{back}{}", state.title_of(item)), columns);
    let used = put(buf, (area.x, area.y), columns, &title, BOLD);
    let below = if open.scroll > 0 || !open.lines.is_at_end { "  ↓ newer below" } else { "" };
    let x = area.x + column(used).unwrap_or(0);
    put(buf, (x, area.y), columns - used, below, WARN);
}

/// The pieces on the screen are those between the rows that are hidden below and the height.
fn draw_messages(buf: &mut Buffer, area: Rect, state: &State, open: &Open) -> Seen {
    let (columns, height) = (Columns::of(area.width), usize::from(area.height));
    let lines = open.lines.all();
    let mut rows: Vec<(usize, Piece)> = Vec::new();
    let mut from = lines.len();
    while from > 0 && rows.len() < open.scroll.saturating_add(height) {
        from -= 1;
        let above = from.checked_sub(1).map(|above| &lines[above]);
        let is_first_unread = open.unread_from.is_some() && lines[from].seq() == open.unread_from;
        let shown = pieces(above, &lines[from], is_first_unread, columns);
        rows.extend(shown.into_iter().rev().map(|piece| (from, piece)));
    }
    let scroll_max = rows.len().saturating_sub(height);
    let scroll = open.scroll.min(scroll_max);
    let mut seen = Seen { scroll_max: (from == 0).then_some(scroll_max), ..Seen::default() };
    for (n, &(at, piece)) in rows.iter().skip(scroll).take(height).enumerate() {
        let y = area.bottom() - 1 - n as u16;
        let line = &lines[at];
        seen.is_top |= at == 0;
        if let (Some(seq), Piece::Text(_)) = (line.seq(), piece) {
            seen.shown = seen.shown.max(seq);
            seen.read = if line.is_from_others(state.me) { seen.read.max(seq) } else { seen.read };
        }
        draw_piece(buf, Rect { y, height: 1, ..area }, state, open, line, piece);
    }
    seen.is_top |= lines.is_empty();
    if open.lines.older == Older::Asked && seen.is_top && rows.len() < height {
        put_centred(buf, area, area.y, "looking for older messages …", DIM);
    }
    seen
}

fn draw_piece(buf: &mut Buffer, row: Rect, state: &State, open: &Open, line: &Line, piece: Piece) {
    let columns = Columns::of(row.width);
    let (x, y, wide) = (row.x, row.y, usize::from(row.width));
    let text_x = x + columns.time as u16;
    match piece {
        Piece::Day => {
            put_centred(buf, row, y, &format!("── {} ──", day(state.local_s, line.stamp.local_s)), DIM);
        }
        Piece::Notice(n) => {
            let rows = line.rows(columns.text);
            let Some(shown) = rows.get(n) else { return };
            put_centred(buf, row, y, line.text[shown.range.clone()].trim_end_matches(' '), DIM);
        }
        Piece::Unread => put_centred(buf, row, y, "── unread ──", WARN),
        Piece::Head => {
            let (name, style) = author(state, line);
            let time = clock(line.stamp.local_s);
            if columns.time > 0 {
                put(buf, (x, y), columns.time, &time, DIM);
                put(buf, (text_x, y), wide - columns.time, &fit(&name, wide - columns.time), style);
            } else {
                let used = put(buf, (x, y), wide, &fit(&name, wide), style);
                put(buf, (x + used as u16, y), wide - used, &format!(" {time}"), DIM);
            }
        }
        Piece::Text(n) => {
            let rows = line.rows(columns.text);
            let Some(shown) = rows.get(n) else { return };
            // From right to left is read from the right: there it begins.
            let indent = if shown.rtl { columns.text.saturating_sub(shown.width) } else { 0 };
            let text = line.text[shown.range.clone()].trim_end_matches(' ');
            put(buf, (text_x + indent as u16, y), columns.text - indent, text, Style::new());
            let tick = line.tick(state.me, &open.lines.cursors).filter(|_| n + 1 == rows.len());
            if let Some((sign, style)) = tick.map(sign).filter(|_| columns.ticks > 0) {
                let right = row.right() - columns.ticks as u16 + 1;
                put(buf, (right, y), columns.ticks - 1, sign, style);
            }
        }
        Piece::Reason => {
            if let Standing::Failed(why) = &line.standing {
                put(buf, (text_x, y), columns.text, &fit(&format!("✗ {why}"), columns.text), BAD);
            }
        }
    }
}

fn sign(tick: Tick) -> (&'static str, Style) {
    match tick {
        Tick::Waiting => ("◷", WARN),
        Tick::Sent => ("✓", DIM),
        Tick::Delivered => ("✓✓", DIM),
        Tick::Read => ("✓✓", READ),
        Tick::Failed => ("✗", BAD),
    }
}

fn author(state: &State, line: &Line) -> (String, Style) {
    if line.sender == state.me {
        return ("You".into(), GOOD.patch(BOLD));
    }
    (state.name_of(line.sender), ACCENT.fg(colour(line.sender)).patch(BOLD))
}

fn colour(account: AccountId) -> Color {
    let sum: usize = account.as_bytes().iter().map(|&byte| usize::from(byte)).sum();
    NAMES[sum % NAMES.len()]
}

/// Hours and minutes.
pub(super) fn clock(local_s: i64) -> String {
    let minutes = local_s.div_euclid(60);
    format!("{:02}:{:02}", minutes.div_euclid(60).rem_euclid(24), minutes.rem_euclid(60))
}

/// Mon to Sun.
pub(super) fn weekday(local_s: i64) -> String {
    let name = OffsetDateTime::from_unix_timestamp(local_s).map(|at| at.weekday().to_string());
    name.unwrap_or_default().chars().take(3).collect()
}

fn day(now_s: i64, local_s: i64) -> String {
    match now_s.div_euclid(86_400) - local_s.div_euclid(86_400) {
        0 => "today".into(),
        1 => "yesterday".into(),
        _ => OffsetDateTime::from_unix_timestamp(local_s)
            .map(|at| format!("{} {} {} {}", weekday(local_s), at.day(), at.month(), at.year()))
            .unwrap_or_default(),
    }
}
