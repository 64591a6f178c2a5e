//! A block of records at the door: decompressed under a cap, decoded, checked.
//!
//! Nothing in a block is believed before it is checked: the sizes it claims, the seqs of its records, their lane. What
//! does not fit refuses the whole block, and with it the stream. A record of a kind that is not known here, or with a word
//! that is not, is no misfit: a newer node sent it, and it is handed on as the bytes that came.

use std::borrow::Cow;

use prost::Message as _;
use wa_link::dictionary;
use wa_proto::wire::{Invalid, packed, v1};
use wa_proto::{Hole, Host, Lane, Record, RecordBody, SpoolId};
use zstd::bulk::Decompressor;

use crate::store::{Batch, UnknownRecord};

/// A block holds no more than this before compression. A node's record is at most 4 MiB, and goes alone when it is
/// large: to refuse what a node has spooled would stop its lane for ever, so the rest is for the wrapping.
pub(crate) const MAX_RAW: usize = 4 * 1024 * 1024 + 64 * 1024;
/// Nor more records.
const MAX_RECORDS: usize = 65_536;
/// Nor more parts of them: lines, gaps, fields, messages. One may take two bytes here, next to nothing when it is compressed,
/// and a statement of the database in the end.
const MAX_PARTS: usize = 131_072;

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBlock {
    #[error("block: {0} bytes before compression; at most {MAX_RAW} go")]
    TooLarge(usize),
    #[error("block: unknown compression {0}")]
    Compression(i32),
    #[error("block: unknown dictionary {0}; this controller has {known:?}", known = dictionary::numbers())]
    Dictionary(u32),
    #[error("block: unknown form of records {0}")]
    Form(i32),
    #[error("block: it does not decompress to the {claimed} bytes that it claims: {problem}")]
    Compressed { claimed: usize, problem: String },
    #[error("block: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("block: {got} records where it claims {claimed}")]
    Count { claimed: u32, got: usize },
    #[error("block: {0} records; at most {MAX_RECORDS} go")]
    TooMany(usize),
    #[error("block: its records hold more than {MAX_PARTS} lines, gaps, fields and messages")]
    TooManyParts,
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
    let raw = decompress(&block, claimed)?;
    let entries = entries(&raw)?;
    let got = entries.len();
    if got == 0 || usize::try_from(block.count) != Ok(got) {
        return Err(BadBlock::Count { claimed: block.count, got });
    }
    refuse_many_parts(&entries, block.form)?;
    let wire = match v1::RecordForm::try_from(block.form) {
        Ok(v1::RecordForm::Plain) => v1::Records::decode(raw.as_ref())?.records,
        Ok(v1::RecordForm::Packed) => {
            let packed = v1::PackedRecords::decode(raw.as_ref())?;
            packed::unpack(lane.into(), block.first_seq, packed)?
        }
        Err(_) => return Err(BadBlock::Form(block.form)),
    };
    let (mut records, mut unknown) = (Vec::with_capacity(wire.len()), Vec::new());
    let mut next = Some(block.first_seq);
    for (record, entry) in wire.into_iter().zip(entries) {
        let (seq, is_ours) = (record.seq, record.lane == block.lane);
        match read(record, entry, block.form)? {
            _ if !is_ours => return Err(BadBlock::Lane),
            Ok(record) if next.is_some_and(|next| follows(&record, next)) => records.push(record),
            // Whatever it is, it is no hole.
            Err(other) if next == Some(seq) => unknown.push(other),
            Ok(_) | Err(_) => return Err(BadBlock::Seqs { first: block.first_seq }),
        }
        next = seq.checked_add(1);
    }
    Ok(Batch { host: host.clone(), spool, lane, records, unknown, bytes: raw.len() })
}

/// What an entry is.
type Found = Result<Record, UnknownRecord>;

fn read(mut record: v1::Record, entry: &[u8], form: i32) -> Result<Found, BadBlock> {
    // Kept for the case that it cannot be read.
    let body = record.body.take();
    let head = record.clone();
    let missing = body.is_none();
    record.body = body;
    let why = match Record::try_from(record) {
        Ok(record) => return Ok(Ok(record)),
        Err(Invalid::Missing(_)) if missing => "its kind".to_owned(),
        Err(Invalid::Word { field, problem }) => format!("{field}: {problem}"),
        Err(invalid) => return Err(invalid.into()),
    };
    let whole =
        if form == i32::from(v1::RecordForm::Packed) { last_field(entry, WHOLE)? } else { Some(entry) };
    // A record without any body is one that its node has spoilt.
    let whole = whole.filter(|whole| !missing || holds_more(whole));
    let whole = whole.ok_or(Invalid::Missing("record.body"))?;
    // Messages that follow each other are one.
    let (seq, time_us) = (head.seq, head.time_us);
    let mut bytes = head.encode_to_vec();
    bytes.extend_from_slice(whole);
    Ok(Err(UnknownRecord { seq, time_us, why, bytes }))
}

