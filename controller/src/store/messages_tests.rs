//! Conversations against what the store promises of them: each message once, whatever is read again.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wa_proto::{AgentKind, Conversation, Generation, Lane, Message, PaneRef, RecordBody, Role, SpoolId};

use super::tests::{address, batch, find, host, ingest, line, lines, log, open, pane, record, texts, time};
use super::*;

fn message(index: u64, text: &str) -> Message {
    Message {
        index,
        id: String::new(),
        role: Role::Assistant,
        name: String::new(),
        text: text.into(),
        cut_bytes: 0,
        time: Some(time(i64::try_from(index).unwrap())),
    }
}

fn conversation(pane: PaneRef, session: &str, messages: Vec<Message>) -> Conversation {
    let agent = AgentKind::codex();
    Conversation { pane, agent, session_id: session.into(), skipped_bytes: 0, messages }
}

fn told(session: &str, messages: Vec<Message>) -> RecordBody {
    RecordBody::Conversation(conversation(pane(1), session, messages))
}

/// Tells it through a spool of its own, captured at second 1,000.
async fn tell(store: &Store, body: RecordBody) -> Ingested {
    let told = record(Lane::Bulk, 1, body);
    let told = wa_proto::Record { time: time(1000), ..told };
    ingest(store, batch(SpoolId::generate(), Lane::Bulk, vec![told])).await.unwrap()
}

fn range(pane_id: u64) -> LogRange {
    LogRange { pane: address(pane_id), since: None, head: i64::MAX }
}

async fn said(store: &Store, pane_id: u64) -> Vec<LogEntry> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        // Small pages, so that their seams are passed.
        let page = store.said_page(range(pane_id), after, 3).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(last.cursor());
        all.extend(page);
    }
}

fn skipped(entry: &LogEntry) -> u64 {
    match &entry.item {
        LogItem::Message(said) => said.skipped_bytes,
        other => panic!("{other:?} is no message"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(24, |n| n.parse().unwrap())))]

    /// A file is read from anywhere before its end so far, again and again, over restarts; some messages are rewritten.
    /// What stands in the store is what the file says, in its order, and a follower has seen the last text of each.
    #[test]
    fn what_is_read_again_stands_once(
        reads in prop::collection::vec((0..20_u64, 0..8_u64, 0..3_u32, any::<bool>()), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let mut store = open(place.path());
            let head = store.log_head().await.unwrap();
            let mut file: BTreeMap<u64, String> = BTreeMap::new();
            for (from, count, rev, restart) in reads {
                let end = file.len() as u64;
                let from = from.min(end);
                for index in from..from + count {
                    let text = format!("message {index} rev {rev}");
                    if index >= end || rev > 0 {
                        file.insert(index, text);
                    }
                }
                let read = file.range(from..from + count).map(|(index, text)| message(*index, text)).collect();
                tell(&store, told("s", read)).await;
                if restart {
                    drop(store);
                    store = open(place.path());
                }
            }
            let wanted: Vec<String> = file.values().map(|text| format!("assistant: {text}")).collect();
            let stored = said(&store, 1).await;
            assert_eq!(texts(&stored), wanted);
            let tail = store.said_tail(range(1), 4).await.unwrap();
            assert_eq!(texts(&tail), wanted[wanted.len().saturating_sub(4)..]);
            let arrived = store.arrivals_of_both(address(1), head, 1000).await.unwrap();
            let mut last: BTreeMap<u64, String> = BTreeMap::new();
            for entry in arrived {
                let LogItem::Message(said) = entry.item else { panic!("only messages were told") };
                last.insert(said.message.index, said.message.text);
            }
            assert_eq!(last, file);
            // The words index follows the texts.
            for (index, text) in &file {
                let found = find(&store, &format!("\"{text}\""), "").await;
                assert_eq!(found.len(), 1, "{index}");
                assert_eq!(find(&store, "", &format!("{text}$")).await.len(), 1);
            }
            assert_eq!(find(&store, "message", "").await.len(), file.len());
        });
    }
}

