//! One pane with one agent, and everything that looks after it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Program, Stage, binary, wait_for};

/// The file whose appearance starts the timers of a scripted Claude Code.
const TIMERS: &str = "timers";

/// A stage with a scripted agent or a shell in its only pane, node and controller running.
pub struct Scene {
    pub stage: Stage,
    /// Running, unless the test took it.
    pub node: Option<Program>,
    _controller: Program,
    _mux: Program,
    /// `HOST/PANE`
    pub pane: String,
}

impl Scene {
    /// The agent is given these arguments.
    pub fn with_claude(args: &[&str]) -> Self {
        Self::with_claude_and(Stage::new().unwrap(), &[], args)
    }

    /// As [`Self::with_claude`], on a stage that was prepared, with arguments for the controller.
    pub fn with_claude_and(stage: Stage, controller: &[&str], args: &[&str]) -> Self {
        let scene = Self::with_agent(stage, "claude", controller, args);
        wait_for("the agent to be known", Duration::from_secs(30), || {
            (scene.status()?["agent"] == "claude").then_some(())
        });
        scene.start_timers();
        scene
    }

    /// From now on counts the time after which the scripted Claude Code does something by itself. Not from its start: how long
    /// it takes until somebody looks is nobody's to say.
    pub fn start_timers(&self) {
        fs::write(self.stage.path(TIMERS), "").unwrap();
    }

    /// One of the scripted agents, with these arguments.
    pub fn with_agent(stage: Stage, agent: &str, controller: &[&str], args: &[&str]) -> Self {
        let program = install_agents(&stage).join(agent);
        let record = stage.path("submitted");
        let timers = stage.path(TIMERS);
        let mut command = vec![program.to_str().unwrap(), "--record", record.to_str().unwrap()];
        if agent == "claude" {
            command.extend(["--timers-from", timers.to_str().unwrap()]);
        }
        command.extend(args);
        Self::start(stage, controller, &command)
    }

    /// A shell that finds the scripted agents by their names, with more variables; what they are given is recorded.
    pub fn with_shell_and(stage: Stage, controller: &[&str], env: &[(&str, &str)]) -> Self {
        let bin = install_agents(&stage);
        let mut command = vec![
            "/usr/bin/env".to_owned(),
            format!("PATH={}:/usr/bin:/bin", bin.display()),
            format!("SCRIPTED_RECORD={}", stage.path("submitted").display()),
            format!("SCRIPTED_TIMERS_FROM={}", stage.path(TIMERS).display()),
        ];
        command.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
        // One that edits its line: it can be typed into after a program that left the terminal in raw mode.
        command.push("PS1=$ ".to_owned());
        command.extend(["/bin/bash", "--noprofile", "--norc", "-i"].map(str::to_owned));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        Self::start(stage, controller, &command)
    }

    /// One of the scripted agents in a pane that ends three seconds after it, as [`Self::with_shell_and`] otherwise. A
    /// login shell finds the agents, too.
    pub fn with_passing_pane(stage: Stage, agent: &str, controller: &[&str], env: &[(&str, &str)]) -> Self {
        Self::with_script(stage, agent, controller, env, |agent| format!("{agent}; sleep 3"))
    }

    /// As [`Self::with_passing_pane`], but the pane ends with the agent.
    pub fn with_pane_of_its_own(
        stage: Stage,
        agent: &str,
        controller: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        Self::with_script(stage, agent, controller, env, |agent| format!("exec {agent}"))
    }

    fn with_script(
        mut stage: Stage,
        agent: &str,
        controller: &[&str],
        env: &[(&str, &str)],
        script: impl Fn(&str) -> String,
    ) -> Self {
        let bin = install_agents(&stage);
        let record = stage.path("submitted").display().to_string();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let mut profile = format!("export PATH='{path}' SCRIPTED_RECORD='{record}'\n");
        stage.set_env("SCRIPTED_RECORD", &record);
        for (name, value) in env {
            stage.set_env(name, value);
            profile.extend(["export ", name, "='", value, "'\n"]);
        }
        fs::write(stage.path("home/.profile"), profile).unwrap();
        let script = script(&bin.join(agent).display().to_string());
        Self::start(stage, controller, &["/bin/sh", "-c", &script])
    }

    pub fn with_shell() -> Self {
        Self::start(Stage::new().unwrap(), &[], &["/bin/sh", "-i"])
    }

    /// A login shell; `size` is COLUMNSxROWS.
    pub fn with_login_shell(stage: Stage, controller: &[&str], size: &str) -> Self {
        Self::start_sized(stage, controller, size, &["/bin/sh", "-l"])
    }

