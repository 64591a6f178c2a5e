//! Conversions, by the order of the domain modules: ids, panes, screens, records, events, actions.

use crate::{
    Action, ActionId, AgentKind, Color, Event, EventId, Frame, Gap, Generation, Hole, Host, Key, Lane, Line,
    Lines, MuxName, Outcome, Pane, PaneAddress, PaneRef, Record, RecordBody, Repaint, StateDetail, Style,
    Timestamp, Verb,
};

use super::v1;

/// A message that cannot be what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
}

fn bad(field: &'static str, problem: impl ToString) -> Invalid {
    Invalid::Field { field, problem: problem.to_string() }
}

fn need<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or(Invalid::Missing(field))
}

/// Microseconds since the epoch, as the wire has them.
pub fn to_us(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The wire's 0 for "none".
pub fn optional_us(time: Option<Timestamp>) -> i64 {
    time.map_or(0, to_us)
}

pub fn from_us(field: &'static str, us: i64) -> Result<Timestamp, Invalid> {
    Timestamp::from_microsecond(us).map_err(|error| bad(field, error))
}

fn from_optional_us(field: &'static str, us: i64) -> Result<Option<Timestamp>, Invalid> {
    if us == 0 { Ok(None) } else { from_us(field, us).map(Some) }
}

fn agent(text: String) -> Option<AgentKind> {
    if text.is_empty() { None } else { Some(AgentKind::new(text)) }
}

fn agent_text(agent: Option<AgentKind>) -> String {
    agent.map_or_else(String::new, |agent| agent.as_str().to_owned())
}

// ---- ids

impl From<PaneRef> for v1::PaneRef {
    fn from(pane: PaneRef) -> Self {
        Self { mux: pane.mux.into(), generation: pane.generation.into(), pane_id: pane.pane_id }
    }
}

impl TryFrom<v1::PaneRef> for PaneRef {
    type Error = Invalid;
    fn try_from(pane: v1::PaneRef) -> Result<Self, Invalid> {
        Ok(Self {
            mux: MuxName::new(pane.mux).map_err(|e| bad("pane.mux", e))?,
            generation: Generation::new(pane.generation).map_err(|e| bad("pane.generation", e))?,
            pane_id: pane.pane_id,
        })
    }
}

impl From<PaneAddress> for v1::PaneAddress {
    fn from(pane: PaneAddress) -> Self {
        Self { host: pane.host.into(), mux: pane.mux.into(), pane_id: pane.pane_id }
    }
}

impl TryFrom<v1::PaneAddress> for PaneAddress {
    type Error = Invalid;
    fn try_from(pane: v1::PaneAddress) -> Result<Self, Invalid> {
        Ok(Self {
            host: Host::new(pane.host).map_err(|e| bad("pane.host", e))?,
            mux: MuxName::new(pane.mux).map_err(|e| bad("pane.mux", e))?,
            pane_id: pane.pane_id,
        })
    }
}

impl From<Lane> for v1::Lane {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Events => Self::Events,
            Lane::Bulk => Self::Bulk,
        }
    }
}

impl TryFrom<v1::Lane> for Lane {
    type Error = Invalid;
    fn try_from(lane: v1::Lane) -> Result<Self, Invalid> {
        match lane {
            v1::Lane::Events => Ok(Self::Events),
            v1::Lane::Bulk => Ok(Self::Bulk),
            v1::Lane::Unspecified => Err(Invalid::Missing("lane")),
        }
    }
}

/// A lane as the integer that prost keeps in messages.
pub(crate) fn lane_of(value: i32) -> Result<Lane, Invalid> {
    v1::Lane::try_from(value).map_err(|_| bad("lane", value))?.try_into()
}

// ---- panes

impl From<StateDetail> for v1::StateDetail {
    fn from(detail: StateDetail) -> Self {
        Self {
            since_us: optional_us(detail.since),
            why: detail.why,
            kind: detail.kind,
            percent_left: detail.percent_left,
            window: detail.window,
            until_us: optional_us(detail.until),
            code: detail.code,
        }
    }
}

impl TryFrom<v1::StateDetail> for StateDetail {
    type Error = Invalid;
    fn try_from(detail: v1::StateDetail) -> Result<Self, Invalid> {
        Ok(Self {
            since: from_optional_us("detail.since_us", detail.since_us)?,
            why: detail.why,
            kind: detail.kind,
            percent_left: detail.percent_left.filter(|percent| percent.is_finite()),
            window: detail.window,
            until: from_optional_us("detail.until_us", detail.until_us)?,
            code: detail.code,
        })
    }
}

