//! Text: paste, see it, Enter, see it gone.
//!
//! Constraints (A2, A3): text goes only where it can be shown to go: into the empty composer of a known agent, or onto a
//! shell's prompt line. Enter is pressed only when a second fresh read shows exactly the pasted text, and not sooner than
//! agents can tell a paste from a key; again at most twice, and only while exactly that text still stands there.
//! `submitted` is what was seen: the composer emptied and the turn began or the prompt stands in the transcript; a
//! shell's cursor moved on.
//!
//! What happens within the last round trip cannot be kept away from, but it must not be claimed as a success either: once
//! something else was seen to stand there after Enter, nothing is pressed again, and only the prompt itself, exactly, counts
//! as a proof. Another process than the one that was typed to has proved nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use wa_match::{Composer, ComposerView, Foreground, Held, composer, shell};
use wa_mux::codec::{Key, KeyCode};
use wa_proto::{Action, AgentKind, Frame, FrameRow, OutcomeKind, PaneState};

use super::guard::{self, Sight};
use super::perform::Leave;
use super::{End, Parts};
use crate::observer::View;
use crate::process::ProcessId;

/// What was sent must show within this time.
const SEEN: Duration = Duration::from_secs(5);
/// An agent takes an Enter sooner after a burst for a newline.
const AGENT_GAP: Duration = Duration::from_millis(250);
const SHELL_GAP: Duration = Duration::from_millis(50);
/// The text still stands there: Enter did not arrive.
const ENTER_AGAIN: Duration = Duration::from_millis(1500);
const MAX_ENTERS: u32 = 3;
/// Cells of a prompt by which it is found again in the transcript.
const PROMPT_HEAD: usize = 40;

/// Where the text goes, and who holds the terminal there.
struct Target {
    place: Place,
    holder: Foreground,
    leader: Option<ProcessId>,
}

enum Place {
    Agent {
        kind: AgentKind,
        before: Prompts,
        was_working: bool,
    },
    /// Stable row of the prompt, its text up to the cursor, and the cursor's stable row.
    Shell {
        row: i64,
        prompt: String,
        cursor: i64,
    },
}

/// What a frame says of the text.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// All of it, and nothing else.
    Whole,
    /// It cannot all be seen.
    Part,
    /// It no longer stands there, and the program has gone on.
    Gone,
    /// As that, but nothing of it is to be seen any more.
    Cleared,
    /// It has been submitted: exactly the text stands in the transcript as one more prompt.
    Proven,
    /// Something else stands there.
    Other(&'static str),
}

pub(super) async fn send(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    sight: &Sight,
    text: &str,
    enter: bool,
) -> Result<End, End> {
    let (place, holder) = (find_place(sight, text)?, sight.foreground.clone());
    let target = Target { place, holder, leader: sight.leader };
    let pane_id = action.pane.pane_id;
    let mut views = sight.views.clone();
    leave.holds()?;
    let pasted = paste(sight, pane_id, &target.place, text, &mut views).await?;
    if !enter {
        return Ok(End::new(OutcomeKind::Placed, "the text stands there; Enter was not asked for"));
    }
    let gap = if matches!(target.place, Place::Agent { .. }) { AGENT_GAP } else { SHELL_GAP };
    tokio::time::sleep_until(pasted + gap).await;
    let mut views = press_enter(parts, action, leave, &target, text).await?;
    submitted(parts, action, leave, &target, text, &mut views).await
}

