//! Checked entries in append-only files: what spool and journal have in common.
//!
//! Constraints: a crash may cut a file at any byte of the last write; a disk may spoil any byte; nothing read here may
//! panic or allocate without bound. Format: an entry is a length word (little endian; its highest bit says that the next
//! entry belongs to the same group), the CRC-32 of length word and payload, and the payload, a protobuf message of which
//! one of the first three fields comes first. Operation: after a bad entry the scan looks for the next place where length
//! and CRC agree, and reports the bytes between as damaged.

/// Length word and CRC.
pub(crate) const HEADER: usize = 8;
/// Largest payload, in bytes.
pub(crate) const MAX_ENTRY: usize = 4 << 20;
const MORE: u32 = 1 << 31;

/// An entry as found in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Offset of the length word.
    pub(crate) at: usize,
    /// The next entry belongs to the same group.
    pub(crate) more: bool,
    pub(crate) payload: &'a [u8],
}

impl Found<'_> {
    pub(crate) fn end(&self) -> usize {
        self.at + HEADER + self.payload.len()
    }
}

/// What a whole file holds.
#[derive(Debug, Default)]
pub(crate) struct Scan<'a> {
    pub(crate) entries: Vec<Found<'a>>,
    /// Byte ranges between valid entries that could not be read.
    pub(crate) damaged: Vec<(usize, usize)>,
    /// Where the last valid entry ends.
    pub(crate) valid_end: usize,
}

/// Appends one entry. The payload must be neither empty nor longer than [`MAX_ENTRY`].
pub(crate) fn encode(payload: &[u8], more: bool, out: &mut Vec<u8>) {
    debug_assert!(!payload.is_empty() && payload.len() <= MAX_ENTRY);
    let word = u32::try_from(payload.len()).unwrap_or(0) | if more { MORE } else { 0 };
    let word = word.to_le_bytes();
    out.extend_from_slice(&word);
    out.extend_from_slice(&checksum(word, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(word: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&word);
    hasher.update(payload);
    hasher.finalize()
}

/// The payload of the entry at the start of `bytes`, if length and CRC agree; with its "more" mark.
pub(crate) fn check(bytes: &[u8]) -> Option<(&[u8], bool)> {
    let (head, rest) = bytes.split_at_checked(HEADER)?;
    let word: [u8; 4] = head[..4].try_into().ok()?;
    let crc: [u8; 4] = head[4..].try_into().ok()?;
    let value = u32::from_le_bytes(word);
    let len = (value & !MORE) as usize;
    if len == 0 || len > MAX_ENTRY {
        return None;
    }
    let payload = rest.get(..len)?;
    // The first byte is the tag of one of the first three fields: this spares most wrong places their checksum.
    if !matches!(payload[0], 0x0a | 0x12 | 0x1a) || checksum(word, payload) != u32::from_le_bytes(crc) {
        return None;
    }
    Some((payload, value & MORE != 0))
}

/// Reads a whole file. A wrong magic is damage like any other.
pub(crate) fn scan<'a>(bytes: &'a [u8], magic: &[u8]) -> Scan<'a> {
    let mut scan = Scan::default();
    let mut at = if bytes.starts_with(magic) { magic.len() } else { 0 };
    scan.valid_end = at;
    let mut trusted = at > 0;
    while at < bytes.len() {
        let Some((payload, more)) = check(&bytes[at..]) else {
            trusted = false;
            at += 1;
            continue;
        };
        if !trusted {
            scan.damaged.push((scan.valid_end, at));
        }
        trusted = true;
        let found = Found { at, more, payload };
        at = found.end();
        scan.valid_end = at;
        scan.entries.push(found);
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAGIC: &[u8] = b"8 bytes!";

    fn file(count: u8) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = MAGIC.to_vec();
        let mut ends = vec![bytes.len()];
        for at in 0..count {
            encode(&[0x0a, 3, at, at, at], false, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        #[test]
        fn a_cut_loses_only_what_was_cut(count in 1_u8..20, cut in 0_usize..400) {
            let (bytes, ends) = file(count);
            let cut = cut.min(bytes.len());
            let scan = scan(&bytes[..cut], MAGIC);
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            prop_assert_eq!(scan.entries.len(), whole);
            prop_assert!(scan.damaged.is_empty());
        }

        #[test]
        fn a_spoiled_byte_costs_one_entry(count in 3_u8..20, at in 0_usize..2000, flip in 1_u8..=255) {
            let (mut bytes, ends) = file(count);
            let at = MAGIC.len() + at % (ends[ends.len() - 2] - MAGIC.len());
            bytes[at] ^= flip;
            let scan = scan(&bytes, MAGIC);
            prop_assert_eq!(scan.entries.len(), usize::from(count) - 1);
            prop_assert_eq!(scan.damaged.len(), 1);
            prop_assert_eq!(scan.valid_end, bytes.len());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let scan = scan(&bytes, MAGIC);
            prop_assert!(scan.valid_end <= bytes.len());
        }
    }
}
