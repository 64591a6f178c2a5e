//! Recorded screens for tests: text with SGR escapes, and a line of facts about the cursor.

use std::path::Path;

use wa_proto::{Color, Cursor, Frame, FrameRow, Style, StyleRun};

/// A frame from a recording `NAME.ansi`, with the cursor of `NAME.info` where there is one.
pub(crate) fn recorded(path: &Path) -> Frame {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let info = std::fs::read_to_string(path.with_extension("info")).unwrap_or_default();
    frame(&text, &info)
}

/// A frame of the recordings in `testdata`.
pub(crate) fn testdata(name: &str) -> Frame {
    recorded(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name))
}

/// The title noted beside a recording.
pub(crate) fn title(info: &str) -> &str {
    info.lines()
        .next()
        .and_then(|line| line.split_once("title="))
        .map_or("", |(_, rest)| rest.rsplit_once(" cmd=").map_or(rest, |(title, _)| title))
}

/// A frame from text with SGR escapes and a line `cur=2,26 vis=1 alt=1 …`.
pub(crate) fn frame(text: &str, info: &str) -> Frame {
    let mut style = Style::default();
    let rows: Vec<FrameRow> = text.lines().map(|line| row(line, &mut style)).collect();
    let value =
        |key: &str| info.split_whitespace().find_map(|word| word.strip_prefix(key).map(str::to_owned));
    let cursor = value("cur=").and_then(|at| {
        let (col, row) = at.split_once(',')?;
        Some(Cursor {
            row: row.parse().ok()?,
            col: col.parse().ok()?,
            visible: value("vis=").as_deref() == Some("1"),
        })
    });
    let cols = rows.iter().map(|row| row.text.chars().count()).max().unwrap_or(0);
    Frame {
        cols: u32::try_from(cols.max(80)).unwrap(),
        rows,
        cursor: cursor.unwrap_or_default(),
        alternate: value("alt=").as_deref() == Some("1"),
        ..Frame::default()
    }
}

fn row(line: &str, style: &mut Style) -> FrameRow {
    let mut row = FrameRow::default();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\u{1b}[") {
            let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(sequence.len() - 1);
            if sequence[end..].starts_with('m') {
                sgr(&sequence[..end], style);
            }
            rest = &sequence[end + 1..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c.is_control() {
            continue;
        }
        let start = u32::try_from(row.text.len()).unwrap();
        row.text.push(c);
        let end = u32::try_from(row.text.len()).unwrap();
        match row.runs.last_mut() {
            Some(run) if run.end == start && run.style == *style => run.end = end,
            _ if *style == Style::default() => {}
            _ => row.runs.push(StyleRun { start, end, style: *style }),
        }
    }
    row
}

fn sgr(parameters: &str, style: &mut Style) {
    let mut numbers = parameters.split(';').map(|n| n.parse::<u16>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            0 => *style = Style::default(),
            1 => style.bold = true,
            2 => style.dim = true,
            3 => style.italic = true,
            4 => style.underline = true,
            7 => style.reverse = true,
            22 => (style.bold, style.dim) = (false, false),
            27 => style.reverse = false,
            30..=37 => style.fg = Color::Palette(u8::try_from(number - 30).unwrap()),
            90..=97 => style.fg = Color::Palette(u8::try_from(number - 82).unwrap()),
            40..=47 => style.bg = Color::Palette(u8::try_from(number - 40).unwrap()),
            38 => style.fg = color(&mut numbers),
            48 => style.bg = color(&mut numbers),
            39 => style.fg = Color::Default,
            49 => style.bg = Color::Default,
            _ => {}
        }
    }
}

fn color(numbers: &mut impl Iterator<Item = u16>) -> Color {
    let mut byte = || u8::try_from(numbers.next().unwrap_or(0)).unwrap_or(0);
    match byte() {
        5 => Color::Palette(byte()),
        2 => {
            let (r, g, b) = (byte(), byte(), byte());
            Color::Rgb(r, g, b)
        }
        _ => Color::Default,
    }
}
