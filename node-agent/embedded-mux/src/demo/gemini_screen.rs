//! How the scripted Gemini CLI looks: 0.61, inline on the primary screen, as recorded.
//!
//! Prompts and the composer stand on a tinted band; the composer is between a rule with its hint and the footer's two rows.
//! The terminal's cursor is hidden: the one that is seen is a reversed blank. A dialog is a box in the place of all that.

use std::time::Duration;

use super::composer::Composer;
use super::draft::Draft;
use super::gemini::{Dialog, MODEL, Phase};
use super::inline::{Inline, Live};
use super::layout::{columns, hang, pad, wrap};

const BAND: &str = "\x1b[48;5;240m";
const GREY: &str = "\x1b[38;5;248m";
const WHITE: &str = "\x1b[38;5;231m";
const VIOLET: &str = "\x1b[38;5;183m";
const PINK: &str = "\x1b[38;5;217m";
const YELLOW: &str = "\x1b[38;5;229m";
const PLAIN: &str = "\x1b[0m";
const MARKED: &str = "\x1b[38;5;194m\x1b[48;5;28m";
const PLACEHOLDER: &str = " Type your message or @path/to/file";
const SPINNER: [char; 8] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧'];
/// Rows of a draft that are shown.
const DRAFT_ROWS: usize = 10;

/// What a limit leaves behind once its dialog was answered.
pub(super) const EXHAUSTED: &str = "[API Error: Resource has been exhausted (e.g. check quota).\n\n\
     💡 Tip: The shared Google Cloud project is experiencing high traffic and has hit its quota limits. To get dedicated, \
     uninterrupted quota, please set your own Google Cloud project by running:\n  gcloud config set project [PROJECT_ID]\n\
     or by setting the GOOGLE_CLOUD_PROJECT environment variable.]";
pub(super) const FAILED: &str = "This request failed. Press F12 for diagnostics, or run /settings and change \"Error \
     Verbosity\" to full for full details.";

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
    /// `✦`
    Answer(String),
    /// `✕`
    Error(String),
    /// `ℹ`
    Notice(String),
}

/// See the head of the module.
pub(super) struct Screen {
    release: String,
    /// How it is signed in, as the banner tells it.
    signed_in: &'static str,
    project: String,
    cols: usize,
    inline: Inline<Block>,
}

impl Screen {
    /// Modes that are switched on at the start.
    pub(super) const BEGIN: &'static [u8] = b"\x1b[?2004h\x1b[?25l";

    pub(super) fn new(release: &str, signed_in: &'static str, project: &str, cols: usize) -> Self {
        let inline = Inline::new(vec![Block::Banner]);
        Self { release: release.to_owned(), signed_in, project: project.to_owned(), cols, inline }
    }

    pub(super) fn resize(&mut self, (cols, _): (usize, usize)) {
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
        let (release, signed_in, cols) = (&self.release, self.signed_in, self.cols);
        self.inline.paint(live, |block| match block {
            Block::Banner => banner(release, signed_in),
            block => lay_out(block, cols),
        })
    }

    /// The box that is left on the screen when the program leaves.
    pub(super) fn farewell(&self, session: &str) -> Vec<u8> {
        let resume = format!("To resume this session: gemini --resume {session}");
        let rows = [
            "",
            "Agent powering down. Goodbye!",
            "",
            "Interaction Summary",
            &format!("{}{session}", pad("Session ID:", 29)),
            &format!("{}0 ( ✓ 0 x 0 )", pad("Tool Calls:", 29)),
            "",
            &resume,
        ];
        let inner = self.cols.saturating_sub(2).max(4);
        let line = "─".repeat(inner);
        let rows: Vec<String> = rows
            .iter()
            .flat_map(|row| wrap(row, inner.saturating_sub(4).max(1)))
            .map(|row| format!("  {row}"))
            .map(|row| boxed(&row, &row, inner))
            .collect();
        format!(
            "{}\x1b[38;5;244m╭{line}╮{PLAIN}\r\n{}\r\n╰{line}╯\r\n\r\n\x1b[?2004l\x1b[?25h\x1b]0;\x07",
            self.inline.taken_back(),
            rows.join("\r\n")
        )
        .into_bytes()
    }

