//! Codex's hooks: `hooks.json` beside `config.toml`, or `[hooks]` in it; and the older `notify`.
//!
//! Sources: codex-rs/hooks (`schema.rs`, `legacy_notify.rs`, `events/`), the schemas in the program of 0.169.0, and
//! developers.openai.com/codex/hooks. Hooks are on by default in 0.169; each has to be accepted by the user once.

use wa_proto::EventKind;

use super::table::{Line, on};

pub(super) const TABLE: &[Line] = &[
    // session-start.command.input: `source`.
    on("SessionStart").when("source", &["compact"]).means(EventKind::ContextCompacted),
    on("SessionStart"),
    // user-prompt-submit.command.input: `turn_id`.
    on("UserPromptSubmit").means(EventKind::TurnStarted).key("turn_id"),
    // permission-request.command.input: before somebody is asked; `tool_name`.
    on("PermissionRequest")
        .means(EventKind::ApprovalRequested)
        .with(&[("tool", "tool_name")])
        .of_subagents_too(),
    // post-compact.command.input: `trigger` is manual or auto.
    on("PostCompact").means(EventKind::ContextCompacted).with(&[("trigger", "trigger")]),
    // stop.command.input: `turn_id`, the same as in `notify`.
    on("Stop").means(EventKind::TurnFinished).key("turn_id"),
    // interrupt.command.input: the user has stopped the turn; then no Stop follows.
    on("Interrupt").means(EventKind::TurnFinished).key("turn_id"),
    // session-end.command.input: `reason` is always "other".
    on("SessionEnd").means(EventKind::SessionEnded).with(&[("session_id", "session_id")]),
    // legacy_notify.rs: the only notification there is, with `thread-id` and `turn-id`; the JSON is the last argument.
    on("agent-turn-complete").means(EventKind::TurnFinished).key("turn_id").by_notify(),
];
