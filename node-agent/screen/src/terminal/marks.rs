//! Prompt marks (OSC 133): from where on text is a prompt, input or output.
//!
//! A mark stands at a place of the primary screen and holds until the next one in reading order.
//! A new mark takes away those at and behind its place, since their text has been overwritten.

use wa_mux::codec::Zone;

use super::cells::Row;

/// The most marks kept; the oldest go first.
const LIMIT: usize = 512;

#[derive(Debug, Clone, Copy)]
struct Mark {
    row: i64,
    col: u16,
    zone: Zone,
}

/// In reading order.
#[derive(Debug, Default)]
pub(super) struct Marks(std::collections::VecDeque<Mark>);

impl Marks {
    pub(super) fn put(&mut self, row: i64, col: u16, zone: Zone) {
        while self.0.back().is_some_and(|m| (m.row, m.col) >= (row, col)) {
            self.0.pop_back();
        }
        if self.0.len() == LIMIT {
            self.0.pop_front();
        }
        self.0.push_back(Mark { row, col, zone });
    }

    /// After a re-wrap no place means anything any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Writes into the row's cells what the marks say about it.
    pub(super) fn apply(&self, row: &mut Row) {
        let first = self.0.partition_point(|m| (m.row, m.col) <= (row.index, 0));
        if let Some(before) = first.checked_sub(1).and_then(|at| self.0.get(at)) {
            row.zone_from(0, before.zone);
        }
        let index = row.index;
        for mark in self.0.range(first..).take_while(|m| m.row == index) {
            row.zone_from(usize::from(mark.col), mark.zone);
        }
    }
}
