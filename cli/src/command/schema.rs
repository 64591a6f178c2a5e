//! `wa schema`: the shapes of `-o json`, in brief. A key that goes or changes its meaning raises the number; a new key
//! does not.

use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Format, Out};

#[derive(Serialize)]
struct Schemas {
    schema: &'static str,
    items: Vec<Described>,
}

#[derive(Serialize)]
struct Described {
    name: &'static str,
    command: &'static str,
    /// Whether `-o json` gives `items`.
    list: bool,
    keys: &'static [&'static str],
}

/// Name, command, whether it is a list, keys in their order.
const SHAPES: &[(&str, &str, bool, &[&str])] = &[
    (
        "wa.status/1",
        "wa status; wa show; wa wait --for STATE",
        true,
        &[
            "pane",
            "host",
            "mux",
            "pane_id",
            "generation",
            "title",
            "cwd",
            "project",
            "agent",
            "agent_version",
            "state",
            "state_detail",
            "session_id",
            "account",
            "labels",
            "last_output",
            "session",
            "not_logged",
        ],
    ),
    (
        "wa.logs/1",
        "wa logs",
        true,
        &["time", "pane", "generation", "layout", "row", "rev", "text", "gap", "message"],
    ),
    (
        "wa.search/1",
        "wa search",
        true,
        &["time", "pane", "generation", "layout", "row", "rev", "text", "message", "matches"],
    ),
    (
        "wa.events/1",
        "wa events; wa wait --for EVENT",
        true,
        &["id", "time", "pane", "event", "agent", "rule", "fields", "witnesses", "line"],
    ),
    ("wa.send/1", "wa send; with -l a list", false, RECEIPT),
    ("wa.keys/1", "wa keys", false, RECEIPT),
    ("wa.kill/1", "wa kill", false, RECEIPT),
    ("wa.spawn/1", "wa spawn", false, RECEIPT),
    (
        "wa.fleet_status/1",
        "wa fleet status",
        true,
        &[
            "host",
            "connected",
            "version",
            "mux",
            "lag_ms",
            "spool_bytes",
            "certificate_expires",
            "clock_skew_ms",
            "problems",
        ],
    ),
    ("wa.token/1", "wa fleet token", false, &["token", "name", "expires", "file"]),
    ("wa.revoked/1", "wa fleet revoke; wa fleet operator remove", true, &["name", "role", "certificates"]),
    ("wa.operator/1", "wa fleet operator add", false, &["name", "role", "expires", "file", "context"]),
    ("wa.operators/1", "wa fleet operator list", true, &["name", "role", "issued", "expires", "revoked"]),
    (
        "wa.screen/1",
        "wa screen",
        false,
        &["pane", "generation", "title", "cols", "first_row", "cursor", "rows", "ansi"],
    ),
    ("wa.pause/1", "wa pause; wa unpause", false, &["paused", "everything", "panes", "workflow"]),
    (
        "wa.run_list/1",
        "wa run list; wa run show; wa run start; wa run cancel; wa account login",
        true,
        &[
            "run",
            "workflow",
            "pane",
            "generation",
            "state",
            "reason",
            "started",
            "ended",
            "step",
            "actions_done",
        ],
    ),
    (
        "wa.run_explain/1",
        "wa run explain",
        false,
        &[
            "run",
            "workflow",
            "pane",
            "generation",
            "state",
            "reason",
            "started",
            "ended",
            "step",
            "actions_done",
            "inputs",
        ],
    ),
    (
        "wa.workflow_list/1",
        "wa workflow list",
        true,
        &["name", "version", "on", "agents", "max_actions", "enabled", "paused", "description"],
    ),
    (
        "wa.workflow/1",
        "wa workflow show",
        false,
        &["name", "version", "on", "agents", "max_actions", "enabled", "paused", "description", "steps"],
    ),
    ("wa.rehearsal/1", "wa workflow run --dry-run", true, &["time", "step", "text", "beyond"]),
    (
        "wa.notice_list/1",
        "wa notice list",
        true,
        &[
            "id", "time", "pane", "run", "workflow", "level", "text", "choices", "until", "closed", "answer",
            "who",
        ],
    ),
    ("wa.decide/1", "wa approve PANE; wa deny PANE", false, RECEIPT),
    (
        "wa.approvals/1",
        "wa approval list; wa approve ID; wa deny ID",
        true,
        &[
            "id",
            "time",
            "pane",
            "who",
            "verb",
            "text",
            "rule",
            "until",
            "state",
            "answered_by",
            "outcome",
            "reason",
        ],
    ),
    (
        "wa.accounts/1",
        "wa account list; wa account add|show|update|disable|enable",
        true,
        &[
            "alias",
            "agent",
            "pool",
            "sign_in",
            "provider",
            "state",
            "reason",
            "until",
            "max_panes",
            "default_on",
            "leases",
            "windows",
            "credentials",
            "homes",
            "last_used",
        ],
    ),
    ("wa.pools/1", "wa account pool list; wa account pool set", true, &["name", "switching", "accounts"]),
    ("wa.account_test/1", "wa account test", true, &["check", "ok", "detail"]),
    ("wa.vault_key/1", "wa account rotate", false, &["key", "entries"]),
    (
        "wa.account_switch/1",
        "wa switch-account",
        false,
        &["pane", "account", "reason", "earliest", "considered", "run"],
    ),
    ("wa.audit/1", "wa audit", true, &["n", "time", "who", "what", "target", "decision", "detail", "hash"]),
    ("wa.audit_check/1", "wa audit verify", false, &["ok", "rows", "head", "keep", "broken_at", "problem"]),
    ("wa.policy_test/1", "wa policy test", false, &["decision", "rule", "reason", "file_problem"]),
    (
        "wa.hooks/1",
        "wa hooks install; wa hooks remove; wa hooks status",
        true,
        &["agent", "file", "state", "events", "program", "changed", "backup", "diff", "notes"],
    ),
    (
        "wa.rules/1",
        "wa rules list",
        true,
        &["pack", "version", "hash", "origin", "rules", "shadow", "who", "pushed", "nodes"],
    ),
    (
        "wa.rule/1",
        "wa rules show RULE",
        false,
        &[
            "rule", "pack", "origin", "event", "agent", "versions", "region", "on", "shadow", "examples",
            "counters", "line", "text",
        ],
    ),
    ("wa.rule_pack/1", "wa rules show PACK", false, &["pack", "version", "hash", "origin", "rules", "text"]),
    (
        "wa.rules_test/1",
        "wa rules test",
        true,
        &["file", "pack", "ok", "rules", "examples", "counters", "line", "rule", "problem"],
    ),
    ("wa.scan/1", "wa rules scan", true, &["file", "agent", "state", "events"]),
    (
        "wa.explanation/1",
        "wa rules explain",
        false,
        &["pane", "file", "agent", "agent_version", "state", "state_detail", "rules"],
    ),
    ("wa.rules_push/1", "wa rules push", false, &["revision", "dry_run", "nodes"]),
    (
        "wa.unknown_screens/1",
        "wa rules unknown",
        true,
        &["host", "pane", "agent", "agent_version", "kind", "count", "first", "last", "text"],
    ),
    ("wa.redacted/1", "wa rules redact", true, &["file", "line", "text"]),
    (
        "wa.redactions/1",
        "wa rules redact --explain",
        true,
        &["file", "line", "kind", "start", "end", "replacement", "why"],
    ),
    (
        "wa.help/1",
        "wa help",
        false,
        &["about", "rules", "commands", "states", "events", "outcomes", "exit_codes"],
    ),
    ("wa.schema/1", "wa schema", true, &["name", "command", "list", "keys"]),
];

