//! One action, from the permit to its end.

use std::time::Duration;

use tokio::time::Instant;
use wa_proto::{Action, OutcomeKind, Timestamp, Verb};

use super::guard::{self, Sight};
use super::{End, Parts, menu, other, text};
use crate::journal::Begin;
use crate::observer::FIRST_LOOK;
use crate::policy::Allowed;
use crate::session::Answer;

/// A permit that is older does not count.
const PERMIT_AGE: Duration = Duration::from_secs(1);
/// How often a permit is asked for that has grown old before it could be used.
const MAX_ASKS: u32 = 3;

/// What an action may rest on, and since when the controller agrees.
pub(super) struct Leave {
    pub(super) allowed: Allowed,
    granted: Granted,
}

/// When it was asked for. Where a laptop sleeps only the clock on the wall goes on.
#[derive(Clone, Copy)]
struct Granted {
    at: Instant,
    wall: Timestamp,
}

/// Performs an action. `None`: it was begun before, and ends (or ended) elsewhere.
pub(super) async fn perform(parts: &Parts, action: &Action) -> Option<End> {
    match begin(parts, action).await {
        Ok(Some(leave)) => Some(match run(parts, action, leave).await {
            Ok(end) | Err(end) => end,
        }),
        Ok(None) => None,
        Err(end) => Some(end),
    }
}

/// Everything that comes before the first step: deadline, policy, journal and permit.
async fn begin(parts: &Parts, action: &Action) -> Result<Option<Leave>, End> {
    let now = wa_link::clock::now();
    if parts.clock.translate(now) > action.deadline {
        return Err(End::new(OutcomeKind::Expired, "its deadline passed before it reached the pane"));
    }
    let allowed = parts.policy.decide(action).map_err(|refused| End::refused(refused.0))?;
    if let Some(mux) = parts.muxes.get(&action.pane.mux) {
        // A node that has just started may not have seen its panes yet; if it still has not, what follows says so.
        mux.looked(FIRST_LOOK).await;
    }
    // A look without any effect: most refusals need neither journal nor permit.
    guard::generation(parts, action)?;
    let (begun, permit) = tokio::join!(parts.journal.begin(action, now), ask(parts, action));
    match begun {
        Ok(Begin::New) => {}
        Ok(Begin::Open | Begin::Ended(_)) => return Ok(None),
        Ok(Begin::Doubtful) => {
            return Err(End::unknown(
                "this host has no record from the time when the action was made: it may have been done before",
            ));
        }
        Err(error) => return Err(End::refused(format!("nothing was typed: {error}"))),
    }
    let granted = permit?;
    Ok(Some(Leave { allowed, granted }))
}

#[tracing::instrument(name = "permit", level = "info", skip_all)]
async fn ask(parts: &Parts, action: &Action) -> Result<Granted, End> {
    // The permit is as old as the question: the answer may have been long on its way.
    let asked = Granted { at: Instant::now(), wall: wa_link::clock::now() };
    match parts.permits.ask(action.id).await {
        Answer::Granted => Ok(asked),
        Answer::Refused(reason) => Err(End::refused(reason)),
        Answer::Expired(reason) => Err(End::new(OutcomeKind::Expired, reason)),
    }
}

impl Leave {
    fn is_fresh(&self) -> bool {
        let Granted { at, wall } = self.granted;
        at.elapsed() <= PERMIT_AGE && wa_link::clock::now().duration_since(wall).unsigned_abs() <= PERMIT_AGE
    }

    /// Right before the first key.
    pub(super) fn holds(&self) -> Result<(), End> {
        if self.is_fresh() { Ok(()) } else { Err(old()) }
    }
}

fn old() -> End {
    End::refused(
        "the controller's consent was always older than a second when it could be used: nothing was typed",
    )
}

async fn run(parts: &Parts, action: &Action, leave: Leave) -> Result<End, End> {
    if let Verb::Spawn { command, cwd } = &action.verb {
        return other::spawn(parts, action, command, cwd, async || renewed(parts, action, leave).await).await;
    }
    let (leave, sight) = ready(parts, action, leave).await?;
    parts.marks.note(action.id, sight.view.layout, &sight.view.frame);
    sight.mux.acting(action.pane.pane_id, true).await;
    let end = on_pane(parts, action, &leave, &sight).await;
    sight.mux.acting(action.pane.pane_id, false).await;
    end
}

/// A guard that holds, under a permit that is still good: one that has to be asked for again makes the look an old one.
async fn ready(parts: &Parts, action: &Action, mut leave: Leave) -> Result<(Leave, Sight), End> {
    for _ in 0..MAX_ASKS {
        let sight = guard::look(parts, action, leave.allowed).await?;
        if leave.is_fresh() {
            return Ok((leave, sight));
        }
        leave.granted = ask(parts, action).await?;
    }
    Err(old())
}

/// A permit that is good now.
async fn renewed(parts: &Parts, action: &Action, mut leave: Leave) -> Result<(), End> {
    for _ in 0..MAX_ASKS {
        if leave.is_fresh() {
            return Ok(());
        }
        leave.granted = ask(parts, action).await?;
    }
    leave.holds()
}

async fn on_pane(parts: &Parts, action: &Action, leave: &Leave, sight: &Sight) -> Result<End, End> {
    match &action.verb {
        Verb::Send { text, enter } => text::send(parts, action, leave, sight, text, *enter).await,
        Verb::Keys(keys) => other::keys(action, leave, sight, keys).await,
        Verb::Choose { labels, dialog } => menu::choose(parts, action, leave, sight, labels, dialog).await,
        Verb::Kill => other::kill(action, leave, sight).await,
        Verb::Spawn { .. } => Err(End::refused("a spawn has no pane yet")),
    }
}
