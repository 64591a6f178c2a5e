//! Reading the controller's log back over its API, as `wa` does, with the row numbers that `wa` does not print.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use wa_link::context::Context;
use wa_link::{dial, tls};
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::wire::v1::log_item::Item;

const DIAL: Duration = Duration::from_secs(10);

/// What the log holds of one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Line { row: i64, rev: u32, rows: u32, text: String },
    Gap { first_row: Option<i64>, rows: Option<u64>, cause: String },
}

/// The log of one pane. The controller keeps one line of each row, the newest revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) entries: Vec<Entry>,
}

impl Transcript {
    /// Revisions that were replaced by those that stand there now.
    pub(crate) fn replaced(&self) -> u64 {
        let revisions = self.entries.iter().map(|entry| match entry {
            Entry::Line { rev, .. } => u64::from(*rev),
            Entry::Gap { .. } => 0,
        });
        revisions.sum()
    }

    /// The texts that a person is shown, blank ones left out.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Line { text, .. } if !text.trim().is_empty() => Some(text.as_str()),
            _ => None,
        })
    }
}

/// A connection to the controller.
pub(crate) struct Log {
    runtime: Runtime,
    fleet: FleetClient<Channel>,
    host: String,
}

impl Log {
    pub(crate) fn open(context: &Path, host: &str) -> anyhow::Result<Self> {
        tls::install_provider();
        let context = Context::load(context)?;
        let config = tls::client_config(&context.identity)?;
        // A thread of its own, so that the connection stays alive between two questions.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let channel = runtime.block_on(dial::connect(&context.controller, config, DIAL))?;
        Ok(Self { runtime, fleet: FleetClient::new(channel), host: host.to_owned() })
    }

    /// What the pane has printed, all of it or the last entries.
    pub(crate) fn of_pane(&self, pane_id: u64, tail: u32) -> anyhow::Result<Transcript> {
        let pane = v1::PaneAddress { host: self.host.clone(), mux: "main".into(), pane_id };
        let request = v1::LogsRequest { pane: Some(pane), tail, ..Default::default() };
        let mut fleet = self.fleet.clone();
        let entries = self.runtime.block_on(async {
            let mut stream = match fleet.logs(request).await {
                Ok(stream) => stream.into_inner(),
                Err(status) if status.code() == tonic::Code::NotFound => return Ok(Vec::new()),
                Err(status) => return Err(status),
            };
            let mut entries = Vec::new();
            while let Some(item) = stream.message().await? {
                entries.extend(entry(item));
            }
            Ok(entries)
        });
        Ok(Transcript { entries: entries.with_context(|| format!("the log of pane {pane_id}"))? })
    }

    /// How many panes of the host are known and connected.
    pub(crate) fn panes(&self) -> anyhow::Result<usize> {
        let mut fleet = self.fleet.clone();
        let answer = self.runtime.block_on(fleet.list_panes(v1::ListPanesRequest::default()))?;
        Ok(answer.into_inner().panes.iter().filter(|pane| pane.connected).count())
    }
}

fn entry(item: v1::LogItem) -> Option<Entry> {
    match item.item? {
        Item::Line(line) => {
            Some(Entry::Line { row: line.row, rev: line.rev, rows: line.rows, text: line.text })
        }
        Item::Gap(gap) => Some(Entry::Gap { first_row: gap.first_row, rows: gap.rows, cause: gap.cause }),
        // From session files; the panes here have none.
        Item::Message(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(row: i64, rev: u32, text: &str) -> Entry {
        Entry::Line { row, rev, rows: 1, text: text.into() }
    }

    #[test]
    fn earlier_revisions_are_counted_and_blank_lines_not_shown() {
        let told = Transcript { entries: vec![line(1, 2, "b"), line(2, 0, " "), line(3, 1, "c")] };
        assert_eq!(told.texts().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(told.replaced(), 3);
    }
}
