//! Switching accounts, step by step.

use super::*;
use crate::WANTED_ACCOUNT;

const SESSION: &str = "0199-bb";
const HOME: &str = "/home/dev/wa node/accounts/work-2/codex";

/// A Codex that reached its limit, which lifts an hour after its start; at the lease.
fn limited(fields: &[(&str, &str)]) -> Stage {
    let reset = at(3600).to_string();
    let mut of_event = vec![("reset_time", reset.as_str())];
    of_event.extend_from_slice(fields);
    let mut run = trigger(&of_event);
    run.agent = Some(AgentKind::codex());
    run.place.session_id = "0199-aa".into();
    let definition = named("codex-account-switch");
    let (run, effects) = Run::start(&definition, RunId(Uuid::from_u128(0x2000)), run, &Vars::new(), at(0));
    let mut stage = Stage { definition, run, effects };
    // No menu comes.
    stage.pane(0, PaneState::Limited).take(10, Input::Timer);
    stage
}

fn leased(run: &Run, signed_in: bool) -> Input {
    Input::Leased {
        step: run.step,
        alias: "work-2".parse().unwrap(),
        home: HOME.into(),
        variable: "CODEX_HOME".into(),
        signed_in,
    }
}

fn not_leased(run: &Run, until: Option<Timestamp>) -> Input {
    Input::NotLeased { step: run.step, reason: "none is free".into(), until }
}

fn ended(session: &str) -> Input {
    Input::Event { kind: EventKind::SessionEnded, session_id: session.into() }
}

impl Stage {
    fn leases(&self) -> Vec<(Option<String>, bool)> {
        let lease = |effect: &Effect| match effect {
            Effect::Lease { step, wanted, login, .. } => {
                assert_eq!(*step, self.run.step);
                Some((wanted.as_ref().map(ToString::to_string), *login))
            }
            _ => None,
        };
        self.effects.iter().filter_map(lease).collect()
    }

    fn sign_ins(&self) -> Vec<(ActionId, String)> {
        let sign_in = |effect: &Effect| match effect {
            Effect::SignIn { action, alias, .. } => Some((*action, alias.to_string())),
            _ => None,
        };
        self.effects.iter().filter_map(sign_in).collect()
    }

    /// The account is there, and the agent as it was.
    fn lease(&mut self, second: i64, signed_in: bool) -> &mut Self {
        let input = leased(&self.run, signed_in);
        self.take(second, input).pane(second, PaneState::Limited)
    }

    /// Leaves the agent by the first key; at the login, or at the resume.
    fn left(&mut self, signed_in: bool) -> &mut Self {
        self.lease(11, signed_in).outcome(12, OutcomeKind::Submitted);
        self.take(13, ended(SESSION)).pane(13, PaneState::Exited)
    }

    /// Types the login; waits for its code.
    fn at_the_code(&mut self) -> ActionId {
        self.left(false);
        let action = self.run.open_action().unwrap();
        self.outcome(14, OutcomeKind::Submitted);
        assert_eq!((self.id(), self.sign_ins()), ("code", vec![]));
        action
    }
}

fn key() -> Verb {
    Verb::Keys(vec!["C-c".parse().unwrap()])
}

