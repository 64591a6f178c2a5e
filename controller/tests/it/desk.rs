//! A controller on a desk, and hand-made nodes and operators around it.

use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use wa_controller::identity::ca::Authority;
use wa_controller::{Config, Controller, Running};
use wa_link::context::Context;
use wa_link::principal::{Principal, Role};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls::{self, Fingerprint, Identity};
use wa_link::{clock, dial};
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::enrollment_client::EnrollmentClient;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::wire::v1::node_link_client::NodeLinkClient;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::wire::{to_us, v1};
use wa_proto::{
    AgentKind, Event, EventId, EventKind, Generation, Host, Lane, Line, Lines, MuxName, Outcome, OutcomeKind,
    Pane, PaneRef, PaneState, Record, RecordBody, SpoolId, StateDetail, Witness,
};

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Desk {
    _place: TempDir,
    tasks: Tasks,
    running: Option<Running>,
    config: Config,
}

impl Desk {
    pub(crate) async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = Config::local(place.path().join("data"));
        Self::with(place, config).await
    }

    pub(crate) async fn with(place: TempDir, config: Config) -> Self {
        let mut desk = Self { _place: place, tasks: Tasks::new(Shutdown::new()), running: None, config };
        desk.begin().await;
        desk
    }

    async fn begin(&mut self) {
        self.tasks = Tasks::new(Shutdown::new());
        self.running = Some(Controller::start(self.config.clone(), self.tasks.clone()).await.unwrap());
    }

    /// Drops the controller where it stands and opens the same directory again.
    pub(crate) async fn kill_and_restart(&mut self) {
        let _stayed = self.tasks.finish(Duration::ZERO).await;
        self.running = None;
        self.begin().await;
    }

    /// As [`Self::kill_and_restart`], with these workflows in its configuration.
    pub(crate) async fn restart_with(&mut self, workflows: Vec<wa_workflow::Definition>) {
        self.config.workflows = workflows;
        self.kill_and_restart().await;
    }

    /// Ends it in order and opens the same directory again.
    pub(crate) async fn restart(&mut self) {
        let finished = self.tasks.finish(LIMIT).await;
        assert_eq!((finished.failure, finished.stayed), (None, vec![]));
        self.running = None;
        self.begin().await;
    }

    pub(crate) async fn stop(mut self) {
        let finished = self.tasks.finish(LIMIT).await;
        assert_eq!((finished.failure, finished.stayed), (None, vec![]));
        self.running = None;
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data_dir
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::open(&self.data().join("ca"), clock::now()).unwrap()
    }

    pub(crate) async fn channel(&self, identity: &Identity) -> Channel {
        let config = tls::client_config(identity).unwrap();
        dial::connect(&self.running().url, config, LIMIT).await.unwrap()
    }

    pub(crate) async fn anonymous(&self) -> Channel {
        let fingerprint = Fingerprint::of_pem(self.authority().certificate_pem()).unwrap();
        let config = tls::client_config_anonymous_pinned(fingerprint).unwrap();
        dial::connect(&self.running().url, config, LIMIT).await.unwrap()
    }

    /// As the person who started the controller.
    pub(crate) async fn admin(&self) -> FleetClient<Channel> {
        let context = Context::load(&self.running().operator_context).unwrap();
        FleetClient::new(self.channel(&context.identity).await)
    }

    /// A certificate of any role, signed with the CA on the disk.
    pub(crate) fn identity(&self, role: Role, name: &str) -> Identity {
        let who = Principal { role, name: Host::new(name).unwrap() };
        self.authority().make_identity(who, clock::now()).unwrap().0
    }

    pub(crate) async fn fleet(&self, role: Role, name: &str) -> FleetClient<Channel> {
        FleetClient::new(self.channel(&self.identity(role, name)).await)
    }

    pub(crate) async fn token(&self, name: &str, replace: bool) -> Result<String, Status> {
        let request = v1::CreateTokenRequest { name: name.into(), ttl_seconds: 0, replace };
        Ok(self.admin().await.create_token(request).await?.into_inner().token)
    }

    /// Joins by the whole way: token, request, certificate.
    pub(crate) async fn enrol(&self, name: &str) -> Identity {
        let token = self.token(name, false).await.unwrap();
        self.join(&token).await.unwrap().0
    }

    /// The identities of the node and of the agents beside it.
    pub(crate) async fn join(&self, token: &str) -> Result<(Identity, Identity), Status> {
        let token: wa_link::token::JoinToken = token.parse().unwrap();
        self.join_with(&token.secret.expose(), token.name.as_str()).await
    }

    /// With this secret, for this name.
    pub(crate) async fn join_with(&self, secret: &str, name: &str) -> Result<(Identity, Identity), Status> {
        let ((csr_pem, key_pem), (agent_csr_pem, agent_key_pem)) = (tls::csr().unwrap(), tls::csr().unwrap());
        let request = v1::JoinRequest { token: secret.into(), csr_pem, agent_csr_pem, name: name.into() };
        let joined = EnrollmentClient::new(self.anonymous().await).join(request).await?.into_inner();
        assert_eq!(joined.ca_pem, self.authority().certificate_pem());
        let identity =
            |certificate_pem, key_pem| Identity { certificate_pem, key_pem, ca_pem: joined.ca_pem.clone() };
        let node = identity(joined.certificate_pem.clone(), key_pem);
        Ok((node, identity(joined.agent_certificate_pem.clone(), agent_key_pem)))
    }
}

