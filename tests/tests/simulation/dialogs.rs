//! Dialogs and approvals: what agents ask, what people answer to it, and what waits for a person because the policy holds
//! it. What must hold of the answers stands in `answered.rs`.
//!
//! Two people are at the desk. The operator may do everything and answers approvals; Eve is a colleague whose actions the
//! policy holds, and who may be revoked in the middle. Both answer dialogs that they were told of, also some that are long
//! gone. Every wish has a key of its own, with which it is sent again where no answer came.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::Channel;
use wa_controller::store::EventRange;
use wa_proto::wire::v1;
use wa_proto::wire::v1::act_request::Verb;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::{ActionId, EventKind};

use super::desk::{Answered, Who};
use super::engine::{About, Simulation};
use super::plan::{self, Deed, TROUBLE};
use super::program::{Dialog, Kind};
use super::strikes::Trap;

/// What the controller is told: the operator is free, Eve asks.
pub(crate) const POLICY: &str = r#"
[[rule]]
name = "Eve asks"
who = ["operator:eve"]
decision = "ask"

[[rule]]
name = "the others do not"
who = ["*"]
decision = "allow"
"#;

/// What is done. Numbers pick one of what there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Talk {
    /// An agent asks, for so many milliseconds at most.
    Ask {
        node: usize,
        pane: usize,
        least: u64,
        most: u64,
    },
    /// Somebody answers the dialog that a pane showed last, …
    Decide {
        node: usize,
        pane: usize,
        deny: bool,
        eve: bool,
        trap: Option<Trap>,
    },
    /// … or one of the last that were told.
    Choose {
        told: usize,
        deny: bool,
        eve: bool,
        trap: Option<Trap>,
    },
    /// Eve sends a text.
    Hold {
        node: usize,
        pane: usize,
        trap: Option<Trap>,
    },
    /// The operator answers an approval.
    Answer {
        approval: usize,
        allow: bool,
    },
    Revoke,
}

/// What somebody wanted.
pub(crate) struct Wish {
    pub(crate) node: usize,
    pub(crate) pane: u64,
    pub(crate) eve: bool,
    pub(crate) what: What,
    /// Of the request; empty: it had none.
    pub(crate) key: String,
    /// Action and outcome.
    pub(crate) told: Answered<(Option<ActionId>, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Choose {
        number: u32,
        deny: bool,
    },
    /// The newest dialog of which they knew when they asked.
    Decide {
        known: Option<u32>,
        deny: bool,
    },
    Send(String),
}

/// The operator's word on an approval.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) n: i64,
    pub(crate) summary: String,
    pub(crate) allow: bool,
    pub(crate) at: Duration,
    /// How the approval stood then.
    pub(crate) told: Option<Result<String, String>>,
}

/// What was said, as seen from outside.
#[derive(Default)]
pub(crate) struct Talks {
    pub(crate) wishes: Vec<Wish>,
    words: Arc<Mutex<Vec<Word>>>,
    pub(crate) revoked: Option<Answered<()>>,
    /// When what waited for a person was answered last.
    emptied: Duration,
}

impl Talks {
    pub(crate) fn words(&self) -> Vec<Word> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// In order of time; from a part of the seed of its own.
pub(crate) fn draw(seed: u64, nodes: usize, about: About) -> Vec<(Duration, Deed)> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x4469_616c);
    if !about.has_approvals() {
        return Vec::new();
    }
    let (asks, often) = (rng.u64(600..2_500), rng.u64(500..2_500));
    let mut deeds = Vec::new();
    let mut at = Duration::from_millis(rng.u64(1_000..3_000));
    while at < TROUBLE {
        let (node, pane) = (rng.usize(..nodes), rng.usize(..1000));
        let most = if rng.u8(..4) == 0 { 1_000 } else { 30_000 };
        deeds.push((at, Deed::Talk(Talk::Ask { node, pane, least: 100, most })));
        at += Duration::from_millis(rng.u64(1..asks));
    }
    let mut at = Duration::from_millis(rng.u64(3_000..6_000));
    while at < TROUBLE {
        deeds.push((at, Deed::Talk(one(&mut rng, nodes))));
        at += Duration::from_millis(if rng.u8(..6) == 0 { rng.u64(0..30) } else { rng.u64(1..often) });
    }
    if rng.bool() {
        deeds.push((Duration::from_millis(rng.u64(20_000..70_000)), Deed::Talk(Talk::Revoke)));
    }
    // Longer than an approval waits.
    for _ in 0..rng.u8(..3) {
        let at = Duration::from_millis(rng.u64(10_000..70_000));
        let by = jiff::SignedDuration::from_millis(rng.i64(500_000..700_000));
        deeds.push((at, Deed::Jump { node: None, by }));
    }
    deeds
}

