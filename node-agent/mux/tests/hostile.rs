//! Damaged and hostile bytes: a clean error, whatever they are.

#![allow(clippy::unwrap_used)] // the helpers are tests too

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use wa_mux::codec::{
    Codec, Color, FrameError, FrameReader, FrameWriter, Pdu, Problem, Row, Run, Style, Zone, put_frame,
};

const CODECS: [Codec; 3] = [Codec::V42, Codec::V43, Codec::V44];

/// Every recorded frame as (ident, payload), and every stream as it came.
static FRAMES: LazyLock<Vec<(u64, Vec<u8>)>> = LazyLock::new(|| {
    let mut found = Vec::new();
    for stream in STREAMS.iter() {
        let mut reader = FrameReader::default();
        reader.extend(stream);
        while let Some(frame) = reader.next_frame().unwrap() {
            found.push((frame.ident, frame.payload.to_vec()));
        }
    }
    assert_eq!(found.len(), 177);
    found
});

static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recordings");
    let mut paths: Vec<PathBuf> = [root.clone(), root.join("codec42")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
});

/// One thing done to a byte string; positions are fractions of its length.
#[derive(Debug, Clone)]
enum Edit {
    Set(f64, u8),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Cut(f64),
    /// A very large LEB128 number.
    Huge(f64),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = 0.0..1.0_f64;
    prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (place.clone(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (place.clone(), 1..16_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        place.clone().prop_map(Edit::Cut),
        place.prop_map(Edit::Huge),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let place = |at: f64| (at * bytes.len() as f64) as usize;
    match edit {
        Edit::Set(at, byte) => {
            let at = place(*at);
            if let Some(old) = bytes.get_mut(at) {
                *old = *byte;
            }
        }
        Edit::Insert(at, more) => {
            let at = place(*at);
            bytes.splice(at..at, more.iter().copied());
        }
        Edit::Remove(at, count) => {
            let at = place(*at);
            let end = (at + count).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Cut(at) => bytes.truncate(place(*at)),
        Edit::Huge(at) => {
            let at = place(*at);
            bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]);
        }
    }
}

/// What can be read can be written, and reads the same again.
fn decode_and_check(ident: u64, payload: &[u8]) {
    for codec in CODECS {
        match Pdu::decode(ident, payload, codec) {
            Ok(pdu) => {
                let (_, once) = pdu.encode(codec);
                let (_, twice) = Pdu::decode(ident, &once, codec).unwrap().encode(codec);
                assert_eq!(once, twice, "{}", pdu.name());
            }
            Err(error) => assert!(error.offset <= payload.len() && !error.what.is_empty(), "{error:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").map_or(2000, |n| n.parse().unwrap())))]

    #[test]
    fn a_damaged_payload_is_an_error_or_a_message(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..5),
    ) {
        let (ident, mut payload) = which.get(&FRAMES).clone();
        edits.iter().for_each(|edit| apply(&mut payload, edit));
        decode_and_check(ident, &payload);
    }

