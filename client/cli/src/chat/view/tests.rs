//! What is drawn of a state, at several sizes.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use wire::Seq;

use super::*;
use crate::chat::keys::Key;
use crate::chat::lines::{Line, Standing};
use crate::chat::state::tests::{
    ANA, BOB, ME, WITH_ANA, WITH_BOB, cursor, line, opened, said, stamp, state, typed, waiting,
};

const FAMILY: &str = "👨‍👩‍👧‍👦";

fn drawn(state: &State) -> (Buffer, Seen) {
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).expect("a terminal");
    let mut seen = Seen::default();
    terminal.draw(|frame| seen = draw(frame, state)).expect("drawn");
    (terminal.backend().buffer().clone(), seen)
}

/// The screen as text, without what is invisible.
fn rows(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    (0..area.height)
        .map(|y| {
            let mut row = String::new();
            let mut skip = 0;
            for x in 0..area.width {
                let symbol = buffer[(x, y)].symbol();
                if skip == 0 {
                    row.push_str(symbol);
                }
                skip = if skip > 0 {
                    skip - 1
                } else {
                    width(&symbol.replace([LRM, RLM], "")).saturating_sub(1)
                };
            }
            row.replace([LRM, RLM], "").trim_end().to_owned()
        })
        .collect()
}

fn screen(state: &State) -> String {
    rows(&drawn(state).0).join("\n")
}

fn everything() -> Vec<Line> {
    vec![
        said(1, ANA, "Hello 👋"),
        said(2, ME, "你好, Ana! A rather long message, which takes more than one row"),
        said(3, ANA, "שלום עולם"),
        said(4, ME, FAMILY),
        line(5, ME, "never", Standing::Failed("not a member".into())),
        said(6, BOB, "\x1b[2J\u{202e}evil"),
        waiting(7, "later"),
    ]
}

fn whole(size: (u16, u16)) -> State {
    let mut state = opened(Instant::now(), size, everything());
    state.on_cursor(WITH_ANA, &cursor(ANA, 4, 2), None);
    state.on_message(WITH_BOB, None, said(1, BOB, "مرحبا"));
    state.on_link(Link::Connected);
    state.on_outbox(1);
    state
}

#[test]
fn r1_r4_two_panes_with_ticks_and_text_of_every_script() {
    let text = screen(&whole((80, 24)));
    assert!(text.contains("│Ana"), "{text}");
    for shown in [
        "● connected  ◷ 1 message waits",
        "── today ──",
        "14:01 Ana",
        "Hello 👋",
        "14:02 You",
        "你好, Ana! A rather long message, which takes",
        "more than one row",
        FAMILY,
        "✗ not a member",
        "\u{fffd}[2J\u{fffd}evil",
        "◷",
        "You: later",
        "مرحبا",
    ] {
        assert!(text.contains(shown), "{shown} in\n{text}");
    }
    let row_of =
        |what: &str| text.lines().find(|row| row.contains(what)).map(str::to_owned).unwrap_or_default();
    assert!(row_of("more than one row").ends_with("✓✓"), "{text}");
    assert!(row_of("│      later").ends_with('◷'), "{text}");
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'));
}

#[test]
fn r4_only_read_ticks_are_blue() {
    let buffer = drawn(&whole((80, 24))).0;
    let ticks: Vec<Color> = (0..24)
        .filter(|&y| buffer[(78, y)].symbol() == "✓" && buffer[(79, y)].symbol() == "✓")
        .map(|y| buffer[(78, y)].fg)
        .collect();
    assert_eq!(ticks, [Color::LightBlue, Color::DarkGray]);
}

