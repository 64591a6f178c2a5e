//! How an inline agent draws: the transcript is written once and scrolls away, the live part below it (spinner, composer,
//! footer, or a dialog instead of them) is taken back and written anew when it looks different.
//!
//! Every frame is one synchronised update. When the screen is to be cleared, its history goes with it, and everything is
//! written again.

/// The part of the screen that changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Live {
    /// At least one.
    pub(super) rows: Vec<String>,
    /// Row of `rows` and column where the terminal's cursor rests.
    pub(super) cursor: (usize, usize),
    pub(super) cursor_shown: bool,
    pub(super) title: String,
}

/// Blocks of the transcript, and what of them stands on the screen.
#[derive(Debug)]
pub(super) struct Inline<B> {
    transcript: Vec<B>,
    written: usize,
    live: Option<Live>,
    clear: bool,
}

impl<B> Inline<B> {
    pub(super) fn new(transcript: Vec<B>) -> Self {
        Self { transcript, written: 0, live: None, clear: false }
    }

    pub(super) fn push(&mut self, block: B) {
        self.transcript.push(block);
    }

    /// Another transcript, on a cleared screen.
    pub(super) fn replace(&mut self, transcript: Vec<B>) {
        self.transcript = transcript;
        self.redraw();
    }

    /// Everything is written anew next time.
    pub(super) fn redraw(&mut self) {
        self.clear = true;
    }

    /// The bytes that bring the screen up to date; none if it is.
    pub(super) fn paint(&mut self, live: Live, lay_out: impl Fn(&B) -> Vec<String>) -> Vec<u8> {
        let same = self.live.as_ref() == Some(&live);
        if !self.clear && self.written == self.transcript.len() && same {
            return Vec::new();
        }
        let mut out = String::from("\x1b[?2026h\x1b[?25l");
        if self.live.as_ref().is_none_or(|before| before.title != live.title) && !live.title.is_empty() {
            out.extend(["\x1b]0;", &live.title, "\x07"]);
        }
        if std::mem::take(&mut self.clear) {
            out.push_str("\x1b[2J\x1b[3J\x1b[H");
            self.written = 0;
        } else {
            out.push_str(&self.taken_back());
        }
        for block in &self.transcript[self.written..] {
            for row in lay_out(block) {
                out.extend([row.as_str(), "\r\n"]);
            }
        }
        self.written = self.transcript.len();
        out.push_str(&live.rows.join("\r\n"));
        out.push_str(&to_cursor(&live));
        out.push_str("\x1b[?2026l");
        self.live = Some(live);
        out.into_bytes()
    }

    /// The bytes that take the live part off the screen.
    pub(super) fn taken_back(&self) -> String {
        match &self.live {
            None => String::new(),
            Some(Live { cursor: (0, _), .. }) => "\r\x1b[J".to_owned(),
            Some(Live { cursor: (row, _), .. }) => format!("\r\x1b[{row}A\x1b[J"),
        }
    }
}

fn to_cursor(live: &Live) -> String {
    let (row, column) = live.cursor;
    let up = live.rows.len().saturating_sub(row + 1);
    let up = if up > 0 { format!("\x1b[{up}A") } else { String::new() };
    let right = if column > 0 { format!("\x1b[{column}C") } else { String::new() };
    let shown = if live.cursor_shown { "\x1b[?25h" } else { "" };
    format!("\r{up}{right}{shown}")
}
