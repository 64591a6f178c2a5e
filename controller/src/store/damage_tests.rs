//! The file is on a disk: it may be damaged, of an older or a newer program, or edited by hand. Whatever stands in one
//! field of one row, the controller starts, nothing panics, what is read again are all rows but that one, and the store goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;
use wa_link::principal::{Principal, Role};
use wa_proto::{
    AgentKind, Conversation, EventId, EventKind, Gap, GapCause, Lane, Message, Record, RecordBody, SpoolId,
};

use super::accounts_tests::{alias, lease, pool, request};
use super::nodes_tests::told;
use super::retention_tests::{action, run};
use super::tests::{Idle, batch, event, host, ingest, keys, line, lines, pane, record, time};
use super::*;

/// Tables whose rows say how others are read: what hangs on a row may go with it.
const PARENTS: [&str; 4] = ["streams", "sessions", "pools", "accounts"];
/// Without the key in force nothing sealed is read: that ends the start, and says so.
const NOT_ROWS: [&str; 2] = ["vault", "log_words"];

fn open(path: &Path) -> Result<Store, StoreError> {
    let metrics = Arc::new(Metrics::default());
    let now = wa_link::clock::now();
    Store::open(&path.join("state.db"), keys(path), |_| Arc::new(Idle), metrics, now).map(|(store, _)| store)
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn message(index: u64) -> Message {
    Message {
        index,
        id: format!("m{index}"),
        role: wa_proto::Role::Assistant,
        name: String::new(),
        text: format!("message {index}"),
        cut_bytes: 0,
        time: Some(time(1)),
    }
}

/// A database with some rows in every table.
static WHOLE: LazyLock<TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_owned();
    let made = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(make(&path));
    });
    made.join().unwrap();
    place
});

