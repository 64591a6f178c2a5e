//! Conversations: what nodes tell of session files, as people read, follow and find it.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::{Code, Streaming};
use wa_link::clock;
use wa_link::principal::Role;
use wa_proto::wire::v1;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{
    AgentKind, AgentSession, Conversation, Gap, GapCause, Lane, Line, Lines, Message, PaneState,
    RateLimitWindow, Record, RecordBody, SpoolId, Timestamp,
};

use crate::desk::{Desk, LIMIT, Node, address, block, pane, pane_ref, until};

/// A time of today's tests: seconds before now.
fn ago(second: i64) -> Timestamp {
    clock::now() - jiff::SignedDuration::from_secs(second)
}

fn message(index: u64, role: wa_proto::Role, text: &str, time: Timestamp) -> Message {
    Message {
        index,
        id: String::new(),
        role,
        name: String::new(),
        text: text.into(),
        cut_bytes: 0,
        time: Some(time),
    }
}

fn told(seq: u64, skipped_bytes: u64, messages: Vec<Message>) -> Record {
    let body = RecordBody::Conversation(Conversation {
        pane: pane_ref(1),
        agent: AgentKind::codex(),
        session_id: "01a2".into(),
        skipped_bytes,
        messages,
    });
    Record { lane: Lane::Bulk, seq, time: clock::now(), trace_parent: String::new(), body }
}

fn printed(seq: u64, agent: Option<AgentKind>, time: Timestamp, texts: &[&str]) -> Record {
    let line = |(n, text): (i64, &&str)| Line {
        row: seq.cast_signed() * 100 + n,
        rev: 0,
        text: (*text).into(),
        rows: 1,
        time: Some(time),
    };
    let lines = (0..).zip(texts).map(line).collect();
    let body = RecordBody::Lines(Lines { pane: pane_ref(1), layout: 1, agent, lines });
    Record { lane: Lane::Bulk, seq, time, trace_parent: String::new(), body }
}

fn lost(seq: u64, time: Timestamp) -> Record {
    let first_row = Some(seq.cast_signed() * 100);
    let body = RecordBody::Gap(Gap {
        pane: pane_ref(1),
        layout: 1,
        first_row,
        rows: Some(7),
        cause: GapCause::Flood,
    });
    Record { lane: Lane::Bulk, seq, time, trace_parent: String::new(), body }
}

fn shown(item: v1::LogItem) -> String {
    use v1::log_item::Item;
    match item.item.unwrap() {
        Item::Line(line) => line.text,
        Item::Gap(gap) => format!("gap of {} rows", gap.rows.unwrap()),
        Item::Message(said) => {
            let message = said.message.unwrap();
            let skipped = if said.skipped_bytes > 0 { " after a gap" } else { "" };
            format!("{}{skipped}: {}", message.role, message.text)
        }
    }
}

fn conversation() -> v1::LogsRequest {
    v1::LogsRequest { pane: Some(address("web-1", 1)), conversation: true, ..Default::default() }
}

async fn read(desk: &Desk, request: v1::LogsRequest) -> Vec<String> {
    let mut stream = desk.admin().await.logs(request).await.unwrap().into_inner();
    let mut out = Vec::new();
    while let Some(item) = stream.message().await.unwrap() {
        out.push(shown(item));
    }
    out
}

async fn next(stream: &mut Streaming<v1::LogItem>) -> String {
    shown(timeout(LIMIT, stream.message()).await.expect("nothing came in time").unwrap().unwrap())
}

fn codex() -> Option<AgentKind> {
    Some(AgentKind::codex())
}

/// A session in a pane: a shell, the agent in it, and again the shell.
fn a_session() -> Vec<Record> {
    use wa_proto::Role::{Assistant, ToolCall, User};
    vec![
        printed(1, None, ago(1000), &["$ codex"]),
        printed(2, codex(), ago(990), &["│ >_ OpenAI Codex (v0.89.0) │"]),
        printed(3, codex(), ago(900), &["", "› fix the failing test", ""]),
        printed(
            4,
            codex(),
            ago(880),
            &["• Ran cargo test --all", "• I fixed the test in", "  `src/lib.rs` for you."],
        ),
        printed(5, codex(), ago(870), &["⚠ Heads up, you have less than 25% of your 5h limit left."]),
        lost(6, ago(860)),
        printed(7, None, ago(800), &["$ exit"]),
        told(
            8,
            512,
            vec![
                message(0, User, "fix the failing test", ago(901)),
                message(1, ToolCall, "{\"cmd\":\"cargo test --all\"}", ago(890)),
                message(2, Assistant, "I fixed **the test** in `src/lib.rs` for you.", ago(879)),
            ],
        ),
    ]
}

const READ: [&str; 8] = [
    "$ codex",
    "│ >_ OpenAI Codex (v0.89.0) │",
    "user after a gap: fix the failing test",
    "tool_call: {\"cmd\":\"cargo test --all\"}",
    "assistant: I fixed **the test** in `src/lib.rs` for you.",
    "⚠ Heads up, you have less than 25% of your 5h limit left.",
    "gap of 7 rows",
    "$ exit",
];