#[test]
fn the_whole_way_to_another_account() {
    let mut stage = limited(&[]);
    assert_eq!(
        (stage.id(), stage.run.status.name(), stage.leases()),
        ("lease", "preparing", vec![(None, false)])
    );
    assert_eq!(stage.lease(11, false).verbs(), [key()]);
    let of_this_process =
        |effect: &Effect| matches!(effect, Effect::Act { expect: Expect::Agent { pid: Some(77), .. }, .. });
    assert!(stage.effects.iter().any(of_this_process), "{:?}", stage.effects);
    stage.outcome(12, OutcomeKind::Submitted).take(13, ended(SESSION));
    let login = format!("CODEX_HOME='{HOME}' codex login --device-auth");
    assert_eq!(stage.pane(13, PaneState::Exited).verbs(), [send(&login)]);
    let action = stage.run.open_action().unwrap();
    // The code may be there before the node's word of the command.
    stage.take(14, heard(EventKind::AuthDeviceCode)).outcome(15, OutcomeKind::Submitted);
    assert_eq!(stage.sign_ins(), [(action, "work-2".to_owned())]);
    let step = stage.run.step;
    stage.take(16, Input::SigningIn { step }).take(17, heard(EventKind::AuthSucceeded));
    stage.take(18, Input::SignedIn { step });
    let resume = format!("CODEX_HOME='{HOME}' codex resume {SESSION}");
    assert_eq!(stage.pane(19, PaneState::Shell).verbs(), [send(&resume)]);
    stage.outcome(20, OutcomeKind::Submitted).pane(21, PaneState::Limited);
    assert_eq!((stage.id(), stage.verbs()), ("menu-again", vec![]), "what it shows first may be old");
    assert_eq!(stage.take(29, Input::Timer).verbs(), [send("proceed")]);
    stage.outcome(30, OutcomeKind::Submitted).take(31, heard(EventKind::TurnStarted));
    assert_eq!(stage.ended(), ("succeeded", "the agent works again"));
    assert!(stage.notices()[0].contains("goes on with the account work-2"), "{:?}", stage.notices());
}

#[test]
fn a_home_that_is_signed_in_needs_no_login() {
    let mut stage = limited(&[(WANTED_ACCOUNT, "work-2")]);
    assert_eq!(stage.leases(), [(Some("work-2".to_owned()), false)]);
    let resume = format!("CODEX_HOME='{HOME}' codex resume {SESSION}");
    assert_eq!(stage.left(true).verbs(), [send(&resume)]);
    assert_eq!(limited(&[(WANTED_ACCOUNT, "no/alias")]).leases(), [], "that is no account");
}

#[test]
fn a_key_is_pressed_again_only_while_the_agent_is_there() {
    let mut stage = limited(&[]);
    stage.lease(11, true).outcome(12, OutcomeKind::Submitted);
    assert_eq!(stage.pane(13, PaneState::Idle).verbs(), []);
    assert_eq!(stage.take(18, Input::Timer).verbs(), [], "it may take a while to leave");
    assert_eq!(stage.take(27, Input::Timer).verbs(), [key()], "a draft or a menu took the first");
    // It was leaving: the guard saw that, and the key was not sent.
    for second in [28, 30, 34, 38] {
        if stage.run.open_action().is_some() {
            stage.outcome(second, OutcomeKind::Refused);
        }
        stage.take(second + 1, Input::Timer);
    }
    assert_eq!(stage.id(), "has-left-2");
    stage.pane(39, PaneState::Shell);
    assert_eq!((stage.id(), stage.verbs()), ("said", vec![]));
    assert_eq!(stage.take(42, Input::Timer).pane(42, PaneState::Shell).verbs().len(), 1);
    // One that takes three keys and stays is a person's.
    let mut stays = limited(&[]);
    stays.lease(11, true).outcome(12, OutcomeKind::Submitted);
    for second in [27, 44] {
        assert_eq!(stays.take(second, Input::Timer).verbs(), [key()]);
        stays.outcome(second + 1, OutcomeKind::Submitted);
    }
    stays.take(60, Input::Timer);
    assert_eq!((stays.id(), stays.ended().0), ("ask-leave", "asking"));
}

/// An account and its home may take a minute, and nobody looks at the pane meanwhile.
#[test]
fn an_agent_that_works_again_by_the_time_the_account_is_there_is_not_interrupted() {
    for workflow in ["codex-account-switch", "claude-account-switch", "gemini-account-switch"] {
        let mut stage = Stage::begin(named(workflow), &[("reset_time", &at(3600).to_string())]);
        stage.pane(0, PaneState::Limited).take(10, Input::Timer);
        let input = leased(&stage.run, true);
        stage.take(60, input);
        assert_eq!((stage.id(), stage.verbs()), ("still", vec![]), "{workflow}");
        assert_eq!(stage.pane(60, PaneState::Working).verbs(), [], "{workflow}");
        let mut done = Stage { run: stage.run.clone(), effects: Vec::new(), definition: named(workflow) };
        assert_eq!(done.pane(90, PaneState::Idle).verbs().len(), 1, "{workflow}");
        assert_eq!(done.id(), "leave");
        stage.take(180, Input::Timer);
        assert_eq!((stage.id(), stage.ended().0, stage.verbs()), ("ask-leave", "asking", vec![]));
    }
}

