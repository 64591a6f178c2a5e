//! Brakes: how often a workflow may begin on a pane, and when it is stopped there, or everywhere.
//!
//! Constraints: a workflow that does harm does it to a few panes, not to the fleet; a pane that is broken stops what is done on
//! it, not on the others. So what ended badly is counted by pane. Where it was too often within a short time on one, the workflow
//! rests on that pane, and begins there again by itself: what is wrong with a pane passes. When it ended badly on too many panes, it
//! is the workflow that is wrong, or what all panes have in common: it is paused fleet-wide, in the commit that sees
//! it, and only a person takes that back. People are told of both, with the panes, and where it began as often as it may.

use jiff::SignedDuration;
use wa_proto::{Host, PaneRef, Timestamp};
use wa_workflow::{Definition, End, Level, Run, Status};

use crate::gate::{Scope, address};
use crate::store::{StoreError, Tx};

/// So many bad ends on one pane …
const ON_ONE_PANE: u64 = 5;
/// … within this time …
const WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// … have the workflow rest there for so long after the last of them.
const REST: SignedDuration = SignedDuration::from_hours(1);
/// Bad ends on so many panes, within the same time, pause a workflow everywhere.
const PANES: usize = 5;
/// Who pauses a workflow that ends badly too often.
const WHO: &str = "controller";

/// Why a run may not begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// People have been told, or said so themselves.
    Known(String),
    /// As many as may have begun there.
    TooOften { why: String, since: Timestamp },
}

impl Held {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Known(why) | Self::TooOften { why, .. } => why,
        }
    }

    /// Tells people what they do not know, once for each time that it counts over: else what gave up looks like what works.
    pub(super) fn tell(
        &self,
        tx: &Tx<'_>,
        workflow: &str,
        host: &Host,
        pane: &PaneRef,
    ) -> Result<(), StoreError> {
        let Self::TooOften { why, since } = self else { return Ok(()) };
        let place = address(host, pane);
        let text = format!("workflow {workflow} does not begin on {place}: {why}. See `wa run list {place}`");
        tx.notify_of_pane(workflow, host, pane, *since, &text)
    }
}

/// What keeps a workflow from beginning on a pane now, if anything does.
pub(super) fn holds_back(
    tx: &Tx<'_>,
    definition: &Definition,
    host: &Host,
    pane: &PaneRef,
) -> Result<Option<Held>, StoreError> {
    if tx.is_paused(&Scope::Workflow(definition.name.clone()).to_string())? {
        return Ok(Some(Held::Known("the workflow is paused".to_owned())));
    }
    if let Some(why) = rests(tx, &definition.name, host, pane)? {
        return Ok(Some(Held::Known(why)));
    }
    let Some(rate) = definition.max_runs else { return Ok(None) };
    let since = tx.now.saturating_sub(rate.per).unwrap_or(tx.now);
    let begun = tx.runs_begun(&definition.name, host, pane, since)?;
    let why = || format!("{begun} runs began on this pane within {:#}, and {} may", rate.per, rate.count);
    Ok((begun >= u64::from(rate.count)).then(|| Held::TooOften { why: why(), since }))
}

/// Why a workflow rests on a pane, if it does.
fn rests(tx: &Tx<'_>, workflow: &str, host: &Host, pane: &PaneRef) -> Result<Option<String>, StoreError> {
    let place = address(host, pane);
    let lately = tx.now.saturating_sub(REST).unwrap_or(tx.now);
    let Some(last) = tx.last_bad_end(workflow, &place, lately)? else { return Ok(None) };
    let over = last.saturating_add(REST).unwrap_or(last);
    let since = last.saturating_sub(WITHIN).unwrap_or(last);
    let bad = tx.bad_ends_on(workflow, &place, since)?;
    Ok((bad >= ON_ONE_PANE)
        .then(|| format!("it rests on this pane until {over:.0}: {bad} of its runs ended badly there")))
}

/// Looks at how a run ended: has its workflow rest on the pane, or pauses it, if that was one bad end too many.
pub(super) fn ended(tx: &Tx<'_>, run: &Run) -> Result<(), StoreError> {
    if !matches!(run.status, Status::Ended { end: End::Failed | End::Unknown, .. }) {
        return Ok(());
    }
    let name = &run.workflow;
    let scope = Scope::Workflow(name.clone());
    if tx.is_paused(&scope.to_string())? {
        return Ok(());
    }
    let since = tx.now.saturating_sub(WITHIN).unwrap_or(tx.now);
    let place = address(&run.trigger.host, &run.trigger.pane);
    if tx.bad_ends_on(name, &place, since)? == ON_ONE_PANE {
        let text = format!(
            "workflow {name} rests on {place} for {REST:#}: {ON_ONE_PANE} of its runs ended badly there within {WITHIN:#}. See \
             `wa run list {place}`"
        );
        tx.notify(run, Level::Warning, &text)?;
    }
    let panes = tx.panes_with_bad_ends(name, since)?;
    if panes.len() < PANES {
        return Ok(());
    }
    let named: Vec<String> = panes.iter().map(ToString::to_string).collect();
    let reason =
        format!("its runs ended badly on {} panes within {WITHIN:#}: {}", panes.len(), named.join(", "));
    tx.add_pause(&scope.to_string(), WHO, &reason)?;
    tx.tell_held(scope, WHO, &reason);
    tx.notify(
        run,
        Level::Error,
        &format!("workflow {name} is paused everywhere: {reason}. See `wa run list`, then `wa unpause --workflow {name}`"),
    )
}
