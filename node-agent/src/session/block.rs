//! Records into blocks for the wire.

use std::sync::Arc;

use wa_proto::Lane;
use wa_proto::wire::v1;

/// Bytes of records in a block, before compression.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// Smaller blocks are sent as they are, in bytes.
const COMPRESS_FROM: usize = 1 << 10;
const LEVEL: i32 = 3;

/// One block of consecutive records; `None` if there are none.
pub(super) fn block(lane: Lane, records: &[Arc<v1::Record>]) -> Option<v1::RecordBlock> {
    let first_seq = records.first()?.seq;
    let mut raw = Vec::new();
    // As `Records` encodes: field 1, each record with its length. Spares a copy of every record.
    for record in records {
        prost::encoding::message::encode(1, record.as_ref(), &mut raw);
    }
    let raw_size = u32::try_from(raw.len()).ok()?;
    let (compression, data) = match compress(&raw) {
        Some(small) => (v1::Compression::Zstd, small),
        None => (v1::Compression::None, raw),
    };
    Some(v1::RecordBlock {
        lane: v1::Lane::from(lane).into(),
        first_seq,
        count: u32::try_from(records.len()).ok()?,
        compression: compression.into(),
        raw_size,
        data,
    })
}

/// `None` when it is not worth it.
fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() < COMPRESS_FROM {
        return None;
    }
    let small = zstd::bulk::compress(raw, LEVEL).ok()?;
    (small.len() < raw.len()).then_some(small)
}

/// Bytes that a block takes of the credit: what it will be in the controller's memory.
pub(super) fn size(block: &v1::RecordBlock) -> u64 {
    u64::from(block.raw_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn blocks_are_records_messages() {
        for text in ["short".to_owned(), "long ".repeat(1000)] {
            let event = v1::Event { line: text, ..Default::default() };
            let records: Vec<_> = (5..8)
                .map(|seq| {
                    let body = Some(v1::record::Body::Event(event.clone()));
                    Arc::new(v1::Record { lane: 1, seq, body, ..Default::default() })
                })
                .collect();
            let block = block(Lane::Events, &records).unwrap();
            assert_eq!((block.first_seq, block.count), (5, 3));
            let raw = match v1::Compression::try_from(block.compression).unwrap() {
                v1::Compression::Zstd => {
                    zstd::bulk::decompress(&block.data, block.raw_size as usize).unwrap()
                }
                v1::Compression::None => block.data,
            };
            assert_eq!(raw.len(), block.raw_size as usize);
            let decoded = v1::Records::decode(raw.as_slice()).unwrap();
            assert_eq!(decoded.records.len(), 3);
            assert_eq!(decoded.records[2], *records[2]);
        }
    }
}
