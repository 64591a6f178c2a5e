//! Switching accounts over the wire: what the controller leases, asks its node for, types, and leaves to people.

use std::time::Duration;

use tonic::Code;
use wa_controller::{Config, Definition};
use wa_link::clock;
use wa_link::principal::Role;
use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::wire::v1::account_request::About;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{AgentKind, EventKind, OutcomeKind, Pane, PaneState, SpoolId};

use crate::desk::{Desk, Node, address, pane, until};

/// The built-in workflow, with pauses that a test can bear.
const SWITCH: &str = include_str!("../../workflow/workflows/codex-account-switch.toml");
const HOME: &str = "/home/dev/.local/state/wa-node/accounts/work-2/codex";
const SESSION: &str = "01a20248-0000-7000-8000-000000000001";

fn switch() -> Definition {
    let quick = SWITCH
        .replace("grace = \"1m\"", "grace = \"0s\"")
        .replace("grace = \"2m\"", "grace = \"0s\"")
        .replace("jitter = \"1m\"", "jitter = \"0s\"")
        .replace("\"Dismiss\"]\ntimeout = \"10s\"", "\"Dismiss\"]\ntimeout = \"100ms\"")
        .replace("\"Dismiss\"]\ntimeout = \"8s\"", "\"Dismiss\"]\ntimeout = \"100ms\"");
    Definition::parse(&quick).unwrap()
}

struct Scene {
    desk: Desk,
    identity: Identity,
    spool: SpoolId,
    node: Node,
}

impl Scene {
    /// A host whose Codex is on `work-1` by default, and these accounts beside it; the pane shows the limit.
    async fn with(others: &[&str], switching: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::local(place.path().join("data"));
        config.workflows.push(switch());
        config.enable_workflows.push("codex-account-switch".into());
        let desk = Desk::with(place, config).await;
        let (identity, spool) = (desk.enrol("web-1").await, SpoolId::generate());
        let node = Node::connect(&desk, &identity, spool).await;
        let scene = Self { desk, identity, spool, node };
        for alias in ["work-1"].iter().chain(others) {
            let default_hosts = if *alias == "work-1" { vec!["web-1".to_owned()] } else { Vec::new() };
            let request = v1::AddAccountRequest {
                alias: (*alias).into(),
                agent: "codex".into(),
                sign_in: "device_code".into(),
                credentials: Some(v1::Credentials {
                    username: format!("{alias}@example.org"),
                    password: ["not", "a", "word"].join("-"),
                    ..v1::Credentials::default()
                }),
                default_hosts,
                ..v1::AddAccountRequest::default()
            };
            scene.desk.admin().await.add_account(request).await.unwrap();
        }
        let pool = v1::SetPoolRequest { name: "default".into(), switching };
        scene.desk.admin().await.set_pool(pool).await.unwrap();
        scene.state(PaneState::Limited).await;
        scene
    }

    async fn pane(&self, pane: Pane) {
        self.node.panes(true, vec![pane]).await;
        until("the pane", async || {
            let panes = self.desk.running().registry().panes();
            panes.iter().any(|view| view.connected).then_some(())
        })
        .await;
    }

    async fn state(&self, state: PaneState) {
        self.pane(pane(1, Some(AgentKind::codex()), state)).await;
    }

    /// Nothing but a shell is there, as after an agent.
    async fn shell(&self, state: PaneState) {
        self.pane(pane(1, None, state)).await;
    }

    async fn restart(&mut self, state: PaneState) {
        self.desk.kill_and_restart().await;
        self.node = Node::connect(&self.desk, &self.identity, self.spool).await;
        self.state(state).await;
    }

    async fn event(&mut self, kind: EventKind, fields: &[(&str, &str)]) {
        self.node.event(kind, AgentKind::codex(), fields).await;
    }

    async fn limit(&mut self, lifts_in: Duration) {
        let reset = (clock::now() + lifts_in).to_string();
        self.event(EventKind::LimitReached, &[("reset_time", &reset), ("window", "5h")]).await;
    }

    async fn done(&mut self, action: &v1::Action) {
        self.node.outcome(action, OutcomeKind::Submitted, "").await;
    }

