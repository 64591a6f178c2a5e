//! What this host lets be typed (A4), whatever the controller says.
//!
//! Constraints: the file belongs to the host's owner; no file means observe only; a file with a mistake allows nothing
//! until it is corrected, and says so. Format, TOML: `[[rule]]` with `who`, `verbs`, `panes`, `text`, `decision`; `who`
//! and `panes` take `*` as a wildcard, `text` is a regular expression. What can fit nothing is a mistake; a pattern for a mux
//! server that is not on this host is told. Operation: the first rule that fits decides, none denies. The file is read
//! again whenever it has changed.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use regex::Regex;
use serde::Deserialize;
use wa_proto::policy::{self, Decision, VerbName, Words, glob};
use wa_proto::{Action, PaneRef};

/// What `enroll` writes: operators may do everything, the built-in workflows may type.
pub const DEFAULT: &str = r#"# What may be typed on this host. The first rule that fits decides; if none does, it is refused.
# who: operator:NAME, agent:NAME or workflow:NAME; verbs: send keys spawn kill; panes: PANE or MUX/PANE; `*` stands for
# anything. text: a regular expression that is found in the text (or the keys, with blanks between); ^...$ for the whole.
# decision: allow, deny or ask. The file is read again when it changes.

[[rule]]
who = ["operator:*"]
verbs = ["send", "keys", "spawn", "kill"]
panes = ["*"]
decision = "allow"

[[rule]]
who = ["workflow:*"]
verbs = ["send", "keys"]
panes = ["*"]
decision = "allow"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(deserialize_with = "policy::who")]
    who: Vec<String>,
    verbs: HashSet<VerbName>,
    #[serde(default = "any", deserialize_with = "policy::host_panes")]
    panes: Vec<String>,
    text: Option<String>,
    decision: Decision,
    /// Also where the foreground program hides what runs behind it (ssh, docker, tmux, sudo).
    #[serde(default)]
    screen_only: bool,
}

fn any() -> Vec<String> {
    Words::any().into_vec()
}

#[derive(Debug)]
struct Rule {
    who: Vec<String>,
    verbs: HashSet<VerbName>,
    panes: Vec<String>,
    text: Option<Regex>,
    decision: Decision,
    screen_only: bool,
}

/// The rules of one file.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// An action is not allowed here, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a rule is held against.
struct Asked<'a> {
    who: &'a str,
    verb: VerbName,
    /// For the answer.
    name: &'a str,
    pane: &'a PaneRef,
    text: &'a str,
}

/// What an allowed action may rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The screen alone is witness enough.
    pub screen_only: bool,
}

impl Policy {
    /// Reads a policy; `path` is only for the errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let file: File = wa_link::config::parse(text, path).map_err(|error| error.to_string())?;
        let mut rules = Vec::with_capacity(file.rule.len());
        for (at, raw) in file.rule.into_iter().enumerate() {
            let text = raw.text.as_deref().map(Regex::new).transpose().map_err(|error| {
                format!("{}: rule {}: text is no regular expression: {error}", path.display(), at + 1)
            })?;
            rules.push(Rule {
                who: raw.who,
                verbs: raw.verbs,
                panes: raw.panes,
                text,
                decision: raw.decision,
                screen_only: raw.screen_only,
            });
        }
        Ok(Self { rules })
    }

    /// Patterns for panes that name none of these mux servers, with their rules.
    fn elsewhere(&self, muxes: &[&str]) -> Vec<String> {
        let named = |pattern: &str| {
            pattern.split_once('/').is_none_or(|(named, _)| muxes.iter().any(|mux| glob(named, mux)))
        };
        let of_rule = |(at, rule): (usize, &Rule)| {
            let wrong = rule.panes.iter().find(|pattern| !named(pattern))?;
            Some(format!("rule {}: panes: {wrong:?}", at + 1))
        };
        self.rules.iter().enumerate().filter_map(of_rule).collect()
    }

    /// Whether this host lets the action happen.
    pub fn decide(&self, action: &Action) -> Result<Allowed, Refused> {
        self.judge(&Asked {
            who: &action.who,
            verb: VerbName::of(&action.verb),
            name: action.verb.name(),
            pane: &action.pane,
            text: &action.verb.text(),
        })
    }

    fn judge(&self, asked: &Asked<'_>) -> Result<Allowed, Refused> {
        let found = self.rules.iter().position(|rule| rule.fits(asked));
        let Asked { who, name, .. } = asked;
        match found.map(|at| (at + 1, &self.rules[at])) {
            Some((_, rule)) if rule.decision == Decision::Allow => {
                Ok(Allowed { screen_only: rule.screen_only })
            }
            Some((number, rule)) if rule.decision == Decision::Ask => Err(Refused(format!(
                "rule {number} of this host's policy wants a person's approval for `{name}` by {who}"
            ))),
            Some((number, _)) => {
                Err(Refused(format!("rule {number} of this host's policy denies `{name}` by {who}")))
            }
            None => Err(Refused(format!("no rule of this host's policy allows `{name}` by {who}"))),
        }
    }
}