async fn make(path: &Path) {
    let store = open(path).unwrap();
    let spool = SpoolId::generate();
    let gap = |rows| {
        RecordBody::Gap(Gap {
            pane: pane(1),
            layout: 1,
            first_row: Some(9),
            rows: Some(rows),
            cause: GapCause::Trimmed,
        })
    };
    let conversation = |session: &str| {
        RecordBody::Conversation(Conversation {
            pane: pane(2),
            agent: AgentKind::codex(),
            session_id: session.to_owned(),
            skipped_bytes: 0,
            messages: vec![message(0), message(1)],
        })
    };
    let bulk = vec![
        record(Lane::Bulk, 1, lines(vec![line(1, 0, "first"), line(2, 0, "second"), line(3, 0, "third")])),
        record(Lane::Bulk, 2, gap(3)),
        record(Lane::Bulk, 3, gap(4)),
        record(Lane::Bulk, 4, conversation("one")),
        record(Lane::Bulk, 5, conversation("two")),
    ];
    ingest(&store, batch(spool, Lane::Bulk, bulk)).await.unwrap();
    let events: Vec<Record> =
        (1..=3).map(|seq| record(Lane::Events, seq, event(EventId::generate()))).collect();
    ingest(&store, batch(spool, Lane::Events, events)).await.unwrap();
    pool(&store).await;
    for n in 1..=2 {
        lease(&store, request(n, RunId::generate())).await.unwrap();
    }
    let change = NodeChange {
        host: host(),
        version: "1".into(),
        last_seen: Some(time(1)),
        skew_ms: 0,
        heartbeat: wa_proto::wire::v1::Heartbeat::default(),
        whole: true,
        panes: vec![told(1, "one"), told(2, "two")],
        gone: vec![],
    };
    store.save_nodes(vec![change]).await.unwrap();
    let far = wa_link::clock::now() + Duration::from_secs(600);
    store
        .write(move |tx| {
            tx.node_joined(&Host::new("web-2").unwrap())?;
            for n in 1..=2_u64 {
                let of = run(tx, n, 2, None)?;
                run(tx, n + 10, 1, Some(time(5)))?;
                tx.enqueue(&host(), action(n), Some(of), None, "kill")?;
                let new = NewAction {
                    host: host(),
                    action: action(n),
                    run: Some(of),
                    idempotency_key: None,
                    summary: "kill".into(),
                };
                tx.hold(&new, "rule[0]", far)?;
                let asks = tx.run(of)?.unwrap();
                tx.ask(&asks, "go on?", &["yes".to_owned()], far)?;
                tx.add_pause(&format!("host web-{n}"), "operator:ada", "lunch")?;
                tx.make_home(&alias("a"), &Host::new(format!("web-{n}")).unwrap())?;
                for role in [Role::Viewer, Role::Node] {
                    let principal = Principal { role, name: Host::new(format!("name-{n}")).unwrap() };
                    let serial = format!("{role:?}{n}");
                    tx.record_certificate(
                        &IssuedCertificate { serial, principal: principal.clone(), expires: far },
                        "operator:ada",
                    )?;
                    if role == Role::Node {
                        tx.revoke(&principal, "operator:ada", "left")?;
                    }
                }
                tx.create_token(&NewToken {
                    secret_hash: [u8::try_from(n).unwrap(); 32],
                    name: Host::new("new-1").unwrap(),
                    created_by: "operator:ada".into(),
                    expires: far,
                    replaces: false,
                })?;
                let unknown =
                    UnknownRecord { seq: n, time_us: 0, why: "new".into(), bytes: vec![0x0a, 1, 2, 3] };
                tx.keep_unknown(&host(), SpoolId::generate(), Lane::Bulk, &unknown)?;
            }
            tx.conn.execute_batch(
                "INSERT INTO account_windows VALUES ('a', '5h', '', 10.0, 1, 1, 0), ('a', '7d', '', 20.0, 1, 1, 0);
                 INSERT INTO rule_packs VALUES ('p1', 'x', 0, '1', 'h', 1, 'operator:ada', 1),
                                               ('p2', 'x', 0, '1', 'h', 1, 'operator:ada', 1);
                 INSERT INTO holes VALUES ('web-1', x'00', 2, 50, 60, 'spool_full', 1);
                 INSERT INTO repaints VALUES (1, 1, 1, 1, 1)",
            )?;
            Ok(())
        })
        .await
        .unwrap();
    // Left by a controller that was killed: what it had not worked off.
    drop(store);
    let conn = Connection::open(path.join("state.db")).unwrap();
    conn.execute_batch(
        "INSERT INTO inbox (host, mux, pane_id, generation, body, trace_parent)
         SELECT host, mux, pane_id, generation, body, trace_parent FROM events WHERE mux IS NOT NULL;
         PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
}

/// The rows that each list shows, by the table that it is of.
async fn lists(store: &Store) -> Vec<(&'static str, BTreeSet<String>)> {
    let mut out: Vec<(&'static str, BTreeSet<String>)> = Vec::new();
    let of = |pane_id| LogRange {
        pane: PaneAddress { host: host(), mux: wa_proto::MuxName::main(), pane_id },
        since: None,
        head: i64::MAX,
    };
    macro_rules! list {
        ($table:literal, $rows:expr, $key:expr) => {
            let rows = $rows.await.unwrap_or_else(|error| panic!("the list of {}: {error}", $table));
            out.push(($table, rows.iter().map($key).collect()));
        };
    }
    list!("log", store.log_page(of(1), None, 100), |row| row.id.to_string());
    list!("log", store.log_tail(of(1), 100), |row| row.id.to_string());
    list!("log", store.log_arrivals(of(1).pane, 0, 100), |row| row.id.to_string());
    list!("messages", store.said_page(of(2), None, 100), |row| row.id.to_string());
    list!("messages", store.said_tail(of(2), 100), |row| row.id.to_string());
    list!("messages", store.arrivals_of_both(of(2).pane, 0, 100), |row| row.id.to_string());
    let search = |query: &str, regex: &str| Search {
        pattern: Pattern::parse(query, regex).unwrap(),
        since: None,
        limit: 100,
        filter: Box::new(|_| true),
        cancelled: Box::new(|| false),
    };
    list!("log", store.search(search("", "first|second|third|message")), |hit| hit.entry.id.to_string());
    list!("log", store.search(search("second", "")), |hit| hit.entry.id.to_string());
    list!("events", store.events(EventRange::default(), 100, false), |row| row.n.to_string());
    list!("events", store.events(EventRange::default(), 100, true), |row| row.n.to_string());
    list!("runs", store.runs(None, None, 100), |row| row.run.id.to_string());
    list!("notices", store.notices(false, None, 100), |row| row.id.to_string());
    list!("outbox", store.actions(100), |row| row.action.to_string());
    list!("approvals", store.approvals(false, None, 100), |row| row.n.to_string());
    list!("approvals", store.unseen_approvals(100), |row| row.n.to_string());
    list!("accounts", store.accounts(None), |row| row.account.alias.to_string());
    list!("account_leases", store.accounts(None), |row| format!("{:?}", row.leases.len()));
    list!("pools", store.pools(None), |row| row.name.clone());
    list!("certificates", store.operators(), |row| row.principal.to_string());
    list!("revocations", store.revoked_hosts(), |row| row.host.to_string());
    list!("audit", store.audit_trail(), |row| row.n.to_string());
    store.next_wake().await.unwrap();
    store.verify_audit(None).await.unwrap();
    for row in store.runs(None, None, 100).await.unwrap() {
        store.run(row.run.id).await.unwrap();
    }
    out
}

/// What the controller does all day.
async fn goes_on(store: &Store) {
    store.write(|tx| tx.wake_runs()).await.unwrap();
    store.write(|tx| tx.take_in_unknown()).await.unwrap();
    store.check().await.unwrap();
    store.sweep(time(-1000)).await.unwrap();
    let mut told_event = event(EventId::generate());
    if let RecordBody::Event(event) = &mut told_event {
        (event.kind, event.agent, event.pane) =
            (EventKind::LimitReached, Some(AgentKind::codex()), Some(pane(2)));
    }
    let of_all = [
        (Lane::Events, told_event),
        (Lane::Bulk, lines(vec![line(90, 0, "more"), line(2, 9, "second again")])),
    ];
    for (lane, body) in of_all {
        let batch = batch(SpoolId::generate(), lane, vec![record(lane, 1, body)]);
        assert_eq!(ingest(store, batch).await.unwrap().acked, 1);
    }
    let change = NodeChange {
        host: host(),
        version: "1".into(),
        last_seen: Some(time(2)),
        skew_ms: 0,
        heartbeat: wa_proto::wire::v1::Heartbeat::default(),
        whole: false,
        panes: vec![told(2, "changed")],
        gone: vec![],
    };
    store.save_nodes(vec![change]).await.unwrap();
}

/// What is done to a field.
#[derive(Debug, Clone)]
enum Harm {
    Bent { at: prop::sample::Index, to: u8, is_text: bool },
    Cut { at: prop::sample::Index, is_text: bool },
    Bytes(Vec<u8>),
    Text(String),
    Number(i64),
    Real(f64),
    Nothing,
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), any::<u8>(), any::<bool>()).prop_map(|(at, to, is_text)| Harm::Bent { at, to, is_text }),
        2 => (index(), any::<bool>()).prop_map(|(at, is_text)| Harm::Cut { at, is_text }),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Harm::Bytes),
        2 => ".{0,20}".prop_map(Harm::Text),
        2 => prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN), -2..3_i64].prop_map(Harm::Number),
        1 => any::<f64>().prop_map(Harm::Real),
        1 => Just(Harm::Nothing),
    ]
}

