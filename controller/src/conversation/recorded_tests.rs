//! The conversation view of real sessions: what the screen of Codex and Gemini CLI was told, byte for byte, beside the
//! session file of the same run.
//!
//! A recording has no times of its own: a prompt is drawn at the time that the session file has for it, and the bytes
//! between two prompts are spread evenly over the time between, which is wrong by seconds, in both directions. Lines come from the same parts that a node has: terminal model, settled
//! transcript, composer grammar; messages from its reader of session files.

use jiff::SignedDuration;
use wa_match::composer;
use wa_match::session::{Said, SessionParser};
use wa_proto::{AgentKind, Generation, Line, Message, MuxName, PaneRef, Role};
use wa_screen::terminal::{Facts, Size, Terminal, Told};
use wa_screen::{Input, Options, Output, PaneScreen, Removal};

use super::*;
use crate::store::{squeeze, weight};

fn testdata(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/conversation/{name}.zst", env!("CARGO_MANIFEST_DIR"));
    zstd::bulk::decompress(&std::fs::read(path).unwrap(), 1 << 20).unwrap()
}

/// Messages with their times.
fn messages(name: &str, agent: &AgentKind) -> Vec<(Timestamp, Message)> {
    let text = testdata(&format!("{name}.jsonl"));
    let mut parser = SessionParser::new(agent).unwrap();
    let (mut out, mut latest): (Vec<(Timestamp, Message)>, _) = (Vec::new(), Timestamp::MIN);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        parser.line(line, Timestamp::UNIX_EPOCH, |said| {
            let Said::Message(message) = said else { return };
            if let Some((_, held)) = out.iter_mut().find(|(_, held)| held.index == message.index) {
                *held = message;
                return;
            }
            latest = latest.max(message.time.unwrap_or(latest));
            out.push((latest, message));
        });
    }
    out
}

/// A node's eyes on a recording.
struct Watch {
    agent: AgentKind,
    terminal: Terminal,
    told: Option<Told>,
    screen: PaneScreen,
    log: Vec<(u64, Line, Timestamp)>,
}

impl Watch {
    fn apply(&mut self, input: Input, now: Timestamp) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.screen.apply(input, now) {
                match output {
                    Output::Fetch(ranges) => inputs.push(Input::Rows(self.terminal.lines(&ranges))),
                    Output::Line { layout, line } => self.log.push((layout, line, now)),
                    Output::FrameChanged => {
                        let frame = self.screen.frame();
                        let top = composer::read(&frame, &self.agent).live_top;
                        let row = |at| frame.first_row + i64::try_from(at).unwrap();
                        inputs.push(Input::LiveTop(top.map(row)));
                    }
                    Output::Gap(_) | Output::Repaint(_) => {}
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8], now: Timestamp) {
        self.terminal.advance(bytes);
        if let Some((told, changes)) = self.terminal.changes(1, Facts::default(), self.told.as_ref(), None) {
            self.told = Some(told);
            self.apply(Input::Changes(changes), now);
        }
        while let Some(wake) = self.screen.next_wakeup().filter(|wake| *wake <= now) {
            self.apply(Input::Tick, wake);
        }
    }
}

/// Offsets of the recording and their times, in order; the first is its beginning, the last its end.
fn anchors(raw: &[u8], said: &[(Timestamp, Message)]) -> Vec<(usize, Timestamp)> {
    let moment = SignedDuration::from_secs(10);
    let mut out = vec![(0, said.first().unwrap().0 - moment)];
    for (at, message) in said.iter().filter(|(_, message)| message.role == Role::User) {
        let (from, before) = *out.last().unwrap();
        let text = message.text.as_bytes();
        let found = raw[from..].windows(text.len()).position(|piece| piece == text);
        if let Some(found) = found.filter(|found| *found > 0 && *at > before) {
            out.push((from + found, *at));
        }
    }
    out.push((raw.len(), said.last().unwrap().0.max(out.last().unwrap().1) + moment));
    out
}

/// The transcript of a recording, as a reader of the log sees it.
fn lines(name: &str, agent: &AgentKind, said: &[(Timestamp, Message)]) -> Vec<(Timestamp, String)> {
    const PIECE: usize = 512;
    let raw = testdata(&format!("{name}.raw"));
    let anchors = anchors(&raw, said);
    let mut now = anchors[0].1;
    let pane = PaneRef { mux: MuxName::main(), generation: Generation::new("b-1-1").unwrap(), pane_id: 1 };
    let mut watch = Watch {
        agent: agent.clone(),
        terminal: Terminal::new(Size { cols: 100, rows: 30 }, 3500),
        told: None,
        screen: PaneScreen::new(pane, Options::default()),
        log: Vec::new(),
    };
    watch.apply(Input::AgentProcess(Some(77)), now);
    for pair in anchors.windows(2) {
        let ((from, begin), (to, end)) = (pair[0], pair[1]);
        let pieces = raw[from..to].chunks(PIECE);
        let step = end.duration_since(begin) / i32::try_from(pieces.len()).unwrap();
        for piece in pieces {
            now += step;
            watch.write(piece, now);
        }
        now = end;
    }
    for _ in 0..10 {
        now += SignedDuration::from_secs(2);
        watch.write(b"", now);
    }
    watch.apply(Input::Removed(Removal::Exit), now);
    let mut newest = std::collections::BTreeMap::new();
    for (layout, line, time) in watch.log {
        newest.insert((layout, line.row), (line, time));
    }
    newest.retain(|_, (line, _)| line.rows > 0);
    newest.into_values().map(|(line, time)| (time, line.text)).collect()
}

