use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn file(name: &str, born: i64, modified: i64) -> Candidate {
    Candidate {
        path: PathBuf::from(name),
        session_id: name.to_owned(),
        born: at(born),
        modified: at(modified),
        background: false,
        here: true,
    }
}

/// Process 1, started at 100, alone, followed since 500.
fn evidence(candidates: Vec<Candidate>) -> Evidence {
    Evidence {
        pid: 1,
        started: Some(at(100)),
        follow_began: at(500),
        open: Vec::new(),
        claims: Vec::new(),
        candidates,
        rivals: Vec::new(),
        noted: BTreeMap::new(),
        directory: "/srv/app".to_owned(),
    }
}

fn claim(id: &str, time: i64, by_hook: bool) -> Claim {
    Claim {
        session_id: id.to_owned(),
        path: PathBuf::new(),
        source: "its start command".to_owned(),
        at: at(time),
        by_hook,
    }
}

fn chosen(evidence: &Evidence) -> Result<String, String> {
    choose(evidence).map(|(place, _)| evidence.candidates[place].session_id.clone())
}

fn none(evidence: &Evidence) -> String {
    chosen(evidence).unwrap_err()
}

#[test]
fn alone_the_newest_file_since_the_start_is_it() {
    assert_eq!(chosen(&evidence(vec![file("a", 110, 200), file("b", 300, 310)])).unwrap(), "b");
    assert!(none(&evidence(vec![])).contains("no session file of /srv/app has been written"));
    let mut elsewhere = file("c", 400, 400);
    elsewhere.here = false;
    let mut aside = file("d", 400, 400);
    aside.background = true;
    assert_eq!(chosen(&evidence(vec![file("a", 110, 200), elsewhere, aside])).unwrap(), "a");
}

#[test]
fn what_the_process_holds_open_is_its_own() {
    let mut held = evidence(vec![file("a", 110, 200), file("b", 300, 310)]);
    held.open = vec!["a".into()];
    held.claims = vec![claim("b", 400, true)];
    assert_eq!(chosen(&held).unwrap(), "a");
    held.open.push("b".into());
    assert_eq!(chosen(&held).unwrap(), "b", "held, and named by a hook");
    held.claims.clear();
    assert!(none(&held).contains("holds 2 session files open"));
}

#[test]
fn a_hook_is_believed_and_other_words_until_a_newer_file() {
    let mut said = evidence(vec![file("old", 10, 200), file("new", 300, 310)]);
    said.claims = vec![claim("old", 100, false)];
    assert_eq!(chosen(&said).unwrap(), "new", "begun after the start command had named another");
    said.claims = vec![claim("old", 305, false)];
    assert_eq!(chosen(&said).unwrap(), "old");
    said.claims = vec![claim("old", 100, true), claim("new", 400, false)];
    assert_eq!(chosen(&said).unwrap(), "old");
    said.claims = vec![claim("unborn", 400, true)];
    assert!(none(&said).contains("which has no file yet"));
    // A `claude -p` that the agent runs as a tool calls the same hooks on the same terminal.
    said.candidates[1].background = true;
    said.claims = vec![claim("new", 400, true), claim("old", 100, false)];
    assert_eq!(chosen(&said).unwrap(), "old");
}

#[test]
fn with_another_agent_there_only_what_cannot_be_its_own() {
    let rival = |started: i64| vec![Rival { pid: 2, started: at(started) }];
    let mut two = evidence(vec![file("a", 110, 200)]);
    two.rivals = rival(50);
    assert!(none(&two).contains("2 agents work in /srv/app"));
    two.rivals = rival(150);
    assert_eq!(chosen(&two).unwrap(), "a", "the other started after it was begun");

    // The other's first file, or one that this process has begun anew: nobody can say, as long as `a` rests. What is in
    // `a` was said here in any case.
    two.candidates.push(file("b", 250, 260));
    let (place, reason) = choose(&two).unwrap();
    assert_eq!(place, 0);
    assert!(reason.contains("but 2 agents work in /srv/app, and which of them writes session b"), "{reason}");
    let mut other = two.clone();
    other.pid = 2;
    other.started = Some(at(150));
    other.rivals = vec![Rival { pid: 1, started: at(100) }];
    assert!(none(&other).contains("session b"));
    // This process still writes `a`: then `b` is the other's, for both of them.
    two.candidates[0].modified = at(300);
    let (_, reason) = choose(&two).unwrap();
    assert!(!reason.contains("but"), "{reason}");
    other.candidates.clone_from(&two.candidates);
    assert_eq!(chosen(&other).unwrap(), "b");
}

#[test]
fn two_that_started_before_either_file_are_told_apart_by_notes_only() {
    let mut two = evidence(vec![file("a", 110, 300), file("b", 120, 300)]);
    two.rivals = vec![Rival { pid: 2, started: at(90) }];
    assert!(none(&two).contains("cannot be told"));
    two.noted = BTreeMap::from([(1, "a".to_owned()), (2, "b".to_owned())]);
    assert_eq!(chosen(&two).unwrap(), "a");
    // One of them was cleared. Whoever writes on in its own file was not.
    two.candidates.push(file("c", 400, 410));
    assert!(choose(&two).unwrap().1.contains("session c"));
    two.candidates[1].modified = at(420);
    assert_eq!(chosen(&two).unwrap(), "c");
    two.candidates[1].modified = at(300);
    two.candidates[0].modified = at(420);
    assert_eq!(chosen(&two).unwrap(), "a");
}

#[test]
fn a_file_resumed_inside_is_taken_only_while_it_is_written_and_nobody_else_is_there() {
    let mut resumed = evidence(vec![file("old", 10, 600), file("older", 5, 300)]);
    assert_eq!(chosen(&resumed).unwrap(), "old");
    resumed.rivals = vec![Rival { pid: 2, started: at(50) }];
    none(&resumed);
    resumed.rivals.clear();
    resumed.candidates[1].modified = at(700);
    assert!(none(&resumed).contains("several session files"));
}

#[test]
fn where_the_process_cannot_be_asked_only_names_count() {
    let mut blind = evidence(vec![file("a", 110, 600)]);
    blind.started = None;
    assert!(none(&blind).contains("cannot be read on this system"));
    blind.claims = vec![claim("a", 300, true)];
    assert_eq!(chosen(&blind).unwrap(), "a");
}