impl Harm {
    /// The new value; the second: it is bytes that are to stand there as text.
    fn done_to(&self, old: Value) -> (Value, bool) {
        let bytes = |old: Value| match old {
            Value::Text(text) => (text.into_bytes(), true),
            Value::Blob(blob) => (blob, false),
            Value::Integer(number) => (number.to_string().into_bytes(), true),
            Value::Real(number) => (number.to_string().into_bytes(), true),
            Value::Null => (Vec::new(), false),
        };
        match self {
            Self::Bent { at, to, is_text } => {
                let (mut bytes, was_text) = bytes(old);
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *to;
                }
                (Value::Blob(bytes), was_text || *is_text)
            }
            Self::Cut { at, is_text } => {
                let (mut bytes, was_text) = bytes(old);
                bytes.truncate(at.index(bytes.len() + 1));
                (Value::Blob(bytes), was_text || *is_text)
            }
            Self::Bytes(bytes) => (Value::Blob(bytes.clone()), false),
            Self::Text(text) => (Value::Text(text.clone()), false),
            Self::Number(number) => (Value::Integer(*number), false),
            Self::Real(number) => (Value::Real(*number), false),
            Self::Nothing => (Value::Null, false),
        }
    }
}

/// Does it to one field of one row of one table; which table and column, or `None` where the database refuses.
fn damage(
    path: &Path,
    table: prop::sample::Index,
    column: prop::sample::Index,
    row: prop::sample::Index,
    harm: &Harm,
) -> Option<(String, String)> {
    let conn = Connection::open(path.join("state.db")).unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete;",
    )
    .unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let tables = names(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'log_words%'",
    );
    let tables: Vec<String> =
        tables.into_iter().filter(|table| !NOT_ROWS.contains(&table.as_str())).collect();
    let table = &tables[table.index(tables.len())];
    let columns = names(&format!("SELECT name FROM pragma_table_info('{table}')"));
    let column = &columns[column.index(columns.len())];
    let keys = names(&format!("SELECT name FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk"));
    let count: usize = conn
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        .unwrap() as usize;
    assert!(count > 0, "{table} is empty");
    let picked =
        format!("SELECT {column}, {} FROM {table} LIMIT 1 OFFSET {}", keys.join(", "), row.index(count));
    let (old, key) = conn
        .query_row(&picked, [], |row| {
            let key = (1..=keys.len()).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>()?;
            Ok((row.get::<_, Value>(0)?, key))
        })
        .unwrap();
    let (new, as_text) = harm.done_to(old);
    let value = if as_text { "CAST(? AS TEXT)" } else { "?" };
    let which: Vec<String> = keys.iter().map(|key| format!("{key} IS ?")).collect();
    let sql = format!("UPDATE {table} SET {column} = {value} WHERE {}", which.join(" AND "));
    let changed = conn.execute(&sql, params_from_iter(std::iter::once(new).chain(key))).ok()?;
    assert_eq!(changed, 1, "{sql}");
    Some((table.clone(), column.clone()))
}

