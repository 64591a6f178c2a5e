//! What must hold of runs, judged from the database, from what the panes saw and from what people were answered.
//!
//! W1: every stored run is the fold of its recorded inputs, and its actions are those of the fold, each once. W2: between
//! the beginning and the end of a run that acts on a pane no other one begins or acts there, and what two runs did there
//! does not mix. An event begins one run of its workflow, or stands in the audit trail with what held it back. What a run
//! types is judged as every send is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rusqlite::Connection;
use wa_link::clock;
use wa_proto::wire::{from_us, to_us};
use wa_proto::{Action, ActionId, AgentKind, OutcomeKind, RunId, Timestamp, Verb};
use wa_workflow::{Definition, Effect, Expect, Input, Run, Status, Vars, step};

use super::check::{Broken, broken, database};
use super::desk::Quiet;
use super::engine::Simulation;
use super::runs::Trigger;
use super::sends::{self, Send};
use super::strikes::{Got, Key};
use super::workflows::KEYS;

/// How many runs of each workflow ended how, and what else there was.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ended: BTreeMap<String, BTreeMap<String, usize>>,
    actions: BTreeMap<String, usize>,
    held_back: usize,
    by_hand: usize,
    cancelled: usize,
    retried: usize,
}

fn add(to: &mut BTreeMap<String, usize>, what: &str, count: usize) {
    *to.entry(what.to_owned()).or_default() += count;
}

impl Tally {
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (workflow, ended) in &other.ended {
            let mine = self.ended.entry(workflow.clone()).or_default();
            ended.iter().for_each(|(state, count)| add(mine, state, *count));
        }
        other.actions.iter().for_each(|(outcome, count)| add(&mut self.actions, outcome, *count));
        Self {
            held_back: self.held_back + other.held_back,
            by_hand: self.by_hand + other.by_hand,
            cancelled: self.cancelled + other.cancelled,
            retried: self.retried + other.retried,
            ..self
        }
    }
}

const STATES: [&str; 4] = ["succeeded", "failed", "cancelled", "unknown"];

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26}{:>6} {}", "workflow", "runs", STATES.map(|name| format!("{name:>10}")).concat())?;
        for (workflow, ended) in &self.ended {
            let count = |name| ended.get(name).copied().unwrap_or(0);
            let counts = STATES.map(|name| format!("{:>10}", count(name))).concat();
            writeln!(f, "{workflow:<26}{:>6} {counts}", ended.values().sum::<usize>())?;
        }
        let Self { actions, held_back, by_hand, cancelled, retried, .. } = self;
        write!(
            f,
            "actions of runs {actions:?}; {held_back} triggers were held back or merged; people began {by_hand}, cancelled \
             {cancelled} and retried {retried}"
        )
    }
}

/// A run as it is stored.
struct Stored {
    run: Run,
    state: String,
    ended_us: Option<i64>,
    inputs: Vec<(Timestamp, Input)>,
    /// Its rows of the outbox, with their outcomes.
    outbox: BTreeMap<ActionId, String>,
    notices: usize,
}

/// One action of a run, as the fold of its inputs has it.
struct Act {
    run: RunId,
    id: ActionId,
    verb: Verb,
    agent: Option<AgentKind>,
    pid: Option<u32>,
    outcome: String,
}

// ---- reading

