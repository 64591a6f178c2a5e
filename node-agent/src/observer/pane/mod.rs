//! One pane: its screen, its matcher, and what of both has not left yet.
//!
//! The screen says what is to be logged and when the frame has changed; the matcher looks at changed frames, at most once
//! per burst, and says what happened, how the pane is, and where the agent's live area begins, which the screen then
//! leaves alone. What the composer holds is remembered, for a change of it that we did not cause means a person.

mod slow;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use wa_match::{Composer, ComposerView, Detected, Engine, Facts, Observation, PaneMatcher, ProcessInfo};
use wa_mux::client::PaneInfo;
use wa_mux::codec::{RenderChanges, Row};
use wa_proto::wire::v1;
use wa_proto::{
    AgentKind, Event, EventId, EventKind, Frame, Pane, PaneRef, PaneState, StateDetail, Timestamp, Witness,
};
use wa_screen::{Input, Options, Output, PaneScreen, Removal};

use super::batch::{self, Batch};
use super::view::View;
use crate::spool::Group;
use slow::Slow;

/// Frames of one burst are looked at once.
const BURST: Duration = Duration::from_millis(5);
/// After an action, the composer may still change because of it.
const AFTERMATH: Duration = Duration::from_secs(2);
/// A position without records is stored this long after the matcher's memory changed.
const POSITION_DELAY: Duration = Duration::from_secs(2);
/// Bells of one pane are not told more often.
const BELL_EVERY: Duration = Duration::from_secs(1);
/// What the composer shows for a shorter time is a redraw.
const FLICKER: Duration = Duration::from_millis(100);
const MAX_USER_VARS: usize = 64;

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
    screen: PaneScreen,
    /// Only its screen is seen, from time to time.
    slow: Option<Slow>,
    matcher: PaneMatcher,
    batch: Batch,
    title: String,
    cwd: String,
    pub(super) project: String,
    size: (u32, u32),
    facts: Facts,
    group: Arc<Vec<ProcessInfo>>,
    /// Of the agent that last held the terminal.
    agent_pid: Option<u32>,
    last_output: Option<Timestamp>,
    seen: Option<Observation>,
    frame: Arc<Frame>,
    seq: u64,
    matched: Option<Instant>,
    match_at: Option<Instant>,
    /// The matcher's memory as last stored.
    stored: Vec<u8>,
    store_at: Option<Instant>,
    touched: Option<Instant>,
    /// The composer has changed just now, from this content: a flicker, or a person.
    suspect: Option<(Hand, Instant)>,
    hand: Option<Hand>,
    acting: bool,
    acted: Option<Instant>,
    rung: Option<Instant>,
    views: Option<watch::Sender<Arc<View>>>,
}

impl Watched {
    /// A pane seen for the first time, or since the position that was stored of it.
    pub(super) fn new(pane: PaneRef, options: Options, position: Option<v1::PanePosition>) -> Self {
        let (screen, matcher) = match position {
            Some(position) => (
                PaneScreen::resume(pane.clone(), options, batch::position_of(&position)),
                PaneMatcher::restore(&position.matcher),
            ),
            None => (PaneScreen::new(pane.clone(), options), PaneMatcher::new()),
        };
        Self {
            pane,
            tty: None,
            mirror: false,
            screen,
            slow: None,
            matcher,
            batch: Batch::default(),
            title: String::new(),
            cwd: String::new(),
            project: String::new(),
            size: (0, 0),
            facts: Facts::default(),
            group: Arc::default(),
            agent_pid: None,
            last_output: None,
            seen: None,
            frame: Arc::new(Frame::default()),
            seq: 0,
            matched: None,
            match_at: None,
            stored: Vec::new(),
            store_at: None,
            touched: None,
            suspect: None,
            hand: None,
            acting: false,
            acted: None,
            rung: None,
            views: None,
        }
    }

    /// What the server's list says of the pane.
    pub(super) fn listed(&mut self, info: &PaneInfo) {
        let entry = &info.entry;
        self.tty.clone_from(&entry.tty_name);
        self.size = (small(entry.size.cols), small(entry.size.rows));
        self.set_title(entry.title.clone());
        self.set_cwd(entry.working_dir.as_deref());
    }

