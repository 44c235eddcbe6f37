//! What happens, and what is shown of it, without a terminal.

use wire::WallTime;

use super::*;
use crate::chat::keys::{Input, Key};
use crate::chat::lines::{Stamp, Standing};

pub(in crate::chat) const ME: AccountId = AccountId::new([1; 16]);
pub(in crate::chat) const ANA: AccountId = AccountId::new([2; 16]);
pub(in crate::chat) const BOB: AccountId = AccountId::new([3; 16]);
pub(in crate::chat) const WITH_ANA: ChatId = ChatId::new([12; 16]);
pub(in crate::chat) const WITH_BOB: ChatId = ChatId::new([13; 16]);

/// 24 November 2026, 14:00:00 UTC.
pub(in crate::chat) const NOON_S: i64 = 1_795_528_800;

pub(in crate::chat) fn stamp(minutes: i64) -> Stamp {
    let local_s = NOON_S + minutes * 60;
    Stamp { at: WallTime(local_s as u64 * 1000), local_s }
}

pub(in crate::chat) fn line(n: u64, sender: AccountId, text: &str, standing: Standing) -> Line {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Line::new(ClientMsgId::new(id), sender, text, stamp(n as i64), standing)
}

pub(in crate::chat) fn said(seq: u64, sender: AccountId, text: &str) -> Line {
    line(seq, sender, text, Standing::Committed(Seq(seq)))
}

pub(in crate::chat) fn waiting(n: u64, text: &str) -> Line {
    line(n, ME, text, Standing::Waiting)
}

pub(in crate::chat) fn cursor(member: AccountId, delivered: u64, read: u64) -> Cursor {
    let (delivered, read, at) = (Seq(delivered), Seq(read), WallTime(0));
    Cursor { member, delivered, delivered_at: at, read, read_at: at, withheld: Vec::new() }
}

/// Two chats, Ana's the newer one.
pub(in crate::chat) fn state(now: Instant, size: (u16, u16)) -> State {
    let mut state = State::new(ME, Vec::new(), now, size);
    state.on_clock(NOON_S);
    for (account, name, chat, minutes) in [(ANA, "Ana", WITH_ANA, -1), (BOB, "Bob", WITH_BOB, -2)] {
        let mut item = Item::new(chat, Some(account));
        item.last = stamp(minutes);
        state.on_chat(item);
        state.on_name(account, name);
    }
    state.selected = 0;
    state
}

/// The same with Ana's chat open.
pub(in crate::chat) fn opened(now: Instant, size: (u16, u16), lines: Vec<Line>) -> State {
    let mut state = state(now, size);
    let actions = state.on_key(Key::Enter);
    assert_eq!(actions, [Action::Open(WITH_ANA)]);
    state.on_opened(Lines::new(WITH_ANA, lines, vec![cursor(ANA, 0, 0)]));
    state
}

pub(in crate::chat) fn typed(state: &mut State, text: &str) {
    for c in text.chars() {
        state.on_key(Key::Char(c));
    }
}

fn names(state: &State) -> Vec<String> {
    state.chats.iter().map(|item| state.title_of(item)).collect()
}

#[test]
fn r1_the_newest_chat_is_first_and_what_was_chosen_stays_chosen() {
    let mut state = state(Instant::now(), (80, 24));
    assert_eq!((names(&state), state.selected), (vec!["Ana".into(), "Bob".into()], 0));
    state.on_message(WITH_BOB, None, said(1, BOB, "hello\nthere"));
    assert_eq!((names(&state), state.selected), (vec!["Bob".into(), "Ana".into()], 1));
    assert_eq!((state.chats[0].unread, &state.chats[0].preview), (1, &Some(("hello ⏎ there".into(), false))));
    // Somebody who is not known yet.
    let carol = AccountId::new([9; 16]);
    state.on_message(ChatId::new([19; 16]), Some(carol), said(7, carol, "it is me"));
    assert_eq!(names(&state)[0], "09090909");
    state.on_name(carol, "Ca\x1brol");
    assert_eq!(names(&state)[0], "Ca\u{fffd}rol");
}

