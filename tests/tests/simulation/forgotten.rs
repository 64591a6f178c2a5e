//! What is over is removed after its time, while clocks jump over days and everything fails.
//!
//! Constraints: whenever it is done, nothing goes that is not over: an open run with its inputs, a question that waits, an
//! approval that nobody has answered, an action of which its node has not told the end, or that a node may still be asked
//! about. What is not there any more is not done again (A1): no key and no text comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;
use rusqlite::Connection;
use wa_controller::store::Swept;
use wa_link::clock;

use super::check::{Broken, broken, database};
use super::engine::{About, Simulation};
use super::plan::{Deed, TROUBLE};
use super::strikes::Key;

/// How long what is over is kept here.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What was removed, and how often that was looked for.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    pub(crate) swept: Swept,
    pub(crate) times: usize,
    broken: Option<String>,
}

/// In order of time; from a part of the seed of its own.
pub(crate) fn draw(seed: u64, about: About) -> Vec<(Duration, Deed)> {
    if about != About::Retention {
        return Vec::new();
    }
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x466f_7267);
    let mut deeds = Vec::new();
    let mut at = Duration::from_millis(rng.u64(8_000..20_000));
    while at < TROUBLE {
        // So that something, all, or nothing at all is old enough.
        let by = SignedDuration::from_millis(86_400_000 + rng.i64(-40_000..20_000));
        deeds.push((at, Deed::Jump { node: None, by }));
        deeds.push((at + Duration::from_millis(rng.u64(0..1_500)), Deed::Sweep));
        deeds.push((at + Duration::from_millis(rng.u64(1_500..3_000)), Deed::Right { node: None }));
        at += Duration::from_millis(rng.u64(3_000..15_000));
    }
    deeds
}

/// What is not over, by its kind and name.
fn unfinished(database: &Connection) -> BTreeSet<String> {
    let mut query = database
        .prepare(
            "SELECT 'action ' || hex(action_id) FROM outbox WHERE settled_us IS NULL
             UNION ALL SELECT 'approval ' || n FROM approvals WHERE state = 'open'
             UNION ALL SELECT 'approval ' || a.n FROM approvals a JOIN outbox o USING (action_id) WHERE o.settled_us IS NULL
             UNION ALL SELECT 'run ' || hex(run_id) FROM runs WHERE ended_us IS NULL
             UNION ALL SELECT 'input ' || i.n || ' of run ' || hex(i.run_id)
                 FROM run_inputs i JOIN runs r ON r.run_id = i.run_id WHERE r.ended_us IS NULL
             UNION ALL SELECT 'question ' || n FROM notices WHERE choices <> '' AND closed_us IS NULL
             UNION ALL SELECT 'inbox ' || n FROM inbox WHERE queued <> 2",
        )
        .unwrap();
    let names = query.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

impl Simulation {
    /// Removes what is old, as the controller does by itself in its hours.
    pub(crate) fn sweep(&mut self) {
        let (Some(store), Some(before)) = (self.head.store(), database(self)) else { return };
        let before = unfinished(&before);
        let sweeping = async {
            let cut = clock::now() - KEPT;
            store.sweep(cut).await
        };
        let Some(Ok(swept)) = self.head.host.within(sweeping) else { return };
        self.note(format_args!("{} were not over; removed: {swept:?}", before.len()));
        self.forgotten.swept.add(swept);
        self.forgotten.times += 1;
        // What went on meanwhile may have ended, and is there still: it was not over before the cut.
        let Some(database) = database(self) else { return };
        let gone: Vec<&String> = before.iter().filter(|name| !is_there(&database, name)).collect();
        if !gone.is_empty() && self.forgotten.broken.is_none() {
            self.forgotten.broken =
                Some(format!("{gone:?} were removed at {:?}, and were not over", self.now));
        }
    }
}

fn is_there(database: &Connection, name: &str) -> bool {
    let (kind, id) = name.split_once(' ').unwrap();
    let (n, run) = id.split_once(" of run ").unwrap_or((id, ""));
    let found = match kind {
        "action" => format!("outbox WHERE hex(action_id) = '{n}'"),
        "approval" => format!("approvals WHERE n = {n}"),
        "run" => format!("runs WHERE hex(run_id) = '{n}'"),
        "input" => format!("run_inputs WHERE n = {n} AND hex(run_id) = '{run}'"),
        "question" => format!("notices WHERE n = {n}"),
        // Worked off, which is not to be told from removed: then its run or its event is there.
        _ => return true,
    };
    let count = format!("SELECT count(*) FROM {found}");
    database.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap() > 0
}

pub(crate) fn judge(simulation: &Simulation) -> Result<(), Broken> {
    if let Some(broken_by) = &simulation.forgotten.broken {
        return broken("retention", broken_by.clone());
    }
    for asked in &simulation.asked {
        let limb = &simulation.limbs[asked.node];
        let pressed = limb.mux.presses(asked.key).len();
        if pressed > 1 {
            return broken(
                "A1",
                format!("the key of action {} came {pressed} times on {}", asked.id, limb.host.name),
            );
        }
    }
    for (node, limb) in simulation.limbs.iter().enumerate() {
        let mut pastes: BTreeMap<String, usize> = BTreeMap::new();
        for got in limb.mux.got().into_iter().filter(|got| got.key == Key::Paste) {
            *pastes.entry(got.text).or_default() += 1;
        }
        let sends = simulation.sends.all.iter().filter(|send| send.node == node);
        if let Some(twice) =
            sends.map(|send| &send.text).find(|text| pastes.get(*text).is_some_and(|count| *count > 1))
        {
            return broken("A1", format!("{twice:?} came twice on {}", limb.host.name));
        }
    }
    Ok(())
}
