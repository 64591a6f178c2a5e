//! The store against what it promises: each record once, all or nothing, durable when answered.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use wa_proto::{
    AgentKind, Event, EventId, EventKind, Gap, GapCause, Generation, Hole, Lane, Line, Lines, MuxName,
    PaneRef, Record, RecordBody, SpoolId,
};

use super::*;
use crate::accounts::keys::VaultConfig;

/// Works nothing off.
pub(super) struct Idle;

impl Observer for Idle {
    fn step(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        tx.inbox_fresh()?.iter().try_for_each(|row| tx.inbox_done(row.n))
    }
    fn committed(&self, _: Committed) {}
}

pub(super) fn open(path: &Path) -> Store {
    let metrics = Arc::new(Metrics::default());
    Store::open(&path.join("state.db"), keys(path), |_| Arc::new(Idle), metrics, time(0)).unwrap().0
}

/// Where the vault's key is in these tests.
pub(super) fn keys(path: &Path) -> Sources {
    Sources::find(&VaultConfig::default(), None, path).unwrap()
}

pub(super) fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

pub(super) fn host() -> Host {
    Host::new("web-1").unwrap()
}

pub(super) fn pane(pane_id: u64) -> PaneRef {
    PaneRef { mux: MuxName::main(), generation: Generation::new("g1").unwrap(), pane_id }
}

pub(super) fn address(pane_id: u64) -> PaneAddress {
    PaneAddress { host: host(), mux: MuxName::main(), pane_id }
}

pub(super) fn line(row: i64, rev: u32, text: &str) -> Line {
    Line { row, rev, text: text.into(), rows: 1, time: None }
}

pub(super) fn lines(lines: Vec<Line>) -> RecordBody {
    RecordBody::Lines(Lines { pane: pane(1), layout: 1, agent: Some(AgentKind::codex()), lines })
}

pub(super) fn event(id: EventId) -> RecordBody {
    RecordBody::Event(Event {
        id,
        pane: Some(pane(1)),
        kind: EventKind::Bell,
        agent: None,
        agent_version: String::new(),
        agent_pid: 0,
        rule: "r".into(),
        fields: BTreeMap::new(),
        witnesses: vec![],
        line: String::new(),
        row: 0,
        layout: 1,
    })
}

pub(super) fn record(lane: Lane, seq: u64, body: RecordBody) -> Record {
    Record { lane, seq, time: time(seq.cast_signed()), trace_parent: String::new(), body }
}

pub(super) fn batch(spool: SpoolId, lane: Lane, records: Vec<Record>) -> Batch {
    Batch { host: host(), spool, lane, records, unknown: Vec::new(), bytes: 100 }
}

pub(super) async fn ingest(store: &Store, batch: Batch) -> Result<Ingested, StoreError> {
    store.ingest(batch).await?.wait().await
}

pub(super) async fn log(store: &Store, pane_id: u64) -> Vec<LogEntry> {
    let range = LogRange { pane: address(pane_id), since: None, head: i64::MAX };
    store.log_page(range, None, 100_000).await.unwrap()
}

pub(super) fn texts(entries: &[LogEntry]) -> Vec<String> {
    let text = |entry: &LogEntry| match &entry.item {
        LogItem::Line(line) => line.text.clone(),
        LogItem::Gap(gap) => format!("gap {} {:?}", gap.cause, gap.rows),
        LogItem::Message(said) => format!("{}: {}", said.message.role, said.message.text),
    };
    entries.iter().map(text).collect()
}

pub(super) async fn find(store: &Store, words: &str, regex: &str) -> Vec<(String, Vec<(usize, usize)>)> {
    let pattern = Pattern::parse(words, regex).unwrap();
    let search = Search {
        pattern,
        since: None,
        limit: 100,
        filter: Box::new(|_| true),
        cancelled: Box::new(|| false),
    };
    let hits = store.search(search).await.unwrap();
    hits.into_iter().map(|hit| (texts(&[hit.entry]).remove(0), hit.spans)).collect()
}

#[derive(Debug, Clone)]
enum Step {
    /// Sends seqs `from..from + count` of a lane.
    Send { bulk: bool, from: u64, count: u64 },
    /// The controller is killed and started again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => (any::<bool>(), 1..60_u64, 1..12_u64).prop_map(|(bulk, from, count)| Step::Send { bulk, from, count }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(24, |n| n.parse().unwrap())))]

