//! For tests: panes with real PTYs behind the wire, and a node's parts around them.

pub(crate) mod fake;
pub(crate) mod relay;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wa_embedded_mux::{Command, EmbeddedMux, Options, Running};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::Engine;
use wa_proto::wire::v1;
use wa_proto::{Action, ActionId, Lane, MuxName, Pane, PaneState, Verb};

use crate::account::Marks;
use crate::act;
use crate::board::Board;
use crate::journal::Journal;
use crate::observer::{self, Fallback, MuxSocket, Muxes, Shared, Sockets};
use crate::policy::{DEFAULT, PolicyFile};
use crate::process::ProcessTable;
use crate::rules::Rules;
use crate::session::{Actions, Answer, ControllerClock, permits};
use crate::session_file::{Homes, SessionFiles};
use crate::spool::{self, Spool};
use crate::vault::Vault;

/// Nothing in a test takes longer unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A multiplexer with one pane.
pub(crate) struct Mux {
    pub(crate) running: Running,
    pub(crate) socket: PathBuf,
}

pub(crate) fn shell(script: &str) -> Command {
    Command::new(["/bin/bash", "--norc", "--noprofile", "-c", script])
}

pub(crate) fn main_socket(path: &Path) -> MuxSocket {
    MuxSocket { name: MuxName::main(), path: path.to_owned() }
}

/// A shell that waits for commands.
pub(crate) fn prompt() -> Command {
    Command::new(["/usr/bin/env", "PS1=$ ", "HISTFILE=", "/bin/bash", "--norc", "--noprofile"])
}

impl Mux {
    pub(crate) fn start(dir: &Path, command: Command) -> Self {
        let socket = dir.join("sock");
        let mut options = Options::new(&socket);
        options.first_command = Some(command);
        Self { running: EmbeddedMux::start(options).unwrap(), socket }
    }

    pub(crate) fn pane(&self) -> u64 {
        *self.running.handle().panes().keys().next().unwrap()
    }
}

/// Spool, board and observer over a directory.
pub(crate) struct Node {
    pub(crate) tasks: Tasks,
    pub(crate) spool: Spool,
    pub(crate) board: Arc<Board>,
    pub(crate) muxes: Muxes,
    pub(crate) processes: Arc<dyn ProcessTable>,
    pub(crate) vault: Arc<Vault>,
}

impl Node {
    pub(crate) fn start(state: &Path, socket: &Path) -> Self {
        let sockets = Sockets { named: vec![main_socket(socket)], discovery: None };
        Self::of(state, sockets, |_| {})
    }

    /// As [`Self::start`], with something else than usual.
    pub(crate) fn other(state: &Path, socket: &Path, change: impl FnOnce(&mut Shared)) -> Self {
        let sockets = Sockets { named: vec![main_socket(socket)], discovery: None };
        Self::of(state, sockets, change)
    }

    /// Looks through this `wezterm` at servers that cannot be followed, and dials them again so often.
    pub(crate) fn with(state: &Path, sockets: Sockets, program: PathBuf, retry: Duration) -> Self {
        Self::of(state, sockets, |shared| shared.fallback = Fallback { program, retry })
    }

    fn of(state: &Path, sockets: Sockets, change: impl FnOnce(&mut Shared)) -> Self {
        let (spool, recovered) = Spool::open(&state.join("spool"), spool::Options::default()).unwrap();
        assert!(recovered.notes.is_empty(), "{:?}", recovered.notes);
        let tasks = Tasks::new(Shutdown::new());
        let board = Arc::new(Board::default());
        let engine = Arc::new(Engine::with_packs(&[]).unwrap());
        let rules = Rules::fixed(engine, Arc::clone(&board));
        let mut shared = Shared::new(&tasks, spool.clone(), Arc::clone(&board), rules);
        shared.fallback = Fallback { program: "/nonexistent/wezterm".into(), retry: LIMIT };
        shared.sessions = SessionFiles::start(&tasks, Homes::default());
        let processes = Arc::clone(&shared.processes);
        change(&mut shared);
        let vault = Arc::clone(&shared.vault);
        let muxes = observer::start(&tasks, &shared, sockets, recovered.positions);
        Self { tasks, spool, board, muxes, processes, vault }
    }

    pub(crate) async fn stop(self) {
        drop(self.tasks.finish(LIMIT).await);
        self.spool.close().await;
    }

    /// All durable records of a lane.
    pub(crate) fn records(&self, lane: Lane) -> Vec<Arc<v1::Record>> {
        let (mut records, mut from) = (Vec::new(), 1);
        loop {
            let batch = self.spool.read(lane, from, 1 << 20);
            if batch.records.is_empty() {
                return records;
            }
            from = batch.next;
            records.extend(batch.records);
        }
    }