    fn set_title(&mut self, title: String) {
        if title != self.title {
            self.facts.title.clone_from(&title);
            self.title = title;
            self.look_soon();
        }
    }

    fn set_cwd(&mut self, url: Option<&str>) {
        if let Some(path) = url.map(path_of)
            && path != self.cwd
        {
            self.cwd = path;
        }
    }

    pub(super) fn cwd(&self) -> &str {
        &self.cwd
    }

    /// A push of the server. Returns what is to be fetched.
    pub(super) fn changes(&mut self, changes: RenderChanges) -> Option<Vec<Range<i64>>> {
        self.set_title(changes.title.clone());
        self.set_cwd(changes.working_dir.as_deref());
        self.size = (small(changes.dims.cols), small(changes.dims.viewport_rows));
        self.last_output = Some(wa_link::clock::now());
        self.apply(Input::Changes(changes))
    }

    /// The answer to a fetch; `None` = there is none.
    pub(super) fn rows(&mut self, rows: Option<Vec<Row>>) -> Option<Vec<Range<i64>>> {
        self.apply(rows.map_or(Input::FetchFailed, Input::Rows))
    }

    pub(super) fn detached(&mut self) {
        self.apply(Input::Detached);
    }

    fn apply(&mut self, input: Input) -> Option<Vec<Range<i64>>> {
        let now = wa_link::clock::now();
        let outputs = self.screen.apply(input, now);
        let mut fetch = None;
        for output in outputs {
            match output {
                Output::Fetch(ranges) => fetch = Some(ranges),
                Output::Line { .. } | Output::Gap(_) | Output::Repaint(_) if self.mirror => {}
                Output::Line { line, .. }
                    if self.slow.as_mut().is_some_and(|slow| slow.was_logged(&line.text)) => {}
                Output::Line { layout, line } => {
                    let agent = self.seen.as_ref().and_then(|seen| seen.agent.as_ref());
                    self.batch.line(&self.pane, layout, agent, line, now);
                }
                Output::Gap(gap) => self.batch.gap(gap, now),
                Output::Repaint(repaint) => self.batch.repaint(&repaint, now),
                Output::FrameChanged => self.frame_changed(),
            }
        }
        fetch
    }

    fn frame_changed(&mut self) {
        self.frame = Arc::new(self.screen.frame());
        self.seq += 1;
        self.look_soon();
        self.publish();
    }

    /// Looks at once if the last look is long enough ago.
    fn look_soon(&mut self) {
        let now = Instant::now();
        let soonest = self.matched.map_or(now, |matched| matched + BURST).max(now);
        self.match_at.get_or_insert(soonest);
    }

    // ---- time

    /// When something is to be done here; not before `now`.
    pub(super) fn wake_at(&self, now: Moment) -> Option<Instant> {
        let wall = [self.screen.next_wakeup(), self.matcher.next_wakeup()].into_iter().flatten().min();
        let wall =
            wall.map(|at| now.here + Duration::try_from(at.duration_since(now.wall)).unwrap_or_default());
        [wall, self.match_at, self.batch.due(), self.store_at].into_iter().flatten().min()
    }

    /// Does what is due. Returns what is to be fetched.
    pub(super) fn wake(&mut self, engine: &Engine, now: Moment) -> Option<Vec<Range<i64>>> {
        let mut fetch = None;
        if self.screen.next_wakeup().is_some_and(|at| at <= now.wall) {
            fetch = self.apply(Input::Tick);
        }
        if self.matcher.next_wakeup().is_some_and(|at| at <= now.wall) {
            self.look_soon();
        }
        if self.match_at.is_some_and(|at| at <= Instant::now()) {
            fetch = self.look(engine).or(fetch);
        }
        fetch
    }

    /// The batch, if it is due.
    pub(super) fn due_group(&mut self) -> Option<Group> {
        let now = Instant::now();
        let due = self.batch.due().is_some_and(|due| due <= now);
        let store = self.store_at.is_some_and(|at| at <= now);
        if due || store { self.flush() } else { None }
    }

