//! Large blocks enter slice by slice: others wait for a slice, and whatever ends the block in its middle, the mark stands
//! at the last record that is in the log.

use std::sync::atomic::Ordering::Relaxed;

use wa_proto::{EventId, GapCause, Hole, Lane, Record, RecordBody, SpoolId};

use super::tests::{
    Idle, batch, event, host, ingest, keys, line, lines, log, open, pane, record, texts, time,
};
use super::*;

/// Records with so many lines each.
fn block(seqs: std::ops::RangeInclusive<u64>, count: i64) -> Vec<Record> {
    let one = |seq: u64| {
        let row = |n| line(seq.cast_signed() * count + n, 0, "of a large block");
        record(Lane::Bulk, seq, lines((0..count).map(row).collect()))
    };
    seqs.map(one).collect()
}

#[tokio::test]
async fn a_large_block_is_many_commits_and_one_answer() {
    let place = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let path = place.path().join("state.db");
    let idle = |_: &Kept| -> Arc<dyn Observer> { Arc::new(Idle) };
    let (store, _) = Store::open(&path, keys(place.path()), idle, Arc::clone(&metrics), time(0)).unwrap();
    let spool = SpoolId::generate();
    let done = ingest(&store, batch(spool, Lane::Bulk, block(1..=40, 1000))).await.unwrap();
    assert_eq!((done.acked, done.records, done.lines), (40, 40, 40_000));
    let commits = metrics.commits.load(Relaxed);
    assert!((5..=12).contains(&commits), "{commits} commits");
    // What comes again enters nowhere.
    let again = ingest(&store, batch(spool, Lane::Bulk, block(1..=40, 1000))).await.unwrap();
    assert_eq!((again.acked, again.records, again.lines), (40, 0, 0));
    assert_eq!(log(&store, 1).await.len(), 40_000);
}

/// Between two slices of one node's block another node's event is stored.
#[tokio::test]
async fn an_event_of_another_node_waits_for_one_slice() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let held = store.write_later(move |_| {
        blocked.recv().unwrap();
        Ok(())
    });
    held.await.unwrap();
    let spool = SpoolId::generate();
    let bulk = store.ingest(batch(spool, Lane::Bulk, block(1..=64, 1000))).await.unwrap();
    let events = (1..=2000).map(|seq| record(Lane::Events, seq, event(EventId::generate()))).collect();
    let events = store.ingest(batch(spool, Lane::Events, events)).await.unwrap();
    let other = Host::new("another-1").unwrap();
    let one = vec![record(Lane::Events, 1, event(EventId::generate()))];
    let theirs = Batch { host: other, ..batch(SpoolId::generate(), Lane::Events, one) };
    let mut theirs = store.ingest(theirs).await.unwrap();
    unblock.send(()).unwrap();
    assert_eq!(theirs.wait().await.unwrap().acked, 1);
    let marks = move |tx: &Tx<'_>| {
        Ok([tx.mark(&host(), spool, Lane::Events)?.acked, tx.mark(&host(), spool, Lane::Bulk)?.acked])
    };
    let [of_events, of_bulk] = store.write(marks).await.unwrap();
    assert!(
        of_events <= 4 * 128 && of_bulk <= 4 * 7,
        "{of_events} events and {of_bulk} records went before it"
    );
    for (mut answer, all) in [(bulk, 64), (events, 2000)] {
        assert_eq!(answer.wait().await.unwrap().acked, all);
    }
}

#[tokio::test]
async fn a_block_that_cannot_go_on_keeps_what_has_its_mark() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let mut records = block(1..=40, 1000);
    // No row of a database has such a layout.
    let RecordBody::Lines(lines) = &mut records[29].body else { panic!() };
    lines.layout = u64::MAX;
    let error = ingest(&store, batch(spool, Lane::Bulk, records)).await.unwrap_err();
    assert!(error.to_string().contains("beyond all bounds"), "{error}");
    let mark = store.write(move |tx| tx.mark(&host(), spool, Lane::Bulk)).await.unwrap().acked;
    assert!((1..30).contains(&mark), "{mark}");
    let entered = log(&store, 1).await.len() as u64;
    assert_eq!(entered, mark * 1000, "lines and mark are one commit");
    let done = ingest(&store, batch(spool, Lane::Bulk, block(1..=40, 1000))).await.unwrap();
    assert_eq!((done.acked, done.records), (40, 40 - usize::try_from(mark).unwrap()));
    assert_eq!(log(&store, 1).await.len(), 40_000);
}

/// A hole may cover what stands before it in its block, however far before.
#[tokio::test]
async fn a_hole_at_the_end_of_a_large_block_counts_from_its_beginning() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let mut records = block(5..=40, 1000);
    let hole = Hole { first_seq: 1, last_seq: 41, cause: GapCause::SpoolFull, gaps: vec![] };
    records.push(record(Lane::Bulk, 41, RecordBody::Hole(hole)));
    let done = ingest(&store, batch(spool, Lane::Bulk, records)).await.unwrap();
    assert_eq!((done.acked, done.lines), (41, 36_000));
}

/// Each gap of a place is compared with those that stand there.
#[tokio::test]
async fn thousands_of_gaps_of_one_place_and_moment_are_soon_told() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let gap = |rows| wa_proto::Gap {
        pane: pane(1),
        layout: 1,
        first_row: Some(7),
        rows: Some(rows),
        cause: GapCause::Trimmed,
    };
    let hole =
        Hole { first_seq: 1, last_seq: 1, cause: GapCause::SpoolFull, gaps: (1..=4000).map(gap).collect() };
    let began = Instant::now();
    let records = vec![record(Lane::Bulk, 1, RecordBody::Hole(hole))];
    ingest(&store, batch(SpoolId::generate(), Lane::Bulk, records)).await.unwrap();
    let took = began.elapsed();
    let told = texts(&log(&store, 1).await);
    // What was not kept apart is not passed over in silence.
    assert_eq!(told.iter().filter(|gap| gap.ends_with("None")).count(), 1);
    assert!(told.len() == 16 && took < Duration::from_secs(20), "{} in {took:?}", told.len());
}
