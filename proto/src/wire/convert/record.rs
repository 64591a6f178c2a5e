//! Records: lines, gaps, events and what stands among them.

use crate::{Event, EventId, Gap, GapCause, Hole, Line, Lines, Record, RecordBody, Repaint};

use super::{
    Invalid, agent, agent_text, bad, from_optional_us, from_us, lane_of, need, optional_us, to_us, word,
};
use crate::wire::v1;

impl From<Line> for v1::Line {
    fn from(line: Line) -> Self {
        Self {
            row: line.row,
            rev: line.rev,
            text: line.text,
            rows: line.rows,
            time_us: optional_us(line.time),
        }
    }
}

impl TryFrom<v1::Line> for Line {
    type Error = Invalid;
    fn try_from(line: v1::Line) -> Result<Self, Invalid> {
        Ok(Self {
            row: line.row,
            rev: line.rev,
            text: line.text,
            rows: line.rows,
            time: from_optional_us("line.time_us", line.time_us)?,
        })
    }
}

impl From<Gap> for v1::Gap {
    fn from(gap: Gap) -> Self {
        Self {
            pane: Some(gap.pane.into()),
            layout: gap.layout,
            first_row: gap.first_row,
            rows: gap.rows,
            cause: gap.cause.as_str().to_owned(),
        }
    }
}

impl TryFrom<v1::Gap> for Gap {
    type Error = Invalid;
    fn try_from(gap: v1::Gap) -> Result<Self, Invalid> {
        Ok(Self {
            pane: need("gap.pane", gap.pane)?.try_into()?,
            layout: gap.layout,
            first_row: gap.first_row,
            rows: gap.rows,
            cause: cause_of(&gap.cause),
        })
    }
}

/// What a gap counts matters more than a reason that this version has no word for.
fn cause_of(text: &str) -> GapCause {
    text.parse().unwrap_or(GapCause::Unknown)
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.as_bytes().to_vec(),
            pane: event.pane.map(Into::into),
            event: event.kind.as_str().to_owned(),
            agent: agent_text(event.agent),
            agent_version: event.agent_version,
            agent_pid: event.agent_pid,
            rule: event.rule,
            fields: event.fields.into_iter().collect(),
            witnesses: event.witnesses.into_iter().map(|witness| witness.as_str().to_owned()).collect(),
            line: event.line,
            row: event.row,
            layout: event.layout,
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = Invalid;
    fn try_from(event: v1::Event) -> Result<Self, Invalid> {
        Ok(Self {
            id: EventId::from_slice(&event.id).ok_or_else(|| bad("event.id", "not 16 bytes"))?,
            pane: event.pane.map(TryInto::try_into).transpose()?,
            kind: event.event.parse().map_err(|e| word("event.event", e))?,
            agent: agent(event.agent),
            agent_version: event.agent_version,
            agent_pid: event.agent_pid,
            rule: event.rule,
            fields: event.fields.into_iter().collect(),
            witnesses: event
                .witnesses
                .iter()
                .map(|witness| witness.parse())
                .collect::<Result<_, _>>()
                .map_err(|e| word("event.witnesses", e))?,
            line: event.line,
            row: event.row,
            layout: event.layout,
        })
    }
}

impl From<Record> for v1::Record {
    fn from(record: Record) -> Self {
        use v1::record::Body;
        let body = match record.body {
            RecordBody::Lines(lines) => Body::Lines(v1::Lines {
                pane: Some(lines.pane.into()),
                layout: lines.layout,
                agent: agent_text(lines.agent),
                lines: lines.lines.into_iter().map(Into::into).collect(),
            }),
            RecordBody::Gap(gap) => Body::Gap(gap.into()),
            RecordBody::Event(event) => Body::Event(event.into()),
            RecordBody::Outcome(outcome) => Body::Outcome(outcome.into()),
            RecordBody::Hole(hole) => Body::Hole(v1::Hole {
                first_seq: hole.first_seq,
                last_seq: hole.last_seq,
                cause: hole.cause.as_str().to_owned(),
                gaps: hole.gaps.into_iter().map(Into::into).collect(),
            }),
            RecordBody::Repaint(repaint) => Body::Repaint(v1::Repaint {
                pane: Some(repaint.pane.into()),
                layout: repaint.layout,
                first_row: repaint.first_row,
                rows: repaint.rows,
            }),
            RecordBody::Conversation(conversation) => Body::Conversation(conversation.into()),
        };
        Self {
            lane: v1::Lane::from(record.lane).into(),
            seq: record.seq,
            time_us: to_us(record.time),
            trace_parent: record.trace_parent,
            body: Some(body),
        }
    }
}

