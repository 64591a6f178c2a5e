//! What must hold, under the names that the design gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use wa_proto::Lane;

use super::engine::Simulation;
use super::node::text;
use super::ran;

/// A promise that did not hold.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    pub(crate) how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not hold: {}", self.promise, self.how)
    }
}

pub(crate) fn broken<T>(promise: &'static str, how: String) -> Result<T, Broken> {
    Err(Broken { promise, how })
}

/// The controller's database, for reading.
pub(crate) fn database(simulation: &Simulation) -> Option<Connection> {
    simulation.head.running()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Some(Connection::open_with_flags(simulation.head.database(), flags).unwrap())
}

/// L1: what a node has let go of is in the controller's log, and nothing is there that the node never wrote.
pub(crate) fn marks(simulation: &Simulation) -> Result<(), Broken> {
    let Some(database) = database(simulation) else { return Ok(()) };
    for limb in &simulation.limbs {
        let Some(spool) = limb.spool() else { continue };
        let status = spool.status();
        for (lane, number, range) in [(Lane::Events, 1, status.events), (Lane::Bulk, 2, status.bulk)] {
            let acked: i64 = database
                .query_row(
                    "SELECT coalesce(max(acked), 0) FROM spools WHERE host = ?1 AND spool_id = ?2 AND lane = ?3",
                    rusqlite::params![limb.host.name, status.id.as_bytes(), number],
                    |row| row.get(0),
                )
                .unwrap();
            let acked = acked.cast_unsigned();
            if limb.is_ample() && range.first > acked + 1 {
                return broken(
                    "L1",
                    format!(
                        "{} let go of {lane} up to {}, and the controller has them up to {acked}",
                        limb.host.name,
                        range.first - 1
                    ),
                );
            }
            if acked >= range.next {
                return broken(
                    "L1",
                    format!(
                        "the controller acknowledged {lane} {acked} of {}, which has them up to {}",
                        limb.host.name,
                        range.next - 1
                    ),
                );
            }
        }
    }
    Ok(())
}

/// Everything that was spooled has arrived.
pub(crate) fn is_settled(simulation: &Simulation) -> bool {
    simulation.head.host.is_up()
        && simulation.limbs.iter().all(|limb| {
            limb.spool().is_some_and(|spool| {
                let status = spool.status();
                status.events.first == status.events.next && status.bulk.first == status.bulk.next
            })
        })
        && database(simulation).is_some_and(|database| {
            let open = "SELECT (SELECT count(*) FROM outbox WHERE settled_us IS NULL)
                        + (SELECT count(*) FROM approvals WHERE state = 'open')";
            database.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap() == 0 && ran::is_over(&database)
        })
}