    /// The controller asks for the home of an account, which is there.
    async fn prepare(&mut self, signed_in: bool) -> v1::PrepareHome {
        let (request_id, About::Prepare(asked)) = self.node.account_request().await else {
            panic!("not a home")
        };
        self.made(request_id, signed_in, &asked.owner, "").await;
        asked
    }

    /// The node's answer: the home is there, and this owner's.
    async fn made(&mut self, request_id: u64, signed_in: bool, owner: &[u8], set_aside: &str) {
        let home = v1::AccountHome {
            path: HOME.into(),
            variable: "CODEX_HOME".into(),
            signed_in,
            owner: owner.to_vec(),
            set_aside: set_aside.into(),
        };
        let reply = v1::AccountReply { request_id, home: Some(home), ..v1::AccountReply::default() };
        self.node.send(Up::AccountReply(reply)).await;
    }

    /// Whose `work-2` is, as a switch asks a node for its home, which is given back at once.
    async fn owner(&mut self) -> Vec<u8> {
        let (request_id, About::Prepare(asked)) = self.node.account_request().await else {
            panic!("not a home")
        };
        let reply = v1::AccountReply { request_id, error: "no".into(), ..v1::AccountReply::default() };
        self.node.send(Up::AccountReply(reply)).await;
        assert_eq!((asked.alias.as_str(), asked.owner.len()), ("work-2", 16));
        asked.owner
    }

    async fn update(&self, change: v1::UpdateAccountRequest) {
        let change = v1::UpdateAccountRequest { alias: "work-2".into(), ..change };
        self.desk.admin().await.update_account(change).await.unwrap();
    }

    /// The agent is left by the first key.
    async fn leave(&mut self) {
        let action = self.node.action().await;
        let Some(v1::action::Verb::Keys(keys)) = &action.verb else { panic!("{action:?}") };
        assert_eq!((keys.keys.as_slice(), action.expect_agent_pid), (&["C-c".to_owned()][..], 4711));
        self.done(&action).await;
        self.event(EventKind::SessionEnded, &[("session_id", SESSION)]).await;
        self.shell(PaneState::Exited).await;
    }

    async fn typed(&mut self, text: &str) -> v1::Action {
        let action = self.node.action().await;
        let Some(v1::action::Verb::Send(send)) = &action.verb else { panic!("{action:?}") };
        assert_eq!((send.text.as_str(), send.enter), (text, true));
        assert_eq!(action.expect_shell, text != "proceed");
        action
    }

    async fn login(&mut self) -> v1::Action {
        let action = self.typed(&format!("CODEX_HOME={HOME} codex login --device-auth")).await;
        self.done(&action).await;
        action
    }

    /// From the shell to the agent that works again.
    async fn resume(&mut self) {
        let action = self.typed(&format!("CODEX_HOME={HOME} codex resume {SESSION}")).await;
        self.done(&action).await;
        let mut resumed = pane(1, Some(AgentKind::codex()), PaneState::Idle);
        (resumed.agent_pid, resumed.account) = (4712, Some("work-2".parse().unwrap()));
        self.pane(resumed).await;
        let action = self.typed("proceed").await;
        assert_eq!((action.expect_agent.as_str(), action.expect_agent_pid), ("codex", 0));
        self.done(&action).await;
        self.event(EventKind::TurnStarted, &[]).await;
    }

    async fn runs(&self) -> Vec<v1::Run> {
        let listed = self.desk.admin().await.list_runs(v1::ListRunsRequest::default()).await.unwrap();
        listed.into_inner().runs
    }

    async fn run_is(&self, state: &str) -> v1::Run {
        until(state, async || self.runs().await.into_iter().next().filter(|run| run.state == state)).await
    }

    async fn at_step(&self, step: &str) -> v1::Run {
        until(step, async || self.runs().await.into_iter().next().filter(|run| run.step == step)).await
    }

    async fn questions(&self) -> Vec<v1::Notice> {
        let request = v1::ListNoticesRequest { open: true, limit: 0 };
        self.desk.admin().await.list_notices(request).await.unwrap().into_inner().notices
    }

