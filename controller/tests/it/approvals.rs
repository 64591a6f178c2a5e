//! Actions that wait for a person: bound to what was shown, good once, and for a time.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status};
use wa_controller::Definition;
use wa_link::principal::Role;
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{AgentKind, EventKind, Generation, OutcomeKind, PaneRef, PaneState};

use crate::acting::{act, send};
use crate::desk::{Desk, LIMIT, Node, pane, until};
use crate::policy::Ruled;

const AGENTS_ASK: &str = "[[rule]]\nname = 'agents ask'\nwho = ['agent:*', 'workflow:*']\ndecision = 'ask'\n\
                          [[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n";

impl Ruled {
    /// Answers the next question for the pane's screen.
    async fn show(&mut self, rows: &[&str]) {
        show(&mut self.node, rows).await;
    }

    /// Shows the same whenever it is asked, and does what it is told.
    async fn serve(&mut self, rows: &[&str]) {
        let wanted = |message: &Down| match message {
            Down::ScreenRequest(_) | Down::Action(_) => Some(message.clone()),
            _ => None,
        };
        loop {
            match self.node.next(wanted).await.unwrap() {
                Down::ScreenRequest(request) => reply(&self.node, request, rows).await,
                Down::Action(action) => {
                    assert_eq!(self.node.ask(&action.action_id).await.refused, "");
                    self.end(&action, OutcomeKind::Submitted, "seen").await;
                }
                _ => {}
            }
        }
    }

    /// The approvals that wait, the newest first.
    async fn open(&self) -> Vec<v1::Approval> {
        list(&mut self.desk.fleet(Role::Viewer, "v").await, true).await
    }

    async fn approval(&self, id: &str) -> v1::Approval {
        let all = list(&mut self.desk.fleet(Role::Viewer, "v").await, false).await;
        all.into_iter().find(|approval| approval.id == id).unwrap()
    }

    async fn notices(&self) -> Vec<v1::Notice> {
        let request = v1::ListNoticesRequest::default();
        self.desk.admin().await.list_notices(request).await.unwrap().into_inner().notices
    }

    /// An agent's send that is held, and of which people have been told; its call ends soon.
    async fn held(&mut self, text: &str, rows: &[&str]) -> v1::Approval {
        let agent = self.desk.fleet(Role::Agent, "web-1").await;
        let asked = act(agent, v1::ActRequest { timeout_ms: 50, ..send(text) });
        let (told, ()) = tokio::join!(asked, self.show(rows));
        assert_eq!(told.outcome, "unknown", "{told:?}");
        assert!(told.reason.contains("waits for a person") && told.reason.contains("wa approve approval-"));
        self.told_of().await
    }

    /// The newest approval, once its notice is there.
    async fn told_of(&self) -> v1::Approval {
        let approval = self.open().await.remove(0);
        until("the notice", async || {
            let wanted = format!("wa approve {}`", approval.id);
            self.notices().await.into_iter().find(|notice| notice.text.contains(&wanted))
        })
        .await;
        approval
    }
}

async fn show(node: &mut Node, rows: &[&str]) {
    let request = |message: &Down| match message {
        Down::ScreenRequest(request) => Some(request.clone()),
        _ => None,
    };
    let request = node.next(request).await.unwrap();
    assert!(!request.reveal);
    reply(node, request, rows).await;
}

