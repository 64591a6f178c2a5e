//! Identities while everything fails: certificates that hold for a minute and are renewed at half of it, another CA in
//! the place of the present one, and a host that comes in with a token in the middle of the trouble.
//!
//! Constraints: what is judged is what people would miss: nobody is locked out by faults alone; a token lets one key in;
//! files that hold keys are whole and private at any time; who was revoked stays out, also by recovery. What the seed
//! decides about identities is drawn apart from everything else, so that other runs of the same seed stay as they are.
//!
//! Operation: [`Identities::tend`] is asked with each step; `joining.rs` is the host that comes in. [`judge`] looks at a
//! fleet that has settled, and [`revoked`] at one of which a node was revoked.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use jiff::SignedDuration;
use wa_controller::identity::ca::NODE_LIFE;
use wa_controller::identity::peer::Peer;
use wa_controller::identity::rotation::{Step, rotate};
use wa_link::context::Context;
use wa_link::tls;
use wa_node::config::{agent_context_path, policy_path};

use super::check::{self, Broken, broken};
use super::engine::Simulation;
use super::host::epoch;
use super::joining::Guest;

/// Within this all are connected again after something that cut them off, without faults.
const BACK: Duration = Duration::from_secs(90);

/// What a seed decides.
pub(crate) struct Identities {
    pub(crate) rng: fastrand::Rng,
    /// How long nodes' certificates hold.
    pub(crate) life: SignedDuration,
    /// The next step of a rotation, and when it may be taken.
    rotation: Option<(Duration, Step)>,
    /// The last of the nodes comes in later.
    pub(crate) guest: Option<Guest>,
}

impl Identities {
    /// A run that is about something else.
    pub(crate) fn at_rest() -> Self {
        Self { rng: fastrand::Rng::with_seed(0), life: NODE_LIFE, rotation: None, guest: None }
    }

    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x1d_e271_7135);
        let life = SignedDuration::from_secs(rng.i64(30..80));
        let rotates = rng.u8(..3) == 0;
        let rotation = rotates.then(|| (Duration::from_millis(rng.u64(2_000..30_000)), Step::Prepare));
        let guest = (rng.u8(..3) != 0).then(|| Guest::at(Duration::from_millis(rng.u64(1_000..50_000))));
        Self { rng, life, rotation, guest }
    }

    pub(crate) fn are_at_rest(&self) -> bool {
        self.life == NODE_LIFE
    }
}

/// What somebody does about identities now.
pub(crate) fn tend(simulation: &mut Simulation) {
    rotate_when_due(simulation);
    super::joining::tend(simulation);
}

/// The controller is stopped for the step, as somebody would do it who has looked at what the nodes hold.
fn rotate_when_due(simulation: &mut Simulation) {
    let Some((_, step)) = simulation.identity.rotation.filter(|(at, _)| *at <= simulation.now) else {
        return;
    };
    let again = simulation.now + Duration::from_millis(simulation.identity.rng.u64(500..6_000));
    simulation.identity.rotation = Some((again, step));
    let head = &simulation.head;
    // Nobody replaces a CA by a clock that is wrong: the operator's own context would be made by it.
    if !head.host.is_up()
        || head.is_silent()
        || head.host.machine.ahead_s() != 0
        || !is_time_for(simulation, step)
    {
        return;
    }
    simulation.note(format_args!("the CA: {step:?}"));
    simulation.crash_head(false);
    // As if days had passed: that everybody has heard of the step before was seen.
    let days = SignedDuration::from_hours(if step == Step::Prepare { 0 } else { 24 * 10 });
    let now = epoch() + SignedDuration::try_from(simulation.now).unwrap_or_default() + days;
    let here = simulation.head.host.enter();
    let rotated = rotate(&simulation.head.folder().join("ca"), step, now);
    drop(here);
    match rotated {
        Ok(_) => {
            let next = match step {
                Step::Prepare => Some((again, Step::Switch)),
                Step::Switch => Some((again, Step::Finish)),
                Step::Finish => None,
            };
            simulation.identity.rotation = next;
        }
        Err(error) => simulation.note(format_args!("the CA: {error}")),
    }
    simulation.start_head();
}