    /// Promise L2: whatever is re-sent, in whatever order, over restarts: the mark is the length of the prefix that
    /// arrived, and every record up to it is there once.
    #[test]
    fn every_seq_enters_once(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let mut store = open(place.path());
            let spool = SpoolId::generate();
            let ids: Vec<EventId> = (0..100).map(|_| EventId::generate()).collect();
            let mut marks = BTreeMap::from([(true, 0_u64), (false, 0_u64)]);
            for step in steps {
                let Step::Send { bulk, from, count } = step else {
                    drop(store);
                    store = open(place.path());
                    continue;
                };
                let lane = if bulk { Lane::Bulk } else { Lane::Events };
                let body = |seq: u64| match bulk {
                    true => lines(vec![line(seq.cast_signed(), 0, &format!("line {seq}"))]),
                    false => event(ids[usize::try_from(seq).unwrap()]),
                };
                let records = (from..from + count).map(|seq| record(lane, seq, body(seq))).collect();
                let mark = marks.get_mut(&bulk).unwrap();
                let answer = ingest(&store, batch(spool, lane, records)).await;
                if from > *mark + 1 {
                    assert!(matches!(answer, Err(StoreError::Missing { .. })), "{answer:?}");
                } else {
                    *mark = (*mark).max(from + count - 1);
                    assert_eq!(answer.unwrap().acked, *mark);
                }
            }
            let wanted: Vec<String> = (1..=marks[&true]).map(|seq| format!("line {seq}")).collect();
            assert_eq!(texts(&log(&store, 1).await), wanted);
            let events = store.events(EventRange::default(), 1000, false).await.unwrap();
            assert_eq!(events.len() as u64, marks[&false]);
            let found = find(&store, "line", "").await.len();
            assert_eq!(found, wanted.len().min(100));
        });
    }
}

#[tokio::test]
async fn a_hole_is_passed_only_when_it_is_named() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let row =
        |seq: u64| record(Lane::Bulk, seq, lines(vec![line(seq.cast_signed(), 0, &format!("line {seq}"))]));
    ingest(&store, batch(spool, Lane::Bulk, vec![row(1), row(2)])).await.unwrap();
    let refused = ingest(&store, batch(spool, Lane::Bulk, vec![row(6)])).await;
    assert!(matches!(refused, Err(StoreError::Missing { acked: 2, got: 6 })), "{refused:?}");

    let gap = Gap { pane: pane(1), layout: 1, first_row: Some(3), rows: Some(3), cause: GapCause::SpoolFull };
    let hole = Hole { first_seq: 3, last_seq: 5, cause: GapCause::SpoolFull, gaps: vec![gap] };
    // In the place of what it names.
    let named = record(Lane::Bulk, 5, RecordBody::Hole(hole.clone()));
    let done = ingest(&store, batch(spool, Lane::Bulk, vec![named, row(6)])).await.unwrap();
    assert_eq!(done.acked, 6);
    assert_eq!(texts(&log(&store, 1).await), ["line 1", "line 2", "gap spool_full Some(3)", "line 6"]);

    // Told later than what follows the hole, on another lane's block or not at all: the next spool.
    let other = SpoolId::generate();
    let late = record(Lane::Bulk, 7, RecordBody::Hole(Hole { first_seq: 1, last_seq: 5, ..hole }));
    let done = ingest(&store, batch(other, Lane::Bulk, vec![row(6), late])).await.unwrap();
    assert_eq!(done.acked, 7);
    let bad = Hole { first_seq: 9, last_seq: 8, cause: GapCause::Damaged, gaps: vec![] };
    let bad = record(Lane::Bulk, 8, RecordBody::Hole(bad));
    assert!(ingest(&store, batch(other, Lane::Bulk, vec![bad])).await.is_err());
}

