//! A pane of which only its screen is seen, from time to time.
//!
//! Constraints: there are no row numbers, so nothing can be counted: what went by between two looks is a gap of unknown
//! size, and whether anything did is a judgement by content. Nothing that was logged before is logged again, as far as
//! content tells.
//!
//! Operation: each look is shown to the screen as a push of an alternate screen, whose rows are aligned by content. It is
//! brought there by viewports that sink (no primary screen does that). When the server can be followed again, the
//! transcript goes on by content, like after a change of width.

use std::collections::VecDeque;

use wa_mux::cli::CliPane;
use wa_mux::codec::{CursorPosition, Dimensions, RenderChanges, Row};
use wa_proto::{Gap, GapCause};
use wa_screen::{Input, Options, PaneScreen, Position, Removal};

use super::Watched;
use crate::process::ProcessId;

/// First row of the sunken viewport: further below 0 than a viewport is high.
const SUNKEN: i64 = -4096;
/// Rows of a screen that are looked at.
const MAX_ROWS: u64 = 2048;

#[derive(Debug, Default)]
pub(super) struct Slow {
    last: Option<Look>,
    /// What stood on the screen when it was still followed, and is logged; top to bottom.
    logged: VecDeque<String>,
    /// Where logging stood on the primary screen when it was still followed.
    native_next: Option<i64>,
}

#[derive(Debug)]
struct Look {
    rows: Vec<String>,
    /// Row of the cursor; `rows.len()` when it is elsewhere.
    cursor: usize,
}

impl Slow {
    /// Whether a line stood on the screen, in this order, when the pane was still followed.
    pub(super) fn was_logged(&mut self, text: &str) -> bool {
        let found = if text.is_empty() {
            (!self.logged.is_empty()).then(|| usize::from(self.logged.front().is_some_and(String::is_empty)))
        } else {
            self.logged.iter().position(|logged| logged == text).map(|at| at + 1)
        };
        match found {
            Some(upto) => drop(self.logged.drain(..upto)),
            None => self.logged.clear(),
        }
        found.is_some()
    }
}

impl Watched {
    /// What the list of `wezterm cli` says of the pane.
    pub(in crate::observer) fn listed_slowly(&mut self, pane: &CliPane) {
        self.set_tty(pane.tty_name.as_ref());
        self.set_size(pane.size.cols, pane.size.rows);
        self.set_title(&pane.title);
        self.set_cwd(Some(pane.cwd.as_str()).filter(|cwd| !cwd.is_empty()));
        self.set_listed();
    }

    /// What the pane shows. True: it has changed.
    pub(in crate::observer) fn shown(&mut self, pane: &CliPane, mut rows: Vec<String>) -> bool {
        let height = usize::try_from(pane.size.rows.min(MAX_ROWS)).unwrap_or(0);
        rows.resize(height, String::new());
        for row in &mut rows {
            row.truncate(row.trim_end().len());
        }
        if self.slow.is_none() {
            self.begin_slowly(pane);
        }
        let cursor = usize::try_from(pane.cursor_y).unwrap_or(height).min(height);
        let look = Look { rows, cursor };
        let last = self.slow.as_mut().and_then(|slow| slow.last.take());
        let changed = last.as_ref().is_none_or(|last| last.rows != look.rows);
        if let Some(last) = last
            && !goes_on(&last, &look)
        {
            self.uncounted(GapCause::Flood);
        }
        if changed {
            self.last_output = Some(wa_link::clock::now());
        }
        let rows = look.rows.iter().zip(SUNKEN..).map(|(text, index)| Row::plain(index, text)).collect();
        self.push(pane, SUNKEN, rows);
        if let Some(slow) = &mut self.slow {
            slow.last = Some(look);
        }
        changed
    }

    fn begin_slowly(&mut self, pane: &CliPane) {
        let position = self.screen.position();
        let mut slow = Slow::default();
        // Only what this node has followed itself is known to be logged.
        self.refresh_frame();
        if !self.frame.rows.is_empty() && !self.frame.alternate {
            slow.native_next = Some(position.next_row);
            let live = self.seen.as_ref().and_then(|seen| seen.live_top).unwrap_or(usize::MAX);
            let cursor = usize::try_from(self.frame.cursor.row).unwrap_or(usize::MAX);
            let above = self.frame.rows.iter().take(live.min(cursor));
            slow.logged = above.map(|row| row.text.trim_end().to_owned()).collect();
        }
        self.slow = Some(slow);
        // Nothing stands above this cursor, so nothing of the primary screen settles now.
        self.push(&CliPane { cursor_x: 0, cursor_y: 0, ..pane.clone() }, 0, Vec::new());
    }

