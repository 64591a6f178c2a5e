//! Programs that stand still for a while (SIGSTOP: a laptop that sleeps, a machine that swaps), and go on.

use std::thread::sleep;
use std::time::Duration;

use wa_tests::Stage;

use super::{Scene, more};

/// Beyond this a program of such a small fleet does not keep its memory in bounds, in bytes.
const MEMORY: u64 = 200 << 20;

fn sessions(stage: &Stage) -> usize {
    // Not the lines that tell that there is none.
    stage.log("wa-node").matches("link: session with the controller").count()
}

fn dials(stage: &Stage) -> usize {
    stage.log("wa-node").matches("dialled the controller").count()
}

#[test]
fn a_node_that_stood_still_catches_up_once() {
    let pause = Duration::from_secs(more(3, 60));
    let mut scene = Scene::start(Stage::new().unwrap(), &[200, 3000, 3200], "0.01", "");
    scene.go(200);
    scene.wait_logged(200);
    let before = sessions(&scene.stage);
    scene.node().stop();
    scene.go(3000);
    scene.wait_printed(3000);
    sleep(pause);
    scene.node().resume();
    scene.go(3200);
    scene.wait_logged(3200);
    scene.account(3200);
    assert!(sessions(&scene.stage) <= before + 1, "no storm: {}", scene.stage.log("wa-node"));
    assert!(scene.node().memory() < MEMORY, "{}", scene.node().memory());
    let node = scene.node.take().unwrap();
    assert!(node.terminate().unwrap().success(), "and ends cleanly");
}

#[test]
fn a_controller_that_stood_still_finds_everything() {
    let pause = Duration::from_secs(more(3, 60));
    let scene = Scene::start(Stage::new().unwrap(), &[200, 3000, 3200], "0.01", "");
    scene.go(200);
    scene.wait_logged(200);
    let before = dials(&scene.stage);
    let controller = scene.controller.as_ref().unwrap();
    controller.stop();
    scene.go(3000);
    scene.wait_printed(3000);
    sleep(pause);
    assert!(scene.node().memory() < MEMORY, "{}", scene.node().memory());
    controller.resume();
    scene.go(3200);
    scene.wait_logged(3200);
    let account = scene.account(3200);
    // 3,200 lines fit into the scrollback, and the node was there all the time.
    assert_eq!(account.missing, 0, "{:?}", account.gaps);
    let attempts = dials(&scene.stage) - before;
    assert!(attempts as u64 <= pause.as_secs() + 5, "{attempts} attempts in {pause:?}");
    assert!(controller.memory() < MEMORY, "{}", controller.memory());
}
