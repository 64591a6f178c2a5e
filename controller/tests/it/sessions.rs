//! Sessions: what a node sends, what is kept of it, and what people see.

use futures_util::StreamExt as _;
use tokio::time::timeout;
use tonic::Code;
use wa_link::principal::Role;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::wire::{to_us, v1};
use wa_proto::{
    AgentKind, EventKind, GapCause, Hole, Lane, OutcomeKind, PaneState, Record, RecordBody, SpoolId,
};

use crate::desk::{
    Desk, LIMIT, Node, address, block, event_record, line_record, outcome_record, pane, pane_ref, until,
};

async fn log(desk: &Desk, request: v1::LogsRequest) -> Vec<String> {
    let mut stream = desk.admin().await.logs(request).await.unwrap().into_inner();
    let mut out = Vec::new();
    while let Some(item) = stream.message().await.unwrap() {
        out.push(text(item));
    }
    out
}

fn text(item: v1::LogItem) -> String {
    match item.item {
        Some(v1::log_item::Item::Line(line)) => line.text,
        Some(v1::log_item::Item::Gap(gap)) => format!("gap {}", gap.cause),
        Some(v1::log_item::Item::Message(message)) => message.message.unwrap_or_default().text,
        None => panic!("neither line nor gap"),
    }
}

fn of_pane(pane_id: u64) -> v1::LogsRequest {
    v1::LogsRequest { pane: Some(address("web-1", pane_id)), ..Default::default() }
}

/// Promises L1 and L2 over the wire: a node that never got its acknowledgements sends everything again.
#[tokio::test]
async fn every_line_is_logged_once_over_kills_of_the_controller() {
    let mut desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let spool = SpoolId::generate();
    let record = |seq| line_record(seq, &format!("line {seq}"));
    for round in 0..4_u64 {
        let mut node = Node::connect(&desk, &identity, spool).await;
        assert!(node.welcome.acked_bulk >= round * 50, "what was acknowledged is durable");
        for from in (1..=(round + 1) * 50).step_by(10) {
            node.records(Lane::Bulk, (from..from + 10).map(record).collect()).await;
        }
        if round % 2 == 0 {
            while node.next(|m| if let Down::Ack(ack) = m { Some(ack.seq) } else { None }).await.unwrap()
                < (round + 1) * 50
            {}
        } else {
            // Killed with blocks on their way, and then all acknowledged by the next.
            desk.kill_and_restart().await;
            let mut node = Node::connect(&desk, &identity, spool).await;
            node.records(Lane::Bulk, (1..=(round + 1) * 50).map(record).collect()).await;
            node.acked(Lane::Bulk, (round + 1) * 50).await;
            continue;
        }
        desk.kill_and_restart().await;
    }
    let wanted: Vec<String> = (1..=200).map(|seq| format!("line {seq}")).collect();
    assert_eq!(log(&desk, of_pane(1)).await, wanted);
    assert_eq!(log(&desk, v1::LogsRequest { tail: 3, ..of_pane(1) }).await, wanted[197..]);
}

#[tokio::test]
async fn a_bad_block_ends_its_session_and_no_other() {
    let desk = Desk::start().await;
    let (bad, good) = (desk.enrol("web-1").await, desk.enrol("web-2").await);
    let mut other = Node::connect(&desk, &good, SpoolId::generate()).await;
    let spool = SpoolId::generate();
    type Bend = fn(&mut v1::RecordBlock);
    let bends: [(Bend, &str); 7] = [
        (|block| block.count = 9, "claims 9"),
        (|block| block.data.truncate(3), "does not decompress"),
        (|block| block.raw_size = u32::MAX, "at most"),
        (|block| block.first_seq = 0, "seqs that follow"),
        (|block| (block.compression, block.dictionary) = (1, 4_000_000), "unknown dictionary 4000000"),
        (|block| block.form = 77, "unknown form of records 77"),
        (|block| block.lane = 0, "lane is missing"),
    ];
    for (bend, expect) in bends {
        let node = Node::connect(&desk, &bad, spool).await;
        let mut message = block(Lane::Bulk, vec![line_record(1, "x")]);
        bend(&mut message);
        node.send(Up::Block(message)).await;
        let reason = node.ended().await;
        assert!(reason.code() == Code::InvalidArgument && reason.message().contains(expect), "{reason}");
    }
    // Seqs from the future.
    let node = Node::connect(&desk, &bad, spool).await;
    node.records(Lane::Bulk, vec![line_record(5, "x")]).await;
    let reason = node.ended().await;
    assert!(reason.message().contains("cannot follow seq 0"), "{reason}");
    // A second hello.
    let node = Node::connect(&desk, &bad, spool).await;
    node.send(Up::Hello(v1::Hello::default())).await;
    let reason = node.ended().await;
    assert!(reason.message().contains("one Hello"), "{reason}");

    other.records(Lane::Bulk, vec![line_record(1, "unharmed")]).await;
    other.acked(Lane::Bulk, 1).await;
    assert!(desk.running().metrics().render().contains("wa_controller_sessions_refused_total 9\n"));
    // The trail has the first few of them, with the reasons; what a node sends cannot fill it.
    let trail = desk.running().store().audit_trail().await.unwrap();
    let rows: Vec<_> = trail.iter().filter(|row| row.what == "session").collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.who == "node:web-1" && row.decision == "refused"));
    assert!(rows[0].detail.contains("claims 9") && rows[3].detail.contains("seqs that follow"));
}

