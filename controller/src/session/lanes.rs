//! The two lanes of a session, from the reader to the store and back as acknowledgements.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tonic::Status;
use wa_link::clock;
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::{AgentKind, AgentSession, Lane, Pane, PaneRef, Record, RecordBody, StateDetail};
use wa_workflow::Input;

use super::{Session, blocks, refuse};
use crate::api::status;
use crate::metrics::Metrics;
use crate::orchestrator::pane_inputs;
use crate::store::{Answer, Batch, Ingested, StoreError};

/// Blocks of one lane that may be with the store at a time: enough to fill a commit while another is being synced.
const UNDER_WAY: usize = 4;
/// Panes in one report.
const MAX_PANES: usize = 10_000;

/// What goes through the events lane, in the order in which the node sent it.
pub(crate) enum EventItem {
    Block(Batch),
    /// Changes of panes that runs wait for.
    Panes(Vec<(PaneRef, Input)>),
}

pub(crate) type BulkItem = v1::RecordBlock;

/// Blocks that are with the store.
#[derive(Default)]
struct UnderWay {
    answers: VecDeque<(Answer<Ingested>, Sizes)>,
}

/// Bytes of a block: raw, and as it travelled.
#[derive(Clone, Copy)]
struct Sizes {
    raw: usize,
    wire: u64,
}

impl UnderWay {
    /// The oldest answer; waits for ever when nothing is under way. Safe to drop and call again.
    async fn next(&mut self) -> Result<(Ingested, Sizes), StoreError> {
        match self.answers.front_mut() {
            Some((answer, sizes)) => {
                let (ingested, sizes) = (answer.wait().await?, *sizes);
                self.answers.pop_front();
                Ok((ingested, sizes))
            }
            None => std::future::pending().await,
        }
    }
}

impl Session {
    pub(super) async fn events_lane(&self, mut items: mpsc::Receiver<EventItem>) -> Result<(), Status> {
        let mut under_way = UnderWay::default();
        loop {
            let room = under_way.answers.len() < UNDER_WAY;
            tokio::select! {
                biased;
                done = under_way.next() => self.acknowledge(Lane::Events, done).await?,
                item = items.recv(), if room => match item {
                    Some(EventItem::Block(batch)) => self.log(batch, 0, &mut under_way).await?,
                    Some(EventItem::Panes(changes)) => self.tell_runs(changes).await?,
                    None => break,
                }
            }
        }
        self.drain(Lane::Events, under_way).await
    }

    pub(super) async fn bulk_lane(&self, mut items: mpsc::Receiver<BulkItem>) -> Result<(), Status> {
        let mut under_way = UnderWay::default();
        loop {
            let room = under_way.answers.len() < UNDER_WAY;
            tokio::select! {
                biased;
                done = under_way.next() => self.acknowledge(Lane::Bulk, done).await?,
                item = items.recv(), if room => match item {
                    Some(block) => {
                        let wire = block.data.len() as u64;
                        let batch = blocks::open(&self.host, self.spool, block).map_err(refuse)?;
                        self.log(batch, wire, &mut under_way).await?;
                    }
                    None => break,
                }
            }
        }
        self.drain(Lane::Bulk, under_way).await
    }

    async fn log(&self, batch: Batch, wire: u64, under_way: &mut UnderWay) -> Result<(), Status> {
        let sizes = Sizes { raw: batch.bytes, wire };
        let is_hole = |record: &Record| matches!(record.body, RecordBody::Hole(_));
        if batch.lane == Lane::Events && batch.records.iter().any(is_hole) {
            self.offer_again.store(true, Ordering::Relaxed);
            self.handle.outbox.notify_one();
        }
        let answer = self.link.store.ingest(batch).await.map_err(|e| status(&e))?;
        under_way.answers.push_back((answer, sizes));
        Ok(())
    }

    /// No more comes; what is with the store is still waited for.
    async fn drain(&self, lane: Lane, mut under_way: UnderWay) -> Result<(), Status> {
        while !under_way.answers.is_empty() {
            let done = under_way.next().await;
            self.acknowledge(lane, done).await?;
        }
        Ok(())
    }

