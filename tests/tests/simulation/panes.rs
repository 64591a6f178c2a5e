//! The panes of a simulated multiplexer: one that counts the keys it gets, and some in which programs take text. It keeps
//! what every key found, for the judgement afterwards.
//!
//! A key finds either what it was meant for, or something else. Something else that had been shown to the node when the
//! key was sent is a fault; what it could not have seen any more, because it happened within the last round trip, is
//! counted apart.

mod shown;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use wa_match::ProcessInfo;
use wa_mux::codec::{KeyCode, Pdu, RenderChanges, Row};
use wa_proto::ActionId;

use super::program::{Dialog, Entered, Facts, Kind, Program, Shown};
use super::strikes::{Fit, Got, Key, Phase, Pressed, Strike, Trap};
use shown::{no_pane, put};

/// The pane that counts keys.
pub(crate) const PANE: u64 = 7;
const COLS: u64 = 40;
const ROWS: u64 = 6;
/// The first of those with programs.
const FIRST: u64 = 10;
const KINDS: [Kind; 6] = [Kind::Claude, Kind::Codex, Kind::Claude, Kind::Shell, Kind::Codex, Kind::Claude];
/// No process of the host that this runs on has such a pid.
const FIRST_PID: u32 = 5_000_000;
/// A person is there for so long after the last key.
const PERSON: Duration = Duration::from_secs(10);

/// What the node of a connection has been shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivered {
    /// Version of each pane.
    pub(crate) panes: BTreeMap<u64, u64>,
    /// As of when the list of clients is: the last one, which came at the first time; and the one before.
    clients: [(Duration, Duration); 2],
}

impl Delivered {
    /// A list of clients has come.
    pub(crate) fn clients(&mut self, now: Duration, as_of: Duration) {
        if self.clients[0].0 < now {
            self.clients[1] = self.clients[0];
        }
        self.clients[0] = (now, as_of);
    }

    /// What was known before this very moment: answers to several questions come together.
    fn clients_before(&self, now: Duration) -> Duration {
        self.clients.iter().find(|(came, _)| *came < now).map(|(_, as_of)| *as_of).unwrap_or_default()
    }
}

/// Bytes for the node, and what they show.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) shows: Option<(u64, u64)>,
    pub(crate) clients: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Draw(u64),
    TurnEnds(u64),
    Strike(u64, Strike),
    DialogEnds(u64, u32),
    Returns(u64),
    /// Somebody tidies up what was left in the composer.
    Tidy(u64),
}

struct Pane {
    program: Program,
    shown: Shown,
    /// What was drawn last, and the version with which that first showed.
    drawn: Facts,
    since: u64,
    version: u64,
    drawing: bool,
    pasted: Option<String>,
    /// Whose that was.
    pasted_by: Option<ActionId>,
    traps: Vec<Trap>,
    /// A person's last key, with a client that has this pane in focus.
    person: Option<Duration>,
}

/// The one that counts.
struct Counter {
    lines: Vec<String>,
    /// When each key arrived, over all generations.
    pressed: BTreeMap<char, Vec<Duration>>,
}

pub(crate) struct Panes {
    pub(crate) rng: fastrand::Rng,
    generation: u32,
    now: Duration,
    /// By how much the host's clock is wrong.
    pub(crate) ahead_s: i64,
    seqno: u64,
    counter: Counter,
    panes: BTreeMap<u64, Pane>,
    next_pane: u64,
    next_pid: u32,
    due: BTreeMap<(Duration, u64), Due>,
    count: u64,
    pub(crate) late_until: Duration,
    /// For the node, unasked.
    pub(crate) pushes: Vec<Message>,
    /// The server was replaced: its connections end.
    pub(crate) hung_up: bool,
    pub(crate) kill: bool,
    /// For the engine, with the text that was sent.
    pub(crate) orders: Vec<Strike>,
    pub(crate) got: Vec<Got>,
    /// Keys of actions that had pasted nothing.
    pub(crate) pressed: Vec<Pressed>,
    /// The node's action that is under way where the next key goes.
    pub(crate) acting: Option<ActionId>,
    dialogs: u32,
}

fn counter() -> Vec<String> {
    vec!["$ ".to_owned()]
}

