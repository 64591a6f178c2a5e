//! Rules that come, go and change while panes are watched; rules in shadow.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use wa_proto::{AgentKind, EventKind, Frame, PaneState};

use crate::matcher_tests::{LOGO, MARK, WORK, claude, compacted, talk};
use crate::testing::testdata;
use crate::{Detected, Engine, Facts, Foreground, Observation, Origin, Pack, PaneMatcher};

fn pack(name: &str, text: &str, shadow: bool) -> Pack {
    Pack { name: name.to_owned(), text: text.to_owned(), origin: Origin::Pushed, shadow }
}

/// A rule of Claude Code that finds a word at the beginning of a block.
fn rule(id: &str, event: &str, region: &str, rearm: &str, word: &str) -> String {
    let literal = word.split(['(', '?', '[']).next().unwrap();
    format!(
        "[[rule]]\nid = \"{id}\"\nevent = \"{event}\"\nagent = \"claude\"\nregion = \"{region}\"\nliterals = [\"{literal}\"]\npattern = '{word}'\nrearm = \"{rearm}\"\n[[rule.example]]\ntext = \"{literal}\"\n"
    )
}

fn one_rule(id: &str, event: &str, region: &str, rearm: &str, word: &str) -> Pack {
    pack("extra", &format!("schema = \"wa.pack/1\"\n{}", rule(id, event, region, rearm, word)), false)
}

fn engine(packs: &[Pack]) -> Engine {
    Engine::with_packs(packs).unwrap_or_else(|error| panic!("{error}"))
}

fn facts(agent: &str) -> Facts {
    let foreground = Foreground::Agent { kind: AgentKind::new(agent), version: String::new(), pid: 7 };
    Facts { foreground, ..Facts::default() }
}

/// A pane that is looked at until it asks for nothing more.
struct Pane {
    matcher: PaneMatcher,
    now: Timestamp,
}

impl Pane {
    /// At work since its first prompt, with these rules.
    fn at_work(engine: &Engine) -> Self {
        let mut pane = Self { matcher: PaneMatcher::new(), now: Timestamp::UNIX_EPOCH };
        pane.rest(engine, &claude(80, LOGO, ""));
        pane.rest(engine, &claude(80, &talk(), WORK));
        pane
    }

    fn rest(&mut self, engine: &Engine, frame: &Frame) -> (Vec<Detected>, Observation) {
        self.now += SignedDuration::from_millis(50);
        let mut last = self.matcher.observe(engine, frame, &facts("claude"), self.now);
        let mut events = std::mem::take(&mut last.events);
        while let Some(at) = self.matcher.next_wakeup() {
            self.now = at;
            let mut shadowed = std::mem::take(&mut last.shadowed);
            last = self.matcher.observe(engine, frame, &facts("claude"), self.now);
            events.append(&mut last.events);
            shadowed.append(&mut last.shadowed);
            last.shadowed = shadowed;
        }
        (events, last)
    }

    fn rules(&mut self, engine: &Engine, frame: &Frame) -> Vec<String> {
        let told = self.rest(engine, frame).0.into_iter().map(|event| event.rule);
        told.filter(|rule| !rule.is_empty()).collect()
    }
}

fn said(words: &[&str]) -> Frame {
    let rows = [talk(), vec![""], words.to_vec()].concat();
    claude(80, &rows, WORK)
}

#[test]
fn what_stands_there_when_a_pack_comes_is_history() {
    let (before, after) = (
        Engine::builtin(),
        engine(&[one_rule("x.odd", "error.api", "tail", "gone", "Odd thing(?: [0-9])?")]),
    );
    let mut pane = Pane::at_work(before);
    pane.rest(before, &said(&["Odd thing 1"]));
    assert_eq!(pane.rules(&after, &said(&["Odd thing 1"])), [""; 0]);
    // What comes after it is news, and so is the same when it was gone.
    assert_eq!(pane.rules(&after, &said(&["Odd thing 1", "", "Odd thing 2"])), ["x.odd"]);
    pane.rest(&after, &said(&[]));
    assert_eq!(pane.rules(&after, &said(&["Odd thing 1"])), ["x.odd"]);
}

