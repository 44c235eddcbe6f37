//! Where everything is on a screen of any size, and how a message fills its rows.

use ratatui::layout::Rect;
use unicode_segmentation::UnicodeSegmentation;

use super::lines::{Line, Standing};
use super::text;

/// Fewer columns than this show one pane: the list, or the chat.
pub(super) const TWO_PANES_MIN: u16 = 30;

/// The input line has so many rows at most.
const INPUT_ROWS_MAX: u16 = 6;

/// A message of the same author so soon after the last one has no head of its own.
const SAME_HEAD_S: i64 = 10 * 60;

/// The parts of the screen; each may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) list: Rect,
    /// Between list and chat.
    pub(super) divider: Rect,
    /// Whose chat it is.
    pub(super) title: Rect,
    pub(super) chat: Rect,
    pub(super) input: Rect,
    pub(super) status: Rect,
}

impl Layout {
    /// Of a screen, with the input line so many rows high.
    pub(super) fn of(screen: Rect, list_has_focus: bool, input_rows: impl Fn(u16) -> u16) -> Layout {
        let status_height = u16::from(screen.height > 2);
        let body_height = screen.height - status_height;
        let status = Rect { y: screen.y + body_height, height: status_height, ..screen };
        let body = Rect { height: body_height, ..screen };
        let list_width = match screen.width {
            ..TWO_PANES_MIN if list_has_focus => screen.width,
            ..TWO_PANES_MIN => 0,
            wide => (wide * 3 / 10).clamp(12, 34),
        };
        let divider_width = u16::from(screen.width >= TWO_PANES_MIN);
        let list = Rect { width: list_width, ..body };
        let divider = Rect { x: body.x + list_width, width: divider_width, ..body };
        let right = body.x + list_width + divider_width;
        let pane = Rect { x: right, width: screen.width.saturating_sub(list_width + divider_width), ..body };
        let title_height = u16::from(pane.height >= 5);
        let input_height = input_rows(pane.width)
            .clamp(1, INPUT_ROWS_MAX)
            .min(pane.height / 2)
            .max(u16::from(pane.height > 0));
        let chat_height = pane.height - title_height - input_height.min(pane.height - title_height);
        let title = Rect { height: title_height, ..pane };
        let chat = Rect { y: pane.y + title_height, height: chat_height, ..pane };
        let input = Rect {
            y: pane.y + title_height + chat_height,
            height: pane.height - title_height - chat_height,
            ..pane
        };
        Layout { list, divider, title, chat, input, status }
    }
}

/// How the columns of the chat are used: time, text, ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) time: usize,
    pub(super) text: usize,
    pub(super) ticks: usize,
}

impl Columns {
    pub(super) fn of(width: u16) -> Columns {
        let width = usize::from(width);
        let time = if width >= 24 { 6 } else { 0 };
        let ticks = if width >= 8 { 3 } else { 0 };
        Columns { time, ticks, text: width.saturating_sub(time + ticks).max(1) }
    }
}

/// What one message shows, from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// A new day.
    Day,
    /// What follows was not read before.
    Unread,
    /// Author and time.
    Head,
    /// A row of its text.
    Text(usize),
    /// Why it was refused.
    Reason,
    /// A row of what is no message.
    Notice(usize),
}

/// The pieces of a message that stands below another one.
pub(super) fn pieces(
    above: Option<&Line>,
    line: &Line,
    is_first_unread: bool,
    columns: Columns,
) -> Vec<Piece> {
    let day = |line: &Line| line.stamp.local_s.div_euclid(86_400);
    let is_new_day = above.is_none_or(|above| day(above) != day(line));
    if line.is_notice {
        let rows = (0..line.rows(columns.text).len()).map(Piece::Notice);
        return is_new_day.then_some(Piece::Day).into_iter().chain(rows).collect();
    }
    let is_same_head = above.filter(|above| !above.is_notice).is_some_and(|above| {
        above.sender == line.sender && (line.stamp.local_s - above.stamp.local_s).abs() < SAME_HEAD_S
    });
    let mut pieces = Vec::new();
    pieces.extend(is_new_day.then_some(Piece::Day));
    pieces.extend(is_first_unread.then_some(Piece::Unread));
    pieces.extend((is_new_day || is_first_unread || !is_same_head).then_some(Piece::Head));
    pieces.extend((0..line.rows(columns.text).len()).map(Piece::Text));
    pieces.extend(matches!(line.standing, Standing::Failed(_)).then_some(Piece::Reason));
    pieces
}

/// Rows that the input line wants in a pane of this width: those of its text, counted no further than they can be shown.
pub(super) fn input_rows(typed: &str, width: u16) -> u16 {
    let columns = input_columns(width);
    let clusters = columns * usize::from(INPUT_ROWS_MAX);
    let start = typed.grapheme_indices(true).nth(clusters).map_or(typed, |(end, _)| &typed[..end]);
    text::wrap(start, columns).len().try_into().unwrap_or(u16::MAX)
}

/// Columns of the input line's text: a prompt before it, and a place for the cursor behind it.
pub(super) fn input_columns(width: u16) -> usize {
    usize::from(width).saturating_sub(prompt_columns(width) + 1).max(1)
}

/// Columns of the prompt.
pub(super) fn prompt_columns(width: u16) -> usize {
    if width >= 8 { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_every_size_is_filled_without_overlap() {
        for width in 0..120 {
            for height in 0..40 {
                for (focus, rows) in [(true, 1), (false, 1), (false, 9)] {
                    let screen = Rect::new(0, 0, width, height);
                    let l = Layout::of(screen, focus, |_| rows);
                    let parts = [l.list, l.divider, l.title, l.chat, l.input, l.status];
                    let area: u32 = parts.iter().map(|part| part.area()).sum();
                    assert_eq!(area, screen.area(), "{width}x{height}: {l:?}");
                    for (n, part) in parts.iter().enumerate() {
                        assert!(part.is_empty() || screen.union(*part) == screen, "{width}x{height}: {l:?}");
                        assert!(parts[n + 1..].iter().all(|other| !part.intersects(*other)), "{l:?}");
                    }
                    assert_eq!(
                        !l.list.is_empty() && !l.chat.is_empty(),
                        width >= 30 && height > 1,
                        "{width}x{height}"
                    );
                }
            }
        }
    }
}
