//! What an agent was told, a line for each prompt and each answer to a dialog, so that a test can count what arrived.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

#[derive(Debug, Default)]
pub(super) struct Record(Option<File>);

impl Record {
    /// Appends to this file; without one nothing is kept.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
        };
        Ok(Self(path.map(open).transpose()?))
    }

    pub(super) fn note(&mut self, text: &str) {
        let Some(file) = &mut self.0 else { return };
        let line = text.replace('\\', "\\\\").replace('\n', "\\n");
        if let Err(error) = writeln!(file, "{line}") {
            tracing::error!(%error, "the record of prompts");
        }
    }
}
