//! The built-in packs against real screens, and against whole recorded sessions.
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
use wa_proto::{AgentKind, Frame};

const OVERRIDES: &[Override] = &[
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

fn look(sample: &Sample, named: bool) -> Observation {
    let frame = Frame::from_text(sample.cols, &sample.text);
    let foreground = match sample.agent.as_str() {
        agent if named && agent != "shell" => {
            Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid: 1 }
        }
        _ => Foreground::Unknown,
    };
    scan(Engine::builtin(), &frame, &Facts { foreground, ..Facts::default() }, Timestamp::UNIX_EPOCH)
}

#[test]
fn saved_screens_are_recognised() {
    let Some(folder) = samples::folder() else {
        println!("skipped: no corpus of screens here; name its folder in WA_CORPUS");
        return;
    };
    let samples = samples::samples(&folder, OVERRIDES);
    for named in [true, false] {
        let mut tally = Tally::new(false);
        println!("\n-- named {named}");
        for sample in &samples {
            tally.add(sample, &look(sample, named));
        }
        tally.print(if named { "screens, the agent's process is known" } else { "the screen alone" });
    }
}

#[test]
fn recorded_sessions_tell_each_event_once() {
    let Some(folder) = samples::folder() else {
        println!("skipped: no corpus of screens here; name its folder in WA_CORPUS");
        return;
    };
    let samples = samples::samples(&folder, OVERRIDES);
    for named in [true, false] {
        let mut tally = Tally::new(false);
        println!("\n-- streams named {named}");
        for stream in streams::streams(&samples) {
            streams::play(&stream, named, &mut tally);
        }
        tally.print(if named {
            "sessions, the agent's process is known"
        } else {
            "sessions, the screen alone"
        });
    }
}
