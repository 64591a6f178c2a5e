use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const NOW: i64 = 1_000_000;

fn alias(text: &str) -> AccountAlias {
    AccountAlias::new(text).unwrap()
}

fn candidate(name: &str, windows: Vec<Window>) -> Candidate {
    Candidate {
        alias: alias(name),
        agent: AgentKind::codex(),
        disabled: false,
        sign_in: SignIn::DeviceCode,
        signed_in: None,
        signing_in: false,
        panes: 0,
        max_panes: 0,
        windows,
        last_used: None,
    }
}

fn window(name: &str, used: f64, resets: Option<i64>) -> Window {
    Window {
        window: name.into(),
        model: String::new(),
        percent_used: Some(used),
        resets: resets.map(at),
        observed: at(NOW - 60),
        reached: false,
    }
}

fn reached(model: &str, resets: Option<i64>) -> Window {
    Window { model: model.into(), percent_used: None, reached: true, ..window("5h", 0.0, resets) }
}

fn ask(candidates: &[Candidate], from: Option<&str>, model: &str) -> Choice {
    let (agent, from) = (AgentKind::codex(), from.map(alias));
    choose(candidates, &Wish { agent: &agent, from: from.as_ref(), wanted: None, model }, at(NOW))
}

fn chosen(choice: &Choice) -> Option<&str> {
    choice.account.as_ref().map(AccountAlias::as_str)
}

#[test]
fn the_most_left_is_chosen_and_the_reason_told() {
    let pool = [
        candidate("a", vec![window("5h", 99.0, Some(NOW + 60))]),
        candidate("b", vec![window("5h", 10.0, Some(NOW + 60)), window("weekly", 70.0, Some(NOW + 600))]),
        candidate("c", vec![window("5h", 40.0, Some(NOW + 60))]),
    ];
    let choice = ask(&pool, Some("a"), "");
    assert_eq!(chosen(&choice), Some("c"));
    assert!(choice.reason.contains("60 % of its 5h limit left"), "{}", choice.reason);
    let of = |name: &str| choice.considered.iter().find(|v| v.alias == alias(name)).unwrap();
    assert!(of("b").usable && of("b").reason.contains("30 % of its weekly limit left"));
    assert!(!of("a").usable && of("a").reason.contains("the pane is on it"));
}

#[test]
fn an_account_of_which_nothing_is_known_counts_as_full() {
    let pool = [candidate("a", vec![window("5h", 1.0, Some(NOW + 60))]), candidate("b", vec![])];
    assert_eq!(chosen(&ask(&pool, None, "")), Some("b"));
    // What was counted long ago, or before a reset, says nothing any more.
    let old = Window { observed: at(NOW - 18_000), ..window("5h", 50.0, None) };
    let pool = [candidate("a", vec![window("weekly", 1.0, None)]), candidate("b", vec![old])];
    assert_eq!(chosen(&ask(&pool, None, "")), Some("b"));
    let pool =
        [candidate("a", vec![window("5h", 1.0, None)]), candidate("b", vec![window("5h", 90.0, Some(NOW))])];
    assert_eq!(chosen(&ask(&pool, None, "")), Some("b"));
}

#[test]
fn when_all_are_exhausted_the_earliest_reset_is_told() {
    let pool = [
        candidate("a", vec![reached("", Some(NOW + 900))]),
        candidate("b", vec![reached("", Some(NOW + 300)), window("weekly", 100.0, Some(NOW + 5000))]),
        candidate("c", vec![reached("", None)]),
    ];
    let choice = ask(&pool, Some("a"), "");
    assert_eq!(
        (chosen(&choice), choice.earliest),
        (None, Some(at(NOW + 900))),
        "the pane's own resets first"
    );
    let unknown = choice.considered.iter().find(|v| v.alias == alias("c")).unwrap();
    assert!(unknown.reason.contains("unknown"), "{}", unknown.reason);
    assert_eq!(unknown.until, Some(at(NOW - 60 + 5 * 3600)));
    let later = at(NOW - 60 + 5 * 3600);
    let (agent, from) = (AgentKind::codex(), alias("a"));
    let wish = Wish { agent: &agent, from: Some(&from), wanted: None, model: "" };
    assert!(choose(&pool, &wish, later).account.is_some());
}

