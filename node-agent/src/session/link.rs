//! One stream, from Hello to its end.
//!
//! Sending: the queue to the transport holds one message, and what goes next is chosen when there is room: answers and
//! questions first, then events, then pane reports, then one bulk block while the credit lasts and the link is not
//! filled (`pace.rs`). So an event waits for one block and no more. Receiving: acknowledgements release the spool; everything else is
//! handed on without waiting.

mod answer;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::SignedDuration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wa_link::context::Context;
use wa_link::shutdown::Shutdown;
use wa_link::tls::{self, Identity};
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{Action, ActionId, Lane, Timestamp};

use super::block::{self, BLOCK_BYTES, Packer};
use super::identity::{self, Given, Wanted, blocking};
use super::pace::Pace;
use super::permit::{Answer, Ask};
use super::{Client, Ended, Parts};
use crate::spool::{Durable, Spool, Status};
use answer::Answering;

/// Versions of the protocol that are spoken here.
const PROTOCOLS: [u32; 1] = [1];
const WELCOME_LIMIT: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A change of what a heartbeat says is told after this long.
const HEALTH_DELAY: Duration = Duration::from_millis(200);
/// After a failed renewal of the certificate.
const RENEW_RETRY: Duration = Duration::from_secs(60);
/// A clock that is so far from where it was thought to be was set.
const CLOCK_WAS_SET: SignedDuration = SignedDuration::from_secs(20);
/// For the last events, when the node ends.
const DRAIN: Duration = Duration::from_millis(1500);
/// Answers and questions that wait for room.
const MAX_CONTROL: usize = 256;
/// Larger messages are refused, in bytes.
const MAX_MESSAGE: usize = 4 << 20;

/// Name of what a newer controller is reported by.
const UNKNOWN: &str = "unknown messages";

type Message = v1::node_message::Kind;

struct Link<'a> {
    parts: &'a mut Parts,
    context: Context,
    durable: watch::Receiver<Durable>,
    board: watch::Receiver<u64>,
    health: watch::Receiver<()>,
    /// Next seq to send, by lane.
    next_events: u64,
    next_bulk: u64,
    credit: u64,
    packer: Packer,
    /// Of bulk that was sent and not acknowledged.
    pace: Pace,
    control: VecDeque<Message>,
    permits: BTreeMap<ActionId, oneshot::Sender<Answer>>,
    answers: FuturesUnordered<Answering>,
    /// Which report on the rules was made last.
    rules: watch::Receiver<u64>,
    /// Version of the board that was told last.
    reported: Option<u64>,
    report_at: Option<Instant>,
    renew_at: Instant,
    /// The certificates that were asked for.
    renewing: Option<Wanted>,
    /// Messages of a kind that is not known here.
    unknown: u64,
}

/// Runs one stream to its end.
pub(super) async fn run(parts: &mut Parts, context: Context, client: Client, shutdown: &Shutdown) -> Ended {
    match Box::pin(open(parts, context, client, shutdown)).await {
        Ok(ended) | Err(ended) => ended,
    }
}

async fn open(
    parts: &mut Parts,
    context: Context,
    client: Client,
    shutdown: &Shutdown,
) -> Result<Ended, Ended> {
    // Questions of the time before belong to nobody any more; dropping them answers them.
    while let Ok(stale) = parts.permits.asks.try_recv() {
        drop(stale);
    }
    let durable = parts.spool.durable();
    let status = parts.spool.status();
    let (out, rx) = mpsc::channel(1);
    let hello = v1::NodeMessage { kind: Some(Message::Hello(hello(parts, &status))) };
    out.try_send(hello).map_err(|_| Ended::Closed)?;
    let mut client = client.max_decoding_message_size(MAX_MESSAGE);
    let greeting = async {
        let mut inbound = client.session(ReceiverStream::new(rx)).await?.into_inner();
        let first = inbound.message().await?;
        Ok::<_, tonic::Status>((inbound, first))
    };
    let (inbound, first) = tokio::select! {
        biased;
        greeted = tokio::time::timeout(WELCOME_LIMIT, greeting) => {
            greeted.map_err(|_| Ended::Protocol("no welcome in time".to_owned()))??
        }
        () = shutdown.triggered() => return Err(Ended::Shutdown),
    };
    let Some(v1::controller_message::Kind::Welcome(welcome)) = first.and_then(|message| message.kind) else {
        return Err(Ended::Protocol("its first message is no welcome".to_owned()));
    };
    take_welcome(parts, &status, &welcome).await?;
    let renew_at =
        Instant::now() + until_renewal(&context.identity, parts.clock.translate(wa_link::clock::now()));
    let link = Link {
        durable,
        board: parts.board.watch(),
        health: parts.board.watch_health(),
        next_events: welcome.acked_events + 1,
        next_bulk: welcome.acked_bulk + 1,
        credit: welcome.credit_bytes,
        packer: Packer::agreed(&welcome),
        pace: Pace::new(Instant::now()),
        control: VecDeque::new(),
        permits: BTreeMap::new(),
        answers: FuturesUnordered::new(),
        rules: parts.rules.reports(),
        reported: None,
        report_at: Some(Instant::now()),
        renew_at,
        renewing: None,
        unknown: 0,
        parts,
        context,
    };
    link.serve(out, inbound, shutdown).await
}

