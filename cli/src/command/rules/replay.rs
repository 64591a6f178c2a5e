//! A recorded byte stream, replayed as a node would have seen it.
//!
//! Constraints. A stream has neither a clock nor a process table. The pace is made up ([`super::cuts`]); the last byte
//! comes at the time that is given as now, and then the pane stands still until the matcher waits for nothing more.
//!
//! Who holds the terminal is read from what a shell shows: the line that was typed names the program as the process table
//! would, and a prompt says that it is gone. Where no shell shows itself the screen alone tells; where an agent is named,
//! its process is in the pane from the moment that the screen shows it: from before the stream, if no banner stands there.
//!
//! Operation. The terminal model takes the bytes frame by frame; the matcher hears of the lines that have settled
//! ([`super::passed`]) and looks at each frame, and whenever it asked to be called, in virtual time.

use wa_controller::{Moment, Seen};
use wa_match::{
    Composer, Detected, Engine, Facts, Foreground, Observation, PaneMatcher, ProcessInfo, Progress, Settled,
    identify, scan, shell,
};
use wa_proto::{AgentKind, EventKind, Frame, PaneState, Timestamp};
use wa_screen::terminal::{self, Notice, Size, Terminal};

use super::cuts::{Cut, cuts};
use super::passed::{Lines, Passed, SCROLLBACK};

/// A longer stream is no recording of a session.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// Events kept at most.
const MOST_EVENTS: usize = 10_000;
/// Events and changes of the state kept at most.
const MOST_MOMENTS: usize = 50_000;
/// User variables remembered at most, and bytes of each.
const MOST_VARS: usize = 64;
const VAR_BYTES: usize = 4096;

/// What came of a stream.
pub(in crate::command) struct Replayed {
    /// In the order in which they fired, each with the number of bytes that had come.
    pub(super) events: Vec<(Detected, u64)>,
    pub(super) agent: Option<AgentKind>,
    pub(super) state: PaneState,
    /// Events and changes of the state, in their order.
    pub(in crate::command) moments: Vec<Moment>,
}

impl Replayed {
    /// The agent that is there in the end, or else was.
    pub(in crate::command) fn last_agent(&self) -> Option<&AgentKind> {
        self.agent.as_ref().or_else(|| self.events.iter().rev().find_map(|(event, _)| event.agent.as_ref()))
    }
}

/// Who holds the terminal.
#[derive(Clone)]
enum Holder {
    /// Nobody can tell, or whoever started the replay did.
    Told(Foreground),
    /// The agent that is named has not been seen yet, and nothing was shown to the matcher.
    Awaited,
    Agent(AgentKind),
    /// A shell waits, or has.
    Shell,
}

struct Replay<'e> {
    engine: &'e Engine,
    terminal: Terminal,
    lines: Lines,
    matcher: PaneMatcher,
    facts: Facts,
    /// The agent that is named.
    named: Option<AgentKind>,
    holder: Holder,
    /// Counts the agents' processes.
    pid: u32,
    /// A shell showed itself in this stream: then it tells.
    shell: bool,
    /// What stood before the line that started the agent.
    prompt: Option<String>,
    /// As the matcher saw it last.
    seen: Option<Frame>,
    now: Timestamp,
    offset: u64,
    events: Vec<(Detected, u64)>,
    moments: Vec<Moment>,
    last: Option<(Option<AgentKind>, PaneState)>,
}

