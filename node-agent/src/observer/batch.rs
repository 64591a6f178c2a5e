//! From what a pane hands out to records: redacted, in order, not too many and not too large.
//!
//! Lines wait a moment for company and leave together; whatever must stand between lines (a gap, a repaint) and every
//! event sends them on their way first. A batch and the position after it are one group of the spool.

use std::time::Duration;

use tokio::time::Instant;
use wa_match::{Redactor, RedactorState};
use wa_proto::record::{Line, Lines};
use wa_proto::wire::v1;
use wa_proto::{
    AgentKind, EventId, EventKind, Gap, GapCause, Generation, Lane, MuxName, PaneRef, Repaint, Timestamp,
};

use crate::spool::{Group, NewRecord};

/// How long lines wait for company.
const COMPANY: Duration = Duration::from_millis(50);
/// Text in one record, in bytes: a block holds a whole record.
const RECORD_BYTES: usize = 32 << 10;
/// A longer line is cut, in bytes.
const LINE_BYTES: usize = 128 << 10;

/// Records of one pane that have not been handed to the spool.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<NewRecord>,
    open: Option<Open>,
    redactor: RedactorState,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    lines: Lines,
    bytes: usize,
    time: Timestamp,
}

/// Redacts a single text: a title, a path, a field.
pub(super) fn redact(text: &str) -> String {
    Redactor::builtin().redact(text).into_owned()
}

fn record(body: v1::record::Body, lane: Lane, time: Timestamp) -> NewRecord {
    NewRecord { lane, time, trace_parent: String::new(), body }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.open.is_none()
    }

    /// When the batch should leave.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn line(
        &mut self,
        pane: &PaneRef,
        layout: u64,
        agent: Option<&AgentKind>,
        line: Line,
        now: Timestamp,
    ) {
        self.due.get_or_insert_with(|| Instant::now() + COMPANY);
        let text = self.text(line.text);
        let fits = self.open.as_ref().is_some_and(|open| {
            open.lines.layout == layout
                && open.lines.agent.as_ref() == agent
                && open.bytes + text.len() <= RECORD_BYTES
        });
        if !fits {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| Open {
            lines: Lines { pane: pane.clone(), layout, agent: agent.cloned(), lines: Vec::new() },
            bytes: 0,
            time: now,
        });
        // A time of its own only where it differs enough to matter.
        let apart = now.duration_since(open.time).as_millis() >= 10;
        let time = line.time.or(apart.then_some(now));
        open.bytes += text.len() + 16;
        open.lines.lines.push(Line { text, time, ..line });
    }

    fn text(&mut self, mut text: String) -> String {
        if text.len() > LINE_BYTES {
            let end = text.floor_char_boundary(LINE_BYTES);
            text = format!("{}[cut: {} bytes]", &text[..end], text.len() - end);
        }
        let redacted = Redactor::builtin().redact_line(&mut self.redactor, &text);
        match redacted {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(redacted) => redacted,
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let body = lines_body(open.lines);
            self.records.push(record(body, Lane::Bulk, open.time));
        }
    }

    pub(super) fn gap(&mut self, gap: Gap, now: Timestamp) {
        self.due.get_or_insert_with(|| Instant::now() + COMPANY);
        self.close();
        self.records.push(record(v1::record::Body::Gap(gap.into()), Lane::Bulk, now));
    }

    pub(super) fn repaint(&mut self, repaint: &Repaint, now: Timestamp) {
        self.due.get_or_insert_with(|| Instant::now() + COMPANY);
        self.close();
        let body = v1::record::Body::Repaint(v1::Repaint {
            pane: Some(repaint.pane.clone().into()),
            layout: repaint.layout,
            first_row: repaint.first_row,
            rows: repaint.rows,
        });
        self.records.push(record(body, Lane::Bulk, now));
    }

    /// An event, already redacted: it leaves at once, and the lines before it with it.
    pub(super) fn event(&mut self, event: wa_proto::Event, trace_parent: String, now: Timestamp) {
        self.due = Some(Instant::now());
        self.close();
        let body = v1::record::Body::Event(event.into());
        self.records.push(NewRecord { lane: Lane::Events, time: now, trace_parent, body });
    }

    /// Everything so far, as one group with the position after it.
    pub(super) fn take(&mut self, position: v1::PanePosition) -> Group {
        self.close();
        self.due = None;
        Group { records: std::mem::take(&mut self.records), positions: vec![position] }
    }
}

