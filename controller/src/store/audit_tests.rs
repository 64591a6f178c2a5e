//! The chain of the audit trail: whatever is done to its rows, the first that does not follow is named.

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::audit::{AuditFilter, Chain, TrailMark};
use super::{Entry, Store};
use crate::store::tests::open;

/// Rows that differ in every word.
async fn trail(store: &Store, rows: u64) {
    let write = store.write(move |tx| {
        (1..=rows).try_for_each(|n| {
            tx.audit(&Entry {
                who: &format!("operator:{n}"),
                what: &format!("send{n}"),
                target: &format!("web-1 main {n}"),
                decision: &format!("queued{n}"),
                detail: &format!("detail {n}"),
            })
        })
    });
    write.await.unwrap();
}

/// As somebody who has the file.
fn intruder(place: &TempDir) -> Connection {
    let conn = Connection::open(place.path().join("state.db")).unwrap();
    conn.execute_batch(
        "DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; DROP TRIGGER audit_at_the_end;",
    )
    .unwrap();
    conn
}

fn broken_at(chain: &Chain) -> Option<u64> {
    chain.broken.as_ref().map(|(n, _)| *n)
}

#[derive(Debug, Clone)]
enum Deed {
    /// Another value in one column.
    Change(u64, usize),
    /// The words moved over the border of their columns.
    Move(u64),
    Remove(u64),
    /// … and those behind it moved up.
    Close(u64),
    Swap(u64, u64),
    /// A row of its own, in front of this one, with a hash that is taken from there.
    Slip(u64),
    /// A value of another type.
    Foreign(u64, usize),
}

const COLUMNS: [&str; 7] = ["time_us", "who", "what", "target", "decision", "detail", "hash"];
const ROWS: u64 = 12;

fn deeds() -> impl Strategy<Value = Deed> {
    let n = 1..=ROWS;
    prop_oneof![
        (n.clone(), 0..COLUMNS.len()).prop_map(|(n, column)| Deed::Change(n, column)),
        n.clone().prop_map(Deed::Move),
        (1..ROWS).prop_map(Deed::Remove),
        (1..ROWS).prop_map(Deed::Close),
        (n.clone(), n.clone()).prop_filter("two", |(a, b)| a != b).prop_map(|(a, b)| Deed::Swap(a, b)),
        n.clone().prop_map(Deed::Slip),
        (n, 0..COLUMNS.len()).prop_map(|(n, column)| Deed::Foreign(n, column)),
    ]
}

/// Does it; the first row that is not as it was.
fn commit(conn: &Connection, deed: &Deed) -> u64 {
    let run = |sql: &str| conn.execute_batch(sql).unwrap();
    match *deed {
        Deed::Change(n, column) => {
            let column = COLUMNS[column];
            let value = match column {
                "time_us" => "time_us + 1".to_owned(),
                "hash" => "randomblob(32)".to_owned(),
                word => format!("{word} || ' '"),
            };
            run(&format!("UPDATE audit SET {column} = {value} WHERE n = {n}"));
            n
        }
        Deed::Move(n) => {
            run(&format!(
                "UPDATE audit SET who = substr(who, 1, length(who) - 1), what = substr(who, -1) || what WHERE n = {n}"
            ));
            n
        }
        Deed::Remove(n) => {
            run(&format!("DELETE FROM audit WHERE n = {n}"));
            n
        }
        Deed::Close(n) => {
            run(&format!("DELETE FROM audit WHERE n = {n}"));
            for later in n + 1..=ROWS {
                run(&format!("UPDATE audit SET n = {} WHERE n = {later}", later - 1));
            }
            n
        }
        Deed::Swap(a, b) => {
            run(&format!(
                "UPDATE audit SET n = 1000 WHERE n = {a}; UPDATE audit SET n = {a} WHERE n = {b};
                 UPDATE audit SET n = {b} WHERE n = 1000;"
            ));
            a.min(b)
        }
        Deed::Slip(n) => {
            for later in (n..=ROWS).rev() {
                run(&format!("UPDATE audit SET n = {} WHERE n = {later}", later + 1));
            }
            run(&format!(
                "INSERT INTO audit SELECT {n}, time_us, 'operator:eve', what, target, decision, detail, hash FROM audit
                 WHERE n = {}",
                n + 1
            ));
            n
        }
        Deed::Foreign(n, column) => {
            run(&format!("UPDATE audit SET {} = x'ff' WHERE n = {n}", COLUMNS[column]));
            n
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_a_row_is_found(deed in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let store = open(place.path());
            trail(&store, ROWS).await;
            let whole = store.verify_audit(None).await.unwrap();
            prop_assert_eq!((whole.rows, broken_at(&whole)), (ROWS, None));
            let first = commit(&intruder(&place), &deed);
            let chain = store.verify_audit(None).await.unwrap();
            prop_assert_eq!((chain.rows, broken_at(&chain)), (first - 1, Some(first)), "{:?}", deed);
            Ok(())
        })?;
    }
}

