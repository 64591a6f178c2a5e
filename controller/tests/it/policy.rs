//! The controller's policy over the wire: what it denies, what it lets through, and how its file is followed.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};
use wa_controller::{Config, Controller};
use wa_link::principal::Role;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls::Identity;
use wa_proto::wire::v1;
use wa_proto::{AgentKind, Lane, OutcomeKind, PaneState, SpoolId};

use crate::acting::{act, known, send};
use crate::desk::{Desk, Node, address, outcome_record, pane, until};

/// A controller with a policy, and a node with one idle pane.
pub(crate) struct Ruled {
    pub(crate) desk: Desk,
    pub(crate) identity: Identity,
    pub(crate) spool: SpoolId,
    pub(crate) node: Node,
    pub(crate) file: PathBuf,
}

impl Ruled {
    pub(crate) async fn by(policy: &str) -> Self {
        Self::with(policy, |_| ()).await
    }

    pub(crate) async fn with(policy: &str, change: impl FnOnce(&mut Config)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("policy.toml");
        std::fs::write(&file, policy).unwrap();
        let mut config = Config::local(place.path().join("data"));
        config.policy = Some(file.clone());
        config.admin_listen = Some(([127, 0, 0, 1], 0).into());
        change(&mut config);
        let desk = Desk::with(place, config).await;
        let (identity, spool) = (desk.enrol("web-1").await, SpoolId::generate());
        let node = Node::connect(&desk, &identity, spool).await;
        let mut ruled = Self { desk, identity, spool, node, file };
        ruled.seen().await;
        ruled
    }

    async fn seen(&mut self) {
        self.node.panes(true, vec![pane(1, Some(AgentKind::codex()), PaneState::Idle)]).await;
        known(&self.desk).await;
    }

    /// A new session of the node, as after a restart of the controller.
    pub(crate) async fn reconnect(&mut self) {
        self.node = Node::connect(&self.desk, &self.identity, self.spool).await;
        self.seen().await;
    }

    /// Another policy, which is read at once.
    pub(crate) async fn change(&self, policy: &str) {
        let rows = self.trail("policy").await.len();
        std::fs::write(&self.file, policy).unwrap();
        self.desk.running().policy_file().unwrap().reload();
        until("the file to be read", async || (self.trail("policy").await.len() > rows).then_some(())).await;
    }

    /// Decisions and details of what the trail says of a thing.
    pub(crate) async fn trail(&self, what: &str) -> Vec<(String, String)> {
        let rows = self.desk.running().store().audit_trail().await.unwrap();
        rows.into_iter().filter(|row| row.what == what).map(|row| (row.decision, row.detail)).collect()
    }

    pub(crate) async fn end(&mut self, action: &v1::Action, kind: OutcomeKind, reason: &str) {
        self.node.outcome(action, kind, reason).await;
    }

    /// Takes the next action, asks for its permit, and ends it as that says; the refusal.
    pub(crate) async fn carry_out(&mut self) -> String {
        let action = self.node.action().await;
        let refused = self.node.ask(&action.action_id).await.refused;
        let kind = if refused.is_empty() { OutcomeKind::Submitted } else { OutcomeKind::Refused };
        self.end(&action, kind, &refused).await;
        refused
    }
}

const OPERATORS: &str = "[[rule]]\nwho = 'operator:*'\ndecision = 'allow'\n";

#[tokio::test]
async fn what_no_rule_allows_never_leaves_and_is_written_down() {
    let mut ruled = Ruled::by(
        "[[rule]]\nname = 'no force'\nwho = '*'\nverbs = 'send'\ntext = '--force'\ndecision = 'deny'\n\
         [[rule]]\nwho = ['operator:ada', 'agent:web-1']\nverbs = ['send']\nselector = 'agent=codex,state=idle'\n\
         decision = 'allow'\n",
    )
    .await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let eve = ruled.desk.fleet(Role::Operator, "eve").await;
    let agent = ruled.desk.fleet(Role::Agent, "web-1").await;
    for (fleet, request, reason) in [
        (&ada, send("git push --force"), "no force of the controller's policy denies `send` by operator:ada"),
        (&eve, send("hello"), "no rule of the controller's policy allows `send` by operator:eve"),
        (
            &ada,
            v1::ActRequest { verb: Some(v1::act_request::Verb::Kill(v1::KillPane {})), ..send("") },
            "allows `kill` by operator:ada",
        ),
        (
            &agent,
            v1::ActRequest {
                pane: None,
                host: "web-1".into(),
                verb: Some(v1::act_request::Verb::Spawn(v1::SpawnPane {
                    command: vec!["true".into()],
                    cwd: String::new(),
                })),
                ..send("")
            },
            "allows `spawn` by agent:web-1",
        ),
    ] {
        let told = act(fleet.clone(), request).await;
        assert!(told.outcome == "refused" && told.reason.contains(reason), "{told:?}");
    }
    assert!(ruled.desk.running().store().actions(10).await.unwrap().is_empty());
    let refused = ruled.trail("send").await;
    assert!(refused.iter().all(|(decision, _)| decision == "refused") && refused.len() == 2, "{refused:?}");
    for fleet in [ada, agent] {
        let (told, refused) = tokio::join!(act(fleet, send("go on")), ruled.carry_out());
        assert_eq!((told.outcome.as_str(), refused.as_str()), ("submitted", ""));
    }
}

