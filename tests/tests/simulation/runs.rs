//! Runs of workflows: what begins them, and what people do about them, while everything else goes on. What must hold of
//! them stands in `ran.rs`, the workflows in `workflows.rs`.
//!
//! A trigger is an event that a node writes down as its observer does: it has a name that no other has, and every text of
//! its runs holds it. An operator begins a workflow at most once on a pane of a host, so such a text names its run too.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use tonic::Status;
use wa_link::clock;
use wa_proto::wire::to_us;
use wa_proto::wire::v1;
use wa_proto::{EventId, EventKind};

use super::check::{Broken, broken, database};
use super::desk::Answered;
use super::engine::{About, Simulation};
use super::panes::PANE;
use super::plan::{self, Deed, TROUBLE};
use super::strikes::Trap;
use super::workflows::{BY_HAND, OF_AGENT, OF_COUNTER, OF_SHELL};

/// What is done about runs. Numbers pick one of what there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Errand {
    /// A node tells an event of a pane, and something happens in the middle of what follows.
    Trigger { node: usize, pane: usize, trap: Option<Trap> },
    /// An operator begins a run, …
    Begin { node: usize, pane: usize, workflow: usize },
    /// … ends one, …
    Cancel { run: usize },
    /// … has one begin again where it failed, …
    Retry { run: usize },
    /// … and answers what one asks.
    Answer { notice: usize, choice: usize },
}

/// An event that begins runs.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub(crate) node: usize,
    pub(crate) id: EventId,
    pub(crate) kind: EventKind,
    pub(crate) agent: String,
}

/// What an operator asked of a run.
pub(crate) struct OfRun {
    pub(crate) run: String,
    pub(crate) answered: Answered<String>,
}

/// What was done about runs, as seen from outside.
#[derive(Default)]
pub(crate) struct Runs {
    pub(crate) triggers: Vec<Trigger>,
    /// What the operator was told of the runs they began.
    pub(crate) begun: Vec<OfRun>,
    pub(crate) cancelled: Vec<OfRun>,
    pub(crate) retried: Vec<OfRun>,
    /// Node, pane and workflow of what an operator has begun.
    used: BTreeSet<(usize, u64, usize)>,
}

/// In order of time. A part of the seed of its own, so that what else it draws stays as it is.
pub(crate) fn draw(seed: u64, nodes: usize, about: About) -> Vec<(Duration, Deed)> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5275_6e73);
    // Those about sends and identities are that alone.
    if !matches!(about, About::Everything | About::Retention) {
        return Vec::new();
    }
    let often = rng.u64(1_500..6_000);
    let mut deeds = Vec::new();
    let mut at = Duration::from_millis(rng.u64(2_000..6_000));
    while at < TROUBLE {
        let pause = rng.u8(..20) == 0;
        let deed = match pause {
            true => Deed::Pause { long: Duration::from_millis(rng.u64(100..8_000)) },
            false => Deed::OfRuns(one(&mut rng, nodes)),
        };
        deeds.push((at, deed));
        // Now and then several come at once.
        at += Duration::from_millis(if rng.u8(..5) == 0 { rng.u64(0..50) } else { rng.u64(1..often) });
    }
    deeds
}

fn one(rng: &mut fastrand::Rng, nodes: usize) -> Errand {
    let (node, pane) = (rng.usize(..nodes), rng.usize(..1000));
    match rng.u8(..20) {
        0..=11 => {
            let trap = (rng.u8(..3) == 0).then(|| plan::trap(rng));
            Errand::Trigger { node, pane, trap }
        }
        12 | 13 => Errand::Begin { node, pane, workflow: rng.usize(..BY_HAND.len()) },
        14 => Errand::Cancel { run: rng.usize(..1000) },
        15..=17 => Errand::Retry { run: rng.usize(..1000) },
        _ => Errand::Answer { notice: rng.usize(..1000), choice: rng.usize(..2) },
    }
}

impl Simulation {
    pub(crate) fn of_runs(&mut self, errand: Errand) {
        match errand {
            Errand::Trigger { node, pane, trap } => self.trigger(node, pane, trap),
            Errand::Begin { node, pane, workflow } => self.begin(node, pane, workflow),
            Errand::Cancel { run } => {
                if let Some(run) = pick(&runs_where(self, "ended_us IS NULL"), run) {
                    self.cancel(run);
                }
            }
            Errand::Retry { run } => {
                // Of those that ended last: their panes are there still.
                let ended = runs_where(self, "state IN ('failed', 'cancelled') AND workflow <> 'tell'");
                if let Some(run) = pick(&ended[ended.len().saturating_sub(3)..], run) {
                    self.retry(run);
                }
            }
            Errand::Answer { notice, choice } => self.answer(notice, choice),
        }
    }

