//! What hooks mean: how a line of an agent's table is read.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;
use wa_match::Testimony;
use wa_proto::{AgentKind, EventKind, Timestamp, Witness};

use super::message::Message;
use super::{claude, codex, gemini};

/// Characters of what a hook says that a line repeats.
const MAX_DETAIL: usize = 200;
/// Compactions, and ends, of one session that are told within this time are one: Claude Code tells of a compaction by two
/// hooks, Gemini CLI 0.61 runs its SessionEnd three times.
const ONE_THING: SignedDuration = SignedDuration::from_secs(30);
/// Of these things, how many are remembered.
const MAX_REMEMBERED: usize = 64;

/// One line of a table: of the lines for an event the first whose condition holds decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    event: &'static str,
    /// A field and the values it must have one of.
    when: Option<(&'static str, &'static [&'static str])>,
    /// A field that must be absent.
    unless: &'static str,
    means: Option<EventKind>,
    /// What it tells more: the name in events, and the name in the hook.
    fields: &'static [(&'static str, &'static str)],
    /// The hook's field that names the thing.
    key: &'static str,
    /// The prose to repeat.
    prose: &'static [&'static str],
    /// Also when a subagent says it.
    of_subagents: bool,
    /// Not a hook but the older `notify`.
    is_notify: bool,
}

/// An event that means nothing by itself: it names the session.
pub(super) const fn on(event: &'static str) -> Line {
    Line {
        event,
        when: None,
        unless: "",
        means: None,
        fields: &[],
        key: "",
        prose: &[],
        of_subagents: false,
        is_notify: false,
    }
}

impl Line {
    pub(super) const fn when(mut self, field: &'static str, values: &'static [&'static str]) -> Self {
        self.when = Some((field, values));
        self
    }
    pub(super) const fn unless(mut self, field: &'static str) -> Self {
        self.unless = field;
        self
    }
    pub(super) const fn means(mut self, kind: EventKind) -> Self {
        self.means = Some(kind);
        self
    }
    pub(super) const fn with(mut self, fields: &'static [(&'static str, &'static str)]) -> Self {
        self.fields = fields;
        self
    }
    pub(super) const fn key(mut self, field: &'static str) -> Self {
        self.key = field;
        self
    }
    pub(super) const fn prose(mut self, fields: &'static [&'static str]) -> Self {
        self.prose = fields;
        self
    }
    pub(super) const fn of_subagents_too(mut self) -> Self {
        self.of_subagents = true;
        self
    }
    pub(super) const fn by_notify(mut self) -> Self {
        self.is_notify = true;
        self
    }

    fn holds(&self, message: &Message) -> bool {
        self.event == message.event
            && message.get(self.unless).is_none()
            && self
                .when
                .is_none_or(|(field, values)| message.get(field).is_some_and(|value| values.contains(&value)))
    }
}

fn of(agent: &AgentKind) -> &'static [Line] {
    match agent.as_str() {
        "claude" => claude::TABLE,
        "codex" => codex::TABLE,
        "gemini" => gemini::TABLE,
        _ => &[],
    }
}

pub(super) fn is_known(agent: &AgentKind) -> bool {
    !of(agent).is_empty()
}

/// Whether the agent's table has this message; what it has not is nobody's business.
pub(super) fn has(agent: &AgentKind, message: &Message) -> bool {
    of(agent).iter().any(|line| line.holds(message))
}

/// The hooks of an agent's table, each once.
pub(super) fn events(agent: &AgentKind) -> Vec<&'static str> {
    let mut events: Vec<&str> =
        of(agent).iter().filter(|line| !line.is_notify).map(|line| line.event).collect();
    events.dedup();
    events
}

/// Reads messages by the tables, and remembers what is told more than once.
#[derive(Debug, Default)]
pub(super) struct Reader {
    told: VecDeque<(EventKind, String, Timestamp)>,
}

