//! The version of an agent, from the files that it was installed with.
//!
//! Constraints: the program is never run. The files are the user's and may be anything: only regular files, their first
//! [`MAX_FILE`] bytes, a few folders above the program, and only where the path looks like an agent's at all.
//! Operation: npm packages have a `package.json` with the agent's package name, some levels above the script or the
//! binary; Codex puts a `codex-package.json` beside its `bin`. Platform packages carry the platform behind the version
//! (`0.169.0-linux-x64`). A process is looked up once in its life: an upgrade replaces the files under a running agent,
//! which stays what it was (and npm gives all files the same date, so that the date would not tell).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use serde::Deserialize;

use super::ProcessId;

/// Bytes of a package file.
const MAX_FILE: u64 = 64 << 10;
/// Folders above a program that are looked into.
const LEVELS: usize = 6;
/// Arguments that may name a script.
const ARGUMENTS: usize = 6;
/// Processes that are remembered.
const MAX_KNOWN: usize = 512;
/// Parts of paths that are worth a look.
const HINTS: &[&str] = &["codex", "gemini", "claude", "opencode", "copilot", "qwen"];
/// Names of packages, of which platform packages are continuations.
const PACKAGES: &[&str] = &[
    "@openai/codex",
    "@google/gemini-cli",
    "@anthropic-ai/claude-code",
    "opencode-ai",
    "opencode-linux",
    "opencode-darwin",
    "@github/copilot",
    "@qwen-code/qwen-code",
];
const PLATFORMS: &[&str] = &["-linux", "-darwin", "-win32", "-android"];

/// What a process says of where it comes from.
pub(super) struct Installed<'a> {
    pub(super) exe: Option<&'a Path>,
    pub(super) args: &'a [String],
    /// Its working directory, asked for only where a path needs it.
    pub(super) cwd: &'a dyn Fn() -> Option<PathBuf>,
}

/// Versions of processes that were seen.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<HashMap<ProcessId, (u64, String)>>);

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

impl Versions {
    /// Empty when nothing tells.
    pub(super) fn of(&self, process: ProcessId, installed: &Installed<'_>) -> String {
        // A process may become another program: then it says something else of itself.
        let words = words_of(installed);
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, version)) = lock().get(&process).filter(|(known, _)| *known == words) {
            return version.clone();
        }
        let version = installed.version().unwrap_or_default();
        let mut known = lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(process, (words, version.clone()));
        version
    }
}

fn words_of(installed: &Installed<'_>) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    installed.exe.hash(&mut hasher);
    installed.args.iter().take(ARGUMENTS).for_each(|arg| arg.hash(&mut hasher));
    hasher.finish()
}

impl Installed<'_> {
    fn version(&self) -> Option<String> {
        let arguments = self.args.iter().take(ARGUMENTS).filter(|arg| !arg.starts_with('-'));
        let paths = arguments.filter(|arg| arg.contains('/')).map(Path::new);
        self.exe.into_iter().chain(paths).find_map(|path| self.version_of(path))
    }

    fn version_of(&self, path: &Path) -> Option<String> {
        // Links are followed first: `bin/codex` is one, and names nothing.
        let path = if path.is_absolute() { path.to_owned() } else { (self.cwd)()?.join(path) };
        let path = path.canonicalize().ok()?;
        let text = path.to_str()?;
        if !HINTS.iter().any(|hint| text.contains(hint)) {
            return None;
        }
        path.ancestors().skip(1).take(LEVELS).find_map(|folder| {
            let own = read(&folder.join("codex-package.json"));
            let package = || read(&folder.join("package.json")).filter(Package::is_agent);
            version(&own.or_else(package)?.version)
        })
    }
}

