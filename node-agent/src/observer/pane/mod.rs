//! One pane: its screen, its matcher, and what of both has not left yet.
//!
//! The screen says what is to be logged and when the frame has changed; the matcher looks at changed frames, at most once
//! per burst, and says what happened, how the pane is, and where the agent's live area begins, which the screen then
//! leaves alone. What the composer holds is remembered, for a change of it that we did not cause means a person.

mod conversation;
mod facts;
mod hand;
mod logging;
mod losses;
mod records;
mod shed;
mod shown;
mod slow;
mod told;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wa_match::{Detected, Engine, Facts, Observation, PaneMatcher, ProcessInfo, Redactor, Testimony};
use wa_mux::codec::{RenderChanges, Row};
use wa_proto::wire::v1;
use wa_proto::{AccountAlias, AgentKind, Event, EventId, Frame, GapCause, PaneRef, Timestamp};
use wa_screen::{Input, Options, Output, PaneScreen, Removal};

use super::Shared;
use super::alerts::Alerts;
use super::batch::{self, Batch};
use super::capture::Capture;
use super::verify::Held;
use super::view::View;
use crate::process::ProcessId;
use crate::rules::{Rules, Strange};
use crate::spool::Group;
use crate::vault::{Seen, Vault};
use conversation::SessionFile;
use hand::Hand;
use logging::Logging;
use losses::Losses;
use shed::Shed;
pub(super) use shown::News;
use shown::Text;
use slow::Slow;

/// Frames of one burst are looked at once …
const BURST: Duration = Duration::from_millis(5);
/// … and the longer it lasts, the less often, down to this.
const LONG_BURST: Duration = Duration::from_millis(40);
/// How often a pane over its budget is asked whether it still is.
const RECOVER_EVERY: Duration = Duration::from_secs(1);

/// One moment by both clocks: wall-clock time for what is logged, the other for waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) here: Instant,
    wall: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { here: Instant::now(), wall: wa_link::clock::now() }
    }
}

pub(super) struct Watched {
    pub(super) pane: PaneRef,
    pub(super) tty: Option<String>,
    pub(super) mirror: bool,
    redactor: Redactor,
    vault: Arc<Vault>,
    capture: Capture,
    logging: Logging,
    shed: Shed,
    losses: Losses,
    screen: PaneScreen,
    /// Only its screen is seen, from time to time.
    slow: Option<Slow>,
    rules: Rules,
    engine: Arc<Engine>,
    /// To be looked with next time.
    coming: Option<Arc<Engine>>,
    matcher: PaneMatcher,
    batch: Batch,
    /// It goes on from a position that was stored, and no line has come since.
    resumed: bool,
    /// A gap without a count is the last that was recorded: its layout and cause.
    gapped: Option<(u64, GapCause)>,
    /// A list of the server named it.
    listed: bool,
    /// The process table told of its terminal.
    scanned: bool,
    title: Text,
    cwd: Text,
    project: Text,
    size: (u32, u32),
    facts: Facts,
    group: Arc<Vec<ProcessInfo>>,
    /// Of the agent that last held the terminal.
    last_agent: Option<ProcessId>,
    /// Whose home that agent uses.
    account: Option<AccountAlias>,
    conversation: SessionFile,
    last_output: Option<Timestamp>,
    seen: Option<Observation>,
    frame: Arc<Frame>,
    /// The screen shows something else by now.
    frame_old: bool,
    mouse_grabbed: bool,
    pushes: u64,
    /// What the server's terminal had taken when it was last told of: it counts whatever is printed.
    drawn: u64,
    seq: u64,
    matched: Option<Instant>,
    /// Between two looks: longer while the pane does not rest.
    pace: Duration,
    match_at: Option<Instant>,
    /// The matcher's memory and the place in the session file as last stored.
    stored: (Vec<u8>, Vec<u8>),
    store_at: Option<Instant>,
    touched: Option<Instant>,
    /// The composer has changed just now, from this content: a flicker, or a person.
    suspect: Option<(Hand, Instant)>,
    hand: Option<Hand>,
    acting: bool,
    acted: Option<Instant>,
    alerts: Alerts,
    /// Over its budget: when to see whether it still is.
    recover_at: Instant,
    /// The board has yet to hear of more than output.
    altered: bool,
    views: Option<watch::Sender<Arc<View>>>,
}

