//! What stands in a composer before it is sent.

/// Longer pastes are shown folded: characters, lines.
const FOLD_ABOVE: (usize, usize) = (800, 3);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Folded { label: String, text: String },
}

/// Typed text and pastes, in order. The insert point is always at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pieces: Vec<Piece>,
    pastes: usize,
}

impl Draft {
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
        let newlines = text.matches('\n').count();
        if text.chars().count() <= FOLD_ABOVE.0 && newlines < FOLD_ABOVE.1 {
            return self.type_text(text);
        }
        self.pastes += 1;
        self.pieces.push(Piece::Folded {
            label: format!("[Pasted text #{} +{newlines} lines]", self.pastes),
            text: text.to_owned(),
        });
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
        let mut draft = Draft::default();
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
}
