//! Looking for session files below an agent's home.
//!
//! Nothing is searched without a bound: at most [`MAX_FILES`] of a directory, the newest [`MAX_HEADS`] of them looked into,
//! and what was read there is remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use wa_match::session::{Cut, LineSplitter, SessionParser};
use wa_proto::{AgentKind, Timestamp};

use super::choose::Candidate;
use super::open;

const MAX_FILES: usize = 20_000;
const MAX_HEADS: usize = 64;
/// Bytes at the beginning of a file that must tell what session it is; Codex's first line holds long prompts.
const MAX_HEAD: u64 = 512 << 10;
/// A file that says nothing yet is expected to do so within this time.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// Directories of days that are looked at.
const MAX_DAYS: usize = 8;

/// What the beginning of a file says. A file that does not say enough yet is read again.
#[derive(Debug, Clone, Default)]
struct Head {
    session_id: String,
    cwd: String,
    project_hash: String,
    began: Option<Timestamp>,
    background: bool,
}

/// Finds candidates, and remembers what it has read.
#[derive(Debug, Default)]
pub(super) struct Finder {
    heads: HashMap<(u64, u64), Head>,
}

/// What is looked for.
#[derive(Debug)]
pub(super) struct Wanted<'w> {
    pub(super) agent: &'w AgentKind,
    pub(super) home: &'w Path,
    pub(super) cwd: &'w Path,
    /// Files that were last written before are of no interest.
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
    /// Files that are looked at whatever their age, below the home.
    pub(super) named: Vec<PathBuf>,
    pub(super) named_ids: Vec<String>,
}

/// What was found, and which directories tell when there is more.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    pub(super) dirs: BTreeSet<PathBuf>,
    /// A file was written just now and does not say yet whose it is.
    pub(super) unclear: bool,
}

impl Finder {
    pub(super) fn find(&mut self, wanted: &Wanted<'_>) -> Found {
        let places = Places::of(wanted);
        let mut paths: Vec<(SystemTime, PathBuf)> = Vec::new();
        let since = SystemTime::from(wanted.since);
        for dir in &places.listed {
            for path in files_of(&wanted.home.join(dir))
                .into_iter()
                .filter(|path| session_id_of(wanted.agent, path).is_some())
            {
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                if let (true, Ok(modified)) = (meta.is_file(), meta.modified())
                    && modified >= since
                    && let Ok(inside) = path.strip_prefix(wanted.home)
                {
                    paths.push((modified, inside.to_owned()));
                }
            }
        }
        paths.sort_unstable_by(|one, other| other.cmp(one));
        paths.truncate(MAX_HEADS);
        let named = wanted.named.iter().chain(&places.named).cloned();
        let all: BTreeSet<PathBuf> = paths.into_iter().map(|(_, path)| path).chain(named).collect();
        if self.heads.len() > 4 * MAX_HEADS {
            self.heads.clear();
        }
        let mut unclear = false;
        let candidates =
            all.into_iter().filter_map(|path| self.candidate(wanted, path, &mut unclear)).collect();
        Found { candidates, dirs: places.watched, unclear }
    }

    fn candidate(&mut self, wanted: &Wanted<'_>, path: PathBuf, unclear: &mut bool) -> Option<Candidate> {
        let mut file = open::regular_file(wanted.home, &path).ok()?;
        let meta = file.metadata().ok()?;
        let head = match self.heads.get(&(meta.dev(), meta.ino())) {
            Some(head) => head.clone(),
            None => {
                let head = head_of(wanted, &path, &mut file);
                if head.began.is_some() && !head.session_id.is_empty() {
                    self.heads.insert((meta.dev(), meta.ino()), head.clone());
                }
                head
            }
        };
        let modified = Timestamp::try_from(meta.modified().ok()?).ok()?;
        *unclear |= head.began.is_none() && wanted.now.duration_since(modified) < FRESH;
        let created = meta.created().ok().and_then(|at| Timestamp::try_from(at).ok());
        let here = match wanted.agent.as_str() {
            "gemini" => head.project_hash == hash_of(wanted.cwd),
            // The directory of the project is that of the process; inside, the agent may have gone elsewhere.
            "claude" => path.parent().and_then(Path::parent) == Some(Path::new("projects")),
            _ => Path::new(&head.cwd) == wanted.cwd,
        };
        let session_id =
            if head.session_id.is_empty() { session_id_of(wanted.agent, &path)? } else { head.session_id };
        Some(Candidate {
            path,
            session_id,
            born: created.or(head.began).unwrap_or(modified),
            modified,
            background: head.background,
            here,
        })
    }
}

