//! Gemini CLI's hooks: `hooks` in `settings.json`, JSON on standard input.
//!
//! Sources: packages/core/src/hooks (`types.ts`, `hookRunner.ts`), docs/hooks/reference.md; tried with 0.61.0. Standard
//! error counts as output where standard output is empty. No hook tells of a compression that has happened: PreCompress
//! comes before, and it may fail.

use wa_proto::EventKind;

use super::table::{Line, on};

pub(super) const TABLE: &[Line] = &[
    // SessionStartInput: `source` is startup, resume or clear.
    on("SessionStart"),
    // BeforeAgentInput: after a prompt was submitted, before anything is planned.
    on("BeforeAgent").means(EventKind::TurnStarted),
    // NotificationInput: `notification_type` is ToolPermission and nothing else.
    on("Notification")
        .when("notification_type", &["ToolPermission"])
        .means(EventKind::ApprovalRequested)
        .prose(&["message"]),
    on("Notification"),
    // AfterAgentInput: once per turn, after the final answer; not after a turn that was cancelled.
    on("AfterAgent").means(EventKind::TurnFinished),
    // SessionEndInput: `reason` is exit, clear, logout, prompt_input_exit or other. After clear the program goes on.
    // 0.61.0 runs it three times within a second.
    on("SessionEnd").when("reason", &["clear"]),
    on("SessionEnd")
        .means(EventKind::SessionEnded)
        .with(&[("session_id", "session_id"), ("reason", "reason")]),
];
