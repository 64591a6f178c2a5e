//! The merge against its promises, with conversations that were drawn the way agents draw, and any others.

use proptest::prelude::*;
use wa_proto::Role;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

/// What goes in; comes out as its number.
#[derive(Debug, Clone)]
enum In {
    Said { second: i64, role: Role, text: String },
    Line { second: i64, agent: &'static str, text: String },
    Gap { second: i64 },
}

fn user(second: i64, text: &str) -> In {
    In::Said { second, role: Role::User, text: text.into() }
}

fn answer(second: i64, text: &str) -> In {
    In::Said { second, role: Role::Assistant, text: text.into() }
}

fn codex(second: i64, text: &str) -> In {
    In::Line { second, agent: "codex", text: text.into() }
}

fn shell(second: i64, text: &str) -> In {
    In::Line { second, agent: "", text: text.into() }
}

/// The timeline of all, read in pages of so many; numbers of what was given.
fn merged(all: &[In], page: usize) -> Vec<usize> {
    let (mut said, mut seen): (Vec<usize>, Vec<usize>) =
        (0..all.len()).partition(|number| matches!(all[*number], In::Said { .. }));
    said.reverse();
    seen.reverse();
    let (mut merge, mut out) = (Merge::default(), Vec::new());
    loop {
        match merge.next(Timestamp::MAX) {
            Step::Give(number) => out.push(number),
            Step::Empty => return out,
            Step::Wait(_) => panic!("nothing is waited for"),
            Step::NeedSaid if said.is_empty() => merge.no_more_said(),
            Step::NeedSeen if seen.is_empty() => merge.no_more_seen(),
            Step::NeedSaid => {
                (0..page).filter_map(|_| said.pop()).for_each(|n| push(&mut merge, all, n, None))
            }
            Step::NeedSeen => {
                (0..page).filter_map(|_| seen.pop()).for_each(|n| push(&mut merge, all, n, None))
            }
        }
        assert!(merge.waiting() <= AHEAD_LINES + AHEAD_MESSAGES + 2 * page, "memory is bounded");
    }
}

fn push(merge: &mut Merge<usize>, all: &[In], number: usize, until: Option<Timestamp>) {
    match &all[number] {
        In::Said { second, role, text } => {
            merge.heard(at(*second), Spoken::of("codex", *role, text), number);
        }
        In::Line { second, agent, text } => {
            merge.saw(Seen::of(at(*second), Some(text), agent, until), number);
        }
        In::Gap { second } => merge.saw(Seen::of(at(*second), None, "", until), number),
    }
}

#[test]
fn what_the_screen_only_repeats_is_left_out() {
    let all = [
        shell(1, "$ codex"),
        codex(2, "╭──────────────────────────╮"),
        codex(2, "│ >_ OpenAI Codex (v0.89.0) │"),
        codex(2, "╰──────────────────────────╯"),
        user(5, "fix it"),
        codex(6, ""),
        codex(6, "› fix it"),
        codex(6, ""),
        answer(
            9,
            "Done. I read `src/lib.rs`, moved **the parser** into its own module:\n\n```rust\nfn a() {\n}\n```\n- tests: ok",
        ),
        codex(7, "• Done. I read src/lib.rs, moved the"),
        codex(7, "  parser into its own mod"),
        codex(7, "  ule:"),
        codex(7, ""),
        codex(7, "  fn a() {"),
        codex(7, "  }"),
        codex(8, "  - tests: ok"),
        codex(8, "⚠ Heads up, you have less than 25% of your 5h limit left."),
        In::Gap { second: 10 },
        shell(12, "$ echo Done. I read src/lib.rs, moved the parser"),
    ];
    for page in [1, 3, 100] {
        // The warning was printed below the answer, and stands there.
        assert_eq!(merged(&all, page), [0, 1, 2, 3, 4, 8, 16, 17, 18], "pages of {page}");
    }
}

#[test]
fn in_doubt_a_line_is_shown() {
    let shown = |all: &[In]| merged(all, 10).contains(&(all.len() - 1));
    let long = "I have looked at every one of the modules and all of them are done, yes";
    // Short words that stand somewhere in an answer are not that answer.
    assert!(shown(&[answer(1, long), codex(2, "Yes")]));
    assert!(shown(&[answer(1, long), codex(2, "■ Done, yes.")]));
    assert!(!shown(&[answer(1, long), codex(2, "│ every one of the modules and all │")]));
    // Another agent's words, a shell's, and words of long after.
    assert!(shown(&[answer(1, long), In::Line { second: 2, agent: "gemini", text: long.into() }]));
    assert!(shown(&[answer(1, long), shell(2, long)]));
    assert!(merged(&[codex(2, long), answer(4000, long)], 10).len() == 2);
    assert!(merged(&[codex(2, long), answer(400, long)], 10).len() == 1);
    // A short line that is a whole message, near and far.
    assert!(!shown(&[user(1, "go on"), codex(2, "› go on")]));
    let mut far = vec![user(1, "go on")];
    far.extend((0..9).map(|n| answer(10 + n, &format!("answer number {n}"))));
    far.push(codex(20, "go on"));
    assert!(shown(&far));
    far.push(codex(21, "› go on"));
    assert!(!shown(&far), "what has the mark of a prompt is a prompt that is drawn again");
    far.push(codex(22, "› go"));
    assert!(shown(&far));
    // What is no word at all goes with its neighbours, unless it says something by itself.
    assert!(shown(&[answer(1, long), codex(2, long), codex(2, "???")]));
    assert!(!shown(&[answer(1, long), codex(2, long), codex(2, "└──┘")]));
    assert!(shown(&[answer(1, long), codex(2, "what nobody said in any message"), codex(2, "└──┘")]));
}

#[test]
fn a_tool_call_begins_with_a_word_of_the_agents_own() {
    let call = |text: &str| In::Said { second: 5, role: Role::ToolCall, text: text.into() };
    let all = [call("{\"cmd\":\"cargo test -q\",\"login\":false}"), codex(6, "• Ran cargo test -q")];
    assert_eq!(merged(&all, 10), [0]);
    let all = [call("{\"cmd\":\"cargo test -q\"}"), codex(6, "• Ran cargo build")];
    assert_eq!(merged(&all, 10), [0, 1]);
    // Only calls are printed so.
    let all = [answer(5, "then cargo test -q says"), codex(6, "• Ran cargo test -q")];
    assert_eq!(merged(&all, 10), [0, 1]);
}

#[test]
fn rows_that_were_rewritten_late_hold_nothing_up() {
    let all = [
        shell(1, "$ make"),
        // Its last rewrite was an hour later.
        shell(3600, "[100%] built"),
        shell(3, "$ codex"),
        user(10, "a first question to the agent"),
        user(1000, "a second question to the agent"),
        shell(4000, "$ exit"),
    ];
    assert_eq!(merged(&all, 10), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn who_follows_sees_a_line_once_it_has_waited_or_its_message() {
    let all = [
        user(1, "please look at the failing test"),
        codex(2, "› please look at the failing test"),
        codex(3, "• I am looking at it, and will say more"),
        answer(4, "I am looking at it, and will say more soon."),
        codex(5, "⚠ a notice that no message has"),
        codex(5, ""),
        shell(6, "$ "),
        answer(7, "Later."),
    ];
    let mut merge = Merge::default();
    merge.no_more_said();
    merge.no_more_seen();
    let wait = |merge: &mut Merge<usize>, second| {
        let mut given = Vec::new();
        loop {
            match merge.next(at(second)) {
                Step::Give(number) => given.push(number),
                step => return (given, step),
            }
        }
    };
    push(&mut merge, &all, 0, None);
    push(&mut merge, &all, 1, Some(at(5)));
    assert_eq!(wait(&mut merge, 2), (vec![0], Step::Empty));
    push(&mut merge, &all, 2, Some(at(6)));
    assert_eq!(wait(&mut merge, 3), (vec![], Step::Wait(at(6))));
    push(&mut merge, &all, 3, None);
    assert_eq!(wait(&mut merge, 4), (vec![3], Step::Empty));
    for (number, until) in [(4, Some(at(8))), (5, Some(at(8))), (6, None), (7, None)] {
        push(&mut merge, &all, number, until);
    }
    assert_eq!(wait(&mut merge, 7), (vec![], Step::Wait(at(8))));
    assert_eq!(wait(&mut merge, 8), (vec![4, 5, 6, 7], Step::Empty));
}

/// A word of a text; few, so that the same come again.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["parser", "module", "tests", "read", "the", "moved", "a", "done", "限制"]).prop_map(str::to_owned),
        1 => "[a-zé]{1,40}",
        1 => "[{}();=?!]{1,3}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    let line = prop::collection::vec(word(), 0..12).prop_map(|words| words.join(" "));
    prop::collection::vec(line, 1..6).prop_map(|lines| lines.join("\n"))
}

#[derive(Debug, Clone)]
enum Drawn {
    /// Said, and drawn by the agent in so many columns, so long after.
    Turn {
        role: Role,
        text: String,
        columns: usize,
        delay: i64,
    },
    /// Drawn and in no file.
    Only(String),
    Shell(String),
    Gap,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let role = prop::sample::select(vec![Role::User, Role::Assistant, Role::ToolResult, Role::Notice]);
    prop_oneof![
        4 => (role, text(), 12..100_usize, -30..30_i64)
            .prop_map(|(role, text, columns, delay)| Drawn::Turn { role, text, columns, delay }),
        2 => "[xyz]{6}( [xyz]{4,9}){0,5}".prop_map(Drawn::Only),
        2 => text().prop_map(Drawn::Shell),
        1 => Just(Drawn::Gap),
    ]
}

/// As agents wrap: at blanks, a long word in its middle, two columns in from the left.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let mut row = String::new();
        for word in line.split(' ') {
            if !row.is_empty() && row.chars().count() + 1 + word.chars().count() > columns {
                rows.push(std::mem::take(&mut row));
            }
            if !row.is_empty() {
                row.push(' ');
            }
            for c in word.chars() {
                if row.chars().count() >= columns {
                    rows.push(std::mem::take(&mut row));
                }
                row.push(c);
            }
        }
        rows.push(row);
    }
    let framed = |(n, row): (usize, String)| if n == 0 { format!("• {row}") } else { format!("  {row}") };
    rows.into_iter().enumerate().map(framed).collect()
}

