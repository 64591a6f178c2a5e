//! A program in a pane that takes text: an agent with a composer, or a shell with a prompt line. It is drawn as the real
//! ones draw, and it answers keys as they do: a paste is ignored by a dialog, Enter is taken for a newline right after a
//! burst, an Enter in a dialog takes the marked choice.
//!
//! What it holds and what it shows are two things: it draws a moment after it has changed. What was not drawn nobody can
//! have seen.

use std::collections::VecDeque;
use std::time::Duration;

use wa_match::ProcessInfo;
use wa_mux::codec::{Cell, Style, Zone};
use wa_proto::AgentKind;

pub(crate) const ROWS: u64 = 24;
/// Prompts that are kept on the screen.
const TRANSCRIPT: usize = 4;
/// An agent takes an Enter so soon after a burst for a newline.
const BURST: Duration = Duration::from_millis(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Claude,
    Codex,
    Shell,
}

impl Kind {
    pub(crate) fn agent(self) -> Option<AgentKind> {
        match self {
            Self::Claude => Some(AgentKind::claude()),
            Self::Codex => Some(AgentKind::new("codex")),
            Self::Shell => None,
        }
    }
}

/// Who put a text there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) by_node: bool,
}

/// A dialog that waits for a choice. No two of a host have the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialog {
    pub(crate) number: u32,
    /// Which choice Enter takes, from 0.
    pub(crate) selected: usize,
}

impl Dialog {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, selected: 0 }
    }

    /// What it wants to run.
    pub(crate) fn command(self) -> String {
        format!("rm -rf build-{}", self.number)
    }

    /// The first approves this once, the last denies.
    pub(crate) fn labels(self, kind: Kind) -> Vec<&'static str> {
        let (first, more, last) = match kind {
            Kind::Codex => (
                "Yes, proceed (y)",
                "Yes, and don't ask again for this command (a)",
                "No, and tell Codex what to do differently (esc)",
            ),
            _ => ("Yes", "Yes, and don't ask again for rm commands", "No"),
        };
        // Not every command can be allowed for good.
        if self.number.is_multiple_of(2) { vec![first, last] } else { vec![first, more, last] }
    }
}

impl Dialog {
    /// Its choices as they are drawn: behind a glyph the one that is selected, behind a blank the others.
    fn choices(self, kind: Kind, glyph: &str, blank: &str) -> Vec<Vec<(String, Style)>> {
        let labels = self.labels(kind).into_iter().enumerate();
        let row = |(at, label)| {
            let lead = if at == self.selected { glyph } else { blank };
            plain(format!("{lead} {}. {label}", at + 1))
        };
        labels.map(row).collect()
    }
}

/// All that a key's meaning depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) pid: u32,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) draft: Vec<Piece>,
}

impl Facts {
    /// Nothing stands where text goes, and nothing is in the way.
    pub(crate) fn is_free(&self) -> bool {
        self.dialog.is_none() && self.draft.is_empty()
    }

    /// Exactly what one paste brought.
    pub(crate) fn pasted(&self) -> Option<&str> {
        match &self.draft[..] {
            [piece] if piece.by_node && self.dialog.is_none() => Some(&piece.text),
            _ => None,
        }
    }
}

/// What Enter did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It was lost, or taken for a newline.
    Nothing,
    /// There was nothing to submit.
    Empty,
    /// The marked choice of the dialog was taken.
    Answered(Dialog),
    Submitted(Vec<Piece>),
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) facts: Facts,
    /// What it comes back as.
    pub(crate) usual: Kind,
    pub(crate) cols: u64,
    /// How many Enters get lost.
    pub(crate) deaf: u32,
    pub(crate) working: bool,
    transcript: VecDeque<String>,
    pasted_at: Option<Duration>,
}

/// What it shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shown {
    pub(crate) rows: Vec<Vec<(String, Style)>>,
    /// Column and row, where it shows.
    pub(crate) cursor: Option<(u64, u64)>,
}

pub(crate) fn cells(row: &[(String, Style)]) -> Vec<Cell<'_>> {
    row.iter()
        .flat_map(|(text, style)| {
            text.char_indices().map(|(at, c)| Cell {
                text: &text[at..at + c.len_utf8()],
                style: *style,
                zone: Zone::default(),
            })
        })
        .collect()
}

fn plain(text: impl Into<String>) -> Vec<(String, Style)> {
    vec![(text.into(), Style::default())]
}