impl Watched {
    /// A pane seen for the first time, or since the position that was stored of it.
    pub(super) fn new(
        shared: &Shared,
        pane: PaneRef,
        options: Options,
        position: Option<v1::PanePosition>,
    ) -> Self {
        let (screen, matcher) = match &position {
            Some(position) => (
                PaneScreen::resume(pane.clone(), options, batch::position_of(position)),
                PaneMatcher::restore(&position.matcher),
            ),
            None => (PaneScreen::new(pane.clone(), options), PaneMatcher::new()),
        };
        let mut watched = Self {
            pane,
            tty: None,
            mirror: false,
            redactor: shared.redactor.clone(),
            vault: Arc::clone(&shared.vault),
            capture: shared.capture.clone(),
            logging: Logging::Undecided,
            shed: Shed::new(shared.capture.budget.join(Instant::now())),
            losses: Losses::default(),
            screen,
            slow: None,
            rules: shared.rules.clone(),
            engine: shared.rules.engine(),
            coming: None,
            matcher,
            batch: Batch::default(),
            resumed: position.is_some(),
            gapped: None,
            listed: false,
            scanned: false,
            title: Text::default(),
            cwd: Text::default(),
            project: Text::default(),
            size: (0, 0),
            facts: Facts { zone: Some(wa_link::clock::zone()), ..Facts::default() },
            group: Arc::default(),
            last_agent: None,
            account: None,
            conversation: SessionFile::new(position.map(|position| position.session).unwrap_or_default()),
            last_output: None,
            seen: None,
            frame: Arc::new(Frame::default()),
            frame_old: false,
            mouse_grabbed: false,
            pushes: 0,
            drawn: 0,
            seq: 0,
            matched: None,
            pace: BURST,
            match_at: None,
            stored: (Vec::new(), Vec::new()),
            store_at: None,
            touched: None,
            suspect: None,
            hand: None,
            acting: false,
            acted: None,
            alerts: Alerts::default(),
            recover_at: Instant::now(),
            altered: true,
            views: None,
        };
        watched.judge();
        watched
    }

    /// A push of the server. Returns what is to be fetched.
    pub(super) fn changes(&mut self, changes: RenderChanges) -> Option<Vec<Range<i64>>> {
        let titled = self.set_title(&changes.title);
        let moved = self.set_cwd(changes.working_dir.as_deref());
        let differs = titled || moved;
        // The rows of a push that ends an exclusion were printed before it ended.
        let later = self.is_silent();
        if differs && !later {
            self.judge();
        }
        self.set_size(changes.dims.cols, changes.dims.viewport_rows);
        self.last_output = Some(wa_link::clock::now());
        self.mouse_grabbed = changes.mouse_grabbed;
        self.pushes += 1;
        self.drawn = changes.seqno;
        self.prompts(&changes);
        let fetch = self.apply(Input::Changes(changes));
        if differs && later {
            self.judge();
        }
        fetch
    }

    /// How many pushes there were.
    pub(super) fn pushes(&self) -> u64 {
        self.pushes
    }

    /// What the server holds, unless a push came meanwhile: it should be what is known. Returns what is to be fetched.
    pub(super) fn held(&mut self, held: Held) -> Option<Vec<Range<i64>>> {
        if held.pushes != self.pushes {
            return None;
        }
        let seq = self.seq;
        let viewport = held.rows.iter().map(|row| row.index..row.index.saturating_add(1));
        let fetch = self.apply(Input::Changes(RenderChanges {
            pane_id: held.pane_id,
            mouse_grabbed: self.mouse_grabbed,
            cursor: held.at.cursor,
            dims: held.at.dims,
            dirty: viewport.collect(),
            title: self.title.raw.clone(),
            working_dir: None,
            rows: held.rows,
            input_serial: None,
            seqno: 0,
        }));
        if seq != self.seq {
            self.last_output = Some(wa_link::clock::now());
            tracing::info!(mux = %self.pane.mux, pane = self.pane.pane_id, "the pane had changed without a push");
        }
        fetch
    }

