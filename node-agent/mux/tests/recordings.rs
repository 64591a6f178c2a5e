//! Real traffic, every frame of it: decoded to the last byte, compared with what was known about it when it was
//! recorded, and written again.

#![allow(clippy::unwrap_used)] // the helpers are tests too

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wa_mux::codec::{
    Alert, Codec, Color, CursorPosition, Dimensions, Frame, FrameReader, FrameWriter, PaneEntry, PaneNode,
    Pdu, Problem, Progress, Row, Style, put_frame,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recordings")
}

struct Owned {
    serial: u64,
    ident: u64,
    payload: Vec<u8>,
    compressed: bool,
    offset: u64,
    wire_length: usize,
}

/// All frames of a stream, fed in pieces of `step` bytes.
fn frames(bytes: &[u8], step: usize) -> Vec<Owned> {
    let mut reader = FrameReader::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(step) {
        reader.extend(piece);
        while let Some(Frame { serial, ident, payload, compressed, offset, wire_length, .. }) =
            reader.next_frame().unwrap()
        {
            found.push(Owned { serial, ident, payload: payload.to_vec(), compressed, offset, wire_length });
        }
    }
    assert!(!reader.is_mid_frame(), "bytes after the last frame");
    found
}

fn streams() -> Vec<(PathBuf, Codec)> {
    let mut found = Vec::new();
    for (sub, codec) in [(".", Codec::V44), ("codec42", Codec::V42)] {
        for entry in fs::read_dir(folder().join(sub)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "bin") {
                found.push((path, codec));
            }
        }
    }
    assert_eq!(found.len(), 20);
    found.sort();
    found
}

#[test]
fn every_frame_decodes_with_nothing_left_over_and_survives_being_written_again() {
    let mut decoded = 0;
    for (path, codec) in streams() {
        for frame in frames(&fs::read(&path).unwrap(), 4096) {
            let place = format!("{} at {}", path.display(), frame.offset);
            let pdu = match Pdu::decode(frame.ident, &frame.payload, codec) {
                Ok(pdu) => pdu,
                Err(error) => {
                    assert_eq!(error.problem, Problem::UnknownIdent(200), "{place}: {error}");
                    continue;
                }
            };
            decoded += 1;
            let (ident, payload) = pdu.encode(codec);
            assert_eq!(ident, frame.ident, "{place}");
            assert_eq!(Pdu::decode(ident, &payload, codec), Ok(pdu), "{place}");
        }
    }
    assert_eq!(decoded, 176);
}

#[test]
fn frames_come_out_the_same_however_the_stream_is_cut() {
    for (path, _) in streams() {
        let bytes = fs::read(&path).unwrap();
        let whole = frames(&bytes, usize::MAX);
        for step in [1, 2, 7] {
            let cut = frames(&bytes, step);
            assert_eq!(cut.len(), whole.len());
            for (a, b) in cut.iter().zip(&whole) {
                assert_eq!(
                    (a.serial, a.ident, &a.payload, a.offset),
                    (b.serial, b.ident, &b.payload, b.offset)
                );
            }
        }
    }
}

#[test]
fn requests_are_written_byte_for_byte_as_recorded() {
    for (path, codec) in streams() {
        if !path.to_string_lossy().ends_with(".c2s.bin") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for frame in frames(&bytes, 4096) {
            if frame.compressed || frame.ident == 200 {
                continue;
            }
            let (ident, payload) = Pdu::decode(frame.ident, &frame.payload, codec).unwrap().encode(codec);
            let mut out = Vec::new();
            put_frame(&mut out, frame.serial, ident, &payload);
            let start = frame.offset as usize;
            assert_eq!(out, bytes[start..start + frame.wire_length], "{} at {start}", path.display());
        }
    }
}

#[test]
fn a_server_compresses_what_the_real_one_compressed() {
    let mut writer = FrameWriter::new().unwrap();
    for (path, _) in streams() {
        if !path.to_string_lossy().ends_with(".s2c.bin") {
            continue;
        }
        for frame in frames(&fs::read(&path).unwrap(), 4096) {
            let mut out = Vec::new();
            writer.put(&mut out, frame.serial, frame.ident, &frame.payload);
            let again = frames(&out, 4096).remove(0);
            assert_eq!(again.payload, frame.payload);
            assert_eq!(again.compressed, frame.compressed, "{} at {}", path.display(), frame.offset);
        }
    }
}

