//! The dialogs of the scripted Codex: their words, and what keys mean to them.

use super::input::Key;
use super::menu;

/// A dialog that stands in the composer's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Menu {
    pub(super) kind: Kind,
    /// The marked choice.
    pub(super) choice: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// May a command run?
    Command,
    /// Another model is offered near a limit.
    RateLimits,
}

/// What a key did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Nothing,
    Chosen(usize),
    /// Closed without a choice.
    Cancelled,
}

impl Kind {
    pub(super) fn heading(self) -> &'static [&'static str] {
        match self {
            Self::Command => &[
                "\x1b[1mWould you like to run the following command?\x1b[0m\n",
                "Environment: \x1b[1mlocal\x1b[0m\n",
                "Reason: \x1b[3mNeed to write outside the workspace.\x1b[0m\n",
                "$ git push origin main",
            ],
            Self::RateLimits => &[
                "\x1b[1mApproaching rate limits\x1b[0m",
                "\x1b[2mSwitch to gpt-5.1-codex-mini for lower credit usage?\x1b[0m",
            ],
        }
    }

    /// Labels, and what stands beside them.
    pub(super) fn choices(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Command => &[
                ("Yes, proceed (y)", ""),
                ("Yes, and don't ask again for commands that start with `git push` (p)", ""),
                ("No, and tell Codex what to do differently (esc)", ""),
            ],
            Self::RateLimits => &[
                ("Switch to gpt-5.1-codex-mini", "Optimized for codex. Cheaper, faster, but less capable."),
                ("Keep current model", ""),
                (
                    "Keep current model (never show again)",
                    "Hide future rate limit reminders about switching models.",
                ),
            ],
        }
    }

    pub(super) fn footer(self) -> &'static str {
        match self {
            Self::Command => "Press enter to confirm or esc to cancel",
            Self::RateLimits => "Press enter to confirm or esc to go back",
        }
    }

    pub(super) fn asks_for_permission(self) -> bool {
        self == Self::Command
    }

    /// The choice that a letter or a number takes at once, without Enter.
    fn by_letter(self, letter: char) -> Option<usize> {
        let number = letter.to_digit(10).map(|number| number as usize);
        match (self, letter) {
            (Self::Command, 'y') => Some(0),
            (Self::Command, 'p') => Some(1),
            _ => number.and_then(|number| number.checked_sub(1)).filter(|at| *at < self.choices().len()),
        }
    }
}

impl Menu {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, choice: 0 }
    }

    /// A key was pressed; the text behind a letter that chose is given back: it goes to the composer.
    pub(super) fn press(&mut self, key: &Key) -> (Pressed, Option<String>) {
        menu::moves(key, &mut self.choice, self.kind.choices().len());
        let pressed = match key {
            Key::Enter => Pressed::Chosen(self.choice),
            Key::Escape | Key::Interrupt => Pressed::Cancelled,
            Key::Text(text) => {
                for (at, letter) in text.char_indices() {
                    if let Some(choice) = self.kind.by_letter(letter) {
                        let rest = text[at + letter.len_utf8()..].to_owned();
                        return (Pressed::Chosen(choice), Some(rest).filter(|rest| !rest.is_empty()));
                    }
                }
                Pressed::Nothing
            }
            // A paste means nothing here.
            _ => Pressed::Nothing,
        };
        (pressed, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_keys_act_at_once_and_pastes_do_not() {
        let press = |key: Key| Menu::new(Kind::Command).press(&key);
        let text = |text: &str| Key::Text(text.to_owned());
        assert_eq!(press(text("Proceed.")), (Pressed::Nothing, None));
        let rest = Some("lease go on".to_owned());
        assert_eq!(press(text("please go on")), (Pressed::Chosen(1), rest));
        assert_eq!(press(Key::Paste("please go on".into())), (Pressed::Nothing, None));
        assert_eq!(press(text("3")), (Pressed::Chosen(2), None));
        assert_eq!(press(text("4")), (Pressed::Nothing, None));
        assert_eq!(press(Key::Enter), (Pressed::Chosen(0), None));
        let mut menu = Menu::new(Kind::RateLimits);
        for key in [Key::Down, Key::Up, Key::Down, Key::Down, Key::Down] {
            assert_eq!(menu.press(&key).0, Pressed::Nothing);
        }
        assert_eq!(menu.press(&Key::Enter), (Pressed::Chosen(2), None));
        assert_eq!(menu.press(&text("y")), (Pressed::Nothing, None));
    }
}
