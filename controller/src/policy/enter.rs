//! An action's way in: to the outbox, or, where the policy says `ask`, to the approvals.
//!
//! Constraints: both happen in the commit that decides the action, so a crash loses neither; what is held is neither offered
//! to its node nor permitted until a person has allowed it, once; a run that is held waits for that, by its recorded inputs
//! (promise W1). What the policy denies is refused where it begins, by the gate.

use jiff::SignedDuration;
use wa_proto::policy::Decision;
use wa_proto::{Action, Host, Timestamp, Verb};

use crate::gate::{Gate, Labels, address};
use crate::orchestrator::to_be_allowed;
use crate::registry::Registry;
use crate::store::{NewAction, StoreError, Tx};

/// How long an approval can be given.
const GOOD_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Actions of one caller that may wait for a person at a time.
const WAITING: u64 = 32;

/// Where an action went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entered {
    Queued,
    /// It waits for a person, who can answer until then.
    Held {
        approval: u64,
        until: Timestamp,
    },
    Refused(String),
}

/// Puts an action where the policy has it.
pub(crate) fn enter(
    tx: &Tx<'_>,
    gate: &Gate,
    registry: &Registry,
    mut new: NewAction,
) -> Result<Entered, StoreError> {
    let judged = gate.judge(&new.host, &new.action, || labels_of(registry, &new.host, &new.action));
    if judged.decision != Decision::Ask {
        let NewAction { host, action, run, idempotency_key, summary } = new;
        tx.enqueue(&host, action, run, idempotency_key.as_deref(), &summary)?;
        return Ok(Entered::Queued);
    }
    let who = &new.action.who;
    if tx.approvals_waiting(who)? >= WAITING {
        let reason = format!("{WAITING} actions of {who} wait for a person already; see `wa approval list`");
        tx.turn_down(&new, &reason)?;
        return Ok(Entered::Refused(reason));
    }
    new.summary = to_be_allowed(&new.action.verb);
    let until = tx.now.saturating_add(GOOD_FOR).unwrap_or(Timestamp::MAX);
    let approval = tx.hold(&new, &judged.rule, until)?;
    Ok(Entered::Held { approval, until })
}

/// What rules see of the place where an action goes.
fn labels_of(registry: &Registry, host: &Host, action: &Action) -> Labels {
    let of_host = || Labels::from([("host".to_owned(), host.to_string())]);
    if matches!(action.verb, Verb::Spawn { .. }) {
        return of_host();
    }
    registry.pane(&address(host, &action.pane)).map_or_else(of_host, |view| view.labels())
}