    fn lay_out_live(&self, look: &Look<'_>) -> Live {
        let title = |text: &str| pad(&format!("{text} ({})", self.project), 80).trim_end().to_owned();
        let (title, status) = match look.phase {
            Phase::Dialog(dialog) => {
                let rows = self.dialog(dialog);
                let cursor = (rows.len() - 1, 0);
                // As recorded: the title does not tell of a limit.
                return Live { rows, cursor, cursor_shown: false, title: title("✦  Working…") };
            }
            Phase::Idle => (title("◇  Ready"), (String::new(), 0)),
            Phase::Working { since, .. } => {
                let turn = usize::try_from(look.now.as_millis() / 250).unwrap_or(0);
                let glyph = SPINNER[turn % SPINNER.len()];
                let seconds = look.now.saturating_sub(*since).as_secs();
                let state = format!("(esc to cancel, {seconds}s)");
                let shown =
                    format!(" {VIOLET}{glyph}{PLAIN} \x1b[3m{WHITE}Thinking...{PLAIN} {GREY}{state}{PLAIN}");
                (title("✦  Working…"), (shown, columns(&format!(" {glyph} Thinking... {state}"))))
            }
        };
        let mut rows = vec![String::new()];
        if look.composer.queue().len() > 0 {
            rows.push("\x1b[2m  Queued (press ↑ to edit):\x1b[0m".to_owned());
            rows.extend(look.composer.queue().map(|text| format!("\x1b[2m    {}\x1b[0m", wrap(text, 60)[0])));
            rows.push(String::new());
        }
        if look.composer.armed_until().is_some() {
            rows.push(format!(" {YELLOW}Press Ctrl+C again to exit.{PLAIN}"));
        }
        let hint = if look.composer.draft.is_empty() { "? for shortcuts" } else { "" };
        let gap = self.cols.saturating_sub(status.1 + columns(hint) + 1);
        rows.push(format!("{}{}{GREY}{hint}{PLAIN}", status.0, " ".repeat(gap)));
        rows.push(format!("\x1b[2m\x1b[38;5;244m{}{PLAIN}", "─".repeat(self.cols)));
        rows.push(format!(" {GREY}Shift+Tab to accept edits{PLAIN}"));
        rows.push(self.band("", 0));
        let cursor = self.composer(&look.composer.draft, &mut rows);
        rows.push(self.band("", 0));
        rows.extend(self.footer());
        Live { rows, cursor, cursor_shown: false, title }
    }

    /// A row on the tinted band; `used`: the cells of its text.
    fn band(&self, text: &str, used: usize) -> String {
        format!("{BAND}{text}{}{PLAIN}", " ".repeat(self.cols.saturating_sub(used)))
    }

    /// Adds the composer's rows; where the reversed blank stands.
    fn composer(&self, draft: &Draft, rows: &mut Vec<String>) -> (usize, usize) {
        let first = rows.len();
        if draft.is_empty() {
            let text = format!(" {VIOLET}> \x1b[7m\x1b[39m \x1b[27m{GREY}{PLACEHOLDER}");
            rows.push(self.band(&text, 4 + columns(PLACEHOLDER)));
            return (first, 3);
        }
        let text = wrap(&draft.shown(), self.cols.saturating_sub(5).max(1));
        let hidden = text.len().saturating_sub(DRAFT_ROWS);
        for (at, row) in text.iter().enumerate().skip(hidden) {
            let shown = draft.coloured(row, "\x1b[38;5;139m", WHITE);
            let glyph = if at == 0 { format!(" {VIOLET}> ") } else { "   ".to_owned() };
            let last = at + 1 == text.len();
            let end = if last { "\x1b[7m\x1b[39m \x1b[27m" } else { "" };
            let used = 3 + columns(row) + usize::from(last);
            rows.push(self.band(&format!("{glyph}{WHITE}{shown}{end}"), used));
        }
        (first + text.len() - hidden - 1, 3 + text.last().map_or(0, |row| columns(row)))
    }

    fn footer(&self) -> [String; 2] {
        let cell = self.cols.saturating_sub(1) / 5;
        let row = |colour: &str, cells: [&str; 5]| {
            let text: String = cells.iter().map(|text| pad(text, cell)).collect();
            format!(" {colour}{}{PLAIN}", text.trim_end())
        };
        let place = format!("~/{}", self.project);
        [
            row(GREY, ["workspace (/directory)", "branch", "sandbox", "/model", "quota"]),
            row(WHITE, [&place, "master", "no sandbox", "Auto", "58% used"]),
        ]
    }