    /// The batch and the position after it, if there is anything new in them.
    pub(super) fn flush(&mut self) -> Option<Group> {
        if self.batch.is_empty() && self.store_at.is_none() {
            return None;
        }
        let position = self.position();
        self.stored.clone_from(&position.matcher);
        self.store_at = None;
        Some(self.batch.take(position))
    }

    fn position(&self) -> v1::PanePosition {
        let position = self.screen.position();
        v1::PanePosition {
            pane: Some(self.pane.clone().into()),
            layout: position.layout,
            next_row: position.next_row,
            line_hashes: position.line_hashes,
            frame_hash: position.frame_hash,
            matcher: self.matcher.save(),
            transcript: position.opaque,
            gone: false,
            session: Vec::new(),
        }
    }

    // ---- matching

    /// Shows the frame to the matcher.
    fn look(&mut self, engine: &Engine) -> Option<Vec<Range<i64>>> {
        self.match_at = None;
        self.matched = Some(Instant::now());
        let now = wa_link::clock::now();
        let observation = self.matcher.observe(engine, &self.frame, &self.facts, now);
        if !self.mirror {
            for detected in &observation.events {
                self.event(detected, &observation, now);
            }
        }
        let touched = self.touched;
        self.notice_person(&observation.composer);
        let live_top = observation.live_top.map(|row| self.stable(row));
        let changed = self.seen.as_ref().is_none_or(|seen| seen.state != observation.state);
        let changed = changed || self.touched != touched;
        self.seen = Some(observation);
        if self.store_at.is_none() && !self.mirror && self.matcher.save() != self.stored {
            self.store_at = Some(Instant::now() + POSITION_DELAY);
        }
        if changed {
            self.publish();
        }
        self.apply(Input::LiveTop(live_top))
    }

    fn stable(&self, row: usize) -> i64 {
        self.frame.first_row.saturating_add(i64::try_from(row).unwrap_or(i64::MAX))
    }

    fn event(&mut self, detected: &Detected, observation: &Observation, now: Timestamp) {
        let span = tracing::info_span!(
            "event",
            event = detected.kind.as_str(),
            mux = %self.pane.mux,
            pane = self.pane.pane_id,
            rule = detected.rule,
        );
        let _entered = span.enter();
        tracing::info!("event");
        let event = Event {
            id: EventId::generate(),
            pane: Some(self.pane.clone()),
            kind: detected.kind,
            agent: detected.agent.clone(),
            agent_version: observation.version.clone(),
            agent_pid: observation.agent_pid,
            rule: detected.rule.clone(),
            fields: detected
                .fields
                .iter()
                .map(|(name, value)| (name.clone(), batch::redact(value)))
                .collect(),
            witnesses: detected.witnesses.clone(),
            line: batch::redact(&detected.line),
            row: detected.row.map_or(0, |row| self.stable(row)),
            layout: self.screen.layout(),
        };
        self.batch.event(event, wa_link::trace::current_parent(), now);
    }

    /// The composer holds something else than before, and nothing was sent: a person types. A redraw may show anything
    /// for a moment, so the change must last.
    fn notice_person(&mut self, composer: &ComposerView) {
        let now = Hand::of(&self.frame, composer);
        let before = std::mem::replace(&mut self.hand, now.clone());
        let acted = self.acting || self.acted.is_some_and(|acted| acted.elapsed() < AFTERMATH);
        let Some(now) = now.filter(|_| !acted) else {
            self.suspect = None;
            return;
        };
        match &self.suspect {
            Some((origin, _)) if origin.is_same(&now) => self.suspect = None,
            Some((_, since)) if since.elapsed() >= FLICKER => {
                self.touched = Some(*since);
                self.suspect = None;
            }
            Some(_) => {}
            None => {
                let changed = before.filter(|before| !before.is_same(&now));
                self.suspect = changed.map(|before| (before, Instant::now()));
            }
        }
        if let Some((_, since)) = &self.suspect {
            let again = *since + FLICKER;
            self.match_at = Some(self.match_at.map_or(again, |at| at.min(again)));
        }
    }

