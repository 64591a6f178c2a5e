//! What a command is about: one pane, those that a selector names, or all. And since when.

use wa_proto::selector::Selector;
use wa_proto::wire::v1;
use wa_proto::{PaneAddress, Timestamp};

use crate::args::duration;
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    All,
    Pane(PaneAddress),
    /// Checked.
    Selector(String),
}

/// A selector as the wire has it, checked.
pub(crate) fn selector(text: Option<&str>) -> Result<String, Failure> {
    let text = text.unwrap_or_default().trim();
    let parsed: Selector = text.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    Ok(if parsed.is_empty() { String::new() } else { text.to_owned() })
}

impl Target {
    /// `word`: a pane or a selector, as given on the line; `labels`: what `-l` has.
    pub(crate) fn of(word: Option<&str>, labels: Option<&str>) -> Result<Self, Failure> {
        let labels = selector(labels)?;
        let Some(word) = word else {
            return Ok(if labels.is_empty() { Self::All } else { Self::Selector(labels) });
        };
        match word.parse::<PaneAddress>() {
            Ok(_) if !labels.is_empty() => {
                Err(Failure::usage(format!("{word} is one pane: give either a pane or a selector with -l")))
            }
            Ok(pane) => Ok(Self::Pane(pane)),
            // A slash without an operator was meant to be a pane.
            Err(error) if word.contains('/') && !word.contains(['=', '(', '!', ',']) => {
                Err(Failure::usage(error.to_string()))
            }
            Err(_) => {
                let both = if labels.is_empty() { word.to_owned() } else { format!("{word},{labels}") };
                Ok(Self::Selector(selector(Some(&both))?))
            }
        }
    }

    /// As the wire has it: the pane, else the selector.
    pub(crate) fn wire(&self) -> (Option<v1::PaneAddress>, String) {
        match self {
            Self::All => (None, String::new()),
            Self::Pane(pane) => (Some(pane.clone().into()), String::new()),
            Self::Selector(text) => (None, text.clone()),
        }
    }
}

/// Microseconds since the epoch of `--since`; 0 = not given.
pub(crate) fn since(text: Option<&str>, now: Timestamp) -> Result<i64, Failure> {
    let Some(text) = text else { return Ok(0) };
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    let length = duration(text).map_err(|_| {
        Failure::usage(format!(
            "--since {text:?} is neither a duration (90s, 1h, 2d) nor a time (2026-09-01T12:00:00Z)"
        ))
    })?;
    let time = jiff::SignedDuration::try_from(length).ok().and_then(|length| now.checked_sub(length).ok());
    time.map(Timestamp::as_microsecond)
        .ok_or_else(|| Failure::usage(format!("--since {text:?} is too long ago")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_word_is_a_pane_or_a_selector() {
        let pane = |text: &str| Target::Pane(text.parse().unwrap());
        assert_eq!(Target::of(Some("web-1/3"), None), Ok(pane("web-1/3")));
        assert_eq!(Target::of(Some("web-1/gui/3"), None), Ok(pane("web-1/gui/3")));
        assert_eq!(Target::of(Some("agent=codex"), None), Ok(Target::Selector("agent=codex".into())));
        assert_eq!(Target::of(Some("a=b"), Some("c=d")), Ok(Target::Selector("a=b,c=d".into())));
        assert_eq!(Target::of(Some("project=a/b"), None), Ok(Target::Selector("project=a/b".into())));
        assert_eq!(Target::of(None, Some(" ")), Ok(Target::All));
        for (word, labels) in
            [(Some("web-1/x"), None), (Some("a b"), None), (Some("a/1"), Some("b")), (None, Some("="))]
        {
            assert_eq!(Target::of(word, labels).unwrap_err().exit, Exit::Usage, "{word:?} {labels:?}");
        }
    }

    #[test]
    fn since_is_a_length_or_a_time() {
        let now: Timestamp = "2026-09-01T12:00:00Z".parse().unwrap();
        let at =
            |text: &str| Timestamp::from_microsecond(since(Some(text), now).unwrap()).unwrap().to_string();
        assert_eq!(at("1h"), "2026-09-01T11:00:00Z");
        assert_eq!(at("2d"), "2026-08-30T12:00:00Z");
        assert_eq!(at("2026-08-31T00:00:00+02:00"), "2026-08-30T22:00:00Z");
        assert_eq!(since(None, now), Ok(0));
        assert_eq!(since(Some("yesterday"), now).unwrap_err().exit, Exit::Usage);
        assert_eq!(since(Some("1000000000h"), now).unwrap_err().exit, Exit::Usage);
    }
}
