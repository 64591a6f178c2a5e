//! What a host and its network do to the programs: kills, pauses, full disks, bad links. The promises hold all the while: each
//! line is in the log once or in a gap that counts it (L1, L2), an action is begun at most once and its outcome told (A1).
//!
//! `WA_LONG=1` makes every story longer: more kills, pauses of a minute.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod full_disk;
mod kills;
mod network;
mod pauses;

use std::fs;
use std::time::Duration;

use serde_json::Value;
use wa_tests::{Account, Program, Stage, log_of, wait_for};

const SOON: Duration = Duration::from_secs(60);

/// The first, or in a long run the second.
fn more<T>(short: T, long: T) -> T {
    if std::env::var_os("WA_LONG").is_some() { long } else { short }
}

/// A node with two panes: 0 prints numbered lines, in pieces that begin when they are asked for; 1 is a shell.
struct Scene {
    stage: Stage,
    node: Option<Program>,
    controller: Option<Program>,
    _mux: Program,
}

impl Scene {
    /// `pace`: seconds between every twenty lines; `between`: what is printed with them.
    fn start(stage: Stage, pieces: &[u64], pace: &str, between: &str) -> Self {
        let mux = Self::prepare(&stage, pieces, pace, between);
        let controller = Some(stage.start_controller(&[]).unwrap());
        stage.enroll_node().unwrap();
        let node = Some(stage.start_node(&[]).unwrap());
        let scene = Self { stage, node, controller, _mux: mux };
        scene.wait_for_panes();
        scene
    }

    fn prepare(stage: &Stage, pieces: &[u64], pace: &str, between: &str) -> Program {
        let go = stage.path("go");
        fs::create_dir(&go).unwrap();
        let go = go.display();
        let pieces: Vec<String> = pieces.iter().map(u64::to_string).collect();
        let script = format!(
            "from=1; for to in {}; do until [ -e {go}/$to ]; do sleep 0.02; done; i=$from; \
             while [ $i -le $to ]; do echo \"line $i\"; i=$((i+1)); \
               if [ $((i % 20)) = 0 ]; then {between} sleep {pace}; fi; done; \
             echo done > {go}/$to.done; from=$((to+1)); done; exec sleep 1000",
            pieces.join(" ")
        );
        let mux = stage.start_mux("80x24", &["/bin/sh", "-c", &script]).unwrap();
        stage.spawn_panes(vec![vec!["/bin/sh".into(), "-i".into()]]).unwrap();
        mux
    }

    fn wait_for_panes(&self) {
        wait_for("the panes to be seen", SOON, || {
            let answer = self.stage.wa(&["status", "-o", "json"]);
            let items = (answer.code == 0).then(|| answer.json())?;
            let items = items["items"].as_array()?;
            (items.len() == 2 && items.iter().any(|item| item["state"] == "shell")).then_some(())
        });
    }

    fn go(&self, piece: u64) {
        fs::write(self.stage.path("go").join(piece.to_string()), "").unwrap();
    }

    fn wait_printed(&self, piece: u64) {
        let done = self.stage.path("go").join(format!("{piece}.done"));
        wait_for("the lines to be printed", Duration::from_secs(200), || done.exists().then_some(()));
    }

    fn printer(&self) -> String {
        format!("{}/0", self.stage.host())
    }

    fn shell(&self) -> String {
        format!("{}/1", self.stage.host())
    }

    fn wait_logged(&self, number: u64) {
        let wanted = format!("line {number}");
        wait_for(&format!("{wanted} in the log"), SOON * 2, || {
            let answer = self.stage.wa(&["logs", &self.printer(), "--tail", "100", "-o", "jsonl"]);
            let there =
                answer.code == 0 && answer.json_lines().iter().any(|entry| entry["text"] == wanted.as_str());
            there.then_some(())
        });
    }

    /// What became of the lines; checked.
    fn account(&self, lines: u64) -> Account {
        let account = Account::of(&log_of(&self.stage, &self.printer()), lines);
        account.check();
        account
    }

    /// The problems of the one node, as `wa fleet status` tells them.
    fn problems(&self) -> String {
        let answer = self.stage.wa(&["fleet", "status", "-o", "json"]);
        if answer.code != 0 {
            return String::new();
        }
        let items = answer.json()["items"].clone();
        let all = items[0]["problems"].as_array().cloned().unwrap_or_default();
        all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    }

    fn wait_problem(&self, what: &str, test: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        wait_for(what, SOON, || {
            last = self.problems();
            test(&last).then(|| last.clone())
        })
    }

    fn events(&self, kind: &str) -> usize {
        let answer = self.stage.wa(&["events", "-o", "jsonl"]);
        if answer.code != 0 {
            return 0;
        }
        answer.json_lines().iter().filter(|event| event["event"] == kind).count()
    }

    fn node(&self) -> &Program {
        self.node.as_ref().unwrap()
    }

    fn kill_node(&mut self) {
        self.node.take().unwrap().kill();
    }

    fn start_node(&mut self) {
        self.node = Some(self.stage.start_node(&[]).unwrap());
    }
}