impl Reader {
    pub(super) fn testimony(
        &mut self,
        agent: &AgentKind,
        message: &Message,
        now: Timestamp,
    ) -> Option<Testimony> {
        let line = of(agent).iter().find(|line| line.holds(message))?;
        let kind = line.means?;
        if message.get("agent_id").is_some() && !line.of_subagents {
            return None;
        }
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        for (ours, theirs) in line.fields {
            if let Some(value) = message.get(theirs) {
                fields.insert((*ours).to_owned(), one_line(value));
            }
        }
        let key = match kind {
            EventKind::ContextCompacted | EventKind::SessionEnded => {
                self.name(kind, message.get("session_id")?, now)
            }
            _ => message.get(line.key).map(one_line).unwrap_or_default(),
        };
        let detail = line.prose.iter().find_map(|field| message.get(field)).map(one_line);
        let head = format!("{agent} hook {}", message.event);
        let line = detail.map_or(head.clone(), |detail| format!("{head}: {detail}"));
        Some(Testimony { kind, witness: Witness::Hook, key, rule: String::new(), fields, line, at: now })
    }

    /// A name for what happens to this session now, the same for all who tell of it.
    fn name(&mut self, kind: EventKind, session: &str, now: Timestamp) -> String {
        let same = |told: &&(EventKind, String, Timestamp)| told.0 == kind && told.1 == session;
        let known = self.told.iter().find(same).map(|told| told.2);
        let known = known.filter(|at| now.duration_since(*at).abs() < ONE_THING);
        if known.is_none() {
            self.told.retain(|told| !same(&told));
            if self.told.len() == MAX_REMEMBERED {
                self.told.pop_front();
            }
            self.told.push_back((kind, session.to_owned(), now));
        }
        format!("{session} {}", known.unwrap_or(now))
    }
}