/// The composer or prompt that the text goes into, empty.
fn find_place(sight: &Sight, text: &str) -> Result<Place, End> {
    let view = &sight.view;
    let agent = match &sight.foreground {
        Foreground::Agent { kind, .. } => Some(kind.clone()),
        Foreground::Remote { .. } => view.agent.clone(),
        _ => None,
    };
    if let Some(kind) = agent {
        return find_composer(view, kind, text);
    }
    if !matches!(sight.foreground, Foreground::Shell { .. } | Foreground::Remote { .. }) {
        let what = guard::describe(&sight.foreground);
        return Err(End::refused(format!(
            "{what}: text goes only into an agent's composer or a shell's prompt"
        )));
    }
    if text.contains(['\n', '\t']) {
        return Err(End::refused(
            "text with a newline or tab goes only into a recognised composer, and here is a shell",
        ));
    }
    let prompt = shell::prompt_row(&view.frame)
        .ok_or_else(|| End::refused("the shell shows no prompt: its cursor is hidden or off the screen"))?;
    let row = stable(&view.frame, prompt.row);
    let cursor = stable(&view.frame, prompt.cursor.0);
    let prompt = up_to_cursor(&view.frame, row);
    if prompt.trim().is_empty() {
        return Err(End::refused("the shell shows no prompt: the cursor's line is empty"));
    }
    if shell::holds_draft(&prompt) {
        return Err(End::refused(
            "a half-written command stands on the shell's line: finish it, or clear it with C-u or C-c",
        ));
    }
    Ok(Place::Shell { row, prompt, cursor })
}

fn find_composer(view: &View, kind: AgentKind, text: &str) -> Result<Place, End> {
    let seen = composer::read(&view.frame, &kind);
    if seen.shell_mode {
        return Err(End::refused(format!(
            "{kind}'s composer is in shell mode: the text would run as a command"
        )));
    }
    match &seen.content {
        Composer::Empty => {}
        Composer::Draft { .. } | Composer::Paste { .. } => {
            return Err(End::refused(format!("a half-written draft stands in {kind}'s composer")));
        }
        Composer::Dialog => {
            return Err(End::refused(format!(
                "a dialog of {kind} waits for an answer: its keys would answer that"
            )));
        }
        Composer::Missing => {
            return Err(End::refused(format!("no composer of {kind} is to be seen on the screen")));
        }
    }
    let was_working = view.state == PaneState::Working || seen.working.is_some();
    Ok(Place::Agent { before: Prompts::of(&view.frame, &seen, text), was_working, kind })
}

/// Pastes, and sees the text stand there. Returns when it was sent.
#[tracing::instrument(name = "paste", level = "info", skip_all)]
async fn paste(
    sight: &Sight,
    pane_id: u64,
    place: &Place,
    text: &str,
    views: &mut watch::Receiver<Arc<View>>,
) -> Result<Instant, End> {
    let sent = sight.client.send_paste(pane_id, text).await;
    sent.map_err(|error| End::unknown(format!("pasting: {error}")))?;
    let pasted = Instant::now();
    wait_for_paste(views, place, text, pasted + SEEN).await?;
    Ok(pasted)
}

/// Waits until the pasted text is there, whole.
async fn wait_for_paste(
    views: &mut watch::Receiver<Arc<View>>,
    place: &Place,
    text: &str,
    until: Instant,
) -> Result<(), End> {
    let mut last = Seen::Nothing;
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        match place.read(&view, text) {
            Seen::Whole => return Ok(()),
            seen => last = if seen == Seen::Nothing { last } else { seen },
        }
        match timeout_at(until, views.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(End::unknown("the pane went away while the text was being pasted")),
            Err(_) => break,
        }
    }
    Err(End::unknown(match last {
        Seen::Part => "the composer shows only part of the text, so Enter was not pressed: look at the pane",
        Seen::Nothing => {
            "the pasted text did not show within 5 s, so Enter was not pressed: look at the pane"
        }
        _ => "the composer does not show exactly the pasted text, so Enter was not pressed: look at the pane",
    }))
}