#[tokio::test]
async fn what_is_the_same_arrives_once_and_what_was_rewritten_again() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let done = tell(&store, told("s", vec![message(0, "one"), message(1, "two")])).await;
    assert_eq!((done.messages, done.messages_cut), (2, 0));
    let head = store.log_head().await.unwrap();
    assert_eq!(tell(&store, told("s", vec![message(0, "one"), message(1, "two")])).await.messages, 0);
    assert!(store.arrivals_of_both(address(1), head, 9).await.unwrap().is_empty());
    assert_eq!(tell(&store, told("s", vec![message(1, "two and more")])).await.messages, 1);
    let arrived = store.arrivals_of_both(address(1), head, 9).await.unwrap();
    assert_eq!(texts(&arrived), ["assistant: two and more"]);
    assert!(
        find(&store, "\"two and more\"", "").await.len() == 1 && find(&store, "one", "").await.len() == 1
    );

    // Lines and messages arrive in one order, however small the pages are.
    ingest(
        &store,
        batch(SpoolId::generate(), Lane::Bulk, vec![record(Lane::Bulk, 1, lines(vec![line(1, 0, "a")]))]),
    )
    .await
    .unwrap();
    tell(&store, told("s", vec![message(2, "three"), message(3, "four")])).await;
    ingest(
        &store,
        batch(SpoolId::generate(), Lane::Bulk, vec![record(Lane::Bulk, 1, lines(vec![line(2, 0, "b")]))]),
    )
    .await
    .unwrap();
    for limit in 1..6 {
        let (mut head, mut all) = (head, Vec::new());
        loop {
            let page = store.arrivals_of_both(address(1), head, limit).await.unwrap();
            let Some(last) = page.last() else { break };
            head = last.id;
            all.extend(texts(&page));
        }
        let wanted = ["assistant: two and more", "a", "assistant: three", "assistant: four", "b"];
        assert_eq!(all, wanted, "pages of {limit}");
    }
    assert_eq!(texts(&log(&store, 1).await), ["a", "b"], "the transcript itself has no messages");
}

#[tokio::test]
async fn a_resumed_session_stands_once_in_a_pane() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let with_id = |index, id: &str, text: &str| Message { id: id.into(), ..message(index, text) };
    tell(&store, told("old", vec![with_id(0, "a", "hello"), with_id(1, "b", "world")])).await;
    // The agent copies the history into a new file, and goes on.
    let copy = vec![with_id(0, "a", "hello"), with_id(1, "b", "world"), with_id(2, "c", "news")];
    tell(&store, told("new", copy.clone())).await;
    assert_eq!(texts(&said(&store, 1).await), ["assistant: hello", "assistant: world", "assistant: news"]);
    assert_eq!(find(&store, "hello", "").await.len(), 1);
    assert_eq!(find(&store, "", "^hello$").await.len(), 1);
    // In another pane it has its history, too.
    tell(&store, RecordBody::Conversation(conversation(pane(2), "new", copy))).await;
    assert_eq!(texts(&said(&store, 2).await).len(), 3);
    assert_eq!(texts(&said(&store, 1).await).len(), 3);
    // The same id with other words is another message.
    tell(&store, told("third", vec![with_id(0, "a", "something else")])).await;
    assert_eq!(texts(&said(&store, 1).await).len(), 4);
    assert!(store.knows_conversation(address(2)).await.unwrap());
    assert!(!store.knows_conversation(address(3)).await.unwrap());
}

