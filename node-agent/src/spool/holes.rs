//! What is written down of seqs that are gone: which, why, and the rows that went with them. A count that is not certain is none.

use std::fs::File;

use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane};

use super::index::{Lost, Slot, merge_gap};
use super::store::read_record;

/// The record that names lost seqs. It stands at the last of them.
pub(super) fn hole_record(lane: Lane, lost: &Lost) -> v1::Record {
    let hole = v1::Hole {
        first_seq: lost.first,
        last_seq: lost.last,
        cause: lost.cause.as_str().to_owned(),
        gaps: lost.gaps.clone(),
    };
    v1::Record {
        lane: v1::Lane::from(lane).into(),
        seq: lost.last,
        body: Some(v1::record::Body::Hole(hole)),
        ..Default::default()
    }
}

/// What dropping these records loses: the seqs that nobody has acknowledged, with the lines in them. What was lost
/// before stands between.
pub(super) fn lost_of(file: &File, slots: &[Slot], acked: u64, cause: GapCause) -> Vec<Lost> {
    let (mut all, mut spoiled) = (Vec::<Lost>::new(), Vec::new());
    for slot in &slots[slots.partition_point(|slot| slot.seq <= acked)..] {
        match all.last_mut() {
            Some(lost) if lost.last + 1 == slot.seq => lost.last = slot.seq,
            _ => all.push(Lost { first: slot.seq, last: slot.seq, cause, gaps: Vec::new() }),
        }
        let Some(lost) = all.last_mut() else { continue };
        match read_record(file, *slot) {
            Ok(record) => gaps_of(&record, cause).into_iter().for_each(|gap| merge_gap(&mut lost.gaps, gap)),
            Err(_) => spoiled.push(slot.seq),
        }
    }
    // Whose lines stood in it nobody can tell.
    let is_spoiled = |lost: &&mut Lost| spoiled.iter().any(|seq| (lost.first..=lost.last).contains(seq));
    for lost in all.iter_mut().filter(is_spoiled) {
        lost.gaps.iter_mut().for_each(|gap| gap.rows = None);
    }
    all
}

pub(super) fn gaps_of(record: &v1::Record, cause: GapCause) -> Vec<v1::Gap> {
    let cause = cause.as_str().to_owned();
    match &record.body {
        Some(v1::record::Body::Lines(lines)) => vec![v1::Gap {
            pane: lines.pane.clone(),
            layout: lines.layout,
            first_row: lines.lines.iter().map(|line| line.row).min(),
            rows: Some(lines.lines.iter().map(|line| u64::from(line.rows)).sum()),
            cause,
        }],
        Some(v1::record::Body::Gap(gap)) => vec![v1::Gap { cause, ..gap.clone() }],
        // No rows went, but something that was told of the pane.
        Some(v1::record::Body::Event(event)) => unheard(&event.pane, event.layout, cause),
        Some(v1::record::Body::Conversation(conversation)) => unheard(&conversation.pane, 0, cause),
        _ => Vec::new(),
    }
}

/// A gap whose rows nobody can count.
fn unheard(pane: &Option<v1::PaneRef>, layout: u64, cause: String) -> Vec<v1::Gap> {
    let gap = |pane| v1::Gap { pane: Some(pane), layout, first_row: None, rows: None, cause };
    pane.clone().map(gap).into_iter().collect()
}
