//! What stands in a composer before it is sent.

/// How an agent shows a long paste.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// `[Pasted text #1 +N lines]`, from 801 characters or three newlines on.
    Claude,
    /// `[Pasted Content N chars]`, from 1001 characters on; lines do not count.
    Codex,
    /// `[Pasted Text: N chars]` from 501 characters on, `[Pasted Text: N lines]` from six lines on.
    Gemini,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Folded { label: String, text: String },
}

/// Typed text and pastes, in order. The insert point is always at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    fold: Fold,
    pieces: Vec<Piece>,
    pastes: usize,
}

impl Draft {
    pub(super) fn new(fold: Fold) -> Self {
        Self { fold, pieces: Vec::new(), pastes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
    }

    pub(super) fn type_text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    pub(super) fn paste(&mut self, text: &str) {
        match self.label(text) {
            None => self.type_text(text),
            Some(label) => {
                self.pastes += 1;
                self.pieces.push(Piece::Folded { label, text: text.to_owned() });
            }
        }
    }

    fn label(&self, text: &str) -> Option<String> {
        let (characters, newlines) = (text.chars().count(), text.matches('\n').count());
        match self.fold {
            Fold::Claude if characters > 800 || newlines >= 3 => {
                Some(format!("[Pasted text #{} +{newlines} lines]", self.pastes + 1))
            }
            Fold::Codex if characters > 1000 => Some(format!("[Pasted Content {characters} chars]")),
            Fold::Gemini if newlines >= 5 => Some(format!("[Pasted Text: {} lines]", newlines + 1)),
            Fold::Gemini if characters > 500 => Some(format!("[Pasted Text: {characters} chars]")),
            Fold::Claude | Fold::Codex | Fold::Gemini => None,
        }
    }

    pub(super) fn backspace(&mut self) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => {
                text.pop();
                if text.is_empty() {
                    self.pieces.pop();
                }
            }
            Some(Piece::Folded { .. }) => {
                self.pieces.pop();
            }
            None => {}
        }
    }

    /// As it is shown.
    pub(super) fn shown(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Folded { label, .. } => label,
            })
            .collect()
    }

    /// A row of [`Self::shown`] with what stands for long pastes between these.
    pub(super) fn coloured(&self, row: &str, begin: &str, end: &str) -> String {
        self.pieces.iter().fold(row.to_owned(), |row, piece| match piece {
            Piece::Folded { label, .. } => row.replace(label, &format!("{begin}{label}{end}")),
            Piece::Text(_) => row,
        })
    }

    /// As it is sent.
    pub(super) fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) | Piece::Folded { text, .. } => text.as_str(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pastes_are_folded_and_sent_whole() {
        let mut draft = Draft::new(Fold::Claude);
        draft.type_text("look: ");
        draft.paste("a\nb\nc\nd");
        draft.type_text("!");
        assert_eq!(draft.shown(), "look: [Pasted text #1 +3 lines]!");
        assert_eq!(draft.text(), "look: a\nb\nc\nd!");
        draft.backspace();
        draft.backspace();
        assert_eq!(draft.shown(), "look: ");
        draft.clear();
        assert!(draft.is_empty());
        let long = "x".repeat(801);
        draft.paste(&long);
        assert_eq!(draft.shown(), "[Pasted text #2 +0 lines]");
        draft.clear();
        draft.paste(&long[1..]);
        assert_eq!(draft.shown(), draft.text());
    }

    #[test]
    fn each_agent_folds_in_its_own_way() {
        let shown = |fold, text: &str| {
            let mut draft = Draft::new(fold);
            draft.paste(text);
            assert_eq!(draft.text(), text);
            draft.shown()
        };
        let (lines, long) = ("1\n2\n3\n4\n5\n6", "x".repeat(1001));
        assert_eq!(shown(Fold::Codex, lines), lines);
        assert_eq!(shown(Fold::Codex, &long), "[Pasted Content 1001 chars]");
        assert_eq!(shown(Fold::Codex, &long[1..]), long[1..]);
        assert_eq!(shown(Fold::Gemini, lines), "[Pasted Text: 6 lines]");
        assert_eq!(shown(Fold::Gemini, &long[..501]), "[Pasted Text: 501 chars]");
        assert_eq!(shown(Fold::Gemini, &long[..500]), long[..500]);
    }
}
