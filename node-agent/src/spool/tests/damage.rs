//! Files that say what they should not: bytes spoiled on the disk, and anything at all in whole entries.

use std::fs;

use proptest::prelude::*;
use prost::Message as _;
use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane};

use super::super::index::{LANES, Place, lane_at};
use super::super::store::{lock, segment_path};
use super::super::{Group, recover, segment};
use super::{SMALL, event, line, newest, pane, position};

fn line_of(pane_id: u64, text: &str, row: i64) -> Group {
    let mut record = line(text, row);
    if let v1::record::Body::Lines(lines) = &mut record.body {
        lines.pane = Some(pane(pane_id));
    }
    let position = v1::PanePosition { pane: Some(pane(pane_id)), ..position(row + 1) };
    Group { records: vec![record], positions: vec![position] }
}

/// What stood in a spoiled part cannot be read; where its pane went on can.
#[test]
fn lines_that_a_spoiled_byte_took_are_named_with_their_pane() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
    for row in 1..=3 {
        for pane_id in [1, 2, 3] {
            // The third says nothing after the first row.
            if pane_id < 3 || row == 1 {
                store.push(line_of(pane_id, &format!("pane {pane_id} row {row}"), row));
            }
        }
    }
    store.flush().unwrap();
    drop(store);
    let newest = newest(dir.path());
    let mut bytes = fs::read(&newest).unwrap();
    let lost = b"pane 2 row 2";
    let at = bytes.windows(lost.len()).position(|part| part == lost).unwrap();
    bytes[at] ^= 1;
    fs::write(&newest, &bytes).unwrap();
    for _ in 0..2 {
        let (store, _) = recover::open(dir.path(), SMALL).unwrap();
        let holes = lock(&store.index()).lanes[1].lost.clone();
        let [hole] = holes.as_slice() else { panic!("{holes:?}") };
        assert_eq!((hole.first, hole.last, hole.cause), (5, 5, GapCause::Damaged));
        let named: Vec<_> = hole.gaps.iter().map(|gap| (gap.pane.clone(), gap.first_row, gap.rows)).collect();
        assert_eq!(named, [(Some(pane(2)), Some(2), Some(1))]);
        assert_eq!(hole.gaps[0].cause, "damaged");
    }
}

/// A record that cannot be read back may have been of any pane, and of any number of rows.
#[test]
fn a_count_is_unknown_where_a_spoiled_byte_took_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
    for (pane_id, row) in [(1, 1), (1, 2), (2, 1)] {
        store.push(line_of(pane_id, &format!("pane {pane_id} row {row}"), row));
    }
    store.flush().unwrap();
    store.rotate(&[]).unwrap();
    let path = segment_path(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let lost = b"pane 1 row 2";
    let at = bytes.windows(lost.len()).position(|part| part == lost).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(store.thin(1, Lane::Bulk, GapCause::SpoolFull).unwrap(), 3);
    let holes = lock(&store.index()).lanes[1].lost.clone();
    let [hole] = holes.as_slice() else { panic!("{holes:?}") };
    let named: Vec<_> = hole.gaps.iter().map(|gap| (gap.pane.clone(), gap.rows)).collect();
    assert_eq!(named, [(Some(pane(1)), None), (Some(pane(2)), None)]);
}

/// An entry with anything in it.
fn entry() -> impl Strategy<Value = v1::SpoolEntry> {
    let seq = || prop_oneof![0_u64..20, u64::MAX - 2..=u64::MAX, any::<u64>()];
    let hole = (seq(), seq(), ".{0,12}").prop_map(|(first_seq, last_seq, cause)| {
        v1::record::Body::Hole(v1::Hole { first_seq, last_seq, cause, gaps: Vec::new() })
    });
    let lines = (any::<i64>(), any::<u32>(), any::<u64>()).prop_map(|(row, rows, layout)| {
        let line = v1::Line { row, rows, ..v1::Line::default() };
        let pane = Some(pane(1));
        v1::record::Body::Lines(v1::Lines { pane, layout, lines: vec![line], ..v1::Lines::default() })
    });
    let body = proptest::option::of(prop_oneof![hole, lines]);
    let record = (0_i32..4, seq(), any::<i64>(), body).prop_map(|(lane, seq, time_us, body)| v1::Record {
        lane,
        seq,
        time_us,
        body,
        ..v1::Record::default()
    });
    let checkpoint = (proptest::collection::vec(any::<u8>(), 0..20), seq(), seq()).prop_map(
        |(spool_id, next_events, next_bulk)| v1::SpoolCheckpoint { spool_id, next_events, next_bulk },
    );
    let position = (any::<u64>(), any::<i64>(), any::<bool>())
        .prop_map(|(layout, next_row, gone)| v1::PanePosition { layout, gone, ..position(next_row) });
    let positions = proptest::collection::vec(position, 0..2);
    (proptest::option::of(record), positions, proptest::option::of(checkpoint))
        .prop_map(|(record, positions, checkpoint)| v1::SpoolEntry { record, positions, checkpoint })
}

proptest! {
    #[test]
    fn whatever_the_files_hold_the_spool_opens_and_goes_on(
        files in proptest::collection::vec(proptest::collection::vec((entry(), any::<bool>(), 0_usize..30), 0..6), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (number, entries) in (1..).zip(files) {
            let mut bytes = segment::MAGIC.to_vec();
            for (entry, more, garbage) in entries {
                let payload = entry.encode_to_vec();
                if !payload.is_empty() {
                    crate::framing::encode(&payload, more, &mut bytes);
                }
                bytes.resize(bytes.len() + garbage.saturating_sub(20), 0xa5);
            }
            fs::write(segment_path(dir.path(), number), bytes).unwrap();
        }
        let mut seqs = Vec::new();
        for _ in 0..2 {
            let (mut store, _) = recover::open(dir.path(), SMALL).unwrap();
            store.push(Group { records: vec![line("new", 1), event("new")], positions: vec![] });
            let next = LANES.map(|lane| lock(&store.index()).lanes[lane_at(lane)].next);
            store.flush().unwrap();
            for lane in LANES {
                let seq = next[lane_at(lane)];
                let place = lock(&store.index()).place(lane, seq, 1);
                let Place::Memory(records) = place else { panic!("{place:?}") };
                prop_assert_eq!(records[0].seq, seq);
                let first = lock(&store.index()).first(lane);
                let place = lock(&store.index()).place(lane, first, 1);
                drop(place);
            }
            seqs.push(next);
        }
        prop_assert!(seqs[0][0] < seqs[1][0] && seqs[0][1] < seqs[1][1], "{:?}", seqs);
    }
}
