//! `godwit chat` as people use it: the real binary on a pseudo-terminal, a real node, and what the screen then shows.

mod support;

use std::time::Duration;

use support::hygiene::database;
use support::terminal::Terminal;
use support::{GODWIT, Node, Person, of, phone, texts};

const SCREEN: (u16, u16) = (24, 80);

struct Two {
    node: Node,
    alice: Person,
    bob: Person,
    _dir: tempfile::TempDir,
}

/// Alice and Bob, who have met.
fn two() -> Two {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let (alice, bob) = (node.person(&phone(1), "Alice"), node.person(&phone(2), "Bob"));
    alice.ok("send", &["--to", &bob.phone, "word one"]);
    Two { node, alice, bob, _dir: dir }
}

/// With the newest chat open and everything told.
fn open(person: &Person) -> Terminal {
    let mut terminal = Terminal::chat(&person.profile, SCREEN);
    terminal.until(|screen| screen.contains("● connected") && screen.contains('▌'));
    terminal.press("\r");
    terminal.until_shows("› ");
    terminal
}

/// The row of the right pane that shows something.
fn row(screen: &str, what: &str) -> String {
    let mut rows = screen.lines().filter_map(|row| row.split_once('│').map(|(_, right)| right));
    rows.rfind(|right| right.contains(what)).unwrap_or_default().trim().to_owned()
}

#[track_caller]
fn until_row(terminal: &mut Terminal, what: &str, end: &str) {
    terminal.until(|screen| row(screen, what).ends_with(end));
}

#[test]
fn r1_r4_two_people_chat_in_every_script_and_see_their_ticks() {
    let Two { _dir, node: _node, alice, bob } = two();
    let (mut a, mut b) = (open(&alice), Terminal::chat(&bob.profile, SCREEN));
    b.until_shows("word one");
    a.press("Hi Bob 👋 你好\r");
    until_row(&mut a, "Hi Bob 👋 你好", "✓✓");
    // It is in Bob's list, and not read before he opens the chat.
    b.until(|screen| screen.contains("Hi Bob 👋 你好") && screen.contains(" 2 "));
    b.press("\r");
    until_row(&mut b, "Hi Bob 👋 你好", "你好");
    b.press("שלום עליכם\r");
    a.until(|screen| row(screen, "שלום עליכם").ends_with("שלום עליכם"));
    // Blue on Alice's screen, which Bob's opening made them.
    let blue = |a: &Terminal| {
        let screen = a.screen();
        (0..SCREEN.0).any(|y| {
            let cell = |x| screen.cell(y, x).expect("on the screen");
            cell(79).contents() == "✓" && cell(79).fgcolor() == vt100::Color::Idx(12)
        })
    };
    for _ in 0..600 {
        if blue(&a) {
            break;
        }
        a.settle(Duration::from_millis(100));
    }
    assert!(blue(&a), "{}", a.text());
    // What was read here is not shown by `tail` again.
    a.press("\x03");
    assert_eq!(a.finish().code(), Some(0));
    b.press("\x11");
    assert_eq!(b.finish().code(), Some(0));
    alice.ok("send", &["--to", &bob.phone, "new"]);
    assert_eq!(texts(&bob.ok("tail", &["--count", "1"])), ["new"]);
}

#[test]
fn r1_families_flags_and_marks_arrive_whole_and_nothing_steers_the_terminal() {
    let Two { _dir, node: _node, alice, bob } = two();
    let text = "👨‍👩‍👧‍👦 🇩🇪 👍🏽 e\u{301} \x1b[2J\u{202e}evil";
    alice.ok("send", &["--to", &bob.phone, text]);
    let mut b = open(&bob);
    // The stand-in for what steers is on its way to the terminal; this one shows nothing of it.
    let screen = b.until(|screen| row(screen, "evil").ends_with("[2Jevil"));
    assert!(screen.contains("● connected"), "{screen}");
    b.press("👨‍👩‍👧‍👦🇩🇪x\x7f\x7f\r");
    b.until(|screen| row(screen, "👨").ends_with('✓'));
    let raw = String::from_utf8_lossy(&b.raw.lock().expect("not poisoned")).into_owned();
    assert!(raw.contains("\u{fffd}[2J\u{fffd}evil") && !raw.contains('\u{202e}'));
    assert!(
        raw.contains("👨‍👩‍👧‍👦") && raw.contains("👍🏽") && raw.contains("e\u{301}"),
        "clusters are written whole"
    );
    b.press("\x03");
    b.finish();
    let got = texts(&alice.ok("tail", &["--count", "1"]));
    assert_eq!(got.last().map(String::as_str), Some("👨‍👩‍👧‍👦"), "x and a whole flag were taken away");
}