/// The last rows are gone, and so is, perhaps, what the controller remembers of them.
fn cut_after(place: &TempDir, n: u64, remembered_too: bool) {
    let conn = intruder(place);
    conn.execute(&format!("DELETE FROM audit WHERE n > {n}"), []).unwrap();
    if remembered_too {
        conn.execute_batch(
            "DELETE FROM audit_head; INSERT INTO audit_head SELECT 1, n, hash FROM audit ORDER BY n DESC LIMIT 1",
        )
        .unwrap();
    }
}

#[tokio::test]
async fn what_was_cut_off_at_the_end_stays_a_gap() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    trail(&store, 5).await;
    assert_eq!(store.audit_end().await.unwrap().problem(), None);
    cut_after(&place, 3, false);
    let cut = store.verify_audit(None).await.unwrap();
    assert_eq!((cut.rows, broken_at(&cut)), (3, Some(4)));
    let problem = store.audit_end().await.unwrap().problem().unwrap();
    assert_eq!(problem, "5 rows were written, and the last that is there is row 3");
    // Also once more was written than had been there; nothing is kept from being written.
    trail(&store, 4).await;
    let grown = store.verify_audit(None).await.unwrap();
    assert_eq!((grown.rows, broken_at(&grown)), (3, Some(4)));
    assert_eq!(store.audit_head().await.unwrap(), 9);
}

#[tokio::test]
async fn what_was_cut_off_with_its_memory_is_found_by_the_head_that_was_kept() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    trail(&store, 5).await;
    let kept = store.audit_end().await.unwrap().last.unwrap();
    let verify = async |mark: &TrailMark| store.verify_audit(Some(mark.clone())).await.unwrap();
    assert_eq!(broken_at(&verify(&kept).await), None);
    trail(&store, 2).await;
    assert_eq!(broken_at(&verify(&kept).await), None, "it is not the last any more");
    cut_after(&place, 3, true);
    assert_eq!(broken_at(&store.verify_audit(None).await.unwrap()), None);
    assert_eq!(broken_at(&verify(&kept).await), Some(4));
    // As many rows as before, of another trail.
    trail(&store, 4).await;
    assert_eq!(broken_at(&store.verify_audit(None).await.unwrap()), None);
    let forged = verify(&kept).await;
    assert_eq!((broken_at(&forged), forged.rows), (Some(5), 4));
    assert!(forged.broken.unwrap().1.contains("remembered"));
}

#[tokio::test]
async fn no_row_is_changed_removed_or_replaced() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    trail(&store, 3).await;
    let conn = Connection::open(place.path().join("state.db")).unwrap();
    const ROW: &str = "(n, time_us, who, what, target, decision, detail, hash) VALUES";
    for deed in [
        "UPDATE audit SET who = 'x' WHERE n = 2".to_owned(),
        "DELETE FROM audit WHERE n = 3".to_owned(),
        "DELETE FROM audit".to_owned(),
        format!("INSERT OR REPLACE INTO audit {ROW} (2, 0, '', '', '', '', '', x'')"),
        format!("REPLACE INTO audit {ROW} (3, 0, '', '', '', '', '', x'')"),
        format!("INSERT INTO audit {ROW} (9, 0, '', '', '', '', '', x'')"),
    ] {
        let error = conn.execute(&deed, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{deed}: {error}");
    }
    assert_eq!(store.verify_audit(None).await.unwrap().rows, 3);
}