#[test]
fn the_frame_lists_agree() {
    for entry in fs::read_dir(folder()).unwrap().chain(fs::read_dir(folder().join("codec42")).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let description: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let codec = Codec::from_number(description["codec_version"].as_u64().unwrap()).unwrap();
        let listed = description.get("frames").or(description.get("s2c_frames")).unwrap().as_array().unwrap();
        for (direction, suffix) in [("c2s", "c2s.bin"), ("s2c", "s2c.bin")] {
            let listed: Vec<_> = listed.iter().filter(|frame| frame["dir"] == direction).collect();
            if listed.is_empty() {
                continue;
            }
            let stream = fs::read(path.with_extension(suffix)).unwrap();
            let found = frames(&stream, 4096);
            assert_eq!(found.len(), listed.len(), "{}", path.display());
            for (frame, listed) in found.iter().zip(listed) {
                compare_frame(frame, listed, codec, &path);
            }
        }
    }
}

fn compare_frame(frame: &Owned, listed: &Value, codec: Codec, path: &Path) {
    let place = format!("{} {} at {}", path.display(), listed["dir"], frame.offset);
    assert_eq!(frame.serial, listed["serial"], "{place}");
    assert_eq!(frame.ident, listed["ident"], "{place}");
    if let Some(offset) = listed.get("offset") {
        assert_eq!(frame.offset, *offset, "{place}");
    }
    let length = listed.get("length").or(listed.get("wire_len")).unwrap();
    assert_eq!(frame.wire_length, *length, "{place}");
    if let Some(length) = listed.get("plain_payload_len").or(listed.get("payload_len")) {
        assert_eq!(frame.payload.len(), *length, "{place}");
    }
    if frame.ident == 200 {
        return;
    }
    let pdu = Pdu::decode(frame.ident, &frame.payload, codec).unwrap();
    assert_eq!(pdu.name(), listed["name"], "{place}");
    if let Some(fields) = listed.get("decoded") {
        compare_fields(&pdu, fields, &place);
    }
}

fn compare_fields(pdu: &Pdu, fields: &Value, place: &str) {
    match pdu {
        Pdu::Pong | Pdu::UnitResponse => {}
        Pdu::ErrorResponse { reason } => assert_eq!(*reason, fields["reason"], "{place}"),
        Pdu::GetCodecVersionResponse { codec_version, version, executable_path, config_file_path } => {
            assert_eq!(*codec_version, fields["codec"]);
            assert_eq!(*version, fields["version"]);
            assert_eq!(*executable_path, fields["exe"]);
            assert_eq!(config_file_path.as_deref(), fields["cfg"].as_str());
        }
        Pdu::GetClientListResponse { clients } => {
            for (client, listed) in clients.iter().zip(fields["clients"].as_array().unwrap()) {
                assert_eq!(client.client_id.hostname, listed["client_id"]["hostname"]);
                assert_eq!(client.client_id.username, listed["client_id"]["username"]);
                assert_eq!(client.client_id.pid, listed["client_id"]["pid"]);
                assert_eq!(client.client_id.id, listed["client_id"]["id"]);
                assert_eq!(client.last_input, listed["last_input"]);
                assert_eq!(client.focused_pane_id, listed["focused_pane_id"].as_u64());
            }
        }
        Pdu::ListPanesResponse { tabs, tab_titles, window_titles } => {
            let listed = fields["tabs"].as_array().unwrap();
            assert_eq!(tabs.len(), listed.len(), "{place}");
            tabs.iter().zip(listed).for_each(|(tab, listed)| compare_tree(tab, listed, place));
            assert_eq!(serde_json::json!(tab_titles), fields["tab_titles"]);
            assert_eq!(serde_json::json!(window_titles), fields["window_titles"]);
        }
        Pdu::SpawnResponse { tab_id, pane_id, window_id, size } => {
            assert_eq!((*tab_id, *pane_id), (number(&fields["tab_id"]), number(&fields["pane_id"])));
            assert_eq!(
                (*window_id, size.rows),
                (number(&fields["window_id"]), number(&fields["size"]["rows"]))
            );
        }
        Pdu::GetLinesResponse { pane_id, rows } => {
            assert_eq!(*pane_id, fields["pane_id"], "{place}");
            compare_rows(rows, &fields["lines"], place);
        }
        Pdu::GetPaneRenderableDimensionsResponse { pane_id, cursor, dims } => {
            assert_eq!(*pane_id, fields["pane_id"], "{place}");
            compare_cursor(cursor, &fields["cursor"]);
            compare_dims(dims, &fields["dims"]);
        }
        Pdu::LivenessResponse { pane_id, is_alive } => {
            assert_eq!((*pane_id, *is_alive), (number(&fields["pane_id"]), fields["alive"] == true));
        }
        Pdu::SearchScrollbackResponse { results } => {
            let listed = fields["results"].as_array().unwrap();
            let ends: Vec<_> = results.iter().map(|hit| (hit.start_y, hit.end_x)).collect();
            let expected: Vec<_> =
                listed.iter().map(|hit| (signed(&hit["start_y"]), number(&hit["end_x"]))).collect();
            assert_eq!(ends, expected);
        }
        Pdu::GetPaneDirectionResponse { pane_id } => assert_eq!(*pane_id, fields["pane_id"].as_u64()),
        push => compare_push(push, fields, place),
    }
}

