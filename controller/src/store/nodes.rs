//! Nodes and the last report of their panes: enough to name them while they are away, also after a restart.

use prost::Message as _;
use rusqlite::{Connection, params};
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{Host, MuxName, Pane, Timestamp};

use super::{StoreError, Tx, int};

/// What is kept of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    pub host: Host,
    pub version: String,
    /// `None`: it has joined but never spoken.
    pub last_seen: Option<Timestamp>,
    pub skew_ms: i64,
    /// Its last heartbeat, as it came.
    pub heartbeat: v1::Heartbeat,
    pub panes: Vec<Pane>,
    /// Some panes that are stored could not be read.
    pub damaged: bool,
}

/// What is new of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeChange {
    pub host: Host,
    pub version: String,
    pub last_seen: Option<Timestamp>,
    pub skew_ms: i64,
    pub heartbeat: v1::Heartbeat,
    /// `panes` are all there are; else those that changed.
    pub whole: bool,
    pub panes: Vec<Pane>,
    /// Places that are empty now.
    pub gone: Vec<(MuxName, u64)>,
}

fn damaged(problem: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(problem.to_string().into())
}

impl Tx<'_> {
    /// Makes the host known.
    pub fn node_joined(&self, host: &Host) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT INTO nodes (host) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([host.as_str()])?;
        Ok(())
    }

    /// Stores what a node last said of itself, and those of its panes that changed.
    pub fn save_node(&self, node: &NodeChange) -> Result<(), StoreError> {
        let host = node.host.as_str();
        self.conn
            .prepare_cached(
                "INSERT INTO nodes (host, version, last_seen_us, skew_ms, heartbeat) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET version = ?2, last_seen_us = ?3, skew_ms = ?4, heartbeat = ?5",
            )?
            .execute(params![
                host,
                node.version,
                node.last_seen.map_or(0, to_us),
                node.skew_ms,
                node.heartbeat.encode_to_vec()
            ])?;
        if node.whole {
            self.conn.prepare_cached("DELETE FROM panes WHERE host = ?1")?.execute([host])?;
        }
        let mut remove =
            self.conn.prepare_cached("DELETE FROM panes WHERE host = ?1 AND mux = ?2 AND pane_id = ?3")?;
        for (mux, pane_id) in &node.gone {
            remove.execute(params![host, mux.as_str(), int(*pane_id)?])?;
        }
        let mut insert = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO panes (host, mux, pane_id, report) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for pane in &node.panes {
            let report = v1::Pane::from(pane.clone()).encode_to_vec();
            insert.execute(params![host, pane.pane.mux.as_str(), int(pane.pane.pane_id)?, report])?;
        }
        self.note_panes(&node.host, &node.panes)
    }
}

/// All nodes with their panes.
pub(super) fn load(conn: &Connection) -> Result<Vec<NodeRow>, StoreError> {
    let mut statement =
        conn.prepare("SELECT CAST(host AS BLOB), version, last_seen_us, skew_ms, heartbeat FROM nodes")?;
    let mut of_node = conn.prepare("SELECT report FROM panes WHERE host = ?1")?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let name = String::from_utf8_lossy(&row.get::<_, Vec<u8>>(0)?).into_owned();
        let reports = of_node
            .query_map([&name], |row| Ok(row.get::<_, Vec<u8>>(0).unwrap_or_default()))?
            .collect::<Result<Vec<_>, _>>()?;
        let read = |report: &Vec<u8>| -> Result<Pane, StoreError> {
            v1::Pane::decode(report.as_slice()).map_err(damaged)?.try_into().map_err(damaged)
        };
        // Only a memory of what the node will tell again: no reason not to start.
        let read = |report| {
            read(report).inspect_err(|error| tracing::warn!(%error, host = name, "a pane was forgotten")).ok()
        };
        let panes: Vec<Pane> = reports.iter().filter_map(read).collect();
        let heartbeat: Option<Vec<u8>> = row.get(4).unwrap_or_default();
        let last_seen: i64 = row.get(2).unwrap_or_default();
        let Ok(host) = Host::new(name.as_str()) else {
            tracing::error!(host = name, "a node's row cannot be read; the node must join again");
            continue;
        };
        // All of it is told again in the node's next session.
        out.push(NodeRow {
            host,
            version: row.get(1).unwrap_or_default(),
            last_seen: from_us("nodes.last_seen_us", last_seen).ok().filter(|_| last_seen != 0),
            damaged: panes.len() < reports.len(),
            skew_ms: row.get(3).unwrap_or_default(),
            heartbeat: v1::Heartbeat::decode(heartbeat.unwrap_or_default().as_slice()).unwrap_or_default(),
            panes,
        });
    }
    Ok(out)
}
