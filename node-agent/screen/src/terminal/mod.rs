//! A terminal model for byte streams: bytes in; rows by stable index, cursor, alerts and answers out.
//!
//! Constraints. It must show what the real multiplexer's terminal shows for the same bytes, with
//! the same row numbers; it must take any bytes; its memory is bounded by its size and scrollback;
//! and an idle one must cost nothing but memory.
//!
//! Use. [`Terminal::advance`] takes bytes in pieces of any length, cut anywhere. Then
//! [`Terminal::dimensions`], [`Terminal::rows`], [`Terminal::cursor`] and [`Terminal::title`] say what it
//! shows, [`Terminal::frame`] all of it at once; the returned [`Batch`] holds what the program said
//! beside its text. [`Terminal::changes`] and [`Terminal::lines`] are what a multiplexer's server
//! tells its clients of it.
//!
//! Format. The grid is `vt100`'s. Around it stand a byte stage before it (`stage`), its callbacks
//! (`watcher`), numbers per row (`ledger`), prompt marks (`marks`), the rules for a change
//! of size, which the grid does not have (`rewrap`, `paint`), and the server's manners (`wire`).
//!
//! Stable rows. The first row of the primary screen is 0. `trimmed` rows have left the grid's
//! scrollback, so row `trimmed` is the oldest that the grid holds, and the viewport begins at
//! `trimmed + scrollback length`. The grid holds `SLACK` rows more than are offered: the real
//! terminal drops rows only when it scrolls, never when the viewport shrinks. A change of size
//! builds a new grid from the rows, with the same first row. The alternate screen's rows are
//! 0 up to its height.

mod cells;
mod ledger;
mod marks;
mod paint;
mod rewrap;
mod stage;
mod watcher;
mod wire;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroU16;
use std::ops::Range;

pub use cells::{Cell, Row};
pub use wa_mux::codec::Progress;
pub use watcher::Notice;
pub use wire::{CELL_PIXELS, Facts, Told};

use ledger::{Fingerprint, Ledger, Viewport};
use paint::{Modes, Painter};
use rewrap::Rows;
use stage::{Piece, Stage};
use wa_mux::codec::CursorShape;
use wa_proto::Frame;
use watcher::Watcher;

use crate::grid::frame_row;

/// Rows that the grid holds beyond those that are offered.
const SLACK: usize = 256;
/// Sizes outside are brought inside: columns, rows.
const LEAST: (u16, u16) = (2, 1);
const MOST: (u16, u16) = (2000, 1000);

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl Size {
    /// The nearest size that a terminal can have.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self { cols: self.cols.clamp(LEAST.0, MOST.0), rows: self.rows.clamp(LEAST.1, MOST.1) }
    }
}

/// What the rows of the screen that is shown are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// Columns.
    pub cols: u16,
    /// Rows of the viewport.
    pub viewport_rows: u16,
    /// Rows that can be read, those of the viewport included.
    pub scrollback_rows: usize,
    /// First row of the viewport.
    pub physical_top: i64,
    /// First row that can be read.
    pub scrollback_top: i64,
}

impl Dimensions {
    /// The rows that can be read.
    pub fn retained(&self) -> Range<i64> {
        self.scrollback_top..self.physical_top + i64::from(self.viewport_rows)
    }
}

/// Where the cursor is and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Column.
    pub x: u16,
    /// Stable row.
    pub y: i64,
    /// Its look.
    pub shape: CursorShape,
    /// Whether it is shown.
    pub visible: bool,
}

/// What came of a batch of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Bytes that the program is owed in answer.
    pub replies: Vec<u8>,
    /// What it said beside its text.
    pub notices: Vec<Notice>,
    /// False when all bytes are held back for later.
    pub applied: bool,
}

/// See the head of the module.
pub struct Terminal {
    parser: vt100::Parser<Watcher>,
    stage: Stage,
    scrollback: usize,
    /// First row that is offered of the primary screen.
    top: i64,
    seqno: u64,
    ledger: Ledger,
    alternate_advances: bool,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("dimensions", &self.dimensions())
            .field("seqno", &self.seqno)
            .finish_non_exhaustive()
    }
}

