//! One spool file: magic, then checked entries, each a `SpoolEntry`; the first is a checkpoint.
//!
//! A group of entries counts only as a whole: an incomplete one at the end of the newest file was never durable as
//! such, nobody was told of it, and it is cut off with the torn tail.

use prost::Message as _;
use wa_proto::Lane;
use wa_proto::wire::v1;

use crate::framing;

pub(super) const MAGIC: &[u8; 8] = b"waspool1";

/// An entry as found in a file.
#[derive(Debug)]
pub(super) struct Found {
    /// Offset of its frame.
    pub(super) at: u32,
    /// Bytes of the payload.
    pub(super) len: u32,
    /// The next entry belongs to the same group.
    pub(super) more: bool,
    pub(super) entry: v1::SpoolEntry,
}

/// What a whole file holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) entries: Vec<Found>,
    /// Byte ranges between valid entries that could not be read.
    pub(super) damaged: Vec<(usize, usize)>,
    /// Where the last valid entry ends.
    pub(super) valid_end: usize,
}

/// Reads a whole file.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let frames = framing::scan(bytes, MAGIC);
    let mut scan = Scan { entries: Vec::new(), damaged: frames.damaged, valid_end: frames.valid_end };
    for frame in frames.entries {
        let place = u32::try_from(frame.at).ok().zip(u32::try_from(frame.payload.len()).ok());
        match (place, v1::SpoolEntry::decode(frame.payload)) {
            (Some((at, len)), Ok(entry)) if is_within_bounds(&entry) => {
                scan.entries.push(Found { at, len, more: frame.more, entry })
            }
            _ => scan.damaged.push((frame.at, frame.end())),
        }
    }
    scan
}

/// No spool ever comes to larger seqs: a file that has them is damaged, and the next would not fit into a number.
const LARGEST_SEQ: u64 = 1 << 62;

fn is_within_bounds(entry: &v1::SpoolEntry) -> bool {
    let checkpoint = entry.checkpoint.iter().flat_map(|c| [c.next_events, c.next_bulk]);
    let record = entry.record.iter().flat_map(|record| {
        let hole = match &record.body {
            Some(v1::record::Body::Hole(hole)) => hole.last_seq,
            _ => 0,
        };
        [record.seq, hole]
    });
    checkpoint.chain(record).all(|seq| seq <= LARGEST_SEQ)
}

/// Lane and seq of an entry's record.
pub(super) fn name_of(record: &v1::Record) -> Option<(Lane, u64)> {
    let lane = v1::Lane::try_from(record.lane).ok()?;
    let lane = Lane::try_from(lane).ok()?;
    (record.seq > 0).then_some((lane, record.seq))
}
