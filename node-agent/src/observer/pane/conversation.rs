//! What a pane's agent writes into its own session file: the level that stands at the pane, and the conversation.
//!
//! Constraints: every text is redacted before it leaves, messages line by line, so that secrets of many lines go too;
//! records are bounded; the place in the file is stored in the same group as the messages before it, so that a restarted
//! node goes on there. Tokens are counted with every answer; the board hears of it once a second.

use std::time::Duration;

use tokio::time::Instant;
use wa_match::{Redactor, RedactorState};
use wa_proto::{AgentKind, AgentSession, Conversation, Message, RateLimitWindow};

use super::Watched;
use crate::session_file::Update;

/// A changed session is told this often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Text of one record, in bytes, if it holds more than one message.
const RECORD_BYTES: usize = 32 << 10;
/// A longer message is cut, in bytes.
const MESSAGE_BYTES: usize = 128 << 10;
/// What a message takes beside its text, in bytes.
const MESSAGE_COST: usize = 32;

/// The session file of one pane, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct SessionFile {
    /// Where reading stands, in the reader's own words.
    position: Vec<u8>,
    told: Option<AgentSession>,
    told_at: Option<Instant>,
    /// What is to be told, and when.
    waiting: Option<(AgentSession, Instant)>,
    /// Bytes of messages that were left out and that no record names yet.
    skipped: u64,
}

impl SessionFile {
    pub(super) fn new(position: Vec<u8>) -> Self {
        Self { position, ..Self::default() }
    }

    pub(super) fn told(&self) -> Option<&AgentSession> {
        self.told.as_ref()
    }

    pub(super) fn position(&self) -> &[u8] {
        &self.position
    }

    fn hear(&mut self, session: AgentSession, now: Instant) {
        let at = self.told_at.map_or(now, |told| told + TELL_EVERY);
        self.waiting = Some((session, at));
    }

    /// When the session that waits may be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, at)| *at)
    }

    /// True: the session that stands here is another now.
    pub(super) fn tell(&mut self, now: Instant) -> bool {
        let Some((session, _)) = self.waiting.take_if(|(_, at)| *at <= now) else { return false };
        let news = self.told.as_ref() != Some(&session);
        (self.told, self.told_at) = (Some(session), Some(now));
        news
    }
}

impl Watched {
    /// An agent's file begins to be followed: what another's said is over. Returns where reading stood.
    pub(in crate::observer) fn begin_session(&mut self) -> Vec<u8> {
        self.conversation.waiting = None;
        self.altered |= self.conversation.told.take().is_some();
        self.conversation.position.clone()
    }

    /// What the session file says now; `current`: it is the one that is followed, not an earlier one.
    pub(in crate::observer) fn session_update(&mut self, update: Update, current: bool) {
        if !self.is_logged() {
            return;
        }
        match update {
            Update::Session(session) if current => {
                let session = clean_session(&self.redactor, *session);
                self.conversation.hear(session, Instant::now());
            }
            Update::Session(_) => {}
            Update::Messages { agent, session_id, skipped_bytes, messages, position } => {
                self.conversation.skipped = self.conversation.skipped.saturating_add(skipped_bytes);
                self.messages(&agent, &session_id, messages);
                if current {
                    self.conversation.position = position;
                    self.store_soon();
                }
            }
            Update::Testimony(testimony) => self.testimony(testimony),
            Update::Notice(notice) => {
                self.matcher.notice(notice);
                self.look_soon();
            }
        }
    }

    fn messages(&mut self, agent: &AgentKind, session_id: &str, messages: Vec<Message>) {
        let session_id = self.redactor.redact(session_id).into_owned();
        let empty = |skipped_bytes| Conversation {
            pane: self.pane.clone(),
            agent: agent.clone(),
            session_id: session_id.clone(),
            skipped_bytes,
            messages: Vec::new(),
        };
        let (mut open, mut bytes, mut records) = (empty(0), 0, Vec::new());
        for message in messages {
            let message = clean_message(&self.redactor, message);
            let size = message.text.len() + message.name.len() + message.id.len() + MESSAGE_COST;
            let skipped = &mut self.conversation.skipped;
            if !self.shed.take(size, Instant::now()) {
                *skipped = skipped.saturating_add(size as u64);
                continue;
            }
            // What was skipped stands right before the first message of a record.
            if *skipped > 0 || (bytes > 0 && bytes + size > RECORD_BYTES) {
                records.push(std::mem::replace(&mut open, empty(std::mem::take(skipped))));
                bytes = 0;
            }
            bytes += size;
            open.messages.push(message);
        }
        records.push(open);
        records.retain(|record| !record.messages.is_empty());
        for record in records {
            self.close_shed();
            self.batch.conversation(record, wa_link::clock::now());
        }
    }
}

/// Line by line, so that what a secret's first line announces is known in its last.
fn clean_text(redactor: &Redactor, text: &str) -> String {
    let mut state = RedactorState::default();
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        out.push_str(&redactor.redact_line(&mut state, line));
        out.push_str(end);
    }
    out
}

fn clean_message(redactor: &Redactor, message: Message) -> Message {
    let mut text = clean_text(redactor, &message.text);
    let end = text.floor_char_boundary(MESSAGE_BYTES);
    let cut = text.len() - end;
    text.truncate(end);
    Message {
        id: redactor.redact(&message.id).into_owned(),
        name: redactor.redact(&message.name).into_owned(),
        text,
        cut_bytes: message.cut_bytes.saturating_add(cut as u64),
        ..message
    }
}

fn clean_session(redactor: &Redactor, session: AgentSession) -> AgentSession {
    let clean = |text: &str| redactor.redact(text).into_owned();
    let window = |window: RateLimitWindow| RateLimitWindow { window: clean(&window.window), ..window };
    AgentSession {
        session_id: clean(&session.session_id),
        path: clean(&session.path),
        reason: clean(&session.reason),
        model: clean(&session.model),
        problem: clean(&session.problem),
        rate_limits: session.rate_limits.into_iter().map(window).collect(),
        ..session
    }
}