    /// The answer to a fetch; `None` = there is none.
    pub(super) fn rows(&mut self, rows: Option<Vec<Row>>) -> Option<Vec<Range<i64>>> {
        if let Some(rows) = &rows {
            self.fetched_prompts(rows);
        }
        self.apply(rows.map_or(Input::FetchFailed, Input::Rows))
    }

    pub(super) fn detached(&mut self) {
        self.alerts.detached();
        self.apply(Input::Detached);
    }

    fn apply(&mut self, input: Input) -> Option<Vec<Range<i64>>> {
        let outputs = self.screen.apply(input, wa_link::clock::now());
        let mut fetch = None;
        for output in outputs {
            match output {
                Output::Fetch(ranges) => fetch = Some(ranges),
                Output::Line { .. } | Output::Gap(_) | Output::Repaint(_) if self.is_silent() => {}
                Output::Line { line, .. }
                    if self.slow.as_mut().is_some_and(|slow| slow.was_logged(&line.text)) => {}
                Output::Line { layout, line } => self.put_line(layout, line),
                Output::Gap(gap) if self.was_heard_out(&gap) => {}
                Output::Gap(gap) => self.put_gap(gap),
                Output::Repaint(repaint) => {
                    self.close_shed();
                    self.batch.repaint(&repaint, wa_link::clock::now());
                }
                Output::FrameChanged => self.frame_changed(),
            }
        }
        fetch
    }

    fn frame_changed(&mut self) {
        self.frame_old = true;
        self.seq += 1;
        self.altered |= self.alerts.drawn();
        self.look_soon();
        self.publish();
    }

    /// Frames are made when somebody looks: floods bring many more than that.
    fn refresh_frame(&mut self) {
        if std::mem::take(&mut self.frame_old) {
            self.frame = Arc::new(self.screen.frame());
        }
    }

    /// Looks at once if the last look is long enough ago.
    fn look_soon(&mut self) {
        let now = Instant::now();
        let soonest = self.matched.map_or(now, |matched| matched + self.pace).max(now);
        self.match_at.get_or_insert(soonest);
    }

    // ---- time