#[test]
fn a_limit_of_one_model_holds_for_that_model() {
    let of = |limit: &str, model: &str| {
        chosen(&ask(&[candidate("a", vec![reached(limit, None)])], None, model)).is_some()
    };
    assert!(!of("Opus", "claude-opus-4-1") && of("Opus", "claude-sonnet-4-5") && !of("Opus", ""));
    assert!(!of("all Pro models", "gemini-2.5-pro") && of("all Pro models", "gemini-2.5-flash"));
    assert!(!of("gemini-2.5-pro", "gemini-2.5-pro") && of("gemini-2.5-pro", "gemini-3-pro"));
    assert!(!of("Sonnet 4.5", "claude sonnet 4.5"));
}

#[test]
fn only_what_may_be_used_is() {
    let (agent, wanted) = (AgentKind::codex(), alias("a"));
    let wish = Wish { agent: &agent, from: None, wanted: Some(&wanted), model: "" };
    let refused = [
        Candidate { disabled: true, ..candidate("a", vec![]) },
        Candidate { agent: AgentKind::claude(), ..candidate("a", vec![]) },
        Candidate { max_panes: 2, panes: 2, ..candidate("a", vec![]) },
        Candidate { sign_in: SignIn::Manual, ..candidate("a", vec![]) },
    ];
    for bad in refused {
        let choice = choose(&[bad.clone(), candidate("b", vec![])], &wish, at(NOW));
        assert_eq!(choice.account, None, "{bad:?}");
        assert!(choice.reason.starts_with("a cannot be used: "), "{}", choice.reason);
    }
    let good = Candidate {
        sign_in: SignIn::Manual,
        signed_in: Some(true),
        max_panes: 2,
        panes: 1,
        ..candidate("a", vec![])
    };
    assert_eq!(chosen(&choose(&[good], &wish, at(NOW))), Some("a"));
    assert!(choose(&[candidate("b", vec![])], &wish, at(NOW)).reason.contains("no account a"));
    assert!(choose(&[], &Wish { wanted: None, ..wish }, at(NOW)).reason.contains("wa account add"));
}

#[test]
fn an_account_that_is_being_signed_in_is_waited_for_where_there_is_no_other() {
    let busy = Candidate { signing_in: true, ..candidate("a", vec![window("5h", 10.0, Some(NOW + 60))]) };
    let choice = ask(std::slice::from_ref(&busy), None, "");
    assert_eq!(chosen(&choice), Some("a"));
    assert!(
        choice.reason.contains("once the run that signs it in on this host is done"),
        "{}",
        choice.reason
    );
    let other = candidate("b", vec![window("5h", 95.0, Some(NOW + 60))]);
    assert_eq!(chosen(&ask(&[busy, other], None, "")), Some("b"));
}

fn any_window() -> impl Strategy<Value = Window> {
    let models = prop_oneof![Just(""), Just("opus"), Just("sonnet")];
    let used = proptest::option::of(prop_oneof![0.0..=100.0, Just(100.0)]);
    let resets = proptest::option::of(NOW - 1000..NOW + 50_000);
    (models, used, resets, NOW - 40_000..=NOW, any::<bool>()).prop_map(
        |(model, used, resets, observed, hit)| Window {
            window: "5h".into(),
            model: model.into(),
            percent_used: used,
            resets: resets.map(at),
            observed: at(observed),
            reached: hit,
        },
    )
}

