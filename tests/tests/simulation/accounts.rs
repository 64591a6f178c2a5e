//! Accounts: a small pool, limits that panes meet, and switches, while everything else goes on.
//!
//! The owner's workflow `switch` leases an account when a limit is reached, and tells the pane which; where none is free it
//! waits for the first that is. The pool's switching is turned off and on in the middle. A home is there when it is asked
//! for: what nodes make of one is tested elsewhere.
//!
//! What must hold, by the order of commits in the audit trail: an account is leased to no more panes than it may be; nothing
//! is leased while its pool may not switch; a run leases one account at a time, and every lease ends; a lease that is left
//! at the end is of a pane that is there. That one run at a time acts on a pane is W2, judged with all runs.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use tonic::transport::Channel;
use wa_controller::Definition;
use wa_link::clock;
use wa_node::session::Accounts;
use wa_proto::wire::v1;
use wa_proto::wire::v1::account_request::About as Asked;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::{EventId, EventKind};

use super::check::{Broken, broken, database};
use super::desk::Answered;
use super::engine::{About, Simulation};
use super::plan::{self, Deed, TROUBLE};
use super::runs::Trigger;
use super::strikes::Trap;

/// Name, agent, how many panes may use it, and whether it is the one of ordinary homes.
const ACCOUNTS: [(&str, &str, u32, bool); 5] = [
    ("claude-1", "claude", 9, true),
    ("claude-2", "claude", 1, false),
    ("claude-3", "claude", 2, false),
    ("codex-1", "codex", 9, true),
    ("codex-2", "codex", 1, false),
];

const SWITCH: &str = r#"
name = "switch"
version = 1
agents = ["claude", "codex"]
on = "limit.reached"
instead_of = ["limit-wait", "crash-resume"]
follows = "pane"
max_actions = 1

[[step]]
id = "lease"
do = "lease_account"
timeout = "20s"
next = "go"
on_failure = "first-free"

[[step]]
id = "first-free"
do = "wait_until"
at = "account"
timeout = "60s"
on_failure = "none"

[[step]]
id = "lease-again"
do = "lease_account"
timeout = "20s"
next = "go"
on_failure = "none"

[[step]]
id = "go"
do = "type"
text = "{{command}} goes on with {{account}}"
timeout = "20s"
next = "done"
on_failure = "none"

[[step]]
id = "none"
do = "fail"
text = "{{failure}}"

[[step]]
id = "done"
do = "finish"
text = "the pane was told"
"#;

/// In the place of the built-in one, whose text every pane would get.
const WAIT: &str = r#"
name = "limit-wait"
version = 1
agents = ["claude", "codex"]
on = "limit.reached"
max_actions = 0

[[step]]
do = "notify"
text = "{{command}} waits for its limit"
"#;

pub(crate) fn workflows() -> [Definition; 2] {
    [SWITCH, WAIT].map(|text| Definition::parse(text).unwrap())
}

/// What is done about accounts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Switching {
    /// A pane meets a limit, which lifts after so many seconds.
    Limit { node: usize, pane: usize, lifts_s: i64, trap: Option<Trap> },
    /// Whether the pool may switch.
    Pool { on: bool },
}

/// In order of time; from a part of the seed of its own.
pub(crate) fn draw(seed: u64, nodes: usize, about: About) -> Vec<(Duration, Deed)> {
    if about != About::Accounts {
        return Vec::new();
    }
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x4163_6374);
    let often = rng.u64(500..3_000);
    let mut deeds = Vec::new();
    let mut at = Duration::from_millis(rng.u64(3_000..8_000));
    while at < TROUBLE {
        let (node, pane, lifts_s) = (rng.usize(..nodes), rng.usize(..1000), rng.i64(2..40));
        let trap = (rng.u8(..3) == 0).then(|| plan::trap(&mut rng));
        let switching = match rng.u8(..8) {
            0 => Switching::Pool { on: rng.u8(..3) != 0 },
            _ => Switching::Limit { node, pane, lifts_s, trap },
        };
        deeds.push((at, Deed::Switching(switching)));
        at += Duration::from_millis(if rng.u8(..5) == 0 { rng.u64(0..30) } else { rng.u64(1..often) });
    }
    deeds
}