fn played(turns: &[Drawn]) -> Vec<In> {
    let (mut all, mut second) = (Vec::new(), 0);
    for turn in turns {
        second += 60;
        match turn {
            Drawn::Turn { role, text, columns, delay } => {
                all.push(In::Said { second: second + delay, role: *role, text: text.clone() });
                all.extend(wrapped(text, *columns).iter().map(|row| codex(second, row)));
                all.push(codex(second, ""));
            }
            Drawn::Only(text) => all.push(codex(second, text)),
            Drawn::Shell(text) => all.extend(text.lines().map(|line| shell(second, line))),
            Drawn::Gap => all.push(In::Gap { second }),
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(96, |n| n.parse().unwrap())))]

    /// Nothing vanishes, nothing is doubled, orders are kept, and it does not matter how it is read.
    #[test]
    fn nothing_vanishes(turns in prop::collection::vec(drawn(), 0..40), page in 1..40_usize) {
        let all = played(&turns);
        let out = merged(&all, page);
        prop_assert_eq!(&out, &merged(&all, 1000), "pages do not matter");
        let mut once = out.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), out.len());
        let of = |said: bool| {
            out.iter().copied().filter(|n| matches!(all[*n], In::Said { .. }) == said).collect::<Vec<_>>()
        };
        prop_assert!(of(true).is_sorted() && of(false).is_sorted());
        let said: Vec<String> = all
            .iter()
            .filter_map(|input| if let In::Said { text, .. } = input { Some(crate::store::squeeze(text)) } else { None })
            .collect();
        for (number, input) in all.iter().enumerate() {
            if out.contains(&number) {
                continue;
            }
            let In::Line { agent: "codex", text, .. } = input else {
                return Err(TestCaseError::fail(format!("{input:?} is gone")));
            };
            let squeezed = crate::store::squeeze(text);
            prop_assert!(said.iter().any(|said| said.contains(&squeezed)), "{text:?} was said by nobody");
        }
    }

    /// Messages stand in the order of time, and lines behind what they were printed below.
    #[test]
    fn time_goes_forward(turns in prop::collection::vec(drawn(), 0..40)) {
        let all = played(&turns);
        let second = |number: &usize| match &all[*number] {
            In::Said { second, .. } | In::Line { second, .. } | In::Gap { second } => *second,
        };
        // A line waits at most for the message that the line above it renders.
        let slack = AHEAD.as_secs();
        let mut latest = i64::MIN;
        for number in merged(&all, 50) {
            prop_assert!(second(&number) + slack >= latest, "{number} stands too late");
            latest = latest.max(second(&number));
        }
    }

    /// What an agent draws of a long text is left out, wherever it wraps.
    #[test]
    fn a_drawn_answer_is_recognised(
        text in text(), columns in 12..100_usize, before in drawn(), delay in -100..100_i64,
    ) {
        prop_assume!(crate::store::weight(&crate::store::squeeze(&text)) > 0);
        let mut all = played(&[before]);
        let first = all.len();
        all.push(answer(1000, &text));
        all.extend(wrapped(&text, columns).iter().map(|row| codex(1000 + delay, row)));
        let shown = merged(&all, 50).into_iter().filter(|n| *n > first).collect::<Vec<_>>();
        // Only pieces that are short, and stand before anything long was recognised, may be shown.
        for number in shown {
            let In::Line { text, .. } = &all[number] else { panic!("messages come first") };
            let weight = crate::store::weight(&crate::store::squeeze(text));
            prop_assert!(weight < 24, "{text:?} of {all:?}");
        }
    }
}
