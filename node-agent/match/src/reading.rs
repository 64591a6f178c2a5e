//! What the hits of one look mean together: marks of compaction, the limit that holds, the dialog's kind.

use std::collections::BTreeMap;

use wa_proto::{AgentKind, EventKind, Witness};

use crate::composer::{self, Composer};
use crate::dialog::{self, Dialog};
use crate::look::Look;
use crate::observation::Detected;
use crate::presence::Match;
use crate::rules::{Engine, Hit, Rearm, Region};

/// Marks of different forms this near to each other are of one compaction.
const MARK_ROWS: usize = 8;
/// As much of the text below a mark is compared.
const BELOW_CHARS: usize = 80;
/// Milliseconds that a match must stand on a screen without a composer.
pub(crate) const HALF_DRAWN: u32 = 500;
/// How a dialog must stand, and be gone; its key is still to be said.
pub(crate) const DIALOG: Match = Match { key: 0, rearm: Rearm::Gone, cooldown: 300, hold: 150 };

/// Compaction marks: how many, the last of them, and the squeezed text below it.
pub(crate) struct Marks<'l> {
    pub(crate) count: u32,
    pub(crate) last: &'l Hit,
    pub(crate) below: String,
}

pub(crate) fn marks(look: &Look) -> Option<Marks<'_>> {
    marks_of(look, &look.hits)
}

/// The marks among these matches.
pub(crate) fn marks_of<'l>(look: &Look, hits: &'l [Hit]) -> Option<Marks<'l>> {
    let mut hits: Vec<&Hit> = hits.iter().filter(|hit| hit.event == EventKind::ContextCompacted).collect();
    hits.sort_by_key(|hit| hit.rows.start);
    let last = *hits.last()?;
    let together =
        |pair: &&[&Hit]| pair[0].rule != pair[1].rule && pair[1].rows.start - pair[0].rows.start <= MARK_ROWS;
    let joined = hits.windows(2).filter(together).count();
    let top = look.view.live_top.unwrap_or(look.sheet.rows.len());
    let below = (last.rows.end..top).flat_map(|row| look.sheet.text(row).chars());
    let below = below.filter(|c| !c.is_whitespace()).take(BELOW_CHARS).collect();
    Some(Marks { count: u32::try_from(hits.len() - joined).unwrap_or(u32::MAX), last, below })
}

/// The limit that holds now: its text is the last thing above the composer, or a footer or dialog says it.
pub(crate) fn limited(look: &Look) -> Option<&Hit> {
    let reached = look.hits.iter().filter(|hit| hit.event == EventKind::LimitReached);
    reached.filter(|hit| is_last(look, hit)).max_by_key(|hit| hit.rows.start)
}

/// A footer that speaks of a limit while the agent works is late: agents refresh it when a turn is over.
pub(crate) fn is_stale(engine: &Engine, look: &Look, hit: &Hit) -> bool {
    hit.event == EventKind::LimitReached
        && look.view.working.is_some()
        && engine.rule(hit.rule).is_some_and(|rule| rule.text.region == Region::Footer)
}

/// Whether the last submitted prompt is the last thing above the composer: nothing came back for it yet.
pub(crate) fn is_unanswered(look: &Look) -> bool {
    let (Some((row, _)), Some(top)) = (look.prompt, look.view.live_top) else { return false };
    let mut block = (String::new(), Vec::new());
    look.sheet.block(row, top, &mut block.0, &mut block.1);
    let words = block.0.trim_start_matches(['›', '>', '❯', '*', '!', ' ']);
    // Only an idle agent offers to go back to a prompt.
    let offers = |row: usize| look.sheet.text(row).contains("to edit previous message");
    // What is typed with a slash is done at once.
    !words.is_empty()
        && !look.view.footer.clone().any(offers)
        && !words.starts_with('/')
        && (row + block.1.len()..top).all(|row| look.sheet.is_blank(row))
}

/// Whether nothing but remarks stands between a hit and the live area.
fn is_last(look: &Look, hit: &Hit) -> bool {
    let top = look.view.live_top.unwrap_or(look.sheet.rows.len());
    // What it says goes on to the end of its block, though the rule may read only how it begins.
    let mut block = (String::new(), Vec::new());
    look.sheet.block(hit.rows.start, top, &mut block.0, &mut block.1);
    let end = hit.rows.end.max(hit.rows.start + block.1.len());
    let remarks = ["⎿", "/", "─", "✻", "Worked for", "✳", "✶"];
    (end..top).all(|row| {
        let text = look.sheet.text(row);
        text.is_empty()
            || look.sheet.rows[row].column >= 2
            || remarks.iter().any(|remark| text.starts_with(remark))
    })
}

