//! Codex: `sessions/YYYY/MM/DD/rollout-<local time>-<session id>.jsonl`.
//!
//! A record is `{timestamp, type, payload}`. `response_item` is what goes to the model and back, with much that no person
//! wrote; `event_msg` is what the screen was told. So words are taken from the events (`user_message` and
//! `agent_message` up to 0.144, `item_completed` since), tools and reasoning from the items. Copies that a forked session
//! begins with keep their times.

use std::borrow::Cow;

use jiff::Timestamp;
use wa_proto::{EventKind, Role};

use super::codex_limits::Limits;
use super::json::Json;
use super::{Common, Draft, Meaning, text};

#[derive(Debug, Default)]
pub(super) struct State {
    limits: Limits,
    /// The running turn, or "".
    turn: String,
    /// This version says when turns begin.
    tells_turns: bool,
    /// The last words and which kind of record told them, to know the same words from the other kind.
    last: Option<(Role, u64, Source)>,
    /// The kind of record that told of the last compaction, and the index of the message after it.
    compaction: Option<(&'static str, u64)>,
    met: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Event,
    Item,
}

pub(super) fn record(state: &mut State, common: &mut Common, record: &Json) {
    let payload = record.get("payload");
    match record.get("type").text() {
        "session_meta" => meta(state, common, payload),
        "turn_context" => Common::fact(&mut common.facts.model, payload.get("model").text()),
        "event_msg" => event(state, common, payload),
        "response_item" => item(common, payload),
        "compacted" => {
            let summary = payload.get("message");
            let id = payload.get("window_id").text();
            compacted(state, common, "compacted", id, summary.text());
        }
        "world_state" | "token_usage_record" | "ghost_snapshot" | "inter_agent_communication" => {}
        _ => common.facts.unknown += 1,
    }
}

/// The first is of this session; a forked one goes on with those of its ancestors.
fn meta(state: &mut State, common: &mut Common, payload: &Json) {
    if std::mem::replace(&mut state.met, true) {
        return;
    }
    let facts = &mut common.facts;
    Common::fact(&mut facts.session_id, payload.get("id").text());
    Common::fact(&mut facts.cwd, payload.get("cwd").text());
    Common::fact(&mut facts.version, payload.get("cli_version").text());
    facts.began = payload.get("timestamp").text().parse().ok().or(common.time);
    let source = payload.get("source");
    facts.background = matches!(source, Json::Map(_))
        || matches!(source.text(), "exec" | "mcp" | "subagent")
        || payload.get("thread_source").text() == "subagent";
}

fn event(state: &mut State, common: &mut Common, payload: &Json) {
    match payload.get("type").text() {
        "user_message" => {
            if matches!(payload.get("kind").text(), "" | "plain") {
                let said = payload.get("message");
                words(
                    state,
                    common,
                    Source::Event,
                    Role::User,
                    Draft { text: said.text(), lost: said.cut(), ..none() },
                );
            }
        }
        "agent_message" => {
            let said = payload.get("message");
            words(
                state,
                common,
                Source::Event,
                Role::Assistant,
                Draft { text: said.text(), lost: said.cut(), ..none() },
            );
        }
        "item_completed" => completed(state, common, payload.get("item")),
        "token_count" => tokens(state, common, payload),
        "task_started" | "turn_started" => {
            state.tells_turns = true;
            state.turn = text::cut(payload.get("turn_id").text(), 200).0;
            window_size(common, payload);
            let turn = state.turn.clone();
            common.testify(EventKind::TurnStarted, &turn, [], "");
        }
        "task_complete" | "turn_complete" => {
            let error = payload.get("error");
            if !error.is_null() {
                failed(state, common, error);
            }
            finish(state, common, payload.get("turn_id").text(), if error.is_null() { "" } else { "error" });
        }
        "turn_aborted" => {
            let reason = payload.get("reason").text();
            let notice = format!("Turn aborted: {reason}");
            let shown = if reason == "interrupted" { "Interrupted by the user" } else { notice.as_str() };
            common.message(Role::Notice, Draft { text: shown, ..Draft::default() });
            finish(state, common, payload.get("turn_id").text(), reason);
        }
        "context_compacted" => compacted(state, common, "context_compacted", "", ""),
        "error" => failed(state, common, payload),
        "stream_error" => {
            let line = payload.get("message").text();
            common.message(Role::Notice, Draft { text: line, ..Draft::default() });
            let key = format!("{}/{}", state.turn, line);
            common.testify(EventKind::ErrorRetrying, &key, [], line);
        }
        "warning" => {
            let text = payload.get("message").text();
            common.message(Role::Notice, Draft { text, ..Draft::default() });
            let key = format!("{}/{}", state.turn, text::first_line(text));
            common.notice(Meaning::Remark, &key, [], ("⚠ ", text));
        }
        "thread_rolled_back" => {
            let turns = payload.get("num_turns").count();
            let text = format!("Rolled back: the last {turns} turns no longer count");
            common.message(Role::Notice, Draft { text: &text, ..Draft::default() });
        }
        "thread_settings_applied" => {
            Common::fact(&mut common.facts.model, payload.at(&["thread_settings", "model"]).text());
        }
        "request_user_input" => {
            let shown = text::of_call("", payload);
            common.testify(EventKind::QuestionAsked, payload.get("call_id").text(), [], &shown);
        }
        // Told by items, or of no interest to a reader.
        "agent_reasoning"
        | "agent_reasoning_raw_content"
        | "agent_reasoning_section_break"
        | "thread_name_updated"
        | "entered_review_mode"
        | "exited_review_mode"
        | "undo_completed"
        | "exec_command_begin"
        | "exec_command_end"
        | "patch_apply_begin"
        | "patch_apply_end"
        | "mcp_tool_call_begin"
        | "mcp_tool_call_end"
        | "web_search_begin"
        | "web_search_end"
        | "view_image_tool_call"
        | "turn_diff"
        | "plan_update"
        | "item_started"
        | "thread_goal_updated"
        | "image_generation_end"
        | "collab_agent_spawn_end"
        | "collab_agent_interaction_end"
        | "collab_waiting_end"
        | "collab_close_end"
        | "dynamic_tool_call_request"
        | "dynamic_tool_call_response"
        | "sub_agent_activity" => {}
        _ => common.facts.unknown += 1,
    }
}

fn none() -> Draft<'static> {
    Draft::default()
}