pub(crate) fn unsettled(simulation: &Simulation) -> Broken {
    let spools: Vec<_> = simulation
        .limbs
        .iter()
        .map(|limb| format!("{}: {:?}", limb.host.name, limb.spool().map(|spool| spool.status())))
        .collect();
    let runs = ran::unsettled(simulation);
    let open = "SELECT (SELECT group_concat(hex(action_id) || ' ' || summary, ', ') FROM outbox WHERE settled_us IS NULL),
                (SELECT group_concat(n || ' ' || summary, ', ') FROM approvals WHERE state = 'open')";
    let open: Option<(Option<String>, Option<String>)> = database(simulation)
        .map(|database| database.query_row(open, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap());
    Broken {
        promise: "liveness",
        how: format!(
            "not everything arrived: {}; {runs}; open actions and approvals: {open:?}",
            spools.join("; ")
        ),
    }
}

/// A node whose clock is wrong is told by how much.
pub(crate) fn skew(simulation: &mut Simulation) -> Result<(), Broken> {
    let ahead = SignedDuration::from_secs(90);
    simulation.limbs[0].host.machine.jump(ahead);
    // A few heartbeats, and the time until what they said is stored: a node with a short certificate may have to come back.
    let until = simulation.now + Duration::from_secs(60);
    let mut told = None;
    while simulation.now < until {
        let pause = simulation.now + Duration::from_secs(2);
        while simulation.now < pause {
            simulation.step();
        }
        let Some(database) = database(simulation) else { return Ok(()) };
        let name = &simulation.limbs[0].host.name;
        let skew: i64 = database
            .query_row("SELECT skew_ms FROM nodes WHERE host = ?1", [name], |row| row.get(0))
            .unwrap();
        if skew.abs_diff(i64::try_from(ahead.as_millis()).unwrap()) <= 1000 {
            return Ok(());
        }
        told = Some(skew);
    }
    let name = &simulation.limbs[0].host.name;
    broken("skew", format!("{name} is {ahead} ahead, and is told to be {told:?} ms"))
}

/// A node that is revoked is cut off within five seconds, and nothing of it is accepted any more.
pub(crate) fn revocation(simulation: &mut Simulation) -> Result<(), Broken> {
    let name = simulation.limbs[0].host.name.clone();
    // A controller whose clock was ahead until now replaces its certificate within a minute; until then nobody trusts it.
    let patience = simulation.now + Duration::from_secs(90);
    loop {
        let answered = simulation.desk.revoke(&simulation.head, &name);
        let until = simulation.now + Duration::from_secs(20);
        while answered.get().is_none() && simulation.now < until {
            simulation.step();
        }
        match answered.get() {
            Some(Ok(())) => break,
            Some(Err(problem)) if problem.contains("does not hold now") && simulation.now < patience => {
                let pause = simulation.now + Duration::from_secs(5);
                while simulation.now < pause {
                    simulation.step();
                }
            }
            other => return broken("S1", format!("revoking {name}: {other:?}")),
        }
    }
    let cut = simulation.now + Duration::from_secs(5);
    while simulation.now < cut {
        simulation.step();
    }
    let before = acked(simulation, &name);
    let limb = &simulation.limbs[0];
    if let Some(spool) = limb.spool().cloned() {
        limb.host.within(async { drop(spool.append_durable(super::node::late()).await) });
    }
    let until = simulation.now + Duration::from_secs(20);
    while simulation.now < until {
        simulation.step();
        let nodes = simulation.head.running().map(|running| running.registry().nodes()).unwrap_or_default();
        if nodes.iter().any(|node| node.host.as_str() == name && node.connected) {
            return broken("S1", format!("{name} was revoked, and has a stream"));
        }
    }
    if acked(simulation, &name) != before {
        return broken("S1", format!("{name} was revoked, and something of it was accepted"));
    }
    Ok(())
}

/// What was ever accepted of a node, over all its spools.
fn acked(simulation: &Simulation, name: &str) -> i64 {
    let sum = "SELECT coalesce(sum(acked), 0) FROM spools WHERE host = ?1";
    database(simulation).map_or(0, |database| database.query_row(sum, [name], |row| row.get(0)).unwrap())
}

/// L1 and L2 over the whole log: (lines, events) in it.
pub(crate) fn log(simulation: &Simulation) -> Result<(usize, usize), Broken> {
    let Some(database) = database(simulation) else {
        return broken("liveness", "the controller is not up".to_owned());
    };
    let (mut lines, mut events) = (0, 0);
    for limb in &simulation.limbs {
        let name = &limb.host.name;
        let found = lines_of(&database, name);
        let gaps = gaps_of(&database, name);
        let told = limb.ledger.lock();
        for (place, row) in &found {
            let printed = told.lines.get(place).map(|length| text(name, place.0, place.1, *length));
            if printed.as_ref() != Some(row) {
                return broken("L2", format!("{name} never printed {row:?} at {place:?}"));
            }
        }
        let missing: BTreeSet<_> =
            told.durable_lines.iter().filter(|place| !found.contains_key(place)).collect();
        if let Some(first) = missing.first() {
            let named: i64 = gaps.values().sum();
            if limb.is_ample() || named < i64::try_from(missing.len()).unwrap() {
                return broken(
                    "L1",
                    format!(
                        "{} lines of {name} that were durable are not in the log, {named} are named by gaps; the first is {first:?}",
                        missing.len()
                    ),
                );
            }
        }
        let ids = events_of(&database, name);
        let lost = told.durable_events.iter().find(|id| !ids.contains(*id));
        // A spool that is full of events lets go of events.
        if let Some(lost) = lost.filter(|_| limb.is_ample()) {
            return broken(
                "L1",
                format!(
                    "event {} of {name} was durable and is not in the log",
                    uuid::Uuid::from_bytes(*lost)
                ),
            );
        }
        if let Some(alien) = ids.iter().find(|id| !told.events.contains(*id)) {
            return broken(
                "L2",
                format!("event {} of {name} never happened", uuid::Uuid::from_bytes(*alien)),
            );
        }
        lines += found.len();
        events += ids.len();
    }
    Ok((lines, events))
}

type Lines = BTreeMap<(u64, i64), String>;

fn lines_of(database: &Connection, host: &str) -> Lines {
    let mut query = database
        .prepare(
            "SELECT pane_id, row, text FROM log JOIN streams ON streams.id = log.stream
             WHERE host = ?1 AND ord = 1 AND generation = 'simulated'",
        )
        .unwrap();
    let rows = query
        .query_map([host], |row| Ok(((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?), row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Rows that gaps name, by pane.
fn gaps_of(database: &Connection, host: &str) -> BTreeMap<i64, i64> {
    let mut query = database
        .prepare(
            "SELECT pane_id, sum(rows) FROM log JOIN streams ON streams.id = log.stream
             WHERE host = ?1 AND cause IS NOT NULL GROUP BY pane_id",
        )
        .unwrap();
    let rows = query.query_map([host], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0))));
    rows.unwrap().map(Result::unwrap).collect()
}

fn events_of(database: &Connection, host: &str) -> BTreeSet<[u8; 16]> {
    let mut query = database.prepare("SELECT id FROM events WHERE host = ?1 AND event = 'bell'").unwrap();
    let rows = query.query_map([host], |row| row.get(0));
    rows.unwrap().map(Result::unwrap).collect()
}

/// A1: no key is pressed twice, and what an outcome claims is what the pane saw. How many actions ended how.
pub(crate) fn actions(simulation: &Simulation) -> Result<BTreeMap<String, usize>, Broken> {
    let Some(database) = database(simulation) else {
        return broken("liveness", "the controller is not up".to_owned());
    };
    let mut ended = BTreeMap::new();
    for asked in &simulation.asked {
        let limb = &simulation.limbs[asked.node];
        let pressed = limb.mux.presses(asked.key).len();
        let outcome: Option<String> = database
            .query_row("SELECT outcome FROM outbox WHERE action_id = ?1", [asked.id.as_bytes()], |row| {
                row.get(0)
            })
            .optional()
            .unwrap();
        // A controller that lost its power before it had said anything of it does not know it any more.
        let outcome = outcome.unwrap_or_else(|| "forgotten".to_owned());
        let fits = match outcome.as_str() {
            "submitted" => pressed == 1,
            "unknown" => pressed <= 1,
            _ => pressed == 0,
        };
        if !fits {
            return broken(
                "A1",
                format!(
                    "action {} on {} is {outcome}, and its key came {pressed} times",
                    asked.id, limb.host.name
                ),
            );
        }
        *ended.entry(outcome).or_default() += 1;
    }
    Ok(ended)
}
