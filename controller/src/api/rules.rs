//! Packs of rules: pushing them, what runs where, and what rules say of a screen.
//!
//! A push is checked whole, with all that was pushed before, and stored whole; a bad pack changes nothing. Two pushes at a
//! time are one after the other: what was checked against a set that is another by now is checked again. Once stored, the
//! set goes to the nodes by itself; the call only waits for what they say of it. A node that is away delays nobody.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tokio::time::timeout;
use tonic::Status;
use wa_link::clock;
use wa_proto::wire::{to_us, v1};
use wa_proto::{ErrorCode, Host};

use super::{Fleet, address, check_host, no_answer, only_host, status, usage};
use crate::identity::peer::Peer;
use crate::registry::{NoAnswer, NodeRules, changed_before};
use crate::rules::{CheckedPack, check, check_name};
use crate::store::{PushedPack, RuleChange, RuleSet};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// How long a push waits for another that is checked.
const TURN: Duration = Duration::from_secs(30);
/// How often a push is checked again because another came first.
const ATTEMPTS: usize = 5;
/// Nodes that are asked at a time.
const AT_A_TIME: usize = 32;
/// Bytes of what nodes said that go into one answer.
const ANSWER: usize = 3 * 1024 * 1024;
const TOO_LARGE: &str = "left out: the answer would be too large";

/// What a push asks for.
struct Push {
    packs: Vec<v1::RulePack>,
    remove: BTreeSet<String>,
}

impl Push {
    fn read(packs: Vec<v1::RulePack>, remove: Vec<String>) -> Result<Self, Status> {
        if packs.is_empty() && remove.is_empty() {
            return Err(usage("nothing to push: name a pack, or one to remove"));
        }
        let remove: BTreeSet<String> = remove.into_iter().collect();
        let mut names = HashSet::new();
        for name in packs.iter().map(|pack| &pack.name).chain(&remove) {
            check_name(name).map_err(usage)?;
            if !names.insert(name.as_str()) {
                return Err(usage(format!("pack {name} is named twice")));
            }
        }
        Ok(Self { packs, remove })
    }

    /// The packs of the set that is to be; `None` when it is `base` itself.
    fn onto(&self, base: &RuleSet) -> Result<Option<Vec<v1::RulePack>>, Status> {
        let wire = |pushed: &PushedPack| (pushed.pack.name.clone(), v1::RulePack::from(&pushed.pack));
        let before: BTreeMap<String, v1::RulePack> = base.packs.iter().map(wire).collect();
        let mut after = before.clone();
        for name in &self.remove {
            if after.remove(name).is_none() {
                let reason = format!("no pack {name} was pushed; `wa rules list` shows those that were");
                return Err(ErrorCode::NotFound.status(reason));
            }
        }
        after.extend(self.packs.iter().map(|pack| (pack.name.clone(), pack.clone())));
        Ok((after != before).then(|| after.into_values().collect()))
    }
}

impl Fleet {
    pub(super) async fn push(
        &self,
        peer: &Peer,
        request: v1::PushRulesRequest,
        patience: Option<Duration>,
    ) -> Result<v1::PushRulesResponse, Status> {
        let wait = match request.timeout_ms {
            0 => DEFAULT_TIMEOUT,
            ms => Duration::from_millis(ms.into()).min(LONGEST),
        };
        let limit = patience.map(|patience| clock::monotonic() + patience);
        let push = Push::read(request.packs, request.remove)?;
        let revision = self.change_rules(peer, &push, request.dry_run).await?;
        let deadline = clock::monotonic() + wait;
        let deadline = limit.map_or(deadline, |limit| deadline.min(limit));
        let nodes = if request.dry_run { Vec::new() } else { self.outcomes(&revision, deadline).await };
        Ok(v1::PushRulesResponse { revision, nodes })
    }