    /// What was done with accounts, in its order.
    async fn audit(&self) -> Vec<String> {
        let rows = self.desk.running().store().audit_trail().await.unwrap();
        let told = rows.into_iter().filter(|row| row.what == "account" && row.who.starts_with("workflow:"));
        told.map(|row| row.decision).collect()
    }

    async fn leased(&self, alias: &str) -> usize {
        let request = v1::ListAccountsRequest::default();
        let listed = self.desk.admin().await.list_accounts(request).await.unwrap().into_inner();
        listed.accounts.into_iter().find(|one| one.alias == alias).unwrap().leases.len()
    }
}

/// A code is there, and the page that it names is not the provider's: nothing is opened, a person signs in, and the
/// run goes on by itself.
#[tokio::test]
async fn an_agent_goes_on_with_another_account() {
    let mut scene = Scene::with(&["work-2"], true).await;
    scene.limit(Duration::from_secs(3600)).await;
    let asked = scene.prepare(false).await;
    assert_eq!(
        (asked.alias.as_str(), asked.agent.as_str(), asked.who.as_str(), asked.api_key.as_str()),
        ("work-2", "codex", "workflow:codex-account-switch", "")
    );
    scene.leave().await;
    let login = scene.login().await;
    scene.event(EventKind::AuthDeviceCode, &[("handle", "h")]).await;
    let (request_id, About::SignIn(read)) = scene.node.account_request().await else { panic!("not a code") };
    assert_eq!((read.action_id, read.alias.as_str()), (login.action_id, "work-2"));
    let secret = |kind: &str, value: &str| v1::Secret {
        kind: kind.into(),
        value: value.into(),
        handle: "h".into(),
        left_seconds: 600,
    };
    let secrets = vec![
        secret("url", "https://auth.openai.com.example.net/codex/device"),
        secret("user_code", &["1F4J", "LS4XN"].join("-")),
    ];
    let reply = v1::AccountReply { request_id, secrets, ..v1::AccountReply::default() };
    scene.node.send(Up::AccountReply(reply)).await;
    scene.run_is("asking").await;
    let asked = scene.questions().await;
    let [question] = &asked[..] else { panic!("{asked:?}") };
    assert!(
        question.text.contains("wa show web-1/1 --reveal") && question.text.contains("work-2"),
        "{}",
        question.text
    );
    assert!(!question.text.contains("LS4XN") && !question.text.contains("example.net"), "{}", question.text);
    assert_eq!(scene.audit().await, ["leased", "signing_in", "sign_in_failed"]);
    scene.event(EventKind::AuthSucceeded, &[]).await;
    assert_eq!(scene.questions().await, []);
    scene.shell(PaneState::Shell).await;
    scene.resume().await;
    assert_eq!(scene.run_is("succeeded").await.reason, "the agent works again");
    let runs = scene.runs().await;
    assert_eq!(runs.len(), 1, "and nobody waits for the reset beside it: {runs:?}");
    assert_eq!(scene.leased("work-2").await, 1, "it is the pane's now");
    // What it was stepped with tells the same again, and holds no code.
    let id = v1::GetRunRequest { run_id: runs[0].run_id.clone() };
    let shown = scene.desk.admin().await.get_run(id).await.unwrap().into_inner();
    assert_eq!(shown.inputs.last().unwrap().state, "succeeded");
    assert!(shown.inputs.iter().all(|input| !input.input.contains("LS4XN")));
}

/// What a node tells of its panes may be made up; which account is taken is for people and the choice alone.
#[tokio::test]
async fn an_event_names_no_account() {
    let mut scene = Scene::with(&["work-2", "work-3"], true).await;
    let reset = (clock::now() + Duration::from_secs(3600)).to_string();
    let told = [("reset_time", reset.as_str()), ("window", "5h"), ("wanted_account", "work-3")];
    scene.event(EventKind::LimitReached, &told).await;
    assert_eq!(scene.prepare(true).await.alias, "work-2", "the first of two that nothing is known of");
}