    pub(super) fn acting(&mut self, active: bool) {
        self.acting = active;
        self.acted = Some(Instant::now());
    }

    // ---- other witnesses

    /// The terminal's foreground group, as just looked up. Returns what is to be fetched.
    pub(super) fn processes(&mut self, group: &[ProcessInfo]) -> Option<Vec<Range<i64>>> {
        if group != self.group.as_slice() {
            self.group = Arc::new(group.to_vec());
        }
        let foreground = wa_match::identify(group);
        let pid = foreground.agent_pid();
        let alive = self.agent_pid.map(|pid| !super::is_gone(pid));
        if foreground == self.facts.foreground && alive == self.facts.agent_alive {
            return None;
        }
        if pid.is_some() {
            self.agent_pid = pid;
        }
        self.facts.agent_alive = self.agent_pid.map(|pid| !super::is_gone(pid));
        self.facts.foreground = foreground;
        self.publish();
        self.look_soon();
        self.apply(Input::AgentProcess(pid.map(u64::from)))
    }

    /// The agent that holds the terminal.
    pub(super) fn agent_in_front(&self) -> Option<u32> {
        self.facts.foreground.agent_pid()
    }

    /// Whether an agent's end would be worth noticing.
    pub(super) fn has_agent(&self) -> bool {
        self.facts.foreground.agent().is_some()
    }

    pub(super) fn user_var(&mut self, name: String, value: String) {
        let vars = &mut self.facts.user_vars;
        if vars.len() < MAX_USER_VARS || vars.contains_key(&name) {
            vars.insert(name, value);
            self.look_soon();
        }
    }

    pub(super) fn bell(&mut self) {
        let now = Instant::now();
        if self.mirror || self.rung.is_some_and(|rung| now.duration_since(rung) < BELL_EVERY) {
            return;
        }
        self.rung = Some(now);
        let detected = Detected {
            kind: EventKind::Bell,
            agent: self.agent().cloned(),
            rule: String::new(),
            fields: BTreeMap::new(),
            witnesses: vec![Witness::Screen],
            line: String::new(),
            row: None,
        };
        if let Some(seen) = self.seen.clone() {
            self.event(&detected, &seen, wa_link::clock::now());
        }
    }

    // ---- the end

    /// The pane is gone: what it last showed, and nothing more.
    pub(super) fn removed(&mut self, removal: Removal) -> Group {
        if !self.removed_slowly(removal) {
            self.apply(Input::Removed(removal));
        }
        let gone = v1::PanePosition {
            pane: Some(self.pane.clone().into()),
            gone: true,
            ..v1::PanePosition::default()
        };
        self.batch.take(gone)
    }

    // ---- what others see

    fn agent(&self) -> Option<&AgentKind> {
        self.seen.as_ref().and_then(|seen| seen.agent.as_ref())
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::new(View {
            pane: self.pane.clone(),
            frame: Arc::clone(&self.frame),
            title: self.title.clone(),
            foreground: self.facts.foreground.clone(),
            group: Arc::clone(&self.group),
            agent: self.agent().cloned(),
            state: self.seen.as_ref().map_or(PaneState::Unknown, |seen| seen.state),
            tty: self.tty.clone(),
            mirror: self.mirror,
            touched: self.touched,
            seq: self.seq,
        })
    }

    pub(super) fn follow(&mut self) -> watch::Receiver<Arc<View>> {
        let view = self.view();
        match &self.views {
            Some(views) => {
                views.send_replace(view);
                views.subscribe()
            }
            None => {
                let (views, receiver) = watch::channel(view);
                self.views = Some(views);
                receiver
            }
        }
    }

    fn publish(&mut self) {
        if self.views.as_ref().is_some_and(|views| views.receiver_count() == 0) {
            self.views = None;
        }
        if let Some(views) = &self.views {
            views.send_replace(self.view());
        }
    }