    #[test]
    fn any_bytes_are_an_error_or_a_message(
        ident in 0..64_u64,
        payload in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..200),
    ) {
        decode_and_check(ident, &payload);
    }

    #[test]
    fn a_damaged_stream_ends_in_an_error_or_waits_for_more(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..4),
        step in 1..600_usize,
    ) {
        let mut stream = which.get(&STREAMS).clone();
        edits.iter().for_each(|edit| apply(&mut stream, edit));
        let mut reader = FrameReader::with_limit(1 << 20);
        'stream: for piece in stream.chunks(step) {
            reader.extend(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => decode_and_check(frame.ident, frame.payload),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written(
        cells in prop::collection::vec(
            (prop::sample::select(vec!["a", " ", "漢", "é", "e\u{301}", "👨\u{200d}👩", "🇩🇪", "⚠\u{fe0f}"]), 0..4_u8),
            0..80,
        ),
        index in any::<i64>(),
        seqno in any::<u64>(),
        wrapped in any::<bool>(),
    ) {
        let cells: Vec<_> = cells.into_iter().map(|(text, look)| cell(text, look)).collect();
        let wrapped = wrapped && !cells.is_empty();
        let row = Row::from_cells(index, seqno, wrapped, cells.iter().copied());
        prop_assert_eq!(&row.text, &cells.iter().map(|cell| cell.text).collect::<String>());
        let sent = Pdu::GetLinesResponse { pane_id: 1, rows: vec![row] };
        let (ident, payload) = sent.encode(Codec::V44);
        prop_assert_eq!(Pdu::decode(ident, &payload, Codec::V44), Ok(sent));
    }
}

fn cell(text: &str, look: u8) -> wa_mux::codec::Cell<'_> {
    let (style, zone) = match look {
        0 => (Style::default(), Zone::Output),
        1 => (Style { bold: true, reverse: true, fg: Color::Palette(9), ..Style::default() }, Zone::Prompt),
        2 => (
            Style { dim: true, underline: true, bg: Color::Rgb(1, 128, 255), ..Style::default() },
            Zone::Input,
        ),
        _ => (Style { italic: true, strike: true, invisible: true, ..Style::default() }, Zone::Output),
    };
    wa_mux::codec::Cell { text, style, zone }
}

#[test]
fn hostile_lengths_are_refused_without_memory_for_them() {
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x40]; // 2^41
    let before = peak_kib();
    for (ident, _) in FRAMES.iter() {
        for lead in [&[][..], &[3], &[3, 1], &[1, 0, 0], &[0, 0, 0, 1]] {
            let payload = [lead, &huge, &[0; 16]].concat();
            decode_and_check(*ident, &payload);
        }
    }
    assert!(peak_kib() - before < 4 << 20, "more than 4 GiB of address space for a few bytes");

    let mut reader = FrameReader::with_limit(1 << 20);
    reader.extend(&huge);
    assert_eq!(reader.next_frame(), Err(FrameError::TooLarge { length: 1 << 41, limit: 1 << 20 }));
}

/// Peak size of this process's address space; 0 where it cannot be asked.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_payload_that_inflates_too_far_is_refused() {
    let mut stream = Vec::new();
    FrameWriter::new().unwrap().put(&mut stream, 1, 13, &vec![b'x'; 3 << 20]);
    assert!(stream.len() < 4096);
    let mut reader = FrameReader::with_limit(1 << 20);
    reader.extend(&stream);
    assert_eq!(reader.next_frame(), Err(FrameError::InflatesTooFar { limit: 1 << 20 }));

    let mut reader = FrameReader::default();
    reader.extend(&stream);
    assert_eq!(reader.next_frame().unwrap().unwrap().payload.len(), 3 << 20);
}

#[test]
fn numbers_are_read_to_their_ends_and_no_further() {
    for length in [9, 10, 11] {
        let mut reader = FrameReader::default();
        reader.extend(&vec![0xff; length]);
        let got = reader.next_frame();
        if length < 10 { assert_eq!(got, Ok(None)) } else { assert_eq!(got, Err(FrameError::BadHeader)) }
    }
    // A frame whose length ends within its own serial.
    let mut reader = FrameReader::default();
    reader.extend(&[1, 0x80, 0x80, 0x80]);
    assert_eq!(reader.next_frame(), Err(FrameError::TooShort));

    for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN, 1 << 62] {
        let sent = Pdu::GetLines { pane_id: u64::MAX, lines: vec![value..value, 0..value] };
        let (ident, payload) = sent.encode(Codec::V44);
        assert_eq!(Pdu::decode(ident, &payload, Codec::V44), Ok(sent));
    }
}

#[test]
fn a_bottomless_pane_tree_is_refused() {
    // One tab; a split in a split in a split.
    let payload: Vec<u8> = [1_u8].into_iter().chain(std::iter::repeat_n(1, 100_000)).collect();
    let error = Pdu::decode(4, &payload, Codec::V44).unwrap_err();
    assert_eq!(error.problem, Problem::TooDeep);
}