const RECEIPT: &[&str] = &["action", "pane", "outcome", "reason"];

/// Prints the list; JSON also in the table form, for that is what it is about.
pub(crate) fn schema(out: &mut Out) -> Result<(), Failure> {
    if out.look.format == Format::Name {
        for (name, ..) in SHAPES {
            out.line(name)?;
        }
        return out.flush();
    }
    let items = SHAPES
        .iter()
        .map(|(name, command, list, keys)| Described { name, command, list: *list, keys })
        .collect();
    if out.look.format != Format::Jsonl {
        out.look.format = Format::Json;
    }
    out.document(&Schemas { schema: "wa.schema/1", items })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Shape, testing};
    use crate::shape::{
        AccountItem, AccountShown, ApprovalItem, AuditCheck, AuditItem, CheckItem, EventLine, Hit,
        HostStatus, LogEntry, OperatorItem, PaneStatus, PolicyAnswer, PoolItem, Receipt, RevokedItem,
        RunItem, Switch, VaultKey, kind,
    };
    use wa_proto::wire::v1;

    fn keys_of<T: Shape>(item: &T) -> (String, Vec<String>) {
        // A map in the order of the text: serde_json's own sorts.
        let text = serde_json::to_string(item).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
        (T::SCHEMA.to_owned(), keys)
    }

    fn at() -> Option<v1::PaneRef> {
        Some(v1::PaneRef { mux: "main".into(), generation: "g".into(), pane_id: 1 })
    }

    fn line() -> v1::LogItem {
        v1::LogItem {
            host: "a".into(),
            pane: at(),
            item: Some(v1::log_item::Item::Line(v1::Line::default())),
            ..Default::default()
        }
    }

    #[test]
    fn the_list_says_what_is_printed() {
        let pane = v1::PaneItem {
            host: "a".into(),
            pane: Some(v1::Pane { r#ref: at(), ..Default::default() }),
            ..Default::default()
        };
        let event = v1::EventItem { event: Some(v1::Event::default()), ..Default::default() };
        let hit = v1::SearchHit { item: Some(line()), matches: vec![] };
        let printed = [
            keys_of(&PaneStatus::try_from(pane).unwrap()),
            keys_of(&LogEntry::try_from(line()).unwrap()),
            keys_of(&Hit::try_from(hit).unwrap()),
            keys_of(&EventLine::try_from(event).unwrap()),
            keys_of(&HostStatus::try_from(v1::NodeStatus::default()).unwrap()),
            keys_of(&RunItem::try_from(v1::Run::default()).unwrap()),
            keys_of(&OperatorItem::try_from(v1::Operator::default()).unwrap()),
            keys_of(&RevokedItem::from(v1::RevokedPrincipal::default())),
            keys_of(&AccountItem::try_from(v1::Account::default()).unwrap()),
            keys_of(&AccountShown(v1::Account::default().try_into().unwrap())),
            keys_of(&PoolItem::from(v1::Pool::default())),
            keys_of(&CheckItem::from(v1::AccountCheck::default())),
            keys_of(&VaultKey::from(v1::RotateVaultKeyResponse::default())),
            keys_of(&Switch::of("a/1".into(), false, v1::SwitchAccountResponse::default()).unwrap()),
            keys_of(&AuditItem::try_from(v1::AuditEntry::default()).unwrap()),
            keys_of(&AuditCheck::from(v1::VerifyAuditResponse::default())),
            keys_of(&ApprovalItem::try_from(v1::Approval::default()).unwrap()),
            keys_of(&PolicyAnswer::from(v1::TestPolicyResponse::default())),
            keys_of(&Receipt::<kind::Decide>::of(v1::ActResponse::default(), None).unwrap()),
            keys_of(&Receipt::<kind::Spawn>::of(v1::ActResponse::default(), None).unwrap()),
        ];
        for (name, keys) in printed {
            let (.., listed) = SHAPES.iter().find(|(schema, ..)| *schema == name).unwrap();
            let listed: Vec<&str> =
                listed.iter().copied().filter(|key| !["gap", "message"].contains(key)).collect();
            assert_eq!(keys, listed, "{name}");
        }
    }

    #[test]
    fn it_is_json_in_every_format_but_names() {
        for format in [Format::Table, Format::Json, Format::Jsonl] {
            let (mut out, sink) = testing::out(format);
            schema(&mut out).unwrap();
            let value: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
            assert_eq!(value["items"].as_array().unwrap().len(), SHAPES.len());
        }
    }
}
