//! Sends: texts that go to panes while something happens in the middle of it, and what became of each.
//!
//! What may never be: a text that is submitted or pasted twice; one that reaches another pane, process or generation than
//! the one it was for; Enter on anything but exactly the pasted text; a key that begins an action after a pause was
//! answered. A key that fell into the last round trip, when the node could not have seen what happened, is counted apart:
//! the outcome is then `unknown` or `refused`, never `submitted`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rusqlite::OptionalExtension as _;
use wa_link::clock;
use wa_proto::{Action, ActionId, Generation, Host as Name, MuxName, PaneRef, Verb};

use super::check::{Broken, database};
use super::controller;
use super::engine::Simulation;
use super::plan::Deed;
use super::program::Entered;
use super::strikes::{Fit, Got, Key, Strike, Trap};

/// A send that the controller took.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) node: usize,
    pub(crate) action: Action,
    pub(crate) text: String,
    pub(crate) strike: Option<Strike>,
}

#[derive(Debug, Default)]
pub(crate) struct Sends {
    pub(crate) all: Vec<Send>,
}

/// How many sends ended how, by what happened in the middle.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    outcomes: BTreeMap<Option<Strike>, BTreeMap<String, usize>>,
    pub(crate) doubles: usize,
    pub(crate) elsewhere: usize,
    pub(crate) wrong_enters: usize,
    pub(crate) over_person: usize,
    pub(crate) after_pause: usize,
    /// Pastes and Enters within the last round trip.
    last_trip: BTreeMap<String, usize>,
    /// Enters that found nothing, for a person had submitted that very text within the last round trip.
    by_person: usize,
    pastes: usize,
    enters: usize,
}

impl Tally {
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (strike, outcomes) in other.outcomes {
            let mine = self.outcomes.entry(strike).or_default();
            outcomes.into_iter().for_each(|(outcome, count)| *mine.entry(outcome).or_default() += count);
        }
        other
            .last_trip
            .into_iter()
            .for_each(|(what, count)| *self.last_trip.entry(what).or_default() += count);
        Self {
            doubles: self.doubles + other.doubles,
            elsewhere: self.elsewhere + other.elsewhere,
            wrong_enters: self.wrong_enters + other.wrong_enters,
            over_person: self.over_person + other.over_person,
            after_pause: self.after_pause + other.after_pause,
            by_person: self.by_person + other.by_person,
            pastes: self.pastes + other.pastes,
            enters: self.enters + other.enters,
            ..self
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.outcomes.values().flat_map(BTreeMap::values).sum()
    }
}

const OUTCOMES: [&str; 6] = ["submitted", "unknown", "refused", "expired", "placed", "forgotten"];

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14}{:>8} {}",
            "in the middle",
            "sends",
            OUTCOMES.map(|name| format!("{name:>10}")).concat()
        )?;
        for (strike, outcomes) in &self.outcomes {
            let name = strike.map_or("nothing".to_owned(), |strike| format!("{strike:?}"));
            let counts =
                OUTCOMES.map(|name| format!("{:>10}", outcomes.get(name).copied().unwrap_or(0))).concat();
            writeln!(f, "{name:<14}{:>8} {counts}", outcomes.values().sum::<usize>())?;
        }
        let Self { doubles, elsewhere, wrong_enters, over_person, after_pause, pastes, enters, .. } = self;
        writeln!(f, "{} sends, {pastes} pastes, {enters} Enters", self.count())?;
        writeln!(
            f,
            "doubles {doubles}, reached another pane or process {elsewhere}, Enter on anything else {wrong_enters}"
        )?;
        writeln!(
            f,
            "over a person known to be there {over_person}, begun after a pause was answered {after_pause}"
        )?;
        writeln!(f, "keys within the last round trip, by outcome: {:?}", self.last_trip)?;
        write!(f, "and {} Enters after a person had submitted the text within that time", self.by_person)
    }
}