fn dim() -> Style {
    Style { dim: true, ..Style::default() }
}

fn bold() -> Style {
    Style { bold: true, ..Style::default() }
}

fn reversed() -> (String, Style) {
    (" ".to_owned(), Style { reverse: true, ..Style::default() })
}

impl Program {
    pub(crate) fn new(kind: Kind, pid: u32) -> Self {
        Self {
            facts: Facts { kind, pid, dialog: None, draft: Vec::new() },
            usual: kind,
            cols: 80,
            deaf: 0,
            working: false,
            transcript: VecDeque::new(),
            pasted_at: None,
        }
    }

    /// Another process has its place; what was not submitted is lost.
    pub(crate) fn become_other(&mut self, kind: Kind, pid: u32) {
        self.facts = Facts { kind, pid, dialog: None, draft: Vec::new() };
        (self.working, self.deaf, self.pasted_at) = (false, 0, None);
        self.transcript.clear();
    }

    pub(crate) fn group(&self) -> Vec<ProcessInfo> {
        let name = match self.facts.kind {
            Kind::Claude => "claude",
            Kind::Codex => "codex",
            Kind::Shell => "bash",
        };
        vec![ProcessInfo {
            pid: self.facts.pid,
            pgid: self.facts.pid,
            comm: name.to_owned(),
            args: vec![name.to_owned()],
            // By the clock of the machine that this runs on: left out, for a seed is one run on every machine.
            started: 0,
            ..ProcessInfo::default()
        }]
    }

    pub(crate) fn paste(&mut self, text: &str, by_node: bool, now: Duration) {
        if self.facts.dialog.is_none() {
            self.facts.draft.push(Piece { text: text.to_owned(), by_node });
            self.pasted_at = Some(now);
        }
    }

    pub(crate) fn enter(&mut self, now: Duration) -> Entered {
        if self.deaf > 0 {
            self.deaf -= 1;
            return Entered::Nothing;
        }
        if let Some(dialog) = self.facts.dialog.take() {
            self.working = true;
            return Entered::Answered(dialog);
        }
        if self.facts.draft.is_empty() {
            return Entered::Empty;
        }
        let burst = self.pasted_at.is_some_and(|at| now < at + BURST);
        if burst && self.facts.kind != Kind::Shell {
            return Entered::Nothing;
        }
        let draft = std::mem::take(&mut self.facts.draft);
        let text: String = draft.iter().map(|piece| piece.text.as_str()).collect();
        self.transcript.push_back(text);
        if self.transcript.len() > TRANSCRIPT {
            self.transcript.pop_front();
        }
        self.working = self.facts.kind != Kind::Shell;
        Entered::Submitted(draft)
    }

    /// An arrow key; without a dialog it does nothing.
    pub(crate) fn arrow(&mut self, down: bool) {
        let kind = self.facts.kind;
        if let Some(dialog) = &mut self.facts.dialog {
            let last = dialog.labels(kind).len() - 1;
            dialog.selected =
                if down { (dialog.selected + 1).min(last) } else { dialog.selected.saturating_sub(1) };
        }
    }

    pub(crate) fn clear(&mut self) {
        self.facts.draft.clear();
    }

    fn draft(&self) -> String {
        self.facts.draft.iter().map(|piece| piece.text.as_str()).collect()
    }

    pub(crate) fn draw(&self) -> Shown {
        let Shown { mut rows, cursor } = match self.facts.kind {
            Kind::Claude => self.draw_claude(),
            Kind::Codex => self.draw_codex(),
            Kind::Shell => self.draw_shell(),
        };
        let height = usize::try_from(ROWS).unwrap();
        // Programs draw what fits, from the end.
        let over = rows.len().saturating_sub(height);
        rows.drain(..over);
        let cursor = cursor.and_then(|(x, y)| Some((x, y.checked_sub(over as u64)?)));
        rows.resize(height, Vec::new());
        Shown { rows, cursor }
    }

    /// The draft in rows of this pane, each with an indent of two.
    fn wrapped(&self) -> Vec<String> {
        let width = usize::try_from(self.cols).unwrap() - 4;
        let mut rows = Vec::new();
        for line in self.draft().split('\n') {
            let chars: Vec<char> = line.chars().collect();
            rows.extend(chars.chunks(width).map(|chunk| chunk.iter().collect::<String>()));
            if chars.is_empty() {
                rows.push(String::new());
            }
        }
        rows
    }

