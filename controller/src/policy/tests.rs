//! What a policy file says, and what it cannot say.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use tokio::time::Instant;
use wa_proto::Generation;

use super::*;

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text, Path::new("/etc/wa/policy.toml")).map_err(|error| error.to_string())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn judge(policy: &str, who: &str, verb: VerbName, text: &str, pane: &[(&str, &str)]) -> (Decision, String) {
    let judged = parse(policy).unwrap().judge(&Question { who, verb, text, labels: &labels(pane) });
    (judged.decision, judged.rule)
}

const EXAMPLE: &str = r#"
[[rule]]
name = "no force"
who = ["operator:*", "agent:*"]
verbs = "send"
text = "--force"
decision = "deny"

[[rule]]
who = "operator:*"
decision = "allow"

[[rule]]
name = "agents ask"
who = "agent:web-*"
verbs = ["send", "keys"]
panes = ["web-1/*", "*/gui/*"]
selector = "agent=codex,state in (idle,waiting)"
decision = "ask"
per_minute = 3

[[rule]]
who = "workflow:limit-*"
verbs = ["keys"]
panes = "*"
decision = "allow"
"#;

#[test]
fn the_first_rule_that_fits_decides_and_none_denies() {
    const CODEX: &[(&str, &str)] = &[("pane", "web-1/3"), ("agent", "codex"), ("state", "idle")];
    let of = |who, verb, text, pane| judge(EXAMPLE, who, verb, text, pane);
    let is = |(decision, rule): (Decision, String), wanted, named: &str| {
        assert_eq!((decision, rule.as_str()), (wanted, named));
    };
    is(of("operator:ada", VerbName::Send, "git push --force", CODEX), Decision::Deny, "no force");
    is(of("operator:ada", VerbName::Send, "git push", CODEX), Decision::Allow, "rule 2");
    is(of("operator:ada", VerbName::Kill, "", CODEX), Decision::Allow, "rule 2");
    is(of("agent:web-1", VerbName::Send, "go on", CODEX), Decision::Ask, "agents ask");
    is(of("agent:web-1", VerbName::Choose, "Yes", CODEX), Decision::Ask, "agents ask");
    is(of("agent:web-1", VerbName::Kill, "", CODEX), Decision::Deny, "");
    is(of("agent:db-1", VerbName::Send, "go on", CODEX), Decision::Deny, "");
    let busy = [("pane", "web-1/3"), ("agent", "codex"), ("state", "working")];
    is(of("agent:web-1", VerbName::Send, "go on", &busy), Decision::Deny, "");
    let window = [("pane", "web-2/gui/3"), ("agent", "codex"), ("state", "waiting")];
    is(of("agent:web-2", VerbName::Keys, "Enter", &window), Decision::Ask, "agents ask");
    is(of("workflow:limit-wait", VerbName::Choose, "Stop", CODEX), Decision::Allow, "rule 4");
    is(of("workflow:crash-resume", VerbName::Keys, "C-c", CODEX), Decision::Deny, "");
}