    /// Runs this command in the pane.
    fn start(stage: Stage, controller: &[&str], command: &[&str]) -> Self {
        Self::start_sized(stage, controller, "100x30", command)
    }

    fn start_sized(stage: Stage, controller: &[&str], size: &str, command: &[&str]) -> Self {
        let mux = stage.start_mux(size, command).unwrap();
        let controller = stage.start_controller(controller).unwrap();
        stage.enroll_node().unwrap();
        let node = stage.start_node(&[]).unwrap();
        let pane = format!("{}/0", stage.host());
        Self { stage, node: Some(node), _controller: controller, _mux: mux, pane }
    }

    /// What the agent was given: prompts, and answers to its dialogs.
    pub fn submitted(&self) -> Vec<String> {
        let text = fs::read_to_string(self.record()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn record(&self) -> PathBuf {
        self.stage.path("submitted")
    }

    /// What `wa status` says of the pane.
    pub fn status(&self) -> Option<Value> {
        let answer = self.stage.wa(&["status", "-o", "json"]);
        let items = (answer.code == 0).then(|| answer.json())?;
        items["items"].as_array()?.iter().find(|item| item["pane"] == self.pane.as_str()).cloned()
    }

    pub fn state(&self) -> Option<String> {
        self.status()?["state"].as_str().map(str::to_owned)
    }

    pub fn wait_state(&self, wanted: &str) {
        wait_for(&format!("the pane to be {wanted}"), Duration::from_secs(30), || {
            (self.state().as_deref() == Some(wanted)).then_some(())
        });
    }

    pub fn events(&self, kind: &str) -> Vec<Value> {
        let answer = self.stage.wa(&["events", "-o", "jsonl"]);
        if answer.code != 0 {
            return Vec::new();
        }
        answer.json_lines().into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// The latest first.
    pub fn runs(&self) -> Vec<Value> {
        let answer = self.stage.wa(&["run", "list", "-o", "json"]);
        if answer.code == 0 { answer.json()["items"].as_array().unwrap().clone() } else { Vec::new() }
    }

    /// What the pane shows; empty while nobody can tell.
    pub fn screen(&self) -> String {
        let answer = self.stage.wa(&["screen", &self.pane]);
        if answer.code == 0 { answer.stdout } else { String::new() }
    }

    pub fn wait_screen(&self, wanted: &str) {
        wait_for(&format!("{wanted:?} on the screen"), Duration::from_secs(30), || {
            self.screen().contains(wanted).then_some(())
        });
    }

    /// Sends a text; what became of it, and why.
    pub fn send(&self, text: &str) -> (String, String) {
        let answer = self.stage.wa(&["send", &self.pane, text, "-o", "json"]).json();
        let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (word("outcome"), word("reason"))
    }

    /// Sends a text, which must arrive.
    pub fn tell(&self, text: &str) {
        let (outcome, reason) = self.send(text);
        assert_eq!(outcome, "submitted", "{text:?}: {reason}");
    }

    /// `kill -9` for the program of this name in the scene's panes.
    pub fn kill_agent(&self, name: &str) {
        let pid = wait_for(&format!("a process of {name}"), Duration::from_secs(20), || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
            pids.find(|pid| self.is_agent(*pid, name))
        });
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    /// Whether this process has that name, and works in this scene.
    fn is_agent(&self, pid: i32, name: &str) -> bool {
        let file = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let here = self.stage.path("").into_os_string().into_encoded_bytes();
        file("comm").trim_ascii_end() == name.as_bytes()
            && file("environ").windows(here.len()).any(|window| window == here)
    }

    /// What people were told, the latest first.
    pub fn notices(&self) -> Vec<Value> {
        let answer = self.stage.wa(&["notice", "list", "-o", "json"]);
        if answer.code == 0 { answer.json()["items"].as_array().unwrap().clone() } else { Vec::new() }
    }

    /// Until so many runs have begun, and all are in that state.
    pub fn wait_run(&self, count: usize, state: &str) {
        wait_for(&format!("{count} run(s) {state}"), Duration::from_secs(60), || {
            let runs = self.runs();
            (runs.len() == count && runs.iter().all(|run| run["state"] == state)).then_some(())
        });
    }
}

/// Links the scripted agents by their names into a folder of the stage.
fn install_agents(stage: &Stage) -> PathBuf {
    let bin = stage.path("bin");
    fs::create_dir(&bin).unwrap();
    for agent in ["claude", "codex", "gemini"] {
        symlink(binary("wa-demo-agent"), bin.join(agent)).unwrap();
    }
    bin
}