    fn push(&mut self, pane: &CliPane, top: i64, rows: Vec<Row>) {
        let height = pane.size.rows.min(MAX_ROWS);
        let cursor =
            CursorPosition { x: pane.cursor_x, y: top.saturating_add(pane.cursor_y), ..Default::default() };
        let dims = Dimensions {
            cols: pane.size.cols,
            viewport_rows: height,
            scrollback_rows: height,
            physical_top: top,
            scrollback_top: top,
            ..Dimensions::default()
        };
        let dirty = rows.iter().map(|row| row.index..row.index.saturating_add(1)).collect();
        let fetch = self.apply(Input::Changes(RenderChanges {
            pane_id: pane.pane_id,
            mouse_grabbed: false,
            cursor,
            dims,
            dirty,
            title: pane.title.clone(),
            working_dir: None,
            rows,
            input_serial: None,
            seqno: 0,
        }));
        if fetch.is_some() {
            // There is nobody to ask. What this asks for in turn waits for the next look.
            self.rows(None);
        }
    }

    fn uncounted(&mut self, cause: GapCause) {
        if !self.is_silent() {
            let layout = self.screen.layout();
            self.put_gap(Gap { pane: self.pane.clone(), layout, first_row: None, rows: None, cause });
        }
    }

    /// The server can be followed again: what was logged meanwhile is found by its content.
    pub(in crate::observer) fn followed_again(&mut self, options: Options) {
        let Some(slow) = self.slow.take() else { return };
        let at = self.screen.position();
        let position = Position {
            layout: at.layout,
            next_row: slow.native_next.unwrap_or(i64::MIN),
            line_hashes: at.line_hashes,
            frame_hash: 0,
            opaque: Vec::new(),
        };
        self.screen = PaneScreen::resume(self.pane.clone(), options, position);
        // Whatever it asks for comes with the first push.
        self.apply(Input::AgentProcess(self.agent_in_front().map(ProcessId::number)));
    }

    /// The last words of a pane of which only the screen was seen. False: it was followed.
    pub(super) fn removed_slowly(&mut self, removal: Removal) -> bool {
        if self.slow.is_none() {
            return false;
        }
        self.uncounted(match removal {
            Removal::Exit => GapCause::Exit,
            Removal::MuxLost => GapCause::MuxLost,
        });
        true
    }
}

/// Whether nothing seems to have gone by between two looks: scrolled by so many rows, the screen still shows at least half
/// of what stood above the cursor.
fn goes_on(last: &Look, now: &Look) -> bool {
    let above = &last.rows[..last.cursor.min(last.rows.len())];
    if above.iter().all(String::is_empty) {
        // At most one line so far; a command may have been typed behind its prompt.
        let Some(line) = last.rows.get(last.cursor).filter(|line| !line.is_empty()) else {
            return last.rows.iter().all(String::is_empty) || last.rows == now.rows;
        };
        return now.rows.iter().any(|row| row.starts_with(line.as_str()));
    }
    (0..above.len()).any(|scrolled| {
        let pairs = above[scrolled..].iter().zip(&now.rows).filter(|(old, _)| !old.is_empty());
        let (same, all) =
            pairs.fold((0, 0), |(same, all), (old, new)| (same + usize::from(old == new), all + 1));
        all > 0 && same * 2 >= all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(rows: &[&str], cursor: usize) -> Look {
        Look { rows: rows.iter().map(|row| (*row).to_owned()).collect(), cursor }
    }

    #[test]
    fn what_scrolled_a_little_goes_on_and_what_is_all_new_does_not() {
        let numbers = look(&["1", "2", "3", "4", "$"], 4);
        for (rows, goes) in [
            (["1", "2", "3", "4", "$"], true),
            (["3", "4", "5", "6", "$"], true),
            (["4", "5", "6", "7", "$"], true),
            (["5", "6", "7", "8", "$"], false),
            (["", "", "", "", ""], false),
            // A spinner above the cursor.
            (["1", "2", "3", "*", "$"], true),
        ] {
            assert_eq!(goes_on(&numbers, &look(&rows, 4)), goes, "{rows:?}");
        }
        // A prompt alone, and a command typed behind it.
        let prompt = look(&["$ ", "", ""], 0);
        assert!(goes_on(&prompt, &look(&["$ ls", "a", "$ "], 2)));
        assert!(!goes_on(&prompt, &look(&["7", "8", "9"], 2)));
        assert!(goes_on(&look(&["", ""], 0), &look(&["a", "b"], 1)));
    }

    #[test]
    fn what_was_followed_before_is_not_logged_again() {
        let logged = ["a", "", "b", "c"].map(str::to_owned).into();
        let mut slow = Slow { logged, ..Slow::default() };
        assert_eq!(["a", "", "c"].map(|line| slow.was_logged(line)), [true; 3]);
        assert!(!slow.was_logged("c") && !slow.was_logged(""));
    }
}
