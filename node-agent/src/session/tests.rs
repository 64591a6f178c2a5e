//! The session against a controller of a few lines, over real TLS.

mod drain;
mod newer;
mod problems;
mod recovery;
mod rules;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, SanType,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wa_link::accept;
use wa_link::context::Context;
use wa_link::principal::Role;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls::{self, Identity, SERVER_NAME};
use wa_match::Engine;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::enrollment_server::EnrollmentServer;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::wire::v1::{self, node_link_server::NodeLink, node_link_server::NodeLinkServer};
use wa_proto::{Host, Lane, PaneRef};

use super::{Actions, Answer, ControllerClock, Parts, Paths, Permits, Screens, permits};
use crate::board::Board;
use crate::journal::{Begin, Journal};
use crate::policy::PolicyFile;
use crate::rules::Rules;
use crate::spool::{Group, NewRecord, Options, Spool};

const LIMIT: Duration = Duration::from_secs(20);

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, csr: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        request.params.subject_alt_names = vec![node_name()];
        request.signed_by(&self.issuer).unwrap().pem()
    }

    fn issue(&self, name: SanType, years: (i32, i32)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
        let certificate_pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate_pem, key_pem: key.serialize_pem(), ca_pem: self.pem.clone() }
    }
}

fn node_name() -> SanType {
    SanType::URI("spiffe://wa/node/web-1".try_into().unwrap())
}

/// What the controller has and does.
struct Memory {
    hellos: Vec<v1::Hello>,
    records: Vec<v1::Record>,
    heartbeats: usize,
    /// Of the last heartbeat.
    problems: Vec<String>,
    panes: usize,
    /// Of the last report that told of any.
    last_panes: Vec<v1::Pane>,
    renewals: usize,
    /// Keys of those who were enrolled here.
    keys: Vec<String>,
    recoveries: Vec<v1::RecoverRequest>,
    rules: Vec<v1::RulesReport>,
    replies: Vec<v1::RulesReply>,
    acked: [u64; 2],
    acks: bool,
    credit: u64,
    /// How far its clock is behind the node's.
    behind: jiff::SignedDuration,
    /// To the node of the newest session.
    down: Option<mpsc::Sender<Result<v1::ControllerMessage, Status>>>,
}

#[derive(Clone)]
struct Fake {
    memory: Arc<Mutex<Memory>>,
    changed: watch::Sender<u64>,
    tasks: Tasks,
    ca: Arc<Ca>,
}

impl Fake {
    fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap())
    }

    async fn until<T>(&self, what: &str, mut look: impl FnMut(&mut Memory) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = self.with(&mut look) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    async fn say(&self, kind: Down) {
        let down = self.with(|memory| memory.down.clone()).unwrap();
        down.send(Ok(v1::ControllerMessage { kind: Some(kind) })).await.unwrap();
    }

    /// A node's identity, good from one year to the other.
    fn enrol(&self, url: String, years: (i32, i32), path: &Path) {
        let context = Context {
            name: Host::new("web-1").unwrap(),
            controller: url,
            role: Role::Node,
            identity: self.ca.issue(node_name(), years),
        };
        context.save(path).unwrap();
        self.with(|memory| memory.keys.push(context.identity.key_pem));
    }

    fn hang_up(&self) {
        self.with(|memory| memory.down = None);
    }

    fn take(&self, message: v1::NodeMessage) -> Option<v1::ControllerMessage> {
        let answer = self.with(|memory| match message.kind.unwrap() {
            Up::Block(block) => {
                let raw = match block.compression {
                    1 => zstd::bulk::decompress(&block.data, block.raw_size as usize).unwrap(),
                    _ => block.data,
                };
                let records = v1::Records::decode(raw.as_slice()).unwrap().records;
                let last = records.last().unwrap().seq;
                memory.records.extend(records);
                if memory.acks {
                    memory.acked[usize::from(block.lane == 2)] = last;
                    return Some(Down::Ack(v1::Ack { lane: block.lane, seq: last }));
                }
                None
            }
            Up::PermitRequest(ask) => Some(Down::Permit(v1::Permit {
                action_id: ask.action_id,
                refused: "paused".into(),
                expired: false,
            })),
            Up::Heartbeat(heartbeat) => {
                memory.heartbeats += 1;
                memory.problems = heartbeat.problems;
                None
            }
            Up::Panes(report) => {
                assert!(report.full || memory.panes > 0);
                memory.panes += 1;
                if !report.panes.is_empty() {
                    memory.last_panes = report.panes;
                }
                None
            }
            Up::Rules(report) => {
                memory.rules.push(report);
                None
            }
            Up::RulesReply(reply) => {
                memory.replies.push(reply);
                None
            }
            Up::Renew(request) => {
                memory.renewals += 1;
                Some(Down::Renew(v1::RenewReply {
                    certificate_pem: self.ca.sign(&request.csr_pem),
                    ca_pem: self.ca.pem.clone(),
                    agent_certificate_pem: match request.agent_csr_pem.as_str() {
                        "" => String::new(),
                        csr => self.ca.sign(csr),
                    },
                    ..Default::default()
                }))
            }
            _ => None,
        });
        self.changed.send_modify(|version| *version += 1);
        answer.map(|kind| v1::ControllerMessage { kind: Some(kind) })
    }
}