pub(crate) fn tty(pane: u64) -> String {
    format!("/simulated/pts/{pane}")
}

impl Panes {
    pub(crate) fn new(rng: fastrand::Rng) -> Self {
        let mut panes = Self {
            rng,
            generation: 1,
            now: Duration::ZERO,
            ahead_s: 0,
            seqno: 1,
            counter: Counter { lines: counter(), pressed: BTreeMap::new() },
            panes: BTreeMap::new(),
            next_pane: FIRST,
            next_pid: FIRST_PID,
            due: BTreeMap::new(),
            count: 0,
            late_until: Duration::ZERO,
            pushes: Vec::new(),
            hung_up: false,
            kill: false,
            orders: Vec::new(),
            got: Vec::new(),
            pressed: Vec::new(),
            acting: None,
            dialogs: 0,
        };
        panes.open_all();
        panes
    }

    pub(crate) fn generation(&self) -> String {
        format!("simulated-{}", self.generation)
    }

    pub(crate) fn presses(&self, key: char) -> Vec<Duration> {
        self.counter.pressed.get(&key).cloned().unwrap_or_default()
    }

    /// The n-th pane with a program, over and over: its number, and what runs in it.
    pub(crate) fn pick(&self, n: usize) -> Option<(u64, Kind, u32)> {
        let (id, pane) = self.panes.iter().nth(n % self.panes.len().max(1))?;
        Some((*id, pane.program.facts.kind, pane.program.facts.pid))
    }

    pub(crate) fn has(&self, id: u64) -> bool {
        self.panes.contains_key(&id)
    }

    pub(crate) fn group(&self, tty_of: &str) -> Option<Vec<ProcessInfo>> {
        let pane = self.panes.iter().find(|(id, _)| tty(**id) == tty_of)?.1;
        Some(pane.program.group())
    }

    /// A send is on its way to the pane.
    pub(crate) fn arm(&mut self, pane: u64, trap: Trap) {
        if let Some(pane) = self.panes.get_mut(&pane) {
            pane.traps.push(trap);
        }
        self.reached(pane, Phase::Asked);
    }

    /// The host lost its power, or the server is another process.
    pub(crate) fn restart(&mut self) {
        self.generation += 1;
        self.counter.lines = counter();
        self.panes.clear();
        self.due.clear();
        self.next_pane = FIRST;
        self.seqno += 1;
        self.open_all();
        self.pushes.clear();
        self.hung_up = true;
    }

    fn open_all(&mut self) {
        for kind in KINDS {
            self.open(kind);
        }
    }

    fn open(&mut self, kind: Kind) {
        let program = Program::new(kind, self.pid());
        let (shown, drawn) = (program.draw(), program.facts.clone());
        self.seqno += 1;
        let pane = Pane {
            program,
            shown,
            drawn,
            since: self.seqno,
            version: self.seqno,
            drawing: false,
            pasted: None,
            pasted_by: None,
            traps: Vec::new(),
            person: None,
        };
        self.panes.insert(self.next_pane, pane);
        self.next_pane += 1;
    }

    fn pid(&mut self) -> u32 {
        self.next_pid += 1;
        self.next_pid
    }

    fn after(&mut self, least: u64, most: u64, due: Due) {
        let at = self.now + Duration::from_millis(self.rng.u64(least..most));
        self.at(at, due);
    }

    fn at(&mut self, at: Duration, due: Due) {
        self.count += 1;
        self.due.insert((at, self.count), due);
    }

