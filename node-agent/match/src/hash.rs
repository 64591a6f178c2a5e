//! FNV-1a, 64 bit: stable over builds, for hashes that are saved.

pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    state
}

/// The hash of a text without its blanks: the same before and after a re-wrap.
pub(crate) fn squeezed(text: &str) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        state = (state ^ u64::from(u32::from(c))).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state
}
