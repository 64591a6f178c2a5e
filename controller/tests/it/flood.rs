//! A node that sends all that it may, as fast as it may: other nodes' events are stored and shown as if it were not there.

use std::time::{Duration, Instant};

use prost::Message as _;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::wire::{packed, v1};
use wa_proto::{AgentKind, EventKind, Lane, Line, Lines, Record, RecordBody, SpoolId};

use crate::desk::{Desk, Node, block, event_record, line_record, pane_ref};

/// Of one event of the good node: until it is acknowledged, and until a person sees it.
#[derive(Debug, Clone, Copy, Default)]
struct Waited {
    acked: Duration,
    shown: Duration,
}

/// Sends events one after the other for as long as `goes_on`, and gives the longest waits.
async fn events(
    good: &mut Node,
    seq: &mut u64,
    shown: &mut tonic::Streaming<v1::EventItem>,
    pause: Duration,
    mut goes_on: impl FnMut() -> bool,
) -> (usize, Waited) {
    let (mut count, mut longest) = (0, Waited::default());
    while goes_on() {
        count += 1;
        *seq += 1;
        let record = event_record(*seq, EventKind::Bell, AgentKind::codex());
        let RecordBody::Event(event) = &record.body else { panic!("not an event: {record:?}") };
        let id = event.id;
        let began = Instant::now();
        good.records(Lane::Events, vec![record]).await;
        good.acked(Lane::Events, *seq).await;
        longest.acked = longest.acked.max(began.elapsed());
        loop {
            let got = shown.message().await.unwrap().expect("a follower's stream ended");
            if got.event.is_some_and(|event| event.id == id.as_bytes()) {
                break;
            }
        }
        longest.shown = longest.shown.max(began.elapsed());
        tokio::time::sleep(pause).await;
    }
    (count, longest)
}

/// As many short lines as a block may hold.
fn many_lines(seq: u64) -> v1::RecordBlock {
    const RECORDS: u64 = 64;
    const LINES: u64 = 2_000;
    let record = |seq: u64| {
        let line = |n: u64| {
            let row = seq * LINES + n;
            let text = format!("line {} of {LINES}", row % 10);
            Line { row: row.cast_signed(), rev: 0, text, rows: 1, time: None }
        };
        let lines =
            Lines { pane: pane_ref(1), layout: 1, agent: None, lines: (0..LINES).map(line).collect() };
        Record { body: RecordBody::Lines(lines), ..line_record(seq, "") }
    };
    packed(block(Lane::Bulk, (seq..seq + RECORDS).map(record).collect()))
}

/// As many events as a block may hold.
fn many_bells(seq: u64) -> v1::RecordBlock {
    events_of(EventKind::Bell, seq, 12_000)
}

/// Of a kind that begins runs, each on a pane of its own.
fn many_limits(seq: u64) -> v1::RecordBlock {
    events_of(EventKind::LimitReached, seq, 1_000)
}

fn events_of(kind: EventKind, first: u64, count: u64) -> v1::RecordBlock {
    let record = |seq| {
        let mut record = event_record(seq, kind, AgentKind::codex());
        if let RecordBody::Event(event) = &mut record.body {
            (event.rule, event.line, event.pane) = (String::new(), String::new(), Some(pane_ref(seq)));
        }
        record
    };
    packed(block(Lane::Events, (first..first + count).map(record).collect()))
}

/// As small as it can be, so that no credit holds it back.
fn packed(block: v1::RecordBlock) -> v1::RecordBlock {
    let mut raw = Vec::new();
    packed::pack(&v1::Records::decode(block.data.as_slice()).unwrap().records, &mut raw);
    let data = zstd::bulk::compress(&raw, 3).unwrap();
    let (form, compression) = (v1::RecordForm::Packed.into(), v1::Compression::Zstd.into());
    v1::RecordBlock { form, compression, raw_size: raw.len().try_into().unwrap(), data, ..block }
}

async fn flood(lane: Lane, make: fn(u64) -> v1::RecordBlock, blocks: usize) {
    let desk = Desk::start().await;
    let (bad, good) = (desk.enrol("web-1").await, desk.enrol("web-2").await);
    let mut good = Node::connect(&desk, &good, SpoolId::generate()).await;
    let follow =
        v1::EventsRequest { follow: true, selector: "host=web-2".into(), ..v1::EventsRequest::default() };
    let mut shown = desk.admin().await.events(follow).await.unwrap().into_inner();
    let mut seq = 0;
    let mut left = 20;
    let at_once = || {
        left -= 1;
        left > 0
    };
    let (_, free) = events(&mut good, &mut seq, &mut shown, Duration::ZERO, at_once).await;
    let (mut ready, mut next) = (Vec::new(), 1);
    for _ in 0..blocks {
        let block = make(next);
        next += u64::from(block.count);
        ready.push(block);
    }
    let mut bad = Node::connect(&desk, &bad, SpoolId::generate()).await;
    #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
    let flooding = tokio::spawn(async move {
        let began = Instant::now();
        for block in ready {
            let last = block.first_seq + u64::from(block.count) - 1;
            bad.send(Up::Block(block)).await;
            if last + 1 == next {
                bad.acked(lane, last).await;
            }
        }
        began.elapsed()
    });
    let (count, waited) =
        events(&mut good, &mut seq, &mut shown, Duration::from_millis(100), || !flooding.is_finished()).await;
    let took = flooding.await.unwrap();
    assert!(count > 1, "the flood was over before anybody could wait");
    println!("{blocks} blocks in {took:?}; {count} events: {waited:?}, without them {free:?}");
    // In one commit a block would take a third of it all, and another event would wait for most of that.
    let most = (free.shown * 4).max(took / 6);
    assert!(
        waited.shown < most,
        "of {count} events one waited {waited:?} in {took:?}; without the flood {free:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_lines_does_not_hold_up_other_nodes() {
    flood(Lane::Bulk, many_lines, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_does_not_hold_up_other_nodes() {
    flood(Lane::Events, many_bells, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_that_begin_runs_does_not_hold_up_other_nodes() {
    flood(Lane::Events, many_limits, 2).await;
}