/// The sign-in that an agent without a composer waits for: the last one on the screen, and nothing says how it ended.
pub(crate) fn authenticating(look: &Look) -> Option<&Hit> {
    let waits = |hit: &&Hit| matches!(hit.event, EventKind::AuthDeviceCode | EventKind::AuthRequired);
    let over = |hit: &&Hit| matches!(hit.event, EventKind::AuthSucceeded | EventKind::AuthFailed);
    let hit = look.hits.iter().filter(waits).max_by_key(|hit| hit.rows.start)?;
    let ended = look.hits.iter().filter(over).any(|end| end.rows.start >= hit.rows.end);
    let asks = look.view.content == Composer::Dialog && look.view.rows.contains(&hit.rows.start);
    let waits = asks || look.view.content == Composer::Missing;
    (!ended && look.agent.is_some() && waits).then_some(hit)
}

pub(crate) fn warning(look: &Look) -> Option<&Hit> {
    look.hits.iter().filter(|hit| hit.event == EventKind::LimitWarning).max_by_key(|hit| hit.rows.start)
}

/// The dialog on the screen, with the rule that knows it.
pub(crate) fn dialog(look: &Look) -> Option<(Dialog, Option<&Hit>)> {
    let dialog = dialog::read(&look.sheet, &look.view, look.cols)?;
    let hit = look.hits.iter().find(|hit| hit.event == EventKind::ApprovalRequested);
    Some((dialog, hit))
}

/// The event of a dialog that waits for a choice; `None` where there is nothing to choose (pickers, overlays).
pub(crate) fn approval(engine: &Engine, look: &Look) -> Option<(u64, Detected)> {
    let (dialog, hit) = dialog(look)?;
    // A dialog that signs in is told as that.
    let signs_in = |hit: &Hit| matches!(hit.event, EventKind::AuthRequired | EventKind::AuthSucceeded);
    let inside = |hit: &&Hit| look.view.rows.contains(&hit.rows.start) && signs_in(hit);
    if hit.is_none() && (!dialog.choices || look.hits.iter().any(|hit| inside(&hit))) {
        return None;
    }
    let mut event = match hit {
        Some(hit) => detected(engine, look, hit),
        None => Detected {
            kind: EventKind::ApprovalRequested,
            agent: look.agent.clone(),
            rule: String::new(),
            fields: [("kind".to_owned(), "dialog".to_owned())].into(),
            secrets: BTreeMap::new(),
            witnesses: witnesses(look),
            line: dialog.line.clone(),
            row: Some(dialog.row),
            stable_row: None,
        },
    };
    for (name, value) in dialog.fields {
        event.fields.entry(name).or_insert(value);
    }
    Some((dialog.key, event))
}

pub(crate) fn detected(engine: &Engine, look: &Look, hit: &Hit) -> Detected {
    Detected {
        kind: hit.event,
        agent: look.agent.clone().or_else(|| look.left.clone()),
        rule: engine.rule(hit.rule).map_or_else(String::new, |rule| rule.id.to_string()),
        fields: hit.fields.clone(),
        secrets: hit.secrets.clone(),
        witnesses: witnesses(look),
        line: hit.line.clone(),
        row: Some(hit.rows.start),
        stable_row: None,
    }
}

/// Who saw it: the screen, and the process table where it named the agent.
pub(crate) fn witnesses(look: &Look) -> Vec<Witness> {
    let mut all = vec![Witness::Screen];
    if look.by_process {
        all.push(Witness::Process);
    }
    all
}

/// Whether the witnesses that a rule needs are there.
pub(crate) fn is_witnessed(engine: &Engine, look: &Look, hit: &Hit) -> bool {
    lacking(engine, look, hit).is_empty()
}

/// The witnesses that a rule needs and that are not there, in words.
pub(crate) fn lacking(engine: &Engine, look: &Look, hit: &Hit) -> Vec<String> {
    let present = witnesses(look);
    let needed = engine.rule(hit.rule).map_or(&[][..], |rule| rule.witnesses());
    let lacking = needed.iter().filter(|witness| !present.contains(witness));
    lacking.map(|witness| format!("the witness {}", witness.as_str())).collect()
}

/// An event that a state or the process table tells, not a text.
pub(crate) fn derived(
    kind: EventKind,
    agent: Option<&AgentKind>,
    witnesses: Vec<Witness>,
    line: &str,
) -> Detected {
    Detected {
        kind,
        agent: agent.cloned(),
        rule: String::new(),
        fields: BTreeMap::new(),
        secrets: BTreeMap::new(),
        witnesses,
        line: line.to_owned(),
        row: None,
        stable_row: None,
    }
}

/// Composer or dialog stand on the screen: no half-drawn frame, as far as the agent's composer is known.
pub(crate) fn is_whole(look: &Look) -> bool {
    let known = look.agent.as_ref().is_some_and(composer::is_known);
    look.view.content != Composer::Missing || !known
}
