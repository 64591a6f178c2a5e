//! The spool on a disk that fails, against a model: full, read-only, syncs refused, power cut in any step, bytes spoiled
//! in the middle; bounded in bytes and in age.
//!
//! What must hold after every operation: a seq that was reported durable is read back with its text exactly once, or is
//! named as lost; nothing is lost but by a spoiled byte (one entry) or by the bounds (the oldest bulk, and events only
//! when no bulk is left); positions are those of the last durable group; the directory stays within its bound.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use proptest::prelude::*;
use wa_proto::{GapCause, Lane};

use super::super::index::{LANES, lane_at};
use super::super::store::{LetGo, Store, lock};
use super::super::{Group, Options, recover};
use super::faults::{self, Plan};
use super::{HOURS_72, Model, read_all, time};

const BOUNDED: Options = Options { max_bytes: 20_000, file_bytes: 2500, max_age: HOURS_72 };
/// Beyond `max_bytes`: the head of a file just begun, and a file that is being written anew.
const SLACK: u64 = 2500 + 2500;

#[derive(Debug, Clone)]
enum Op {
    /// Lines, events, length of each text.
    Push(u8, u8, u8),
    Flush,
    /// What waits for the disk is cut down to so many bytes.
    Shed(u16),
    /// The disk is full while so many groups are pushed and flushed.
    FullFor(u8),
    /// Per cent of what is durable.
    Ack(Lane, u8),
    /// So many hours later, a pass over what has waited long.
    Later(u8),
    Reopen,
    Disk(Plan),
    /// Of what was not synced this part stays.
    PowerCut(u8),
    /// A byte in the middle of a closed file, while the node is away.
    Spoil(u32, u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let plan = prop_oneof![
        Just(Plan::Well),
        (0_u64..3000).prop_map(Plan::Full),
        (0_u64..3000).prop_map(Plan::Small),
        Just(Plan::ReadOnly),
        (0_u32..4).prop_map(Plan::SyncFails),
        (0_u32..12, any::<u8>()).prop_map(|(steps, part)| Plan::Dies { steps, part }),
    ];
    let lane = prop_oneof![Just(Lane::Events), Just(Lane::Bulk)];
    let op = prop_oneof![
        6 => (0_u8..4, 0_u8..3, 0_u8..250).prop_map(|(lines, events, size)| Op::Push(lines, events, size)),
        6 => Just(Op::Flush),
        1 => (0_u16..1000).prop_map(Op::Shed),
        1 => (1_u8..12).prop_map(Op::FullFor),
        1 => (lane, 0_u8..=100).prop_map(|(lane, part)| Op::Ack(lane, part)),
        1 => (0_u8..100).prop_map(Op::Later),
        1 => Just(Op::Reopen),
        2 => plan.prop_map(Op::Disk),
        1 => any::<u8>().prop_map(Op::PowerCut),
        1 => (any::<u32>(), 1_u8..=255).prop_map(|(at, flip)| Op::Spoil(at, flip)),
    ];
    proptest::collection::vec(op, 1..120)
}

/// What may have been lost by an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Nothing,
    /// One entry.
    Spoiled,
    /// For lack of room.
    Go,
    /// Because of its age.
    GoOld,
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    model: Model,
    lost: [BTreeSet<u64>; 2],
    hours: i64,
    /// Something was durable once: from then on a start finds it.
    begun: bool,
    spoiled: Vec<PathBuf>,
    /// An operation that lets go failed.
    half_done: bool,
    /// Durable bulk before the operation.
    bulk_before: usize,
}

impl World {
    fn new() -> Self {
        faults::lose(255);
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = recover::open(dir.path(), BOUNDED).unwrap();
        let (model, lost) = (Model::default(), Default::default());
        Self {
            dir,
            store,
            model,
            lost,
            hours: 0,
            begun: false,
            spoiled: Vec::new(),
            half_done: false,
            bulk_before: 0,
        }
    }

