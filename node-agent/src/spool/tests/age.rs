//! What waits too long goes, named, by whole files; and who sees it.

use std::ops::Range;
use std::time::Duration;

use jiff::SignedDuration;
use wa_proto::{GapCause, Lane, Timestamp};

use super::super::store::{LetGo, Store, lock};
use super::super::{Group, Options, recover, thread};
use super::{SMALL, event, line, position, read_all, time};

fn at(hours: i64) -> Timestamp {
    time(0) + SignedDuration::from_hours(hours)
}

/// A line and an event for each hour, `hours` from the first on.
fn hourly(store: &mut Store, hours: Range<i64>) {
    hourly_since(store, time(0), hours);
}

fn hourly_since(store: &mut Store, first: Timestamp, hours: Range<i64>) {
    for hour in hours {
        let mut records = vec![line(&format!("line {hour} {}", "x".repeat(100)), hour), event("e")];
        records.iter_mut().for_each(|record| record.time = first + SignedDuration::from_hours(hour));
        store.push(Group { records, positions: vec![position(hour)] });
        store.flush().unwrap();
    }
}

fn lost(store: &Store) -> Vec<u64> {
    read_all(store, Lane::Bulk, 1).1
}

#[test]
fn old_bulk_goes_by_whole_files_and_events_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
    hourly(&mut store, 0..100);
    let whole = lock(&store.index()).bytes();
    store.expire(at(72)).unwrap();
    store.expire(at(72)).unwrap();
    assert_eq!(
        (lost(&store).len(), store.take_let_go()),
        (0, LetGo::default()),
        "nothing is older than the bound"
    );

    store.expire(at(122)).unwrap();
    assert!(lost(&store).is_empty(), "nothing goes at first sight");
    store.expire(at(122)).unwrap();
    let gone = lost(&store);
    // Seq n was written in hour n - 1: only what is older than hour 50 may go, and but for part of a file all of it.
    let last = *gone.last().unwrap();
    assert!((38..=50).contains(&last), "{last}");
    assert_eq!(gone, (1..=last).collect::<Vec<_>>());
    assert_eq!(store.take_let_go(), LetGo { aged: last, ..LetGo::default() });
    assert!(lock(&store.index()).bytes() < whole);
    let holes = lock(&store.index()).lanes[1].lost.clone();
    assert!(holes.iter().all(|hole| hole.cause == GapCause::TooOld), "{holes:?}");
    let gaps = holes.iter().flat_map(|hole| &hole.gaps);
    assert_eq!(gaps.filter_map(|gap| gap.rows).sum::<u64>(), last);
    let (events, lost_events) = read_all(&store, Lane::Events, 1);
    assert_eq!((events.len(), lost_events.len()), (100, 0));

    drop(store);
    let (mut store, recovered) = recover::open(dir.path(), SMALL).unwrap();
    assert_eq!(recovered.notes, Vec::<String>::new());
    assert_eq!(lost(&store), gone, "and is named after a restart");
    // Times are known after a restart too.
    store.expire(at(300)).unwrap();
    store.expire(at(300)).unwrap();
    assert_eq!(lost(&store).len(), 100);
    assert_eq!(read_all(&store, Lane::Events, 1).0.len(), 100);
}

#[test]
fn what_is_delivered_between_two_passes_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
    hourly(&mut store, 0..20);
    store.expire(at(200)).unwrap();
    store.release(Lane::Bulk, 20);
    store.expire(at(200)).unwrap();
    assert_eq!(store.take_let_go(), LetGo::default());
    // A clock that was wrong for one pass.
    hourly(&mut store, 20..40);
    store.expire(at(10_000)).unwrap();
    store.expire(at(40)).unwrap();
    store.expire(at(10_000)).unwrap();
    assert_eq!(store.take_let_go(), LetGo::default());
    assert!(read_all(&store, Lane::Bulk, 21).1.is_empty());
}

#[test]
fn new_lines_do_not_keep_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    // One file takes all of it.
    let (mut store, _) = recover::open(dir.path(), Options::default()).unwrap();
    for hour in 0..150 {
        hourly(&mut store, hour..hour + 1);
        store.expire(at(hour)).unwrap();
    }
    let last = *lost(&store).last().unwrap();
    // 150 hours less 72, less the ten of a file at most, less a pass.
    assert!((66..=77).contains(&last), "{last}");
}

#[tokio::test]
async fn it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
    hourly_since(&mut store, wa_link::clock::now() - SignedDuration::from_hours(100), 0..20);
    let every = Duration::from_millis(5);
    let (inbox, _durable) = thread::start(store, every).unwrap();
    let mut trouble = inbox.trouble();
    let problem = async {
        loop {
            let problem = trouble.borrow_and_update().problem.clone();
            match problem {
                Some(problem) => return problem,
                None => trouble.changed().await.unwrap(),
            }
        }
    };
    let problem = tokio::time::timeout(Duration::from_secs(20), problem).await.unwrap();
    assert!(problem.contains("because they were older than 72h (spool_max_age)"), "{problem}");
    inbox.close().await;
}

#[test]
fn a_file_without_waiting_bulk_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
    for _ in 0..40 {
        store.push(Group { records: vec![event("only events")], positions: vec![] });
        store.flush().unwrap();
    }
    let files = lock(&store.index()).segments.len();
    store.expire(at(1000)).unwrap();
    store.expire(at(1000)).unwrap();
    assert_eq!(lock(&store.index()).segments.len(), files);
    assert_eq!(read_all(&store, Lane::Events, 1).0.len(), 40);
}