/// The key that leaves would say no to it.
#[test]
fn an_agent_that_asks_something_by_the_time_the_account_is_there_is_not_left() {
    let mut stage = limited(&[]);
    let input = leased(&stage.run, true);
    stage.take(60, input).pane(60, PaneState::Waiting);
    assert_eq!((stage.id(), stage.verbs()), ("still", vec![]));
    stage.take(180, Input::Timer);
    assert_eq!((stage.id(), stage.ended().0, stage.verbs()), ("ask-leave", "asking", vec![]));
}

#[test]
fn where_no_account_is_free_the_first_that_is_decides() {
    let mut other = limited(&[]);
    let input = not_leased(&other.run, Some(at(1800)));
    assert_eq!(other.take(11, input).id(), "first-free");
    let wake = other.wakes().unwrap();
    assert!(wake >= at(1860) && wake < at(1930), "{wake}");
    assert_eq!(other.pane(12, PaneState::Limited).leases(), []);
    assert_eq!(other.take(1930, Input::Timer).leases(), [(None, false)], "asked for again");
    assert_eq!(other.lease(1931, true).verbs(), [key()]);

    for until in [None, Some(at(3600)), Some(at(9000))] {
        let mut own = limited(&[]);
        let input = not_leased(&own.run, until);
        assert_eq!(own.take(11, input).id(), "own-reset", "{until:?}");
        own.pane(12, PaneState::Limited);
        assert_eq!(own.take(3900, Input::Timer).verbs(), [send("proceed")]);
        own.outcome(3901, OutcomeKind::Submitted).take(3902, heard(EventKind::TurnStarted));
        assert_eq!(own.ended(), ("succeeded", "the agent works again"));
    }
}

#[test]
fn what_a_node_says_of_a_home_is_a_variable_and_a_path() {
    for (variable, home) in [
        ("A B", HOME),
        ("A;id", HOME),
        ("", HOME),
        ("7A", HOME),
        ("A", "relative"),
        ("A", "/a\nb"),
        ("A", ""),
    ] {
        let mut stage = limited(&[]);
        let alias = "work-2".parse().unwrap();
        let (home, variable) = (home.to_owned(), variable.to_owned());
        let input = Input::Leased { step: stage.run.step, alias, home, variable, signed_in: true };
        stage.take(11, input);
        assert_eq!((stage.verbs(), stage.id()), (vec![], "own-reset"));
    }
}

#[test]
fn an_answer_counts_for_the_step_that_asked() {
    let mut stage = limited(&[]);
    let before = stage.run.clone();
    let late = Input::Leased {
        step: before.step + 2,
        alias: "work-2".parse().unwrap(),
        home: HOME.into(),
        variable: "CODEX_HOME".into(),
        signed_in: true,
    };
    for input in [late, Input::SignedIn { step: before.step }, Input::SigningIn { step: before.step }] {
        stage.take(11, input);
        assert_eq!(stage.run, before);
    }
}