    fn run(&mut self, op: &Op) {
        let may = match op {
            Op::Push(lines, events, size) => {
                let mut group: Group = self.model.group(*lines, *events, *size);
                let now = self.now();
                group.records.iter_mut().for_each(|record| record.time = now);
                self.store.push(group);
                May::Nothing
            }
            Op::Flush => {
                self.flush();
                May::Go
            }
            Op::Shed(bytes) => {
                self.store.shed_to(usize::from(*bytes));
                May::Nothing
            }
            Op::FullFor(rounds) => {
                faults::set(if rounds % 2 == 0 { Plan::Full(0) } else { Plan::Small(0) });
                for round in 0..*rounds {
                    self.run(&Op::Push(2, u8::from(round % 3 == 0), 60));
                    self.run(&Op::Flush);
                }
                faults::set(Plan::Well);
                self.flush();
                May::Go
            }
            Op::Ack(lane, part) => {
                let at = lane_at(*lane);
                let seq = self.model.durable[at].len() as u64 * u64::from(*part) / 100;
                self.model.acked[at] = self.model.acked[at].max(seq);
                self.store.release(*lane, seq);
                May::Nothing
            }
            Op::Later(hours) => {
                self.hours += i64::from(*hours);
                // The next pass, or the next flush, makes good what fails.
                self.half_done |= self.store.expire(self.now()).is_err();
                May::GoOld
            }
            Op::Disk(plan) => {
                faults::set(*plan);
                May::Nothing
            }
            Op::Reopen => self.restart(None),
            Op::PowerCut(part) => self.restart(Some(*part)),
            Op::Spoil(at, flip) => self.spoil(*at, *flip),
        };
        self.check(may);
        if faults::is_dead() {
            let Plan::Dies { part, .. } = faults::plan() else { panic!("dead of nothing") };
            let may = self.restart(Some(part));
            self.check(may);
        }
    }

    fn flush(&mut self) {
        // The room that is kept is for events, however full the disk is otherwise.
        let kept = self.store.room_left() > self.store.pending_bytes() as u64 + 512;
        let promised =
            matches!(faults::plan(), Plan::Full(_) | Plan::Small(_)) && kept && self.store.has_events();
        match self.store.flush() {
            Ok(_) => {
                self.begun |= !self.model.pending.is_empty();
                let all = self.model.pending.len();
                self.model.commit(all);
                self.half_done = false;
            }
            Err(error) => {
                assert!(!promised, "events have room: {error}");
                self.half_done = true;
            }
        }
    }

    fn now(&self) -> wa_proto::Timestamp {
        time(0) + SignedDuration::from_hours(self.hours)
    }

    /// Ends without a word, and comes back on a disk that works.
    fn restart(&mut self, power_cut: Option<u8>) -> May {
        // A program that ends leaves to the disk what it wrote.
        faults::lose(power_cut.unwrap_or(255));
        faults::set(Plan::Well);
        self.open();
        // Letting go may have been done but for the last step.
        if std::mem::take(&mut self.half_done) { May::Go } else { May::Nothing }
    }

    /// Whole groups that were never reported durable may be there all the same, the first ones first.
    fn came_through(&mut self) {
        let there: Vec<usize> = LANES
            .map(|lane| usize::try_from(lock(&self.store.index()).lanes[lane_at(lane)].next - 1).unwrap())
            .to_vec();
        let mut counts = [self.model.durable[0].len(), self.model.durable[1].len()];
        let next_row = self.store.positions().values().next().map_or(-1, |position| position.next_row);
        let mut groups = 0;
        for (texts, row) in &self.model.pending {
            let after = [counts[0] + texts[0].len(), counts[1] + texts[1].len()];
            if after[0] > there[0] || after[1] > there[1] || *row > next_row {
                break;
            }
            counts = after;
            groups += 1;
        }
        assert_eq!(counts.to_vec(), there, "whole groups");
        self.begun |= groups > 0;
        self.model.commit(groups);
        for lane in LANES {
            self.store.release(lane, self.model.acked[lane_at(lane)]);
        }
    }

    fn spoil(&mut self, at: u32, flip: u8) -> May {
        let may = self.restart(None);
        self.check(may);
        let mut files: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.pop();
        files.retain(|path| !self.spoiled.contains(path));
        let Some(victim) = files.get(at as usize % files.len().max(1)) else { return May::Nothing };
        let mut bytes = fs::read(victim).unwrap();
        let offset = 8 + at as usize % (bytes.len() - 8);
        bytes[offset] ^= flip;
        fs::write(victim, bytes).unwrap();
        self.spoiled.push(victim.clone());
        let notes = self.open();
        let named = notes
            .iter()
            .filter(|note| note.contains(victim.to_str().unwrap()) && note.contains("damaged from byte"));
        assert_eq!(named.count(), 1, "{notes:?}");
        May::Spoiled
    }

