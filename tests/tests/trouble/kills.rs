//! `kill -9` of node and controller, again and again, with lines and actions under way.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use wa_tests::{Answer, Stage, wait_for};

use super::{SOON, Scene, more};

/// What each action wrote, by its name: how often.
fn effects(stage: &Stage) -> BTreeMap<String, u32> {
    let mut effects = BTreeMap::new();
    for line in fs::read_to_string(stage.path("effects")).unwrap_or_default().lines() {
        *effects.entry(line.to_owned()).or_default() += 1;
    }
    effects
}

/// Actions of which the controller knows no outcome.
fn open_actions(stage: &Stage) -> Option<i64> {
    let file = stage.path("controller/state.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    database.query_row("SELECT count(*) FROM outbox WHERE settled_us IS NULL", [], |row| row.get(0)).ok()
}

#[test]
fn lines_and_actions_survive_kills_of_both_sides() {
    let rounds = more(5, 60);
    let lines = rounds * 500;
    let mut scene = Scene::start(Stage::new().unwrap(), &[lines], "0.08", "");
    scene.go(lines);
    let mut answers: Vec<Answer> = Vec::new();
    for round in 0..rounds {
        let command = format!("echo act-{round} >> {}", scene.stage.path("effects").display());
        // Anywhere from before the action has left to after its outcome is told.
        let wait = Duration::from_millis(round * 137 % 700);
        let (stage, shell) = (&scene.stage, scene.shell());
        let (node, controller) = (&mut scene.node, &mut scene.controller);
        std::thread::scope(|scope| {
            let sending =
                scope.spawn(|| stage.wa(&["send", &shell, &command, "-o", "json", "--timeout", "8s"]));
            sleep(wait);
            if round % 3 != 1 {
                node.take().unwrap().kill();
            }
            if round % 3 != 0 {
                controller.take().unwrap().kill();
            }
            if node.is_none() {
                *node = Some(stage.start_node(&[]).unwrap());
            }
            if controller.is_none() {
                *controller = Some(stage.start_controller(&[]).unwrap());
            }
            answers.push(sending.join().unwrap());
        });
    }
    scene.wait_printed(lines);
    scene.wait_logged(lines);
    scene.account(lines);

    wait_for("an outcome of every action", SOON, || (open_actions(&scene.stage)? == 0).then_some(()));
    let effects = effects(&scene.stage);
    for (round, answer) in answers.iter().enumerate() {
        let count = effects.get(&format!("act-{round}")).copied().unwrap_or(0);
        let holds = match answer.code {
            0 => count == 1,
            4 => count == 0,
            _ => count <= 1,
        };
        assert!(holds, "round {round}: {count} times, and {answer:?}");
    }
}