fn grid(size: Size, capacity: usize, watcher: Watcher) -> vt100::Parser<Watcher> {
    // Clamped before; a bare 1 would do no harm.
    let at_least_one = |n| NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN);
    vt100::Parser::new_with_callbacks(at_least_one(size.rows), at_least_one(size.cols), capacity, watcher)
}

fn shape(style: vt100::CursorStyle) -> CursorShape {
    match style {
        vt100::CursorStyle::Default => CursorShape::Default,
        vt100::CursorStyle::BlinkBlock => CursorShape::BlinkingBlock,
        vt100::CursorStyle::SteadyBlock => CursorShape::SteadyBlock,
        vt100::CursorStyle::BlinkUnderline => CursorShape::BlinkingUnderline,
        vt100::CursorStyle::SteadyUnderline => CursorShape::SteadyUnderline,
        vt100::CursorStyle::BlinkVerticalBar => CursorShape::BlinkingBar,
        vt100::CursorStyle::SteadyVerticalBar => CursorShape::SteadyBar,
    }
}

fn index(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Terminal {
    /// An empty terminal that keeps `scrollback` rows above the viewport.
    pub fn new(size: Size, scrollback: usize) -> Self {
        let mut terminal = Self {
            parser: grid(size.clamped(), scrollback + SLACK, Watcher::default()),
            stage: Stage::default(),
            scrollback,
            top: 0,
            seqno: 0,
            ledger: Ledger::default(),
            alternate_advances: false,
        };
        terminal.renumber();
        terminal
    }

    /// As servers up to codec 42 have it: rows of the alternate screen count on when it scrolls.
    #[must_use]
    pub fn with_advancing_alternate(mut self) -> Self {
        self.alternate_advances = true;
        self
    }

    /// Takes what the program wrote.
    pub fn advance(&mut self, bytes: &[u8]) -> Batch {
        let pieces = self.stage.feed(bytes);
        let applied = !pieces.is_empty();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => self.parser.process(&bytes),
                Piece::Reset => self.reset(),
            }
        }
        if applied {
            self.settle();
        }
        let watcher = self.parser.callbacks_mut();
        Batch {
            replies: std::mem::take(&mut watcher.replies),
            notices: std::mem::take(&mut watcher.notices),
            applied,
        }
    }

    /// RIS: everything is forgotten but the row number that the viewport begins with.
    fn reset(&mut self) {
        self.parser.process(b"\x1b[?47l");
        let next = self.grid_top() + index(self.parser.screen().scrollback_len());
        self.parser.process(b"\x1bc");
        let watcher = self.parser.callbacks_mut();
        watcher.trimmed = next;
        watcher.marks.clear();
    }

    /// The oldest row that the grid holds of the primary screen.
    fn grid_top(&self) -> i64 {
        self.parser.callbacks().trimmed
    }

    /// Whether the alternate screen is shown.
    pub fn is_alternate(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    fn viewport_rows(&self) -> u16 {
        self.parser.screen().size().0.get()
    }

    fn viewport_top(&self) -> i64 {
        let screen = self.parser.screen();
        if !screen.alternate_screen() {
            self.grid_top() + index(screen.scrollback_len())
        } else if self.alternate_advances {
            self.parser.callbacks().alternate_scrolled
        } else {
            0
        }
    }

    /// What the rows of the screen that is shown are.
    pub fn dimensions(&self) -> Dimensions {
        let (rows, cols) = self.parser.screen().size();
        let physical_top = self.viewport_top();
        let scrollback_top = if self.is_alternate() { physical_top } else { self.top };
        let above = usize::try_from(physical_top - scrollback_top).unwrap_or(0);
        Dimensions {
            cols: cols.get(),
            viewport_rows: rows.get(),
            scrollback_rows: above + usize::from(rows.get()),
            physical_top,
            scrollback_top,
        }
    }

    /// Where the cursor is. Behind the last column it is shown in it.
    pub fn cursor(&self) -> Cursor {
        let screen = self.parser.screen();
        let (row, col) = screen.cursor_position();
        Cursor {
            x: col.min(screen.size().1.get() - 1),
            y: self.viewport_top() + i64::from(row),
            shape: shape(screen.cursor_style()),
            visible: !screen.hide_cursor(),
        }
    }

    /// Counts the batches and changes of size that had an effect.
    pub fn seqno(&self) -> u64 {
        self.seqno
    }

    /// The title that the program set.
    pub fn title(&self) -> Option<&str> {
        self.parser.callbacks().title.as_deref()
    }

    /// The URL that the program set with OSC 7.
    pub fn working_dir(&self) -> Option<&str> {
        self.parser.callbacks().working_dir.as_deref()
    }

    /// Whether pastes are to be put between markers.
    pub fn bracketed_paste(&self) -> bool {
        self.parser.screen().bracketed_paste()
    }

    /// Whether cursor keys are in application mode.
    pub fn application_cursor(&self) -> bool {
        self.parser.screen().application_cursor()
    }

    /// Whether the program wants the mouse.
    pub fn mouse_grabbed(&self) -> bool {
        self.parser.screen().mouse_protocol_mode() != vt100::MouseProtocolMode::None
    }

    /// Rows of the screen that is shown which changed after batch `seqno`, as ranges.
    pub fn changed_since(&self, seqno: u64) -> Vec<Range<i64>> {
        self.ledger.above(seqno)
    }

    /// What a person sees of it now.
    pub fn frame(&mut self) -> Frame {
        let dims = self.dimensions();
        let cursor = self.cursor();
        let rows = self.rows(dims.physical_top..dims.retained().end);
        Frame {
            cols: dims.cols.into(),
            rows: rows.iter().map(|row| frame_row(row.to_wire())).collect(),
            first_row: dims.physical_top,
            cursor: wa_proto::Cursor {
                row: cursor.y - dims.physical_top,
                col: cursor.x.into(),
                visible: cursor.visible,
            },
            alternate: self.is_alternate(),
        }
    }

    /// The rows of `range` that there are.
    pub fn rows(&mut self, range: Range<i64>) -> Vec<Row> {
        let mut rows = Vec::new();
        self.visit(range, |screen, visible, count, first| {
            for (at, visible) in (first..).zip(visible..visible + count) {
                let mut row = Row::read(screen, visible);
                row.index = at;
                rows.push(row);
            }
        });
        let marks = (!self.is_alternate()).then_some(&self.parser.callbacks().marks);
        for row in &mut rows {
            row.seqno = self.ledger.number(row.index);
            if let Some(marks) = marks {
                marks.apply(row);
            }
        }
        rows
    }

    /// Shows the grid at the rows of `range`, piece by piece: with the first visible row that
    /// counts, how many do, and the stable index of the first.
    fn visit(&mut self, range: Range<i64>, mut each: impl FnMut(&vt100::Screen, u16, u16, i64)) {
        let retained = self.dimensions().retained();
        let viewport = self.viewport_top();
        let height = self.viewport_rows();
        let end = range.end.min(retained.end);
        let mut at = range.start.max(retained.start);
        while at < end {
            let above = usize::try_from(viewport - at).unwrap_or(0);
            self.parser.screen_mut().set_scrollback(above);
            let visible = u16::try_from(at - viewport).unwrap_or(0);
            let count = u16::try_from(end - at).unwrap_or(height).min(height - visible);
            each(self.parser.screen(), visible, count, at);
            at += i64::from(count);
        }
        self.parser.screen_mut().set_scrollback(0);
    }

    fn fingerprints(&mut self, range: Range<i64>) -> Vec<Fingerprint> {
        let mut out = Vec::new();
        self.visit(range, |screen, visible, count, _| {
            let cols = screen.size().1.get();
            let rows = screen.rows_formatted(0, cols).enumerate();
            for (at, row) in rows.skip(usize::from(visible)).take(usize::from(count)) {
                let mut hasher = DefaultHasher::new();
                row.hash(&mut hasher);
                screen.row_wrapped(u16::try_from(at).unwrap_or(0)).hash(&mut hasher);
                out.push(hasher.finish());
            }
        });
        out
    }

    fn viewport(&mut self) -> Viewport {
        let top = self.viewport_top();
        let prints = self.fingerprints(top..top + i64::from(self.viewport_rows()));
        Viewport { top, prints }
    }

    /// After a batch: drops what no longer counts as scrollback and numbers the rows.
    fn settle(&mut self) {
        self.seqno += 1;
        if self.is_alternate() {
            let viewport = self.viewport();
            self.ledger.alternate(viewport, self.seqno);
            return;
        }
        let top = self.viewport_top();
        if top > self.ledger.primary_top() {
            self.top = self.top.max(top - index(self.scrollback));
        }
        self.top = self.top.max(self.grid_top());
        let off = self.ledger.scrolled_off(self.top, top);
        let above = self.fingerprints(off);
        let viewport = self.viewport();
        self.ledger.primary(self.top, viewport, &above, self.seqno);
    }

    /// All rows are new.
    fn renumber(&mut self) {
        self.seqno += 1;
        let alternate = self.is_alternate().then(|| {
            let viewport = self.viewport();
            self.parser.process(b"\x1b[?47l");
            viewport
        });
        let viewport = self.viewport();
        self.ledger.restart(self.top, viewport, self.seqno);
        if let Some(viewport) = alternate {
            self.parser.process(b"\x1b[?47h");
            self.ledger.alternate(viewport, self.seqno);
        }
    }

    /// Changes the size, by the rules of `rewrap`.
    pub fn resize(&mut self, size: Size) {
        let size = size.clamped();
        let (rows, cols) = self.parser.screen().size();
        let old = Size { cols: cols.get(), rows: rows.get() };
        if size == old {
            return;
        }
        let modes = Modes::of(self.parser.screen());
        let alternate = self.is_alternate().then(|| {
            let rows = self.rows(self.dimensions().retained());
            let cursor = self.parser.screen().cursor_position();
            self.parser.process(b"\x1b[?47l");
            (rows, cursor)
        });
        let (row, col) = self.parser.screen().cursor_position();
        let above = usize::try_from(self.viewport_top() - self.top).unwrap_or(0);
        let held = Rows {
            rows: self.rows(self.dimensions().retained()),
            cursor: (usize::from(col.min(old.cols - 1)), above + usize::from(row)),
        };
        self.parser.process(b"\x1b8");
        let saved = Modes::of(self.parser.screen());
        let saved_at = self.parser.screen().cursor_position();

        let [from, to, high] = [old.cols, size.cols, size.rows].map(usize::from);
        let held = held.resize(from, to, high, self.scrollback + high);
        let mut watcher = std::mem::take(self.parser.callbacks_mut());
        watcher.trimmed = self.top;
        if from != to {
            watcher.marks.clear();
        }
        self.parser = grid(size, self.scrollback.max(held.rows.len()) + SLACK, watcher);
        let mut painter = Painter::new(size);
        painter.primary(&held);
        let at = painter.locate(&held);
        // A program that left for the alternate screen finds its cursor where the text went.
        painter.cursor(if alternate.is_some() { at } else { saved_at });
        painter.bytes(saved.attributes.as_bytes());
        painter.bytes(b"\x1b7");
        painter.cursor(at);
        painter.behind_last_column(&held);
        if let Some((rows, cursor)) = alternate {
            painter.alternate(&rows, cursor);
        }
        painter.bytes(modes.attributes.as_bytes());
        painter.bytes(modes.input.as_bytes());
        painter.bytes(if modes.hidden { b"\x1b[?25l" } else { b"\x1b[?25h" });
        self.parser.process(&painter.out);
        self.renumber();
    }
}