    /// Opens the directory; damage is told of spoiled files only.
    fn open(&mut self) -> Vec<String> {
        let (store, recovered) = recover::open(self.dir.path(), BOUNDED).unwrap();
        self.store = store;
        assert!(!(self.begun && recovered.fresh), "what was there is found");
        for note in &recovered.notes {
            let known = self.spoiled.iter().any(|path| note.contains(path.to_str().unwrap()));
            assert!(known, "{note}");
        }
        self.came_through();
        recovered.notes
    }

    fn check(&mut self, may: May) {
        let before_bulk = std::mem::replace(&mut self.bulk_before, self.model.durable[1].len());
        let mut new = [0; 2];
        let mut held = [0; 2];
        for lane in LANES {
            let at = lane_at(lane);
            let acked = self.model.acked[at];
            let (texts, lost) = read_all(&self.store, lane, acked + 1);
            let lost: BTreeSet<u64> = lost.into_iter().collect();
            let durable = &self.model.durable[at];
            assert_eq!(texts.len() + lost.len(), durable.len() - usize::try_from(acked).unwrap(), "{lane}");
            for (seq, text) in &texts {
                assert_eq!(text, &durable[usize::try_from(seq - 1).unwrap()], "{lane} {seq}");
            }
            let before: BTreeSet<u64> = self.lost[at].iter().copied().filter(|seq| *seq > acked).collect();
            assert!(before.is_subset(&lost), "{lane}: what was lost came back: {before:?} {lost:?}");
            new[at] = lost.len() - before.len();
            held[at] = texts.len();
            self.lost[at] = lost;
        }
        match may {
            May::Nothing => assert_eq!(new, [0, 0], "nothing may be lost"),
            May::Spoiled => assert!(new[0] + new[1] <= 1, "{new:?}"),
            May::GoOld => assert_eq!(new[0], 0, "events go last"),
            May::Go if new[0] > 0 => {
                let kept = self.model.durable[1].len() - before_bulk;
                assert!(held[1] <= kept, "events go when no bulk is left");
            }
            May::Go => {}
        }
        let index = self.store.index();
        for hole in lock(&index).lanes[1].lost.iter().filter(|hole| hole.cause != GapCause::Damaged) {
            let rows: u64 = hole.gaps.iter().filter_map(|gap| gap.rows).sum();
            let seqs = hole.last + 1 - hole.first;
            // A spoiled entry takes its count with it, and that of a hole is of many rows.
            assert!(rows == seqs || (rows < seqs && !self.spoiled.is_empty()), "{hole:?}");
        }
        let next_row = self.store.positions().values().next().map_or(0, |position| position.next_row);
        assert_eq!(next_row, self.model.next_row, "positions");
        let bytes = bytes_in(self.dir.path());
        let waiting = self.store.pending_bytes() as u64;
        assert!(bytes <= BOUNDED.max_bytes + SLACK + waiting, "{bytes} bytes on disk");
    }
}

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(40, |n| n.parse().unwrap()),
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_durable_is_read_back_or_named(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        faults::lose(255);
    }
}

/// Runs the operations; what must hold is checked after each.
fn replay(ops: &[Op]) {
    let mut world = World::new();
    ops.iter().for_each(|op| world.run(op));
}

