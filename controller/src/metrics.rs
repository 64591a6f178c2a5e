//! Counters and gauges of the controller, in the text form that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $kind:literal $wire:literal $help:literal),+ $(,)?) => {
        /// Everything that is counted. Names on the wire begin with `wa_controller_`.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[$doc])* pub(crate) $name: AtomicU64),+ }

        impl Metrics {
            /// The text that `/metrics` answers. No pane, no name and no text of a screen is in it.
            pub fn render(&self) -> String {
                let mut out = String::new();
                $(
                    let value = self.$name.load(Ordering::Relaxed);
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, concat!(
                        "# HELP wa_controller_", $wire, " ", $help, "\n",
                        "# TYPE wa_controller_", $wire, " ", $kind, "\n",
                        "wa_controller_", $wire, " {}"), value);
                )+
                out
            }
        }
    };
}

metrics! {
    nodes_connected: "gauge" "nodes_connected" "Nodes with a live session.",
    nodes_rules_off: "gauge" "nodes_rules_off" "Connected nodes that do not run the pushed rules.",
    nodes_dropped: "gauge" "nodes_records_dropped" "Records that nodes let go of since they were started, before they were logged.",
    policy_refused: "gauge" "policy_refused" "1 while the policy file cannot be used and the policy before it is in force.",
    sessions: "counter" "sessions_total" "Sessions that nodes have opened.",
    sessions_refused: "counter" "sessions_refused_total" "Sessions ended because the node sent what it must not.",
    blocks: "counter" "blocks_total" "Blocks of records logged.",
    records: "counter" "records_total" "Records logged.",
    lines: "counter" "lines_total" "Lines logged.",
    messages: "counter" "messages_total" "Messages of conversations logged, new or with a new text.",
    messages_cut: "counter" "messages_cut_total" "Messages left out or cut because of what was in them.",
    bytes: "counter" "ingest_bytes_total" "Bytes of records logged, before compression.",
    commits: "counter" "commits_total" "Commits of the store.",
    commits_failed: "counter" "commits_failed_total" "Commits that failed; nothing in them was acknowledged.",
    commit_requests: "counter" "commit_requests_total" "Requests served by those commits.",
    commit_micros: "counter" "commit_microseconds_total" "Time spent in commits.",
    joins: "counter" "joins_total" "Nodes that redeemed a token.",
    joins_refused: "counter" "joins_refused_total" "Attempts to join that were refused.",
    recoveries: "counter" "recoveries_total" "Nodes that came back with a certificate that had run out.",
    recoveries_refused: "counter" "recoveries_refused_total" "Attempts to come back so that were refused.",
    calls_refused: "counter" "calls_refused_total" "Calls refused for lack of a certificate that holds or of its role.",
    handshakes_failed: "counter" "handshakes_failed_total" "TLS handshakes that failed: another CA, a certificate that has expired, or no TLS at all.",
    permits: "counter" "permits_total" "Actions that were permitted to begin.",
    permits_refused: "counter" "permits_refused_total" "Actions that were not permitted to begin.",
    unknown_messages: "counter" "unknown_messages_total" "Messages of a kind that this version does not know.",
    unknown_records: "counter" "unknown_records_total" "Records that this version does not know; they are kept.",
}

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_nodes_connected(&self, count: usize) {
        self.nodes_connected.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_nodes_dropped(&self, count: u64) {
        self.nodes_dropped.store(count, Ordering::Relaxed);
    }

    pub(crate) fn set_nodes_rules_off(&self, count: usize) {
        self.nodes_rules_off.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_policy_refused(&self, refused: bool) {
        self.policy_refused.store(refused.into(), Ordering::Relaxed);
    }

    pub(crate) fn commit(&self, requests: usize, took: Duration, ok: bool) {
        Self::add(if ok { &self.commits } else { &self.commits_failed }, 1);
        Self::add(&self.commit_requests, requests);
        self.commit_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