impl Simulation {
    /// Somebody sends a text to a pane of a node.
    pub(crate) fn send(&mut self, node: usize, pane: usize, within: Duration, trap: Option<Trap>) {
        let Some(store) = self.head.store() else { return };
        let limb = &self.limbs[node];
        let Some((pane_id, kind, pid)) = limb.mux.pick(pane) else { return };
        let number = self.sends.all.len();
        let mut text = format!("send {number} of {}: go on with part {}", limb.host.name, self.rng.u16(..));
        let named = kind.agent().is_some() && self.rng.u8(..4) != 0;
        if kind.agent().is_some() && self.rng.u8(..6) == 0 {
            text.push_str("\nand then look at what it did");
        }
        let named_shell = self.rng.bool();
        let action = |id, deadline| Action {
            id,
            pane: PaneRef {
                mux: MuxName::main(),
                generation: Generation::new(limb.mux.generation()).unwrap(),
                pane_id,
            },
            deadline,
            fence: 0,
            who: "operator:simulation".to_owned(),
            expect_agent: kind.agent().filter(|_| named),
            expect_agent_pid: named.then_some(pid),
            expect_shell: kind.agent().is_none() && named_shell,
            trace_parent: String::new(),
            verb: Verb::Send { text: text.clone(), enter: true },
        };
        let host = Name::new(limb.host.name.as_str()).unwrap();
        let queue = async {
            let action = action(ActionId::generate(), clock::now() + within);
            let queued = action.clone();
            let done = store.write(move |tx| {
                tx.enqueue(&host, queued, None, None, "a text").map(|queued| queued.action.fence)
            });
            done.await.map(|fence| Action { fence, ..action })
        };
        let Some(Ok(action)) = self.head.host.within(queue) else { return };
        if let Some(trap) = trap {
            limb.mux.arm(pane_id, trap);
        }
        self.note(format_args!(
            "send {number}, action {}, to pane {pane_id} of {}",
            action.id, limb.host.name
        ));
        self.sends.all.push(Send { node, action, text, strike: trap.map(|trap| trap.strike) });
    }

    /// Does what a strike on a pane asks of the engine.
    pub(crate) fn obey(&mut self, node: usize) {
        for strike in self.limbs[node].mux.take_orders() {
            self.note(format_args!("{strike:?}"));
            let long = Duration::from_millis(self.rng.u64(50..6_000));
            match strike {
                Strike::KillHead => {
                    self.later(Duration::ZERO, Deed::KillHead);
                    self.later(long / 3, Deed::StartHead);
                }
                Strike::Cut => {
                    let (up, down) = [(true, true), (true, false), (false, true)][self.rng.usize(..3)];
                    self.later(Duration::ZERO, Deed::Cut { node, up, down });
                    self.later(long, Deed::Mend { node });
                }
                Strike::Pause => self.later(Duration::ZERO, Deed::Pause { long: long / 3 }),
                Strike::Again => {
                    let of_node = self.sends.all.iter().filter(|send| send.node == node);
                    let last = of_node.map(|send| send.action.clone()).rev().take(3);
                    last.for_each(|action| self.limbs[node].again(action));
                }
                _ => {}
            }
        }
    }
}

