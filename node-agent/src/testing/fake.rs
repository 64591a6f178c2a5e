//! A mux server that does as it is told, good and bad, and a stand-in for `wezterm cli`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wa_mux::codec::{
    Codec, CursorPosition, Dimensions, FrameReader, PaneEntry, PaneNode, Pdu, RenderChanges, Row,
    TerminalSize, put_frame,
};

const COLS: u64 = 40;
const ROWS: u64 = 6;

/// One pane, 40x6; the cursor stands at the end of the last line.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakePane {
    pub(crate) lines: Vec<String>,
    pub(crate) tty: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    /// As it names itself.
    pub(crate) codec: u64,
    /// Lists cannot be read.
    pub(crate) malformed: bool,
    /// Changes are not told after the first time.
    pub(crate) forgetful: bool,
    pub(crate) told: bool,
    pub(crate) pane: FakePane,
    pub(crate) connections: usize,
}

pub(crate) struct Fake {
    script: Arc<Mutex<Script>>,
    wake: Arc<Notify>,
    _serving: JoinSet<()>,
}

impl Fake {
    pub(crate) fn start(path: &Path, script: Script) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let script = Arc::new(Mutex::new(script));
        let mut serving = JoinSet::new();
        let wake = Arc::new(Notify::new());
        let (told, woken) = (Arc::clone(&script), Arc::clone(&wake));
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                told.lock().unwrap().connections += 1;
                tokio::select! {
                    () = serve(stream, &told) => {}
                    () = woken.notified() => {}
                }
            }
        });
        Self { script, wake, _serving: serving }
    }

    /// Ends the present connection.
    pub(crate) fn hang_up(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

async fn serve(mut stream: UnixStream, script: &Mutex<Script>) {
    let mut frames = FrameReader::default();
    let mut chunk = vec![0; 4096];
    loop {
        while let Some(frame) = frames.next_frame().unwrap() {
            let request = Pdu::decode(frame.ident, frame.payload, Codec::V44).unwrap();
            let answer = script.lock().unwrap().answer(frame.serial, request);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => frames.extend(&chunk[..length]),
        }
    }
}

impl Script {
    pub(crate) fn native(lines: &[&str]) -> Self {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Self { codec: 44, pane: FakePane { lines, tty: None }, ..Self::default() }
    }

    fn answer(&mut self, serial: u64, request: Pdu) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |serial: u64, pdu: &Pdu| {
            let (ident, payload) = pdu.encode(Codec::V44);
            put_frame(&mut out, serial, ident, &payload);
        };
        match request {
            Pdu::GetCodecVersion => put(
                serial,
                &Pdu::GetCodecVersionResponse {
                    codec_version: self.codec,
                    version: "20990101-000000-fake".into(),
                    executable_path: "/usr/bin/wezterm-mux-server".into(),
                    config_file_path: None,
                },
            ),
            Pdu::ListPanes if self.malformed => put_frame(&mut out, serial, 4, &[0xff; 7]),
            Pdu::ListPanes => put(serial, &self.list()),
            Pdu::GetPaneRenderChanges { pane_id } => {
                if !(self.forgetful && std::mem::replace(&mut self.told, true)) {
                    put(0, &Pdu::GetPaneRenderChangesResponse { changes: Box::new(self.changes()) });
                }
                put(serial, &Pdu::LivenessResponse { pane_id, is_alive: true });
            }
            Pdu::GetPaneRenderableDimensions { pane_id } => {
                let changes = self.changes();
                let (cursor, dims) = (changes.cursor, changes.dims);
                put(serial, &Pdu::GetPaneRenderableDimensionsResponse { pane_id, cursor, dims });
            }
            Pdu::GetLines { pane_id, lines } => {
                let rows = self
                    .rows()
                    .into_iter()
                    .filter(|row| lines.iter().any(|range| range.contains(&row.index)));
                put(serial, &Pdu::GetLinesResponse { pane_id, rows: rows.collect() });
            }
            Pdu::GetClientList => put(serial, &Pdu::GetClientListResponse { clients: Vec::new() }),
            _ => put(serial, &Pdu::UnitResponse),
        }
        out
    }

    fn height(&self) -> u64 {
        (self.pane.lines.len() as u64).max(ROWS)
    }

    fn rows(&self) -> Vec<Row> {
        let blank = std::iter::repeat(String::new());
        let lines =
            self.pane.lines.iter().cloned().chain(blank).take(usize::try_from(self.height()).unwrap());
        lines.zip(0..).map(|(line, index)| Row::plain(index, &line)).collect()
    }

    fn changes(&self) -> RenderChanges {
        let top = self.height() - ROWS;
        let last = self.pane.lines.last().map_or(0, |line| line.len() as u64);
        let y = (self.pane.lines.len() as i64 - 1).max(0);
        RenderChanges {
            pane_id: 0,
            mouse_grabbed: false,
            cursor: CursorPosition { x: last, y, ..CursorPosition::default() },
            dims: Dimensions {
                cols: COLS,
                viewport_rows: ROWS,
                scrollback_rows: self.height(),
                physical_top: top as i64,
                scrollback_top: 0,
                ..Dimensions::default()
            },
            dirty: std::iter::once(top as i64..self.height() as i64).collect(),
            title: "a title".into(),
            working_dir: None,
            rows: self.rows().split_off(usize::try_from(top).unwrap()),
            input_serial: None,
            seqno: 1,
        }
    }

    fn list(&self) -> Pdu {
        let entry = PaneEntry {
            window_id: 0,
            tab_id: 0,
            pane_id: 0,
            title: "a title".into(),
            size: TerminalSize { rows: ROWS, cols: COLS, ..TerminalSize::default() },
            working_dir: None,
            is_active: true,
            is_zoomed: false,
            workspace: "default".into(),
            cursor: CursorPosition::default(),
            physical_top: 0,
            top_row: 0,
            left_col: 0,
            tty_name: self.pane.tty.clone(),
        };
        Pdu::ListPanesResponse {
            tabs: vec![PaneNode::Leaf(Box::new(entry))],
            tab_titles: vec![String::new()],
            window_titles: [(0, String::new())].into(),
        }
    }
}

/// A program that answers like `wezterm cli`, for one pane of 40x6.
pub(crate) struct Wezterm {
    folder: PathBuf,
}

impl Wezterm {
    pub(crate) fn new(folder: &Path) -> Self {
        let stand_in = Self { folder: folder.to_owned() };
        stand_in.show(&[]);
        let here = folder.display();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> '{here}/calls'\n\
             case \"$*\" in *list*) cat '{here}/list.json';; *) cat '{here}/screen.txt';; esac\n"
        );
        std::fs::write(stand_in.program(), script).unwrap();
        std::fs::set_permissions(stand_in.program(), std::fs::Permissions::from_mode(0o755)).unwrap();
        stand_in
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("wezterm")
    }

    /// The cursor stands at the end of the last row.
    pub(crate) fn show(&self, rows: &[&str]) {
        let list = format!(
            r#"[{{"window_id":0,"tab_id":0,"pane_id":0,"workspace":"default","size":{{"rows":{ROWS},"cols":{COLS}}},
               "title":"a title","cwd":"file:///srv/x","cursor_x":{},"cursor_y":{},"tty_name":null}}]"#,
            rows.last().map_or(0, |row| row.len()),
            rows.len().saturating_sub(1),
        );
        for (name, text) in [("list.json", list), ("screen.txt", rows.join("\n"))] {
            // Never half written.
            std::fs::write(self.folder.join("next"), text).unwrap();
            std::fs::rename(self.folder.join("next"), self.folder.join(name)).unwrap();
        }
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}