impl From<Pane> for v1::Pane {
    fn from(pane: Pane) -> Self {
        Self {
            r#ref: Some(pane.pane.into()),
            title: pane.title,
            cwd: pane.cwd,
            project: pane.project,
            agent: agent_text(pane.agent),
            agent_version: pane.agent_version,
            state: pane.state.as_str().to_owned(),
            detail: Some(pane.detail.into()),
            session_id: pane.session_id,
            cols: pane.cols,
            rows: pane.rows,
            tty: pane.tty,
            last_output_us: optional_us(pane.last_output),
            agent_pid: pane.agent_pid,
            mirror: pane.mirror,
        }
    }
}

impl TryFrom<v1::Pane> for Pane {
    type Error = Invalid;
    fn try_from(pane: v1::Pane) -> Result<Self, Invalid> {
        Ok(Self {
            pane: need("pane.ref", pane.r#ref)?.try_into()?,
            title: pane.title,
            cwd: pane.cwd,
            project: pane.project,
            agent: agent(pane.agent),
            agent_version: pane.agent_version,
            agent_pid: pane.agent_pid,
            state: pane.state.parse().map_err(|e| bad("pane.state", e))?,
            detail: pane.detail.unwrap_or_default().try_into()?,
            session_id: pane.session_id,
            cols: pane.cols,
            rows: pane.rows,
            tty: pane.tty,
            last_output: from_optional_us("pane.last_output_us", pane.last_output_us)?,
            mirror: pane.mirror,
        })
    }
}

// ---- screens

/// SGR escapes that select this style, from the default.
fn sgr(style: &Style) -> String {
    let mut codes: Vec<String> = Vec::new();
    let flags = [
        (style.bold, "1"),
        (style.dim, "2"),
        (style.italic, "3"),
        (style.underline, "4"),
        (style.reverse, "7"),
        (style.invisible, "8"),
        (style.strike, "9"),
    ];
    codes.extend(flags.iter().filter(|(on, _)| *on).map(|(_, code)| (*code).to_owned()));
    for (color, base) in [(style.fg, 38), (style.bg, 48)] {
        match color {
            Color::Default => {}
            Color::Palette(index) => codes.push(format!("{base};5;{index}")),
            Color::Rgb(r, g, b) => codes.push(format!("{base};2;{r};{g};{b}")),
        }
    }
    format!("\u{1b}[{}m", codes.join(";"))
}

/// The row with SGR escapes around its styled runs; text bytes are kept as they are.
fn ansi_row(row: &crate::FrameRow) -> String {
    let mut out = String::with_capacity(row.text.len() + row.runs.len() * 12);
    let mut at = 0;
    for run in &row.runs {
        let (start, end) = (run.start as usize, run.end as usize);
        let (Some(before), Some(styled)) = (row.text.get(at..start), row.text.get(start..end)) else { break };
        out.push_str(before);
        out.push_str(&sgr(&run.style));
        out.push_str(styled);
        out.push_str("\u{1b}[0m");
        at = end;
    }
    out.push_str(row.text.get(at..).unwrap_or_default());
    out
}

impl v1::Screen {
    /// A frame as the operator's side sees it. The caller has redacted it.
    pub fn from_frame(pane: PaneRef, title: String, frame: &Frame) -> Self {
        let rows = frame.rows.iter().map(|row| v1::ScreenRow {
            text: row.text.trim_end().to_owned(),
            wrapped: row.wrapped,
            ansi: ansi_row(row),
        });
        Self {
            r#ref: Some(pane.into()),
            cols: frame.cols,
            rows: rows.collect(),
            cursor_row: u32::try_from(frame.cursor.row).unwrap_or(0),
            cursor_col: frame.cursor.col,
            cursor_visible: frame.cursor.visible,
            title,
            first_row: frame.first_row,
        }
    }
}

// ---- records

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
            cause: gap.cause.parse().map_err(|e| bad("gap.cause", e))?,
        })
    }
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
            kind: event.event.parse().map_err(|e| bad("event.event", e))?,
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
                .map_err(|e| bad("event.witnesses", e))?,
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
                cause: hole.cause.parse().map_err(|e| bad("hole.cause", e))?,
                gaps: hole.gaps.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            }),
            Body::Repaint(repaint) => RecordBody::Repaint(Repaint {
                pane: need("repaint.pane", repaint.pane)?.try_into()?,
                layout: repaint.layout,
                first_row: repaint.first_row,
                rows: repaint.rows,
            }),
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

// ---- actions

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            action_id: outcome.action.as_bytes().to_vec(),
            outcome: outcome.kind.as_str().to_owned(),
            reason: outcome.reason,
            pane: outcome.pane.map(Into::into),
            trace_parent: outcome.trace_parent,
            spawned: outcome.spawned.map(Into::into),
        }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = Invalid;
    fn try_from(outcome: v1::Outcome) -> Result<Self, Invalid> {
        Ok(Self {
            action: action_id(&outcome.action_id)?,
            kind: outcome.outcome.parse().map_err(|e| bad("outcome.outcome", e))?,
            reason: outcome.reason,
            pane: outcome.pane.map(TryInto::try_into).transpose()?,
            trace_parent: outcome.trace_parent,
            spawned: outcome.spawned.map(TryInto::try_into).transpose()?,
        })
    }
}

