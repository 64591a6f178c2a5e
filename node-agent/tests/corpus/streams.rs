//! Whole recorded sessions through the terminal model and the matcher of a pane.
//!
//! A session is played frame by frame. It stops where a screen was taken from it, and there what fired since the last stop
//! is compared with the labels of that screen. An event *is found* when it fired before the stop whose screen expects it;
//! if its text stood on the screen before already, only where the label says that it is what happened last. It *fires
//! again* each time it fires more often between two stops than it happened: once where the screen expects it, or where it
//! is among what is still visible and was not visible at the stop before; what came and went between two stops is listed
//! in [`BETWEEN`] or in the label, read from the recordings. So a redraw, a replay of a resumed session, a notice that sticks, or the same
//! limit said in a second place counts as false. Starts, ends and turns are derived from more than a screen and left out.
//!
//! A state is right if it was told at any time while the session stood still there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wa_match::{Detected, Engine, Facts, Foreground, Observation, PaneMatcher};
use wa_proto::{AgentKind, EventKind, PaneState, Timestamp};
use wa_screen::terminal::{Size, Terminal};

use super::samples::{self, Sample};
use super::score::Tally;

/// Between the frames of an agent, and at the places where the session was looked at, in milliseconds.
const PAUSE: i64 = 100;
const STILL: i64 = 2000;
/// Frames of a session that are looked at, beside the screens that were taken from it.
const MOST_FRAMES: usize = 1000;

/// One recording and the screens that were taken from it, in their order.
pub(crate) struct Stream<'a> {
    pub(crate) path: &'a Path,
    pub(crate) samples: Vec<&'a Sample>,
}

pub(crate) fn streams(samples: &[Sample]) -> Vec<Stream<'_>> {
    let mut by_file: BTreeMap<&PathBuf, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        if let Some((path, _)) = &sample.raw {
            by_file.entry(path).or_default().push(sample);
        }
    }
    let mut streams = Vec::new();
    for (path, mut samples) in by_file {
        samples.sort_by_key(|sample| offset(sample));
        streams.push(Stream { path, samples });
    }
    streams
}

fn offset(sample: &Sample) -> usize {
    sample.raw.as_ref().map_or(0, |(_, offset)| *offset)
}

struct Player {
    terminal: Terminal,
    matcher: PaneMatcher,
    facts: Facts,
    now: Timestamp,
    /// What fired, and after how many bytes.
    fired: Vec<(usize, Detected)>,
    /// The states since the last stop.
    states: Vec<PaneState>,
}

impl Player {
    fn look(&mut self, at: usize) {
        let title = self.terminal.title().unwrap_or_default().to_owned();
        self.facts.title = title;
        let frame = self.terminal.frame();
        let seen: Observation = self.matcher.observe(Engine::builtin(), &frame, &self.facts, self.now);
        self.states.push(seen.state);
        self.fired.extend(seen.events.into_iter().map(|event| (at, event)));
    }

    fn pass(&mut self, milliseconds: i64, at: usize) {
        let end = later(self.now, milliseconds);
        while let Some(wakeup) = self.matcher.next_wakeup().filter(|wakeup| *wakeup <= end) {
            self.now = wakeup.max(later(self.now, 1));
            self.look(at);
        }
        self.now = end;
    }
}

fn later(now: Timestamp, milliseconds: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_millis(milliseconds)).unwrap()
}