/// The hole stands in a file of its own place, else the records between are taken for gone.
#[test]
fn a_file_written_anew_names_no_hole_of_a_later_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    let mut model = Model::default();
    for _ in 0..2 {
        store.push(model.group(12, 0, 200));
        store.flush().unwrap();
    }
    store.push(model.group(1, 0, 0));
    store.flush().unwrap();
    drop(store);
    // The last line of the second file is spoiled.
    let second = dir.path().join("000000000002.log");
    let mut bytes = fs::read(&second).unwrap();
    let last = bytes.windows(8).rposition(|window| window == b"xxxxxxxx").unwrap();
    bytes[last] ^= 1;
    fs::write(&second, bytes).unwrap();
    let (mut store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    assert_eq!(read_all(&store, Lane::Bulk, 1).1, vec![24]);
    assert_eq!(store.thin(1, Lane::Bulk, GapCause::SpoolFull).unwrap(), 12);
    drop(store);
    let (store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    let (texts, lost) = read_all(&store, Lane::Bulk, 1);
    assert_eq!(lost, (1..=12).chain([24]).collect::<Vec<_>>());
    assert_eq!(texts.len(), 12);
}

/// Nor is a hole among the records that a file keeps taken for the end of what was before it.
#[test]
fn a_hole_among_events_that_are_kept_hides_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    let mut model = Model::default();
    for _ in 0..4 {
        store.push(model.group(4, 3, 200));
        store.flush().unwrap();
    }
    drop(store);
    let first = dir.path().join("000000000001.log");
    let mut bytes = fs::read(&first).unwrap();
    let event = bytes.windows(6).rposition(|window| window == b"event ").unwrap();
    bytes[event] ^= 1;
    fs::write(&first, bytes).unwrap();
    let (mut store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    let before = read_all(&store, Lane::Events, 1);
    assert_eq!(before.1.len(), 1);
    store.thin(1, Lane::Bulk, GapCause::SpoolFull).unwrap();
    drop(store);
    let (store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    assert_eq!(read_all(&store, Lane::Events, 1), before);
}

/// Part of a failed write stood in the middle of the files when the file was closed before it was written to again.
#[test]
fn a_file_is_closed_without_a_torn_end() {
    replay(&[
        Op::Push(1, 0, 0),
        Op::Flush,
        Op::Push(2, 1, 96),
        Op::Disk(Plan::Full(15)),
        Op::Flush,
        Op::Disk(Plan::Well),
        Op::Later(10),
        Op::Reopen,
    ]);
    faults::lose(255);
}

/// The disk fails a sync and has the bytes all the same, also of the file in which they were to be written again. Those seqs
/// never counted: once only the later file is left, a start would give them out anew, and the controller would take what
/// comes under them for what it has.
#[test]
fn what_a_failed_sync_left_behind_never_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let (mut store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    store.push(model.group(3, 1, 20));
    store.flush().unwrap();
    let all = model.pending.len();
    model.commit(all);
    let first = dir.path().join("000000000001.log");
    store.push(model.group(2, 0, 20));
    faults::set(Plan::SyncFails(0));
    store.flush().unwrap_err();
    let left_behind = fs::read(&first).unwrap();
    faults::set(Plan::Well);
    // The machine stops when the next file is begun, and before the records are written there.
    store.rotate(&[]).unwrap();
    drop(store);
    fs::write(&first, left_behind).unwrap();
    let (mut store, recovered) = recover::open(dir.path(), BOUNDED).unwrap();
    assert_eq!(recovered.notes, Vec::<String>::new());
    let (before, _) = read_all(&store, Lane::Bulk, 1);
    store.release(Lane::Events, 1);
    store.release(Lane::Bulk, before.len() as u64);
    assert!(!first.exists());
    drop(store);
    let (store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    assert_eq!(
        lock(&store.index()).lanes[1].next,
        before.len() as u64 + 1,
        "a seq that was read is given out once"
    );
    let row = store.positions().values().next().map(|position| position.next_row);
    assert_eq!(row, Some(model.next_row), "where the pane is read on");
}

/// It is named in its place, and what was handed over with it is there.
#[test]
fn a_record_too_large_for_the_spool_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1 << 30, file_bytes: 1 << 20, max_age: HOURS_72 };
    let (mut store, _) = recover::open(dir.path(), options).unwrap();
    let large = "x".repeat(5 << 20);
    let records = vec![super::line("before", 1), super::line(&large, 2)];
    store.push(Group { records, positions: vec![super::position(3)] });
    store.flush().unwrap();
    assert_eq!(store.take_let_go(), LetGo { large: 1, ..LetGo::default() });
    for _ in 0..2 {
        let (texts, lost) = read_all(&store, Lane::Bulk, 1);
        assert_eq!((texts, lost), ([(1, "before".to_owned())].into(), vec![2]));
        let row = store.positions().values().next().map(|position| position.next_row);
        assert_eq!(row, Some(3));
        drop(store);
        store = recover::open(dir.path(), options).unwrap().0;
    }
    let lost = lock(&store.index()).lanes[1].lost.clone();
    assert_eq!(lost[0].gaps[0].rows, Some(1), "and how many rows it had");
    assert_eq!((lost[0].cause, lost[0].gaps[0].cause.as_str()), (GapCause::TooLarge, "too_large"));
}

/// It goes on being named, with its rows, when the lines around it have to go as well.
#[test]
fn a_record_too_large_for_the_spool_stays_named_when_its_file_is_thinned() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1 << 30, file_bytes: 1 << 20, max_age: HOURS_72 };
    let (mut store, _) = recover::open(dir.path(), options).unwrap();
    let large = "x".repeat(5 << 20);
    let records = vec![super::line("before", 1), super::line(&large, 2), super::line("after", 3)];
    store.push(Group { records, positions: vec![super::position(4)] });
    store.flush().unwrap();
    store.rotate(&[]).unwrap();
    assert_eq!(store.thin(1, Lane::Bulk, GapCause::SpoolFull).unwrap(), 2, "it is not let go twice");
    for _ in 0..2 {
        let lost = lock(&store.index()).lanes[1].lost.clone();
        let named: Vec<_> = lost.iter().map(|lost| (lost.first, lost.cause, lost.gaps[0].rows)).collect();
        let expected = [
            (1, GapCause::SpoolFull, Some(1)),
            (2, GapCause::TooLarge, Some(1)),
            (3, GapCause::SpoolFull, Some(1)),
        ];
        assert_eq!(named, expected);
        drop(store);
        store = recover::open(dir.path(), options).unwrap().0;
    }
}

