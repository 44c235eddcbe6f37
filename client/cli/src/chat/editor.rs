//! The input line: text, and a cursor that always stands between two grapheme clusters.
//!
//! Bounded by [`TEXT_BYTES_MAX`]: what does not fit is not taken, and its caller says so.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};
use wire::limits;

use super::text::{self, wrap};

/// The longest text, in bytes: a message's content is under 64 KiB, and this much of it is not text.
pub(super) const TEXT_BYTES_MAX: usize = limits::CONTENT_BYTES_MAX - 255;

/// A text that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Editor {
    text: String,
    /// In bytes; between clusters.
    cursor: usize,
}

/// Not everything was taken: the text would be longer than [`TEXT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Editor {
    /// With a text, behind which the cursor stands.
    pub(super) fn with(text: String) -> Editor {
        Editor { cursor: text.len(), text }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes what was typed or pasted, as far as there is room.
    ///
    /// # Errors
    /// [`TooLong`] if some of it was left out.
    pub(super) fn insert(&mut self, raw: &str) -> Result<(), TooLong> {
        let typed = text::typed(raw);
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        let taken = if typed.len() <= room {
            typed.len()
        } else {
            typed.grapheme_indices(true).map(|(at, _)| at).take_while(|&at| at <= room).last().unwrap_or(0)
        };
        self.text.insert_str(self.cursor, &typed[..taken]);
        self.cursor = self.boundary_from(self.cursor + taken);
        if taken == typed.len() { Ok(()) } else { Err(TooLong) }
    }

    pub(super) fn clear(&mut self) {
        *self = Editor::default();
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.before(self.cursor);
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.after(self.cursor);
    }

    /// To the start of its line.
    pub(super) fn home(&mut self) {
        self.cursor = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
    }

    /// To the end of its line.
    pub(super) fn end(&mut self) {
        self.cursor = self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at);
    }

    /// One row up in so many columns; `false` on the first.
    pub(super) fn up(&mut self, columns: usize) -> bool {
        let (row, column) = self.place(columns);
        row.checked_sub(1).map(|above| self.go_to(above, column, columns)).is_some()
    }

    /// One row down in so many columns; `false` on the last.
    pub(super) fn down(&mut self, columns: usize) -> bool {
        let (row, column) = self.place(columns);
        let is_last = row + 1 >= wrap(&self.text, columns).len();
        if !is_last {
            self.go_to(row + 1, column, columns);
        }
        !is_last
    }

    /// Takes the cluster before the cursor away.
    pub(super) fn backspace(&mut self) {
        self.remove_from(self.before(self.cursor));
    }

    /// Takes the cluster after the cursor away.
    pub(super) fn delete(&mut self) {
        let end = self.after(self.cursor);
        self.text.drain(self.cursor..end);
        self.cursor = self.boundary_from(self.cursor);
    }

    /// Takes the word before the cursor away, and the spaces behind it.
    pub(super) fn delete_word(&mut self) {
        let before = &self.text[..self.cursor];
        let is_blank = |cluster: &str| cluster.chars().all(char::is_whitespace);
        let clusters = || before.grapheme_indices(true).rev();
        let word = clusters().skip_while(|(_, c)| is_blank(c)).take_while(|(_, c)| !is_blank(c)).last();
        self.remove_from(word.map_or(0, |(at, _)| at));
    }

    /// Takes everything before the cursor in its line away.
    pub(super) fn delete_to_start(&mut self) {
        let end = self.cursor;
        self.home();
        self.text.drain(self.cursor..end);
    }

    /// In which row and column of so many columns the cursor stands. A cursor behind a full row stands at its end.
    pub(super) fn place(&self, columns: usize) -> (usize, usize) {
        let rows = wrap(&self.text, columns);
        let row = rows.iter().rposition(|row| row.range.start <= self.cursor).unwrap_or(0);
        let start = rows.get(row).map_or(0, |row| row.range.start);
        (row, text::width(&self.text[start..self.cursor]))
    }

    fn go_to(&mut self, row: usize, column: usize, columns: usize) {
        let rows = wrap(&self.text, columns);
        let Some(target) = rows.get(row) else { return };
        let is_broken = rows.get(row + 1).is_some_and(|next| next.range.start == target.range.end);
        let mut used = 0;
        self.cursor = target.range.end;
        for (at, cluster) in self.text[target.range.clone()].grapheme_indices(true) {
            // The place behind a broken row is the start of the next one.
            let is_last = is_broken && target.range.start + at + cluster.len() == target.range.end;
            if used >= column || is_last {
                self.cursor = target.range.start + at;
                break;
            }
            used += text::width(cluster);
        }
    }

    fn remove_from(&mut self, start: usize) {
        self.text.drain(start..self.cursor);
        self.cursor = self.boundary_from(start);
    }

    fn before(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn after(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    /// This place, or the next one between clusters: what came together may have become one cluster.
    fn boundary_from(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        if cursor.is_boundary(&self.text, 0).unwrap_or(true) { at } else { self.after(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: &str = "👨‍👩‍👧‍👦";

    type Step = fn(&mut Editor);

    #[test]
    fn r1_editing_goes_by_what_a_person_sees_as_one_character() {
        let table: [(&str, &str, &[Step], &str); 10] = [
            ("a family goes at once", "hi👨‍👩‍👧‍👦", &[Editor::backspace], "hi|"),
            ("a flag too", "🇩🇪🇫🇷", &[Editor::left, Editor::backspace], "|🇫🇷"),
            ("a skin tone too", "👍🏽x", &[Editor::home, Editor::delete], "|x"),
            ("an accent too", "ee\u{301}", &[Editor::backspace], "e|"),
            ("left and right", "ab", &[Editor::left, Editor::left, Editor::left, Editor::right], "a|b"),
            ("a word", "one two  ", &[Editor::delete_word], "one |"),
            ("a word of emoji", "a 👨‍👩‍👧‍👦🇩🇪", &[Editor::delete_word], "a |"),
            ("the only word", "one", &[Editor::delete_word, Editor::delete_word], "|"),
            ("home and end stay in their line", "one\ntwo", &[Editor::home, Editor::delete], "one\n|wo"),
            ("to the start", "one\ntwo three", &[Editor::delete_to_start], "one\n|"),
        ];
        for (what, text, steps, expected) in table {
            let mut editor = Editor::with(text.to_owned());
            steps.iter().for_each(|step| step(&mut editor));
            editor.text.insert(editor.cursor, '|');
            assert_eq!(editor.text, expected, "{what}");
        }
    }

    #[test]
    fn r1_what_comes_together_becomes_one_cluster_and_the_cursor_stands_behind_it() {
        let mut editor = Editor::with("e".into());
        editor.insert("\u{301}").expect("room");
        assert_eq!((editor.text(), editor.cursor), ("e\u{301}", 3));
        editor.backspace();
        assert!(editor.is_empty());
        let mut flags = Editor::with("🇪".into());
        flags.home();
        flags.insert("🇩").expect("room");
        assert_eq!(flags.cursor, flags.text().len(), "not inside the flag");
    }

    #[test]
    fn r1_a_paste_keeps_its_lines_and_no_control_characters() {
        let mut editor = Editor::default();
        editor.insert("one\r\ntwo\x1b[31m\u{0}\n\tthree").expect("room");
        assert_eq!(editor.text(), "one\ntwo[31m\n    three");
        assert_eq!(editor.place(80), (2, 9));
    }

    #[test]
    fn r116_a_text_is_bounded_and_what_does_not_fit_is_said() {
        let mut editor = Editor::default();
        assert_eq!(editor.insert(&FAMILY.repeat(5000)), Err(TooLong));
        let full = editor.text().len();
        assert!(full <= TEXT_BYTES_MAX && full + FAMILY.len() > TEXT_BYTES_MAX && full % FAMILY.len() == 0);
        assert_eq!(editor.insert(&"x".repeat(TEXT_BYTES_MAX - full)), Ok(()));
        assert_eq!(editor.insert("y"), Err(TooLong));
        assert_eq!(editor.text().len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn r1_rows_are_walked_up_and_down() {
        let mut editor = Editor::with("one two three\nfour".into());
        assert_eq!(editor.place(8), (2, 4));
        assert!(editor.up(8));
        assert_eq!(editor.place(8), (1, 4));
        assert!(editor.up(8));
        assert_eq!(editor.place(8), (0, 4));
        assert!(!editor.up(8));
        assert!(editor.down(8) && editor.down(8) && !editor.down(8));
        // Every place of every width can be walked through without an end or a panic.
        let mut walker = Editor::with(format!("a{FAMILY} 你好 שלום\n\nlonglonglong word"));
        for columns in 0..20 {
            walker.cursor = walker.text.len();
            assert!((0..200).any(|_| !walker.up(columns)), "up ends in {columns}");
            assert!((0..200).any(|_| !walker.down(columns)), "down ends in {columns}");
        }
    }
}
