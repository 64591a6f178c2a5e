//! Brakes: how often a workflow may begin on a pane, and when it is stopped everywhere.
//!
//! Constraints: a workflow that does harm does it to a few panes, not to the fleet. One that ends badly on too many panes
//! within a short time is paused fleet-wide, in the commit that sees it, and people are told; only a person takes that back.

use jiff::SignedDuration;
use wa_proto::{Host, PaneRef};
use wa_workflow::{Definition, End, Level, Run, Status};

use crate::gate::Scope;
use crate::store::{StoreError, Tx};

/// So many bad ends …
const BAD_ENDS: u64 = 5;
/// … within this time pause a workflow.
const WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Who pauses a workflow that ends badly too often.
const WHO: &str = "controller";

/// Why a run may not begin now, if so.
pub(super) fn holds_back(
    tx: &Tx<'_>,
    definition: &Definition,
    host: &Host,
    pane: &PaneRef,
) -> Result<Option<String>, StoreError> {
    if tx.is_paused(&Scope::Workflow(definition.name.clone()).to_string())? {
        return Ok(Some("the workflow is paused".to_owned()));
    }
    let Some(rate) = definition.max_runs else { return Ok(None) };
    let since = tx.now.saturating_sub(rate.per).unwrap_or(tx.now);
    let begun = tx.runs_begun(&definition.name, host, pane, since)?;
    Ok((begun >= u64::from(rate.count))
        .then(|| format!("{begun} runs began on this pane within {:#}, and {} may", rate.per, rate.count)))
}

/// Looks at how a run ended; pauses its workflow if that was one bad end too many.
pub(super) fn ended(tx: &Tx<'_>, run: &Run) -> Result<(), StoreError> {
    if !matches!(run.status, Status::Ended { end: End::Failed | End::Unknown, .. }) {
        return Ok(());
    }
    let since = tx.now.saturating_sub(WITHIN).unwrap_or(tx.now);
    let bad = tx.bad_ends(&run.workflow, since)?;
    let scope = Scope::Workflow(run.workflow.clone());
    if bad < BAD_ENDS || tx.is_paused(&scope.to_string())? {
        return Ok(());
    }
    let reason = format!("{bad} of its runs ended badly within {WITHIN:#}");
    tx.add_pause(&scope.to_string(), WHO, &reason)?;
    tx.tell_held(scope.clone(), WHO, &reason);
    let name = &run.workflow;
    tx.notify(
        run,
        Level::Error,
        &format!("workflow {name} is paused everywhere: {reason}. See `wa run list`, then `wa unpause --workflow {name}`"),
    )
}
