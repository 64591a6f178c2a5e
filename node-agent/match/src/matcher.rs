//! The matcher of one pane: frames and facts in, events and state out.
//!
//! Constraints. It is called for every changed frame and whenever it asked to be woken. It never fires for what was there
//! before: at first sight of a pane, and while a new agent process replays an old session, everything is history; only what
//! holds still (a dialog, a sign-in, a limit) is news all the same. What it needs to go on after a restart is saved: hashes and flags, never text of the screen.
//!
//! Operation. Follow the agent process; look at the frame; count turns; let rule matches, dialogs and compaction marks
//! through their own gates; decide the state; derive events from it.

use jiff::Timestamp;
use wa_proto::{AgentKind, EventKind, Frame, PaneState, StateDetail, Witness};

use crate::aside::Aside;
use crate::compaction::{Compaction, Sight};
use crate::composer::Composer;
use crate::hash;
use crate::life::{LAST_WORDS, Leaving, Start};
use crate::limits;
use crate::look::{Known, Look, TitleSign, look};
use crate::notice::Notice;
use crate::observation::{Detected, Facts, Observation};
use crate::passing::Passing;
use crate::presence::{Match, Moment, Presences};
use crate::process::Foreground;
use crate::reading::{self, Marks};
use crate::resets::{self, Resets};
use crate::rules::{Engine, Hit, Rearm, Region, Rule};
use crate::shadow;
use crate::state::{self, Inputs, Left};
use crate::testimony::{self, Testimonies, Testimony};

/// Prompts remembered, to know a new one from one that came back into view.
const PROMPTS: usize = 32;

/// The agent that runs in a pane, in one life.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Running {
    pub(crate) kind: AgentKind,
    /// 0: only the screen tells of it.
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) had_composer: bool,
    /// It was idle once: from then on a new prompt is a turn, not a replay.
    pub(crate) settled: bool,
    pub(crate) turns: u64,
    pub(crate) turn_open: bool,
    /// Its end screen was seen.
    pub(crate) ended: bool,
    /// It stood at a limit when it was seen for the first time.
    #[serde(default)]
    pub(crate) found_limited: bool,
    /// The limit that it stood at before its first turn was told.
    #[serde(default)]
    pub(crate) first_limit_told: bool,
}

/// What a witness other than the screen says.
#[derive(Debug, Clone)]
enum Heard {
    Testimony(Testimony),
    Notice(Notice),
}

/// Follows one pane.
#[derive(Debug, Clone)]
pub struct PaneMatcher {
    pub(crate) fresh: bool,
    /// When it was first shown the pane; `None`: by an earlier program.
    pub(crate) met: Option<Timestamp>,
    pub(crate) running: Option<Running>,
    /// A start that is still to be told.
    pub(crate) starting: Option<Start>,
    pub(crate) leaving: Option<Leaving>,
    pub(crate) left: Option<(Left, AgentKind)>,
    pub(crate) state: PaneState,
    pub(crate) since: Option<Timestamp>,
    pub(crate) quiet: Option<(u64, Timestamp)>,
    pub(crate) prompts: Vec<i64>,
    pub(crate) presences: Presences,
    pub(crate) compaction: Compaction,
    pub(crate) session_id: String,
    /// The session whose end was told last.
    pub(crate) ended_session: String,
    /// At most one of each kind.
    pub(crate) limits_told: Vec<limits::Told>,
    /// Warnings that were told in this turn, by its number, the words of its prompt and the window.
    pub(crate) warned: Vec<(u64, u64, String)>,
    /// Sign-in codes that were told: each is good for once.
    pub(crate) codes: Vec<i64>,
    pub(crate) resets: Resets,
    /// What other witnesses have said since the last look.
    arrived: Vec<Heard>,
    pub(crate) testimonies: Testimonies,
    /// Lines that went by since the last look.
    pub(crate) passing: Passing,
    pub(crate) aside: Aside,
    wakeup: Option<Timestamp>,
}

impl Default for PaneMatcher {
    fn default() -> Self {
        Self {
            fresh: true,
            met: None,
            running: None,
            starting: None,
            leaving: None,
            left: None,
            state: PaneState::Unknown,
            since: None,
            quiet: None,
            prompts: Vec::new(),
            presences: Presences::default(),
            compaction: Compaction::default(),
            session_id: String::new(),
            ended_session: String::new(),
            limits_told: Vec::new(),
            warned: Vec::new(),
            codes: Vec::new(),
            resets: Resets::default(),
            arrived: Vec::new(),
            testimonies: Testimonies::default(),
            passing: Passing::default(),
            aside: Aside::default(),
            wakeup: None,
        }
    }
}

