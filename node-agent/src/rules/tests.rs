//! Sets that come, go, and are damaged. What they mean for panes is in `panes.rs`.

pub(crate) mod panes;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use proptest::prelude::*;
use wa_link::shutdown::{Shutdown, Tasks};

use super::*;
use crate::testing::LIMIT;

/// A pack with one rule: `WORD in PLACE` at the beginning of a line above Claude Code's composer is an `error.api`.
pub(crate) fn pack(name: &str, word: &str) -> v1::RulePack {
    let text = format!(
        "schema = \"wa.pack/1\"\nversion = \"7\"\n\
         [[rule]]\nid = \"{name}.{word}\"\nevent = \"error.api\"\nagent = \"claude\"\nregion = \"transcript\"\n\
         columns = [0, 0]\nliterals = [\"{word} in\"]\npattern = '{word} in (?P<place>\\S+)'\nrearm = \"gone\"\n\
         [[rule.example]]\ntext = \"{word} in core\"\nfields = {{ place = \"core\" }}\n"
    );
    v1::RulePack { name: name.to_owned(), text, shadow: false }
}

pub(crate) fn shadow(name: &str, word: &str) -> v1::RulePack {
    v1::RulePack { shadow: true, ..pack(name, word) }
}

/// As a controller sends it.
pub(crate) fn set(packs: Vec<v1::RulePack>) -> v1::RulePacks {
    let of = |pack: &v1::RulePack| wa_match::Pack {
        name: pack.name.clone(),
        text: pack.text.clone(),
        origin: wa_match::Origin::Pushed,
        shadow: pack.shadow,
    };
    let revision = wa_match::revision(&packs.iter().map(of).collect::<Vec<_>>());
    v1::RulePacks { revision, packs }
}

/// A set with a mistake in the fourth line of a pack.
pub(crate) fn bad_set() -> v1::RulePacks {
    let mut bad = pack("bad", "never");
    bad.text = bad.text.replace("[[rule]]\n", "[[rule]]\ncolour = 1\n");
    set(vec![pack("fine", "fine"), bad])
}

/// Rules over a directory, and the worker that keeps them.
pub(crate) struct Kept {
    pub(crate) rules: Rules,
    reload: Reload,
    board: Arc<Board>,
    tasks: Tasks,
}

impl Kept {
    fn open(dir: &Path) -> Self {
        Self::with(dir, &LocalPacks::default())
    }

    fn with(dir: &Path, local: &LocalPacks) -> Self {
        let board = Arc::new(Board::default());
        let (rules, worker) = Rules::open(dir, local, Arc::clone(&board)).unwrap();
        Self::over(rules, worker, board, Tasks::new(Shutdown::new()))
    }

    pub(crate) fn over(rules: Rules, worker: Worker, board: Arc<Board>, tasks: Tasks) -> Self {
        let (reload, reloads) = reloads();
        tasks.spawn("rules", worker.run(tasks.clone(), reloads, tasks.shutdown().clone()));
        Self { rules, reload, board, tasks }
    }

