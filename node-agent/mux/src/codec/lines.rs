//! Lines of a pane: cells on the wire, rows of text with styles here.
//!
//! The wire sends every line as a list of cells, each with its own attributes; six bytes for a plain character, some
//! thirty for one in true colour. This is nearly all that a connection carries, so it is decoded in one pass into the
//! text and the style runs, without a cell in between.
//!
//! Decisions:
//! - After a double-width character the server sends a blank cell to fill the second column. It is dropped from the
//!   text and put back when a row is written. The wire does not say which cells are wide; the width follows from the
//!   text, see [`cell_width`].
//! - A cell may hold several characters (an accent, a joined emoji). Where that is so the row remembers it, so that
//!   columns can be counted and the row written again.
//! - The wrap hint is bit 11 of the last cell's attributes (or, where that cell only fills, of the wide one before).
//! - Control characters never get into the text, whatever the server sent.
//! - Blinking, overlines, kinds of underline, links and images are read and dropped.
//! - A server sends at most a viewport of rows unasked and what we asked for otherwise; more than [`MAX_ROWS`] is
//!   refused, for an empty row is six bytes on the wire and a hundred in memory.

use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use super::wire::{DecodeError, Problem, Reader, Wire, Writer};

/// Rows in one message.
const MAX_ROWS: u64 = 1 << 16;
/// The fewest bytes of a cell: text length, attributes, two colours, no extras (an empty text is tolerated).
const MIN_CELL: usize = 5;

/// A colour of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    #[default]
    Default,
    /// 256-colour palette.
    Palette(u8),
    Rgb(u8, u8, u8),
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    pub bold: bool,
    pub dim: bool,
    pub italic: bool,
    /// Of any kind.
    pub underline: bool,
    pub reverse: bool,
    pub invisible: bool,
    pub strike: bool,
    pub fg: Color,
    pub bg: Color,
}

/// What a shell said that a cell is, by its prompt marks (OSC 133).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    #[default]
    Output,
    Input,
    Prompt,
}

/// A piece of a row whose style or zone is not the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Bytes of the row's text, end exclusive.
    pub start: u32,
    pub end: u32,
    pub style: Style,
    pub zone: Zone,
}

/// One line of a pane. Rows may be shorter than the pane is wide, or padded with blanks that a program wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// Stable row number.
    pub index: i64,
    /// Trailing blanks as sent; no control characters.
    pub text: String,
    /// In order, not overlapping; what none covers is in the default style.
    pub runs: Vec<Run>,
    /// The next row continues this one. A hint: some wraps are not marked.
    pub wrapped: bool,
    /// Columns taken, one more than the pane has when a wide character stands in the last one.
    pub cells: u32,
    /// The change of the pane that touched this row last.
    pub seqno: u64,
    /// Bytes of the cells that hold more than one character.
    clusters: Vec<Range<u32>>,
}

/// One cell to make a [`Row`] from. The blank behind a wide one is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    /// One grapheme; empty is a blank.
    pub text: &'a str,
    pub style: Style,
    pub zone: Zone,
}

impl<'a> Cell<'a> {
    /// A cell in the default style.
    pub fn plain(text: &'a str) -> Self {
        Self { text, style: Style::default(), zone: Zone::default() }
    }
}

/// Columns that the server gives to a grapheme: the sum of its characters, at most two. A variation selector does not
/// widen, ambiguous characters are narrow, a flag (two letters of width one) is wide.
pub fn cell_width(text: &str) -> u32 {
    if text.len() == 1 {
        return 1;
    }
    let sum: usize = text.chars().map(|c| c.width().unwrap_or(0)).sum();
    if sum >= 2 { 2 } else { 1 }
}

impl Row {
    /// A row of these cells; the columns behind wide ones are added.
    pub fn from_cells<'a>(
        index: i64,
        seqno: u64,
        wrapped: bool,
        cells: impl IntoIterator<Item = Cell<'a>>,
    ) -> Self {
        let mut builder = RowBuilder::default();
        for cell in cells {
            builder.look(cell.style, cell.zone);
            builder.row.cells += builder.push_text(cell.text);
        }
        builder.finish(index, seqno, wrapped)
    }

    /// A row of unstyled text, one cell per character.
    pub fn plain(index: i64, text: &str) -> Self {
        let mut buffer = [0; 4];
        let mut builder = RowBuilder::default();
        for c in text.chars() {
            builder.row.cells += builder.push_text(c.encode_utf8(&mut buffer));
        }
        builder.finish(index, 0, false)
    }

    /// Its cells in order, as byte ranges of the text with the columns they take.
    pub fn cell_ranges(&self) -> impl Iterator<Item = (Range<usize>, u32)> + '_ {
        let mut clusters = self.clusters.iter().peekable();
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            let c = self.text.get(at..)?.chars().next()?;
            let start = at;
            at = match clusters.next_if(|cluster| cluster.start as usize == start) {
                Some(cluster) => cluster.end as usize,
                None => start + c.len_utf8(),
            };
            Some((start..at, cell_width(&self.text[start..at])))
        })
    }
}