#[test]
fn r1_right_to_left_stands_at_the_right_in_logical_order_and_is_closed() {
    let state = whole((80, 24));
    let buffer = drawn(&state).0;
    let text = rows(&buffer);
    let y = text.iter().position(|row| row.contains("שלום עולם")).expect("it is shown") as u16;
    let right = state.layout().chat.right() - 3;
    assert_eq!(
        buffer[(right - 1, y)].symbol(),
        "ם\u{200f}\u{200e}",
        "the last letter, at the right edge, closed"
    );
    assert_eq!(buffer[(right - 9, y)].symbol(), "ש", "the first letter, where the row begins");
    assert_eq!(buffer[(right - 10, y)].symbol(), " \u{200f}");
    let preview = (0..24).find(|&y| (0..20).any(|x| buffer[(x, y)].symbol() == "ا\u{200f}\u{200e}"));
    assert!(preview.is_some(), "a preview is closed before the other pane begins");
    let mixed = opened(Instant::now(), (80, 24), vec![said(1, ANA, "see שלום")]);
    let marks: String = drawn(&mixed).0.content.iter().map(|cell| cell.symbol()).collect();
    assert!(marks.contains("see שלום\u{200e}") && !marks.contains(RLM), "only closed");
}

#[test]
fn r1_clusters_are_whole_and_columns_stay() {
    let state = opened(Instant::now(), (60, 12), vec![said(1, ME, &format!("a{FAMILY}b🇩🇪c👍🏽d❤️e"))]);
    let buffer = drawn(&state).0;
    let y = rows(&buffer).iter().rposition(|row| row.contains(FAMILY)).expect("it is shown") as u16;
    let x = state.layout().chat.x + 6;
    let at = |n: u16| buffer[(x + n, y)].symbol();
    assert_eq!([at(0), at(1), at(3), at(4), at(6), at(7), at(9)], ["a", FAMILY, "b", "🇩🇪", "c", "👍🏽", "d"]);
    assert!((0..12).all(|y| buffer[(state.layout().divider.x, y)].symbol() == "│" || y == 11));
}

#[test]
fn r1_no_size_panics_and_none_draws_outside() {
    for width in (0..40).chain([59, 79, 200]) {
        for height in (0..14).chain([24, 60]) {
            let mut state = whole((width, height));
            for key in [Key::Esc, Key::Help, Key::Help, Key::NewChat, Key::Esc, Key::Tab, Key::PageUp] {
                drawn(&state);
                state.on_key(key);
                let (_, seen) = drawn(&state);
                state.on_seen(seen);
            }
            typed(&mut state, &format!("{FAMILY} some שלום text\n\nand more and more"));
            drawn(&state);
        }
    }
}

#[test]
fn r1_a_narrow_screen_shows_one_pane() {
    let mut state = whole((24, 12));
    let text = screen(&state);
    assert!(text.contains("‹ Ana") && text.contains("later") && !text.contains('│'), "{text}");
    state.on_key(Key::Esc);
    let text = screen(&state);
    assert!(text.contains("Bob") && text.contains("You: later") && !text.contains(['‹', '│']), "{text}");
}

#[test]
fn r4_what_is_scrolled_away_was_not_seen() {
    let mut state =
        opened(Instant::now(), (80, 10), (1..50).map(|n| said(n, ANA, &format!("no {n}"))).collect());
    let (_, seen) = drawn(&state);
    assert_eq!((seen.shown, seen.read, seen.is_top, seen.scroll_max), (Seq(49), Seq(49), false, None));
    state.on_key(Key::PageUp);
    assert!(screen(&state).contains("↓ newer below"));
    assert!(drawn(&state).1.read < Seq(49));
    (0..20).for_each(|_| drop(state.on_key(Key::PageUp)));
    let (buffer, seen) = drawn(&state);
    assert!(seen.is_top && seen.scroll_max.is_some(), "{seen:?}");
    assert!(rows(&buffer).join("\n").contains("── today ──"));
    state.on_seen(seen);
    state.on_key(Key::PageDown);
    assert!(!drawn(&state).1.is_top, "what was scrolled too far is forgotten");
}