fn read(database: &Connection) -> Vec<Stored> {
    let mut query = database
        .prepare("SELECT body, state, ended_us, run_id FROM runs ORDER BY started_us, run_id")
        .unwrap();
    let rows = query.query_map([], |row| {
        let id: [u8; 16] = row.get(3)?;
        Ok(Stored {
            run: serde_json::from_str(&row.get::<_, String>(0)?).unwrap(),
            state: row.get(1)?,
            ended_us: row.get(2)?,
            inputs: inputs_of(database, id),
            outbox: outbox_of(database, id),
            notices: notices_of(database, id),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn inputs_of(database: &Connection, run: [u8; 16]) -> Vec<(Timestamp, Input)> {
    let mut query = database
        .prepare_cached("SELECT time_us, input FROM run_inputs WHERE run_id = ?1 ORDER BY n")
        .unwrap();
    let rows = query.query_map([run], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    let read = |(time, input): (i64, String)| {
        (from_us("time_us", time).unwrap(), serde_json::from_str(&input).unwrap())
    };
    rows.map(|row| read(row.unwrap())).collect()
}

fn outbox_of(database: &Connection, run: [u8; 16]) -> BTreeMap<ActionId, String> {
    let mut query =
        database.prepare_cached("SELECT action_id, outcome FROM outbox WHERE run_id = ?1").unwrap();
    let rows =
        query.query_map([run], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<String>>(1)?)));
    let read = |(id, outcome): (Vec<u8>, Option<String>)| {
        (ActionId::from_slice(&id).unwrap(), outcome.unwrap_or_else(|| "open".to_owned()))
    };
    rows.unwrap().map(|row| read(row.unwrap())).collect()
}

/// What the run itself told people and asked them: what the controller tells of its workflow begins with that word.
fn notices_of(database: &Connection, run: [u8; 16]) -> usize {
    let count = "SELECT count(*) FROM notices WHERE run_id = ?1 AND text NOT LIKE 'workflow %'";
    let count: i64 = database.prepare_cached(count).unwrap().query_row([run], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

// ---- while it settles

/// Nothing more follows from what has happened.
pub(crate) fn is_over(database: &Connection) -> bool {
    let open = "SELECT (SELECT count(*) FROM runs WHERE ended_us IS NULL) + (SELECT count(*) FROM inbox)";
    database.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap() == 0
}

/// Runs that did not end, and what nobody worked off.
pub(crate) fn unsettled(simulation: &Simulation) -> String {
    let Some(database) = database(simulation) else { return String::new() };
    let now = simulation.head.host.within(async { clock::now() }).map_or(0, to_us);
    let runs = read(&database).into_iter().filter(|stored| stored.ended_us.is_none()).map(|stored| {
        let Run { id, workflow, step, status, .. } = &stored.run;
        let wake: Option<i64> = database
            .query_row("SELECT wake_us FROM runs WHERE run_id = ?1", [id.as_bytes()], |row| row.get(0))
            .unwrap();
        let wake = wake.map(|wake| (wake - now) / 1_000_000);
        format!("run {id} of {workflow} at {step}, to be woken in {wake:?} s: {status:?} {:?}", stored.outbox)
    });
    let inbox = "SELECT group_concat(coalesce(workflow, '-') || ' ' || queued, ', ') FROM inbox";
    let inbox: Option<String> = database.query_row(inbox, [], |row| row.get(0)).unwrap();
    format!("{}; inbox: {inbox:?}", runs.collect::<Vec<_>>().join("; "))
}

// ---- judging

/// All that must hold of runs.
pub(crate) fn judge(simulation: &Simulation) -> Result<Tally, Broken> {
    let Some(database) = database(simulation) else {
        return broken("liveness", "the controller is not up".to_owned());
    };
    let mut definitions = wa_controller::builtin_workflows().unwrap();
    let own = &simulation.head.workflows;
    definitions.retain(|builtin| own.iter().all(|definition| definition.name != builtin.name));
    definitions.extend(own.iter().cloned());
    let (stored, audit) = (read(&database), Audit::read(&database));
    let (mut tally, mut acts) = (Tally::default(), Vec::new());
    for one in &stored {
        let run = &one.run;
        let Some(definition) = definitions.iter().find(|known| known.name == run.workflow) else {
            return broken("W1", format!("run {} is of no workflow: {}", run.id, run.workflow));
        };
        let of_it = folds(definition, one)?;
        ended(definition, one, &of_it)?;
        audit.within(definition, one, &of_it)?;
        add(tally.ended.entry(run.workflow.clone()).or_default(), &one.state, 1);
        of_it.iter().for_each(|act| add(&mut tally.actions, &act.outcome, 1));
        acts.extend(of_it);
    }
    audit.one_at_a_time(&definitions, &stored)?;
    for trigger in &simulation.runs.triggers {
        tally.held_back += begins(simulation, &database, &definitions, &stored, &audit, trigger)?;
    }
    typed(simulation, &stored, &acts)?;
    pressed(simulation, &stored, &acts)?;
    answered(simulation, &stored, &acts, &mut tally)?;
    Ok(tally)
}

/// W1: the run is what its inputs make of it, and so are its actions and notices.
fn folds(definition: &Definition, stored: &Stored) -> Result<Vec<Act>, Broken> {
    let Stored { run, inputs, outbox, .. } = stored;
    let trigger = run.trigger.clone();
    let (mut again, mut effects) = Run::start(definition, run.id, trigger, &Vars::default(), run.started);
    if matches!(inputs.first(), Some((_, Input::Again { .. }))) {
        // What its beginning asks for is not done.
        effects.clear();
    }
    for (time, input) in inputs {
        let (next, more) = step(definition, &again, input, *time);
        (again, _) = (next, effects.extend(more));
    }
    if again != *run {
        return broken(
            "W1",
            format!("a run is not the fold of its {} inputs\n  {run:?}\n  {again:?}", inputs.len()),
        );
    }
    let mut acts: Vec<Act> = Vec::new();
    let mut notices = 0;
    for effect in effects {
        let Effect::Act { action, verb, expect, .. } = effect else {
            notices += usize::from(matches!(effect, Effect::Notify { .. } | Effect::Ask { .. }));
            continue;
        };
        let (agent, pid) = match expect {
            Expect::Agent { kind, pid } => (kind, pid),
            Expect::Shell => (None, None),
        };
        let outcome = outbox.get(&action).cloned().unwrap_or_default();
        acts.push(Act { run: run.id, id: action, verb, agent, pid, outcome });
    }
    let wanted: BTreeSet<ActionId> = acts.iter().map(|act| act.id).collect();
    if wanted.len() != acts.len() || !wanted.iter().eq(outbox.keys()) {
        return broken(
            "W1",
            format!("run {} made the actions {outbox:?}, and its inputs {wanted:?}", run.id),
        );
    }
    if notices != stored.notices {
        return broken(
            "W1",
            format!("run {} told {} notices, and its inputs {notices}", run.id, stored.notices),
        );
    }
    Ok(acts)
}

/// W2: it ended, in a state that has a name, and did no more than it may.
fn ended(definition: &Definition, stored: &Stored, acts: &[Act]) -> Result<(), Broken> {
    let Run { id, workflow, status, actions_done, .. } = &stored.run;
    let named = STATES.contains(&stored.state.as_str()) && stored.state == status.name();
    let Status::Ended { at, reason, .. } = status else {
        return broken("W2", format!("run {id} of {workflow} is {status:?}"));
    };
    if !named || stored.ended_us != Some(to_us(*at)) || reason.is_empty() {
        return broken("W2", format!("run {id} of {workflow} ended as {:?}: {status:?}", stored.state));
    }
    let touched = acts.iter().filter(|act| act.touched()).count();
    let most = definition.max_actions;
    if *actions_done > most || touched > most as usize {
        return broken(
            "W2",
            format!(
                "run {id} of {workflow} did {touched} actions, and counts {actions_done}; its budget is {most}"
            ),
        );
    }
    Ok(())
}

impl Act {
    /// The pane was, or may have been, touched.
    fn touched(&self) -> bool {
        let kind: Option<OutcomeKind> = self.outcome.parse().ok();
        matches!(kind, Some(OutcomeKind::Submitted | OutcomeKind::Placed | OutcomeKind::Unknown))
    }

    fn text(&self) -> Option<&str> {
        match &self.verb {
            Verb::Send { text, .. } => Some(text),
            _ => None,
        }
    }
}

// ---- the audit trail

/// What it says of runs: the order of its rows is the order of the commits.
struct Audit {
    /// Row of the beginning and of the end of each run.
    began: BTreeMap<String, Vec<i64>>,
    ended: BTreeMap<String, Vec<i64>>,
    /// In which row each action entered the outbox.
    queued: BTreeMap<String, Vec<i64>>,
    /// Those that a person had begin again.
    retried: BTreeSet<String>,
    /// Workflow, and what held it back.
    held_back: Vec<(String, String)>,
}

impl Audit {
    fn read(database: &Connection) -> Self {
        let (mut began, mut ended, mut queued) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (mut retried, mut held_back) = (BTreeSet::new(), Vec::new());
        let mut query =
            database.prepare("SELECT n, who, what, decision, detail FROM audit ORDER BY n").unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let n: i64 = row.get_unwrap(0);
            let [who, what, decision, detail] = [1, 2, 3, 4].map(|at| row.get_unwrap::<_, String>(at));
            let first = detail.split(' ').next().unwrap_or_default().to_owned();
            let put = |to: &mut BTreeMap<String, Vec<i64>>, id: String| to.entry(id).or_default().push(n);
            match (what.as_str(), decision.as_str()) {
                ("run", "began") => put(&mut began, first),
                ("run", state) if STATES.contains(&state) => put(&mut ended, first),
                ("run", _) => held_back.push((who, detail)),
                ("start", "retried") => {
                    let id = detail.split(' ').nth(3).unwrap_or_default().to_owned();
                    retried.insert(id.clone());
                    put(&mut began, id);
                }
                (_, "queued") => put(&mut queued, first),
                _ => {}
            }
        }
        Self { began, ended, queued, retried, held_back }
    }

    /// From its beginning to its end.
    fn of(&self, run: RunId) -> Option<(i64, i64)> {
        match (self.began.get(&run.to_string())?.as_slice(), self.ended.get(&run.to_string())?.as_slice()) {
            ([began], [ended]) => Some((*began, *ended)),
            _ => None,
        }
    }

    /// W2: a run begins once and ends once, and what it does it does in between.
    fn within(&self, definition: &Definition, stored: &Stored, acts: &[Act]) -> Result<(), Broken> {
        let (id, name) = (stored.run.id, &definition.name);
        let Some((began, ended)) = self.of(id) else {
            return broken("W2", format!("run {id} of {name} did not begin and end once in the audit trail"));
        };
        for act in acts {
            let queued = self.queued.get(&act.id.to_string()).map(Vec::as_slice);
            let Some([at]) = queued else {
                return broken(
                    "W1",
                    format!("action {} of run {id} of {name} was queued in {queued:?}", act.id),
                );
            };
            if *at < began || *at > ended {
                return broken(
                    "W2",
                    format!(
                        "action {} of run {id} of {name} came at {at}, the run was open {began} to {ended}",
                        act.id
                    ),
                );
            }
        }
        Ok(())
    }

    /// W2: the runs that act on one pane are open one after the other.
    fn one_at_a_time(&self, definitions: &[Definition], stored: &[Stored]) -> Result<(), Broken> {
        let acts = |name: &str| definitions.iter().any(|known| known.name == name && known.max_actions > 0);
        let mut panes: BTreeMap<_, Vec<(i64, i64, RunId)>> = BTreeMap::new();
        for Stored { run, .. } in stored.iter().filter(|stored| acts(&stored.run.workflow)) {
            let Some((began, ended)) = self.of(run.id) else { continue };
            let pane = &run.trigger.pane;
            let pane = (run.trigger.host.clone(), pane.generation.as_str().to_owned(), pane.pane_id);
            panes.entry(pane).or_default().push((began, ended, run.id));
        }
        for (pane, mut runs) in panes {
            runs.sort_unstable();
            let overlap = runs.windows(2).find(|two| two[1].0 < two[0].1);
            if let Some(two) = overlap {
                return broken("W2", format!("two runs were open on {pane:?}: {two:?}"));
            }
        }
        Ok(())
    }
}

// ---- triggers

/// An event that is in the log began one run of each workflow that it is for, or something held that back: how often.
fn begins(
    simulation: &Simulation,
    database: &Connection,
    definitions: &[Definition],
    stored: &[Stored],
    audit: &Audit,
    trigger: &Trigger,
) -> Result<usize, Broken> {
    let (limb, id) = (&simulation.limbs[trigger.node], trigger.id);
    let logged: i64 = database
        .query_row("SELECT count(*) FROM events WHERE id = ?1", [id.as_bytes()], |row| row.get(0))
        .unwrap();
    let durable = limb.ledger.lock().durable_triggers.contains(&id.as_bytes()[..]);
    if logged == 0 && durable && limb.is_ample() {
        return broken("L1", format!("event {id} of {} was durable and is not in the log", limb.host.name));
    }
    let agent = (!trigger.agent.is_empty()).then(|| AgentKind::new(&trigger.agent));
    let mut held_back = 0;
    for definition in definitions.iter().filter(|one| one.on.contains(&trigger.kind) && !one.opt_in) {
        let name = &definition.name;
        let of_it = |stored: &&Stored| stored.run.trigger.event == id && stored.run.workflow == *name;
        let first = |stored: &&Stored| !audit.retried.contains(&stored.run.id.to_string());
        let begun = stored.iter().filter(of_it).filter(first).count();
        let who = format!("workflow:{name}");
        let of_event = |detail: &str| detail.contains(&id.to_string());
        let held = audit.held_back.iter().filter(|(of, detail)| *of == who && of_event(detail)).count();
        let wanted = usize::from(logged == 1 && definition.is_for(agent.as_ref()));
        // Another stands in for it, unless that may not begin here.
        let may_rest = definitions.iter().any(|other| {
            other.instead_of.contains(name) && other.on.contains(&trigger.kind) && !other.opt_in
        });
        if begun + held > wanted || (begun + held < wanted && !may_rest) {
            return broken(
                "W2",
                format!(
                    "event {id} of {} is {logged} times in the log, began {begun} runs of {name} and was held back {held} times",
                    limb.host.name
                ),
            );
        }
        held_back += held;
    }
    Ok(held_back)
}

// ---- what the panes saw

/// Every text of a run reached its pane at most once, as its outcome says, and while nothing was paused; what two runs did on
/// a pane does not mix.
fn typed(simulation: &Simulation, stored: &[Stored], acts: &[Act]) -> Result<(), Broken> {
    let quiet = simulation.desk.quiet();
    let mut scratch = sends::Tally::default();
    for (node, limb) in simulation.limbs.iter().enumerate() {
        let got = limb.mux.got();
        let of_host = |act: &&Act| {
            stored.iter().any(|one| one.run.id == act.run && one.run.trigger.host.as_str() == limb.host.name)
        };
        let mut texts: BTreeMap<&str, Vec<&Act>> = BTreeMap::new();
        for act in acts.iter().filter(of_host) {
            act.text().into_iter().for_each(|text| texts.entry(text).or_default().push(act));
        }
        for (text, attempts) in &texts {
            let touched: Vec<&&Act> = attempts.iter().filter(|act| act.touched()).collect();
            if touched.len() > 1 {
                return broken("W1", format!("{text:?} was typed again after it had been, or may have been"));
            }
            let Some(act) = touched.first().copied().or(attempts.last()) else { continue };
            let send = send_of(node, stored, act, text);
            let of_it: Vec<&Got> = got.iter().filter(|got| got.text == *text).collect();
            let all: Vec<&Got> = got.iter().collect();
            if let Some(problem) = sends::judge_one(&send, &act.outcome, &of_it, &all, &quiet, &mut scratch) {
                return broken(
                    "W1",
                    format!(
                        "{problem}: {text:?}, action {} of run {} is {}\n  {of_it:?}",
                        act.id, act.run, act.outcome
                    ),
                );
            }
        }
        unmixed(&got, &texts)?;
    }
    Ok(())
}

fn send_of(node: usize, stored: &[Stored], act: &Act, text: &str) -> Send {
    let run = &stored.iter().find(|stored| stored.run.id == act.run).unwrap().run;
    let action = Action {
        id: act.id,
        pane: run.trigger.pane.clone(),
        deadline: run.started,
        fence: 0,
        who: format!("workflow:{}", run.workflow),
        expect_agent: act.agent.clone(),
        expect_agent_pid: act.pid,
        expect_shell: false,
        trace_parent: String::new(),
        verb: act.verb.clone(),
    };
    Send { node, action, text: text.to_owned(), strike: None }
}

/// W2: once another run has touched the pane, the one before does so no more.
fn unmixed(got: &[Got], texts: &BTreeMap<&str, Vec<&Act>>) -> Result<(), Broken> {
    let mut seen: BTreeMap<(&str, u64), Vec<RunId>> = BTreeMap::new();
    for got in got.iter().filter(|got| !matches!(got.key, Key::PersonEnter(_))) {
        let Some(act) = texts.get(got.text.as_str()).and_then(|acts| acts.iter().find(|act| act.touched()))
        else {
            continue;
        };
        let before = seen.entry((&got.generation, got.pane)).or_default();
        if before.last() == Some(&act.run) {
            continue;
        }
        if before.contains(&act.run) {
            return broken(
                "W2",
                format!("run {} acted on pane {} among others: {before:?}", act.run, got.pane),
            );
        }
        before.push(act.run);
    }
    Ok(())
}

/// The same of keys: as often as the outcomes say.
fn pressed(simulation: &Simulation, stored: &[Stored], acts: &[Act]) -> Result<(), Broken> {
    let quiet = simulation.desk.quiet();
    let held = |at| quiet.iter().any(|Quiet { from, until }| (*from..*until).contains(&at));
    for limb in &simulation.limbs {
        let name = &limb.host.name;
        for key in KEYS {
            let of_it = |act: &&Act| {
                let here =
                    stored.iter().any(|one| one.run.id == act.run && one.run.trigger.host.as_str() == name);
                here && matches!(&act.verb, Verb::Keys(_)) && act.verb.text() == key.to_string()
            };
            let outcomes: Vec<&str> = acts.iter().filter(of_it).map(|act| act.outcome.as_str()).collect();
            let count = |wanted: &str| outcomes.iter().filter(|outcome| **outcome == wanted).count();
            let (sure, most) = (count("submitted"), count("submitted") + count("unknown"));
            let presses = limb.mux.presses(key);
            if !(sure..=most).contains(&presses.len()) {
                return broken(
                    "W1",
                    format!(
                        "{key} was pressed {} times on {name}, and of its actions {outcomes:?}",
                        presses.len()
                    ),
                );
            }
            if let Some(at) = presses.into_iter().find(|at| held(*at)) {
                return broken(
                    "A2",
                    format!("{key} was pressed on {name} at {at:?}, after a pause was answered"),
                );
            }
        }
    }
    Ok(())
}

/// What people were answered is so.
fn answered(
    simulation: &Simulation,
    stored: &[Stored],
    acts: &[Act],
    tally: &mut Tally,
) -> Result<(), Broken> {
    let find = |id: &str| stored.iter().find(|stored| stored.run.id.to_string() == id);
    let runs = &simulation.runs;
    for (of, count) in [(&runs.begun, &mut tally.by_hand), (&runs.retried, &mut tally.retried)] {
        let ids = of.iter().filter_map(|of| of.answered.get()?.1.as_ref().ok());
        for id in ids {
            // Empty: it waited for its turn.
            if !id.is_empty() && find(id).is_none() {
                return broken("W1", format!("a person was told that run {id} began, and there is none"));
            }
            *count += 1;
        }
    }
    for cancel in &runs.cancelled {
        let Some((at, Ok(state))) = cancel.answered.get() else { continue };
        let Some(stored) = find(&cancel.run).filter(|stored| stored.state == *state) else {
            return broken("W1", format!("a person was told that run {} is {state}", cancel.run));
        };
        tally.cancelled += 1;
        let of_it = |act: &&Act| act.run == stored.run.id && act.touched();
        let texts: BTreeSet<&str> = acts.iter().filter(of_it).filter_map(Act::text).collect();
        let got = simulation.limbs.iter().flat_map(|limb| limb.mux.got());
        let late = got.filter(|got| got.key == Key::Paste && got.at > *at);
        if let Some(late) = late.into_iter().find(|got| texts.contains(got.text.as_str())) {
            return broken(
                "W2",
                format!("run {} acted after it was cancelled at {at:?}: {late:?}", cancel.run),
            );
        }
    }
    Ok(())
}
