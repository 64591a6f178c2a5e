//! Which panes are logged, and how much of them: globs over what is known of a pane, and budgets.
//!
//! Constraints: a pane that a rule excludes is shown, and neither logged nor matched nor acted on. What is not known yet
//! (the program before the first look at the process table) decides nothing: until then nothing of the pane leaves.
//! Format: a rule names one or more of `title`, `command`, `cwd`, `domain` (the mux server's name), each with a glob, and
//! holds when all of them do. `command` is compared with the names of the foreground programs and with their whole command
//! lines; `*` in `cwd` stays within one directory, `**` does not; case counts, except in titles.
//! Operation: an `exclude` rule that holds excludes; else, where there are `include` rules, one of them must hold. Globs
//! are compiled once.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::Deserialize;
use tokio::time::Instant;
use wa_match::ProcessInfo;

use super::budget::{HostBudget, Limits, MIN_BYTES};

/// The `[capture]` table of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureOptions {
    /// Only panes for which one of these holds are logged; empty: all.
    #[serde(default)]
    pub include: Vec<PaneGlobs>,
    /// Panes for which one of these holds are not logged.
    #[serde(default)]
    pub exclude: Vec<PaneGlobs>,
    /// Bytes of text that one pane may store in a minute.
    pub pane_bytes_per_minute: Option<u64>,
    /// … and all panes together.
    pub host_bytes_per_minute: Option<u64>,
}

/// One rule: globs that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaneGlobs {
    pub title: Option<String>,
    pub command: Option<String>,
    pub cwd: Option<String>,
    pub domain: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    #[error("capture.{list}[{at}].{key}: {problem}; write a glob like \"/srv/**\" or \"*password*\"")]
    Glob { list: &'static str, at: usize, key: &'static str, problem: String },
    #[error(
        "capture.{list}[{at}]: a rule without a glob would hold for every pane; name title, command, cwd or domain"
    )]
    Empty { list: &'static str, at: usize },
    #[error("capture.{key}: {bytes} is too little to hold a line; give at least {MIN_BYTES}")]
    Budget { key: &'static str, bytes: u64 },
}

/// What of a pane is known; `None`: not yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'p> {
    pub(super) title: Option<&'p str>,
    pub(super) cwd: Option<&'p str>,
    /// The foreground group of its terminal.
    pub(super) group: Option<&'p [ProcessInfo]>,
    pub(super) domain: &'p str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Included,
    /// Why, in words.
    Excluded(Arc<str>),
    /// Something that a rule asks for is not known yet.
    Undecided,
}

/// The rules, compiled, and the host's budget. Clones share both.
#[derive(Debug, Clone)]
pub struct Capture {
    rules: Arc<Rules>,
    pub(super) budget: HostBudget,
}

#[derive(Debug, Default)]
struct Rules {
    include: Vec<Rule>,
    exclude: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    title: Option<GlobMatcher>,
    command: Option<GlobMatcher>,
    cwd: Option<GlobMatcher>,
    domain: Option<GlobMatcher>,
    /// As it was written.
    words: Arc<str>,
}

impl Default for Capture {
    fn default() -> Self {
        Self { rules: Arc::default(), budget: HostBudget::new(Limits::default(), Instant::now()) }
    }
}

impl Capture {
    /// Compiles the rules; the budgets are full.
    ///
    /// # Errors
    /// When a glob is none, a rule is empty, or a budget too small.
    pub fn new(options: &CaptureOptions) -> Result<Self, CaptureError> {
        let compile = |list: &'static str, rules: &[PaneGlobs]| {
            rules.iter().enumerate().map(|(at, globs)| Rule::new(list, at, globs)).collect::<Result<_, _>>()
        };
        let rules = Rules {
            include: compile("include", &options.include)?,
            exclude: compile("exclude", &options.exclude)?,
        };
        let enough = |key: &'static str, bytes: Option<u64>, else_: u64| match bytes {
            Some(bytes) if bytes < MIN_BYTES => Err(CaptureError::Budget { key, bytes }),
            bytes => Ok(bytes.unwrap_or(else_)),
        };
        let usual = Limits::default();
        let limits = Limits {
            pane: enough("pane_bytes_per_minute", options.pane_bytes_per_minute, usual.pane)?,
            host: enough("host_bytes_per_minute", options.host_bytes_per_minute, usual.host)?,
        };
        Ok(Self { rules: Arc::new(rules), budget: HostBudget::new(limits, Instant::now()) })
    }

    pub(super) fn judge(&self, known: Known<'_>) -> Verdict {
        let mut undecided = false;
        for rule in &self.rules.exclude {
            match rule.holds(known) {
                Some(true) => {
                    return Verdict::Excluded(format!("excluded by the rule {}", rule.words).into());
                }
                Some(false) => {}
                None => undecided = true,
            }
        }
        let mut included = self.rules.include.is_empty();
        for rule in &self.rules.include {
            match rule.holds(known) {
                Some(true) => included = true,
                Some(false) => {}
                None => undecided |= !included,
            }
        }
        match (included, undecided) {
            (_, true) => Verdict::Undecided,
            (true, false) => Verdict::Included,
            (false, false) => Verdict::Excluded("no include rule holds for it".into()),
        }
    }
}

