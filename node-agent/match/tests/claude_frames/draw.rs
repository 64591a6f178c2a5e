//! Screens as Claude Code draws them, made up: what is said where is drawn by lot, how it is laid out is what is known of
//! its versions.
//!
//! Format. Prompts stand behind `❯` or `>` in column 0, answers behind `⏺` or `●` with their rows in column 2, results
//! behind an elbow in column 2 with their rows in column 5. Notices stand in column 0, at an elbow, behind an answer's glyph,
//! or in the footer. The composer is `❯` between two rules, the upper one with the session's name if it has one, or `>` in a
//! box. Words are wrapped at blanks; what follows stands under the first word.

use proptest::prelude::*;
use proptest::sample::select;
use wa_proto::{Frame, Style, StyleRun};

/// How a version draws.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) cols: usize,
    /// Before an answer.
    dot: char,
    /// Before a prompt.
    caret: char,
    /// The composer is a box.
    boxed: bool,
    /// The session's name in the upper rule.
    name: &'static str,
    spinner: char,
    footer: &'static str,
    apostrophe: char,
    middle: char,
    logo: &'static str,
    /// The terminal tells attributes.
    styled: bool,
}

pub(crate) fn look() -> impl Strategy<Value = Look> {
    let marks = (select(vec!['⏺', '●']), select(vec!['✻', '✶', '✳', '✢', '✽', '·', '*']));
    let letters = (select(vec!['\'', '’']), select(vec!['·', '∙', '•']));
    let footers = vec![
        "? for shortcuts",
        "⏵⏵ accept edits on (shift+tab to cycle)",
        "⏸ manual mode on · ? for shortcuts · ← for agents",
        "⏵⏵ bypass permissions on (shift+tab to cycle)",
    ];
    let logos = vec![" ▐▛███▜▌  ", " ▐▛███▛█  ", "▗ ▗   ▖ ▖ ", " * ▐▛███▜▌ *  "];
    let frame = (60..=200_usize, 0..4_u8, select(vec!["", "", "parser", "release-notes"]), any::<bool>());
    (frame, marks, letters, select(footers), select(logos)).prop_map(
        |((cols, era, name, styled), (dot, spinner), (apostrophe, middle), footer, logo)| Look {
            cols,
            dot,
            caret: if era == 0 { '>' } else { '❯' },
            boxed: era == 0,
            name,
            spinner,
            footer,
            apostrophe,
            middle,
            logo,
            styled,
        },
    )
}

/// One block of a conversation.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Prompt(String),
    Answer(String),
    /// A call, and its result.
    Tool(String, Vec<String>),
}

const WORDS: &[&str] = &[
    "the", "parser", "reads", "rows", "and", "then", "limit", "of", "a", "session", "resets", "when",
    "tests", "fail", "in", "module", "config", "with", "context", "error", "retry", "login", "build",
    "usage", "plan",
];

fn words(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(select(WORDS), 1..most).prop_map(|words| words.join(" "))
}

pub(crate) fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let call = select(vec!["Bash(cargo test)", "Read(src/main.rs)", "github - get_issue (MCP)(id: \"7\")"]);
    let block = prop_oneof![
        words(12).prop_map(Block::Prompt),
        words(60).prop_map(Block::Answer),
        (call, proptest::collection::vec(words(9), 1..4))
            .prop_map(|(call, result)| Block::Tool(call.to_owned(), result)),
    ];
    proptest::collection::vec(block, 0..5)
}

/// Wraps words behind a beginning; what follows stands in its column.
fn wrapped(begins: &str, text: &str, cols: usize) -> Vec<String> {
    let indent = begins.chars().count();
    let mut rows: Vec<String> = Vec::new();
    for line in text.split('\n') {
        let mut row = if rows.is_empty() { begins.to_owned() } else { " ".repeat(indent) };
        let mut used = indent;
        for word in line.split(' ') {
            let width = word.chars().count();
            if used > indent && used + 1 + width > cols {
                rows.push(std::mem::replace(&mut row, " ".repeat(indent)));
                used = indent;
            }
            if used > indent {
                row.push(' ');
                used += 1;
            }
            row.push_str(word);
            used += width;
        }
        rows.push(row);
    }
    rows
}

/// A screen that is being drawn.
pub(crate) struct Screen<'l> {
    look: &'l Look,
    rows: Vec<String>,
}

impl<'l> Screen<'l> {
    /// The banner, and a conversation below it.
    pub(crate) fn begun(look: &'l Look, blocks: &[Block]) -> Self {
        let mut screen = Self { look, rows: Vec::new() };
        screen.rows.push(format!("{} Claude Code v2.1.200", look.logo));
        screen.rows.push("▝▜█████▛▘  Opus 4.8 · Claude Max".to_owned());
        screen.rows.push("  ▘▘ ▝▝    ~/webapp".to_owned());
        for block in blocks {
            screen.block(block);
        }
        screen
    }

