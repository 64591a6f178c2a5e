//! JSON of strangers, read into a tree of bounded size.
//!
//! Constraints: a line may be many megabytes, nest without end, hold a million zeros or a string that is no Unicode.
//! What it becomes must stay small, and no wrong type anywhere may hide what is right elsewhere. So numbers, strings and
//! lists are taken as they come and looked at through accessors that answer "nothing" instead of failing; values beyond
//! [`MAX_VALUES`] are read over; strings keep at most [`MAX_STRING`] bytes and say how many were cut.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Values of one record that are kept.
const MAX_VALUES: usize = 50_000;
/// Bytes of one string that are kept.
const MAX_STRING: usize = 256 << 10;

static NULL: Json = Json::Null;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Whole(u64),
    Real(f64),
    /// With the bytes that were cut from its end.
    Text(String, u64),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    /// One record. `None`: it is not JSON, or nests too deep.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        Self::parse_text(&text).or_else(|| Self::parse_text(&without_lone_surrogates(&text)?))
    }

    pub(super) fn parse_text(text: &str) -> Option<Self> {
        let budget = Budget::default();
        let mut source = serde_json::Deserializer::from_str(text);
        let value = budget.seed().deserialize(&mut source).ok()?;
        source.end().ok()?;
        Some(value)
    }

    /// The member of that name; [`Json::Null`] where there is none.
    pub(super) fn get(&self, name: &str) -> &Self {
        let Self::Map(members) = self else { return &NULL };
        members.iter().find(|(known, _)| known == name).map_or(&NULL, |(_, value)| value)
    }

    pub(super) fn at(&self, path: &[&str]) -> &Self {
        path.iter().fold(self, |value, name| value.get(name))
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The string, or "".
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text, _) => text,
            _ => "",
        }
    }

    /// Bytes that were cut from the string.
    pub(super) fn cut(&self) -> u64 {
        match self {
            Self::Text(_, cut) => *cut,
            _ => 0,
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Map(members) => members,
            _ => &[],
        }
    }

    /// A count; 0 for anything else.
    pub(super) fn count(&self) -> u64 {
        self.whole().unwrap_or(0)
    }

    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Whole(number) => Some(*number),
            // The conversion saturates.
            Self::Real(number) if *number >= 0.0 => Some(*number as u64),
            _ => None,
        }
    }

    pub(super) fn real(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Real(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }

    /// A single value as a person would write it; `None` for null, lists and maps.
    pub(super) fn plain(&self) -> Option<String> {
        match self {
            Self::Text(text, _) => Some(text.clone()),
            Self::Bool(truth) => Some(truth.to_string()),
            Self::Whole(number) => Some(number.to_string()),
            Self::Real(number) => Some(number.to_string()),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// How many values a record may still have.
pub(super) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MAX_VALUES))
    }
}

impl Budget {
    pub(super) fn seed(&self) -> Seed<'_> {
        Seed(self)
    }

    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

pub(super) struct Seed<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Real(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        let kept = text.floor_char_boundary(MAX_STRING);
        Ok(Json::Text(text[..kept].to_owned(), (text.len() - kept) as u64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        loop {
            if !self.0.take() {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Json::List(list));
            }
            match items.next_element_seed(self.0.seed())? {
                Some(item) => list.push(item),
                None => return Ok(Json::List(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        loop {
            if !self.0.take() {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Json::Map(members));
            }
            let Some(name) = entries.next_key::<Cow<'de, str>>()? else { return Ok(Json::Map(members)) };
            let name = name[..name.floor_char_boundary(256)].to_owned();
            members.push((name, entries.next_value_seed(self.0.seed())?));
        }
    }
}

/// Programs in JavaScript cut strings in the middle of a character, and write half of it as `\ud83d`, which is no
/// character at all. `None`: there is no such thing in it.
fn without_lone_surrogates(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(found) = text.get(at..)?.find('\\') {
        at += found;
        at += match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.push_str(&text[done..at]);
                mended.push_str("\\ufffd");
                done = at + 6;
                6
            }
            // An escape of two bytes; the second may be a backslash.
            _ => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    if done == 0 {
        return None;
    }
    mended.push_str(&text[done..]);
    Some(mended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_of_characters_are_mended_and_whole_ones_kept() {
        let value = Json::parse(br#"{"a":"x\ud83d","b":"\ud83d\ude00","c":"\\ud83d"}"#).unwrap();
        assert_eq!(value.get("a").text(), "x\u{fffd}");
        assert_eq!(value.get("b").text(), "\u{1f600}");
        assert_eq!(value.get("c").text(), "\\ud83d");
        assert_eq!(without_lone_surrogates(r"\\ud83d \ud83d\ude00"), None);
    }

    #[test]
    fn what_is_too_much_is_read_over() {
        let many = format!("{{\"list\":[{}0],\"after\":\"here\"}}", "0,".repeat(200_000));
        let value = Json::parse(many.as_bytes()).unwrap();
        assert!(value.get("list").list().len() <= MAX_VALUES);
        let long = format!("{{\"a\":\"{}\",\"b\":1}}", "é".repeat(MAX_STRING));
        let value = Json::parse(long.as_bytes()).unwrap();
        assert!(value.get("a").text().len() <= MAX_STRING);
        assert_eq!(value.get("a").cut(), MAX_STRING as u64);
        assert_eq!(value.get("b").count(), 1);
    }

    #[test]
    fn depth_is_an_answer_not_an_overflow() {
        assert_eq!(Json::parse("[".repeat(1_000_000).as_bytes()), None);
        assert_eq!(Json::parse("{\"a\":".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_rest() {
        let value = Json::parse(b"{\"a\":\"\xff\xfe\",\"b\":7}").unwrap();
        assert_eq!(value.get("b").count(), 7);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _unused = Json::parse(&bytes);
        }

        #[test]
        fn no_escapes_do_harm(text in r#"["\\udD83e0é]{0,60}"#) {
            let _unused = without_lone_surrogates(&text);
            let _unused = Json::parse(format!("\"{text}\"").as_bytes());
        }
    }
}
