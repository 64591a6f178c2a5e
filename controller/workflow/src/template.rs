//! Texts with places for values: `Reread {{rules_file}}.`
//!
//! Constraints: which names a text uses is checked when its file is read; a value that is not known, or holds control
//! characters that could act as keys, makes the step fail instead of being typed. In a line for a shell each value stands
//! as one quoted word, whatever is in it.

use std::collections::BTreeMap;

/// Bytes that a text may have with its values.
const MAX_TEXT: usize = 32 << 10;

/// The values that are whole lines for a shell: they are made of known commands and an id that was checked.
const COMMAND_LINES: [&str; 2] = ["resume_command", "login_command"];

/// What a definition, its overrides and its trigger give names to.
pub type Vars = BTreeMap<String, String>;

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(String),
}

/// Why a text cannot be read, or cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{{{{ without }}}}")]
    Open,
    #[error("{0:?} is not a name: use letters, digits and '_'")]
    Name(String),
    #[error("{0} is not known here")]
    Missing(String),
    #[error("{name} holds the control character {found:?}, which is not typed")]
    Control { name: String, found: char },
    #[error("the text is longer than {MAX_TEXT} bytes")]
    Long,
}

/// How values stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    None,
    /// As words of a POSIX shell.
    Shell,
}

impl Template {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or(TemplateError::Open)?;
            let name = name.trim();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(TemplateError::Name(name.chars().take(40).collect()));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Place(name.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names it needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Place(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// What stands in it without any value.
    pub fn literal(&self) -> impl Iterator<Item = char> {
        self.0.iter().flat_map(|part| match part {
            Part::Text(text) => text.chars(),
            Part::Place(_) => "".chars(),
        })
    }

    /// The text with its values. Newline and tab may stand in a value, unless it is for a shell.
    pub fn render(&self, vars: &Vars, quoting: Quoting) -> Result<String, TemplateError> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Place(name) => {
                    let value = vars.get(name).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| TemplateError::Missing(name.clone()))?;
                    let typed = |c: char| quoting == Quoting::None && matches!(c, '\n' | '\t');
                    if let Some(found) = value.chars().find(|c| c.is_control() && !typed(*c)) {
                        return Err(TemplateError::Control { name: name.clone(), found });
                    }
                    match quoting {
                        Quoting::None => out.push_str(value),
                        Quoting::Shell if COMMAND_LINES.contains(&name.as_str()) => out.push_str(value),
                        Quoting::Shell => out.push_str(&shell_word(value)),
                    }
                }
            }
            if out.len() > MAX_TEXT {
                return Err(TemplateError::Long);
            }
        }
        Ok(out)
    }
}

/// The value as one word of a POSIX shell.
fn shell_word(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if value.chars().all(plain) && !value.starts_with('-') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn places_are_filled_or_refused() {
        let template = Template::parse("resume {{ session_id }} in {{cwd}}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["session_id", "cwd"]);
        let known = vars(&[("session_id", "019a-b"), ("cwd", "/srv/a b")]);
        assert_eq!(template.render(&known, Quoting::None).unwrap(), "resume 019a-b in /srv/a b");
        assert_eq!(template.render(&known, Quoting::Shell).unwrap(), "resume 019a-b in '/srv/a b'");
        let error = template.render(&vars(&[("cwd", "/")]), Quoting::None).unwrap_err();
        assert_eq!(error, TemplateError::Missing("session_id".into()));
        for bad in ["a {{b", "{{a b}}", "{{}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        for (value, quoting) in [("a\u{1b}b", Quoting::None), ("a\nb", Quoting::Shell)] {
            let error = template.render(&vars(&[("session_id", value), ("cwd", "/")]), quoting).unwrap_err();
            assert!(matches!(error, TemplateError::Control { .. }), "{error}");
        }
    }

    proptest! {
        /// Whatever the value is, a real shell sees it as one word, and the word is the value.
        #[test]
        fn a_shell_reads_one_word(value in "[^\\p{C}]{1,40}") {
            let template = Template::parse("printf %s {{value}}").unwrap();
            let line = template.render(&vars(&[("value", &value)]), Quoting::Shell).unwrap();
            let ran = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            prop_assert_eq!(String::from_utf8(ran.stdout).unwrap(), value);
        }
    }
}