#[tokio::test]
async fn clocks_do_not_turn_a_conversation_around() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let at = |index, time| Message { time, ..message(index, &format!("m{index}")) };
    let messages = vec![
        at(0, Some(time(100))),
        // Years ahead, years back, none.
        at(1, Some(time(900_000_000))),
        at(2, Some(time(-900_000_000))),
        at(3, None),
    ];
    tell(&store, told("s", messages.clone())).await;
    let stored = said(&store, 1).await;
    assert_eq!(texts(&stored), ["assistant: m0", "assistant: m1", "assistant: m2", "assistant: m3"]);
    let times: Vec<Timestamp> = stored.iter().map(|entry| entry.time).collect();
    assert_eq!(times, [time(100), time(1000), time(1000), time(1000)], "never after the capture");
    let LogItem::Message(second) = &stored[1].item else { panic!("no message") };
    assert_eq!(second.message.time, Some(time(900_000_000)), "what the agent said is kept");
    let since = LogRange { since: Some(time(500)), ..range(1) };
    assert_eq!(store.said_page(since.clone(), None, 9).await.unwrap().len(), 3);
    assert_eq!(store.said_tail(since, 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn bytes_that_were_not_read_are_named_until_they_are() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let skip = |skipped_bytes, from| {
        let messages = vec![message(from, "x"), message(from + 1, "y")];
        RecordBody::Conversation(Conversation { skipped_bytes, ..conversation(pane(1), "s", messages) })
    };
    tell(&store, skip(5000, 7)).await;
    let stored = said(&store, 1).await;
    assert_eq!((skipped(&stored[0]), skipped(&stored[1])), (5000, 0));
    tell(&store, skip(9000, 7)).await;
    assert_eq!(skipped(&said(&store, 1).await[0]), 5000);
    tell(&store, skip(0, 7)).await;
    assert_eq!(skipped(&said(&store, 1).await[0]), 0);
    tell(&store, skip(u64::MAX, 20)).await;
    assert_eq!(skipped(&said(&store, 1).await[2]), i64::MAX.cast_unsigned());
}

#[tokio::test]
async fn what_a_hostile_file_says_is_cut_and_counted() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let long = "x".repeat(1 << 20);
    let unusable = tell(&store, told(&long, vec![message(0, "a")])).await;
    assert_eq!((unusable.messages, unusable.messages_cut), (0, 1), "a session id that names nothing");
    let unusable = tell(&store, told("", vec![message(0, "a")])).await;
    assert_eq!((unusable.messages, unusable.messages_cut), (0, 1));
    assert!(said(&store, 1).await.is_empty());

    let mut odd = message(0, &format!("é{long}"));
    odd.id.clone_from(&long);
    odd.name.clone_from(&long);
    odd.cut_bytes = u64::MAX;
    let mut control = message(1, "nul \0 and \u{1b}[2J and \u{9b}1m\nnext\ttab");
    control.name = "\u{7}bell".into();
    let beyond = Message { index: u64::MAX, ..message(2, "beyond") };
    let done = tell(&store, told("s", vec![odd, control, beyond])).await;
    assert_eq!((done.messages, done.messages_cut), (2, 3));
    let stored = said(&store, 1).await;
    let LogItem::Message(odd) = &stored[0].item else { panic!("no message") };
    assert!(
        odd.message.text.len() <= 128 * 1024 && odd.message.id.is_empty() && odd.message.name.len() <= 128
    );
    assert_eq!(odd.message.cut_bytes, i64::MAX.cast_unsigned());
    let LogItem::Message(control) = &stored[1].item else { panic!("no message") };
    assert_eq!(control.message.text, "nul  and [2J and 1m\nnext\ttab");
    assert_eq!(control.message.name, "bell");

    // More messages in a record than any has.
    let many = (0..5000).map(|index| message(index, "")).collect();
    let done = tell(&store, told("many", many)).await;
    assert_eq!((done.messages, done.messages_cut), (4096, 904));
}

#[tokio::test]
async fn sessions_of_two_hosts_agents_and_lives_do_not_mix() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    tell(&store, told("s", vec![message(0, "here")])).await;
    let of = |body| record(Lane::Bulk, 1, body);
    let other = Batch {
        host: Host::new("web-2").unwrap(),
        ..batch(SpoolId::generate(), Lane::Bulk, vec![of(told("s", vec![message(0, "there")]))])
    };
    ingest(&store, other).await.unwrap();
    let gemini = Conversation {
        agent: AgentKind::gemini(),
        ..conversation(pane(1), "s", vec![message(0, "another agent")])
    };
    tell(&store, RecordBody::Conversation(gemini)).await;
    let next_life = PaneRef { generation: Generation::new("g2").unwrap(), ..pane(1) };
    tell(&store, RecordBody::Conversation(conversation(next_life, "t", vec![message(5, "next life")]))).await;
    let wanted = ["assistant: here", "assistant: another agent", "assistant: next life"];
    let stored = said(&store, 1).await;
    assert_eq!(texts(&stored), wanted);
    assert_eq!(stored.iter().filter(|entry| entry.host == host()).count(), 3);
    for count in 1..=3 {
        assert_eq!(texts(&store.said_tail(range(1), count).await.unwrap()), wanted[3 - count..]);
    }
    let first = store.said_tail(range(1), 1).await.unwrap().first().map(LogEntry::cursor);
    assert!(!store.nothing_said_before(range(1), first).await.unwrap());
    let first = stored.first().map(LogEntry::cursor);
    assert!(store.nothing_said_before(range(1), first).await.unwrap());
}