#[test]
fn a_spawn_is_for_the_pane_new() {
    let policy = parse(
        "[[rule]]\nwho = '*'\nverbs = 'spawn'\npanes = ['web-1/new', 'web-2/gui/*']\ndecision = 'allow'\n",
    );
    let policy = policy.unwrap();
    let spawn = |host: &str, mux: &str| {
        let pane = PaneRef {
            mux: MuxName::new(mux).unwrap(),
            generation: Generation::new("g").unwrap(),
            pane_id: 0,
        };
        let host = Host::new(host).unwrap();
        let verb = Verb::Spawn { command: vec!["true".into()], cwd: String::new() };
        policy.judge_verb("operator:o", (&host, &pane), &verb, Labels::new()).decision
    };
    assert_eq!(spawn("web-1", "main"), Decision::Allow);
    assert_eq!(spawn("web-1", "gui"), Decision::Deny);
    assert_eq!(spawn("web-2", "gui"), Decision::Allow);
    assert_eq!(spawn("web-3", "main"), Decision::Deny);
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let rule = |more: &str| format!("[[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n{more}\n");
    let long = format!("text = '{}'", "a".repeat(MAX_PATTERN + 1));
    let huge = "text = '(\\w{200}){200}'";
    let many = "who = ['operator:a'".to_owned() + &", 'operator:a'".repeat(200) + "]";
    let cases = [
        (rule("verb = 'send'"), ":4: rule[0].verb: unknown field"),
        (rule("verbs = ['type']"), "unknown verb \"type\""),
        (rule("verbs = []"), "rule[0].verbs: 1 to"),
        (rule("panes = ['web-1']"), "HOST/PANE"),
        (rule("panes = 'agent=codex'"), "labels belong into `selector`"),
        (rule("selector = 'agent in (a'"), "rule[0].selector: selector: ')' is missing"),
        (rule("text = '('"), "rule[0].text: regex parse error"),
        (rule(&long), "at most 4096 bytes"),
        (rule(huge), "size limit"),
        (rule("per_minute = 0"), "rule[0].per_minute: 1 to 10000"),
        (rule("panes_per_minute = 10001"), "rule[0].panes_per_minute: 1 to 10000"),
        (rule("per_minute = -1"), "rule[0].per_minute"),
        (rule("name = \"a\\u0007\""), "control characters"),
        ("[[rule]]\nwho = 'ada'\ndecision = 'allow'\n".to_owned(), "write operator:NAME"),
        ("[[rule]]\nwho = 'node:*'\ndecision = 'allow'\n".to_owned(), "\"node:*\""),
        (format!("[[rule]]\n{many}\ndecision = 'deny'\n"), "1 to 200 patterns"),
        ("[[rule]]\nwho = '*'\ndecision = 'perhaps'\n".to_owned(), ":3: rule[0].decision"),
        ("[[rule]]\nwho = '*'\n".to_owned(), "missing field `decision`"),
        ("[[rule]]\nwho = '*'\ndecision = 'deny'\nper_minute = 1\n".to_owned(), "rule[0]: what is denied"),
        ("[[rules]]\nwho = '*'\n".to_owned(), "unknown field `rules`"),
        ("[[rule]]\nwho = '*'\ndecision = 'ask'\n".repeat(MAX_RULES + 1), "501 rules; at most 500"),
        ("[[rule".to_owned(), "correct the TOML"),
    ];
    for (text, expect) in cases {
        let error = parse(&text).unwrap_err();
        let shown: String = text.chars().take(80).collect();
        assert!(error.starts_with("/etc/wa/policy.toml") && error.contains(expect), "{shown}: {error}");
    }
    assert_eq!(judge("", "operator:o", VerbName::Send, "x", &[]).0, Decision::Deny, "an empty file denies");
}

/// Patterns that take others for ever.
#[test]
fn judging_is_linear_in_the_text() {
    let policy = "[[rule]]\nwho = '*'\ntext = '(a*)*(a|aa)+$'\ndecision = 'allow'\n";
    let text = "a".repeat(200_000) + "b";
    let began = std::time::Instant::now();
    assert_eq!(judge(policy, "operator:o", VerbName::Send, &text, &[]).0, Decision::Deny);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn limits_count_what_was_let_through_within_a_minute() {
    let pane = |pane_id| PaneRef { mux: MuxName::main(), generation: Generation::new("g").unwrap(), pane_id };
    let host = Host::new("web-1").unwrap();
    let start = Instant::now();
    let mut rate = Rate::default();
    let limits = Limits { actions: Some(4), panes: Some(2) };
    let mut at = |seconds, pane_id| {
        rate.count(limits, (&host, &pane(pane_id)), start + Duration::from_secs(seconds)).is_ok()
    };
    assert!(at(0, 1) && at(1, 2), "two panes");
    assert!(!at(2, 3), "a third one");
    assert!(at(3, 1) && at(4, 2), "four actions");
    assert!(!at(5, 1), "a fifth one");
    assert!(at(61, 1), "those of the first second are a minute old");
    assert!(!at(62, 3), "pane 2 was last acted on 58 seconds ago");
    assert!(at(64, 3), "and now it is 60");
}

/// A rule as a row of sets: what each of its keys lets through, by looking it up.
#[derive(Debug, Clone)]
struct Row {
    who: Vec<&'static str>,
    verbs: Option<Vec<VerbName>>,
    panes: Option<Vec<&'static str>>,
    state: Option<&'static str>,
    text: Option<&'static str>,
    decision: Decision,
}

const WHO: [&str; 4] = ["operator:ada", "operator:eve", "agent:web-1", "workflow:limit-wait"];
const PANES: [&str; 4] = ["web-1/1", "web-1/gui/1", "web-2/1", "web-2/12"];
const STATES: [&str; 3] = ["idle", "working", ""];
const TEXTS: [&str; 4] = ["", "go on", "rm -rf /", "go\nrm"];

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let who = prop::collection::vec(
        select(vec!["*", "operator:*", "operator:ada", "agent:web-*", "workflow:*"]),
        1..3,
    );
    let verbs = prop::option::of(prop::collection::vec(select(VerbName::ALL.to_vec()), 1..3));
    let panes = prop::option::of(prop::collection::vec(
        select(vec!["*", "web-1/*", "web-2/1", "*/gui/*", "*/1*"]),
        1..3,
    ));
    let state = prop::option::of(select(vec!["idle", "working"]));
    let text = prop::option::of(select(vec!["^go", "rm", "^$"]));
    let decision = select(vec![Decision::Allow, Decision::Deny, Decision::Ask]);
    let row = (who, verbs, panes, state, text, decision);
    let row = row.prop_map(|(who, verbs, panes, state, text, decision)| Row {
        who,
        verbs,
        panes,
        state,
        text,
        decision,
    });
    prop::collection::vec(row, 0..6)
}