    /// Waits for a report, and tells the first that meets the condition.
    pub(crate) async fn until(
        &self,
        what: &str,
        condition: impl Fn(&v1::RulesReport) -> bool,
    ) -> v1::RulesReport {
        let mut reports = self.rules.reports();
        let wait = async {
            loop {
                reports.mark_unchanged();
                let report = self.rules.report();
                if condition(&report) {
                    return report;
                }
                reports.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        waited.unwrap_or_else(|_| panic!("never: {what}; {:?}", self.rules.report()))
    }

    pub(crate) async fn push(&self, set: &v1::RulePacks) -> v1::RulesReport {
        self.rules.want(set.clone());
        self.until("in force", |report| report.revision == set.revision).await
    }

    async fn refused(&self, set: &v1::RulePacks) -> v1::RulesReport {
        self.rules.want(set.clone());
        self.until("refused", |report| report.refused_revision == set.revision).await
    }

    async fn stop(self) {
        drop(self.tasks.finish(LIMIT).await);
    }
}

fn has_rule(engine: &Engine, id: &str) -> bool {
    engine.rules().any(|rule| rule.id == id)
}

fn names(report: &v1::RulesReport, origin: &str) -> Vec<String> {
    let packs = report.packs.iter().filter(|pack| pack.origin == origin);
    packs.map(|pack| pack.name.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_set_runs_is_kept_and_runs_again_without_a_controller() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::open(dir.path());
    assert_eq!(kept.rules.report().revision, "");
    assert!(names(&kept.rules.report(), "builtin").contains(&"claude".to_owned()));
    let first = set(vec![pack("mine", "broken"), shadow("tried", "odd")]);
    let report = kept.push(&first).await;
    let mine = report.packs.iter().find(|pack| pack.name == "mine").unwrap();
    assert_eq!(
        (mine.version.as_str(), mine.origin.as_str(), mine.rules, mine.shadow),
        ("7", "pushed", 1, false)
    );
    assert_eq!(mine.hash.len(), 64);
    assert!(report.packs.iter().any(|pack| pack.name == "tried" && pack.shadow));
    assert!(has_rule(&kept.rules.engine(), "mine.broken"));
    let file = dir.path().join("rules/pushed.json");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else stays there");
    kept.stop().await;

    let kept = Kept::open(dir.path());
    assert_eq!(kept.rules.report(), report);
    assert!(has_rule(&kept.rules.engine(), "mine.broken") && kept.board.problems().is_empty());
    // Another set takes the place of the whole; none is a set too.
    let report = kept.push(&set(vec![pack("other", "worse")])).await;
    assert_eq!(names(&report, "pushed"), ["other"]);
    let report = kept.push(&set(vec![])).await;
    assert!(names(&report, "pushed").is_empty());
    kept.stop().await;
    assert_eq!(Kept::open(dir.path()).rules.report().revision, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_refused_leaves_the_old_one_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::open(dir.path());
    let good = set(vec![pack("mine", "broken")]);
    kept.push(&good).await;
    let engine = kept.rules.engine();
    let on_disk = std::fs::read(dir.path().join("rules/pushed.json")).unwrap();
    let report = kept.refused(&bad_set()).await;
    assert_eq!(report.revision, good.revision);
    assert!(report.refused.contains("pack bad, line 4"), "{}", report.refused);
    // A set that is not what it says is none.
    let forged = v1::RulePacks { revision: "0".repeat(64), ..set(vec![pack("mine", "forged")]) };
    let report = kept.refused(&forged).await;
    assert!(report.refused.contains("hash"), "{}", report.refused);
    // A replaced example that does not hold is a mistake as well.
    let mut wrong = pack("mine", "wrong");
    wrong.text = wrong.text.replace("text = \"wrong in core\"", "text = \"wrong at core\"");
    let report = kept.refused(&set(vec![wrong])).await;
    assert!(
        report.refused.contains("pack mine") && report.refused.contains("mine.wrong"),
        "{}",
        report.refused
    );
    assert!(Arc::ptr_eq(&engine, &kept.rules.engine()));
    assert_eq!(std::fs::read(dir.path().join("rules/pushed.json")).unwrap(), on_disk);
    // What is in force is sent again: the refusal is of the past.
    kept.rules.want(good.clone());
    let report = kept.until("settled", |report| report.refused.is_empty()).await;
    assert_eq!((report.revision, report.refused_revision.as_str()), (good.revision, ""));
    assert!(Arc::ptr_eq(&engine, &kept.rules.engine()));
    kept.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_sets_the_newest_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::open(dir.path());
    let engines = kept.rules.follow();
    for at in 0..50 {
        kept.rules.want(set(vec![pack("mine", &format!("word{at}"))]));
    }
    let last = set(vec![pack("mine", "last")]);
    kept.push(&last).await;
    assert!(has_rule(&engines.borrow(), "mine.last"));
    let reports = *kept.rules.reports().borrow();
    assert!(reports < 25, "those that came while one was weighed are passed over: {reports}");
    kept.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_packs_have_the_last_word_and_are_read_again() {
    let (dir, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = etc.path().join("mine.toml");
    let local = LocalPacks(vec![path.clone()]);
    std::fs::write(&path, pack("mine", "local").text).unwrap();
    let kept = Kept::with(dir.path(), &local);
    let clash =
        set(vec![pack("mine", "pushed"), v1::RulePack { name: "more".into(), ..pack("mine", "later") }]);
    let report = kept.push(&clash).await;
    assert_eq!(
        (names(&report, "local"), names(&report, "pushed")),
        (vec!["mine".into()], vec!["more".into()])
    );
    assert!(has_rule(&kept.rules.engine(), "mine.local") && !has_rule(&kept.rules.engine(), "mine.pushed"));

    // Now a rule of both has one id: the reload is refused, what runs stays.
    std::fs::write(&path, pack("mine", "later").text).unwrap();
    kept.reload.packs(Ok(local.clone())).await;
    let problem = problem(&kept).await;
    assert!(problem.contains("mine.later") && problem.contains("rules of before"), "{problem}");
    assert!(has_rule(&kept.rules.engine(), "mine.local"));
    std::fs::write(&path, pack("mine", "second").text).unwrap();
    kept.reload.packs(Ok(local.clone())).await;
    let mut engines = kept.rules.follow();
    let second = engines.wait_for(|engine| has_rule(engine, "mine.second"));
    drop(tokio::time::timeout(LIMIT, second).await.expect("the second pack").unwrap());
    assert!(kept.board.problems().is_empty());
    assert_eq!(kept.rules.report().revision, clash.revision);

    // A set that does not go with the local packs is taken when these have changed.
    let other = set(vec![v1::RulePack { name: "more".into(), ..pack("mine", "second") }]);
    assert!(kept.refused(&other).await.refused.contains("mine.second"));
    kept.reload.packs(Ok(LocalPacks::default())).await;
    let report = kept.until("taken", |report| report.revision == other.revision).await;
    assert_eq!((report.refused.as_str(), names(&report, "local")), ("", vec![]));
    kept.reload.packs(Err("node.toml:3: no".into())).await;
    assert!(self::problem(&kept).await.contains("node.toml:3: no"));
    kept.stop().await;
}

async fn problem(kept: &Kept) -> String {
    let mut health = kept.board.watch_health();
    let wait = async {
        loop {
            health.mark_unchanged();
            if let Some(problem) = kept.board.problems().pop() {
                return problem;
            }
            health.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap()
}

#[test]
fn a_node_does_not_start_with_a_local_pack_that_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    let local = LocalPacks(vec![path.clone()]);
    let open = || Rules::open(dir.path(), &local, Arc::default()).err().unwrap().to_string();
    assert!(open().contains("mine.toml"), "{}", open());
    std::fs::write(&path, pack("mine", "x").text.replace("[[rule]]\n", "[[rule]]\ncolour = 1\n")).unwrap();
    assert!(open().contains("mine.toml") && open().contains("line 4"), "{}", open());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_set_that_no_longer_holds_is_left_out_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let pushed = set(vec![v1::RulePack { name: "more".into(), ..pack("mine", "one") }]);
    let kept = Kept::open(dir.path());
    kept.push(&pushed).await;
    kept.stop().await;
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, pack("mine", "one").text).unwrap();
    let kept = Kept::with(dir.path(), &LocalPacks(vec![path]));
    let report = kept.rules.report();
    assert_eq!((report.revision.as_str(), report.refused_revision), ("", pushed.revision));
    assert!(report.refused.contains("mine.one"), "{}", report.refused);
    assert!(kept.board.problems()[0].contains("mine.one"), "{:?}", kept.board.problems());
    assert!(has_rule(&kept.rules.engine(), "mine.one"), "the local one");
    let report = kept.push(&set(vec![pack("other", "two")])).await;
    assert_eq!((report.refused.as_str(), kept.board.problems().len()), ("", 0));
    kept.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_said_and_healed_by_the_next_set() {
    let dir = tempfile::tempdir().unwrap();
    let pushed = set(vec![pack("mine", "broken")]);
    let kept = Kept::open(dir.path());
    kept.push(&pushed).await;
    kept.stop().await;
    let file = dir.path().join("rules/pushed.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    let torn = whole[..whole.len() / 2].to_owned();
    for damaged in [torn, whole.replace("broken in core", "broken in c0re"), String::new()] {
        std::fs::write(&file, damaged).unwrap();
        let kept = Kept::open(dir.path());
        let problems = kept.board.problems();
        assert!(problems[0].contains("pushed.json") && problems[0].contains("damaged"), "{problems:?}");
        assert_eq!(kept.rules.report().revision, "");
        assert!(!names(&kept.rules.report(), "builtin").is_empty());
        kept.push(&pushed).await;
        assert!(kept.board.problems().is_empty());
        kept.stop().await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_kept_runs_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    // Others may write there: nothing of ours is kept in such a place.
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    std::fs::set_permissions(dir.path().join("rules"), Permissions::from_mode(0o777)).unwrap();
    let kept = Kept::open(dir.path());
    let pushed = set(vec![pack("mine", "broken")]);
    kept.push(&pushed).await;
    assert!(kept.board.problems()[0].contains("could not be kept"), "{:?}", kept.board.problems());
    std::fs::set_permissions(dir.path().join("rules"), Permissions::from_mode(0o700)).unwrap();
    // The same set again, as after the next Welcome.
    let mut reports = kept.rules.reports();
    kept.rules.want(pushed);
    reports.changed().await.unwrap();
    assert!(kept.board.problems().is_empty() && dir.path().join("rules/pushed.json").exists());
    kept.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_read_is_what_was_written_or_nothing(at in 0_usize..4000, flip in 1_u8..=255, cut: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = disk::path(dir.path());
        let message = set(vec![pack("mine", "one"), shadow("tried", "two")]);
        let written = disk::Set::received(&message).unwrap();
        disk::save(&path, &written).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(read) = disk::load(&path) {
            prop_assert_eq!((read.revision, read.packs), (written.revision, written.packs));
        }
    }
}
