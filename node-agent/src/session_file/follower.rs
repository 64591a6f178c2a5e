//! One pane: from process to file to updates.
//!
//! The work on files is done on a thread for blocking work, a bounded piece at a time; in between, the task tells what was
//! found and sleeps. It looks for the file again when something comes or goes in the agent's directories, when a hint
//! comes, and now and then; not more often than once a second.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wa_link::clock;
use wa_proto::{AgentSession, Timestamp, Witness};

use super::choose::{self, Claim, Evidence};
use super::find::{self, Finder, Wanted};
use super::homes::Homes;
use super::position::Position;
use super::process::{self, Process};
use super::reader::{Place, Progress, Reader};
use super::watch::Interest;
use super::{Follow, Hint, Hints, SessionFiles, Update};
use crate::account::AccountRoot;

/// Between two looks for the file.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at a file that nothing was told of.
const CHECK: Duration = Duration::from_secs(30);
/// Every so many checks, the file is looked for again although one is known.
const CHECKS_PER_LOOK: u32 = 10;
/// Files that can be come back to without reading them anew.
const MAX_LEFT: usize = 16;
/// Before a process started, by so much, files still count: clocks and file systems round.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// All that a pane's task knows. Moves to the blocking thread and back.
struct Follower {
    request: Follow,
    fallback: Homes,
    accounts: Option<AccountRoot>,
    began: Timestamp,
    finder: Finder,
    interest: Interest,
    reader: Option<Reader>,
    /// Of the reading before the node restarted.
    resume: Option<Position>,
    /// Where files were left, to come back to them: an agent can resume what it had left.
    left: Vec<Position>,
    /// Why the file is the one, or why there is none.
    reason: String,
    /// What keeps changes from being told, or the file from being read.
    trouble: String,
    /// A position was given that is none.
    bad_position: bool,
    told: Option<AgentSession>,
}

/// What is to be done in one go.
#[derive(Debug, Clone, Default)]
struct Job {
    look: bool,
    /// Make sure that the name still stands for the file.
    check: bool,
    hints: Vec<(Hint, Timestamp)>,
}

struct Done {
    follower: Box<Follower>,
    updates: Vec<Update>,
    more: bool,
}

pub(super) async fn run(
    files: SessionFiles,
    request: Follow,
    hints: Arc<Hints>,
    updates: mpsc::Sender<(u64, Update)>,
) {
    let pane = request.pane_id;
    let mut follower = Box::new(Follower::new(&files, request));
    let mut job = Job { look: true, check: false, hints: hints.all() };
    let mut looked = clock::monotonic();
    let mut checks = 0;
    loop {
        if job.look {
            looked = clock::monotonic();
        }
        let Some(done) = work(&files, follower, job).await else { return };
        follower = done.follower;
        for update in done.updates {
            if updates.send((pane, update)).await.is_err() {
                return;
            }
        }
        job = Job::default();
        if done.more {
            continue;
        }
        let rest = follower.reader.as_ref().map(Reader::rest).unwrap_or_default();
        tokio::time::sleep(rest).await;
        job = tokio::select! {
            () = follower.interest.waker() => {
                let changes = follower.interest.changes();
                Job { look: changes.around, check: changes.around, ..Job::default() }
            }
            () = hints.news.notified() => Job { look: true, ..Job::default() },
            () = tokio::time::sleep(CHECK) => {
                checks += 1;
                let look = follower.reader.is_none() && checks % 2 == 0 || checks % CHECKS_PER_LOOK == 0;
                Job { look, check: true, ..Job::default() }
            }
            () = updates.closed() => return,
        };
        if job.look {
            tokio::time::sleep_until(Instant::max(looked + LOOK_AGAIN, clock::monotonic())).await;
            job.hints = hints.all();
        }
    }
}

/// `None`: the program ends.
async fn work(files: &SessionFiles, mut follower: Box<Follower>, job: Job) -> Option<Done> {
    let permit = Arc::clone(&files.readers).acquire_owned().await.ok()?;
    let step = move || {
        let _permit = permit;
        let now = clock::now();
        let mut updates = Vec::new();
        if job.look {
            follower.look(&job.hints, now);
        }
        // Whose messages these are is told before them.
        follower.tell_session(&mut updates);
        let more = follower.read(job.check, now, &mut updates);
        follower.tell_session(&mut updates);
        Done { follower, updates, more }
    };
    files.tasks.spawn_blocking("session file", step).await.ok()
}

impl Follower {
    fn new(files: &SessionFiles, request: Follow) -> Self {
        let resume = Position::from_bytes(&request.resume);
        Self {
            fallback: files.homes.clone(),
            accounts: files.accounts.clone(),
            began: clock::now(),
            finder: Finder::default(),
            interest: files.watcher.interest(),
            reader: None,
            bad_position: resume.is_none() && !request.resume.is_empty(),
            left: resume.clone().into_iter().collect(),
            resume,
            reason: String::new(),
            trouble: String::new(),
            told: None,
            request,
        }
    }