/// Without control characters, and short.
fn one_line(text: &str) -> String {
    text.chars().take(MAX_DETAIL).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "b5f6c1c2-1111-2222-3333-444455556666";

    fn said(reader: &mut Reader, agent: AgentKind, json: &str, at: i64) -> Option<Testimony> {
        let json = format!(r#"{{"session_id":"{ID}",{json}}}"#);
        let message = Message::of(agent.as_str(), None, json.as_bytes()).unwrap();
        reader.testimony(&agent, &message, Timestamp::from_second(at).unwrap())
    }

    fn kind(agent: AgentKind, json: &str) -> Option<EventKind> {
        said(&mut Reader::default(), agent, json, 0).map(|testimony| testimony.kind)
    }

    #[test]
    fn claude_as_its_reference_has_it() {
        for (json, means) in [
            (r#""hook_event_name":"SessionStart","source":"startup""#, None),
            (r#""hook_event_name":"SessionStart","source":"compact""#, Some(EventKind::ContextCompacted)),
            (r#""hook_event_name":"UserPromptSubmit","prompt":"x""#, Some(EventKind::TurnStarted)),
            (r#""hook_event_name":"Stop","stop_hook_active":false"#, Some(EventKind::TurnFinished)),
            (r#""hook_event_name":"StopFailure","error":"rate_limit""#, Some(EventKind::LimitReached)),
            (r#""hook_event_name":"StopFailure","error":"server_error""#, Some(EventKind::ErrorApi)),
            (r#""hook_event_name":"Notification","notification_type":"idle_prompt""#, None),
            (
                r#""hook_event_name":"Notification","notification_type":"permission_prompt""#,
                Some(EventKind::ApprovalRequested),
            ),
            (r#""hook_event_name":"SessionEnd","reason":"clear""#, None),
            (r#""hook_event_name":"SessionEnd","reason":"prompt_input_exit""#, Some(EventKind::SessionEnded)),
            (r#""hook_event_name":"PreToolUse""#, None),
        ] {
            assert_eq!(kind(AgentKind::claude(), json), means, "{json}");
        }
    }

    #[test]
    fn what_a_subagent_does_is_not_what_the_agent_does() {
        let compact = r#""hook_event_name":"PostCompact","trigger":"auto","agent_id":"a1""#;
        assert_eq!(kind(AgentKind::codex(), compact), None);
        let ask = r#""hook_event_name":"PermissionRequest","tool_name":"Bash","agent_id":"a1""#;
        assert_eq!(kind(AgentKind::codex(), ask), Some(EventKind::ApprovalRequested));
    }

    #[test]
    fn two_hooks_tell_of_one_compaction_by_one_name() {
        let mut reader = Reader::default();
        let mut key = |json: &str, at| said(&mut reader, AgentKind::claude(), json, at).unwrap().key;
        let first = key(r#""hook_event_name":"SessionStart","source":"compact""#, 100);
        assert_eq!(key(r#""hook_event_name":"PostCompact","trigger":"auto""#, 102), first);
        assert_ne!(key(r#""hook_event_name":"PostCompact","trigger":"auto""#, 200), first);
        let end = key(r#""hook_event_name":"SessionEnd","reason":"other""#, 201);
        assert_eq!(key(r#""hook_event_name":"SessionEnd","reason":"other""#, 201), end);
    }

    #[test]
    fn a_turn_that_is_told_twice_has_one_name() {
        let mut reader = Reader::default();
        let mut key = |json: &str| said(&mut reader, AgentKind::codex(), json, 1).unwrap().key;
        let stop = key(r#""hook_event_name":"Stop","turn_id":"t-1""#);
        assert_eq!(key(r#""type":"agent-turn-complete","turn-id":"t-1""#), stop);
        assert_eq!(stop, "t-1");
    }

    /// Codex 0.169 notifies also of the turn in which it thinks of a title, under the name of another session.
    #[test]
    fn a_notify_of_a_codex_that_has_hooks_is_left_to_them() {
        let has = |json: &str| {
            let json = format!(r#"{{"thread-id":"{ID}","type":"agent-turn-complete"{json}}}"#);
            has(&AgentKind::codex(), &Message::of("codex", None, json.as_bytes()).unwrap())
        };
        assert!(has("") && !has(r#","client":"codex-tui""#));
    }

    /// Codex tells it with the next prompt, which may be hours later.
    #[test]
    fn a_codex_session_that_starts_after_a_compaction_is_no_compaction() {
        assert_eq!(kind(AgentKind::codex(), r#""hook_event_name":"SessionStart","source":"compact""#), None);
    }

    #[test]
    fn words_are_one_line_and_short() {
        let json = format!(
            r#""hook_event_name":"Notification","notification_type":"ToolPermission","message":"run\n\u001b[31m{}""#,
            "x".repeat(400)
        );
        let line = said(&mut Reader::default(), AgentKind::gemini(), &json, 0).unwrap().line;
        assert!(line.starts_with("gemini hook Notification: run  [31mx"), "{line}");
        assert!(line.chars().count() < 300 && !line.contains(char::is_control), "{line}");
    }

    #[test]
    fn sessions_are_not_remembered_without_end() {
        let mut reader = Reader::default();
        for at in 0..200 {
            let session = format!("session-{at}");
            let _unused = reader.name(EventKind::SessionEnded, &session, Timestamp::from_second(at).unwrap());
        }
        assert_eq!(reader.told.len(), MAX_REMEMBERED);
    }

    #[test]
    fn every_event_is_installed_once_and_notify_is_no_hook() {
        for agent in [AgentKind::claude(), AgentKind::codex(), AgentKind::gemini()] {
            let mut events = events(&agent);
            assert!(events.len() >= 5 && !events.contains(&"agent-turn-complete"), "{events:?}");
            let count = events.len();
            events.sort_unstable();
            events.dedup();
            assert_eq!(events.len(), count, "{agent}");
        }
        assert!(events(&AgentKind::new("aider")).is_empty());
    }
}