    fn trigger(&mut self, node: usize, pane: usize, trap: Option<Trap>) {
        let limb = &self.limbs[node];
        // Every eighth is for the pane that counts.
        let found = if pane.is_multiple_of(8) { None } else { limb.mux.pick(pane) };
        let (pane_id, agent, agent_pid) = match found {
            Some((id, kind, pid)) => match kind.agent() {
                Some(agent) => (id, agent.to_string(), pid),
                None => (id, String::new(), 0),
            },
            None => (PANE, String::new(), 0),
        };
        let kind = match (pane_id, agent.is_empty()) {
            (PANE, _) => OF_COUNTER,
            (_, true) => OF_SHELL,
            (_, false) => OF_AGENT,
        };
        let generation = limb.mux.generation();
        let Some(id) = limb.host.within(async { EventId::generate() }) else { return };
        let name = format!("task {} of {}", self.runs.triggers.len(), limb.host.name);
        self.note(format_args!("{name}: {kind} {id} on pane {pane_id} of {generation}"));
        let event = v1::Event {
            id: id.as_bytes().to_vec(),
            pane: Some(v1::PaneRef { mux: "main".into(), generation, pane_id }),
            event: kind.to_string(),
            agent: agent.clone(),
            agent_pid,
            fields: [("command".to_owned(), name)].into(),
            ..v1::Event::default()
        };
        limb.tell(event);
        if let Some(trap) = trap.filter(|_| pane_id != PANE) {
            limb.mux.arm(pane_id, trap);
        }
        self.runs.triggers.push(Trigger { node, id, kind, agent });
    }

    // ---- what people do

    fn begin(&mut self, node: usize, pane: usize, workflow: usize) {
        let limb = &self.limbs[node];
        let Some((pane_id, ..)) = limb.mux.pick(pane) else { return };
        if !self.runs.used.insert((node, pane_id, workflow)) {
            return;
        }
        let pane = v1::PaneAddress { host: limb.host.name.clone(), mux: "main".into(), pane_id };
        let request = v1::StartRunRequest { workflow: BY_HAND[workflow].to_owned(), pane: Some(pane) };
        let answered = self.desk.ask(&self.head, async move |mut fleet| {
            let run = fleet.start_run(request).await?.into_inner().run;
            Ok(run.map(|run| run.run_id).unwrap_or_default())
        });
        self.runs.begun.push(OfRun { run: String::new(), answered });
    }

    fn cancel(&mut self, run: String) {
        self.note(format_args!("run {run} is to be cancelled"));
        let request = v1::CancelRunRequest { run_id: run.clone(), reason: "enough".into() };
        let answered = self.desk.ask(&self.head, async move |mut fleet| {
            let run = fleet.cancel_run(request).await?.into_inner().run;
            run.map(|run| run.state).ok_or_else(|| Status::internal("no run"))
        });
        self.runs.cancelled.push(OfRun { run, answered });
    }

    fn retry(&mut self, run: String) {
        self.note(format_args!("run {run} is to begin again"));
        let request = v1::RetryRunRequest { run_id: run.clone(), sure: false };
        let answered = self.desk.ask(&self.head, async move |mut fleet| {
            let run = fleet.retry_run(request).await?.into_inner().run;
            run.map(|run| run.run_id).ok_or_else(|| Status::internal("no run"))
        });
        self.runs.retried.push(OfRun { run, answered });
    }

    fn answer(&self, notice: usize, choice: usize) {
        let Some(database) = database(self) else { return };
        let mut query = database
            .prepare("SELECT n FROM notices WHERE choices <> '' AND closed_us IS NULL ORDER BY n")
            .unwrap();
        let open: Vec<u64> = query
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(|n: Result<i64, _>| n.unwrap().cast_unsigned())
            .collect();
        let Some(id) = pick(&open, notice) else { return };
        let request = v1::AnswerNoticeRequest { id, choice: ["more", "leave"][choice].to_owned() };
        drop(self.desk.ask(&self.head, async move |mut fleet| fleet.answer_notice(request).await.map(drop)));
    }

    /// No run waits for longer than any workflow here asks for, however wrong the clock was when it began to.
    pub(crate) fn nothing_waits_too_long(&self) -> Result<(), Broken> {
        let Some(now) = self.head.host.within(async { clock::now() }) else { return Ok(()) };
        let late = now + SignedDuration::from_secs(90);
        // One that is refused each time tries again until its step's time is over.
        let tries = format!("json_extract(body, '$.step_deadline') > '{late:.0}'");
        let waiting =
            runs_where(self, &format!("ended_us IS NULL AND (wake_us > {} OR {tries})", to_us(late)));
        if waiting.is_empty() {
            Ok(())
        } else {
            broken("W1", format!("runs that wait too long: {}", waiting.join(", ")))
        }
    }
}

fn pick<T: Clone>(of: &[T], n: usize) -> Option<T> {
    of.get(n % of.len().max(1)).cloned()
}

/// Ids of runs, in the order of their beginning.
fn runs_where(simulation: &Simulation, which: &str) -> Vec<String> {
    let Some(database) = database(simulation) else { return Vec::new() };
    let mut query =
        database.prepare(&format!("SELECT run_id FROM runs WHERE {which} ORDER BY run_id")).unwrap();
    let ids = query.query_map([], |row| row.get::<_, [u8; 16]>(0)).unwrap();
    ids.map(|id| uuid::Uuid::from_bytes(id.unwrap()).to_string()).collect()
}