    /// Looks for the file of the process, and turns to it if it is another than before.
    fn look(&mut self, hints: &[(Hint, Timestamp)], now: Timestamp) {
        // A file that is looked into now may be written a moment later.
        self.interest.set_curious(true);
        let process = process::look(&self.request.agent, self.request.pid, now);
        let Some((home, home_reason)) = self.home(&process) else {
            return self.turn_to(
                None,
                "nothing says where the agent keeps its files: its HOME is not known".to_owned(),
                now,
            );
        };
        let cwd = process.cwd.clone().unwrap_or_else(|| PathBuf::from(&self.request.cwd));
        let claims = self.claims(&process, hints, &home);
        let open: Vec<PathBuf> =
            process.open.iter().filter_map(|path| session_path(self, &home, path)).collect();
        let started = process.started.unwrap_or(self.began);
        let named = claims.iter().map(|claim| claim.path.clone()).filter(|path| !path.as_os_str().is_empty());
        let found = self.finder.find(&Wanted {
            agent: &self.request.agent,
            home: &home,
            cwd: &cwd,
            since: started.saturating_sub(SLACK).unwrap_or(started),
            now,
            named: open.iter().cloned().chain(named).collect(),
            named_ids: claims
                .iter()
                .map(|claim| claim.session_id.clone())
                .filter(|id| !id.is_empty())
                .collect(),
        });
        let (dirs, unclear) = (found.dirs, found.unclear);
        let pids = process.pids.iter().copied();
        let mut noted =
            find::noted(&self.request.agent, &home, pids.chain(process.rivals.iter().map(|one| one.pid)));
        // What is noted for the program counts for its launcher.
        let own = process.pids.iter().find_map(|pid| noted.get(pid).cloned());
        noted.extend(own.map(|id| (self.request.pid, id)));
        let evidence = Evidence {
            pid: self.request.pid,
            started: process.started,
            follow_began: self.began,
            open,
            claims,
            candidates: found.candidates,
            rivals: process.rivals,
            noted,
            directory: cwd.display().to_string(),
        };
        match choose::choose(&evidence) {
            Ok((place, reason)) => {
                let chosen = &evidence.candidates[place];
                let place = Place {
                    agent: self.request.agent.clone(),
                    home,
                    path: chosen.path.clone(),
                    session_id: chosen.session_id.clone(),
                    pid: self.request.pid,
                    began: self.began,
                };
                self.turn_to(Some(place), format!("{reason}{home_reason}"), now);
            }
            Err(reason) => self.turn_to(None, format!("{reason}{home_reason}"), now),
        }
        self.watch(dirs);
        self.interest.set_curious(unclear);
    }

    /// The agent's home, and a word where it is not its own that says so.
    fn home(&self, process: &Process) -> Option<(PathBuf, &'static str)> {
        let own = process.homes.as_ref().and_then(|homes| homes.home_of(&self.request.agent));
        let (home, word) = match own {
            Some(home) => (home, ""),
            None => {
                let home = self.fallback.home_of(&self.request.agent)?;
                (home, " (its environment cannot be read, so the node's own home was looked into)")
            }
        };
        // One name for one directory: what the system tells of open files has no links in it.
        let home = std::fs::canonicalize(&home).unwrap_or(home);
        let shared = self
            .accounts
            .as_ref()
            .map(|accounts| accounts.home_of_sessions(&self.request.agent, home.clone()));
        Some((shared.unwrap_or(home), word))
    }

    fn claims(&self, process: &Process, hints: &[(Hint, Timestamp)], home: &Path) -> Vec<Claim> {
        let mut claims: Vec<Claim> = hints
            .iter()
            .filter_map(|(hint, at)| {
                let inside = session_path(self, home, Path::new(&hint.path)).unwrap_or_default();
                let named = find::session_id_of(&self.request.agent, &inside).unwrap_or_default();
                let session_id = if hint.session_id.is_empty() { named } else { hint.session_id.clone() };
                let by_hook = hint.witness == Witness::Hook;
                (!session_id.is_empty()).then(|| Claim {
                    session_id,
                    path: inside,
                    source: hint.source.clone(),
                    at: *at,
                    by_hook,
                })
            })
            .collect();
        if let Some(session_id) = resumed_by(&process.args) {
            let source = "its start command".to_owned();
            let at = process.started.unwrap_or(self.began);
            claims.push(Claim { session_id, path: PathBuf::new(), source, at, by_hook: false });
        }
        if let Some(before) = self.resume.as_ref().filter(|before| before.pid == self.request.pid) {
            claims.push(Claim {
                session_id: before.session_id.clone(),
                path: before.path.clone(),
                source: "what was followed before the node restarted".to_owned(),
                at: before.at,
                by_hook: false,
            });
        }
        claims
    }

