//! Actions over restarts, crashes and damage.

use super::*;
use proptest::prelude::*;
use wa_proto::{Generation, MuxName, Verb};

fn now() -> Timestamp {
    wa_link::clock::now()
}

fn action() -> Action {
    Action {
        id: ActionId::generate(),
        pane: PaneRef { mux: MuxName::main(), generation: Generation::new("g-1-1").unwrap(), pane_id: 3 },
        deadline: now(),
        fence: 7,
        who: "operator:eve".into(),
        expect_agent: None,
        expect_agent_pid: None,
        expect_shell: false,
        trace_parent: String::new(),
        verb: Verb::Send { text: "hello".into(), enter: true },
    }
}

fn made_at(made: Timestamp) -> Action {
    let ms = u64::try_from(made.as_millisecond()).unwrap();
    let id = uuid::Builder::from_unix_timestamp_millis(ms, &[1; 10]).into_uuid();
    Action { id: ActionId(id), ..action() }
}

fn outcome(action: &Action, kind: OutcomeKind) -> Outcome {
    Outcome {
        action: action.id,
        kind,
        reason: String::new(),
        pane: Some(action.pane.clone()),
        trace_parent: String::new(),
        spawned: None,
    }
}

#[tokio::test]
async fn an_action_is_begun_once_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let (open, done, refused) = (action(), action(), action());
    assert_eq!(journal.begin(&open, now()).await.unwrap(), Begin::New);
    assert_eq!(journal.begin(&open, now()).await.unwrap(), Begin::Open);
    assert_eq!(journal.begin(&done, now()).await.unwrap(), Begin::New);
    journal.entered(done.id, now()).await.unwrap();
    journal.settle(outcome(&done, OutcomeKind::Submitted), now()).await.unwrap();
    journal.settle(outcome(&refused, OutcomeKind::Refused), now()).await.unwrap();
    journal.delivered(refused.id, now()).await.unwrap();
    assert_eq!(journal.open_actions(), vec![open.id]);
    assert_eq!(journal.fence(&open.pane), 7);

    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert!(recovered.notes.is_empty());
    let mut kinds: Vec<_> = recovered.outcomes.iter().map(|outcome| (outcome.action, outcome.kind)).collect();
    kinds.sort_by_key(|(_, kind)| *kind);
    assert_eq!(kinds, vec![(done.id, OutcomeKind::Submitted), (open.id, OutcomeKind::Unknown)]);
    for known in [&open, &done, &refused] {
        let begin = journal.begin(known, now()).await.unwrap();
        assert!(matches!(begin, Begin::Ended(_)), "{begin:?}");
    }
    assert!(journal.open_actions().is_empty());
}

/// An action that is offered again while there is no room for it may be one that is under way.
#[tokio::test]
async fn what_has_begun_is_not_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let (open, done, new) = (action(), action(), action());
    journal.begin(&open, now()).await.unwrap();
    journal.begin(&done, now()).await.unwrap();
    let submitted = outcome(&done, OutcomeKind::Submitted);
    journal.settle(submitted.clone(), now()).await.unwrap();
    let refuse =
        async |action: &Action| journal.refuse(outcome(action, OutcomeKind::Refused), now()).await.unwrap();
    assert_eq!(refuse(&open).await, Some(Begin::Open));
    assert_eq!(journal.open_actions(), vec![open.id]);
    assert_eq!(refuse(&done).await, Some(Begin::Ended(submitted)));
    assert_eq!(refuse(&new).await, None);
    assert_eq!(journal.begin(&new, now()).await.unwrap(), Begin::Ended(outcome(&new, OutcomeKind::Refused)));
}

/// A path so long that no other file can be made beside the journal stands for a disk without room.
#[tokio::test]
async fn a_journal_that_cannot_be_written_anew_opens_and_begins_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = dir.path().to_owned();
    while place.as_os_str().len() < 4075 {
        let left = 4075 - place.as_os_str().len();
        place.push("d".repeat(if left > 210 { 200 } else { left - 1 }));
    }
    wa_link::files::create_private_dir(&place).unwrap();
    let step = Step { fence: 1, ..bare(ActionId::generate(), Kind::Begun, now()) };
    let mut bytes = MAGIC.to_vec();
    framing::encode(&step.encode_to_vec(), false, &mut bytes);
    std::fs::write(place.join("journal.log"), &bytes).unwrap();

    let (journal, recovered) = Journal::open(&place).unwrap();
    assert_eq!(recovered.outcomes.len(), 1, "what it says is known all the same");
    let told = journal.trouble().borrow().clone().expect("it is said");
    assert!(told.contains("journal.log") && told.contains("nothing is typed"), "{told}");
    let refused = action();
    journal.begin(&refused, now()).await.unwrap_err();
    journal.retry().await.unwrap_err();
    assert_eq!((journal.find(refused.id), journal.trouble().borrow().is_some()), (None, true));
    assert_eq!(std::fs::read(place.join("journal.log")).unwrap(), bytes, "nothing was spoiled");
}

