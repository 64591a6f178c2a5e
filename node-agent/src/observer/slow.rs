//! A server that cannot be followed: its wire is not spoken here, or it sends what cannot be read.
//!
//! Constraints: it is looked at through `wezterm cli`, one process at a time and not more often than that module allows
//! (a process per poll wedges servers), and nothing is ever typed. Panes, titles and screens are shown, and lines logged, as
//! far as the looks show them. Status says so, and once a minute the native way is tried again.
//! Operation: a list, then a look at some panes in turn, then a list again. Pane numbers belong to the server process that
//! was greeted; when that is gone nothing more is believed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use tokio::time::Instant;
use wa_link::shutdown::Shutdown;
use wa_mux::cli::{CliError, CliObserver, CliOptions, CliPane};
use wa_proto::wire::v1;
use wa_proto::{EventKind, Generation};
use wa_screen::Options;

use super::pane::Moment;
use super::scan::{Scanned, Scans};
use super::serve::sleep_until;
use super::view::{Command, Link, LookError};
use super::{Observer, is_gone};

/// Until the native way is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// How servers that cannot be followed are looked at.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// `wezterm`, or its path.
    pub program: PathBuf,
    /// Until the native way is tried again.
    pub retry: Duration,
}

impl Fallback {
    /// With this program; the native way is tried again every minute.
    pub fn new(program: PathBuf) -> Self {
        Self { program, retry: RETRY }
    }
}
/// Panes looked at between two lists.
const BETWEEN_LISTS: usize = 8;

/// Why a server cannot be followed, and which it is.
#[derive(Debug)]
pub(super) struct Reason {
    pub(super) why: String,
    pub(super) codec: u64,
    pub(super) version: String,
    pub(super) generation: Generation,
    pub(super) pid: Option<u32>,
}

/// Looks, never faster than it may, over all times that it is needed.
pub(super) type Looker = Arc<CliObserver>;

pub(super) fn looker(fallback: &Fallback, socket: &Path) -> Looker {
    Arc::new(CliObserver::new(CliOptions { program: fallback.program.clone(), ..CliOptions::new(socket) }))
}

enum Look {
    List(Result<Vec<CliPane>, CliError>),
    Screen(Box<CliPane>, Result<Vec<String>, CliError>),
}

/// What is to be looked at next.
struct Round {
    looker: Looker,
    known: BTreeMap<u64, CliPane>,
    turns: VecDeque<u64>,
    since_list: usize,
    scans: Scans,
    scan: OptionFuture<BoxFuture<'static, Scanned>>,
}

impl Round {
    fn new(looker: &Looker) -> Self {
        Self {
            looker: Arc::clone(looker),
            known: BTreeMap::new(),
            turns: VecDeque::new(),
            since_list: 0,
            scans: Scans::default(),
            scan: OptionFuture::default(),
        }
    }

    /// The next look: a list, or the pane whose turn it is.
    fn next(&mut self) -> BoxFuture<'static, Look> {
        let looker = Arc::clone(&self.looker);
        while self.since_list < BETWEEN_LISTS.min(self.known.len()) {
            let Some(id) = self.turns.pop_front() else { break };
            let Some(pane) = self.known.get(&id).cloned() else { continue };
            self.turns.push_back(id);
            self.since_list += 1;
            return Box::pin(async move {
                let rows = looker.viewport(&pane).await;
                Look::Screen(Box::new(pane), rows)
            });
        }
        self.since_list = 0;
        Box::pin(async move { Look::List(looker.list().await) })
    }

    fn list(&mut self, panes: Vec<CliPane>) {
        for pane in &panes {
            if !self.known.contains_key(&pane.pane_id) {
                // New panes come first.
                self.turns.push_front(pane.pane_id);
            }
        }
        self.known = panes.into_iter().map(|pane| (pane.pane_id, pane)).collect();
        self.turns.retain(|id| self.known.contains_key(id));
    }
}

impl Observer {
    /// Looks at the server until it is time to try the native way again.
    pub(super) async fn look_slowly(&mut self, reason: Reason, shutdown: &Shutdown) {
        let until = Instant::now() + self.shared.fallback.retry;
        self.take_generation(reason.generation.clone(), reason.pid).await;
        let why = format!("fallback: {}, observing slowly through wezterm cli", reason.why);
        self.say(&reason, &why);
        self.slow_link(&reason, &why).await;
        let mut round = Round::new(&self.looker);
        let mut look = round.next();
        let triggered = shutdown.triggered();
        tokio::pin!(triggered);
        loop {
            let wake = self.next_slow_wake(&round);
            tokio::select! {
                biased;
                () = &mut triggered => break,
                seen = &mut look => {
                    if self.pid.is_some_and(is_gone) || Instant::now() >= until {
                        break;
                    }
                    if !self.took(&mut round, &reason, &why, seen).await {
                        self.rest(until, &mut triggered).await;
                        break;
                    }
                    look = round.next();
                }
                Some(scanned) = &mut round.scan => {
                    round.scan = OptionFuture::default();
                    let fetches = self.scanned(&mut round.scans, &scanned);
                    self.cannot_fetch(fetches);
                }
                _ = round.scans.exits.next() => round.scans.soon(),
                () = self.ttys.changed() => self.judge_mirrors(),
                Some(command) = self.commands.recv() => self.command_slowly(command),
                (following, update) = self.files.next() => self.session_update(following, update),
                Ok(()) = self.engine.changed() => self.new_rules(),
                () = sleep_until(wake) => {}
            }
            let fetches = self.wake_panes().await;
            self.cannot_fetch(fetches);
            self.files.let_go();
            if round.scans.due().is_some_and(|at| at <= Instant::now()) {
                round.scan = Some(self.scan(&mut round.scans)).into();
            }
        }
        self.flush_all().await;
    }

