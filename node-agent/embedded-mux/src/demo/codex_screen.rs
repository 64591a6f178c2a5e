//! How the scripted Codex looks: 0.144, inline on the primary screen, as recorded.
//!
//! Blocks of the transcript stand one blank row apart; a prompt and the composer bring a blank row above and below of their
//! own. The composer floats right below the transcript, with the terminal's cursor in it; its placeholder is dim. A dialog
//! takes its place and hides the cursor.

use std::time::Duration;

use super::codex::{Menu, Phase};
use super::composer::Composer;
use super::draft::Draft;
use super::inline::{Inline, Live};
use super::layout::{columns, cut, hang, pad, wrap};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[38;5;1m";
const YELLOW: &str = "\x1b[38;5;3m";
const CYAN: &str = "\x1b[38;5;6m";
const MODEL: &str = "\x1b[38;2;246;226;183m";
const PLACE: &str = "\x1b[38;2;171;223;167m";
const PLAIN: &str = "\x1b[0m";
const PLACEHOLDER: &str = "Explain this codebase";
const SPINNER: [char; 6] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴'];
/// Rows of the live part beside those of the draft.
const AROUND_DRAFT: usize = 10;

pub(super) const INTERRUPTED: &str = "Conversation interrupted - tell the model what to do differently. Something went wrong? \
     Hit `/feedback` to report the issue.";
pub(super) const LONG_THREADS: &str = "Heads up: Long threads and multiple compactions can cause the model to be less accurate. \
     Start a new thread when possible to keep threads small and targeted.";

/// What the live part shows.
pub(super) struct Look<'a> {
    pub(super) now: Duration,
    pub(super) phase: &'a Phase,
    pub(super) composer: &'a Composer,
}

/// A part of the transcript, laid out when it is written.
#[derive(Debug, Clone)]
pub(super) enum Block {
    Banner,
    Prompt(String),
    /// `•`
    Answer(String),
    /// `■`, red
    Error(String),
    /// `⚠`, yellow
    Warning(String),
    /// `✔` or `✗`
    Decision(bool, String),
}

/// See the head of the module.
pub(super) struct Screen {
    release: String,
    model: String,
    /// As Codex names it: below the home directory with a tilde.
    directory: String,
    cols: usize,
    rows: usize,
    inline: Inline<Block>,
}

impl Screen {
    /// Modes that are switched on at the start.
    pub(super) const BEGIN: &'static [u8] = b"\x1b[?2004h";

    pub(super) fn new(release: &str, model: String, directory: String, size: (usize, usize)) -> Self {
        let inline = Inline::new(vec![Block::Banner]);
        Self { release: release.to_owned(), model, directory, cols: size.0, rows: size.1, inline }
    }

    pub(super) fn resize(&mut self, (cols, rows): (usize, usize)) {
        self.rows = rows;
        if cols != self.cols {
            self.cols = cols;
            self.inline.redraw();
        }
    }

    pub(super) fn push(&mut self, block: Block) {
        self.inline.push(block);
    }

    /// The bytes that bring the screen up to date; none if it is.
    pub(super) fn paint(&mut self, look: &Look<'_>) -> Vec<u8> {
        let live = self.lay_out_live(look);
        let (release, model, directory, cols) = (&self.release, &self.model, &self.directory, self.cols);
        self.inline.paint(live, |block| match block {
            Block::Banner => banner(release, model, directory, cols),
            block => lay_out(block, cols),
        })
    }

    /// What is left on the screen when the program leaves: tokens, and how to go on.
    pub(super) fn farewell(&self, session: Option<(&str, [u64; 4])>) -> Vec<u8> {
        let back = self.inline.taken_back();
        let how = session.map_or(String::new(), |(id, [input, cached, output, reasoning])| {
            let [total, input, cached, output, reasoning] =
                [input + output, input, cached, output, reasoning].map(thousands);
            let tokens = format!(
                "Token usage: total={total} input={input} (+ {cached} cached) output={output} (reasoning {reasoning})\r\n"
            );
            let tokens = if output == "0" { String::new() } else { tokens };
            format!("{tokens}To continue this session, run {CYAN}codex resume {id}{PLAIN}\r\n")
        });
        format!("{back}\x1b[?2004l\x1b[?25h{how}\x1b]0;\x07").into_bytes()
    }