/// Plays the stream. `end` is when its last byte comes.
pub(super) fn replay(
    engine: &Engine,
    bytes: &[u8],
    size: (u16, u16),
    agent: Option<&AgentKind>,
    facts: Facts,
    end: Timestamp,
) -> Replayed {
    let cuts = cuts(bytes);
    let length: i64 = cuts.iter().rev().skip(1).map(|(_, cut)| cut.stands()).sum();
    let (holder, named) = match agent {
        None => (Holder::Told(Foreground::Unknown), None),
        Some(kind) if kind.as_str() == "shell" => (Holder::Told(shell_foreground()), None),
        Some(kind) => (Holder::Awaited, Some(kind.clone())),
    };
    let mut replay = Replay {
        engine,
        terminal: Terminal::new(Size { cols: size.0, rows: size.1 }, SCROLLBACK),
        lines: Lines::new(),
        matcher: PaneMatcher::new(),
        facts,
        named,
        holder,
        pid: 0,
        shell: false,
        prompt: None,
        seen: None,
        now: later(end, -length),
        offset: 0,
        events: Vec::new(),
        moments: Vec::new(),
        last: None,
    };
    let mut start = 0;
    for (end, cut) in cuts {
        replay.take(&bytes[start..end], cut);
        start = end;
        replay.pass(cut.stands());
    }
    let (agent, state) = replay.last.unwrap_or((None, PaneState::Unknown));
    Replayed { events: replay.events, agent, state, moments: replay.moments }
}

