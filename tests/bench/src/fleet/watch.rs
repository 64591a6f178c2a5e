//! A subscriber of the controller's event stream: when it saw which event.
//!
//! The latency of an event is from the moment before it is handed to its node's spool, which is the time that its record
//! carries, to the moment at which this subscriber has read it from its stream. In between it is durable twice: in the
//! spool and in the controller's database, for streams tell what is committed. Both moments are read from one clock.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};
use wa_link::clock;
use wa_link::shutdown::Tasks;
use wa_proto::wire::{to_us, v1};

use super::node;
use super::stand::{Client, Stand};

const TURNS: [&str; 2] = ["turn.started", "turn.finished"];
/// A subscriber that comes back asks for what happened this long before it went, in microseconds.
const MARGIN_US: i64 = 10_000_000;

/// An event as it was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// The time of its record, microseconds.
    pub(super) at_us: i64,
    pub(super) took: Duration,
    /// Number of the node.
    pub(super) node: u32,
}

#[derive(Default)]
struct Seen {
    ids: HashSet<[u8; 16]>,
    sights: Vec<Sight>,
    newest_us: i64,
}

#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    /// Subscribes, and does so again whenever the stream breaks off, until the shutdown of the tasks.
    pub(super) fn start(client: Client, tasks: &Tasks) -> Self {
        let watch = Self::default();
        watch.lock().newest_us = to_us(clock::now()) + MARGIN_US;
        let (of_task, ended) = (watch.clone(), tasks.shutdown().triggered());
        tasks.spawn("subscriber", async move {
            tokio::select! {
                () = of_task.follow(client) => {}
                () = ended => {}
            }
        });
        watch
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, mut client: Client) {
        loop {
            let request = request(self.lock().newest_us - MARGIN_US, true);
            if let Ok(answer) = client.events(request).await {
                let mut stream = answer.into_inner();
                while let Ok(Some(item)) = stream.message().await {
                    self.lock().take(&item);
                }
            }
            // The controller is away: it is dialled again with the next call.
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until so many events of the first `nodes` nodes were seen in all.
    pub(super) async fn until(&self, nodes: u32, count: u64, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        loop {
            let seen = self.lock().sights.iter().filter(|sight| sight.node < nodes).count() as u64;
            if seen >= count {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{} of {count} events were not seen", count - seen);
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Events that happened in this span, in microseconds.
    pub(super) fn between(&self, from_us: i64, to_us: i64) -> Vec<Sight> {
        let span = from_us..to_us;
        self.lock().sights.iter().filter(|sight| span.contains(&sight.at_us)).copied().collect()
    }
}

impl Seen {
    fn take(&mut self, item: &v1::EventItem) {
        let now_us = to_us(clock::now());
        let Some(id) = id_of(item) else { return };
        if !self.ids.insert(id) {
            return;
        }
        self.newest_us = self.newest_us.max(item.time_us);
        let took = Duration::from_micros(u64::try_from(now_us - item.time_us).unwrap_or(0));
        if let Some(node) = node::number(&item.host) {
            self.sights.push(Sight { at_us: item.time_us, took, node });
        }
    }
}

fn request(since_us: i64, follow: bool) -> v1::EventsRequest {
    let events = TURNS.map(str::to_owned).into();
    v1::EventsRequest { since_us: since_us.max(0), follow, events, ..Default::default() }
}

fn id_of(item: &v1::EventItem) -> Option<[u8; 16]> {
    item.event.as_ref()?.id.as_slice().try_into().ok()
}

/// All turns in the log, and how many of them stand there more than once.
pub(super) async fn count(stand: &Stand, since_us: i64) -> anyhow::Result<(u64, u64)> {
    let mut stream = stand.client().await?.events(request(since_us, false)).await?.into_inner();
    let (mut ids, mut doubled) = (HashSet::new(), 0);
    while let Some(item) = stream.message().await? {
        let id = id_of(&item).context("an event without an id")?;
        doubled += u64::from(!ids.insert(id));
    }
    Ok((ids.len() as u64, doubled))
}
