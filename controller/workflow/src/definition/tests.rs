use super::*;

const GOOD: &str = r#"
    name = "w"
    version = 1
    on = "context.compacted"
    max_actions = 2
    [vars]
    word = "hello"
    [[step]]
    do = "type"
    text = "{{word}}"
    timeout = "5s"
    on_failure = "end"
    [[step]]
    id = "seen"
    do = "expect"
    events = ["turn.started"]
    timeout = "5s"
    [[step]]
    id = "end"
    do = "finish"
    text = "done"
"#;

#[test]
fn the_built_in_ones_load() {
    let all = builtin().unwrap();
    assert_eq!(all.len(), 10);
    for definition in all {
        assert!(!definition.description.is_empty(), "{}", definition.name);
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    Definition::parse(GOOD).unwrap();
    let cases = [
        ("on = \"context.compacted\"", "on = \"context.gone\"", "context.gone"),
        ("on = \"context.compacted\"", "on = [\"bell\", \"ball\"]", "ball"),
        ("max_actions = 2", "max_actions = 2\n    merge_until = \"nowhere\"", "merge_until"),
        ("do = \"finish\"", "do = \"finish\"\n    same_process = true", "same_process"),
        ("do = \"finish\"", "do = \"finish\"\n    login = true", "login does not belong"),
        ("do = \"expect\"", "do = \"expect\"\n    heard = \"end\"", "heard does not belong"),
        ("do = \"type\"", "do = \"shout\"", "shout"),
        ("timeout = \"5s\"", "timeout = \"0s\"", "longer than zero"),
        ("timeout = \"5s\"", "retries = 3", "retries"),
        ("    timeout = \"5s\"\n    on_failure", "    on_failure", "timeout is missing"),
        ("text = \"{{word}}\"", "text = \"a\\u001b\"", "control character"),
        ("text = \"{{word}}\"", "text = \"{{wrod}}\"", "wrod"),
        ("text = \"{{word}}\"", "text = \"{{word\"", "{{"),
        ("text = \"{{word}}\"", "keys = [\"Enter\"]", "text is missing"),
        ("do = \"type\"", "do = \"type\"\n    states = [\"idle\"]", "states does not belong to `type`"),
        ("do = \"finish\"", "do = \"finish\"\n    timeout = \"5s\"", "waits for nothing"),
        ("do = \"finish\"", "do = \"finish\"\n    next = \"seen\"", "goes back"),
        ("max_actions = 2", "max_actions = 0", "max_actions"),
        ("name = \"w\"", "name = \"a b\"", "letters"),
        ("[[step]]", "[[steppe]]", "steppe"),
        ("on_failure = \"end\"", "on_failure = \"nowhere\"", "nowhere"),
        ("id = \"end\"", "id = \"seen\"", "another step"),
        ("max_actions = 2", "max_actions = 2\n    max_runs = { count = 0, per = \"1h\" }", "max_runs"),
        ("max_actions = 2", "max_actions = 2\n    on_gone = \"nowhere\"", "on_gone"),
    ];
    for (from, to, expect) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = Definition::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expect), "{to}: {error}");
    }
}

#[test]
fn a_run_cannot_go_in_circles() {
    let back = GOOD.replace("id = \"seen\"", "id = \"seen\"\n    on_failure = \"step-1\"");
    let error = Definition::parse(&back).unwrap_err().to_string();
    assert!(error.contains("goes back") && error.contains("step 2 (seen)"), "{error}");
    let own = GOOD.replace("id = \"seen\"", "id = \"seen\"\n    next = \"seen\"");
    assert!(Definition::parse(&own).is_err());
}

#[test]
fn nothing_is_typed_blindly_after_a_doubt() {
    let typed = |between: &str| {
        format!(
            "name = 'w'\nversion = 1\non = 'bell'\nmax_actions = 2\n\
             [[step]]\nid = 'first'\ndo = 'type'\ntext = 'a'\ntimeout = '5s'\non_unknown = 'look'\n\
             {between}\n\
             [[step]]\nid = 'again'\ndo = 'type'\ntext = 'b'\ntimeout = '5s'\n"
        )
    };
    let notice = "[[step]]\nid = 'look'\ndo = 'notify'\ntext = 'look'";
    let error = Definition::parse(&typed(notice)).unwrap_err().to_string();
    assert!(error.contains("on_unknown leads to \"again\""), "{error}");
    let ask = "[[step]]\nid = 'look'\ndo = 'ask'\ntext = 'look'\ntimeout = '1h'\n\
               choices = [{ label = 'again', to = 'again' }]";
    Definition::parse(&typed(ask)).unwrap();
    // An answer that never came is no answer.
    let silent = ask.replace("timeout = '1h'", "timeout = '1h'\non_failure = 'again'");
    assert!(Definition::parse(&typed(&silent)).is_err());
}

#[test]
fn no_code_is_entered_after_a_doubt_and_none_twice() {
    let text = |between: &str, more: &str| {
        format!(
            "name = 'w'\nversion = 1\nmax_actions = 1\n\
             [[step]]\ndo = 'run'\ntext = 'login'\ntimeout = '5s'\non_unknown = 'look'\n\
             {between}\n\
             [[step]]\nid = 'code'\ndo = 'device_login'\ntimeout = '5m'\n{more}"
        )
    };
    let ask = "[[step]]\nid = 'look'\ndo = 'ask'\ntext = 'look'\ntimeout = '1h'\n\
               choices = [{ label = 'on', to = 'code' }]";
    Definition::parse(&text(ask, "")).unwrap();
    let notice = "[[step]]\nid = 'look'\ndo = 'notify'\ntext = 'look'";
    let error = Definition::parse(&text(notice, "")).unwrap_err().to_string();
    assert!(error.contains("on_unknown leads to \"code\""), "{error}");
    // That something happened is no answer.
    let hears = format!("{ask}\nevents = ['bell']\nheard = 'code'");
    assert!(Definition::parse(&text(&hears, "")).is_err());
    assert!(Definition::parse(&text(&format!("{ask}\nevents = ['bell']"), "")).is_err(), "and where to?");
    let again = "[[step]]\ndo = 'device_login'\ntimeout = '5m'\n";
    let error = Definition::parse(&text(ask, again)).unwrap_err().to_string();
    assert!(error.contains("enters one code"), "{error}");
}

#[test]
fn the_budget_covers_the_longest_way() {
    let both = GOOD.replace("max_actions = 2", "max_actions = 1").replace(
        "id = \"end\"",
        "id = \"more\"\n    do = \"keys\"\n    keys = [\"Enter\"]\n    timeout = \"5s\"\n    [[step]]\n    id = \"end\"",
    );
    let error = Definition::parse(&both).unwrap_err().to_string();
    assert!(error.contains("2 times"), "{error}");
}

#[test]
fn what_never_acts_waits_for_nothing() {
    let waits = "name = 'w'\nversion = 1\non = 'bell'\nmax_actions = 0\n\
                 [[step]]\ndo = 'wait_until'\nstates = ['idle']\ntimeout = '5s'\n";
    let error = Definition::parse(waits).unwrap_err().to_string();
    assert!(error.contains("waits for nothing"), "{error}");
}