/// Events that a full spool had to drop: a gap in the log of each pane that they told of, and an event that says so, once.
#[tokio::test]
async fn events_that_were_dropped_are_told() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let gap = Gap { pane: pane(1), layout: 1, first_row: None, rows: None, cause: GapCause::SpoolFull };
    let hole = |first_seq, last_seq, cause| {
        let hole = Hole { first_seq, last_seq, cause, gaps: vec![gap.clone()] };
        record(Lane::Events, last_seq, RecordBody::Hole(hole))
    };
    for _ in 0..2 {
        let dropped = batch(spool, Lane::Events, vec![hole(1, 7, GapCause::SpoolFull)]);
        assert_eq!(ingest(&store, dropped).await.unwrap().acked, 7);
    }
    let earlier = batch(SpoolId::generate(), Lane::Events, vec![hole(1, 90, GapCause::Restored)]);
    ingest(&store, earlier).await.unwrap();
    let told = store.events(EventRange::default(), 1000, false).await.unwrap();
    let told: Vec<_> = told.iter().map(|row| (row.event.kind, row.event.fields.clone())).collect();
    let fields = [("cause", "spool_full"), ("events", "7")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(told, [(EventKind::CaptureGap, fields.into())]);
    assert_eq!(texts(&log(&store, 1).await)[0], "gap spool_full None");
}

/// The node's disk was damaged, and nobody knows whose lines were there: no log has a gap for them.
#[tokio::test]
async fn lines_of_nobody_knows_which_panes_are_told_as_an_event() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let hole = |first_seq, last_seq, gaps| {
        let hole = Hole { first_seq, last_seq, cause: GapCause::Damaged, gaps };
        record(Lane::Bulk, last_seq, RecordBody::Hole(hole))
    };
    let gap = Gap { pane: pane(1), layout: 1, first_row: None, rows: None, cause: GapCause::Damaged };
    let holes = vec![hole(1, 7, vec![]), hole(8, 9, vec![gap])];
    for _ in 0..2 {
        assert_eq!(ingest(&store, batch(spool, Lane::Bulk, holes.clone())).await.unwrap().acked, 9);
    }
    let told = store.events(EventRange::default(), 1000, false).await.unwrap();
    let told: Vec<_> = told.iter().map(|row| (row.event.kind, row.event.fields.clone())).collect();
    let fields = [("cause", "damaged"), ("records", "7")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(told, [(EventKind::CaptureGap, fields.into())]);
}

#[tokio::test]
async fn the_newest_rev_of_a_line_is_the_line() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let send = |seq, rows| batch(spool, Lane::Bulk, vec![record(Lane::Bulk, seq, lines(rows))]);
    ingest(&store, send(1, vec![line(1, 0, "alpha"), line(2, 0, "omega")])).await.unwrap();
    let head = store.log_head().await.unwrap();
    ingest(&store, send(2, vec![line(1, 2, "gamma"), line(1, 1, "beta")])).await.unwrap();
    assert_eq!(texts(&log(&store, 1).await), ["gamma", "omega"]);
    assert_eq!(
        texts(&store.log_arrivals(address(1), head, 10).await.unwrap()),
        ["gamma"],
        "a follower sees the new rev"
    );
    assert!(find(&store, "alpha", "").await.is_empty(), "what was replaced is not found");
    assert_eq!(find(&store, "gamma", "").await.len(), 1);

    // The same rows from a spool that was restored under a new id.
    let restored = SpoolId::generate();
    let again = record(Lane::Bulk, 1, lines(vec![line(1, 0, "alpha"), line(2, 0, "omega")]));
    let done = ingest(&store, batch(restored, Lane::Bulk, vec![again])).await.unwrap();
    assert_eq!((done.acked, done.lines), (1, 0));
    assert_eq!(texts(&log(&store, 1).await), ["gamma", "omega"]);
}