/// More than one read looks at.
#[tokio::test]
async fn a_long_trail_is_read_in_pages() {
    const MANY: u64 = 21_000;
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    trail(&store, MANY).await;
    let chain = store.verify_audit(None).await.unwrap();
    assert_eq!((chain.rows, broken_at(&chain)), (MANY, None));
    let (filter, last) = (AuditFilter::default(), store.audit_head().await.unwrap());
    let (mut after, mut seen, mut largest) = (0, 0, 0);
    while after < last {
        let (rows, next) = store.audit_page(filter.clone(), after, last).await.unwrap();
        assert!(rows.iter().map(|row| row.n).eq(seen + 1..=seen + i64::try_from(rows.len()).unwrap()));
        (after, largest) = (next, largest.max(rows.len()));
        seen += i64::try_from(rows.len()).unwrap();
    }
    assert_eq!((seen.cast_unsigned(), largest), (MANY, 500));
    // One row, far from the end.
    let one = AuditFilter { who: Some("operator:77".into()), ..filter };
    assert_eq!(store.audit_tail(one.clone(), last, 1).await.unwrap(), 76);
    assert_eq!(store.audit_tail(one, last, 2).await.unwrap(), 0);
    assert_eq!(store.audit_tail(AuditFilter::default(), last, 3).await.unwrap(), last - 3);
    let long = intruder(&place);
    long.execute("UPDATE audit SET detail = '' WHERE n = 15000", []).unwrap();
    assert_eq!(broken_at(&store.verify_audit(None).await.unwrap()), Some(15_000));
}

#[tokio::test]
async fn rows_are_picked_by_whom_what_about_and_since_when() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let targets =
        ["web-1 main 3", "web-1/3", "web-1 main 31", "web-1", "web-10", "web-1 gui 3", "web-1/gui/3", "all"];
    let write = store.write(move |tx| {
        targets.iter().try_for_each(|target| {
            tx.audit(&Entry { who: "operator:o", what: "x", target, decision: "d", detail: "" })
        })
    });
    write.await.unwrap();
    let of = async |target: &str| {
        let filter = AuditFilter { target: Some(target.into()), ..AuditFilter::default() };
        let (rows, _) = store.audit_page(filter, 0, 100).await.unwrap();
        rows.into_iter().map(|row| row.target).collect::<Vec<_>>()
    };
    assert_eq!(of("web-1/3").await, ["web-1 main 3", "web-1/3"]);
    assert_eq!(of("web-1/gui/3").await, ["web-1 gui 3", "web-1/gui/3"]);
    assert_eq!(
        of("web-1").await,
        ["web-1 main 3", "web-1/3", "web-1 main 31", "web-1", "web-1 gui 3", "web-1/gui/3"]
    );
    assert_eq!(of("all").await, ["all"]);
    assert_eq!(of("web-1 main").await, Vec::<String>::new());
    let now = wa_link::clock::now();
    let (past, future) = (now - std::time::Duration::from_secs(60), now + std::time::Duration::from_secs(60));
    assert_eq!(store.audit_before(past).await.unwrap(), 0);
    assert_eq!(store.audit_before(future).await.unwrap(), 8);
}

/// Else whoever changed one number would have every listing go through all numbers up to it.
#[tokio::test]
async fn a_row_that_was_given_a_number_far_away_holds_up_no_listing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state.db");
    let store = super::tests::open(place.path());
    for target in ["a", "b", "c"] {
        let written = store.write(move |tx| {
            tx.audit(&Entry { who: "operator:o", what: "x", target, decision: "d", detail: "" })
        });
        written.await.unwrap();
    }
    drop(store);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("DROP TRIGGER audit_no_update; UPDATE audit SET n = 9000000000000000000 WHERE n = 3")
        .unwrap();
    drop(conn);
    let store = super::tests::open(place.path());
    let listed = tokio::time::timeout(std::time::Duration::from_secs(60), store.audit_trail()).await;
    let targets: Vec<_> = listed.expect("it ends").unwrap().into_iter().map(|row| row.target).collect();
    assert!(targets.starts_with(&["a".to_owned(), "b".to_owned()]), "{targets:?}");
    assert!(store.verify_audit(None).await.unwrap().broken.is_some());
}
