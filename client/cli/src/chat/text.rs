//! Text on a terminal: what may reach it, how wide it is, where it breaks, and which way it runs.
//!
//! Everything counts in grapheme clusters: what a person sees as one character is never split, and its width is that of
//! the whole cluster. A message is cleaned once, when it comes in ([`clean`]); drawing refuses what is invisible again.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The longest cluster that is drawn, in bytes: the longest emoji sequences have 35; a base under a thousand combining
/// marks is shown with its first ones.
const CLUSTER_BYTES_MAX: usize = 64;

/// What a tab stands for.
const TAB: &str = "    ";

/// One row of wrapped text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Which bytes of the text; spaces at which it was broken included.
    pub(super) range: Range<usize>,
    /// Columns, without spaces at its end.
    pub(super) width: usize,
    /// Whether its paragraph runs from right to left.
    pub(super) rtl: bool,
}

/// What another person wrote, made harmless: control characters and the overrides that reorder other text become
/// U+FFFD, the other marks that only steer direction go, tabs become spaces. Line breaks stay.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\t' => clean.push_str(TAB),
            '\u{202d}' | '\u{202e}' => clean.push('\u{fffd}'),
            c if is_direction_mark(c) || c == '\u{feff}' => {}
            c if c.is_control() => clean.push('\u{fffd}'),
            c => clean.push(c),
        }
    }
    clean
}

/// What was pasted or typed: as [`clean`], but control characters just go.
pub(super) fn typed(text: &str) -> String {
    clean(text).chars().filter(|&c| c != '\u{fffd}').collect()
}

/// One line of a text, for a list.
pub(super) fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ⏎ ")
}

fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns of a cluster, or of a text without line breaks.
pub(super) fn width(text: &str) -> usize {
    text.graphemes(true).map(|cluster| drawable(cluster).map_or(0, UnicodeWidthStr::width)).sum()
}

/// What of a cluster may be drawn: nothing of one that is invisible or steers the terminal, and not an endless one whole.
pub(super) fn drawable(cluster: &str) -> Option<&str> {
    let shown = if cluster.len() <= CLUSTER_BYTES_MAX {
        cluster
    } else {
        let end = (0..=CLUSTER_BYTES_MAX).rev().find(|&at| cluster.is_char_boundary(at)).unwrap_or(0);
        &cluster[..end]
    };
    let harmless = !shown.chars().any(|c| c.is_control() || is_direction_mark(c));
    (harmless && shown.width() > 0).then_some(shown)
}

/// The start of a text that fits, with an ellipsis if that is not all of it.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut fitting, mut used) = (String::new(), 0);
    for cluster in text.graphemes(true) {
        used += width(cluster);
        if used + 1 > columns {
            break;
        }
        fitting.push_str(cluster);
    }
    if columns > 0 {
        fitting.push('…');
    }
    fitting
}

/// Whether a paragraph runs from right to left: its first strong character says so (UAX #9, P2 and P3, by script).
pub(super) fn is_rtl(paragraph: &str) -> bool {
    let strong = paragraph.chars().find(|c| c.is_alphabetic());
    strong.is_some_and(|c| {
        matches!(u32::from(c), 0x0590..=0x08ff | 0xfb1d..=0xfdff | 0xfe70..=0xfeff | 0x10800..=0x10fff | 0x1e800..=0x1efff)
    })
}

/// Whether there is anything in it that a terminal may run from right to left.
pub(super) fn has_rtl(text: &str) -> bool {
    text.chars().any(|c| u32::from(c) >= 0x0590 && is_rtl(c.encode_utf8(&mut [0; 4])))
}

/// Breaks text into rows of at most so many columns: at line breaks, then between words, then between clusters. A
/// cluster that is wider than a whole row has a row of its own. There is always at least one row.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<Row> {
    let columns = columns.max(1);
    let mut rows = Vec::new();
    let mut start = 0;
    for paragraph in text.split('\n') {
        wrap_paragraph(paragraph, start, columns, &mut rows);
        start += paragraph.len() + 1;
    }
    rows
}