impl Package {
    fn is_agent(&self) -> bool {
        PACKAGES.iter().any(|name| {
            self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

fn read(path: &Path) -> Option<Package> {
    // A pipe would be waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn version(text: &str) -> Option<String> {
    let end = PLATFORMS.iter().filter_map(|platform| text.find(platform)).min().unwrap_or(text.len());
    let text = &text[..end];
    let good = text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
    good.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn put(path: PathBuf, text: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn of(exe: &Path, args: &[&str], cwd: &Path) -> String {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let cwd = || Some(cwd.to_owned());
        let installed = Installed { exe: Some(exe), args: &args, cwd: &cwd };
        Versions::default().of(ProcessId { pid: 1, started: 1 }, &installed)
    }

    #[test]
    fn installations_as_they_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let none = Path::new("/usr/bin/env");
        // npm: a link to a script, started by node.
        let script = put(at("lib/node_modules/@google/gemini-cli/bundle/gemini.js"), "");
        put(
            at("lib/node_modules/@google/gemini-cli/package.json"),
            r#"{"name":"@google/gemini-cli","version":"0.61.0","bin":{}}"#,
        );
        put(at("lib/node_modules/@google/gemini-cli/bundle/package.json"), r#"{"type":"module"}"#);
        fs::create_dir(at("bin")).unwrap();
        std::os::unix::fs::symlink(&script, at("bin/gemini")).unwrap();
        let link = at("bin/gemini");
        assert_eq!(of(none, &["node", link.to_str().unwrap()], dir.path()), "0.61.0");
        assert_eq!(of(none, &["node", "--max-old-space-size=9", "bin/gemini"], dir.path()), "0.61.0");
        assert_eq!(of(none, &["node", "gemini"], dir.path()), "", "no path");
        // The native binary of Codex, in a platform package and with its own file.
        let native = "lib/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex";
        let native = put(at(native), "");
        put(
            at("lib/node_modules/@openai/codex-linux-x64/package.json"),
            r#"{"name":"@openai/codex-linux-x64","version":"0.169.0-linux-x64"}"#,
        );
        assert_eq!(of(&native, &["codex"], dir.path()), "0.169.0");
        let own = native.parent().unwrap().parent().unwrap().join("codex-package.json");
        put(own, r#"{"version": "0.169.1"}"#);
        assert_eq!(of(&native, &["codex"], dir.path()), "0.169.1");
    }

    #[test]
    fn what_is_no_package_of_an_agent_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let program = put(at("codex-tools/bin/x"), "");
        let file = at("codex-tools/package.json");
        let cases = [
            r#"{"name":"left-pad","version":"1.0.0"}"#.to_owned(),
            r#"{"name":"@openai/codexes","version":"1.0.0"}"#.to_owned(),
            r#"{"name":"@openai/codex","version":"1.0\u001b[2J"}"#.to_owned(),
            r#"{"name":"@openai/codex","version":["1"]}"#.to_owned(),
            "not json".to_owned(),
            format!(r#"{{"name":"@openai/codex","version":"1.0.0","x":"{}"}}"#, "y".repeat(1 << 20)),
            "[".repeat(60_000),
        ];
        for text in cases {
            fs::write(&file, &text).unwrap();
            assert_eq!(of(&program, &[], dir.path()), "", "{text:.60}");
        }
        fs::remove_file(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        assert_eq!(of(&program, &[], dir.path()), "", "a pipe is not waited for");
    }

    #[test]
    fn a_running_process_stays_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let program = put(dir.path().join("codex/bin/codex"), "");
        let file = dir.path().join("codex/package.json");
        let says = |version: &str| {
            put(file.clone(), &format!(r#"{{"name":"@openai/codex","version":"{version}"}}"#))
        };
        let versions = Versions::default();
        let cwd = || None;
        let installed = Installed { exe: Some(&program), args: &[], cwd: &cwd };
        says("0.1.0");
        let first = ProcessId { pid: 1, started: 1 };
        assert_eq!(versions.of(first, &installed), "0.1.0");
        says("0.2.0");
        assert_eq!(versions.of(first, &installed), "0.1.0");
        assert_eq!(versions.of(ProcessId { pid: 1, started: 2 }, &installed), "0.2.0");
        for pid in 0..2000 {
            versions.of(ProcessId { pid, started: 9 }, &installed);
        }
        assert!(versions.0.lock().unwrap().len() <= MAX_KNOWN);
    }
}