/// Enter, after a second guard: exactly the text stands there, and nothing else speaks against it. The views from then on.
#[tracing::instrument(name = "enter", level = "info", skip_all)]
async fn press_enter(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    target: &Target,
    text: &str,
) -> Result<watch::Receiver<Arc<View>>, End> {
    let not = |why: &str| End::unknown(format!("the text stands there, but Enter was not pressed: {why}"));
    // On record before the look, so that nothing but the round trip lies between the look and the key.
    parts.journal.entered(action.id, wa_link::clock::now()).await.map_err(|error| not(&error.to_string()))?;
    let sight = guard::look(parts, action, leave.allowed).await.map_err(|end| not(&end.reason))?;
    if !is_same(&target.holder, &sight.foreground) || target.leader != sight.leader {
        return Err(not(&format!("now {}", guard::describe(&sight.foreground))));
    }
    match target.place.read(&sight.view, text) {
        Seen::Whole => {}
        Seen::Other(what) => return Err(not(what)),
        Seen::Nothing | Seen::Part | Seen::Gone | Seen::Cleared | Seen::Proven => {
            return Err(not("a second look does not show exactly the text"));
        }
    }
    let enter = Key::plain(KeyCode::Enter);
    let pressed = sight.client.send_key(action.pane.pane_id, enter).await;
    pressed.map_err(|error| End::unknown(format!("pressing Enter: {error}")))?;
    Ok(sight.views)
}

/// Whether it is the same program, as far as each can be told.
fn is_same(before: &Foreground, now: &Foreground) -> bool {
    match (before, now) {
        (Foreground::Agent { kind, pid, .. }, Foreground::Agent { kind: other, pid: now, .. }) => {
            kind == other && pid == now
        }
        (before, now) => before == now,
    }
}

/// Waits until it is seen that the text was taken; presses Enter again while exactly the text still stands there.
#[tracing::instrument(name = "verify", level = "info", skip_all)]
async fn submitted(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    target: &Target,
    text: &str,
    views: &mut watch::Receiver<Arc<View>>,
) -> Result<End, End> {
    let until = Instant::now() + SEEN;
    let mut enters = 1;
    let mut again = Instant::now() + ENTER_AGAIN;
    let mut disturbed = None;
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let seen = target.place.read(&view, text);
        match seen {
            Seen::Proven => return Ok(End::submitted(target.place.proof())),
            Seen::Gone if disturbed.is_none() => {
                if target.is_held(parts, &view, text).await {
                    return Ok(End::submitted(target.place.proof()));
                }
                disturbed = Some("another program holds the terminal");
            }
            Seen::Other(what) => disturbed = Some(what),
            Seen::Cleared if target.leads(parts, &view).await => {
                return Ok(End::submitted(target.place.proof()));
            }
            Seen::Cleared => disturbed = Some("another shell stands there"),
            Seen::Gone | Seen::Nothing | Seen::Whole | Seen::Part => {}
        }
        let now = Instant::now();
        if now >= until {
            return Err(End::unknown(format!(
                "Enter was pressed {enters} times, and 5 s later {}",
                left(&seen, disturbed)
            )));
        }
        let may_again = seen == Seen::Whole && enters < MAX_ENTERS && disturbed.is_none();
        if may_again && now >= again {
            *views = press_enter(parts, action, leave, target, text).await?;
            enters += 1;
            again = Instant::now() + ENTER_AGAIN;
            continue;
        }
        let wake = if may_again { until.min(again) } else { until };
        if let Ok(Err(_)) = timeout_at(wake, views.changed()).await {
            return Err(End::unknown("the pane went away after Enter was pressed"));
        }
    }
}

/// What there is when the time is over.
fn left(seen: &Seen, disturbed: Option<&str>) -> String {
    let what = match (seen, disturbed) {
        (Seen::Whole, None) => "the text still stands there",
        (_, None) => "there is no sign that it was taken",
        (Seen::Whole, Some(what)) => {
            return format!("the text still stands there, and meanwhile {what}: look at the pane");
        }
        (_, Some(what)) => {
            return format!("there is no proof that it was taken alone, for {what}: look at the pane");
        }
    };
    format!("{what}: look at the pane")
}

impl Target {
    /// The program that was typed to still holds the terminal, or it left because it was told to.
    async fn is_held(&self, parts: &Parts, view: &Arc<View>, text: &str) -> bool {
        if !matches!(self.place, Place::Agent { .. }) {
            return true;
        }
        let (now, _) = guard::holder(parts, view).await;
        is_same(&self.holder, &now) || (is_farewell(text) && matches!(now, Foreground::Shell { .. }))
    }