impl Replay<'_> {
    fn take(&mut self, bytes: &[u8], cut: Cut) {
        self.offset += bytes.len() as u64;
        let batch = self.terminal.advance(bytes);
        for notice in batch.notices {
            match notice {
                Notice::Progress(progress) => self.facts.progress = progress_of(progress),
                Notice::UserVar { name, value } if value.len() <= VAR_BYTES && name.len() <= VAR_BYTES => {
                    let known = self.facts.user_vars.contains_key(&name);
                    if known || self.facts.user_vars.len() < MOST_VARS {
                        self.facts.user_vars.insert(name, value);
                    }
                }
                _ => {}
            }
        }
        let title = self.terminal.title().unwrap_or_default();
        if self.facts.title != title {
            self.facts.title = title.to_owned();
        }
        let passed = self.lines.follow(&mut self.terminal, self.now);
        self.hear(passed);
        let frame = self.terminal.frame();
        self.before(&frame, cut);
        self.observe(frame.clone());
        if cut == Cut::Typed {
            self.typed(&frame);
        }
    }

    /// Time passes; matcher and screen are called when they asked to be.
    fn pass(&mut self, milliseconds: i64) {
        let end = later(self.now, milliseconds);
        loop {
            let (look, tick) = (self.matcher.next_wakeup(), self.lines.next_wakeup());
            let next = [look, tick].into_iter().flatten().min();
            let Some(wake) = next.filter(|wake| *wake <= end) else { break };
            // Each call is a millisecond later at least.
            self.now = wake.max(later(self.now, 1));
            let passed = self.lines.tick(&mut self.terminal, self.now);
            let news = self.hear(passed);
            if (news || look.is_some_and(|look| look <= self.now))
                && let Some(frame) = self.seen.take()
            {
                self.observe(frame);
            }
        }
        self.now = end;
    }

    /// Shows lines that have settled to the matcher. True: of one the next look may tell.
    fn hear(&mut self, passed: Vec<Passed>) -> bool {
        let mut news = false;
        for one in passed {
            match one {
                Passed::Line { layout, line } => {
                    let settled = Settled { layout, row: line.row, rows: line.rows, text: &line.text };
                    news |= self.matcher.settled(self.engine, settled, &self.facts.foreground);
                }
                Passed::Lost => self.matcher.lines_lost(),
            }
        }
        news
    }

    fn observe(&mut self, frame: Frame) {
        self.facts.foreground = match &self.holder {
            Holder::Told(foreground) => foreground.clone(),
            Holder::Awaited => Foreground::Unknown,
            Holder::Agent(kind) => as_agent(kind, self.pid),
            Holder::Shell => shell_foreground(),
        };
        if matches!(self.holder, Holder::Awaited) {
            self.seen = Some(frame);
            return;
        }
        self.facts.layout = self.lines.layout();
        let seen = self.matcher.observe(self.engine, &frame, &self.facts, self.now);
        let live_top = seen.live_top.map(|row| stable(&frame, row));
        self.note(seen);
        let agent = matches!(self.holder, Holder::Agent(_)).then(|| self.pid.into());
        let passed = self.lines.seen(live_top, agent, &mut self.terminal, self.now);
        if self.hear(passed) {
            let again = self.matcher.observe(self.engine, &frame, &self.facts, self.now);
            self.note(again);
        }
        self.seen = Some(frame);
    }

    fn note(&mut self, seen: Observation) {
        let offset = self.offset;
        let room = MOST_EVENTS.saturating_sub(self.events.len());
        let events = seen.events.into_iter().take(room);
        for event in events {
            self.moment(Seen::Event { kind: event.kind, fields: event.fields.clone() });
            self.events.push((event, offset));
        }
        if self.last.as_ref().is_none_or(|(_, state)| *state != seen.state) {
            self.moment(Seen::State { state: seen.state, until: seen.detail.until });
        }
        self.last = Some((seen.agent, seen.state));
    }

    fn moment(&mut self, seen: Seen) {
        if self.moments.len() < MOST_MOMENTS {
            self.moments.push(Moment { at: self.now, seen });
        }
    }

    /// Whether the terminal is held by somebody else from this frame on.
    fn before(&mut self, frame: &Frame, cut: Cut) {
        let told = matches!(&self.holder, Holder::Told(foreground) if *foreground != Foreground::Unknown);
        if told {
            return;
        }
        if matches!(cut, Cut::Prompt | Cut::End) && self.terminal.bracketed_paste() && self.is_prompt(frame) {
            self.shell = true;
            self.holder = Holder::Shell;
        } else if let Some(kind) = self.named.clone() {
            self.follow_named(frame, &kind);
        } else if cut == Cut::Frame && matches!(self.holder, Holder::Shell) {
            // No shell draws frames: what it is the screen must tell.
            self.holder = Holder::Told(Foreground::Unknown);
        }
    }

    /// A shell's prompt, and no agent's composer.
    fn is_prompt(&self, frame: &Frame) -> bool {
        let Some(prompt) = shell::prompt_row(frame) else { return false };
        if !ends_in_sign(&prompt.text) {
            return false;
        }
        let kind = match &self.holder {
            // Agents draw such signs, too.
            Holder::Agent(_)
                if self.prompt.as_ref().is_some_and(|known| {
                    *known != prompt.text.split_whitespace().collect::<Vec<_>>().join(" ")
                }) =>
            {
                return false;
            }
            Holder::Agent(kind) => Some(kind),
            _ => self.named.as_ref(),
        };
        let look =
            |foreground| scan(self.engine, frame, &Facts { foreground, ..self.facts.clone() }, self.now);
        look(kind.map_or(Foreground::Unknown, |kind| as_agent(kind, 1))).composer.content == Composer::Missing
    }

    /// A line was typed at a prompt: what runs from now on.
    fn typed(&mut self, frame: &Frame) {
        if matches!(self.holder, Holder::Agent(_)) {
            return;
        }
        let Some(prompt) = shell::prompt_row(frame) else { return };
        let foreground = identify(&[process(&prompt.text)]);
        match foreground {
            Foreground::Agent { kind, .. } if self.named.as_ref().is_none_or(|named| *named == kind) => {
                if matches!(self.holder, Holder::Awaited) {
                    self.holder = Holder::Shell;
                    self.observe(frame.clone());
                }
                if !matches!(&self.holder, Holder::Told(told) if *told != Foreground::Unknown) {
                    self.shell = true;
                    self.pid += 1;
                    self.holder = Holder::Agent(kind);
                    let words: Vec<&str> = prompt.text.split_whitespace().collect();
                    let sign = words.iter().position(|word| word.ends_with(SIGNS));
                    self.prompt = sign.map(|at| words[..=at].join(" "));
                }
            }
            // What it is the screen must tell: the name may be another one's.
            _ if matches!(self.holder, Holder::Shell) && self.named.is_none() => {
                self.holder = Holder::Told(Foreground::Unknown);
            }
            _ => {}
        }
    }

    /// Whether the agent that is named came or went with this frame, where no shell tells.
    fn follow_named(&mut self, frame: &Frame, kind: &AgentKind) {
        let runs = matches!(self.holder, Holder::Agent(_));
        if runs && self.shell {
            return;
        }
        let facts = Facts { foreground: as_agent(kind, 1), ..self.facts.clone() };
        let look = scan(self.engine, frame, &facts, self.now);
        let shown = look.composer.content != Composer::Missing;
        let told = |event: EventKind| look.events.iter().any(|found| found.kind == event);
        let ended = !shown && told(EventKind::SessionEnded);
        if runs {
            if ended {
                self.holder = Holder::Shell;
            }
            return;
        }
        let awaited = matches!(self.holder, Holder::Awaited);
        let came = shown || told(EventKind::AgentStarted) || (awaited && !look.events.is_empty());
        if !came || ended {
            return;
        }
        if awaited {
            // It began here, or was there before.
            let began = told(EventKind::AgentStarted);
            self.holder = if began { Holder::Shell } else { Holder::Agent(kind.clone()) };
            self.pid = if began { 0 } else { 1 };
            let before = self.seen.take().unwrap_or_default();
            self.observe(before);
        }
        if !matches!(self.holder, Holder::Agent(_)) {
            self.pid += 1;
            self.holder = Holder::Agent(kind.clone());
        }
    }
}

