//! The real agents, looked after by `wa` alone: no key is pressed by anybody else.
//!
//! `tests/run --live` fetches the programs and runs this; without `WA_LIVE` in the environment nothing happens here. Each
//! story runs in a network namespace that has a loopback and no route, against stand-ins for the providers' services, with
//! homes of its own and without any credential that would open a thing.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod codex;
mod gemini;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use wa_tests::{ModelService, Namespace, Program, Stage, inside, wait_for};

/// Real programs start slowly on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Whether this is the process that plays the story `test`, cut off from every network.
fn cut_off(test: &str) -> bool {
    if std::env::var_os("WA_LIVE").is_none() {
        println!("skipped {test}: it needs the real agents; run tests/run --live");
        return false;
    }
    if !inside(test, Namespace::Network) {
        return false;
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success(), "the loopback of the namespace cannot be brought up");
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    assert_eq!(routes.lines().count(), 1, "there is a way out of here: {routes}");
    true
}

/// The folder of a fetched agent.
fn fetched(name: &str) -> PathBuf {
    let dir = PathBuf::from(std::env::var_os("WA_LIVE").unwrap()).join(name);
    assert!(dir.is_dir(), "{} is missing: tests/live/fetch", dir.display());
    dir
}

/// A shell in a pane, looked after by a node and a controller, and what the agents in it will talk to.
struct Live {
    stage: Stage,
    models: ModelService,
    /// `HOST/PANE`
    pane: String,
    _programs: [Program; 3],
}

impl Live {
    /// `agent`: what its program is called in the pane, and where it is. `prepare` gets the stage before anything runs.
    fn start(
        agent: (&str, &Path),
        controller: &[&str],
        models: ModelService,
        mut stage: Stage,
        prepare: impl FnOnce(&mut Stage, &ModelService),
    ) -> Self {
        let bin = stage.path("bin");
        std::fs::create_dir(&bin).unwrap();
        symlink(agent.1, bin.join(agent.0)).unwrap();
        let work = stage.path("work");
        std::fs::create_dir(&work).unwrap();
        stage.set_env("TZ", "UTC");
        stage.set_env("TERM", "xterm-256color");
        stage.set_env("SHELL", "/bin/sh");
        prepare(&mut stage, &models);
        // Login shells make their PATH anew.
        let profile =
            format!("PATH='{}':$PATH; export PATH\nPS1='$ '; cd '{}'\n", bin.display(), work.display());
        std::fs::write(stage.path("home/.profile"), profile).unwrap();
        let mux = stage.start_mux("120x40", &["/bin/sh", "-l"]).unwrap();
        let controller = stage.start_controller(controller).unwrap();
        stage.enroll_node().unwrap();
        let node = stage.start_node(&[]).unwrap();
        let pane = format!("{}/0", stage.host());
        let live = Self { stage, models, pane, _programs: [node, controller, mux] };
        live.wait_state("shell");
        live
    }

    fn status(&self) -> Option<Value> {
        let answer = self.stage.wa(&["status", "-o", "json"]);
        let items = (answer.code == 0).then(|| answer.json())?;
        items["items"].as_array()?.iter().find(|item| item["pane"] == self.pane.as_str()).cloned()
    }

    fn wait_state(&self, wanted: &str) {
        wait_for(&format!("the pane to be {wanted}, not as here:\n{}", self.screen()), LONG, || {
            (self.status()?["state"] == wanted).then_some(())
        });
    }

    fn screen(&self) -> String {
        self.stage.wa(&["screen", &self.pane]).stdout
    }

    /// Types a text and presses Enter, until it was taken.
    fn send(&self, text: &str) {
        wait_for(&format!("{text:?} to be taken"), LONG, || {
            let answer = self.stage.wa(&["send", &self.pane, text, "-o", "json"]);
            let outcome = answer.json()["outcome"].clone();
            assert_ne!(outcome, "unknown", "{answer:?}\n{}", self.screen());
            (outcome == "submitted").then_some(())
        });
    }

    /// Runs, the latest first.
    fn runs(&self) -> Vec<Value> {
        let answer = self.stage.wa(&["run", "list", "-o", "json"]);
        if answer.code == 0 { answer.json()["items"].as_array().unwrap().clone() } else { Vec::new() }
    }

    /// Events of the pane of one kind so far.
    fn count(&self, kind: &str) -> usize {
        let answer = self.stage.wa(&["events", "-o", "jsonl"]);
        if answer.code != 0 {
            return 0;
        }
        answer
            .json_lines()
            .iter()
            .filter(|event| event["event"] == kind && event["pane"] == self.pane.as_str())
            .count()
    }

    /// Waits until a run of the workflow is over; its last state and reason.
    fn wait_end(&self, workflow: &str, time: Duration) -> Value {
        let over = |run: &Value| {
            !matches!(run["state"].as_str(), Some("waiting" | "acting" | "asking" | "preparing"))
        };
        let end = Instant::now() + time;
        loop {
            let run = self.runs().into_iter().find(|run| run["workflow"] == workflow);
            match run {
                Some(run) if over(&run) => return run,
                run if Instant::now() > end => {
                    panic!("{workflow} has no end: {}", self.tale(&run.unwrap_or_default()))
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Everything about a run, for a failing story's message.
    fn tale(&self, run: &Value) -> String {
        let id = run["run"].as_str().unwrap_or_default();
        let explained = self.stage.wa(&["run", "explain", id]).stdout;
        let notices = self.stage.wa(&["notice", "list"]).stdout;
        let audit = self.stage.wa(&["audit", "--tail", "40"]).stdout;
        format!("{run}\n{explained}\n{notices}\n{audit}\n{}", self.screen())
    }

    /// Prompts that the model of the account was asked and answered.
    fn answered(&self, account: &str) -> Vec<String> {
        let asked = self.models.asked().into_iter();
        asked.filter(|asked| asked.account == account && !asked.limited).map(|asked| asked.prompt).collect()
    }
}