/// Whether every node has renewed since the step before.
fn is_time_for(simulation: &Simulation, step: Step) -> bool {
    let ca = simulation.head.folder().join("ca");
    let wanted = match step {
        Step::Prepare => return true,
        Step::Switch => std::fs::read_to_string(ca.join("next.pem")),
        Step::Finish => std::fs::read_to_string(ca.join("ca.pem")),
    };
    let wanted = wanted.unwrap();
    simulation.limbs.iter().filter_map(|limb| Context::load(&limb.identity()).ok()).all(|context| {
        let trusted = &context.identity.ca_pem;
        // The one that signed comes first.
        if step == Step::Finish { trusted.starts_with(&wanted) } else { trusted.contains(&wanted) }
    })
}

// ---- what must hold

/// Files that hold keys are whole and private at any time, and the one that says that a host is enrolled came last.
pub(crate) fn files(simulation: &Simulation) -> Result<(), Broken> {
    for limb in &simulation.limbs {
        let folder = &limb.host.folder;
        let (identity, agent) = (limb.identity(), agent_context_path(folder));
        for path in [&identity, &agent] {
            if !path.exists() {
                continue;
            }
            if let Err(error) = Context::load(path) {
                return broken("identity", format!("a file of {}: {error}", limb.host.name));
            }
            let mode = std::fs::metadata(path).unwrap().mode() & 0o777;
            if mode != 0o600 {
                return broken("identity", format!("{} has mode {mode:o}", path.display()));
            }
        }
        let is_guest = limb.is_guest();
        if is_guest && identity.exists() && !(agent.exists() && policy_path(folder).exists()) {
            return broken("identity", format!("{} is enrolled, and has not all of it", limb.host.name));
        }
    }
    Ok(())
}

/// Who has nothing to send may still wait for the next attempt.
pub(crate) fn all_are_in(simulation: &mut Simulation) -> Result<(), Broken> {
    // A rotation may rest between two steps.
    simulation.identity.rotation = None;
    if simulation.identity.are_at_rest() { Ok(()) } else { come_back(simulation, 0) }
}

/// A fleet without faults: all are in, and renew on their streams without losing them.
pub(crate) fn judge(simulation: &mut Simulation) -> Result<(), Broken> {
    if simulation.identity.are_at_rest() {
        return Ok(());
    }
    come_back(simulation, 0)?;
    files(simulation)?;
    let before = held(simulation, 0)?;
    let sessions = sessions(simulation);
    // Half a life, and a minute for those who have just been told of another CA.
    let calm = Duration::try_from(simulation.identity.life / 2).unwrap_or_default() + Duration::from_secs(4);
    pass(simulation, calm);
    come_back(simulation, 0)?;
    files(simulation)?;
    let after = held(simulation, 0)?;
    for (limb, (old, new)) in simulation.limbs.iter().zip(before.iter().zip(&after)) {
        if old.serial == new.serial && is_past_half(simulation, new) {
            return broken("identity", format!("{} did not renew at half life", limb.host.name));
        }
    }
    if self::sessions(simulation) != sessions {
        return broken("identity", "a stream was lost over a renewal".to_owned());
    }
    super::joining::judge(simulation)
}