fn one(rng: &mut fastrand::Rng, nodes: usize) -> Talk {
    let (node, pane) = (rng.usize(..nodes), rng.usize(..1000));
    let (deny, eve) = (rng.bool(), rng.u8(..3) == 0);
    let trap = (rng.u8(..3) == 0).then(|| plan::trap(rng));
    match rng.u8(..16) {
        0..=2 => Talk::Decide { node, pane, deny, eve, trap },
        3..=8 => Talk::Choose { told: rng.usize(..1000), deny, eve, trap },
        9..=11 => Talk::Hold { node, pane, trap },
        _ => Talk::Answer { approval: rng.usize(..1000), allow: rng.u8(..3) != 0 },
    }
}

/// A dialog of which people were told.
struct Told {
    node: usize,
    pane: u64,
    number: u32,
    id: String,
    agent: Kind,
}

impl Simulation {
    pub(crate) fn talk(&mut self, talk: Talk) {
        match talk {
            Talk::Ask { node, pane, least, most } => self.limbs[node].mux.ask(pane, least..most),
            Talk::Decide { node, pane, deny, eve, trap } => self.decide(node, pane, deny, eve, trap),
            Talk::Choose { told, deny, eve, trap } => self.choose(told, deny, eve, trap),
            Talk::Hold { node, pane, trap } => self.hold(node, pane, trap),
            Talk::Answer { approval, allow } => self.answer_approval(approval, allow),
            Talk::Revoke => self.revoke_eve(),
        }
    }

    /// The last dialogs that were told, the newest first.
    fn told(&self, count: usize) -> Vec<Told> {
        // What a controller says that nobody hears, nobody was told.
        let Some(store) = self.head.store().filter(|_| !self.head.is_silent()) else { return Vec::new() };
        let range = EventRange { kinds: vec![EventKind::ApprovalRequested], ..EventRange::default() };
        let found = self.head.host.within(store.events(range, count, true));
        let told = |stored: wa_controller::store::StoredEvent| {
            let node = self.limbs.iter().position(|limb| limb.host.name == stored.host.as_str())?;
            let field = |name: &str| stored.event.fields.get(name).cloned().unwrap_or_default();
            let number = field("command").rsplit('-').next()?.parse().ok()?;
            let agent = stored.event.agent.as_ref()?;
            let kinds = [Kind::Claude, Kind::Codex];
            let agent = kinds.into_iter().find(|kind| kind.agent().as_ref() == Some(agent))?;
            Some(Told { node, pane: stored.event.pane?.pane_id, number, id: field("dialog"), agent })
        };
        let mut all: Vec<Told> =
            found.and_then(Result::ok).unwrap_or_default().into_iter().filter_map(told).collect();
        all.reverse();
        all
    }

    fn decide(&mut self, node: usize, pane: usize, deny: bool, eve: bool, trap: Option<Trap>) {
        let Some((pane_id, ..)) = self.limbs[node].mux.pick(pane) else { return };
        let known = self.told(20).into_iter().find(|told| told.node == node && told.pane == pane_id);
        let what = What::Decide { known: known.map(|told| told.number), deny };
        let request = v1::DecideRequest {
            pane: Some(self.address(node, pane_id)),
            deny,
            timeout_ms: 6_000,
            ..Default::default()
        };
        let call =
            async move |mut fleet: FleetClient<Channel>| told_of(fleet.decide(request).await?.into_inner());
        let told = self.desk.ask_as(who(eve), &self.head, call);
        self.wish(Wish { node, pane: pane_id, eve, what, key: String::new(), told }, trap);
    }

    fn choose(&mut self, told: usize, deny: bool, eve: bool, trap: Option<Trap>) {
        // Mostly the last, that may still stand there.
        let all = self.told(6);
        let told = if told.is_multiple_of(3) { told / 3 % all.len().max(1) } else { 0 };
        let Some(Told { node, pane, number, id, agent }) = all.into_iter().nth(told) else { return };
        let labels = Dialog::new(number).labels(agent);
        let label = if deny { labels.last() } else { labels.first() };
        let labels = label.into_iter().map(|label| (*label).to_owned()).collect();
        let verb = Verb::Choose(v1::ChooseLabel { labels, dialog: id });
        self.act_as(node, pane, eve, What::Choose { number, deny }, verb, trap);
    }