    /// No other shell has taken the place of the one that was typed to.
    async fn leads(&self, parts: &Parts, view: &Arc<View>) -> bool {
        let (now, leader) = guard::holder(parts, view).await;
        !matches!(now, Foreground::Shell { .. }) || leader == self.leader
    }
}

/// `/quit` and its like.
fn is_farewell(text: &str) -> bool {
    let word = text.trim();
    word.starts_with('/') || ["exit", "quit", ":q"].contains(&word)
}

impl Place {
    fn read(&self, view: &View, text: &str) -> Seen {
        match self {
            Self::Agent { kind, before, was_working } => {
                let composer = composer::read(&view.frame, kind);
                read_composer(view, &composer, text, *before, *was_working)
            }
            Self::Shell { row, prompt, cursor } => read_shell(&view.frame, *row, prompt, *cursor, text),
        }
    }

    fn proof(&self) -> &'static str {
        match self {
            Self::Agent { .. } => {
                "the composer took the text, and the turn began, the prompt stands in the transcript or the agent left"
            }
            Self::Shell { .. } => "the shell echoed the text and its cursor moved on",
        }
    }
}

fn read_composer(
    view: &View,
    composer: &ComposerView,
    text: &str,
    before: Prompts,
    was_working: bool,
) -> Seen {
    if composer.shell_mode {
        return Seen::Other("the composer is in shell mode");
    }
    let now = Prompts::of(&view.frame, composer, text);
    // `/quit` and its like leave no prompt in the transcript: the agent itself has gone.
    let left = is_farewell(text) && matches!(view.foreground, Foreground::Shell { .. });
    let working = !was_working && (view.state == PaneState::Working || composer.working.is_some());
    match (composer.holds(text), &composer.content) {
        // A dialog that came up in the meantime has taken the Enter.
        (Held::All, _) if working => Seen::Other("the agent works on something else"),
        (Held::All, _) => Seen::Whole,
        (Held::VisiblePart, _) => Seen::Part,
        (Held::No, Composer::Draft { .. } | Composer::Paste { .. }) => {
            Seen::Other("something else stands in the composer")
        }
        (Held::No, _) if now.exact > before.exact => Seen::Proven,
        (Held::No, _) if now.longer > before.longer => Seen::Other("the prompt is not exactly the text"),
        (Held::No, Composer::Dialog) if working || left => Seen::Other("a dialog has opened"),
        (Held::No, _) if working || left => Seen::Gone,
        (Held::No, Composer::Dialog) => Seen::Other("a dialog has opened"),
        (Held::No, _) => Seen::Nothing,
    }
}

/// How often the text stands on the screen outside of the composer, as a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prompts {
    exact: usize,
    /// It begins like the text, and is not it.
    longer: usize,
}

impl Prompts {
    fn of(frame: &Frame, composer: &ComposerView, text: &str) -> Self {
        let wanted = squeeze(text);
        // Agents may fold what is long.
        let head: String = squeeze(text.lines().find(|line| !line.trim().is_empty()).unwrap_or(text))
            .chars()
            .take(PROMPT_HEAD.min((frame.cols as usize).saturating_sub(8)))
            .collect();
        let mut prompts = Self { exact: 0, longer: 0 };
        if head.is_empty() {
            return prompts;
        }
        let rows: Vec<String> = frame.rows.iter().map(|row| squeeze(&row.text)).collect();
        // A note at the right edge stands apart.
        let noteless =
            |row: &FrameRow| squeeze(row.text.trim_end().rsplit_once("   ").map_or("", |(text, _)| text));
        for at in (0..rows.len()).filter(|at| !composer.rows.contains(at)) {
            let Some(found) = rows[at].find(&head) else { continue };
            // Before it stands a glyph or a border, not words.
            if rows[at][..found].chars().any(char::is_alphanumeric) {
                continue;
            }
            let end = if at < composer.rows.start { composer.rows.start } else { rows.len() };
            let alone = || noteless(&frame.rows[at]).get(found..).is_some_and(|text| text == wanted);
            if is_prompt(&rows[at..end], found, &wanted, &head) || alone() {
                prompts.exact += 1;
            } else {
                prompts.longer += 1;
            }
        }
        prompts
    }
}