    fn dialog(&self, dialog: &Dialog) -> Vec<String> {
        let inner = self.cols.saturating_sub(2).max(4);
        let mut rows = vec![format!("\x1b[39m╭{}╮", "─".repeat(inner)), boxed("", "", inner)];
        let command = |name: &str, rest: &str| {
            let shown = format!(" \x1b[1m{VIOLET}{name}{PLAIN}{rest}");
            boxed(&format!(" {name}{rest}"), &shown, inner)
        };
        let plain = |text: String| boxed(&text, &text, inner);
        rows.push(plain(format!(" Usage limit reached for {MODEL}.")));
        rows.push(plain(format!(" Access resets at {}.", dialog.resets)));
        rows.push(command("/stats", " model for usage details"));
        rows.push(command("/model", " to switch models."));
        rows.push(command("/auth", " to switch to API key."));
        rows.extend([plain(String::new()), plain(String::new())]);
        for (at, label) in Dialog::CHOICES.iter().enumerate() {
            let number = at + 1;
            if at == dialog.choice {
                let shown = format!(" {MARKED}● {number}. {label}{PLAIN}");
                rows.push(boxed(&format!(" ● {number}. {label}"), &shown, inner));
            } else {
                rows.push(plain(format!("   {number}. {label}")));
            }
        }
        rows.extend([plain(String::new()), plain(String::new())]);
        rows.push(format!("╰{}╯", "─".repeat(inner)));
        rows
    }
}

/// A row of a box; `shown` is the text with its colours.
fn boxed(text: &str, shown: &str, inner: usize) -> String {
    format!("│{shown}{}│", " ".repeat(inner.saturating_sub(columns(text))))
}

fn lay_out(block: &Block, cols: usize) -> Vec<String> {
    let narrow = cols.saturating_sub(3).max(1);
    let marked = |glyph: &str, colour: &str, text: &str| {
        let mut rows = hang(text, narrow, |first, row| match first {
            true => format!("{colour}{glyph} {row}{PLAIN}"),
            false => format!("  {colour}{row}{PLAIN}"),
        });
        rows.push(String::new());
        rows
    };
    match block {
        Block::Banner => Vec::new(),
        Block::Prompt(text) => {
            let band = |text: &str, used: usize| {
                format!("{BAND}{text}{}{PLAIN}", " ".repeat(cols.saturating_sub(used)))
            };
            let mut rows = vec![band("", 0)];
            rows.extend(hang(text, narrow.saturating_sub(1).max(1), |first, row| {
                let glyph = if first { format!(" {VIOLET}> ") } else { "   ".to_owned() };
                band(&format!("{glyph}{WHITE}{row}"), 3 + columns(row))
            }));
            rows.push(band("", 0));
            rows
        }
        Block::Answer(text) => marked("✦", WHITE, text),
        Block::Error(text) => marked("✕", PINK, text),
        Block::Notice(text) => marked("ℹ", YELLOW, text),
    }
}

fn banner(release: &str, signed_in: &str) -> Vec<String> {
    const BLUE: &str = "\x1b[38;5;74m";
    vec![
        String::new(),
        format!(" {BLUE}▝▜▄{PLAIN}     \x1b[1m{WHITE}Gemini CLI{PLAIN}{GREY} v{release}{PLAIN}"),
        format!("   {BLUE}▝▜▄{PLAIN}"),
        format!("  {BLUE}▗▟▀{PLAIN}    \x1b[1m{WHITE}{signed_in}{PLAIN}{GREY} /auth{PLAIN}"),
        format!(" {BLUE}▝▀{PLAIN}"),
        String::new(),
        format!("{WHITE}Tips for getting started:{PLAIN}"),
        format!(
            "{WHITE}1. Create \x1b[1mGEMINI.md{PLAIN}{WHITE} files to customize your interactions{PLAIN}"
        ),
        format!("{WHITE}2. {GREY}/help{WHITE} for more information{PLAIN}"),
        format!("{WHITE}3. Ask coding questions, edit code or run commands{PLAIN}"),
        format!("{WHITE}4. Be specific for the best results{PLAIN}"),
        String::new(),
    ]
}