    /// When something happens next by itself.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Time has passed.
    pub(crate) fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            self.now = self.now.max(entry.key().0);
            let due = entry.remove();
            self.happen(due);
        }
        self.now = self.now.max(now);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Draw(id) => self.draw(id),
            Due::TurnEnds(id) => self.change(id, |program| program.working = false),
            Due::Strike(id, strike) => self.strike(id, strike),
            Due::DialogEnds(id, number) => self.change(id, |program| {
                program.facts.dialog.take_if(|dialog| dialog.number == number);
            }),
            // Nobody begins a program over a half-typed line.
            Due::Returns(id)
                if self.panes.get(&id).is_some_and(|pane| !pane.program.facts.draft.is_empty()) =>
            {
                self.after(1_000, 2_000, Due::Returns(id));
            }
            Due::Returns(id) => {
                let pid = self.pid();
                self.change(id, |program| {
                    if program.facts.kind != program.usual {
                        program.become_other(program.usual, pid);
                    }
                });
            }
            Due::Tidy(id) => {
                let (pid, clear) = (self.pid(), self.rng.bool());
                self.change(id, |program| match program.facts.draft.is_empty() {
                    true => {}
                    false if clear => program.clear(),
                    false => program.become_other(program.facts.kind, pid),
                });
            }
        }
    }

    /// Something in a program is not as before: it is drawn a moment later.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Program)) {
        let Some(pane) = self.panes.get_mut(&id) else { return };
        change(&mut pane.program);
        if !std::mem::replace(&mut pane.drawing, true) {
            self.after(2, 60, Due::Draw(id));
        }
    }

    fn draw(&mut self, id: u64) {
        self.seqno += 1;
        let Some(pane) = self.panes.get_mut(&id) else { return };
        pane.drawing = false;
        if pane.drawn != pane.program.facts {
            (pane.drawn, pane.since) = (pane.program.facts.clone(), self.seqno);
        }
        pane.version = self.seqno;
        pane.shown = pane.program.draw();
        let push = self.changes_of(id);
        self.pushes.extend(push);
    }

    fn changes_of(&self, id: u64) -> Option<Message> {
        let changes = self.changes(id)?;
        let mut message =
            Message { shows: self.panes.get(&id).map(|pane| (id, pane.version)), ..Message::default() };
        put(&mut message.bytes, 0, &Pdu::GetPaneRenderChangesResponse { changes: Box::new(changes) });
        Some(message)
    }

    // ---- what disturbs

    fn reached(&mut self, id: u64, phase: Phase) {
        let Some(pane) = self.panes.get_mut(&id) else { return };
        let due: Vec<Trap> = pane.traps.extract_if(.., |trap| trap.phase == phase).collect();
        for trap in due {
            self.at(self.now + trap.after, Due::Strike(id, trap.strike));
        }
    }

    fn strike(&mut self, id: u64, strike: Strike) {
        match strike {
            Strike::Letter => {
                self.change(id, |program| {
                    if program.facts.dialog.is_none() {
                        program.paste("x", false, Duration::ZERO);
                    }
                });
                self.after(4_000, 8_000, Due::Tidy(id));
            }
            Strike::PersonEnter => self.person_enter(id),
            Strike::Focus => {
                let now = self.now;
                self.panes.get_mut(&id).into_iter().for_each(|pane| pane.person = Some(now));
            }
            Strike::Dialog => {
                self.ask(id, 2_000..6_000);
            }
            Strike::Leave | Strike::Replace => {
                let pid = self.pid();
                let leaves = strike == Strike::Leave;
                self.change(id, |program| {
                    let kind = if leaves { Kind::Shell } else { program.facts.kind };
                    program.become_other(kind, pid);
                });
                self.after(3_000, 7_000, Due::Returns(id));
            }
            Strike::Close => self.close(id),
            Strike::Restart => self.restart(),
            Strike::Resize => {
                let cols = self.rng.u64(50..120);
                self.change(id, |program| program.cols = cols);
            }
            Strike::Deaf => {
                let lost = self.rng.u32(1..5);
                self.change(id, |program| program.deaf = lost);
            }
            Strike::Late => self.late_until = self.now + Duration::from_millis(self.rng.u64(300..9_000)),
            Strike::Kill => self.kill = true,
            Strike::KillHead | Strike::Cut | Strike::Pause | Strike::Again => self.orders.push(strike),
        }
    }

    /// A dialog opens where an agent runs, in the place of the one that stood there, and is closed after some milliseconds.
    pub(crate) fn ask(&mut self, id: u64, stands: Range<u64>) {
        self.dialogs += 1;
        let number = self.dialogs;
        self.change(id, |program| {
            program.facts.dialog = (program.facts.kind != Kind::Shell).then(|| Dialog::new(number));
        });
        self.after(stands.start, stands.end, Due::DialogEnds(id, number));
    }

    fn person_enter(&mut self, id: u64) {
        let Some(pane) = self.panes.get_mut(&id) else { return };
        let now = self.now;
        let (text, pid) = (pane.pasted.clone().unwrap_or_default(), pane.program.facts.pid);
        pane.program.deaf = 0;
        let entered = pane.program.enter(now);
        if let Entered::Submitted(pieces) = entered {
            let key = Key::PersonEnter(pieces);
            let generation = self.generation();
            self.got.push(Got {
                at: now,
                generation,
                pane: id,
                pid,
                text,
                key,
                fit: Fit::Right,
                over_person: false,
                action: None,
            });
            self.after(500, 3_000, Due::TurnEnds(id));
        }
        self.change(id, |_| {});
    }

    fn close(&mut self, id: u64) {
        if self.panes.remove(&id).is_none() {
            return;
        }
        let mut gone = Message::default();
        put(&mut gone.bytes, 0, &Pdu::PaneRemoved { pane_id: id });
        let kind = KINDS[self.rng.usize(..KINDS.len())];
        let new = self.next_pane;
        self.open(kind);
        put(&mut gone.bytes, 0, &Pdu::TabAddedToWindow { tab_id: new, window_id: 0 });
        self.pushes.push(gone);
    }

    // ---- what the node asks for

    pub(crate) fn answer(&mut self, known: &Delivered, serial: u64, request: Pdu) -> Message {
        let mut out = Message::default();
        match request {
            Pdu::GetCodecVersion => put(
                &mut out.bytes,
                serial,
                &Pdu::GetCodecVersionResponse {
                    codec_version: 44,
                    version: "20990101-000000-simulated".into(),
                    executable_path: "/usr/bin/wezterm-mux-server".into(),
                    config_file_path: None,
                },
            ),
            Pdu::ListPanes => put(&mut out.bytes, serial, &self.list()),
            Pdu::GetPaneRenderChanges { pane_id } => {
                out = self.changes_of(pane_id).unwrap_or_default();
                let is_alive = pane_id == PANE || self.panes.contains_key(&pane_id);
                put(&mut out.bytes, serial, &Pdu::LivenessResponse { pane_id, is_alive });
                let is_watched = |pane: &Pane| pane.pasted.is_some() || pane.program.facts.dialog.is_some();
                if self.panes.get(&pane_id).is_some_and(is_watched) {
                    self.reached(pane_id, Phase::Looked);
                }
            }
            Pdu::GetPaneRenderableDimensions { pane_id } => match self.changes(pane_id) {
                Some(RenderChanges { cursor, dims, .. }) => {
                    put(
                        &mut out.bytes,
                        serial,
                        &Pdu::GetPaneRenderableDimensionsResponse { pane_id, cursor, dims },
                    );
                }
                None => no_pane(&mut out.bytes, serial),
            },
            Pdu::GetLines { pane_id, lines } => {
                let wanted = |row: &Row| lines.iter().any(|range| range.contains(&row.index));
                let rows = self.rows(pane_id).into_iter().filter(wanted).collect();
                put(&mut out.bytes, serial, &Pdu::GetLinesResponse { pane_id, rows });
            }
            Pdu::GetClientList => {
                out.clients = Some(self.now);
                put(&mut out.bytes, serial, &Pdu::GetClientListResponse { clients: self.clients() });
            }
            Pdu::SendPaste { pane_id, data } => match self.pasted(known, pane_id, &data) {
                true => put(&mut out.bytes, serial, &Pdu::UnitResponse),
                false => no_pane(&mut out.bytes, serial),
            },
            Pdu::SendKeyDown { pane_id, event, .. } => {
                self.pressed_key(known, serial, pane_id, event.code, &mut out)
            }
            _ => put(&mut out.bytes, serial, &Pdu::UnitResponse),
        }
        out
    }

    /// False: there is no such pane.
    fn pasted(&mut self, known: &Delivered, id: u64, text: &str) -> bool {
        let generation = self.generation();
        let Some(pane) = self.panes.get_mut(&id) else { return false };
        let facts = &pane.program.facts;
        let fit = if facts.is_free() { Fit::Right } else { pane.fit(id, known) };
        let over_person = pane.is_over_person(self.now, known);
        let (text, key, pid) = (text.to_owned(), Key::Paste, facts.pid);
        let (at, action) = (self.now, self.acting);
        self.got.push(Got {
            at,
            generation,
            pane: id,
            pid,
            text: text.clone(),
            key,
            fit,
            over_person,
            action,
        });
        (pane.pasted, pane.pasted_by) = (Some(text.clone()), self.acting);
        let now = self.now;
        self.change(id, |program| program.paste(&text, true, now));
        self.after(7_000, 12_000, Due::Tidy(id));
        self.reached(id, Phase::Pasted);
        true
    }

    fn pressed_key(&mut self, known: &Delivered, serial: u64, id: u64, code: KeyCode, out: &mut Message) {
        if id == PANE {
            if let KeyCode::Char(key) = code {
                self.counter.pressed.entry(key).or_default().push(self.now);
                self.counter.lines.push(format!("$ key {}", u32::from(key)));
                self.seqno += 1;
            }
            put(&mut out.bytes, serial, &Pdu::UnitResponse);
            out.bytes.extend(self.changes_of(id).unwrap_or_default().bytes);
            return;
        }
        let known_keys = [KeyCode::Enter, KeyCode::Up, KeyCode::Down];
        let (generation, now, acting) = (self.generation(), self.now, self.acting);
        let Some(pane) = self.panes.get_mut(&id).filter(|_| known_keys.contains(&code)) else {
            return no_pane(&mut out.bytes, serial);
        };
        if code != KeyCode::Enter || (acting.is_some() && acting != pane.pasted_by) {
            return self.choosing(known, serial, id, code, out);
        }
        let text = pane.pasted.clone().unwrap_or_default();
        let right = !text.is_empty() && pane.program.facts.pasted() == Some(&text);
        let fit = if right { Fit::Right } else { pane.fit(id, known) };
        let over_person = pane.is_over_person(now, known);
        let pid = pane.program.facts.pid;
        let lost = pane.program.deaf > 0;
        let entered = pane.program.enter(now);
        let works = matches!(entered, Entered::Submitted(_) | Entered::Answered(_));
        let (key, action) = (Key::Enter(entered), acting);
        self.got.push(Got { at: now, generation, pane: id, pid, text, key, fit, over_person, action });
        if works {
            self.after(500, 3_000, Due::TurnEnds(id));
        }
        // A key that is lost draws nothing.
        if !lost {
            self.change(id, |_| {});
        }
        self.reached(id, Phase::Entered);
        put(&mut out.bytes, serial, &Pdu::UnitResponse);
    }

    /// A key that answers a dialog, or leads there.
    fn choosing(&mut self, known: &Delivered, serial: u64, id: u64, code: KeyCode, out: &mut Message) {
        let (generation, at, action) = (self.generation(), self.now, self.acting);
        put(&mut out.bytes, serial, &Pdu::UnitResponse);
        let Some(pane) = self.panes.get_mut(&id) else { return };
        let (found, pid) = (pane.program.facts.dialog, pane.program.facts.pid);
        let (last_trip, over_person) = (pane.fit(id, known) == Fit::LastTrip, pane.is_over_person(at, known));
        let lost = pane.program.deaf > 0;
        let enter = match code {
            KeyCode::Enter => Some(pane.program.enter(at)),
            _ => {
                pane.program.arrow(code == KeyCode::Down);
                None
            }
        };
        if enter.is_some() && !lost {
            self.after(500, 3_000, Due::TurnEnds(id));
            self.reached(id, Phase::Entered);
        }
        self.pressed.push(Pressed {
            at,
            generation,
            pane: id,
            pid,
            action,
            enter,
            found,
            last_trip,
            over_person,
        });
        if !lost {
            self.change(id, |_| {});
        }
    }
}

impl Pane {
    /// Of a key that found something else than it was meant for.
    fn fit(&self, id: u64, known: &Delivered) -> Fit {
        let shown =
            self.drawn == self.program.facts && known.panes.get(&id).is_some_and(|seen| *seen >= self.since);
        if shown { Fit::Wrong } else { Fit::LastTrip }
    }

    fn is_over_person(&self, now: Duration, known: &Delivered) -> bool {
        // The server counts whole seconds.
        let rounded = Duration::from_secs(2);
        self.person.is_some_and(|at| now + rounded < at + PERSON && known.clients_before(now) > at)
    }
}
