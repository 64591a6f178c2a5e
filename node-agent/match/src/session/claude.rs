//! Claude Code: `projects/<directory>/<session id>.jsonl`.
//!
//! A record for each block of each message, with `uuid`, `sessionId`, `cwd`, `version`, `timestamp`. The blocks of one
//! answer share its `message.id` and each repeats the usage so far: the last one counts. What the person typed, what
//! tools gave back and what Claude Code itself puts into the conversation all have the type `user`. Limits and errors
//! are answers of a model that does not exist (`isApiErrorMessage`). Records of a sub-agent (`isSidechain`) count for the
//! tokens and are no part of the conversation.

use wa_proto::{EventKind, Role, TokenUsage};

use super::json::Json;
use super::{Common, Draft, Meaning, text};

#[derive(Debug, Default)]
pub(super) struct State {
    /// The answer whose usage was last added, and what was added for it.
    answer: String,
    added: TokenUsage,
    in_turn: bool,
}

pub(super) fn record(state: &mut State, common: &mut Common, record: &Json) {
    let kind = record.get("type").text();
    let own = record.get("sessionId").text();
    if !own.is_empty() {
        Common::fact(&mut common.facts.session_id, own);
        Common::fact(&mut common.facts.version, record.get("version").text());
        if common.facts.cwd.is_empty() {
            Common::fact(&mut common.facts.cwd, record.get("cwd").text());
        }
        common.facts.began = common.facts.began.or(common.time);
        common.facts.background |= record.get("entrypoint").text().starts_with("sdk");
    }
    match kind {
        "assistant" => assistant(state, common, record),
        "user" if !record.get("isSidechain").is_true() => user(state, common, record),
        "system" if !record.get("isSidechain").is_true() => system(state, common, record),
        "user"
        | "system"
        | "summary"
        | "file-history-snapshot"
        | "file-history-delta"
        | "queue-operation"
        | "progress"
        | "attachment"
        | "last-prompt"
        | "custom-title"
        | "ai-title"
        | "agent-name"
        | "agent-color"
        | "agent-setting"
        | "permission-mode"
        | "mode"
        | "pr-link"
        | "tag"
        | "bridge-session"
        | "worktree-state"
        | "content-replacement"
        | "marble-origami-commit"
        | "marble-origami-snapshot"
        | "relocated"
        | "fork-context-ref"
        | "started"
        | "result" => {}
        _ => common.facts.unknown += 1,
    }
}

fn assistant(state: &mut State, common: &mut Common, record: &Json) {
    let message = record.get("message");
    let uuid = record.get("uuid").text();
    if record.get("isApiErrorMessage").is_true() {
        let (said, _) = text::of_content(message.get("content"));
        failure(common, uuid, record.get("error").text(), &said);
        finish_turn(state, common, uuid, "error");
        return;
    }
    let aside = record.get("isSidechain").is_true();
    usage(state, common, message, aside);
    if aside {
        return;
    }
    let model = message.get("model").text();
    if !model.starts_with('<') {
        Common::fact(&mut common.facts.model, model);
    }
    match message.get("content") {
        Json::Text(said, lost) => {
            common.message(Role::Assistant, Draft { id: uuid, text: said, lost: *lost, ..Draft::default() });
        }
        content => content.list().iter().for_each(|block| answer_block(common, uuid, block)),
    }
    let reason = message.get("stop_reason").text();
    if matches!(reason, "end_turn" | "stop_sequence" | "max_tokens" | "refusal") {
        finish_turn(state, common, uuid, "");
    }
}

