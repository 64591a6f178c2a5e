//! Bad links between node and controller.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use wa_tests::{Namespace, Proxy, Stage, Weather, inside, wait_for};

use super::{SOON, Scene, more};

#[test]
fn nothing_is_lost_or_doubled_over_a_bad_link() {
    let stage = Stage::new().unwrap();
    let proxy = Proxy::start(stage.controller_port()).unwrap();
    let mux = Scene::prepare(&stage, &[300, 600, 900, 1200, 1500, 1800], "0.01", "");
    let controller = Some(stage.start_controller(&[]).unwrap());
    stage.enroll_node_at(&proxy.url()).unwrap();
    let enrolled = proxy.dialled().len();
    let node = Some(stage.start_node(&[]).unwrap());
    let scene = Scene { stage, node, controller, _mux: mux };
    scene.wait_for_panes();

    proxy.set(Weather::Slow(Duration::from_millis(40)));
    scene.go(300);
    scene.wait_logged(300);
    // Cut while blocks and acknowledgements are under way.
    scene.go(600);
    for wait in [30, 1300, 60, 1700] {
        sleep(Duration::from_millis(wait));
        proxy.cut();
    }
    scene.wait_logged(600);
    // Nothing gets through, and nobody is told.
    proxy.set(Weather::Stalled);
    scene.go(900);
    sleep(Duration::from_secs(more(4, 60)));
    proxy.set(Weather::Fair);
    scene.wait_logged(900);
    proxy.half_close();
    scene.go(1200);
    scene.wait_logged(1200);
    // Taken and cut at once.
    let before = proxy.dialled().len();
    proxy.set(Weather::Refusing);
    proxy.cut();
    scene.go(1500);
    sleep(Duration::from_secs(more(6, 60)));
    proxy.set(Weather::Fair);
    scene.wait_logged(1500);
    scene.go(1800);
    scene.wait_logged(1800);
    let account = scene.account(1800);
    assert_eq!(account.missing, 0, "{:?}", account.gaps);

    let dialled = proxy.dialled();
    assert!(dialled.len() > before, "the node tried again");
    // At most one a second. A busy machine notices a dial late, and the next one in time: so much is allowed in all.
    let late = Duration::from_millis(800);
    let dialled = &dialled[enrolled..];
    for (from, first) in dialled.iter().enumerate() {
        for (seconds, last) in (0_u64..).zip(&dialled[from..]) {
            let apart = *last - *first;
            assert!(apart + late >= Duration::from_secs(seconds), "{seconds} more in {apart:?}: {dialled:?}");
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_over_a_link_that_loses_packets() {
    if !inside("network::nothing_is_lost_or_doubled_over_a_link_that_loses_packets", Namespace::Network) {
        return;
    }
    let run = |command: &str| {
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output();
        output.map_or_else(
            |error| Err(error.to_string()),
            |output| match output.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            },
        )
    };
    let shaped = run("ip link set lo up")
        .and_then(|()| run("tc qdisc add dev lo root netem delay 25ms 10ms loss 2% reorder 5%"));
    if let Err(error) = shaped {
        println!("skipped: this kernel cannot lose packets on purpose: {error}");
        return;
    }
    let mut scene = Scene::start(Stage::new().unwrap(), &[500, 1000], "0.01", "");
    scene.go(500);
    scene.wait_logged(500);
    scene.kill_node();
    scene.go(1000);
    scene.start_node();
    scene.wait_logged(1000);
    let account = scene.account(1000);
    assert_eq!(account.missing, 0, "{:?}", account.gaps);
    let sent = wait_for("a prompt", SOON, || {
        let sent = scene.stage.wa(&["send", &scene.shell(), "true", "-o", "json"]);
        (sent.code == 0).then_some(sent)
    });
    assert_eq!(sent.json()["outcome"], "submitted");
}