#[derive(Default)]
struct RowBuilder {
    row: Row,
    style: Style,
    zone: Zone,
    /// Where the current look began.
    since: u32,
}

impl RowBuilder {
    fn at(&self) -> u32 {
        // A payload is far below 4 GiB.
        self.row.text.len() as u32
    }

    /// Text from here on looks like this.
    fn look(&mut self, style: Style, zone: Zone) {
        if (style, zone) != (self.style, self.zone) {
            self.close_run();
            (self.style, self.zone) = (style, zone);
        }
    }

    fn close_run(&mut self) {
        let (start, end) = (self.since, self.at());
        if start < end && (self.style, self.zone) != (Style::default(), Zone::default()) {
            self.row.runs.push(Run { start, end, style: self.style, zone: self.zone });
        }
        self.since = end;
    }

    /// Adds the text of one cell and says how many columns it takes.
    fn push_text(&mut self, text: &str) -> u32 {
        let start = self.at();
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => self.row.text.push(' '),
            (Some(c), None) if c.is_control() => self.row.text.push(' '),
            (Some(c), None) => {
                self.row.text.push(c);
                return cell_width(text);
            }
            (Some(_), Some(_)) => {
                self.row.text.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
                self.row.clusters.push(start..self.at());
                return cell_width(&self.row.text[start as usize..]);
            }
        }
        1
    }

    fn finish(mut self, index: i64, seqno: u64, wrapped: bool) -> Row {
        self.close_run();
        Row { index, seqno, wrapped, ..self.row }
    }
}

/// Attribute bits.
mod bits {
    pub(super) const BOLD: u32 = 1;
    pub(super) const DIM: u32 = 2;
    pub(super) const INTENSITY: u32 = 0b11;
    pub(super) const UNDERLINE: u32 = 0b111 << 2;
    pub(super) const SINGLE_UNDERLINE: u32 = 1 << 2;
    pub(super) const ITALIC: u32 = 1 << 7;
    pub(super) const REVERSE: u32 = 1 << 8;
    pub(super) const STRIKE: u32 = 1 << 9;
    pub(super) const INVISIBLE: u32 = 1 << 10;
    pub(super) const WRAPPED: u32 = 1 << 11;
    pub(super) const ZONE_SHIFT: u32 = 13;
}

#[derive(Clone, Copy)]
struct Attributes {
    style: Style,
    zone: Zone,
    wrapped: bool,
}

fn read_attributes(reader: &mut Reader<'_>) -> Result<Attributes, DecodeError> {
    let word: u32 = reader.field("Cell.attributes")?;
    let mut fg = read_small_color(reader)?;
    let mut bg = read_small_color(reader)?;
    if reader.field::<bool>("Cell.extras")? {
        if reader.field::<bool>("Cell.hyperlink")? {
            skip_hyperlink(reader)?;
        }
        // Images are taken out of the cells and sent behind the rows.
        reader.count(MIN_IMAGE, 0)?;
        let _underline = read_color(reader)?;
        let (large_fg, large_bg) = (read_color(reader)?, read_color(reader)?);
        if large_fg != Color::Default {
            fg = large_fg;
        }
        if large_bg != Color::Default {
            bg = large_bg;
        }
    }
    let style = Style {
        bold: word & bits::INTENSITY == bits::BOLD,
        dim: word & bits::INTENSITY == bits::DIM,
        italic: word & bits::ITALIC != 0,
        underline: word & bits::UNDERLINE != 0,
        reverse: word & bits::REVERSE != 0,
        invisible: word & bits::INVISIBLE != 0,
        strike: word & bits::STRIKE != 0,
        fg,
        bg,
    };
    let zone = match word >> bits::ZONE_SHIFT & 0b11 {
        1 => Zone::Input,
        2 => Zone::Prompt,
        _ => Zone::Output,
    };
    Ok(Attributes { style, zone, wrapped: word & bits::WRAPPED != 0 })
}

fn read_small_color(reader: &mut Reader<'_>) -> Result<Color, DecodeError> {
    match reader.unsigned()? {
        0 => Ok(Color::Default),
        1 => reader.byte().map(Color::Palette),
        other => Err(reader.error(Problem::UnknownVariant(other))),
    }
}