    pub(crate) fn block(&mut self, block: &Block) {
        match block {
            Block::Prompt(text) => self.prompt(text),
            Block::Answer(text) => self.answer(text),
            Block::Tool(call, result) => self.tool(call, &result.join("\n")),
        }
    }

    fn blank(&mut self) {
        self.rows.push(String::new());
    }

    fn say(&mut self, begins: &str, text: &str) {
        self.rows.extend(wrapped(begins, text, self.look.cols));
    }

    pub(crate) fn prompt(&mut self, text: &str) {
        self.blank();
        self.say(&format!("{} ", self.look.caret), text);
    }

    pub(crate) fn answer(&mut self, text: &str) {
        self.blank();
        self.say(&format!("{} ", self.look.dot), text);
    }

    pub(crate) fn tool(&mut self, call: &str, result: &str) {
        self.answer(call);
        self.elbow(result);
    }

    pub(crate) fn elbow(&mut self, text: &str) {
        self.say("  ⎿  ", text);
    }

    /// A row that begins in column 0.
    pub(crate) fn notice(&mut self, text: &str) {
        self.say("", text);
    }

    /// Rows as they are.
    pub(crate) fn raw(&mut self, indent: usize, text: &str) {
        self.blank();
        self.rows.extend(text.split('\n').map(|row| format!("{}{row}", " ".repeat(indent))));
    }

    pub(crate) fn working(&mut self) {
        self.blank();
        self.rows.push(format!("{} Mulling… (12s · ↓ 335 tokens)", self.look.spinner));
        self.blank();
    }

    pub(crate) fn done(&mut self) {
        self.blank();
        self.rows.push("✻ Brewed for 12s".to_owned());
        self.blank();
    }

    /// Draws the composer, with a draft, and footer rows below it.
    pub(crate) fn composed(mut self, draft: &str, footer: &[String]) -> Frame {
        let look = self.look;
        let line = "─".repeat(look.cols);
        let first;
        if look.boxed {
            self.rows.push(format!("╭{}╮", "─".repeat(look.cols - 2)));
            first = self.rows.len();
            for row in wrapped("> ", draft, look.cols - 4) {
                let blanks = (look.cols - 4).saturating_sub(row.chars().count());
                self.rows.push(format!("│ {row}{} │", " ".repeat(blanks)));
            }
            self.rows.push(format!("╰{}╯", "─".repeat(look.cols - 2)));
        } else {
            let name = if look.name.is_empty() { String::new() } else { format!(" {} ──", look.name) };
            self.rows.push(format!("{}{name}", "─".repeat(look.cols - name.chars().count())));
            first = self.rows.len();
            self.say("❯\u{a0}", draft);
            self.rows.push(line);
        }
        self.rows.push(format!("  {}", look.footer));
        self.rows.extend(footer.iter().cloned());
        self.frame(Some((first, draft.is_empty())))
    }

    /// A dialog in the composer's place.
    pub(crate) fn asked(mut self, dialog: &str) -> Frame {
        let look = self.look;
        self.blank();
        if look.boxed {
            self.rows.push(format!("╭{}╮", "─".repeat(look.cols - 2)));
            for row in dialog.split('\n') {
                let blanks = (look.cols - 3).saturating_sub(row.chars().count());
                self.rows.push(format!("│{row}{} │", " ".repeat(blanks)));
            }
            self.rows.push(format!("╰{}╯", "─".repeat(look.cols - 2)));
        } else {
            self.rows.push("─".repeat(look.cols));
            self.rows.extend(dialog.split('\n').map(str::to_owned));
        }
        self.frame(None)
    }

    fn frame(self, composer: Option<(usize, bool)>) -> Frame {
        let other = |c: char| match c {
            '\'' => self.look.apostrophe,
            '·' => self.look.middle,
            c => c,
        };
        let text: Vec<String> =
            self.rows.iter().map(|row| row.chars().map(other).collect::<String>()).collect();
        let cols = u32::try_from(self.look.cols).unwrap();
        let mut frame = Frame::from_text(cols, &text.join("\n"));
        if let Some((row, empty)) = composer.filter(|_| self.look.styled) {
            let row = &mut frame.rows[row];
            let style = Style { reverse: true, ..Style::default() };
            // The insertion point stands at the beginning.
            if empty && !self.look.boxed {
                row.text = "❯\u{a0} ".to_owned();
            }
            let start = if self.look.boxed { "│ > ".len() } else { "❯\u{a0}".len() };
            let length = row.text[start..].chars().next().map_or(0, char::len_utf8);
            let (start, end) = (u32::try_from(start).unwrap(), u32::try_from(start + length).unwrap());
            row.runs = vec![StyleRun { start, end, style }];
        }
        frame
    }
}
