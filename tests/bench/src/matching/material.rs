//! What is matched: frames and transcripts of the recorded sessions. Nothing here is made up but the full frames.
//!
//! - *Frames.* A session is played through the terminal model, and after each drawing the screen is taken if it changed:
//!   what a node sees. Sessions of thousands of drawings give every n-th. For 200x50 the sessions that were recorded so, and
//!   those of 120x40 played in a larger terminal: agents break their own lines, so these rows end early.
//! - *Full frames.* The densest screen that there can be: the session's transcript, cut at the edge with no row left blank, above
//!   the rows of its last screen from the live area on.
//! - *Transcript.* What scrolled by on the primary screen, as it last read, and of alternate screens what stood above the
//!   live area when the session stood still, each row once; then the lines in pages.

use std::collections::{BTreeMap, HashSet};

use wa_match::{Facts, Foreground, composer};
use wa_proto::{AgentKind, Frame, FrameRow};
use wa_screen::terminal::{Size, Terminal};

use crate::capture::sessions::{Play, Session};

/// Frames of one session at most.
const MOST_FRAMES: usize = 400;
const SCROLLBACK: usize = 3500;

/// One screen, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) frame: Frame,
    pub(crate) agent: Option<AgentKind>,
}

impl Step {
    pub(crate) fn facts(&self) -> Facts {
        facts(self.agent.as_ref())
    }
}

/// One session as it went by.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) size: Size,
    pub(crate) steps: Vec<Step>,
    /// The agent's transcript, row by row.
    pub(crate) transcript: Vec<FrameRow>,
    pub(crate) agent: AgentKind,
}

pub(crate) fn facts(agent: Option<&AgentKind>) -> Facts {
    let foreground = match agent {
        Some(kind) => Foreground::Agent { kind: kind.clone(), version: String::new(), pid: 1 },
        None => Foreground::Shell { name: "bash".into() },
    };
    Facts { foreground, ..Facts::default() }
}

/// Plays a session in a terminal of this size.
pub(crate) fn play(session: &Session, size: Size) -> anyhow::Result<Played> {
    let play = Play::of(&session.path)?;
    let kind = AgentKind::new(session.agent.clone());
    let mut terminal = Terminal::new(size, SCROLLBACK);
    let mut noted = terminal.seqno();
    let (mut rows, mut steps, mut others) = (BTreeMap::new(), Vec::<Step>::new(), Others::default());
    for (piece, _) in &play.pieces {
        terminal.advance(&play.bytes[piece.clone()]);
        let frame = terminal.frame();
        if steps.last().is_some_and(|last| last.frame == frame) {
            continue;
        }
        let agent = play.is_agent(piece.start).then(|| kind.clone());
        if terminal.is_alternate() {
            others.note(&frame, &kind);
        } else {
            for range in terminal.changed_since(noted) {
                rows.extend(terminal.rows(range).into_iter().map(|row| (row.index, row)));
            }
        }
        noted = terminal.seqno();
        steps.push(Step { frame, agent });
    }
    let end = steps.last().map_or(i64::MAX, |last| {
        let top = composer::read(&last.frame, &kind).live_top;
        top.filter(|_| !last.frame.alternate).map_or(i64::MAX, |top| last.frame.first_row + top as i64)
    });
    let primary = rows.range(..end).map(|(_, row)| {
        let row = row.to_wire();
        let text = if row.wrapped { row.text } else { row.text.trim_end().to_owned() };
        FrameRow { wrapped: row.wrapped, ..FrameRow::plain(text) }
    });
    let transcript = primary.chain(others.rows).collect();
    let every = steps.len().div_ceil(MOST_FRAMES).max(1);
    Ok(Played { size, steps: steps.into_iter().step_by(every).collect(), transcript, agent: kind })
}

/// Rows of alternate screens.
#[derive(Default)]
struct Others {
    rows: Vec<FrameRow>,
    known: HashSet<String>,
}

impl Others {
    fn note(&mut self, frame: &Frame, kind: &AgentKind) {
        let Some(top) = composer::read(frame, kind).live_top else { return };
        for row in frame.rows.iter().take(top) {
            let text = row.text.trim_end();
            if self.known.insert(text.to_owned()) {
                self.rows.push(FrameRow::plain(text));
            }
        }
    }
}

/// A full frame: see the head of the module. `None` of a session without an agent's composer.
pub(crate) fn full(played: &Played, shift: usize) -> Option<Step> {
    let last = played.steps.iter().rev().find(|step| {
        step.agent.is_some() && composer::read(&step.frame, &played.agent).live_top.is_some_and(|top| top > 0)
    })?;
    let top = composer::read(&last.frame, &played.agent).live_top?;
    let words: Vec<char> =
        played.transcript.iter().flat_map(|row| row.text.trim().chars().chain([' '])).collect();
    if words.is_empty() {
        return None;
    }
    // Wide characters would reach over the edge: one column less for each row does no harm to a figure.
    let cols = usize::from(played.size.cols);
    let mut next = words.iter().cycle().skip(shift * cols);
    let mut frame = last.frame.clone();
    for row in &mut frame.rows[..top] {
        *row = FrameRow::plain(next.by_ref().take(cols).collect::<String>());
    }
    Some(Step { frame, agent: last.agent.clone() })
}

/// A piece of a transcript, as it is handed to the engine and as bare text.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) frame: Frame,
    pub(crate) text: String,
    pub(crate) facts: Facts,
}

/// The transcript in pages of so many rows.
pub(crate) fn pages(played: &Played, rows: usize) -> impl Iterator<Item = Page> + '_ {
    played.transcript.chunks(rows).map(|rows| {
        let text = rows.iter().flat_map(|row| [row.text.as_str(), "\n"]).collect();
        let frame = Frame { cols: played.size.cols.into(), rows: rows.to_vec(), ..Frame::default() };
        Page { frame, text, facts: facts(Some(&played.agent)) }
    })
}
