//! Label selectors, as kubectl has them: `agent=codex,host in (a,b),state!=idle,project,!account`.

use std::fmt;

/// A conjunction of requirements; an empty one selects everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selector: {problem} at {at:?}; write for example agent=codex,host in (a,b),state!=idle")]
pub struct InvalidSelector {
    problem: &'static str,
    at: String,
}

fn invalid(problem: &'static str, at: &str) -> InvalidSelector {
    InvalidSelector { problem, at: at.chars().take(80).collect() }
}

fn word(text: &str) -> Result<String, InvalidSelector> {
    let text = text.trim();
    let ok = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./:@~".contains(c));
    if ok { Ok(text.to_owned()) } else { Err(invalid("not a word", text)) }
}

/// Splits at commas outside parentheses.
fn clauses(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn requirement(clause: &str) -> Result<Requirement, InvalidSelector> {
    let clause = clause.trim();
    if let Some(key) = clause.strip_prefix('!') {
        return Ok(Requirement { key: word(key)?, test: Test::Absent });
    }
    if let Some((key, value)) = clause.split_once("!=") {
        return Ok(Requirement { key: word(key)?, test: Test::NotIn(vec![word(value)?]) });
    }
    if let Some((key, value)) = clause.split_once("==").or_else(|| clause.split_once('=')) {
        return Ok(Requirement { key: word(key)?, test: Test::In(vec![word(value)?]) });
    }
    if let Some((head, list)) = clause.split_once('(') {
        let list = list.trim_end().strip_suffix(')').ok_or_else(|| invalid("')' is missing", clause))?;
        let values = list.split(',').map(word).collect::<Result<Vec<_>, _>>()?;
        let mut head = head.split_whitespace();
        return match (head.next(), head.next(), head.next()) {
            (Some(key), Some("in"), None) => Ok(Requirement { key: word(key)?, test: Test::In(values) }),
            (Some(key), Some("notin"), None) => {
                Ok(Requirement { key: word(key)?, test: Test::NotIn(values) })
            }
            _ => Err(invalid("expected KEY in (…) or KEY notin (…)", clause)),
        };
    }
    Ok(Requirement { key: word(clause)?, test: Test::Exists })
}

impl std::str::FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let requirements = clauses(text).into_iter().map(requirement).collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }
}

impl Selector {
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the labels meet every requirement. `label` gives a label's value; an empty one counts as absent.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|Requirement { key, test }| {
            let value = label(key).filter(|value| !value.is_empty());
            match test {
                Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(selector: &str, labels: &[(&str, &str)]) -> bool {
        let find = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        selector.parse::<Selector>().unwrap().matches(find)
    }

    #[test]
    fn selects_as_kubectl_does() {
        let labels = [("agent", "codex"), ("host", "a"), ("project", "")];
        for yes in [
            "",
            "agent=codex",
            "agent==codex",
            "host in (a, b)",
            "agent=codex,host in (a,b)",
            "state!=idle",
            "host notin (b)",
            "agent",
            "!project",
        ] {
            assert!(holds(yes, &labels), "{yes}");
        }
        for no in ["agent=claude", "agent!=codex", "host in (b)", "project", "!agent", "agent=codex,host=b"] {
            assert!(!holds(no, &labels), "{no}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for bad in ["=", "a=", ",", "host in (a", "host on (a)", "a b", "host in ()", "a=b)"] {
            let error = bad.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains("for example"), "{bad}: {error}");
        }
    }
}
