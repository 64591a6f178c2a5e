//! What rules that change mean for panes that live.

use std::path::{Path, PathBuf};

use wa_proto::wire::v1;
use wa_proto::{Pane, PaneState};

use super::{Kept, pack, set, shadow};
use crate::rules::{LocalPacks, Rules, disk};
use crate::testing::{Mux, Node, shown};

const LIMIT_ROW: &str = "You've hit your session limit · resets 1:20am (Europe/Vienna)";

/// Another rule for the same row.
const DOUBLE: &str = r#"
schema = "wa.pack/1"
[[rule]]
id = "double.limit"
event = "limit.reached"
agent = "claude"
region = "transcript"
columns = [0, 0]
literals = ["hit your session limit"]
pattern = '''You've hit your session limit · resets (?P<reset_at>{reset})'''
rearm = "gone"
[[rule.example]]
text = "You've hit your session limit · resets 1:20am (Europe/Vienna)"
fields = { reset_at = "1:20am (Europe/Vienna)" }
"#;

/// Claude Code's screen below these lines, idle or at work.
pub(crate) fn screen(above: &[&str], working: bool) -> String {
    let rule = "─".repeat(80);
    let spinner = if working { "✻ Mulling… (esc to interrupt · 1s)\n\n" } else { "" };
    let above: String = above.iter().map(|line| format!("{line}\n")).collect();
    format!(
        "{above}\n{spinner}\x1b[2;38;2;136;136;136m{rule}\x1b[0m\n❯\u{a0}\x1b[7m \x1b[0m\n\
         \x1b[2;38;2;136;136;136m{rule}\x1b[0m\n  ? for shortcuts"
    )
}

struct Stage {
    dir: tempfile::TempDir,
    node: Node,
    kept: Kept,
    _mux: Mux,
}

impl Stage {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        show(dir.path(), &screen(&["❯ hello"], false));
        let mux = Mux::start(dir.path(), shown(dir.path()));
        let mut opened = None;
        let node = Node::other(dir.path(), &mux.socket, |shared| {
            let board = shared.board.clone();
            let (rules, worker) = Rules::open(dir.path(), &LocalPacks::default(), board).unwrap();
            shared.rules = rules.clone();
            opened = Some((rules, worker));
        });
        let (rules, worker) = opened.unwrap();
        let kept = Kept::over(rules, worker, node.board.clone(), node.tasks.clone());
        let stage = Self { dir, node, kept, _mux: mux };
        stage.pane("idle", |pane| pane.state == PaneState::Idle && pane.agent_pid > 0).await;
        stage
    }

    fn show(&self, screen: &str) {
        show(self.dir.path(), screen);
    }

    async fn pane(&self, what: &str, condition: impl Fn(&Pane) -> bool) -> Pane {
        self.node.pane(what, condition).await
    }

    async fn explain(&self, pane: &Pane) -> v1::Explanation {
        let mux = self.node.muxes.get(&pane.pane.mux).unwrap();
        mux.explain(pane.pane.pane_id).await.unwrap().redacted(wa_match::Redactor::builtin())
    }

    /// Lines of the events of a kind, in their order.
    fn told(&self, kind: &str) -> Vec<String> {
        let events = self.node.events().into_iter().filter(|event| event.event == kind);
        events.map(|event| event.line).collect()
    }

    async fn until_told(&self, kind: &str, line: &str) {
        let told = |node: &Node| {
            node.events().iter().any(|event| event.event == kind && event.line.contains(line)).then_some(())
        };
        self.node.until(line, told).await;
    }

    /// Until the pane was looked at with the newest rules.
    async fn matched_with(&self, pane: &Pane, rule: &str) -> v1::RuleTrace {
        loop {
            let trace = self.explain(pane).await.rules.into_iter().find(|trace| trace.rule == rule);
            if let Some(trace) = trace.filter(|trace| trace.verdict != "nearly") {
                return trace;
            }
        }
    }
}

