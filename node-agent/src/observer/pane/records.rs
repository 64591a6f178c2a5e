//! What leaves a pane: lines within its budget, gaps at their place, the position after them.

use std::time::Duration;

use tokio::time::Instant;
use wa_match::Settled;
use wa_proto::record::Line;
use wa_proto::wire::v1;
use wa_proto::{Event, EventKind, Gap, Witness};

use super::Watched;
use super::logging::Logging;
use crate::spool::Group;

/// A position without records is stored this long after the matcher's memory changed.
const POSITION_DELAY: Duration = Duration::from_secs(2);
/// Rows that are left out are told as a gap after this time at the latest.
const SHED_DELAY: Duration = Duration::from_secs(1);
/// Text that waits for the decision whether the pane is logged, in bytes.
const UNDECIDED_BYTES: usize = 1 << 20;

impl Watched {
    pub(super) fn put_line(&mut self, layout: u64, line: Line) {
        if std::mem::take(&mut self.resumed) {
            self.read_above(line.row);
        }
        self.show_line(layout, &line);
        let text = self.batch.redact(&self.redactor, line.text);
        let line = Line { text, ..line };
        let room = self.logging == Logging::On || self.batch.bytes() < UNDECIDED_BYTES;
        let dry = self.shed.is_dry();
        let keeps = self.shed.keeps(layout, &line, room, Instant::now());
        self.altered |= dry != self.shed.is_dry();
        if keeps {
            self.close_shed();
            self.gapped = None;
            let agent = self.seen.as_ref().and_then(|seen| seen.agent.as_ref());
            self.batch.line(&self.pane, layout, agent, line, wa_link::clock::now());
        } else if self.shed.is_open() {
            self.batch.leave_by(Instant::now() + SHED_DELAY);
        }
    }

    /// Shows a line to the matcher, for which no frame may have come in time. A revision stands on the screen.
    fn show_line(&mut self, layout: u64, line: &Line) {
        if line.rev > 0 || line.rows == 0 || self.slow.is_some() {
            return;
        }
        let settled = Settled { layout, row: line.row, rows: line.rows, text: &line.text };
        if self.matcher.settled(&self.engine, settled, &self.facts.foreground) {
            self.look_soon();
        }
    }

    /// After a restart: a secret that began in the lines above, which are logged already, goes on in this row.
    fn read_above(&mut self, row: i64) {
        let frame = self.screen.frame();
        // On the alternate screen row numbers mean nothing, and nothing of it is taken for known.
        let rows = if frame.alternate { 0 } else { row.saturating_sub(frame.first_row) };
        let mut line = String::new();
        for row in frame.rows.iter().take(usize::try_from(rows).unwrap_or(0)) {
            line.push_str(&row.text);
            if !row.wrapped {
                self.batch.redact(&self.redactor, std::mem::take(&mut line));
            }
        }
    }

    pub(super) fn put_gap(&mut self, gap: Gap) {
        self.matcher.lines_lost();
        self.close_shed();
        // One gap without a count says as much as two.
        let same = (gap.layout, gap.cause);
        let before = std::mem::replace(&mut self.gapped, gap.rows.is_none().then_some(same));
        if self.gapped.is_some() && before == self.gapped {
            return;
        }
        self.losses.note(&gap, Instant::now());
        self.batch.gap(gap, wa_link::clock::now());
    }

    /// Tells of the rows that were left out, at their place.
    pub(super) fn close_shed(&mut self) {
        if let Some(gap) = self.shed.close(&self.pane) {
            self.losses.note(&gap, Instant::now());
            self.batch.gap(gap, wa_link::clock::now());
        }
    }

    /// Tells people of gaps, if it is time.
    pub(super) fn tell_losses(&mut self, last: bool) {
        let Some(fields) = self.losses.tell(Instant::now(), last) else { return };
        let event = Event {
            pane: Some(self.pane.clone()),
            agent: self.agent().cloned(),
            witnesses: vec![Witness::Screen],
            layout: self.screen.layout(),
            ..Event::new(EventKind::CaptureGap, fields)
        };
        self.batch.event(event, wa_link::trace::current_parent(), wa_link::clock::now());
    }

    /// The batch, if it is due.
    pub(in crate::observer) fn due_group(&mut self) -> Option<Group> {
        let now = Instant::now();
        let due = self.batch.due().is_some_and(|due| due <= now);
        let store = self.store_at.is_some_and(|at| at <= now);
        if due || store { self.flush() } else { None }
    }

    /// The batch and the position after it, if there is anything new in them that may leave.
    pub(in crate::observer) fn flush(&mut self) -> Option<Group> {
        if self.logging == Logging::Undecided {
            return None;
        }
        self.close_shed();
        let stored = self.store_at.take().is_none();
        let memory = (self.matcher.save(), self.conversation.position().to_vec());
        if self.batch.is_empty() && (stored || memory == self.stored) {
            return None;
        }
        let position = self.position(&memory);
        self.stored = memory;
        Some(self.batch.take(position))
    }

    /// Stores the position, with the next records or after a while.
    pub(super) fn store_soon(&mut self) {
        self.store_at.get_or_insert_with(|| Instant::now() + POSITION_DELAY);
    }

    fn position(&self, (matcher, session): &(Vec<u8>, Vec<u8>)) -> v1::PanePosition {
        let position = self.screen.position();
        v1::PanePosition {
            pane: Some(self.pane.clone().into()),
            layout: position.layout,
            next_row: position.next_row,
            line_hashes: position.line_hashes,
            frame_hash: position.frame_hash,
            matcher: matcher.clone(),
            transcript: position.opaque,
            gone: false,
            session: session.clone(),
        }
    }
}
