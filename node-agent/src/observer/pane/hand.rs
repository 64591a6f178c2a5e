//! Whether a person types: the composer holds something else than before, and nothing was sent.

use std::time::Duration;

use tokio::time::Instant;
use wa_match::{Composer, ComposerView};
use wa_proto::Frame;

use super::Watched;

/// After an action, the composer may still change because of it.
const AFTERMATH: Duration = Duration::from_secs(2);
/// What the composer shows for a shorter time is a redraw.
const FLICKER: Duration = Duration::from_millis(100);

impl Watched {
    /// The composer holds something else than before, and nothing was sent: a person types. A redraw may show anything
    /// for a moment, so the change must last.
    pub(super) fn notice_person(&mut self, composer: &ComposerView) {
        let now = Hand::of(&self.frame, composer);
        let before = std::mem::replace(&mut self.hand, now.clone());
        let acted = self.acting || self.acted.is_some_and(|acted| acted.elapsed() < AFTERMATH);
        let Some(now) = now.filter(|_| !acted) else {
            self.suspect = None;
            return;
        };
        match &self.suspect {
            Some((origin, _)) if origin.is_same(&now) => self.suspect = None,
            Some((_, since)) if since.elapsed() >= FLICKER => {
                self.touched = Some(*since);
                self.suspect = None;
            }
            Some(_) => {}
            None => {
                let changed = before.filter(|before| !before.is_same(&now));
                self.suspect = changed.map(|before| (before, Instant::now()));
            }
        }
        if let Some((_, since)) = &self.suspect {
            let again = *since + FLICKER;
            self.match_at = Some(self.match_at.map_or(again, |at| at.min(again)));
        }
    }
}

/// What a person does in a composer shows by.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    content: Composer,
    /// Row and column inside the composer, where the cursor shows there and has something to move over.
    cursor: Option<(i64, u32)>,
}

impl Hand {
    fn of(frame: &Frame, composer: &ComposerView) -> Option<Self> {
        let content = composer.content.clone();
        let has_text = match content {
            Composer::Empty => false,
            Composer::Draft { .. } | Composer::Paste { .. } => true,
            Composer::Dialog | Composer::Missing => return None,
        };
        let rows = composer.rows.clone();
        let at = frame.cursor;
        let inside = usize::try_from(at.row).is_ok_and(|row| rows.contains(&row)) && at.visible && has_text;
        let first = i64::try_from(rows.start).unwrap_or(i64::MAX);
        Some(Self { content, cursor: inside.then(|| (at.row.saturating_sub(first), at.col)) })
    }

    /// Cursors are compared only where both were seen: agents hide theirs while they draw.
    fn is_same(&self, other: &Self) -> bool {
        let moved = self.cursor.zip(other.cursor).is_some_and(|(one, two)| one != two);
        self.content == other.content && !moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_moves_in_a_draft_is_a_hand() {
        let frame = |row: i64, visible: bool| Frame {
            cols: 20,
            cursor: wa_proto::Cursor { row, col: 4, visible },
            ..Frame::default()
        };
        let composer = |content: Composer| ComposerView {
            content,
            rows: 2..4,
            footer: 4..4,
            live_top: None,
            working: None,
            shell_mode: false,
            clipped: false,
        };
        let draft = composer(Composer::Draft { text: "half a thought".into() });
        let hand = |row, visible, composer: &ComposerView| Hand::of(&frame(row, visible), composer).unwrap();
        let first = hand(2, true, &draft);
        assert!(!first.is_same(&hand(3, true, &draft)));
        assert!(first.is_same(&hand(3, false, &draft)), "hidden while drawing");
        assert!(first.is_same(&hand(9, true, &draft)), "parked elsewhere");
        let empty = composer(Composer::Empty);
        assert!(hand(2, true, &empty).is_same(&hand(3, true, &empty)));
        assert!(!first.is_same(&hand(2, true, &empty)));
        assert!(Hand::of(&frame(2, true), &composer(Composer::Dialog)).is_none());
    }
}