fn action_id(bytes: &[u8]) -> Result<ActionId, Invalid> {
    ActionId::from_slice(bytes).ok_or_else(|| bad("action_id", "not 16 bytes"))
}

/// Keys as words, each checked.
fn keys(words: &[String]) -> Result<Vec<Key>, Invalid> {
    const MAX: usize = 256;
    if words.is_empty() || words.len() > MAX {
        return Err(bad("keys", format!("{} keys; 1 to {MAX} go at once", words.len())));
    }
    words.iter().map(|word| word.parse().map_err(|e| bad("keys", e))).collect()
}

fn send(text: v1::SendText) -> Result<Verb, Invalid> {
    let control = text.text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    match control {
        Some(c) => Err(bad(
            "text",
            format!("holds the control character U+{:04X}; only newline and tab go", c as u32),
        )),
        None if text.text.is_empty() => Err(bad("text", "empty")),
        None => Ok(Verb::Send { text: text.text, enter: text.enter }),
    }
}

impl TryFrom<v1::action::Verb> for Verb {
    type Error = Invalid;
    fn try_from(verb: v1::action::Verb) -> Result<Self, Invalid> {
        use v1::action::Verb as Wire;
        match verb {
            Wire::Send(text) => send(text),
            Wire::Keys(press) => Ok(Self::Keys(keys(&press.keys)?)),
            Wire::Spawn(spawn) => Ok(Self::Spawn { command: spawn.command, cwd: spawn.cwd }),
            Wire::Kill(_) => Ok(Self::Kill),
        }
    }
}

impl TryFrom<v1::act_request::Verb> for Verb {
    type Error = Invalid;
    fn try_from(verb: v1::act_request::Verb) -> Result<Self, Invalid> {
        use v1::act_request::Verb as Wire;
        match verb {
            Wire::Send(text) => send(text),
            Wire::Keys(press) => Ok(Self::Keys(keys(&press.keys)?)),
            Wire::Spawn(spawn) => Ok(Self::Spawn { command: spawn.command, cwd: spawn.cwd }),
            Wire::Kill(_) => Ok(Self::Kill),
        }
    }
}

impl From<Verb> for v1::action::Verb {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Send { text, enter } => Self::Send(v1::SendText { text, enter }),
            Verb::Keys(keys) => {
                Self::Keys(v1::PressKeys { keys: keys.iter().map(ToString::to_string).collect() })
            }
            Verb::Spawn { command, cwd } => Self::Spawn(v1::SpawnPane { command, cwd }),
            Verb::Kill => Self::Kill(v1::KillPane {}),
        }
    }
}

impl From<Action> for v1::Action {
    fn from(action: Action) -> Self {
        Self {
            action_id: action.id.as_bytes().to_vec(),
            pane: Some(action.pane.into()),
            deadline_us: to_us(action.deadline),
            fence: action.fence,
            who: action.who,
            expect_agent: agent_text(action.expect_agent),
            expect_agent_pid: action.expect_agent_pid.unwrap_or(0),
            trace_parent: action.trace_parent,
            verb: Some(action.verb.into()),
        }
    }
}

impl TryFrom<v1::Action> for Action {
    type Error = Invalid;
    fn try_from(action: v1::Action) -> Result<Self, Invalid> {
        Ok(Self {
            id: action_id(&action.action_id)?,
            pane: need("action.pane", action.pane)?.try_into()?,
            deadline: from_us("action.deadline_us", action.deadline_us)?,
            fence: action.fence,
            who: action.who,
            expect_agent: agent(action.expect_agent),
            expect_agent_pid: Some(action.expect_agent_pid).filter(|pid| *pid != 0),
            trace_parent: action.trace_parent,
            verb: need("action.verb", action.verb)?.try_into()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameRow, GapCause, StyleRun};

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
        let error = Action::try_from(v1::Action::default()).unwrap_err();
        assert!(error.to_string().contains("action_id"), "{error}");
    }

    #[test]
    fn control_characters_are_refused_at_the_door() {
        let verb = |text: &str| send(v1::SendText { text: text.into(), enter: true });
        assert!(verb("a\nb\tc").is_ok());
        for text in ["a\u{1b}[201~b", "a\r", "\u{0}", "", "\u{9b}"] {
            assert!(verb(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ansi_rows_keep_their_text() {
        let style = Style { bold: true, fg: Color::Palette(9), ..Style::default() };
        let row = FrameRow {
            text: "ab é".into(),
            wrapped: false,
            runs: vec![StyleRun { start: 3, end: 5, style }],
        };
        assert_eq!(ansi_row(&row), "ab \u{1b}[1;38;5;9mé\u{1b}[0m");
    }
}
