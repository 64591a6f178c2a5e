//! Records into blocks for the wire.
//!
//! The welcome of the controller says what it reads: packed records, and which dictionaries. A controller that says nothing
//! of it gets plain records and no dictionary.

use std::sync::Arc;

use wa_link::dictionary::{self, LEVEL};
use wa_proto::Lane;
use wa_proto::wire::{packed, v1};
use zstd::bulk::Compressor;

/// Bytes of records in a block, as they lie in the spool.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// Smaller blocks are sent as they are, in bytes.
const COMPRESS_FROM: usize = 256;

/// Makes the blocks of one stream.
pub(super) struct Packer {
    form: v1::RecordForm,
    /// Number of the dictionary; 0 = none.
    dictionary: u32,
    /// `None`: nothing is compressed, for want of memory.
    compressor: Option<Compressor<'static>>,
}

impl Packer {
    /// As the controller reads it.
    pub(super) fn agreed(welcome: &v1::Welcome) -> Self {
        let packs = welcome.forms().any(|form| form == v1::RecordForm::Packed);
        let form = if packs { v1::RecordForm::Packed } else { v1::RecordForm::Plain };
        let with = dictionary::newest_of(&welcome.dictionaries).and_then(|dictionary| {
            let compressor = Compressor::with_prepared_dictionary(dictionary.encoder()?).ok()?;
            Some((dictionary.number(), compressor))
        });
        match with {
            Some((dictionary, compressor)) => Self { form, dictionary, compressor: Some(compressor) },
            None => Self { form, dictionary: 0, compressor: Compressor::new(LEVEL).ok() },
        }
    }

    /// One block of consecutive records; `None` if there are none.
    pub(super) fn block(&mut self, lane: Lane, records: &[Arc<v1::Record>]) -> Option<v1::RecordBlock> {
        let first_seq = records.first()?.seq;
        let mut raw = Vec::new();
        match self.form {
            v1::RecordForm::Packed => packed::pack(records.iter().map(AsRef::as_ref), &mut raw),
            v1::RecordForm::Plain => {
                // As `Records` encodes: field 1, each record with its length. Spares a copy of every record.
                for record in records {
                    prost::encoding::message::encode(1, record.as_ref(), &mut raw);
                }
            }
        }
        let raw_size = u32::try_from(raw.len()).ok()?;
        let (compression, dictionary, data) = match self.compress(&raw) {
            Some(small) => (v1::Compression::Zstd, self.dictionary, small),
            None => (v1::Compression::None, 0, raw),
        };
        Some(v1::RecordBlock {
            lane: v1::Lane::from(lane).into(),
            first_seq,
            count: u32::try_from(records.len()).ok()?,
            compression: compression.into(),
            raw_size,
            data,
            dictionary,
            form: self.form.into(),
        })
    }

    /// `None` when it is not worth it.
    fn compress(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if raw.len() < COMPRESS_FROM {
            return None;
        }
        let small = self.compressor.as_mut()?.compress(raw).ok()?;
        (small.len() < raw.len()).then_some(small)
    }
}

/// Bytes that a block takes of the credit: what it will be in the controller's memory.
pub(super) fn size(block: &v1::RecordBlock) -> u64 {
    u64::from(block.raw_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use zstd::bulk::Decompressor;

    fn records(text: &str) -> Vec<Arc<v1::Record>> {
        let event = v1::Event { line: text.into(), ..Default::default() };
        let line = v1::Line { row: 7, text: text.into(), rows: 1, ..Default::default() };
        let pane = Some(v1::PaneRef { mux: "main".into(), ..Default::default() });
        let lines = v1::Lines { pane, lines: vec![line; 3], ..Default::default() };
        (5..11)
            .map(|seq| {
                let body = match seq % 2 {
                    0 => v1::record::Body::Event(event.clone()),
                    _ => v1::record::Body::Lines(lines.clone()),
                };
                Arc::new(v1::Record { lane: 1, seq, body: Some(body), ..Default::default() })
            })
            .collect()
    }

    fn raw(block: &v1::RecordBlock) -> Vec<u8> {
        let size = block.raw_size as usize;
        match (block.compression(), block.dictionary) {
            (v1::Compression::None, 0) => block.data.clone(),
            (v1::Compression::Zstd, 0) => zstd::bulk::decompress(&block.data, size).unwrap(),
            (v1::Compression::Zstd, number) => {
                let decoder = dictionary::find(number).unwrap().decoder().unwrap();
                Decompressor::with_prepared_dictionary(decoder)
                    .unwrap()
                    .decompress(&block.data, size)
                    .unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn blocks_are_what_the_controller_reads() {
        let packed = i32::from(v1::RecordForm::Packed);
        for forms in [vec![], vec![packed], vec![99, packed]] {
            for dictionaries in [vec![], dictionary::numbers(), vec![4_000_000]] {
                let welcome = v1::Welcome {
                    forms: forms.clone(),
                    dictionaries: dictionaries.clone(),
                    ..Default::default()
                };
                let mut packer = Packer::agreed(&welcome);
                for text in ["short".to_owned(), "long ".repeat(1000)] {
                    let records = records(&text);
                    let block = packer.block(Lane::Events, &records).unwrap();
                    assert_eq!((block.first_seq, block.count), (5, 6));
                    let raw = raw(&block);
                    assert_eq!(raw.len(), block.raw_size as usize);
                    let decoded = match block.form() {
                        v1::RecordForm::Packed => {
                            let packed = v1::PackedRecords::decode(raw.as_slice()).unwrap();
                            packed::unpack(block.lane(), block.first_seq, packed).unwrap()
                        }
                        v1::RecordForm::Plain => v1::Records::decode(raw.as_slice()).unwrap().records,
                    };
                    assert_eq!(decoded, records.iter().map(|record| (**record).clone()).collect::<Vec<_>>());
                    assert_eq!(block.form() == v1::RecordForm::Packed, !forms.is_empty());
                    let with =
                        block.compression() == v1::Compression::Zstd && dictionaries == dictionary::numbers();
                    assert_eq!(block.dictionary != 0, with);
                }
            }
        }
    }
}
