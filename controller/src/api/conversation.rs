//! The conversation view: what [`crate::conversation`] makes of a pane's messages and lines, as an answer that streams.
//!
//! Who asks for a tail gets the end of the whole view: a stretch at its end is merged, and the whole of it only when
//! that stretch was too short. A follower reads both logs up to one head, then what arrives behind it, in order of arrival;
//! there a line waits for [`PATIENCE`] for the message that it renders, if messages are to be expected at all.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use wa_link::clock;
use wa_proto::wire::v1;
use wa_proto::{PaneAddress, Timestamp};

use super::streams::{Over, PAGE, Sink};
use super::{Fleet, convert};
use crate::conversation::{Merge, Seen, Spoken, Step};
use crate::store::{Cursor, LogEntry, LogItem, LogRange, Store, StoreError};

/// How long a line may wait for the message that it renders.
const PATIENCE: Duration = Duration::from_secs(3);
/// What may wait in the merge of a follower before it reads on.
const WAITING: usize = 1024;
/// Messages that are read at a time: they are longer than lines.
const SAID_PAGE: usize = 64;
/// Entries more than asked for that are merged for a tail: lines that messages cover do not count.
const SPARE: usize = 512;
/// Text of a tail: messages may be long.
const TAIL_BYTES: usize = 64 * 1024 * 1024;

/// A pane's merge, and how far both logs were read.
struct Reader<'a> {
    store: &'a Store,
    range: LogRange,
    merge: Merge<LogEntry>,
    said: Option<Cursor>,
    seen: Option<Cursor>,
}

fn push(merge: &mut Merge<LogEntry>, entry: LogEntry, until: Option<Timestamp>) {
    let agent = entry.agent.clone();
    let agent = agent.as_ref().map_or("", |agent| agent.as_str());
    let text = match &entry.item {
        LogItem::Message(said) => {
            let spoken = Spoken::of(agent, said.message.role, &said.message.text);
            return merge.heard(entry.time, spoken, entry);
        }
        LogItem::Line(line) => Some(line.text.as_str()),
        LogItem::Gap(_) => None,
    };
    let until = until.filter(|_| !agent.is_empty());
    let seen = Seen::of(entry.time, text, agent, until);
    merge.saw(seen, entry);
}

impl Reader<'_> {
    async fn read_said(&mut self) -> Result<(), StoreError> {
        let page = self.store.said_page(self.range.clone(), self.said, SAID_PAGE).await?;
        match page.last() {
            Some(last) => self.said = Some(last.cursor()),
            None => self.merge.no_more_said(),
        }
        page.into_iter().for_each(|entry| push(&mut self.merge, entry, None));
        Ok(())
    }

    async fn read_seen(&mut self) -> Result<(), StoreError> {
        let page = self.store.log_page(self.range.clone(), self.seen, PAGE).await?;
        match page.last() {
            Some(last) => self.seen = Some(last.cursor()),
            None => self.merge.no_more_seen(),
        }
        page.into_iter().for_each(|entry| push(&mut self.merge, entry, None));
        Ok(())
    }

    /// The next of the timeline; `None` at its end.
    async fn next(&mut self) -> Result<Option<LogEntry>, StoreError> {
        loop {
            match self.merge.next(Timestamp::MAX) {
                Step::Give(entry) => return Ok(Some(entry)),
                Step::NeedSaid => self.read_said().await?,
                Step::NeedSeen => self.read_seen().await?,
                Step::Wait(_) | Step::Empty => return Ok(None),
            }
        }
    }
}

/// The last entries of a timeline, bounded.
struct Tail {
    count: usize,
    bytes: usize,
    entries: VecDeque<LogEntry>,
}

impl Tail {
    fn new(count: usize) -> Self {
        Self { count, bytes: 0, entries: VecDeque::new() }
    }

    fn push(&mut self, entry: LogEntry) {
        self.bytes += entry.text_bytes();
        self.entries.push_back(entry);
        while self.entries.len() > self.count || (self.bytes > TAIL_BYTES && self.entries.len() > 1) {
            let Some(old) = self.entries.pop_front() else { break };
            self.bytes -= old.text_bytes();
        }
    }
}

type TailAndMerge = (VecDeque<LogEntry>, Merge<LogEntry>);