fn head_of(wanted: &Wanted<'_>, path: &Path, file: &mut fs::File) -> Head {
    let Some(mut parser) = SessionParser::new(wanted.agent) else { return Head::default() };
    let mut bytes = Vec::new();
    if file.take(MAX_HEAD).read_to_end(&mut bytes).is_err() {
        return Head::default();
    }
    if path.extension().is_some_and(|kind| kind == "json") {
        parser.whole(&bytes, wanted.now, |_| ());
    } else {
        let mut done = false;
        LineSplitter::new().feed(&bytes, |cut, _| {
            if let (Cut::Line(line), false) = (cut, done) {
                parser.line(line, wanted.now, |_| ());
                let facts = parser.facts();
                done = facts.began.is_some() && !facts.session_id.is_empty();
            }
        });
    }
    let facts = parser.facts().clone();
    Head {
        session_id: facts.session_id,
        cwd: facts.cwd,
        project_hash: facts.project_hash,
        began: facts.began,
        background: facts.background,
    }
}

/// The directories of an agent, below its home.
#[derive(Debug, Default)]
struct Places {
    listed: Vec<PathBuf>,
    /// Files that were found by the ids that something names.
    named: Vec<PathBuf>,
    /// Whole paths.
    watched: BTreeSet<PathBuf>,
}

impl Places {
    fn of(wanted: &Wanted<'_>) -> Self {
        let mut places = Self::default();
        match wanted.agent.as_str() {
            "claude" => places.claude(wanted),
            "codex" => places.codex(wanted),
            "gemini" => places.gemini(wanted),
            _ => {}
        }
        places
    }

    /// Watches a directory; where there is none yet, the nearest above it.
    fn watch(&mut self, home: &Path, inside: &Path) {
        let wanted = home.join(inside);
        let there = wanted.ancestors().find(|dir| dir.is_dir());
        self.watched.extend(there.map(Path::to_owned));
    }

    fn claude(&mut self, wanted: &Wanted<'_>) {
        let projects = Path::new("projects");
        let name = project_name(wanted.cwd);
        let mut own = vec![projects.join(&name)];
        if name.len() > LONGEST_NAME {
            // A long name is cut and gets a hash at its end.
            let start = format!("{}-", &name[..LONGEST_NAME]);
            let all = folders_of(&wanted.home.join(projects));
            own = all
                .into_iter()
                .filter(|name| name.starts_with(&start))
                .map(|name| projects.join(name))
                .collect();
        }
        for dir in own {
            self.watch(wanted.home, &dir);
            self.listed.push(dir);
        }
        for id in &wanted.named_ids {
            let file = format!("{id}.jsonl");
            let known =
                self.listed.iter().map(|dir| dir.join(&file)).find(|path| wanted.home.join(path).is_file());
            let found = known.or_else(|| {
                let all = folders_of(&wanted.home.join(projects)).into_iter();
                all.map(|dir| projects.join(dir).join(&file)).find(|path| wanted.home.join(path).is_file())
            });
            self.named.extend(found);
        }
    }

    /// Days are named by local time, so those around the times in question are looked at.
    fn codex(&mut self, wanted: &Wanted<'_>) {
        let sessions = Path::new("sessions");
        self.watch(wanted.home, sessions);
        let first = day_of(wanted.since, -1);
        let mut days: Vec<PathBuf> = Vec::new();
        let mut newest = sessions.to_owned();
        for _ in 0..3 {
            let Some(name) = folders_of(&wanted.home.join(&newest)).into_iter().max() else { break };
            newest = newest.join(name);
            self.watch(wanted.home, &newest);
        }
        // A session of today goes into a directory that may be made at any moment.
        for ahead in 0..=MAX_DAYS as i64 {
            let day = day_of(wanted.now, 1 - ahead);
            if day < first {
                break;
            }
            days.push(sessions.join(day));
        }
        for id in &wanted.named_ids {
            // The id of a session begins with its time.
            for around in uuid_time(id).into_iter().flat_map(|at| (-1..=1).map(move |days| day_of(at, days)))
            {
                let dir = sessions.join(around);
                let files = files_of(&wanted.home.join(&dir));
                let found =
                    files.into_iter().find(|path| session_id_of(wanted.agent, path).as_ref() == Some(id));
                self.named
                    .extend(found.and_then(|path| path.strip_prefix(wanted.home).ok().map(Path::to_owned)));
            }
        }
        self.listed = days;
    }

