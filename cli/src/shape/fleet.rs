//! `wa.fleet_status/1`: one host.

use anstyle::AnsiColor;
use serde::Serialize;
use wa_proto::Timestamp;
use wa_proto::wire::{Invalid, v1};

use super::{age, instant, known, or_dash};
use crate::output::table::{Cell, Column, column};
use crate::output::{Look, Shape};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HostStatus {
    pub(crate) host: String,
    pub(crate) connected: bool,
    version: Option<String>,
    mux: Vec<Mux>,
    lag_ms: u64,
    spool_bytes: u64,
    certificate_expires: Option<String>,
    clock_skew_ms: i64,
    problems: Vec<String>,
    #[serde(skip)]
    last_seen: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mux {
    name: String,
    /// Null while not connected.
    codec: Option<u32>,
    version: Option<String>,
    panes: u32,
}

impl TryFrom<v1::NodeStatus> for HostStatus {
    type Error = Invalid;
    fn try_from(node: v1::NodeStatus) -> Result<Self, Invalid> {
        let mut problems = node.problems;
        // Of a mux that is not connected the node says more among its problems than the mux's own few words.
        let told = !problems.is_empty();
        let silent = node.muxes.iter().filter(|mux| !mux.problem.is_empty() && (mux.codec != 0 || !told));
        problems.extend(silent.map(|mux| format!("mux {}: {}", mux.name, mux.problem)));
        let mux = node.muxes.into_iter().map(|mux| Mux {
            name: mux.name,
            codec: Some(mux.codec).filter(|codec| *codec != 0),
            version: known(mux.version),
            panes: mux.panes,
        });
        Ok(Self {
            mux: mux.collect(),
            host: node.host,
            connected: node.connected,
            version: known(node.version),
            lag_ms: node.lag_ms,
            spool_bytes: node.spool_bytes,
            certificate_expires: known(node.certificate_expires),
            clock_skew_ms: node.clock_skew_ms,
            problems,
            last_seen: instant("node.last_seen_us", node.last_seen_us)?,
        })
    }
}

impl HostStatus {
    fn panes(&self) -> u32 {
        self.mux.iter().map(|mux| mux.panes).fold(0, u32::saturating_add)
    }

    fn mux_words(&self) -> String {
        let words: Vec<String> = self
            .mux
            .iter()
            .map(|mux| match mux.codec {
                Some(codec) => format!("{} (codec {codec})", mux.name),
                None => format!("{} (away)", mux.name),
            })
            .collect();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    }
}

impl Shape for HostStatus {
    const SCHEMA: &'static str = "wa.fleet_status/1";

    fn name(&self) -> String {
        self.host.clone()
    }

    fn columns(wide: bool) -> &'static [Column] {
        const TABLE: &[Column] = &[
            column("HOST", 8),
            column("CONNECTED", 9),
            column("SEEN", 5),
            column("MUX", 12),
            column("PANES", 5),
            column("LAG", 6),
            column("PROBLEMS", 8),
        ];
        const WIDE: &[Column] = &[
            column("HOST", 8),
            column("CONNECTED", 9),
            column("SEEN", 5),
            column("VERSION", 8),
            column("MUX", 12),
            column("PANES", 5),
            column("LAG", 6),
            column("SPOOL", 8),
            column("SKEW", 6),
            column("CERTIFICATE EXPIRES", 20),
            column("PROBLEMS", 8),
        ];
        if wide { WIDE } else { TABLE }
    }

    fn row(&self, look: &Look) -> Vec<Cell> {
        let connected = match self.connected {
            true => Cell::plain("yes"),
            false => Cell::styled("no", AnsiColor::Red.on_default()),
        };
        let problems = match self.problems.as_slice() {
            [] => Cell::plain("-"),
            some => Cell::styled(&some.join("; "), AnsiColor::Yellow.on_default()),
        };
        let mut row = vec![Cell::plain(&self.host), connected, Cell::plain(&age(look.now, self.last_seen))];
        if look.wide() {
            row.push(Cell::plain(or_dash(self.version.as_deref())));
        }
        row.push(Cell::plain(&self.mux_words()));
        row.push(Cell::plain(&self.panes().to_string()));
        row.push(Cell::plain(&format!("{} ms", self.lag_ms)));
        if look.wide() {
            row.push(Cell::plain(&format!("{} B", self.spool_bytes)));
            row.push(Cell::plain(&format!("{} ms", self.clock_skew_ms)));
            row.push(Cell::plain(or_dash(self.certificate_expires.as_deref())));
        }
        row.push(problems);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, testing};

    const PAGE: &str = r#"{"host":"web-1","connected":true,"version":"0.1.0","mux":[{"name":"main","codec":44,"version":"20240203","panes":4},{"name":"gui","codec":null,"version":null,"panes":0}],"lag_ms":3,"spool_bytes":4096,"certificate_expires":"2026-09-02T12:00:00Z","clock_skew_ms":-2,"problems":["mux gui: no socket"]}
"#;

    #[test]
    fn hosts_are_as_on_the_page() {
        let mux = |name: &str, codec, version: &str, panes, problem: &str| v1::MuxStatus {
            name: name.into(),
            codec,
            version: version.into(),
            panes,
            generation: String::new(),
            problem: problem.into(),
        };
        let node = v1::NodeStatus {
            host: "web-1".into(),
            connected: true,
            version: "0.1.0".into(),
            muxes: vec![mux("main", 44, "20240203", 4, ""), mux("gui", 0, "", 0, "no socket")],
            lag_ms: 3,
            spool_bytes: 4096,
            certificate_expires: "2026-09-02T12:00:00Z".into(),
            clock_skew_ms: -2,
            problems: vec![],
            last_seen_us: 1_788_264_000_000_000,
        };
        let (mut out, sink) = testing::out(Format::Jsonl);
        out.list(&[HostStatus::try_from(node.clone()).unwrap()]).unwrap();
        assert_eq!(sink.text(), PAGE);

        let (mut out, sink) = testing::out(Format::Table);
        out.list(&[HostStatus::try_from(node.clone()).unwrap()]).unwrap();
        let row = sink.text().lines().nth(1).unwrap().to_owned();
        assert_eq!(
            row,
            "web-1  yes        0s    main (codec 44), gui (away)  4      3 ms  mux gui: no socket"
        );

        let known = v1::NodeStatus { problems: vec!["cannot connect to /run/gui".into()], ..node };
        assert_eq!(
            HostStatus::try_from(known).unwrap().problems,
            ["cannot connect to /run/gui"],
            "said once"
        );
    }
}
