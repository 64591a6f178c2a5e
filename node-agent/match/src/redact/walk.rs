//! Rows in their order, and the secrets that run over their ends.
//!
//! Constraints. A terminal's soft wrap is joined before the redactor sees a line, but agents wrap on their own: inside a
//! box, behind an indent, at a hyphen or in the middle of a long word. The lines of a pane come one by one and none can
//! be taken back, so a row must be judged without the next one. Gluing rows that do not belong together would swallow the
//! word that happens to stand below a token.
//!
//! Operation. What a row leaves behind is its end: a secret that reaches it and may go on (`Open`), or the last bytes, in
//! case that a literal or a name and its value were parted (`tail`). The next row is read alone, then as the
//! continuation of the secret, then glued to the tail. A secret goes on when it is certainly not whole, when the row
//! reached an edge, or when what follows looks generated and not like a word. A row without anything to look at costs one
//! pass of the literal search over it and one over the seam.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

use super::find::{Findings, REACH, device_codes};
use super::key::{self, Block};
use super::shape::{
    Alphabet, hash_like, masked, plain_words, random_looking, reference, simple_words, uuid_like,
};
use super::span::{Next, Span};
use super::tokens::TOKEN_RANK;
use super::{KEY_KIND, Redactor};

/// Bytes of a row's end that are kept where a name stands in it.
const TAIL: usize = 256;
/// Bytes of a row that are glued to the tail of the one before.
const GLUED: usize = 4096;
/// A code for a device login comes within so many rows of the words that announce it.
const DEVICE_ROWS: u8 = 8;
const NETRC_ROWS: u8 = 6;
/// Bytes of a value that no secret is shorter than.
const LITTLE: usize = 8;

/// What is remembered between consecutive lines of one text. It may hold the end of a secret: never print it, never keep
/// it longer than the text lasts.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RedactorState {
    tail: String,
    /// Bytes of `tail` that are of the last row.
    of_last: usize,
    /// A name or a head stands in `tail`.
    context: bool,
    /// Whether the last row's end looks cut.
    cut: Cut,
    /// Cells of the last row up to its end, where a name stands in it.
    width: usize,
    open: Option<Open>,
    block: Option<Block>,
    device: u8,
    netrc: u8,
}

impl fmt::Debug for RedactorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.open.as_ref().map(|open| &open.kind);
        f.debug_struct("RedactorState")
            .field("open", &secret)
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

/// A secret that reached the end of the last row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    kind: Cow<'static, str>,
    next: Next,
    cut: Cut,
    /// Cells up to the row's end.
    width: usize,
}

/// What speaks for a row having been cut at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Cut {
    #[default]
    Unknown,
    /// It reaches the edge of its box or of the screen.
    Edge,
    /// The terminal says so.
    Soft,
}

/// A row as it is read.
pub(super) struct Row<'t> {
    pub(super) text: &'t str,
    /// Without borders and indent.
    pub(super) body: Range<usize>,
    pub(super) cut: Cut,
    /// The row before was cut by the terminal's wrap.
    pub(super) joined: bool,
}

/// A part of a row that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) range: Range<usize>,
    pub(super) kind: Cow<'static, str>,
    pub(super) why: Cow<'static, str>,
    /// Known in the row where the secret begins.
    pub(super) length: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) marks: Vec<Mark>,
    /// What of the row before belongs to a secret that was understood only now: bytes back from its end.
    pub(super) before: Option<(usize, Mark)>,
    /// A private key ends here whose head was not seen.
    pub(super) orphan: bool,
}

impl<'t> Row<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let body = body(text);
        let cut = if at_border(text, &body) { Cut::Edge } else { Cut::Unknown };
        Self { text, body, cut, joined: false }
    }

    fn content(&self) -> &'t str {
        &self.text[self.body.clone()]
    }
}

fn border(c: char) -> bool {
    c.is_whitespace() || matches!(c, '│' | '┃' | '▌' | '▐' | '┆' | '║' | '|' | '█' | '⎿' | '└' | '├' | '↵')
}

/// The row without borders, indent and trailing blanks.
pub(super) fn body(row: &str) -> Range<usize> {
    let end = row.trim_end_matches(border).len();
    let mut start = end - row[..end].trim_start_matches(border).len();
    // The sign of a diff, the arrow of a composer: a sign and a blank.
    if let [b'+' | b'-' | b'>', b' ', ..] = &row.as_bytes()[start..end] {
        start += 1;
        start += row[start..end].len() - row[start..end].trim_start().len();
    }
    // A line of a shell that goes on.
    let end = if row[..end].ends_with('\\') && end > start { end - 1 } else { end };
    start..end.max(start)
}