#[tokio::test]
async fn a_rule_lets_so_much_begin_within_a_minute() {
    let mut ruled = Ruled::by(&format!("{OPERATORS}per_minute = 2\n")).await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    for _ in 0..2 {
        let asked = act(ada.clone(), send("x"));
        let work = async {
            let action = ruled.node.action().await;
            // What asks for a fresh permit is not counted twice.
            for _ in 0..3 {
                assert_eq!(ruled.node.ask(&action.action_id).await.refused, "");
            }
            ruled.end(&action, OutcomeKind::Submitted, "").await;
        };
        assert_eq!(tokio::join!(asked, work).0.outcome, "submitted");
    }
    let (told, refused) = tokio::join!(act(ada, send("x")), ruled.carry_out());
    assert_eq!(told.outcome, "refused");
    assert!(
        refused.contains("rule 1 of the controller's policy has let 2 actions within a minute through"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_new_file_counts_for_what_was_asked_for_before() {
    let mut ruled = Ruled::by(OPERATORS).await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let asked = act(ada.clone(), send("x"));
    let work = async {
        let action = ruled.node.action().await;
        ruled.change("[[rule]]\nwho = 'operator:*'\ndecision = 'ask'\n").await;
        let refused = ruled.node.ask(&action.action_id).await.refused;
        assert!(refused.contains("wants a person's approval"), "{refused}");
        ruled.change("").await;
        let refused = ruled.node.ask(&action.action_id).await.refused;
        assert!(refused.contains("no rule"), "{refused}");
        ruled.end(&action, OutcomeKind::Refused, "policy").await;
    };
    assert_eq!(tokio::join!(asked, work).0.outcome, "refused");
}

async fn health(ruled: &Ruled) -> String {
    let mut stream = tokio::net::TcpStream::connect(ruled.desk.running().admin_addr.unwrap()).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_said() {
    let mut ruled = Ruled::by(OPERATORS).await;
    let ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let problems = async || {
        let nodes = ada.clone().fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner().nodes;
        nodes[0].problems.join("\n")
    };
    assert_eq!(problems().await, "");
    ruled.change("[[rule]]\nwho = 'operator:*'\ndecision = 'deny'\n[[rule]]\nwho = 'ada'\n").await;
    let said = problems().await;
    assert!(said.contains("policy.toml:5: rule[1].who") && said.contains("stays in force"), "{said}");
    let health_now = health(&ruled).await;
    assert!(
        health_now.starts_with("HTTP/1.1 200") && health_now.contains("policy file cannot be used"),
        "{health_now}"
    );
    let (told, _) = tokio::join!(act(ada.clone(), send("x")), ruled.carry_out());
    assert_eq!(told.outcome, "submitted", "the policy before it is in force");
    let question =
        v1::TestPolicyRequest { who: "operator:ada".into(), verb: "send".into(), ..Default::default() };
    let tried = ada.clone().test_policy(question.clone()).await.unwrap().into_inner();
    assert_eq!(tried.decision, "allow");
    assert!(tried.file_problem.contains("policy.toml:5"), "{tried:?}");
    let with_a_policy = v1::TestPolicyRequest { policy: OPERATORS.into(), ..question.clone() };
    assert_eq!(ada.clone().test_policy(with_a_policy).await.unwrap().into_inner().file_problem, "");
    // One that is gone, or a pipe that nobody writes to, is no policy either.
    std::fs::remove_file(&ruled.file).unwrap();
    until("the loss to be said", async || problems().await.contains("cannot read").then_some(())).await;
    let pipe = std::process::Command::new("mkfifo").arg(&ruled.file).status().unwrap();
    assert!(pipe.success());
    until("the pipe to be said", async || problems().await.contains("is no file").then_some(())).await;
    std::fs::remove_file(&ruled.file).unwrap();
    // By itself, once it stands still.
    std::fs::write(&ruled.file, "[[rule]]\nwho = 'operator:*'\ndecision = 'deny'\n").unwrap();
    // Right after it was saved it is not in force yet.
    let tried = ada.clone().test_policy(question.clone()).await.unwrap().into_inner();
    assert!(tried.decision == "allow" && !tried.file_problem.is_empty(), "{tried:?}");
    until("the new file", async || problems().await.is_empty().then_some(())).await;
    let tried = ada.clone().test_policy(question).await.unwrap().into_inner();
    assert_eq!((tried.decision.as_str(), tried.file_problem.as_str()), ("deny", ""));
    let told = act(ada.clone(), send("x")).await;
    assert!(told.outcome == "refused" && told.reason.contains("rule 1"), "{told:?}");
    assert!(!health(&ruled).await.contains("policy"));
    let decisions: Vec<String> =
        ruled.trail("policy").await.into_iter().map(|(decision, _)| decision).collect();
    assert_eq!(decisions, ["loaded", "refused", "refused", "refused", "loaded"]);
}

#[tokio::test]
async fn a_controller_does_not_start_with_a_policy_that_it_does_not_understand() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("policy.toml");
    let mut config = Config::local(place.path().join("data"));
    config.policy = Some(file.clone());
    for (text, expect) in
        [("[[rule]]\nwhom = 'x'\n", "policy.toml:2: rule[0].whom"), ("\u{0}", "policy.toml")]
    {
        std::fs::write(&file, text).unwrap();
        let checked = config.check().unwrap_err().to_string();
        assert!(checked.contains(expect), "{checked}");
        let tasks = Tasks::new(Shutdown::new());
        let Err(started) = Controller::start(config.clone(), tasks.clone()).await else {
            panic!("it started")
        };
        assert!(started.to_string().contains(expect), "{started}");
        let _finished = tasks.finish(Duration::from_secs(5)).await;
    }
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(config.check().unwrap_err().to_string().contains("UTF-8"));
    std::fs::remove_file(&file).unwrap();
    assert!(config.check().unwrap_err().to_string().contains("policy.toml"));
}

#[tokio::test]
async fn a_policy_is_tried_without_doing_anything() {
    let ruled = Ruled::by(&format!("{OPERATORS}per_minute = 5\npanes_per_minute = 2\n")).await;
    let mut ada = ruled.desk.fleet(Role::Operator, "ada").await;
    let request = |who: &str, verb: &str, text: &str| v1::TestPolicyRequest {
        pane: Some(address("web-1", 1)),
        who: who.into(),
        verb: verb.into(),
        text: text.into(),
        ..Default::default()
    };
    let mut test = async |request: v1::TestPolicyRequest| -> Result<v1::TestPolicyResponse, Status> {
        Ok(ada.test_policy(request).await?.into_inner())
    };
    let told = test(request("operator:ada", "send", "hello\nthere")).await.unwrap();
    assert_eq!((told.decision.as_str(), told.rule.as_str()), ("allow", "rule 1"));
    assert!(told.reason.ends_with("at most 5 actions and 2 panes a minute"), "{}", told.reason);
    let told = test(request("workflow:limit-wait", "keys", "C-c Enter")).await.unwrap();
    assert_eq!((told.decision.as_str(), told.rule.as_str()), ("deny", ""));

    // One that is not in force, on a pane that is described.
    let policy =
        "[[rule]]\nname = 'spawns'\nwho = 'agent:*'\nverbs = 'spawn'\npanes = 'db-1/new'\ndecision = 'ask'\n";
    let described = v1::TestPolicyRequest {
        policy: policy.into(),
        pane: None,
        labels: [("pane".to_owned(), "db-1/new".to_owned())].into(),
        ..request("agent:db-1", "spawn", "cargo test")
    };
    let told = test(described.clone()).await.unwrap();
    assert_eq!((told.decision.as_str(), told.rule.as_str()), ("ask", "spawns"));
    // Of a pane, a spawn is for one beside it.
    let beside = v1::TestPolicyRequest {
        policy: policy.replace("db-1", "web-1"),
        ..request("agent:web-1", "spawn", "cargo test")
    };
    assert_eq!(test(beside).await.unwrap().rule, "spawns");

    for (wrong, code, words) in [
        (request("operator:ada", "type", "x"), Code::InvalidArgument, "unknown verb \"type\""),
        (request("ada", "send", "x"), Code::InvalidArgument, "operator:NAME"),
        (request("", "send", "x"), Code::InvalidArgument, "operator:NAME"),
        (request("operator:", "send", "x"), Code::InvalidArgument, "operator:NAME"),
        (request("operator:ada", "send", "a\u{1b}b"), Code::InvalidArgument, "control"),
        (request("operator:ada", "keys", "C-c Entr"), Code::InvalidArgument, "unknown key \"Entr\""),
        (request("operator:ada", "choose", "Yes\u{7}"), Code::InvalidArgument, "control character"),
        (request("operator:ada", "kill", "x"), Code::InvalidArgument, "kill has no text"),
        (request("operator:ada", "send", &"x".repeat(300_000)), Code::InvalidArgument, "at most"),
        (
            v1::TestPolicyRequest { pane: Some(address("web-1", 9)), ..request("operator:ada", "send", "x") },
            Code::NotFound,
            "no pane web-1/9",
        ),
        (
            v1::TestPolicyRequest { policy: "[[rule]]\nwho = 'x'\n".into(), ..described },
            Code::InvalidArgument,
            "the policy:2: rule[0].who",
        ),
    ] {
        let error = test(wrong).await.unwrap_err();
        assert!(error.code() == code && error.message().contains(words), "{error:?}");
    }
    assert!(ruled.desk.running().store().actions(10).await.unwrap().is_empty());
}

/// Nobody has to write one: then each host's own policy decides.
#[tokio::test]
async fn without_a_policy_what_the_roles_allow_is_allowed() {
    let (desk, _, _, mut node) = crate::acting::desk_with_pane().await;
    let mut ada = desk.fleet(Role::Operator, "ada").await;
    let request = v1::TestPolicyRequest {
        pane: Some(address("web-1", 1)),
        who: "agent:web-1".into(),
        verb: "send".into(),
        ..Default::default()
    };
    let told = ada.test_policy(request).await.unwrap().into_inner();
    assert!(told.decision == "allow" && told.reason.contains("each host's own policy decides"), "{told:?}");
    let agent = desk.fleet(Role::Agent, "web-1").await;
    let work = async {
        let action = node.action().await;
        assert_eq!(action.who, "agent:web-1");
        assert_eq!(node.ask(&action.action_id).await.refused, "");
        node.records(Lane::Events, vec![outcome_record(1, &action.action_id, OutcomeKind::Submitted, "")])
            .await;
    };
    let (told, ()) = tokio::join!(act(agent, send("hello")), work);
    assert_eq!(told.outcome, "submitted");
}

/// The program itself: a bad file is named before anything is started, and SIGHUP ends nothing.
#[tokio::test]
async fn the_program_checks_its_policy_and_reads_it_again_on_sighup() {
    use std::process::Stdio;

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("policy.toml");
    let program = || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wa-controller"));
        command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(place.path().join("data"))
            .arg("--policy")
            .arg(&file)
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    };
    std::fs::write(&file, "[[rule]]\nwho = 'operator:*'\nverbs = ['type']\ndecision = 'allow'\n").unwrap();
    let checked = program().arg("--check-config").output().await.unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(2), "{said}");
    assert!(said.contains("policy.toml:3: rule[0].verbs") && said.contains("\"type\""), "{said}");
    std::fs::write(&file, OPERATORS).unwrap();
    assert_eq!(program().arg("--check-config").output().await.unwrap().status.code(), Some(0));

    let mut running = program().stderr(Stdio::null()).spawn().unwrap();
    let loaded = || {
        let conn = rusqlite::Connection::open(place.path().join("data/state.db")).ok()?;
        let sql = "SELECT count(*) FROM audit WHERE what = 'policy' AND decision = 'loaded'";
        conn.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()
    };
    until("the first reading", async || loaded().filter(|count| *count == 1)).await;
    // The handler of the signal is there before the controller has answered anybody.
    until("the context", async || place.path().join("data/operator.context.toml").exists().then_some(()))
        .await;
    let pid = running.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    until("the second reading", async || loaded().filter(|count| *count == 2)).await;
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(running.wait().await.unwrap().code(), Some(0));
}