/// Seqs from the past, and a hello as it was sent before: nothing enters twice, and nothing is taken back.
#[tokio::test]
async fn what_is_replayed_changes_nothing() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let spool = SpoolId::generate();
    let mut node = Node::connect(&desk, &identity, spool).await;
    node.records(Lane::Bulk, (1..=3).map(|seq| line_record(seq, "first")).collect()).await;
    node.acked(Lane::Bulk, 3).await;
    node.records(Lane::Bulk, (1..=2).map(|seq| line_record(seq, "again")).collect()).await;
    node.acked(Lane::Bulk, 3).await;
    let mut again = Node::connect(&desk, &identity, spool).await;
    assert_eq!(again.welcome.acked_bulk, 3);
    assert!(node.ended().await.message().contains("took its place"));
    again.records(Lane::Bulk, (2..=4).map(|seq| line_record(seq, "again")).collect()).await;
    again.acked(Lane::Bulk, 4).await;
    assert_eq!(log(&desk, of_pane(1)).await, ["first", "first", "first", "again"]);
}

#[tokio::test]
async fn the_newer_session_of_a_node_is_the_one() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let first = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let mut second = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let reason = first.ended().await;
    assert!(reason.message().contains("took its place"), "{reason}");
    second.records(Lane::Bulk, vec![line_record(1, "x")]).await;
    second.acked(Lane::Bulk, 1).await;
    let nodes = desk.admin().await.fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner().nodes;
    assert!(nodes[0].connected);
}

#[tokio::test]
async fn a_node_of_another_protocol_is_told_so() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let refused = Node::try_connect(&desk, &identity, SpoolId::generate(), &[7, 8]).await.err().unwrap();
    assert!(refused.message().contains("protocol"), "{refused}");
    let node = Node::try_connect(&desk, &identity, SpoolId::generate(), &[1, 8]).await.unwrap();
    assert_eq!(node.welcome.protocol, 1);
}