#[tokio::test]
async fn screen_and_session_file_are_one_timeline() {
    let mut desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.records(Lane::Bulk, a_session()).await;
    node.acked(Lane::Bulk, 8).await;
    assert_eq!(read(&desk, conversation()).await, READ);
    // The transcript stays what it was.
    let plain = read(&desk, v1::LogsRequest { conversation: false, ..conversation() }).await;
    assert_eq!(plain.len(), 11, "{plain:?}");
    for tail in 1..=9 {
        let end = read(&desk, v1::LogsRequest { tail, ..conversation() }).await;
        assert_eq!(end, READ[READ.len().saturating_sub(tail as usize)..], "the last {tail}");
    }
    let since_us = ago(885).as_microsecond();
    // The answer's lines are left out although the rest of the session is not asked for.
    let young = read(&desk, v1::LogsRequest { since_us, ..conversation() }).await;
    assert_eq!(young, ["• Ran cargo test --all"].iter().chain(&READ[4..]).copied().collect::<Vec<_>>());

    // The node reads its file again from the beginning, under a new spool, over a restart of the controller.
    desk.kill_and_restart().await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let again = a_session().pop().map(|record| Record { seq: 1, ..record });
    node.records(Lane::Bulk, again.into_iter().collect()).await;
    node.acked(Lane::Bulk, 1).await;
    assert_eq!(read(&desk, conversation()).await.len(), READ.len());
}

#[tokio::test]
async fn a_pane_without_a_session_file_gives_its_transcript() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.records(Lane::Bulk, a_session().into_iter().take(7).collect()).await;
    node.acked(Lane::Bulk, 7).await;
    let plain = read(&desk, v1::LogsRequest { conversation: false, ..conversation() }).await;
    assert_eq!(read(&desk, conversation()).await, plain);
    let none =
        desk.admin().await.logs(v1::LogsRequest { pane: Some(address("web-1", 9)), ..conversation() }).await;
    assert_eq!(none.err().unwrap().code(), Code::NotFound);
}

#[tokio::test]
async fn a_follower_waits_for_what_a_line_repeats_and_no_longer() {
    use wa_proto::Role::{Assistant, User};
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    node.records(Lane::Bulk, a_session()).await;
    node.acked(Lane::Bulk, 8).await;
    let request = v1::LogsRequest { follow: true, tail: 1, ..conversation() };
    let mut stream = desk.admin().await.logs(request).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await, "$ exit");

    // The screen is first, the file comes a moment later.
    let lines = ["› and now the documentation", "• The documentation says now", "  what it does."];
    node.records(Lane::Bulk, vec![printed(9, codex(), clock::now(), &lines)]).await;
    node.acked(Lane::Bulk, 9).await;
    let said = vec![
        message(3, User, "and now the documentation", clock::now()),
        message(4, Assistant, "The documentation says now what it does.", clock::now()),
    ];
    node.records(Lane::Bulk, vec![told(10, 0, said)]).await;
    assert_eq!(next(&mut stream).await, "user: and now the documentation");
    assert_eq!(next(&mut stream).await, "assistant: The documentation says now what it does.");

    // What no message has is shown when it has waited; what a shell prints, at once.
    let asked = Instant::now();
    node.records(Lane::Bulk, vec![printed(11, codex(), clock::now(), &["■ You've hit your usage limit."])])
        .await;
    assert_eq!(next(&mut stream).await, "■ You've hit your usage limit.");
    assert!(asked.elapsed() >= Duration::from_secs(2), "it waited {:?}", asked.elapsed());
    let asked = Instant::now();
    node.records(Lane::Bulk, vec![printed(12, None, clock::now(), &["$ ls"])]).await;
    assert_eq!(next(&mut stream).await, "$ ls");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());

    // A message that was rewritten comes again.
    let said = vec![message(4, Assistant, "The documentation says now what it really does.", clock::now())];
    node.records(Lane::Bulk, vec![told(13, 0, said)]).await;
    assert_eq!(next(&mut stream).await, "assistant: The documentation says now what it really does.");
}

