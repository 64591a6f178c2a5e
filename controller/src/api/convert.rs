//! From what the controller knows to what it tells.

use wa_proto::wire::{optional_us, to_us, v1};
use wa_workflow::{Definition, Status as RunStatus};

use super::rules;
use crate::gate::Labels;
use crate::registry::{NodeView, PaneView};
use crate::store::{Hit, LogEntry, LogItem, RunSummary, StoredEvent};

pub(super) fn pane_item(view: PaneView, labels: Labels, paused: bool) -> v1::PaneItem {
    v1::PaneItem {
        host: view.host.into(),
        pane: Some(view.pane.into()),
        labels: labels.into_iter().collect(),
        paused,
        connected: view.connected,
    }
}

pub(super) fn node_status(node: NodeView, wanted_rules: &str) -> v1::NodeStatus {
    let mut heartbeat = node.heartbeat;
    heartbeat.problems.extend(node.rules.and_then(|report| rules::problem(&report, wanted_rules)));
    v1::NodeStatus {
        host: node.host.into(),
        connected: node.connected,
        version: node.version,
        muxes: heartbeat.muxes,
        lag_ms: heartbeat.lag_ms,
        spool_bytes: heartbeat.spool_bytes,
        certificate_expires: heartbeat.certificate_expires,
        clock_skew_ms: node.skew_ms,
        problems: heartbeat.problems,
        last_seen_us: optional_us(node.last_seen),
    }
}

pub(super) fn log_item(entry: LogEntry) -> v1::LogItem {
    let item = match entry.item {
        LogItem::Line(line) => v1::log_item::Item::Line(line.into()),
        LogItem::Gap(gap) => v1::log_item::Item::Gap(gap.into()),
        LogItem::Message(said) => v1::log_item::Item::Message(v1::SessionMessage {
            agent: entry.agent.map_or_else(String::new, |agent| agent.to_string()),
            session_id: said.session_id,
            skipped_bytes: said.skipped_bytes,
            message: Some(said.message.into()),
        }),
    };
    v1::LogItem {
        host: entry.host.into(),
        pane: Some(entry.pane.into()),
        layout: entry.layout,
        time_us: to_us(entry.time),
        item: Some(item),
    }
}

pub(super) fn search_hit(hit: Hit) -> v1::SearchHit {
    let span = |(start, end): (usize, usize)| {
        Some(v1::Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    };
    v1::SearchHit {
        matches: hit.spans.into_iter().filter_map(span).collect(),
        item: Some(log_item(hit.entry)),
    }
}

pub(super) fn event_item(stored: StoredEvent) -> v1::EventItem {
    v1::EventItem { host: stored.host.into(), time_us: to_us(stored.time), event: Some(stored.event.into()) }
}

/// `definitions`: by which the step is named; one that was changed since names none.
pub(super) fn run(summary: RunSummary, definitions: &[Definition]) -> v1::Run {
    let RunSummary { run, ended } = summary;
    let state = run.status.name().to_owned();
    let definition = definitions.iter().find(|one| one.is_of(&run));
    let reason = match run.status {
        RunStatus::Ended { reason, .. } => reason,
        RunStatus::Waiting { .. }
        | RunStatus::Acting { .. }
        | RunStatus::Preparing { .. }
        | RunStatus::Asking => String::new(),
    };
    let step = definition.and_then(|definition| definition.steps.get(run.step));
    v1::Run {
        run_id: run.id.to_string(),
        workflow: run.workflow,
        host: run.trigger.host.into(),
        pane: Some(run.trigger.pane.into()),
        state,
        reason,
        started_us: to_us(run.started),
        ended_us: optional_us(ended),
        step: step.map(|step| step.id.clone()).unwrap_or_default(),
        version: run.version,
        actions_done: run.actions_done,
    }
}
