//! Conversions. Here: what all messages share, ids, panes and screens; the rest by what it speaks of.

mod action;
mod record;
mod session;

use crate::{
    AgentKind, Color, Frame, Generation, Host, Lane, MuxName, Pane, PaneAddress, PaneRef, StateDetail, Style,
    Timestamp,
};

use super::v1;

/// A message that cannot be what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field}: {problem}")]
    Field { field: &'static str, problem: String },
    /// A word that a later version may know.
    #[error("{field}: {problem}")]
    Word { field: &'static str, problem: String },
}

fn bad(field: &'static str, problem: impl ToString) -> Invalid {
    Invalid::Field { field, problem: problem.to_string() }
}

/// What a word that is not known makes of a message.
fn word(field: &'static str, problem: impl ToString) -> Invalid {
    Invalid::Word { field, problem: problem.to_string() }
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
            session: pane.session.map(Into::into),
            not_logged: pane.not_logged,
            account: pane.account.map(String::from).unwrap_or_default(),
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
            session: pane.session.map(TryInto::try_into).transpose()?,
            not_logged: pane.not_logged,
            account: Some(pane.account)
                .filter(|alias| !alias.is_empty())
                .map(crate::AccountAlias::new)
                .transpose()
                .map_err(|e| bad("pane.account", e))?,
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
            dialog_row: 0,
            dialog_rows: 0,
        }
    }

    /// The same, with a dialog in these of its rows.
    pub fn with_dialog(mut self, rows: std::ops::Range<usize>) -> Self {
        let bounded = |number: usize| u32::try_from(number).unwrap_or(0);
        (self.dialog_row, self.dialog_rows) = (bounded(rows.start), bounded(rows.len()));
        self
    }

    /// The rows of the dialog that stands there, if one does.
    pub fn dialog(&self) -> Option<&[v1::ScreenRow]> {
        let (first, count) = (self.dialog_row as usize, self.dialog_rows as usize);
        self.rows.get(first..first.checked_add(count)?).filter(|rows| !rows.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameRow, StyleRun};

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
