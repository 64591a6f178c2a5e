//! A block in slices, each small enough for others to wait for it.
//!
//! Constraints: a commit holds a slice of a node's block, whatever the block holds, so that an event of another node waits for one
//! slice and not for the block (a node may be broken, or worse). A slice is whole records, and moves the mark to its last
//! one in the same commit: to the log it is as if the node had sent so many smaller blocks. What came before a crash is
//! in the log and passed over when the block comes again. A record is never divided, for no mark stands inside it;
//! therefore it has a bound of its own, far above what nodes put into one.
//!
//! Costs are in bytes of lines: a row of the log takes as long as some fifty of them, an event as some thousands.

use std::collections::VecDeque;

use wa_proto::{Hole, Host, Lane, Record, RecordBody, SpoolId, Timestamp};

use super::StoreError;
use super::ingest::Batch;
use super::queue::Urgency;
use super::unknown::UnknownRecord;

/// Lines, gaps and messages of one record. A node's own hold at most some two thousand.
const MAX_PARTS: usize = 8192;
/// Holes of one block: a node joins them where they touch.
const MAX_HOLES: usize = 4096;

/// Of a node whose events wait for workflows already.
const FEW: usize = 8 * EVENT;

const LINE: usize = 48;
const GAP: usize = 512;
const MESSAGE: usize = 1024;
const EVENT: usize = 2048;

/// Records that enter in one commit.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) host: Host,
    pub(super) spool: SpoolId,
    pub(super) lane: Lane,
    /// With the first slice, the holes of the whole block: they may cover what stands before them.
    pub(super) holes: Vec<(Hole, Timestamp)>,
    pub(super) records: Vec<Record>,
    pub(super) unknown: Vec<UnknownRecord>,
}

/// What has not entered yet of a block.
#[derive(Debug)]
pub(super) struct Rest {
    host: Host,
    spool: SpoolId,
    lane: Lane,
    holes: Vec<(Hole, Timestamp)>,
    records: VecDeque<Record>,
    unknown: VecDeque<UnknownRecord>,
    cost: usize,
}

impl Rest {
    pub(super) fn of(batch: Batch) -> Result<Self, StoreError> {
        let Batch { host, spool, lane, records, unknown, .. } = batch;
        let (mut holes, mut cost) = (Vec::new(), 0);
        for record in &records {
            let parts = parts(record);
            if parts > MAX_PARTS {
                let problem = format!(
                    "record {} holds {parts} lines, gaps or messages; at most {MAX_PARTS} go, and a node puts fewer into one",
                    record.seq
                );
                return Err(StoreError::invalid(problem));
            }
            cost += of_record(record);
            if let RecordBody::Hole(Hole { first_seq, last_seq, cause, .. }) = &record.body {
                let hole =
                    Hole { first_seq: *first_seq, last_seq: *last_seq, cause: *cause, gaps: Vec::new() };
                holes.push((hole, record.time));
            }
        }
        if holes.len() > MAX_HOLES {
            let problem = format!("{} holes in one block; at most {MAX_HOLES} go", holes.len());
            return Err(StoreError::invalid(problem));
        }
        cost += unknown.iter().map(of_unknown).sum::<usize>();
        Ok(Self { host, spool, lane, holes, records: records.into(), unknown: unknown.into(), cost })
    }

    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.unknown.is_empty()
    }

    /// The next records, as many as one commit takes; `few`: only some.
    pub(super) fn slice(&mut self, few: bool) -> Slice {
        let most = if few { FEW } else { Urgency::of(self.lane).slice() };
        let mut slice = Slice {
            host: self.host.clone(),
            spool: self.spool,
            lane: self.lane,
            holes: std::mem::take(&mut self.holes),
            records: Vec::new(),
            unknown: Vec::new(),
        };
        let mut cost = 0;
        loop {
            let seq = self.records.front().map_or(u64::MAX, |record| record.seq);
            let is_unknown = self.unknown.front().is_some_and(|unknown| unknown.seq < seq);
            let one = if is_unknown {
                self.unknown.front().map(of_unknown)
            } else {
                self.records.front().map(of_record)
            };
            let Some(one) = one.filter(|one| cost == 0 || cost + one <= most) else { break };
            cost += one;
            if is_unknown {
                slice.unknown.extend(self.unknown.pop_front());
            } else {
                slice.records.extend(self.records.pop_front());
            }
        }
        self.cost = self.cost.saturating_sub(cost);
        slice
    }
}

