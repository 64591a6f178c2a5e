//! Our entries: the command that an agent runs, and how it is known again.

use std::path::Path;

use super::place::Agent;

/// A hook of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) event: String,
    pub(crate) command: String,
}

/// What the entries run: `wa-node`, for a state directory. Both absolute and UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) node: String,
    pub(crate) state_dir: String,
}

impl Program {
    pub(super) fn words(&self, agent: Agent, event: &str) -> Vec<String> {
        [&self.node, "hook", "--state-dir", &self.state_dir, agent.as_str(), event]
            .map(str::to_owned)
            .to_vec()
    }

    pub(super) fn entry(&self, agent: Agent, event: &str) -> Entry {
        Entry { event: event.to_owned(), command: join(&self.words(agent, event)) }
    }
}

/// Whether a command runs `wa-node hook` and nothing else.
pub(super) fn is_ours(command: &str) -> bool {
    words(command).is_some_and(|words| are_ours(&words))
}

pub(super) fn are_ours(words: &[String]) -> bool {
    match words {
        [program, verb, ..] => {
            Path::new(program).file_name().is_some_and(|name| name == "wa-node") && verb == "hook"
        }
        _ => false,
    }
}

/// Words as a command line for any POSIX shell, and for fish.
pub(super) fn join(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The words of a simple command. `None` for anything that a shell would do more with: another command, a redirection,
/// a variable.
pub(super) fn words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        '$' | '`' => return None,
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' | '$' | '`' | '#' | '*' | '?' => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ours_are_known_by_what_they_run() {
        for command in [
            "wa-node hook",
            "/usr/bin/wa-node hook --state-dir /x claude Stop",
            "'/home/a b/wa-node' hook --state-dir \"/x y\" codex Stop",
            "/old\\ place/wa-node  hook",
        ] {
            assert!(is_ours(command), "{command}");
        }
        for command in [
            "",
            "wa-node",
            "wa-node run hook",
            "my-wa-node hook",
            "echo wa-node hook",
            "wa-node hook; rm -r /x",
            "wa-node hook | tee log",
            "wa-node hook && mine",
            "sh -c 'wa-node hook'",
            "wa-node 'hook",
            "$DIR/wa-node hook",
        ] {
            assert!(!is_ours(command), "{command}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(list in proptest::collection::vec("[ -~äß漢\n\t]{0,12}", 1..5)) {
            prop_assert_eq!(words(&join(&list)), Some(list));
        }

        #[test]
        fn a_shell_reads_the_same(word in "[ -~]{0,12}") {
            let line = format!("printf %s {}", quote(&word));
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