    fn lay_out_live(&self, look: &Look<'_>) -> Live {
        let project = self.directory.rsplit('/').next().unwrap_or_default();
        let turn = usize::try_from(look.now.as_millis() / 250).unwrap_or(0);
        let (title, mut rows) = match look.phase {
            Phase::Menu(menu) => return self.menu(menu, project),
            Phase::Idle => (project.to_owned(), Vec::new()),
            Phase::Working { since, .. } | Phase::Compacting { since, .. } => {
                let verb = if matches!(look.phase, Phase::Working { .. }) {
                    "Working"
                } else {
                    "Compacting context"
                };
                let seconds = look.now.saturating_sub(*since).as_secs();
                let dot = if turn.is_multiple_of(2) { '•' } else { '◦' };
                let row = format!("{dot} {BOLD}{verb}{PLAIN} {DIM}({seconds}s • esc to interrupt){PLAIN}");
                (format!("{} {project}", SPINNER[turn % SPINNER.len()]), vec![row, String::new()])
            }
        };
        if look.composer.queue().len() > 0 {
            let head = "• Messages to be submitted after next tool call (press esc to interrupt and send immediately)";
            rows.push(cut(head, self.cols));
            rows.extend(look.composer.queue().map(|text| format!("{DIM}  ↳ {}{PLAIN}", wrap(text, 60)[0])));
        }
        // Without anything above it the composer's own blank row follows the transcript's.
        rows.push(String::new());
        let first = rows.len();
        let cursor = self.composer(&look.composer.draft, &mut rows);
        rows.push(String::new());
        rows.push(match (look.phase, look.composer.draft.is_empty()) {
            (Phase::Idle, _) | (_, true) => {
                let model = format!("{} default", self.model);
                let place = cut(&self.directory, self.cols.saturating_sub(columns(&model) + 5));
                format!("  {MODEL}{model}{PLAIN}{DIM} · {PLAIN}{PLACE}{place}{PLAIN}")
            }
            _ => format!("  {DIM}tab to queue message{PLAIN}"),
        });
        Live { rows, cursor: (first + cursor.0, cursor.1), cursor_shown: true, title }
    }

    /// Adds the composer's rows; the cursor's row among them, and its column.
    fn composer(&self, draft: &Draft, rows: &mut Vec<String>) -> (usize, usize) {
        if draft.is_empty() {
            rows.push(format!("{BOLD}›{PLAIN} {DIM}{PLACEHOLDER}{PLAIN}"));
            return (0, 2);
        }
        // One column for the cursor behind the last character.
        let text = wrap(&draft.shown(), self.cols.saturating_sub(3).max(1));
        let room = self.rows.saturating_sub(AROUND_DRAFT).max(1);
        let hidden = text.len().saturating_sub(room);
        let end = text.last().map_or(0, |row| columns(row));
        for (at, row) in text.iter().enumerate().skip(hidden) {
            let row = draft.coloured(row, CYAN, PLAIN);
            let glyph = if at == 0 { format!("{BOLD}›{PLAIN}") } else { " ".to_owned() };
            rows.push(format!("{glyph} {row}"));
        }
        (text.len() - hidden - 1, end + 2)
    }

