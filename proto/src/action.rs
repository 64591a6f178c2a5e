//! Actions: what a node is told to do, and how it ended.

use std::fmt;
use std::str::FromStr;

use crate::pane::words;
use crate::{ActionId, AgentKind, PaneRef, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    pub id: ActionId,
    /// For [`Verb::Spawn`] only the mux and generation count.
    pub pane: PaneRef,
    /// By the controller's clock.
    pub deadline: Timestamp,
    /// A node refuses an older fence than it has seen for the pane.
    pub fence: u64,
    /// `operator:NAME`, `agent:NAME` or `workflow:NAME`.
    pub who: String,
    /// Which agent must run there, and as which process; `None` = whatever runs.
    pub expect_agent: Option<AgentKind>,
    pub expect_agent_pid: Option<u32>,
    /// A shell must wait for a command there.
    pub expect_shell: bool,
    pub trace_parent: String,
    pub verb: Verb,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Paste, see it, and (if `enter`) press Enter and verify.
    Send {
        text: String,
        enter: bool,
    },
    Keys(Vec<Key>),
    /// Answers the dialog that stands in the pane by the first of these labels that it offers.
    Choose {
        labels: Vec<String>,
        /// Which dialog is meant, 16 hex digits: the field `dialog` of its event. Empty: whichever stands there.
        dialog: String,
    },
    Spawn {
        command: Vec<String>,
        cwd: String,
    },
    Kill,
}

impl Verb {
    /// The word that policy files use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Keys(_) => "keys",
            Self::Choose { .. } => "choose",
            Self::Spawn { .. } => "spawn",
            Self::Kill => "kill",
        }
    }

    /// What is typed or run, in one text: keys with blanks between, labels with ` | `. Policy files judge it.
    pub fn text(&self) -> String {
        match self {
            Self::Send { text, .. } => text.clone(),
            Self::Keys(keys) => keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Self::Choose { labels, .. } => labels.join(" | "),
            Self::Spawn { command, .. } => command.join(" "),
            Self::Kill => String::new(),
        }
    }
}

words! {
    OutcomeKind, "outcome" {
        /// Seen to have arrived.
        Submitted = "submitted",
        /// The text stands in the composer, Enter was not asked for.
        Placed = "placed",
        /// A guard, the policy or the controller said no; nothing was typed.
        Refused = "refused",
        /// The deadline passed before anything was typed.
        Expired = "expired",
        /// It cannot be shown whether it arrived.
        Unknown = "unknown",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub action: ActionId,
    pub kind: OutcomeKind,
    pub reason: String,
    pub pane: Option<PaneRef>,
    pub trace_parent: String,
    /// For a spawn: the new pane.
    pub spawned: Option<PaneRef>,
}

/// A key by name: `Enter Esc Tab BTab Space BSpace Up Down Left Right Home End PgUp PgDn F1..F12 C-x M-x` or one
/// character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub ctrl: bool,
    pub alt: bool,
    pub code: KeyCode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyCode {
    Char(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    /// 1 to 12.
    F(u8),
}

const NAMED_KEYS: &[(&str, KeyCode)] = &[
    ("Enter", KeyCode::Enter),
    ("Esc", KeyCode::Esc),
    ("Tab", KeyCode::Tab),
    ("BTab", KeyCode::BackTab),
    ("Space", KeyCode::Char(' ')),
    ("BSpace", KeyCode::Backspace),
    ("Up", KeyCode::Up),
    ("Down", KeyCode::Down),
    ("Left", KeyCode::Left),
    ("Right", KeyCode::Right),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
    ("PgUp", KeyCode::PageUp),
    ("PgDn", KeyCode::PageDown),
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown key {0:?}: use one of Enter Esc Tab BTab Space BSpace Up Down Left Right Home End PgUp PgDn F1..F12, C-x, M-x or one character"
)]
pub struct UnknownKey(pub String);

impl FromStr for Key {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        let bad = || UnknownKey(text.chars().take(40).collect());
        let mut rest = text;
        let (mut ctrl, mut alt) = (false, false);
        while let Some((prefix, tail)) = rest.split_at_checked(2).filter(|(_, tail)| !tail.is_empty()) {
            match prefix {
                "C-" if !ctrl => ctrl = true,
                "M-" if !alt => alt = true,
                _ => break,
            }
            rest = tail;
        }
        if let Some((_, code)) = NAMED_KEYS.iter().find(|(name, _)| *name == rest) {
            return Ok(Self { ctrl, alt, code: *code });
        }
        if let Some(number) = rest.strip_prefix('F').and_then(|digits| digits.parse::<u8>().ok())
            && (1..=12).contains(&number)
            && !rest.starts_with("F0")
        {
            return Ok(Self { ctrl, alt, code: KeyCode::F(number) });
        }
        let mut chars = rest.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if !c.is_control() => Ok(Self { ctrl, alt, code: KeyCode::Char(c) }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("C-")?;
        }
        if self.alt {
            f.write_str("M-")?;
        }
        match self.code {
            KeyCode::F(number) => write!(f, "F{number}"),
            code => match NAMED_KEYS.iter().find(|(_, named)| *named == code) {
                Some((name, _)) => f.write_str(name),
                None => match code {
                    KeyCode::Char(c) => write!(f, "{c}"),
                    _ => Ok(()),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_written() {
        for text in [
            "Enter", "C-c", "M-x", "C-M-Left", "F1", "F12", "a", "é", "-", "C", "F", "Space", "C-Space",
            "BTab",
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        for bad in ["", "enter", "F0", "F13", "F01", "C-", "ab", "\u{3}", "C-C-c"] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }
}