#[test]
fn the_frame_in_which_a_pack_comes_is_not_lost_for_the_others() {
    let old = one_rule("x.odd", "error.api", "tail", "gone", "Odd thing(?: [0-9])?");
    let new = Pack { name: "more".into(), ..one_rule("x.new", "error.api", "tail", "gone", "New thing") };
    let (before, after) = (engine(std::slice::from_ref(&old)), engine(&[old, new]));
    let mut pane = Pane::at_work(&before);
    assert_eq!(pane.rules(&after, &said(&["Odd thing 1", "", "New thing"])), ["x.odd"]);
}

#[test]
fn a_pack_that_goes_and_comes_back_or_says_it_in_other_words_tells_nothing_again() {
    let with = |pattern: &str| engine(&[one_rule("x.odd", "error.api", "tail", "gone", pattern)]);
    let (first, same, wider) = (with("Odd thing"), with("Odd thing"), with("Odd thing[ a-z]*"));
    let mut pane = Pane::at_work(&first);
    let frame = said(&["Odd thing and more"]);
    assert_eq!(pane.rules(&first, &frame), ["x.odd"]);
    for engine in [&same, &wider, Engine::builtin(), &same, Engine::builtin()] {
        assert_eq!(pane.rules(engine, &frame), [""; 0]);
        pane.now += SignedDuration::from_secs(60);
        assert_eq!(pane.rules(engine, &frame), [""; 0]);
    }
    assert_eq!(pane.rules(&first, &frame), [""; 0]);
}

#[test]
fn after_a_restart_with_other_rules_what_stands_there_is_history() {
    let (old, new) = (engine(&[]), engine(&[one_rule("x.odd", "error.api", "tail", "gone", "Odd thing")]));
    let api = "⎿  API Error: 500 {\"type\":\"error\"}";
    for (restarted, known) in [(&old, true), (&new, false)] {
        let mut pane = Pane::at_work(&old);
        pane.rest(&old, &said(&[]));
        pane.matcher = PaneMatcher::restore(&pane.matcher.save());
        let told = pane.rules(restarted, &said(&["Odd thing", "", api]));
        // What happened in between is news for rules that ran before.
        assert_eq!(told.iter().any(|rule| rule.starts_with("claude.")), known, "{told:?}");
        assert!(!told.contains(&"x.odd".to_owned()));
    }
}

#[test]
fn what_waits_is_news_whenever_its_rule_comes() {
    let dialog = format!(
        "⏺ Done.\n\n{}\n Which?\n\n ❯ 1. This\n   2. That\n\n Enter to select · Esc to cancel",
        "─".repeat(80)
    );
    let frame = Frame::from_text(80, &dialog);
    let mut pane = Pane::at_work(Engine::builtin());
    let open = |events: &[Detected]| {
        events.iter().filter(|event| event.kind == EventKind::ApprovalRequested).count()
    };
    let (events, seen) = pane.rest(Engine::builtin(), &frame);
    assert_eq!((open(&events), seen.state), (1, PaneState::Waiting));
    // It was told, by its shape: a rule that now names it does not tell it again.
    let named = one_rule("x.which", "approval.requested", "dialog", "gone", "Which");
    let named = Pack {
        text: named.text.replace("text = \"Which\"", &format!("text = \"\"\"\n{dialog}\n\"\"\"")),
        ..named
    };
    assert_eq!(open(&pane.rest(&engine(&[named]), &frame).0), 0);
    // A sign-in without a composer waits as well.
    let mut pane = Pane::at_work(Engine::builtin());
    let frame = Frame::from_text(80, "\n Open this page to sign in again:\n");
    pane.rest(Engine::builtin(), &frame);
    let sign_in = one_rule("x.sign", "auth.required", "transcript", "gone", "Open this page");
    let (events, seen) = pane.rest(&engine(&[sign_in]), &frame);
    assert_eq!(events.iter().map(|event| event.rule.as_str()).collect::<Vec<_>>(), ["x.sign"]);
    assert_eq!(seen.state, PaneState::Authenticating);
}

