//! Hashes of text that are written to disk and compared by a later version of the program: they must not change.
//!
//! FNV-1a with a finishing mix. Not against an adversary: who can print on a pane can print a line twice anyway.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// What [`line_hash`] gives for a line without a visible character.
pub(crate) const BLANK: u64 = 0;

fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn fold(hash: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// Of the exact bytes.
pub(crate) fn bytes_hash(bytes: &[u8]) -> u64 {
    mix(fold(OFFSET, bytes.iter().copied()))
}

/// Of the exact text of a logged line: tells whether a rewritten line reads differently.
pub(crate) fn text_hash(text: &str) -> u32 {
    bytes_hash(text.as_bytes()) as u32
}

/// Of what is visible in a line, blanks left out: the same before and after a re-wrap, which may eat or add blanks where
/// it breaks. [`BLANK`] for a line that shows nothing.
pub(crate) fn line_hash(text: &str) -> u64 {
    let visible = text.bytes().filter(|byte| !matches!(byte, b' ' | b'\t'));
    match mix(fold(OFFSET, visible)) {
        hash if hash == mix(OFFSET) => BLANK,
        BLANK => 1,
        hash => hash,
    }
}

/// Collects parts into one hash.
pub(crate) struct Hasher(u64);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(OFFSET)
    }
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0 = fold(self.0, bytes.iter().copied());
        self.0 = (self.0 ^ 0xff).wrapping_mul(PRIME);
    }
    pub(crate) fn finish(self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_on_disk_stay_what_they_are() {
        assert_eq!(line_hash(""), BLANK);
        assert_eq!(line_hash("   "), BLANK);
        assert_eq!(line_hash("ab c"), line_hash("a bc  "));
        assert_ne!(line_hash("abc"), line_hash("acb"));
        // FNV-1a 0xe71fa2190541574b, mixed.
        assert_eq!(bytes_hash(b"abc"), 0x33ebaf9927cbc5bd);
        assert_eq!(line_hash("a b c"), 0x33ebaf9927cbc5bd);
    }
}
