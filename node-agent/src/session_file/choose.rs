//! Which session file belongs to a process: pure.
//!
//! The rule is never to guess: a file is taken only when no other live process can be its writer, or something names it;
//! everything else is no mapping, with the reason in words. In order:
//!
//! 1. A file that the process itself holds open is its own.
//! 2. What a hook says, it says from inside the agent, and again at every change.
//! 3. What the screen or the start command said, or what was followed before the node restarted, holds until the process
//!    has begun a newer file.
//! 4. A file that was begun in this directory since the process started, and that no other agent there can have begun: one
//!    that started later cannot, nor one that still wrote another file after this one was begun, nor one where Claude
//!    Code itself has noted who is whose.
//! 5. A file from before the process (resumed inside the agent) that is being written while nobody else is there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::SignedDuration;
use wa_proto::Timestamp;

use super::process::Rival;

/// Between the start of a process and the times that file systems and agents note.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// A session file that may be the one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// Below the agent's home.
    pub(super) path: PathBuf,
    pub(super) session_id: String,
    /// When the file was begun; the session, where the file system does not say.
    pub(super) born: Timestamp,
    pub(super) modified: Timestamp,
    /// A sub-agent's, or run by a script.
    pub(super) background: bool,
    /// It says that it belongs to the directory in which the process works.
    pub(super) here: bool,
}

/// Something that names a session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) session_id: String,
    /// Below the agent's home; empty where only the id is known.
    pub(super) path: PathBuf,
    /// Who names it: `its start command`.
    pub(super) source: String,
    pub(super) at: Timestamp,
    /// Said by a hook of the agent.
    pub(super) by_hook: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) pid: u32,
    /// `None`: not known on this system.
    pub(super) started: Option<Timestamp>,
    pub(super) follow_began: Timestamp,
    /// Session files that the process holds open.
    pub(super) open: Vec<PathBuf>,
    pub(super) claims: Vec<Claim>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) rivals: Vec<Rival>,
    /// Session ids by the pids that Claude Code has noted for them.
    pub(super) noted: BTreeMap<u32, String>,
    /// The directory in which the process works, in words.
    pub(super) directory: String,
}

impl Claim {
    fn names(&self, candidate: &Candidate) -> bool {
        if self.path.as_os_str().is_empty() {
            candidate.session_id == self.session_id
        } else {
            candidate.path == self.path
        }
    }
}

impl Evidence {
    /// What a hook said last, else what anything else said last. An agent may run another one as a tool, whose hooks are
    /// called on the same terminal: what names a session in the background does not count.
    fn strongest(&self) -> Option<&Claim> {
        let aside = |claim: &&Claim| self.candidates.iter().any(|one| one.background && claim.names(one));
        self.claims.iter().filter(|claim| !aside(claim)).max_by_key(|claim| (claim.by_hook, claim.at))
    }
}

/// The place of the candidate, and why; or why there is none.
pub(super) fn choose(evidence: &Evidence) -> Result<(usize, String), String> {
    if let Some(held) = held_open(evidence) {
        return held;
    }
    let mine = begun_by_process(evidence);
    let Some(claim) = evidence.strongest() else {
        return match mine? {
            Some(begun) => Ok((begun.place, begun_reason(evidence) + &begun.doubt)),
            None => resumed_inside(evidence),
        };
    };
    let claimed = evidence.candidates.iter().position(|candidate| claim.names(candidate));
    if !claim.by_hook
        && let Ok(Some(Begun { place, .. })) = mine
        && Some(place) != claimed
        && evidence.candidates[place].born > claim.at.saturating_add(SLACK).unwrap_or(claim.at)
    {
        return Ok((place, format!("{}, after {} had named another", begun_reason(evidence), claim.source)));
    }
    match claimed {
        Some(place) => Ok((place, format!("{} names it", claim.source))),
        None => Err(format!("{} names session {}, which has no file yet", claim.source, claim.session_id)),
    }
}

fn begun_reason(evidence: &Evidence) -> String {
    let alone = if evidence.rivals.is_empty() { "" } else { " that no other agent there can have begun" };
    format!(
        "newest session file of {} begun since process {} started{alone}",
        evidence.directory, evidence.pid
    )
}

