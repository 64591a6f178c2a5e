//! Servers that cannot be followed are looked at.

use std::time::Duration;

use wa_proto::{MuxName, PaneState};

use crate::observer::{Link, Sockets};
use crate::testing::fake::{Fake, Script, Wezterm};
use crate::testing::{LIMIT, Node, main_socket};

/// A node that may try the native way again this soon.
fn node(dir: &tempfile::TempDir, program: std::path::PathBuf, retry: Duration) -> Node {
    let sockets = Sockets { named: vec![main_socket(&dir.path().join("sock"))], discovery: None };
    Node::with(dir.path(), sockets, program, retry)
}

fn problem(node: &Node) -> String {
    node.board.muxes().first().map(|mux| mux.problem.clone()).unwrap_or_default()
}

async fn until_problem(node: &Node, words: &str) -> String {
    let wait = async {
        while !problem(node).contains(words) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, wait).await;
    waited.unwrap_or_else(|_| panic!("never {words:?}: {:?}", node.board.muxes()));
    problem(node)
}

fn has(line: &'static str) -> impl FnMut(&Node) -> Option<()> {
    move |node| node.lines().iter().any(|logged| logged == line).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_codec_is_observed_slowly() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(&dir.path().join("sock"), Script { codec: 45, ..Script::default() });
    let wezterm = Wezterm::new(dir.path());
    wezterm.show(&["one", "two", "three", "four", "$ "]);
    let node = node(&dir, wezterm.program(), Duration::from_secs(60));
    node.until("four", has("four")).await;
    assert_eq!(node.lines(), ["one", "two", "three", "four"]);
    let pane = node.board.panes().remove(0);
    assert_eq!((pane.title.as_str(), pane.cwd.as_str(), pane.cols, pane.rows), ("a title", "/srv/x", 40, 6));
    let status = node.board.muxes().remove(0);
    assert_eq!((status.codec, status.version.as_str(), status.panes), (45, "20990101-000000-fake", 1));
    assert_eq!(status.problem, "fallback: codec 45, observing slowly through wezterm cli");
    assert!(node.board.problems()[0].contains("nothing is typed"), "{:?}", node.board.problems());
    let view = node.muxes.get(&MuxName::main()).unwrap().look(0).await.unwrap();
    assert_eq!(view.frame.rows[4].text, "$");
    // Scrolled by two: nothing is lost, nothing is told twice.
    wezterm.show(&["three", "four", "$ run", "five", "six", "$ "]);
    node.until("six", has("six")).await;
    assert_eq!(node.lines(), ["one", "two", "three", "four", "$ run", "five", "six"]);
    assert!(node.gaps().is_empty(), "{:?}", node.gaps());
    // More went by than the screen shows.
    wezterm.show(&["96", "97", "98", "99", "100", "$ "]);
    node.until("100", has("100")).await;
    let gaps = node.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((gaps[0].rows, gaps[0].cause.as_str()), (None, "flood"));
    assert_eq!(node.lines().len(), 12);
    // The server was greeted once, and never asked for anything else.
    assert_eq!(fake.script().connections, 1);
    assert!(wezterm.calls().iter().all(|call| call.contains(" list ") || call.contains(" get-text ")));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_wezterm_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let _fake = Fake::start(&dir.path().join("sock"), Script { codec: 45, ..Script::default() });
    let node = node(&dir, "/nonexistent/wezterm".into(), Duration::from_secs(60));
    let problem = until_problem(&node, "nothing can be observed").await;
    assert!(problem.starts_with("fallback: codec 45"), "{problem}");
    assert!(problem.contains("is WezTerm installed and on PATH"), "{problem}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_lead_to_looks_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let wezterm = Wezterm::new(dir.path());
    let fake = Fake::start(&dir.path().join("sock"), Script::native(&["one", "two", "three", "$ "]));
    let node = node(&dir, wezterm.program(), Duration::from_secs(8));
    node.until("three", has("three")).await;
    let generation = node.board.panes()[0].pane.generation.clone();
    wezterm.show(&["one", "two", "three", "$ run", "four", "$ "]);
    {
        let mut script = fake.script();
        script.malformed = true;
        script.connections = 0;
    }
    node.muxes.get(&MuxName::main()).map(|mux| assert!(matches!(mux.link(), Link::Native(_)))).unwrap();
    fake.hang_up();
    let problem = until_problem(&node, "observing slowly").await;
    assert!(problem.contains("malformed frames, the last one: frame 2 at byte"), "{problem}");
    assert_eq!(fake.script().connections, 3);
    node.until("four", has("four")).await;
    assert_eq!(node.lines(), ["one", "two", "three", "$ run", "four"]);
    // It has come to its senses.
    {
        let mut script = fake.script();
        script.malformed = false;
        script.pane.lines =
            ["one", "two", "three", "$ run", "four", "$ go", "five", "$ "].map(str::to_owned).into();
    }
    node.until("five", has("five")).await;
    assert_eq!(node.lines(), ["one", "two", "three", "$ run", "four", "$ go", "five"]);
    assert!(node.gaps().is_empty(), "{:?}", node.gaps());
    let pane = node.pane("the pane", |pane| pane.state != PaneState::Gone).await;
    assert_eq!(pane.pane.generation, generation);
    assert_eq!(until_problem(&node, "").await, "");
    node.stop().await;
}
