//! Values that several scripted agents take.

use std::time::Duration;

/// `300ms`, `5s`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "say it like 300ms, 5s or 2m".to_owned())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("say it like 300ms, 5s or 2m".to_owned()),
    }
}

/// Something that is said at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    /// Since the start.
    pub(super) time: Duration,
    pub(super) text: String,
}

/// `5s=some text`
pub(super) fn at(text: &str) -> Result<At, String> {
    let (time, text) = text.split_once('=').ok_or_else(|| "say it like 5s=some text".to_owned())?;
    Ok(At { time: duration(time)?, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["5", "s", "", "5h", "-1s", "5.5s", "ä"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(at("2s=a=b"), Ok(At { time: Duration::from_secs(2), text: "a=b".into() }));
        assert!(at("a=b").is_err() && at("2s").is_err());
    }
}
