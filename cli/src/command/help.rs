//! `wa` and `wa help`: the quick start, made to be read by an agent; `wa help COMMAND`: that command's help.

use clap::CommandFactory as _;
use serde::Serialize;
use wa_proto::{EventKind, OutcomeKind, PaneState};

use crate::args::Cli;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Out};

#[derive(Serialize)]
struct QuickStart {
    schema: &'static str,
    about: &'static str,
    rules: &'static [&'static str],
    commands: Vec<Does>,
    states: Vec<&'static str>,
    events: Vec<&'static str>,
    outcomes: Vec<&'static str>,
    exit_codes: Vec<ExitCode>,
}

#[derive(Serialize)]
struct Does {
    command: &'static str,
    does: &'static str,
}

#[derive(Serialize)]
struct ExitCode {
    code: u8,
    means: &'static str,
}

const ABOUT: &str = "wa looks after AI coding agents that live in WezTerm panes on many hosts. A pane is HOST/ID, for example web-1/3.";

const COMMANDS: &[(&str, &str)] = &[
    ("wa up --demo", "see it work on this machine, with scripted agents"),
    ("wa status [PANE|SELECTOR]", "panes, which agent runs there, and its state"),
    ("wa screen PANE", "what the pane shows now"),
    ("wa show PANE", "one pane: its agent's session file, model, tokens, limits"),
    ("wa logs PANE --tail 50 [-f]", "what the pane has printed, gaps included"),
    ("wa logs PANE --conversation", "what was said and done there, from the agent's session file"),
    ("wa search WORDS [-e REGEX]", "find it in everything that was printed"),
    ("wa events [PANE] [-f]", "what happened: compactions, limits, questions"),
    ("wa wait PANE --for idle", "until a state holds or an event comes (exit 5: it did not)"),
    ("wa send PANE \"TEXT\"", "type it, press Enter, see it arrive"),
    ("wa keys PANE Esc", "press keys"),
    ("wa spawn HOST -- CMD", "open a new pane; wa kill PANE ends one"),
    ("wa pause [PANE|SELECTOR]", "stop all automation there; unpause allows it again"),
    ("wa run list", "what the workflows did; wa notice list: what they tell and ask"),
    ("wa approve PANE|ID", "answer the dialog, allow the held action that waits; or wa deny"),
    ("wa account list", "accounts and their limits; wa switch-account PANE goes on with another"),
    ("wa rules explain PANE", "why a pane is in its state, rule by rule"),
    ("wa fleet status", "hosts and their problems; wa audit: who did what"),
    ("wa help COMMAND", "every option, with examples"),
    ("wa schema", "the shapes of -o json"),
];

const RULES: &[&str] = &[
    "Add -o json (one document) or -o jsonl (one object a line); data is on stdout, everything else on stderr.",
    "A selector is labels as in kubectl: agent=codex,host in (a,b),state!=idle.",
    "Typing is guarded: refused when somebody types there, a draft stands in the composer, a dialog is open or automation is paused.",
    "Outcome unknown (exit 5): look with `wa screen` before you send it again.",
];

/// Bare `wa` and `wa help`.
pub(crate) fn quick_start(out: &mut Out) -> Result<(), Failure> {
    match out.look.format {
        Format::Json | Format::Jsonl => out.document(&document()),
        Format::Name => {
            for (command, _) in COMMANDS {
                out.line(command)?;
            }
            out.flush()
        }
        Format::Table | Format::Wide => print(out),
    }
}

fn document() -> QuickStart {
    QuickStart {
        schema: "wa.help/1",
        about: ABOUT,
        rules: RULES,
        commands: COMMANDS.iter().map(|(command, does)| Does { command, does }).collect(),
        states: PaneState::ALL.iter().map(|state| state.as_str()).collect(),
        events: EventKind::ALL.iter().map(|event| event.as_str()).collect(),
        outcomes: OutcomeKind::ALL.iter().map(|outcome| outcome.as_str()).collect(),
        exit_codes: Exit::ALL.iter().map(|(exit, means)| ExitCode { code: exit.code(), means }).collect(),
    }
}

fn print(out: &mut Out) -> Result<(), Failure> {
    let document = document();
    out.line(ABOUT)?;
    out.line("")?;
    for Does { command, does } in &document.commands {
        out.line(&format!("  {command:<30}{does}"))?;
    }
    out.line("")?;
    for rule in document.rules {
        out.line(rule)?;
    }
    out.line(&format!("States: {}.", document.states.join(" ")))?;
    out.line(&format!("Events: {}.", document.events.join(" ")))?;
    let codes: Vec<String> =
        document.exit_codes.iter().map(|exit| format!("{} {}", exit.code, exit.means)).collect();
    out.line(&format!("Exit codes: {}.", codes.join(" · ")))?;
    out.flush()
}

/// `wa help COMMAND…`.
pub(crate) fn topic(out: &mut Out, words: &[String]) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    for word in words {
        let Some(found) = command.find_subcommand(word) else {
            return Err(Failure::new(Exit::Usage, format!("there is no command {}", words.join(" ")))
                .remedy("`wa help` lists them"));
        };
        command = found.clone();
    }
    let text = command.render_long_help().to_string();
    out.line(text.trim_end())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing;

    #[test]
    fn every_command_of_the_quick_start_exists() {
        let cli = Cli::command();
        for (line, _) in COMMANDS {
            let mut command = &cli;
            for word in line.split_whitespace().skip(1) {
                let Some(found) = command.find_subcommand(word) else { break };
                command = found;
            }
            assert_ne!(command.get_name(), "wa", "{line}");
        }
    }

    #[test]
    fn it_fits_on_a_screen_and_is_a_document_too() {
        let (mut out, sink) = testing::out(Format::Table);
        quick_start(&mut out).unwrap();
        assert!(sink.text().lines().count() <= 30);
        let (mut out, sink) = testing::out(Format::Json);
        quick_start(&mut out).unwrap();
        let value: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
        assert_eq!(value["schema"], "wa.help/1");
        assert!(value["states"].as_array().unwrap().iter().any(|state| state == "idle"));
    }

    #[test]
    fn a_topic_is_that_commands_help() {
        let (mut out, sink) = testing::out(Format::Table);
        topic(&mut out, &["fleet".into(), "token".into()]).unwrap();
        assert!(sink.text().contains("--replace"), "{}", sink.text());
        let error = topic(&mut out, &["frobnicate".into()]).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
    }
}