/// The field of `PackedRecord` with a record that was not packed.
const WHOLE: u32 = 5;

/// Whether a record's bytes have fields that are not known.
fn holds_more(record: &[u8]) -> bool {
    v1::Record::decode(record).is_ok_and(|known| known.encoded_len() < record.len())
}

/// The records in their form: as many bytes as were claimed, and no more are ever unpacked.
fn decompress(block: &v1::RecordBlock, claimed: usize) -> Result<Cow<'_, [u8]>, BadBlock> {
    let bad = |problem: String| BadBlock::Compressed { claimed, problem };
    let raw = match v1::Compression::try_from(block.compression) {
        Ok(v1::Compression::None) => Cow::Borrowed(block.data.as_slice()),
        Ok(v1::Compression::Zstd) => {
            let mut zstd = match block.dictionary {
                0 => Decompressor::new(),
                number => {
                    let dictionary = dictionary::find(number).ok_or(BadBlock::Dictionary(number))?;
                    let prepared =
                        dictionary.decoder().ok_or_else(|| bad("no memory for its dictionary".to_owned()))?;
                    Decompressor::with_prepared_dictionary(prepared)
                }
            }
            .map_err(|e| bad(e.to_string()))?;
            Cow::Owned(zstd.decompress(&block.data, claimed).map_err(|e| bad(e.to_string()))?)
        }
        Err(_) => return Err(BadBlock::Compression(block.compression)),
    };
    if raw.len() != claimed {
        return Err(bad(format!("there are {}", raw.len())));
    }
    Ok(raw)
}

/// The records as they came, in either form, before room is made for them: one may take two bytes here and hundreds when it
/// is decoded.
fn entries(raw: &[u8]) -> Result<Vec<&[u8]>, BadBlock> {
    let (mut entries, mut count) = (Vec::new(), 0);
    for_each_field(raw, |tag, bytes| {
        if tag == 1 {
            count += 1;
            // Of too many, only the number counts.
            if entries.len() <= MAX_RECORDS {
                entries.push(bytes);
            }
        }
    })?;
    if count > MAX_RECORDS {
        return Err(BadBlock::TooMany(count));
    }
    Ok(entries)
}

/// Before room is made for them. What was packed is counted when it is unpacked.
fn refuse_many_parts(entries: &[&[u8]], form: i32) -> Result<(), BadBlock> {
    let mut left = MAX_PARTS;
    for entry in entries {
        let record = if form == i32::from(v1::RecordForm::Packed) {
            last_field(entry, WHOLE)?.unwrap_or_default()
        } else {
            entry
        };
        let mut many = false;
        for_each_field(record, |_, body| {
            // The other fields of a record are short words; what is no message ends where it cannot be read.
            let counted = for_each_field(body, |_, _| match left.checked_sub(1) {
                Some(fewer) => left = fewer,
                None => many = true,
            });
            drop(counted);
        })?;
        if many {
            return Err(BadBlock::TooManyParts);
        }
    }
    Ok(())
}