/// A node that was revoked does not come back with its old key; all others do, although all certificates have run out.
pub(crate) fn revoked(simulation: &mut Simulation) -> Result<(), Broken> {
    if simulation.identity.are_at_rest() {
        return Ok(());
    }
    let name = simulation.limbs[0].host.name.clone();
    simulation.note("every certificate runs out");
    // Also those that were made while the controller's clock went ahead.
    let life = simulation.identity.life + SignedDuration::from_hours(48);
    simulation.head.host.machine.jump(life);
    simulation.limbs.iter().for_each(|limb| limb.host.machine.jump(life));
    pass(simulation, Duration::from_secs(3));
    come_back(simulation, 1)?;
    held(simulation, 1)?;
    let refused = "SELECT count(*) FROM audit WHERE what = 'recover' AND decision = 'refused' AND target = ?1
         AND detail LIKE '%revoked%'";
    let until = simulation.now + BACK;
    let target = format!("spiffe://wa/node/{name}");
    while count(simulation, refused, &target) == 0 {
        if simulation.now > until {
            return broken("S1", format!("{name} was revoked, and its recovery is not in the audit trail"));
        }
        pass(simulation, Duration::from_secs(1));
    }
    let live = "SELECT count(*) FROM certificates WHERE role = 'node' AND name = ?1 AND revoked_us IS NULL";
    if count(simulation, live, &name) != 0 || is_connected(simulation, &name) {
        return broken("S1", format!("{name} was revoked, and is in again"));
    }
    Ok(())
}

/// Lets time pass.
pub(crate) fn pass(simulation: &mut Simulation, time: Duration) {
    let until = simulation.now + time;
    while simulation.now < until {
        simulation.step();
    }
}

/// All nodes but the first few are connected, soon.
fn come_back(simulation: &mut Simulation, first: usize) -> Result<(), Broken> {
    let until = simulation.now + BACK;
    loop {
        let away: Vec<&str> = simulation.limbs[first..]
            .iter()
            .map(|limb| limb.host.name.as_str())
            .filter(|name| !is_connected(simulation, name))
            .collect();
        if away.is_empty() {
            return Ok(());
        }
        if simulation.now > until {
            return broken("identity", format!("locked out by faults alone: {}", away.join(", ")));
        }
        pass(simulation, Duration::from_millis(500));
    }
}

fn is_connected(simulation: &Simulation, name: &str) -> bool {
    let nodes = simulation.head.running().map(|running| running.registry().nodes()).unwrap_or_default();
    nodes.iter().any(|node| node.host.as_str() == name && node.connected)
}

/// The certificates that the nodes hold: each is known to the controller, not revoked, and holds now.
fn held(simulation: &Simulation, first: usize) -> Result<Vec<Peer>, Broken> {
    let Some(database) = check::database(simulation) else {
        return broken("liveness", "the controller is not up".to_owned());
    };
    let here = simulation.head.host.enter();
    let now = wa_link::clock::now();
    drop(here);
    let mut held = Vec::new();
    for limb in &simulation.limbs[first..] {
        let name = &limb.host.name;
        let context = Context::load(&limb.identity()).unwrap();
        let pem = &context.identity.certificate_pem;
        let peer = Peer::of_pem(pem).unwrap();
        let serial = &peer.serial;
        let known = database
            .query_row(
                "SELECT revoked_us IS NULL FROM certificates WHERE serial = ?1 AND role = 'node' AND name = ?2",
                [serial, name],
                |row| row.get::<_, bool>(0),
            )
            .unwrap_or(false);
        let (from, to) = tls::certificate_validity(pem).unwrap();
        if !known || now < from || now >= to {
            return broken(
                "identity",
                format!(
                    "{name} holds {serial}, from {from} to {to}; known to the controller: {known}; it is {now}"
                ),
            );
        }
        held.push(peer);
    }
    Ok(held)
}

/// Since a while. A controller whose clock went ahead dated it later.
fn is_past_half(simulation: &Simulation, peer: &Peer) -> bool {
    let half = peer.issued + simulation.identity.life / 2 + SignedDuration::from_secs(3);
    epoch() + SignedDuration::try_from(simulation.now).unwrap_or_default() > half
}

pub(crate) fn count(simulation: &Simulation, query: &str, of: &str) -> i64 {
    check::database(simulation)
        .map_or(0, |database| database.query_row(query, [of], |row| row.get(0)).unwrap())
}

/// How many the controller has begun since it started.
fn sessions(simulation: &Simulation) -> Option<String> {
    let told = simulation.head.running()?.metrics().render();
    told.lines().find(|line| line.starts_with("wa_controller_sessions_total ")).map(str::to_owned)
}