#[test]
fn r4_a_message_is_queued_then_sent_then_delivered_then_read() {
    let mut state = opened(Instant::now(), (80, 24), vec![said(1, ANA, "hi")]);
    typed(&mut state, "hello  ");
    let actions = state.on_key(Key::Enter);
    assert_eq!(actions, [Action::Send { chat: WITH_ANA, peer: Some(ANA), text: "hello".into() }]);
    assert_eq!(state.draft(), Some((WITH_ANA, "hello  ")), "it stays until it is on disk");
    state.on_queued(WITH_ANA, waiting(2, "hello"));
    assert_eq!(state.draft(), Some((WITH_ANA, "")));
    let tick = |state: &State| {
        let open = state.open.as_ref().expect("open");
        open.lines.all().last().and_then(|line| line.tick(ME, &open.lines.cursors))
    };
    use crate::chat::lines::Tick;
    assert_eq!(tick(&state), Some(Tick::Waiting));
    state.on_message(WITH_ANA, None, said(2, ME, "hello"));
    assert_eq!(tick(&state), Some(Tick::Sent));
    state.on_cursor(WITH_ANA, &cursor(ANA, 2, 1), None);
    assert_eq!(tick(&state), Some(Tick::Delivered));
    state.on_cursor(WITH_ANA, &cursor(ANA, 2, 2), None);
    assert_eq!(tick(&state), Some(Tick::Read));
    assert_eq!(state.open.as_ref().map(|open| open.lines.all().len()), Some(2), "each once");
}

#[test]
fn g21_what_was_refused_says_why() {
    let mut state = opened(Instant::now(), (80, 24), Vec::new());
    state.on_queued(WITH_ANA, waiting(2, "hello"));
    state.on_failed(WITH_ANA, waiting(2, "").id, "no\x1b[31m");
    let open = state.open.as_ref().expect("open");
    assert_eq!(open.lines.all()[0].standing, Standing::Failed("no\u{fffd}[31m".into()));
    assert!(state.notice.is_some());
}

#[test]
fn r4_only_what_was_seen_in_a_focused_terminal_is_read() {
    let mut state = opened(Instant::now(), (80, 24), vec![said(1, ANA, "hi"), said(2, ME, "yes")]);
    let seen = Seen { shown: Seq(2), read: Seq(1), ..Seen::default() };
    state.on_input(Input::Focus(false));
    assert_eq!(state.on_seen(seen), [], "nobody looks");
    assert_eq!(state.on_input(Input::Focus(true)), []);
    let saw = Action::Saw { chat: WITH_ANA, shown: Seq(2), read: Seq(1) };
    assert_eq!(state.on_seen(seen), [saw]);
    assert_eq!(state.on_seen(seen), [], "told once");
    state.on_message(WITH_ANA, None, said(3, ANA, "again"));
    assert_eq!(state.item(WITH_ANA).map(|item| item.unread), Some(1));
    let actions = state.on_seen(Seen { shown: Seq(3), read: Seq(3), ..Seen::default() });
    assert_eq!(actions, [Action::Saw { chat: WITH_ANA, shown: Seq(3), read: Seq(3) }]);
    assert_eq!(state.item(WITH_ANA).map(|item| item.unread), Some(0));
}

#[test]
fn r1_older_messages_are_asked_for_once_at_the_top() {
    let mut state = opened(Instant::now(), (80, 24), vec![said(50, ANA, "hi")]);
    let top = Seen { is_top: true, scroll_max: Some(0), ..Seen::default() };
    assert_eq!(state.on_seen(top), [Action::Older(WITH_ANA, Seq(50))]);
    assert_eq!(state.on_seen(top), [], "under way");
    state.on_older(WITH_BOB, vec![said(1, BOB, "of another chat")], Older::There);
    state.on_older(WITH_ANA, vec![said(49, ANA, "before")], Older::There);
    assert_eq!(state.on_seen(top), [Action::Older(WITH_ANA, Seq(49))]);
    state.on_older(WITH_ANA, Vec::new(), Older::Nowhere);
    assert_eq!(state.on_seen(top), []);
    assert_eq!(state.open.as_ref().map(|open| open.lines.all().len()), Some(2));
}

#[test]
fn r1_who_reads_what_is_older_is_not_moved_by_what_comes() {
    let mut state = opened(Instant::now(), (80, 10), (1..50).map(|n| said(n, ANA, "hi")).collect());
    state.on_key(Key::PageUp);
    let before = state.open.as_ref().map(|open| open.scroll).expect("open");
    state.on_message(WITH_ANA, None, said(50, ANA, "one\ntwo"));
    assert_eq!(state.open.as_ref().map(|open| open.scroll), Some(before + 2));
    state.on_queued(WITH_ANA, waiting(51, "mine"));
    assert_eq!(state.open.as_ref().map(|open| open.scroll), Some(0), "who writes looks at what they wrote");
}