fn answer_block(common: &mut Common, uuid: &str, block: &Json) {
    match block.get("type").text() {
        "text" => {
            let said = block.get("text");
            let draft = Draft { id: uuid, text: said.text(), lost: said.cut(), ..Draft::default() };
            common.message(Role::Assistant, draft);
        }
        "thinking" => {
            let said = block.get("thinking");
            let draft = Draft { id: uuid, text: said.text(), lost: said.cut(), ..Draft::default() };
            common.message(Role::Reasoning, draft);
        }
        "tool_use" | "server_tool_use" => {
            let (id, name, input) = (block.get("id").text(), block.get("name").text(), block.get("input"));
            let shown = text::of_call(name, input);
            common.called(id, name);
            common.message(Role::ToolCall, Draft { id, name, text: &shown, lost: 0 });
            match name {
                "AskUserQuestion" => common.testify(EventKind::QuestionAsked, id, [], &shown),
                "ExitPlanMode" => {
                    let kind = [("kind", "approval".to_owned()), ("tool", name.to_owned())];
                    common.testify(EventKind::ApprovalRequested, id, kind, "Claude asks to leave plan mode");
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// Adds what this record says beyond what was already added for the same answer.
fn usage(state: &mut State, common: &mut Common, message: &Json, aside: bool) {
    let usage = message.get("usage");
    if usage.is_null() || message.get("model").text().starts_with('<') {
        return;
    }
    let count = |name: &str| usage.get(name).count();
    let cached = count("cache_read_input_tokens");
    let input = count("input_tokens").saturating_add(count("cache_creation_input_tokens"));
    let output = count("output_tokens");
    let id = message.get("id").text();
    if id.is_empty() || id != state.answer {
        state.answer = text::cut(id, 200).0;
        state.added = TokenUsage::default();
    }
    let (sum, added) = (&mut common.facts.usage, &mut state.added);
    sum.input = sum.input.saturating_add(input.saturating_sub(added.input));
    sum.cached_input = sum.cached_input.saturating_add(cached.saturating_sub(added.cached_input));
    sum.output = sum.output.saturating_add(output.saturating_sub(added.output));
    added.input = added.input.max(input);
    added.cached_input = added.cached_input.max(cached);
    added.output = added.output.max(output);
    if !aside {
        sum.context = input.saturating_add(cached).saturating_add(output);
    }
}

fn user(state: &mut State, common: &mut Common, record: &Json) {
    let uuid = record.get("uuid").text();
    let content = record.at(&["message", "content"]);
    let hidden = record.get("isMeta").is_true();
    if record.get("isCompactSummary").is_true() {
        let (summary, lost) = text::of_content(content);
        common.message(Role::Notice, Draft { id: uuid, text: &summary, lost, ..Draft::default() });
        return;
    }
    for block in content.list().iter().filter(|block| block.get("type").text() == "tool_result") {
        let id = block.get("tool_use_id").text();
        let (result, lost) = text::of_result(block.get("content"));
        let name = common.tool_of(id);
        common.message(Role::ToolResult, Draft { id, name: &name, text: &result, lost });
    }
    let words: Vec<&Json> = match content {
        Json::Text(..) => vec![content],
        content => content.list().iter().filter(|block| block.get("type").text() != "tool_result").collect(),
    };
    if hidden || words.is_empty() {
        return;
    }
    let (mut said, mut lost) = (String::new(), 0);
    for block in words {
        let (text, cut) = text::of_content(block);
        if !said.is_empty() {
            said.push('\n');
        }
        said.push_str(&text);
        lost += cut;
    }
    typed(state, common, uuid, &said, lost);
}

/// What came in as a user's words: a prompt, a slash command, a shell command, what these printed, or an interruption.
fn typed(state: &mut State, common: &mut Common, uuid: &str, said: &str, lost: u64) {
    if let Some(command) = text::element(said, "command-name") {
        let arguments = text::element(said, "command-args").unwrap_or("");
        let shown = format!("{} {}", command.trim(), arguments.trim());
        common.message(Role::User, Draft { id: uuid, text: shown.trim(), ..Draft::default() });
        return;
    }
    if let Some(command) = text::element(said, "bash-input") {
        let shown = format!("!{}", command.trim());
        common.message(Role::User, Draft { id: uuid, text: &shown, ..Draft::default() });
        return;
    }
    let printed: Vec<&str> = ["local-command-stdout", "local-command-stderr", "bash-stdout", "bash-stderr"]
        .into_iter()
        .filter_map(|name| text::element(said, name))
        .collect();
    if !printed.is_empty() {
        common.message(Role::Notice, Draft { id: uuid, text: printed.join("\n").trim(), ..Draft::default() });
        return;
    }
    if said.starts_with("[Request interrupted by user") {
        common.message(Role::Notice, Draft { id: uuid, text: said, ..Draft::default() });
        finish_turn(state, common, uuid, "interrupted");
        return;
    }
    let shown = text::visible(said);
    if shown.is_empty() || text::is_hidden(&shown) {
        return;
    }
    common.message(Role::User, Draft { id: uuid, text: &shown, lost, ..Draft::default() });
    if !state.in_turn {
        state.in_turn = true;
        common.testify(EventKind::TurnStarted, uuid, [], &shown);
    }
}

fn finish_turn(state: &mut State, common: &mut Common, uuid: &str, reason: &str) {
    if std::mem::take(&mut state.in_turn) {
        common.testify(EventKind::TurnFinished, uuid, [("reason", reason.to_owned())], "");
    }
}

fn system(state: &mut State, common: &mut Common, record: &Json) {
    let uuid = record.get("uuid").text();
    let said = record.get("content");
    match record.get("subtype").text() {
        "compact_boundary" => {
            let about = record.get("compactMetadata");
            let trigger = about.get("trigger").text().to_owned();
            let line = match (about.get("preTokens").whole(), about.get("postTokens").whole()) {
                (Some(before), Some(after)) => {
                    format!("Conversation compacted ({trigger}, {before} to {after} tokens)")
                }
                (Some(before), None) => format!("Conversation compacted ({trigger}, {before} tokens before)"),
                _ => "Conversation compacted".to_owned(),
            };
            common.compacted(uuid, &trigger, "", &line);
        }
        "api_error" => retrying(common, record, uuid),
        "turn_duration" => finish_turn(state, common, uuid, ""),
        "local_command" | "away_summary" => {
            typed_notice(common, uuid, &text::visible(said.text()), said.cut());
        }
        "informational" => {
            let shown = text::visible(said.text());
            typed_notice(common, uuid, &shown, said.cut());
            common.notice(Meaning::Remark, uuid, [], ("", &shown));
        }
        "stop_hook_summary"
        | "microcompact_boundary"
        | "memory_saved"
        | "bridge_status"
        | "agents_killed"
        | "scheduled_task_fire"
        | "api_metrics"
        | "permission_retry"
        | "snapshot" => {}
        _ => common.facts.unknown += 1,
    }
}

fn typed_notice(common: &mut Common, uuid: &str, said: &str, lost: u64) {
    let name = text::element(said, "command-name");
    let printed =
        text::element(said, "local-command-stdout").or_else(|| text::element(said, "local-command-stderr"));
    match (name, printed) {
        (Some(command), _) => {
            common.message(Role::User, Draft { id: uuid, text: command.trim(), ..Draft::default() });
        }
        (None, Some(printed)) => {
            common.message(Role::Notice, Draft { id: uuid, text: printed, ..Draft::default() });
        }
        (None, None) => {
            common.message(Role::Notice, Draft { id: uuid, text: said, lost, ..Draft::default() });
        }
    }
}

fn retrying(common: &mut Common, record: &Json, uuid: &str) {
    let error = record.get("error");
    let status = error.get("status").plain().unwrap_or_default();
    let said =
        [error.at(&["error", "error", "message"]), error.get("message"), record.at(&["cause", "code"])]
            .into_iter()
            .map(Json::text)
            .find(|text| !text.is_empty())
            .unwrap_or("the API failed");
    let attempt = record.get("retryAttempt").plain().unwrap_or_default();
    let line = format!("API error {status}: {said}").replace("error :", "error:");
    let wait = record.get("retryInMs").real().map(|ms| format!("{:.0}s", ms / 1000.0)).unwrap_or_default();
    common.message(Role::Notice, Draft { id: uuid, text: &line, ..Draft::default() });
    let fields = [("status", status), ("attempt", attempt), ("retry_in", wait)];
    common.testify(EventKind::ErrorRetrying, uuid, fields, &line);
}

/// An answer that is no answer: a limit, a refused sign-in, a failure.
fn failure(common: &mut Common, uuid: &str, error: &str, said: &str) {
    common.message(Role::Notice, Draft { id: uuid, text: said, ..Draft::default() });
    let meaning = match error {
        "authentication_failed" | "oauth_org_not_allowed" => Meaning::Kind(EventKind::AuthRequired),
        _ => Meaning::Failure,
    };
    common.notice(meaning, uuid, [("error", error.to_owned())], ("", said));
}