#[tokio::test]
async fn where_the_pool_does_not_switch_the_limit_is_waited_out() {
    let mut scene = Scene::with(&["work-2"], false).await;
    scene.limit(Duration::from_secs(3600)).await;
    let run = scene.run_is("waiting").await;
    assert_eq!(run.workflow, "limit-wait");
    let rows = scene.desk.running().store().audit_trail().await.unwrap();
    let declined = rows.iter().find(|row| row.decision == "declined").unwrap();
    assert!(declined.detail.contains("switching is off in pool default"), "{}", declined.detail);
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let wanted = v1::SwitchAccountRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    let refused = operator.switch_account(wanted).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("switching is off"), "{}", refused.message());
    // Nor by its name: the run that waits would be ended for it.
    let by_name =
        v1::StartRunRequest { workflow: "codex-account-switch".into(), pane: Some(address("web-1", 1)) };
    let refused = operator.start_run(by_name).await.unwrap_err();
    assert!(refused.message().contains("switching is off"), "{}", refused.message());
    let runs = scene.runs().await;
    assert_eq!((runs.len(), runs[0].state.as_str()), (1, "waiting"));
}

#[tokio::test]
async fn where_no_account_is_free_the_run_waits_for_its_own_limit() {
    let mut scene = Scene::with(&[], true).await;
    let lifts = Duration::from_millis(1500);
    let reset = clock::now() + lifts;
    scene.limit(lifts).await;
    let action = scene.typed("proceed").await;
    assert!(clock::now() >= reset, "not before the limit has lifted");
    assert_eq!(scene.audit().await, ["not_leased"]);
    scene.done(&action).await;
    scene.event(EventKind::TurnStarted, &[]).await;
    assert_eq!(scene.run_is("succeeded").await.reason, "the agent works again");
}

/// Killed while the node makes the home, and again while it looks for the code: both are asked for anew, and the account
/// stays the same.
#[tokio::test]
async fn a_killed_controller_asks_its_node_again() {
    let mut scene = Scene::with(&["work-2", "work-3"], true).await;
    scene.limit(Duration::from_secs(3600)).await;
    let (_, About::Prepare(first)) = scene.node.account_request().await else { panic!("not a home") };
    assert_eq!(scene.runs().await[0].state, "preparing");
    scene.restart(PaneState::Limited).await;
    let again = scene.prepare(false).await;
    assert_eq!(again.alias, first.alias, "leased once");
    scene.leave().await;
    scene.login().await;
    scene.event(EventKind::AuthDeviceCode, &[("handle", "h")]).await;
    let (_, About::SignIn(read)) = scene.node.account_request().await else { panic!("not a code") };
    scene.restart(PaneState::Authenticating).await;
    let (request_id, About::SignIn(again)) = scene.node.account_request().await else { panic!("not a code") };
    assert_eq!(again.action_id, read.action_id);
    // A person has entered the code meanwhile: the run goes on without the node's word.
    scene.event(EventKind::AuthSucceeded, &[]).await;
    scene.shell(PaneState::Shell).await;
    scene.at_step("resume").await;
    let reply = v1::AccountReply { request_id, error: "it is too old".into(), ..Default::default() };
    scene.node.send(Up::AccountReply(reply)).await;
    scene.resume().await;
    scene.run_is("succeeded").await;
    assert_eq!(scene.audit().await, ["leased", "leased"]);
}

#[tokio::test]
async fn a_second_switch_of_a_pane_waits_for_the_first() {
    let mut scene = Scene::with(&["work-2"], true).await;
    scene.state(PaneState::Idle).await;
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let start =
        || v1::StartRunRequest { workflow: "codex-account-switch".into(), pane: Some(address("web-1", 1)) };
    let first = operator.start_run(start()).await.unwrap().into_inner().run.unwrap();
    let (_, About::Prepare(_)) = scene.node.account_request().await else { panic!("not a home") };
    assert_eq!(operator.start_run(start()).await.unwrap().into_inner().run, None, "it waits");
    let cancel = v1::CancelRunRequest { run_id: first.run_id.clone(), reason: String::new() };
    operator.cancel_run(cancel).await.unwrap();
    assert_eq!(scene.leased("work-2").await, 0, "given back");
    let second = scene.at_step("lease").await;
    assert_ne!(second.run_id, first.run_id);
    // What others begin with, and what is this run's own doing, begins nothing behind it.
    scene.limit(Duration::from_secs(3600)).await;
    scene.prepare(true).await;
    scene.leave().await;
    scene.resume().await;
    scene.run_is("succeeded").await;
    assert_eq!(scene.runs().await.len(), 2, "nobody waits for the reset");
}

