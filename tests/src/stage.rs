//! The stage of one story: a directory, the programs in it, and `wa` to look at them.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::Value;
use wa_mux::client::size_in_cells;
use wa_mux::codec::OsBytes;
use wa_mux::{Client, ConnectOptions, Spawn};

use crate::{Program, binary};

/// Waits until the condition gives something.
///
/// # Panics
/// When the time is over, with `what` in the message.
pub fn wait_for<T>(what: &str, time: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {time:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What one `wa` command said.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as one JSON value.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// Standard output as JSON, one value a line.
    ///
    /// # Panics
    /// When a line is none.
    pub fn json_lines(&self) -> Vec<Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// A `wa` command that is under way.
#[derive(Debug)]
pub struct Started(Child);

impl Started {
    /// Waits for its end.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn answer(self) -> Answer {
        Answer::of(&self.0.wait_with_output().unwrap_or_else(|error| panic!("wa: {error}")))
    }
}

/// A directory with everything that one test starts in it.
#[derive(Debug)]
pub struct Stage {
    dir: tempfile::TempDir,
    port: u16,
    /// Beside the usual few, for every program.
    env: Vec<(String, String)>,
}

/// A port for a controller that is started again and again, and has to come back on the same one. Below those that the
/// system gives to whoever connects: else, while no controller is there, another connection may come from that very port,
/// even one to itself.
fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 12_000;
    const COUNT: u32 = 20_000;
    static TRIED: AtomicU32 = AtomicU32::new(0);
    // Tests that run as other processes begin elsewhere.
    let start = std::process::id().wrapping_mul(997);
    for _ in 0..COUNT {
        let place = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + u16::try_from(place)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port from {FIRST} on is free")
}

/// The host name that the test's node enrols under.
const HOST: &str = "stage";

impl Stage {
    pub fn new() -> anyhow::Result<Self> {
        Self::new_in(&std::env::temp_dir())
    }

    /// In a directory of its own below this one.
    pub fn new_in(parent: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("wa-test-").tempdir_in(parent.canonicalize()?)?;
        let port = free_port()?;
        for folder in ["home", "run", "mux"] {
            std::fs::create_dir(dir.path().join(folder))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(dir.path().join(folder), mode)?;
        }
        Ok(Self { dir, port, env: Vec::new() })
    }

    /// Leaves the directory behind, for a closer look.
    pub fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// From now on every program is started with this variable.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn host(&self) -> &'static str {
        HOST
    }

    /// Where the controller listens, on the loopback.
    pub fn controller_port(&self) -> u16 {
        self.port
    }

    pub fn controller_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn start(&self, program: &str, args: &[&OsStr]) -> anyhow::Result<Program> {
        let home = self.path("home");
        let run = self.path("run");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let level = std::env::var_os("WA_LOG").unwrap_or_else(|| "info".into());
        let mut env: Vec<(&str, &OsStr)> = vec![
            ("HOME", home.as_os_str()),
            ("XDG_RUNTIME_DIR", run.as_os_str()),
            ("PATH", &path),
            ("LANG", OsStr::new("C.UTF-8")),
            ("WA_LOG", &level),
        ];
        env.extend(self.env.iter().map(|(name, value)| (name.as_str(), OsStr::new(value))));
        Program::start(&binary(program), args, &env, &self.path(format!("{program}.log")))
            .with_context(|| format!("cannot start {program}"))
    }

    pub fn mux_socket(&self) -> PathBuf {
        self.path("mux/sock")
    }

    /// An embedded multiplexer as a process of its own; its first pane runs the command.
    pub fn start_mux(&self, size: &str, command: &[&str]) -> anyhow::Result<Program> {
        let mut args = vec![OsStr::new("--size"), OsStr::new(size), OsStr::new("--")];
        args.extend(command.iter().map(OsStr::new));
        self.start_mux_with(&args)
    }

    /// An embedded multiplexer without a pane.
    pub fn start_empty_mux(&self) -> anyhow::Result<Program> {
        self.start_mux_with(&[OsStr::new("--empty")])
    }

    fn start_mux_with(&self, extra: &[&OsStr]) -> anyhow::Result<Program> {
        let socket = self.mux_socket();
        let mut args = vec![OsStr::new("--socket"), socket.as_os_str()];
        args.extend(extra);
        let program = self.start("wa-embedded-mux", &args)?;
        wait_for("the mux socket", Duration::from_secs(20), || {
            std::os::unix::net::UnixStream::connect(&socket).ok().map(drop)
        });
        Ok(program)
    }

    /// Speaks to the running multiplexer as one more client.
    pub fn with_mux<T>(&self, work: impl AsyncFnOnce(Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            #[expect(clippy::disallowed_methods, reason = "a test is an edge of its own")]
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let options = ConnectOptions::new("stage", "stage", now);
            let (client, _events) = Client::connect(&self.mux_socket(), options).await?;
            work(client).await
        })
    }

    /// Opens a pane for each command in the running multiplexer, 80x24 in a window of its own.
    pub fn spawn_panes(&self, commands: Vec<Vec<String>>) -> anyhow::Result<()> {
        self.spawn_sized_panes(commands.into_iter().map(|command| (command, 80, 24)).collect()).map(drop)
    }

    /// Opens a pane for each command, columns and rows; the ids of the panes, in the same order.
    pub fn spawn_sized_panes(&self, commands: Vec<(Vec<String>, u64, u64)>) -> anyhow::Result<Vec<u64>> {
        let bytes = |text: String| OsBytes::from(text.into_bytes());
        self.with_mux(async |client| {
            let mut ids = Vec::with_capacity(commands.len());
            for (command, cols, rows) in commands {
                let command = command.into_iter().map(bytes).collect();
                let env = vec![(bytes("PATH".into()), bytes("/usr/bin:/bin".into()))];
                ids.push(client.spawn(Spawn { command, env, cwd: None, cols, rows }).await?.pane_id);
            }
            Ok(ids)
        })
    }

    /// Gives a pane another size, as a window does that is pulled.
    pub fn resize_pane(&self, pane_id: u64, cols: u64, rows: u64) -> anyhow::Result<()> {
        self.with_mux(async |client| {
            let panes = client.list_panes().await?;
            let pane = panes.iter().find(|pane| pane.entry.pane_id == pane_id).context("no such pane")?;
            client.resize(pane.entry.tab_id, pane_id, size_in_cells(cols, rows)).await?;
            Ok(())
        })
    }

    pub fn start_controller(&self, extra: &[&str]) -> anyhow::Result<Program> {
        let data = self.path("controller");
        let listen = format!("127.0.0.1:{}", self.port);
        let mut args =
            vec![OsStr::new("--data-dir"), data.as_os_str(), OsStr::new("--listen"), OsStr::new(&listen)];
        args.extend(["--admin-listen", "127.0.0.1:0"].iter().map(OsStr::new));
        args.extend(extra.iter().map(OsStr::new));
        let program = self.start("wa-controller", &args)?;
        wait_for("the controller to answer", Duration::from_secs(30), || {
            let answer = self.wa(&["fleet", "status", "-o", "json"]);
            (answer.code == 0).then_some(())
        });
        Ok(program)
    }

    /// Makes a token and redeems it.
    pub fn enroll_node(&self) -> anyhow::Result<()> {
        self.enroll_node_at(&self.controller_url())
    }

    /// As [`Self::enroll_node`]; the node will dial this address.
    pub fn enroll_node_at(&self, controller: &str) -> anyhow::Result<()> {
        let token = self.wa(&["fleet", "token", HOST]);
        anyhow::ensure!(token.code == 0, "no token: {token:?}");
        let file = self.path("token");
        std::fs::write(&file, token.stdout.trim())?;
        let state = self.path("node");
        let output = Command::new(binary("wa-node"))
            .args([OsStr::new("enroll"), OsStr::new("--controller"), OsStr::new(controller)])
            .args([
                OsStr::new("--token-file"),
                file.as_os_str(),
                OsStr::new("--state-dir"),
                state.as_os_str(),
            ])
            .output()?;
        anyhow::ensure!(output.status.success(), "enroll: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub fn start_node(&self, extra: &[&str]) -> anyhow::Result<Program> {
        let state = self.path("node");
        let socket = self.mux_socket();
        let mut args = vec![
            OsStr::new("run"),
            OsStr::new("--state-dir"),
            state.as_os_str(),
            OsStr::new("--mux-socket"),
            socket.as_os_str(),
        ];
        args.extend(extra.iter().map(OsStr::new));
        self.start("wa-node", &args)
    }

    fn wa_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("wa"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("WA_CONTEXT_FILE", self.context_file())
            .stdin(Stdio::null());
        command
    }

    /// A stand-in for an agent: a shell that the process table knows by the agent's name runs the script, in a folder of
    /// its own ([`Self::stand_in_dir`]) and with these variables. The command that starts it.
    pub fn stand_in(&self, name: &str, script: &str, env: &[(&str, &Path)]) -> anyhow::Result<Vec<String>> {
        let dir = self.stand_in_dir(name);
        std::fs::create_dir(&dir)?;
        let program = self.path(name);
        std::os::unix::fs::symlink("/bin/sh", &program)?;
        let play = self.path(format!("{name}.sh"));
        std::fs::write(&play, script)?;
        let mut command = vec!["/usr/bin/env".to_owned(), "-C".to_owned(), dir.display().to_string()];
        command.extend(env.iter().map(|(name, value)| format!("{name}={}", value.display())));
        command.extend([program, play].map(|path| path.display().to_string()));
        Ok(command)
    }

    /// Where the stand-in works.
    pub fn stand_in_dir(&self, name: &str) -> PathBuf {
        self.path(format!("{name}-works-here"))
    }

    /// The operator's context, for a client of the controller's API.
    pub fn context_file(&self) -> PathBuf {
        self.path("controller/operator.context.toml")
    }

    /// Runs `wa` as the operator, to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn wa(&self, args: &[&str]) -> Answer {
        self.wa_with(args, &[])
    }

    /// As [`Self::wa`], with more variables.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn wa_with(&self, args: &[&str], env: &[(&str, &Path)]) -> Answer {
        let mut command = self.wa_command(args);
        let output = command.envs(env.iter().copied()).output();
        let output = output.unwrap_or_else(|error| panic!("wa {args:?}: {error}"));
        Answer::of(&output)
    }

    /// Starts `wa` as the operator, and does not wait for its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn wa_started(&self, args: &[&str]) -> Started {
        let mut command = self.wa_command(args);
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Started(started.unwrap_or_else(|error| panic!("wa {args:?}: {error}")))
    }

    /// What a program has logged so far.
    pub fn log(&self, program: &str) -> String {
        std::fs::read_to_string(self.path(format!("{program}.log"))).unwrap_or_default()
    }

    /// The logs of every program, for a failing test's message.
    fn logs(&self) -> String {
        let mut out = String::new();
        for name in ["wa-controller", "wa-node", "wa-embedded-mux"] {
            let text = self.log(name);
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            out.extend(["--- ", name, "\n"]);
            for line in tail.iter().rev() {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
