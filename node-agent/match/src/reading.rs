//! What the hits of one look mean together: marks of compaction, the limit that holds, the dialog's kind.

use std::collections::BTreeMap;

use wa_proto::{AgentKind, EventKind, Witness};

use crate::composer::{self, Composer};
use crate::dialog::{self, Dialog};
use crate::look::Look;
use crate::observation::Detected;
use crate::rules::{Engine, Hit};

/// Marks of different forms this near to each other are of one compaction.
const MARK_ROWS: usize = 8;
/// As much of the text below a mark is compared.
const BELOW_CHARS: usize = 80;

/// Compaction marks: how many, the last of them, and the squeezed text below it.
pub(crate) struct Marks<'l> {
    pub(crate) count: u32,
    pub(crate) last: &'l Hit,
    pub(crate) below: String,
}

pub(crate) fn marks(look: &Look) -> Option<Marks<'_>> {
    let mut hits: Vec<&Hit> =
        look.hits.iter().filter(|hit| hit.event == EventKind::ContextCompacted).collect();
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

/// Whether nothing but remarks stands between a hit and the live area.
fn is_last(look: &Look, hit: &Hit) -> bool {
    let top = look.view.live_top.unwrap_or(look.sheet.rows.len());
    let remarks = ["⎿", "/", "─", "✻", "Worked for", "✳", "✶"];
    (hit.rows.end..top).all(|row| {
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
    (!ended && look.agent.is_some() && look.view.content == Composer::Missing).then_some(hit)
}

pub(crate) fn warning(look: &Look) -> Option<&Hit> {
    look.hits.iter().filter(|hit| hit.event == EventKind::LimitWarning).max_by_key(|hit| hit.rows.start)
}

/// The dialog on the screen, with the rule that knows it.
pub(crate) fn dialog(look: &Look) -> Option<(Dialog, Option<&Hit>)> {
    let dialog = dialog::read(&look.sheet, &look.view)?;
    let hit = look.hits.iter().find(|hit| hit.event == EventKind::ApprovalRequested);
    Some((dialog, hit))
}

/// The event of a dialog that waits for a choice; `None` where there is nothing to choose (pickers, overlays).
pub(crate) fn approval(engine: &Engine, look: &Look) -> Option<(u64, Detected)> {
    let (dialog, hit) = dialog(look)?;
    if !dialog.choices && hit.is_none() {
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
        agent: look.agent.clone(),
        rule: engine.rule(hit.rule).map_or_else(String::new, |rule| rule.id.to_string()),
        fields: hit.fields.clone(),
        secrets: hit.secrets.clone(),
        witnesses: witnesses(look),
        line: hit.line.clone(),
        row: Some(hit.rows.start),
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
    let present = witnesses(look);
    engine.rule(hit.rule).is_some_and(|rule| rule.witnesses().iter().all(|witness| present.contains(witness)))
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
    }
}

/// Composer or dialog stand on the screen: no half-drawn frame, as far as the agent's composer is known.
pub(crate) fn is_whole(look: &Look) -> bool {
    let known = look.agent.as_ref().is_some_and(composer::is_known);
    look.view.content != Composer::Missing || !known
}
