//! The spool against a model: random operations, crashes at any byte of the last write, and damage.

mod age;
mod damage;
pub(super) mod faults;
mod full;
mod trouble;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use wa_proto::wire::v1;
use wa_proto::{Lane, Timestamp};

use super::index::{LANES, Place, lane_at};
use super::store::{Store, lock, read_record};
use super::{Group, NewRecord, Options, Spool, recover};

fn time(us: i64) -> Timestamp {
    Timestamp::from_microsecond(1_795_000_000_000_000 + us).unwrap()
}

fn pane(id: u64) -> v1::PaneRef {
    v1::PaneRef { mux: "main".into(), generation: "g-1-1".into(), pane_id: id }
}

fn line(text: &str, row: i64) -> NewRecord {
    let line = v1::Line { row, rev: 0, text: text.into(), rows: 1, time_us: 0 };
    let lines = v1::Lines { pane: Some(pane(1)), layout: 1, agent: String::new(), lines: vec![line] };
    NewRecord {
        lane: Lane::Bulk,
        time: time(row),
        trace_parent: String::new(),
        body: v1::record::Body::Lines(lines),
    }
}

fn event(text: &str) -> NewRecord {
    let event = v1::Event { id: vec![7; 16], event: "bell".into(), line: text.into(), ..Default::default() };
    NewRecord {
        lane: Lane::Events,
        time: time(0),
        trace_parent: String::new(),
        body: v1::record::Body::Event(event),
    }
}

fn position(next_row: i64) -> v1::PanePosition {
    v1::PanePosition { pane: Some(pane(1)), layout: 1, next_row, ..Default::default() }
}

fn text_of(record: &v1::Record) -> Option<String> {
    match record.body.as_ref()? {
        v1::record::Body::Lines(lines) => lines.lines.first().map(|line| line.text.clone()),
        v1::record::Body::Event(event) => Some(event.line.clone()),
        _ => None,
    }
}

const HOURS_72: jiff::SignedDuration = jiff::SignedDuration::from_hours(72);
const SMALL: Options = Options { max_bytes: 1 << 30, file_bytes: 2000, max_age: HOURS_72 };