impl TryFrom<v1::Record> for Record {
    type Error = Invalid;
    fn try_from(record: v1::Record) -> Result<Self, Invalid> {
        use v1::record::Body;
        let body = match need("record.body", record.body)? {
            Body::Lines(lines) => RecordBody::Lines(Lines {
                pane: need("lines.pane", lines.pane)?.try_into()?,
                layout: lines.layout,
                agent: agent(lines.agent),
                lines: lines.lines.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            }),
            Body::Gap(gap) => RecordBody::Gap(gap.try_into()?),
            Body::Event(event) => RecordBody::Event(event.try_into()?),
            Body::Outcome(outcome) => RecordBody::Outcome(outcome.try_into()?),
            Body::Hole(hole) => RecordBody::Hole(Hole {
                first_seq: hole.first_seq,
                last_seq: hole.last_seq,
                cause: cause_of(&hole.cause),
                gaps: hole.gaps.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            }),
            Body::Repaint(repaint) => RecordBody::Repaint(Repaint {
                pane: need("repaint.pane", repaint.pane)?.try_into()?,
                layout: repaint.layout,
                first_row: repaint.first_row,
                rows: repaint.rows,
            }),
            Body::Conversation(conversation) => RecordBody::Conversation(conversation.try_into()?),
        };
        let lane = lane_of(record.lane)?;
        if record.seq == 0 {
            return Err(bad("record.seq", "0; the first is 1"));
        }
        Ok(Self {
            lane,
            seq: record.seq,
            time: from_us("record.time_us", record.time_us)?,
            trace_parent: record.trace_parent,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generation, MuxName, PaneRef, Timestamp};

    fn pane() -> PaneRef {
        PaneRef { mux: MuxName::main(), generation: Generation::new("b00t-1-2").unwrap(), pane_id: 3 }
    }

    #[test]
    fn records_come_back_whole() {
        let time = Timestamp::from_microsecond(1_795_000_000_000_001).unwrap();
        let line = Line { row: -1, rev: 2, text: "x".into(), rows: 1, time: None };
        let bodies = [
            RecordBody::Lines(Lines { pane: pane(), layout: 1, agent: None, lines: vec![line] }),
            RecordBody::Gap(Gap {
                pane: pane(),
                layout: 1,
                first_row: None,
                rows: None,
                cause: GapCause::MuxLost,
            }),
            RecordBody::Hole(Hole { first_seq: 1, last_seq: 9, cause: GapCause::SpoolFull, gaps: vec![] }),
        ];
        for body in bodies {
            let record = Record { lane: body.lane(), seq: 7, time, trace_parent: String::new(), body };
            assert_eq!(Record::try_from(v1::Record::from(record.clone())), Ok(record));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Record::try_from(v1::Record { seq: 1, lane: 1, ..Default::default() }).unwrap_err();
        assert_eq!(error.to_string(), "record.body is missing");
    }

    #[test]
    fn a_gap_counts_whatever_its_cause() {
        let gap = Gap { pane: pane(), layout: 1, first_row: Some(3), rows: Some(7), cause: GapCause::Flood };
        let newer = v1::Gap { cause: "solar_flare".into(), ..gap.clone().into() };
        assert_eq!(Gap::try_from(newer), Ok(Gap { cause: GapCause::Unknown, ..gap }));
    }
}