    fn hold(&mut self, node: usize, pane: usize, trap: Option<Trap>) {
        let Some((pane_id, ..)) = self.limbs[node].mux.pick(pane) else { return };
        let text = format!("wish {} of {}", self.talks.wishes.len(), self.limbs[node].host.name);
        let verb = Verb::Send(v1::SendText { text: text.clone(), enter: true });
        self.act_as(node, pane_id, true, What::Send(text), verb, trap);
    }

    fn address(&self, node: usize, pane_id: u64) -> v1::PaneAddress {
        v1::PaneAddress { host: self.limbs[node].host.name.clone(), mux: "main".into(), pane_id }
    }

    fn act_as(&mut self, node: usize, pane: u64, eve: bool, what: What, verb: Verb, trap: Option<Trap>) {
        let key = format!("wish-{}", self.talks.wishes.len());
        let request = v1::ActRequest {
            pane: Some(self.address(node, pane)),
            timeout_ms: 5_000,
            idempotency_key: key.clone(),
            verb: Some(verb),
            ..Default::default()
        };
        let call = async move |mut fleet: FleetClient<Channel>| {
            let told = match fleet.act(request.clone()).await {
                // As `wa` does where the link breaks.
                Err(error) if error.code() == tonic::Code::Unavailable => fleet.act(request).await?,
                told => told?,
            };
            told_of(told.into_inner())
        };
        let told = self.desk.ask_as(who(eve), &self.head, call);
        self.wish(Wish { node, pane, eve, what, key, told }, trap);
    }

    fn wish(&mut self, wish: Wish, trap: Option<Trap>) {
        self.note(format_args!(
            "wish {} of {}: {:?} in pane {} of {}",
            self.talks.wishes.len(),
            if wish.eve { "Eve" } else { "the operator" },
            wish.what,
            wish.pane,
            self.limbs[wish.node].host.name
        ));
        if let Some(trap) = trap {
            self.limbs[wish.node].mux.arm(wish.pane, trap);
        }
        self.talks.wishes.push(wish);
    }

    /// The operator looks at what waits, and answers one.
    fn answer_approval(&self, approval: usize, allow: bool) {
        let words = Arc::clone(&self.talks.words);
        let call = async move |mut fleet: FleetClient<Channel>| {
            // Some that somebody has answered before, or that ran out.
            let request = v1::ListApprovalsRequest { open: !approval.is_multiple_of(5), limit: 20 };
            let open = fleet.list_approvals(request).await?.into_inner().approvals;
            let Some(one) = open.get(approval % open.len().max(1)) else { return Ok(()) };
            let number = one.id.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default();
            let lock = || words.lock().unwrap_or_else(PoisonError::into_inner);
            let place = {
                let mut words = lock();
                let at = super::desk::now();
                words.push(Word { n: number, summary: one.text.clone(), allow, at, told: None });
                words.len() - 1
            };
            let request = v1::AnswerApprovalRequest { id: one.id.clone(), allow, timeout_ms: 3_000 };
            let told = fleet.answer_approval(request).await;
            let state = told.map(|told| told.into_inner().approval.unwrap_or_default().state);
            lock()[place].told = Some(state.map_err(|status| status.to_string()));
            Ok(())
        };
        drop(self.desk.ask_as(Who::Operator, &self.head, call));
    }

    fn revoke_eve(&mut self) {
        let request = v1::RevokeRequest { name: "eve".into(), reason: "left".into(), scope: 2 };
        let call = async move |mut fleet: FleetClient<Channel>| fleet.revoke(request).await.map(drop);
        self.talks.revoked = Some(self.desk.ask_as(Who::Operator, &self.head, call));
    }

    /// Whatever still waits for a person gets an answer.
    pub(crate) fn answer_what_waits(&mut self) {
        if self.now >= self.talks.emptied + Duration::from_secs(2) {
            self.talks.emptied = self.now;
            self.answer_approval(1, self.now.as_secs().is_multiple_of(4));
        }
    }
}

fn who(eve: bool) -> Who {
    if eve { Who::Eve } else { Who::Operator }
}

fn told_of(told: v1::ActResponse) -> Result<(Option<ActionId>, String), tonic::Status> {
    Ok((ActionId::from_slice(&told.action_id), told.outcome))
}
