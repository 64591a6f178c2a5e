//! What must hold of answers, judged from the database, from what the panes saw and from what people were told.
//!
//! A1 to A3: an answer presses its keys on the dialog that it was meant for and takes the choice that it names, at most
//! once, whatever was sent again; `submitted` only if it did; nothing after a refusal; a dialog that took its place within
//! the last round trip is counted apart, and never claimed. Of what waits for a person: nothing happens that nobody
//! allowed, nor what was denied, ran out or was revoked, nor twice; all of it ends with an outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};
use wa_proto::ActionId;

use super::check::{Broken, broken, database};
use super::dialogs::{What, Wish, Word};
use super::engine::Simulation;
use super::program::{Entered, Kind};
use super::strikes::{Got, Pressed};

/// A permit that was given a moment before counts for so long.
const PERMIT: Duration = Duration::from_millis(1_250);

#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers to dialogs by outcome, and held texts by how their approval ended.
    answers: BTreeMap<String, usize>,
    approvals: BTreeMap<String, usize>,
    /// Keys within the last round trip, by outcome.
    last_trip: BTreeMap<String, usize>,
    keys: usize,
    /// Answers that were claimed, for the dialog went away: by itself, after an Enter that was lost, or that came when it had
    /// gone already and that could not be seen yet.
    unseen: usize,
}

fn add(to: &mut BTreeMap<String, usize>, what: &str, count: usize) {
    *to.entry(what.to_owned()).or_default() += count;
}

impl Tally {
    pub(crate) fn and(mut self, other: Self) -> Self {
        let mine = [&mut self.answers, &mut self.approvals, &mut self.last_trip];
        for (mine, more) in mine.into_iter().zip([other.answers, other.approvals, other.last_trip]) {
            more.iter().for_each(|(what, count)| add(mine, what, *count));
        }
        Self { keys: self.keys + other.keys, unseen: self.unseen + other.unseen, ..self }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answers, approvals, last_trip, keys, unseen } = self;
        write!(
            f,
            "answers to dialogs {answers:?} with {keys} keys, of them within the last round trip {last_trip:?}, and {unseen} \
             claimed whose Enter did something else; approvals {approvals:?}"
        )
    }
}

/// An approval as it is stored.
struct Approval {
    n: i64,
    action: ActionId,
    summary: String,
    state: String,
    answered_us: Option<i64>,
    until_us: i64,
}

