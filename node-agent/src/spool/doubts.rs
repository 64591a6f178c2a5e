//! Which panes lost lines to damage: what stood there cannot be read, but where each pane stood before it is known, and a
//! pane that goes on elsewhere has lost what lies between.
//!
//! A pane that was first seen in the damaged part and never again is not found so; the hole itself is told all the same.

use std::collections::BTreeMap;

use wa_proto::wire::v1;
use wa_proto::{GapCause, Lane};

use super::index::{Lost, merge_gap};
use super::store::{PaneKey, key_of};

/// Where a pane stood before the damage.
#[derive(Debug)]
struct Doubt {
    /// Place of the hole among the lost.
    hole: usize,
    layout: u64,
    next_row: i64,
}

#[derive(Debug, Default)]
pub(super) struct Doubts {
    panes: BTreeMap<PaneKey, Doubt>,
    /// Of the group that is being read: where new rows begin, by pane.
    begins: BTreeMap<PaneKey, i64>,
    /// Layout and row up to which lines were read since the last position, by pane: that of a group stands at its end,
    /// which may be what is damaged.
    reached: BTreeMap<PaneKey, (u64, i64)>,
}

impl Doubts {
    /// Something was lost here: of any pane, for all that is known.
    pub(super) fn raise(&mut self, hole: usize, positions: &BTreeMap<PaneKey, v1::PanePosition>) {
        for (key, position) in positions {
            let (layout, next_row) =
                self.reached.get(key).copied().unwrap_or((position.layout, position.next_row));
            // What an earlier hole took is not known yet, either.
            self.panes.entry(key.clone()).or_insert(Doubt { hole, layout, next_row });
        }
    }

    /// A record that can be read.
    pub(super) fn read(&mut self, record: &v1::Record) {
        let (pane, layout, rows): (_, _, Vec<(i64, i64)>) = match &record.body {
            Some(v1::record::Body::Lines(lines)) => {
                let rows = lines.lines.iter().map(|line| (line.row, line.rows.into()));
                (&lines.pane, lines.layout, rows.collect())
            }
            Some(v1::record::Body::Gap(gap)) => {
                let rows = gap.rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(0);
                (&gap.pane, gap.layout, gap.first_row.map(|first| (first, rows)).into_iter().collect())
            }
            Some(v1::record::Body::Repaint(repaint)) => {
                (&repaint.pane, repaint.layout, vec![(repaint.first_row, repaint.rows.into())])
            }
            _ => return,
        };
        let Some(pane) = pane else { return };
        let key = (pane.mux.clone(), pane.generation.clone(), pane.pane_id);
        if let Some(doubt) = self.panes.get(&key)
            // Rows before it are written anew.
            && let Some(first) = rows.iter().map(|(row, _)| *row).filter(|row| *row >= doubt.next_row).min()
        {
            let begin = self.begins.entry(key.clone()).or_insert(first);
            *begin = first.min(*begin);
        }
        if let Some(end) = rows.iter().map(|(row, rows)| row.saturating_add(*rows)).max() {
            let reached = self.reached.entry(key).or_insert((layout, end));
            let same = reached.0 == layout;
            *reached = (layout, if same { reached.1.max(end) } else { end });
        }
    }

    /// Where a pane stands after the group: whether it went on where it had stood.
    pub(super) fn settle(&mut self, position: &v1::PanePosition, lost: &mut [(Lane, Lost)]) {
        let Some(key) = key_of(position) else { return };
        self.reached.remove(&key);
        let Some(doubt) = self.panes.remove(&key) else { return };
        // Of one that is gone nobody can tell how far it had come.
        let begin = self.begins.remove(&key).or((!position.gone).then_some(position.next_row));
        let begin = begin.filter(|_| position.gone || doubt.layout == position.layout);
        if begin.is_some_and(|begin| begin <= doubt.next_row) {
            return;
        }
        let rows = begin.and_then(|begin| u64::try_from(begin.saturating_sub(doubt.next_row)).ok());
        let gap = v1::Gap {
            pane: position.pane.clone(),
            layout: doubt.layout,
            first_row: rows.map(|_| doubt.next_row),
            rows,
            cause: GapCause::Damaged.as_str().to_owned(),
        };
        if let Some((_, lost)) = lost.get_mut(doubt.hole) {
            merge_gap(&mut lost.gaps, gap);
        }
    }

    pub(super) fn end_group(&mut self) {
        self.begins.clear();
    }
}