fn hello(parts: &Parts, status: &Status) -> v1::Hello {
    let position = |range: crate::spool::Range| v1::LanePosition { first: range.first, next: range.next };
    v1::Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocols: PROTOCOLS.to_vec(),
        spool_id: status.id.as_bytes().to_vec(),
        events: Some(position(status.events)),
        bulk: Some(position(status.bulk)),
        now_us: to_us(wa_link::clock::now()),
        open_actions: parts.journal.open_actions().iter().map(|action| action.as_bytes().to_vec()).collect(),
    }
}

async fn take_welcome(parts: &mut Parts, status: &Status, welcome: &v1::Welcome) -> Result<(), Ended> {
    if !PROTOCOLS.contains(&welcome.protocol) {
        return Err(Ended::Protocol(format!("it chose version {} of the protocol", welcome.protocol)));
    }
    let is_known = welcome.acked_events < status.events.next
        && welcome.acked_bulk < status.bulk.next
        && is_the_same(&parts.spool, Lane::Events, welcome.acked_events, welcome.acked_events_time_us).await
        && is_the_same(&parts.spool, Lane::Bulk, welcome.acked_bulk, welcome.acked_bulk_time_us).await;
    if !is_known {
        tracing::warn!(
            acked_events = welcome.acked_events,
            next_events = status.events.next,
            acked_bulk = welcome.acked_bulk,
            next_bulk = status.bulk.next,
            "the controller has records of this spool that are not here: it was lost or restored, and begins anew"
        );
        parts.spool.renew().await.map_err(|_| Ended::SpoolStays)?;
        return Err(Ended::SpoolBehind);
    }
    parts.spool.release(Lane::Events, welcome.acked_events);
    parts.spool.release(Lane::Bulk, welcome.acked_bulk);
    parts.clock.set(welcome.now_us, wa_link::clock::now());
    if let Ok(now) = from_us("now_us", welcome.now_us)
        && let Err(error) =
            parts.journal.told(now, welcome.acked_events == 0 && welcome.acked_bulk == 0).await
    {
        tracing::warn!(%error, "the journal cannot be told the time, by which it knows what is new");
    }
    parts.board.set_problem(super::PROBLEM, None);
    parts.board.set_problem(UNKNOWN, None);
    parts.permits.connected.send_replace(true);
    tracing::info!(
        acked_events = welcome.acked_events,
        acked_bulk = welcome.acked_bulk,
        "session with the controller"
    );
    Ok(())
}

/// What stands at the seq that the controller had last is what it had, or is no longer here. A spool that was put back from
/// a backup and written to since may have come past that seq: then another record stands there, of another time.
async fn is_the_same(spool: &Spool, lane: Lane, acked: u64, time_us: i64) -> bool {
    if acked == 0 || time_us == 0 {
        return true;
    }
    let found = spool.read_soon(lane, acked, 1).await;
    let Some(record) = found.records.first().filter(|record| record.seq == acked) else { return true };
    matches!(record.body, Some(v1::record::Body::Hole(_))) || record.time_us == time_us
}

/// Half of the certificate's life from its beginning; at least a second from `now`, which is the controller's time: by a
/// clock of ours that goes ahead every certificate would be past it. One that was made by a clock that went ahead, and does
/// not hold yet, is renewed at once.
fn until_renewal(identity: &Identity, now: Timestamp) -> Duration {
    const SOON: Duration = Duration::from_secs(1);
    let Some(half) = identity::half_life(identity) else { return RENEW_RETRY };
    if tls::certificate_validity(&identity.certificate_pem).is_ok_and(|(from, _)| now < from) {
        return SOON;
    }
    let left = half.as_second() - now.as_second();
    Duration::from_secs(u64::try_from(left).unwrap_or(0)).max(SOON)
}

