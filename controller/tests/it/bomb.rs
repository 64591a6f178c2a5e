//! A few hundred bytes that become millions of lines: refused at the door, and other nodes do not notice.

use std::time::{Duration, Instant};

use prost::Message as _;
use wa_proto::wire::v1;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{AgentKind, EventKind, Lane, SpoolId};

use crate::desk::{Desk, Node, event_record, pane_ref};

/// Lines of the bomb: two bytes each before compression.
const LINES: usize = 2_000_000;

fn bomb(seq: u64) -> v1::RecordBlock {
    let lines = v1::Lines { pane: Some(pane_ref(1).into()), layout: 1, ..v1::Lines::default() };
    let mut lines = lines.encode_to_vec();
    // Field 4, a line without anything in it.
    lines.extend([0x22, 0x00].repeat(LINES));
    let head = v1::Record { lane: v1::Lane::Bulk.into(), seq, time_us: 1, ..v1::Record::default() };
    let mut record = head.encode_to_vec();
    let whole =
        v1::Record { body: Some(v1::record::Body::Lines(v1::Lines::default())), ..v1::Record::default() };
    let tag = whole.encode_to_vec()[0];
    record.push(tag);
    prost::encoding::encode_varint(lines.len() as u64, &mut record);
    record.extend(lines);
    let mut raw = vec![0x0a];
    prost::encoding::encode_varint(record.len() as u64, &mut raw);
    raw.extend(record);
    v1::RecordBlock {
        lane: v1::Lane::Bulk.into(),
        first_seq: seq,
        count: 1,
        compression: v1::Compression::Zstd.into(),
        raw_size: raw.len().try_into().unwrap(),
        data: zstd::bulk::compress(&raw, 3).unwrap(),
        ..v1::RecordBlock::default()
    }
}

fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn millions_of_empty_lines_do_not_hold_up_other_nodes() {
    let desk = Desk::start().await;
    let (bad, good) = (desk.enrol("web-1").await, desk.enrol("web-2").await);
    let bad = Node::connect(&desk, &bad, SpoolId::generate()).await;
    let mut good = Node::connect(&desk, &good, SpoolId::generate()).await;
    good.records(Lane::Events, vec![event_record(1, EventKind::Bell, AgentKind::codex())]).await;
    good.acked(Lane::Events, 1).await;
    let before = memory_mib();
    let block = bomb(1);
    let wire = block.data.len();
    for seq in 1..=4 {
        bad.send(Up::Block(bomb(seq))).await;
    }
    #[expect(clippy::disallowed_methods, reason = "it is waited for below")]
    let refused = tokio::spawn(bad.ended());
    // Another node's events, one after the other, until the bombs have been dealt with.
    let (mut seq, mut longest) = (1, Duration::ZERO);
    while seq == 1 || !refused.is_finished() {
        seq += 1;
        let began = Instant::now();
        good.records(Lane::Events, vec![event_record(seq, EventKind::Bell, AgentKind::codex())]).await;
        good.acked(Lane::Events, seq).await;
        longest = longest.max(began.elapsed());
    }
    let refused = refused.await.unwrap();
    assert!(refused.message().contains("lines, gaps, fields and messages"), "{refused}");
    let grown = memory_mib() - before;
    println!("4 blocks of {wire} bytes: another node's event waited {longest:?}, memory grew by {grown} MiB");
    // Unpacked, one of them takes more than 128 MiB. Other tests of this program grow, too.
    assert!(longest < Duration::from_secs(10) && grown < 96, "{wire} bytes: {longest:?}, {grown} MiB");
}