fn read_color(reader: &mut Reader<'_>) -> Result<Color, DecodeError> {
    let rgb = |[red, green, blue, _]: [f32; 4]| {
        let byte = |part: f32| (part.clamp(0.0, 1.0) * 255.0).round() as u8;
        Color::Rgb(byte(red), byte(green), byte(blue))
    };
    match reader.unsigned()? {
        0 => {
            let color = rgb(reader.field("Color.rgb")?);
            let _fallback = reader.byte()?;
            Ok(color)
        }
        1 => Ok(rgb(reader.field("Color.rgb")?)),
        2 => reader.byte().map(Color::Palette),
        3 => Ok(Color::Default),
        other => Err(reader.error(Problem::UnknownVariant(other))),
    }
}

fn write_attributes(style: &Style, zone: Zone, wrapped: bool, writer: &mut Writer) {
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    let intensity = if style.dim { bits::DIM } else { flag(style.bold, bits::BOLD) };
    let word = intensity
        | flag(style.underline, bits::SINGLE_UNDERLINE)
        | flag(style.italic, bits::ITALIC)
        | flag(style.reverse, bits::REVERSE)
        | flag(style.strike, bits::STRIKE)
        | flag(style.invisible, bits::INVISIBLE)
        | flag(wrapped, bits::WRAPPED)
        | (zone as u32) << bits::ZONE_SHIFT;
    writer.unsigned(u64::from(word));
    for color in [style.fg, style.bg] {
        match color {
            Color::Palette(index) => writer.bytes.extend([1, index]),
            Color::Default | Color::Rgb(..) => writer.bytes.push(0),
        }
    }
    let is_rgb = |color| matches!(color, Color::Rgb(..));
    if !is_rgb(style.fg) && !is_rgb(style.bg) {
        writer.bytes.push(0);
        return;
    }
    // Extras: no hyperlink, no image, the default underline colour, then the two large colours.
    writer.bytes.extend([1, 0, 0, 3]);
    for color in [style.fg, style.bg] {
        match color {
            Color::Rgb(red, green, blue) => {
                writer.bytes.push(1);
                for part in [red, green, blue, 255] {
                    (f32::from(part) / 255.0).write(writer);
                }
            }
            Color::Default | Color::Palette(_) => writer.bytes.push(3),
        }
    }
}

impl Wire for Row {
    /// Row number, storage kind, cell count, zones, seqno, bits.
    const MIN_SIZE: usize = 6;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let index = reader.field("Row.index")?;
        let (builder, wrapped) = match reader.unsigned()? {
            0 => read_cells(reader)?,
            1 => read_clustered(reader)?,
            other => return Err(reader.error(Problem::UnknownVariant(other))),
        };
        // Semantic zones: a kind and a range of columns each; normally none.
        for _ in 0..reader.count(3, u64::MAX)? {
            let _kind = reader.unsigned()?;
            let _columns: Range<u16> = reader.field("Row.zones")?;
        }
        let seqno = reader.field("Row.seqno")?;
        let _bits: u16 = reader.field("Row.bits")?;
        Ok(builder.finish(index, seqno, wrapped))
    }

    fn write(&self, writer: &mut Writer) {
        self.index.write(writer);
        writer.unsigned(0);
        self.write_cells(writer);
        writer.unsigned(0);
        writer.unsigned(self.seqno);
        writer.unsigned(0);
    }

    /// Rows never stand alone: behind the list come the links and the images of all its rows.
    fn read_list(reader: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let count = reader.count(Self::MIN_SIZE, MAX_ROWS)?;
        let mut rows = Vec::new();
        for _ in 0..count {
            rows.push(Self::read(reader)?);
        }
        for _ in 0..reader.count(4, u64::MAX)? {
            skip_hyperlink(reader)?;
            for _ in 0..reader.count(3, u64::MAX)? {
                let _line = reader.unsigned()?;
                let _columns: Range<u64> = reader.field("Hyperlink.columns")?;
            }
        }
        for _ in 0..reader.count(MIN_IMAGE, u64::MAX)? {
            let _cell: (i64, u64) = (reader.signed()?, reader.unsigned()?);
            skip_image_body(reader)?;
        }
        Ok(rows)
    }

    fn write_list(items: &[Self], writer: &mut Writer) {
        writer.unsigned(items.len() as u64);
        for item in items {
            item.write(writer);
        }
        // No links, no images.
        writer.bytes.extend([0, 0]);
    }
}

