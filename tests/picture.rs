//! The picture of `godwit chat` in the README, from a real run: `cargo test --test picture -- --ignored` writes it.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use support::terminal::Terminal;
use support::{Node, Person, phone};
use vt100::{Cell, Color};

const ROWS: u16 = 20;
const COLUMNS: u16 = 88;

/// Units of a column and a row of the picture.
const CELL: (f64, f64) = (8.4, 19.0);
const MARGIN: f64 = 16.0;
const BAR: f64 = 30.0;

/// The picture is dark in itself, so it looks the same on a dark and on a light page.
const BACKGROUND: &str = "#1b1f27";
const FOREGROUND: &str = "#d7dce5";
const PALETTE: [&str; 16] = [
    "#2b303b", "#f07178", "#98d982", "#f2c572", "#6ea8fe", "#c792ea", "#5ccfe6", "#d7dce5", "#7f8896",
    "#ff8f8f", "#b6e8a0", "#ffd58a", "#58a6ff", "#d9a8f5", "#8be3f2", "#ffffff",
];

/// How a cell is drawn.
#[derive(Clone, PartialEq)]
struct Look {
    fill: String,
    back: String,
    bold: bool,
}

fn colour(colour: Color, default: &str) -> String {
    match colour {
        Color::Default => default.to_owned(),
        Color::Idx(n) => PALETTE.get(usize::from(n)).copied().unwrap_or(default).to_owned(),
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

fn look(cell: &Cell) -> Look {
    let (fill, back) = (colour(cell.fgcolor(), FOREGROUND), colour(cell.bgcolor(), BACKGROUND));
    let (fill, back) = if cell.inverse() { (back, fill) } else { (fill, back) };
    Look { fill, back, bold: cell.bold() }
}

/// Which cells are drawn together: words of one look; a wide character alone.
fn kind(cell: &Cell) -> u8 {
    u8::from(cell.is_wide())
}

/// The marks around text from right to left, which a terminal keeps with the cell before.
const RLM: char = '\u{200f}';
const LRM: char = '\u{200e}';

fn svg(screen: &vt100::Screen) -> String {
    let (width, height) =
        (f64::from(COLUMNS) * CELL.0 + 2.0 * MARGIN, f64::from(ROWS) * CELL.1 + MARGIN + BAR);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"godwit chat: a list of chats, and one open chat with ticks\">\n\
         <style>text {{ font: 14px ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; \
         white-space: pre }} .b {{ font-weight: bold }} \
         .e {{ font-family: 'Apple Color Emoji', 'Segoe UI Emoji', 'Noto Color Emoji', sans-serif }}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"{BACKGROUND}\" stroke=\"#3a4150\"/>\n"
    );
    for (n, dot) in ["#f07178", "#f2c572", "#98d982"].iter().enumerate() {
        let x = MARGIN + 4.0 + n as f64 * 18.0;
        writeln!(svg, "<circle cx=\"{x}\" cy=\"15\" r=\"5\" fill=\"{dot}\"/>").expect("a string");
    }
    for y in 0..ROWS {
        row(&mut svg, screen, y);
    }
    svg + "</svg>\n"
}

fn row(svg: &mut String, screen: &vt100::Screen, y: u16) {
    let cell = |x: u16| screen.cell(y, x).expect("on the screen");
    let mut x = 0;
    let mut is_rtl = false;
    while x < COLUMNS {
        let (start, style, kind_here) = (x, look(cell(x)), kind(cell(x)));
        let mut text = String::new();
        let mut ends = false;
        while x < COLUMNS && !ends {
            let here = cell(x);
            if x > start && (look(here) != style || !is_rtl && (kind(here) != kind_here || kind_here == 1)) {
                break;
            }
            let shown = here.contents().replace([LRM, RLM], "");
            text.push_str(if shown.is_empty() { " " } else { &shown });
            x += if here.is_wide() { 2 } else { 1 };
            // A piece from right to left begins behind the first mark, and ends at the second.
            ends = here.contents().contains([RLM, LRM]);
            if ends {
                let columns = x - start;
                piece(svg, (start, y), columns, &text, &style, is_rtl);
                text.clear();
                is_rtl = !here.contents().contains(LRM);
            }
        }
        if !text.is_empty() {
            piece(svg, (start, y), x - start, &text, &style, is_rtl);
        }
    }
}

fn piece(svg: &mut String, (x, y): (u16, u16), columns: u16, text: &str, look: &Look, is_rtl: bool) {
    let (left, top) = (MARGIN + f64::from(x) * CELL.0, BAR + f64::from(y) * CELL.1);
    let width = f64::from(columns) * CELL.0;
    if look.back != BACKGROUND {
        let (height, back) = (CELL.1, &look.back);
        writeln!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{back}\"/>"
        )
        .expect("a string");
    }
    let inner = text.trim();
    if inner.is_empty() {
        return;
    }
    let indent = (text.len() - text.trim_start().len()) as f64 * CELL.0;
    let cut = (text.len() - text.trim_end().len()) as f64 * CELL.0;
    let escaped = inner.replace('&', "&amp;").replace('<', "&lt;");
    let is_emoji = inner.chars().all(|c| c >= '\u{1f000}' || c == '⛵');
    let class = match (look.bold, is_emoji) {
        (true, _) => " class=\"b\"",
        (_, true) => " class=\"e\"",
        _ => "",
    };
    let (y, length, fill) = (top + 14.0, width - indent - cut, &look.fill);
    let (x, direction) = if is_rtl {
        (left + indent + length, " direction=\"rtl\" unicode-bidi=\"embed\"")
    } else {
        (left + indent, "")
    };
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         fill=\"{fill}\"{class}{direction}>{escaped}</text>"
    )
    .expect("a string");
}