#[test]
fn a_restarted_controller_leases_again_and_enters_no_code_twice() {
    let mut stage = limited(&[]);
    assert_eq!(stage.take(11, Input::Restarted).leases(), [(None, false)]);
    let action = stage.at_the_code();
    assert_eq!(stage.take(15, Input::Restarted).sign_ins(), [], "there is no code yet");
    assert_eq!(stage.take(16, heard(EventKind::AuthDeviceCode)).sign_ins().len(), 1);
    assert_eq!(stage.take(17, Input::Restarted).sign_ins(), [(action, "work-2".to_owned())]);
    let step = stage.run.step;
    stage.take(18, Input::SigningIn { step }).take(19, Input::Restarted);
    assert_eq!((stage.id(), stage.ended().0, stage.sign_ins()), ("ask-login", "asking", vec![]));
    assert!(stage.notices()[0].contains("restarted while it signed in"), "{:?}", stage.notices());
    // What the person does is seen.
    stage.take(20, heard(EventKind::AuthSucceeded));
    assert_eq!((stage.id(), stage.run.status.name()), ("back", "waiting"));
    let resume = format!("CODEX_HOME='{HOME}' codex resume {SESSION}");
    assert_eq!(stage.pane(21, PaneState::Shell).verbs(), [send(&resume)]);
}

#[test]
fn a_sign_in_that_fails_is_a_persons_and_one_that_succeeds_all_the_same_is_none() {
    for succeeded in [false, true] {
        let mut stage = limited(&[]);
        stage.at_the_code();
        stage.take(15, heard(EventKind::AuthDeviceCode));
        if succeeded {
            stage.take(16, heard(EventKind::AuthSucceeded));
        }
        let (step, reason) = (stage.run.step, "the page has changed".to_owned());
        stage.take(17, Input::SignInFailed { step, reason });
        assert_eq!(stage.id(), if succeeded { "back" } else { "ask-login" });
    }
    // The program in the pane gave up, or wants a person.
    for kind in [EventKind::AuthFailed, EventKind::AuthRequired] {
        let mut stage = limited(&[]);
        stage.at_the_code();
        assert_eq!(stage.take(15, heard(kind)).id(), "ask-login");
    }
}

/// Each report put off the look at it, and with it the end of the step.
#[test]
fn a_shell_that_is_drawn_again_and_again_puts_off_no_end() {
    let mut stage = limited(&[]);
    stage.at_the_code();
    let (mut now, deadline) = (15, stage.run.step_deadline);
    let mut wake = stage.wakes().unwrap();
    while at(now) <= deadline && stage.id() == "code" {
        stage.pane(now, [PaneState::Exited, PaneState::Shell][usize::from(now % 2 == 0)]);
        wake = stage.wakes().unwrap_or(wake);
        now += 3;
    }
    assert!(wake <= deadline, "{wake} is beyond {deadline}");
}

#[test]
fn a_login_that_is_over_without_a_code_is_not_waited_for() {
    let mut stage = limited(&[]);
    stage.at_the_code();
    // The shell is what was there before the command, at first.
    assert_eq!(stage.pane(15, PaneState::Exited).id(), "code");
    assert_eq!(stage.take(20, Input::Timer).id(), "ask-login");
    assert!(stage.notices()[0].contains("the shell is back"), "{:?}", stage.notices());
    let mut runs = limited(&[]);
    runs.at_the_code();
    runs.pane(15, PaneState::Authenticating);
    assert_eq!(runs.take(20, Input::Timer).id(), "code");
    assert_eq!(runs.wakes(), Some(runs.run.step_deadline));
    // It ends after a minute; the event that says how may come a moment later.
    runs.pane(75, PaneState::Shell);
    assert_eq!((runs.id(), runs.wakes()), ("code", Some(at(80))));
    let failed = runs.run.clone();
    assert_eq!(runs.take(76, heard(EventKind::AuthSucceeded)).id(), "back");
    runs.run = failed;
    assert_eq!(runs.take(80, Input::Timer).id(), "ask-login");
}

#[test]
fn a_doubt_about_the_login_enters_no_code() {
    let mut stage = limited(&[]);
    stage.left(false).outcome(14, OutcomeKind::Unknown);
    assert_eq!(stage.id(), "ask-doubt");
    stage.take(15, heard(EventKind::AuthDeviceCode)).take(16, heard(EventKind::AuthSucceeded));
    assert_eq!((stage.id(), stage.sign_ins(), stage.verbs()), ("ask-doubt", vec![], vec![]));
}