#[tonic::async_trait]
impl NodeLink for Fake {
    type SessionStream = ReceiverStream<Result<v1::ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::NodeMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        assert!(request.peer_certs().is_some_and(|certificates| !certificates.is_empty()));
        let mut stream = request.into_inner();
        let (down, out) = mpsc::channel(64);
        let fake = self.clone();
        self.tasks.spawn("session", async move {
            let Ok(Some(first)) = stream.message().await else { return };
            let Some(Up::Hello(hello)) = first.kind else { panic!("no hello") };
            let welcome = fake.with(|memory| {
                if memory.hellos.last().is_some_and(|last| last.spool_id != hello.spool_id) {
                    memory.acked = [0, 0];
                }
                memory.hellos.push(hello);
                memory.down = Some(down.clone());
                v1::Welcome {
                    protocol: 1,
                    acked_events: memory.acked[0],
                    acked_bulk: memory.acked[1],
                    credit_bytes: memory.credit,
                    now_us: (wa_link::clock::now() - memory.behind).as_microsecond(),
                    ..v1::Welcome::default()
                }
            });
            let first = v1::ControllerMessage { kind: Some(Down::Welcome(welcome)) };
            drop(down.send(Ok(first)).await);
            fake.changed.send_modify(|version| *version += 1);
            let weak = down.downgrade();
            drop(down);
            while let Ok(Some(message)) = stream.message().await {
                // Otherwise the test has hung up.
                let Some(down) = weak.upgrade() else { return };
                if let Some(answer) = fake.take(message) {
                    drop(down.send(Ok(answer)).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }
}

struct NoScreens;

impl Screens for NoScreens {
    fn screen(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Screen, String>> {
        Box::pin(async move { Err(format!("pane {} is gone", pane.pane_id)) })
    }

    fn explain(&self, pane: PaneRef) -> BoxFuture<'static, Result<v1::Explanation, String>> {
        Box::pin(async move { Err(format!("pane {} is gone", pane.pane_id)) })
    }

    fn secrets(&self, _: &PaneRef) -> Vec<v1::Secret> {
        Vec::new()
    }
}

struct Stage {
    dir: tempfile::TempDir,
    board: Arc<Board>,
    fake: Fake,
    tasks: Tasks,
    spool: Spool,
    permits: Permits,
    journal: Journal,
    identity: PathBuf,
    refused: mpsc::Receiver<(wa_proto::ActionId, String)>,
}

async fn stage(credit: u64, acks: bool) -> Stage {
    stage_with(credit, acks, (2000, 2200)).await
}

/// `years`: from when to when the node's certificate holds.
async fn stage_with(credit: u64, acks: bool, years: (i32, i32)) -> Stage {
    let tasks = Tasks::new(Shutdown::new());
    let (fake, url) = controller(&tasks, credit, acks).await;
    node(tasks, fake, url, years)
}

/// A node that `fake` has enrolled and that dials `url`.
fn node(tasks: Tasks, fake: Fake, url: String, years: (i32, i32)) -> Stage {
    node_with(tasks, fake, url, years, |_, _, _| ())
}

/// As [`node`]; `prepare` puts something into its state directory before.
fn node_with(
    tasks: Tasks,
    fake: Fake,
    url: String,
    years: (i32, i32),
    prepare: impl FnOnce(&Fake, &str, &Path),
) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    prepare(&fake, &url, dir.path());
    let identity = dir.path().join("node.context.toml");
    fake.enrol(url, years, &identity);
    let (spool, _) = Spool::open(&dir.path().join("spool"), Options::default()).unwrap();
    let (journal, _) = Journal::open(&dir.path().join("journal")).unwrap();
    let kept = journal.clone();
    let (permits, desk) = permits();
    let (accepted, _accepted) = mpsc::channel(1);
    let (refuse, refused) = mpsc::channel(8);
    let board = Arc::new(Board::default());
    let parts = Parts {
        paths: Paths { identity: identity.clone(), agent_context: dir.path().join("agent.context.toml") },
        spool: spool.clone(),
        journal,
        board: Arc::clone(&board),
        policy: Arc::new(PolicyFile::new(dir.path().join("policy.toml"))),
        rules: Rules::fixed(Arc::new(Engine::with_packs(&[]).unwrap()), Arc::clone(&board)),
        permits: desk,
        screens: Arc::new(NoScreens),
        accounts: None,
        actions: Actions { accepted, refused: refuse },
        clock: Arc::new(ControllerClock::default()),
    };
    tasks.spawn("node", super::run(parts, tasks.shutdown().clone()));
    Stage { dir, board, fake, tasks, spool, permits, journal: kept, identity, refused }
}

/// A controller on a port of its own, and its URL.
async fn controller(tasks: &Tasks, credit: u64, acks: bool) -> (Fake, String) {
    let ca = Arc::new(Ca::new());
    let memory = Memory {
        hellos: vec![],
        records: vec![],
        heartbeats: 0,
        problems: vec![],
        panes: 0,
        last_panes: vec![],
        renewals: 0,
        keys: vec![],
        recoveries: vec![],
        rules: vec![],
        replies: vec![],
        acked: [0, 0],
        acks,
        credit,
        behind: jiff::SignedDuration::ZERO,
        down: None,
    };
    let (memory, changed) = (Arc::new(Mutex::new(memory)), watch::Sender::new(0));
    let fake = Fake { memory, changed, tasks: tasks.clone(), ca: Arc::clone(&ca) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = ca.issue(SanType::DnsName(SERVER_NAME.try_into().unwrap()), (2000, 2200));
    let incoming = accept::incoming(listener, tls::server_config(&server).unwrap(), tasks);
    let doors = accept::server().add_service(NodeLinkServer::new(fake.clone()));
    let router = doors.add_service(EnrollmentServer::new(fake.clone()));
    let ended = tasks.shutdown().triggered();
    tasks.spawn("server", async move {
        drop(router.serve_with_incoming_shutdown(incoming, ended).await);
    });
    (fake, url)
}

fn record(lane: Lane, text: &str) -> Group {
    let body = match lane {
        Lane::Events => v1::record::Body::Event(v1::Event { line: text.into(), ..Default::default() }),
        Lane::Bulk => v1::record::Body::Lines(v1::Lines {
            lines: vec![v1::Line { text: text.into(), ..Default::default() }],
            ..Default::default()
        }),
    };
    let record = NewRecord { lane, time: wa_link::clock::now(), trace_parent: String::new(), body };
    Group { records: vec![record], positions: vec![] }
}

impl Stage {
    async fn append(&self, lane: Lane, text: &str) {
        self.spool.append_durable(record(lane, text)).await.unwrap();
    }

    /// Seqs of a lane in the order of their arrival.
    fn seqs(memory: &Memory, lane: Lane) -> Vec<u64> {
        let lane: i32 = v1::Lane::from(lane).into();
        memory.records.iter().filter(|record| record.lane == lane).map(|record| record.seq).collect()
    }

    async fn stop(self) {
        drop(self.tasks.finish(LIMIT).await);
        self.spool.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_let_go_and_nothing_is_sent_twice() {
    let stage = stage(1 << 20, true).await;
    for at in 0..5 {
        stage.append(Lane::Bulk, &format!("line {at}")).await;
        stage.append(Lane::Events, &format!("event {at}")).await;
    }
    let all = |memory: &mut Memory| (memory.records.len() == 10).then_some(());
    stage.fake.until("ten records", all).await;
    stage.fake.hang_up();
    stage.append(Lane::Bulk, "line 5").await;
    stage
        .fake
        .until("the eleventh, on a second stream", |memory| (memory.records.len() == 11).then_some(()))
        .await;
    stage.fake.with(|memory| {
        assert_eq!(Stage::seqs(memory, Lane::Bulk), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Stage::seqs(memory, Lane::Events), [1, 2, 3, 4, 5]);
        assert_eq!(memory.hellos.len(), 2);
        assert_eq!(memory.hellos[0].spool_id, memory.hellos[1].spool_id);
        // The last acknowledgement may have been on its way when the stream ended.
        let events = memory.hellos[1].events.unwrap();
        assert!(events.next == 6 && events.first >= 5, "{events:?}");
        assert!(memory.panes >= 2);
    });
    let released = async {
        while stage.spool.status().events.first < 6 || stage.spool.status().bulk.first < 7 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, released).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_while_bulk_waits_for_credit() {
    let stage = stage(100, false).await;
    for _ in 0..6 {
        stage.append(Lane::Bulk, &"0123456789".repeat(10_000)).await;
    }
    stage.append(Lane::Events, "event").await;
    stage.fake.until("the event", |memory| (Stage::seqs(memory, Lane::Events) == [1]).then_some(())).await;
    // A block that is larger than the credit went alone, and nothing follows it until it is acknowledged.
    stage.append(Lane::Events, "another").await;
    stage
        .fake
        .until("the other event", |memory| (Stage::seqs(memory, Lane::Events) == [1, 2]).then_some(()))
        .await;
    assert_eq!(stage.fake.with(|memory| Stage::seqs(memory, Lane::Bulk)), [1]);
    stage.fake.say(Down::Ack(v1::Ack { lane: v1::Lane::Bulk.into(), seq: 1 })).await;
    stage
        .fake
        .until("the second block", |memory| (Stage::seqs(memory, Lane::Bulk) == [1, 2]).then_some(()))
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_older_than_the_controller_knows_begins_anew() {
    let stage = stage(1 << 20, true).await;
    stage.append(Lane::Bulk, "line").await;
    stage.fake.until("the line", |memory| (!memory.records.is_empty()).then_some(())).await;
    stage.fake.with(|memory| {
        memory.acked = [0, 500];
        memory.records.clear();
    });
    stage.fake.hang_up();
    stage.append(Lane::Bulk, "after").await;
    let after = stage.fake.until("the new line under a new id", |memory| {
        let last = memory.hellos.last()?.spool_id.clone();
        (last != memory.hellos[0].spool_id && Stage::seqs(memory, Lane::Bulk).last() == Some(&2))
            .then_some(())
    });
    after.await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_controller_says_reaches_those_who_wait() {
    let mut stage = stage(1 << 20, true).await;
    stage.fake.until("a heartbeat", |memory| (memory.heartbeats > 0).then_some(())).await;
    let action = wa_proto::ActionId::generate();
    assert_eq!(stage.permits.ask(action).await, Answer::Refused("paused".into()));
    let nonsense = v1::Action { action_id: action.as_bytes().to_vec(), ..Default::default() };
    stage.fake.say(Down::Action(nonsense)).await;
    let (refused, reason) = stage.refused.recv().await.unwrap();
    assert_eq!(refused, action);
    assert!(reason.contains("does not understand"), "{reason}");
    stage.fake.hang_up();
    let offline = async {
        while !matches!(stage.permits.ask(action).await, Answer::Refused(why) if why.contains("cannot be reached"))
        {
        }
    };
    tokio::time::timeout(LIMIT, offline).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_past_half_its_life_is_renewed() {
    let stage = stage_with(1 << 20, true, (1980, 2060)).await;
    let before = Context::load(&stage.identity).unwrap();
    stage.fake.until("a renewal", |memory| (memory.renewals > 0).then_some(())).await;
    // The file is replaced in one step, so that a change of it is a whole one.
    let renewed = async {
        loop {
            let now = Context::load(&stage.identity).unwrap();
            if now != before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let after = tokio::time::timeout(LIMIT, renewed).await.unwrap();
    assert_ne!(after.identity.key_pem, before.identity.key_pem);
    assert_eq!((&after.name, &after.controller), (&before.name, &before.controller));
    // Agents had none that could be used.
    let agent = async {
        loop {
            if let Ok(agent) = Context::load(&stage.identity.with_file_name("agent.context.toml")) {
                return agent;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let agent = tokio::time::timeout(LIMIT, agent).await.unwrap();
    assert_eq!((&agent.name, agent.role, &agent.controller), (&after.name, Role::Agent, &after.controller));
    assert_ne!(agent.identity.key_pem, after.identity.key_pem);
    // The new one is good for a session.
    stage.fake.hang_up();
    stage.fake.until("a second session", |memory| (memory.hellos.len() == 2).then_some(())).await;
    assert_eq!(stage.fake.with(|memory| memory.renewals), 1);
    stage.stop().await;
}

/// It would be past half of any life by its own clock, and ask every second.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_ahead_renews_by_the_controllers() {
    let tasks = Tasks::new(Shutdown::new());
    let (fake, url) = controller(&tasks, 1 << 20, true).await;
    fake.with(|memory| memory.behind = jiff::SignedDuration::from_hours(24 * 365 * 30));
    let stage = node(tasks, fake, url, (1980, 2060));
    // The first heartbeat goes at once, the second after five seconds.
    stage.fake.until("a second heartbeat", |memory| (memory.heartbeats > 1).then_some(())).await;
    assert_eq!(stage.fake.with(|memory| memory.renewals), 0);
    // It was the controller's that was wrong.
    let now = wa_link::clock::now().as_microsecond();
    stage.fake.say(Down::Heartbeat(v1::HeartbeatReply { echo_us: now, now_us: now })).await;
    stage.fake.until("a renewal", |memory| (memory.renewals > 0).then_some(())).await;
    stage.stop().await;
}

/// By its own clock the agents' context would hold for long, as its own certificate would.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_behind_renews_the_agents_context_by_the_controllers() {
    let tasks = Tasks::new(Shutdown::new());
    let (fake, url) = controller(&tasks, 1 << 20, true).await;
    fake.with(|memory| memory.behind = jiff::SignedDuration::from_hours(-24 * 365 * 100));
    let agents = |dir: &Path| dir.join("agent.context.toml");
    let prepare = |fake: &Fake, url: &str, dir: &Path| {
        fake.enrol(url.to_owned(), (2000, 2200), &agents(dir));
    };
    let stage = node_with(tasks, fake, url, (2000, 2200), prepare);
    let before = Context::load(&agents(stage.dir.path())).unwrap();
    let renewed = async {
        while Context::load(&agents(stage.dir.path())).unwrap().identity == before.identity {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, renewed).await.expect("the agents' context is renewed");
    stage.stop().await;
}

/// What was begun from another state directory is on no record here.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_controller_has_nothing_of_begins_nothing_older() {
    let (older, ca_is_up) = (wa_proto::ActionId::generate(), Tasks::new(Shutdown::new()));
    let (fake, url) = controller(&ca_is_up, 1 << 20, true).await;
    let restored = |_: &Fake, _: &str, dir: &Path| {
        // It is no new journal.
        std::fs::create_dir(dir.join("journal")).unwrap();
        std::fs::write(dir.join("journal/journal.log"), b"wajourn1").unwrap();
    };
    let stage = node_with(ca_is_up, fake, url, (2000, 2200), restored);
    assert_eq!(stage.journal.find(older), None);
    stage.fake.until("a heartbeat", |memory| (memory.heartbeats > 0).then_some(())).await;
    assert_eq!(stage.journal.find(older), Some(Begin::Doubtful));
    stage.stop().await;
}

/// At its end a node stops acting before it stops speaking.
#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_the_controller_ends_although_nobody_asks_any_more() {
    let (permits, mut desk) = permits();
    drop(permits);
    let wait = super::offline(&mut desk, Duration::from_millis(10));
    tokio::time::timeout(LIMIT, wait).await.unwrap();
}