/// The text stands right at the right border of a box.
fn at_border(text: &str, body: &Range<usize>) -> bool {
    let rest = &text[body.end..];
    let blank = rest.len() - rest.trim_start().len();
    blank <= 1 && rest[blank..].starts_with(['│', '┃', '▐', '┆', '║', '|', '█'])
}

impl Redactor {
    /// Reads one row.
    pub(super) fn step(&self, state: &mut RedactorState, row: &Row<'_>) -> Step {
        let seam = self.seam(state, row);
        let calm = state.open.is_none() && state.block.is_none() && state.device == 0 && state.netrc == 0;
        if calm
            && !state.context
            && !seam
            && self.users().is_empty()
            && !self.finder().stirs(row.text.as_bytes())
        {
            let quiet = !row.content().starts_with("machine ");
            if quiet {
                state.keep(row, REACH);
                return Step::default();
            }
        }
        self.look(state, row, seam)
    }

    /// Whether a literal may lie across the last row's end.
    fn seam(&self, state: &RedactorState, row: &Row<'_>) -> bool {
        let (tail, head) = (state.tail.as_bytes(), row.content().as_bytes());
        self.finder().across(tail, head)
    }

    fn look(&self, state: &mut RedactorState, row: &Row<'_>, seam: bool) -> Step {
        let mut step = Step::default();
        if read_block(state, row, &mut step) {
            state.open = None;
            state.forget();
            return step;
        }
        let findings = self.find(row.text, row.body.end);
        if findings.key || seam {
            open_block(state, row, &mut step);
        }
        let mut open = None;
        for span in &findings.spans {
            if span.range.end == row.body.end {
                open = span.next.map(|next| Open::at(row, span.kind.clone(), next));
            }
            step.marks.push(Mark::whole(span));
        }
        let continued = self.go_on(state, row, &mut step);
        if let Some(again) = continued {
            open = open.or(again);
        } else if state.context || seam || !self.users().is_empty() {
            open = self.glue(state, row, &findings, &mut step).or(open);
        }
        others(state, row, findings.device, &mut step);
        state.leave(row, &findings, seam, open);
        step
    }

    /// The secret of the row before, if it goes on here. The inner value is what goes on into the next row.
    fn go_on(&self, state: &mut RedactorState, row: &Row<'_>, step: &mut Step) -> Option<Option<Open>> {
        let open = state.open.take()?;
        let content = row.content();
        let run = open.next.alphabet.run(content);
        if run == 0 || !goes_on(open.next, open.cut, row.joined, content, run) {
            return None;
        }
        step.marks.push(Mark::more(row.body.start..row.body.start + run, open.kind.clone()));
        if run < content.len() {
            return Some(None);
        }
        Some(Some(Open::at(row, open.kind, open.next.after(run)).after(open.width)))
    }

    /// Reads the row glued to the end of the one before.
    fn glue(&self, state: &RedactorState, row: &Row<'_>, alone: &Findings, step: &mut Step) -> Option<Open> {
        let content = row.content();
        let head = &content[..content.floor_char_boundary(GLUED)];
        if state.tail.is_empty() || head.is_empty() {
            return None;
        }
        for separator in ["", " "] {
            let glued = [state.tail.as_str(), separator, head].concat();
            let (seam, from) = (state.tail.len(), state.tail.len() + separator.len());
            for span in self.find(&glued, glued.len()).spans {
                let Some(here) = accepted(state, row, &span, seam, from, head) else { continue };
                let mut range = row.body.start + here.start..row.body.start + here.end;
                if alone
                    .spans
                    .iter()
                    .any(|other| other.range.start <= range.start && other.range.end >= range.end)
                {
                    continue;
                }
                if here.end == head.len() && head.len() < content.len() {
                    let alphabet = span.next.map_or(Alphabet::Base64, |next| next.alphabet);
                    range.end += alphabet.run(&content[head.len()..]);
                }
                let back = seam.saturating_sub(span.range.start).min(state.of_last);
                let whole = Mark::whole(&span);
                let reaches = range.end == row.body.end;
                if back > 0 {
                    step.before = Some((back, whole));
                    step.marks.push(Mark::more(range, span.kind.clone()));
                } else {
                    step.marks.push(Mark { range, ..whole });
                }
                let open = span.next.filter(|_| reaches).map(|next| Open::at(row, span.kind, next));
                return open.map(|open| open.after(state.width));
            }
        }
        None
    }
}

