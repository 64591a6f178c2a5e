//! What the panes show, as the node asks for it.

use wa_mux::codec::{
    ClientId, ClientInfo, Codec, CursorPosition, CursorVisibility, Dimensions, PaneEntry, PaneNode, Pdu,
    RenderChanges, Row, TerminalSize, put_frame,
};

use super::{COLS, PANE, Pane, Panes, ROWS, tty};
use crate::host::epoch;
use crate::program;

impl Panes {
    pub(super) fn clients(&self) -> Vec<ClientInfo> {
        let client = |(id, pane): (&u64, &Pane)| {
            let last = pane.person?;
            let seconds = epoch().as_second() + i64::try_from(last.as_secs()).unwrap_or(0) + self.ahead_s;
            Some(ClientInfo {
                client_id: ClientId {
                    hostname: "desk".into(),
                    username: "eve".into(),
                    pid: 4000 + u32::try_from(*id).unwrap_or(0),
                    ..ClientId::default()
                },
                connected_at: epoch().as_second(),
                active_workspace: None,
                last_input: seconds,
                focused_pane_id: Some(*id),
            })
        };
        self.panes.iter().filter_map(client).collect()
    }

    pub(super) fn rows(&self, id: u64) -> Vec<Row> {
        if let Some(pane) = self.panes.get(&id) {
            let rows = pane.shown.rows.iter().zip(0..);
            return rows
                .map(|(row, at)| Row::from_cells(at, pane.version, false, program::cells(row)))
                .collect();
        }
        let blank = std::iter::repeat(String::new());
        let lines =
            self.counter.lines.iter().cloned().chain(blank).take(usize::try_from(self.height()).unwrap());
        lines.zip(0..).map(|(line, index)| Row::plain(index, &line)).collect()
    }

    fn height(&self) -> u64 {
        (self.counter.lines.len() as u64).max(ROWS)
    }

    pub(super) fn changes(&self, id: u64) -> Option<RenderChanges> {
        if id == PANE {
            return Some(self.counter_changes());
        }
        let pane = self.panes.get(&id)?;
        let (cursor, visibility) = match pane.shown.cursor {
            Some(at) => (at, CursorVisibility::Visible),
            None => ((0, program::ROWS - 1), CursorVisibility::Hidden),
        };
        let height = program::ROWS.cast_signed();
        Some(RenderChanges {
            pane_id: id,
            mouse_grabbed: false,
            cursor: CursorPosition {
                x: cursor.0,
                y: cursor.1.cast_signed(),
                visibility,
                ..CursorPosition::default()
            },
            dims: Dimensions {
                cols: pane.program.cols,
                viewport_rows: program::ROWS,
                scrollback_rows: program::ROWS,
                ..Dimensions::default()
            },
            dirty: std::iter::once(0..height).collect(),
            title: "simulated".into(),
            working_dir: None,
            rows: self.rows(id),
            input_serial: None,
            seqno: pane.version,
        })
    }

    fn counter_changes(&self) -> RenderChanges {
        let top = self.height() - ROWS;
        let last = self.counter.lines.last().map_or(0, |line| line.len() as u64);
        let y = i64::try_from(self.counter.lines.len()).unwrap() - 1;
        RenderChanges {
            pane_id: PANE,
            mouse_grabbed: false,
            cursor: CursorPosition { x: last, y, ..CursorPosition::default() },
            dims: Dimensions {
                cols: COLS,
                viewport_rows: ROWS,
                scrollback_rows: self.height(),
                physical_top: top.cast_signed(),
                scrollback_top: 0,
                ..Dimensions::default()
            },
            dirty: std::iter::once(top.cast_signed()..self.height().cast_signed()).collect(),
            title: "simulated".into(),
            working_dir: None,
            rows: self.rows(PANE).split_off(usize::try_from(top).unwrap()),
            input_serial: None,
            seqno: self.seqno,
        }
    }

    pub(super) fn list(&self) -> Pdu {
        let programs =
            self.panes.iter().map(|(id, pane)| entry(*id, program::ROWS, pane.program.cols, Some(tty(*id))));
        let all = std::iter::once(entry(PANE, ROWS, COLS, None)).chain(programs);
        let tabs: Vec<PaneNode> = all.map(|entry| PaneNode::Leaf(Box::new(entry))).collect();
        Pdu::ListPanesResponse {
            tab_titles: vec![String::new(); tabs.len()],
            tabs,
            window_titles: [(0, String::new())].into(),
        }
    }
}

fn entry(id: u64, rows: u64, cols: u64, tty_name: Option<String>) -> PaneEntry {
    PaneEntry {
        window_id: 0,
        tab_id: id,
        pane_id: id,
        title: "simulated".into(),
        size: TerminalSize { rows, cols, ..TerminalSize::default() },
        working_dir: None,
        is_active: true,
        is_zoomed: false,
        workspace: "default".into(),
        cursor: CursorPosition::default(),
        physical_top: 0,
        top_row: 0,
        left_col: 0,
        tty_name,
    }
}

pub(super) fn put(out: &mut Vec<u8>, serial: u64, pdu: &Pdu) {
    let (ident, payload) = pdu.encode(Codec::V44);
    put_frame(out, serial, ident, &payload);
}

pub(super) fn no_pane(out: &mut Vec<u8>, serial: u64) {
    put(out, serial, &Pdu::ErrorResponse { reason: "no such pane".into() });
}