#[test]
fn r5_typing_is_shown_until_it_stops_or_is_too_old() {
    let now = Instant::now();
    let mut state = opened(now, (80, 24), Vec::new());
    state.on_typing(WITH_ANA, ANA, true);
    state.on_typing(WITH_ANA, ME, true);
    assert_eq!(state.typists(WITH_ANA), ["Ana"], "not oneself on another device");
    assert_eq!(state.typists(WITH_BOB), Vec::<String>::new());
    state.on_typing(WITH_ANA, ANA, false);
    assert_eq!(state.typists(WITH_ANA).len(), 0);
    state.on_typing(WITH_ANA, ANA, true);
    state.on_message(WITH_ANA, None, said(1, ANA, "typed"));
    assert_eq!(state.typists(WITH_ANA).len(), 0, "it was sent");
    state.on_typing(WITH_ANA, ANA, true);
    state.tick(now + TYPING_MAX);
    assert_eq!(state.typists(WITH_ANA).len(), 0);
    state.on_typing(WITH_ANA, ANA, true);
    state.on_link(Link::Connecting);
    assert_eq!(state.typists(WITH_ANA).len(), 0, "nothing is known without a connection");
}

#[test]
fn r33_the_time_to_the_next_attempt_is_counted_down() {
    let now = Instant::now();
    let mut state = state(now, (80, 24));
    state.on_link(Link::Waiting { until: now + Duration::from_millis(2500), why: "gone".into() });
    state.changed = false;
    state.tick(now + Duration::from_millis(100));
    assert!(!state.changed, "nothing to draw");
    for _ in 0..3 {
        let due = state.next_change().expect("something changes");
        state.tick(due);
        assert!(state.changed);
        state.changed = false;
    }
    assert_eq!(state.link, Link::Connecting);
}

#[test]
fn r1_a_draft_belongs_to_its_chat() {
    let mut state = opened(Instant::now(), (80, 24), Vec::new());
    typed(&mut state, "for Ana");
    let actions = state.on_key(Key::NextChat);
    let kept = Action::Draft(WITH_ANA, "for Ana".into());
    assert_eq!(actions, [kept, Action::Close(WITH_ANA), Action::Open(WITH_BOB)]);
    state.on_opened(Lines::new(WITH_BOB, Vec::new(), Vec::new()));
    assert_eq!(state.draft(), Some((WITH_BOB, "")));
    typed(&mut state, "for Bob");
    state.on_key(Key::PreviousChat);
    state.on_opened(Lines::new(WITH_ANA, Vec::new(), Vec::new()));
    assert_eq!(state.draft(), Some((WITH_ANA, "for Ana")));
    assert_eq!(state.item(WITH_BOB).map(|item| item.draft.as_str()), Some("for Bob"));
}

#[test]
fn r1_keys_go_where_the_focus_is() {
    let mut state = opened(Instant::now(), (80, 24), Vec::new());
    typed(&mut state, "?n");
    assert_eq!((state.draft(), state.help), (Some((WITH_ANA, "?n")), false));
    assert_eq!(state.on_key(Key::Newline), [Action::Typed(WITH_ANA)]);
    assert_eq!(state.on_input(Input::Paste("a\r\nb\x1b".into())), [Action::Typed(WITH_ANA)]);
    assert_eq!(state.draft(), Some((WITH_ANA, "?n\na\nb")));
    state.on_key(Key::Esc);
    assert_eq!(state.focus, Focus::List);
    state.on_key(Key::Char('?'));
    assert!(state.help);
    state.on_key(Key::Char('x'));
    assert!(!state.help, "any key ends the help");
    state.on_key(Key::Char('n'));
    typed(&mut state, "4915100000001");
    assert_eq!(state.on_key(Key::Enter), [Action::Find("+4915100000001".into())]);
    state.on_key(Key::NewChat);
    typed(&mut state, "x");
    assert_eq!(state.on_key(Key::Enter), [], "no number");
    assert!(state.number.is_none() && state.notice.is_some());
    state.on_key(Key::Tab);
    assert_eq!(state.focus, Focus::Message);
    assert_eq!(state.on_key(Key::Quit), [Action::Quit]);
    assert_eq!(state.on_input(Input::Gone), [Action::Quit]);
}

#[test]
fn r1_new_with_a_number_looks_for_it_and_other_slashes_are_text() {
    let mut state = opened(Instant::now(), (80, 24), Vec::new());
    typed(&mut state, "/new +4915100000001");
    assert_eq!(state.on_key(Key::Enter), [Action::Find("+4915100000001".into())]);
    assert_eq!(state.draft(), Some((WITH_ANA, "")));
    typed(&mut state, "/shrug");
    assert!(matches!(&state.on_key(Key::Enter)[..], [Action::Send { text, .. }] if text == "/shrug"));
    let mut blank = opened(Instant::now(), (80, 24), Vec::new());
    typed(&mut blank, "  ");
    assert_eq!(blank.on_key(Key::Enter), [], "nothing to send");
}