impl Rule {
    fn fits(&self, asked: &Asked<'_>) -> bool {
        self.verbs.iter().any(|named| named.covers(asked.verb))
            && self.who.iter().any(|pattern| glob(pattern, asked.who))
            && (asked.verb == VerbName::Spawn
                || self.panes.iter().any(|pattern| fits_pane(pattern, asked.pane)))
            && self.text.as_ref().is_none_or(|regex| regex.is_match(asked.text))
    }
}

fn fits_pane(pattern: &str, pane: &PaneRef) -> bool {
    let full = format!("{}/{}", pane.mux, pane.pane_id);
    glob(pattern, &full) || (pane.mux.is_main() && glob(pattern, &pane.pane_id.to_string()))
}

/// A policy file that is read again when it changes.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    stamp: Option<(SystemTime, u64)>,
    policy: Result<Policy, String>,
}

impl PolicyFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: Mutex::new(None) }
    }

    /// Whether the file, as it stands now, lets the action happen.
    pub fn decide(&self, action: &Action) -> Result<Allowed, Refused> {
        self.with(|policy| match policy {
            Ok(policy) => policy.decide(action),
            Err(problem) => Err(Refused(format!("this host only observes: {problem}"))),
        })
    }

    /// Whether `who` may type into the pane at all: what a rule demands of the text is held against an empty one.
    pub fn may_type(&self, who: &str, pane: &PaneRef) -> Result<Allowed, Refused> {
        let asked = Asked { who, verb: VerbName::Send, name: VerbName::Send.as_str(), pane, text: "" };
        self.with(|policy| match policy {
            Ok(policy) => policy.judge(&asked),
            Err(problem) => Err(Refused(format!("this host only observes: {problem}"))),
        })
    }

    /// What is wrong with the file, in words. `muxes`: names of the mux servers that are known here; with none, nothing is
    /// said of patterns.
    pub fn problem(&self, muxes: &[&str]) -> Option<String> {
        self.with(|policy| match policy {
            Err(problem) => self.path.exists().then(|| problem.clone()),
            Ok(_) if muxes.is_empty() => None,
            Ok(policy) => {
                let wrong = policy.elsewhere(muxes);
                (!wrong.is_empty()).then(|| {
                    format!(
                        "{}: {}: there is no such mux server here, only {}; write PANE or MUX/PANE, without the host",
                        self.path.display(),
                        wrong.join("; "),
                        muxes.join(", ")
                    )
                })
            }
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&Result<Policy, String>) -> T) -> T {
        let stamp = std::fs::metadata(&self.path)
            .and_then(|meta| meta.modified().map(|time| (time, meta.len())))
            .ok();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|seen| seen.stamp != stamp) {
            let policy = self.read(stamp.is_some());
            match &policy {
                Ok(policy) => {
                    tracing::info!(path = %self.path.display(), rules = policy.rules.len(), "policy read")
                }
                Err(problem) => tracing::warn!(problem, "this host only observes"),
            }
            *seen = Some(Seen { stamp, policy });
        }
        match seen.as_ref() {
            Some(seen) => use_it(&seen.policy),
            None => use_it(&Err("the policy was not read".to_owned())),
        }
    }

    fn read(&self, exists: bool) -> Result<Policy, String> {
        if !exists {
            return Err(format!("there is no policy file {}", self.path.display()));
        }
        let text = wa_link::files::read_text(&self.path, 1 << 20).map_err(|error| error.to_string())?;
        Policy::parse(&text, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::{ActionId, Generation, MuxName, Timestamp, Verb};

    fn action(who: &str, pane: u64, verb: Verb) -> Action {
        Action {
            id: ActionId::generate(),
            pane: PaneRef {
                mux: MuxName::main(),
                generation: Generation::new("g-1-1").unwrap(),
                pane_id: pane,
            },
            deadline: Timestamp::UNIX_EPOCH,
            fence: 0,
            who: who.into(),
            expect_agent: None,
            expect_agent_pid: None,
            expect_shell: false,
            trace_parent: String::new(),
            verb,
        }
    }

    fn send(text: &str) -> Verb {
        Verb::Send { text: text.into(), enter: true }
    }

    #[test]
    fn the_first_rule_decides_and_none_denies() {
        let text = r#"
            [[rule]]
            who = "operator:*"
            verbs = ["send"]
            text = "rm -rf"
            decision = "deny"
            [[rule]]
            who = ["operator:*", "workflow:compact*"]
            verbs = ["send", "keys"]
            panes = ["3", "main/4*"]
            decision = "allow"
        "#;
        let policy = Policy::parse(text, Path::new("p")).unwrap();
        assert!(policy.decide(&action("operator:eve", 3, send("hello"))).is_ok());
        assert!(policy.decide(&action("workflow:compaction", 42, send("hello"))).is_ok());
        for (who, pane, verb, reason) in [
            ("operator:eve", 3, send("sudo rm -rf /"), "rule 1"),
            ("operator:eve", 5, send("hello"), "no rule"),
            ("agent:x", 3, send("hello"), "no rule"),
            ("operator:eve", 3, Verb::Kill, "`kill`"),
        ] {
            let refused = policy.decide(&action(who, pane, verb)).unwrap_err().0;
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn the_default_is_what_enrolment_promises() {
        let policy = Policy::parse(DEFAULT, Path::new("p")).unwrap();
        assert!(policy.decide(&action("operator:eve", 3, Verb::Kill)).is_ok());
        assert!(policy.decide(&action("workflow:compaction-reread", 3, send("x"))).is_ok());
        assert!(policy.decide(&action("workflow:compaction-reread", 3, Verb::Kill)).is_err());
        assert!(policy.decide(&action("agent:x", 3, send("x"))).is_err());
    }

    /// A rule that denies, above one that allows: with a slip in it, it must not be as if it were not there.
    #[test]
    fn a_slip_in_a_rule_is_told() {
        let file = |key: &str, slip: &str| {
            let mut keys = [("who", "operator:*"), ("panes", "*")];
            keys.iter_mut().filter(|(name, _)| *name == key).for_each(|(_, value)| *value = slip);
            let keys = keys.map(|(name, value)| format!("{name} = ['{value}']")).join("\n");
            format!("[[rule]]\n{keys}\nverbs = ['send']\ndecision = 'deny'\n{DEFAULT}")
        };
        for (key, slip) in
            [("who", "operators:*"), ("who", "anna"), ("panes", "web-1/main/3"), ("panes", "web-1")]
        {
            let error = Policy::parse(&file(key, slip), Path::new("policy.toml")).unwrap_err();
            assert!(error.contains(&format!("rule[0].{key}")) && error.contains(slip), "{error}");
        }
        // As everywhere else in wa, but a host's own file does not name the host.
        let dir = tempfile::tempdir().unwrap();
        let policy = PolicyFile::new(dir.path().join("policy.toml"));
        std::fs::write(&policy.path, file("panes", "web-1/3")).unwrap();
        let problem = policy.problem(&["main", "gui"]).unwrap();
        assert!(problem.contains("rule 1") && problem.contains("\"web-1/3\""), "{problem}");
        for good in ["gui/3", "*/3", "g*/*", "3"] {
            std::fs::write(&policy.path, file("panes", good)).unwrap();
            assert_eq!(PolicyFile::new(policy.path.clone()).problem(&["main", "gui"]), None, "{good}");
        }
        assert_eq!(policy.problem(&[]), None, "no mux server was found yet");
    }

    #[test]
    fn a_missing_or_wrong_file_allows_nothing_until_it_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        let file = PolicyFile::new(path.clone());
        let action = action("operator:eve", 3, send("x"));
        assert!(file.decide(&action).unwrap_err().0.contains("only observes"));
        assert_eq!(file.problem(&[]), None);
        std::fs::write(&path, "[[rule]]\nwho = 1\n").unwrap();
        assert!(file.decide(&action).unwrap_err().0.contains("policy.toml"));
        assert!(file.problem(&[]).is_some());
        std::fs::write(&path, DEFAULT).unwrap();
        assert!(file.decide(&action).is_ok());
        assert_eq!(file.problem(&[]), None);
    }
}
