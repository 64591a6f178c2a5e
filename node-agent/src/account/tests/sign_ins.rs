//! Sign-ins in real panes, of programs that print what Codex prints.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wa_embedded_mux::Command;
use wa_match::Foreground;
use wa_proto::wire::v1::{self, account_request::About};
use wa_proto::{Action, ActionId, EventKind, Pane, PaneState, Verb};

use super::super::{AccountRoot, Accounts, Parts};
use crate::observer::View;
use crate::session::{Accounts as _, Answer};
use crate::testing::{Acting, LIMIT, Mux, Node, action};

/// What 0.144.0 prints, then a wait for the file `go`, and its end. `resume` and nothing at all is the agent itself.
const CODEX: &str = r#"#!/bin/bash
trap 'echo; exit 130' INT
case "$1" in
login) ;;
*) stty -echo
  printf '╭────────────────────────────╮\n│ >_ OpenAI Codex (v0.89.0)  │\n│ model:     gpt-5.2-codex   │\n│ directory: ~/webapp        │\n╰────────────────────────────╯\n'
  printf '\n\n\e[1m›\e[0m \e[2mExplain this codebase\e[0m\n\n  100%% context left · ? for shortcuts\e[2A\r\e[2C'
  at=$(date -u +%Y-%m-%dT%H:%M:%SZ) id=01a2024c-9c92-7631-9bf3-6253f3d9adf5
  day=$CODEX_HOME/sessions/$(date -u +%Y/%m/%d)
  mkdir -p "$day"
  exec 9>>"$day/rollout-$(date -u +%Y-%m-%dT%H-%M-%S)-$id.jsonl"
  printf '{"timestamp":"%s","type":"session_meta","payload":{"id":"%s","timestamp":"%s","cwd":"%s","cli_version":"0.89.0","source":"cli"}}\n' \
    "$at" "$id" "$at" "$PWD" >&9
  read -r; printf '\r\e[J'; exit ;;
esac
[ -n "$3" ] && printf '%s\n' "$3"
cat <<END

Welcome to Codex [v0.144.0]
OpenAI's command-line coding agent

Follow these steps to sign in with ChatGPT using device code authorization:

1. Open this link in your browser and sign in to your account
   http://127.0.0.1:8099/codex/device

2. Enter this one-time code (expires in 15 minutes)
   $(cat code)

Continue only if you started this login in Codex. If a website or another person gave you this code, cancel.

END
until [ -e go ]; do sleep 0.05; done
[ "$(cat go)" = ok ] && { touch "$CODEX_HOME/auth.json"; echo "Successfully logged in" >&2; exit; }
echo "Error logging in with device code: device auth failed with status 400 Bad Request" >&2
exit 1
"#;

/// Put together here, so that nothing in this file looks like a code.
fn code(first: &str) -> String {
    [first, "LS4XN"].join("-")
}