/// One session, driven by hand.
pub(crate) struct Node {
    pub(crate) welcome: v1::Welcome,
    out: mpsc::Sender<v1::NodeMessage>,
    inbound: Streaming<v1::ControllerMessage>,
    /// Messages that came while something else was waited for.
    waiting: Vec<Down>,
    /// The seq of the last record that [`Self::record`] told of.
    events: u64,
}

impl Node {
    pub(crate) async fn connect(desk: &Desk, identity: &Identity, spool: SpoolId) -> Self {
        Self::try_connect(desk, identity, spool, &[1]).await.unwrap()
    }

    pub(crate) async fn try_connect(
        desk: &Desk,
        identity: &Identity,
        spool: SpoolId,
        protocols: &[u32],
    ) -> Result<Self, Status> {
        let (out, receiver) = mpsc::channel(64);
        let hello = v1::Hello {
            version: "0.0.test".into(),
            protocols: protocols.to_vec(),
            spool_id: spool.as_bytes().to_vec(),
            now_us: to_us(clock::now()),
            ..v1::Hello::default()
        };
        out.send(v1::NodeMessage { kind: Some(Up::Hello(hello)) }).await.unwrap();
        let mut client = NodeLinkClient::new(desk.channel(identity).await);
        let mut inbound = client.session(ReceiverStream::new(receiver)).await?.into_inner();
        match inbound.message().await?.and_then(|message| message.kind) {
            Some(Down::Welcome(welcome)) => {
                let events = welcome.acked_events;
                Ok(Self { welcome, out, inbound, waiting: Vec::new(), events })
            }
            other => panic!("not a welcome: {other:?}"),
        }
    }

    pub(crate) async fn send(&self, kind: Up) {
        self.out.send(v1::NodeMessage { kind: Some(kind) }).await.unwrap();
    }

    pub(crate) async fn records(&self, lane: Lane, records: Vec<Record>) {
        self.send(Up::Block(block(lane, records))).await;
    }

    /// Tells of the next thing in the lane of events, until it is acknowledged.
    pub(crate) async fn record(&mut self, make: impl FnOnce(u64) -> Record) {
        self.events += 1;
        self.records(Lane::Events, vec![make(self.events)]).await;
        self.acked(Lane::Events, self.events).await;
    }

    /// As [`Self::record`], of an event in pane 1.
    pub(crate) async fn event(&mut self, kind: EventKind, agent: AgentKind, fields: &[(&str, &str)]) {
        self.event_in(1, kind, agent, fields).await;
    }

    /// As [`Self::record`], of an event in this pane.
    pub(crate) async fn event_in(
        &mut self,
        pane_id: u64,
        kind: EventKind,
        agent: AgentKind,
        fields: &[(&str, &str)],
    ) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.record(|seq| {
            let mut record = event_record(seq, kind, agent);
            if let RecordBody::Event(event) = &mut record.body {
                (event.fields, event.pane) = (fields.collect(), Some(pane_ref(pane_id)));
            }
            record
        })
        .await;
    }

    /// As [`Self::record`], of what became of an action.
    pub(crate) async fn outcome(&mut self, action: &v1::Action, kind: OutcomeKind, reason: &str) {
        self.record(|seq| outcome_record(seq, &action.action_id, kind, reason)).await;
    }

    pub(crate) async fn panes(&self, full: bool, panes: Vec<Pane>) {
        let panes = panes.into_iter().map(Into::into).collect();
        self.send(Up::Panes(v1::PaneReport { full, panes, gone: vec![] })).await;
    }

    /// The next message that `pick` takes; others wait.
    pub(crate) async fn next<T>(&mut self, pick: impl Fn(&Down) -> Option<T>) -> Result<T, Status> {
        if let Some((at, found)) = self.waiting.iter().enumerate().find_map(|(at, m)| Some((at, pick(m)?))) {
            self.waiting.remove(at);
            return Ok(found);
        }
        loop {
            let message = timeout(LIMIT, self.inbound.message()).await.expect("no message in time")?;
            let kind = message.and_then(|message| message.kind).ok_or_else(|| Status::aborted("end"))?;
            match pick(&kind) {
                Some(found) => return Ok(found),
                None => self.waiting.push(kind),
            }
        }
    }

    pub(crate) async fn acked(&mut self, lane: Lane, seq: u64) {
        let wanted: i32 = v1::Lane::from(lane).into();
        let ack = |m: &Down| match m {
            Down::Ack(ack) if ack.lane == wanted && ack.seq >= seq => Some(ack.seq),
            _ => None,
        };
        assert_eq!(self.next(ack).await.unwrap(), seq);
    }

    pub(crate) async fn action(&mut self) -> v1::Action {
        let action = |m: &Down| match m {
            Down::Action(action) => Some(action.clone()),
            _ => None,
        };
        self.next(action).await.unwrap()
    }

    pub(crate) async fn ask(&mut self, action_id: &[u8]) -> v1::Permit {
        self.send(Up::PermitRequest(v1::PermitRequest { action_id: action_id.to_vec() })).await;
        let permit = |m: &Down| match m {
            Down::Permit(permit) if permit.action_id == action_id => Some(permit.clone()),
            _ => None,
        };
        self.next(permit).await.unwrap()
    }

    /// The next question about an account; its number and what it asks.
    pub(crate) async fn account_request(&mut self) -> (u64, v1::account_request::About) {
        let request = |m: &Down| match m {
            Down::AccountRequest(request) => Some((request.request_id, request.about.clone()?)),
            _ => None,
        };
        self.next(request).await.unwrap()
    }

    /// The reason with which the controller ends the session.
    pub(crate) async fn ended(mut self) -> Status {
        self.next(|_| None::<()>).await.unwrap_err()
    }
}