fn compare_push(push: &Pdu, fields: &Value, place: &str) {
    match push {
        Pdu::GetPaneRenderChangesResponse { changes } => {
            assert_eq!(changes.pane_id, fields["pane_id"], "{place}");
            assert_eq!(changes.mouse_grabbed, fields["mouse_grabbed"]);
            assert_eq!(changes.title, fields["title"]);
            assert_eq!(changes.working_dir.as_deref(), fields["cwd"].as_str());
            assert_eq!(changes.seqno, fields["seqno"]);
            assert_eq!(changes.input_serial, fields["input_serial"].as_u64());
            let dirty: Vec<_> = changes.dirty.iter().map(|range| [range.start, range.end]).collect();
            assert_eq!(serde_json::json!(dirty), fields["dirty"], "{place}");
            compare_cursor(&changes.cursor, &fields["cursor"]);
            compare_dims(&changes.dims, &fields["dims"]);
            compare_rows(&changes.rows, &fields["bonus"], place);
        }
        Pdu::PaneRemoved { pane_id } | Pdu::PaneFocused { pane_id } => {
            assert_eq!(*pane_id, fields["pane_id"])
        }
        Pdu::SetPalette { pane_id, palette } => {
            assert_eq!(*pane_id, fields["pane_id"], "{place}");
            assert_eq!(palette.colors.len(), fields["colors"]);
            assert_eq!(palette.special.len(), fields["rest"]);
        }
        Pdu::NotifyAlert { pane_id, alert } => {
            assert_eq!(*pane_id, fields["pane_id"], "{place}");
            compare_alert(alert, &fields["alert"]);
        }
        Pdu::SetClipboard { clipboard, .. } => assert_eq!(clipboard.as_deref(), fields["clip"].as_str()),
        Pdu::TabResized { tab_id } => assert_eq!(*tab_id, fields["tab_id"]),
        Pdu::TabAddedToWindow { tab_id, window_id } => {
            assert_eq!((*tab_id, *window_id), (number(&fields["tab_id"]), number(&fields["window_id"])));
        }
        Pdu::TabTitleChanged { title, .. } | Pdu::WindowTitleChanged { title, .. } => {
            assert_eq!(*title, fields["title"]);
        }
        other => panic!("{place}: no comparison for {}", other.name()),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn signed(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn compare_cursor(cursor: &CursorPosition, listed: &Value) {
    assert_eq!((cursor.x, cursor.y), (number(&listed["x"]), signed(&listed["y"])));
    assert_eq!(format!("{:?}", cursor.shape), listed["shape"].as_str().unwrap());
    assert_eq!(format!("{:?}", cursor.visibility), listed["visibility"].as_str().unwrap());
}

fn compare_dims(dims: &Dimensions, listed: &Value) {
    assert_eq!(
        (dims.cols, dims.viewport_rows, dims.scrollback_rows),
        (number(&listed["cols"]), number(&listed["viewport_rows"]), number(&listed["scrollback_rows"]))
    );
    assert_eq!(
        (dims.physical_top, dims.scrollback_top),
        (signed(&listed["physical_top"]), signed(&listed["scrollback_top"]))
    );
    assert_eq!(
        (dims.pixel_width, dims.pixel_height),
        (number(&listed["pixel_width"]), number(&listed["pixel_height"]))
    );
    assert_eq!(dims.reverse_video, listed["reverse_video"]);
}

fn compare_tree(node: &PaneNode, listed: &Value, place: &str) {
    match node {
        PaneNode::Empty => assert!(listed.is_null(), "{place}"),
        PaneNode::Leaf(entry) => compare_entry(entry, listed),
        PaneNode::Split { left, right, node: split } => {
            compare_tree(left, &listed["left"], place);
            compare_tree(right, &listed["right"], place);
            assert_eq!(format!("{:?}", split.direction), listed["node"]["direction"].as_str().unwrap());
            assert_eq!(split.first.cols, listed["node"]["first"]["cols"]);
            assert_eq!(split.second.rows, listed["node"]["second"]["rows"]);
        }
    }
}

fn compare_entry(entry: &PaneEntry, listed: &Value) {
    assert_eq!(entry.window_id, listed["window_id"]);
    assert_eq!(entry.tab_id, listed["tab_id"]);
    assert_eq!(entry.pane_id, listed["pane_id"]);
    assert_eq!(entry.title, listed["title"]);
    assert_eq!(entry.size.cols, listed["size"]["cols"]);
    assert_eq!(entry.working_dir.as_deref(), listed["working_dir"].as_str());
    assert_eq!(entry.is_active, listed["is_active"]);
    assert_eq!(entry.is_zoomed, listed["is_zoomed"]);
    assert_eq!(entry.workspace, listed["workspace"]);
    assert_eq!((entry.top_row, entry.left_col), (number(&listed["top_row"]), number(&listed["left_col"])));
    assert_eq!(entry.tty_name.as_deref(), listed["tty"].as_str());
    compare_cursor(&entry.cursor, &listed["cursor"]);
}

fn compare_alert(alert: &Alert, listed: &Value) {
    let (kind, value) = (listed[0].as_str().unwrap(), &listed[1]);
    match alert {
        Alert::Bell => assert_eq!(kind, "Bell"),
        Alert::CurrentWorkingDirectoryChanged => assert_eq!(kind, "CurrentWorkingDirectoryChanged"),
        Alert::WindowTitleChanged(title) => {
            assert_eq!((kind, title.as_str()), ("WindowTitleChanged", value.as_str().unwrap()))
        }
        Alert::IconTitleChanged(title) => {
            assert_eq!((kind, title.as_deref()), ("IconTitleChanged", value.as_str()))
        }
        Alert::Toast { title, body, focus } => {
            assert_eq!(kind, "Toast");
            assert_eq!(
                (title.as_deref(), body.as_str()),
                (value["title"].as_str(), value["body"].as_str().unwrap())
            );
            assert_eq!(*focus, value["focus"]);
        }
        Alert::SetUserVar { name, value: set } => {
            assert_eq!(kind, "SetUserVar");
            assert_eq!(
                (name.as_str(), set.as_str()),
                (value["name"].as_str().unwrap(), value["value"].as_str().unwrap())
            );
        }
        Alert::Progress(Progress::Percentage(percent)) => {
            assert_eq!((kind, value[0].as_str().unwrap()), ("Progress", "Percentage"));
            assert_eq!(*percent, value[1]);
        }
        other => panic!("no comparison for {other:?}"),
    }
}

fn compare_rows(rows: &[Row], listed: &Value, place: &str) {
    let listed = listed["lines"].as_array().unwrap();
    assert_eq!(rows.len(), listed.len(), "{place}");
    for (row, listed) in rows.iter().zip(listed) {
        let place = format!("{place}, row {}", row.index);
        assert_eq!(row.index, listed["row"], "{place}");
        assert_eq!(row.text, listed["text"].as_str().unwrap(), "{place}");
        assert_eq!(row.cells, listed["cells"], "{place}");
        assert_eq!(row.wrapped, listed["wrapped"], "{place}");
        assert_eq!(row.seqno, listed["seqno"], "{place}");
        assert_eq!(row.cell_ranges().map(|(_, width)| width).sum::<u32>(), row.cells, "{place}");
        let expected: Vec<(Style, u64)> = listed["attr_runs"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|run| (0..number(&run[0])).map(|_| (style_of(&run[1]), 0)))
            .collect();
        let mut at = 0;
        for (range, width) in row.cell_ranges() {
            let found = row
                .runs
                .iter()
                .find(|run| (run.start as usize..run.end as usize).contains(&range.start))
                .map_or_else(Style::default, |run| run.style);
            assert_eq!(found, expected[at].0, "{place}, column {at}");
            at += width as usize;
        }
    }
}

fn style_of(attributes: &Value) -> Style {
    let bits = number(&attributes["bits"]);
    let color = |small: &str| {
        let fat = &attributes["fat"][small];
        match (fat[0].as_str(), attributes[small].as_u64()) {
            (Some("rgb"), _) => {
                let part = |index: usize| (fat[1][index].as_f64().unwrap() * 255.0).round() as u8;
                Color::Rgb(part(0), part(1), part(2))
            }
            (_, Some(index)) => Color::Palette(index as u8),
            _ => Color::Default,
        }
    };
    Style {
        bold: bits & 3 == 1,
        dim: bits & 3 == 2,
        underline: bits >> 2 & 7 != 0,
        italic: bits >> 7 & 1 != 0,
        reverse: bits >> 8 & 1 != 0,
        strike: bits >> 9 & 1 != 0,
        invisible: bits >> 10 & 1 != 0,
        fg: color("fg"),
        bg: color("bg"),
    }
}
