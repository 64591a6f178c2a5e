//! Which program holds a pane's terminal, told from the process table.
//!
//! Constraints. The caller gives the members of the terminal's foreground process group, and nothing else: a search over
//! the machine would find daemons of the same name (Codex keeps one with the pane's own directory and no terminal).
//! Names lie in known ways: an agent installed by npm is `node` with a script, Claude Code may carry its version as its
//! process name, a launcher and the program it launched stand in the same group. Nothing here reads the screen.
//!
//! Operation. A leader that reaches elsewhere (ssh, a container, tmux, sudo, a recorder with a terminal of its own) hides
//! what runs behind it, so it wins. Then any member that is an agent's interactive program decides, whatever launched it
//! (npx, a wrapper script, `env`, a sandbox in the same group); then the leader's own name.

use wa_proto::AgentKind;

/// One process of the foreground group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessInfo {
    pub pid: u32,
    pub pgid: u32,
    /// Name as the kernel has it (cut to 15 bytes on Linux).
    pub comm: String,
    pub args: Vec<String>,
    /// Path of the running binary, where it could be read.
    pub exe: Option<String>,
    /// Stopped by job control: on the terminal, but not in charge of it.
    pub stopped: bool,
    /// When it started, in the system's own count; with the pid it names the process for ever. 0 = not known.
    pub started: u64,
    /// What its installation says of its version; empty where that was not found.
    pub version: String,
}

/// Who holds the terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Foreground {
    /// Nothing could be read.
    #[default]
    Unknown,
    Shell {
        name: String,
    },
    Agent {
        kind: AgentKind,
        /// Empty when the paths do not tell.
        version: String,
        /// The member that stays for the agent's whole life: the group's leader where that is the agent or its launcher.
        pid: u32,
    },
    /// Another host, container, multiplexer or user behind this terminal: the process table tells nothing of it.
    Remote {
        name: String,
    },
    Other {
        name: String,
    },
}

impl Foreground {
    pub fn agent(&self) -> Option<&AgentKind> {
        match self {
            Self::Agent { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// Version of the agent; empty when not known.
    pub fn version(&self) -> &str {
        match self {
            Self::Agent { version, .. } => version,
            _ => "",
        }
    }

    /// Pid of the agent, if an agent holds the terminal.
    pub fn agent_pid(&self) -> Option<u32> {
        match self {
            Self::Agent { pid, .. } => Some(*pid),
            _ => None,
        }
    }
}

const SHELLS: &[&str] = &[
    "bash", "sh", "zsh", "fish", "dash", "ash", "ksh", "mksh", "tcsh", "csh", "nu", "pwsh", "xonsh",
    "elvish", "busybox", "rbash",
];

const REMOTES: &[&str] = &[
    "ssh",
    "autossh",
    "mosh",
    "mosh-client",
    "et",
    "telnet",
    "docker",
    "podman",
    "nerdctl",
    "kubectl",
    "oc",
    "tmux",
    "screen",
    "zellij",
    "abduco",
    "dtach",
    "sudo",
    "su",
    "doas",
    "runuser",
    "machinectl",
    "nsenter",
    "lxc",
    "incus",
    "distrobox",
    "toolbox",
    "wezterm",
    "vagrant",
    "gcloud",
    "fly",
    "flyctl",
    "devcontainer",
    "limactl",
    "multipass",
    "colima",
    "orb",
    "wsl.exe",
    "tsh",
    "coder",
    "devpod",
    "session-manager",
    "apptainer",
    "singularity",
    "byobu",
    "shpool",
    "script",
    "asciinema",
    "ttyrec",
    "expect",
    "unbuffer",
];

const RUNTIMES: &[&str] =
    &["node", "nodejs", "bun", "deno", "tsx", "python", "python3", "Python", "uv", "MainThread"];

/// An agent as it appears in names and paths.
struct Known {
    kind: &'static str,
    /// Names of binaries, links and scripts.
    names: &'static [&'static str],
    /// Parts of paths that only this agent's installation has.
    paths: &'static [&'static str],
    /// First arguments of programs that share the binary but hold no conversation.
    not_interactive: &'static [&'static str],
    /// The same, where only the very first argument is such a word: a prompt or a name may be one, too.
    commands: &'static [&'static str],
}