/// Its outcome went to the spool, which may lose it: whoever asks again is told again, and it is not taken for one that is under
/// way for ever.
#[tokio::test]
async fn an_outcome_that_the_disk_refuses_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let (begun, expired, refused) = (action(), action(), action());
    journal.begin(&begun, now()).await.unwrap();
    // Nothing can be written to a file that is open for reading, nor beside one in no directory.
    let path = dir.path().join("journal.log");
    journal.lock().file = File::open(&path).unwrap();
    journal.lock().path = dir.path().join("gone/journal.log");
    let of = |action: &Action| Some(Begin::Ended(outcome(action, OutcomeKind::Expired)));
    for ended in [&begun, &expired] {
        journal.settle(outcome(ended, OutcomeKind::Expired), now()).await.unwrap_err();
        assert_eq!(journal.find(ended.id), of(ended));
    }
    journal.refuse(outcome(&refused, OutcomeKind::Expired), now()).await.unwrap_err();
    journal.lock().path = path;
    journal.retry().await.unwrap();
    for ended in [&begun, &expired, &refused] {
        journal.delivered(ended.id, now()).await.unwrap();
        assert_eq!(journal.find(ended.id), of(ended));
    }
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.outcomes, vec![]);
    for ended in [&begun, &expired, &refused] {
        assert_eq!(journal.find(ended.id), of(ended), "over a restart");
    }
    // Of what is on record nowhere nothing is under way.
    let unknown = action();
    journal.delivered(unknown.id, now()).await.unwrap();
    assert_ne!(journal.find(unknown.id), Some(Begin::Open));
}

#[tokio::test]
async fn what_was_delivered_is_forgotten_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.told(now(), false).await.unwrap();
    let action = made_at(now() + jiff::SignedDuration::from_secs(1));
    journal.begin(&action, now()).await.unwrap();
    journal.settle(outcome(&action, OutcomeKind::Submitted), now()).await.unwrap();
    journal.delivered(action.id, now()).await.unwrap();
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert!(recovered.outcomes.is_empty());
    for (hours, known) in [(23, true), (25, false)] {
        journal.told(now() + jiff::SignedDuration::from_hours(hours), false).await.unwrap();
        journal.lock().rewrite().unwrap();
        assert_eq!(journal.find(action.id).is_some(), known, "{hours} h by the controller's clock");
    }
}

#[tokio::test]
async fn after_damage_nothing_older_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for _ in 0..3 {
        journal.begin(&action(), now()).await.unwrap();
    }
    let older = action();
    let path = dir.path().join("journal.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    // This host's clock says nothing of when an action was made.
    let here = now() - jiff::SignedDuration::from_mins(10);
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!((recovered.notes.len(), recovered.outcomes.len()), (1, 2));
    assert_eq!(journal.begin(&older, here).await.unwrap(), Begin::Doubtful);
    let told = now();
    journal.told(told, false).await.unwrap();
    assert_eq!(journal.begin(&older, here).await.unwrap(), Begin::Doubtful);
    let newer = made_at(told + jiff::SignedDuration::from_secs(1));
    assert_eq!(journal.begin(&newer, here).await.unwrap(), Begin::New);
    // A start later nothing is forgotten of it.
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!((recovered.notes.len(), journal.find(older.id)), (0, Some(Begin::Doubtful)));
    assert!(matches!(journal.find(newer.id), Some(Begin::Ended(_))));
    assert_eq!(journal.find(made_at(told + jiff::SignedDuration::from_secs(2)).id), None);
}