#[test]
fn r1_a_paste_of_many_lines_is_one_message() {
    let Two { _dir, node: _node, alice, bob } = two();
    let mut a = open(&alice);
    let pasted: Vec<String> = (1..=40).map(|n| format!("line {n}")).collect();
    a.paste(&pasted.join("\r"));
    a.until_shows("line 40");
    a.press("\r");
    until_row(&mut a, "line 40", "✓");
    assert_eq!(texts(&bob.ok("tail", &["--count", "2"]))[1], pasted.join("\n"));
    // And it can be scrolled.
    a.press("\x1b[5~\x1b[5~");
    a.until(|screen| screen.contains("newer below") && screen.contains("line 5"));
    a.press("\x1b[6~\x1b[6~\x1b[6~");
    a.until(|screen| !screen.contains("newer below"));
}

#[test]
fn r34_r35_who_types_is_shown_to_who_has_the_chat_open_until_they_stop_or_say_it() {
    let Two { _dir, node: _node, alice, bob } = two();
    let (mut a, mut b) = (open(&alice), open(&bob));
    a.press("thinking");
    b.until(|screen| screen.contains("Alice is typing"));
    b.until(|screen| !screen.contains("is typing"));
    b.press("so am I");
    a.until(|screen| screen.contains("Bob is typing"));
    b.press("\r");
    let screen = a.until(|screen| row(screen, "so am I").ends_with("so am I"));
    a.until(|screen| !screen.contains("is typing"));
    assert!(row(&screen, "thinking").contains("thinking"), "what Alice has written stands");
}

#[test]
fn r1_any_size_draws_and_the_whole_comes_back() {
    let Two { _dir, node: _node, alice, bob: _bob } = two();
    let mut a = open(&alice);
    a.press("a message of some length\r");
    until_row(&mut a, "some length", "✓");
    for (rows, columns) in [(1, 1), (2, 3), (5, 200), (50, 2), (1, 80), (24, 20)] {
        a.resize(rows, columns);
        a.press("x\x7f");
        a.settle(Duration::from_millis(60));
    }
    a.until(|screen| screen.contains("some") && !screen.contains('│'));
    a.resize(SCREEN.0, SCREEN.1);
    a.until(|screen| row(screen, "some length").ends_with('✓') && screen.contains("F1 keys"));
    // The keys are shown, on any key no more.
    a.press("\x1bOP");
    a.until_shows("delete a word");
    a.press(" ");
    a.until(|screen| !screen.contains("delete a word"));
    a.press("\x03");
    assert_eq!(a.finish().code(), Some(0));
}

#[test]
fn g21_ctrl_c_right_after_enter_loses_nothing() {
    let Two { _dir, node: _node, alice, bob } = two();
    let mut a = open(&alice);
    a.press("sent and gone\r\x03");
    assert_eq!(a.finish().code(), Some(0));
    let mut again = open(&alice);
    until_row(&mut again, "sent and gone", "✓");
    assert_eq!(texts(&bob.ok("tail", &["--count", "2"])), ["word one", "sent and gone"]);
}

#[test]
fn g21_sigkill_after_the_queued_sign_loses_nothing() {
    let Two { _dir, mut node, alice, bob } = two();
    let mut a = open(&alice);
    node.kill();
    a.press("safe on disk\r");
    until_row(&mut a, "safe on disk", "◷");
    a.kill();
    node.spawn();
    let mut again = open(&alice);
    until_row(&mut again, "safe on disk", "✓");
    assert_eq!(texts(&bob.ok("tail", &["--count", "2"])), ["word one", "safe on disk"], "once");
}

#[test]
fn g21_signals_end_it_in_order_and_the_terminal_is_as_before() {
    let Two { _dir, node: _node, alice, bob } = two();
    for (n, signal) in ["TERM", "HUP", "INT"].into_iter().enumerate() {
        let mut a = open(&alice);
        a.press(&format!("before {signal}\r"));
        a.until(|screen| !row(screen, &format!("before {signal}")).is_empty());
        a.signal(signal);
        assert_eq!(a.finish().code(), Some(0), "{signal}");
        assert!(!a.screen().alternate_screen() && !a.screen().hide_cursor(), "{signal}");
        assert!(!a.screen().bracketed_paste(), "{signal}");
        let came = texts(&bob.ok("tail", &["--count", if n == 0 { "2" } else { "1" }]));
        assert_eq!(came.last(), Some(&format!("before {signal}")));
    }
}

#[test]
fn g6_a_device_that_is_revoked_gets_its_terminal_back_and_is_told_why() {
    let Two { _dir, node, alice, bob: _bob } = two();
    let mut a = open(&alice);
    let tablet = node.person(&phone(1), "Tablet");
    a.until_shows("a new device was added");
    let devices = tablet.ok("devices", &[]);
    let other = devices.iter().find(|device| device["current"] == false).expect("the phone");
    tablet.ok("revoke", &[other["device"].as_str().expect("an id")]);
    assert_eq!(a.finish().code(), Some(4));
    assert!(!a.screen().alternate_screen() && a.text().contains("godwit register"), "{}", a.text());
}

