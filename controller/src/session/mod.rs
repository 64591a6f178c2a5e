//! The one long-lived stream of each node.
//!
//! Constraints: a node speaks only for itself (its name comes from the certificate); what it sends is checked at the
//! door, and a message that cannot be what it claims ends its stream and nobody else's; acknowledgement only after the
//! commit; events overtake bulk; every buffer is bounded, so a slow store or node slows only its own stream.
//!
//! Operation: one task per session holds six loops that run side by side:
//!
//! ```text
//! reader ─► events lane: blocks, pane reports ─► store ─► Ack ─┐
//!        ─► bulk lane: blocks, several under way ─► store ─► Ack ─┤
//!        ─► at once: permits, heartbeats, renewals, screens ──────┼─► to the node
//! outbox ─► actions, oldest first, all open ones anew each time ──┤
//! rules ──► the pushed packs, whole, at first and on each change ─┘
//! guard  ─► shutdown, revocation, another session, expiry of the certificate
//! ```
//!
//! A second session of a node ends the first: the node knows better which of its connections is alive.

mod blocks;
mod lanes;
mod refusals;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument as _;
use wa_link::principal::Role;
use wa_link::shutdown::Tasks;
use wa_link::{clock, trace};
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::wire::{to_us, v1};
use wa_proto::{ActionId, ErrorCode, Event, EventKind, Host, Lane, SpoolId};

use crate::api::status;
use crate::gate::{Gate, Labels, Verdict};
use crate::identity::Doorkeeper;
use crate::identity::ca::Authority;
use crate::identity::host::{Given, Wanted, give};
use crate::identity::peer::Peer;
use crate::metrics::Metrics;
use crate::registry::{Registry, SessionHandle};
use crate::store::{Store, StoreError};
use lanes::{BulkItem, EventItem};
pub(crate) use refusals::Refusals;

/// The protocol versions that are spoken here.
const PROTOCOLS: &[u32] = &[1];
/// Messages to a node that wait for the network.
const OUT: usize = 64;
/// Blocks and reports of the events lane that wait for the store.
const EVENTS: usize = 64;
/// Bytes of bulk, as they travel, that a node may have in flight; here they wait for the store, so that what comes after
/// them on the stream need not.
const CREDIT: u64 = 256 * 1024;
/// How long a node may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// How long a node may take to hear why its session ends.
const PARTING: Duration = Duration::from_secs(2);
/// Blocks of bulk that may wait, however small they are; beyond, the stream itself waits.
const BULK: usize = 1024;

pub(crate) type Reply = Result<v1::ControllerMessage, Status>;

/// What all sessions share.
#[derive(Clone)]
pub(crate) struct NodeLink {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) doorkeeper: Arc<Doorkeeper>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) tasks: Tasks,
}

#[tonic::async_trait]
impl v1::node_link_server::NodeLink for NodeLink {
    type SessionStream = ReceiverStream<Reply>;