/// What of this row a span of the glued text takes, if it is believed.
fn accepted(
    state: &RedactorState,
    row: &Row<'_>,
    span: &Span,
    seam: usize,
    from: usize,
    head: &str,
) -> Option<Range<usize>> {
    if span.range.end <= from {
        return None;
    }
    let cut = row.joined || state.cut != Cut::Unknown;
    if span.range.start >= seam {
        // The name stands in the row before, the value at the beginning of this one.
        let start = span.range.start.saturating_sub(from);
        let value = &head[start..span.range.end - from];
        // Further in, the name itself was parted.
        return (start > 2 || cut || random_looking(value)).then(|| start..span.range.end - from);
    }
    let here = 0..span.range.end - from;
    // What stood in the row above was too little to be a value.
    let little = seam - span.range.start < LITTLE;
    let next = span.next.unwrap_or(Next::of(Alphabet::Base64));
    let next = Next { short: next.short || little, ..next };
    // A token by its beginning has been believed as a whole.
    let token = span.rank > TOKEN_RANK;
    let userinfo = head[here.end..].starts_with('@');
    (token || userinfo || goes_on(next, state.cut, row.joined, head, here.end)).then_some(here)
}

/// Whether a secret goes on in the first `run` bytes of a row's content.
fn goes_on(next: Next, cut: Cut, joined: bool, content: &str, run: usize) -> bool {
    let word = &content[..run];
    let after = content[run..].chars().next();
    let alone = run == content.len();
    if joined || cut == Cut::Soft {
        return true;
    }
    let edge = cut == Cut::Edge;
    if next.quoted && (alone || matches!(after, Some('"' | '\'' | '`' | '\\'))) {
        return true;
    }
    match next.alphabet {
        Alphabet::Userinfo => return after == Some('@') || (alone && (edge || generated(word, alone))),
        Alphabet::Cookie => {
            let first = word.split([';', ' ']).next().unwrap_or("");
            let value = first.split_once('=').map_or(first, |(_, value)| value);
            return random_looking(first) || random_looking(value) || (edge && word.contains([';', '=']));
        }
        _ => {}
    }
    // The next line of a list of assignments, an address, a call.
    let inner = word.trim_end_matches('=').contains('=') || word.ends_with(':') || word.contains("://");
    if next.whole || inner || matches!(after, Some('=' | '(' | ':')) || masked(word) || reference(word) {
        return false;
    }
    if edge || next.short {
        return run >= 8 || alone || random_looking(word);
    }
    generated(word, alone)
}

/// Long enough to matter, and neither words nor a date nor a path. A hash or an id that begins a sentence is one.
fn generated(word: &str, alone: bool) -> bool {
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let bare = word.trim_end_matches(['.', ',', ';', ':']);
    let signs = word.contains(['!', '#', '$', '^', '*', '+', '@']) && bare.len() >= 8;
    if signs && word.bytes().any(|b| b.is_ascii_digit()) && letters >= 2 {
        return true;
    }
    let date = matches!(word.as_bytes(), [_, _, _, _, b'-', _, _, b'-', ..]);
    if alone
        && word.len() >= 8
        && letters >= 1
        && !simple_words(word)
        && !word.starts_with(['/', '.'])
        && !date
    {
        // A row of its own, right below a secret that reached the end of its row.
        return true;
    }
    word.len() >= 8
        && letters >= 3
        && random_looking(word)
        && (alone || !(hash_like(bare) || uuid_like(bare)))
        && !word.starts_with(['/', '.'])
        && !plain_words(word)
}

/// Reads the row as a part of an open private key. Whether that was all.
fn read_block(state: &mut RedactorState, row: &Row<'_>, step: &mut Step) -> bool {
    let Some(block) = &mut state.block else { return false };
    let read = block.read(row.text, &row.body);
    let mut mark = |range: Range<usize>, block: &mut Block| {
        let length = (!std::mem::replace(&mut block.named, true)).then_some(range.len());
        step.marks.push(Mark { length, why: INSIDE.into(), ..Mark::more(range, KEY_KIND.into()) });
    };
    match read {
        key::Row::Material(range) => {
            mark(range, block);
            true
        }
        key::Row::Nothing => false,
        key::Row::End(range) => {
            mark(range, block);
            state.block = None;
            false
        }
        key::Row::Outside => {
            state.block = None;
            false
        }
    }
}

const INSIDE: &str = "inside a private-key block";

