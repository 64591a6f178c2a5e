//! Which rows to ask for, and which to believe.
//!
//! The server is careless with ranges: an inverted one kills it with every pane in it; one that begins or ends outside
//! of what it holds is answered with other rows. So ranges are checked, clamped to what the pane holds, merged, and cut
//! into requests small enough not to keep other clients waiting; and of the answer only asked rows are kept.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::codec::{Dimensions, Row};

/// Rows in one request.
pub(crate) const ROWS_PER_REQUEST: u64 = 500;

/// The first range that is empty or inverted.
pub(crate) fn first_invalid(ranges: &[Range<i64>]) -> Option<&Range<i64>> {
    ranges.iter().find(|range| range.start >= range.end)
}

/// The rows of `ranges` that the pane holds, in order, each once.
pub(crate) fn clamp(ranges: &[Range<i64>], dims: &Dimensions) -> Vec<Range<i64>> {
    let held = dims.scrollback_top..dims.scrollback_top.saturating_add_unsigned(dims.scrollback_rows);
    let mut inside: Vec<_> = ranges
        .iter()
        .map(|range| range.start.max(held.start)..range.end.min(held.end))
        .filter(|range| range.start < range.end)
        .collect();
    inside.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<i64>> = Vec::new();
    for range in inside {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The ranges of the next request, at most [`ROWS_PER_REQUEST`] rows, taken off the front of `ranges` (which are in
/// order and not empty). Nothing left: nothing returned.
pub(crate) fn next_request(ranges: &mut Vec<Range<i64>>) -> Vec<Range<i64>> {
    let mut room = ROWS_PER_REQUEST;
    let mut request = Vec::new();
    while room > 0 && !ranges.is_empty() {
        let range = ranges[0].clone();
        let length = range.start.abs_diff(range.end);
        if length <= room {
            room -= length;
            request.push(ranges.remove(0));
        } else {
            let middle = range.start.saturating_add_unsigned(room);
            request.push(range.start..middle);
            ranges[0].start = middle;
            room = 0;
        }
    }
    request
}

/// Keeps the rows of an answer that were asked for. A row that comes twice: the last one counts.
pub(crate) fn keep_asked(kept: &mut BTreeMap<i64, Row>, asked: &[Range<i64>], rows: Vec<Row>) {
    kept.extend(
        rows.into_iter()
            .filter(|row| asked.iter().any(|range| range.contains(&row.index)))
            .map(|row| (row.index, row)),
    );
}

#[cfg(test)]
mod tests {
    // Ranges are the data here, good ones and bad ones.
    #![allow(clippy::reversed_empty_ranges, clippy::single_range_in_vec_init)]

    use proptest::prelude::*;

    use super::*;

    fn dims(top: i64, rows: u64) -> Dimensions {
        Dimensions { scrollback_top: top, scrollback_rows: rows, ..Dimensions::default() }
    }

    #[test]
    fn inverted_and_empty_ranges_are_found() {
        assert_eq!(first_invalid(&[0..1, 5..2]), Some(&(5..2)));
        assert_eq!(first_invalid(&[3..3]), Some(&(3..3)));
        assert_eq!(first_invalid(&[i64::MIN..i64::MAX]), None);
    }

    #[test]
    fn ranges_are_clamped_merged_and_cut() {
        let mut ranges = clamp(&[90..2000, i64::MIN..3, 10..20, 15..30, 30..40], &dims(10, 1190));
        assert_eq!(ranges, [10..40, 90..1200]);
        assert_eq!(next_request(&mut ranges), [10..40, 90..560]);
        assert_eq!(next_request(&mut ranges), [560..1060]);
        assert_eq!(next_request(&mut ranges), [1060..1200]);
        assert!(next_request(&mut ranges).is_empty());
    }

    proptest! {
        #[test]
        fn requests_cover_what_is_held_once_and_nothing_else(
            asked in prop::collection::vec((-50_i64..2500, 1_i64..900), 0..6),
            top in -5_i64..50,
            rows in 0_u64..2000,
        ) {
            let asked: Vec<_> = asked.into_iter().map(|(start, length)| start..start + length).collect();
            let dims = dims(top, rows);
            let mut left = clamp(&asked, &dims);
            let mut seen = Vec::new();
            loop {
                let request = next_request(&mut left);
                if request.is_empty() {
                    break;
                }
                prop_assert!(first_invalid(&request).is_none());
                prop_assert!(request.iter().map(|range| range.end - range.start).sum::<i64>() <= 500);
                seen.extend(request.into_iter().flatten());
            }
            let expected: Vec<i64> = (top..top + rows as i64)
                .filter(|row| asked.iter().any(|range| range.contains(row)))
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
