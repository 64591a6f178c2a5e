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
use wa_tests::{ModelService, Namespace, Scene, Stage, inside, wait_for};

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
    scene: Scene,
    models: ModelService,
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
        let live = Self { scene: Scene::with_login_shell(stage, controller, "120x40"), models };
        live.wait_state("shell");
        live
    }

    fn wait_state(&self, wanted: &str) {
        wait_for(&format!("the pane to be {wanted}, not as here:\n{}", self.scene.screen()), LONG, || {
            (self.scene.state()? == wanted).then_some(())
        });
    }

    /// Types a text and presses Enter, until it was taken.
    fn send(&self, text: &str) {
        wait_for(&format!("{text:?} to be taken"), LONG, || {
            let (outcome, reason) = self.scene.send(text);
            assert_ne!(outcome, "unknown", "{reason}\n{}", self.scene.screen());
            (outcome == "submitted").then_some(())
        });
    }

    /// Events of the pane of one kind so far.
    fn count(&self, kind: &str) -> usize {
        self.scene.events(kind).iter().filter(|event| event["pane"] == self.scene.pane.as_str()).count()
    }

    /// Waits until a run of the workflow is over; its last state and reason.
    fn wait_end(&self, workflow: &str, time: Duration) -> Value {
        let over = |run: &Value| {
            !matches!(run["state"].as_str(), Some("waiting" | "acting" | "asking" | "preparing"))
        };
        let end = Instant::now() + time;
        loop {
            let run = self.scene.runs().into_iter().find(|run| run["workflow"] == workflow);
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
        let explained = self.scene.stage.wa(&["run", "explain", id]).stdout;
        let notices = self.scene.stage.wa(&["notice", "list"]).stdout;
        let audit = self.scene.stage.wa(&["audit", "--tail", "40"]).stdout;
        format!("{run}\n{explained}\n{notices}\n{audit}\n{}", self.scene.screen())
    }

    /// Prompts that the model of the account was asked and answered.
    fn answered(&self, account: &str) -> Vec<String> {
        let asked = self.models.asked().into_iter();
        asked.filter(|asked| asked.account == account && !asked.limited).map(|asked| asked.prompt).collect()
    }
}