    /// When something is to be done here; not before `now`.
    pub(super) fn wake_at(&self, now: Moment) -> Option<Instant> {
        // A look that is to come anyway serves the matcher, too; until then there is nothing to wake for.
        let matcher = self.matcher.next_wakeup().filter(|_| self.match_at.is_none());
        let wall = [self.screen.next_wakeup(), matcher].into_iter().flatten().min();
        let wall =
            wall.map(|at| now.here + Duration::try_from(at.duration_since(now.wall)).unwrap_or_default());
        let leave = [self.batch.due(), self.store_at].into_iter().flatten().min();
        let leave = leave.filter(|_| self.logging != Logging::Undecided);
        let dry = self.shed.is_dry().then(|| self.recover_at.max(now.here));
        [wall, self.match_at, leave, dry, self.losses.due(), self.conversation.due(), self.alerts.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due. Returns what is to be fetched.
    pub(super) fn wake(&mut self, now: Moment) -> Option<Vec<Range<i64>>> {
        let mut fetch = None;
        if self.screen.next_wakeup().is_some_and(|at| at <= now.wall) {
            fetch = self.apply(Input::Tick);
        }
        if self.matcher.next_wakeup().is_some_and(|at| at <= now.wall) {
            self.look_soon();
        }
        if self.match_at.is_some_and(|at| at <= Instant::now()) {
            fetch = self.look().or(fetch);
        }
        self.altered |= self.conversation.tell(now.here);
        if self.shed.is_dry() && self.recover_at <= now.here {
            self.recover_at = now.here + RECOVER_EVERY;
            self.altered |= self.shed.recover(now.here);
        }
        self.tell_losses(false);
        self.tell_gathered();
        fetch
    }

    // ---- matching

    /// Shows the frame to the matcher.
    fn look(&mut self) -> Option<Vec<Range<i64>>> {
        self.match_at = None;
        if self.logging != Logging::On {
            self.take_new_rules();
            return None;
        }
        let rested = self.matched.is_none_or(|matched| matched.elapsed() > self.pace * 2);
        self.pace = if rested { BURST } else { (self.pace * 2).min(LONG_BURST) };
        self.matched = Some(Instant::now());
        self.refresh_frame();
        let mut observation = self.observe();
        // What came up until now is told by the rules of before; what new ones find on the same frame is history.
        if self.take_new_rules() {
            observation = self.observe();
        }
        let touched = self.touched;
        self.notice_person(&observation.composer);
        let live_top = observation.live_top.map(|row| self.stable(row));
        self.altered |= self.seen.as_ref().is_none_or(|seen| !reads_the_same(seen, &observation));
        let changed = self.seen.as_ref().is_none_or(|seen| seen.state != observation.state);
        self.seen = Some(observation);
        if changed || self.touched != touched {
            self.publish();
        }
        self.apply(Input::LiveTop(live_top))
    }

    fn observe(&mut self) -> Observation {
        let now = wa_link::clock::now();
        self.facts.layout = self.screen.layout();
        let observation = self.matcher.observe(&self.engine, &self.frame, &self.facts, now);
        if !self.mirror {
            for detected in &observation.events {
                self.event(detected, Some(&observation), now);
                if let Some(resumable) = self.resumable(detected) {
                    self.event(&resumable, Some(&observation), now);
                }
            }
            self.rules.shadowed(&observation.shadowed);
            self.note_unknown(&observation, now);
            self.store_soon();
        }
        observation
    }

    /// Counts what no rule knows.
    fn note_unknown(&self, observation: &Observation, at: Timestamp) {
        let Some(agent) = &observation.agent else { return };
        for look in &observation.unknown {
            let version = &observation.version;
            let strange = Strange { agent, version, kind: look.kind, key: look.key, pane: &self.pane, at };
            self.rules.unknown(&strange, || {
                let frame = self.redactor.redact_frame(&self.frame);
                let rows = frame.rows.get(look.rows.clone()).unwrap_or_default();
                let rows: Vec<&str> = rows.iter().map(|row| row.text.trim_end()).collect();
                rows.join("\n")
            });
        }
    }

    /// The rules have changed.
    pub(super) fn new_rules(&mut self, engine: &Arc<Engine>) {
        if !Arc::ptr_eq(engine, &self.engine) {
            self.coming = Some(Arc::clone(engine));
            self.look_soon();
        }
    }

    fn take_new_rules(&mut self) -> bool {
        let Some(engine) = self.coming.take() else { return false };
        self.engine = engine;
        true
    }

    /// Another witness tells of something: the matcher weighs it with what it sees.
    pub(super) fn testimony(&mut self, testimony: Testimony) {
        self.matcher.tell(testimony);
        self.look_soon();
    }

    fn stable(&self, row: usize) -> i64 {
        self.frame.first_row.saturating_add(i64::try_from(row).unwrap_or(i64::MAX))
    }

    fn event(&mut self, detected: &Detected, observation: Option<&Observation>, now: Timestamp) {
        let span = tracing::info_span!(
            "event",
            event = detected.kind.as_str(),
            mux = %self.pane.mux,
            pane = self.pane.pane_id,
            rule = detected.rule,
        );
        let _entered = span.enter();
        tracing::info!("event");
        let clean = |text: &str| self.redactor.redact(text).into_owned();
        let fields = detected.fields.iter().map(|(name, value)| (name.clone(), clean(value)));
        let id = EventId::generate();
        let row = detected.row.map(|row| self.stable(row)).or(detected.stable_row);
        let (layout, at) = (self.screen.layout(), now);
        let seen = Seen { event: id, layout, row: row.filter(|_| !self.frame.alternate), at };
        // Who may see them asks for them by the handle.
        let secrets = detected
            .secrets
            .iter()
            .map(|(name, value)| (name.clone(), self.vault.keep(&self.pane, &seen, name, value.clone())));
        let event = Event {
            id,
            pane: Some(self.pane.clone()),
            kind: detected.kind,
            agent: detected.agent.clone(),
            agent_version: observation.map(|seen| seen.version.clone()).unwrap_or_default(),
            agent_pid: observation.map_or(0, |seen| seen.agent_pid),
            rule: detected.rule.clone(),
            fields: fields.chain(secrets).collect(),
            witnesses: detected.witnesses.clone(),
            line: clean(&detected.line),
            row: row.unwrap_or(0),
            layout,
        };
        self.batch.event(event, wa_link::trace::current_parent(), now);
    }

    pub(super) fn acting(&mut self, active: bool) {
        self.acting = active;
        self.acted = Some(Instant::now());
    }

    // ---- other witnesses

    /// The terminal's foreground group, as just looked up. Returns what is to be fetched.
    pub(super) fn processes(&mut self, group: &[ProcessInfo]) -> Option<Vec<Range<i64>>> {
        let same = group == self.group.as_slice();
        if !same {
            self.group = Arc::new(group.to_vec());
        }
        if !std::mem::replace(&mut self.scanned, true) || !same {
            self.judge();
        }
        let foreground = wa_match::identify(group);
        let agent = foreground.agent_pid().and_then(|pid| ProcessId::find(group, pid));
        let alive = self.last_agent.map(ProcessId::is_running);
        let other = agent.is_some() && agent != self.last_agent;
        if foreground == self.facts.foreground && alive == self.facts.agent_alive && !other {
            return None;
        }
        if agent.is_some() {
            self.last_agent = agent;
        }
        self.facts.agent_since = agent.and_then(|agent| agent.since(wa_link::clock::now()));
        self.facts.agent_alive = self.last_agent.map(ProcessId::is_running);
        self.facts.foreground = foreground;
        self.altered = true;
        self.publish();
        self.look_soon();
        self.apply(Input::AgentProcess(agent.map(ProcessId::number)))
    }

    /// Whose home the agent of the terminal uses, as just looked up.
    pub(super) fn set_account(&mut self, account: Option<&AccountAlias>) {
        if account != self.account.as_ref() {
            self.account = account.cloned();
            self.altered = true;
        }
    }

    /// The process table does not know its terminal, and will not.
    pub(super) fn no_processes(&mut self) {
        if !std::mem::replace(&mut self.scanned, true) {
            self.judge();
        }
    }

    /// The agent that holds the terminal.
    pub(super) fn agent_in_front(&self) -> Option<ProcessId> {
        self.facts.foreground.agent_pid().and_then(|pid| ProcessId::find(&self.group, pid))
    }

    /// The agent whose session file is to be followed.
    pub(super) fn agent_to_follow(&self) -> Option<(&AgentKind, ProcessId)> {
        let agent = self.facts.foreground.agent().filter(|_| self.is_logged())?;
        Some((agent, self.agent_in_front()?))
    }

    /// Whether an agent's end would be worth noticing.
    pub(super) fn has_agent(&self) -> bool {
        self.facts.foreground.agent().is_some()
    }

    // ---- the end

    /// The pane is gone: what it last showed, and nothing more.
    pub(super) fn removed(&mut self, removal: Removal, by_itself: bool) -> Group {
        self.tell_rest();
        if by_itself {
            self.tell_crash();
        }
        if !self.removed_slowly(removal) {
            self.apply(Input::Removed(removal));
        }
        if self.logging == Logging::Undecided {
            // It never became clear whether this may leave.
            self.batch.forget();
        } else if !self.is_silent() {
            self.close_shed();
            self.tell_losses(true);
        }
        let gone = v1::PanePosition {
            pane: Some(self.pane.clone().into()),
            gone: true,
            ..v1::PanePosition::default()
        };
        self.batch.take(gone)
    }
}

/// Whether the board would show the same of both.
fn reads_the_same(one: &Observation, two: &Observation) -> bool {
    (one.state, &one.detail, &one.agent, &one.version, one.agent_pid, &one.session_id)
        == (two.state, &two.detail, &two.agent, &two.version, two.agent_pid, &two.session_id)
}