#[tokio::test]
async fn a_pane_is_read_in_its_own_order() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let at = |generation: &str, layout, body: Vec<Line>| {
        let pane = PaneRef { generation: Generation::new(generation).unwrap(), ..pane(1) };
        RecordBody::Lines(Lines { pane, layout, agent: None, lines: body })
    };
    let uncounted = Gap { pane: pane(1), layout: 1, first_row: None, rows: None, cause: GapCause::Exit };
    let bodies = vec![
        at("g1", 1, vec![line(5, 0, "five"), line(3, 0, "three")]),
        at("g1", 2, vec![line(1, 0, "wide one")]),
        RecordBody::Gap(uncounted),
        at("g2", 1, vec![line(1, 0, "next life")]),
        at("g1", 1, vec![line(4, 0, "four")]),
        RecordBody::Gap(Gap {
            pane: pane(1),
            layout: 1,
            first_row: Some(1),
            rows: Some(2),
            cause: GapCause::Trimmed,
        }),
    ];
    let records = (1..).zip(bodies).map(|(seq, body)| record(Lane::Bulk, seq, body)).collect();
    ingest(&store, batch(spool, Lane::Bulk, records)).await.unwrap();
    let wanted = ["gap trimmed Some(2)", "three", "four", "five", "gap exit None", "wide one", "next life"];
    assert_eq!(texts(&log(&store, 1).await), wanted);

    let range = LogRange { pane: address(1), since: None, head: store.log_head().await.unwrap() };
    for count in 1..=wanted.len() {
        let tail = store.log_tail(range.clone(), count).await.unwrap();
        assert_eq!(texts(&tail), wanted[wanted.len() - count..], "tail {count}");
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = store.log_page(range.clone(), after, count).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.cursor());
            paged.extend(texts(&page));
        }
        assert_eq!(paged, wanted, "pages of {count}");
    }
    assert!(store.knows_pane(address(1)).await.unwrap() && !store.knows_pane(address(2)).await.unwrap());
}

#[tokio::test]
async fn search_finds_what_people_type_and_takes_nothing_for_syntax() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let rows = [
        "error[E0432] in src/main.rs:17",
        "他说: 已达到使用限制。请稍后再试",
        "she said \"not now\" AND left",
        "Résumé geöffnet",
        "codex resume 019bcea5-acb4-7c30",
        "x OR y* NEAR(z) {col}:^w",
        "",
        "---- ----",
    ];
    let body = lines((0..).zip(rows).map(|(row, text)| line(row, 0, text)).collect());
    ingest(&store, batch(SpoolId::generate(), Lane::Bulk, vec![record(Lane::Bulk, 1, body)])).await.unwrap();
    let hits = [
        ("src/main.rs", 0, "src/main.rs"),
        ("main", 0, "main"),
        ("E0432", 0, "E0432"),
        ("限制", 1, "限制"),
        ("\"not now\"", 2, "not now"),
        ("AND", 2, "AND"),
        ("resume", 3, "Résumé"),
        ("GEOFFNET", 3, "geöffnet"),
        ("019bcea5-acb4-7c30", 4, "019bcea5-acb4-7c30"),
        ("y*", 5, "y*"),
        ("NEAR(z)", 5, "NEAR(z)"),
        ("OR", 5, "OR"),
        ("{col}:^w", 5, "{col}:^w"),
        ("----", 7, "----"),
    ];
    for (query, row, matched) in hits {
        let found = find(&store, query, "").await;
        let (text, spans) = found.iter().find(|(text, _)| *text == rows[row]).expect(query);
        assert_eq!(&text[spans[0].0..spans[0].1], matched, "{query}");
    }
    for nothing in ["main.r", "ain", "限制了", "' OR 1=1 --", "\"said now\""] {
        let found = find(&store, nothing, "").await;
        assert!(found.is_empty(), "{nothing}: {found:?}");
    }
    assert_eq!(find(&store, "", r"E\d{4}").await, [(rows[0].to_owned(), vec![(6, 11)])]);
    assert_eq!(find(&store, "", "(?i)CODEX").await.len(), 1);
    assert!(find(&store, "", "CODEX").await.is_empty());
    assert!(Pattern::parse("", "(a{1000}){1000}").is_err());
    assert!(Pattern::parse("a", "b").is_err());
}

