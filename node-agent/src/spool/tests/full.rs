//! A disk that is full for a while: events go on, lines are named, and all is well again afterwards.

use std::time::Duration;

use proptest::prelude::*;
use wa_proto::wire::v1;
use wa_proto::wire::v1::record::Body;
use wa_proto::{GapCause, Lane};

use super::super::index::Place;
use super::super::room::Flushed;
use super::super::store::lock;
use super::super::{Group, NewRecord, Options, recover, thread};
use super::faults::{self, Plan};
use super::{HOURS_72, event, line, pane, position, read_all};

const ROOMY: Options = Options { max_bytes: 1 << 30, file_bytes: 32 << 10, max_age: HOURS_72 };

fn lines(rows: std::ops::Range<i64>) -> Group {
    let next = rows.end;
    let records = rows.map(|row| line(&format!("line {row}"), row)).collect();
    Group { records, positions: vec![position(next)] }
}

fn events(count: usize, next_row: i64) -> Group {
    Group { records: (0..count).map(|_| event("seen")).collect(), positions: vec![position(next_row)] }
}

#[test]
fn events_are_written_on_a_full_disk_and_lines_before_them_are_named() {
    faults::lose(255);
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), ROOMY).unwrap();
    store.push(lines(0..3));
    store.flush().unwrap();

    faults::set(Plan::Full(0));
    // A little more is kept than is said.
    let mut row = 3;
    let refused = loop {
        store.push(lines(row..row + 5));
        match store.flush() {
            Ok(_) => row += 5,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    let last = u64::try_from(row).unwrap();
    store.push(lines(row + 5..row + 7));
    store.push(events(2, row + 7));
    assert!(matches!(store.flush().unwrap(), Flushed::Tight(_)));
    // Bulk alone waits; nobody is told that it is safe.
    store.push(lines(row + 7..row + 9));
    store.flush().unwrap_err();
    assert_eq!(lock(&store.index()).lanes[1].next, last + 8);

    let check = |store: &super::Store, end: u64| {
        let (seen, lost_events) = read_all(store, Lane::Events, 1);
        assert_eq!((seen.len(), lost_events.len()), (2, 0));
        let (texts, lost) = read_all(store, Lane::Bulk, 1);
        assert_eq!(lost, (last + 1..=last + 7).collect::<Vec<_>>());
        assert!(texts.keys().copied().eq((1..=last).chain(last + 8..=end)), "{texts:?}");
        let Place::Lost(hole) = lock(&store.index()).place(Lane::Bulk, last + 1, 1) else {
            panic!("no hole")
        };
        let rows: u64 = hole.gaps.iter().filter_map(|gap| gap.rows).sum();
        assert_eq!((hole.last, hole.cause, rows), (last + 7, GapCause::SpoolFull, 7));
    };
    check(&store, last + 7);
    faults::set(Plan::Well);
    assert!(matches!(store.flush().unwrap(), Flushed::Well));
    check(&store, last + 9);
    assert_eq!(store.take_let_go().refused, 7);
    drop(store);
    let (store, recovered) = recover::open(dir.path(), ROOMY).unwrap();
    assert_eq!(recovered.notes, Vec::<String>::new());
    assert_eq!(recovered.positions, vec![position(row + 9)]);
    check(&store, last + 9);
}

/// Hours of events on a disk that stays full: what was delivered makes way, and so does old bulk.
#[test]
fn events_go_on_when_the_kept_room_is_used_up() {
    faults::lose(255);
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), ROOMY).unwrap();
    for at in 0..200 {
        store.push(lines(at * 10..at * 10 + 10));
        store.flush().unwrap();
    }
    // What the spool itself frees is free again: nobody else takes it here.
    faults::set(Plan::Small(40 << 10));
    let mut tight = 0;
    for at in 0..400 {
        store.push(lines(2000 + at..2001 + at));
        store.push(events(3, 2001 + at));
        tight += u32::from(matches!(store.flush().unwrap(), Flushed::Tight(_)));
        if at % 10 == 0 {
            let next = lock(&store.index()).lanes[0].next;
            store.release(Lane::Events, next - 1);
        }
    }
    assert!(tight > 0);
    let (_, lost) = read_all(&store, Lane::Events, 1201 - 30);
    assert_eq!(lost, Vec::<u64>::new());
    assert!(store.take_let_go().full > 0, "old bulk made way");
    faults::set(Plan::Well);
}

#[test]
fn memory_is_bounded_and_counts_are_exact_while_nothing_can_be_written() {
    faults::lose(255);
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), ROOMY).unwrap();
    store.push(lines(0..1));
    store.flush().unwrap();
    faults::set(Plan::ReadOnly);
    for at in 0..2000 {
        store.push(lines(1 + at * 5..6 + at * 5));
        if at % 100 == 0 {
            store.push(events(1, 6 + at * 5));
        }
        store.flush().unwrap_err();
        if store.pending_bytes() > 20_000 {
            store.shed_to(15_000);
            assert!(store.pending_bytes() <= 15_000, "{}", store.pending_bytes());
        }
    }
    let refused = store.take_let_go().refused;
    assert!((9000..10_000).contains(&refused), "{refused}");
    faults::set(Plan::Well);
    store.flush().unwrap();
    for reopened in [false, true] {
        if reopened {
            store = recover::open(dir.path(), ROOMY).unwrap().0;
        }
        assert_eq!(read_all(&store, Lane::Events, 1).0.len(), 20, "no event is lost");
        let (texts, lost) = read_all(&store, Lane::Bulk, 1);
        assert_eq!(lost, (2..=refused + 1).collect::<Vec<_>>(), "the oldest went, in one piece");
        assert_eq!(texts.len() as u64, 10_001 - refused);
        let Place::Lost(hole) = lock(&store.index()).place(Lane::Bulk, 2, 1) else { panic!("no hole") };
        assert_eq!(hole.gaps.iter().filter_map(|gap| gap.rows).sum::<u64>(), refused);
    }
}

