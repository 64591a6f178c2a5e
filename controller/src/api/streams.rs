//! Logs, search and events: answers that stream.
//!
//! A follower reads what is there, then waits for the store to say that something was added, then reads what arrived
//! since the last row that it gave. The wake-up carries no data, so none can be lost; what a slow caller has not taken
//! stays in the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wa_link::shutdown::Shutdown;
use wa_proto::selector::Selector;
use wa_proto::wire::v1;
use wa_proto::{EventKind, Host, PaneAddress, Timestamp};

use super::{
    Fleet, Items, convert, no_pane, only_host, optional_address, optional_time, selector, status, usage,
};
use crate::gate::{Labels, address};
use crate::identity::peer::Peer;
use crate::store::{EventRange, LogEntry, LogRange, Pattern, Search, StoreError, StoredEvent};

/// Rows that are read at a time.
pub(super) const PAGE: usize = 512;
/// Rows that wait for a slow caller.
const WAITING: usize = 256;
/// A tail or a list of hits is no longer.
const MOST: u32 = 100_000;
const DEFAULT_HITS: u32 = 100;
/// How long a caller may take to hear why it is cut off.
const PARTING: Duration = Duration::from_secs(2);

/// Gives rows to a caller that may have gone.
pub(super) struct Sink<T> {
    caller: mpsc::Sender<Result<T, Status>>,
    shutdown: Shutdown,
}

/// The caller is gone, or the controller goes: no more rows.
pub(super) struct Over;

impl<T> Sink<T> {
    pub(super) async fn give(&self, item: T) -> Result<(), Over> {
        let ended = self.shutdown.triggered();
        tokio::select! {
            biased;
            given = self.caller.send(Ok(item)) => given.map_err(|_| Over),
            () = ended => Err(Over),
        }
    }

    /// Waits until something was added. `Err` when nobody wants to know any longer.
    pub(super) async fn more(&self, grew: &mut watch::Receiver<()>) -> Result<(), Over> {
        tokio::select! {
            () = self.caller.closed() => Err(Over),
            () = self.shutdown.triggered() => Err(Over),
            changed = grew.changed() => changed.map_err(|_| Over),
        }
    }

    /// Returns when nobody wants to know any longer.
    pub(super) async fn closed(&self) {
        let ended = self.shutdown.triggered();
        tokio::select! {
            () = self.caller.closed() => {}
            () = ended => {}
        }
    }

    /// The value, or an end that tells the caller why.
    pub(super) async fn need<V>(&self, result: Result<V, StoreError>) -> Result<V, Over> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                // The caller may have gone.
                drop(self.caller.send(Err(status(&error))).await);
                Err(Over)
            }
        }
    }
}

