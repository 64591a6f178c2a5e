//! The engine: it lets time pass on all hosts, step by step, and makes happen what was planned.
//!
//! A host runs alone until the step's end, then the next; what it sends arrives with a later step. So one seed gives one
//! order of everything. Within a step a host's own timers fire at their exact time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wa_controller::identity::ca::Authority;
use wa_controller::store::Swept;
use wa_link::clock;
use wa_link::context::Context;
use wa_link::principal::{Principal, Role};
use wa_match::Engine;
use wa_proto::action::KeyCode;
use wa_proto::{Action, ActionId, Generation, Host as Name, Key, MuxName, PaneRef, Verb};

use super::accounts;
use super::answered;
use super::check::{self, Broken};
use super::controller::{self, Head};
use super::desk::{self, Desk};
use super::dialogs::{self, Talks};
use super::forgotten::{self, Forgotten};
use super::host::{Host, Machine, epoch};
use super::identity::{self, Identities};
use super::lateness::{self, Lateness, Waits};
use super::network::Network;
use super::node::Limb;
use super::panes::PANE;
use super::plan::{self, Deed, TROUBLE};
use super::ran;
use super::runs::{self, Runs};
use super::sends::{self, Sends, Tally};
use super::trace::Trace;

/// A step while something is on its way, and while nothing is.
const STEP: Duration = Duration::from_millis(10);
const QUIET_STEP: Duration = Duration::from_millis(50);
/// A controller whose clock has been put right notices it with its next commit, or within 30 seconds if there is none.
const NOTICES: Duration = Duration::from_secs(40);
/// After the last fault everything must have settled within this time.
const SETTLES: Duration = Duration::from_secs(240);
const CHECK_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Simulation {
    pub(crate) now: Duration,
    pub(crate) trace: Trace,
    pub(crate) head: Head,
    pub(crate) limbs: Vec<Limb>,
    pub(crate) desk: Desk,
    pub(crate) network: Network,
    pub(crate) rng: fastrand::Rng,
    pub(crate) about: About,
    plan: VecDeque<(Duration, Deed)>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) sends: Sends,
    pub(crate) runs: Runs,
    pub(crate) talks: Talks,
    pub(crate) forgotten: Forgotten,
    pub(crate) identity: Identities,
    pub(crate) lateness: Lateness,
}

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Everything,
    Sends,
    /// As everything, and certificates run out all the time.
    Identity,
    /// How long events wait on narrow links.
    Lateness,
    /// As everything but runs, and people answer dialogs and approvals.
    Approvals,
    /// As everything, and panes meet limits and change accounts.
    Accounts,
    /// As both, and what is over is removed.
    Retention,
}

impl About {
    pub(crate) fn has_approvals(self) -> bool {
        matches!(self, Self::Approvals | Self::Retention)
    }
}

/// An action that the controller took: one key of its own, so that it can be told from all others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) id: ActionId,
    pub(crate) node: usize,
    pub(crate) key: char,
}

/// What a run came to, or several.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) lines: usize,
    pub(crate) events: usize,
    /// How many ended so.
    pub(crate) actions: BTreeMap<String, usize>,
    pub(crate) sends: Tally,
    pub(crate) runs: ran::Tally,
    pub(crate) talks: answered::Tally,
    pub(crate) swept: Swept,
    pub(crate) leases: usize,
    pub(crate) waits: Waits,
    /// Of simulated time.
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (outcome, count) in other.actions {
            *self.actions.entry(outcome).or_default() += count;
        }
        Self {
            actions: self.actions,
            leases: self.leases + other.leases,
            lines: self.lines + other.lines,
            events: self.events + other.events,
            sends: self.sends.and(other.sends),
            runs: self.runs.and(other.runs),
            talks: self.talks.and(other.talks),
            swept: {
                self.swept.add(other.swept);
                self.swept
            },
            waits: self.waits.and(other.waits),
            took: self.took + other.took,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, events, actions, took, .. } = self;
        let took = took.as_secs();
        write!(
            f,
            "{lines} lines and {events} events logged, actions {actions:?}, in {took} simulated seconds"
        )
    }
}