fn approvals(database: &Connection) -> Vec<Approval> {
    let mut query = database
        .prepare("SELECT n, action_id, summary, state, answered_us, until_us FROM approvals ORDER BY n")
        .unwrap();
    let rows = query.query_map([], |row| {
        let action: Vec<u8> = row.get(1)?;
        Ok(Approval {
            n: row.get(0)?,
            action: ActionId::from_slice(&action).unwrap(),
            summary: row.get(2)?,
            state: row.get(3)?,
            answered_us: row.get(4)?,
            until_us: row.get(5)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Its outcome in the outbox, if it is there.
fn outcome(database: &Connection, action: ActionId) -> Option<String> {
    let found =
        database.query_row("SELECT outcome FROM outbox WHERE action_id = ?1", [action.as_bytes()], |row| {
            row.get::<_, Option<String>>(0)
        });
    found.optional().unwrap().map(|outcome| outcome.unwrap_or_else(|| "open".to_owned()))
}

/// What a wish became: one action, held or not.
fn action_of(database: &Connection, wish: &Wish) -> Option<ActionId> {
    let told = wish.told.get().and_then(|(_, told)| told.as_ref().ok()).and_then(|(action, _)| *action);
    if told.is_some() || wish.key.is_empty() {
        return told;
    }
    let by_key = "SELECT action_id FROM outbox WHERE idempotency_key = ?1
                  UNION SELECT action_id FROM approvals WHERE idempotency_key = ?1";
    let found = database.query_row(by_key, [&wish.key], |row| row.get::<_, Vec<u8>>(0)).optional().unwrap();
    found.and_then(|id| ActionId::from_slice(&id))
}

pub(crate) fn judge(simulation: &Simulation) -> Result<Tally, Broken> {
    let Some(database) = database(simulation) else {
        return broken("liveness", "the controller is not up".to_owned());
    };
    let mut tally = Tally::default();
    let mut meant = BTreeSet::new();
    for wish in &simulation.talks.wishes {
        let Some(action) = action_of(&database, wish) else { continue };
        meant.insert(action);
        let end = outcome(&database, action).unwrap_or_else(|| "held".to_owned());
        let keys: Vec<Pressed> = simulation.limbs[wish.node].mux.pressed();
        let keys: Vec<&Pressed> = keys.iter().filter(|key| key.action == Some(action)).collect();
        tally.keys += keys.len();
        let problem = match &wish.what {
            What::Choose { number, deny } => {
                chosen(simulation, wish, &keys, &end, *deny, |found| found == *number, &mut tally)
            }
            What::Decide { known, deny } => chosen(
                simulation,
                wish,
                &keys,
                &end,
                *deny,
                |found| known.is_none_or(|known| found >= known),
                &mut tally,
            ),
            What::Send(_) => None,
        };
        if !matches!(wish.what, What::Send(_)) {
            add(&mut tally.answers, &end, 1);
        }
        if let Some(problem) = problem {
            return broken(
                "A1-A3",
                format!(
                    "{problem}: {:?}, action {action} in pane {} of {} is {end}\n  {keys:?}",
                    wish.what, wish.pane, simulation.limbs[wish.node].host.name
                ),
            );
        }
    }
    // What a Decide without an answer became is not known, so not whose such a key is.
    let all_known = simulation
        .talks
        .wishes
        .iter()
        .all(|wish| !wish.key.is_empty() || wish.told.get().is_some_and(|(_, told)| told.is_ok()));
    let pressed = simulation.limbs.iter().flat_map(|limb| limb.mux.pressed());
    if let Some(stray) =
        pressed.into_iter().find(|key| all_known && key.action.is_none_or(|action| !meant.contains(&action)))
    {
        return broken("A1", format!("nobody asked for {stray:?}"));
    }
    held(simulation, &database, &mut tally)?;
    Ok(tally)
}

/// Why an answer to a dialog is not what it should be.
fn chosen(
    simulation: &Simulation,
    wish: &Wish,
    keys: &[&Pressed],
    end: &str,
    deny: bool,
    is_meant: impl Fn(u32) -> bool,
    tally: &mut Tally,
) -> Option<String> {
    let enters: Vec<&&Pressed> = keys.iter().filter(|key| key.enter.is_some()).collect();
    if enters.len() > 1 {
        return Some("Enter was pressed more than once".to_owned());
    }
    if keys.iter().any(|key| key.pane != wish.pane) {
        return Some("it reached another pane".to_owned());
    }
    let places: BTreeSet<(&str, u32)> = keys.iter().map(|key| (key.generation.as_str(), key.pid)).collect();
    if places.len() > 1 && keys.iter().any(|key| !key.last_trip) {
        return Some("it reached several processes".to_owned());
    }
    let numbers: BTreeSet<u32> = keys
        .iter()
        .filter(|key| !key.last_trip)
        .filter_map(|key| key.found)
        .map(|found| found.number)
        .collect();
    if keys.iter().any(|key| !key.last_trip && !key.found.is_some_and(|found| is_meant(found.number)))
        || numbers.len() > 1
    {
        return Some("a key on what was seen to be something else".to_owned());
    }
    if keys.iter().any(|key| key.over_person) {
        return Some("a key while a person was known to be there".to_owned());
    }
    let quiet = simulation.desk.quiet();
    let paused = |key: &&Pressed| quiet.iter().any(|quiet| (quiet.from..quiet.until).contains(&key.at));
    if keys.first().is_some_and(paused) {
        return Some("it began after a pause was answered".to_owned());
    }
    let right = |key: &&&Pressed| match key.enter {
        Some(Entered::Answered(dialog)) => {
            let wanted = |kind: Kind| if deny { dialog.labels(kind).len() - 1 } else { 0 };
            is_meant(dialog.number) && dialog.selected == wanted(Kind::Claude)
        }
        _ => false,
    };
    let wrong =
        enters.iter().find(|key| !right(key) && !key.last_trip && key.enter != Some(Entered::Nothing));
    if wrong.is_some() {
        return Some("another choice was taken than the one that was named".to_owned());
    }
    let late = keys.iter().filter(|key| key.last_trip).count();
    if late > 0 {
        add(&mut tally.last_trip, end, late);
    }
    // What the screen shows then is what it would show after an Enter that was taken.
    let unseen = |key: &&&Pressed| key.last_trip || key.enter == Some(Entered::Nothing);
    if end == "submitted" && enters.len() == 1 && !enters.iter().all(right) && enters.iter().all(unseen) {
        tally.unseen += 1;
        return None;
    }
    let fits = match end {
        "submitted" => enters.len() == 1 && enters.iter().all(right),
        "unknown" => true,
        _ => keys.is_empty(),
    };
    (!fits).then(|| "the outcome is not what happened".to_owned())
}

/// When the action touched a pane first.
fn first_touch(simulation: &Simulation, action: ActionId) -> Option<Duration> {
    let touched = simulation.limbs.iter().flat_map(|limb| {
        let got: Vec<Got> = limb.mux.got();
        let of_got = got.into_iter().filter(move |got| got.action == Some(action)).map(|got| got.at);
        let pressed = limb.mux.pressed();
        of_got.chain(pressed.into_iter().filter(move |key| key.action == Some(action)).map(|key| key.at))
    });
    touched.min()
}

/// A2 of what the policy holds: it happens only if somebody has allowed it, and as long as that holds.
fn held(simulation: &Simulation, database: &Connection, tally: &mut Tally) -> Result<(), Broken> {
    let words = simulation.talks.words();
    let all = approvals(database);
    for approval in &all {
        let Approval { n, action, state, .. } = approval;
        let (touched, ended) = (first_touch(simulation, *action), outcome(database, *action));
        let of_it = || words.iter().filter(|word| word.n == *n);
        if let Some(problem) = of_one(approval, of_it, touched, ended.as_deref()) {
            return broken(
                "A2",
                format!(
                    "{problem}: approval-{n} for action {action} is {state}, its action is {ended:?} and touched its pane at \
                     {touched:?}\n  {:?}",
                    of_it().collect::<Vec<_>>()
                ),
            );
        }
        add(&mut tally.approvals, state, 1);
    }
    let revoked =
        simulation.talks.revoked.as_ref().and_then(|told| told.get()).filter(|(_, told)| told.is_ok());
    let allowed = |word: &&Word| word.allow && word.told.as_ref().is_some_and(Result::is_ok);
    let late = revoked.and_then(|(at, _)| words.iter().filter(allowed).find(|word| word.at > *at));
    if let Some(word) = late {
        return broken("A2", format!("Eve was revoked, and then this was allowed: {word:?}"));
    }
    for wish in simulation.talks.wishes.iter().filter(|wish| wish.eve) {
        let Some(action) = action_of(database, wish) else { continue };
        if !all.iter().any(|approval| approval.action == action) && outcome(database, action).is_some() {
            return broken("A2", format!("action {action} of Eve went its way, and nobody was asked"));
        }
        let late =
            revoked.zip(first_touch(simulation, action)).filter(|((at, _), touched)| *touched > *at + PERMIT);
        if let Some(((at, _), touched)) = late {
            return broken(
                "A2",
                format!("action {action} of Eve began at {touched:?}, and she was revoked at {at:?}"),
            );
        }
    }
    Ok(())
}

fn of_one<'a, I: Iterator<Item = &'a Word>>(
    approval: &Approval,
    words: impl Fn() -> I,
    touched: Option<Duration>,
    ended: Option<&str>,
) -> Option<&'static str> {
    if let Some(word) = words().find(|word| word.summary != approval.summary) {
        let _other = word;
        return Some("an answer was given to another one of its name");
    }
    let said = |word: &Word, state: &[&str]| {
        word.told.as_ref().is_some_and(|told| told.as_ref().is_ok_and(|told| state.contains(&told.as_str())))
    };
    match approval.state.as_str() {
        "allowed" => {
            let first = words().filter(|word| word.allow).map(|word| word.at).min();
            if first.is_none() || touched.is_some_and(|at| first.is_none_or(|first| at < first)) {
                return Some("it was done before anybody allowed it");
            }
            if approval.answered_us.is_none_or(|at| at >= approval.until_us) {
                return Some("it was allowed when its time was over");
            }
            if words().any(|word| said(word, &["denied"])) {
                return Some("a person was told that it is denied");
            }
            matches!(ended, None | Some("open")).then_some("it ended without an outcome")
        }
        "denied" | "expired" => {
            if touched.is_some() || ended.is_some() {
                return Some("it was done, and nobody has allowed it");
            }
            if approval.state == "denied" && !words().any(|word| !word.allow) {
                return Some("nobody denied it");
            }
            words()
                .any(|word| said(word, &["allowed", "used"]))
                .then_some("a person was told that it is allowed")
        }
        _ => Some("it did not end"),
    }
}