/// What one frame means for turns and for what is history.
pub(crate) struct Turn {
    began: bool,
    prompt_changed: bool,
    /// A marker or the title says that it works on a prompt.
    marked: bool,
    history: bool,
}

impl Turn {
    /// What a frame with these marks says of compactions.
    pub(crate) fn sight<'m>(&self, seen: &Look, marks: Option<&'m Marks<'_>>) -> Sight<'m> {
        Sight {
            marks: marks.map(|marks| (marks.count, marks.below.as_str())),
            compacting: seen.view.working.as_ref().is_some_and(|working| working.compacting),
            turn_began: self.began,
            prompt_changed: self.prompt_changed,
            working: self.marked,
            whole: reading::is_whole(seen),
        }
    }
}

impl PaneMatcher {
    /// A matcher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// When to call [`Self::observe`] again although nothing has changed.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.wakeup
    }

    /// Hears a witness other than the screen; what it means is told by the next [`Self::observe`], or a later one.
    pub fn tell(&mut self, testimony: Testimony) {
        self.heard(Heard::Testimony(testimony));
    }

    /// Hears the words of a record of the agent's session file, which rules read as they read the screen.
    pub fn notice(&mut self, notice: Notice) {
        self.heard(Heard::Notice(notice));
    }

    fn heard(&mut self, heard: Heard) {
        if self.arrived.len() < testimony::MAX {
            self.arrived.push(heard);
        }
    }

    /// Takes in a frame and tells what happened and how things stand.
    pub fn observe(&mut self, engine: &Engine, frame: &Frame, facts: &Facts, now: Timestamp) -> Observation {
        let first = std::mem::replace(&mut self.fresh, false);
        if first {
            self.met = Some(now);
        }
        self.aside.begin(engine, now);
        self.attest_lines(&facts.foreground);
        let facts = &self.settled_facts(facts);
        let mut events = Vec::new();
        self.follow_exit(facts, frame, now);
        let mut seen = self.look(engine, frame, facts);
        self.follow_command(&mut seen, now);
        let started = self.follow_start(&seen, facts, first, now);
        let begins = first || started;
        let turn = self.count_turn(&seen, first, begins);
        let (passed, passed_in_shadow) = self.passed_by(engine, (frame, facts), (&seen, &turn), begins, now);
        events.extend(passed);
        self.rules(engine, &seen, &turn, facts, now, &mut events);
        self.compactions(engine, &seen, &turn, begins, now, &mut events);
        self.dialogs(engine, &seen, &turn, now, &mut events);
        let mut shadowed = self.shadow(engine, &seen, &turn, begins, now);
        shadowed.extend(passed_in_shadow);
        self.tell_start(&seen, now, &mut events);
        self.close_exit(now, &mut events);
        let mut detail = self.decide(&seen, facts, first, &turn, now, &mut events);
        events.extend(self.standing_limit(engine, &seen, facts, now));
        self.tell_start(&seen, now, &mut events);
        self.hear(engine, facts, &mut events, &mut shadowed, now);
        detail.until = detail.until.map(|until| self.resets.exactly(until));
        self.aside.end(&events);
        let unknown = self.aside.drift.observe(engine, &seen, now);
        self.plan_wakeup(&seen, now);
        Observation {
            events,
            state: self.state,
            detail,
            live_top: seen.view.live_top,
            agent: self.running.as_ref().and(seen.agent.clone()),
            version: self.running.as_ref().map_or_else(String::new, |agent| agent.version.clone()),
            agent_pid: self.running.as_ref().filter(|_| seen.agent.is_some()).map_or(0, |agent| agent.pid),
            session_id: self.session_id.clone(),
            composer: seen.view,
            shadowed,
            unknown,
        }
    }

    /// A process table that cannot be read for the moment says nothing against the agent that it named before.
    pub(crate) fn settled_facts(&self, facts: &Facts) -> Facts {
        let mut facts = facts.clone();
        if let (Foreground::Unknown, Some(agent)) = (&facts.foreground, &self.running)
            && agent.pid != 0
        {
            let (kind, version, pid) = (agent.kind.clone(), agent.version.clone(), agent.pid);
            facts.foreground = Foreground::Agent { kind, version, pid };
        }
        facts
    }

    pub(crate) fn look(&self, engine: &Engine, frame: &Frame, facts: &Facts) -> Look {
        let by_screen = self.running.as_ref().filter(|agent| agent.pid == 0);
        let known = Known {
            agent: by_screen.map(|agent| &agent.kind),
            version: self.running.as_ref().map_or("", |agent| &agent.version),
            left: self.leaving.as_ref().map(|leaving| &leaving.agent.kind),
            still: false,
        };
        look(engine, frame, facts, &known)
    }

    fn count_turn(&mut self, seen: &Look, first: bool, history: bool) -> Turn {
        // Without its composer a screen is half drawn, or an overlay that shows old prompts; but where it works nothing is.
        let composer = !matches!(seen.view.content, Composer::Missing | Composer::Dialog);
        let composer = composer || seen.view.working.is_some();
        let prompt = seen.prompt.filter(|_| composer).map(|(_, words)| words.cast_signed());
        let prompt_changed = prompt.is_some_and(|prompt| !self.prompts.contains(&prompt));
        if let Some(prompt) = prompt.filter(|_| prompt_changed) {
            if self.prompts.len() >= PROMPTS {
                self.prompts.remove(0);
            }
            self.prompts.push(prompt);
        }
        let mut turn = Turn { began: false, prompt_changed, marked: seen.view.working.is_some(), history };
        let Some(agent) = &mut self.running else { return turn };
        agent.had_composer |= reading::is_whole(seen);
        // A replay shows prompts before the agent was ever idle, or at work.
        let asked = prompt_changed && (agent.settled || agent.turn_open) && !history;
        turn.marked = is_marked(seen, agent, first || asked);
        let opens = turn.marked && !agent.turn_open && seen.view.content != Composer::Dialog;
        turn.began = opens || asked;
        if turn.began {
            agent.turns += 1;
        }
        turn
    }

    pub(crate) fn moment(&self, seen: &Look, turn: &Turn, now: Timestamp) -> Moment {
        Moment {
            turn: self.running.as_ref().map_or(1, |agent| agent.turns),
            prompt_changed: turn.prompt_changed,
            // Where no agent runs there is no composer to wait for.
            whole: reading::is_whole(seen) || self.running.is_none(),
            history: turn.history,
            now,
        }
    }

    /// Lets the matches of rules through, except those with gates of their own.
    fn rules(
        &mut self,
        engine: &Engine,
        seen: &Look,
        turn: &Turn,
        facts: &Facts,
        now: Timestamp,
        events: &mut Vec<Detected>,
    ) {
        let moment = self.moment(seen, turn, now);
        let quiet = now.duration_since(self.quiet_since(seen, now)) >= state::QUIET;
        let mut visible = Vec::with_capacity(seen.hits.len());
        for hit in &seen.hits {
            let Some(rule) = engine.rule(hit.rule) else { continue };
            if matches!(rule.text.rearm, Rearm::Compaction) || hit.event == EventKind::ApprovalRequested {
                continue;
            }
            // Where no process table tells that the agent is gone, its end screen must stand still.
            if hit.event == EventKind::SessionEnded && seen.agent.is_some() && !quiet {
                continue;
            }
            let key = occurrence(rule, hit, &seen.hits);
            visible.push(key);
            if reading::is_stale(engine, seen, hit) {
                continue;
            }
            let hold = if moment.whole { rule.text.hold } else { rule.text.hold.max(reading::HALF_DRAWN) };
            let found = Match { key, rearm: rule.text.rearm, cooldown: rule.text.cooldown, hold };
            // A sign-in that waits is news whenever it is seen, as a dialog is.
            let waits = reading::authenticating(seen).is_some_and(|waits| waits.key == hit.key)
                && !self.is_old_code(hit);
            let history = moment.history || self.aside.is_new(rule) || self.is_old_code(hit);
            // No replay opens a dialog: it needs no turn before it.
            let turn = if rule.text.region == Region::Dialog { moment.turn.max(1) } else { moment.turn };
            let moment = Moment { history: history && !waits, turn, ..moment };
            let appeared = self.presences.appears(&found, &moment);
            if !appeared || !reading::is_witnessed(engine, seen, hit) {
                continue;
            }
            self.note_code(hit);
            let mut event = reading::detected(engine, seen, hit);
            self.resets.note(&mut event, facts.zone.as_ref(), now);
            match hit.event {
                EventKind::AgentStarted => continue,
                EventKind::SessionEnded => self.end_session(&mut event, events),
                EventKind::AgentCrashed => {
                    if let Some(leaving) = &mut self.leaving {
                        leaving.crashed = true;
                    }
                }
                _ if self.was_warned(&event, seen) => {}
                _ => events.push(event),
            }
        }
        if let Some((dialog, _)) = reading::dialog(seen) {
            visible.push(dialog.key);
        }
        self.presences.settle(&visible, &moment);
    }

    fn compactions(
        &mut self,
        engine: &Engine,
        seen: &Look,
        turn: &Turn,
        begin: bool,
        now: Timestamp,
        events: &mut Vec<Detected>,
    ) {
        if seen.agent.is_none() {
            return;
        }
        let marks = reading::marks(seen);
        let mut sight = turn.sight(seen, marks.as_ref());
        // With nothing below it and nobody at work it may be how an answer begins, whose next words are on their way.
        let bare = marks.as_ref().is_some_and(|marks| marks.below.is_empty()) && !turn.marked;
        sight.whole &= !bare || now.duration_since(self.quiet_since(seen, now)) >= state::QUIET;
        if self.aside.marks_changed(false) {
            self.compaction.adopt(&sight);
        }
        if begin {
            self.compaction.begin(&sight);
        } else if self.compaction.observe(&sight, now)
            && let Some(marks) = &marks
        {
            events.push(reading::detected(engine, seen, marks.last));
        }
    }

    fn dialogs(
        &mut self,
        engine: &Engine,
        seen: &Look,
        turn: &Turn,
        now: Timestamp,
        events: &mut Vec<Detected>,
    ) {
        let Some((key, mut event)) = reading::approval(engine, seen) else { return };
        // Who answers says which dialog is meant.
        event.fields.insert("dialog".to_owned(), crate::menu::id(key));
        // A dialog that is open at first sight still waits for an answer: that is news.
        let moment = Moment { history: false, ..self.moment(seen, turn, now) };
        let found = Match { key, ..reading::DIALOG };
        if self.presences.appears(&found, &moment) {
            events.push(event);
        }
    }

    fn decide(
        &mut self,
        seen: &Look,
        facts: &Facts,
        first: bool,
        turn: &Turn,
        now: Timestamp,
        events: &mut Vec<Detected>,
    ) -> StateDetail {
        if self.left.is_some()
            && matches!(facts.foreground, Foreground::Other { .. } | Foreground::Remote { .. })
        {
            self.left = None;
        }
        let dialog_kind =
            reading::dialog(seen).and_then(|(_, hit)| hit?.fields.get("kind").cloned()).unwrap_or_default();
        // One that was at work may have crashed: that is told once, when its last words are read or did not come.
        let leaving = self.leaving.as_ref().filter(|_| self.running.is_none());
        let undecided = leaving.is_some_and(|leaving| leaving.agent.turn_open);
        let gone = leaving.filter(|_| !undecided).map(|_| Left::Exited);
        let (limited, warning) = (reading::limited(seen), reading::warning(seen));
        let (state, mut detail) = state::decide(&Inputs {
            look: seen,
            foreground: &facts.foreground,
            before: if first { PaneState::Unknown } else { self.state },
            left: self.left.as_ref().map(|(left, _)| *left).or(gone),
            undecided,
            had_composer: self.running.as_ref().is_some_and(|agent| agent.had_composer),
            turn_open: self.running.as_ref().is_some_and(|agent| agent.turn_open),
            quiet_since: self.quiet_since(seen, now),
            still: false,
            limited,
            warning,
            authenticating: reading::authenticating(seen),
            dialog_kind: &dialog_kind,
            now,
        });
        if state != self.state || self.since.is_none() {
            self.since = Some(now);
        }
        detail.since = self.since;
        let limit = match state {
            PaneState::Limited => limited,
            PaneState::LimitWarning => warning,
            _ => None,
        };
        detail.until = limit.and_then(|hit| self.resets.of(resets::printed(&hit.fields)?));
        self.state = state;
        self.turn_events(seen, turn, events);
        detail
    }

    /// Lets the other witnesses speak, and goes by what they alone have told.
    fn hear(
        &mut self,
        engine: &Engine,
        facts: &Facts,
        events: &mut Vec<Detected>,
        shadowed: &mut Vec<Detected>,
        now: Timestamp,
    ) {
        let running = self.running.as_ref().or(self.leaving.as_ref().map(|leaving| &leaving.agent));
        let left = || self.left.as_ref().map(|(_, kind)| (kind.clone(), 0, String::new()));
        let agent =
            running.map(|agent| (agent.kind.clone(), agent.turns, agent.version.clone())).or_else(left);
        let arrived = std::mem::take(&mut self.arrived);
        let mut said = Vec::with_capacity(arrived.len());
        for heard in arrived {
            match (heard, &agent) {
                (Heard::Testimony(testimony), _) => said.push(testimony),
                (Heard::Notice(notice), Some((kind, _, version))) => {
                    let read = notice.read(engine, kind, version);
                    said.extend(read.testimony);
                    shadowed.extend(read.shadowed.iter().map(|hit| shadow::of_record(engine, kind, hit)));
                }
                (Heard::Notice(_), None) => {}
            }
        }
        let agent = agent.as_ref().map(|(kind, turns, _)| (kind, *turns));
        // A file may tell the second before or after the screen has shown the minute.
        let exact: Vec<Timestamp> = said.iter().filter_map(|said| resets::told(&said.fields)).collect();
        self.testimonies.join(agent, said, events, now);
        let joined = events.iter().filter_map(|event| resets::told(&event.fields));
        joined.chain(exact).for_each(|exact| self.resets.refine(exact));
        for event in events.iter_mut().filter(|event| !event.fields.contains_key("reset_time")) {
            if !event.witnesses.contains(&Witness::Screen) {
                self.resets.note(event, facts.zone.as_ref(), now);
            }
        }
        for event in events.iter().filter(|event| !event.witnesses.contains(&Witness::Screen)) {
            self.note_limit(event);
            match event.kind {
                // Its mark may come into view at any time.
                EventKind::ContextCompacted => self.compaction.disarm(),
                EventKind::SessionEnded => {
                    let leaving = self.leaving.as_mut().map(|leaving| &mut leaving.agent);
                    if let Some(agent) = self.running.as_mut().or(leaving) {
                        agent.ended = true;
                    }
                    if let Some(id) = event.fields.get("session_id") {
                        self.session_id.clone_from(id);
                    }
                }
                _ => {}
            }
        }
    }

    fn turn_events(&mut self, seen: &Look, turn: &Turn, events: &mut Vec<Detected>) {
        let Some(agent) = &mut self.running else { return };
        let told = |kind| reading::derived(kind, Some(&agent.kind), reading::witnesses(seen), "");
        if turn.marked && !agent.turn_open && self.state == PaneState::Working {
            if !turn.history {
                events.push(told(EventKind::TurnStarted));
            }
            agent.turn_open = true;
        }
        if matches!(self.state, PaneState::Idle | PaneState::LimitWarning | PaneState::Limited)
            && !turn.marked
        {
            if agent.turn_open {
                events.push(told(EventKind::TurnFinished));
            }
            agent.turn_open = false;
            agent.settled = true;
        }
    }

    /// Since when nothing above the live area has changed.
    pub(crate) fn quiet_since(&mut self, seen: &Look, now: Timestamp) -> Timestamp {
        let top = seen.view.live_top.unwrap_or(seen.sheet.rows.len());
        let words = hash::of_moment((0..top).map(|row| seen.sheet.text(row)));
        match self.quiet {
            Some((before, since)) if before == words => since,
            _ => {
                self.quiet = Some((words, now));
                now
            }
        }
    }

    fn plan_wakeup(&mut self, seen: &Look, now: Timestamp) {
        let quiet = self.quiet.and_then(|(_, since)| since.checked_add(state::QUIET).ok());
        let dialog = self.state == PaneState::Waiting && reading::is_whole(seen);
        let quiet = quiet.filter(|_| seen.agent.is_some() && !dialog);
        let leaving = self.leaving.as_ref().and_then(|leaving| leaving.since.checked_add(LAST_WORDS).ok());
        let compaction = self.compaction.next_wakeup();
        let all = [
            quiet,
            leaving,
            self.start_due(),
            compaction,
            self.presences.next_wakeup(now),
            self.testimonies.next_wakeup(),
            self.aside.next_wakeup(now),
        ];
        self.wakeup = all.into_iter().flatten().filter(|at| *at > now).min();
    }
}

/// Whether a spinner means a turn. Agents turn them while they start, too: the one in the title tells of a turn only when
/// there is a prompt to work on.
fn is_marked(seen: &Look, agent: &Running, asked: bool) -> bool {
    match &seen.view.working {
        Some(working) => agent.turn_open || !working.starting,
        None => {
            let asked = asked || agent.turn_open || agent.turns > 0;
            seen.title == TitleSign::Working && reading::is_whole(seen) && asked
        }
    }
}

/// Names a match. A shell keeps the last words of one command above those of the next: the second of the same words is
/// another one.
pub(crate) fn occurrence(rule: &Rule, hit: &Hit, hits: &[Hit]) -> u64 {
    let above = hits.iter().filter(|other| other.key == hit.key && other.rows.start < hit.rows.start).count();
    match above {
        nth @ 1.. if rule.text.region == Region::End => {
            hash::hash(&[&rule.id, &format!("{:x} {nth}", hit.key)])
        }
        _ => hit.key,
    }
}