#[tokio::test]
async fn panes_are_listed_by_selector_and_named_after_a_restart() {
    let mut desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let panes = vec![pane(1, Some(AgentKind::codex()), PaneState::Working), pane(2, None, PaneState::Shell)];
    node.panes(true, panes).await;
    let heartbeat = v1::Heartbeat {
        now_us: to_us(wa_link::clock::now()) + 5_000_000,
        lag_ms: 7,
        problems: vec!["no policy file".into()],
        ..Default::default()
    };
    node.send(Up::Heartbeat(heartbeat)).await;
    node.next(|m| matches!(m, Down::Heartbeat(_)).then_some(())).await.unwrap();

    let list = async |desk: &Desk, selector: &str| {
        let request = v1::ListPanesRequest { selector: selector.into(), pane: None };
        desk.admin().await.list_panes(request).await.map(|answer| answer.into_inner().panes)
    };
    for (selector, wanted) in [
        ("", vec![1, 2]),
        ("agent=codex", vec![1]),
        ("state in (shell,idle)", vec![2]),
        ("host=web-1,project=shop,agent", vec![1]),
        ("pane=web-1/2", vec![2]),
        ("host=web-2", vec![]),
    ] {
        let found = list(&desk, selector).await.unwrap();
        let ids: Vec<u64> =
            found.iter().map(|item| item.pane.as_ref().unwrap().r#ref.as_ref().unwrap().pane_id).collect();
        assert_eq!(ids, wanted, "{selector}");
        assert!(found.iter().all(|item| item.connected && !item.paused));
    }
    assert_eq!(list(&desk, "agent in (").await.unwrap_err().code(), Code::InvalidArgument);
    let unknown = v1::ListPanesRequest { selector: String::new(), pane: Some(address("web-1", 9)) };
    assert_eq!(desk.admin().await.list_panes(unknown).await.unwrap_err().code(), Code::NotFound);
    let status = desk.admin().await.fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner().nodes;
    assert!((4900..=5100).contains(&status[0].clock_skew_ms), "{status:?}");
    assert_eq!((status[0].lag_ms, status[0].problems.as_slice()), (7, &["no policy file".to_owned()][..]));

    desk.restart().await;
    let kept = list(&desk, "agent=codex").await.unwrap();
    assert!(kept.len() == 1 && !kept[0].connected, "{kept:?}");
    let status = desk.admin().await.fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner().nodes;
    assert!(!status[0].connected && status[0].last_seen_us > 0 && status[0].version == "0.0.test");
    let screen = v1::GetScreenRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    assert_eq!(desk.admin().await.get_screen(screen).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_screen_comes_from_the_node() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.panes(true, (1..=3).map(|id| pane(id, None, PaneState::Shell)).collect()).await;
    let mut viewer = desk.fleet(Role::Viewer, "v").await;
    until("the pane", async || {
        let request = v1::ListPanesRequest { selector: String::new(), pane: Some(address("web-1", 3)) };
        viewer.clone().list_panes(request).await.ok()
    })
    .await;
    let serve = async {
        for (pane_id, error) in [(1, ""), (2, "the mux server is not connected"), (3, "")] {
            let wanted = |m: &Down| if let Down::ScreenRequest(r) = m { Some(r.clone()) } else { None };
            let request = node.next(wanted).await.unwrap();
            assert_eq!(request.pane, Some(pane_ref(pane_id).into()));
            let screen = (pane_id == 1).then(|| v1::Screen { title: "t".into(), ..Default::default() });
            let reply = v1::ScreenReply {
                request_id: request.request_id,
                screen,
                error: error.into(),
                ..Default::default()
            };
            node.send(Up::ScreenReply(reply)).await;
        }
    };
    let ask = async {
        let one = v1::GetScreenRequest { pane: Some(address("web-1", 1)), ..Default::default() };
        let screen = viewer.get_screen(one).await.unwrap().into_inner().screen.unwrap();
        assert_eq!(screen.title, "t");
        let two = v1::GetScreenRequest { pane: Some(address("web-1", 2)), ..Default::default() };
        assert_eq!(viewer.get_screen(two).await.unwrap_err().code(), Code::Unavailable);
        let three = v1::GetScreenRequest { pane: Some(address("web-1", 3)), ..Default::default() };
        assert_eq!(viewer.get_screen(three).await.unwrap_err().code(), Code::NotFound);
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn followers_see_what_arrives_and_end_with_the_controller() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.records(Lane::Bulk, vec![line_record(1, "before")]).await;
    node.acked(Lane::Bulk, 1).await;
    let mut admin = desk.admin().await;
    let follow = v1::LogsRequest { follow: true, ..of_pane(1) };
    let mut lines = admin.logs(follow).await.unwrap().into_inner();
    let follow = v1::EventsRequest { follow: true, selector: "agent=codex".into(), ..Default::default() };
    let mut events = admin.events(follow).await.unwrap().into_inner();
    assert_eq!(text(lines.next().await.unwrap().unwrap()), "before");
    node.records(Lane::Bulk, vec![line_record(2, "after")]).await;
    node.records(
        Lane::Events,
        vec![
            event_record(1, EventKind::Bell, AgentKind::gemini()),
            event_record(2, EventKind::LimitReached, AgentKind::codex()),
        ],
    )
    .await;
    let line = timeout(LIMIT, lines.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(text(line), "after");
    let event = timeout(LIMIT, events.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(event.event.unwrap().event, "limit.reached");
    desk.stop().await;
    assert!(timeout(LIMIT, lines.next()).await.unwrap().is_none_or(|end| end.is_err()));
    assert!(timeout(LIMIT, events.next()).await.unwrap().is_none_or(|end| end.is_err()));
}

#[tokio::test]
async fn events_are_read_by_kind_pane_and_tail() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let kinds = [EventKind::Bell, EventKind::LimitWarning, EventKind::Bell, EventKind::LimitReached];
    let records = (1..).zip(kinds).map(|(seq, kind)| event_record(seq, kind, AgentKind::codex())).collect();
    node.records(Lane::Events, records).await;
    node.acked(Lane::Events, 4).await;
    let read = async |request: v1::EventsRequest| {
        let stream = desk.admin().await.events(request).await.unwrap().into_inner();
        stream.map(|item| item.unwrap().event.unwrap().event).collect::<Vec<_>>().await
    };
    let base = v1::EventsRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    assert_eq!(read(base.clone()).await, ["bell", "limit.warning", "bell", "limit.reached"]);
    assert_eq!(read(v1::EventsRequest { tail: 2, ..base.clone() }).await, ["bell", "limit.reached"]);
    assert_eq!(
        read(v1::EventsRequest { events: vec!["bell".into()], ..base.clone() }).await,
        ["bell", "bell"]
    );
    assert!(read(v1::EventsRequest { pane: Some(address("web-1", 2)), ..base }).await.is_empty());
    let all = read(v1::EventsRequest::default()).await;
    assert_eq!(all[0], "node.joined");
}

#[tokio::test]
async fn search_gives_spans_and_keeps_to_the_selector() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.records(Lane::Bulk, vec![line_record(1, "panic in src/main.rs"), line_record(2, "no panic")]).await;
    node.acked(Lane::Bulk, 2).await;
    let search = async |request: v1::SearchRequest| {
        let stream = desk.admin().await.search(request).await.unwrap().into_inner();
        stream.map(Result::unwrap).collect::<Vec<_>>().await
    };
    let base = v1::SearchRequest { query: "src/main.rs".into(), ..Default::default() };
    let hits = search(base.clone()).await;
    assert_eq!(hits[0].matches, [v1::Span { start: 9, end: 20 }]);
    assert_eq!(search(v1::SearchRequest { selector: "agent=codex".into(), ..base.clone() }).await.len(), 1);
    assert!(search(v1::SearchRequest { selector: "agent=claude".into(), ..base.clone() }).await.is_empty());
    let newest = v1::SearchRequest { query: "panic".into(), limit: 1, ..Default::default() };
    assert_eq!(text(search(newest).await.remove(0).item.unwrap()), "no panic");
    for bad in [("", ""), ("a", "b"), ("", "(")] {
        let request = v1::SearchRequest { query: bad.0.into(), regex: bad.1.into(), ..Default::default() };
        assert_eq!(desk.admin().await.search(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let unknown = v1::LogsRequest { pane: Some(address("web-1", 77)), ..Default::default() };
    assert_eq!(desk.admin().await.logs(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_session() {
    let desk = Desk::start().await;
    let mut identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let (csr_pem, key_pem) = wa_link::tls::csr().unwrap();
    node.send(Up::Renew(v1::RenewRequest { csr_pem, ..Default::default() })).await;
    let reply = |m: &Down| if let Down::Renew(reply) = m { Some(reply.clone()) } else { None };
    let renewed = node.next(reply).await.unwrap();
    assert_eq!(renewed.error, "");
    (identity.certificate_pem, identity.key_pem) = (renewed.certificate_pem, key_pem);
    Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.ended().await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.send(Up::Renew(v1::RenewRequest { csr_pem: "no".into(), ..Default::default() })).await;
    assert!(node.next(reply).await.unwrap().error.contains("request"));
}

/// A node that has just started reports before its mux servers have answered.
#[tokio::test]
async fn a_restarted_node_has_its_panes_until_it_says_otherwise() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let one = || vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)];
    let listed = async |connected: bool| {
        until("the pane", async || {
            let panes = desk.running().registry().panes();
            (panes.len() == 1 && panes[0].connected == connected).then_some(())
        })
        .await;
    };
    let spool = SpoolId::generate();
    let mut node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, one()).await;
    listed(true).await;
    drop(node);

    node = Node::connect(&desk, &identity, spool).await;
    node.panes(true, vec![]).await;
    node.send(Up::Heartbeat(v1::Heartbeat::default())).await;
    node.next(|m| matches!(m, Down::Heartbeat(_)).then_some(())).await.unwrap();
    listed(false).await;
    let screen = || v1::GetScreenRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    let unseen = desk.admin().await.get_screen(screen()).await.unwrap_err();
    assert!(unseen.code() == Code::Unavailable && unseen.message().contains("not yet found"), "{unseen}");
    // It may be waited for.
    let wait =
        v1::WaitRequest { pane: Some(address("web-1", 1)), condition: "idle".into(), ..Default::default() };
    let mut admin = desk.admin().await;
    let found = async { node.panes(false, one()).await };
    let (waited, ()) = tokio::join!(admin.wait(wait), found);
    assert_eq!(waited.unwrap().into_inner().panes.len(), 1);
    // What this session has told, it can take back.
    node.panes(true, vec![]).await;
    until("the pane to be gone", async || desk.running().registry().panes().is_empty().then_some(())).await;
    assert_eq!(desk.admin().await.get_screen(screen()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_node_may_claim_any_time() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    for now_us in [i64::MIN, i64::MAX] {
        node.send(Up::Heartbeat(v1::Heartbeat { now_us, ..Default::default() })).await;
        node.next(|m| matches!(m, Down::Heartbeat(reply) if reply.echo_us == now_us).then_some(()))
            .await
            .unwrap();
    }
}

/// A line that is rewritten while the log is read has left its old place, and must not be missed for that.
#[tokio::test]
async fn a_line_that_is_rewritten_meanwhile_is_listed_all_the_same() {
    const LINES: u64 = 3000;
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let long = "x".repeat(2000);
    for from in (1..=LINES).step_by(100) {
        let records = (from..from + 100).map(|seq| line_record(seq, &format!("{seq} {long}"))).collect();
        node.records(Lane::Bulk, records).await;
        node.acked(Lane::Bulk, from + 99).await;
    }
    let mut stream = desk.admin().await.logs(of_pane(1)).await.unwrap().into_inner();
    let mut rows = vec![text(stream.message().await.unwrap().unwrap())];
    let mut again = line_record(LINES + 1, "rewritten");
    if let wa_proto::RecordBody::Lines(lines) = &mut again.body {
        (lines.lines[0].row, lines.lines[0].rev) = ((LINES - 1).cast_signed(), 1);
    }
    node.records(Lane::Bulk, vec![again]).await;
    node.acked(Lane::Bulk, LINES + 1).await;
    while let Some(item) = stream.message().await.unwrap() {
        rows.push(text(item));
    }
    assert_eq!(rows.len() as u64, LINES);
    assert_eq!(rows[rows.len() - 2], "rewritten");
}

/// What a node has spooled it sends again and again: a long line must not stop its lane for ever.
#[tokio::test]
async fn a_line_of_megabytes_is_logged() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.records(Lane::Bulk, vec![line_record(1, &"minified;".repeat(300_000))]).await;
    node.acked(Lane::Bulk, 1).await;
}

#[tokio::test]
async fn a_node_that_says_nothing_does_not_hold_up_the_end() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let (out, receiver) = tokio::sync::mpsc::channel::<v1::NodeMessage>(1);
    let mut client = wa_proto::wire::v1::node_link_client::NodeLinkClient::new(desk.channel(&identity).await);
    let session = client.session(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap();
    timeout(LIMIT / 4, desk.stop()).await.expect("the end comes at once");
    drop((out, session));
}

/// It has opened its stream and not said a word when it is revoked.
#[tokio::test]
async fn a_revoked_node_does_not_begin_a_session() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let (out, receiver) = tokio::sync::mpsc::channel::<v1::NodeMessage>(1);
    let mut client = wa_proto::wire::v1::node_link_client::NodeLinkClient::new(desk.channel(&identity).await);
    let session = client.session(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap();
    let who = wa_link::principal::Principal { role: Role::Node, name: "web-1".parse().unwrap() };
    desk.running().store().write(move |tx| tx.revoke(&who, "operator:ada", "")).await.unwrap();
    let ended = timeout(std::time::Duration::from_secs(5), session.into_inner().message()).await;
    let refusal = ended.expect("it is cut off").unwrap_err();
    assert!(refusal.message().contains("revoked"), "{refusal}");
    drop(out);
}

/// Each certificate is written down for good.
#[tokio::test]
async fn a_node_does_not_get_certificates_without_end() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let (csr_pem, _) = wa_link::tls::csr().unwrap();
    let reply = |m: &Down| if let Down::Renew(reply) = m { Some(reply.clone()) } else { None };
    let mut given = 0;
    while given < 100 {
        node.send(Up::Renew(v1::RenewRequest { csr_pem: csr_pem.clone(), ..Default::default() })).await;
        let renewed = node.next(reply).await.unwrap();
        if !renewed.error.is_empty() {
            assert!(renewed.error.contains("too many certificates"), "{}", renewed.error);
            break;
        }
        given += 1;
    }
    assert_eq!(given, 59, "one came with the token");
}

/// A revoked node may have its last word under way: it is not given a new certificate.
#[tokio::test]
async fn a_revoked_certificate_is_not_renewed() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let who = wa_link::principal::Principal { role: Role::Node, name: "web-1".parse().unwrap() };
    let (csr_pem, _) = wa_link::tls::csr().unwrap();
    // Both are in the store's queue before the session can have heard of the revocation.
    let revoked = desk.running().store().write(move |tx| tx.revoke(&who, "operator:ada", ""));
    let renew = node.send(Up::Renew(v1::RenewRequest { csr_pem, ..Default::default() }));
    let (revoked, ()) = tokio::join!(revoked, renew);
    assert_eq!(revoked.unwrap(), 1);
    let reply = |m: &Down| if let Down::Renew(reply) = m { Some(reply.clone()) } else { None };
    match node.next(reply).await {
        Ok(renewed) => {
            assert!(renewed.error.contains("revoked") && renewed.certificate_pem.is_empty(), "{renewed:?}")
        }
        Err(ended) => assert!(ended.message().contains("revoked"), "{ended}"),
    }
}

/// What a node says of itself is kept in memory for each of a thousand nodes.
#[tokio::test]
async fn a_heartbeat_of_megabytes_is_cut() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let problems = (0..100).map(|_| "\u{fc}".repeat(10_000)).collect();
    let mux = v1::MuxStatus { version: "v".repeat(5_000), ..Default::default() };
    let heartbeat = v1::Heartbeat { problems, muxes: vec![mux; 300], dropped: 7, ..Default::default() };
    node.send(Up::Heartbeat(heartbeat)).await;
    let told = until("the heartbeat", async || {
        let mut admin = desk.admin().await;
        let answer = admin.fleet_status(v1::FleetStatusRequest::default()).await.unwrap().into_inner();
        answer.nodes.into_iter().next().filter(|node| !node.muxes.is_empty())
    })
    .await;
    assert_eq!((told.problems.len(), told.muxes.len()), (64, 256));
    assert!(told.problems.iter().all(|problem| problem.len() == 4096));
    assert!(told.muxes.iter().all(|mux| mux.version.len() == 4096));
}

/// On a full disk a node lets even events go, and with them what became of an action.
#[tokio::test]
async fn after_a_hole_among_the_events_open_actions_are_offered_again() {
    let (desk, _, _, mut node) = crate::acting::desk_with_pane().await;
    let operator = desk.fleet(Role::Operator, "ada").await;
    let asked = crate::acting::act(operator, crate::acting::send("hello"));
    let work = async {
        let first = node.action().await;
        let hole = Hole { first_seq: 1, last_seq: 4, cause: GapCause::SpoolFull, gaps: Vec::new() };
        let lost = outcome_record(4, &first.action_id, OutcomeKind::Placed, "lost");
        node.records(Lane::Events, vec![Record { body: RecordBody::Hole(hole), ..lost }]).await;
        let again = node.action().await;
        assert_eq!(again.action_id, first.action_id);
        let told = outcome_record(5, &again.action_id, OutcomeKind::Placed, "told");
        node.records(Lane::Events, vec![told]).await;
    };
    let (told, ()) = tokio::join!(asked, work);
    assert_eq!((told.outcome.as_str(), told.reason.as_str()), ("placed", "told"));
    desk.stop().await;
}