const AGENTS: &[Known] = &[
    Known {
        kind: "codex",
        names: &["codex", "codex.js", "codex.exe"],
        paths: &["/@openai/codex/", "/@openai+codex@"],
        not_interactive: &["app-server", "mcp-server", "proto"],
        commands: &[],
    },
    Known {
        kind: "gemini",
        names: &["gemini", "gemini.js"],
        paths: &["/@google/gemini-cli/", "/@google+gemini-cli@", "/gemini-cli/"],
        not_interactive: &[],
        commands: &[],
    },
    Known {
        kind: "claude",
        names: &["claude", "claude.exe"],
        paths: &["/claude/versions/", "/@anthropic-ai/claude-code", "/@anthropic-ai+claude-code"],
        not_interactive: &["--bg-spare", "--bg-pty-host", "daemon", "--version", "--help"],
        commands: &[
            "-v",
            "-h",
            "mcp",
            "config",
            "doctor",
            "install",
            "update",
            "upgrade",
            "plugin",
            "plugins",
            "migrate-installer",
            "self-hosted-runner",
        ],
    },
    Known {
        kind: "opencode",
        names: &["opencode"],
        paths: &["/opencode-ai/", "/opencode-linux-", "/opencode-darwin-"],
        not_interactive: &["serve", "web", "acp"],
        commands: &[],
    },
    Known { kind: "aider", names: &["aider"], paths: &["/aider-chat/"], not_interactive: &[], commands: &[] },
    Known {
        kind: "copilot",
        names: &["copilot"],
        paths: &["/@github/copilot/", "/@github/copilot-", "/@github+copilot"],
        // The first two serve another program; the rest are of a deployment tool of the same name.
        not_interactive: &["--acp", "--headless", "app", "env", "svc", "job", "task", "pipeline", "storage"],
        commands: &[],
    },
    Known { kind: "qwen", names: &["qwen"], paths: &["/@qwen-code/"], not_interactive: &[], commands: &[] },
    Known {
        kind: "cursor",
        names: &["cursor-agent"],
        paths: &["/cursor-agent/versions/"],
        not_interactive: &[],
        commands: &[],
    },
];

/// Tells who holds the terminal from the members of its foreground process group, in any order.
pub fn identify(group: &[ProcessInfo]) -> Foreground {
    let awake: Vec<&ProcessInfo> = group.iter().filter(|process| !process.stopped).collect();
    let leader = awake.iter().find(|process| process.pid == process.pgid).or_else(|| awake.first()).copied();
    let Some(leader) = leader else { return Foreground::Unknown };
    let name = display_name(leader);
    if REMOTES.contains(&name) {
        return Foreground::Remote { name: name.to_owned() };
    }
    if let Some(agent) = agent_of_group(&awake, leader.pid) {
        return agent;
    }
    if let Some(remote) =
        awake.iter().map(|process| display_name(process)).find(|name| REMOTES.contains(name))
    {
        return Foreground::Remote { name: remote.to_owned() };
    }
    if SHELLS.contains(&name) && !runs_script(leader) {
        return Foreground::Shell { name: name.to_owned() };
    }
    if name.is_empty() { Foreground::Unknown } else { Foreground::Other { name: name.to_owned() } }
}