impl Fleet {
    pub(super) async fn conversation_of(
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
        let merge = if tail > 0 {
            let (entries, merge) = sink.need(self.conversation_tail(range, tail).await).await?;
            for entry in entries {
                sink.give(convert::log_item(entry)).await?;
            }
            merge
        } else {
            let mut reader = self.reader(range);
            while let Some(entry) = sink.need(reader.next().await).await? {
                sink.give(convert::log_item(entry)).await?;
            }
            reader.merge
        };
        if follow { self.follow_conversation(&pane, head, merge, grew, sink).await } else { Ok(()) }
    }

    fn reader(&self, range: LogRange) -> Reader<'_> {
        Reader { store: &self.store, range, merge: Merge::default(), said: None, seen: None }
    }

    /// The last `count` entries of the view, with the merge that gave them.
    async fn conversation_tail(&self, range: LogRange, count: usize) -> Result<TailAndMerge, StoreError> {
        if let Some(found) = self.short_tail(&range, count).await? {
            return Ok(found);
        }
        let (mut reader, mut tail) = (self.reader(range), Tail::new(count));
        while let Some(entry) = reader.next().await? {
            tail.push(entry);
        }
        Ok((tail.entries, reader.merge))
    }

    /// The same from a stretch at the end of both logs; `None` where that is too short to know.
    async fn short_tail(&self, range: &LogRange, count: usize) -> Result<Option<TailAndMerge>, StoreError> {
        let read = count.saturating_mul(2).saturating_add(SPARE);
        let said = self.store.said_tail(range.clone(), read).await?;
        let seen = self.store.log_tail(range.clone(), read).await?;
        // A log that was not read to its beginning tells nothing of what is before.
        let all_said =
            self.store.nothing_said_before(range.clone(), said.first().map(LogEntry::cursor)).await?;
        let from_said = said.first().filter(|_| !all_said).map(|first| first.time);
        let from_seen = seen.first().filter(|_| seen.len() >= read).map(|first| first.time);
        let from = from_said.max(from_seen);
        let mut merge = Merge::default();
        said.into_iter().chain(seen).for_each(|entry| push(&mut merge, entry, None));
        merge.no_more_said();
        merge.no_more_seen();
        let (mut tail, mut known) = (Tail::new(count), 0_usize);
        while let Step::Give(entry) = merge.next(Timestamp::MAX) {
            // Order is not quite that of time: what comes behind the first that is late enough, counts.
            if known > 0 || from.is_none_or(|from| entry.time >= from) {
                known += 1;
                tail.push(entry);
            }
        }
        Ok((known >= count || from.is_none()).then_some((tail.entries, merge)))
    }

    async fn follow_conversation(
        &self,
        pane: &PaneAddress,
        mut head: i64,
        mut merge: Merge<LogEntry>,
        mut grew: watch::Receiver<()>,
        sink: &Sink<v1::LogItem>,
    ) -> Result<(), Over> {
        let mut expected = sink.need(self.store.knows_conversation(pane.clone()).await).await?;
        loop {
            let wanted = merge.waiting() < WAITING;
            let mut arrived = Vec::new();
            if wanted {
                arrived = sink.need(self.store.arrivals_of_both(pane.clone(), head, PAGE).await).await?;
            }
            let now = clock::now();
            expected |= self.registry.pane(pane).is_some_and(|view| view.pane.session.is_some());
            let until = now.checked_add(PATIENCE).ok().filter(|_| expected);
            let nothing = arrived.is_empty();
            for entry in arrived {
                head = entry.id;
                push(&mut merge, entry, until);
            }
            let wait = loop {
                match merge.next(now) {
                    Step::Give(entry) => sink.give(convert::log_item(entry)).await?,
                    Step::Wait(until) => break Some(until),
                    Step::NeedSaid => merge.no_more_said(),
                    Step::NeedSeen => merge.no_more_seen(),
                    Step::Empty => break None,
                }
            };
            if nothing {
                rest(&mut grew, wait, wanted, sink).await?;
            }
        }
    }
}

/// Waits until something is added (if that is wanted) or until a line has waited enough.
async fn rest(
    grew: &mut watch::Receiver<()>,
    until: Option<Timestamp>,
    wanted: bool,
    sink: &Sink<v1::LogItem>,
) -> Result<(), Over> {
    let Some(until) = until else { return sink.more(grew).await };
    let left = Duration::try_from(until.duration_since(clock::now())).unwrap_or_default();
    // A moment more, so that the time is over by any clock.
    let over = tokio::time::sleep(left + Duration::from_millis(1));
    tokio::select! {
        () = over => Ok(()),
        more = sink.more(grew), if wanted => more,
        () = sink.closed(), if !wanted => Err(Over),
    }
}