/// Everybody who waits shares a commit, and one who fails undoes only its own.
#[tokio::test]
async fn commits_are_shared_and_failures_are_not() {
    let place = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let (store, _) = Store::open(
        &place.path().join("state.db"),
        keys(place.path()),
        |_| Arc::new(Idle),
        Arc::clone(&metrics),
        time(0),
    )
    .unwrap();
    let spool = SpoolId::generate();
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let held = store.write(move |_| {
        blocked.recv().unwrap();
        Ok(())
    });
    let many = async {
        // Queued one after another while the first commit is held up.
        let mut answers = Vec::new();
        for seq in 1..=50_u64 {
            let seq = if seq == 20 { 99 } else { seq - u64::from(seq > 20) };
            let id = EventId::generate();
            let batch = batch(spool, Lane::Events, vec![record(Lane::Events, seq, event(id))]);
            answers.push(store.ingest(batch).await.unwrap());
        }
        unblock.send(()).unwrap();
        let mut failed = 0;
        for answer in &mut answers {
            failed += usize::from(answer.wait().await.is_err());
        }
        failed
    };
    let (first, failed) = tokio::join!(held, many);
    first.unwrap();
    assert_eq!(failed, 1, "the one with the hole before it");
    let commits = metrics.commits.load(std::sync::atomic::Ordering::Relaxed);
    assert!(commits <= 3, "{commits} commits for 51 requests");
    assert_eq!(store.events(EventRange::default(), 1000, false).await.unwrap().len(), 49);
}

/// Nothing is acknowledged that is not durable: here the database turns read-only under the writer.
#[tokio::test]
async fn what_cannot_be_written_is_not_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let spool = SpoolId::generate();
    let send = |seq| {
        let row = line(i64::try_from(seq).unwrap(), 0, "text");
        batch(spool, Lane::Bulk, vec![record(Lane::Bulk, seq, lines(vec![row]))])
    };
    ingest(&store, send(1)).await.unwrap();
    // The largest size that the file may have is the one that it has.
    store.write(|tx| Ok(tx.conn.query_row("PRAGMA max_page_count = 1", [], |_| Ok(()))?)).await.unwrap();
    let mut refused = None;
    for seq in 2..2000 {
        match ingest(&store, send(seq)).await {
            Ok(done) => assert_eq!(done.acked, seq),
            Err(error) => {
                refused = Some((seq, error));
                break;
            }
        }
    }
    let (seq, error) = refused.expect("the disk is full at some time");
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(error.to_string().contains("nothing new is acknowledged"));
    store
        .write(|tx| Ok(tx.conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))?))
        .await
        .unwrap();
    assert_eq!(ingest(&store, send(seq)).await.unwrap().acked, seq, "goes on when there is room");
    assert_eq!(log(&store, 1).await.len() as u64, seq);
}

/// Promise L1 stands on these.
#[tokio::test]
async fn the_writer_syncs_every_commit() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let pragmas = store.write(|tx| {
        let of = |name: &str| {
            tx.conn.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        };
        Ok((of("synchronous")?, of("journal_mode")?))
    });
    let (synchronous, journal) = pragmas.await.unwrap();
    assert_eq!((synchronous, journal), (2.into(), "wal".to_owned().into()));
}

#[tokio::test]
async fn a_request_that_panics_fails_alone() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let host = host();
    let clumsy = store.write::<()>(move |tx| {
        tx.node_joined(&host)?;
        panic!("oops")
    });
    let good = store.write(|tx| tx.node_joined(&Host::new("web-2").unwrap()));
    let (clumsy, good) = tokio::join!(clumsy, good);
    assert!(clumsy.unwrap_err().to_string().contains("panicked"));
    good.unwrap();
    store.check().await.unwrap();
    drop(store);
    let conn = connection::open(&place.path().join("state.db")).unwrap();
    let hosts: Vec<String> = nodes::load(&conn).unwrap().iter().map(|node| node.host.to_string()).collect();
    assert_eq!(hosts, ["web-2"]);
}

#[tokio::test]
async fn what_cannot_be_read_again_holds_up_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    store
        .write(|tx| {
            tx.node_joined(&host())?;
            tx.conn.execute_batch(
                "INSERT INTO inbox (host, mux, pane_id, generation, body, trace_parent)
                 VALUES ('web-1', 'main', 1, 'g1', x'ffff', '');
                 INSERT INTO panes (host, mux, pane_id, report) VALUES ('web-1', 'main', 1, x'ffff');
                 INSERT INTO runs (run_id, workflow, host, mux, pane_id, generation, state, reason, started_us,
                 wake_us, body) VALUES (x'00', 'w', 'web-1', 'main', 1, 'g1', 'waiting', '', 0, 1, '{}');",
            )?;
            Ok(())
        })
        .await
        .unwrap();
    let bell = record(Lane::Events, 1, event(EventId::generate()));
    ingest(&store, batch(SpoolId::generate(), Lane::Events, vec![bell])).await.unwrap();
    assert_eq!(store.write(|tx| tx.wake_runs()).await.unwrap(), None);
    let left = store.write(|tx| {
        Ok(tx.conn.query_row("SELECT count(*), max(queued) FROM inbox", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?)
    });
    assert_eq!(left.await.unwrap(), (1, 2), "the good row is worked off, the bad one set aside");
    drop(store);
    let conn = connection::open(&place.path().join("state.db")).unwrap();
    assert!(nodes::load(&conn).unwrap()[0].panes.is_empty());
}