    /// Takes in what was seen, and says how it went. False: nothing can be seen at all.
    async fn took(&mut self, round: &mut Round, reason: &Reason, why: &str, look: Look) -> bool {
        match self.saw(round, reason, look).await {
            Ok(()) => self.say(reason, why),
            Err(error @ CliError::Start { .. }) => {
                self.say(reason, &format!("fallback: {}, and nothing can be observed: {error}", reason.why));
                return false;
            }
            Err(error) => self.say(reason, &format!("{why}; the last look failed: {error}")),
        }
        true
    }

    fn next_slow_wake(&self, round: &Round) -> Option<Instant> {
        let now = Moment::now();
        let panes = self.panes.values().filter_map(|pane| pane.wake_at(now));
        panes.chain(round.scans.due()).chain(self.files.due()).min()
    }

    /// Nothing can be seen: waits, and answers those who ask.
    async fn rest(&mut self, until: Instant, ended: &mut (impl Future<Output = ()> + Unpin)) {
        self.looked.close();
        loop {
            tokio::select! {
                () = &mut *ended => return,
                () = tokio::time::sleep_until(until) => return,
                Some(command) = self.commands.recv() => self.command_slowly(command),
            }
        }
    }

    async fn slow_link(&mut self, reason: &Reason, why: &str) {
        let before = self.link.send_replace(Link::Slow(why.into()));
        if matches!(before, Link::Slow(_)) {
            return;
        }
        tracing::warn!(mux = %self.name, codec = reason.codec, version = reason.version, why, "the mux server is only observed");
        let fields = [
            ("codec", reason.codec.to_string()),
            ("version", reason.version.clone()),
            ("fallback", reason.why.clone()),
        ];
        self.event(EventKind::MuxConnected, &fields).await;
    }

    fn say(&self, reason: &Reason, problem: &str) {
        self.shared.board.set_problem(
            &format!("mux {}", self.name),
            Some(format!("mux {}: {problem}; nothing is typed there", self.name)),
        );
        let status = v1::MuxStatus {
            name: self.name.to_string(),
            codec: u32::try_from(reason.codec).unwrap_or(0),
            version: reason.version.clone(),
            panes: u32::try_from(self.panes.len()).unwrap_or(u32::MAX),
            generation: reason.generation.to_string(),
            problem: problem.to_owned(),
        };
        self.shared.board.set_mux(&self.name, status);
    }

    async fn saw(&mut self, round: &mut Round, reason: &Reason, look: Look) -> Result<(), CliError> {
        match look {
            Look::List(panes) => {
                let panes = panes?;
                self.listed_slowly(&panes, &reason.generation).await;
                round.list(panes);
                round.scans.output();
            }
            Look::Screen(_, Err(error)) if error.is_no_such_pane() => round.since_list = BETWEEN_LISTS,
            Look::Screen(pane, rows) => {
                let rows = rows?;
                if let Some(watched) = self.panes.get_mut(&pane.pane_id)
                    && watched.shown(&pane, rows)
                {
                    round.scans.output();
                }
            }
        }
        Ok(())
    }

    async fn listed_slowly(&mut self, panes: &[CliPane], generation: &Generation) {
        for pane in panes {
            if !self.panes.contains_key(&pane.pane_id)
                && !self.add(generation, pane.pane_id, Options::default())
            {
                continue;
            }
            if let Some(watched) = self.panes.get_mut(&pane.pane_id) {
                watched.listed_slowly(pane);
            }
        }
        let known = |id: &u64| panes.iter().any(|pane| pane.pane_id == *id);
        let gone: Vec<u64> = self.panes.keys().filter(|id| !known(id)).copied().collect();
        for id in gone {
            self.drop_pane(id, false).await;
        }
        self.share_ttys();
        self.lose_unclaimed().await;
        self.looked.close();
    }

    /// There is nobody to ask.
    fn cannot_fetch(&mut self, fetches: Vec<(u64, Vec<Range<i64>>)>) {
        for (id, _) in fetches {
            if let Some(pane) = self.panes.get_mut(&id) {
                // What it asks for in turn waits for the next look.
                drop(pane.rows(None));
            }
        }
    }

    /// What was seen last: nothing fresher can be had.
    fn command_slowly(&mut self, command: Command) {
        match command {
            Command::Ask { pane_id, asked } => match self.panes.get_mut(&pane_id) {
                Some(pane) if pane.is_seen() => asked.answer(pane),
                Some(_) => asked.fail(LookError::NotSeen),
                None => asked.fail(LookError::NoPane),
            },
            Command::Follow { pane_id, reply } => {
                // The one who asked may have gone.
                let _gone = reply.send(self.panes.get_mut(&pane_id).map(|pane| pane.follow()));
            }
            // Nothing acts here.
            Command::Acting { .. } => {}
            Command::Hook { terminal, report } => self.hook(&terminal, *report),
        }
    }
}