impl Simulation {
    pub(crate) fn new(seed: u64, base: &Path, engine: &Arc<Engine>, trace: Trace, about: About) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // What the programs draw comes from the seed as well.
        fastrand::seed(rng.u64(..));
        let mut ids = rng.fork();
        wa_proto::ids::take_ids_from(Some(Box::new(move || {
            let ms = u64::try_from(wa_link::clock::now().as_millisecond()).unwrap_or(0);
            uuid::Builder::from_unix_timestamp_millis(ms, &std::array::from_fn(|_| ids.u8(..))).into_uuid()
        })));
        let network = Network::new(rng.fork(), trace.clone());
        let host = Host::new(controller::NAME, base, &network, rng.fork());
        let identity = if about == About::Identity { Identities::draw(seed) } else { Identities::at_rest() };
        let head = Head::new(host, rng.fork(), identity.life);
        let mut limbs: Vec<Limb> = (1..=rng.usize(1..=3))
            .map(|n| {
                let host = Host::new(&format!("node-{n}"), base, &network, rng.fork());
                Limb::new(host, rng.fork(), engine, &trace)
            })
            .collect();
        let desk = Desk::new(Host::new(desk::NAME, base, &network, rng.fork()));
        let mut lateness = Lateness::default();
        let plan = match about {
            About::Everything | About::Identity | About::Approvals | About::Accounts | About::Retention => {
                plan::draw(&mut rng, limbs.len())
            }
            About::Sends => {
                limbs.iter().for_each(|limb| limb.ledger.lock().quiet = true);
                plan::draw_sends(&mut rng, limbs.len())
            }
            About::Lateness => {
                let drawn = lateness::draw(seed, limbs.len());
                lateness = drawn.0;
                lateness.lay(&network, &mut limbs);
                drawn.1
            }
        };
        limbs.last_mut().filter(|_| identity.guest.is_some()).into_iter().for_each(Limb::becomes_guest);
        let plan = plan::with(plan, runs::draw(seed, limbs.len(), about));
        let plan = plan::with(plan.into(), dialogs::draw(seed, limbs.len(), about));
        let plan = plan::with(plan.into(), accounts::draw(seed, limbs.len(), about));
        let plan = plan::with(plan.into(), forgotten::draw(seed, about));
        let (asked, sends, runs) = (Vec::new(), Sends::default(), Runs::default());
        Self {
            now: Duration::ZERO,
            trace,
            head,
            limbs,
            desk,
            network,
            rng,
            plan,
            asked,
            sends,
            runs,
            talks: Talks::default(),
            forgotten: Forgotten::default(),
            about,
            identity,
            lateness,
        }
    }

    pub(crate) fn note(&self, what: impl std::fmt::Display) {
        self.trace.note(self.now, "", what);
    }

    /// Runs it all.
    pub(crate) fn run(&mut self) -> Result<Report, Broken> {
        self.start();
        let mut check_at = CHECK_EVERY;
        while self.now < TROUBLE {
            self.step();
            if self.now >= check_at {
                check_at = self.now + CHECK_EVERY;
                check::marks(self)?;
                identity::files(self)?;
            }
        }
        self.note("the trouble is over");
        self.plan.clear();
        self.make_good();
        self.desk.unpause(&self.head, self.now);
        let until = self.now + SETTLES;
        loop {
            // What was handed over last may not have been numbered yet.
            let pause = self.now + Duration::from_secs(1);
            while self.now < pause {
                self.step();
            }
            if check::is_settled(self) {
                break;
            }
            if self.now > TROUBLE + NOTICES {
                self.nothing_waits_too_long()?;
            }
            if self.about.has_approvals() {
                self.answer_what_waits();
            }
            if self.now > until {
                return Err(check::unsettled(self));
            }
        }
        self.note("all is settled");
        check::marks(self)?;
        identity::all_are_in(self)?;
        check::skew(self)?;
        let (lines, events) = check::log(self)?;
        forgotten::judge(self)?;
        let (mut actions, mut sends) = (BTreeMap::new(), Tally::default());
        let (mut runs, mut talks) = (ran::Tally::default(), answered::Tally::default());
        // Judged by the rows of what was done, which have gone there.
        if self.about != About::Retention {
            (actions, sends) = (check::actions(self)?, sends::judge(self)?);
            (runs, talks) = (ran::judge(self)?, answered::judge(self)?);
        }
        let (swept, leases) = (self.forgotten.swept, accounts::judge(self)?);
        let waits = lateness::judge(self)?;
        identity::judge(self)?;
        check::revocation(self)?;
        identity::revoked(self)?;
        Ok(Report { lines, events, actions, sends, runs, talks, swept, leases, waits, took: self.now })
    }

    fn start(&mut self) {
        if self.about.has_approvals() {
            self.head.obeys(dialogs::POLICY);
        }
        if self.about == About::Accounts {
            self.head.workflows.extend(accounts::workflows());
        }
        self.head.start(self.now);
        let here = self.head.host.enter();
        let authority = Authority::open(&self.head.folder().join("ca"), epoch()).unwrap();
        let mut given = Vec::new();
        let authority = authority.with_node_life(self.identity.life);
        for limb in self.limbs.iter().filter(|limb| !limb.is_guest()) {
            let name = Name::new(limb.host.name.as_str()).unwrap();
            let who = Principal { role: Role::Node, name: name.clone() };
            let (identity, issued) = authority.make_identity(who, epoch()).unwrap();
            given.push(issued);
            let controller = format!("https://{}:{}", controller::NAME, controller::PORT);
            Context { name, controller, role: Role::Node, identity }.save(&limb.identity()).unwrap();
        }
        if self.about.has_approvals() {
            let name = Name::new("eve").unwrap();
            let who = Principal { role: Role::Operator, name: name.clone() };
            let (identity, issued) = authority.make_identity(who, epoch()).unwrap();
            given.push(issued);
            let controller = format!("https://{}:{}", controller::NAME, controller::PORT);
            Context { name, controller, role: Role::Operator, identity }.save(&self.desk.of_eve()).unwrap();
        }
        drop(here);
        let store = self.head.store().unwrap();
        let note = store
            .write(move |tx| given.iter().try_for_each(|issued| tx.record_certificate(issued, "simulation")));
        self.head.host.within(note).unwrap().unwrap();
        for at in 0..self.limbs.len() {
            self.start_node(at);
        }
        self.desk.start(self.now);
        if self.about == About::Accounts {
            self.open_accounts();
        }
    }

    /// Lets a little time pass.
    pub(crate) fn step(&mut self) {
        while self.plan.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, deed)) = self.plan.pop_front() {
                self.happen(&deed);
            }
        }
        let step = if self.network.is_busy() { STEP } else { QUIET_STEP };
        let until = self.plan.front().map_or(self.now + step, |(at, _)| (self.now + step).min(*at));
        let until = until.max(self.now + Duration::from_millis(1));
        let first = self.rng.usize(0..=self.limbs.len());
        for turn in 0..=self.limbs.len() {
            match (first + turn) % (self.limbs.len() + 1) {
                0 => self.head.host.run(until),
                n => self.limbs[n - 1].host.run(until),
            }
        }
        self.desk.host.run(until);
        self.now = until;
        self.network.deliver(until);
        for at in 0..self.limbs.len() {
            // Also of a host without a process to ask for it.
            self.limbs[at].mux.advance();
            if self.limbs[at].host.is_up() && self.limbs[at].host.machine.is_dead() {
                let killed = self.limbs[at].host.machine.take_kill();
                self.crash_node(at, !killed);
                if killed {
                    let back = Duration::from_millis(self.rng.u64(50..4_000));
                    self.later(back, Deed::Start { node: at });
                }
            }
            self.obey(at);
        }
        identity::tend(self);
        lateness::tend(self);
    }

    /// Something more will happen.
    pub(crate) fn later(&mut self, after: Duration, deed: Deed) {
        let at = self.now + after;
        let place = self.plan.partition_point(|(known, _)| *known <= at);
        self.plan.insert(place, (at, deed));
    }

    fn happen(&mut self, deed: &Deed) {
        self.note(format_args!("{deed:?}"));
        match *deed {
            Deed::Cut { node, up, down } => {
                let name = &self.limbs[node].host.name;
                if up {
                    self.network.cut(name, controller::NAME);
                }
                if down {
                    self.network.cut(controller::NAME, name);
                }
            }
            Deed::Mend { node } => self.network.mend(&self.limbs[node].host.name),
            Deed::Delay { least, most } => self.network.delay(least, most),
            Deed::Kill { node } => self.crash_node(node, false),
            Deed::PowerCut { node, steps } => self.limbs[node].host.machine.disk().fail_in(steps),
            Deed::PowerCutNow { node } => self.crash_node(node, true),
            Deed::Start { node } => self.start_node(node),
            Deed::Disk { node, health } => {
                self.limbs[node].was_sick = true;
                self.limbs[node].host.machine.disk().set(health);
            }
            Deed::KillHead => self.crash_head(false),
            Deed::SilenceHead if self.head.host.is_up() => {
                self.network.silence(controller::NAME);
                self.head.silence();
            }
            Deed::SilenceHead => {}
            Deed::PowerCutHead => self.crash_head(true),
            Deed::StartHead => self.start_head(),
            Deed::Act { node, within } => self.act(node, within),
            Deed::Send { node, pane, within, trap } => self.send(node, pane, within, trap),
            Deed::OfRuns(errand) => self.of_runs(errand),
            Deed::Talk(talk) => self.talk(talk),
            Deed::Switching(switching) => self.switching(switching),
            Deed::Sweep => self.sweep(),
            Deed::Pause { long } => self.desk.pause(&self.head, long),
            Deed::Jump { node, by } => self.machine(node).jump(by),
            Deed::Right { node } => self.machine(node).right(),
        }
    }

    /// Somebody asks for a key to be pressed on a node.
    fn act(&mut self, node: usize, within: Duration) {
        let Some(store) = self.head.store() else { return };
        let limb = &self.limbs[node];
        let number = u32::try_from(self.asked.len()).unwrap();
        // From the many letters of Chinese.
        let key = char::from_u32(0x4e00 + number).unwrap();
        let generation = Generation::new(limb.mux.generation()).unwrap();
        let host = Name::new(limb.host.name.as_str()).unwrap();
        let queue = async {
            let action = Action {
                id: ActionId::generate(),
                pane: PaneRef { mux: MuxName::main(), generation, pane_id: PANE },
                deadline: clock::now() + within,
                fence: 0,
                who: "operator:simulation".to_owned(),
                expect_agent: None,
                expect_agent_pid: None,
                expect_shell: false,
                trace_parent: String::new(),
                verb: Verb::Keys(vec![Key { ctrl: false, alt: false, code: KeyCode::Char(key) }]),
            };
            let id = action.id;
            let queued = store.write(move |tx| tx.enqueue(&host, action, None, None, "a key").map(drop));
            queued.await.map(|()| id)
        };
        if let Some(Ok(id)) = self.head.host.within(queue) {
            self.note(format_args!("action {id} for {}: key {}", limb.host.name, u32::from(key)));
            self.asked.push(Asked { id, node, key });
        }
    }

    fn machine(&self, node: Option<usize>) -> &Machine {
        match node {
            Some(node) => &self.limbs[node].host.machine,
            None => &self.head.host.machine,
        }
    }

    pub(crate) fn crash_node(&mut self, at: usize, power_cut: bool) {
        let limb = &mut self.limbs[at];
        if !limb.host.is_up() {
            return;
        }
        self.network.crashed(&limb.host.name, !power_cut);
        limb.host.machine.disk().die();
        limb.end();
        if power_cut {
            limb.mux.restart();
        }
        let said = limb.host.machine.disk().revive(power_cut).unwrap();
        let what = if power_cut { "power cut" } else { "killed" };
        self.trace.note(self.now, &limb.host.name, format_args!("{what}: {said}"));
    }

    pub(crate) fn start_node(&mut self, at: usize) {
        let limb = &mut self.limbs[at];
        if limb.host.is_up() {
            return;
        }
        self.network.powered(&limb.host.name);
        if let Err(why) = limb.start(self.now) {
            self.trace.note(self.now, &limb.host.name, format_args!("could not start: {why}"));
            self.network.crashed(&limb.host.name, true);
            limb.host.machine.disk().die();
            limb.end();
            limb.host.machine.disk().revive(false).unwrap();
            // As the service manager would.
            self.later(Duration::from_secs(5), Deed::Start { node: at });
        }
    }

    pub(crate) fn crash_head(&mut self, power_cut: bool) {
        if !self.head.host.is_up() {
            return;
        }
        self.network.crashed(controller::NAME, !power_cut);
        let said = self.head.crash();
        let what = if power_cut { "power cut" } else { "killed" };
        self.trace.note(self.now, controller::NAME, format_args!("{what}: {said}"));
    }

    pub(crate) fn start_head(&mut self) {
        if self.head.host.is_up() {
            return;
        }
        self.network.powered(controller::NAME);
        self.trace.note(self.now, controller::NAME, "starts");
        self.head.start(self.now);
    }

    /// Nothing goes wrong any more.
    fn make_good(&mut self) {
        self.network.delay(1, 40);
        if self.head.is_silent() {
            self.crash_head(true);
        }
        self.start_head();
        self.head.host.machine.right();
        for at in 0..self.limbs.len() {
            let limb = &self.limbs[at];
            limb.host.machine.disk().heal();
            limb.host.machine.right();
            limb.ledger.lock().quiet = true;
            self.network.mend(&limb.host.name);
            self.start_node(at);
        }
    }
}
