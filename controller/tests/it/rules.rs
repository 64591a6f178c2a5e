//! Packs of rules: pushed by a person, taken or refused by nodes, kept over restarts.

use std::time::Duration;

use tonic::Code;
use wa_link::principal::Role;
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{AgentKind, PaneState, SpoolId};

use crate::desk::{Desk, Node, address, pane, pane_ref, until};

pub(crate) fn pack(name: &str, rule: &str) -> v1::RulePack {
    let text = format!(
        r#"schema = "wa.pack/1"
[[rule]]
id = "{rule}"
event = "agent.crashed"
agent = "*"
region = "end"
columns = [0, 0]
boxed = false
literals = ["Illegal instruction"]
pattern = 'Illegal instruction(?:$| )'
rearm = "once"
[[rule.example]]
text = """
Illegal instruction
dev@box:~/webapp$
"""
"#
    );
    v1::RulePack { name: name.into(), text, shadow: false }
}

fn push(packs: Vec<v1::RulePack>) -> v1::PushRulesRequest {
    v1::PushRulesRequest { packs, ..Default::default() }
}

fn names(packs: &v1::RulePacks) -> Vec<&str> {
    packs.packs.iter().map(|pack| pack.name.as_str()).collect()
}

async fn packs(node: &mut Node) -> v1::RulePacks {
    node.next(|m| if let Down::RulePacks(packs) = m { Some(packs.clone()) } else { None }).await.unwrap()
}

/// Until the controller has taken in what a node said of its rules.
async fn known(desk: &Desk, host: &str, test: impl Fn(&v1::RulesReport) -> bool) {
    until("the report", async || {
        let mut nodes = desk.running().registry().rules().into_iter();
        nodes.find(|node| node.host.as_str() == host)?.report.filter(|report| test(report)).map(drop)
    })
    .await;
}

async fn applies(node: &Node, revision: &str) {
    let report = v1::RulesReport { revision: revision.into(), ..Default::default() };
    node.send(Up::Rules(report)).await;
}

fn outcomes(response: &v1::PushRulesResponse) -> Vec<(&str, &str)> {
    response.nodes.iter().map(|node| (node.host.as_str(), node.outcome.as_str())).collect()
}

#[tokio::test]
async fn a_push_reaches_the_nodes_and_says_what_became_of_it() {
    let desk = Desk::start().await;
    let (one, two) = (desk.enrol("web-1").await, desk.enrol("web-2").await);
    desk.enrol("web-3").await;
    let mut good = Node::connect(&desk, &one, SpoolId::generate()).await;
    let mut bad = Node::connect(&desk, &two, SpoolId::generate()).await;
    assert_eq!(
        packs(&mut good).await,
        v1::RulePacks::default(),
        "a level is told also when there is nothing"
    );
    packs(&mut bad).await;
    let mut admin = desk.admin().await;
    let serve = async {
        let set = packs(&mut good).await;
        assert_eq!(names(&set), ["shop"]);
        assert_eq!(set.packs[0], pack("shop", "shop.one"));
        applies(&good, &set.revision).await;
        let refused_revision = packs(&mut bad).await.revision;
        let refused = "pack shop: line 3: shop.one is a rule of the node's own".to_owned();
        bad.send(Up::Rules(v1::RulesReport { refused_revision, refused, ..Default::default() })).await;
        set.revision
    };
    let (pushed, revision) = tokio::join!(admin.push_rules(push(vec![pack("shop", "shop.one")])), serve);
    let pushed = pushed.unwrap().into_inner();
    assert_eq!(pushed.revision, revision);
    assert_eq!(outcomes(&pushed), [("web-1", "applied"), ("web-2", "refused"), ("web-3", "unreachable")]);
    assert!(pushed.nodes[1].reason.contains("line 3") && pushed.nodes[2].report.is_none(), "{pushed:?}");

    let status = admin.fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner();
    let problems: Vec<_> = status.nodes.iter().map(|node| node.problems.join(" ")).collect();
    assert_eq!(
        problems,
        ["", "rules: pack shop: line 3: shop.one is a rule of the node's own; runs no pushed rules", ""]
    );
    let trail = desk.running().store().audit_trail().await.unwrap();
    let entry = trail.iter().find(|row| row.what == "rules.push").unwrap();
    assert_eq!((&*entry.who, &*entry.target), ("operator:owner", "shop"));
    // The same again is no change: the answer is at hand, and nothing goes out or into the trail.
    let again = admin.push_rules(push(vec![pack("shop", "shop.one")])).await.unwrap().into_inner();
    assert_eq!((outcomes(&again), again.revision.as_str()), (outcomes(&pushed), revision.as_str()));
    assert_eq!(desk.running().store().audit_trail().await.unwrap().len(), trail.len());
}