/// Plays a session and counts. With `named` the agent's process is known to hold the terminal all the time.
pub(crate) fn play(stream: &Stream<'_>, named: bool, tally: &mut Tally) {
    let Some(first) = stream.samples.first() else { return };
    let bytes = samples::bytes(stream.path);
    let holders = if named { samples::holders(stream.path, &first.agent) } else { Vec::new() };
    let foreground = match first.agent.as_str() {
        "shell" => Foreground::Shell { name: "bash".to_owned() },
        agent if named => Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid: 0 },
        _ => Foreground::Unknown,
    };
    let (cols, rows) = (u16::try_from(first.cols).unwrap(), u16::try_from(first.rows).unwrap());
    let size = Size { cols, rows };
    let mut player = Player {
        terminal: Terminal::new(size, 1000),
        matcher: PaneMatcher::new(),
        facts: Facts { foreground, ..Facts::default() },
        now: Timestamp::from_second(1_795_000_000).unwrap(),
        fired: Vec::new(),
        states: Vec::new(),
    };
    // Long sessions turn their spinner for minutes: a few of its frames will do.
    let all = frames(&bytes);
    let step = all.len().div_ceil(MOST_FRAMES).max(1);
    let pause = PAUSE * i64::try_from(step).unwrap();
    let mut ends: Vec<usize> = all.into_iter().step_by(step).collect();
    ends.extend(stream.samples.iter().map(|sample| offset(sample)).filter(|end| *end <= bytes.len()));
    let unseen = unseen(&holders, &ends);
    ends.extend(unseen);
    ends.push(bytes.len());
    ends.sort_unstable();
    ends.dedup();
    let mut judge = Judge::default();
    let mut start = 0;
    player.look(0);
    for end in ends {
        player.terminal.advance(&bytes[start..end]);
        start = end;
        if let Some(holder) = samples::holder(&holders, end) {
            player.facts.foreground = holder;
        }
        player.look(end);
        let here: Vec<&Sample> =
            stream.samples.iter().copied().filter(|sample| offset(sample) == end).collect();
        if here.is_empty() {
            player.pass(pause, end);
            player.states.clear();
            continue;
        }
        player.pass(STILL, end);
        judge.stop(&here, &player, tally);
        player.states.clear();
    }
    judge.finish(stream, &player, tally);
}

/// Where an agent took the terminal that held it for no frame: a node sees that another program is there.
fn unseen(holders: &[(usize, Foreground)], ends: &[usize]) -> Vec<usize> {
    let passing = holders.windows(2).filter(|pair| {
        let held = pair[0].0..pair[1].0;
        matches!(pair[0].1, Foreground::Agent { .. }) && !ends.iter().any(|end| held.contains(end))
    });
    passing.map(|pair| pair[0].0).collect()
}

/// Compares what fired between two stops with what the screen at the second one says.
#[derive(Default)]
struct Judge {
    /// Of what fired.
    judged: usize,
    /// Events that were on the last screen.
    before: Vec<String>,
}

/// What a person sees happen on a screen; starts, ends and turns are derived from more than that.
fn is_judged(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::AgentStarted
            | EventKind::AgentExited
            | EventKind::AgentCrashed
            | EventKind::TurnStarted
            | EventKind::TurnFinished
    )
}

/// What happened and was over again before the next screen was taken: dialogs that the recording answered at once, and
/// retries. By the screen that followed, the event, and how often.
const BETWEEN: &[(&str, EventKind, usize)] = &[
    // Starts with a dialog: model to move to, limits that come near.
    ("codex/0.169.0/120x40/limits-00-limit_plus_5400.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.169.0/120x40/limits-05-limit_go_never.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.169.0/120x40/limits-09-promo_.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.89.0/120x40/limits-00-limit_plus_5400.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.89.0/120x40/neg-model-quotes.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.89.0/120x40/01-welcome.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.89.0/80x24/01-welcome.txt", EventKind::ApprovalRequested, 1),
    ("codex/0.89.0/80x24/err-00-http_500.txt", EventKind::ApprovalRequested, 1),
    // It asked where a new conversation runs.
    ("codex/0.169.0/120x40/limits-04-limit_free_90000.txt", EventKind::ApprovalRequested, 1),
    // Typed text had answered it, and it came again.
    ("codex/0.169.0/120x40/limits-12-notincluded.txt", EventKind::ApprovalRequested, 1),
    // It tried again before it gave up.
    ("codex/0.169.0/80x24/err-00-http_500.txt", EventKind::ErrorRetrying, 1),
    ("codex/0.169.0/80x24/err-01-http_503.txt", EventKind::ErrorRetrying, 1),
    ("codex/0.89.0/80x24/err-00-http_500.txt", EventKind::ErrorRetrying, 1),
    ("codex/0.89.0/80x24/err-01-http_503.txt", EventKind::ErrorRetrying, 1),
    ("codex_0.155.0_80x24_limits/limits-01-limit-plus_5400.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.155.0_80x24_login/login-06-limit.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.63.0_80x24_main/main-22-resumed.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.77.0_120x40_main/main-22-resumed.txt", EventKind::ApprovalRequested, 1),
    // The recording opened a menu.
    ("codex_0.130.0_200x50_main/main-14-model-menu.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.155.0_80x24_main/main-14-model-menu.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.63.0_80x24_main/main-14-model-menu.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.63.0_80x24_main/main-15-approvals-menu.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.77.0_120x40_main/main-14-model-menu.txt", EventKind::ApprovalRequested, 1),
    ("codex_0.77.0_120x40_main/main-15-approvals-menu.txt", EventKind::ApprovalRequested, 1),
    // Two queued prompts, and each failed.
    ("gemini/0.61.0/120x40/16-http400.txt", EventKind::ErrorApi, 1),
];