#[test]
fn g21_a_draft_is_there_again_after_a_kill() {
    let Two { _dir, node: _node, alice, bob: _bob } = two();
    let mut a = open(&alice);
    a.press("half a שלום 👨‍👩‍👧‍👦");
    a.until_shows("› half a");
    let kept = || {
        let draft = database(&alice.profile).query_row("SELECT text FROM drafts", [], |row| row.get(0));
        draft.is_ok_and(|text: String| text.starts_with("half a"))
    };
    let is_kept = (0..500).any(|_| {
        a.settle(Duration::from_millis(20));
        kept()
    });
    assert!(is_kept, "the draft is not on disk");
    a.kill();
    let mut again = open(&alice);
    again.until_shows("› half a");
    again.press(" thing\x03");
    assert_eq!(again.finish().code(), Some(0));
    let mut third = open(&alice);
    third.until(|screen| row(screen, "half a").contains("thing"));
}

#[test]
fn r33_without_the_node_it_waits_and_then_delivers() {
    let Two { _dir, mut node, alice, bob } = two();
    let mut a = open(&alice);
    node.kill();
    a.press("while you were away\r");
    until_row(&mut a, "while you were away", "◷");
    a.until(|screen| screen.contains("reconnecting in") && screen.contains("◷ 1 message waits"));
    node.spawn();
    until_row(&mut a, "while you were away", "✓");
    a.until(|screen| screen.contains("● connected") && !screen.contains("waits"));
    let mut b = open(&bob);
    b.until_shows("while you were away");
    until_row(&mut a, "while you were away", "✓✓");
}

#[test]
fn r1_a_new_chat_by_number_and_older_messages_by_scrolling() {
    let Two { _dir, node: _node, alice, bob } = two();
    let mut send = alice.start("send", &["--to", &bob.phone, "--stdin"]);
    // More than are loaded at a time.
    (1..=130).for_each(|n| send.say(&format!("old {n}")));
    send.finish();
    bob.ok("tail", &["--count", "131"]);
    let mut b = Terminal::chat(&bob.profile, SCREEN);
    b.until_shows("● connected");
    b.press("n4915100000001\r");
    until_row(&mut b, "old 130", "old 130");
    (0..8).for_each(|_| b.press("\x1b[5~"));
    b.until_shows("old 31");
    (0..8).for_each(|_| b.press("\x1b[5~"));
    b.until_shows("word one");
    b.press("\x1b");
    b.until_shows("Tab to write");
    b.press("n4915100000009\r");
    b.until_shows("nobody with this number");
}

#[test]
fn r11_a_device_added_later_reads_from_its_joining_on_and_says_so() {
    let Two { _dir, node, alice, bob } = two();
    bob.ok("tail", &["--count", "1"]);
    let mut phone = alice.start("tail", &[]);
    phone.until(|lines| of(lines, "synced").count() > 0);
    let tablet = node.person(&alice.phone, "Tablet");
    let mut t = Terminal::chat(&tablet.profile, SCREEN);
    t.until_shows("● connected");
    t.press("n4915100000002\r");
    t.until(|screen| row(screen, "this device reads from here on").starts_with("this device"));
    bob.ok("send", &["--to", &alice.phone, "to both"]);
    let screen = t.until(|screen| row(screen, "to both").starts_with("to both"));
    assert!(!screen.contains("word one"), "{screen}");
    t.press("from the tablet\r");
    until_row(&mut t, "from the tablet", "✓");
    // Both devices of Alice's and Bob's have it, and none of it is a message that was not said.
    phone.until(|lines| texts(lines) == ["to both", "from the tablet"]);
    assert_eq!(texts(&bob.ok("tail", &["--count", "1"])), ["from the tablet"]);
    t.press("\x03");
    t.finish();
    let kinds: Vec<_> = tablet.ok("history", &["--with", &bob.phone]);
    let kinds: Vec<_> = kinds.iter().map(|place| place["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["before", "before", "before", "message", "message"]);
}

#[test]
fn without_a_terminal_it_says_so() {
    let Two { _dir, node: _node, alice, bob: _bob } = two();
    let output = std::process::Command::new(GODWIT)
        .args(["chat", "--profile"])
        .arg(&alice.profile)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
    // Somebody else has the profile: said before the screen is touched.
    let _first = open(&alice);
    let mut second = Terminal::chat(&alice.profile, SCREEN);
    assert_eq!(second.finish().code(), Some(1));
    assert!(second.text().contains("in use by another"), "{}", second.text());
}