impl Fleet {
    /// Runs `work` in a task of its own, until it ends or the caller may no longer listen.
    pub(super) fn stream<T: Send + 'static, F>(
        &self,
        name: &'static str,
        peer: &Peer,
        work: impl FnOnce(Self, Sink<T>) -> F,
    ) -> Items<T>
    where
        F: Future<Output = Result<(), Over>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING);
        let last_word = sender.clone();
        let sink = Sink { caller: sender, shutdown: self.tasks.shutdown().clone() };
        let running = Box::pin(work(self.clone(), sink));
        let (doorkeeper, peer) = (Arc::clone(&self.doorkeeper), peer.clone());
        self.tasks.spawn(name, async move {
            // However it ended, the stream ends with the sender.
            tokio::select! {
                Ok(()) | Err(Over) = running => {}
                refusal = doorkeeper.barred(&peer) => {
                    // A caller that reads nothing is cut off without a word.
                    drop(tokio::time::timeout(PARTING, last_word.send(Err(refusal))).await);
                }
            }
        });
        Box::pin(ReceiverStream::new(receiver))
    }

    // ---- logs

    pub(super) async fn open_logs(
        &self,
        peer: &Peer,
        request: v1::LogsRequest,
    ) -> Result<Items<v1::LogItem>, Status> {
        let pane = request.pane.ok_or_else(|| usage("pane is missing"))?;
        let pane = super::address(peer, pane)?;
        if request.tail > MOST {
            return Err(usage(format!("tail: at most {MOST}")));
        }
        let since = optional_time("since_us", request.since_us)?;
        let known = self.registry.pane(&pane).is_some()
            || self.store.knows_pane(pane.clone()).await.map_err(|e| status(&e))?;
        if !known {
            return Err(no_pane(&pane));
        }
        let (tail, follow, conversation) = (request.tail as usize, request.follow, request.conversation);
        Ok(self.stream("logs", peer, move |fleet, sink| async move {
            if conversation {
                fleet.conversation_of(pane, tail, since, follow, &sink).await
            } else {
                fleet.logs_of(pane, tail, since, follow, &sink).await
            }
        }))
    }

    async fn logs_of(
        &self,
        pane: PaneAddress,
        tail: usize,
        since: Option<Timestamp>,
        follow: bool,
        sink: &Sink<v1::LogItem>,
    ) -> Result<(), Over> {
        let grew = self.store.log_grew();
        let head = if follow { sink.need(self.store.log_head().await).await? } else { i64::MAX };
        let range = LogRange { pane: pane.clone(), since, head };
        let mut after = None;
        loop {
            let page = if tail > 0 {
                self.store.log_tail(range.clone(), tail).await
            } else {
                self.store.log_page(range.clone(), after, PAGE).await
            };
            let page = sink.need(page).await?;
            after = page.last().map(LogEntry::cursor);
            let last = tail > 0 || page.is_empty();
            for entry in page {
                sink.give(convert::log_item(entry)).await?;
            }
            if last {
                break;
            }
        }
        if follow { self.follow_log(&pane, head, grew, sink).await } else { Ok(()) }
    }

    async fn follow_log(
        &self,
        pane: &PaneAddress,
        mut head: i64,
        mut grew: watch::Receiver<()>,
        sink: &Sink<v1::LogItem>,
    ) -> Result<(), Over> {
        loop {
            let page = sink.need(self.store.log_arrivals(pane.clone(), head, PAGE).await).await?;
            if page.is_empty() {
                sink.more(&mut grew).await?;
            }
            for entry in page {
                head = entry.id;
                sink.give(convert::log_item(entry)).await?;
            }
        }
    }

    // ---- search

    pub(super) fn open_search(
        &self,
        peer: &Peer,
        request: &v1::SearchRequest,
    ) -> Result<Items<v1::SearchHit>, Status> {
        let pattern = Pattern::parse(&request.query, &request.regex).map_err(usage)?;
        let selector = selector(&request.selector)?;
        let since = optional_time("since_us", request.since_us)?;
        let limit = if request.limit == 0 { DEFAULT_HITS } else { request.limit };
        if limit > MOST {
            return Err(usage(format!("limit: at most {MOST}")));
        }
        let filter = self.line_filter(only_host(peer), selector);
        Ok(self.stream("search", peer, move |fleet, sink: Sink<v1::SearchHit>| async move {
            let wanted = sink.caller.clone();
            let shutdown = fleet.tasks.shutdown().clone();
            let search = Search {
                pattern,
                since,
                limit: limit as usize,
                filter,
                cancelled: Box::new(move || wanted.is_closed() || shutdown.is_triggered()),
            };
            for hit in sink.need(fleet.store.search(search).await).await? {
                sink.give(convert::search_hit(hit)).await?;
            }
            Ok(())
        }))
    }

    /// Which lines a caller may see and a selector names. A line's agent is the one that ran when it was printed; every
    /// other label is the pane's of now.
    fn line_filter(&self, own: Option<Host>, selector: Selector) -> Box<dyn Fn(&LogEntry) -> bool + Send> {
        if selector.is_empty() {
            return Box::new(move |entry| own.as_ref().is_none_or(|own| *own == entry.host));
        }
        let labels = self.labels_by_pane();
        Box::new(move |entry| {
            let pane = address(&entry.host, &entry.pane);
            let labels =
                labels_of(&pane, labels.get(&pane), entry.agent.as_ref().map(|agent| agent.as_str()));
            own.as_ref().is_none_or(|own| *own == entry.host)
                && selector.matches(|key| labels.get(key).map(String::as_str))
        })
    }

    fn labels_by_pane(&self) -> HashMap<PaneAddress, Labels> {
        self.registry.panes().into_iter().map(|view| (view.address(), view.labels())).collect()
    }

    // ---- events

    pub(super) async fn open_events(
        &self,
        peer: &Peer,
        request: v1::EventsRequest,
    ) -> Result<Items<v1::EventItem>, Status> {
        let selector = selector(&request.selector)?;
        let pane = optional_address(peer, request.pane)?;
        if request.tail > MOST {
            return Err(usage(format!("tail: at most {MOST}")));
        }
        let kinds: Vec<EventKind> =
            request.events.iter().map(|event| event.parse()).collect::<Result<_, _>>().map_err(usage)?;
        let since = optional_time("since_us", request.since_us)?;
        let mut range = EventRange { pane, host: only_host(peer), kinds, since, after: 0, before: None };
        let (tail, follow) = (request.tail as usize, request.follow);
        let grew = self.store.events_grew();
        let mut first = Vec::new();
        if tail > 0 || (follow && since.is_none()) {
            let head = self.store.events_head().await.map_err(|e| status(&e))?;
            if tail > 0 {
                // Up to the head and not beyond: what comes from now on is the follower's.
                let before = EventRange { before: Some(head.saturating_add(1)), ..range.clone() };
                first = self.last_events(before, &selector, tail).await?;
            }
            range.after = head;
        }
        Ok(self.stream("events", peer, move |fleet, sink| async move {
            for stored in first {
                sink.give(convert::event_item(stored)).await?;
            }
            if tail > 0 && !follow {
                return Ok(());
            }
            fleet.events_from(range, &selector, follow, grew, &sink).await
        }))
    }

    async fn events_from(
        &self,
        mut range: EventRange,
        selector: &Selector,
        follow: bool,
        mut grew: watch::Receiver<()>,
        sink: &Sink<v1::EventItem>,
    ) -> Result<(), Over> {
        loop {
            let page = sink.need(self.store.events(range.clone(), PAGE, false).await).await?;
            if page.is_empty() {
                if !follow {
                    return Ok(());
                }
                sink.more(&mut grew).await?;
            }
            for stored in page {
                range.after = stored.n;
                if self.event_fits(&stored, selector) {
                    sink.give(convert::event_item(stored)).await?;
                }
            }
        }
    }

    /// The last `count` events of a range that the selector names, in order of arrival.
    async fn last_events(
        &self,
        mut range: EventRange,
        selector: &Selector,
        count: usize,
    ) -> Result<Vec<StoredEvent>, Status> {
        let mut found = Vec::new();
        while found.len() < count {
            let page = self.store.events(range.clone(), PAGE, true).await.map_err(|e| status(&e))?;
            let Some(oldest) = page.first() else { break };
            range.before = Some(oldest.n);
            found.extend(page.into_iter().rev().filter(|stored| self.event_fits(stored, selector)));
        }
        found.truncate(count);
        found.reverse();
        Ok(found)
    }

    /// Whether a selector names the pane of an event, by the event's agent and the pane's labels of now.
    pub(super) fn event_fits(&self, stored: &StoredEvent, selector: &Selector) -> bool {
        if selector.is_empty() {
            return true;
        }
        let event = &stored.event;
        let labels = match &event.pane {
            Some(pane) => {
                let pane = address(&stored.host, pane);
                let now = self.registry.pane(&pane).map(|view| view.labels());
                labels_of(&pane, now.as_ref(), event.agent.as_ref().map(|agent| agent.as_str()))
            }
            None => Labels::from([("host".to_owned(), stored.host.to_string())]),
        };
        selector.matches(|key| labels.get(key).map(String::as_str))
    }
}

/// The labels of a pane, also of one that is no more, with the agent of the moment.
fn labels_of(pane: &PaneAddress, now: Option<&Labels>, agent: Option<&str>) -> Labels {
    let mut labels = now.cloned().unwrap_or_default();
    labels.insert("host".into(), pane.host.to_string());
    labels.insert("mux".into(), pane.mux.to_string());
    labels.insert("pane".into(), pane.to_string());
    match agent {
        Some(agent) => labels.insert("agent".into(), agent.to_owned()),
        None => labels.remove("agent"),
    };
    labels
}
