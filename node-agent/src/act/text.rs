//! Text: paste, see it, Enter, see it gone.
//!
//! Constraints (A2, A3): text goes only where it can be shown to go: into the empty composer of a known agent, or onto a
//! shell's prompt line. Enter is pressed only when a second fresh read shows exactly the pasted text, and not sooner than
//! agents can tell a paste from a key; again at most twice, and only while exactly that text still stands there.
//! `submitted` is what was seen: the composer emptied and the turn began or the prompt stands in the transcript; a
//! shell's cursor moved on.

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

/// Where the text goes.
enum Place {
    Agent {
        kind: AgentKind,
        before: usize,
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
    /// It has been submitted.
    Gone,
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
    let place = find_place(sight, text)?;
    let pane_id = action.pane.pane_id;
    let mut views = sight.mux.follow(pane_id).await.ok_or_else(|| End::refused("the pane is gone"))?;
    leave.fresh(parts, action).await?;
    let pasted = paste(sight, pane_id, &place, text, &mut views).await?;
    if !enter {
        return Ok(End::new(OutcomeKind::Placed, "the text stands there; Enter was not asked for"));
    }
    let gap = if matches!(place, Place::Agent { .. }) { AGENT_GAP } else { SHELL_GAP };
    tokio::time::sleep_until(pasted + gap).await;
    press_enter(parts, action, leave, &place, text).await?;
    submitted(parts, action, leave, &place, text, &mut views).await
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
    Ok(Place::Agent { before: standing(&view.frame, &seen, text), was_working, kind })
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

/// Enter, after a second guard: exactly the text stands there, and nothing else speaks against it.
#[tracing::instrument(name = "enter", level = "info", skip_all)]
async fn press_enter(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    place: &Place,
    text: &str,
) -> Result<(), End> {
    let not = |why: &str| End::unknown(format!("the text stands there, but Enter was not pressed: {why}"));
    let sight = guard::look(parts, action, leave.allowed).await.map_err(|end| not(&end.reason))?;
    match place.read(&sight.view, text) {
        Seen::Whole => {}
        Seen::Other(what) => return Err(not(what)),
        Seen::Nothing | Seen::Part | Seen::Gone => {
            return Err(not("a second look does not show exactly the text"));
        }
    }
    parts.journal.entered(action.id, wa_link::clock::now()).await.map_err(|error| not(&error.to_string()))?;
    let enter = Key::plain(KeyCode::Enter);
    let pressed = sight.client.send_key(action.pane.pane_id, enter).await;
    pressed.map(|_| ()).map_err(|error| End::unknown(format!("pressing Enter: {error}")))
}

/// Waits until it is seen that the text was taken; presses Enter again while exactly the text still stands there.
#[tracing::instrument(name = "verify", level = "info", skip_all)]
async fn submitted(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    place: &Place,
    text: &str,
    views: &mut watch::Receiver<Arc<View>>,
) -> Result<End, End> {
    let until = Instant::now() + SEEN;
    let mut enters = 1;
    let mut again = Instant::now() + ENTER_AGAIN;
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let seen = place.read(&view, text);
        if seen == Seen::Gone {
            return Ok(End::submitted(place.proof()));
        }
        let now = Instant::now();
        if now >= until {
            let what =
                if seen == Seen::Whole { "the text still stands there" } else { "no sign that it was taken" };
            return Err(End::unknown(format!(
                "Enter was pressed {enters} times, and 5 s later there is {what}: look at the pane"
            )));
        }
        if seen == Seen::Whole && enters < MAX_ENTERS && now >= again {
            press_enter(parts, action, leave, place, text).await?;
            enters += 1;
            again = Instant::now() + ENTER_AGAIN;
            continue;
        }
        let wake = if seen == Seen::Whole && enters < MAX_ENTERS { until.min(again) } else { until };
        if let Ok(Err(_)) = timeout_at(wake, views.changed()).await {
            return Err(End::unknown("the pane went away after Enter was pressed"));
        }
    }
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

fn read_composer(view: &View, composer: &ComposerView, text: &str, before: usize, was_working: bool) -> Seen {
    if composer.shell_mode {
        return Seen::Other("the composer is in shell mode now");
    }
    let standing = standing(&view.frame, composer, text) > before;
    // `/quit` and its like leave no prompt in the transcript: the agent itself has gone.
    let left = matches!(view.foreground, Foreground::Shell { .. });
    let working = !was_working && (view.state == PaneState::Working || composer.working.is_some());
    match (composer.holds(text), &composer.content) {
        (Held::All, _) => Seen::Whole,
        (Held::VisiblePart, _) => Seen::Part,
        (Held::No, Composer::Draft { .. } | Composer::Paste { .. }) => {
            Seen::Other("something else stands in the composer")
        }
        (Held::No, _) if standing || working || left => Seen::Gone,
        (Held::No, Composer::Dialog) => Seen::Other("a dialog has opened"),
        (Held::No, _) => Seen::Nothing,
    }
}

/// How often the beginning of the text stands on the screen outside of the composer.
fn standing(frame: &Frame, composer: &ComposerView, text: &str) -> usize {
    let head: String = squeeze(text.lines().find(|line| !line.trim().is_empty()).unwrap_or(text))
        .chars()
        .take(PROMPT_HEAD.min((frame.cols as usize).saturating_sub(8)))
        .collect();
    if head.is_empty() {
        return 0;
    }
    let outside = frame.rows.iter().enumerate().filter(|(at, _)| !composer.rows.contains(at));
    outside.filter(|(_, row)| squeeze(&row.text).contains(&head)).count()
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
    // The cursor stands below the line that holds the text, or a command has cleared the screen and it stands above.
    let line =
        row_index(frame, row).filter(|start| *start <= at).map(|start| squeeze(&join(frame, start, at)));
    let echoed = line.is_none_or(|line| line.contains(&squeeze(text)));
    if stable(frame, at) != cursor && (echoed || frame.alternate) {
        Seen::Gone
    } else {
        Seen::Other("the prompt line holds something else")
    }
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
        assert_eq!(read(&frame(14, &["hi", "$ "], (1, 2))), Seen::Gone);
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
        assert_eq!(read_shell(&cleared, 12, "$ ", 12, "clear"), Seen::Gone);
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