fn held_open(evidence: &Evidence) -> Option<Result<(usize, String), String>> {
    let places: Vec<usize> = (0..evidence.candidates.len())
        .filter(|place| evidence.open.contains(&evidence.candidates[*place].path))
        .filter(|place| !evidence.candidates[*place].background)
        .collect();
    match places.as_slice() {
        [] => None,
        [place] => Some(Ok((*place, format!("process {} holds it open", evidence.pid)))),
        several => {
            // Whoever names one of them knows; else the process has let go of none, and nothing says where it is.
            let named = evidence.strongest().and_then(|claim| {
                let place = several.iter().find(|place| claim.names(&evidence.candidates[**place]))?;
                Some((
                    *place,
                    format!("process {} holds it open, and {} names it", evidence.pid, claim.source),
                ))
            });
            let count = several.len();
            let pid = evidence.pid;
            Some(named.ok_or_else(|| {
                format!("process {pid} holds {count} session files open, which cannot be told apart")
            }))
        }
    }
}

/// The newest file that only this process can have begun. `Err`: there is one that may be its own, or another's.
fn begun_by_process(evidence: &Evidence) -> Result<Option<Begun>, String> {
    let Some(started) = evidence.started else {
        return Err(
            "when the agent started cannot be read on this system, and nothing names its session".to_owned()
        );
    };
    let own = Rival { pid: evidence.pid, started };
    let processes: Vec<&Rival> = evidence.rivals.iter().chain([&own]).collect();
    let fits = |candidate: &Candidate| candidate.here && !candidate.background;
    let files: Vec<&Candidate> = evidence.candidates.iter().filter(|one| fits(one)).collect();
    let noted = |process: &Rival, file: &Candidate| {
        evidence.noted.get(&process.pid).is_some_and(|id| *id == file.session_id)
    };
    // By the times alone, and by what was noted.
    let possible = |file: &Candidate| -> Vec<u32> {
        if let Some(owner) = processes.iter().find(|process| noted(process, file)) {
            return vec![owner.pid];
        }
        let before =
            |process: &&&Rival| process.started <= file.born.saturating_add(SLACK).unwrap_or(file.born);
        processes.iter().filter(before).map(|process| process.pid).collect()
    };
    // Who wrote a file of its own after this one was begun, did not begin this one.
    let elsewhere = |pid: u32, file: &Candidate| {
        files.iter().any(|other| {
            other.path != file.path
                && other.born < file.born
                && other.modified > file.born.saturating_add(SLACK).unwrap_or(file.born)
                && possible(other) == [pid]
        })
    };
    let owners = |file: &Candidate| -> Vec<u32> {
        let mut owners = possible(file);
        if owners.len() > 1 {
            owners.retain(|pid| !elsewhere(*pid, file));
        }
        owners
    };
    let newest = |wanted: &dyn Fn(&[u32]) -> bool| {
        (0..evidence.candidates.len())
            .filter(|place| fits(&evidence.candidates[*place]))
            .filter(|place| wanted(&owners(&evidence.candidates[*place])))
            .max_by_key(|place| (evidence.candidates[*place].born, evidence.candidates[*place].modified))
    };
    let sure = newest(&|owners| owners == [evidence.pid]);
    let Some(last) = newest(&|owners| owners.contains(&evidence.pid)) else { return Ok(None) };
    let open = format!(
        "{} agents work in {}, and which of them writes session {} cannot be told",
        owners(&evidence.candidates[last]).len(),
        evidence.directory,
        evidence.candidates[last].session_id
    );
    match sure {
        // What is in it was said here, whoever has begun the newer one.
        Some(place) if place != last => Ok(Some(Begun { place, doubt: format!("; but {open}") })),
        Some(place) => Ok(Some(Begun { place, doubt: String::new() })),
        None => Err(open),
    }
}

/// A file that the process has begun, and what is not known of a newer one.
struct Begun {
    place: usize,
    doubt: String,
}

/// A file from before the process, that is written now.
fn resumed_inside(evidence: &Evidence) -> Result<(usize, String), String> {
    let directory = &evidence.directory;
    let written: Vec<usize> = (0..evidence.candidates.len())
        .filter(|place| {
            let candidate = &evidence.candidates[*place];
            candidate.here && !candidate.background && candidate.modified > evidence.follow_began
        })
        .collect();
    match written.as_slice() {
        [place] if evidence.rivals.is_empty() => Ok((
            *place,
            format!(
                "the only session file of {directory} that is written to, and no other agent works there"
            ),
        )),
        [] => Err(format!(
            "no session file of {directory} has been written since process {} started",
            evidence.pid
        )),
        _ => Err(format!(
            "several session files of {directory} are written to, and which is this agent's cannot be told"
        )),
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
