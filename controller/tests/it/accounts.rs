//! The account pool from outside: what an admin makes, what others see, and what never comes out again.

use std::path::{Path, PathBuf};

use tonic::Code;
use wa_controller::store::{LeaseAnswer, LeaseRequest};
use wa_link::principal::Role;
use wa_proto::wire::v1;
use wa_proto::{
    AccountAlias, AgentKind, EventKind, Host, Lane, OutcomeKind, PaneState, RecordBody, RunId, SpoolId,
};

use crate::desk::{Desk, Node, address, event_record, outcome_record, pane, pane_ref, until};

/// Words that may appear nowhere.
fn password() -> String {
    ["correct", "horse", "battery"].join("-")
}

fn credentials() -> v1::Credentials {
    v1::Credentials {
        username: "mail@example.com".into(),
        password: password(),
        one_time_secret: "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ".into(),
        api_key: String::new(),
    }
}

fn codex(alias: &str) -> v1::AddAccountRequest {
    v1::AddAccountRequest {
        alias: alias.into(),
        agent: "codex".into(),
        credentials: Some(credentials()),
        ..v1::AddAccountRequest::default()
    }
}

fn files(of: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(of).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(files(&entry.path())),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
    all
}

#[tokio::test]
async fn an_account_is_made_listed_tested_changed_and_forgotten() {
    let desk = Desk::start().await;
    let mut admin = desk.admin().await;
    let made = admin.add_account(codex("work-1")).await.unwrap().into_inner().account.unwrap();
    assert_eq!(made.credentials, ["one_time_secret", "password", "username"]);
    assert_eq!(
        (made.state.as_str(), made.sign_in.as_str(), made.pool.as_str()),
        ("ready", "device_code", "default")
    );
    let test = v1::TestAccountRequest { alias: "work-1".into() };
    let checks = admin.test_account(test.clone()).await.unwrap().into_inner().checks;
    let failed: Vec<&str> =
        checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    assert_eq!(failed, [""; 0], "{checks:?}");
    let notes: Vec<&str> =
        checks.iter().filter(|check| check.note).map(|check| check.name.as_str()).collect();
    assert_eq!(notes, ["switching"], "it is off until it is turned on: {checks:?}");

    let change = v1::UpdateAccountRequest {
        alias: "work-1".into(),
        disabled: Some(true),
        pool: Some("night".into()),
        max_panes: Some(2),
        default_hosts: Some(v1::HostList { hosts: vec!["web-2".into(), "web-1".into()] }),
        ..v1::UpdateAccountRequest::default()
    };
    let changed = admin.update_account(change).await.unwrap().into_inner().account.unwrap();
    assert_eq!((changed.state.as_str(), changed.max_panes), ("disabled", 2));
    assert_eq!(changed.default_hosts, ["web-1", "web-2"]);
    assert_eq!(changed.credentials.len(), 3, "they stay");

    let mut viewer = desk.fleet(Role::Viewer, "v").await;
    let list = viewer.list_accounts(v1::ListAccountsRequest::default()).await.unwrap().into_inner();
    let pools: Vec<_> =
        list.pools.iter().map(|pool| (pool.name.as_str(), pool.switching, pool.accounts)).collect();
    assert_eq!(pools, [("default", false, 0), ("night", false, 1)], "off until somebody turns it on");
    let none = v1::ListAccountsRequest { pool: "day".into() };
    assert_eq!(viewer.list_accounts(none).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(viewer.add_account(codex("x")).await.unwrap_err().code(), Code::PermissionDenied);

    let profile = desk.data().join("accounts/work-1/browser");
    std::fs::create_dir_all(&profile).unwrap();
    let gone = v1::UpdateAccountRequest { alias: "work-1".into(), remove: true, ..Default::default() };
    assert_eq!(admin.update_account(gone.clone()).await.unwrap().into_inner().account, None);
    assert!(!profile.exists());
    assert_eq!(admin.update_account(gone).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(admin.test_account(test).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn nothing_secret_comes_out_or_stays_in_a_file() {
    let mut desk = Desk::start().await;
    let mut admin = desk.admin().await;
    admin.add_account(codex("work-1")).await.unwrap();
    let more = v1::UpdateAccountRequest {
        alias: "work-1".into(),
        credentials: Some(v1::Credentials { api_key: password().to_uppercase(), ..Default::default() }),
        ..Default::default()
    };
    let told = format!("{:?}", admin.update_account(more.clone()).await.unwrap());
    let rotated = admin.rotate_vault_key(v1::RotateVaultKeyRequest {}).await.unwrap().into_inner();
    assert_eq!((rotated.entries, rotated.key_id.len()), (4, 16));
    desk.restart().await;
    let mut admin = desk.admin().await;
    let again = admin.rotate_vault_key(v1::RotateVaultKeyRequest {}).await.unwrap().into_inner();
    assert_ne!(again.key_id, rotated.key_id);
    let test = v1::TestAccountRequest { alias: "work-1".into() };
    let checks = admin.test_account(test).await.unwrap().into_inner().checks;
    assert!(checks.iter().any(|check| check.name == "vault" && check.ok), "{checks:?}");
    let list = admin.list_accounts(v1::ListAccountsRequest::default()).await.unwrap();
    let trail = desk.running().store().audit_trail().await.unwrap();
    let said = format!("{told}{checks:?}{list:?}{trail:?}{more:?}").to_lowercase();
    assert!(said.contains("work-1") && said.contains("rotated"));
    for secret in [password(), "mail@example.com".to_owned(), "gezd".to_owned()] {
        assert!(!said.contains(&secret), "{said}");
    }
    let words = [password(), password().to_uppercase(), "GEZD GNBV".into()];
    for path in files(desk.data()) {
        let content = std::fs::read(&path).unwrap();
        for word in &words {
            assert!(!content.windows(word.len()).any(|at| at == word.as_bytes()), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn what_cannot_be_an_account_is_refused_with_a_reason() {
    let desk = Desk::start().await;
    let mut admin = desk.admin().await;
    let with = |change: fn(&mut v1::AddAccountRequest)| {
        let mut request = codex("work-1");
        change(&mut request);
        request
    };
    let secret = |request: &mut v1::AddAccountRequest, change: fn(&mut v1::Credentials)| {
        change(request.credentials.as_mut().unwrap());
    };
    let mut long = codex("work-1");
    secret(&mut long, |c| c.password = "q".repeat(1025));
    let mut control = codex("work-1");
    secret(&mut control, |c| c.password.push('\n'));
    let mut blank = codex("work-1");
    secret(&mut blank, |c| c.username.insert(0, ' '));
    let mut half = codex("work-1");
    secret(&mut half, |c| c.password.clear());
    let mut once = codex("work-1");
    secret(&mut once, |c| c.one_time_secret = "not base32!".into());
    let cases = [
        (with(|r| r.alias.clear()), "alias is missing"),
        (with(|r| r.alias = "Work".into()), "a-z, 0-9"),
        (with(|r| r.alias = "../up".into()), "a-z, 0-9"),
        (with(|r| r.alias = "-rf".into()), "not beginning"),
        (with(|r| r.alias = "a".repeat(64)), "at most 63"),
        (with(|r| r.agent = "aider".into()), "codex, claude, gemini"),
        (with(|r| r.agent = "claude".into()), "does not sign in by a device code"),
        (with(|r| r.credentials = None), "credentials are empty"),
        (with(|r| r.sign_in = "magic".into()), "device_code, api_key, manual"),
        (with(|r| r.sign_in = "api_key".into()), "api_key is missing"),
        (with(|r| r.pool = "a pool".into()), "pool"),
        (with(|r| r.default_hosts = vec!["web 1".into()]), "default_hosts"),
        (with(|r| r.max_panes = 10_001), "max_panes"),
        (with(|r| r.provider = "acme".into()), "which has openai"),
        (half, "password is missing"),
        (long, "at most 1024 bytes"),
        (control, "control character"),
        (blank, "begins or ends with a blank"),
        (once, "one_time_secret: it is neither base32"),
    ];
    for (request, words) in cases {
        let status = admin.add_account(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}: {status}");
        assert!(status.message().contains(words), "{words}: {status}");
        assert!(!status.message().contains(&password()) && !status.message().contains("qqq"), "{status}");
    }
    admin.add_account(codex("work-1")).await.unwrap();
    let twice = admin.add_account(codex("work-1")).await.unwrap_err();
    assert!(twice.code() == Code::PermissionDenied && twice.message().contains("already"), "{twice}");
    let update = |change: fn(&mut v1::UpdateAccountRequest)| {
        let mut request = v1::UpdateAccountRequest { alias: "work-1".into(), ..Default::default() };
        change(&mut request);
        request
    };
    let cases = [
        (update(|_| ()), "nothing is to be changed"),
        (update(|r| (r.remove, r.disabled) = (true, Some(true))), "not changed as well"),
        (update(|r| r.sign_in = Some("api_key".into())), "api_key is missing"),
        (update(|r| r.max_panes = Some(u32::MAX)), "max_panes"),
    ];
    for (request, words) in cases {
        let status = admin.update_account(request).await.unwrap_err();
        assert!(status.code() == Code::InvalidArgument && status.message().contains(words), "{status}");
    }
    let manual = v1::AddAccountRequest { sign_in: "manual".into(), credentials: None, ..codex("hand") };
    admin.add_account(manual).await.unwrap();
    let bring = |sign_in: Option<&str>| v1::UpdateAccountRequest {
        alias: "hand".into(),
        credentials: Some(credentials()),
        sign_in: sign_in.map(str::to_owned),
        ..Default::default()
    };
    for (said, then) in [(None, "manual"), (Some(""), "device_code")] {
        let account = admin.update_account(bring(said)).await.unwrap().into_inner().account.unwrap();
        assert_eq!(account.sign_in, then);
    }
}

/// A pane that met its limit, in a pool of three.
async fn limited(desk: &Desk, spool: SpoolId) -> Node {
    let mut admin = desk.admin().await;
    let of_host = v1::AddAccountRequest { default_hosts: vec!["web-1".into()], ..codex("a") };
    admin.add_account(of_host).await.unwrap();
    for alias in ["b", "c"] {
        admin.add_account(codex(alias)).await.unwrap();
    }
    let identity = desk.enrol("web-1").await;
    let mut node = Node::connect(desk, &identity, spool).await;
    node.panes(
        true,
        vec![pane(1, Some(AgentKind::codex()), PaneState::Limited), pane(2, None, PaneState::Shell)],
    )
    .await;
    node.records(Lane::Events, vec![event_record(1, EventKind::LimitReached, AgentKind::codex())]).await;
    node.acked(Lane::Events, 1).await;
    node
}

#[tokio::test]
async fn a_limit_cools_its_account_and_the_choice_is_explained() {
    let desk = Desk::start().await;
    let node = limited(&desk, SpoolId::generate()).await;
    let mut admin = desk.admin().await;
    let list = admin.list_accounts(v1::ListAccountsRequest::default()).await.unwrap().into_inner();
    let states: Vec<_> = list.accounts.iter().map(|one| (one.alias.as_str(), one.state.as_str())).collect();
    assert_eq!(states, [("a", "cooling"), ("b", "ready"), ("c", "ready")]);
    assert!(list.accounts[0].reason.contains("unknown"), "{}", list.accounts[0].reason);

    let mut operator = desk.fleet(Role::Operator, "o").await;
    let ask = |pane: u64, alias: &str| v1::SwitchAccountRequest {
        pane: Some(address("web-1", pane)),
        alias: alias.into(),
        dry_run: true,
    };
    let off = operator.switch_account(ask(1, "")).await.unwrap_err();
    assert!(off.code() == Code::PermissionDenied && off.message().contains("switching is off"), "{off}");
    let on = v1::SetPoolRequest { name: "default".into(), switching: true };
    assert!(operator.set_pool(on.clone()).await.is_err(), "an admin's");
    assert!(admin.set_pool(on).await.unwrap().into_inner().pool.unwrap().switching);
    // The report reaches the registry on its own way.
    let told = until("the pane", || {
        let mut operator = operator.clone();
        async move { operator.switch_account(ask(1, "")).await.ok() }
    })
    .await
    .into_inner();
    let choice = told.choice.unwrap();
    assert_eq!((told.run, choice.alias.as_str(), choice.considered.len()), (None, "b", 3));
    let a = choice.considered.iter().find(|one| one.alias == "a").unwrap();
    assert!(!a.usable && a.reason.contains("the pane is on it"), "{}", a.reason);
    let wanted = operator.switch_account(ask(1, "c")).await.unwrap().into_inner().choice.unwrap();
    assert_eq!(wanted.alias, "c");
    let same = operator.switch_account(ask(1, "a")).await.unwrap().into_inner().choice.unwrap();
    assert!(same.alias.is_empty() && same.reason.contains("a cannot be used"), "{}", same.reason);
    let unknown = operator.switch_account(ask(1, "z")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let shell = operator.switch_account(ask(2, "")).await.unwrap_err();
    assert!(shell.message().contains("no known agent"), "{shell}");
    let none = operator.switch_account(ask(9, "")).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);

    for alias in ["b", "c"] {
        let disable =
            v1::UpdateAccountRequest { alias: alias.into(), disabled: Some(true), ..Default::default() };
        admin.update_account(disable).await.unwrap();
    }
    let none = operator.switch_account(v1::SwitchAccountRequest { dry_run: false, ..ask(1, "") }).await;
    let none = none.unwrap().into_inner();
    assert_eq!((none.run, none.choice.as_ref().map(|choice| choice.alias.as_str())), (None, Some("")));
    assert!(none.choice.unwrap().earliest_us > 0, "its own account lifts first");
    drop(node);
}

#[tokio::test]
async fn a_switch_and_a_sign_in_begin_their_runs() {
    let desk = Desk::start().await;
    let mut node = limited(&desk, SpoolId::generate()).await;
    let mut admin = desk.admin().await;
    admin.set_pool(v1::SetPoolRequest { name: "default".into(), switching: true }).await.unwrap();
    let runs = admin.list_runs(v1::ListRunsRequest::default()).await.unwrap().into_inner().runs;
    assert_eq!(runs.iter().map(|run| run.workflow.as_str()).collect::<Vec<_>>(), ["limit-wait"]);
    let switch =
        v1::SwitchAccountRequest { pane: Some(address("web-1", 1)), alias: "c".into(), dry_run: false };
    let switched = admin.switch_account(switch).await.unwrap().into_inner();
    let run = switched.run.unwrap();
    assert_eq!(
        (run.workflow.as_str(), switched.choice.unwrap().alias.as_str()),
        ("codex-account-switch", "c")
    );
    let waited = v1::GetRunRequest { run_id: runs[0].run_id.clone() };
    let waited = admin.get_run(waited).await.unwrap().into_inner().run.unwrap();
    assert!(waited.ended_us > 0, "the one that waited for the reset is over: {waited:?}");
    let login = v1::LoginAccountRequest { alias: "b".into(), host: "web-1".into() };
    let shell = async {
        let action = node.action().await;
        assert!(matches!(action.verb, Some(v1::action::Verb::Spawn(_))), "{action:?}");
        assert_eq!(node.ask(&action.action_id).await.refused, "");
        let mut outcome = outcome_record(2, &action.action_id, OutcomeKind::Submitted, "made");
        let RecordBody::Outcome(told) = &mut outcome.body else { panic!("an outcome") };
        told.spawned = Some(pane_ref(7));
        node.records(Lane::Events, vec![outcome]).await;
        node.panes(false, vec![pane(7, None, PaneState::Shell)]).await;
    };
    let mut operator = desk.fleet(Role::Operator, "o").await;
    let (begun, ()) = tokio::join!(operator.login_account(login), shell);
    let run = begun.unwrap().into_inner().run.unwrap();
    assert_eq!(run.workflow, "account-login");
    assert_eq!(run.pane.unwrap().pane_id, 7);
    let key = v1::AddAccountRequest {
        credentials: Some(v1::Credentials { api_key: password(), ..Default::default() }),
        ..codex("k")
    };
    admin.add_account(key).await.unwrap();
    let nothing = v1::LoginAccountRequest { alias: "k".into(), host: "web-1".into() };
    let refused = operator.login_account(nothing).await.unwrap_err();
    assert!(refused.message().contains("by its key"), "{refused}");
}

#[tokio::test]
async fn a_lease_is_seen_by_people_and_by_the_agents_of_its_host() {
    let desk = Desk::start().await;
    let _node = limited(&desk, SpoolId::generate()).await;
    let mut admin = desk.admin().await;
    admin.set_pool(v1::SetPoolRequest { name: "default".into(), switching: true }).await.unwrap();
    let run = RunId::generate();
    let request = LeaseRequest {
        run,
        host: Host::new("web-1").unwrap(),
        pane: pane_ref(1),
        agent: AgentKind::codex(),
        from: None,
        wanted: Some(AccountAlias::new("c").unwrap()),
        model: String::new(),
        login: false,
        now: wa_link::clock::now(),
    };
    let leased = desk.running().store().write(move |tx| tx.lease_account(&request)).await.unwrap();
    assert!(matches!(leased, LeaseAnswer::Leased { .. }), "{leased:?}");
    for (role, host, sees) in
        [(Role::Viewer, "v", true), (Role::Agent, "web-1", true), (Role::Agent, "web-2", false)]
    {
        let mut caller = desk.fleet(role, host).await;
        let list = caller.list_accounts(v1::ListAccountsRequest::default()).await.unwrap().into_inner();
        let c = list.accounts.iter().find(|one| one.alias == "c").unwrap();
        assert_eq!(c.state, "leased");
        let seen: Vec<&str> = c.leases.iter().map(|lease| lease.run_id.as_str()).collect();
        let text = run.to_string();
        assert_eq!(seen, if sees { vec![text.as_str()] } else { vec![] }, "{role} {host}");
        assert_eq!(c.homes.len(), usize::from(sees));
        let defaults = list.accounts.iter().flat_map(|one| &one.default_hosts).collect::<Vec<_>>();
        assert_eq!(defaults, if sees { vec!["web-1"] } else { vec![] }, "{role} {host}");
    }
    let elsewhere =
        v1::SwitchAccountRequest { pane: Some(address("web-1", 1)), dry_run: true, ..Default::default() };
    let told = admin.switch_account(elsewhere).await.unwrap().into_inner().choice.unwrap();
    assert_eq!(told.alias, "b", "c was used last: {told:?}");
}

/// The program itself: its memory goes nowhere, its key comes from systemd, and another key is no start.
#[tokio::test]
async fn the_program_keeps_its_memory_to_itself_and_refuses_another_key() {
    use std::process::Stdio;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let place = tempfile::tempdir().unwrap();
    let credentials = place.path().join("credentials");
    wa_link::files::create_private_dir(&credentials).unwrap();
    let key = credentials.join("wa-vault-key");
    let program = || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_wa-controller"));
        command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(place.path().join("data"))
            .env("CREDENTIALS_DIRECTORY", &credentials)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    };
    wa_link::files::write_private(&key, &[5; 32]).unwrap();
    // So that the program has something to turn off.
    let core = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: core.maximum, ..core }).unwrap();
    let running = program().spawn().unwrap();
    until("the start", async || place.path().join("data/operator.context.toml").exists().then_some(())).await;
    let pid = running.id().unwrap().to_string();
    #[cfg(target_os = "linux")]
    {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(!environment.windows(32).any(|bytes| bytes == [5; 32]));
    }
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    let ended = running.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!place.path().join("data/vault.key").exists(), "it was given one");

    wa_link::files::write_private(&key, &[6; 32]).unwrap();
    let refused = program().output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("wa-vault-key") && said.contains("nothing was changed"), "{said}");
}