fn parts(record: &Record) -> usize {
    match &record.body {
        RecordBody::Lines(lines) => lines.lines.len(),
        RecordBody::Hole(hole) => hole.gaps.len(),
        RecordBody::Conversation(conversation) => conversation.messages.len(),
        RecordBody::Event(event) => event.fields.len(),
        RecordBody::Gap(_) | RecordBody::Repaint(_) | RecordBody::Outcome(_) => 1,
    }
}

fn of_record(record: &Record) -> usize {
    match &record.body {
        RecordBody::Lines(lines) => {
            LINE + lines.lines.iter().map(|line| LINE + line.text.len()).sum::<usize>()
        }
        RecordBody::Hole(hole) => GAP * (1 + hole.gaps.len()),
        RecordBody::Gap(_) | RecordBody::Repaint(_) => GAP,
        RecordBody::Conversation(conversation) => {
            let messages = conversation.messages.iter();
            MESSAGE + messages.map(|message| MESSAGE + message.text.len()).sum::<usize>()
        }
        RecordBody::Event(event) => EVENT + event.fields.values().map(String::len).sum::<usize>(),
        RecordBody::Outcome(_) => EVENT,
    }
}

fn of_unknown(unknown: &UnknownRecord) -> usize {
    GAP + unknown.bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wa_proto::{EventId, GapCause};

    use super::super::tests::{batch, event, line, lines, record};
    use super::*;

    fn seqs(slice: &Slice) -> Vec<u64> {
        let mut seqs: Vec<u64> = slice.records.iter().map(|record| record.seq).collect();
        seqs.extend(slice.unknown.iter().map(|unknown| unknown.seq));
        seqs.sort_unstable();
        seqs
    }

    #[test]
    fn an_ordinary_block_is_one_slice() {
        let row = |n: i64| line(n, 0, "some forty letters of a program's source");
        let record = |seq: u64| record(Lane::Bulk, seq, lines((0..64).map(row).collect()));
        let mut rest =
            Rest::of(batch(SpoolId::generate(), Lane::Bulk, (1..=24).map(record).collect())).unwrap();
        assert_eq!(seqs(&rest.slice(false)).len(), 24);
        assert!(rest.is_empty());
    }

    #[test]
    fn a_record_beyond_all_bounds_is_refused_and_says_so() {
        let many = |count: i64| {
            let lines = lines((0..count).map(|n| line(n, 0, "")).collect());
            Rest::of(batch(SpoolId::generate(), Lane::Bulk, vec![record(Lane::Bulk, 7, lines)]))
        };
        assert!(many(8192).is_ok());
        let refused = many(8193).unwrap_err().to_string();
        assert!(refused.contains("record 7 holds 8193 lines"), "{refused}");
    }

    proptest! {
        /// Every record is in one slice, in its turn; only what cannot be divided is larger than a slice may be.
        #[test]
        fn nothing_is_left_out_and_nothing_comes_twice(
            sizes in prop::collection::vec((0_usize..200_000, any::<bool>()), 1..60), is_events: bool,
        ) {
            let lane = if is_events { Lane::Events } else { Lane::Bulk };
            let mut block = batch(SpoolId::generate(), lane, Vec::new());
            for (seq, (size, is_unknown)) in (1..).zip(&sizes) {
                let body = match size % 3 {
                    0 => lines(vec![line(1, 0, &"x".repeat(*size))]),
                    1 => event(EventId::generate()),
                    _ => RecordBody::Hole(Hole {
                        first_seq: seq, last_seq: seq, cause: GapCause::SpoolFull, gaps: vec![],
                    }),
                };
                if *is_unknown {
                    let unknown = UnknownRecord { seq, time_us: 0, why: String::new(), bytes: vec![0; *size] };
                    block.unknown.push(unknown);
                } else {
                    block.records.push(record(lane, seq, body));
                }
            }
            let mut rest = Rest::of(block).unwrap();
            let (mut found, mut is_first) = (Vec::new(), true);
            while !rest.is_empty() {
                let (whole, fits) = (rest.cost(), rest.cost() <= Urgency::of(lane).slice());
                let slice = rest.slice(false);
                let cost = whole - rest.cost();
                prop_assert!(cost <= Urgency::of(lane).slice() || seqs(&slice).len() == 1);
                prop_assert!(!fits || rest.is_empty(), "what fits goes at once");
                prop_assert!(is_first || slice.holes.is_empty());
                found.extend(seqs(&slice));
                is_first = false;
            }
            prop_assert_eq!(rest.cost(), 0);
            prop_assert_eq!(found, (1..=sizes.len() as u64).collect::<Vec<_>>());
        }
    }
}