fn told(pane_id: u64) -> Group {
    let told = event("told");
    let Body::Event(event) = told.body else { panic!("an event") };
    let body = Body::Event(v1::Event { pane: Some(pane(pane_id)), layout: 3, ..event });
    Group { records: vec![NewRecord { body, ..told }], positions: vec![] }
}

/// A hole: its first and last seq, and the panes that it names.
type Named = (u64, u64, Vec<u64>);

/// The records of a lane that are there, and the holes that stand for the others.
fn held_and_named(store: &super::Store, lane: Lane, acked: u64) -> (Vec<u64>, Vec<Named>) {
    let (mut held, mut named, mut at) = (Vec::new(), Vec::new(), acked + 1);
    loop {
        let place = lock(&store.index()).place(lane, at, 1);
        match place {
            Place::End => return (held, named),
            Place::Lost(lost) => {
                let panes = lost.gaps.iter().filter_map(|gap| Some(gap.pane.as_ref()?.pane_id));
                named.push((lost.first, lost.last, panes.collect()));
                at = lost.last + 1;
            }
            Place::Memory(_) | Place::Disk(_) => {
                held.push(at);
                at += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A spool that is full of events lets the oldest go, and names every pane that they told of: over any order of
    /// lines, events, acknowledgements and restarts.
    #[test]
    fn events_that_had_to_go_are_named_with_their_panes(
        steps in proptest::collection::vec((0_u8..12, 0_u64..5), 50..600),
    ) {
        let options = Options { max_bytes: 6_000, file_bytes: 900, max_age: HOURS_72 };
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = recover::open(dir.path(), options).unwrap();
        // Pane of each event, from seq 1 on.
        let (mut panes, mut acked, mut row) = (Vec::new(), 0_u64, 0);
        for (what, pane_id) in steps {
            match what {
                0 => {
                    drop(store);
                    store = recover::open(dir.path(), options).unwrap().0;
                    store.release(Lane::Events, acked);
                }
                1 if pane_id == 0 => {
                    acked += (panes.len() as u64 - acked) / 3;
                    store.release(Lane::Events, acked);
                }
                1..=3 => {
                    store.push(lines(row..row + 1));
                    row += 1;
                }
                _ => {
                    store.push(told(pane_id));
                    panes.push(pane_id);
                }
            }
            store.flush().unwrap();
        }
        let (held, named) = held_and_named(&store, Lane::Events, acked);
        let lost: u64 = named.iter().map(|(first, last, _)| last - first + 1).sum();
        prop_assert_eq!(held.len() as u64 + lost, panes.len() as u64 - acked);
        for (first, last, told) in named {
            for seq in first..=last {
                let pane = panes[usize::try_from(seq - 1).unwrap()];
                prop_assert!(told.contains(&pane), "event {} of pane {} is in no gap: {:?}", seq, pane, told);
            }
        }
    }
}

/// A directory that goes away and comes back stands for a disk that does: the thread has no faults of its own.
#[tokio::test]
async fn who_appends_bulk_never_waits_for_a_disk_that_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("spool");
    let (store, _) = recover::open(&place, Options { file_bytes: 1000, ..ROOMY }).unwrap();
    let (inbox, mut durable) = thread::start(store, Duration::from_secs(600)).unwrap();
    inbox.append(lines(0..20), None).await.unwrap();
    durable.wait_for(|durable| durable.bulk == 21).await.unwrap();
    let away = dir.path().join("away");
    std::fs::rename(&place, &away).unwrap();

    // More than the queue holds, several times over.
    let text = "x".repeat(100 << 10);
    let append = async {
        for row in 20..200 {
            inbox.append(Group { records: vec![line(&text, row)], positions: vec![] }, None).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), append).await.expect("bulk is let go");
    let mut trouble = inbox.trouble();
    let told = trouble.wait_for(|told| told.refused && told.let_go > 100).await.unwrap().clone();
    assert!(told.problem.unwrap().contains("were dropped, which are gaps in the log"));
    inbox.append(events(1, 200), None).await.unwrap();

    std::fs::rename(&away, &place).unwrap();
    durable.wait_for(|durable| durable.events == 2).await.unwrap();
    assert_eq!(durable.borrow().bulk, 201, "every line is there or named");
    let told = trouble.wait_for(|told| !told.refused).await.unwrap().clone();
    assert!(told.problem.unwrap().contains("it can be written again"));
    inbox.close().await;
}