    fn menu(&self, menu: &Menu, project: &str) -> Live {
        let mut rows = Vec::new();
        for line in menu.kind.heading() {
            rows.extend(line.split('\n').map(|row| format!("  {row}")));
        }
        rows.push(String::new());
        let labels = menu.kind.choices();
        let wide = labels.iter().map(|(label, _)| columns(label)).max().unwrap_or(0);
        // Hints stand in a column of their own, behind the longest label.
        let indent = 5 + wide + 2;
        let room = self.cols.saturating_sub(indent).max(1);
        for (at, (label, hint)) in labels.iter().enumerate() {
            let (label, number) = (cut(label, self.cols.saturating_sub(5)), at + 1);
            let label = if hint.is_empty() { label } else { format!("{}  ", pad(&label, wide)) };
            let (mark, faint) = if at == menu.choice { (CYAN, "") } else { (PLAIN, DIM) };
            let glyph = if at == menu.choice { format!("{BOLD}{CYAN}›") } else { " ".to_owned() };
            rows.extend(hang(hint, room, |first, hint| match first {
                true => format!("{glyph} {number}. {label}{faint}{}{PLAIN}", hint.trim_end()),
                false => format!("{}{mark}{faint}{}{PLAIN}", " ".repeat(indent), hint.trim_end()),
            }));
        }
        rows.push(String::new());
        rows.push(format!("  {DIM}{}{PLAIN}", menu.kind.footer()));
        let title = if menu.kind.asks_for_permission() {
            format!("[ ! ] Action Required | {project}")
        } else {
            project.to_owned()
        };
        Live { rows, cursor: (0, 1), cursor_shown: false, title }
    }
}

fn lay_out(block: &Block, cols: usize) -> Vec<String> {
    let narrow = cols.saturating_sub(2).max(1);
    let glyph = |colour: &str, glyph: char, text: &str| {
        hang(text, narrow, |first, row| match first {
            true => format!("{colour}{glyph}{PLAIN} {row}"),
            false => format!("  {row}"),
        })
    };
    let mut rows = match block {
        Block::Banner => Vec::new(),
        Block::Prompt(text) => {
            let mut rows = vec![String::new()];
            rows.extend(hang(text, narrow, |first, row| match first {
                true => format!("{BOLD}{DIM}›{PLAIN} {row}"),
                false => format!("  {row}"),
            }));
            rows.push(String::new());
            rows
        }
        Block::Answer(text) => glyph(DIM, '•', text),
        Block::Decision(granted, text) => match granted {
            true => glyph("\x1b[38;5;2m", '✔', text),
            false => glyph(RED, '✗', text),
        },
        // Errors and warnings are not hung: the terminal wraps errors, Codex indents warnings.
        Block::Error(text) => {
            hang(&format!("■ {text}"), cols.max(1), |_, row| format!("{RED}{}{PLAIN}", row.trim_end()))
        }
        Block::Warning(text) => hang(&format!("⚠ {text}"), narrow, |first, row| match first {
            true => format!("{YELLOW}{}{PLAIN}", row.trim_end()),
            false => format!("  {YELLOW}{}{PLAIN}", row.trim_end()),
        }),
    };
    rows.push(String::new());
    rows
}

fn banner(release: &str, model: &str, directory: &str, cols: usize) -> Vec<String> {
    const INNER: usize = 45;
    let inner = INNER.max(model.len() + 33).max(directory.chars().count() + 13).min(cols.saturating_sub(2));
    let directory = &cut(directory, inner.saturating_sub(13));
    let row = |text: &str, shown: String| {
        let fill = " ".repeat(inner.saturating_sub(columns(text)));
        format!("{DIM}│{PLAIN}{shown}{fill}{DIM}│{PLAIN}")
    };
    let name = format!(" >_ OpenAI Codex (v{release})");
    let shown_name = format!("{DIM} >_ {PLAIN}{BOLD}OpenAI Codex{PLAIN}{DIM} (v{release}){PLAIN}");
    let uses = format!(" model:     {model}   /model to change");
    let shown_uses = format!("{DIM} model:     {PLAIN}{model}   {CYAN}/model{PLAIN}{DIM} to change{PLAIN}");
    let place = format!(" directory: {directory}");
    let shown_place = format!("{DIM} directory: {PLAIN}{directory}");
    vec![
        format!("{DIM}╭{}╮{PLAIN}", "─".repeat(inner)),
        row(&name, shown_name),
        row("", String::new()),
        row(&uses, shown_uses),
        row(&place, shown_place),
        format!("{DIM}╰{}╯{PLAIN}", "─".repeat(inner)),
        String::new(),
        format!("  {BOLD}Tip:{PLAIN} You can run any shell command from Codex using ! (e.g. !ls)"),
        String::new(),
    ]
}

/// `7,168`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!(
            [0, 999, 1000, 7168, 1_234_567].map(thousands),
            ["0", "999", "1,000", "7,168", "1,234,567"]
        );
    }
}
