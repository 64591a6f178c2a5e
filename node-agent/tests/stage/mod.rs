//! Panes with real PTYs, and the observing half of a node that watches them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wa_embedded_mux::{EmbeddedMux, Options, Running};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::Engine;
use wa_mux::client::size_in_cells;
use wa_mux::codec::{Key, KeyCode, Modifiers, OsBytes};
use wa_mux::{Client, ConnectOptions, Spawn};
use wa_node::board::Board;
use wa_node::observer::{self, Fallback, MuxSocket, Muxes, Shared, Sockets};
use wa_node::rules::Rules;
use wa_node::spool::{self, Spool};
use wa_proto::wire::v1;
use wa_proto::{Lane, MuxName, Pane};

/// Nothing here takes longer unless it is broken.
const LIMIT: Duration = Duration::from_secs(30);

/// The wrapper under test.
pub(crate) const WRAPPER: &str = env!("CARGO_BIN_EXE_wa-node");

pub(crate) struct Stage {
    dir: tempfile::TempDir,
    _mux: Running,
    client: Client,
    tasks: Tasks,
    spool: Spool,
    board: Arc<Board>,
    muxes: Muxes,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let mut options = Options::new(&socket);
        options.first_command = None;
        let mux = EmbeddedMux::start(options).unwrap();
        let (spool, _) = Spool::open(&dir.path().join("spool"), spool::Options::default()).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let board = Arc::new(Board::default());
        let engine = Arc::new(Engine::with_packs(&[]).unwrap());
        let rules = Rules::fixed(engine, Arc::clone(&board));
        let mut shared = Shared::new(&tasks, spool.clone(), Arc::clone(&board), rules);
        shared.fallback = Fallback { program: "/nonexistent/wezterm".into(), retry: LIMIT };
        let named = vec![MuxSocket { name: MuxName::main(), path: socket.clone() }];
        let muxes = observer::start(&tasks, &shared, Sockets { named, discovery: None }, Vec::new());
        #[expect(clippy::disallowed_methods, reason = "a test is an edge of its own")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (client, events) =
            Client::connect(&socket, ConnectOptions::new("stage", "stage", now)).await.unwrap();
        tasks.spawn("pushes", async move {
            let mut events = events;
            while events.recv().await.is_some() {}
        });
        let stage = Self { dir, _mux: mux, client, tasks, spool, board, muxes };
        stage.until("a connection", |stage| stage.event("mux.connected", |_| true)).await;
        stage
    }

    pub(crate) async fn stop(self) {
        // Its pushes end with it.
        drop(self.client);
        drop(self.tasks.finish(LIMIT).await);
        self.spool.close().await;
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Opens a pane; the program gets this environment and nothing else.
    pub(crate) async fn open(&self, command: &[&str]) -> u64 {
        let bytes = |text: &str| OsBytes::from(text.to_owned());
        let env = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
            ("LANG", "C.UTF-8"),
            ("HISTFILE", ""),
            ("PS1", "$ "),
        ];
        let spawn = Spawn {
            command: command.iter().map(|arg| bytes(arg)).collect(),
            env: env.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
            cwd: None,
            cols: 80,
            rows: 24,
        };
        self.client.spawn(spawn).await.unwrap().pane_id
    }

    /// A shell's script in a pane, inside of the wrapper.
    pub(crate) async fn wrapped(&self, script: &str) -> u64 {
        self.open(&[WRAPPER, "exec", "--", "/bin/bash", "--norc", "--noprofile", "-c", script]).await
    }

    pub(crate) async fn ctrl(&self, pane: u64, c: char) {
        self.client.send_key(pane, Key::with(KeyCode::Char(c), Modifiers::CTRL)).await.unwrap();
    }

    /// Types without Enter.
    pub(crate) async fn type_in(&self, pane: u64, text: &str) {
        self.client.send_paste(pane, text).await.unwrap();
    }

    /// Types a line.
    pub(crate) async fn line(&self, pane: u64, text: &str) {
        self.type_in(pane, text).await;
        self.client.send_key(pane, Key::plain(KeyCode::Enter)).await.unwrap();
    }

    pub(crate) async fn resize(&self, pane: u64, cols: u64, rows: u64) {
        let panes = self.client.list_panes().await.unwrap();
        let tab = panes.iter().find(|info| info.entry.pane_id == pane).unwrap().entry.tab_id;
        self.client.resize(tab, pane, size_in_cells(cols, rows)).await.unwrap();
    }

    pub(crate) async fn kill(&self, pane: u64) {
        self.client.kill_pane(pane).await.unwrap();
    }

    /// Waits until the pane shows such a row.
    pub(crate) async fn shows(&self, pane: u64, what: &str, row: impl Fn(&str) -> bool) {
        let mut rows = Vec::new();
        let wait = async {
            loop {
                let mux = self.muxes.get(&MuxName::main()).unwrap();
                if let Ok(view) = mux.look(pane).await {
                    rows = view.frame.rows.iter().map(|row| row.text.trim_end().to_owned()).collect();
                    if rows.iter().any(|text| row(text)) {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let shown = tokio::time::timeout(LIMIT, wait).await;
        assert!(shown.is_ok(), "never shown: {what}; rows {rows:?}");
    }

    fn records(&self, lane: Lane) -> Vec<Arc<v1::Record>> {
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

    /// The logged lines of a pane, in order of their rows.
    pub(crate) fn lines(&self, pane: u64) -> Vec<String> {
        let mut lines = std::collections::BTreeMap::new();
        for record in self.records(Lane::Bulk) {
            let Some(v1::record::Body::Lines(all)) = &record.body else { continue };
            if all.pane.as_ref().is_some_and(|at| at.pane_id == pane) {
                lines.extend(all.lines.iter().map(|line| ((all.layout, line.row), line.text.clone())));
            }
        }
        lines.into_values().collect()
    }

    /// The causes of a pane's gaps.
    pub(crate) fn gaps(&self, pane: u64) -> Vec<String> {
        let gap = |record: &Arc<v1::Record>| match &record.body {
            Some(v1::record::Body::Gap(gap)) if gap.pane.as_ref().is_some_and(|at| at.pane_id == pane) => {
                Some(gap.cause.clone())
            }
            _ => None,
        };
        self.records(Lane::Bulk).iter().filter_map(gap).collect()
    }

    pub(crate) fn events(&self) -> Vec<v1::Event> {
        let body = |record: &Arc<v1::Record>| match &record.body {
            Some(v1::record::Body::Event(event)) => Some(event.clone()),
            _ => None,
        };
        self.records(Lane::Events).iter().filter_map(body).collect()
    }

    /// The first such event.
    pub(crate) fn event(&self, kind: &str, fits: impl Fn(&v1::Event) -> bool) -> Option<v1::Event> {
        self.events().into_iter().find(|event| event.event == kind && fits(event))
    }

    /// The end of a command in a pane, with its status.
    pub(crate) async fn status(&self, pane: u64) -> String {
        let of = |event: &v1::Event| event.pane.as_ref().is_some_and(|at| at.pane_id == pane);
        let find = |stage: &Self| {
            stage.event("command.finished", |event| of(event) && event.fields.contains_key("status"))
        };
        self.until("an exit status", find).await.fields["status"].clone()
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
        waited.unwrap_or_else(|_| {
            let lines: Vec<Vec<String>> = (0..4).map(|pane| self.lines(pane)).collect();
            panic!("never: {what}; events {:?}; lines of the first panes {lines:?}", self.events())
        })
    }

    /// Waits until the pane has ended and all of it is durable.
    pub(crate) async fn gone(&self, pane: u64) {
        let mut changes = self.board.watch();
        let wait = async {
            while self.board.panes().iter().any(|on_board| on_board.pane.pane_id == pane) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("the pane ends");
        // What left last is behind this one.
        let now = self.client.list_panes().await.unwrap();
        assert!(now.iter().all(|info| info.entry.pane_id != pane));
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