fn as_agent(kind: &AgentKind, pid: u32) -> Foreground {
    Foreground::Agent { kind: kind.clone(), version: String::new(), pid }
}

fn shell_foreground() -> Foreground {
    Foreground::Shell { name: "sh".to_owned() }
}

const SIGNS: [char; 5] = ['$', '%', '#', '❯', '>'];

fn stable(frame: &Frame, row: usize) -> i64 {
    frame.first_row.saturating_add(i64::try_from(row).unwrap_or(i64::MAX))
}

fn ends_in_sign(text: &str) -> bool {
    text.trim_end().ends_with(SIGNS)
}

/// The process that a typed line starts.
fn process(line: &str) -> ProcessInfo {
    let words: Vec<&str> = line.split_whitespace().collect();
    let behind = words.iter().position(|word| word.ends_with(SIGNS)).map_or(0, |at| at + 1);
    let is_variable = |word: &&&str| word.split_once('=').is_some_and(|(name, _)| !name.contains(['/', '-']));
    let args: Vec<String> =
        words[behind..].iter().skip_while(is_variable).map(|word| (*word).to_owned()).collect();
    let comm = args.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word)).to_owned();
    ProcessInfo { pid: 1, pgid: 1, comm, args, ..ProcessInfo::default() }
}

fn later(time: Timestamp, milliseconds: i64) -> Timestamp {
    // At the ends of time it stands still.
    time.checked_add(jiff::SignedDuration::from_millis(milliseconds)).unwrap_or(time)
}

fn progress_of(progress: terminal::Progress) -> Option<Progress> {
    match progress {
        terminal::Progress::None => None,
        terminal::Progress::Percentage(percent) => Some(Progress::Percent(percent.min(100))),
        terminal::Progress::Error(percent) => Some(Progress::Error(percent.min(100))),
        terminal::Progress::Indeterminate => Some(Progress::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_line_names_the_program() {
        let agent = |line: &str| identify(&[process(line)]).agent().map(|kind| kind.as_str().to_owned());
        assert_eq!(agent("me@box:~/x$ codex resume").as_deref(), Some("codex"));
        assert_eq!(agent("# TERM=xterm /usr/bin/gemini -y").as_deref(), Some("gemini"));
        assert_eq!(agent("claude").as_deref(), Some("claude"));
        for line in ["", "$", "$ cat codex", "$ ls", "$ codex mcp-server"] {
            assert_eq!(agent(line), None, "{line}");
        }
    }
}