    /// Checks and stores; the revision that is wanted then, or would be.
    async fn change_rules(&self, peer: &Peer, push: &Push, dry_run: bool) -> Result<String, Status> {
        for _ in 0..ATTEMPTS {
            let base = Arc::clone(&self.store.rules().borrow());
            let Some(packs) = push.onto(&base)? else { return Ok(base.revision.clone()) };
            let checked = self.checked(packs).await?;
            if dry_run {
                return Ok(crate::rules::revision(checked.iter()));
            }
            let same = |pack: &CheckedPack| base.packs.iter().any(|pushed| pushed.pack.is_same(pack));
            let (stay, put) = checked.into_iter().partition(same);
            let remove = push.remove.iter().cloned().collect();
            let change = RuleChange { base: base.revision.clone(), who: peer.who(), put, remove, stay };
            let caller = peer.clone();
            let stored = self.store.write(move |tx| {
                tx.check_caller(&caller)?;
                tx.change_rules(&change)
            });
            if let Some(set) = stored.await.map_err(|e| status(&e))? {
                tracing::info!(revision = set.revision, packs = set.packs.len(), "other rules are wanted");
                return Ok(set.revision.clone());
            }
        }
        Err(ErrorCode::Busy.status("others push rules all the time: try again"))
    }

    /// Builds an engine of a whole set, on a thread that may be busy with it; one at a time.
    async fn checked(&self, packs: Vec<v1::RulePack>) -> Result<Vec<CheckedPack>, Status> {
        let turn = timeout(TURN, Arc::clone(&self.checking).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(ErrorCode::Busy.status("other packs are being checked: try again"));
        };
        let checking = self.tasks.spawn_blocking("check packs of rules", move || {
            let checked = check(packs);
            drop(turn);
            checked
        });
        let failed =
            |_| ErrorCode::Internal.status("the packs were not checked; the controller's log says why");
        checking.await.map_err(failed)?.map_err(usage)
    }

    /// Waits until every connected node has taken or refused the set, or the time is over.
    async fn outcomes(&self, revision: &str, deadline: tokio::time::Instant) -> Vec<v1::NodeRules> {
        let (mut nodes, mut wanted) = (self.registry.changed(), self.store.rules());
        loop {
            nodes.borrow_and_update();
            let replaced = wanted.borrow_and_update().revision != revision;
            let outcomes: Vec<Outcome> =
                self.registry.rules().into_iter().map(|node| Outcome::of(node, revision)).collect();
            let done = replaced || outcomes.iter().all(|outcome| outcome.word != PENDING);
            let more = !done
                && tokio::select! {
                    changed = changed_before(&mut nodes, deadline) => changed,
                    changed = wanted.changed() => changed.is_ok(),
                    () = self.tasks.shutdown().triggered() => false,
                };
            if !more {
                let replaced = replaced.then_some("another push came after this one");
                return outcomes.into_iter().map(|outcome| outcome.into_wire(replaced)).collect();
            }
        }
    }

    /// The packs that are wanted, and what runs on the nodes that the caller may see.
    pub(super) async fn rules_now(&self, peer: &Peer) -> v1::ListRulesResponse {
        let own = only_host(peer);
        let seen = || {
            let mut nodes = self.registry.rules();
            nodes.retain(|node| own.as_ref().is_none_or(|own| *own == node.host));
            nodes
        };
        // Only those that speak of rules at all are asked.
        let speaking = seen().into_iter().filter(|node| node.report.is_some());
        let asked = speaking.map(|node| async move { self.registry.refresh_rules(&node.host).await });
        stream::iter(asked).buffer_unordered(AT_A_TIME).collect::<()>().await;
        let wanted = Arc::clone(&self.store.rules().borrow());
        let mut room = ANSWER;
        let told = |node| {
            let mut told = Outcome::of(node, &wanted.revision).into_wire(None);
            if let Some(report) = &mut told.report {
                let left = room.checked_sub(report.encoded_len());
                if left.is_none() {
                    report.packs.clear();
                    TOO_LARGE.clone_into(&mut told.reason);
                }
                room = left.unwrap_or(0);
            }
            told
        };
        let nodes = seen().into_iter().map(told).collect();
        v1::ListRulesResponse {
            revision: wanted.revision.clone(),
            packs: wanted.packs.iter().map(pushed_pack).collect(),
            nodes,
        }
    }

    pub(super) async fn explain(
        &self,
        peer: &Peer,
        request: v1::ExplainPaneRequest,
    ) -> Result<v1::ExplainPaneResponse, Status> {
        let pane = request.pane.ok_or_else(|| usage("pane is missing"))?;
        let view = self.pane_here(&address(peer, pane)?)?;
        let explained = self.registry.explain(&view.host, view.pane.pane).await;
        let explanation = explained.map_err(|error| no_answer(&error))?;
        Ok(v1::ExplainPaneResponse { explanation: Some(explanation) })
    }