/// A person need not cancel what waits for the reset first.
#[tokio::test]
async fn a_switch_by_hand_takes_the_place_of_the_wait() {
    let mut scene = Scene::with(&["work-2"], false).await;
    scene.limit(Duration::from_secs(3600)).await;
    assert_eq!(scene.run_is("waiting").await.workflow, "limit-wait");
    let pool = v1::SetPoolRequest { name: "default".into(), switching: true };
    scene.desk.admin().await.set_pool(pool).await.unwrap();
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let wanted = v1::SwitchAccountRequest { pane: Some(address("web-1", 1)), ..Default::default() };
    let begun = operator.switch_account(wanted).await.unwrap().into_inner();
    let (run, choice) = (begun.run.unwrap(), begun.choice.unwrap());
    assert_eq!((run.workflow.as_str(), choice.alias.as_str()), ("codex-account-switch", "work-2"));
    let replaced = scene.runs().await.into_iter().find(|run| run.workflow == "limit-wait").unwrap();
    assert_eq!(
        (replaced.state.as_str(), replaced.reason.as_str()),
        ("cancelled", "replaced by codex-account-switch")
    );
    scene.prepare(true).await;
    scene.leave().await;
    scene.resume().await;
    until("the end", async || scene.runs().await.iter().any(|run| run.state == "succeeded").then_some(()))
        .await;
}

#[tokio::test]
async fn an_account_that_is_removed_meanwhile_is_a_persons() {
    let mut scene = Scene::with(&["work-2"], true).await;
    scene.limit(Duration::from_secs(3600)).await;
    scene.prepare(false).await;
    scene.leave().await;
    let remove = v1::UpdateAccountRequest { alias: "work-2".into(), remove: true, ..Default::default() };
    scene.desk.admin().await.update_account(remove).await.unwrap();
    scene.login().await;
    scene.event(EventKind::AuthDeviceCode, &[("handle", "h")]).await;
    scene.run_is("asking").await;
    let asked = scene.questions().await;
    assert!(asked[0].text.contains("there is no account work-2 any more"), "{asked:?}");
    let mut operator = scene.desk.fleet(Role::Operator, "ada").await;
    let answer = v1::AnswerNoticeRequest { id: asked[0].id, choice: "cancel".into() };
    operator.answer_notice(answer).await.unwrap();
    assert_eq!(scene.run_is("succeeded").await.reason, "left to a person");
}

fn named(username: &str, password: &str) -> Option<v1::Credentials> {
    let (username, password) = (username.to_owned(), password.to_owned());
    Some(v1::Credentials { username, password, ..v1::Credentials::default() })
}

/// What a node keeps under the alias was signed in by whoever had it then.
#[tokio::test]
async fn homes_are_asked_for_by_their_owner_and_another_one_gets_another_home() {
    let mut scene = Scene::with(&["work-2"], true).await;
    scene.limit(Duration::from_secs(3600)).await;
    let first = scene.owner().await;
    let word = ["not", "this", "either"].join("-");
    scene.update(v1::UpdateAccountRequest { credentials: named("", &word), ..Default::default() }).await;
    assert_eq!(scene.owner().await, first, "another password of the same user");
    let same = named("work-2@example.org", "");
    scene.update(v1::UpdateAccountRequest { credentials: same, ..Default::default() }).await;
    assert_eq!(scene.owner().await, first);
    let other = named("eve@example.org", "");
    scene.update(v1::UpdateAccountRequest { credentials: other, ..Default::default() }).await;
    let second = loop {
        let (request_id, About::Prepare(asked)) = scene.node.account_request().await else { panic!() };
        // The question that was under way is of the one before: its answer counts for nothing.
        scene.made(request_id, true, &asked.owner, "/accounts/work-2/codex.set-aside-1").await;
        if asked.owner != first {
            break asked.owner;
        }
    };
    assert_eq!(second.len(), 16);
    scene.at_step("leave").await;
    let notices = v1::ListNoticesRequest::default();
    let told = scene.desk.admin().await.list_notices(notices).await.unwrap().into_inner().notices;
    assert!(told.iter().any(|notice| notice.text.contains("codex.set-aside-1")), "{told:?}");
    let rows = scene.desk.running().store().audit_trail().await.unwrap();
    assert!(rows.iter().any(|row| row.decision == "home set aside" && row.target == "work-2"));
}