pub(crate) fn block(lane: Lane, records: Vec<Record>) -> v1::RecordBlock {
    let (first_seq, count) = (records[0].seq, records.len().try_into().unwrap());
    let raw = v1::Records { records: records.into_iter().map(Into::into).collect() }.encode_to_vec();
    v1::RecordBlock {
        lane: v1::Lane::from(lane).into(),
        first_seq,
        count,
        compression: v1::Compression::None.into(),
        raw_size: raw.len().try_into().unwrap(),
        data: raw,
        ..v1::RecordBlock::default()
    }
}

pub(crate) fn pane_ref(pane_id: u64) -> PaneRef {
    PaneRef { mux: MuxName::main(), generation: Generation::new("boot-1-1").unwrap(), pane_id }
}

pub(crate) fn pane(pane_id: u64, agent: Option<AgentKind>, state: PaneState) -> Pane {
    Pane {
        pane: pane_ref(pane_id),
        title: "a title".into(),
        cwd: "/src/shop".into(),
        project: "shop".into(),
        agent_pid: u32::from(agent.is_some()) * 4711,
        agent,
        agent_version: String::new(),
        state,
        detail: StateDetail::default(),
        session_id: String::new(),
        cols: 80,
        rows: 24,
        tty: "/dev/pts/9".into(),
        last_output: None,
        mirror: false,
        session: None,
        not_logged: String::new(),
        account: None,
    }
}

pub(crate) fn address(host: &str, pane_id: u64) -> v1::PaneAddress {
    v1::PaneAddress { host: host.into(), mux: "main".into(), pane_id }
}

fn record(lane: Lane, seq: u64, body: RecordBody) -> Record {
    Record { lane, seq, time: clock::now(), trace_parent: String::new(), body }
}

/// One line per seq, in pane 1.
pub(crate) fn line_record(seq: u64, text: &str) -> Record {
    let line = Line { row: seq.cast_signed(), rev: 0, text: text.into(), rows: 1, time: None };
    let lines = Lines { pane: pane_ref(1), layout: 1, agent: Some(AgentKind::codex()), lines: vec![line] };
    record(Lane::Bulk, seq, RecordBody::Lines(lines))
}

pub(crate) fn event_record(seq: u64, kind: EventKind, agent: AgentKind) -> Record {
    let event = Event {
        id: EventId::generate(),
        pane: Some(pane_ref(1)),
        kind,
        agent: Some(agent),
        agent_version: String::new(),
        agent_pid: 4711,
        rule: "a.rule".into(),
        fields: std::collections::BTreeMap::new(),
        witnesses: vec![Witness::Screen, Witness::Process],
        line: "what the screen said".into(),
        row: 7,
        layout: 1,
    };
    record(Lane::Events, seq, RecordBody::Event(event))
}

pub(crate) fn outcome_record(seq: u64, action_id: &[u8], kind: OutcomeKind, reason: &str) -> Record {
    let outcome = Outcome {
        action: wa_proto::ActionId::from_slice(action_id).unwrap(),
        kind,
        reason: reason.into(),
        pane: Some(pane_ref(1)),
        trace_parent: String::new(),
        spawned: None,
    };
    record(Lane::Events, seq, RecordBody::Outcome(outcome))
}

/// Until the condition holds; conditions are cheap and their changes are announced, but not to clients.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