fn wrap_paragraph(paragraph: &str, base: usize, columns: usize, rows: &mut Vec<Row>) {
    let rtl = is_rtl(paragraph);
    let mut row = |range: Range<usize>| {
        let width = width(paragraph[range.clone()].trim_end_matches(' '));
        rows.push(Row { range: base + range.start..base + range.end, width, rtl });
    };
    // Where the row began, its columns so far, and the last place it may break, with the columns up to there.
    let (mut start, mut used, mut last_break) = (0, 0, None);
    let mut was_wide = false;
    for (at, cluster) in paragraph.grapheme_indices(true) {
        let wide = width(cluster);
        let is_space = cluster == " ";
        // Between ideographs and emoji, and around them, a row may break anywhere.
        if at > start && !is_space && (wide > 1 || was_wide) {
            last_break = Some((at, used));
        }
        if used + wide > columns && !is_space && at > start {
            let (end, before) = last_break.take().filter(|&(end, _)| end > start).unwrap_or((at, used));
            row(start..end);
            (start, used) = (end, used - before);
            // What moved down may itself be longer than a row only if nothing moved at all.
        }
        used += wide;
        was_wide = wide > 1;
        if is_space || cluster == "-" {
            last_break = Some((at + cluster.len(), used));
        }
    }
    row(start..paragraph.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: &str = "👨‍👩‍👧‍👦";

    fn rows(text: &str, columns: usize) -> Vec<&str> {
        wrap(text, columns).into_iter().map(|row| &text[row.range]).collect()
    }

    #[test]
    fn c19_nothing_of_others_steers_the_terminal() {
        let table = [
            ("plain", "plain"),
            ("a\x1b[2Jb\u{9b}c\u{7}", "a\u{fffd}[2Jb\u{fffd}c\u{fffd}"),
            ("one\r\ntwo\rthree\u{2028}four", "one\ntwo\nthree\nfour"),
            ("\u{202e}gpj.exe", "\u{fffd}gpj.exe"),
            ("a\u{2067}b\u{2069}c\u{200f}", "abc"),
            ("\tx", "    x"),
            (FAMILY, FAMILY),
        ];
        for (raw, harmless) in table {
            assert_eq!(clean(raw), harmless, "{raw:?}");
        }
        assert_eq!(typed("a\x1b[2J\u{0}b\nc\u{202e}"), "a[2Jb\nc");
        for cluster in ["\u{202e}", "\x1b", "\u{200b}", "\n", ""] {
            assert_eq!(drawable(cluster), None, "{cluster:?}");
        }
        let zalgo = format!("e{}", "\u{301}".repeat(1000));
        assert!(drawable(&zalgo).is_some_and(|shown| shown.len() <= CLUSTER_BYTES_MAX));
    }

    #[test]
    fn r1_widths_are_those_of_whole_clusters() {
        let table = [
            ("abc", 3),
            ("你好", 4),
            (FAMILY, 2),
            ("🇩🇪", 2),
            ("👍🏽", 2),
            ("❤️", 2),
            ("e\u{301}", 1),
            ("שלום", 4),
            ("مرحبا", 5),
            ("\u{200b}", 0),
            ("", 0),
        ];
        for (text, columns) in table {
            assert_eq!(width(text), columns, "{text}");
        }
    }

    #[test]
    fn r1_text_breaks_between_words_and_never_inside_a_cluster() {
        let table: [(&str, usize, &[&str]); 12] = [
            ("", 5, &[""]),
            ("one two three", 7, &["one two", " three"]),
            ("one two three", 8, &["one two ", "three"]),
            ("one\n\ntwo", 8, &["one", "", "two"]),
            ("incomprehensible", 6, &["incomp", "rehens", "ible"]),
            ("an incomprehensible", 6, &["an ", "incomp", "rehens", "ible"]),
            ("你好世界", 5, &["你好", "世界"]),
            ("ab你好", 3, &["ab", "你", "好"]),
            ("👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 3, &[FAMILY, FAMILY]),
            ("x👨‍👩‍👧‍👦", 1, &["x", FAMILY]),
            ("well-known", 6, &["well-", "known"]),
            ("e\u{301}e\u{301}e\u{301}", 2, &["e\u{301}e\u{301}", "e\u{301}"]),
        ];
        for (text, columns, expected) in table {
            let found = rows(text, columns);
            if text == "one two three" && columns == 7 {
                assert_eq!(found, ["one two ", "three"], "a space at the end of a row takes no column");
                continue;
            }
            assert_eq!(found, expected, "{text:?} in {columns}");
        }
    }

    #[test]
    fn r1_any_text_in_any_width_comes_out_whole() {
        let text = format!(
            "Hello {FAMILY} שלום עולם 你好世界 a-b-c  two  spaces\nمرحبا \u{301}e\u{301} longlonglonglong🇩🇪🇫🇷"
        );
        for columns in 0..60 {
            let rows = wrap(&text, columns);
            let joined: String = rows.iter().map(|row| &text[row.range.clone()]).collect();
            assert_eq!(joined, text.replace('\n', ""), "in {columns}");
            let clusters: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).collect();
            for row in &rows {
                assert!(
                    row.range.end == text.len() || clusters.contains(&row.range.end),
                    "in {columns}: {row:?}"
                );
                assert!(row.width <= columns.max(2), "in {columns}: {row:?}");
            }
        }
    }

    #[test]
    fn r1_the_first_strong_character_says_which_way() {
        let table = [
            ("שלום Bob", true),
            ("Bob שלום", false),
            ("123, (مرحبا)", true),
            ("👋 שלום", true),
            ("١٢٣ abc", false),
            ("123", false),
            ("", false),
        ];
        for (text, rtl) in table {
            assert_eq!(is_rtl(text), rtl, "{text}");
        }
        assert!(has_rtl("Bob שלום") && !has_rtl("Bob 你好 👋"));
        let directions: Vec<bool> = wrap("שלום\nhello", 10).iter().map(|row| row.rtl).collect();
        assert_eq!(directions, [true, false]);
    }

    #[test]
    fn r1_what_does_not_fit_ends_in_an_ellipsis() {
        let table = [
            ("hello", 5, "hello"),
            ("hello", 4, "hel…"),
            ("你好吗", 5, "你好…"),
            ("你好吗", 4, "你…"),
            ("x", 0, ""),
        ];
        for (text, columns, shown) in table {
            assert_eq!(fit(text, columns), shown, "{text} in {columns}");
        }
        assert_eq!(one_line(" a\n\n b "), "a ⏎ b");
    }
}