fn lines_body(lines: Lines) -> v1::record::Body {
    v1::record::Body::Lines(v1::Lines {
        pane: Some(lines.pane.into()),
        layout: lines.layout,
        agent: lines.agent.map_or_else(String::new, |agent| agent.as_str().to_owned()),
        lines: lines.lines.into_iter().map(Into::into).collect(),
    })
}

/// A pane that went away while nobody looked: what it printed last is lost.
pub(super) fn lost(position: v1::PanePosition, cause: GapCause) -> Group {
    let now = wa_link::clock::now();
    let gap = v1::Gap {
        pane: position.pane.clone(),
        layout: position.layout,
        first_row: Some(position.next_row),
        rows: None,
        cause: cause.as_str().to_owned(),
    };
    let gone = v1::PanePosition { pane: position.pane, gone: true, ..v1::PanePosition::default() };
    Group { records: vec![record(v1::record::Body::Gap(gap), Lane::Bulk, now)], positions: vec![gone] }
}

/// An event of a mux server.
pub(super) fn mux_event(
    kind: EventKind,
    mux: &MuxName,
    generation: Option<&Generation>,
    fields: &[(&str, String)],
) -> Group {
    let mut all: std::collections::BTreeMap<String, String> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), redact(value))).collect();
    all.insert("mux".to_owned(), mux.to_string());
    if let Some(generation) = generation {
        all.insert("generation".to_owned(), generation.to_string());
    }
    let event = wa_proto::Event {
        id: EventId::generate(),
        pane: None,
        kind,
        agent: None,
        agent_version: String::new(),
        agent_pid: 0,
        rule: String::new(),
        fields: all,
        witnesses: Vec::new(),
        line: String::new(),
        row: 0,
        layout: 0,
    };
    let now = wa_link::clock::now();
    Group {
        records: vec![record(v1::record::Body::Event(event.into()), Lane::Events, now)],
        positions: Vec::new(),
    }
}

/// The stored time of a position is of no use: only its place counts.
pub(super) fn position_of(position: &v1::PanePosition) -> wa_screen::Position {
    wa_screen::Position {
        layout: position.layout,
        next_row: position.next_row,
        line_hashes: position.line_hashes.clone(),
        frame_hash: position.frame_hash,
        opaque: position.transcript.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane() -> PaneRef {
        PaneRef { mux: MuxName::main(), generation: Generation::new("g-1-1").unwrap(), pane_id: 1 }
    }

    fn line(row: i64, text: &str) -> Line {
        Line { row, rev: 0, text: text.into(), rows: 1, time: None }
    }

    fn now() -> Timestamp {
        Timestamp::from_microsecond(1_795_000_000_000_000).unwrap()
    }

    #[test]
    fn lines_travel_together_and_gaps_stand_between() {
        let mut batch = Batch::default();
        for row in 0..3 {
            batch.line(&pane(), 1, None, line(row, "text"), now());
        }
        let gap = Gap { pane: pane(), layout: 1, first_row: Some(3), rows: Some(2), cause: GapCause::Flood };
        batch.gap(gap, now());
        batch.line(&pane(), 1, None, line(5, "text"), now());
        batch.line(&pane(), 2, None, line(6, "text"), now());
        let group = batch.take(v1::PanePosition::default());
        let counts: Vec<usize> = group
            .records
            .iter()
            .map(|record| match &record.body {
                v1::record::Body::Lines(lines) => lines.lines.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(counts, [3, 0, 1, 1]);
        assert!(batch.is_empty() && batch.due().is_none());
    }

    #[test]
    fn records_stay_small_and_giant_lines_are_cut() {
        let mut batch = Batch::default();
        for row in 0..100 {
            batch.line(&pane(), 1, None, line(row, &"x".repeat(1000)), now());
        }
        batch.line(&pane(), 1, None, line(100, &"ü".repeat(200_000)), now());
        let group = batch.take(v1::PanePosition::default());
        assert!(group.records.len() >= 4);
        for record in &group.records {
            let v1::record::Body::Lines(lines) = &record.body else { panic!() };
            let bytes: usize = lines.lines.iter().map(|line| line.text.len()).sum();
            assert!(bytes <= RECORD_BYTES || lines.lines.len() == 1);
            assert!(bytes <= LINE_BYTES + 40);
        }
    }
}