#[test]
fn a_mark_of_compaction_that_a_new_rule_finds_is_old() {
    let mark = one_rule("x.mark", "context.compacted", "tail", "compaction", "Odd mark");
    let new = engine(&[mark]);
    let mut pane = Pane::at_work(Engine::builtin());
    // At work the machine is armed.
    pane.rest(Engine::builtin(), &said(&["Odd mark"]));
    assert_eq!(pane.rules(&new, &said(&["Odd mark"])), [""; 0]);
    assert_eq!(pane.rules(&new, &said(&["Odd mark", "", "Odd mark"])), ["x.mark"]);
}

/// All built-in packs in shadow under names of their own.
fn builtin_in_shadow() -> Vec<Pack> {
    Engine::builtin_packs().into_iter().map(|builtin| pack(&builtin.name, &builtin.text, true)).collect()
}

#[test]
fn in_shadow_the_same_rules_tell_the_same() {
    let engine = engine(&builtin_in_shadow());
    let mut pane = Pane::at_work(&engine);
    let limit = ["  ⎿  You've hit your limit · resets 5pm (America/Chicago)"];
    let dialog = format!(
        "⏺ Done.\n\n{}\n Bash command\n\n   rm -r build\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. No\n\n Esc to cancel",
        "─".repeat(80)
    );
    let frames = [
        claude(80, &talk(), "✽ Compacting conversation… (29s)"),
        claude(80, &compacted(), ""),
        claude(80, &[compacted(), vec!["", "❯ and the docs", "", "⏺ I read."]].concat(), WORK),
        Frame::from_text(80, &dialog),
        said(&limit),
        claude(80, &[talk(), vec![""], limit.to_vec()].concat(), ""),
        claude(80, &[MARK], ""),
    ];
    let (mut live, mut shadowed) = (Vec::new(), Vec::new());
    for frame in &frames {
        let (events, last) = pane.rest(&engine, frame);
        live.extend(
            events.into_iter().filter(|event| !event.rule.is_empty()).map(|event| (event.kind, event.rule)),
        );
        shadowed.extend(last.shadowed.into_iter().map(|event| (event.kind, event.rule)));
    }
    let kinds = |all: &[(EventKind, String)]| all.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
    for kind in [EventKind::ContextCompacted, EventKind::ApprovalRequested, EventKind::LimitReached] {
        assert!(kinds(&live).contains(&kind), "{live:?}");
    }
    // Starts are told by the process; what names the version is only counted.
    shadowed.retain(|(kind, _)| *kind != EventKind::AgentStarted);
    live.sort();
    shadowed.sort();
    assert_eq!(shadowed, live);
}

fn frames() -> Vec<(&'static str, Frame)> {
    let recorded = |name: &'static str| (name.split('-').next().unwrap(), testdata(&format!("{name}.ansi")));
    let limit = ["  ⎿  You've hit your limit · resets 5pm (America/Chicago)"];
    let mut all = vec![
        ("claude", claude(80, LOGO, "")),
        ("claude", claude(80, &talk(), WORK)),
        ("claude", claude(80, &talk(), "✽ Compacting conversation… (29s)")),
        ("claude", claude(80, &compacted(), "")),
        ("claude", claude(80, &compacted(), WORK)),
        ("claude", said(&limit)),
        ("claude", claude(80, &[talk(), vec![""], limit.to_vec()].concat(), "")),
        ("claude", Frame::from_text(80, "")),
        (
            "shell",
            Frame::from_text(
                80,
                "To continue this session, run codex resume 0199f0e2-5f0c-7b11-9d43-3c8a52d3a7aa\n$ ",
            ),
        ),
    ];
    for name in [
        "codex-0.144.0-booting",
        "codex-0.144.0-dialog",
        "codex-0.144.0-empty",
        "codex-0.169.0-busy",
        "codex-0.169.0-compact",
        "codex-0.169.0-limit",
        "codex-0.169.0-limit-popup",
        "codex-0.169.0-quit",
        "gemini-0.61.0-busy",
        "gemini-0.61.0-compress",
        "gemini-0.61.0-dialog",
        "gemini-0.61.0-end",
    ] {
        all.push(recorded(name));
    }
    all
}