/// Whether the rows, from this byte of the first on, hold the wanted text and no more of their own, or an end of it that was
/// folded.
fn is_prompt(rows: &[String], from: usize, wanted: &str, head: &str) -> bool {
    let mut seen = String::new();
    for (at, row) in rows.iter().enumerate() {
        let row = if at == 0 { &row[from..] } else { row.as_str() };
        // The other side of a box.
        let row = row.trim_end_matches('│').trim_start_matches('│');
        if row.is_empty() {
            break;
        }
        seen.push_str(row);
        if seen == wanted {
            return true;
        }
        if !wanted.starts_with(&seen) {
            return false;
        }
    }
    seen.len() >= head.len()
}

fn read_shell(frame: &Frame, row: i64, prompt: &str, cursor: i64, text: &str) -> Seen {
    let Ok(at) = usize::try_from(frame.cursor.row) else {
        return Seen::Other("the cursor has left the screen");
    };
    let on_the_line = row_index(frame, row).is_none_or(|start| is_one_line(frame, start, at));
    let wanted = squeeze(prompt) + &squeeze(text);
    let now = squeeze(&up_to_cursor(frame, row));
    if on_the_line && now == wanted {
        return Seen::Whole;
    }
    if now == squeeze(prompt) && stable(frame, at) == cursor {
        return Seen::Nothing;
    }
    if stable(frame, at) == cursor {
        return Seen::Other("the prompt line holds something else");
    }
    // The cursor stands below the line that holds the text, or a command has cleared the screen and it stands above.
    let line = row_index(frame, row).filter(|start| *start <= at);
    match line.map(|start| echo(&frame.rows[start..at.min(frame.rows.len())], &squeeze(text))) {
        None => Seen::Cleared,
        Some(Echo::Alone) => Seen::Gone,
        Some(Echo::Longer) => Seen::Other("the line that ran is not exactly the text"),
        Some(Echo::Missing) if frame.alternate => Seen::Gone,
        Some(Echo::Missing) => Seen::Other("the prompt line holds something else"),
    }
}

/// How a text stands in the line that a shell has taken.
enum Echo {
    /// It ends its row, but for a note at the right edge.
    Alone,
    Longer,
    Missing,
}

fn echo(rows: &[FrameRow], wanted: &str) -> Echo {
    let mut line = String::new();
    for row in rows {
        line.push_str(&squeeze(&row.text));
        let Some(at) = line.find(wanted) else { continue };
        let more = &line[at + wanted.len()..];
        let note = row.text.trim_end().rsplit_once("   ").map_or("", |(_, note)| note);
        return if more.is_empty() || squeeze(note) == more { Echo::Alone } else { Echo::Longer };
    }
    Echo::Missing
}

/// Whether the rows before the cursor's are filled to the edge, so that all of them are one line that goes on. The
/// cursor below a row that ends early stands on another line: a command that prints nothing yet has been taken, and one
/// more Enter would go to it.
fn is_one_line(frame: &Frame, start: usize, at: usize) -> bool {
    let cells = |row: &FrameRow| -> u32 {
        row.text.chars().map(|c| wa_mux::codec::cell_width(c.encode_utf8(&mut [0; 4]))).sum()
    };
    let mut before = frame.rows.get(start..at.min(frame.rows.len())).into_iter().flatten();
    before.all(|row| row.wrapped || cells(row) >= frame.cols)
}

