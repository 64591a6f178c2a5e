//! Records packed for the wire.
//!
//! Constraints: packing and unpacking give back the very same records, whatever they hold; what cannot be packed goes as it
//! is; what comes from a peer is refused, not believed, where it does not fit, and unpacks into a bounded number of lines.
//!
//! Format ([`v1::PackedRecords`]): rows, seqs and times grow by steps, and numbers that differ in each line are what a
//! compressor makes least of. So a line's row is told only where it does not follow from the line before, a record's seq
//! and time as steps, a pane once for all records of it that follow each other; and the texts of a record stand together,
//! so that a repetition may reach over the end of a line.

use super::{Invalid, v1};

/// Lines in one block that are unpacked, in all; each is worth many times its newline in memory. A node's blocks hold far
/// fewer.
const MAX_LINES: usize = 131_072;
/// A record with more lines goes whole.
const MAX_LINES_IN_RECORD: usize = 16_384;

/// Adds consecutive records to `out` as a [`v1::PackedRecords`] message.
pub fn pack<'a>(records: impl IntoIterator<Item = &'a v1::Record>, out: &mut Vec<u8>) {
    let mut packer = Packer::default();
    for record in records {
        prost::encoding::message::encode(1, &packer.record(record), out);
    }
}

/// What the next record is told by.
#[derive(Default)]
struct Packer<'a> {
    /// After the last record; `None` before the first, which has the first seq of the block.
    next_seq: Option<u64>,
    time_us: i64,
    /// The last that were packed.
    lines: Option<&'a v1::Lines>,
    next_row: i64,
}

impl<'a> Packer<'a> {
    fn record(&mut self, record: &'a v1::Record) -> v1::PackedRecord {
        use v1::packed_record::Body;
        let seq_step = record.seq.wrapping_sub(self.next_seq.unwrap_or(record.seq));
        let time_step_us = record.time_us.wrapping_sub(self.time_us);
        self.next_seq = Some(record.seq.wrapping_add(1));
        self.time_us = record.time_us;
        let body = match &record.body {
            Some(v1::record::Body::Lines(lines)) if can_pack(lines, record.time_us) => {
                Some(Body::Lines(self.lines(lines, record.time_us)))
            }
            None => None,
            body => Some(Body::Whole(v1::Record { body: body.clone(), ..v1::Record::default() })),
        };
        v1::PackedRecord { seq_step, time_step_us, trace_parent: record.trace_parent.clone(), body }
    }

    fn lines(&mut self, lines: &'a v1::Lines, time_us: i64) -> v1::PackedLines {
        let place = |of: &v1::Lines| v1::LinesPlace {
            pane: of.pane.clone(),
            layout: of.layout,
            agent: of.agent.clone(),
        };
        let same = self.lines.is_some_and(|before| {
            (&before.pane, before.layout, &before.agent) == (&lines.pane, lines.layout, &lines.agent)
        });
        if !same {
            self.next_row = 0;
        }
        let mut packed =
            v1::PackedLines { place: (!same).then(|| place(lines)), ..v1::PackedLines::default() };
        packed.texts.reserve(lines.lines.iter().map(|line| line.text.len() + 1).sum());
        let mut row_steps = Vec::with_capacity(lines.lines.len());
        for line in &lines.lines {
            row_steps.push(line.row.wrapping_sub(self.next_row));
            self.next_row = line.row.wrapping_add(i64::from(line.rows));
            packed.texts.push_str(&line.text);
            packed.texts.push('\n');
        }
        if let Some(first) = row_steps.first_mut() {
            packed.row_step = std::mem::take(first);
        }
        packed.row_steps = column(row_steps.into_iter(), 0);
        packed.rows = column(lines.lines.iter().map(|line| line.rows), 1);
        packed.revs = column(lines.lines.iter().map(|line| line.rev), 0);
        packed.time_steps_us = column(lines.lines.iter().map(|line| time_step(line, time_us)), 0);
        self.lines = Some(lines);
        packed
    }
}

/// 0 stands for the record's own time, which a line has by having none.
fn time_step(line: &v1::Line, time_us: i64) -> i64 {
    if line.time_us == 0 { 0 } else { line.time_us.wrapping_sub(time_us) }
}

fn can_pack(lines: &v1::Lines, time_us: i64) -> bool {
    let line = |line: &v1::Line| !line.text.contains('\n') && (line.time_us == 0 || line.time_us != time_us);
    lines.lines.len() <= MAX_LINES_IN_RECORD && lines.lines.iter().all(line)
}

/// The values, or none if all are what is usual.
fn column<T: Copy + PartialEq>(values: impl Iterator<Item = T> + Clone, usual: T) -> Vec<T> {
    if values.clone().all(|value| value == usual) { Vec::new() } else { values.collect() }
}