async fn survives(path: &Path, table: &str) {
    let whole = open_copy().await;
    let store = open(path).unwrap_or_else(|error| panic!("the controller does not start: {error}"));
    for ((of, before), (_, after)) in whole.iter().zip(lists(&store).await) {
        let missing: Vec<_> = before.difference(&after).collect();
        let may_miss = if PARENTS.contains(&table) || table == "said" { before.len() } else { 1 };
        assert!(missing.len() <= may_miss, "of {of} {missing:?} are not listed");
    }
    goes_on(&store).await;
}

/// What the lists show of the whole database.
async fn open_copy() -> &'static Vec<(&'static str, BTreeSet<String>)> {
    static LISTS: tokio::sync::OnceCell<Vec<(&'static str, BTreeSet<String>)>> =
        tokio::sync::OnceCell::const_new();
    LISTS
        .get_or_init(|| async {
            let place = tempfile::tempdir().unwrap();
            copy(WHOLE.path(), place.path());
            let store = open(place.path()).unwrap();
            let lists = lists(&store).await;
            assert!(lists.iter().all(|(_, rows)| !rows.is_empty()), "{lists:?}");
            goes_on(&store).await;
            lists
        })
        .await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn one_damaged_field_ends_no_start_and_hides_no_other_row(
        table: prop::sample::Index, column: prop::sample::Index, row: prop::sample::Index, harm in harm(),
    ) {
        let place = tempfile::tempdir().unwrap();
        copy(WHOLE.path(), place.path());
        if let Some((table, column)) = damage(place.path(), table, column, row, &harm) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            println!("{table}.{column}: {harm:?}");
            runtime.block_on(survives(place.path(), &table));
        }
    }
}