fn agent_of_group(group: &[&ProcessInfo], leader: u32) -> Option<Foreground> {
    let mut found: Option<(&'static Known, u32, String)> = None;
    for process in group {
        let Some(known) = AGENTS.iter().find(|known| known.is(process)) else { continue };
        let version = known.version(process);
        found = Some(match found {
            None => (known, process.pid, version),
            // Launcher and launched: the leader lives as long as either, and any member may know the version.
            Some((first, pid, seen)) if first.kind == known.kind => {
                let pid = if pid == leader || process.pid == leader { leader } else { pid.min(process.pid) };
                (first, pid, if seen.is_empty() { version } else { seen })
            }
            // Two different agents in one group: the leader's word counts, else the first.
            Some(_) if process.pid == leader => (known, process.pid, version),
            Some(first) => first,
        });
    }
    found.map(|(known, pid, version)| Foreground::Agent { kind: AgentKind::new(known.kind), version, pid })
}

impl Known {
    fn is(&self, process: &ProcessInfo) -> bool {
        let Some(arguments) = self.arguments(process) else { return false };
        let first = arguments.first().is_some_and(|first| self.commands.contains(&first.as_str()));
        !first && !arguments.iter().take(3).any(|argument| self.not_interactive.contains(&argument.as_str()))
    }

    /// What was passed to the agent itself, if this process is that agent.
    fn arguments<'a>(&self, process: &'a ProcessInfo) -> Option<&'a [String]> {
        let rest = process.args.get(1..).unwrap_or_default();
        let called = process.args.first().is_some_and(|argv0| self.names.contains(&program(argv0)));
        // A program with its runtime inside is called by its own name, and what follows is no script.
        if !called && let Some((script, after)) = script_of(process) {
            if self.names.contains(&basename(script)) || self.owns(script) {
                return Some(after);
            }
            // A runtime that runs something else, unless it has renamed itself to the agent.
            return self.names.contains(&basename(&process.comm)).then_some(rest);
        }
        let named = called
            || self.names.contains(&basename(&process.comm))
            || process.args.first().is_some_and(|argv0| self.owns(argv0))
            || process.exe.as_deref().is_some_and(|exe| self.names.contains(&program(exe)) || self.owns(exe))
            || self.names.first().is_some_and(|name| is_release_name(&process.comm, name));
        named.then_some(rest)
    }

    fn owns(&self, path: &str) -> bool {
        self.paths.iter().any(|part| path.contains(part))
    }

    fn version(&self, process: &ProcessInfo) -> String {
        if !process.version.is_empty() {
            // A path may hold another version, that of node say.
            return process.version.clone();
        }
        let script = script_of(process).map(|(script, _)| script);
        let own = process.args.first().map(String::as_str).filter(|argv0| self.owns(argv0));
        let exe = process.exe.as_deref().filter(|exe| !is_runtime(basename(exe)));
        let paths = exe.into_iter().chain(script).chain(own);
        let comm = Some(process.comm.as_str()).filter(|comm| is_version(comm));
        paths.filter_map(|path| version_in_path(path)).next().or(comm).map_or_else(String::new, str::to_owned)
    }
}

/// `codex-x86_64-un`: a released binary under its download name, cut by the kernel.
fn is_release_name(comm: &str, name: &str) -> bool {
    comm.strip_prefix(name).is_some_and(|rest| {
        ["-x86_64", "-aarch64", "-arm64", "-linux", "-darwin"].iter().any(|arch| rest.starts_with(arch))
    })
}

fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Base name of a program, without the dash of a login shell.
fn program(path: &str) -> &str {
    let name = basename(path.split(' ').next().unwrap_or(path));
    name.strip_prefix('-').unwrap_or(name)
}

fn is_runtime(name: &str) -> bool {
    RUNTIMES.contains(&name) || name.strip_prefix("python3.").is_some_and(|minor| minor.parse::<u8>().is_ok())
}

/// The leader's name for shells, remotes and others: the kernel's name, unless that is a version or a thread's name.
fn display_name(process: &ProcessInfo) -> &str {
    let comm = program(&process.comm);
    if comm.is_empty() || is_version(comm) || comm.contains(':') {
        return process.args.first().map_or(comm, |argv0| program(argv0.trim_end_matches(':')));
    }
    comm
}

/// The script that a runtime runs, and what follows it.
fn script_of(process: &ProcessInfo) -> Option<(&str, &[String])> {
    let argv0 = process.args.first().map(|argv0| program(argv0)).unwrap_or_default();
    let exe = process.exe.as_deref().map(basename).unwrap_or_default();
    if !is_runtime(&process.comm) && !is_runtime(argv0) && !is_runtime(exe) {
        return None;
    }
    let mut at = 1;
    while let Some(argument) = process.args.get(at) {
        match argument.as_str() {
            // Flags of node and python whose value stands apart.
            "-r" | "--require" | "--import" | "--loader" | "-C" | "--conditions" | "-W" | "-X" => at += 2,
            // `python -m aider`
            "-m" => at += 1,
            "run" | "x" if process.comm == "bun" || process.comm == "deno" || process.comm == "uv" => at += 1,
            flag if flag.starts_with('-') => at += 1,
            script => return Some((script, process.args.get(at + 1..).unwrap_or_default())),
        }
    }
    None
}