/// Nothing may go out under a name that a crash would take back: it would be logged again under the next.
#[test]
fn a_new_life_that_the_disk_refuses_does_not_begin() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1 << 30, file_bytes: 1 << 20, max_age: HOURS_72 };
    let (mut store, _) = recover::open(dir.path(), options).unwrap();
    store.push(Group { records: vec![super::line("one", 1)], positions: vec![] });
    store.flush().unwrap();
    store.release(Lane::Bulk, 1);
    let life = |store: &Store| {
        let index = store.index();
        let index = lock(&index);
        (index.id, index.first(Lane::Bulk))
    };
    let before = life(&store);
    faults::set(Plan::ReadOnly);
    store.renew(wa_proto::SpoolId::generate()).unwrap_err();
    faults::set(Plan::Well);
    assert_eq!(life(&store), before);
    let id = wa_proto::SpoolId::generate();
    store.renew(id).unwrap();
    assert_eq!(life(&store), (id, 1));
    drop(store);
    let (store, _) = recover::open(dir.path(), options).unwrap();
    assert_eq!(lock(&store.index()).id, id);
}

/// A pane that says nothing any more stands in the beginnings of files alone: a beginning that a power cut left in part must
/// not count as a whole one, or the pane's lines are logged again once the files before it are gone.
#[test]
fn a_file_that_was_cut_in_its_beginning_forgets_no_position() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), BOUNDED).unwrap();
    let mut model = Model::default();
    store.push(model.group(3, 1, 20));
    store.flush().unwrap();
    let all = model.pending.len();
    model.commit(all);
    store.rotate(&[]).unwrap();
    drop(store);
    let first = fs::read(dir.path().join("000000000001.log")).unwrap();
    let second = fs::read(dir.path().join("000000000002.log")).unwrap();
    for length in 0..=second.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("000000000001.log"), &first).unwrap();
        fs::write(dir.path().join("000000000002.log"), &second[..length]).unwrap();
        let (mut store, recovered) = recover::open(dir.path(), BOUNDED).unwrap();
        assert_eq!(recovered.notes, Vec::<String>::new(), "cut to {length} bytes");
        store.release(Lane::Events, 1);
        store.release(Lane::Bulk, 3);
        drop(store);
        let (store, _) = recover::open(dir.path(), BOUNDED).unwrap();
        let row = store.positions().values().next().map(|position| position.next_row);
        assert_eq!(row, Some(model.next_row), "cut to {length} of {} bytes", second.len());
    }
}