#[test]
fn bytes_left_over_are_an_error_with_their_place() {
    let (ident, mut payload) = Pdu::KillPane { pane_id: 300 }.encode(Codec::V44);
    payload.push(0);
    let error = Pdu::decode(ident, &payload, Codec::V44).unwrap_err();
    assert_eq!((error.what, error.offset, error.problem), ("KillPane", 2, Problem::LeftOver(1)));
}

#[test]
fn an_error_names_the_innermost_field() {
    let (ident, payload) = Pdu::ListPanesResponse {
        tabs: vec![],
        tab_titles: vec!["title".to_owned()],
        window_titles: Default::default(),
    }
    .encode(Codec::V44);
    let error = Pdu::decode(ident, &payload[..4], Codec::V44).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ListPanesResponse.tab_titles at byte 3 of the payload: a length of 5 with fewer bytes left"
    );
}

#[test]
fn control_characters_never_reach_the_text() {
    // Cells as a careless server would send them: escape, newline, a C1 control, a blank inside a cluster.
    let row = Row::from_cells(
        0,
        0,
        false,
        ["\u{1b}", "\n", "\u{9b}", "a\u{7}", "z"].map(wa_mux::codec::Cell::plain),
    );
    assert_eq!(row.text, "   a z");
    // And on the wire: the same row with its first blank turned into an escape.
    let (ident, mut payload) =
        Pdu::GetLinesResponse { pane_id: 0, rows: vec![Row::plain(0, " ok")] }.encode(Codec::V44);
    let blank = payload.windows(2).position(|pair| pair == [1, b' ']).unwrap();
    payload[blank + 1] = 0x1b;
    let Ok(Pdu::GetLinesResponse { rows, .. }) = Pdu::decode(ident, &payload, Codec::V44) else { panic!() };
    assert_eq!(rows[0].text, " ok");
}

#[test]
fn fillers_styles_and_columns_of_wide_text() {
    let style = Style { bold: true, ..Style::default() };
    let bold = |text| wa_mux::codec::Cell { text, style, zone: Zone::Output };
    let plain = wa_mux::codec::Cell::plain;
    // The blank behind a wide cell's filler is text and must stay.
    let row = Row::from_cells(5, 1, true, [plain("a"), bold("漢"), plain(" "), bold("é"), bold("🇩🇪")]);
    assert_eq!(row.text, "a漢 é🇩🇪");
    assert_eq!(row.cells, 7);
    let run = |start, end| Run { start, end, style, zone: Zone::Output };
    assert_eq!(row.runs, [run(1, 4), run(5, row.text.len() as u32)]);
    let (ident, payload) = Pdu::GetLinesResponse { pane_id: 0, rows: vec![row.clone()] }.encode(Codec::V42);
    assert_eq!(
        Pdu::decode(ident, &payload, Codec::V42),
        Ok(Pdu::GetLinesResponse { pane_id: 0, rows: vec![row] })
    );
}

#[test]
fn requests_of_42_have_its_shape() {
    let introduction = wa_mux::codec::Introduction {
        client_id: wa_mux::codec::ClientId {
            hostname: "h".into(),
            username: "u".into(),
            pid: 1,
            epoch: 2,
            id: 3,
            ssh_auth_sock: Some("sock".into()),
        },
        is_proxy: false,
    };
    let pdu = Pdu::SetClientId { introduction };
    assert_eq!(pdu.encode(Codec::V42).1, [1, b'h', 1, b'u', 1, 2, 3]);
    assert_eq!(pdu.encode(Codec::V43).1, [1, b'h', 1, b'u', 1, 2, 3, 1, 4, b's', b'o', b'c', b'k', 0]);
    let mut frame = Vec::new();
    put_frame(&mut frame, 0x40, 1, &[]);
    assert_eq!(frame, [2, 0x40, 1]);
}