#[tokio::test]
async fn a_sign_in_of_which_an_older_node_cannot_say_whose_it_is_is_not_used() {
    let mut scene = Scene::with(&["work-2"], true).await;
    scene.limit(Duration::from_secs(3600)).await;
    let (request_id, About::Prepare(_)) = scene.node.account_request().await else { panic!("not a home") };
    scene.made(request_id, true, &[], "").await;
    until("the lease to fail", async || {
        let rows = scene.desk.running().store().audit_trail().await.unwrap();
        rows.iter().any(|row| row.decision == "lease ended").then_some(())
    })
    .await;
    let run = scene.at_step("own-reset").await;
    let id = v1::GetRunRequest { run_id: run.run_id };
    let shown = scene.desk.admin().await.get_run(id).await.unwrap().into_inner();
    assert!(shown.inputs.iter().any(|input| input.input.contains("upgrade wa-node there")), "{shown:?}");
}

/// Both find the home not signed in; one signs it in, and the other finds that done.
#[tokio::test]
async fn of_two_panes_that_want_one_account_one_signs_it_in() {
    let mut scene = Scene::with(&["work-2"], true).await;
    let limited = |id| pane(id, Some(AgentKind::codex()), PaneState::Limited);
    scene.node.panes(true, vec![limited(1), limited(2)]).await;
    let reset = (clock::now() + Duration::from_secs(3600)).to_string();
    for pane in [1, 2] {
        let fields = [("reset_time", reset.as_str()), ("window", "5h")];
        scene.node.event_in(pane, EventKind::LimitReached, AgentKind::codex(), &fields).await;
    }
    assert_eq!(scene.prepare(false).await.pane.unwrap().pane_id, 1);
    assert_eq!(scene.prepare(false).await.pane.unwrap().pane_id, 2);
    let key = scene.node.action().await;
    assert_eq!(key.pane.as_ref().unwrap().pane_id, 1);
    scene.done(&key).await;
    scene.event(EventKind::SessionEnded, &[("session_id", SESSION)]).await;
    scene.node.panes(true, vec![pane(1, None, PaneState::Exited), limited(2)]).await;
    scene.login().await;
    // Where its login runs the pane is on the account.
    let mut login = pane(1, Some(AgentKind::codex()), PaneState::Authenticating);
    login.account = Some("work-2".parse().unwrap());
    scene.node.panes(true, vec![login, limited(2)]).await;
    let waits = scene.runs().await.into_iter().find(|run| run.pane.as_ref().unwrap().pane_id == 2).unwrap();
    assert_eq!((waits.state.as_str(), waits.step.as_str()), ("preparing", "lease"));
    scene.event(EventKind::AuthSucceeded, &[]).await;
    assert_eq!(
        scene.prepare(true).await.pane.unwrap().pane_id,
        2,
        "as soon as that is done, whatever comes then"
    );
    let key = loop {
        let action = scene.node.action().await;
        if action.pane.as_ref().unwrap().pane_id == 2 {
            break action;
        }
    };
    assert!(matches!(key.verb, Some(v1::action::Verb::Keys(_))), "{key:?}");
    scene.done(&key).await;
    let ended = [("session_id", SESSION)];
    scene.node.event_in(2, EventKind::SessionEnded, AgentKind::codex(), &ended).await;
    scene.node.panes(true, vec![pane(1, None, PaneState::Shell), pane(2, None, PaneState::Exited)]).await;
    let resume = loop {
        let action = scene.node.action().await;
        if action.pane.as_ref().unwrap().pane_id == 2 {
            break action;
        }
    };
    let Some(v1::action::Verb::Send(send)) = &resume.verb else { panic!("{resume:?}") };
    assert_eq!(send.text, format!("CODEX_HOME={HOME} codex resume {SESSION}"), "no second login");
}