    fn prompts(&self, glyph: &str, style: Style, rows: &mut Vec<Vec<(String, Style)>>) {
        let width = usize::try_from(self.cols).unwrap() - 4;
        for text in &self.transcript {
            for (at, line) in text.split('\n').enumerate() {
                let chars: Vec<char> = line.chars().collect();
                for (piece, chunk) in chars.chunks(width).enumerate() {
                    let first = at == 0 && piece == 0;
                    let lead = if first { glyph.to_owned() } else { " ".to_owned() };
                    let text: String = chunk.iter().collect();
                    rows.push(vec![(lead, style), (format!(" {text}"), Style::default())]);
                }
            }
            rows.push(Vec::new());
        }
    }

    fn draw_claude(&self) -> Shown {
        let mut rows = Vec::new();
        let rule = "─".repeat(usize::try_from(self.cols).unwrap());
        self.prompts("❯", Style::default(), &mut rows);
        if let Some(dialog) = self.facts.dialog {
            rows.push(vec![(rule, dim())]);
            let command = format!("   {}", dialog.command());
            rows.extend([" Bash command", "", &command, "", " Do you want to proceed?"].map(plain));
            rows.extend(dialog.choices(Kind::Claude, " ❯", "  "));
            rows.extend(["", " Esc to cancel"].map(plain));
            return Shown { rows, cursor: None };
        }
        if self.working {
            rows.push(plain("✻ Mulling… (esc to interrupt · 1s)"));
            rows.push(Vec::new());
        }
        rows.push(vec![(rule.clone(), dim())]);
        let draft = self.wrapped();
        let last = draft.len() - 1;
        for (at, line) in draft.into_iter().enumerate() {
            let mut row = plain(if at == 0 { format!("❯\u{a0}{line}") } else { format!("  {line}") });
            if at == last {
                row.push(reversed());
            }
            rows.push(row);
        }
        rows.push(vec![(rule, dim())]);
        rows.push(plain("  ? for shortcuts"));
        Shown { rows, cursor: None }
    }

    fn draw_codex(&self) -> Shown {
        let mut rows = Vec::new();
        self.prompts("›", Style { bold: true, dim: true, ..Style::default() }, &mut rows);
        if let Some(dialog) = self.facts.dialog {
            let command = format!("  $ {}", dialog.command());
            rows.extend(["  Would you like to run the following command?", "", &command, ""].map(plain));
            rows.extend(dialog.choices(Kind::Codex, "›", " "));
            rows.extend(["", "  Press enter to confirm or esc to cancel"].map(plain));
            return Shown { rows, cursor: None };
        }
        if self.working {
            rows.push(plain("• Working (1s • esc to interrupt)"));
            rows.push(Vec::new());
        }
        rows.push(Vec::new());
        let draft = self.wrapped();
        let end = (draft.last().map_or(0, |line| line.chars().count()) + 2) as u64;
        let top = rows.len() as u64;
        let cursor = Some((end, top + draft.len() as u64 - 1));
        if self.facts.draft.is_empty() {
            rows.push(vec![
                ("›".to_owned(), bold()),
                (" ".to_owned(), Style::default()),
                ("Explain this codebase".to_owned(), dim()),
            ]);
        } else {
            for (at, line) in draft.into_iter().enumerate() {
                let glyph =
                    if at == 0 { ("›".to_owned(), bold()) } else { (" ".to_owned(), Style::default()) };
                rows.push(vec![glyph, (format!(" {line}"), Style::default())]);
            }
        }
        rows.push(Vec::new());
        rows.push(vec![("  gpt-5.1-codex default · 100% left · ~/webapp".to_owned(), dim())]);
        Shown { rows, cursor }
    }

    fn draw_shell(&self) -> Shown {
        let mut rows = Vec::new();
        for text in &self.transcript {
            rows.push(plain(format!("$ {text}")));
            rows.push(plain("done"));
        }
        let width = usize::try_from(self.cols).unwrap();
        let line: Vec<char> = format!("$ {}", self.draft()).chars().collect();
        let chunks: Vec<String> = line.chunks(width).map(|chunk| chunk.iter().collect()).collect();
        let (x, y) = (line.len() % width, rows.len() + line.len() / width);
        rows.extend(chunks.into_iter().map(plain));
        Shown { rows, cursor: Some((x as u64, y as u64)) }
    }
}