    /// Durable: the spool may let go. A failure ends the session and acknowledges nothing.
    async fn acknowledge(
        &self,
        lane: Lane,
        done: Result<(Ingested, Sizes), StoreError>,
    ) -> Result<(), Status> {
        let (ingested, sizes) = done.map_err(|e| status(&e))?;
        let metrics = &self.link.metrics;
        Metrics::add(&metrics.blocks, 1);
        Metrics::add(&metrics.records, ingested.records);
        Metrics::add(&metrics.lines, ingested.lines);
        Metrics::add(&metrics.messages, ingested.messages);
        Metrics::add(&metrics.messages_cut, ingested.messages_cut);
        Metrics::add(&metrics.unknown_records, ingested.unknown);
        Metrics::add(&metrics.bytes, sizes.raw);
        // Before the node is told, so that it is never ahead of these books.
        self.bulk_in_flight.fetch_sub(sizes.wire, Ordering::Relaxed);
        let ack = v1::Ack { lane: v1::Lane::from(lane).into(), seq: ingested.acked };
        match self.send(Down::Ack(ack)).await {
            // The node has gone; what it sent is logged all the same.
            Err(_) => Ok(()),
            sent => sent,
        }
    }

    /// What happened to panes goes to the runs that wait for them.
    async fn tell_runs(&self, changes: Vec<(PaneRef, Input)>) -> Result<(), Status> {
        let host = self.host.clone();
        let told = self.link.store.write_of(self.host.clone(), move |tx| pane_inputs(tx, &host, &changes));
        told.await.map_err(|e| status(&e))
    }

    /// Checks a report at the door and takes it into the registry; the changes on panes that runs wait for.
    pub(super) fn take_report(&self, report: v1::PaneReport) -> Result<Vec<(PaneRef, Input)>, Status> {
        if report.panes.len() + report.gone.len() > MAX_PANES {
            return Err(refuse(format!("panes: more than {MAX_PANES} in one report")));
        }
        let panes: Vec<Pane> = report
            .panes
            .into_iter()
            .map(|pane| Pane::try_from(pane).map(cut))
            .collect::<Result<_, _>>()
            .map_err(refuse)?;
        if panes.iter().any(|pane| i64::try_from(pane.pane.pane_id).is_err()) {
            return Err(refuse("panes: a pane id beyond all bounds"));
        }
        let gone: Vec<PaneRef> =
            report.gone.into_iter().map(TryInto::try_into).collect::<Result<_, _>>().map_err(refuse)?;
        let now = (clock::now(), clock::monotonic());
        Ok(self.link.registry.report(&self.host, report.full, panes, &gone, now))
    }
}

/// Texts of a pane are whatever its programs and its agent's session file say, and are held in memory: no longer, and no
/// more of them, than anybody reads.
fn cut(mut pane: Pane) -> Pane {
    const LONGEST: usize = 4096;
    const LONGEST_NAME: usize = 128;
    const WINDOWS: usize = 16;
    pane.agent = pane.agent.map(|agent| AgentKind::new(shortened(agent.as_str(), LONGEST_NAME)));
    let Pane { title, cwd, project, agent_version, session_id, tty, detail, not_logged, session, .. } =
        &mut pane;
    let StateDetail { why, kind, window, .. } = detail;
    let mut texts = vec![title, cwd, project, agent_version, session_id, tty, not_logged, why, kind, window];
    if let Some(session) = session {
        let AgentSession { session_id, path, reason, model, problem, rate_limits, .. } = session;
        rate_limits.truncate(WINDOWS);
        texts.extend([session_id, path, reason, model, problem]);
        texts.extend(rate_limits.iter_mut().map(|limit| &mut limit.window));
    }
    for text in texts {
        text.truncate(text.floor_char_boundary(LONGEST));
    }
    pane
}

pub(super) fn shortened(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

/// As [`cut`]: what a node says of itself is held in memory, and stored.
pub(super) fn cut_heartbeat(mut heartbeat: v1::Heartbeat) -> v1::Heartbeat {
    const LONGEST: usize = 4096;
    const PROBLEMS: usize = 64;
    const MUXES: usize = 256;
    heartbeat.problems.truncate(PROBLEMS);
    heartbeat.muxes.truncate(MUXES);
    let of_muxes = heartbeat
        .muxes
        .iter_mut()
        .flat_map(|mux| [&mut mux.name, &mut mux.version, &mut mux.generation, &mut mux.problem]);
    let texts = of_muxes.chain(heartbeat.problems.iter_mut()).chain([&mut heartbeat.certificate_expires]);
    for text in texts {
        text.truncate(text.floor_char_boundary(LONGEST));
    }
    heartbeat
}