/// Words of the person or the model. Some versions tell the same words twice, by records of two kinds.
fn words(state: &mut State, common: &mut Common, source: Source, role: Role, draft: Draft<'_>) {
    let said = draft.text;
    let hash = crate::hash::hash(&[said]);
    let again = matches!(state.last, Some(last) if (last.0, last.1) == (role, hash) && last.2 != source);
    if again || text::is_hidden(said) || common.message(role, draft).is_none() {
        return;
    }
    state.last = Some((role, hash, source));
    // Old versions write neither beginning nor end of a turn: there a prompt is what begins one.
    if role == Role::User && !state.tells_turns {
        common.testify(EventKind::TurnStarted, "", [], said);
    }
}

fn completed(state: &mut State, common: &mut Common, item: &Json) {
    let id = item.get("id").text();
    match item.get("type").text() {
        "UserMessage" => {
            let (said, lost) = text::of_content(item.get("content"));
            words(state, common, Source::Item, Role::User, Draft { id, text: &said, lost, ..none() });
        }
        "AgentMessage" => {
            let (said, lost) = text::of_content(item.get("content"));
            words(state, common, Source::Item, Role::Assistant, Draft { id, text: &said, lost, ..none() });
        }
        "Plan" => {
            let (said, lost) = text::of_content(item.get("text"));
            words(state, common, Source::Item, Role::Assistant, Draft { id, text: &said, lost, ..none() });
        }
        "ContextCompaction" => compacted(state, common, "item", id, ""),
        // The items that went to the model tell of these.
        _ => {}
    }
}

/// Several records tell of one compaction; the first counts.
fn compacted(state: &mut State, common: &mut Common, source: &'static str, id: &str, summary: &str) {
    let same =
        matches!(state.compaction, Some((first, next)) if first != source && next == common.next_index);
    if same {
        return;
    }
    let time = common.time.map(|at| at.to_string()).unwrap_or_default();
    let key = if id.is_empty() { &time } else { id };
    common.compacted(key, "", summary, "Context compacted");
    state.compaction = Some((source, common.next_index));
}

fn finish(state: &mut State, common: &mut Common, turn: &str, reason: &str) {
    state.turn.clear();
    common.testify(EventKind::TurnFinished, turn, [("reason", reason.to_owned())], "");
}

fn window_size(common: &mut Common, told: &Json) {
    if let Some(size) = told.get("model_context_window").whole() {
        common.facts.usage.context_window = size;
    }
}