#[test]
fn r1_what_was_not_read_is_marked() {
    let state = opened(Instant::now(), (80, 24), vec![said(1, ANA, "one"), said(2, ANA, "two")]);
    let text = screen(&state);
    assert_eq!(text.matches("── unread ──").count(), 1, "{text}");
}

#[test]
fn r33_the_status_says_how_the_connection_stands() {
    let now = Instant::now();
    let mut state = state(now, (80, 24));
    assert!(screen(&state).contains("○ connecting…"));
    let until = now + Duration::from_millis(2500);
    state.on_link(Link::Waiting { until, why: "no answer".into() });
    assert!(screen(&state).contains("○ reconnecting in 3 s (no answer)"), "{}", screen(&state));
    state.on_outbox(2);
    assert!(screen(&state).contains("◷ 2 messages wait"));
}

#[test]
fn r5_typing_is_shown_in_the_status_and_in_the_list() {
    let mut state = whole((90, 24));
    state.on_typing(WITH_ANA, ANA, true);
    state.on_typing(WITH_BOB, BOB, true);
    let text = screen(&state);
    assert!(text.contains("Ana is typing…") && text.matches("typing…").count() == 3, "{text}");
}

#[test]
fn r1_the_message_is_written_in_as_many_rows_as_it_needs() {
    let mut state = opened(Instant::now(), (60, 24), Vec::new());
    state.on_input(crate::chat::keys::Input::Paste((1..=9).map(|n| format!("row {n}\n")).collect()));
    let text = screen(&state);
    assert!(text.contains("row 9") && !text.contains("row 3"), "the rows around the cursor: {text}");
    (0..9).for_each(|_| drop(state.on_key(Key::Up)));
    assert!(screen(&state).contains("› row 1"), "{}", screen(&state));
}

#[test]
fn r1_an_empty_list_says_what_to_do() {
    let state = State::new(ME, Vec::new(), Instant::now(), (80, 24));
    assert!(screen(&state).contains("No chats yet."));
}

#[test]
fn r65_who_comes_and_goes_stands_between_messages_and_is_not_unread() {
    let lines = vec![
        said(1, ANA, "hi"),
        Line::notice(Seq(2), 1, "Ana added Bob", stamp(2)),
        said(3, ANA, "hello, Bob"),
        Line::notice(Seq(4), 2, "Bob left", stamp(4)),
    ];
    let mut state = opened(Instant::now(), (80, 24), lines);
    let (buffer, seen) = drawn(&state);
    let text = rows(&buffer).join("\n");
    let heads = text.matches("14:0").count();
    assert!(text.contains("Ana added Bob") && text.contains("Bob left") && heads >= 2, "{text}");
    let (y, row) = rows(&buffer)
        .into_iter()
        .enumerate()
        .find(|(_, row)| row.contains("Ana added Bob"))
        .expect("it is drawn");
    let x = row.chars().take_while(|c| *c != 'A').count() as u16;
    assert_eq!(buffer[(x, y as u16)].fg, Color::DarkGray, "it is small and grey");
    assert_eq!((seen.shown, seen.read), (Seq(3), Seq(3)), "nobody reads who left");
    state.on_seen(Seen { shown: Seq(3), read: Seq(3), ..seen });
    let item = |state: &State| state.item(WITH_ANA).expect("it is there").clone();
    assert_eq!(item(&state).unread, 0);
    assert_eq!(item(&state).preview, Some(("hello, Bob".into(), false)), "it is no message");
    state.on_said(WITH_ANA, None, Line::notice(Seq(5), 3, "Ana removed Carol", stamp(5)));
    state.on_said(WITH_ANA, None, Line::notice(Seq(5), 3, "Ana removed Carol", stamp(5)));
    assert_eq!(screen(&state).matches("Ana removed Carol").count(), 1);
    assert_eq!((item(&state).unread, item(&state).preview), (0, Some(("hello, Bob".into(), false))));
}
