//! Text: paste, see it, Enter, see it gone.
//!
//! Constraints (A2, A3): text goes only where it can be shown to go: into the empty composer of a known agent, or onto a
//! shell's prompt line. Enter is pressed only when a second fresh read shows exactly the pasted text, and not sooner than
//! agents can tell a paste from a key; again at most twice, and only while exactly that text still stands there.
//! `submitted` is what was seen: the composer emptied and the turn began or the prompt stands in the transcript; a
//! shell's cursor moved on.
//!
//! What happens within the last round trip cannot be kept away from, but it must not be claimed as a success either:
//! once something else was seen to stand there after Enter, nothing is pressed again, and only the prompt itself,
//! exactly, counts as a proof. An Enter that the server answered late, or after which anything but a newline in the
//! composer was drawn, may have gone into a dialog that nobody saw, although the text still stands there: it is not
//! pressed again either. Another process than the one that was typed to has proved nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use wa_match::{Composer, ComposerView, Foreground, Held, composer, shell};
use wa_mux::codec::{Key, KeyCode};
use wa_proto::{Action, AgentKind, OutcomeKind, PaneState};

use super::guard::{self, Sight};
use super::perform::Leave;
use super::prompts::Prompts;
use super::{End, Parts, line};
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
/// The text still stands there, and the agent has begun to work.
const BUSY: &str = "the agent works on something else";

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

/// Enter was pressed.
struct Entered {
    /// From the last look on.
    views: watch::Receiver<Arc<View>>,
    /// The answer came so soon that nothing can have stood there unseen for long.
    promptly: bool,
    /// What was drawn before it.
    drawn: u64,
    /// Rows of the composer that held the text then.
    rows: usize,
}

/// What a frame says of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
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
    let entered = press_enter(parts, action, leave, &target, text, None).await?;
    submitted(parts, action, leave, &target, text, entered).await
}