    fn watch(&mut self, mut dirs: BTreeSet<PathBuf>) {
        if let Some(place) = self.reader.as_ref().map(Reader::place) {
            dirs.extend(place.home.join(&place.path).parent().map(Path::to_owned));
        }
        self.trouble = match self.interest.set_dirs(dirs) {
            Ok(()) => String::new(),
            Err(why) => {
                format!("changes are not told ({why}), so the file is looked at every {} s", CHECK.as_secs())
            }
        };
    }

    fn turn_to(&mut self, place: Option<Place>, reason: String, now: Timestamp) {
        self.reason = reason;
        let known = self.reader.as_ref().map(Reader::place);
        if known == place.as_ref() {
            return;
        }
        if let Some(left) = self.reader.take().and_then(|reader| reader.position(now)) {
            self.left.retain(|known| known.path != left.path);
            self.left.truncate(MAX_LEFT - 1);
            self.left.insert(0, left);
        }
        if let Some(place) = place {
            let path = place.home.join(&place.path);
            self.interest.set_file(Some(path.clone()));
            let left = self.left.iter().find(|left| left.path == place.path && left.agent == place.agent);
            match Reader::open(place, left, now) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => {
                    self.reason =
                        format!("{} is its session file ({}), but: {error}", path.display(), self.reason);
                }
            }
        }
        if self.reader.is_none() {
            self.interest.set_file(None);
        }
    }

    /// True: there is more.
    fn read(&mut self, check: bool, now: Timestamp, updates: &mut Vec<Update>) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let progress =
            if check && !reader.is_same_file() { Ok(Progress::Replaced) } else { reader.read(now, updates) };
        match progress {
            Ok(Progress::More) => true,
            Ok(Progress::AllRead) => false,
            Ok(Progress::Replaced) => {
                let Some(reader) = self.reader.take() else { return false };
                match reader.reopen(now) {
                    Ok(reader) => {
                        self.reader = Some(reader);
                        true
                    }
                    Err(error) => {
                        self.gone(&error.to_string());
                        false
                    }
                }
            }
            Err(error) => {
                self.gone(&error.to_string());
                false
            }
        }
    }

    /// The file cannot be read any more. What comes next in its directory is looked at.
    fn gone(&mut self, why: &str) {
        self.reader = None;
        self.interest.set_file(None);
        self.reason = format!("its session file cannot be read any more: {why}");
    }

    fn tell_session(&mut self, updates: &mut Vec<Update>) {
        let mut problems = vec![self.trouble.clone()];
        if self.bad_position {
            problems.push("the position of an earlier reading could not be used".to_owned());
        }
        let mut session = AgentSession { reason: self.reason.clone(), ..AgentSession::default() };
        if let Some(reader) = &self.reader {
            let (facts, place) = (reader.facts(), reader.place());
            session.session_id = reader.session_id();
            session.path = place.home.join(&place.path).display().to_string();
            session.model.clone_from(&facts.model);
            session.usage = facts.usage;
            session.rate_limits.clone_from(&facts.rate_limits);
            session.compactions = facts.compactions;
            problems.push(reader.problem());
        }
        problems.retain(|problem| !problem.is_empty());
        session.problem = problems.join("; ");
        if self.told.as_ref() != Some(&session) {
            self.told = Some(session.clone());
            updates.push(Update::Session(Box::new(session)));
        }
    }
}

/// The part of a path below the home, if it is there and has the name of a session file.
fn session_path(follower: &Follower, home: &Path, path: &Path) -> Option<PathBuf> {
    let inside = match path.strip_prefix(home) {
        Ok(inside) => inside.to_owned(),
        // The same home by another name.
        Err(_) => std::fs::canonicalize(path).ok()?.strip_prefix(home).ok()?.to_owned(),
    };
    find::session_id_of(&follower.request.agent, &inside).map(|_| inside)
}

/// The session that a start command names: `--resume ID`, `--session-id=ID`, `resume ID`. Without an id it names none.
fn resumed_by(args: &[String]) -> Option<String> {
    let words = ["resume", "--resume", "-r", "--session-id"];
    let id =
        |text: &str| uuid::Uuid::parse_str(text).ok().filter(|_| text.len() == 36).map(|_| text.to_owned());
    args.iter().enumerate().find_map(|(place, word)| match word.split_once('=') {
        Some((name, value)) if words.contains(&name) => id(value),
        _ if words.contains(&word.as_str()) => id(args.get(place + 1)?),
        _ => None,
    })
}