    async fn session(
        &self,
        request: Request<Streaming<v1::NodeMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = self.doorkeeper.admit(&request, &[Role::Node])?;
        let (sender, receiver) = mpsc::channel(OUT);
        let (link, host) = (self.clone(), peer.principal.name.clone());
        let stream = request.into_inner();
        self.tasks.spawn(format!("session {host}"), async move {
            if let Err(refusal) = Box::pin(link.clone().run(peer, stream, &sender)).await {
                link.refusals.note(&host, &refusal, &link.store, &link.metrics).await;
                // The node may be gone already, or read nothing: then it is cut off without a word.
                drop(timeout(PARTING, sender.send(Err(refusal))).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One session, as its loops see it.
pub(crate) struct Session {
    pub(crate) link: NodeLink,
    pub(crate) host: Host,
    pub(crate) spool: SpoolId,
    pub(crate) handle: Arc<SessionHandle>,
    /// Everything to the node goes through here.
    out: mpsc::Sender<Reply>,
    /// Bytes of bulk that were not acknowledged yet.
    bulk_in_flight: AtomicU64,
    /// The node lost events on their way, which may have been outcomes: the open actions are to be offered again.
    offer_again: AtomicBool,
    /// The node's newest certificate: what it came with, or what it was given since.
    certificate: Mutex<Peer>,
}

impl NodeLink {
    async fn run(
        self,
        peer: Peer,
        mut stream: Streaming<v1::NodeMessage>,
        out: &mpsc::Sender<Reply>,
    ) -> Result<(), Status> {
        let host = peer.principal.name.clone();
        let first = tokio::select! {
            biased;
            first = timeout(HELLO, stream.next()) => {
                first.map_err(|_| ErrorCode::TimedOut.status("no Hello came in time"))?
            }
            refusal = self.doorkeeper.barred(&peer) => return Err(refusal),
            () = self.tasks.shutdown().triggered() => return Err(shuts_down()),
        };
        let mut hello = match first {
            Some(Ok(v1::NodeMessage { kind: Some(Up::Hello(hello)) })) => hello,
            Some(Err(status)) => return Err(status),
            Some(Ok(_)) => return Err(ErrorCode::Usage.status("the first message of a session is Hello")),
            None => return Ok(()),
        };
        let (to_node, requests) = mpsc::channel(OUT);
        let spool = SpoolId::from_slice(&hello.spool_id)
            .ok_or_else(|| ErrorCode::Usage.status("hello.spool_id: not 16 bytes"))?;
        hello.version = lanes::shortened(&hello.version, 128).to_owned();
        let welcome = self.welcome(&host, spool, &hello).await?;
        // What was revoked meanwhile ends nobody else's session.
        self.doorkeeper.holds(&peer)?;
        let end = self.tasks.shutdown().child();
        let (handle, was_absent) = self.registry.connect(&host, &hello, clock::now(), to_node, end);
        if was_absent {
            self.announce(&host, EventKind::NodeJoined, &[("version", &hello.version)]).await;
        }
        Metrics::add(&self.metrics.sessions, 1);
        tracing::info!(%host, version = hello.version, "a node connected");
        let session = Session {
            host: host.clone(),
            spool,
            handle: Arc::clone(&handle),
            out: out.clone(),
            bulk_in_flight: AtomicU64::new(0),
            offer_again: AtomicBool::new(false),
            certificate: Mutex::new(peer),
            link: self,
        };
        let result = session.serve(welcome, stream, requests).await;
        session.link.farewell(&host, &handle, result.as_ref().err()).await;
        result
    }

    /// Reads what is durable of this spool, and picks the protocol.
    async fn welcome(&self, host: &Host, spool: SpoolId, hello: &v1::Hello) -> Result<v1::Welcome, Status> {
        let known = hello.protocols.iter().copied().filter(|protocol| PROTOCOLS.contains(protocol)).max();
        let protocol = known.ok_or_else(|| {
            ErrorCode::Refused.status(format!(
                "the node speaks protocol {:?}, this controller {PROTOCOLS:?}: bring the older of the two up to date",
                hello.protocols
            ))
        })?;
        let of_host = host.clone();
        let marks = self.store.write(move |tx| {
            tx.node_joined(&of_host)?;
            Ok((tx.mark(&of_host, spool, Lane::Events)?, tx.mark(&of_host, spool, Lane::Bulk)?))
        });
        let (events, bulk) = marks.await.map_err(|e| status(&e))?;
        Ok(v1::Welcome {
            protocol,
            acked_events: events.acked,
            acked_bulk: bulk.acked,
            acked_events_time_us: events.time_us,
            acked_bulk_time_us: bulk.time_us,
            credit_bytes: CREDIT,
            now_us: to_us(clock::now()),
            dictionaries: wa_link::dictionary::numbers(),
            forms: vec![v1::RecordForm::Packed.into()],
        })
    }

    async fn farewell(&self, host: &Host, handle: &SessionHandle, refusal: Option<&Status>) {
        if !self.registry.disconnect(host, handle, clock::now()) {
            return;
        }
        let reason =
            refusal.map_or_else(|| "it disconnected".to_owned(), |refusal| refusal.message().to_owned());
        tracing::info!(%host, reason, "a node is away");
        if self.tasks.shutdown().is_triggered() {
            return;
        }
        self.announce(host, EventKind::NodeLost, &[("reason", &reason)]).await;
    }

    async fn announce(&self, host: &Host, kind: EventKind, fields: &[(&str, &str)]) {
        let (of_host, event) = (host.clone(), Event::new(kind, fields.iter().copied()));
        let noted = self.store.write_later(move |tx| tx.enter_event(&of_host, &event, tx.now, ""));
        if let Err(error) = noted.await {
            tracing::warn!(%host, %kind, %error, "an event was not stored");
        }
    }
}

impl Session {
    /// Runs the loops until one ends. `Ok`: the node went away, or the controller goes.
    async fn serve(
        &self,
        welcome: v1::Welcome,
        stream: Streaming<v1::NodeMessage>,
        requests: mpsc::Receiver<v1::ControllerMessage>,
    ) -> Result<(), Status> {
        let (events, events_lane) = mpsc::channel(EVENTS);
        let (bulk, bulk_lane) = mpsc::channel(BULK);
        self.send(Down::Welcome(welcome)).await?;
        // When the node goes, what it sent before is still logged; when one of the three fails, all end.
        let incoming = async {
            tokio::try_join!(
                self.read(stream, events, bulk),
                self.events_lane(events_lane),
                self.bulk_lane(bulk_lane)
            )
            .map(|((), (), ())| ())
        };
        tokio::select! {
            biased;
            ended = incoming => ended,
            ended = self.outbox() => ended,
            ended = self.forward(requests) => ended,
            ended = self.rules() => ended,
            ended = self.guard() => ended,
        }
    }

    /// Takes messages from the node to where they belong.
    async fn read(
        &self,
        mut stream: Streaming<v1::NodeMessage>,
        events: mpsc::Sender<EventItem>,
        bulk: mpsc::Sender<BulkItem>,
    ) -> Result<(), Status> {
        // A lane that failed has closed its end, and its error is the one that counts.
        let lane_over = || Status::cancelled("the lane has ended");
        while let Some(message) = stream.next().await {
            let message = match message {
                Ok(message) => message,
                Err(status) => return self.broken_off(status),
            };
            match message.kind {
                Some(Up::Block(block)) if block.lane() == v1::Lane::Bulk => {
                    self.charge(&block)?;
                    bulk.send(block).await.map_err(|_| lane_over())?;
                }
                Some(Up::Block(block)) => {
                    let batch = blocks::open(&self.host, self.spool, block).map_err(refuse)?;
                    events.send(EventItem::Block(batch)).await.map_err(|_| lane_over())?;
                }
                Some(Up::Panes(report)) => {
                    let changes = self.take_report(report)?;
                    if !changes.is_empty() {
                        events.send(EventItem::Panes(changes)).await.map_err(|_| lane_over())?;
                    }
                }
                Some(Up::PermitRequest(request)) => self.permit(&request).await?,
                Some(Up::Heartbeat(heartbeat)) => self.heartbeat(heartbeat).await?,
                Some(Up::ScreenReply(reply)) => self.handle.screens.arrived(reply.request_id, reply),
                Some(Up::Renew(request)) => self.renew(&request).await?,
                Some(Up::Rules(report)) => self.rules_reported(report),
                Some(Up::RulesReply(reply)) => self.rules_reply(reply),
                Some(Up::AccountReply(reply)) => self.handle.accounts.arrived(reply.request_id, reply),
                Some(Up::Hello(_)) => return Err(ErrorCode::Usage.status("a session has one Hello")),
                None => Metrics::add(&self.link.metrics.unknown_messages, 1),
            }
        }
        Ok(())
    }

    /// The stream ended in an error: of the network, or of a message that cannot be read.
    fn broken_off(&self, status: Status) -> Result<(), Status> {
        match status.code() {
            Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument => {
                Err(refuse(status.message()))
            }
            _ => {
                tracing::info!(host = %self.host, reason = status.message(), "the stream of a node broke off");
                Ok(())
            }
        }
    }

    /// Books a block of bulk against the credit. A block may be larger than what is left of it, or than the whole.
    fn charge(&self, block: &v1::RecordBlock) -> Result<(), Status> {
        let before = self.bulk_in_flight.fetch_add(block.data.len() as u64, Ordering::Relaxed);
        if before < CREDIT {
            Ok(())
        } else {
            Err(refuse("bulk: more in flight than the credit that was given"))
        }
    }

    pub(crate) async fn send(&self, kind: Down) -> Result<(), Status> {
        let message = v1::ControllerMessage { kind: Some(kind) };
        self.out.send(Ok(message)).await.map_err(|_| Status::cancelled("the node is gone"))
    }

    async fn permit(&self, request: &v1::PermitRequest) -> Result<(), Status> {
        let action = ActionId::from_slice(&request.action_id)
            .ok_or_else(|| ErrorCode::Usage.status("permit_request.action_id: not 16 bytes"))?;
        let registry = &self.link.registry;
        let labels = |pane: Option<&wa_proto::PaneAddress>| match pane.and_then(|pane| registry.pane(pane)) {
            Some(view) => view.labels(),
            None => Labels::from([("host".to_owned(), self.host.to_string())]),
        };
        let verdict = self.link.gate.permit(&self.host, action, labels, clock::now());
        let mut permit =
            v1::Permit { action_id: request.action_id.clone(), refused: String::new(), expired: false };
        match verdict {
            Verdict::Granted { first, who, trace_parent, target } => {
                let span = tracing::info_span!("permit", host = %self.host, %action);
                trace::set_parent(&span, &trace_parent);
                Metrics::add(&self.link.metrics.permits, 1);
                self.send(Down::Permit(permit)).instrument(span).await?;
                if first {
                    self.note_permit(action, who, target).await;
                }
                return Ok(());
            }
            Verdict::Refused(reason) => permit.refused = reason,
            Verdict::Expired(reason) => (permit.refused, permit.expired) = (reason, true),
        }
        Metrics::add(&self.link.metrics.permits_refused, 1);
        self.send(Down::Permit(permit)).await
    }

    /// After the answer, not before it: the node waits.
    async fn note_permit(&self, action: ActionId, who: String, target: String) {
        let noted = self.link.store.write_later(move |tx| tx.mark_permitted(action, &who, &target));
        if let Err(error) = noted.await {
            tracing::warn!(%action, %error, "a permit is missing in the audit trail");
        }
    }

    async fn heartbeat(&self, heartbeat: v1::Heartbeat) -> Result<(), Status> {
        let now = clock::now();
        let reply = v1::HeartbeatReply { echo_us: heartbeat.now_us, now_us: to_us(now) };
        self.link.registry.heartbeat(&self.host, lanes::cut_heartbeat(heartbeat), now);
        self.send(Down::Heartbeat(reply)).await
    }

    /// A new certificate over the live session.
    async fn renew(&self, request: &v1::RenewRequest) -> Result<(), Status> {
        let mut reply = v1::RenewReply::default();
        match self.issue(request).await {
            Ok(given) => {
                reply.certificate_pem = given.node.certificate_pem;
                reply.agent_certificate_pem = given.agent_pem;
                reply.ca_pem = self.link.authority.certificate_pem().to_owned();
            }
            Err(reason) => {
                tracing::warn!(host = %self.host, reason, "a certificate was not renewed");
                reply.error = reason;
            }
        }
        self.send(Down::Renew(reply)).await
    }

    async fn issue(&self, request: &v1::RenewRequest) -> Result<Given, String> {
        let wanted = Wanted::parse(&request.csr_pem, &request.agent_csr_pem).map_err(|e| e.to_string())?;
        let (authority, name) = (Arc::clone(&self.link.authority), self.host.clone());
        let present = self.certificate().clone();
        let given = self.link.store.write(move |tx| {
            // This session may have yet to hear of it.
            if tx.bars(&present)? {
                return Err(StoreError::refused("the node's certificate was revoked"));
            }
            if tx.has_enough(&name)? {
                return Err(StoreError::refused("too many certificates within an hour"));
            }
            give(tx, &authority, &name, &wanted, &format!("node:{name}"))
        });
        let given = given.await.map_err(|e| e.to_string())?;
        *self.certificate() = given.node.peer();
        Ok(given)
    }

    fn certificate(&self) -> MutexGuard<'_, Peer> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers every open action of this host, oldest first: all of them once, then whatever is new. All of them again when
    /// an outcome may have got lost: the node knows what has ended.
    async fn outbox(&self) -> Result<(), Status> {
        let mut offered = 0;
        loop {
            // Asked for before looking, so that what comes in between wakes it again.
            let more = self.handle.outbox.notified();
            if self.offer_again.swap(false, Ordering::Relaxed) {
                offered = 0;
            }
            for action in self.link.gate.open_after(&self.host, offered) {
                offered = action.fence;
                self.send(Down::Action(action.into())).await?;
            }
            more.await;
        }
    }

    /// Sends the wanted packs, whole, at first and whenever they change. A node that reads slowly is sent the newest.
    async fn rules(&self) -> Result<(), Status> {
        let mut wanted = self.link.store.rules();
        loop {
            let set = Arc::clone(&wanted.borrow_and_update());
            let packs = set.packs.iter().map(|pushed| (&pushed.pack).into()).collect();
            self.send(Down::RulePacks(v1::RulePacks { revision: set.revision.clone(), packs })).await?;
            if wanted.changed().await.is_err() {
                return Err(shuts_down());
            }
        }
    }

    fn rules_reported(&self, report: v1::RulesReport) {
        self.link.registry.rules_reported(&self.host, &self.handle, report);
    }

    /// What it says of its rules is kept here, in the order in which the node said it.
    fn rules_reply(&self, mut reply: v1::RulesReply) {
        if let Some(report) = reply.report.take() {
            self.rules_reported(report);
        }
        self.handle.rules.arrived(reply.request_id, reply);
    }

    /// Passes on what other parts of the controller have for the node.
    async fn forward(&self, mut requests: mpsc::Receiver<v1::ControllerMessage>) -> Result<(), Status> {
        while let Some(message) = requests.recv().await {
            self.out.send(Ok(message)).await.map_err(|_| Status::cancelled("the node is gone"))?;
        }
        std::future::pending().await
    }

    /// Ends with the reason why the session may not go on.
    async fn guard(&self) -> Result<(), Status> {
        /// Expiry, and revocation of what was renewed meanwhile, are looked at this often.
        const LOOK: Duration = Duration::from_secs(2);
        let doorkeeper = &self.link.doorkeeper;
        loop {
            let certificate = self.certificate().clone();
            doorkeeper.holds(&certificate)?;
            tokio::select! {
                biased;
                () = self.handle.end.triggered() => {
                    let reason = self.handle.end_reason();
                    let named = || ErrorCode::Unreachable.status(reason.as_str());
                    return Err(if reason.is_empty() { shuts_down() } else { named() });
                }
                () = doorkeeper.revocation(&certificate) => {}
                () = self.out.closed() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

fn shuts_down() -> Status {
    ErrorCode::Unreachable.status("the controller shuts down")
}

/// A message that cannot be what it claims to be.
fn refuse(problem: impl std::fmt::Display) -> Status {
    ErrorCode::Usage.status(problem.to_string())
}