fn between(name: &str, kind: EventKind) -> usize {
    let told = BETWEEN.iter().find(|(file, event, _)| name.ends_with(file) && *event == kind);
    told.map_or(0, |(_, _, times)| *times)
}

impl Judge {
    fn stop(&mut self, here: &[&Sample], player: &Player, tally: &mut Tally) {
        let fired: Vec<&(usize, Detected)> = player.fired[self.judged..].iter().collect();
        self.judged = player.fired.len();
        let (agent, name) = (here[0].agent.as_str(), here[0].file.as_str());
        for kind in EventKind::ALL.iter().copied().filter(|kind| is_judged(*kind)) {
            let word = kind.as_str();
            let events: Vec<&Detected> =
                fired.iter().map(|(_, event)| event).filter(|event| event.kind == kind).collect();
            let expecting = here.iter().find(|sample| sample.expect.contains(word));
            let visible = here.iter().any(|sample| sample.visible.contains(word));
            let stood = self.before.iter().any(|before| before == word);
            // It came into view after the last stop, or it is the last thing that happened.
            let new = !stood || here.iter().any(|sample| sample.latest == word);
            let passed: usize = here.iter().filter_map(|sample| sample.between.get(word)).sum();
            let happened =
                usize::from(expecting.is_some() || (visible && !stood)) + between(name, kind) + passed;
            let score = tally.score(agent, kind);
            match expecting.filter(|_| new) {
                Some(_) if events.is_empty() => {
                    score.missed += 1;
                    tally.say(&format!("missed {kind} before {name}"));
                }
                Some(sample) => {
                    score.found += 1;
                    tally.check_fields(sample, events[0]);
                }
                None => {}
            }
            let again = events.len().saturating_sub(happened);
            tally.score(agent, kind).wrong += again;
            for event in events.iter().rev().take(again) {
                tally.say(&format!("again  {kind} before {name}: {}", event.line));
            }
        }
        let words =
            |sample: &&Sample| sample.expect.iter().chain(&sample.visible).cloned().collect::<Vec<_>>();
        self.before = here.iter().flat_map(words).collect();
        for state in here.iter().filter_map(|sample| sample.state.as_ref()) {
            let right = player.states.iter().any(|seen| seen.as_str() == state);
            if !right {
                tally.say(&format!("state  {name} is {:?}, not {state}", player.states.last()));
            }
            tally.states.entry(agent.to_owned()).or_default().count(right);
        }
    }

    /// Nothing is known to happen behind the last screen but the end of the session.
    fn finish(&mut self, stream: &Stream<'_>, player: &Player, tally: &mut Tally) {
        for (_, event) in &player.fired[self.judged..] {
            if is_judged(event.kind) && event.kind != EventKind::SessionEnded {
                tally.score(&stream.samples[0].agent, event.kind).wrong += 1;
                tally.say(&format!("again  {} at the end of {}", event.kind, stream.path.display()));
            }
        }
    }
}

/// Ends of the agent's own frames: synchronised updates; else where it begins to erase its last frame; else lines.
fn frames(bytes: &[u8]) -> Vec<usize> {
    const END: &[u8] = b"\x1b[?2026l";
    const ERASE: &[u8] = b"\x1b[2K\x1b[1A";
    let updates: Vec<usize> = positions(bytes, END).map(|at| at + END.len()).collect();
    if !updates.is_empty() {
        return updates;
    }
    let erased: Vec<usize> = positions(bytes, ERASE).collect();
    let first = |index: &usize| *index == 0 || erased[*index] - erased[*index - 1] != ERASE.len();
    let frames: Vec<usize> = (0..erased.len()).filter(first).map(|index| erased[index]).collect();
    if frames.is_empty() { positions(bytes, b"\n").map(|at| at + 1).collect() } else { frames }
}

fn positions<'a>(bytes: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let found = bytes.windows(what.len()).enumerate();
    found.filter(move |(_, window)| *window == what).map(|(at, _)| at)
}
