//! Several servers on one host: windows, and what they mirror.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use wa_embedded_mux::{EmbeddedMux, Options, Running};
use wa_proto::{MuxName, PaneState};

use crate::observer::{Discovery, Sockets};
use crate::testing::fake::{Fake, FakePane, Script};
use crate::testing::{LIMIT, Mux, Node, prompt, shell};

/// A runtime directory and a process that owns a window's socket in it.
struct Host {
    dir: tempfile::TempDir,
    window: Child,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("wezterm");
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { dir, window: Command::new("/bin/sleep").arg("600").spawn().unwrap() }
    }

    fn runtime(&self) -> std::path::PathBuf {
        self.dir.path().join("wezterm")
    }

    fn window_socket(&self) -> std::path::PathBuf {
        self.runtime().join(format!("gui-sock-{}", self.window.id()))
    }

    fn name(&self) -> MuxName {
        MuxName::new(format!("gui-{}", self.window.id())).unwrap()
    }

    fn node(&self) -> Node {
        let runtime = self.dir.path().display().to_string();
        let discovery = Discovery::new(|name| (name == "XDG_RUNTIME_DIR").then(|| runtime.clone())).often();
        let sockets = Sockets { named: vec![discovery.main().unwrap()], discovery: Some(discovery) };
        Node::with(self.dir.path(), sockets, "/nonexistent".into(), LIMIT)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop((self.window.kill(), self.window.wait()));
    }
}

fn mux(path: &Path, script: &str) -> Running {
    let mut options = Options::new(path);
    options.first_command = Some(shell(script));
    EmbeddedMux::start(options).unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_found_named_by_its_process_and_forgotten_with_it() {
    let mut host = Host::new();
    let node = host.node();
    until("main is waited for", || node.board.muxes().iter().any(|mux| mux.problem == "no socket")).await;
    let main = mux(&host.runtime().join("sock"), "echo from the server; exec cat");
    let gui = mux(&host.window_socket(), "echo from the window; exec cat");
    for line in ["from the server", "from the window"] {
        let mut logged = node.all_lines();
        let wait = async {
            while !logged.contains(&line.to_owned()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                logged = node.all_lines();
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .unwrap_or_else(|_| panic!("never {line:?}: {:?}", node.all_lines()));
    }
    let pane = node.pane("the window's pane", |pane| pane.pane.mux == host.name()).await;
    assert!(!pane.mirror);
    assert!(node.muxes.get(&host.name()).is_some());
    host.window.kill().unwrap();
    host.window.wait().unwrap();
    gui.stop();
    until("the window is forgotten", || node.board.muxes().len() == 1).await;
    assert!(node.muxes.get(&host.name()).is_none());
    assert!(node.board.problems().is_empty(), "{:?}", node.board.problems());
    assert!(node.board.panes().iter().all(|pane| pane.pane.mux.is_main()));
    assert!(node.events().iter().all(|event| event.event != "mux.lost"), "{:?}", node.events());
    main.stop();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mirrors_a_server_is_shown_and_not_logged() {
    let host = Host::new();
    let main = mux(&host.runtime().join("sock"), "echo mine; exec cat");
    let tty = main.handle().panes().into_values().next().unwrap().unwrap();
    // A window attached to the server: its pane has no terminal of its own.
    let fake = Fake::start(&host.window_socket(), Script::native(&["mirrored", "$ "]));
    let node = host.node();
    let seen = node.pane("the mirror", |pane| pane.mirror && pane.title == "a title").await;
    assert_eq!(seen.pane.mux, host.name());
    node.pane("the server's pane", |pane| pane.pane.mux.is_main() && pane.tty == tty).await;
    // And one that names the server's terminal.
    fake.script().pane = FakePane { lines: vec!["mirrored too".into(), "$ ".into()], tty: Some(tty.clone()) };
    fake.hang_up();
    let seen = node.pane("the same terminal", |pane| pane.pane.mux == host.name() && pane.tty == tty).await;
    assert!(seen.mirror);
    // A terminal of its own: no mirror.
    fake.script().pane =
        FakePane { lines: vec!["real".into(), "$ ".into()], tty: Some("/dev/pts/none".into()) };
    fake.hang_up();
    node.pane("a pane of its own", |pane| pane.pane.mux == host.name() && !pane.mirror).await;
    until("its line is logged", || node.all_lines().contains(&"real".to_owned())).await;
    assert!(!node.all_lines().iter().any(|line| line.contains("mirrored")), "{:?}", node.all_lines());
    main.stop();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_before_the_first_look_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Mux::start(dir.path(), prompt());
    let node = Node::start(dir.path(), &server.socket);
    let main = node.muxes.get(&MuxName::main()).unwrap();
    assert!(main.looked(LIMIT).await);
    let view = main.look(server.pane()).await.unwrap();
    assert_eq!(view.pane.pane_id, server.pane());
    assert!(main.look(99).await.is_err());
    node.pane("a shell", |pane| pane.state == PaneState::Shell).await;
    node.stop().await;
    // Without a server there is nothing to wait for.
    let empty = tempfile::tempdir().unwrap();
    let node = Node::start(empty.path(), &empty.path().join("sock"));
    assert!(node.muxes.get(&MuxName::main()).unwrap().looked(LIMIT).await);
    node.stop().await;
}
