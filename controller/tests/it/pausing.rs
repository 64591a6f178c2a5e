//! No action begins after `wa pause` has returned, with permits under way, whatever is paused.
//!
//! Several nodes ask for permits as fast as they are answered. A permit is as old as its question and good for a second,
//! so a pause that has answered leaves none behind: none is granted to a question that came later, and all that were
//! granted before are worth nothing any more.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use wa_controller::Definition;
use wa_link::principal::Role;
use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, EventKind, PaneState, SpoolId};

use crate::acting::send;
use crate::desk::{Desk, LIMIT, Node, address, pane, until};

/// How long a node may rely on a permit, by its own clock.
const PERMIT_LIFE: Duration = Duration::from_secs(1);
const HOSTS: [&str; 3] = ["web-1", "web-2", "web-3"];

/// A node with one pane that has an open action.
async fn node(desk: &Desk, host: &str, workflow: bool) -> (Node, v1::Action) {
    let identity: Identity = desk.enrol(host).await;
    let mut node = Node::connect(desk, &identity, SpoolId::generate()).await;
    node.panes(true, vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)]).await;
    let address = address(host, 1);
    let known = address.clone().try_into().unwrap();
    until("the pane", async || desk.running().registry().pane(&known).filter(|view| view.connected)).await;
    if workflow {
        node.event(EventKind::Bell, AgentKind::codex(), &[]).await;
    } else {
        let mut ada = desk.fleet(Role::Operator, "ada").await;
        let request = v1::ActRequest { pane: Some(address), timeout_ms: 60_000, ..send("x") };
        // The caller's part is over when the desk is.
        let tasks = wa_link::shutdown::Tasks::new(wa_link::shutdown::Shutdown::new());
        tasks.spawn("caller", async move { drop(ada.act(request).await) });
    }
    let action = node.action().await;
    (node, action)
}

/// When each question for a permit was asked, and whether it was granted.
type Asked = Vec<(Instant, bool)>;

/// Asks again and again while somebody looks.
async fn ask(mut node: Node, action: v1::Action, told: watch::Sender<Asked>) {
    while !told.is_closed() {
        let asked = Instant::now();
        let granted = node.ask(&action.action_id).await.refused.is_empty();
        told.send_modify(|all| all.push((asked, granted)));
    }
}

async fn look(host: &str, asked: &mut watch::Receiver<Asked>, wanted: impl FnMut(&Asked) -> bool) -> Asked {
    let found = tokio::time::timeout(LIMIT, asked.wait_for(wanted)).await;
    found.unwrap_or_else(|_| panic!("{host} was not answered in time")).unwrap().clone()
}

/// `holds`: the hosts on which the pause must hold.
async fn nothing_begins_after(pause: v1::PauseRequest, workflow: bool, holds: &[&str]) {
    let greet = "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
        [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '60s'\n";
    let place = tempfile::tempdir().unwrap();
    let mut config = wa_controller::Config::local(place.path().join("data"));
    config.workflows.push(Definition::parse(greet).unwrap());
    let desk = Desk::with(place, config).await;
    let tasks = wa_link::shutdown::Tasks::new(wa_link::shutdown::Shutdown::new());
    let mut asking = Vec::new();
    for host in HOSTS {
        let (node, action) = node(&desk, host, workflow).await;
        let (tell, told) = watch::channel(Asked::new());
        tasks.spawn("asker", ask(node, action, tell));
        asking.push((host, told));
    }
    for (host, told) in &mut asking {
        look(host, told, |all| all.iter().any(|(_, granted)| *granted)).await;
    }
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    ada.pause(pause).await.unwrap();
    let returned = Instant::now();
    for (host, mut told) in asking {
        let all =
            look(host, &mut told, |all| all.iter().filter(|(at, _)| *at > returned).count() >= 10).await;
        let late = all.iter().filter(|(at, granted)| *granted && *at + PERMIT_LIFE > returned).count();
        assert_eq!(late == 0, holds.contains(&host), "{host}: {late} permits outlive the pause");
    }
}

fn pause() -> v1::PauseRequest {
    v1::PauseRequest { paused: true, reason: "lunch".into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_pane() {
    let one = v1::PauseRequest { pane: Some(address("web-2", 1)), ..pause() };
    nothing_begins_after(one, false, &["web-2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_hosts() {
    let some = v1::PauseRequest { selector: "host in (web-1,web-3)".into(), ..pause() };
    nothing_begins_after(some, false, &["web-1", "web-3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_everything() {
    nothing_begins_after(pause(), false, &HOSTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_workflow() {
    let greet = v1::PauseRequest { workflow: "greet".into(), ..pause() };
    nothing_begins_after(greet, true, &HOSTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_workflow_leaves_people_alone() {
    let greet = v1::PauseRequest { workflow: "greet".into(), ..pause() };
    nothing_begins_after(greet, false, &[]).await;
}

/// The controller that gave the permit is gone; the one that pauses knows only that the action is open.
#[tokio::test]
async fn of_everything_right_after_a_restart() {
    let mut desk = Desk::start().await;
    let (mut node, action) = node(&desk, HOSTS[0], false).await;
    let asked = Instant::now();
    assert_eq!(node.ask(&action.action_id).await.refused, "");
    desk.kill_and_restart().await;
    let restarted = asked.elapsed();
    desk.admin().await.pause(pause()).await.unwrap();
    assert!(
        asked.elapsed() >= PERMIT_LIFE,
        "restarted after {restarted:?}, paused after {:?}",
        asked.elapsed()
    );
}