impl Row {
    fn write_cells(&self, writer: &mut Writer) {
        writer.unsigned(self.cell_ranges().map(|(_, width)| u64::from(width)).sum());
        let mut runs = self.runs.iter().peekable();
        for (range, width) in self.cell_ranges() {
            while runs.next_if(|run| run.end as usize <= range.start).is_some() {}
            let (style, zone) = match runs.peek() {
                Some(run) if run.start as usize <= range.start => (run.style, run.zone),
                _ => Default::default(),
            };
            let wrapped = self.wrapped && range.end == self.text.len();
            writer.string(&self.text[range]);
            write_attributes(&style, zone, wrapped, writer);
            if width == 2 {
                writer.string(" ");
                write_attributes(&style, zone, wrapped, writer);
            }
        }
    }
}

/// The common form: every cell with its text and attributes. Says beside the row whether it wraps.
fn read_cells(reader: &mut Reader<'_>) -> Result<(RowBuilder, bool), DecodeError> {
    let count = reader.count(MIN_CELL, u64::MAX)?;
    let mut builder = RowBuilder::default();
    builder.row.text.reserve(count);
    let mut attributes = Attributes { style: Style::default(), zone: Zone::default(), wrapped: false };
    // The attributes of the cell before as bytes: no encoding is the beginning of another, so equal bytes mean equal
    // attributes, and in most rows most cells repeat.
    let mut before: &[u8] = &[0, 0, 0, 0];
    let mut filler = false;
    let mut wrapped = false;
    for _ in 0..count {
        let length = reader.length()?;
        let text = reader.take(length)?;
        if reader.rest().starts_with(before) {
            reader.take(before.len())?;
        } else {
            let start = reader.offset();
            attributes = read_attributes(reader)?;
            before = reader.since(start);
        }
        if filler && text == b" " {
            filler = false;
            wrapped |= attributes.wrapped;
            continue;
        }
        wrapped = attributes.wrapped;
        builder.look(attributes.style, attributes.zone);
        filler = match text {
            [byte @ 0x20..0x7f] => {
                builder.row.text.push(char::from(*byte));
                builder.row.cells += 1;
                false
            }
            _ => {
                let text = std::str::from_utf8(text).map_err(|_| reader.error(Problem::NotUtf8))?;
                let width = builder.push_text(text);
                builder.row.cells += width;
                width == 2
            }
        };
    }
    Ok((builder, wrapped))
}

/// The packed form that servers keep in memory and do not send: text, which columns are wide, styles by columns.
fn read_clustered(reader: &mut Reader<'_>) -> Result<(RowBuilder, bool), DecodeError> {
    let text = reader.string()?;
    for _ in 0..reader.count(1, u64::MAX)? {
        let _wide = reader.unsigned()?;
    }
    let mut builder = RowBuilder::default();
    let mut wrapped = false;
    let mut rest = text;
    let count = reader.count(5, u64::MAX)?;
    for _ in 0..count {
        let columns: u16 = reader.field("Row.cluster")?;
        let attributes = read_attributes(reader)?;
        builder.look(attributes.style, attributes.zone);
        wrapped = attributes.wrapped;
        let mut left = u32::from(columns);
        while left > 0 && !rest.is_empty() {
            let (grapheme, after) = rest.split_at(grapheme_length(rest));
            let width = builder.push_text(grapheme);
            builder.row.cells += width;
            left = left.saturating_sub(width);
            rest = after;
        }
    }
    let _length = reader.unsigned()?;
    let _last_width: Option<u8> = reader.field("Row.last_cell_width")?;
    Ok((builder, wrapped))
}

/// Roughly one grapheme: a character and what has no width of its own or is joined to it.
fn grapheme_length(text: &str) -> usize {
    const JOINER: char = '\u{200d}';
    let mut joined = true;
    for (at, c) in text.char_indices() {
        if !joined && c.width() != Some(0) {
            return at;
        }
        joined = c == JOINER;
    }
    text.len()
}

/// Two corners, a hash, a depth, four paddings, two options.
const MIN_IMAGE: usize = 16 + 32 + 7;

fn skip_hyperlink(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    for _ in 0..reader.count(2, u64::MAX)? {
        let (_name, _value) = (reader.string()?, reader.string()?);
    }
    let _uri = reader.string()?;
    let _implicit: bool = reader.field("Hyperlink.implicit")?;
    Ok(())
}

fn skip_image_body(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    reader.take(16 + 32)?;
    let _depth: i32 = reader.field("Image.z_index")?;
    for _ in 0..4 {
        let _padding: u16 = reader.field("Image.padding")?;
    }
    let _image: Option<u32> = reader.field("Image.image_id")?;
    let _placement: Option<u32> = reader.field("Image.placement_id")?;
    Ok(())
}