    /// What nodes keep of screens that no rule knows; of those that do not answer, why.
    pub(super) async fn unknown(
        &self,
        peer: &Peer,
        request: &v1::UnknownScreensRequest,
    ) -> Result<v1::UnknownScreensResponse, Status> {
        let hosts = match request.host.as_str() {
            "" => {
                let own = only_host(peer);
                let hosts = self.registry.nodes().into_iter().map(|node| node.host);
                hosts.filter(|host| own.as_ref().is_none_or(|own| own == host)).collect()
            }
            name => {
                let host = Host::new(name).map_err(usage)?;
                check_host(peer, &host)?;
                if !self.registry.knows(&host) {
                    return Err(ErrorCode::NotFound.status(format!("there is no node {host}")));
                }
                vec![host]
            }
        };
        let asked = hosts.into_iter().map(|host: Host| async move {
            let answer = self.registry.unknown_screens(&host).await;
            (host, answer)
        });
        let answers: Vec<_> = stream::iter(asked).buffered(AT_A_TIME).collect().await;
        let mut room = ANSWER;
        let hosts = answers.into_iter().map(|(host, answer)| host_screens(host, answer, &mut room)).collect();
        Ok(v1::UnknownScreensResponse { hosts })
    }
}

/// The answer of one host, as long as there is room for it.
fn host_screens(
    host: Host,
    answer: Result<Vec<v1::UnknownScreen>, NoAnswer>,
    room: &mut usize,
) -> v1::HostUnknownScreens {
    let (error, screens) = match answer {
        Ok(screens) => {
            let size = screens.iter().map(v1::UnknownScreen::encoded_len).sum();
            match room.checked_sub(size) {
                Some(left) => {
                    *room = left;
                    (String::new(), screens)
                }
                None => (format!("{TOO_LARGE}; ask for {host} alone"), Vec::new()),
            }
        }
        Err(error) => (error.to_string(), Vec::new()),
    };
    v1::HostUnknownScreens { host: host.into(), error, screens }
}

fn pushed_pack(pushed: &PushedPack) -> v1::PushedPack {
    let PushedPack { pack, who, pushed } = pushed;
    v1::PushedPack {
        pack: Some(pack.into()),
        version: pack.version.clone(),
        hash: pack.hash.clone(),
        rules: pack.rules,
        who: who.clone(),
        pushed_us: to_us(*pushed),
    }
}

const APPLIED: &str = "applied";
const REFUSED: &str = "refused";
const PENDING: &str = "pending";
const UNREACHABLE: &str = "unreachable";

/// What became of a set on one node.
struct Outcome {
    node: NodeRules,
    word: &'static str,
    reason: String,
}

impl Outcome {
    fn of(node: NodeRules, revision: &str) -> Self {
        let (word, reason) = match &node.report {
            _ if !node.connected => (UNREACHABLE, "it is away, and takes them when it is back".to_owned()),
            None => (PENDING, "it has not said yet what it runs".to_owned()),
            Some(report) if report.revision == revision => (APPLIED, String::new()),
            Some(report) if refused(report, revision) => (REFUSED, report.refused.clone()),
            Some(report) => (PENDING, format!("it still {}", runs(report))),
        };
        Self { node, word, reason }
    }

    /// `replaced`: why nothing more is to be heard of this set.
    fn into_wire(self, replaced: Option<&str>) -> v1::NodeRules {
        let reason = replaced.filter(|_| self.word == PENDING).map_or(self.reason, str::to_owned);
        v1::NodeRules {
            host: self.node.host.into(),
            outcome: self.word.to_owned(),
            reason,
            report: self.node.report.map(Arc::unwrap_or_clone),
        }
    }
}

/// Whether the node has refused this set. A report that speaks of none has empty words, as has the set of no packs.
fn refused(report: &v1::RulesReport, revision: &str) -> bool {
    report.refused_revision == revision && !report.refused.is_empty()
}

/// What a node runs, in words.
fn runs(report: &v1::RulesReport) -> String {
    match report.revision.get(..12).unwrap_or(&report.revision) {
        "" => "runs no pushed rules".to_owned(),
        short => format!("runs revision {short}"),
    }
}

/// What is wrong with a node's rules, if it has refused those that are wanted.
pub(super) fn problem(report: &v1::RulesReport, wanted: &str) -> Option<String> {
    let refused = report.revision != wanted && refused(report, wanted);
    refused.then(|| format!("rules: {}; {}", report.refused, runs(report)))
}