/// An inbox that could not be worked off is tried again without waiting for the next event.
#[tokio::test]
async fn a_step_that_failed_is_called_for_again() {
    struct Full(std::sync::mpsc::Sender<Option<Timestamp>>);
    impl Observer for Full {
        fn step(&self, _: &Tx<'_>) -> Result<(), StoreError> {
            Err(StoreError::Full)
        }
        fn committed(&self, what: Committed) {
            self.0.send(what.wake).unwrap();
        }
    }
    let place = tempfile::tempdir().unwrap();
    let (sender, wakes) = std::sync::mpsc::channel();
    let path = place.path().join("state.db");
    let (store, _) = Store::open(
        &path,
        keys(place.path()),
        |_| Arc::new(Full(sender)),
        Arc::new(Metrics::default()),
        time(0),
    )
    .unwrap();
    let bell = record(Lane::Events, 1, event(EventId::generate()));
    let done = ingest(&store, batch(SpoolId::generate(), Lane::Events, vec![bell])).await.unwrap();
    assert_eq!(done.acked, 1, "the event itself is in");
    assert!(wakes.recv().unwrap().is_some());
}

#[tokio::test]
async fn gaps_of_one_place_and_moment_stand_side_by_side() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let gap = |rows| {
        let gap = Gap { pane: pane(1), layout: 1, first_row: None, rows, cause: GapCause::SpoolFull };
        Record { time: time(9), ..record(Lane::Bulk, 1, RecordBody::Gap(gap)) }
    };
    let both = || vec![gap(Some(3)), Record { seq: 2, ..gap(Some(4)) }];
    for spool in [SpoolId::generate(), SpoolId::generate()] {
        ingest(&store, batch(spool, Lane::Bulk, both())).await.unwrap();
        assert_eq!(texts(&log(&store, 1).await), ["gap spool_full Some(3)", "gap spool_full Some(4)"]);
    }
}

/// All nodes may go at the same moment, and each of them is to be told of.
#[tokio::test]
async fn a_crowd_at_the_door_waits_and_is_not_turned_away() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(open(place.path()));
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let held = store.write(move |_| {
        blocked.recv().unwrap();
        Ok(())
    });
    let crowd = async {
        let notes: Vec<_> = (0..1000)
            .map(|n| store.write_later(move |tx| tx.node_joined(&Host::new(format!("web-{n}")).unwrap())))
            .collect();
        let unblocked = async {
            tokio::task::yield_now().await;
            unblock.send(()).unwrap();
        };
        let (notes, ()) = tokio::join!(futures_util::future::join_all(notes), unblocked);
        notes.into_iter().filter(Result::is_err).count()
    };
    let (held, refused) = tokio::join!(held, crowd);
    held.unwrap();
    assert_eq!(refused, 0);
}

#[tokio::test]
async fn a_row_that_the_line_above_swallowed_is_not_shown() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let first = lines(vec![line(0, 0, "begins"), line(1, 0, "goes on"), line(2, 0, "")]);
    let swallowed = Line { rows: 0, ..line(1, 1, "") };
    let second = lines(vec![Line { rows: 2, ..line(0, 1, "begins and goes on") }, swallowed]);
    let records = vec![record(Lane::Bulk, 1, first), record(Lane::Bulk, 2, second)];
    ingest(&store, batch(SpoolId::generate(), Lane::Bulk, records)).await.unwrap();
    assert_eq!(
        texts(&log(&store, 1).await),
        ["begins and goes on", ""],
        "a blank line stays, a swallowed one goes"
    );
}