    /// The pane as the board shows it.
    pub(super) fn report(&self) -> Pane {
        let seen = self.seen.as_ref();
        Pane {
            pane: self.pane.clone(),
            title: batch::redact(self.title.trim()),
            cwd: batch::redact(&self.cwd),
            project: batch::redact(&self.project),
            agent: self.agent().cloned(),
            agent_version: seen.map(|seen| seen.version.clone()).unwrap_or_default(),
            agent_pid: seen.map_or(0, |seen| seen.agent_pid),
            state: seen.map_or(PaneState::Unknown, |seen| seen.state),
            detail: seen.map_or_else(StateDetail::default, |seen| StateDetail {
                why: batch::redact(&seen.detail.why),
                ..seen.detail.clone()
            }),
            session_id: seen.map(|seen| seen.session_id.clone()).unwrap_or_default(),
            cols: self.size.0,
            rows: self.size.1,
            tty: self.tty.clone().unwrap_or_default(),
            last_output: self.last_output,
            mirror: self.mirror,
            session: None,
            not_logged: String::new(),
        }
    }
}

/// What a person does in a composer shows by.
#[derive(Debug, Clone)]
struct Hand {
    content: Composer,
    /// Row and column inside the composer, where the cursor shows there and has something to move over.
    cursor: Option<(i64, u32)>,
}

impl Hand {
    fn of(frame: &Frame, composer: &ComposerView) -> Option<Self> {
        let content = composer.content.clone();
        let has_text = match content {
            Composer::Empty => false,
            Composer::Draft { .. } | Composer::Paste { .. } => true,
            Composer::Dialog | Composer::Missing => return None,
        };
        let rows = composer.rows.clone();
        let at = frame.cursor;
        let inside = usize::try_from(at.row).is_ok_and(|row| rows.contains(&row)) && at.visible && has_text;
        let first = i64::try_from(rows.start).unwrap_or(i64::MAX);
        Some(Self { content, cursor: inside.then(|| (at.row.saturating_sub(first), at.col)) })
    }

    /// Cursors are compared only where both were seen: agents hide theirs while they draw.
    fn is_same(&self, other: &Self) -> bool {
        let moved = self.cursor.zip(other.cursor).is_some_and(|(one, two)| one != two);
        self.content == other.content && !moved
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The path of a `file://HOST/PATH` URL, without the slash at its end; what is no such URL, as it is.
fn path_of(url: &str) -> String {
    let Some(rest) = url.strip_prefix("file://") else { return url.to_owned() };
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let path = String::from_utf8_lossy(&bytes).into_owned();
    if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_moves_in_a_draft_is_a_hand() {
        let frame = |row: i64, visible: bool| Frame {
            cols: 20,
            cursor: wa_proto::Cursor { row, col: 4, visible },
            ..Frame::default()
        };
        let composer = |content: Composer| ComposerView {
            content,
            rows: 2..4,
            footer: 4..4,
            live_top: None,
            working: None,
            shell_mode: false,
            clipped: false,
        };
        let draft = composer(Composer::Draft { text: "half a thought".into() });
        let hand = |row, visible, composer: &ComposerView| Hand::of(&frame(row, visible), composer).unwrap();
        let first = hand(2, true, &draft);
        assert!(!first.is_same(&hand(3, true, &draft)));
        assert!(first.is_same(&hand(3, false, &draft)), "hidden while drawing");
        assert!(first.is_same(&hand(9, true, &draft)), "parked elsewhere");
        let empty = composer(Composer::Empty);
        assert!(hand(2, true, &empty).is_same(&hand(3, true, &empty)));
        assert!(!first.is_same(&hand(2, true, &empty)));
        assert!(Hand::of(&frame(2, true), &composer(Composer::Dialog)).is_none());
    }

    #[test]
    fn directories_come_as_urls() {
        assert_eq!(path_of("file://host/home/a%20b/c/"), "/home/a b/c");
        assert_eq!(path_of("file:///"), "/");
        assert_eq!(path_of("/plain/"), "/plain/");
        assert_eq!(path_of("file://host/100%"), "/100%");
        assert_eq!(path_of("file://host/%zz%ff"), "/%zz\u{fffd}");
    }
}