/// What came of each send.
pub(crate) fn judge(simulation: &Simulation) -> Result<Tally, Broken> {
    let mut tally = Tally::default();
    let Some(database) = database(simulation) else {
        return Err(Broken { promise: "liveness", how: format!("{} is not up", controller::NAME) });
    };
    let got: Vec<Vec<Got>> = simulation.limbs.iter().map(|limb| limb.mux.got()).collect();
    let quiet = simulation.desk.quiet();
    for send in &simulation.sends.all {
        let outcome: Option<(String, String)> = database
            .query_row(
                "SELECT outcome, reason FROM outbox WHERE action_id = ?1",
                [send.action.id.as_bytes()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .unwrap();
        let (outcome, reason) = outcome.unwrap_or_else(|| ("forgotten".to_owned(), String::new()));
        let of_it: Vec<&Got> = got[send.node].iter().filter(|got| got.text == send.text).collect();
        let all: Vec<&Got> = got[send.node].iter().collect();
        let problem = judge_one(send, &outcome, &of_it, &all, &quiet, &mut tally);
        if let Some(problem) = problem {
            let keys: Vec<_> = of_it.iter().map(|got| format!("{got:?}")).collect();
            return Err(Broken {
                promise: "A1-A3",
                how: format!(
                    "{problem}: action {} for pane {} of {} ({:?} in the middle) is {outcome}: {reason}\n  {}",
                    send.action.id,
                    send.action.pane.pane_id,
                    simulation.limbs[send.node].host.name,
                    send.strike,
                    keys.join("\n  ")
                ),
            });
        }
        *tally.outcomes.entry(send.strike).or_default().entry(outcome).or_default() += 1;
    }
    // A person may submit what they typed themselves.
    let strays = got.iter().flatten().filter(|got| matches!(got.key, Key::Enter(_)) && got.text.is_empty());
    let strays = strays.count();
    if strays > 0 {
        return Err(Broken {
            promise: "A1",
            how: format!("{strays} Enters were pressed where nothing had been pasted"),
        });
    }
    Ok(tally)
}

pub(crate) fn judge_one(
    send: &Send,
    outcome: &str,
    of_it: &[&Got],
    all: &[&Got],
    quiet: &[super::desk::Quiet],
    tally: &mut Tally,
) -> Option<String> {
    let pastes: Vec<&&Got> = of_it.iter().filter(|got| got.key == Key::Paste).collect();
    let enters: Vec<&&Got> = of_it.iter().filter(|got| matches!(got.key, Key::Enter(_))).collect();
    tally.pastes += pastes.len();
    tally.enters += enters.len();
    // Wherever it was submitted, by whom ever, alone or with other text.
    let pieces = all.iter().filter_map(|got| match &got.key {
        Key::Enter(Entered::Submitted(pieces)) | Key::PersonEnter(pieces) => Some((got, pieces)),
        _ => None,
    });
    let submitted: Vec<_> =
        pieces.filter(|(_, pieces)| pieces.iter().any(|piece| piece.text == send.text)).collect();
    if pastes.len() > 1 || submitted.len() > 1 {
        tally.doubles += 1;
        return Some("a double".to_owned());
    }
    let wanted = &send.action.pane;
    let is_there = |got: &&&Got| {
        got.pane == wanted.pane_id
            && got.generation == wanted.generation.as_str()
            && (got.key != Key::Paste || send.action.expect_agent_pid.is_none_or(|pid| pid == got.pid))
    };
    if !pastes.iter().chain(&enters).all(is_there) {
        tally.elsewhere += 1;
        return Some("it reached another pane or process".to_owned());
    }
    let keys = || pastes.iter().chain(&enters);
    if keys().any(|got| got.fit == Fit::Wrong) {
        tally.wrong_enters += 1;
        return Some("a key on what was seen to be something else".to_owned());
    }
    if keys().any(|got| got.over_person) {
        tally.over_person += 1;
        return Some("a key while a person was known to be there".to_owned());
    }
    if pastes.iter().any(|got| quiet.iter().any(|quiet| (quiet.from..quiet.until).contains(&got.at))) {
        tally.after_pause += 1;
        return Some("it began after a pause was answered".to_owned());
    }
    // A person has pressed Enter for us a moment before: what ours found is not ours, and what is told of the text is true.
    let for_us =
        submitted.iter().find(|(got, pieces)| matches!(got.key, Key::PersonEnter(_)) && pieces.len() == 1);
    let for_us = for_us.map_or(Duration::MAX, |(got, _)| got.at);
    let (after, late): (Vec<&&Got>, Vec<&&Got>) =
        keys().copied().filter(|got| got.fit == Fit::LastTrip).partition(|got| got.at >= for_us);
    tally.by_person += after.len();
    let late = late.len();
    if late > 0 {
        *tally.last_trip.entry(outcome.to_owned()).or_default() += late;
        if !matches!(outcome, "unknown" | "refused") {
            return Some("a key fell into the last round trip".to_owned());
        }
    }
    let alone = submitted.iter().any(|(_, pieces)| pieces.len() == 1);
    let fits = match outcome {
        "submitted" => alone && pastes.len() == 1,
        "unknown" => true,
        _ => pastes.is_empty() && enters.is_empty(),
    };
    let enough = enters.len() <= 3;
    (!fits || !enough).then(|| "the outcome is not what happened".to_owned())
}