async fn reply(node: &Node, request: v1::ScreenRequest, rows: &[&str]) {
    let rows = rows.iter().map(|row| v1::ScreenRow { text: (*row).into(), ..Default::default() }).collect();
    let screen = v1::Screen { r#ref: request.pane, rows, ..Default::default() };
    let reply =
        v1::ScreenReply { request_id: request.request_id, screen: Some(screen), ..Default::default() };
    node.send(Up::ScreenReply(reply)).await;
}

async fn list(fleet: &mut FleetClient<Channel>, open: bool) -> Vec<v1::Approval> {
    let request = v1::ListApprovalsRequest { open, limit: 0 };
    fleet.list_approvals(request).await.unwrap().into_inner().approvals
}

async fn answer(mut fleet: FleetClient<Channel>, id: &str, allow: bool) -> Result<v1::Approval, Status> {
    let request = v1::AnswerApprovalRequest { id: id.into(), allow, timeout_ms: 5000 };
    let answered = tokio::time::timeout(LIMIT, fleet.answer_approval(request)).await.unwrap()?;
    Ok(answered.into_inner().approval.unwrap())
}

fn is(error: &Status, code: Code, words: &str) {
    assert!(error.code() == code && error.message().contains(words), "{error:?}");
}

#[tokio::test]
async fn an_agents_action_goes_on_when_a_person_has_allowed_it() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let agent = ruled.desk.fleet(Role::Agent, "web-1").await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let secret = "sk-ant-api03-".to_owned() + &"A".repeat(40);
    let asked = act(agent, send(&format!("use {secret}")));
    let work = async {
        ruled.show(&["> ", "idle"]).await;
        let approval = until("the approval", async || ruled.open().await.pop()).await;
        assert_eq!((approval.who.as_str(), approval.verb.as_str()), ("agent:web-1", "send"));
        assert_eq!((approval.rule.as_str(), approval.state.as_str()), ("agents ask", "open"));
        assert_eq!(approval.until_us - approval.time_us, 600_000_000);
        assert!(!approval.text.contains(&secret) && approval.text.contains("sha256"), "{}", approval.text);
        ruled.told_of().await;
        assert!(!format!("{:?}", ruled.notices().await).contains(&secret));
        // The seconds that a person takes cost the action nothing: its time begins when it is allowed.
        let allowing = answer(ada, &approval.id, true);
        let going = async {
            ruled.show(&["> ", "idle   "]).await;
            let action = ruled.node.action().await;
            assert_eq!(action.who, "agent:web-1");
            assert_eq!(ruled.node.ask(&action.action_id).await.refused, "");
            ruled.end(&action, OutcomeKind::Submitted, "seen").await;
        };
        let (answered, ()) = tokio::join!(allowing, going);
        answered.unwrap()
    };
    let (told, approval) = tokio::join!(asked, work);
    assert_eq!((told.outcome.as_str(), told.reason.as_str()), ("submitted", "seen"));
    assert_eq!((approval.state.as_str(), approval.answered_by.as_str()), ("used", "operator:ada"));
    assert_eq!((approval.outcome.as_str(), approval.reason.as_str()), ("submitted", "seen"));
    let decisions = |rows: Vec<(String, String)>| rows.into_iter().map(|(d, _)| d).collect::<Vec<_>>();
    assert_eq!(decisions(ruled.trail("send").await), ["held", "queued", "submitted"]);
    assert_eq!(decisions(ruled.trail("approval").await), ["allowed"]);
    assert!(ruled.open().await.is_empty());
}

