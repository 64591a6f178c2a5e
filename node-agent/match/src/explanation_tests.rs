//! What is said of rules that fired, were held back, and nearly fired.

use jiff::{SignedDuration, Timestamp};
use wa_proto::{AgentKind, EventKind, Frame, PaneState, Witness};

use crate::matcher_tests::{LOGO, WORK, claude, compacted, talk};
use crate::testing::testdata;
use crate::{
    Engine, Explanation, Facts, Foreground, Origin, Pack, PaneMatcher, RuleTrace, Verdict, explain_screen,
    scan,
};

const LIMIT: &str = "  ⎿  You've hit your limit · resets 5pm (America/Chicago)";

fn facts(agent: &str, version: &str) -> Facts {
    let foreground = Foreground::Agent { kind: AgentKind::new(agent), version: version.to_owned(), pid: 7 };
    Facts { foreground, ..Facts::default() }
}

fn pack(rule: &str, shadow: bool) -> Engine {
    let text = format!(
        "schema = \"wa.pack/1\"\n[[rule]]\nid = \"x.odd\"\nevent = \"error.api\"\nagent = \"claude\"\n{rule}rearm = \"turn\"\n[[rule.example]]\ntext = \"Odd thing 500\"\n"
    );
    let pack = Pack { name: "extra".into(), text, origin: Origin::Local, shadow };
    Engine::with_packs(&[pack]).unwrap_or_else(|error| panic!("{error}"))
}

fn screen(engine: &Engine, text: &str, version: &str) -> Explanation {
    let rule = "─".repeat(80);
    let frame = Frame::from_text(80, &format!("{text}\n\n{rule}\n❯\u{a0}\n{rule}\n  ? for shortcuts"));
    explain_screen(engine, &frame, &facts("claude", version), Timestamp::UNIX_EPOCH)
}

fn odd(explanation: &Explanation) -> Option<&RuleTrace> {
    explanation.rules.iter().find(|trace| trace.rule == "x.odd")
}

#[test]
fn every_way_to_miss_is_named() {
    let plain =
        "region = \"transcript\"\nliterals = [\"Odd thing\", \"500\"]\npattern = 'Odd thing [0-9]+'\n";
    let cases = [
        (plain, "⏺ Odd weather.", "", None),
        (plain, "⏺ Nothing but an Odd thing.", "", Some(("\"500\" is not on the screen", Some(0)))),
        (plain, "Odd thing no 500", "", Some(("the pattern matches nowhere", Some(0)))),
        (
            &plain.replace("transcript", "footer"),
            "⏺ Yes.\n\nOdd thing 500",
            "",
            Some(("row 3 is not in the region footer", Some(2))),
        ),
        (
            &format!("columns = [0, 0]\n{plain}"),
            "     Odd thing 500",
            "",
            Some(("it begins in column 5, not in 0 to 0", Some(0))),
        ),
        (&format!("boxed = false\n{plain}"), "│ Odd thing 500 │", "", Some(("it stands in a box", Some(0)))),
        (
            &format!("versions = \"<2\"\n{plain}"),
            "Odd thing 500",
            "2.1.0",
            Some(("version 2.1.0 is not in <2", Some(0))),
        ),
        (
            &format!("witnesses = [\"hook\"]\n{plain}"),
            "Odd thing 500",
            "",
            Some(("the witness hook", Some(0))),
        ),
    ];
    for (rule, text, version, wanted) in cases {
        let rule = rule.replace("region = \"footer\"", "rows = 1\nregion = \"footer\"");
        let told = screen(&pack(&rule, false), text, version);
        let seen = odd(&told).map(|trace| (trace.missing.join("; "), trace.row));
        let wanted = wanted.map(|(why, row): (&str, Option<usize>)| (why.to_owned(), row));
        assert_eq!(seen, wanted, "{text}");
        assert!(odd(&told).is_none_or(|trace| trace.verdict == Verdict::Nearly && trace.pack == "extra"));
    }
    let told = screen(&pack(plain, false), "Odd thing 500", "");
    let trace = odd(&told).unwrap();
    assert_eq!(
        (trace.verdict, trace.missing.len(), trace.line.as_str()),
        (Verdict::Fired, 0, "Odd thing 500")
    );
    assert_eq!((trace.region, trace.row, trace.event), ("transcript", Some(0), EventKind::ErrorApi));
    assert_eq!(trace.witnesses, [Witness::Screen, Witness::Process]);
    let told = screen(&pack(plain, true), "Odd thing 500", "");
    assert_eq!(odd(&told).unwrap().verdict, Verdict::Shadowed);
}