/// Opens a private key where its head stands, and takes what of it is on this row.
fn open_block(state: &mut RedactorState, row: &Row<'_>, step: &mut Step) {
    if state.block.is_some() {
        return;
    }
    let content = row.content();
    let Some(head) = key::head(row.text, &row.body) else {
        let glued = [state.tail.as_str(), &content[..content.floor_char_boundary(2 * REACH)]].concat();
        let wrapped = !state.tail.contains("PRIVATE KEY") && !state.tail.contains("-----END");
        if wrapped && key::head(&glued, &(0..glued.len())).is_some() {
            state.block = Some(Block::default());
        } else if key::ends(content) {
            step.orphan = step.marks.is_empty();
        }
        return;
    };
    let mut block = Block::default();
    let inline = key::inline(&row.text[..row.body.end], &head);
    let at_end = head.end == row.body.end && !head.is_empty();
    if let Some(range) = inline.or_else(|| at_end.then(|| head.clone())) {
        block.named = true;
        let length = Some(range.len());
        let why = "a private key begins".into();
        step.marks.push(Mark { length, why, ..Mark::more(range, KEY_KIND.into()) });
    }
    let over = row.text[head.end..].contains("-----END");
    state.block = (!over).then_some(block);
}

/// Codes of device logins and passwords of `.netrc`, where the rows before announced them.
fn others(state: &mut RedactorState, row: &Row<'_>, device: bool, step: &mut Step) {
    if device {
        state.device = DEVICE_ROWS;
    }
    if state.device > 0 {
        state.device -= 1;
        for range in device_codes(row.text) {
            let (length, why) = (Some(range.len()), "a code for a device login".into());
            step.marks.push(Mark { length, why, ..Mark::more(range, "device-code".into()) });
        }
    }
    let content = row.content();
    if content.starts_with("machine ") || content.starts_with("default login ") {
        state.netrc = NETRC_ROWS;
    }
    if state.netrc > 0 {
        state.netrc -= 1;
        let value = content.strip_prefix("password ").map(|value| value.trim_start()).unwrap_or("");
        if value.len() >= 4 && !value.contains(char::is_whitespace) && !reference(value) && !masked(value) {
            let (length, why) = (Some(value.len()), "the password of a .netrc entry".into());
            let range = row.body.end - value.len()..row.body.end;
            step.marks.push(Mark { length, why, ..Mark::more(range, "netrc".into()) });
        }
    }
}

impl Open {
    fn at(row: &Row<'_>, kind: Cow<'static, str>, next: Next) -> Self {
        Self { kind, next, cut: row.cut, width: row.text[..row.body.end].width() }
    }

    /// Behind a row of this width: where both are the same, that is where the wrap is.
    fn after(mut self, width: usize) -> Self {
        if self.width == width && self.cut == Cut::Unknown {
            self.cut = Cut::Edge;
        }
        self
    }
}

impl Mark {
    fn whole(span: &Span) -> Self {
        let (kind, why) = (span.kind.clone(), span.why.clone());
        Self { range: span.range.clone(), kind, why, length: Some(span.range.len()) }
    }

    pub(super) fn more(range: Range<usize>, kind: Cow<'static, str>) -> Self {
        Self { range, kind, why: "goes on from the row above".into(), length: None }
    }
}

impl RedactorState {
    /// Keeps the last bytes of a row.
    fn keep(&mut self, row: &Row<'_>, bytes: usize) {
        let content = row.content();
        let from = content.ceil_char_boundary(content.len() - content.len().min(bytes));
        self.tail.clear();
        self.tail.push_str(&content[from..]);
        self.of_last = self.tail.len();
        self.context = false;
        self.cut = row.cut;
    }

    fn forget(&mut self) {
        self.tail.clear();
        (self.of_last, self.context, self.cut) = (0, false, Cut::Unknown);
    }

    /// What the row leaves to the next one.
    fn leave(&mut self, row: &Row<'_>, findings: &Findings, seam: bool, open: Option<Open>) {
        if open.is_some() {
            self.keep(row, REACH);
            self.open = open;
            return;
        }
        let near = findings.context.is_some_and(|at| at + TAIL > row.body.end);
        // A name in narrow rows: the row before may hold its beginning.
        let before = (self.context || seam).then(|| std::mem::take(&mut self.tail));
        self.keep(row, if near { TAIL } else { REACH });
        self.context = near;
        self.width = row.text[..row.body.end].width();
        if let Some(mut before) = before
            && self.tail.len() < 64
            && before.len() + self.tail.len() < TAIL
        {
            let parted = seam || before.ends_with(['/', '_', '-', '=', '.', ':', '&', '?']);
            before.push_str(if parted { "" } else { " " });
            before.push_str(&self.tail);
            self.tail = before;
            self.context = true;
        }
    }
}