fn any_candidate(n: usize) -> impl Strategy<Value = Candidate> {
    let agent = prop_oneof![4 => Just(AgentKind::codex()), 1 => Just(AgentKind::claude())];
    let sign_in = (0..SignIn::ALL.len()).prop_map(|at| SignIn::ALL[at]);
    let home = (sign_in, proptest::option::of(any::<bool>()), proptest::bool::weighted(0.1));
    let use_of = (0..3_u32, 0..4_u32, proptest::option::of(0..NOW));
    (agent, proptest::bool::weighted(0.2), home, use_of, proptest::collection::vec(any_window(), 0..4))
        .prop_map(
            move |(
                agent,
                disabled,
                (sign_in, signed_in, signing_in),
                (panes, max_panes, last_used),
                windows,
            )| Candidate {
                alias: alias(&format!("a{n}")),
                agent,
                disabled,
                sign_in,
                signed_in,
                signing_in,
                panes,
                max_panes,
                windows,
                last_used: last_used.map(at),
            },
        )
}

fn any_pool() -> impl Strategy<Value = Vec<Candidate>> {
    (0..7_usize).prop_flat_map(|size| (0..size).map(any_candidate).collect::<Vec<_>>())
}

/// Said again in other words than those of the choice.
fn may(one: &Candidate, from: Option<&AccountAlias>, model: &str) -> bool {
    let fits = |w: &Window| w.model.is_empty() || model.is_empty() || w.model == model;
    let ends = |w: &Window| w.resets.unwrap_or_else(|| at(w.observed.as_second() + 18_000));
    let full = |w: &Window| (w.reached || w.percent_used == Some(100.0)) && ends(w) > at(NOW) && fits(w);
    one.agent.as_str() == "codex"
        && !one.disabled
        && from != Some(&one.alias)
        && (one.max_panes == 0 || one.panes < one.max_panes)
        && (one.sign_in != SignIn::Manual || one.signed_in == Some(true))
        && !one.windows.iter().any(full)
}

fn least(one: &Candidate, model: &str) -> i64 {
    let ends = |w: &Window| w.resets.unwrap_or_else(|| at(w.observed.as_second() + 18_000));
    let counts =
        |w: &&Window| (w.model.is_empty() || model.is_empty() || w.model == model) && ends(w) > at(NOW);
    let used = one.windows.iter().filter(counts).filter_map(|w| w.percent_used).fold(0.0, f64::max);
    ((100.0 - used) * 1000.0).round() as i64
}

proptest! {
    #[test]
    fn the_best_that_may_be_used_and_none_else(
        mut pool in any_pool(), from in proptest::option::of(0..7_usize), model in prop_oneof![Just(""), Just("opus")],
        turn in 0..7_usize,
    ) {
        let from = from.map(|n| alias(&format!("a{n}")));
        let agent = AgentKind::codex();
        let wish = Wish { agent: &agent, from: from.as_ref(), wanted: None, model };
        let choice = choose(&pool, &wish, at(NOW));
        prop_assert_eq!(choice.considered.len(), pool.len());
        for verdict in &choice.considered {
            let one = pool.iter().find(|one| one.alias == verdict.alias).unwrap();
            prop_assert_eq!(verdict.usable, may(one, from.as_ref(), model), "{:?}", verdict);
            prop_assert!(!verdict.reason.is_empty());
        }
        match &choice.account {
            Some(best) => {
                let best = pool.iter().find(|one| one.alias == *best).unwrap();
                prop_assert!(may(best, from.as_ref(), model));
                for one in pool.iter().filter(|one| may(one, from.as_ref(), model)) {
                    // One that is being signed in is waited for: the others come first.
                    let key = |one: &Candidate| (!one.signing_in, least(one, model));
                    prop_assert!(key(one) <= key(best));
                }
            }
            None => {
                prop_assert!(!pool.iter().any(|one| may(one, from.as_ref(), model)));
                prop_assert!(choice.earliest.is_none_or(|earliest| earliest > at(NOW)));
            }
        }
        let turn = turn % pool.len().max(1);
        pool.rotate_left(turn);
        prop_assert_eq!(choose(&pool, &wish, at(NOW)), choice, "in whatever order it is asked");
    }
}