/// The last field of this number that has bytes.
fn last_field(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, BadBlock> {
    let mut found = None;
    for_each_field(message, |tag, bytes| {
        if tag == wanted {
            found = Some(bytes);
        }
    })?;
    Ok(found)
}

/// Calls with the number and the bytes of each field that has bytes.
fn for_each_field<'a>(
    mut rest: &'a [u8],
    mut each: impl FnMut(u32, &'a [u8]),
) -> Result<(), prost::DecodeError> {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        let mut field = rest;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        if wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut field)?;
            let bytes = usize::try_from(length).ok().and_then(|length| field.get(..length));
            each(tag, bytes.unwrap_or_default());
        }
    }
    Ok(())
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
            ..v1::RecordBlock::default()
        }
    }

    /// The same records packed, and compressed with a dictionary.
    fn packed_block(number: u32) -> v1::RecordBlock {
        let mut raw = Vec::new();
        packed::pack(&v1::Records::decode(records(5, 3).as_slice()).unwrap().records, &mut raw);
        let encoder = dictionary::find(number).unwrap().encoder().unwrap();
        let data = zstd::bulk::Compressor::with_prepared_dictionary(encoder).unwrap().compress(&raw).unwrap();
        v1::RecordBlock { data, dictionary: number, form: v1::RecordForm::Packed.into(), ..block(&raw) }
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
    fn every_dictionary_that_was_ever_shipped_is_read() {
        let spool = SpoolId::generate();
        let plain = open(&host(), spool, block(&records(5, 3))).unwrap();
        for number in dictionary::numbers() {
            assert_eq!(open(&host(), spool, packed_block(number)).unwrap().records, plain.records);
        }
    }

    #[test]
    fn what_was_compressed_with_another_dictionary_is_refused() {
        let newest = *dictionary::numbers().last().unwrap();
        let refused = |change: fn(&mut v1::RecordBlock)| {
            let mut block = packed_block(newest);
            change(&mut block);
            open(&host(), SpoolId::generate(), block).unwrap_err().to_string()
        };
        assert!(
            refused(|b| b.dictionary = 4_000_000)
                .starts_with("block: unknown dictionary 4000000; this controller has [1")
        );
        assert!(refused(|b| b.dictionary = 0).contains("does not decompress"));
        assert!(refused(|b| b.form = 9).contains("unknown form of records 9"));
        assert!(refused(|b| b.form = 0).starts_with("block: "));
        assert!(refused(|b| b.raw_size -= 1).contains("does not decompress"));
        assert!(refused(|b| b.raw_size += 1).contains("does not decompress"));
        assert!(refused(|b| b.count = 2).contains("3 records where it claims 2"));
        assert!(refused(|b| b.first_seq = u64::MAX - 1).contains("beyond all bounds"));
        assert!(refused(|b| b.data.truncate(b.data.len() - 1)).contains("does not decompress"));
    }

    #[test]
    fn many_empty_records_are_not_unpacked() {
        let raw = [0x0a, 0].repeat(MAX_RECORDS + 1);
        for form in [v1::RecordForm::Plain, v1::RecordForm::Packed] {
            let count = u32::try_from(raw.len() / 2).unwrap();
            let block = v1::RecordBlock { count, form: form.into(), ..block(&raw) };
            let refused = open(&host(), SpoolId::generate(), block).unwrap_err();
            assert!(matches!(refused, BadBlock::TooMany(got) if got == MAX_RECORDS + 1), "{refused}");
        }
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
        fn no_bytes_do_harm(
            data: Vec<u8>, lane in 0..4_i32, compression in 0..3_i32, form in 0..3_i32, dictionary in 0_u32..3,
            raw_size in prop_oneof![0_u32..10_000, any::<u32>()], count in 0_u32..4, first_seq: u64,
        ) {
            let block = v1::RecordBlock { lane, first_seq, count, compression, raw_size, data, dictionary, form };
            drop(open(&host(), SpoolId::generate(), block));
        }

        #[test]
        fn bytes_that_decompress_do_no_harm(raw: Vec<u8>, form in 0..2_i32, count in 0_u32..4) {
            drop(open(&host(), SpoolId::generate(), v1::RecordBlock { count, form, ..block(&raw) }));
        }

        #[test]
        fn bent_records_do_no_harm(at: prop::sample::Index, to: u8) {
            let mut raw = records(5, 3);
            let at = at.index(raw.len());
            raw[at] = to;
            drop(open(&host(), SpoolId::generate(), block(&raw)));
        }

        /// Whatever is bent or cut, what opens has as many records as were claimed, read or not, each with its seq.
        #[test]
        fn bent_and_cut_blocks_do_no_harm(at: prop::sample::Index, to: u8, cut in 0_usize..9, first_seq in 0_u64..9) {
            let mut block = v1::RecordBlock { first_seq, ..packed_block(1) };
            let claimed = block.count as usize;
            let at = at.index(block.data.len());
            block.data[at] = to;
            block.data.truncate(block.data.len() - cut);
            if let Ok(batch) = open(&host(), SpoolId::generate(), block) {
                let (read, unknown) = (batch.records.iter().map(|r| r.seq), batch.unknown.iter().map(|r| r.seq));
                let seqs: std::collections::BTreeSet<u64> = read.chain(unknown).collect();
                prop_assert_eq!(seqs.len(), claimed);
                prop_assert_eq!(batch.records.len() + batch.unknown.len(), claimed);
                prop_assert!(batch.records.is_sorted_by_key(|record| record.seq));
            }
        }
    }
}