#[tokio::test]
async fn what_is_denied_never_happens() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let agent = ruled.desk.fleet(Role::Agent, "web-1").await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let key = v1::ActRequest { idempotency_key: "k".into(), ..send("x") };
    let asked = act(agent.clone(), key.clone());
    let work = async {
        ruled.show(&["> "]).await;
        let approval = ruled.told_of().await;
        let denied = answer(ada.clone(), &approval.id, false).await.unwrap();
        assert_eq!((denied.state.as_str(), denied.answered_by.as_str()), ("denied", "operator:ada"));
        approval.id
    };
    let (told, id) = tokio::join!(asked, work);
    assert_eq!(
        (told.outcome.as_str(), told.reason.as_str()),
        ("refused", "approval-1: operator:ada denied it")
    );
    // The same key asks nobody again, and is not acted on.
    let again = act(agent, key).await;
    assert_eq!((again.outcome, again.reason, again.action_id), (told.outcome, told.reason, told.action_id));
    for allow in [true, false] {
        is(
            &answer(ada.clone(), &id, allow).await.unwrap_err(),
            Code::PermissionDenied,
            "denied already, by operator:ada",
        );
    }
    assert!(ruled.desk.running().store().actions(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_counts_once_and_only_an_operators() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let approval = ruled.held("x", &["> "]).await;
    let id = approval.id.as_str();
    for (role, name) in [(Role::Agent, "web-1"), (Role::Viewer, "v"), (Role::Node, "web-1")] {
        for allow in [true, false] {
            let refused = answer(ruled.desk.fleet(role, name).await, id, allow).await.unwrap_err();
            is(&refused, Code::PermissionDenied, "needs the role");
        }
    }
    // Agents see what is asked on their own host.
    assert_eq!(list(&mut ruled.desk.fleet(Role::Agent, "web-1").await, true).await.len(), 1);
    assert!(list(&mut ruled.desk.fleet(Role::Agent, "web-2").await, true).await.is_empty());
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    for (wrong, code) in [
        ("approval-99", Code::NotFound),
        ("approval-18446744073709551615", Code::NotFound),
        ("approval-", Code::InvalidArgument),
        ("approval--1", Code::InvalidArgument),
        ("approval-99999999999999999999", Code::InvalidArgument),
        ("web-1/3", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        is(&answer(ada.clone(), wrong, true).await.unwrap_err(), code, "");
    }
    // Two people at the same moment: one is too late, and one action is done.
    let eve = ruled.desk.fleet(Role::Admin, "eve").await;
    let both = async { tokio::join!(answer(ada, id, true), answer(eve, id, true)) };
    let (one, two) = tokio::select! {
        both = both => both,
        () = ruled.serve(&["> "]) => unreachable!(),
    };
    let (first, late) = if one.is_ok() { (one, two) } else { (two, one) };
    assert_eq!(first.unwrap().state, "used");
    is(&late.unwrap_err(), Code::PermissionDenied, "already");
    assert_eq!(ruled.desk.running().store().actions(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_screen_voids_it() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let approval = ruled.held("yes", &["Run `ls`?", "> "]).await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let (refused, ()) =
        tokio::join!(answer(ada.clone(), &approval.id, true), ruled.show(&["Run `rm -rf /`?", "> "]));
    is(&refused.unwrap_err(), Code::PermissionDenied, "does not show what it showed when this was asked");
    // Also when the first screen is back: it is void for good.
    let (refused, ()) = tokio::join!(answer(ada, &approval.id, true), async {
        assert_eq!(ruled.approval(&approval.id).await.state, "expired");
    });
    is(&refused.unwrap_err(), Code::PermissionDenied, "expired already");
    assert!(ruled.desk.running().store().actions(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_pane_of_the_same_number_voids_it() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let approval = ruled.held("yes", &["> "]).await;
    let mut other = pane(1, Some(AgentKind::codex()), PaneState::Idle);
    other.pane = PaneRef { generation: Generation::new("boot-2-2").unwrap(), ..other.pane };
    let reference = other.pane.clone();
    ruled.node.panes(true, vec![other]).await;
    let address = crate::desk::address("web-1", 1).try_into().unwrap();
    until("the new pane", async || {
        let view = ruled.desk.running().registry().pane(&address)?;
        (view.pane.pane == reference).then_some(())
    })
    .await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    is(
        &answer(ada, &approval.id, true).await.unwrap_err(),
        Code::PermissionDenied,
        "web-1/1 that it was for is gone",
    );
    assert_eq!(ruled.approval(&approval.id).await.state, "expired");
}

/// As the store would find it after that long.
fn make_old(desk: &Desk, id: &str) {
    let conn = rusqlite::Connection::open(desk.data().join("state.db")).unwrap();
    let n: i64 = id.strip_prefix("approval-").unwrap().parse().unwrap();
    let done = conn.execute("UPDATE approvals SET until_us = created_us WHERE n = ?1", [n]).unwrap();
    assert_eq!(done, 1);
}

#[tokio::test]
async fn after_its_time_it_can_no_longer_be_given() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let approval = ruled.held("x", &["> "]).await;
    make_old(&ruled.desk, &approval.id);
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let (refused, ()) = tokio::join!(answer(ada, &approval.id, true), ruled.show(&["> "]));
    is(&refused.unwrap_err(), Code::PermissionDenied, "expired already: nobody answered in time");
    // By itself, too: whoever waits is told.
    let agent = ruled.desk.fleet(Role::Agent, "web-1").await;
    let asked = act(agent, send("y"));
    let lapse = async {
        ruled.show(&["> "]).await;
        let approval = ruled.told_of().await;
        make_old(&ruled.desk, &approval.id);
        // Whatever is held next sets the clock that looks for what has lapsed.
        ruled.desk.running().store().write(|tx| tx.wake_runs().map(drop)).await.unwrap();
    };
    let (told, ()) = tokio::join!(asked, lapse);
    assert_eq!(
        (told.outcome.as_str(), told.reason.as_str()),
        ("expired", "approval-2: nobody answered in time")
    );
    let ends: Vec<String> = ruled.trail("approval").await.into_iter().map(|(decision, _)| decision).collect();
    assert_eq!(ends, ["expired", "expired"]);
}

#[tokio::test]
async fn a_pane_that_nobody_could_look_at_is_not_acted_on() {
    let ruled = Ruled::by(AGENTS_ASK).await;
    let agent = ruled.desk.fleet(Role::Agent, "web-1").await;
    let asked = act(agent, send("x"));
    let work = async {
        let approval = until("the approval", async || ruled.open().await.pop()).await;
        let ada = ruled.desk.fleet(Role::Operator, "ada").await;
        // The look right after it was held has no answer yet.
        let early = answer(ada, &approval.id, true).await;
        is(&early.unwrap_err(), Code::ResourceExhausted, "being looked at");
        ruled.node.panes(true, vec![]).await;
    };
    let (told, ()) = tokio::join!(asked, work);
    assert_eq!(told.outcome, "refused");
    assert!(told.reason.contains("could not be looked at"), "{told:?}");
    assert!(ruled.notices().await.is_empty(), "nobody was asked");
}

#[tokio::test]
async fn so_many_and_no_more_wait_for_a_person() {
    let ruled = Ruled::by(AGENTS_ASK).await;
    let agent = ruled.desk.fleet(Role::Agent, "web-1").await;
    let asked = |n: u32| act(agent.clone(), v1::ActRequest { timeout_ms: 20, ..send(&n.to_string()) });
    let mut refused = 0;
    for n in 0..34 {
        let told = asked(n).await;
        refused += u32::from(told.outcome == "refused" && told.reason.contains("wait for a person already"));
    }
    assert_eq!((ruled.open().await.len(), refused), (32, 2));
    // Whose certificate is revoked, of him nothing is done any more.
    let revoke = v1::RevokeRequest { name: "web-1".into(), reason: "lost".into(), ..Default::default() };
    ruled.desk.admin().await.revoke(revoke).await.unwrap();
    assert!(ruled.open().await.is_empty());
}

/// A pane is closed whatever it shows, and only with the process that was there.
#[tokio::test]
async fn a_kill_is_bound_to_the_process_and_a_spawn_to_nothing_shown() {
    let mut ruled = Ruled::by("[[rule]]\nwho = 'operator:*'\ndecision = 'ask'\n").await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let kill = v1::ActRequest {
        timeout_ms: 50,
        verb: Some(v1::act_request::Verb::Kill(v1::KillPane {})),
        ..send("")
    };
    let dry = act(ada.clone(), v1::ActRequest { dry_run: true, ..kill.clone() }).await;
    assert!(dry.outcome == "refused" && dry.reason.contains("wants a person's approval"), "{dry:?}");
    assert_eq!(act(ada.clone(), kill.clone()).await.outcome, "unknown");
    let first = ruled.told_of().await;
    let mut busy = pane(1, Some(AgentKind::codex()), PaneState::Working);
    busy.title = "⠋ busy".into();
    ruled.node.panes(true, vec![busy]).await;
    let (answered, refused) = tokio::join!(answer(ada.clone(), &first.id, true), ruled.carry_out());
    assert_eq!((answered.unwrap().state.as_str(), refused.as_str()), ("used", ""));

    assert_eq!(act(ada.clone(), kill).await.outcome, "unknown");
    let second = ruled.told_of().await;
    let mut other = pane(1, Some(AgentKind::codex()), PaneState::Idle);
    other.agent_pid = 4712;
    ruled.node.panes(true, vec![other]).await;
    let address = crate::desk::address("web-1", 1).try_into().unwrap();
    until("the other process", async || {
        let view = ruled.desk.running().registry().pane(&address)?;
        (view.pane.agent_pid == 4712).then_some(())
    })
    .await;
    is(&answer(ada.clone(), &second.id, true).await.unwrap_err(), Code::PermissionDenied, "void");

    let spawn = v1::ActRequest {
        pane: None,
        host: "web-1".into(),
        timeout_ms: 50,
        verb: Some(v1::act_request::Verb::Spawn(v1::SpawnPane {
            command: vec!["top".into()],
            cwd: "/".into(),
        })),
        ..send("")
    };
    assert_eq!(act(ada.clone(), spawn).await.outcome, "unknown");
    let third = ruled.told_of().await;
    let (answered, refused) = tokio::join!(answer(ada, &third.id, true), ruled.carry_out());
    assert_eq!((answered.unwrap().state.as_str(), refused.as_str()), ("used", ""));
}

// ---- what workflows do

async fn greeting(policy: &str) -> Ruled {
    let greet = "name = 'greet'\nversion = 1\non = 'bell'\nmax_actions = 2\n\
        [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '1s'\n[[step]]\ndo = 'type'\ntext = 'again'\ntimeout = '30s'\n";
    let definition = Definition::parse(greet).unwrap();
    Ruled::with(policy, |config| config.workflows.push(definition)).await
}

async fn ring(ruled: &mut Ruled) {
    ruled.node.event(EventKind::Bell, AgentKind::codex(), &[]).await;
}

async fn run_of(desk: &Desk) -> v1::Run {
    let listed = desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
    listed.into_inner().runs.remove(0)
}

async fn run_is(desk: &Desk, state: &str) -> v1::Run {
    until(state, async || Some(run_of(desk).await).filter(|run| run.state == state)).await
}

/// Longer than its step has time, over kills of the controller; and what was allowed stays allowed.
#[tokio::test]
async fn a_run_waits_for_its_approval_over_restarts() {
    let mut ruled = greeting("[[rule]]\nwho = 'workflow:greet'\ntext = 'hello'\ndecision = 'ask'\n[[rule]]\nwho = '*'\ndecision = 'allow'\n").await;
    ring(&mut ruled).await;
    ruled.show(&["> "]).await;
    let approval = ruled.told_of().await;
    assert_eq!((approval.who.as_str(), approval.verb.as_str()), ("workflow:greet", "send"));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    ruled.desk.kill_and_restart().await;
    ruled.reconnect().await;
    assert_eq!(run_of(&ruled.desk).await.state, "acting");
    assert_eq!(ruled.open().await, std::slice::from_ref(&approval));
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let allowing = tokio::time::timeout(Duration::from_millis(700), answer(ada, &approval.id, true));
    let (_cut_off, ()) = tokio::join!(allowing, ruled.show(&["> "]));
    assert_eq!(ruled.approval(&approval.id).await.state, "allowed");
    ruled.desk.kill_and_restart().await;
    ruled.reconnect().await;
    assert_eq!(ruled.carry_out().await, "", "it is still allowed");
    assert_eq!(ruled.carry_out().await, "", "the next step needs no approval");
    let run = run_is(&ruled.desk, "succeeded").await;
    assert_eq!(run.actions_done, 2);
    assert_eq!(ruled.approval(&approval.id).await.state, "used");
}

/// A person who waits for long gives no more time than the run has: what begins later is nobody's any more.
#[tokio::test]
async fn what_is_allowed_begins_while_its_run_waits_for_it() {
    let mut ruled = greeting(AGENTS_ASK).await;
    ring(&mut ruled).await;
    ruled.show(&["> "]).await;
    let approval = ruled.told_of().await;
    ruled.reconnect().await;
    // As if the approval had been asked for ten minutes ago.
    let until = wa_link::clock::now() + Duration::from_secs(5);
    let conn = rusqlite::Connection::open(ruled.desk.data().join("state.db")).unwrap();
    let sql = "UPDATE runs SET body = json_set(body, '$.step_deadline', ?1)";
    assert_eq!(conn.execute(sql, [until.to_string()]).unwrap(), 1);
    let mut ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let request = v1::AnswerApprovalRequest { id: approval.id, allow: true, timeout_ms: 600_000 };
    let allowing = tokio::time::timeout(LIMIT, ada.answer_approval(request));
    let going = async {
        ruled.show(&["> "]).await;
        let action = ruled.node.action().await;
        assert_eq!(ruled.node.ask(&action.action_id).await.refused, "");
        ruled.end(&action, OutcomeKind::Submitted, "").await;
        action
    };
    let (allowed, action) = tokio::join!(allowing, going);
    allowed.unwrap().unwrap();
    let left = action.deadline_us - wa_proto::wire::to_us(until);
    assert!(left <= 30_000_000, "{left}");
}

/// The controller was away when the time to answer was over, and the run's own patience as well.
#[tokio::test]
async fn what_nobody_allowed_is_no_doubt_however_late_that_is_noticed() {
    let mut ruled = greeting(AGENTS_ASK).await;
    ring(&mut ruled).await;
    ruled.show(&["> "]).await;
    let approval = ruled.told_of().await;
    make_old(&ruled.desk, &approval.id);
    let conn = rusqlite::Connection::open(ruled.desk.data().join("state.db")).unwrap();
    let over = wa_link::clock::now() - Duration::from_secs(120);
    let sql = "UPDATE runs SET wake_us = 1, body = json_set(body, '$.step_deadline', ?1)";
    assert_eq!(conn.execute(sql, [over.to_string()]).unwrap(), 1);
    ruled.desk.running().store().write(|tx| tx.wake_runs().map(drop)).await.unwrap();
    let run = run_of(&ruled.desk).await;
    assert_eq!((run.state.as_str(), run.reason.as_str()), ("failed", "approval-1: nobody answered in time"));
}

/// Nobody allows what they have not seen.
#[tokio::test]
async fn a_person_sees_the_whole_text_that_they_allow() {
    let mut ruled = Ruled::by(AGENTS_ASK).await;
    let text = format!("{} and then rm -rf build", "go on ".repeat(100));
    let approval = ruled.held(&text, &["> "]).await;
    assert!(approval.text.starts_with(&text), "{}", approval.text);
    let endless = format!("{} and then rm -rf build", "go on ".repeat(10_000));
    let cut = ruled.held(&endless, &["> "]).await;
    assert!(cut.text.len() < 5000 && cut.text.contains("… (sha256"), "{}", cut.text.len());
}

#[tokio::test]
async fn a_run_whose_action_is_denied_fails_and_asks_nobody_again() {
    let mut ruled = greeting(AGENTS_ASK).await;
    ring(&mut ruled).await;
    ruled.show(&["> "]).await;
    let approval = ruled.told_of().await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    assert_eq!(answer(ada.clone(), &approval.id, false).await.unwrap().state, "denied");
    let run = run_is(&ruled.desk, "failed").await;
    assert!(run.reason.contains("operator:ada denied it") && run.actions_done == 0, "{run:?}");
    assert!(ruled.open().await.is_empty());

    // One that is cancelled takes its question with it.
    ring(&mut ruled).await;
    ruled.show(&["> "]).await;
    let approval = ruled.told_of().await;
    let run_id = run_of(&ruled.desk).await.run_id;
    ada.clone().cancel_run(v1::CancelRunRequest { run_id, reason: String::new() }).await.unwrap();
    assert_eq!(ruled.approval(&approval.id).await.state, "expired");
    let (refused, ()) = tokio::join!(answer(ada, &approval.id, true), async {});
    is(&refused.unwrap_err(), Code::PermissionDenied, "its run was cancelled");
    assert!(ruled.desk.running().store().actions(10).await.unwrap().is_empty());
}

/// What the policy denies a workflow is refused when it would begin, and the run goes by its own rules about that.
#[tokio::test]
async fn what_a_workflow_may_not_do_is_refused_by_the_gate() {
    let mut ruled = greeting("[[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n").await;
    ring(&mut ruled).await;
    let action = ruled.node.action().await;
    let refused = ruled.node.ask(&action.action_id).await.refused;
    assert!(
        refused.contains("no rule of the controller's policy allows `send` by workflow:greet"),
        "{refused}"
    );
}