#[tokio::test]
async fn what_was_said_is_found() {
    let desk = Desk::start().await;
    let (one, two) = (desk.enrol("web-1").await, desk.enrol("web-2").await);
    let mut node = Node::connect(&desk, &one, SpoolId::generate()).await;
    node.panes(true, vec![pane(1, codex(), PaneState::Idle)]).await;
    node.records(Lane::Bulk, a_session()).await;
    node.acked(Lane::Bulk, 8).await;
    // The same session id on another host is another session.
    let mut other = Node::connect(&desk, &two, SpoolId::generate()).await;
    let elsewhere = message(0, wa_proto::Role::User, "elsewhere the failing test", ago(5));
    other.records(Lane::Bulk, vec![told(1, 0, vec![elsewhere])]).await;
    other.acked(Lane::Bulk, 1).await;
    assert_eq!(read(&desk, conversation()).await, READ, "a node speaks for its own host only");

    let find = async |mut fleet: v1::fleet_client::FleetClient<tonic::transport::Channel>,
                      request: v1::SearchRequest| {
        let mut stream = fleet.search(request).await.unwrap().into_inner();
        let mut out = Vec::new();
        while let Some(hit) = stream.message().await.unwrap() {
            let item = hit.item.unwrap();
            let host = item.host.clone();
            let text = shown(item);
            let (_, said) = text.split_once(": ").unwrap_or(("", &text));
            let spans: Vec<&str> =
                hit.matches.iter().map(|span| &said[span.start as usize..span.end as usize]).collect();
            out.push(format!("{host} {text} {spans:?}"));
        }
        out
    };
    let words = |query: &str, selector: &str| v1::SearchRequest {
        query: query.into(),
        selector: selector.into(),
        ..Default::default()
    };
    let hits = find(desk.admin().await, words("\"failing test\"", "")).await;
    let wanted = [
        "web-1 › fix the failing test []".replace("[]", "[\"failing test\"]"),
        "web-1 user after a gap: fix the failing test [\"failing test\"]".to_owned(),
        "web-2 user: elsewhere the failing test [\"failing test\"]".to_owned(),
    ];
    assert_eq!(hits, wanted);
    let hits = find(desk.admin().await, words("src/lib.rs **the", "agent=codex")).await;
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert!(find(desk.admin().await, words("\"failing test\"", "agent=gemini")).await.is_empty());
    let regex = v1::SearchRequest { regex: r"cmd.:.cargo \w+".into(), ..Default::default() };
    let hits = find(desk.admin().await, regex).await;
    assert_eq!(hits, ["web-1 tool_call: {\"cmd\":\"cargo test --all\"} [\"cmd\\\":\\\"cargo test\"]"]);
    // An agent finds what was said on its own host.
    let hits = find(desk.fleet(Role::Agent, "web-2").await, words("failing", "")).await;
    assert_eq!(hits.len(), 1, "{hits:?}");
}

#[tokio::test]
async fn what_no_message_can_be_ends_its_session_and_what_is_too_much_is_cut() {
    let desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let spool = SpoolId::generate();
    let said = |text: &str| told(1, 0, vec![message(0, wa_proto::Role::User, text, ago(1))]);
    // A role that is none.
    let node = Node::connect(&desk, &identity, spool).await;
    let mut bad = block(Lane::Bulk, vec![said("x")]);
    let at = bad.data.windows(4).position(|bytes| bytes == b"user").unwrap();
    bad.data[at..at + 4].copy_from_slice(b"root");
    node.send(Up::Block(bad)).await;
    let reason = node.ended().await;
    assert!(reason.code() == Code::InvalidArgument && reason.message().contains("message.role"), "{reason}");

    let mut node = Node::connect(&desk, &identity, spool).await;
    let mut records = vec![said(&format!("\0\u{1b}]0;x\u{7}{}", "y".repeat(1 << 20)))];
    let RecordBody::Conversation(conversation_of) = &mut records[0].body else { panic!("a conversation") };
    conversation_of.messages[0].id = "i".repeat(1 << 20);
    node.records(Lane::Bulk, records).await;
    node.acked(Lane::Bulk, 1).await;
    let got = read(&desk, conversation()).await;
    assert!(
        got.len() == 1 && got[0].starts_with("user: ]0;xyyy") && got[0].len() < 140_000,
        "{}",
        got[0].len()
    );
    assert!(desk.running().metrics().render().contains("wa_controller_messages_cut_total 1\n"));
    assert!(desk.running().metrics().render().contains("wa_controller_messages_total 1\n"));
}

#[tokio::test]
async fn a_pane_tells_its_session_in_bounds() {
    let mut desk = Desk::start().await;
    let identity = desk.enrol("web-1").await;
    let node = Node::connect(&desk, &identity, SpoolId::generate()).await;
    let long = "x".repeat(5000);
    let window =
        RateLimitWindow { window: long.clone(), percent_used: 12.5, resets_at: None, observed_at: ago(3) };
    let mut told = pane(1, codex(), PaneState::Idle);
    told.not_logged = long.clone();
    told.session = Some(AgentSession {
        session_id: "01a2".into(),
        path: long.clone(),
        reason: long,
        rate_limits: vec![window; 100],
        compactions: 3,
        ..AgentSession::default()
    });
    node.panes(true, vec![told]).await;
    let look = async |desk: &Desk| {
        let request = v1::ListPanesRequest { pane: Some(address("web-1", 1)), selector: String::new() };
        let listed = desk.admin().await.list_panes(request).await.ok()?.into_inner().panes;
        listed.into_iter().next()?.pane
    };
    let seen = until("the pane", || look(&desk)).await;
    let session = seen.session.unwrap();
    assert_eq!((session.session_id.as_str(), session.compactions), ("01a2", 3));
    assert!(seen.not_logged.len() == 4096 && session.path.len() == 4096 && session.reason.len() == 4096);
    assert!(session.rate_limits.len() == 16 && session.rate_limits[0].window.len() == 4096);
    // A restarted controller still knows it of a node that is away.
    drop(node);
    desk.restart().await;
    let seen = until("the pane", || look(&desk)).await;
    assert_eq!(seen.session.unwrap().session_id, "01a2");
}