static FRAMES: LazyLock<Vec<(&str, Frame)>> = LazyLock::new(frames);
static SHADOWED: LazyLock<Engine> = LazyLock::new(|| {
    let eager =
        rule("x.any", "error.api", "transcript", "gone", "I have read").replace("\"claude\"", "\"*\"");
    let marks = rule("x.mark", "context.compacted", "transcript", "compaction", "now split it");
    let mut packs = builtin_in_shadow();
    packs.push(pack("eager", &format!("schema = \"wa.pack/1\"\n{eager}{marks}"), true));
    engine(&packs)
});
static RELOADED: LazyLock<Engine> = LazyLock::new(|| engine(&[]));
static LARGER: LazyLock<Engine> =
    LazyLock::new(|| engine(&[one_rule("x.odd", "error.api", "transcript", "gone", "I have read")]));

/// Frames and times, as a pane may show them.
fn show(at: usize, shell: bool) -> (&'static Frame, Facts) {
    let (agent, frame) = &FRAMES[at % FRAMES.len()];
    let foreground = match *agent {
        "shell" => Foreground::Shell { name: "bash".into() },
        _ if shell => Foreground::Unknown,
        agent => facts(agent).foreground,
    };
    (frame, Facts { foreground, ..Facts::default() })
}

fn steps() -> impl Strategy<Value = Vec<(usize, i64, bool, u8)>> {
    // A pane mostly stays with one agent.
    let agents = prop_oneof![Just((0_usize, 9_usize)), Just((9, 17)), Just((17, 21)), Just((0, 21))];
    agents.prop_flat_map(|(from, to)| {
        let step = (
            from..to,
            prop_oneof![Just(20_i64), Just(160), Just(700), Just(5000)],
            prop::bool::weighted(0.1),
            0..3_u8,
        );
        prop::collection::vec(step, 1..24)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_shadow_never_changes_what_is_told(steps in steps()) {
        let (mut plain, mut beside) = (PaneMatcher::new(), PaneMatcher::new());
        let mut now = Timestamp::UNIX_EPOCH;
        for (at, pause, unknown, restart) in steps {
            now += SignedDuration::from_millis(pause);
            let (frame, facts) = show(at, unknown);
            let one = plain.observe(Engine::builtin(), frame, &facts, now);
            let mut two = beside.observe(&SHADOWED, frame, &facts, now);
            two.shadowed.clear();
            prop_assert_eq!(one, two);
            prop_assert_eq!(plain.save(), beside.save());
            if restart == 0 && pause == 5000 {
                plain = PaneMatcher::restore(&plain.save());
                beside = PaneMatcher::restore(&beside.save());
            }
        }
    }

    #[test]
    fn exchanging_rules_tells_nothing_twice_and_loses_nothing(steps in steps()) {
        let (mut stays, mut exchanged) = (PaneMatcher::new(), PaneMatcher::new());
        let mut now = Timestamp::UNIX_EPOCH;
        for (at, pause, unknown, which) in steps {
            now += SignedDuration::from_millis(pause);
            let (frame, facts) = show(at, unknown);
            let rules = [Engine::builtin(), &*RELOADED, &*LARGER][usize::from(which)];
            let one = stays.observe(Engine::builtin(), frame, &facts, now);
            let mut two = exchanged.observe(rules, frame, &facts, now);
            two.events.retain(|event| event.rule != "x.odd");
            prop_assert_eq!(one, two);
        }
    }
}