impl Row {
    fn toml(&self) -> String {
        let quoted = |words: &[&str]| format!("{words:?}");
        let verbs =
            self.verbs.as_ref().map(|verbs| verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>());
        let keys = [
            Some(format!("who = {}", quoted(&self.who))),
            verbs.map(|verbs| format!("verbs = {}", quoted(&verbs))),
            self.panes.as_ref().map(|panes| format!("panes = {}", quoted(panes))),
            self.state.map(|state| format!("selector = 'state={state}'")),
            self.text.map(|text| format!("text = '{text}'")),
            Some(format!("decision = {:?}\n", self.decision.as_str())),
        ];
        format!("[[rule]]\n{}", keys.into_iter().flatten().collect::<Vec<_>>().join("\n"))
    }

    fn fits(&self, who: &str, verb: VerbName, pane: &str, state: &str, text: &str) -> bool {
        let who = self.who.iter().any(|wanted| match *wanted {
            "*" => true,
            "operator:*" => who.starts_with("operator:"),
            "agent:web-*" => who.starts_with("agent:web-"),
            "workflow:*" => who.starts_with("workflow:"),
            exact => exact == who,
        });
        let verb = self.verbs.as_ref().is_none_or(|verbs| {
            verbs.contains(&verb) || (verb == VerbName::Choose && verbs.contains(&VerbName::Keys))
        });
        let pane = self.panes.as_ref().is_none_or(|panes| {
            panes.iter().any(|wanted| match *wanted {
                "*" => true,
                "web-1/*" => pane.starts_with("web-1/"),
                "*/gui/*" => pane.contains("/gui/"),
                "*/1*" => pane.contains("/1"),
                exact => exact == pane,
            })
        });
        let text = match self.text {
            Some("^go") => text.starts_with("go"),
            Some("rm") => text.contains("rm"),
            Some(_) => text.is_empty(),
            None => true,
        };
        who && verb && pane && text && self.state.is_none_or(|wanted| wanted == state)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_decides_as_its_rows_read(rows in rows()) {
        let toml: String = rows.iter().map(Row::toml).collect();
        let policy = parse(&toml).unwrap();
        for who in WHO {
            for verb in VerbName::ALL {
                for pane in PANES {
                    for state in STATES {
                        for text in TEXTS {
                            let labels = labels(&[("pane", pane), ("state", state)]);
                            let judged = policy.judge(&Question { who, verb, text, labels: &labels });
                            let found = rows.iter().position(|row| row.fits(who, verb, pane, state, text));
                            let rule = found.map_or_else(String::new, |at| format!("rule {}", at + 1));
                            let decision = found.map_or(Decision::Deny, |at| rows[at].decision);
                            prop_assert_eq!((judged.decision, judged.rule), (decision, rule));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_text_of_a_file_panics(text in "[\\[\\]a-z=\"'{}*\\n ]{0,200}") {
        let _read = parse(&text);
    }
}

/// What the manual shows can be used as it stands.
#[test]
fn the_manuals_example_reads() {
    let manual = include_str!("../../../deploy/README.md");
    let (_, example) = manual.split_once("# policy.toml of the controller\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    assert_eq!(parse(example).unwrap().rules(), 3);
    let pane = [("pane", "web-1/3"), ("agent", "codex"), ("state", "idle")];
    let of = |who, text| judge(example, who, VerbName::Send, text, &pane).0;
    assert_eq!(of("agent:web-1", "run the tests"), Decision::Ask);
    assert_eq!(of("operator:ada", "git push --force"), Decision::Deny);
    assert_eq!(of("workflow:limit-wait", "proceed"), Decision::Allow);
}