#[test]
fn a_pane_says_what_fired_and_what_is_held() {
    let engine = Engine::builtin();
    let facts = facts("claude", "2.1.96");
    let mut matcher = PaneMatcher::new();
    let mut now = Timestamp::UNIX_EPOCH;
    let mut rest = |matcher: &mut PaneMatcher, frame: &Frame| {
        now += SignedDuration::from_millis(50);
        matcher.observe(engine, frame, &facts, now);
        while let Some(at) = matcher.next_wakeup() {
            now = at;
            matcher.observe(engine, frame, &facts, now);
        }
    };
    let of = |told: &Explanation, event: EventKind| {
        let trace = told.rules.iter().find(|trace| trace.event == event && trace.verdict != Verdict::Nearly);
        trace.map(|trace| (trace.verdict, trace.missing.join("; ")))
    };
    rest(&mut matcher, &claude(80, LOGO, ""));
    rest(&mut matcher, &claude(80, &talk(), WORK));
    let limited = claude(80, &[talk(), vec!["", LIMIT]].concat(), "");
    rest(&mut matcher, &limited);
    let before = format!("{matcher:?}");
    let told = matcher.explain(engine, &limited, &facts);
    assert_eq!(format!("{matcher:?}"), before, "it changes nothing");
    assert_eq!((told.state, told.version.as_str()), (PaneState::Limited, "2.1.96"));
    assert!(told.detail.since.is_some() && told.detail.why.contains("hit your limit"));
    assert_eq!(of(&told, EventKind::LimitReached), Some((Verdict::Fired, String::new())));
    // Seen for the first time, one that holds no more is history.
    let mut other = PaneMatcher::new();
    let lifted = claude(80, &[talk(), vec!["", LIMIT, "", "⏺ Done."]].concat(), "");
    rest(&mut other, &lifted);
    let told = other.explain(engine, &lifted, &facts);
    let (verdict, why) = of(&told, EventKind::LimitReached).unwrap();
    assert_eq!((verdict, told.state), (Verdict::Held, PaneState::Idle));
    assert!(why.contains("at first sight"), "{why}");
    // A compaction that was told, and one of which nobody saw the work.
    rest(&mut matcher, &claude(80, &talk(), "✽ Compacting conversation… (29s)"));
    rest(&mut matcher, &claude(80, &compacted(), ""));
    let told = matcher.explain(engine, &claude(80, &compacted(), ""), &facts);
    assert_eq!(of(&told, EventKind::ContextCompacted), Some((Verdict::Fired, String::new())));
    let told = other.explain(engine, &claude(80, &compacted(), ""), &facts);
    assert_eq!(of(&told, EventKind::ContextCompacted).unwrap().0, Verdict::Held);
    // Nothing was ever looked at.
    let told = PaneMatcher::new().explain(engine, &limited, &facts);
    assert_eq!(of(&told, EventKind::LimitReached).unwrap().0, Verdict::Held);
}

#[test]
fn recorded_screens_are_explained_as_they_are_scanned() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut fired = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "ansi") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (frame, facts) = (testdata(&name), facts(name.split('-').next().unwrap(), ""));
        let seen = scan(Engine::builtin(), &frame, &facts, Timestamp::UNIX_EPOCH);
        let told = explain_screen(Engine::builtin(), &frame, &facts, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (told.state, &told.detail, &told.agent),
            (seen.state, &seen.detail, &seen.agent),
            "{name}"
        );
        for event in seen.events.iter().filter(|event| !event.rule.is_empty()) {
            let traced =
                told.rules.iter().any(|trace| trace.rule == event.rule && trace.verdict == Verdict::Fired);
            assert!(traced, "{name}: {event:?}\n{:#?}", told.rules);
            fired += 1;
        }
        let verdicts: Vec<Verdict> = told.rules.iter().map(|trace| trace.verdict).collect();
        assert!(verdicts.is_sorted() && verdicts.len() <= 152);
        for trace in &told.rules {
            assert_eq!(trace.missing.is_empty(), trace.verdict == Verdict::Fired, "{name}: {trace:?}");
        }
    }
    assert!(fired > 10, "{fired}");
}

#[test]
fn a_screen_full_of_words_of_rules_is_bounded() {
    let words: String = Engine::builtin_packs().iter().map(|pack| pack.text.as_str()).collect();
    let told = screen(Engine::builtin(), &words, "");
    assert!(told.rules.len() <= 152);
    let nearly: Vec<&RuleTrace> =
        told.rules.iter().filter(|trace| trace.verdict == Verdict::Nearly).collect();
    assert!(!nearly.is_empty());
    assert!(told.rules.iter().all(|trace| trace.line.chars().count() <= 400));
}