impl Rule {
    fn new(list: &'static str, at: usize, globs: &PaneGlobs) -> Result<Self, CaptureError> {
        let compile = |key: &'static str, glob: &Option<String>, of: fn(&str) -> GlobBuilder<'_>| {
            let compiled = glob.as_deref().map(|glob| of(glob).build());
            compiled
                .transpose()
                .map(|glob| glob.as_ref().map(Glob::compile_matcher))
                .map_err(|error| CaptureError::Glob { list, at, key, problem: error.to_string() })
        };
        if *globs == PaneGlobs::default() {
            return Err(CaptureError::Empty { list, at });
        }
        Ok(Self {
            title: compile("title", &globs.title, |glob| {
                let mut builder = GlobBuilder::new(glob);
                builder.case_insensitive(true);
                builder
            })?,
            command: compile("command", &globs.command, |glob| GlobBuilder::new(glob))?,
            cwd: compile("cwd", &globs.cwd, |glob| {
                let mut builder = GlobBuilder::new(glob);
                builder.literal_separator(true);
                builder
            })?,
            domain: compile("domain", &globs.domain, |glob| GlobBuilder::new(glob))?,
            words: globs.to_string().into(),
        })
    }

    /// `None`: it depends on something that is not known yet.
    fn holds(&self, known: Known<'_>) -> Option<bool> {
        let title = self.title.as_ref().map(|glob| known.title.map(|title| glob.is_match(title)));
        let cwd = self.cwd.as_ref().map(|glob| known.cwd.map(|cwd| matches_directory(glob, cwd)));
        let command = self
            .command
            .as_ref()
            .map(|glob| known.group.map(|group| group.iter().any(|process| matches_command(glob, process))));
        let domain = self.domain.as_ref().map(|glob| Some(glob.is_match(known.domain)));
        let parts = [domain, title, cwd, command];
        if parts.contains(&Some(Some(false))) {
            return Some(false);
        }
        if parts.contains(&Some(None)) { None } else { Some(true) }
    }
}

/// `/srv/**` holds for `/srv` too.
fn matches_directory(glob: &GlobMatcher, cwd: &str) -> bool {
    glob.is_match(cwd) || glob.is_match(format!("{cwd}/."))
}

fn matches_command(glob: &GlobMatcher, process: &ProcessInfo) -> bool {
    let program = process.args.first().and_then(|program| Path::new(program).file_name());
    glob.is_match(&process.comm)
        || program.is_some_and(|program| glob.is_match(program))
        || glob.is_match(process.args.join(" "))
}

impl fmt::Display for PaneGlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = [
            ("title", &self.title),
            ("command", &self.command),
            ("cwd", &self.cwd),
            ("domain", &self.domain),
        ];
        let mut separator = "";
        for (key, glob) in keys {
            if let Some(glob) = glob {
                write!(f, "{separator}{key} = {glob:?}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(text: &str) -> Result<Capture, CaptureError> {
        Capture::new(&toml::from_str(text).unwrap())
    }

    fn vim() -> Vec<ProcessInfo> {
        vec![ProcessInfo {
            pid: 7,
            pgid: 7,
            comm: "vim.basic".into(),
            args: vec!["/usr/bin/vim".into(), "secrets.txt".into()],
            exe: None,
            stopped: false,
            started: 1,
            version: String::new(),
        }]
    }

    fn known<'p>(title: &'p str, cwd: &'p str, group: Option<&'p [ProcessInfo]>) -> Known<'p> {
        Known { title: Some(title), cwd: Some(cwd), group, domain: "main" }
    }

    fn why(verdict: Verdict) -> String {
        match verdict {
            Verdict::Excluded(why) => why.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn rules_hold_for_what_they_name() {
        let rules = capture(
            "include = [{ cwd = \"/srv/**\" }, { domain = \"gui-*\" }]\n\
             exclude = [{ title = \"*password*\" }, { command = \"vim\", cwd = \"/srv/*\" }]",
        )
        .unwrap();
        let group = vim();
        let judge = |title, cwd, group| why(rules.judge(known(title, cwd, group)));
        assert_eq!(judge("a", "/srv", Some(&[])), "Included");
        assert_eq!(judge("a", "/srv/a/b", Some(&[])), "Included");
        assert_eq!(judge("a", "/srvx", Some(&[])), "no include rule holds for it");
        assert_eq!(
            judge("Enter PASSWORD:", "/srv", Some(&[])),
            "excluded by the rule title = \"*password*\""
        );
        assert_eq!(judge("a", "/srv/x/y", Some(&group)), "Included", "another directory");
        let excluded = "excluded by the rule command = \"vim\", cwd = \"/srv/*\"";
        assert_eq!(judge("a", "/srv/x", Some(&group)), excluded);
        assert_eq!(judge("a", "/srv/x", None), "Undecided", "the program is not known yet");
        assert_eq!(judge("a", "/home", None), "no include rule holds for it", "whatever runs there");
        let gui = Known { domain: "gui-7", ..known("a", "/home", Some(&[])) };
        assert_eq!(rules.judge(gui), Verdict::Included);
    }

    #[test]
    fn command_lines_are_compared_whole_too() {
        let rules = capture("exclude = [{ command = \"*secrets.txt\" }]").unwrap();
        assert!(why(rules.judge(known("", "", Some(&vim())))).starts_with("excluded"));
        let unknown = Known { title: None, cwd: None, group: None, domain: "main" };
        assert_eq!(rules.judge(unknown), Verdict::Undecided);
        assert_eq!(Capture::default().judge(unknown), Verdict::Included, "without rules all is decided");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let error = |text: &str| capture(text).unwrap_err().to_string();
        assert!(
            error("include = [{ cwd = \"/a\" }, { title = \"[\" }]").starts_with("capture.include[1].title")
        );
        assert!(error("exclude = [{}]").starts_with("capture.exclude[0]: a rule without a glob"));
        assert!(error("pane_bytes_per_minute = 10").contains("at least 1048576"));
    }
}