    fn gemini(&mut self, wanted: &Wanted<'_>) {
        let tmp = Path::new("tmp");
        self.watch(wanted.home, tmp);
        let hash = hash_of(wanted.cwd);
        for name in folders_of(&wanted.home.join(tmp)) {
            // Named by the hash of the directory, or by a short name that a file inside explains.
            let dir = tmp.join(&name);
            let root = small_text(wanted.home, &dir.join(".project_root"));
            let own = name == hash || root.is_some_and(|root| Path::new(root.trim()) == wanted.cwd);
            if own {
                self.watch(wanted.home, &dir.join("chats"));
                self.listed.push(dir.join("chats"));
            }
        }
    }
}

/// Claude Code cuts names of projects here.
const LONGEST_NAME: usize = 200;

/// As Claude Code names the directory of a project.
fn project_name(cwd: &Path) -> String {
    let mut name = String::new();
    for unit in cwd.to_string_lossy().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            _ => name.push('-'),
        }
    }
    name
}

/// As Gemini CLI names a project.
fn hash_of(cwd: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = ring::digest::digest(&ring::digest::SHA256, cwd.as_os_str().as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn day_of(at: Timestamp, days: i64) -> String {
    let day = at.to_zoned(TimeZone::UTC).date();
    day.checked_add(days.days()).unwrap_or(day).strftime("%Y/%m/%d").to_string()
}

/// The instant in a UUID of version 7.
fn uuid_time(id: &str) -> Option<Timestamp> {
    let id = uuid::Uuid::parse_str(id).ok().filter(|id| id.get_version_num() == 7)?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// The session that a file's name tells. `None`: it is no session file.
pub(super) fn session_id_of(agent: &AgentKind, path: &Path) -> Option<String> {
    let (stem, kind) = (path.file_stem()?.to_str()?, path.extension()?.to_str()?);
    let id = match (agent.as_str(), kind) {
        ("claude", "jsonl") => stem,
        ("codex", "jsonl") => {
            let rest = stem.strip_prefix("rollout-")?;
            rest.get(rest.len().checked_sub(36)?..)?
        }
        ("gemini", "json" | "jsonl") => return Some(stem.strip_prefix("session-")?.to_owned()),
        _ => return None,
    };
    uuid::Uuid::parse_str(id).ok()?;
    Some(id.to_owned())
}

/// The sessions that Claude Code has noted for processes, in `sessions/PID.json`. Right at the start of a process; whoever
/// reads it must know that it can be out of date.
pub(super) fn noted(
    agent: &AgentKind,
    home: &Path,
    pids: impl Iterator<Item = u32>,
) -> BTreeMap<u32, String> {
    if agent.as_str() != "claude" {
        return BTreeMap::new();
    }
    let id_of = |pid: u32| {
        let text = small_text(home, &Path::new("sessions").join(format!("{pid}.json")))?;
        let note: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some((pid, note.get("sessionId")?.as_str()?.to_owned()))
    };
    pids.filter_map(id_of).collect()
}

fn small_text(home: &Path, inside: &Path) -> Option<String> {
    let mut text = String::new();
    open::regular_file(home, inside).ok()?.take(16 << 10).read_to_string(&mut text).ok()?;
    Some(text)
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.take(MAX_FILES).map(|entry| entry.path()).collect()
}

fn folders_of(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(MAX_FILES);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_the_agents_make_them() {
        assert_eq!(project_name(Path::new("/home/me/my_app.v2/\u{1f600}é")), "-home-me-my-app-v2----");
        // Seen with Gemini CLI 0.61.
        assert_eq!(
            hash_of(Path::new("/srv/sf-lab/home/webapp")),
            "d2ec8cea45c9dbb3bb57ede5f070168da9981d9a7f3d6b0bf5e901ba0cbe6968"
        );
        let codex = Path::new("a/rollout-2026-11-22T02-08-24-01a2024c-9c92-7631-9bf3-6253f3d9adf5.jsonl");
        assert_eq!(
            session_id_of(&AgentKind::codex(), codex).unwrap(),
            "01a2024c-9c92-7631-9bf3-6253f3d9adf5"
        );
        assert_eq!(session_id_of(&AgentKind::codex(), Path::new("rollout-x.jsonl")), None);
        assert_eq!(session_id_of(&AgentKind::claude(), Path::new("notes.jsonl")), None);
        let at = uuid_time("01a2024c-9c92-7631-9bf3-6253f3d9adf5").unwrap();
        assert_eq!(day_of(at, 0), "2026/11/22");
    }
}