#[test]
fn a_limit_that_is_told_again_is_the_same_until_the_agent_was_told_to_go_on() {
    let mut stage = limited(&[]);
    let admitted = |stage: &Stage| admit(&stage.definition, Some(&stage.run));
    assert_eq!(admitted(&stage), Admission::Merge);
    stage.left(true);
    assert_eq!(admitted(&stage), Admission::Merge);
    stage.outcome(14, OutcomeKind::Submitted).pane(15, PaneState::Limited);
    assert_eq!(stage.take(24, Input::Timer).verbs(), [send("proceed")]);
    assert_eq!(admitted(&stage), Admission::Queue, "from now on it is the new account's");
    stage.outcome(25, OutcomeKind::Submitted);
    assert_eq!(admitted(&stage), Admission::Queue);
    assert_eq!(stage.take(26, heard(EventKind::LimitReached)).ended().0, "failed");
}

#[test]
fn an_account_is_signed_in_by_hand() {
    let definition = named("account-login");
    assert!(definition.on.is_empty() && !definition.leases());
    let mut of_hand = trigger(&[(WANTED_ACCOUNT, "work-2")]);
    (of_hand.agent, of_hand.agent_pid) = (Some(AgentKind::codex()), 0);
    let id = RunId(Uuid::from_u128(0x3000));
    let (run, effects) = Run::start(&definition, id, of_hand.clone(), &Vars::new(), at(0));
    let mut stage = Stage { definition: definition.clone(), run, effects };
    assert_eq!(stage.leases(), [], "not while the shell is being started");
    assert_eq!(stage.pane(1, PaneState::Shell).leases(), [(Some("work-2".to_owned()), true)]);
    let input = leased(&stage.run, true);
    let login = format!("CODEX_HOME='{HOME}' codex login --device-auth");
    assert_eq!(stage.take(2, input).verbs(), [send(&login)]);
    stage.outcome(3, OutcomeKind::Submitted).take(4, heard(EventKind::AuthSucceeded));
    assert_eq!(stage.ended().0, "succeeded");
    // Another command for this, where the configuration says so.
    let vars = Vars::from([("login_command".to_owned(), "codex login --issuer x".to_owned())]);
    let (run, _) = Run::start(&definition, id, of_hand, &vars, at(0));
    assert_eq!(run.vars["login_command"], "codex login --issuer x");
    // Nobody said which.
    let (run, effects) = Run::start(&definition, id, trigger(&[]), &Vars::new(), at(0));
    let mut nobody = Stage { definition, run, effects };
    assert_eq!(nobody.pane(1, PaneState::Shell).ended().0, "failed");
}

#[test]
fn an_action_that_waits_for_leave_is_no_doubt() {
    let mut stage = limited(&[]);
    stage.lease(11, true);
    let action = stage.run.open_action().unwrap();
    stage.take(12, Input::Held { action, until: at(4000) });
    assert!(stage.wakes().unwrap() >= at(4000));
    assert_eq!(stage.take(3000, Input::Timer).run.open_action(), Some(action));
    stage.take(3001, Input::Denied { action, reason: "not now".into() });
    assert_eq!((stage.id(), stage.ended().0), ("ask-leave", "asking"));
}

proptest! {
    /// Whatever the path of the home is, a real shell gives the program exactly that.
    #[test]
    fn a_home_reaches_the_program_as_it_is(home in "/[^\\p{C}]{0,40}") {
        let vars = Vars::from([
            ("account_variable".to_owned(), "CODEX_HOME".to_owned()),
            ("account_home".to_owned(), home.clone()),
            ("login_command".to_owned(), "printenv CODEX_HOME".to_owned()),
        ]);
        let template = Template::parse("{{account_variable}}={{account_home}} {{login_command}}").unwrap();
        let line = template.render(&vars, Quoting::Shell).unwrap();
        let ran = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        prop_assert_eq!(String::from_utf8(ran.stdout).unwrap(), format!("{home}\n"));
    }
}
