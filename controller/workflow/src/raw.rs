//! A step as its file says it, and what is wrong with it.
//!
//! All fields of all kinds stand side by side, so that one that does not belong to its step is told by name; jumps are
//! names here and become indices once every step is known.

use jiff::SignedDuration;
use serde::Deserialize;
use wa_proto::{EventKind, Key, PaneState};

use crate::step::{Choice, Level, Place, Reset, Step, Work};
use crate::template::Template;

/// For steps that do not wait for anything.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);
/// Answers that a person can choose from.
const MAX_CHOICES: usize = 9;

/// The kinds of steps, as files name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verb {
    WaitUntil,
    Expect,
    Verify,
    Type,
    Run,
    Keys,
    Choose,
    Spawn,
    LeaseAccount,
    When,
    DeviceLogin,
    Notify,
    Ask,
    Fail,
    Finish,
}

/// The times that a step can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum At {
    Reset,
    Account,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawLevel {
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChoice {
    label: String,
    to: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStep {
    #[serde(rename = "do")]
    verb: Verb,
    pub(crate) id: Option<String>,
    timeout: Option<SignedDuration>,
    next: Option<String>,
    on_failure: Option<String>,
    on_unknown: Option<String>,
    at: Option<At>,
    states: Option<Vec<PaneState>>,
    grace: Option<SignedDuration>,
    jitter: Option<SignedDuration>,
    unless: Option<Vec<PaneState>>,
    aside: Option<String>,
    events: Option<Vec<EventKind>>,
    not: Option<Vec<EventKind>>,
    text: Option<String>,
    keys: Option<Vec<String>>,
    same_process: Option<bool>,
    labels: Option<Vec<String>>,
    command: Option<Vec<String>>,
    cwd: Option<String>,
    level: Option<RawLevel>,
    choices: Option<Vec<RawChoice>>,
    heard: Option<String>,
    login: Option<bool>,
    signed_in: Option<String>,
}

/// Finds the step that a name means, for the step at `from`.
pub(crate) struct Names<'a> {
    pub(crate) ids: &'a [String],
    pub(crate) from: usize,
}

impl Names<'_> {
    fn index(&self, name: &str) -> Result<usize, String> {
        let at = self.ids.iter().position(|id| id == name);
        let at = at.ok_or_else(|| format!("there is no step {name:?} to go to"))?;
        if at <= self.from {
            return Err(format!("it goes back to {name:?}: a run only goes forward, so that it ends"));
        }
        Ok(at)
    }

    fn optional(&self, name: Option<&String>) -> Result<Option<usize>, String> {
        name.map(|name| self.index(name)).transpose()
    }
}

fn needed<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("{name} is missing"))
}

fn filled<T>(field: Option<Vec<T>>, name: &str) -> Result<Vec<T>, String> {
    let field = needed(field, name)?;
    if field.is_empty() { Err(format!("{name} is empty")) } else { Ok(field) }
}

/// A text that is shown or typed. `lines`: newline and tab may stand in it.
fn template(text: &str, name: &str, lines: bool) -> Result<Template, String> {
    let template = Template::parse(text).map_err(|error| format!("{name}: {error}"))?;
    if template.is_empty() {
        return Err(format!("{name} is empty"));
    }
    let typed = |c: &char| c.is_control() && !(lines && matches!(c, '\n' | '\t'));
    let control = template.literal().find(typed);
    control.map_or(Ok(template), |c| Err(format!("{name} holds the control character {c:?}")))
}

impl RawStep {
    /// The step, or what is wrong with it.
    pub(crate) fn read(mut self, id: String, names: &Names<'_>) -> Result<Step, String> {
        let work = self.work(names)?;
        let to_agent =
            matches!(work, Work::Type { place: Place::Agent, .. } | Work::Keys { .. } | Work::Choose { .. });
        let same_process = self.same_process.take_if(|_| to_agent).unwrap_or(false);
        let step = Step {
            id,
            same_process,
            timeout: self.time(&work)?,
            next: names.optional(self.next.as_ref())?,
            on_failure: names.optional(self.on_failure.as_ref())?,
            on_unknown: names.optional(self.on_unknown.as_ref())?,
            work,
        };
        self.leftover(&step)?;
        Ok(step)
    }