fn tokens(state: &mut State, common: &mut Common, payload: &Json) {
    let info = payload.get("info");
    if !info.is_null() {
        let total = info.get("total_token_usage");
        let cached = total.get("cached_input_tokens").count();
        let usage = &mut common.facts.usage;
        usage.input = total.get("input_tokens").count().saturating_sub(cached);
        usage.cached_input = cached;
        usage.output = total.get("output_tokens").count();
        usage.context = info.at(&["last_token_usage", "total_tokens"]).count();
        window_size(common, info);
    }
    state.limits.told(common, payload.get("rate_limits"), &state.turn);
}

/// An error that ended a turn. `codex_error_info` is a word, or a map with the word as its only name.
fn failed(state: &State, common: &mut Common, error: &Json) {
    let line = error.get("message").text();
    let info = error.get("codex_error_info");
    let word = if info.text().is_empty() {
        info.members().first().map_or("", |m| m.0.as_str())
    } else {
        info.text()
    };
    let status = info.members().first().map(|m| m.1.get("http_status_code").plain().unwrap_or_default());
    let key = if state.turn.is_empty() { line } else { state.turn.as_str() };
    common.message(Role::Notice, Draft { text: line, ..Draft::default() });
    let meaning = match word {
        "usage_limit_exceeded" => Meaning::Kind(EventKind::LimitReached),
        "context_window_exceeded" => Meaning::Kind(EventKind::ContextFull),
        "server_overloaded" => Meaning::Kind(EventKind::ErrorOverloaded),
        "unauthorized" => Meaning::Kind(EventKind::AuthRequired),
        _ => Meaning::Failure,
    };
    let limits = state.limits.used_up(common);
    // Old versions give errors no name.
    let nameless = word.is_empty() && !limits[0].1.is_empty();
    if nameless || matches!(meaning, Meaning::Kind(EventKind::LimitReached)) {
        return common.notice(meaning, key, limits, ("■ ", line));
    }
    let fields = [("status", status.unwrap_or_default()), ("error", word.to_owned())];
    common.notice(meaning, key, fields, ("■ ", line));
}

fn item(common: &mut Common, payload: &Json) {
    let call = payload.get("call_id").text();
    match payload.get("type").text() {
        "reasoning" => {
            let (mut said, mut lost) = text::of_content(payload.get("summary"));
            if said.is_empty() {
                (said, lost) = text::of_content(payload.get("content"));
            }
            let id = payload.get("id").text();
            common.message(Role::Reasoning, Draft { id, text: &said, lost, ..Draft::default() });
        }
        "function_call" => {
            let arguments = payload.get("arguments");
            let input = Json::parse_text(arguments.text()).unwrap_or_else(|| arguments.clone());
            called(common, call, payload.get("name").text(), &input);
        }
        "custom_tool_call" => called(common, call, payload.get("name").text(), payload.get("input")),
        "local_shell_call" => called(common, call, "shell", payload.get("action")),
        "web_search_call" => {
            called(common, payload.get("id").text(), "web_search", payload.get("action"));
        }
        "function_call_output" | "custom_tool_call_output" => {
            let (result, lost) = text::of_result(payload.get("output"));
            let (result, name) = (printed(&result), common.tool_of(call));
            common.message(Role::ToolResult, Draft { id: call, name: &name, text: &result, lost });
        }
        // Words come from the events.
        "message"
        | "compaction"
        | "compaction_summary"
        | "context_compaction"
        | "ghost_snapshot"
        | "image_generation_call"
        | "tool_search_call"
        | "tool_search_output"
        | "agent_message"
        | "other" => {}
        _ => common.facts.unknown += 1,
    }
}

fn called(common: &mut Common, call: &str, name: &str, input: &Json) {
    let shown = text::of_call(name, input);
    common.called(call, name);
    common.message(Role::ToolCall, Draft { id: call, name, text: &shown, lost: input.cut() });
    if name == "request_user_input" {
        common.testify(EventKind::QuestionAsked, call, [], &shown);
    }
}

/// What a command printed, without the report to the model that stands before it.
fn printed(result: &str) -> Cow<'_, str> {
    let Some((report, output)) = result.split_once("\nOutput:\n") else { return Cow::Borrowed(result) };
    let ended = report.lines().find_map(|line| line.strip_prefix("Process exited with code "));
    match ended {
        Some("0") => Cow::Borrowed(output),
        Some(code) => Cow::Owned(format!("{}\n[exit {code}]", output.trim_end())),
        None => Cow::Borrowed(result),
    }
}

/// Unix seconds, as all versions write their instants.
pub(super) fn instant(seconds: &Json) -> Option<Timestamp> {
    let seconds = i64::try_from(seconds.whole()?).ok()?;
    Timestamp::from_second(seconds).ok()
}