/// A shell that runs a script or a command string is not a prompt.
fn runs_script(process: &ProcessInfo) -> bool {
    let mut arguments = process.args.iter().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rcfile" | "--init-file" | "-o" | "+o" | "-O" | "+O" => {
                arguments.next();
            }
            "-c" => return true,
            flag if flag.starts_with('-') || flag.starts_with('+') => {}
            _ => return true,
        }
    }
    false
}

fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or(text);
    let mut parts = 0;
    for part in core.split('.') {
        if part.is_empty() || part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return false;
        }
        parts += 1;
    }
    parts == 3 && text.len() <= 40
}

/// A path component that is a version, or ends in one after `-` or `@` (`releases/0.169.0-x86_64…`,
/// `/@openai+codex@0.118.0/`, `/nix/store/…-codex-0.118.0/`), nearest to the file first.
fn version_in_path(path: &str) -> Option<&str> {
    path.rsplit('/').find_map(|component| {
        let starts = std::iter::once(0)
            .chain(component.char_indices().filter(|(_, c)| matches!(c, '-' | '@')).map(|(at, _)| at + 1));
        starts
            .filter_map(|at| component.get(at..))
            .filter_map(|tail| tail.split(['-', '_', '+']).next())
            .map(|core| core.strip_prefix('v').unwrap_or(core))
            .find(|core| is_version(core))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, pgid: u32, comm: &str, args: &str, exe: &str) -> ProcessInfo {
        ProcessInfo {
            pid,
            pgid,
            comm: comm.to_owned(),
            args: args.split(' ').map(str::to_owned).collect(),
            exe: (!exe.is_empty()).then(|| exe.to_owned()),
            ..ProcessInfo::default()
        }
    }

    fn agent(kind: &str, version: &str, pid: u32) -> Foreground {
        Foreground::Agent { kind: AgentKind::new(kind), version: version.to_owned(), pid }
    }

    #[test]
    fn codex_native_and_by_npm() {
        let exe = "/n/vendor/x86_64-unknown-linux-musl/bin/codex";
        assert_eq!(identify(&[process(93, 93, "codex", "codex", exe)]), agent("codex", "", 93));
        let npm = [
            process(638, 615, "codex", "/n/vendor/x86_64-unknown-linux-musl/bin/codex", exe),
            process(615, 615, "node", "node /n/bin/codex", "/usr/bin/node"),
        ];
        assert_eq!(identify(&npm), agent("codex", "", 615));
        let brew = process(7, 7, "codex", "codex resume", "/opt/homebrew/Cellar/codex/0.118.0/bin/codex");
        assert_eq!(identify(&[brew]), agent("codex", "0.118.0", 7));
    }

    #[test]
    fn the_codex_daemon_is_no_agent() {
        let exe = "/h/packages/app-server-daemon/releases/0.169.0-x86_64-unknown-linux-musl/bin/codex";
        let daemon = process(449, 449, "codex", &format!("{exe} app-server --listen unix://"), exe);
        assert_eq!(identify(&[daemon]), Foreground::Other { name: "codex".to_owned() });
        let tui = process(449, 449, "codex", exe, exe);
        assert_eq!(identify(&[tui]), agent("codex", "0.169.0", 449));
    }

    #[test]
    fn gemini_is_a_node_script() {
        let group = [
            process(502, 502, "node", "node /n/bin/gemini", "/usr/bin/node"),
            process(
                668,
                502,
                "node",
                "/usr/bin/node --max-old-space-size=12052 /n/bin/gemini",
                "/usr/bin/node",
            ),
        ];
        assert_eq!(identify(&group), agent("gemini", "", 502));
        let direct =
            process(9, 9, "node", "node /n/@google/gemini-cli/bundle/gemini.js -p x", "/usr/bin/node");
        assert_eq!(identify(&[direct]), agent("gemini", "", 9));
        let server = process(9, 9, "node", "node server.js /n/bin/gemini", "/usr/bin/node");
        assert_eq!(identify(&[server]), Foreground::Other { name: "node".to_owned() });
    }

    #[test]
    fn the_installations_word_comes_before_a_version_in_the_path() {
        let args = "node /home/u/.nvm/versions/node/v20.11.0/lib/node_modules/@openai/codex/bin/codex.js";
        let node = process(615, 615, "node", args, "/usr/bin/node");
        let node = ProcessInfo { version: "0.144.0".to_owned(), ..node };
        assert_eq!(identify(&[node]), agent("codex", "0.144.0", 615));
    }

    #[test]
    fn claude_by_version_name_link_and_npm() {
        let exe = "/home/u/.local/share/claude/versions/2.1.112";
        assert_eq!(identify(&[process(5, 5, "2.1.112", "claude", exe)]), agent("claude", "2.1.112", 5));
        assert_eq!(identify(&[process(5, 5, "2.1.123", "claude", "")]), agent("claude", "2.1.123", 5));
        assert_eq!(identify(&[process(5, 5, "claude", "claude", "/usr/bin/node")]), agent("claude", "", 5));
        let npm = process(5, 5, "node", "node /n/@anthropic-ai/claude-code/cli.js", "/usr/bin/node");
        assert_eq!(identify(&[npm]), agent("claude", "", 5));
        let helper = process(5, 5, "2.1.112", &format!("{exe} --bg-spare"), exe);
        assert!(identify(&[helper]).agent().is_none());
        // Its binary cannot be read; the kernel's name and argv[0] are left.
        assert_eq!(identify(&[process(5, 5, "2.1.112", exe, "")]), agent("claude", "2.1.112", 5));
        // Names as `ps` of another system has them.
        let path = process(5, 5, "/Users/u/.local/bin/claude", "claude --resume", "");
        assert_eq!(identify(&[path]), agent("claude", "", 5));
        let bun = process(5, 5, "bun", "bun run /n/@anthropic-ai/claude-code/cli.js", "/u/.bun/bin/bun");
        assert_eq!(identify(&[bun]), agent("claude", "", 5));
        let pnpm =
            "node /n/.pnpm/@anthropic-ai+claude-code@2.0.76/node_modules/@anthropic-ai/claude-code/cli.js";
        assert_eq!(identify(&[process(5, 5, "node", pnpm, "/usr/bin/node")]), agent("claude", "2.0.76", 5));
        let packaged = "/n/@anthropic-ai/claude-code/bin/claude.exe";
        assert_eq!(identify(&[process(5, 5, "claude.exe", "claude", packaged)]), agent("claude", "", 5));
    }

    #[test]
    fn whatever_launched_claude() {
        let claude = |pid| process(pid, 40, "claude", "claude", "/usr/bin/node");
        let npx = [
            process(40, 40, "npm exec @anthr", "npm exec @anthropic-ai/claude-code", "/usr/bin/node"),
            process(41, 40, "sh", "sh -c claude", "/usr/bin/dash"),
            claude(42),
        ];
        assert_eq!(identify(&npx), agent("claude", "", 42));
        let script = [process(40, 40, "cc", "/bin/sh /u/bin/cc", "/usr/bin/dash"), claude(42)];
        assert_eq!(identify(&script), agent("claude", "", 42));
        let wrapped = [process(40, 40, "caffeinate", "caffeinate -i claude", ""), claude(42)];
        assert_eq!(identify(&wrapped), agent("claude", "", 42));
        let sandbox = [process(40, 40, "bwrap", "bwrap --ro-bind / / claude", "/usr/bin/bwrap"), claude(42)];
        assert_eq!(identify(&sandbox), agent("claude", "", 42));
        for far in ["asciinema rec -c claude", "script -q log", "docker run -it x claude", "tsh ssh web-1"] {
            let name = far.split(' ').next().unwrap();
            let group = [process(40, 40, name, far, "")];
            assert_eq!(identify(&group), Foreground::Remote { name: name.to_owned() }, "{far}");
        }
    }

    #[test]
    fn what_shares_claudes_binary_and_holds_no_conversation() {
        let exe = "/home/u/.local/share/claude/versions/2.1.112";
        let run = |args: &str| identify(&[process(5, 5, "2.1.112", args, exe)]).agent().cloned();
        for args in ["claude mcp list", "claude doctor", "claude update", "claude --version", "claude -v"] {
            assert_eq!(run(args), None, "{args}");
        }
        for args in
            ["claude", "claude -c", "claude --resume mcp", "claude auth login", "claude --model opus update"]
        {
            assert_eq!(run(args), Some(AgentKind::claude()), "{args}");
        }
    }

    #[test]
    fn opencode_aider_and_copilot() {
        let npm = [
            process(30, 30, "node", "node /n/bin/opencode", "/usr/bin/node"),
            process(37, 30, "opencode", "/n/opencode-ai/bin/.opencode", "/n/opencode-linux-x64/bin/opencode"),
        ];
        assert_eq!(identify(&npm), agent("opencode", "", 30));
        let server = process(5, 5, "opencode", "opencode serve --port 4096", "/u/.opencode/bin/opencode");
        assert!(identify(&[server]).agent().is_none());

        let script = "/u/.local/share/uv/tools/aider-chat/bin/python /u/.local/bin/aider --model sonnet";
        let uv = process(5, 5, "aider", script, "/usr/bin/python3.12");
        assert_eq!(identify(&[uv]), agent("aider", "", 5));
        let module = process(5, 5, "python3", "python3 -m aider", "/usr/bin/python3.12");
        assert_eq!(identify(&[module]), agent("aider", "", 5));
        let other = process(5, 5, "python3", "python3 manage.py aider", "/usr/bin/python3.12");
        assert_eq!(identify(&[other]), Foreground::Other { name: "python3".to_owned() });

        let npm = process(5, 5, "node", "node /n/@github/copilot/npm-loader.js", "/usr/bin/node");
        assert_eq!(identify(&[npm]), agent("copilot", "", 5));
        let single = process(5, 5, "MainThread", "copilot -p fix --allow-all-tools", "/u/.local/bin/copilot");
        assert_eq!(identify(&[single]), agent("copilot", "", 5));
        let deploys = process(5, 5, "copilot", "copilot svc deploy", "/usr/local/bin/copilot");
        assert_eq!(identify(&[deploys]), Foreground::Other { name: "copilot".to_owned() });
    }

    #[test]
    fn shells_remotes_and_the_rest() {
        let shell = |args| identify(&[process(66, 66, "bash", args, "/usr/bin/bash")]);
        assert_eq!(shell("-bash"), Foreground::Shell { name: "bash".to_owned() });
        assert_eq!(shell("bash --rcfile /tmp/rc -i"), Foreground::Shell { name: "bash".to_owned() });
        assert_eq!(shell("bash ./build.sh"), Foreground::Other { name: "bash".to_owned() });
        let ssh = process(70, 70, "ssh", "ssh web-1 codex", "/usr/bin/ssh");
        assert_eq!(identify(&[ssh]), Foreground::Remote { name: "ssh".to_owned() });
        let tmux = process(70, 70, "tmux: client", "tmux attach", "/usr/bin/tmux");
        assert_eq!(identify(&[tmux]), Foreground::Remote { name: "tmux".to_owned() });
        let sudo = [
            process(70, 70, "sudo", "sudo -u bot codex", "/usr/bin/sudo"),
            process(71, 70, "codex", "codex", "/usr/bin/codex"),
        ];
        assert_eq!(identify(&sudo), Foreground::Remote { name: "sudo".to_owned() });
        let wrapped = [
            process(70, 70, "bash", "bash run.sh", "/usr/bin/bash"),
            process(71, 70, "codex", "codex", "/usr/bin/codex"),
        ];
        assert_eq!(identify(&wrapped), agent("codex", "", 71));
        assert_eq!(
            identify(&[process(8, 8, "vim", "vim codex", "")]),
            Foreground::Other { name: "vim".to_owned() }
        );
        assert_eq!(identify(&[]), Foreground::Unknown);
    }

    #[test]
    fn a_stopped_agent_holds_nothing() {
        let stopped = ProcessInfo { stopped: true, ..process(93, 93, "codex", "codex", "") };
        let bash = process(66, 66, "bash", "bash", "");
        assert_eq!(identify(&[stopped, bash]), Foreground::Shell { name: "bash".to_owned() });
    }
}
