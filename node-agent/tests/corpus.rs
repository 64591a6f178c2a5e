//! The built-in packs against real screens, and against whole recorded sessions: what is found, missed and false.
//!
//! The corpus is a folder with an index of labelled screens. It is named by `WA_CORPUS`, or stands beside the workspace as
//! `../shared/corpus`; without one the tests are skipped and say so. Saved screens are read as text, without styles or
//! cursor; sessions as they would reach a node. Both are looked at twice: with the agent named, and by the screen alone.
//! Whatever a screen neither expects nor still shows is false, and what only quotes an agent may not fire at all.
//!
//! No figure may fall below those written down here. Claude Code's are shown apart: they come from reports of users, not from
//! recordings.

#![allow(clippy::unwrap_used)]

#[path = "corpus/samples.rs"]
mod samples;
#[path = "corpus/score.rs"]
mod score;
#[path = "corpus/streams.rs"]
mod streams;

use jiff::Timestamp;
use samples::{Change, Override, Sample};
use score::Tally;
use wa_match::{Engine, Facts, Foreground, Observation, scan};
use wa_proto::{AgentKind, EventKind, Frame};

/// Labels that are wrong. Fewer than one in fifty.
const OVERRIDES: &[Override] = &[
    Override {
        file: "compact-004-old-box-banner.txt",
        reason: "the banner was drawn anew by the compaction, as on two screens that do not expect it",
        change: Change::Expect(&["context.compacted"]),
    },
    Override {
        file: "claude/2.1.29/80x24/permission_accept_edits.txt",
        reason: "a new session's banner, as on initial_state of the same recording",
        change: Change::Visible("agent.started"),
    },
    Override {
        file: "0.89.0/80x24/err-03-overloaded.txt",
        reason: "it says that the servers are overloaded",
        change: Change::Expect(&["error.overloaded"]),
    },
    Override {
        file: "0.89.0/80x24/err-07-http_401.txt",
        reason: "no request was made: the prompt stands there, no error",
        change: Change::Expect(&[]),
    },
    Override {
        file: "0.89.0/120x40/e2e-09-proceed.txt",
        reason: "a dialog is open",
        change: Change::State("waiting"),
    },
    Override {
        file: "0.53.0/80x24/20-resumed-session.txt",
        reason: "the mark stands there, as on the resumed screens of other versions",
        change: Change::Visible("context.compacted"),
    },
    Override {
        file: "0.169.0/120x40/limits-04-limit_free_90000.txt",
        reason: "a new session's banner, and nothing else",
        change: Change::Visible("agent.started"),
    },
    Override {
        file: "0.169.0/120x40/limits-12-notincluded.txt",
        reason: "a dialog is open",
        change: Change::Visible("approval.requested"),
    },
    Override {
        file: "0.169.0/120x40/10-approval-declined.txt",
        reason: "idle, and a row above the composer warns",
        change: Change::State("limit_warning"),
    },
    Override {
        file: "0.169.0/80x24/10-approval-declined.txt",
        reason: "idle, and a row above the composer warns",
        change: Change::State("limit_warning"),
    },
    Override {
        file: "0.24.0/120x40/lim-gca-full-06-ghttp_500-early.txt",
        reason: "the turn before ended in an error, which stands there",
        change: Change::Visible("error.api"),
    },
    Override {
        file: "gca-full-20-after.txt",
        reason: "the last turn ended in an error",
        change: Change::Visible("error.api"),
    },
    Override {
        file: "0.61.0/120x40/key-22-resumed.txt",
        reason: "nothing tells it from a session that went on",
        change: Change::Expect(&[]),
    },
    Override {
        file: "EmptyWalletDialog-rendering-should-match-snapshot-with-fallback-available-1.txt",
        reason: "it waits for a choice, as the other dialogs of limits",
        change: Change::Visible("approval.requested"),
    },
    Override {
        file: "OverageMenuDialog-rendering-should-match-snapshot-with-fallback-available-1.txt",
        reason: "it waits for a choice, as the other dialogs of limits",
        change: Change::Visible("approval.requested"),
    },
    Override {
        file: "approval_overlay_cross_thread_prompt.txt",
        reason: "it asks to run a command",
        change: Change::Field("kind", Some("exec")),
    },
    Override {
        file: "0.169.0/120x40/limits-07-limit_none_never.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
    Override {
        file: "0.169.0/120x40/limits-10-reached_workspace_owner_credits_depleted.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
    Override {
        file: "0.169.0/120x40/limits-11-reached_workspace_member_usage_limit_reached.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
    Override {
        file: "0.53.0/80x24/limits-07-limit_none_never.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
    Override {
        file: "0.89.0/120x40/limits-04-limit_free_90000.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
    Override {
        file: "0.89.0/120x40/limits-05-limit_go_never.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
    Override {
        file: "0.89.0/120x40/limits-07-limit_none_never.txt",
        reason: "the time is of the limit above, this one has none",
        change: Change::Field("reset_at", None),
    },
];

/// Of saved screens, with the agent named: for each event how many are found, and how many are false.
const SCREENS: &[(&str, EventKind, usize, usize)] = &[
    ("aider", EventKind::AgentStarted, 1, 0),
    ("aider", EventKind::ApprovalRequested, 1, 0),
    ("aider", EventKind::ErrorRetrying, 1, 0),
    ("claude", EventKind::AgentStarted, 3, 0),
    ("claude", EventKind::ContextLow, 2, 0),
    ("claude", EventKind::ContextFull, 1, 0),
    ("claude", EventKind::ContextCompacted, 8, 0),
    ("claude", EventKind::LimitWarning, 5, 0),
    ("claude", EventKind::LimitReached, 10, 0),
    ("claude", EventKind::SessionEnded, 2, 0),
    ("claude", EventKind::AuthRequired, 7, 0),
    ("claude", EventKind::AuthSucceeded, 1, 0),
    ("claude", EventKind::ApprovalRequested, 11, 0),
    ("claude", EventKind::ErrorApi, 3, 0),
    ("claude", EventKind::ErrorRetrying, 1, 0),
    ("claude", EventKind::ErrorOverloaded, 2, 0),
    ("codex", EventKind::AgentStarted, 10, 0),
    ("codex", EventKind::ContextFull, 2, 0),
    ("codex", EventKind::ContextCompacted, 8, 0),
    ("codex", EventKind::LimitWarning, 18, 0),
    ("codex", EventKind::LimitReached, 50, 0),
    ("codex", EventKind::SessionEnded, 16, 0),
    ("codex", EventKind::AuthRequired, 4, 0),
    ("codex", EventKind::AuthDeviceCode, 6, 0),
    ("codex", EventKind::AuthSucceeded, 8, 0),
    ("codex", EventKind::AuthFailed, 2, 0),
    ("codex", EventKind::AuthSignedOut, 6, 0),
    ("codex", EventKind::ApprovalRequested, 46, 0),
    ("codex", EventKind::ErrorApi, 15, 0),
    ("codex", EventKind::ErrorRetrying, 6, 0),
    ("codex", EventKind::ErrorOverloaded, 2, 0),
    ("copilot", EventKind::AgentStarted, 1, 0),
    ("copilot", EventKind::LimitReached, 2, 0),
    ("gemini", EventKind::AgentStarted, 6, 0),
    ("gemini", EventKind::ContextCompacted, 4, 0),
    ("gemini", EventKind::LimitWarning, 2, 0),
    ("gemini", EventKind::LimitReached, 12, 0),
    ("gemini", EventKind::SessionEnded, 7, 0),
    ("gemini", EventKind::AuthRequired, 2, 0),
    ("gemini", EventKind::AuthSucceeded, 1, 0),
    ("gemini", EventKind::ApprovalRequested, 33, 0),
    ("gemini", EventKind::ErrorApi, 5, 0),
    ("gemini", EventKind::ErrorOverloaded, 6, 0),
    ("opencode", EventKind::AgentStarted, 1, 0),
    ("opencode", EventKind::LimitReached, 1, 0),
];

/// What one way of looking must reach, over all agents but Claude Code.
struct Floor {
    recall: f64,
    precision: f64,
    states: f64,
    fields: f64,
}

const SCREENS_NAMED: Floor = Floor { recall: 1.0, precision: 1.0, states: 0.989, fields: 1.0 };
const SCREENS_ALONE: Floor = Floor { recall: 0.900, precision: 1.0, states: 0.770, fields: 1.0 };
const SESSIONS_NAMED: Floor = Floor { recall: 1.0, precision: 1.0, states: 0.992, fields: 1.0 };
const SESSIONS_ALONE: Floor = Floor { recall: 1.0, precision: 1.0, states: 0.992, fields: 1.0 };

/// This crate's own recordings, of versions that the corpus does not have.
const OTHERS_NAMED: Floor = Floor { recall: 0.995, precision: 1.0, states: 0.998, fields: 0.997 };
const OTHERS_ALONE: Floor = Floor { recall: 0.991, precision: 1.0, states: 0.995, fields: 0.997 };
const OTHER_SESSIONS: Floor = Floor { recall: 0.995, precision: 0.998, states: 0.999, fields: 0.996 };

fn look(sample: &Sample, named: bool) -> Observation {
    let frame = Frame::from_text(sample.cols, &sample.text);
    let foreground = match sample.agent.as_str() {
        agent if named && agent != "shell" && sample.state.as_deref() != Some("shell") => {
            Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid: 1 }
        }
        _ => Foreground::Unknown,
    };
    scan(Engine::builtin(), &frame, &Facts { foreground, ..Facts::default() }, Timestamp::UNIX_EPOCH)
}

fn corpus() -> Option<Vec<Sample>> {
    let folder = samples::folder();
    if folder.is_none() {
        println!("skipped: no corpus of screens here; name its folder in WA_CORPUS");
    }
    Some(samples::samples(&folder?, OVERRIDES))
}

fn check(tally: &Tally, floor: &Floor) {
    let score = tally.total(|agent| agent != "claude");
    let (states, fields) = (tally.but_claude(&tally.states), tally.but_claude(&tally.fields));
    assert!(score.recall() >= floor.recall, "recall fell to {}", score.recall());
    assert!(score.precision() >= floor.precision, "precision fell to {}", score.precision());
    assert!(states.ratio() >= floor.states, "states right fell to {}", states.ratio());
    assert!(fields.ratio() >= floor.fields, "fields right fell to {}", fields.ratio());
}

#[test]
fn few_labels_are_overridden() {
    let Some(samples) = corpus() else { return };
    // Of every screen its events, its state where it has one, its fields.
    let labels: usize =
        samples.iter().map(|sample| 1 + usize::from(sample.state.is_some()) + sample.fields.len()).sum();
    println!("{} of {labels} labels are overridden:", OVERRIDES.len());
    for wrong in OVERRIDES {
        println!("  {}: {}", wrong.file, wrong.reason);
    }
    assert!(OVERRIDES.len() * 50 <= labels);
}

#[test]
fn saved_screens_are_recognised() {
    let Some(samples) = corpus() else { return };
    let mut tally = Tally::default();
    samples.iter().for_each(|sample| tally.add(sample, &look(sample, true)));
    tally.print("screens, the agent is named");
    for (agent, kind, found, wrong) in SCREENS {
        let score = tally.scores.get(&((*agent).to_owned(), *kind)).copied().unwrap_or_default();
        assert!(score.found >= *found, "{agent} {kind}: {} found, {found} before", score.found);
        assert!(score.wrong <= *wrong, "{agent} {kind}: {} false, {wrong} before", score.wrong);
    }
    check(&tally, &SCREENS_NAMED);
}

#[test]
fn saved_screens_tell_the_agent() {
    let Some(samples) = corpus() else { return };
    let mut tally = Tally::default();
    samples.iter().for_each(|sample| tally.add(sample, &look(sample, false)));
    tally.print("screens, by themselves");
    check(&tally, &SCREENS_ALONE);
}

fn play(named: bool, title: &str, floor: &Floor) {
    let Some(samples) = corpus() else { return };
    play_all(&samples, named, title, floor);
}

fn play_all(samples: &[Sample], named: bool, title: &str, floor: &Floor) {
    let mut tally = Tally::default();
    streams::streams(samples).iter().for_each(|stream| streams::play(stream, named, &mut tally));
    tally.print(title);
    check(&tally, floor);
}

#[test]
fn recorded_sessions_tell_each_event_once() {
    play(true, "sessions, the agent is named", &SESSIONS_NAMED);
}

#[test]
fn recorded_sessions_tell_the_agent() {
    play(false, "sessions, by the screen alone", &SESSIONS_ALONE);
}

#[test]
fn screens_of_other_versions_are_recognised() {
    for (named, title, floor) in [
        (true, "screens of other versions, the agent is named", &OTHERS_NAMED),
        (false, "screens of other versions, by themselves", &OTHERS_ALONE),
    ] {
        let mut tally = Tally::default();
        samples::recordings().iter().for_each(|sample| tally.add(sample, &look(sample, named)));
        tally.print(title);
        check(&tally, floor);
    }
}

#[test]
fn sessions_of_other_versions_tell_each_event_once() {
    play_all(
        &samples::recordings(),
        true,
        "sessions of other versions, the terminal's holder is known",
        &OTHER_SESSIONS,
    );
}
