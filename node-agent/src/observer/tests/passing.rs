//! Lines that go by faster than anybody looks.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use wa_embedded_mux::Command;
use wa_proto::wire::v1;
use wa_proto::{Lane, PaneState};

use crate::testing::{Mux, Node};

/// Has Codex's name and looks like it. It takes a prompt when `go` is there, and then prints in one breath, for each
/// `flood-N` that comes, what a long command and an error behind it print.
const AGENT: &str = r#"#!/bin/bash
stty raw -echo
dir=$1
live=$'\r\n› Ask Codex to do anything\r\n\r\n  gpt-5.1-codex default · ~/webapp\r\n  ? for shortcuts'
work=$'\r\n• Working (3s • esc to interrupt)\r\n'
up=0
above() { [ $up = 0 ] || out+=$'\e['"$up"$'A'; out+=$'\r\e[J'; }
show() { printf '%s' $'\e[?2026h'"$out"$'\e[?2026l'; }
out=''; above; out+=$'>_ OpenAI Codex (v0.169.0)\r\n'"$live"; up=4; show
until [ -e "$dir/go" ]; do sleep 0.02; done
out=''; above; out+=$'› read the log\r\n'"$work$live"; up=6; show
for n in 1 2; do
  until [ -e "$dir/flood-$n" ]; do sleep 0.02; done
  out=''; above
  out+=$'• Ran cat old.log\r\n  └ ■ unexpected status 500 Internal Server Error: quoted\r\n\r\n'
  for i in {1..300}; do out+="    output row $n.$i"$'\r\n'; done
  out+=$'\r\n■ unexpected status 503 Service Unavailable: upstream '"$n"$'\r\n\r\n'
  for i in {1..300}; do out+="    more of it $n.$i"$'\r\n'; done
  out+="$work$live"; up=6; show
  : > "$dir/done-$n"
done
while IFS= read -rN1 key; do :; done
"#;

fn agent(dir: &Path) -> Command {
    let path = dir.join("codex");
    std::fs::write(&path, AGENT).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Command::new([path.to_str().unwrap(), dir.to_str().unwrap()])
}

fn errors(node: &Node) -> Vec<v1::Event> {
    node.events().into_iter().filter(|event| event.event == "error.api").collect()
}

/// The row under which a line with these words was logged.
fn row_of(node: &Node, words: &str) -> Option<(u64, i64)> {
    node.records(Lane::Bulk).iter().find_map(|record| {
        let Some(v1::record::Body::Lines(all)) = &record.body else { return None };
        let line = all.lines.iter().find(|line| line.text.starts_with('■') && line.text.ends_with(words))?;
        Some((all.layout, line.row))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_flood_is_told_once_over_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let mux = Mux::start(dir.path(), agent(dir.path()));
    let node = Node::start(dir.path(), &mux.socket);
    node.pane("an idle agent", |pane| pane.agent_pid > 0 && pane.state == PaneState::Idle).await;
    std::fs::write(dir.path().join("go"), "").unwrap();
    node.pane("at work", |pane| pane.state == PaneState::Working).await;
    std::fs::write(dir.path().join("flood-1"), "").unwrap();
    let told = node.until("the error", |node| Some(errors(node)).filter(|told| !told.is_empty())).await;
    assert_eq!((told[0].rule.as_str(), told[0].fields["status"].as_str()), ("codex.error.notice", "503"));
    let logged = node.until("its line", |node| row_of(node, "upstream 1")).await;
    assert_eq!((told[0].layout, told[0].row), logged);
    let last = |n: u32| format!("    more of it {n}.270");
    node.until("the flood", |node| node.lines().contains(&last(1)).then_some(())).await;
    node.stop().await;

    // The second comes while no node looks.
    std::fs::write(dir.path().join("flood-2"), "").unwrap();
    while !dir.path().join("done-2").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let node = Node::start(dir.path(), &mux.socket);
    node.until("the second error", |node| (errors(node).len() > 1).then_some(())).await;
    node.until("the second flood", |node| node.lines().contains(&last(2)).then_some(())).await;
    let told = errors(&node);
    let rows: Vec<Option<(u64, i64)>> = told.iter().map(|event| Some((event.layout, event.row))).collect();
    assert_eq!(rows, ["upstream 1", "upstream 2"].map(|words| row_of(&node, words)), "{told:?}");
    node.stop().await;
}