/// A state directory that is new, or was put back from a backup: what was begun since then is on no record here.
#[tokio::test]
async fn on_a_host_that_the_controller_has_nothing_of_nothing_older_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let (known, older) = (action(), action());
    assert_eq!(journal.begin(&known, now()).await.unwrap(), Begin::New);
    let first = now() + jiff::SignedDuration::from_secs(1);
    journal.told(first, true).await.unwrap();
    assert_eq!(journal.begin(&older, now()).await.unwrap(), Begin::Doubtful);
    assert_eq!(journal.begin(&known, now()).await.unwrap(), Begin::Open, "of this one there is a record");
    let newer = made_at(first + jiff::SignedDuration::from_secs(1));
    assert_eq!(journal.find(newer.id), None);
    // The network parts before anything was acknowledged: this program knows what it has begun.
    journal.told(first + jiff::SignedDuration::from_secs(2), true).await.unwrap();
    assert_eq!(journal.find(newer.id), None);
    // The journal alone is gone.
    std::fs::remove_file(dir.path().join("journal.log")).unwrap();
    for sessions in 0..2 {
        let (journal, recovered) = Journal::open(dir.path()).unwrap();
        assert!(recovered.notes.is_empty(), "it may be a new host");
        if sessions > 0 {
            journal.told(first, false).await.unwrap();
        }
        assert_eq!(journal.find(older.id), (sessions > 0).then_some(Begin::Doubtful));
        assert_eq!(journal.find(newer.id), None);
    }
    // The controller's clock is set back.
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.told(first - jiff::SignedDuration::from_hours(1), true).await.unwrap();
    assert_eq!(journal.find(older.id), Some(Begin::Doubtful));
    assert_eq!(journal.find(newer.id), None);
}

/// The program may be killed before there is a session.
#[tokio::test]
async fn damage_is_not_forgotten_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    for _ in 0..3 {
        journal.begin(&action(), now()).await.unwrap();
    }
    let path = dir.path().join("journal.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for notes in [1, 0] {
        let (journal, recovered) = Journal::open(dir.path()).unwrap();
        assert_eq!((recovered.notes.len(), journal.find(action().id)), (notes, Some(Begin::Doubtful)));
    }
}

proptest! {
    #[test]
    fn a_cut_journal_still_opens(steps in 1_usize..6, cut in 0_usize..600) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.log");
        let mut bytes = MAGIC.to_vec();
        let mut ends = Vec::new();
        for _ in 0..steps {
            let step = Step { fence: 1, ..bare(ActionId::generate(), Kind::Begun, now()) };
            framing::encode(&step.encode_to_vec(), false, &mut bytes);
            ends.push(bytes.len());
        }
        let cut = cut.min(bytes.len());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let (_, recovered) = Journal::open(dir.path()).unwrap();
        prop_assert_eq!(recovered.outcomes.len(), ends.iter().filter(|end| **end <= cut).count());
    }

    #[test]
    fn whatever_a_journal_holds_it_opens(pieces in proptest::collection::vec(piece(), 0..12), whole: bool) {
        let mut bytes = if whole { MAGIC.to_vec() } else { Vec::new() };
        for piece in pieces {
            match piece {
                Ok(step) => framing::encode(&step.encode_to_vec(), false, &mut bytes),
                Err(garbage) => bytes.extend(garbage),
            }
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal.log"), &bytes).unwrap();
        let (journal, recovered) = Journal::open(dir.path()).unwrap();
        prop_assert!(journal.open_actions().is_empty());
        let left = recovered.outcomes.len();
        drop(journal);
        let (_, recovered) = Journal::open(dir.path()).unwrap();
        prop_assert_eq!((recovered.outcomes.len(), recovered.notes.len()), (left, 0), "it was put in order");
    }
}

/// A step with anything in it, or bytes that are none.
fn piece() -> impl Strategy<Value = Result<Step, Vec<u8>>> {
    let id = prop_oneof![proptest::collection::vec(any::<u8>(), 1..20), Just(vec![7; 16]), Just(vec![8; 16])];
    let outcome = proptest::option::of(("(submitted|refused|unknown|.{0,8})", ".{0,8}"));
    let step = (id, 0_i32..8, any::<i64>(), outcome).prop_map(|(action_id, kind, at_us, outcome)| {
        let outcome = outcome.map(|(outcome, reason)| v1::Outcome {
            action_id: action_id.clone(),
            outcome,
            reason,
            ..v1::Outcome::default()
        });
        Step { action_id, kind, at_us, outcome, ..Step::default() }
    });
    prop_oneof![3 => step.prop_map(Ok), 1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Err)]
}
