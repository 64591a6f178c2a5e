//! Disks that fill up: a small file system in memory, in a namespace of mounts.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use wa_tests::{Namespace, Stage, inside, mount_small, wait_for};

use super::{SOON, Scene};

/// Somebody else's file, as large as the disk lets it be.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("somebody-elses");
    let mut file = File::create(&path).unwrap();
    for size in [64 << 10, 4096, 1] {
        let piece = vec![b'x'; size];
        while file.write_all(&piece).is_ok() {}
    }
    path
}

#[test]
fn a_node_on_a_full_disk_tells_events_types_nothing_and_comes_back() {
    if !inside("full_disk::a_node_on_a_full_disk_tells_events_types_nothing_and_comes_back", Namespace::Mount)
    {
        return;
    }
    let stage = Stage::new().unwrap();
    let disk = stage.path("node");
    mount_small(&disk, 6 << 20).unwrap();
    // More than the little that is kept beyond the room for events.
    let mut scene = Scene::start(stage, &[200, 12_000, 12_100], "0.01", "printf '\\a';");
    scene.go(200);
    scene.wait_logged(200);

    let hog = fill(&disk);
    let bells = scene.events("bell");
    scene.go(12_000);
    let told = scene.wait_problem("the full disk to be said", |told| told.contains("disk full"));
    assert!(told.contains(disk.join("spool").to_str().unwrap()) && told.contains("free space"), "{told}");
    wait_for("events over the full disk", SOON, || (scene.events("bell") > bells).then_some(()));
    wait_for("the event of it", SOON, || (scene.events("node.degraded") > 0).then_some(()));
    scene.wait_problem("what was dropped", |told| told.contains("were dropped, which are gaps in the log"));
    // A little may still fit into the journal's last page.
    let refused = wait_for("typing to be refused", SOON, || {
        let sent = scene.stage.wa(&["send", &scene.shell(), "true", "-o", "json"]);
        (sent.code == 4).then_some(sent)
    });
    assert!(refused.json()["reason"].as_str().unwrap().contains("journal"), "{refused:?}");

    // A node that starts on a full disk runs, and says so.
    scene.kill_node();
    scene.start_node();
    scene.wait_for_panes();
    scene.wait_printed(12_000);
    scene.wait_problem("the full disk to be said again", |told| told.contains("disk full"));

    fs::remove_file(hog).unwrap();
    scene.go(12_100);
    scene.wait_logged(12_100);
    let account = scene.account(12_100);
    assert!(account.gaps.iter().any(|gap| gap["cause"] == "spool_full"), "{:?}", account.gaps);
    scene.wait_problem("all to be well", |told| {
        !told.contains("disk full since") && !told.contains("journal")
    });
    let sent = scene.stage.wa(&["send", &scene.shell(), "echo typed", "-o", "json"]);
    assert_eq!(sent.code, 0, "{sent:?}");
}

/// Status line of `/healthz`.
fn health(stage: &Stage) -> String {
    let log = stage.log("wa-controller");
    let address =
        log.rsplit("admin=").next().unwrap_or_default().split_whitespace().next().unwrap_or_default();
    let mut answer = String::new();
    let asked = TcpStream::connect(address.trim_matches('"')).and_then(|mut stream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    assert!(asked.is_ok(), "{asked:?} of {address:?}");
    answer
}

#[test]
fn a_controller_on_a_full_disk_acknowledges_nothing_and_says_so() {
    if !inside("full_disk::a_controller_on_a_full_disk_acknowledges_nothing_and_says_so", Namespace::Mount) {
        return;
    }
    let stage = Stage::new().unwrap();
    let disk = stage.path("controller");
    mount_small(&disk, 12 << 20).unwrap();
    let scene = Scene::start(stage, &[200, 2500, 2600], "0.005", "");
    scene.go(200);
    scene.wait_logged(200);
    assert!(health(&scene.stage).contains("200 OK"));

    let hog = fill(&disk);
    scene.go(2500);
    let told = scene.wait_problem("the full disk to be said", |told| told.contains("controller: "));
    assert!(told.contains("full") && told.contains("keeps what it sees in its spool"), "{told}");
    let sick = health(&scene.stage);
    assert!(sick.contains("503") && sick.contains("full"), "{sick}");
    scene.wait_printed(2500);

    fs::remove_file(hog).unwrap();
    scene.go(2600);
    scene.wait_logged(2600);
    let account = scene.account(2600);
    assert_eq!(account.missing, 0, "the node kept it all: {:?}", account.gaps);
    wait_for("health", SOON, || health(&scene.stage).contains("200 OK").then_some(()));
    scene.wait_problem("all to be well", |told| !told.contains("controller: "));
}