pub(crate) fn show(dir: &Path, screen: &str) {
    let path: PathBuf = dir.join("next");
    std::fs::write(&path, format!("{screen}\n")).unwrap();
    std::fs::rename(path, dir.join("screen")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_lose_nothing_and_tell_nothing_again() {
    let stage = Stage::start().await;
    stage.show(&screen(&["❯ hello"], true));
    stage.pane("working", |pane| pane.state == PaneState::Working).await;
    let above = ["❯ hello", "", "broken in one", "", LIMIT_ROW];
    stage.show(&screen(&above, false));
    stage.until_told("limit.reached", "session limit").await;
    let pane = stage.pane("limited", |pane| pane.state == PaneState::Limited).await;

    let before = stage.node.events().len();
    // The same rule in another pack, one that finds what stands there already, and one that is its double.
    let builtin = wa_match::Engine::builtin_packs().into_iter().find(|pack| pack.name == "claude").unwrap();
    let mut claude = v1::RulePack { name: builtin.name, text: builtin.text, shadow: false };
    claude.text.push_str("\n# ours\n");
    let double = v1::RulePack { name: "double".into(), text: DOUBLE.to_owned(), shadow: false };
    stage.kept.push(&set(vec![claude, pack("mine", "broken"), double])).await;
    let trace = stage.matched_with(&pane, "mine.broken").await;
    assert_eq!((trace.verdict.as_str(), trace.line.as_str(), trace.row), ("held", "broken in one", 3));
    // They run: what comes now is told by them.
    let above = ["❯ hello", "", "broken in one", "broken in two", "", LIMIT_ROW];
    stage.show(&screen(&above, false));
    stage.until_told("error.api", "broken in two").await;
    assert_eq!(stage.told("error.api"), ["broken in two"]);
    assert_eq!(stage.told("limit.reached").len(), 1, "{:?}", stage.told("limit.reached"));
    let pane = stage.pane("the pane", |pane| pane.agent_pid > 0).await;
    assert_eq!(pane.state, PaneState::Limited);
    let rules: Vec<_> = stage.node.events().into_iter().skip(before).map(|event| event.rule).collect();
    assert_eq!(rules, ["mine.broken"], "nothing else was told since");
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_in_shadow_are_counted_and_tell_nothing() {
    let stage = Stage::start().await;
    stage.kept.push(&set(vec![shadow("tried", "odd"), pack("mine", "broken")])).await;
    for round in 1..4 {
        stage.show(&screen(
            &["❯ hello", "", &format!("odd in {round}"), &format!("broken in {round}")],
            false,
        ));
        stage.until_told("error.api", &format!("broken in {round}")).await;
    }
    let counts = |stage: &Stage| {
        let report = stage.kept.rules.report();
        let pack = report.packs.into_iter().find(|pack| pack.name == "tried").unwrap();
        pack.shadowed.into_iter().map(|count| (count.rule, count.event, count.count)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&stage), [("tried.odd".to_owned(), "error.api".to_owned(), 3)]);
    assert_eq!(stage.told("error.api"), ["broken in 1", "broken in 2", "broken in 3"]);
    // Over a change of others they stay; another text begins anew.
    stage.kept.push(&set(vec![shadow("tried", "odd"), pack("mine", "worse")])).await;
    assert_eq!(counts(&stage)[0].2, 3);
    let mut text = shadow("tried", "odd");
    text.text.push_str("# another\n");
    stage.kept.push(&set(vec![text])).await;
    assert!(counts(&stage).is_empty());
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_shows_the_state_of_the_board_and_no_secrets() {
    let stage = Stage::start().await;
    let secret = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    stage.kept.push(&set(vec![pack("mine", "token"), pack("more", "broken")])).await;
    let above = ["❯ hello", "", &format!("token in {secret}"), "", "  broken in indented"];
    stage.show(&screen(&above, false));
    stage.until_told("error.api", "token in").await;
    let pane = stage.pane("idle", |pane| pane.state == PaneState::Idle).await;
    let explanation = stage.explain(&pane).await;
    assert_eq!((explanation.agent.as_str(), explanation.state.as_str()), ("claude", "idle"));
    let board = stage.node.board.pane(&pane.pane).unwrap();
    assert_eq!(explanation.detail, Some(board.detail.into()));
    let trace = explanation.rules.iter().find(|trace| trace.rule == "mine.token").unwrap();
    assert_eq!((trace.verdict.as_str(), trace.pack.as_str(), trace.row), ("fired", "mine", 3));
    assert!(trace.line.starts_with("token in ") && trace.line.contains("redacted"), "{trace:?}");
    let nearly = explanation.rules.iter().find(|trace| trace.rule == "more.broken").unwrap();
    assert_eq!(nearly.verdict, "nearly");
    assert!(!nearly.missing.is_empty(), "{nearly:?}");
    assert!(!format!("{explanation:?}").contains(&secret[..12]));
    let missing = stage.node.muxes.get(&pane.pane.mux).unwrap().explain(4711).await;
    assert!(missing.is_err());
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_no_rule_knows_counts_once_while_it_stands() {
    let stage = Stage::start().await;
    let secret = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    let strange = |number: u32| {
        format!(
            "Which flavour of frobnication for {secret}?\n\n● Frob it all ({number} files)\n○ Frob nothing\n\n\
             Enter to frob · Esc to leave"
        )
    };
    let wait = async |count: u64| {
        let found = async {
            loop {
                let screens = stage.kept.rules.unknown_screens();
                if screens.iter().any(|screen| screen.count == count) {
                    return screens;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(crate::testing::LIMIT, found).await.expect("an unknown screen")
    };
    stage.show(&strange(1));
    let screens = wait(1).await;
    assert_eq!((screens.len(), screens[0].agent.as_str(), screens[0].kind.as_str()), (1, "claude", "dialog"));
    assert!(screens[0].text.contains("Frob nothing"), "{screens:?}");
    assert!(!format!("{screens:?}").contains(&secret[..12]), "{screens:?}");
    assert!(screens[0].first_us > 0 && screens[0].pane.is_some());
    // Drawn again with other numbers it is the same, and stands there still.
    for number in 2..6 {
        stage.show(&strange(number));
    }
    stage.show(&screen(&["❯ hello"], false));
    stage.pane("idle", |pane| pane.state == PaneState::Idle).await;
    stage.show(&strange(9));
    let screens = wait(2).await;
    assert_eq!(screens.len(), 1);
    assert!(disk::load(&disk::path(stage.dir.path())).unwrap().packs.is_empty(), "nothing of it is on disk");
    stage.node.stop().await;
}