impl Link<'_> {
    async fn serve(
        mut self,
        out: mpsc::Sender<v1::NodeMessage>,
        mut inbound: Streaming<v1::ControllerMessage>,
        shutdown: &Shutdown,
    ) -> Result<Ended, Ended> {
        self.report_rules();
        let mut heartbeat = ticks(HEARTBEAT);
        let triggered = shutdown.triggered();
        tokio::pin!(triggered);
        let mut drain_until: Option<Instant> = None;
        loop {
            let wants = self.wants_to_send();
            // Bulk that waits for credit is still deliverable.
            if drain_until.is_some() && !wants && self.next_bulk >= self.durable.borrow().bulk {
                break;
            }
            tokio::select! {
                biased;
                message = inbound.message() => match message? {
                    Some(message) => self.take(message).await?,
                    None => return Ok(Ended::Closed),
                },
                place = out.reserve(), if wants => {
                    let place = place.map_err(|_| Ended::Closed)?;
                    if let Some(kind) = self.next_message().await {
                        place.send(v1::NodeMessage { kind: Some(kind) });
                    }
                }
                Some(ask) = self.parts.permits.asks.recv() => self.ask(ask),
                Some(reply) = self.answers.next() => self.control.push_back(reply),
                Ok(()) = self.rules.changed() => self.report_rules(),
                Ok(()) = self.health.changed() => heartbeat.reset_after(HEALTH_DELAY),
                _ = heartbeat.tick() => self.heartbeat().await,
                Ok(()) = self.durable.changed() => {}
                changed = self.board.changed() => {
                    changed.map_err(|_| Ended::Shutdown)?;
                    self.schedule_report();
                }
                () = sleep_until(self.report_at), if !self.report_due() => {}
                () = tokio::time::sleep_until(self.renew_at), if self.renewing.is_none() => self.renew().await,
                () = &mut triggered, if drain_until.is_none() => drain_until = Some(Instant::now() + DRAIN),
                () = sleep_until(drain_until) => break,
            }
        }
        // Closing our half lets what is still in the transport go out before the stream is dropped.
        drop(out);
        let rest = async { while let Ok(Some(_)) = inbound.message().await {} };
        drop(tokio::time::timeout(DRAIN / 3, rest).await);
        Ok(Ended::Shutdown)
    }

    // ---- sending

    fn report_due(&self) -> bool {
        self.report_at.is_some_and(|at| at <= Instant::now())
    }

    /// Bytes of the next block of bulk, if one is to go now.
    fn next_bulk_bytes(&self) -> Option<usize> {
        let waits = self.next_bulk < self.durable.borrow().bulk;
        self.pace.next(self.credit, Instant::now()).filter(|_| waits)
    }

    fn wants_to_send(&self) -> bool {
        !self.control.is_empty()
            || self.next_events < self.durable.borrow().events
            || self.report_due()
            || self.next_bulk_bytes().is_some()
    }

    async fn next_message(&mut self) -> Option<Message> {
        if let Some(kind) = self.control.pop_front() {
            return Some(kind);
        }
        if self.next_events < self.durable.borrow().events {
            return self.next_block(Lane::Events, BLOCK_BYTES).await.map(Message::Block);
        }
        if self.report_due() {
            return self.report();
        }
        if let Some(bytes) = self.next_bulk_bytes() {
            let block = self.next_block(Lane::Bulk, bytes).await?;
            let last = self.next_bulk.saturating_sub(1);
            self.pace.sent(last, block::size(&block), block.data.len() as u64, Instant::now());
            return Some(Message::Block(block));
        }
        None
    }

    async fn next_block(&mut self, lane: Lane, bytes: usize) -> Option<v1::RecordBlock> {
        let from = match lane {
            Lane::Events => self.next_events,
            Lane::Bulk => self.next_bulk,
        };
        let spool = self.parts.spool.clone();
        let batch = spool.read_soon(lane, from, bytes).await;
        match lane {
            Lane::Events => self.next_events = batch.next,
            Lane::Bulk => self.next_bulk = batch.next,
        }
        self.packer.block(lane, &batch.records)
    }

    fn report(&mut self) -> Option<Message> {
        let changes = self.parts.board.changes_since(self.reported);
        self.report_at = None;
        self.reported = Some(changes.version);
        if !changes.full && changes.panes.is_empty() && changes.gone.is_empty() {
            return None;
        }
        Some(Message::Panes(v1::PaneReport {
            full: changes.full,
            panes: changes.panes.into_iter().map(Into::into).collect(),
            gone: changes.gone.into_iter().map(Into::into).collect(),
        }))
    }

    /// What runs here now.
    fn report_rules(&mut self) {
        self.rules.mark_unchanged();
        let report = self.parts.rules.report();
        self.push(Message::Rules(report));
    }

    /// A change of a pane: when it has to leave.
    fn schedule_report(&mut self) {
        let Some(urgency) = self.parts.board.urgency_since(self.reported) else { return };
        let at = Instant::now() + urgency.delay();
        self.report_at = Some(self.report_at.map_or(at, |earlier| earlier.min(at)));
    }

    async fn heartbeat(&mut self) {
        let now = wa_link::clock::now();
        let status = self.parts.spool.status();
        let spool = self.parts.spool.clone();
        let oldest = wa_link::worker::blocking(move || spool.oldest_waiting()).await.ok().flatten();
        let lag = oldest.map_or(0, |oldest| now.as_millisecond().saturating_sub(oldest.as_millisecond()));
        let expires = tls::certificate_expiry(&self.context.identity.certificate_pem);
        let mut problems = self.parts.board.problems();
        let muxes = self.parts.board.muxes();
        let names: Vec<&str> = muxes.iter().map(|mux| mux.name.as_str()).collect();
        problems.extend(self.parts.policy.problem(&names));
        self.push(Message::Heartbeat(v1::Heartbeat {
            now_us: to_us(now),
            muxes,
            spool_bytes: status.bytes,
            lag_ms: u64::try_from(lag).unwrap_or(0),
            problems,
            certificate_expires: expires.map(|expires| expires.to_string()).unwrap_or_default(),
            dropped: self.parts.spool.trouble().borrow().let_go,
        }));
    }

    fn push(&mut self, message: Message) {
        if self.control.len() < MAX_CONTROL {
            self.control.push_back(message);
        } else {
            tracing::warn!("too many messages wait for the controller: one dropped");
        }
    }

    fn ask(&mut self, ask: Ask) {
        let request = v1::PermitRequest { action_id: ask.action.as_bytes().to_vec() };
        if self.control.len() < MAX_CONTROL {
            self.permits.retain(|_, reply| !reply.is_closed());
            self.permits.insert(ask.action, ask.reply);
            self.control.push_back(Message::PermitRequest(request));
        }
    }

    async fn renew(&mut self) {
        let (paths, context) = (self.parts.paths.clone(), self.context.clone());
        let now = self.parts.clock.translate(wa_link::clock::now());
        let wanted = blocking(move || Ok(Wanted::new(&paths, &context, now)?)).await;
        match wanted {
            Ok(wanted) => {
                let (csr_pem, agent_csr_pem) = (wanted.csr_pem.clone(), wanted.agent_csr_pem());
                self.renewing = Some(wanted);
                self.push(Message::Renew(v1::RenewRequest { csr_pem, agent_csr_pem }));
            }
            Err(error) => {
                tracing::error!(%error, "no certificate request");
                self.renew_at = Instant::now() + self.renew_again_in();
            }
        }
    }

    /// After a failure: soon enough to try several times while the certificate holds.
    fn renew_again_in(&self) -> Duration {
        let Ok(expires) = tls::certificate_expiry(&self.context.identity.certificate_pem) else {
            return RENEW_RETRY;
        };
        let now = self.parts.clock.translate(wa_link::clock::now());
        let left = u64::try_from(expires.as_second() - now.as_second()).unwrap_or(0);
        Duration::from_secs(left / 4).clamp(Duration::from_secs(1), RENEW_RETRY)
    }

    // ---- receiving

    async fn take(&mut self, message: v1::ControllerMessage) -> Result<(), Ended> {
        use v1::controller_message::Kind;
        match message.kind {
            Some(Kind::Ack(ack)) => self.acked(&ack),
            Some(Kind::Action(action)) => self.action(action),
            Some(Kind::Permit(permit)) => self.permit(permit),
            Some(Kind::ScreenRequest(request)) => self.screen(request),
            Some(Kind::RulePacks(packs)) => self.parts.rules.want(packs),
            Some(Kind::RulesRequest(request)) => self.rules(request),
            Some(Kind::AccountRequest(request)) => self.account(request),
            Some(Kind::Renew(reply)) => self.renewed(reply).await,
            Some(Kind::Heartbeat(reply)) => self.round_trip(&reply),
            Some(Kind::Welcome(_)) => return Err(Ended::Protocol("a second welcome".to_owned())),
            None => self.unknown_kind(),
        }
        Ok(())
    }

    /// A newer controller may say things that are not known here.
    fn unknown_kind(&mut self) {
        self.unknown += 1;
        let text = format!(
            "{} messages of the controller are of a kind that this version does not know: bring the node up to date",
            self.unknown
        );
        self.parts.board.set_problem(UNKNOWN, Some(text));
    }

    fn acked(&mut self, ack: &v1::Ack) {
        let lane = v1::Lane::try_from(ack.lane).ok().and_then(|lane| Lane::try_from(lane).ok());
        let sent = match lane {
            Some(Lane::Events) => self.next_events,
            Some(Lane::Bulk) => self.next_bulk,
            None => return,
        };
        if ack.seq >= sent {
            tracing::warn!(seq = ack.seq, sent, "the controller acknowledged what was not sent; ignored");
            return;
        }
        let Some(lane) = lane else { return };
        if lane == Lane::Bulk {
            self.pace.acknowledged(ack.seq, Instant::now());
        }
        self.parts.spool.release(lane, ack.seq);
    }

    fn action(&mut self, action: v1::Action) {
        let id = ActionId::from_slice(&action.action_id);
        let actions = &self.parts.actions;
        match Action::try_from(action) {
            Ok(action) => {
                if let Err(mpsc::error::TrySendError::Full(action)) = actions.accepted.try_send(action) {
                    self.refuse(action.id, "this host has too many actions waiting".to_owned());
                }
            }
            Err(error) => match id {
                Some(id) => self.refuse(id, format!("the node does not understand this action: {error}")),
                None => tracing::warn!(%error, "an action that cannot be read"),
            },
        }
    }

    fn refuse(&self, action: ActionId, reason: String) {
        if self.parts.actions.refused.try_send((action, reason)).is_err() {
            tracing::warn!(%action, "too many refused actions: this one gets no outcome before it expires");
        }
    }

    fn permit(&mut self, permit: v1::Permit) {
        let Some(reply) = ActionId::from_slice(&permit.action_id).and_then(|id| self.permits.remove(&id))
        else {
            return;
        };
        let answer = match (permit.refused.is_empty(), permit.expired) {
            (true, false) => Answer::Granted,
            (_, true) => Answer::Expired(permit.refused),
            (false, false) => Answer::Refused(permit.refused),
        };
        // The one who asked may have given up.
        let _gone = reply.send(answer);
    }

    fn round_trip(&mut self, reply: &v1::HeartbeatReply) {
        let now = wa_link::clock::now();
        let Ok(sent) = from_us("echo_us", reply.echo_us) else { return };
        // The reply was made half way between.
        let middle = Timestamp::from_microsecond(i64::midpoint(to_us(sent), to_us(now))).unwrap_or(now);
        if sent > now {
            return;
        }
        let thought = self.parts.clock.translate(now);
        self.parts.clock.set(reply.now_us, middle);
        let is = self.parts.clock.translate(now);
        if is.duration_since(thought).abs() > CLOCK_WAS_SET && self.renewing.is_none() {
            // When to renew was reckoned by a clock that was wrong.
            self.renew_at = Instant::now() + until_renewal(&self.context.identity, is);
        }
    }

    async fn renewed(&mut self, reply: v1::RenewReply) {
        let Some(wanted) = self.renewing.take() else { return };
        self.renew_at = Instant::now() + self.renew_again_in();
        let v1::RenewReply { certificate_pem, ca_pem, error, agent_certificate_pem } = reply;
        let problem = if error.is_empty() {
            self.keep(wanted, Given { certificate_pem, ca_pem, agent_certificate_pem }).await.err()
        } else {
            Some(error)
        };
        match &problem {
            None => tracing::info!("certificate renewed"),
            Some(problem) => tracing::error!(problem, "certificate not renewed"),
        }
        let text = problem.map(|problem| {
            format!("the certificate could not be renewed: {problem}; it is tried again within a minute")
        });
        self.parts.board.set_problem("certificate", text);
    }

    /// Checks and stores a new identity; it is used from the next stream on.
    async fn keep(&mut self, wanted: Wanted, given: Given) -> Result<(), String> {
        let (paths, before) = (self.parts.paths.clone(), self.context.clone());
        let kept = blocking(move || wanted.keep(given, &paths, &before)).await;
        let context = kept.map_err(|error| error.to_string())?;
        // While the CA is being replaced the agents' context is asked for anew, too: it is due as soon as ours differs.
        let other_ca = context.identity.ca_pem != self.context.identity.ca_pem;
        let now = self.parts.clock.translate(wa_link::clock::now());
        let half = until_renewal(&context.identity, now);
        let wait = if other_ca { half.min(RENEW_RETRY) } else { half };
        self.renew_at = Instant::now() + wait;
        self.context = context;
        Ok(())
    }
}

fn ticks(every: Duration) -> Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