/// Everything from `from` on, read as a session reads it: texts by seq, and the seqs that are named as lost.
fn read_all(store: &Store, lane: Lane, from: u64) -> (BTreeMap<u64, String>, Vec<u64>) {
    let (mut texts, mut lost, mut at) = (BTreeMap::new(), Vec::new(), from);
    loop {
        let place = lock(&store.index()).place(lane, at, 500);
        let records: Vec<Arc<v1::Record>> = match place {
            Place::End => return (texts, lost),
            Place::Lost(hole) => {
                lost.extend(hole.first..=hole.last);
                at = hole.last + 1;
                continue;
            }
            Place::Memory(records) => records,
            Place::Disk(found) => {
                found.iter().map(|(file, slot)| Arc::new(read_record(file, *slot).unwrap())).collect()
            }
        };
        for record in records {
            assert_eq!(record.seq, at);
            match text_of(&record) {
                Some(text) => drop(texts.insert(at, text)),
                None => {
                    assert!(matches!(record.body, Some(v1::record::Body::Hole(_))), "{record:?}");
                    lost.push(at);
                }
            }
            at += 1;
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// Lines, events, length of each text.
    Push(u8, u8, u8),
    Flush,
    /// Per cent of what is durable.
    Ack(bool, u8),
    Reopen,
    /// Crash in the next flush: how much of what it wrote is there, and whether garbage follows.
    Crash(u16, bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0_u8..4, 0_u8..3, 0_u8..200).prop_map(|(lines, events, size)| Op::Push(lines, events, size)),
        3 => Just(Op::Flush),
        2 => (any::<bool>(), 0_u8..=100).prop_map(|(lane, part)| Op::Ack(lane, part)),
        1 => Just(Op::Reopen),
        1 => (any::<u16>(), any::<bool>()).prop_map(|(cut, garbage)| Op::Crash(cut, garbage)),
    ];
    proptest::collection::vec(op, 1..60)
}

#[derive(Default)]
struct Model {
    /// Durable texts by lane.
    durable: [Vec<String>; 2],
    acked: [u64; 2],
    next_row: i64,
    /// Groups pushed and not flushed: texts by lane, and the position after.
    pending: Vec<([Vec<String>; 2], i64)>,
    counter: u64,
}

impl Model {
    fn group(&mut self, lines: u8, events: u8, size: u8) -> Group {
        let mut group = Group::default();
        let mut texts = [Vec::new(), Vec::new()];
        for _ in 0..lines {
            self.counter += 1;
            let text = format!("line {} {}", self.counter, "x".repeat(size.into()));
            group.records.push(line(&text, i64::try_from(self.counter).unwrap()));
            texts[1].push(text);
        }
        for _ in 0..events {
            self.counter += 1;
            let text = format!("event {}", self.counter);
            group.records.push(event(&text));
            texts[0].push(text);
        }
        let next_row = i64::try_from(self.counter).unwrap();
        group.positions.push(position(next_row));
        self.pending.push((texts, next_row));
        group
    }

    fn commit(&mut self, groups: usize) {
        for (texts, next_row) in self.pending.drain(..groups) {
            for (lane, texts) in texts.into_iter().enumerate() {
                self.durable[lane].extend(texts);
            }
            self.next_row = next_row;
        }
        self.pending.clear();
    }

    fn check(&self, store: &Store) {
        for lane in LANES {
            let at = lane_at(lane);
            let (texts, lost) = read_all(store, lane, self.acked[at] + 1);
            assert!(lost.is_empty(), "{lane}: lost {lost:?}");
            let expected: BTreeMap<u64, String> = (1..)
                .zip(self.durable[at].iter().cloned())
                .filter(|(seq, _)| *seq > self.acked[at])
                .collect();
            assert_eq!(texts, expected, "{lane}");
        }
        let next_row = store.positions().values().next().map_or(0, |position| position.next_row);
        assert_eq!(next_row, self.next_row);
    }
}

fn newest(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.pop().unwrap()
}

/// Flushes, throws the store away and undoes part of the write. The groups that must have survived are those whose last
/// entry was there whole.
fn crash(mut store: Store, dir: &Path, model: &mut Model, cut: u16, garbage: bool) -> Store {
    let before: BTreeMap<_, _> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.path(), e.metadata().unwrap().len()))
        .collect();
    store.flush().unwrap();
    drop(store);
    let file = newest(dir);
    let (start, end) = (before.get(&file).copied().unwrap_or(0), fs::metadata(&file).unwrap().len());
    // A file begun in this very flush has its checkpoint durable before anything else is written.
    let head = if before.contains_key(&file) { start } else { 0 };
    let keep = head + (end - head) * u64::from(cut) / u64::from(u16::MAX);
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(usize::try_from(keep).unwrap());
    if garbage {
        bytes.extend_from_slice(&[0xa5; 37]);
    }
    fs::write(&file, bytes).unwrap();
    let (store, _) = recover::open(dir, SMALL).unwrap();
    let durable: Vec<usize> = LANES
        .map(lane_at)
        .map(|at| {
            let next = lock(&store.index()).lanes[at].next;
            usize::try_from(next - 1).unwrap()
        })
        .to_vec();
    // How many whole groups came through: their records, and nothing of the next.
    let mut counts = [model.durable[0].len(), model.durable[1].len()];
    let mut groups = 0;
    for (texts, _) in &model.pending {
        let after = [counts[0] + texts[0].len(), counts[1] + texts[1].len()];
        if after[0] > durable[0] || after[1] > durable[1] {
            break;
        }
        counts = after;
        groups += 1;
    }
    assert_eq!(counts.to_vec(), durable, "a torn group left something behind");
    // Groups without records leave only a position, which may or may not have been cut.
    let row = store.positions().values().next().map_or(0, |position| position.next_row);
    while groups > 0
        && model.pending[groups - 1].1 != row
        && model.pending[groups - 1].0.iter().all(Vec::is_empty)
    {
        groups -= 1;
    }
    model.commit(groups);
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").map_or(96, |n| n.parse().unwrap()), ..ProptestConfig::default() })]

    #[test]
    fn what_was_flushed_is_there_after_anything(ops in ops()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, recovered) = recover::open(dir.path(), SMALL).unwrap();
        prop_assert!(recovered.fresh);
        let id = lock(&store.index()).id;
        let mut model = Model::default();
        let mut begun = false;
        for op in ops {
            match op {
                Op::Push(lines, events, size) => store.push(model.group(lines, events, size)),
                Op::Flush => {
                    store.flush().unwrap();
                    begun |= !model.pending.is_empty();
                    let all = model.pending.len();
                    model.commit(all);
                }
                Op::Ack(events, part) => {
                    let lane = if events { Lane::Events } else { Lane::Bulk };
                    let at = lane_at(lane);
                    let seq = model.durable[at].len() as u64 * u64::from(part) / 100;
                    model.acked[at] = model.acked[at].max(seq);
                    store.release(lane, seq);
                }
                Op::Reopen if begun => {
                    drop(store);
                    model.commit(0);
                    let (again, recovered) = recover::open(dir.path(), SMALL).unwrap();
                    prop_assert!(!recovered.fresh && recovered.notes.is_empty(), "{:?}", recovered.notes);
                    store = again;
                    for lane in LANES {
                        store.release(lane, model.acked[lane_at(lane)]);
                    }
                }
                Op::Crash(cut, garbage) if begun => {
                    store = crash(store, dir.path(), &mut model, cut, garbage);
                    for lane in LANES {
                        store.release(lane, model.acked[lane_at(lane)]);
                    }
                }
                Op::Reopen | Op::Crash(..) => {}
            }
            if begun {
                prop_assert_eq!(lock(&store.index()).id, id);
            }
            model.check(&store);
        }
    }

    #[test]
    fn a_spoiled_byte_is_named_and_nothing_else_is_lost(at in any::<u32>(), flip in 1_u8..=255) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
        let mut model = Model::default();
        for _ in 0..40 {
            store.push(model.group(1, 1, 40));
            store.flush().unwrap();
        }
        let all = model.pending.len();
        model.commit(all);
        drop(store);
        let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        prop_assert!(files.len() > 2);
        let victim = &files[at as usize % (files.len() - 1)];
        let mut bytes = fs::read(victim).unwrap();
        let offset = 8 + at as usize % (bytes.len() - 8);
        bytes[offset] ^= flip;
        fs::write(victim, bytes).unwrap();
        let (store, recovered) = recover::open(dir.path(), SMALL).unwrap();
        prop_assert_eq!(recovered.notes.len(), 1);
        let mut missing = 0;
        for lane in LANES {
            let (texts, lost) = read_all(&store, lane, 1);
            missing += lost.len();
            for (seq, text) in model.durable[lane_at(lane)].iter().enumerate().map(|(at, text)| (at as u64 + 1, text)) {
                prop_assert!(texts.get(&seq) == Some(text) || lost.contains(&seq), "{} {}", lane, seq);
            }
        }
        // One entry, or none when it was a checkpoint.
        prop_assert!(missing <= 1, "{}", missing);
    }

    #[test]
    fn a_full_spool_lets_the_oldest_bulk_go_and_says_so(rounds in 50_usize..150, size in 20_u8..200) {
        let dir = tempfile::tempdir().unwrap();
        // Files of such a size that what remains of them without their bulk, heads and all, fits the bound: else the
        // oldest events have to go too.
        let options = Options { max_bytes: 24_000, file_bytes: 4000, ..SMALL };
        let (mut store, _) = recover::open(dir.path(), options).unwrap();
        let mut model = Model::default();
        for _ in 0..rounds {
            store.push(model.group(2, u8::from(model.counter % 7 == 0), size));
            store.flush().unwrap();
            prop_assert!(lock(&store.index()).bytes() < options.max_bytes + 4000);
        }
        let all = model.pending.len();
        model.commit(all);
        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = recover::open(dir.path(), options).unwrap().0;
            }
            let (events, lost_events) = read_all(&store, Lane::Events, 1);
            let (lines, lost) = read_all(&store, Lane::Bulk, 1);
            prop_assert_eq!(events.len(), model.durable[0].len());
            prop_assert!(lost_events.is_empty());
            prop_assert_eq!(lines.len() + lost.len(), model.durable[1].len());
            // The oldest went: what is lost comes before what is held.
            if let (Some(last), Some(first)) = (lost.last(), lines.keys().next()) {
                prop_assert_eq!(last + 1, *first);
            }
            if let Place::Lost(hole) = lock(&store.index()).place(Lane::Bulk, 1, 1) {
                let rows: u64 = hole.gaps.iter().filter_map(|gap| gap.rows).sum();
                prop_assert_eq!(rows, hole.last);
                prop_assert_eq!(hole.cause, wa_proto::GapCause::SpoolFull);
            }
        }
    }
}