/// Homes that are there and signed in.
pub(crate) struct Homes;

impl Accounts for Homes {
    fn answer(&self, request: v1::AccountRequest) -> BoxFuture<'static, v1::AccountReply> {
        let home = match request.about {
            Some(Asked::Prepare(wanted)) => Some(v1::AccountHome {
                path: format!("/home/eve/.accounts/{}", wanted.alias),
                variable: "CONFIG_DIR".into(),
                signed_in: true,
                owner: wanted.owner,
                set_aside: String::new(),
            }),
            _ => None,
        };
        let reply = v1::AccountReply { request_id: request.request_id, home, ..Default::default() };
        Box::pin(async { reply })
    }
}

impl Simulation {
    /// Puts the accounts into the pool, before anything goes wrong.
    pub(crate) fn open_accounts(&mut self) {
        for (alias, agent, max_panes, usual) in ACCOUNTS {
            let request = v1::AddAccountRequest {
                alias: alias.into(),
                agent: agent.into(),
                sign_in: "device_code".into(),
                credentials: Some(v1::Credentials {
                    username: format!("{alias}@example.org"),
                    password: ["not", "a", "word"].join("-"),
                    ..Default::default()
                }),
                default_hosts: if usual { vec!["*".to_owned()] } else { Vec::new() },
                max_panes,
                ..Default::default()
            };
            self.until_done(|simulation| {
                let request = request.clone();
                let call = async move |mut fleet: FleetClient<Channel>| match fleet.add_account(request).await
                {
                    // The answer to the first attempt was lost.
                    Err(status) if status.message().contains("already") => Ok(()),
                    told => told.map(drop),
                };
                simulation.desk.ask(&simulation.head, call)
            });
        }
        self.until_done(|simulation| simulation.set_pool(true));
    }

    fn set_pool(&self, switching: bool) -> Answered<()> {
        let request = v1::SetPoolRequest { name: "default".into(), switching };
        self.desk.ask(&self.head, async move |mut fleet| fleet.set_pool(request).await.map(drop))
    }

    /// Asks until it is answered well.
    fn until_done(&mut self, ask: impl Fn(&Self) -> Answered<()>) {
        for _ in 0..50 {
            let told = ask(self);
            let late = self.now + Duration::from_secs(10);
            while told.get().is_none() && self.now < late {
                self.step();
            }
            if told.get().is_some_and(|(_, told)| told.is_ok()) {
                return;
            }
        }
    }

    pub(crate) fn switching(&mut self, switching: Switching) {
        match switching {
            Switching::Limit { node, pane, lifts_s, trap } => self.limit(node, pane, lifts_s, trap),
            Switching::Pool { on } => drop(self.set_pool(on)),
        }
    }

    fn limit(&mut self, node: usize, pane: usize, lifts_s: i64, trap: Option<Trap>) {
        let limb = &self.limbs[node];
        let Some((pane_id, kind, pid)) = limb.mux.pick(pane) else { return };
        let Some(agent) = kind.agent() else { return };
        let made = limb.host.within(async { (EventId::generate(), clock::now()) });
        let Some((id, now)) = made else { return };
        let (generation, kind) = (limb.mux.generation(), EventKind::LimitReached);
        let name = format!("task {} of {}", self.runs.triggers.len(), limb.host.name);
        self.note(format_args!("{name}: {kind} {id} on pane {pane_id} of {generation}, for {lifts_s} s"));
        let resets = now + SignedDuration::from_secs(lifts_s);
        let fields = [("command", name), ("reset_time", resets.to_string()), ("window", "5h".to_owned())];
        let event = v1::Event {
            id: id.as_bytes().to_vec(),
            pane: Some(v1::PaneRef { mux: "main".into(), generation, pane_id }),
            event: kind.to_string(),
            agent: agent.to_string(),
            agent_pid: pid,
            fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
            ..v1::Event::default()
        };
        limb.tell(event);
        if let Some(trap) = trap {
            limb.mux.arm(pane_id, trap);
        }
        self.runs.triggers.push(Trigger { node, id, kind, agent: agent.to_string() });
    }
}

