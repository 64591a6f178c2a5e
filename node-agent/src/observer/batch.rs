//! From what a pane hands out to records: redacted, in order, not too many and not too large.
//!
//! Lines wait a moment for company and leave together; whatever must stand between lines (a gap, a repaint) and every
//! event sends them on their way first. A batch and the position after it are one group of the spool.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wa_match::{Redactor, RedactorState};
use wa_proto::record::{Line, Lines};
use wa_proto::wire::v1;
use wa_proto::{
    AgentKind, Conversation, Event, EventKind, Gap, GapCause, Generation, Lane, MuxName, PaneRef, Repaint,
    Timestamp,
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
    redacted: RedactorState,
    due: Option<Instant>,
    /// Text in it, in bytes.
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    lines: Lines,
    bytes: usize,
    time: Timestamp,
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

    /// Text that waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// It should leave by then at the latest.
    pub(super) fn leave_by(&mut self, by: Instant) {
        self.due = Some(self.due.map_or(by, |due| due.min(by)));
    }

    /// Nothing of it will leave.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Adds a line whose text [`Self::redact`] has seen.
    pub(super) fn line(
        &mut self,
        pane: &PaneRef,
        layout: u64,
        agent: Option<&AgentKind>,
        line: Line,
        now: Timestamp,
    ) {
        self.leave_by(Instant::now() + COMPANY);
        let text = line.text;
        self.bytes += text.len();
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

    /// The text of a line without secrets, and not too long. Every line comes by here, also one that is left out: a secret
    /// may go on in the next.
    pub(super) fn redact(&mut self, redactor: &Redactor, mut text: String) -> String {
        if let Cow::Owned(redacted) = redactor.redact_line(&mut self.redacted, &text) {
            text = redacted;
        }
        if text.len() > LINE_BYTES {
            // After the redactor: half a secret is none that it knows.
            let end = text.floor_char_boundary(LINE_BYTES);
            text = format!("{}[cut: {} bytes]", &text[..end], text.len() - end);
        }
        text
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let body = lines_body(open.lines);
            self.records.push(record(body, Lane::Bulk, open.time));
        }
    }

    pub(super) fn gap(&mut self, gap: Gap, now: Timestamp) {
        self.leave_by(Instant::now() + COMPANY);
        self.close();
        self.records.push(record(v1::record::Body::Gap(gap.into()), Lane::Bulk, now));
    }

    pub(super) fn repaint(&mut self, repaint: &Repaint, now: Timestamp) {
        self.leave_by(Instant::now() + COMPANY);
        self.close();
        let body = v1::record::Body::Repaint(v1::Repaint {
            pane: Some(repaint.pane.clone().into()),
            layout: repaint.layout,
            first_row: repaint.first_row,
            rows: repaint.rows,
        });
        self.records.push(record(body, Lane::Bulk, now));
    }

    /// Messages, already redacted.
    pub(super) fn conversation(&mut self, conversation: Conversation, now: Timestamp) {
        self.leave_by(Instant::now() + COMPANY);
        self.close();
        self.bytes += conversation.messages.iter().map(|message| message.text.len()).sum::<usize>();
        self.records.push(record(v1::record::Body::Conversation(conversation.into()), Lane::Bulk, now));
    }

    /// An event, already redacted: it leaves at once, and the lines before it with it.
    pub(super) fn event(&mut self, event: Event, trace_parent: String, now: Timestamp) {
        self.leave_by(Instant::now());
        self.close();
        let body = v1::record::Body::Event(event.into());
        self.records.push(NewRecord { lane: Lane::Events, time: now, trace_parent, body });
    }

    /// Everything so far, as one group with the position after it.
    pub(super) fn take(&mut self, position: v1::PanePosition) -> Group {
        self.close();
        (self.due, self.bytes) = (None, 0);
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
    let mut records = vec![record(v1::record::Body::Gap(gap), Lane::Bulk, now)];
    // An ordinary end is no alarm.
    let told = position.pane.clone().filter(|_| cause != GapCause::Exit);
    if let Some(Ok(pane)) = told.map(PaneRef::try_from) {
        let words = [("cause", cause.as_str()), ("gaps", "1"), ("uncounted", "1")];
        let event =
            Event { pane: Some(pane), layout: position.layout, ..Event::new(EventKind::CaptureGap, words) };
        records.push(record(v1::record::Body::Event(event.into()), Lane::Events, now));
    }
    let gone = v1::PanePosition { pane: position.pane, gone: true, ..v1::PanePosition::default() };
    Group { records, positions: vec![gone] }
}

/// An event of a mux server.
pub(super) fn mux_event(
    redactor: &Redactor,
    kind: EventKind,
    mux: &MuxName,
    generation: Option<&Generation>,
    fields: &[(&str, String)],
) -> Group {
    let clean = |text: &str| redactor.redact(text).into_owned();
    let mut all: BTreeMap<String, String> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), clean(value))).collect();
    all.insert("mux".to_owned(), mux.to_string());
    if let Some(generation) = generation {
        all.insert("generation".to_owned(), generation.to_string());
    }
    let body = v1::record::Body::Event(Event::new(kind, all).into());
    Group { records: vec![record(body, Lane::Events, wa_link::clock::now())], positions: Vec::new() }
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
        let long = batch.redact(Redactor::builtin(), "ü".repeat(200_000));
        batch.line(&pane(), 1, None, line(100, &long), now());
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
