//! Codex's hooks: `hooks.json` beside `config.toml`, or `[hooks]` in it; and the older `notify`.
//!
//! Sources: codex-rs/hooks (`schema.rs`, `legacy_notify.rs`, `events/`), the schemas in the program of 0.169.0, and
//! developers.openai.com/codex/hooks; tried with 0.169.0. There hooks are on by default, the user has to accept each
//! once, and mostly a daemon runs them, which has no terminal.

use wa_proto::EventKind;

use super::table::{Line, on};

pub(super) const TABLE: &[Line] = &[
    // session-start.command.input: `source`. Told with the first prompt of a session, and again with the first after a
    // compaction, which may be hours later.
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
    // session-end.command.input: `reason` is always "other". The daemon of 0.169 tells it a minute after the program was
    // left, when another session may have begun in the pane: no testimony.
    on("SessionEnd"),
    // legacy_notify.rs: the only notification there is, with `thread-id` and `turn-id`; the JSON is the last argument.
    // Versions that name their `client` have hooks, and notify also of the turn that finds a title for the session, which
    // has a thread of its own.
    on("agent-turn-complete").unless("client").means(EventKind::TurnFinished).key("turn_id").by_notify(),
];