/// What stands from a stable row to the cursor.
fn up_to_cursor(frame: &Frame, row: i64) -> String {
    let Ok(at) = usize::try_from(frame.cursor.row) else { return String::new() };
    let start = row_index(frame, row).unwrap_or(0);
    if start > at {
        return String::new();
    }
    let mut text = join(frame, start, at);
    let Some(last) = frame.rows.get(at) else { return text };
    let mut cells = 0_u32;
    for c in last.text.chars() {
        if cells >= frame.cursor.col {
            break;
        }
        text.push(c);
        cells += wa_mux::codec::cell_width(c.encode_utf8(&mut [0; 4]));
    }
    text
}

/// The rows `start..end`, joined.
fn join(frame: &Frame, start: usize, end: usize) -> String {
    frame
        .rows
        .get(start..end.min(frame.rows.len()))
        .into_iter()
        .flatten()
        .map(|row| row.text.as_str())
        .collect()
}

fn stable(frame: &Frame, row: usize) -> i64 {
    frame.first_row.saturating_add(i64::try_from(row).unwrap_or(i64::MAX))
}

fn row_index(frame: &Frame, row: i64) -> Option<usize> {
    usize::try_from(row.checked_sub(frame.first_row)?).ok().filter(|at| *at < frame.rows.len())
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::Cursor;

    fn frame(first_row: i64, rows: &[&str], cursor: (i64, u32)) -> Frame {
        Frame {
            cols: 20,
            rows: rows.iter().map(|row| FrameRow::plain(*row)).collect(),
            first_row,
            cursor: Cursor { row: cursor.0, col: cursor.1, visible: true },
            alternate: false,
        }
    }

    #[test]
    fn a_shell_line_is_followed_from_prompt_to_output() {
        // A right-hand prompt stands behind the cursor all the time.
        let before = frame(10, &["out", "$       12:00"], (1, 2));
        let prompt = up_to_cursor(&before, 11);
        assert_eq!(prompt, "$ ");
        let read = |frame: &Frame| read_shell(frame, 11, &prompt, 11, "echo hi");
        assert_eq!(read(&before), Seen::Nothing);
        assert_eq!(
            read(&frame(10, &["out", "$ echo"], (1, 6))),
            Seen::Other("the prompt line holds something else")
        );
        assert_eq!(read(&frame(10, &["out", "$ echo hi   12:00"], (1, 9))), Seen::Whole);
        assert_eq!(read(&frame(10, &["out", "$ echo hi", "hi", "$ "], (3, 2))), Seen::Gone);
        // Scrolled: the prompt line has left the screen.
        assert_eq!(read(&frame(14, &["hi", "$ "], (1, 2))), Seen::Cleared);
    }

    #[test]
    fn a_command_that_prints_nothing_yet_was_taken() {
        let quiet = frame(10, &["$ sleep 5", ""], (1, 0));
        assert_eq!(read_shell(&quiet, 10, "$ ", 10, "sleep 5"), Seen::Gone);
        // Right at the edge the cursor waits on the next row before Enter, and on the one after that behind it.
        let edge = frame(10, &["$ 0123456789abcdefgh", ""], (1, 0));
        assert_eq!(read_shell(&edge, 10, "$ ", 10, "0123456789abcdefgh"), Seen::Whole);
        let taken = frame(10, &["$ 0123456789abcdefgh", "", ""], (2, 0));
        assert_eq!(read_shell(&taken, 10, "$ ", 10, "0123456789abcdefgh"), Seen::Gone);
    }

    #[test]
    fn a_command_that_clears_the_screen_was_taken() {
        let cleared = frame(10, &["$ ", "", ""], (0, 2));
        assert_eq!(read_shell(&cleared, 12, "$ ", 12, "clear"), Seen::Cleared);
    }

    #[test]
    fn a_wrapped_command_is_read_over_its_rows() {
        let long = "0123456789abcdefghij-and-more";
        let after = frame(10, &["$ 0123456789abcdefgh", "ij-and-more"], (1, 11));
        assert_eq!(read_shell(&after, 10, "$ ", 10, long), Seen::Whole);
        let changed = frame(10, &["$ 0123456789abcdefgh", "ij-and-mor"], (1, 10));
        assert_ne!(read_shell(&changed, 10, "$ ", 10, long), Seen::Whole);
    }
}