/// How many leases there were.
pub(crate) fn judge(simulation: &Simulation) -> Result<usize, Broken> {
    let Some(database) = database(simulation).filter(|_| simulation.about == About::Accounts) else {
        return Ok(0);
    };
    let mut query = database
        .prepare("SELECT n, what, decision, detail FROM audit WHERE what IN ('account', 'pool') ORDER BY n")
        .unwrap();
    let mut rows = query.query([]).unwrap();
    let (mut open, mut on, mut leases) = (BTreeMap::<String, String>::new(), false, 0);
    while let Some(row) = rows.next().unwrap() {
        let n: i64 = row.get_unwrap(0);
        let [what, decision, detail] = [1, 2, 3].map(|at| row.get_unwrap::<_, String>(at));
        match (what.as_str(), decision.as_str()) {
            ("pool", word) => on = word == "switching on",
            (_, "leased") => {
                // `run ID: ALIAS, after …`
                let (run, alias) =
                    detail.strip_prefix("run ").and_then(|rest| rest.split_once(": ")).unwrap();
                let alias = alias.split(',').next().unwrap();
                if !on {
                    return broken(
                        "accounts",
                        format!("row {n}: {alias} was leased while its pool may not switch"),
                    );
                }
                let before = open.insert(run.to_owned(), alias.to_owned());
                if before.as_ref().is_some_and(|before| before != alias) {
                    return broken(
                        "accounts",
                        format!("row {n}: run {run} has {before:?} already, and got {alias}"),
                    );
                }
                let most =
                    ACCOUNTS.iter().find(|(name, ..)| *name == alias).map_or(0, |(_, _, most, _)| *most);
                let used = open.values().filter(|leased| *leased == alias).count();
                if used > most as usize {
                    return broken(
                        "accounts",
                        format!("row {n}: {alias} is leased {used} times, and may be {most} times"),
                    );
                }
                leases += 1;
            }
            (_, "lease ended") => {
                // `ALIAS of run ID: …`
                let run = detail.split(' ').nth(3).map(|run| run.trim_end_matches(':')).unwrap_or_default();
                if open.remove(run).is_none() {
                    return broken(
                        "accounts",
                        format!("row {n}: a lease ended that had not begun: {detail}"),
                    );
                }
            }
            _ => {}
        }
    }
    let mut query =
        database.prepare("SELECT run_id, alias, host, pane_id, generation FROM account_leases").unwrap();
    let mut rows = query.query([]).unwrap();
    let mut stored = 0;
    while let Some(row) = rows.next().unwrap() {
        let run = uuid::Uuid::from_bytes(row.get_unwrap(0)).to_string();
        let [alias, host, generation] = [1, 2, 4].map(|at| row.get_unwrap::<_, String>(at));
        let pane = row.get_unwrap::<_, i64>(3).cast_unsigned();
        if open.get(&run) != Some(&alias) {
            return broken("accounts", format!("run {run} has {alias}, and the audit trail does not say so"));
        }
        let limb = simulation.limbs.iter().find(|limb| limb.host.name == host).unwrap();
        if limb.mux.generation() != generation || !limb.mux.has(pane) {
            return broken(
                "accounts",
                format!("{alias} is leased to pane {pane} of {host} in {generation}, which is gone"),
            );
        }
        stored += 1;
    }
    if stored != open.len() {
        return broken("accounts", format!("{stored} leases are there, and by the audit trail {open:?}"));
    }
    Ok(leases)
}