#[tokio::test]
async fn a_bad_pack_changes_nothing() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut admin = desk.admin().await;
    let first = admin.push_rules(push(vec![pack("shop", "shop.one")])).await.unwrap().into_inner();
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    assert_eq!(packs(&mut node).await.revision, first.revision);
    applies(&node, &first.revision).await;

    let mut broken = pack("broken", "broken.one");
    broken.text = broken.text.replace("instruction(?:", "(unclosed(");
    let named = |name: &str| v1::RulePack { name: name.into(), ..pack("x", "x.one") };
    let long = v1::RulePack { text: "#".repeat(300 * 1024), ..pack("long", "x.one") };
    let wrong: [(Vec<v1::RulePack>, &[&str]); 8] = [
        (vec![pack("fine", "fine.one"), broken], &["pack broken", "broken.one", "unclosed"]),
        (vec![pack("other", "shop.one")], &["shop.one"]),
        (vec![named("../etc/passwd")], &["no name for a pack"]),
        (vec![named("")], &["no name for a pack"]),
        (vec![named("Shop")], &["no name for a pack"]),
        (vec![pack("a", "a.one"), pack("a", "a.two")], &["named twice"]),
        (vec![long], &["pack long", "at most"]),
        (vec![], &["nothing to push"]),
    ];
    for (packs, words) in wrong {
        let refused = admin.push_rules(push(packs)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(words.iter().all(|word| refused.message().contains(word)), "{words:?}: {refused}");
    }
    let many = (0..33).map(|n| pack(&format!("p{n}"), &format!("p{n}.one"))).collect();
    let refused = admin.push_rules(push(many)).await.unwrap_err();
    assert!(refused.message().contains("at most 32"), "{refused}");
    let remove = |name: &str| v1::PushRulesRequest { remove: vec![name.into()], ..Default::default() };
    let unknown = admin.push_rules(remove("claude")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let dry = v1::PushRulesRequest { dry_run: true, ..push(vec![pack("more", "more.one")]) };
    let dry = admin.push_rules(dry).await.unwrap().into_inner();
    assert!(dry.revision != first.revision && dry.nodes.is_empty());
    let listed = admin.list_rules(v1::ListRulesRequest {}).await.unwrap().into_inner();
    assert_eq!((listed.revision.as_str(), listed.packs.len()), (first.revision.as_str(), 1));

    let serve = async {
        let set = packs(&mut node).await;
        applies(&node, &set.revision).await;
        set
    };
    let (gone, set) = tokio::join!(admin.push_rules(remove("shop")), serve);
    // Of all that was refused, nothing went out meanwhile.
    assert_eq!(set, v1::RulePacks::default());
    assert_eq!(outcomes(&gone.unwrap().into_inner()), [("web-1", "applied")]);
}

#[tokio::test]
async fn packs_are_kept_and_reach_nodes_that_come_later() {
    let mut desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let both = push(vec![v1::RulePack { shadow: true, ..pack("dim", "dim.one") }, pack("shop", "shop.one")]);
    let pushed = desk.admin().await.push_rules(both).await.unwrap().into_inner();
    assert_eq!(outcomes(&pushed), [("web-1", "unreachable")]);
    desk.kill_and_restart().await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let set = packs(&mut node).await;
    assert_eq!((names(&set), set.packs[0].shadow), (vec!["dim", "shop"], true));
    assert_eq!(set.revision, pushed.revision);
    // Again with each session; what an earlier one said does not count.
    applies(&node, &set.revision).await;
    known(&desk, "web-1", |report| report.revision == set.revision).await;
    node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    assert_eq!(packs(&mut node).await, set);
    let mut viewer = desk.fleet(Role::Viewer, "ada").await;
    let listed = viewer.list_rules(v1::ListRulesRequest {}).await.unwrap().into_inner();
    assert_eq!((listed.nodes[0].outcome.as_str(), listed.nodes[0].report.is_some()), ("pending", false));
    let shop = &listed.packs[1];
    assert_eq!((shop.pack.as_ref(), shop.rules, shop.hash.len()), (Some(&pack("shop", "shop.one")), 1, 64));
    assert_eq!(shop.who, "operator:owner");
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_pending_and_holds_up_no_other() {
    let desk = Desk::start().await;
    let (one, two) = (desk.enrol("web-1").await, desk.enrol("web-2").await);
    let mut quick = Node::connect(&desk, &one, SpoolId::generate()).await;
    // Never reads what it is sent.
    let _stuck = Node::connect(&desk, &two, SpoolId::generate()).await;
    packs(&mut quick).await;
    let large = |n: u32| v1::RulePack {
        text: format!("{}\n#{}", pack("shop", "shop.one").text, n.to_string().repeat(200 * 1024)),
        ..pack("shop", "shop.one")
    };
    let mut admin = desk.admin().await;
    for n in 0..4 {
        let request = v1::PushRulesRequest { timeout_ms: 300, ..push(vec![large(n)]) };
        let serve = async {
            let revision = packs(&mut quick).await.revision;
            applies(&quick, &revision).await;
        };
        let (pushed, ()) = tokio::join!(admin.push_rules(request), serve);
        let pushed = pushed.unwrap().into_inner();
        assert_eq!(outcomes(&pushed), [("web-1", "applied"), ("web-2", "pending")]);
    }
}

#[tokio::test]
async fn a_push_that_is_overtaken_says_so() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    packs(&mut node).await;
    let (mut first, mut second) = (desk.admin().await, desk.admin().await);
    let overtake = async {
        packs(&mut node).await;
        let late = v1::PushRulesRequest { timeout_ms: 1, ..push(vec![pack("b", "b.one")]) };
        second.push_rules(late).await.unwrap();
        packs(&mut node).await
    };
    let waiting = v1::PushRulesRequest { timeout_ms: 600_000, ..push(vec![pack("a", "a.one")]) };
    let (overtaken, set) = tokio::join!(first.push_rules(waiting), overtake);
    let overtaken = overtaken.unwrap().into_inner();
    assert_eq!(outcomes(&overtaken), [("web-1", "pending")]);
    assert!(overtaken.nodes[0].reason.contains("another push"), "{overtaken:?}");
    assert_eq!(names(&set), ["a", "b"]);
}

/// Each is checked with the other, whichever is first.
#[tokio::test]
async fn two_pushes_at_a_time_are_both_there_or_one_is_refused() {
    let desk = Desk::start().await;
    let (mut one, mut two) = (desk.admin().await, desk.admin().await);
    let (a, b) = tokio::join!(
        one.push_rules(push(vec![pack("a", "a.one")])),
        two.push_rules(push(vec![pack("b", "b.one")]))
    );
    a.and(b).unwrap();
    let (c, d) = tokio::join!(
        one.push_rules(push(vec![pack("c", "the.same")])),
        two.push_rules(push(vec![pack("d", "the.same")]))
    );
    assert!(c.is_ok() != d.is_ok(), "{c:?} {d:?}");
    let listed = one.list_rules(v1::ListRulesRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.packs.len(), 3);
}

fn rules_request(m: &Down) -> Option<v1::RulesRequest> {
    if let Down::RulesRequest(request) = m { Some(request.clone()) } else { None }
}

#[tokio::test]
async fn a_pane_is_explained_by_its_node() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let panes = (1..=3).map(|id| pane(id, Some(AgentKind::codex()), PaneState::Idle)).collect();
    node.panes(true, panes).await;
    let mut agent = desk.fleet(Role::Agent, "web-1").await;
    until("the pane", async || {
        let request = v1::ListPanesRequest { pane: Some(address("web-1", 3)), ..Default::default() };
        agent.clone().list_panes(request).await.ok()
    })
    .await;
    let explained = v1::Explanation { state: "idle".into(), ..Default::default() };
    let serve = async {
        for (pane_id, error, explanation) in
            [(1, "", Some(explained.clone())), (2, "the pane is frozen", None), (3, "", None)]
        {
            let request = node.next(rules_request).await.unwrap();
            assert_eq!(request.about, Some(v1::rules_request::About::Explain(pane_ref(pane_id).into())));
            let reply = v1::RulesReply {
                request_id: request.request_id,
                error: error.into(),
                explanation,
                ..Default::default()
            };
            node.send(Up::RulesReply(reply)).await;
        }
    };
    let explain = |pane_id| v1::ExplainPaneRequest { pane: Some(address("web-1", pane_id)) };
    let ask = async {
        let one = agent.explain_pane(explain(1)).await.unwrap().into_inner();
        assert_eq!(one.explanation, Some(explained.clone()));
        let two = agent.explain_pane(explain(2)).await.unwrap_err();
        assert!(two.code() == Code::Unavailable && two.message().contains("frozen"), "{two}");
        assert_eq!(agent.explain_pane(explain(3)).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(agent.explain_pane(explain(4)).await.unwrap_err().code(), Code::NotFound);
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn unknown_screens_and_fresh_counts_come_from_the_nodes_that_are_here() {
    let desk = Desk::start().await;
    let one = desk.enrol("web-1").await;
    desk.enrol("web-2").await;
    let mut node = Node::connect(&desk, &one, SpoolId::generate()).await;
    let mut viewer = desk.fleet(Role::Viewer, "ada").await;
    let screen = v1::UnknownScreen { agent: "codex".into(), count: 3, ..Default::default() };
    let serve = async {
        let request = node.next(rules_request).await.unwrap();
        assert!(matches!(request.about, Some(v1::rules_request::About::Unknown(_))));
        let (request_id, unknown) = (request.request_id, vec![screen.clone()]);
        node.send(Up::RulesReply(v1::RulesReply { request_id, unknown, ..Default::default() })).await;
    };
    let (answer, ()) = tokio::join!(viewer.unknown_screens(v1::UnknownScreensRequest::default()), serve);
    let hosts = answer.unwrap().into_inner().hosts;
    assert_eq!((hosts[0].host.as_str(), hosts[0].error.as_str()), ("web-1", ""));
    assert_eq!(hosts[0].screens, [screen]);
    assert!(hosts[1].host == "web-2" && hosts[1].error.contains("not connected"), "{hosts:?}");
    let nowhere = v1::UnknownScreensRequest { host: "web-9".into() };
    assert_eq!(viewer.unknown_screens(nowhere).await.unwrap_err().code(), Code::NotFound);

    // A list asks a node that has spoken of its rules for fresh figures.
    applies(&node, "").await;
    known(&desk, "web-1", |_| true).await;
    let counted = |count| v1::RulesReport {
        packs: vec![v1::PackStatus {
            name: "dim".into(),
            shadowed: vec![v1::ShadowCount { rule: "dim.one".into(), event: "bell".into(), count }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let serve = async {
        let request = node.next(rules_request).await.unwrap();
        let (request_id, report) = (request.request_id, Some(counted(7)));
        node.send(Up::RulesReply(v1::RulesReply { request_id, report, ..Default::default() })).await;
    };
    let (listed, ()) = tokio::join!(viewer.list_rules(v1::ListRulesRequest {}), serve);
    let nodes = listed.unwrap().into_inner().nodes;
    assert_eq!((nodes[0].outcome.as_str(), nodes[0].report.clone()), ("applied", Some(counted(7))));
    assert_eq!((nodes[1].outcome.as_str(), nodes[1].report.clone()), ("unreachable", None));
    // One that does not answer is shown as it was last.
    let listed = tokio::time::timeout(Duration::from_secs(10), viewer.list_rules(v1::ListRulesRequest {}));
    assert_eq!(listed.await.unwrap().unwrap().into_inner().nodes[0].report, Some(counted(7)));
}
