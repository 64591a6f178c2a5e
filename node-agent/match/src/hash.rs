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

/// Whether rows are still the same a moment later: eight bytes at a step, of no other use, and never saved.
pub(crate) fn of_moment<'t>(rows: impl Iterator<Item = &'t str>) -> u64 {
    let step = |state: u64, word: u64| (state.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    rows.fold(0xcbf2_9ce4_8422_2325, |state, row| {
        let (words, rest) = row.as_bytes().as_chunks::<8>();
        let state = words.iter().fold(state, |state, word| step(state, u64::from_le_bytes(*word)));
        let last = rest.iter().fold(0, |last, byte| (last << 8) | u64::from(*byte));
        // The length tells where the row ends.
        step(step(state, last), row.len() as u64)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_that_differ_have_another_hash(
            one in proptest::collection::vec("[ab]{0,20}", 0..4),
            other in proptest::collection::vec("[ab]{0,20}", 0..4),
        ) {
            let hash = |rows: &[String]| of_moment(rows.iter().map(String::as_str));
            prop_assert_eq!(hash(&one) == hash(&other), one == other);
        }

        #[test]
        fn a_change_in_any_place_shows(text in "[ -~é]{1,60}", at in any::<prop::sample::Index>(), to in "[a-z]") {
            let at = at.get(&text.char_indices().map(|(at, _)| at).collect::<Vec<_>>()).to_owned();
            let mut changed = text.clone();
            changed.replace_range(at..at + text[at..].chars().next().unwrap().len_utf8(), &to);
            prop_assert_eq!(of_moment([&*text].into_iter()) == of_moment([&*changed].into_iter()), text == changed);
        }

        #[test]
        fn where_a_row_ends_counts(text in "[a-z]{1,60}", at in any::<prop::sample::Index>()) {
            let (head, tail) = text.split_at(at.index(text.len()));
            prop_assert_ne!(of_moment([head, tail].into_iter()), of_moment([&*text].into_iter()));
        }
    }
}
