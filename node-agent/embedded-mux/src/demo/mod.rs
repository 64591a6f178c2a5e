//! Scripted agents for `wa up --demo` and for tests.
//!
//! One program plays all of them; what it does depends on the name it is started under, so that the
//! process table shows that name: `claude`, `codex` and `gemini` are interactive programs written for
//! this purpose, which draw what the real ones were recorded to draw and take keys as they do; `codex
//! replay` and `gemini replay` play a recording. [`install`] puts the recording and the names into a
//! folder; a program that is linked to them calls [`agent_main`] when [`is_agent`] says that it was
//! started under one.

mod arguments;
mod claude;
mod claude_screen;
mod codex;
mod codex_login;
mod codex_menu;
mod codex_screen;
mod codex_session;
mod composer;
mod draft;
mod driver;
mod gemini;
mod gemini_screen;
mod gemini_session;
mod home;
mod http;
mod inline;
mod input;
mod layout;
mod menu;
mod quota;
mod record;
mod replay;
mod tty;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::Command;
use wa_screen::terminal::Size;

/// A recorded terminal stream of a real agent.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// File name.
    pub name: &'static str,
    /// The size that the terminal had.
    pub size: Size,
    /// What the agent wrote.
    pub bytes: &'static [u8],
}

const SIZE: Size = Size { cols: 80, rows: 24 };

/// The recordings. Gemini CLI 0.24 ends idle, after its welcome and a turn.
pub const STREAMS: &[Stream] = &[Stream {
    name: "gemini-0.24.0-80x24.raw",
    size: SIZE,
    bytes: include_bytes!("../../testdata/demo/gemini-0.24.0-80x24.raw"),
}];

/// Names that the program is linked under.
const AGENTS: &[&str] = &["claude", "codex", "gemini"];

/// The file that tells what the demonstration's Claude Code was told, in the folder of [`install`].
pub const CLAUDE_RECORD: &str = "claude-prompts.txt";

/// The file that tells what the demonstration's Codex was told, in the folder of [`install`].
pub const CODEX_RECORD: &str = "codex-prompts.txt";

/// What the demonstration's Codex is asked: a turn that warns of a limit, one that runs into it, and the limit's length.
const CODEX_SCRIPT: &[&str] = &[
    "--prompt",
    "1s=summarise what the parser does",
    "--warn-turn",
    "1",
    "--prompt",
    "6s=now the lexer",
    "--limit-turn",
    "2",
    "--limit-for",
    "5s",
];

/// A pane of the demonstration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoPane {
    /// What runs in it.
    pub name: &'static str,
    /// How it is started.
    pub command: Command,
    /// The size that it needs.
    pub size: Size,
}

/// What the shell pane shows before the shell takes over.
const SHELL_SCRIPT: &str = r#"
printf '$ cargo test\n'
printf '   Compiling webapp v0.3.1 (/home/dev/webapp)\n'
printf '    Finished `test` profile [unoptimized + debuginfo] target(s) in 2.41s\n'
printf '     Running unittests src/lib.rs (target/debug/deps/webapp-5be0a2f3)\n\n'
printf 'running 14 tests\n'
for test in empty_input one_field two_fields quoted_comma trailing_newline bad_utf8 \
    long_line crlf tabs comments nested escapes numbers dates; do
    printf 'test parser::tests::%s ... ok\n' "$test"
    sleep 0.1
done
printf '\ntest result: ok. 14 passed; 0 failed; 0 ignored; finished in 0.02s\n\n'
PS1='$ ' exec /bin/sh -i
"#;

/// Writes the recordings into `folder` (made with mode 0700 if it is missing) and links `program`
/// there under the names of the agents. Gives the panes of the demonstration.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn install(folder: &Path, program: &Path) -> io::Result<Vec<DemoPane>> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for stream in STREAMS {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(stream.name))?;
        io::Write::write_all(&mut file, stream.bytes)?;
    }
    let program = std::path::absolute(program)?;
    for name in AGENTS {
        let link = folder.join(name);
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(&program, link)?,
        }
    }
    let agent = |name: &'static str, arguments: &[&dyn AsRef<OsStr>]| {
        let mut args = vec![folder.join(name).into_os_string()];
        args.extend(arguments.iter().map(|a| a.as_ref().to_owned()));
        DemoPane { name, command: Command::new(args), size: SIZE }
    };
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let mut codex = agent("codex", &[&"--record", &path(CODEX_RECORD)]);
    codex.command.args.extend(CODEX_SCRIPT.iter().map(OsString::from));
    Ok(vec![
        agent("claude", &[&"--compact-after", &"6s", &"--record", &path(CLAUDE_RECORD)]),
        codex,
        agent("gemini", &[&"replay", &path(STREAMS[0].name), &"--pace", &"16000"]),
        DemoPane { name: "shell", command: Command::new(["/bin/sh", "-c", SHELL_SCRIPT]), size: SIZE },
    ])
}

fn base_name(program: Option<&OsString>) -> &OsStr {
    program.and_then(|program| Path::new(program).file_name()).unwrap_or_default()
}

/// Whether a program with this `argv[0]` was started under the name of an agent.
pub fn is_agent(argv0: Option<&OsString>) -> bool {
    let name = base_name(argv0);
    AGENTS.iter().any(|agent| name == *agent)
}

/// Plays an agent. `arguments` begins with the name that the program was started under; under
/// `wa-demo-agent` the next one names the agent; any other name plays a recording.
pub fn agent_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if base_name(arguments.first()) == "wa-demo-agent" && arguments.len() > 1 {
        arguments.remove(0);
    }
    let outcome = match base_name(arguments.first()).to_str() {
        Some("claude") => claude::Arguments::try_parse_from(arguments).map(claude::run),
        Some("codex") => codex::Arguments::try_parse_from(arguments).map(codex::run),
        Some("gemini") => gemini::Arguments::try_parse_from(arguments).map(gemini::run),
        _ => replay::Arguments::try_parse_from(arguments).map(|arguments| replay::run(&arguments)),
    };
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // A terminal that goes away is the usual end.
        Ok(Err(error)) if error.downcast_ref::<io::Error>().is_some() => ExitCode::FAILURE,
        Ok(Err(error)) => complain(&error),
        Err(error) => {
            error.print().ok();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}