/// The composer or prompt that the text goes into, empty.
fn find_place(sight: &Sight, text: &str) -> Result<Place, End> {
    let view = &sight.view;
    if squeeze(text).is_empty() {
        return Err(End::refused(
            "the text holds nothing but blanks: whether it arrived could never be seen",
        ));
    }
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
    let row = line::stable(&view.frame, prompt.row);
    let cursor = line::stable(&view.frame, prompt.cursor.0);
    let prompt = line::up_to_cursor(&view.frame, row);
    if prompt.trim().is_empty() {
        return Err(End::refused("the shell shows no prompt: the cursor's line is empty"));
    }
    if line::asks_for_more(&prompt) {
        // What stands there may be anything; it is not quoted.
        return Err(End::refused(
            "the shell shows no prompt: it waits for the rest of a command, or a command of its own for an answer",
        ));
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
    if let Some(why) = not_ready(view, &kind) {
        return Err(End::refused(why));
    }
    if seen.shell_mode {
        return Err(End::refused(format!(
            "{kind}'s composer is in shell mode: the text would run as a command"
        )));
    }
    match &seen.content {
        // By its words alone a submitted prompt is a composer, and a draft a placeholder.
        Composer::Empty
            if !view.frame.cursor.visible && view.frame.rows.iter().all(|row| row.runs.is_empty()) =>
        {
            return Err(End::refused(format!(
                "{kind}'s screen shows neither a cursor nor any style: where its composer is cannot be told"
            )));
        }
        Composer::Empty => {}
        Composer::Draft { .. } | Composer::Paste { .. } => {
            return Err(End::refused(format!("a half-written draft stands in {kind}'s composer")));
        }
        Composer::Dialog => return Err(End::refused(dialog_of(&kind))),
        Composer::Missing => {
            return Err(End::refused(format!("no composer of {kind} is to be seen on the screen")));
        }
    }
    let was_working = view.state == PaneState::Working || seen.working.is_some();
    Ok(Place::Agent { before: Prompts::of(&view.frame, &seen, text), was_working, kind })
}

fn dialog_of(kind: &AgentKind) -> String {
    format!("a dialog of {kind} waits for an answer: its keys would answer that")
}

/// Why the agent takes no text, whatever its composer looks like: other witnesses than the screen say so, or it has only just
/// drawn it.
fn not_ready(view: &View, kind: &AgentKind) -> Option<String> {
    match view.state {
        PaneState::Waiting => Some(dialog_of(kind)),
        PaneState::Authenticating => Some(format!("a sign-in of {kind} waits there")),
        _ if *kind == AgentKind::codex() && is_loading(view) => {
            Some(format!("{kind} has drawn its composer, and takes no Enter yet: it is still starting"))
        }
        _ => None,
    }
}

/// Codex 0.169 draws a composer seconds before that takes an Enter, and has only this in its footer until then. From 0.53 on an
/// idle one always has more there; of older ones that is not known.
fn is_loading(view: &View) -> bool {
    let minor = view.foreground.version().split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let footer = composer::read(&view.frame, &AgentKind::codex()).footer;
    let mut rows = view.frame.rows.get(footer).unwrap_or_default().iter().map(|row| row.text.trim());
    minor.is_none_or(|minor| minor >= 53) && rows.next() == Some("? for shortcuts") && rows.next().is_none()
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

/// Enter, after a second guard: exactly the text stands there, and nothing else speaks against it. `before`: an Enter that
/// seems to be lost. Whoever has drawn anything since may have taken it, unless it was the composer, which took it for a
/// newline and has grown by it.
#[tracing::instrument(name = "enter", level = "info", skip_all)]
async fn press_enter(
    parts: &Parts,
    action: &Action,
    leave: &Leave,
    target: &Target,
    text: &str,
    before: Option<&Entered>,
) -> Result<Entered, End> {
    let not = |why: &str| End::unknown(format!("the text stands there, but Enter was not pressed: {why}"));
    // On record before the look, so that nothing but the round trip lies between the look and the key.
    parts.journal.entered(action.id, wa_link::clock::now()).await.map_err(|error| not(&error.to_string()))?;
    let sight = guard::look(parts, action, leave.allowed).await.map_err(|end| not(&end.reason))?;
    if !is_same(&target.holder, &sight.foreground) || target.leader != sight.leader {
        return Err(not(&format!("now {}", guard::describe(&sight.foreground))));
    }
    if let Place::Agent { kind, .. } = &target.place
        && let Some(why) = not_ready(&sight.view, kind)
    {
        return Err(not(&why));
    }
    match target.place.read(&sight.view, text) {
        Seen::Whole
            if before.is_some_and(|before| {
                before.drawn != sight.view.drawn && target.place.rows(&sight.view) <= before.rows
            }) =>
        {
            return Err(not("something was drawn after the first Enter, which may have gone elsewhere"));
        }
        Seen::Whole => {}
        Seen::Other(what) => return Err(not(what)),
        Seen::Nothing | Seen::Part | Seen::Gone | Seen::Cleared | Seen::Proven => {
            return Err(not("a second look does not show exactly the text"));
        }
    }
    let enter = Key::plain(KeyCode::Enter);
    let sent = Instant::now();
    let pressed = sight.client.send_key(action.pane.pane_id, enter).await;
    pressed.map_err(|error| End::unknown(format!("pressing Enter: {error}")))?;
    let (promptly, drawn) = (sent.elapsed() <= guard::PROMPT, sight.view.drawn);
    let rows = target.place.rows(&sight.view);
    Ok(Entered { views: sight.views, promptly, drawn, rows })
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
    mut entered: Entered,
) -> Result<End, End> {
    let until = Instant::now() + SEEN;
    let mut enters = 1;
    let mut again = Instant::now() + ENTER_AGAIN;
    let mut disturbed = None;
    loop {
        let view = Arc::clone(&entered.views.borrow_and_update());
        let seen = target.place.read(&view, text);
        match seen {
            Seen::Proven if disturbed != Some(BUSY) => return Ok(End::submitted(target.place.proof())),
            Seen::Gone if disturbed.is_none() => {
                if target.is_held(parts, &view, text).await {
                    return Ok(End::submitted(target.place.proof()));
                }
                disturbed = Some("another program holds the terminal");
            }
            // Whoever took that Enter, it was not the composer: what comes later proves nothing of it.
            Seen::Other(what) if disturbed != Some(BUSY) => disturbed = Some(what),
            Seen::Cleared if target.leads(parts, &view).await => {
                return Ok(End::submitted(target.place.proof()));
            }
            Seen::Cleared => disturbed = Some("another shell stands there"),
            Seen::Other(_) | Seen::Proven | Seen::Gone | Seen::Nothing | Seen::Whole | Seen::Part => {}
        }
        let now = Instant::now();
        if now >= until {
            return Err(End::unknown(format!(
                "Enter was pressed {enters} times, and 5 s later {}",
                left(&seen, disturbed, entered.promptly)
            )));
        }
        let may_again = seen == Seen::Whole && enters < MAX_ENTERS && disturbed.is_none() && entered.promptly;
        if may_again && now >= again {
            entered = press_enter(parts, action, leave, target, text, Some(&entered)).await?;
            enters += 1;
            again = Instant::now() + ENTER_AGAIN;
            continue;
        }
        let wake = if may_again { until.min(again) } else { until };
        if let Ok(Err(_)) = timeout_at(wake, entered.views.changed()).await {
            return Err(End::unknown("the pane went away after Enter was pressed"));
        }
    }
}

/// What there is when the time is over.
fn left(seen: &Seen, disturbed: Option<&str>, promptly: bool) -> String {
    let what = match (seen, disturbed) {
        (Seen::Whole, None) if promptly => "the text still stands there",
        (Seen::Whole, None) => {
            "the text still stands there, but the mux server answered that Enter late: it may have gone elsewhere"
        }
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
            Self::Shell { row, prompt, cursor } => line::read(&view.frame, *row, prompt, *cursor, text),
        }
    }

    /// Rows of the composer; a shell's line has none.
    fn rows(&self, view: &View) -> usize {
        match self {
            Self::Agent { kind, .. } => composer::read(&view.frame, kind).rows.len(),
            Self::Shell { .. } => 0,
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
        (Held::All, _) if working => Seen::Other(BUSY),
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

/// Blanks do not count: wraps eat them.
pub(super) fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}