#[test]
fn foreign_files_are_kept_aside_and_the_spool_is_new() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("000000000001.log"), b"somebody else's log\n").unwrap();
    let (_, recovered) = recover::open(dir.path(), SMALL).unwrap();
    assert!(recovered.fresh);
    assert_eq!(recovered.notes.len(), 1);
    assert!(dir.path().join("000000000001.log.foreign").exists());
}

#[test]
fn a_failed_write_leaves_nothing_and_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let (mut store, _) = recover::open(&spool, SMALL).unwrap();
    let mut model = Model::default();
    store.push(model.group(1, 0, 10));
    store.flush().unwrap();
    // The directory goes away under it: no new file can be begun.
    let away = dir.path().join("away");
    for _ in 0..40 {
        store.push(model.group(1, 1, 100));
    }
    store.flush().unwrap();
    fs::rename(&spool, &away).unwrap();
    store.push(model.group(1, 1, 100));
    store.flush().unwrap_err();
    store.flush().unwrap_err();
    fs::rename(&away, &spool).unwrap();
    store.flush().unwrap();
    let all = model.pending.len();
    model.commit(all);
    model.check(&store);
    drop(store);
    model.check(&recover::open(&spool, SMALL).unwrap().0);
}

#[tokio::test]
async fn events_are_durable_at_once_and_bring_the_lines_along() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), Options::default()).unwrap();
    let mut durable = spool.durable();
    spool.append(Group { records: vec![line("one", 1)], positions: vec![position(2)] }).await.unwrap();
    spool.append(Group { records: vec![event("two")], positions: vec![position(2)] }).await.unwrap();
    let seen = *durable.wait_for(|durable| durable.events == 2).await.unwrap();
    assert_eq!(seen.bulk, 2);
    assert_eq!(spool.read(Lane::Bulk, 1, 1000).records.len(), 1);
    assert_eq!(spool.oldest_waiting(), Some(time(0)));
    // Bulk alone comes by itself.
    spool.append(Group { records: vec![line("three", 2)], positions: vec![] }).await.unwrap();
    durable.wait_for(|durable| durable.bulk == 3).await.unwrap();
    let id = spool.status().id;
    spool.renew().await.unwrap();
    assert_ne!(spool.status().id, id);
    spool.close().await;
    assert!(spool.append(Group::default()).await.is_err());
    let (spool, recovered) = Spool::open(dir.path(), Options::default()).unwrap();
    assert_eq!(recovered.positions, vec![position(2)]);
    assert_eq!(spool.status().bulk, super::Range { first: 1, next: 3 });
    spool.release(Lane::Bulk, 2);
    spool.close().await;
}

#[tokio::test]
async fn a_renewed_spool_names_what_it_no_longer_holds() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1 << 20, file_bytes: 1000, ..SMALL };
    let (spool, _) = Spool::open(dir.path(), options).unwrap();
    for at in 0..50 {
        spool
            .append_durable(Group { records: vec![line(&"x".repeat(100), at)], positions: vec![] })
            .await
            .unwrap();
    }
    spool.release(Lane::Bulk, 40);
    spool.renew().await.unwrap();
    let batch = spool.read(Lane::Bulk, 1, 1000);
    let Some(v1::record::Body::Hole(hole)) = &batch.records[0].body else { panic!("{batch:?}") };
    assert_eq!((hole.first_seq, hole.cause.as_str()), (1, "restored"));
    assert!(hole.last_seq <= 40 && batch.next == hole.last_seq + 1);
    assert_eq!(spool.read(Lane::Bulk, batch.next, 1).records[0].seq, batch.next);
    spool.close().await;
}