fn say(from: &Person, to: &Person, text: &str) {
    from.ok("send", &["--to", &to.phone, text]);
}

#[test]
#[ignore = "it writes docs/chat.svg"]
fn the_picture_of_the_readme() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let people = [(1, "Alice"), (2, "Noa"), (3, "Bob"), (4, "李娜"), (5, "Yusuf"), (6, "Zoë")];
    let [alice, noa, bob, lina, yusuf, zoe] = people.map(|(n, name)| node.person(&phone(n), name));
    say(&zoe, &alice, "See you on Sunday 🌞");
    say(&yusuf, &alice, "صباح الخير");
    say(&noa, &alice, "Did you see the godwits? 🐦");
    say(
        &alice,
        &noa,
        "Yes! 11,000 km without a rest, over the whole ocean, and they still find their beach 🌊",
    );
    say(&noa, &alice, "מדהים! הן מגיעות כל שנה 🎉");
    let mut reads = noa.start("tail", &["--read"]);
    reads.until(|lines| lines.iter().any(|line| line["event"] == "synced"));
    alice.ok("send", &["--to", &noa.phone, "--wait", "read", "שבת שלום 💙"]);
    reads.kill();
    let mut screen = Terminal::chat(&alice.profile, (ROWS, COLUMNS));
    screen.until_shows("● connected");
    screen.until(|text| text.lines().next().is_some_and(|first| first.contains("Noa")));
    screen.press("\r");
    screen.until_shows("שבת שלום");
    screen.press("Lunch tomorrow? 🍜\r");
    let hears = noa.start("tail", &[]);
    screen.until(|text| {
        text.lines().any(|row| row.contains("Lunch tomorrow") && row.trim_end().ends_with("✓✓"))
    });
    hears.kill();
    screen.press("I know a place\r");
    screen.until(|text| {
        text.lines().any(|row| row.contains("      I know a place") && row.trim_end().ends_with('✓'))
    });
    for (from, text) in
        [(&lina, "你好！明天见"), (&bob, "Ready when you are"), (&bob, "The boat leaves at nine ⛵")]
    {
        say(from, &alice, text);
    }
    screen.press("Bring the binoc");
    screen.until(|text| text.contains("The boat") && text.contains(" 2 ") && text.contains("binoc"));
    screen.settle(Duration::from_millis(500));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/chat.svg");
    std::fs::write(path, svg(screen.screen())).expect("written");
}