struct Stage {
    dir: tempfile::TempDir,
    _mux: Mux,
    node: Node,
    acting: Acting,
    accounts: Accounts,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for folder in ["user/.codex/sessions", "bin", "state"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        let codex = path.join("bin/codex");
        fs::write(&codex, CODEX).unwrap();
        fs::set_permissions(&codex, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("code"), code("1F4J")).unwrap();
        let (home, search) = (path.join("user"), path.join("bin"));
        let mut shell = Command::new(["/usr/bin/env", "-u", "CODEX_HOME", "PS1=$ ", "HISTFILE="]);
        shell.args.push(format!("HOME={}", home.display()).into());
        shell.args.push(format!("PATH={}:/usr/bin:/bin", search.display()).into());
        shell.args.extend(["/bin/bash", "--norc", "--noprofile"].map(Into::into));
        shell.cwd = Some(path.to_owned());
        let mux = Mux::start(path, shell);
        let root = AccountRoot::below(&path.join("state"));
        let of_node = root.clone();
        let node = Node::other(path, &mux.socket, |shared| {
            shared.sessions = shared.sessions.clone().with_accounts(of_node.clone());
            shared.accounts = Some(of_node);
        });
        let acting = Acting::start(path, &node, Answer::Granted);
        let accounts = Accounts::new(Parts {
            root,
            muxes: node.muxes.clone(),
            processes: Arc::clone(&node.processes),
            policy: Arc::clone(&acting.policy),
            journal: acting.journal.clone(),
            vault: Arc::clone(&node.vault),
            marks: acting.marks.clone(),
        });
        Self { dir, _mux: mux, node, acting, accounts }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn ask(&self, about: About) -> v1::AccountReply {
        self.accounts.answer(v1::AccountRequest { request_id: 7, about: Some(about) }).await
    }

    async fn prepare(&self, pane: &Pane, alias: &str, who: &str) -> Result<PathBuf, String> {
        let (agent, alias, who) = ("codex".to_owned(), alias.to_owned(), who.to_owned());
        let pane = Some(pane.pane.clone().into());
        let prepare = v1::PrepareHome { agent, alias, pane, who, ..v1::PrepareHome::default() };
        let reply = self.ask(About::Prepare(prepare)).await;
        assert_eq!(reply.request_id, 7);
        reply.home.map(|home| home.path.into()).ok_or(reply.error)
    }

    /// The code, or why there is none.
    async fn sign_in(&self, pane: &Pane, action: ActionId, alias: &str) -> Result<String, String> {
        let (pane, alias) = (Some(pane.pane.clone().into()), alias.to_owned());
        let action_id = action.as_bytes().to_vec();
        let reply = self.ask(About::SignIn(v1::ReadSignIn { pane, action_id, alias })).await;
        let of =
            |kind: &str| reply.secrets.iter().find(|secret| secret.kind == kind).map(|one| one.value.clone());
        match of("user_code") {
            Some(code) => {
                assert_eq!(of("url").unwrap(), "http://127.0.0.1:8099/codex/device");
                Ok(code)
            }
            None => Err(reply.error),
        }
    }

    /// Types a command as the workflow does. Its id.
    async fn run(&self, pane: &Pane, command: &str) -> ActionId {
        let typed = Action {
            who: "workflow:codex-account-switch".into(),
            expect_shell: true,
            ..action(pane, Verb::Send { text: command.into(), enter: true })
        };
        let id = typed.id;
        let outcome = self.acting.act(&self.node, typed).await;
        assert_eq!(outcome.outcome, "submitted", "{}", outcome.reason);
        id
    }

    /// The shell has the terminal again, and shows its prompt below everything else.
    async fn back(&self, pane: &Pane) {
        let mux = self.node.muxes.get(&pane.pane.mux).unwrap();
        let mut views = mux.follow(pane.pane.pane_id).await.unwrap();
        let is_back = |view: &Arc<View>| {
            let last =
                view.frame.rows.iter().rev().map(|row| row.text.trim_end()).find(|row| !row.is_empty());
            matches!(view.foreground, Foreground::Shell { .. })
                && last.is_some_and(|last| last.ends_with('$'))
        };
        let waited = tokio::time::timeout(LIMIT, views.wait_for(is_back)).await;
        let seen = waited.map(|seen| drop(seen.unwrap()));
        seen.unwrap_or_else(|_| panic!("no prompt: {:?}", views.borrow()));
    }

    async fn codes(&self, count: usize) {
        let wanted = EventKind::AuthDeviceCode.as_str();
        let told = |node: &Node| {
            (node.events().iter().filter(|event| event.event == wanted).count() >= count).then_some(())
        };
        self.node.until("a code", told).await;
    }

    async fn told(&self, kind: EventKind) {
        let told = |node: &Node| node.events().iter().any(|event| event.event == kind.as_str()).then_some(());
        self.node.until(kind.as_str(), told).await;
    }
}

fn login(home: &Path) -> String {
    format!("CODEX_HOME={} codex login --device-auth", home.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_a_login_that_the_action_began_is_given_out_and_no_other() {
    let stage = Stage::new();
    let pane = stage.node.ready(PaneState::Shell).await;
    let refused = stage.prepare(&pane, "work", "agent:eve").await.unwrap_err();
    assert!(refused.contains("policy"), "{refused}");
    let who = "workflow:codex-account-switch";
    // Two that ask at the same time get the same home.
    let (home, same) = tokio::join!(stage.prepare(&pane, "work", who), stage.prepare(&pane, "work", who));
    let home = home.unwrap();
    assert_eq!(same.unwrap(), home);
    stage.prepare(&pane, "other", who).await.unwrap();
    assert_eq!(
        fs::canonicalize(home.join("sessions")).unwrap(),
        fs::canonicalize(stage.path().join("user/.codex/sessions")).unwrap()
    );
    let typed = stage.run(&pane, &login(&home)).await;
    stage.codes(1).await;
    let waiting = stage.node.ready(PaneState::Authenticating).await;
    assert_eq!(stage.sign_in(&pane, typed, "work").await.unwrap(), code("1F4J"));
    // Another account, another action, another pane's action.
    let error = stage.sign_in(&pane, typed, "other").await.unwrap_err();
    assert!(error.contains("does not use the home of account other"), "{error}");
    let error = stage.sign_in(&pane, ActionId::generate(), "work").await.unwrap_err();
    assert!(error.contains("not begun"), "{error}");
    // Nothing else is typed there; an operator's key, say, is: no code belongs to that.
    let text =
        stage.acting.act(&stage.node, action(&waiting, Verb::Send { text: "x".into(), enter: true })).await;
    assert_eq!(text.outcome, "refused", "{}", text.reason);
    let keys = |who: &str| Action {
        who: who.into(),
        ..action(&waiting, Verb::Keys(vec!["Enter".parse().unwrap()]))
    };
    let key = stage.acting.act(&stage.node, keys(who)).await;
    assert!(key.outcome == "refused" && key.reason.contains("sign-in"), "{key:?}");
    let key = keys("operator:eve");
    let pressed = key.id;
    assert_eq!(stage.acting.act(&stage.node, key).await.outcome, "submitted");
    let error = stage.sign_in(&pane, pressed, "work").await.unwrap_err();
    assert!(error.contains("was started before the action began"), "{error}");
    // It succeeds: the shell is seen again, and the code has gone with the login.
    fs::write(stage.path().join("go"), "ok").unwrap();
    stage.told(EventKind::AuthSucceeded).await;
    stage
        .node
        .pane("a shell after the login", |pane| matches!(pane.state, PaneState::Shell | PaneState::Exited))
        .await;
    let error = stage.sign_in(&pane, typed, "work").await.unwrap_err();
    assert!(error.contains("no `codex login --device-auth` holds this terminal"), "{error}");
    // The code is nowhere but in the memory.
    for event in stage.node.events() {
        assert!(!format!("{event:?}").contains(&code("1F4J")), "{event:?}");
    }
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_stood_there_or_was_printed_by_another_is_not_given_out() {
    let stage = Stage::new();
    let pane = stage.node.ready(PaneState::Shell).await;
    let who = "workflow:codex-account-switch";
    let home = stage.prepare(&pane, "work", who).await.unwrap();
    // Somebody's own login, given up: its code stays on the screen.
    stage.run(&pane, "codex login --device-auth").await;
    stage.codes(1).await;
    stage.node.ready(PaneState::Authenticating).await;
    let interrupt = action(&pane, Verb::Keys(vec!["C-c".parse().unwrap()]));
    assert_eq!(stage.acting.act(&stage.node, interrupt).await.outcome, "submitted");
    stage.back(&pane).await;
    // A login that prints nothing: the only code there is the old one.
    fs::write(
        stage.path().join("bin/codex"),
        "#!/bin/bash\necho begun; until [ -e go ]; do sleep 0.05; done\n",
    )
    .unwrap();
    let typed = stage.run(&pane, &login(&home)).await;
    let error = stage.sign_in(&pane, typed, "work").await.unwrap_err();
    assert!(error.contains("before the action's login began"), "{error}");
    fs::write(stage.path().join("go"), "").unwrap();
    stage.back(&pane).await;
    fs::remove_file(stage.path().join("go")).unwrap();
    // A login inside of another program: somebody stands between.
    fs::write(stage.path().join("bin/codex"), CODEX).unwrap();
    fs::write(stage.path().join("code"), code("9ZZZ")).unwrap();
    let typed = stage.run(&pane, &format!("sh -c '{}; true'", login(&home))).await;
    stage.codes(2).await;
    let error = stage.sign_in(&pane, typed, "work").await.unwrap_err();
    assert!(error.contains("not started by the pane's shell"), "{error}");
    fs::write(stage.path().join("go"), "no").unwrap();
    stage.told(EventKind::AuthFailed).await;
    stage.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_an_agent_is_on_the_board() {
    let stage = Stage::new();
    let pane = stage.node.ready(PaneState::Shell).await;
    let home = stage.prepare(&pane, "work", "operator:eve").await.unwrap();
    stage.run(&pane, &format!("CODEX_HOME={} codex", home.display())).await;
    stage.node.ready(PaneState::Idle).await;
    let seen = stage.node.pane("an account", |pane| pane.account.is_some()).await;
    assert_eq!(seen.account.unwrap().as_str(), "work");
    // From inside an account's home another is made beside the same first home.
    let other = stage.prepare(&pane, "other", "operator:eve").await.unwrap();
    assert_eq!(fs::read_link(other.join("sessions")).unwrap(), fs::read_link(home.join("sessions")).unwrap());
    // Its session file has one name, whichever home it is reached through.
    let with_file = |pane: &Pane| pane.session.as_ref().is_some_and(|session| !session.path.is_empty());
    let seen = stage.node.pane("a session file", with_file).await;
    let sessions = fs::canonicalize(stage.path().join("user/.codex/sessions")).unwrap();
    let session = seen.session.unwrap();
    assert!(Path::new(&session.path).starts_with(&sessions), "{session:?}");
    let enter = action(&pane, Verb::Keys(vec!["Enter".parse().unwrap()]));
    stage.acting.act(&stage.node, enter).await;
    stage.node.pane("no account any more", |pane| pane.account.is_none()).await;
    // It said nothing at its end; the file tells what can be resumed.
    let resumable = |node: &Node| {
        let told =
            node.events().into_iter().find(|event| event.event == EventKind::SessionResumable.as_str());
        told.map(|event| (event.fields["session_id"].clone(), event.agent))
    };
    let told = stage.node.until("a session to resume", resumable).await;
    assert_eq!(told, (session.session_id, "codex".to_owned()));
    stage.node.stop().await;
}
