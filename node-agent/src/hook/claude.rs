//! Claude Code's hooks: `hooks` in `settings.json`, JSON on standard input.
//!
//! Sources: the hooks reference (code.claude.com/docs/en/hooks), by the name of its section, and the changelog of
//! Claude Code. Not tried against the program itself.

use wa_proto::EventKind;

use super::table::{Line, on};

pub(super) const TABLE: &[Line] = &[
    // "SessionStart": `source` is startup, resume, clear or compact (fork since 2.1.2xx).
    on("SessionStart").when("source", &["compact"]).means(EventKind::ContextCompacted),
    on("SessionStart"),
    // "UserPromptSubmit": when a prompt is submitted, before it is processed. `prompt_id` where the version has it.
    on("UserPromptSubmit").means(EventKind::TurnStarted).key("prompt_id"),
    // "Notification": `notification_type` is permission_prompt, idle_prompt, auth_success or elicitation_dialog.
    // idle_prompt says only that nobody has typed for a while: no question. A subagent's prompt is shown in the pane.
    on("Notification")
        .when("notification_type", &["permission_prompt"])
        .means(EventKind::ApprovalRequested)
        .prose(&["message"])
        .of_subagents_too(),
    on("Notification")
        .when("notification_type", &["elicitation_dialog"])
        .means(EventKind::QuestionAsked)
        .prose(&["message"])
        .of_subagents_too(),
    on("Notification")
        .when("notification_type", &["auth_success"])
        .means(EventKind::AuthSucceeded)
        .prose(&["message"]),
    on("Notification"),
    // "PostCompact": after a compaction; `trigger` is manual or auto. Changelog: new with StopFailure's generation;
    // older versions tell by SessionStart alone.
    on("PostCompact").means(EventKind::ContextCompacted).with(&[("trigger", "trigger")]),
    // "Stop": the main agent has finished; not after an interrupt, and not when the API failed.
    on("Stop").means(EventKind::TurnFinished).key("prompt_id"),
    // "StopFailure": the turn ended by an API error; `error` is rate_limit, authentication_failed, billing_error,
    // invalid_request, server_error, max_output_tokens or unknown; `last_assistant_message` is the error as shown.
    on("StopFailure")
        .when("error", &["rate_limit"])
        .means(EventKind::LimitReached)
        .with(&[("code", "error")])
        .prose(&["last_assistant_message", "error_details"]),
    on("StopFailure")
        .when("error", &["authentication_failed"])
        .means(EventKind::AuthFailed)
        .with(&[("code", "error")])
        .prose(&["last_assistant_message", "error_details"]),
    on("StopFailure")
        .when("error", &["overloaded"])
        .means(EventKind::ErrorOverloaded)
        .with(&[("code", "error")])
        .prose(&["last_assistant_message", "error_details"]),
    on("StopFailure")
        .means(EventKind::ErrorApi)
        .with(&[("code", "error")])
        .prose(&["last_assistant_message", "error_details"]),
    // "SessionEnd": `reason` is clear, resume, logout, prompt_input_exit, bypass_permissions_disabled or other. After
    // clear and resume the program goes on with another session.
    on("SessionEnd").when("reason", &["clear", "resume"]),
    on("SessionEnd")
        .means(EventKind::SessionEnded)
        .with(&[("session_id", "session_id"), ("reason", "reason")]),
];
