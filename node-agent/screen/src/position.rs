//! Where a pane's transcript stands: what is written beside each record, so that a restarted node goes on there.
//!
//! Constraints: it is written with every batch of lines, so it is small (about a kilobyte); it is read back from a disk that
//! may be damaged and by a later version of the program, so it is checked and never believed: what cannot be read is
//! treated as if the width had changed, and the place is found by content.
//!
//! Format of the opaque part: a version byte; numbers as LEB128, signed ones zigzag; four bytes of checksum at the end.
//! Version 1: size of the primary screen, mouse flag, agent process, visible logged lines, open repaint, alternate screen.

use crate::alternate::SavedAlternate;
use crate::grid::Dims;
use crate::hash::bytes_hash;
use crate::primary::Entry;
use crate::repaint::OpenRepaint;

const VERSION: u8 = 1;
/// Logical lines whose hashes are kept.
pub(crate) const LINE_HASHES: usize = 64;
/// Items that a list in the opaque part may hold.
const MAX_ITEMS: u64 = 4096;

/// Where the transcript of a pane stands. Fits `PanePosition` of the spool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    pub layout: u64,
    /// First stable row not yet logged; on the alternate screen the next number of its counter.
    pub next_row: i64,
    /// Hashes of the last 64 logical lines, oldest first.
    pub line_hashes: Vec<u64>,
    /// Of the text on the screen.
    pub frame_hash: u64,
    /// The rest, in this crate's own format. May be lost: then the place is found by content.
    pub opaque: Vec<u8>,
}

/// What the opaque part says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Saved {
    /// Of the primary screen; `cols` 0 when row numbers were not settled.
    pub(crate) dims: Dims,
    pub(crate) mouse_grabbed: bool,
    pub(crate) agent: Option<u64>,
    /// Logged lines that are, or lately were, on the screen.
    pub(crate) entries: Vec<(i64, Entry)>,
    pub(crate) repaint: Option<OpenRepaint>,
    pub(crate) alternate: Option<SavedPrimary>,
}

/// While the alternate screen is on: it, and how the primary screen goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SavedPrimary {
    pub(crate) next: i64,
    pub(crate) tail: Vec<u64>,
    pub(crate) alternate: SavedAlternate,
}

impl Saved {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        out.unsigned(u64::from(self.dims.cols));
        for number in [self.dims.rows, self.dims.retained, self.dims.top, self.dims.oldest] {
            out.signed(number);
        }
        out.unsigned(u64::from(self.mouse_grabbed));
        out.option(self.agent.is_some());
        self.agent.iter().for_each(|agent| out.fixed64(*agent));
        out.unsigned(self.entries.len() as u64);
        let mut last = 0;
        for (row, entry) in &self.entries {
            out.signed(row.wrapping_sub(last));
            last = *row;
            out.unsigned(u64::from(entry.rows));
            out.unsigned(entry.rev.map_or(0, |rev| u64::from(rev) + 1));
            out.0.extend(entry.hash.to_le_bytes());
        }
        out.option(self.repaint.is_some());
        if let Some(repaint) = self.repaint {
            out.signed(repaint.first_row);
            out.unsigned(u64::from(repaint.rows));
        }
        out.option(self.alternate.is_some());
        if let Some(SavedPrimary { next, tail, alternate }) = &self.alternate {
            out.signed(*next);
            out.hashes(tail);
            out.unsigned(u64::from(alternate.guessed));
            out.signed(alternate.counter);
            out.hashes(&alternate.picture);
        }
        let check = bytes_hash(&out.0) as u32;
        out.0.extend(check.to_le_bytes());
        out.0
    }

    /// `None`: damaged, or of a version that is not known.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*check) != bytes_hash(body) as u32 {
            return None;
        }
        let mut input = Reader(body.strip_prefix(&[VERSION])?);
        let dims = Dims {
            cols: input.small()?,
            rows: input.row()?,
            retained: input.row()?,
            top: input.row()?,
            oldest: input.row()?,
        };
        let mouse_grabbed = input.flag()?;
        let agent = if input.flag()? { Some(input.fixed64()?) } else { None };
        let entries = input.entries()?;
        let repaint = if input.flag()? {
            Some(OpenRepaint { first_row: input.row()?, rows: input.small()? })
        } else {
            None
        };
        let alternate = if input.flag()? {
            let (next, tail) = (input.row()?, input.hashes()?);
            let (guessed, counter) = (input.flag()?, input.row()?);
            let alternate = SavedAlternate { guessed, counter, picture: input.hashes()? };
            Some(SavedPrimary { next, tail, alternate })
        } else {
            None
        };
        input.0.is_empty().then_some(Self { dims, mouse_grabbed, agent, entries, repaint, alternate })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn signed(&mut self, value: i64) {
        self.unsigned((value << 1 ^ value >> 63) as u64);
    }
    fn option(&mut self, there: bool) {
        self.0.push(u8::from(there));
    }
    fn fixed64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }
    fn hashes(&mut self, hashes: &[u64]) {
        self.unsigned(hashes.len() as u64);
        hashes.iter().for_each(|hash| self.fixed64(*hash));
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
    /// A number that sums can be made of.
    fn row(&mut self) -> Option<i64> {
        self.signed().filter(|row| row.unsigned_abs() <= 1 << 60)
    }
    fn small(&mut self) -> Option<u32> {
        self.unsigned()?.try_into().ok()
    }
    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    fn fixed64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }
    fn fixed32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }
    fn hashes(&mut self) -> Option<Vec<u64>> {
        let count = self.unsigned().filter(|count| *count <= MAX_ITEMS)?;
        (0..count).map(|_| self.fixed64()).collect()
    }
    fn entries(&mut self) -> Option<Vec<(i64, Entry)>> {
        let count = self.unsigned().filter(|count| *count <= MAX_ITEMS)?;
        let mut last = 0_i64;
        let mut entries = Vec::new();
        for _ in 0..count {
            last = last.checked_add(self.row()?).filter(|row| row.unsigned_abs() <= 1 << 60)?;
            let rows = self.small()?;
            let rev = match self.unsigned()? {
                0 => None,
                more => Some(u32::try_from(more - 1).ok()?),
            };
            entries.push((last, Entry { rows, rev, hash: self.fixed32()? }));
        }
        Some(entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Saved {
        Saved {
            dims: Dims { cols: 80, rows: 24, retained: 3524, top: 99_000, oldest: 95_500 },
            mouse_grabbed: true,
            agent: Some(u64::MAX),
            entries: vec![
                (-5, Entry { rows: 1, hash: 7, rev: None }),
                (98_999, Entry { rows: 2, hash: u32::MAX, rev: Some(0) }),
                (99_001, Entry { rows: 0, hash: 0, rev: Some(u32::MAX) }),
            ],
            repaint: Some(OpenRepaint { first_row: 3, rows: 9 }),
            alternate: Some(SavedPrimary {
                next: 99_002,
                tail: vec![1, u64::MAX],
                alternate: SavedAlternate { guessed: true, counter: 12, picture: vec![0, 5] },
            }),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for saved in [full(), Saved::default()] {
            assert_eq!(Saved::decode(&saved.encode()), Some(saved));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = full().encode();
        for at in 0..bytes.len() {
            assert_eq!(Saved::decode(&bytes[..at]), None);
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(Saved::decode(&damaged), None, "byte {at} bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_with_a_right_checksum_does_not_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            bytes.insert(0, VERSION);
            let check = bytes_hash(&bytes) as u32;
            bytes.extend(check.to_le_bytes());
            drop(Saved::decode(&bytes));
        }
    }
}