    /// All logged lines, a later rev in place of the earlier; in order of their rows.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = std::collections::BTreeMap::new();
        for record in self.records(Lane::Bulk) {
            let Some(v1::record::Body::Lines(all)) = &record.body else { continue };
            for line in &all.lines {
                let key = (all.layout, line.row);
                let known: Option<&(u32, String)> = lines.get(&key);
                assert!(known.is_none_or(|(rev, _)| *rev < line.rev), "row {key:?} twice: {:?}", line.text);
                lines.insert(key, (line.rev, line.text.clone()));
            }
        }
        lines.into_values().map(|(_, text)| text).collect()
    }

    /// As [`Self::lines`], of several panes.
    pub(crate) fn all_lines(&self) -> Vec<String> {
        let body = |record: &Arc<v1::Record>| match &record.body {
            Some(v1::record::Body::Lines(all)) => all.lines.iter().map(|line| line.text.clone()).collect(),
            _ => Vec::new(),
        };
        self.records(Lane::Bulk).iter().flat_map(body).collect()
    }

    pub(crate) fn events(&self) -> Vec<v1::Event> {
        let body = |record: &Arc<v1::Record>| match &record.body {
            Some(v1::record::Body::Event(event)) => Some(event.clone()),
            _ => None,
        };
        self.records(Lane::Events).iter().filter_map(body).collect()
    }

    pub(crate) fn conversations(&self) -> Vec<v1::Conversation> {
        let body = |record: &Arc<v1::Record>| match &record.body {
            Some(v1::record::Body::Conversation(conversation)) => Some(conversation.clone()),
            _ => None,
        };
        self.records(Lane::Bulk).iter().filter_map(body).collect()
    }

    pub(crate) fn gaps(&self) -> Vec<v1::Gap> {
        let body = |record: &Arc<v1::Record>| match &record.body {
            Some(v1::record::Body::Gap(gap)) => Some(gap.clone()),
            _ => None,
        };
        self.records(Lane::Bulk).iter().filter_map(body).collect()
    }

    /// Waits until what is durable meets the condition.
    pub(crate) async fn until<T>(&self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        let mut durable = self.spool.durable();
        let wait = async {
            loop {
                durable.mark_unchanged();
                if let Some(found) = condition(self) {
                    return found;
                }
                durable.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        waited
            .unwrap_or_else(|_| panic!("never: {what}; lines {:?}; events {:?}", self.lines(), self.events()))
    }

    /// Waits until a pane is in this state; a shell, until it shows its prompt.
    pub(crate) async fn ready(&self, state: PaneState) -> Pane {
        let pane = self.pane(state.as_str(), |pane| pane.state == state).await;
        if state == PaneState::Shell {
            let mux = self.muxes.get(&pane.pane.mux).unwrap();
            let mut views = mux.follow(pane.pane.pane_id).await.unwrap();
            let prompt = views.wait_for(|view| view.frame.rows.iter().any(|row| row.text.trim_end() == "$"));
            drop(tokio::time::timeout(LIMIT, prompt).await.unwrap().unwrap());
        }
        pane
    }

    /// Waits until a pane on the board meets the condition.
    pub(crate) async fn pane(&self, what: &str, mut condition: impl FnMut(&Pane) -> bool) -> Pane {
        let mut changes = self.board.watch();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(pane) = self.board.panes().into_iter().find(|pane| condition(pane)) {
                    return pane;
                }
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        waited.unwrap_or_else(|_| panic!("never: {what}; panes {:?}", self.board.panes()))
    }
}

/// What lets a node act, with a controller that always gives the same answer.
pub(crate) struct Acting {
    pub(crate) actions: Actions,
    pub(crate) journal: Journal,
    pub(crate) policy: Arc<PolicyFile>,
    pub(crate) marks: Marks,
}

impl Acting {
    pub(crate) fn start(dir: &Path, node: &Node, answer: Answer) -> Self {
        let policy = dir.join("policy.toml");
        std::fs::write(&policy, DEFAULT).unwrap();
        let policy = Arc::new(PolicyFile::new(policy));
        let (journal, left) = Journal::open(&dir.join("journal")).unwrap();
        assert!(left.outcomes.is_empty());
        let (permits, desk) = permits();
        node.tasks.spawn("controller", desk.always(answer));
        let (actions, intake) = act::intake();
        let marks = Marks::default();
        let parts = act::Parts {
            journal: journal.clone(),
            spool: node.spool.clone(),
            policy: Arc::clone(&policy),
            permits,
            muxes: node.muxes.clone(),
            processes: Arc::clone(&node.processes),
            clock: Arc::new(ControllerClock::default()),
            marks: marks.clone(),
            redactor: wa_match::Redactor::builtin().clone(),
        };
        node.tasks.spawn("actions", act::run(parts, Vec::new(), intake, node.tasks.shutdown().clone()));
        Self { actions, journal, policy, marks }
    }

    /// Acts, and waits for the outcome.
    pub(crate) async fn act(&self, node: &Node, action: Action) -> v1::Outcome {
        let id = action.id;
        self.actions.accepted.send(action).await.unwrap();
        let find = |node: &Node| {
            node.records(Lane::Events).iter().find_map(|record| match &record.body {
                Some(v1::record::Body::Outcome(outcome)) if outcome.action_id == id.as_bytes() => {
                    Some(outcome.clone())
                }
                _ => None,
            })
        };
        node.until("an outcome", find).await
    }
}

/// An action of an operator.
pub(crate) fn action(pane: &Pane, verb: Verb) -> Action {
    Action {
        id: ActionId::generate(),
        pane: pane.pane.clone(),
        deadline: wa_link::clock::now() + Duration::from_secs(60),
        fence: 0,
        who: "operator:eve".into(),
        expect_agent: None,
        expect_agent_pid: None,
        expect_shell: false,
        trace_parent: String::new(),
        verb,
    }
}

/// A program that looks and behaves like Claude Code, as far as a composer goes. `mode`: `plain`, `deaf` (the first two
/// Enters are lost), `dialog` (opens one on the first text), `silent` (shows nothing that is typed).
pub(crate) fn agent(dir: &Path, mode: &str) -> Command {
    let path = dir.join("claude");
    std::fs::write(&path, AGENT).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Command::new([path.to_str().unwrap(), mode])
}

/// A program that has Claude Code's name, and shows what stands in `dir/screen`, always anew.
pub(crate) fn shown(dir: &Path) -> Command {
    let path = dir.join("claude");
    std::fs::write(&path, SHOWN).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Command::new([path.to_str().unwrap(), dir.join("screen").to_str().unwrap()])
}

const SHOWN: &str = r#"#!/bin/bash
stty raw -echo
printf '\e[?25l'
last=
while :; do
  mapfile -t rows < "$1"
  printf -v now '%s\r\n' "${rows[@]}"
  if [ "$now" != "$last" ]; then
    last=$now
    printf '%s' $'\e[?2026h\e[H\e[2J'"${now%$'\r\n'}"$'\e[?2026l'
  fi
  IFS= read -rN1 -t 0.02 key
done
"#;

const AGENT: &str = r#"#!/bin/bash
stty raw -echo
mode=$1 draft= history= spinner= deaf=2
rule=; for i in {1..80}; do rule+=$'\xe2\x94\x80'; done
draw() {
  local screen=$'\e[?2026h\e[H\e[2J'"$history$spinner"
  screen+=$'\e[2;38;2;136;136;136m'"$rule"$'\e[0m\r\n\xe2\x9d\xaf\xc2\xa0'"$draft"$'\e[7m \e[0m\r\n'
  screen+=$'\e[2;38;2;136;136;136m'"$rule"$'\e[0m\r\n  ? for shortcuts\e[?2026l'
  printf '%s' "$screen"
}
dialog() {
  printf '%s' $'\e[H\e[2J'"$rule"$'\r\n Bash command\r\n\r\n   rm -rf build\r\n\r\n Do you want to proceed?\r\n \xe2\x9d\xaf 1. Yes\r\n   2. No\r\n\r\n Esc to cancel'
}
printf '\e[?25l'
draw
while IFS= read -rN1 key; do
  enter=
  while :; do
    case $key in
      $'\r'|$'\n') enter=1 ;;
      *) [ "$mode" = silent ] || draft+=$key ;;
    esac
    IFS= read -rN1 -t 0.02 key || break
  done
  if [ "$mode" = dialog ]; then dialog; continue; fi
  if [ "$enter" ] && [ "$mode" = deaf ] && [ $deaf -gt 0 ]; then deaf=$((deaf-1)); continue; fi
  if [ "$enter" ] && [ "$draft" ]; then
    history+=$'\xe2\x9d\xaf '"$draft"$'\r\n\r\n' draft=
    spinner=$'\xe2\x9c\xbb Mulling\xe2\x80\xa6 (esc to interrupt \xc2\xb7 1s)\r\n\r\n'
  fi
  draw
done
"#;