/// The records of a block of this lane that begins with this seq.
///
/// # Errors
/// [`Invalid`] when a column is not as long as the lines are many, texts do not end, seqs go beyond all bounds, there are
/// too many lines, or a whole record is missing its body.
pub fn unpack(lane: v1::Lane, first_seq: u64, packed: v1::PackedRecords) -> Result<Vec<v1::Record>, Invalid> {
    let mut unpacker = Unpacker { place: None, next_row: 0, left: MAX_LINES };
    let mut next_seq = Some(first_seq);
    let mut time_us = 0_i64;
    let mut records = Vec::with_capacity(packed.records.len());
    for record in packed.records {
        use v1::packed_record::Body;
        let seq = next_seq.and_then(|next| next.checked_add(record.seq_step));
        let seq = seq.ok_or_else(|| bad("packed.seq_step", "beyond all bounds"))?;
        next_seq = seq.checked_add(1);
        time_us = time_us.wrapping_add(record.time_step_us);
        let body = match record.body {
            Some(Body::Lines(lines)) => Some(v1::record::Body::Lines(unpacker.lines(lines, time_us)?)),
            Some(Body::Whole(whole)) => whole.body,
            None => None,
        };
        let trace_parent = record.trace_parent;
        records.push(v1::Record { lane: lane.into(), seq, time_us, trace_parent, body });
    }
    Ok(records)
}

struct Unpacker {
    place: Option<v1::LinesPlace>,
    next_row: i64,
    /// Lines that may still come.
    left: usize,
}

impl Unpacker {
    fn lines(&mut self, packed: v1::PackedLines, time_us: i64) -> Result<v1::Lines, Invalid> {
        if packed.place.is_some() {
            self.place = packed.place;
            self.next_row = 0;
        }
        let place = self.place.as_ref().ok_or(Invalid::Missing("packed.place"))?;
        let texts = packed.texts;
        if !texts.is_empty() && !texts.ends_with('\n') {
            return Err(bad("packed.texts", "the last has no end"));
        }
        let count = texts.bytes().filter(|byte| *byte == b'\n').count();
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| bad("packed.texts", "more lines than a block may hold"))?;
        fits("packed.row_steps", packed.row_steps.len(), count)?;
        fits("packed.rows", packed.rows.len(), count)?;
        fits("packed.revs", packed.revs.len(), count)?;
        fits("packed.time_steps_us", packed.time_steps_us.len(), count)?;
        self.next_row = self.next_row.wrapping_add(packed.row_step);
        let mut lines = Vec::with_capacity(count);
        for (at, text) in texts.split_terminator('\n').enumerate() {
            let row = self.next_row.wrapping_add(value(&packed.row_steps, at, 0));
            let rows = value(&packed.rows, at, 1);
            let step = value(&packed.time_steps_us, at, 0);
            let time_us = if step == 0 { 0 } else { time_us.wrapping_add(step) };
            self.next_row = row.wrapping_add(i64::from(rows));
            lines.push(v1::Line {
                row,
                rev: value(&packed.revs, at, 0),
                text: text.to_owned(),
                rows,
                time_us,
            });
        }
        let (pane, agent) = (place.pane.clone(), place.agent.clone());
        Ok(v1::Lines { pane, layout: place.layout, agent, lines })
    }
}

fn fits(field: &'static str, got: usize, count: usize) -> Result<(), Invalid> {
    if got == 0 || got == count { Ok(()) } else { Err(bad(field, format!("{got} values for {count} lines"))) }
}

fn value<T: Copy>(column: &[T], at: usize, usual: T) -> T {
    column.get(at).copied().unwrap_or(usual)
}

