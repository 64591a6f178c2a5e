//! A block of records at the door: decompressed under a cap, decoded, checked.
//!
//! Nothing in a block is believed before it is checked: the sizes it claims, the seqs of its records, their lane. What
//! does not fit refuses the whole block, and with it the stream.

use prost::Message as _;
use wa_proto::wire::{Invalid, v1};
use wa_proto::{Hole, Host, Lane, Record, RecordBody, SpoolId};

use crate::store::Batch;

/// A block holds no more than this before compression. A node's record is at most 4 MiB, and goes alone when it is
/// large: to refuse what a node has spooled would stop its lane for ever, so the rest is for the wrapping.
pub(crate) const MAX_RAW: usize = 4 * 1024 * 1024 + 64 * 1024;
/// Nor more records.
const MAX_RECORDS: usize = 65_536;

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBlock {
    #[error("block: {0} bytes before compression; at most {MAX_RAW} go")]
    TooLarge(usize),
    #[error("block: unknown compression {0}")]
    Compression(i32),
    #[error("block: it does not decompress to the {claimed} bytes that it claims: {problem}")]
    Compressed { claimed: usize, problem: String },
    #[error("block: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("block: {got} records where it claims {claimed}")]
    Count { claimed: u32, got: usize },
    #[error("block: its records are not the seqs that follow from {first}")]
    Seqs { first: u64 },
    #[error("block: a record of another lane")]
    Lane,
    #[error("block: {0}")]
    Record(#[from] Invalid),
}

/// Opens a block that a node sent.
pub(crate) fn open(host: &Host, spool: SpoolId, block: v1::RecordBlock) -> Result<Batch, BadBlock> {
    let lane: Lane = v1::Lane::try_from(block.lane).map_err(|_| BadBlock::Lane)?.try_into()?;
    let claimed = usize::try_from(block.raw_size).map_or(usize::MAX, |size| size);
    if claimed > MAX_RAW || block.data.len() > MAX_RAW {
        return Err(BadBlock::TooLarge(claimed.max(block.data.len())));
    }
    let raw = match v1::Compression::try_from(block.compression) {
        Ok(v1::Compression::None) => block.data,
        Ok(v1::Compression::Zstd) => zstd::bulk::decompress(&block.data, claimed)
            .map_err(|e| BadBlock::Compressed { claimed, problem: e.to_string() })?,
        Err(_) => return Err(BadBlock::Compression(block.compression)),
    };
    if raw.len() != claimed {
        let problem = format!("there are {}", raw.len());
        return Err(BadBlock::Compressed { claimed, problem });
    }
    let wire = v1::Records::decode(raw.as_slice())?.records;
    if wire.len() > MAX_RECORDS || usize::try_from(block.count) != Ok(wire.len()) || wire.is_empty() {
        return Err(BadBlock::Count { claimed: block.count, got: wire.len() });
    }
    let mut records = Vec::with_capacity(wire.len());
    let mut next = Some(block.first_seq);
    for record in wire {
        let record = Record::try_from(record)?;
        if record.lane != lane {
            return Err(BadBlock::Lane);
        }
        if !next.is_some_and(|next| follows(&record, next)) {
            return Err(BadBlock::Seqs { first: block.first_seq });
        }
        next = record.seq.checked_add(1);
        records.push(record);
    }
    Ok(Batch { host: host.clone(), spool, lane, records, bytes: raw.len() })
}

/// The next seq, or a hole that reaches from it to the record's own.
fn follows(record: &Record, next: u64) -> bool {
    let over = |hole: &Hole| hole.first_seq <= next && hole.last_seq == record.seq && next <= record.seq;
    record.seq == next || matches!(&record.body, RecordBody::Hole(hole) if over(hole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wa_proto::{Gap, GapCause, Generation, MuxName, PaneRef};

    fn host() -> Host {
        Host::new("web-1").unwrap()
    }

    fn records(first: u64, count: u64) -> Vec<u8> {
        let pane = PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id: 1 };
        let record = |seq| {
            let gap =
                Gap { pane: pane.clone(), layout: 1, first_row: None, rows: None, cause: GapCause::MuxLost };
            let time = "2026-11-22T12:00:00Z".parse().unwrap();
            Record { lane: Lane::Bulk, seq, time, trace_parent: String::new(), body: RecordBody::Gap(gap) }
                .into()
        };
        v1::Records { records: (first..first + count).map(record).collect() }.encode_to_vec()
    }

    fn block(raw: &[u8]) -> v1::RecordBlock {
        v1::RecordBlock {
            lane: v1::Lane::Bulk.into(),
            first_seq: 5,
            count: 3,
            compression: v1::Compression::Zstd.into(),
            raw_size: raw.len().try_into().unwrap(),
            data: zstd::bulk::compress(raw, 3).unwrap(),
        }
    }

    fn refused(change: impl FnOnce(&mut v1::RecordBlock)) -> String {
        let mut block = block(&records(5, 3));
        change(&mut block);
        open(&host(), SpoolId::generate(), block).unwrap_err().to_string()
    }

    #[test]
    fn a_good_block_opens() {
        let spool = SpoolId::generate();
        let batch = open(&host(), spool, block(&records(5, 3))).unwrap();
        assert_eq!(batch.records.iter().map(|record| record.seq).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!((batch.lane, batch.spool), (Lane::Bulk, spool));
    }

    #[test]
    fn what_a_block_claims_is_checked() {
        assert!(refused(|b| b.first_seq = 6).contains("seqs that follow from 6"));
        assert!(refused(|b| b.count = 4).contains("3 records where it claims 4"));
        assert!(refused(|b| b.lane = v1::Lane::Events.into()).contains("another lane"));
        assert!(refused(|b| b.lane = 0).contains("lane is missing"));
        assert!(refused(|b| b.compression = 9).contains("unknown compression 9"));
        assert!(refused(|b| b.raw_size += 1).contains("does not decompress"));
        assert!(refused(|b| b.raw_size -= 1).contains("does not decompress"));
        assert!(refused(|b| b.raw_size = u32::MAX).contains("at most"));
        assert!(refused(|b| b.data.truncate(10)).contains("does not decompress"));
        assert!(
            refused(|b| (b.data, b.raw_size, b.compression) = (vec![0xff; 9], 9, 0)).starts_with("block: ")
        );
    }

    #[test]
    fn only_a_hole_jumps_over_seqs() {
        let hole = |first_seq, last_seq| v1::Record {
            lane: v1::Lane::Bulk.into(),
            seq: 9,
            body: Some(v1::record::Body::Hole(v1::Hole {
                first_seq,
                last_seq,
                cause: GapCause::SpoolFull.as_str().into(),
                gaps: vec![],
            })),
            ..v1::Record::default()
        };
        let with = |hole: v1::Record| {
            let mut wire = v1::Records::decode(records(5, 1).as_slice()).unwrap();
            wire.records.push(hole);
            wire.records.extend(v1::Records::decode(records(10, 1).as_slice()).unwrap().records);
            open(&host(), SpoolId::generate(), block(&wire.encode_to_vec()))
        };
        let seqs: Vec<u64> = with(hole(6, 9)).unwrap().records.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, [5, 9, 10]);
        for (first, last) in [(7, 9), (6, 8), (6, 10)] {
            assert!(with(hole(first, last)).is_err(), "{first} to {last}");
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 19).unwrap();
        let claim = refused(|b| (b.data, b.raw_size) = (bomb, 1024));
        assert!(claim.contains("does not decompress"), "{claim}");
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(data: Vec<u8>, zstd: bool, raw_size in 0_u32..10_000, count in 0_u32..4) {
            let compression = i32::from(zstd);
            let block = v1::RecordBlock { lane: 2, first_seq: 1, count, compression, raw_size, data };
            drop(open(&host(), SpoolId::generate(), block));
        }

        #[test]
        fn bent_records_do_no_harm(at: prop::sample::Index, to: u8) {
            let mut raw = records(5, 3);
            let at = at.index(raw.len());
            raw[at] = to;
            drop(open(&host(), SpoolId::generate(), block(&raw)));
        }
    }
}