    fn work(&mut self, names: &Names<'_>) -> Result<Work, String> {
        Ok(match self.verb {
            Verb::WaitUntil if self.at.is_some() => Work::WaitReset {
                of: match self.at.take() {
                    Some(At::Account) => Reset::Account,
                    _ => Reset::Limit,
                },
                grace: self.grace.take().unwrap_or(SignedDuration::ZERO),
                jitter: self.jitter.take().unwrap_or(SignedDuration::ZERO),
                unless: self.unless.take().unwrap_or_default(),
                aside: names.optional(self.aside.take().as_ref())?,
            },
            Verb::WaitUntil => Work::WaitState { states: filled(self.states.take(), "states")? },
            Verb::Expect | Verb::Verify => {
                let events = self.events.take().unwrap_or_default();
                let states = self.states.take().unwrap_or_default();
                if events.is_empty() && states.is_empty() {
                    return Err("it names neither events nor states".to_owned());
                }
                Work::Expect { events, states, not: self.not.take().unwrap_or_default() }
            }
            Verb::Type => Work::Type {
                text: self.text(true)?,
                place: Place::Agent,
                unless: self.unless.take().unwrap_or_default(),
                aside: names.optional(self.aside.take().as_ref())?,
            },
            Verb::Run => {
                Work::Type { text: self.text(false)?, place: Place::Shell, unless: Vec::new(), aside: None }
            }
            Verb::Keys => {
                let keys = filled(self.keys.take(), "keys")?;
                let keys = keys.iter().map(|key| key.parse::<Key>().map_err(|unknown| unknown.to_string()));
                Work::Keys { keys: keys.collect::<Result<_, _>>()? }
            }
            Verb::Choose => {
                let labels = filled(self.labels.take(), "labels")?;
                if labels.iter().any(|label| label.trim().is_empty()) {
                    return Err("a label is empty".to_owned());
                }
                Work::Choose { labels }
            }
            Verb::Spawn => {
                let command = filled(self.command.take(), "command")?;
                let command = command.iter().map(|word| template(word, "command", false));
                let cwd = self.cwd.take().unwrap_or_else(|| "{{cwd}}".to_owned());
                Work::Spawn {
                    command: command.collect::<Result<_, _>>()?,
                    cwd: template(&cwd, "cwd", false)?,
                }
            }
            Verb::Notify => {
                let level = match self.level.take() {
                    None | Some(RawLevel::Info) => Level::Info,
                    Some(RawLevel::Warning) => Level::Warning,
                    Some(RawLevel::Error) => Level::Error,
                };
                Work::Notify { level, text: self.text(true)? }
            }
            Verb::LeaseAccount => Work::LeaseAccount { login: self.login.take().unwrap_or(false) },
            Verb::When => {
                Work::When { signed_in: names.index(&needed(self.signed_in.take(), "signed_in")?)? }
            }
            Verb::DeviceLogin => Work::DeviceLogin,
            Verb::Ask => {
                let events = self.events.take().unwrap_or_default();
                let heard = names.optional(self.heard.take().as_ref())?;
                if events.is_empty() != heard.is_none() {
                    return Err(
                        "events and heard go together: what ends the question, and where to".to_owned()
                    );
                }
                Work::Ask { question: self.text(true)?, choices: self.choices(names)?, events, heard }
            }
            Verb::Fail => Work::Fail { reason: self.text(false)? },
            Verb::Finish => Work::Finish { reason: self.text(false)? },
        })
    }

    fn text(&mut self, lines: bool) -> Result<Template, String> {
        template(&needed(self.text.take(), "text")?, "text", lines)
    }

    fn choices(&mut self, names: &Names<'_>) -> Result<Vec<Choice>, String> {
        let raw = filled(self.choices.take(), "choices")?;
        if raw.len() > MAX_CHOICES {
            return Err(format!("more than {MAX_CHOICES} choices"));
        }
        let mut choices: Vec<Choice> = Vec::new();
        for RawChoice { label, to } in raw {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if label.is_empty() || !label.chars().all(plain) {
                return Err(format!(
                    "choice {label:?}: use letters, digits, '-' and '_': it is typed by people"
                ));
            }
            if choices.iter().any(|choice| choice.label == label) {
                return Err(format!("choice {label:?} stands twice"));
            }
            choices.push(Choice { to: names.index(&to)?, label });
        }
        Ok(choices)
    }

    fn time(&mut self, work: &Work) -> Result<SignedDuration, String> {
        let at_once =
            matches!(work, Work::Notify { .. } | Work::Fail { .. } | Work::Finish { .. } | Work::When { .. });
        match self.timeout.take() {
            Some(timeout) if at_once => Err(format!("timeout = {timeout:#}: this step waits for nothing")),
            Some(timeout) if timeout <= SignedDuration::ZERO => {
                Err("timeout must be longer than zero".into())
            }
            Some(timeout) => Ok(timeout),
            None if at_once => Ok(AT_ONCE),
            None => Err("timeout is missing".to_owned()),
        }
    }

    /// What does not belong to this kind of step.
    fn leftover(&self, step: &Step) -> Result<(), String> {
        let verb = step.work.verb();
        let ends = step.work.ends();
        let left = [
            ("at", self.at.is_some()),
            ("states", self.states.is_some()),
            ("grace", self.grace.is_some()),
            ("jitter", self.jitter.is_some()),
            ("unless", self.unless.is_some()),
            ("aside", self.aside.is_some()),
            ("events", self.events.is_some()),
            ("not", self.not.is_some()),
            ("text", self.text.is_some()),
            ("keys", self.keys.is_some()),
            ("same_process", self.same_process.is_some()),
            ("labels", self.labels.is_some()),
            ("command", self.command.is_some()),
            ("cwd", self.cwd.is_some()),
            ("level", self.level.is_some()),
            ("choices", self.choices.is_some()),
            ("heard", self.heard.is_some()),
            ("login", self.login.is_some()),
            ("signed_in", self.signed_in.is_some()),
            ("next", ends && step.next.is_some()),
            (
                "on_failure",
                matches!(step.work, Work::Fail { .. } | Work::Finish { .. }) && step.on_failure.is_some(),
            ),
            ("on_unknown", !step.work.acts() && step.on_unknown.is_some()),
        ];
        match left.iter().find(|(_, there)| *there) {
            Some((name, _)) => Err(format!("{name} does not belong to `{verb}`")),
            None => Ok(()),
        }
    }
}