fn bad(field: &'static str, problem: impl Into<String>) -> Invalid {
    Invalid::Field { field, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message as _;

    fn packed(records: &[v1::Record]) -> v1::PackedRecords {
        let mut out = Vec::new();
        pack(records, &mut out);
        v1::PackedRecords::decode(out.as_slice()).unwrap()
    }

    fn lines(pane_id: u64, lines: Vec<v1::Line>) -> v1::record::Body {
        let pane = Some(v1::PaneRef { mux: "main".into(), generation: "g-1-1".into(), pane_id });
        v1::record::Body::Lines(v1::Lines { pane, layout: 7, agent: "codex".into(), lines })
    }

    fn line(row: i64, text: &str) -> v1::Line {
        v1::Line { row, text: text.into(), rows: 1, ..v1::Line::default() }
    }

    fn record(seq: u64, body: v1::record::Body) -> v1::Record {
        let time_us = 1_700_000_000_000_000;
        v1::Record { lane: 2, seq, time_us, trace_parent: String::new(), body: Some(body) }
    }

    #[test]
    fn lines_that_follow_each_other_cost_their_texts() {
        let records: Vec<_> = (0..40)
            .map(|n| {
                let row = 100_000 + 2 * i64::try_from(n).unwrap();
                record(9 + n, lines(1, vec![line(row, "one"), line(row + 1, "two")]))
            })
            .collect();
        let mut out = Vec::new();
        pack(&records, &mut out);
        // Per record: "one\ntwo\n", three tags and three lengths.
        assert!(out.len() < 40 * 14 + 60, "{}", out.len());
        assert_eq!(unpack(v1::Lane::Bulk, 9, packed(&records)).unwrap(), records);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = packed(&[record(5, lines(1, vec![line(1, "a"), line(2, "b")]))]);
        let refused = |change: fn(&mut v1::PackedLines)| {
            let mut bad = good.clone();
            let Some(v1::packed_record::Body::Lines(lines)) = &mut bad.records[0].body else { panic!() };
            change(lines);
            unpack(v1::Lane::Bulk, 5, bad).unwrap_err().to_string()
        };
        assert!(refused(|lines| lines.rows = vec![1]).contains("packed.rows: 1 values for 2 lines"));
        assert!(refused(|lines| lines.revs = vec![1; 3]).contains("packed.revs"));
        assert!(refused(|lines| lines.row_steps = vec![1]).contains("packed.row_steps"));
        assert!(refused(|lines| lines.time_steps_us = vec![1]).contains("packed.time_steps_us"));
        assert!(
            refused(|lines| lines.texts.truncate(lines.texts.len().saturating_sub(1))).contains("no end")
        );
        assert!(refused(|lines| lines.place = None).contains("packed.place is missing"));
        assert!(refused(|lines| lines.texts = "\n".repeat(MAX_LINES + 1)).contains("more lines"));
        let mut beyond = good.clone();
        beyond.records[0].seq_step = u64::MAX;
        assert!(unpack(v1::Lane::Bulk, 5, beyond).unwrap_err().to_string().contains("packed.seq_step"));
    }

    fn any_line() -> impl Strategy<Value = v1::Line> {
        let row = prop_oneof![0_i64..100, any::<i64>()];
        let text = prop_oneof![4 => "[a-z ]{0,12}", 1 => "(\\PC|\n){0,12}"];
        let (rev, rows) = (prop_oneof![Just(0), any::<u32>()], prop_oneof![Just(1), any::<u32>()]);
        let time_us = prop_oneof![Just(0), Just(1_000), any::<i64>()];
        (row, rev, text, rows, time_us).prop_map(|(row, rev, text, rows, time_us)| v1::Line {
            row,
            rev,
            text,
            rows,
            time_us,
        })
    }

    fn any_body() -> impl Strategy<Value = Option<v1::record::Body>> {
        let follow = (0_u64..3, 0_i64..9, prop::collection::vec("[a-z]{0,9}", 0..5)).prop_map(
            |(pane, first, texts)| {
                let rows = (first..).zip(&texts).map(|(row, text)| line(row, text)).collect();
                Some(lines(pane, rows))
            },
        );
        let free = (0_u64..3, prop::collection::vec(any_line(), 0..5))
            .prop_map(|(pane, all)| Some(lines(pane, all)));
        let hole = (any::<u64>(), any::<u64>()).prop_map(|(first_seq, last_seq)| {
            Some(v1::record::Body::Hole(v1::Hole { first_seq, last_seq, ..v1::Hole::default() }))
        });
        let placeless = Just(Some(v1::record::Body::Lines(v1::Lines::default())));
        prop_oneof![4 => follow, 4 => free, 1 => hole, 1 => placeless, 1 => Just(None)]
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(
            first in 1..u64::MAX / 2,
            bodies in prop::collection::vec((0_u64..3, any_body(), prop_oneof![Just(1_000), any::<i64>()], "[a-f]{0,3}"), 1..8),
        ) {
            let mut seq = first - 1;
            let records: Vec<_> = bodies
                .into_iter()
                .enumerate()
                .map(|(at, (jump, body, time_us, trace_parent))| {
                    seq += 1 + if at == 0 { 0 } else { jump };
                    v1::Record { lane: 2, seq, time_us, trace_parent, body }
                })
                .collect();
            prop_assert_eq!(unpack(v1::Lane::Bulk, first, packed(&records)).unwrap(), records);
        }

        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>, first: u64) {
            if let Ok(packed) = v1::PackedRecords::decode(bytes.as_slice()) {
                drop(unpack(v1::Lane::Bulk, first, packed));
            }
        }

        #[test]
        fn bent_bytes_do_no_harm(at: prop::sample::Index, to: u8) {
            let records = [record(5, lines(1, vec![line(1, "a"), line(9, "b")])), record(6, lines(1, vec![line(3, "")]))];
            let mut bytes = Vec::new();
            pack(&records, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(packed) = v1::PackedRecords::decode(bytes.as_slice()) {
                drop(unpack(v1::Lane::Bulk, 5, packed));
            }
        }
    }
}