struct Figures {
    messages: usize,
    /// Lines of the screen with words in them.
    worded: usize,
    /// Of these: the words stand in a message, and are more than a few.
    repeating: usize,
    /// Of `repeating`: shown all the same.
    doubled: usize,
    /// Of `worded`: shown.
    shown: Vec<String>,
}

fn view(name: &str, agent: AgentKind) -> Figures {
    let said = messages(name, &agent);
    let seen = lines(name, &agent, &said);
    let mut merge = Merge::default();
    for (at, message) in &said {
        merge.heard(*at, Spoken::of(agent.as_str(), message.role, &message.text), None);
    }
    for (time, text) in &seen {
        merge.saw(Seen::of(*time, Some(text), agent.as_str(), None), Some(text.clone()));
    }
    merge.no_more_said();
    merge.no_more_seen();
    let (mut given, mut shown) = (0, Vec::new());
    loop {
        match merge.next(Timestamp::MAX) {
            Step::Give(None) => given += 1,
            Step::Give(Some(text)) => shown.push(text),
            step => break assert_eq!(step, Step::Empty),
        }
    }
    assert_eq!(given, said.len(), "every message is given");
    let texts: Vec<String> = said.iter().map(|(_, message)| squeeze(&message.text)).collect();
    let words = |text: &&String| !squeeze(text).is_empty();
    let repeats = |text: &String| {
        let squeezed = squeeze(text);
        weight(&squeezed) > 3 && texts.iter().any(|text| text.contains(&squeezed))
    };
    let worded: Vec<&String> = seen.iter().map(|(_, text)| text).filter(words).collect();
    // Nothing vanished: what is not shown stands in a message.
    for text in &worded {
        let squeezed = squeeze(text);
        // Of a tool call, all but the word that the agent put before it.
        let call = text
            .trim_start_matches(|c: char| !c.is_alphanumeric())
            .split_once(' ')
            .map(|(_, rest)| squeeze(rest));
        let found = |words: &str| texts.iter().any(|text| text.contains(words));
        let found = found(&squeezed) || call.is_some_and(|call| found(&call));
        assert!(shown.contains(text) || found, "{text:?} is gone");
    }
    shown.retain(|text| words(&text));
    Figures {
        messages: said.len(),
        worded: worded.len(),
        repeating: worded.into_iter().filter(|text| repeats(text)).count(),
        doubled: shown.iter().filter(|text| repeats(text)).count(),
        shown,
    }
}

/// Every message once; of the screen what no message has, and of what a message has as good as nothing.
fn reads_like_a_conversation(name: &str, agent: AgentKind, only_on_screen: &[&str]) {
    let figures = view(name, agent);
    let Figures { messages, worded, repeating, doubled, shown } = &figures;
    println!(
        "{name}: {messages} messages; {worded} lines with words, {repeating} of them in a message; \
         {} shown, {doubled} of them in a message",
        shown.len()
    );
    assert!(*messages >= 20 && *repeating >= 15, "{messages} messages, {repeating} lines that repeat them");
    assert!(doubled * 20 <= *repeating, "{doubled} of {repeating} are shown twice: {shown:#?}");
    for text in only_on_screen {
        assert!(shown.iter().any(|line| line.contains(text)), "{text:?} is missing: {shown:#?}");
    }
}

#[test]
fn an_inline_session_reads_like_a_conversation() {
    let only = [
        "OpenAI Codex (v0.89.0)",
        "Conversation interrupted",
        "Token usage: total=",
        "codex resume 01a20245-fac4",
    ];
    reads_like_a_conversation("codex_0.89.0_100x30", AgentKind::codex(), &only);
    let only = ["OpenAI Codex (v0.144.0)", "You canceled the request", "Token usage: total="];
    reads_like_a_conversation("codex_0.144.0_100x30", AgentKind::codex(), &only);
}

#[test]
fn a_full_screen_session_is_complete() {
    let only = ["Conversation interrupted", "You canceled the request", "Token usage so far: total="];
    reads_like_a_conversation("codex_0.169.0_100x30", AgentKind::codex(), &only);
    let only = ["Gemini CLI v0.61.0", "Request cancelled.", "gemini --resume 7aea5101"];
    reads_like_a_conversation("gemini_0.61.0_100x30", AgentKind::gemini(), &only);
}
