//! A frame: what a person sees in a pane at one moment, as rows of text with style runs.
//!
//! Frames are what the matcher looks at and what a guard reads before it types. `wa-screen` makes them from the rows of
//! the multiplexer. Styles matter: a placeholder is dim or grey, a draft is not; a cursor may be a reversed blank.

/// One screenful.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// Width in cells.
    pub cols: u32,
    /// Top to bottom: as many as the viewport has.
    pub rows: Vec<FrameRow>,
    /// Stable index of `rows[0]`; on the alternate screen it means nothing.
    pub first_row: i64,
    pub cursor: Cursor,
    /// The alternate screen is (as far as can be inferred) on.
    pub alternate: bool,
}

/// Where the cursor stands, relative to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Index into [`Frame::rows`]; may lie outside when the server says so.
    pub row: i64,
    /// Column in cells from 0.
    pub col: u32,
    pub visible: bool,
}

/// One row. Trailing blanks in the default style are cut; styled ones stay, for a reversed blank is a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameRow {
    pub text: String,
    /// The next row continues this one (a hint: some wraps are not marked).
    pub wrapped: bool,
    /// Styles other than the default, by byte range of `text`, in order, not overlapping.
    pub runs: Vec<StyleRun>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StyleRun {
    /// Bytes of the row's text, end exclusive.
    pub start: u32,
    pub end: u32,
    pub style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    pub bold: bool,
    pub dim: bool,
    pub italic: bool,
    pub underline: bool,
    pub reverse: bool,
    pub invisible: bool,
    pub strike: bool,
    pub fg: Color,
    pub bg: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    #[default]
    Default,
    /// 256-colour palette.
    Palette(u8),
    Rgb(u8, u8, u8),
}

impl FrameRow {
    /// A row of unstyled text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), wrapped: false, runs: Vec::new() }
    }

    /// The style of the character that begins at this byte.
    pub fn style_at(&self, byte: usize) -> Style {
        self.runs
            .iter()
            .find(|run| (run.start as usize..run.end as usize).contains(&byte))
            .map_or_else(Style::default, |run| run.style)
    }
}

impl Frame {
    /// An unstyled frame of these rows: what a saved text file gives.
    pub fn from_text(cols: u32, text: &str) -> Self {
        let rows = text.lines().map(|line| FrameRow::plain(line.trim_end())).collect();
        Self { cols, rows, ..Self::default() }
    }
}
