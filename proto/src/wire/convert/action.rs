//! Actions, their verbs and their outcomes.

use crate::{Action, ActionId, Key, Outcome, OutcomeKind, Verb};

use super::{Invalid, agent, agent_text, bad, from_us, need, to_us};
use crate::wire::v1;

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            action_id: outcome.action.as_bytes().to_vec(),
            outcome: outcome.kind.as_str().to_owned(),
            reason: outcome.reason,
            pane: outcome.pane.map(Into::into),
            trace_parent: outcome.trace_parent,
            spawned: outcome.spawned.map(Into::into),
        }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = Invalid;
    fn try_from(outcome: v1::Outcome) -> Result<Self, Invalid> {
        // However a newer node calls it: here it cannot be shown what became of the action.
        let (kind, reason) = match outcome.outcome.parse() {
            Ok(kind) => (kind, outcome.reason),
            Err(_) => {
                (OutcomeKind::Unknown, format!("{:?} of a newer node: {}", outcome.outcome, outcome.reason))
            }
        };
        Ok(Self {
            action: action_id(&outcome.action_id)?,
            kind,
            reason,
            pane: outcome.pane.map(TryInto::try_into).transpose()?,
            trace_parent: outcome.trace_parent,
            spawned: outcome.spawned.map(TryInto::try_into).transpose()?,
        })
    }
}

fn action_id(bytes: &[u8]) -> Result<ActionId, Invalid> {
    ActionId::from_slice(bytes).ok_or_else(|| bad("action_id", "not 16 bytes"))
}

/// Keys as words, each checked.
fn keys(words: &[String]) -> Result<Vec<Key>, Invalid> {
    const MAX: usize = 256;
    if words.is_empty() || words.len() > MAX {
        return Err(bad("keys", format!("{} keys; 1 to {MAX} go at once", words.len())));
    }
    words.iter().map(|word| word.parse().map_err(|e| bad("keys", e))).collect()
}

fn choice(choose: v1::ChooseLabel) -> Result<Verb, Invalid> {
    const MAX: usize = 16;
    const MAX_LABEL: usize = 400;
    let v1::ChooseLabel { labels, dialog } = choose;
    if labels.is_empty() || labels.len() > MAX {
        return Err(bad("choose.labels", format!("{} labels; give 1 to {MAX}", labels.len())));
    }
    let sound = |label: &String| {
        !label.trim().is_empty() && label.len() <= MAX_LABEL && !label.contains(char::is_control)
    };
    if !labels.iter().all(sound) {
        return Err(bad(
            "choose.labels",
            format!("a label is empty, longer than {MAX_LABEL} bytes, or holds a control character"),
        ));
    }
    let id = dialog.is_empty() || (dialog.len() == 16 && dialog.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !id {
        return Err(bad("choose.dialog", "not 16 hex digits"));
    }
    Ok(Verb::Choose { labels, dialog })
}

fn send(text: v1::SendText) -> Result<Verb, Invalid> {
    let control = text.text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    match control {
        Some(c) => Err(bad(
            "text",
            format!("holds the control character U+{:04X}; only newline and tab go", c as u32),
        )),
        None if text.text.is_empty() => Err(bad("text", "empty")),
        None => Ok(Verb::Send { text: text.text, enter: text.enter }),
    }
}

impl TryFrom<v1::action::Verb> for Verb {
    type Error = Invalid;
    fn try_from(verb: v1::action::Verb) -> Result<Self, Invalid> {
        use v1::action::Verb as Wire;
        match verb {
            Wire::Send(text) => send(text),
            Wire::Keys(press) => Ok(Self::Keys(keys(&press.keys)?)),
            Wire::Spawn(spawn) => Ok(Self::Spawn { command: spawn.command, cwd: spawn.cwd }),
            Wire::Kill(_) => Ok(Self::Kill),
            Wire::Choose(choose) => choice(choose),
        }
    }
}

impl TryFrom<v1::act_request::Verb> for Verb {
    type Error = Invalid;
    fn try_from(verb: v1::act_request::Verb) -> Result<Self, Invalid> {
        use v1::act_request::Verb as Wire;
        match verb {
            Wire::Send(text) => send(text),
            Wire::Keys(press) => Ok(Self::Keys(keys(&press.keys)?)),
            Wire::Spawn(spawn) => Ok(Self::Spawn { command: spawn.command, cwd: spawn.cwd }),
            Wire::Kill(_) => Ok(Self::Kill),
            Wire::Choose(choose) => choice(choose),
        }
    }
}

impl From<Verb> for v1::action::Verb {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Send { text, enter } => Self::Send(v1::SendText { text, enter }),
            Verb::Keys(keys) => {
                Self::Keys(v1::PressKeys { keys: keys.iter().map(ToString::to_string).collect() })
            }
            Verb::Spawn { command, cwd } => Self::Spawn(v1::SpawnPane { command, cwd }),
            Verb::Kill => Self::Kill(v1::KillPane {}),
            Verb::Choose { labels, dialog } => Self::Choose(v1::ChooseLabel { labels, dialog }),
        }
    }
}

impl From<Action> for v1::Action {
    fn from(action: Action) -> Self {
        Self {
            action_id: action.id.as_bytes().to_vec(),
            pane: Some(action.pane.into()),
            deadline_us: to_us(action.deadline),
            fence: action.fence,
            who: action.who,
            expect_agent: agent_text(action.expect_agent),
            expect_agent_pid: action.expect_agent_pid.unwrap_or(0),
            expect_shell: action.expect_shell,
            trace_parent: action.trace_parent,
            verb: Some(action.verb.into()),
        }
    }
}

impl TryFrom<v1::Action> for Action {
    type Error = Invalid;
    fn try_from(action: v1::Action) -> Result<Self, Invalid> {
        Ok(Self {
            id: action_id(&action.action_id)?,
            pane: need("action.pane", action.pane)?.try_into()?,
            deadline: from_us("action.deadline_us", action.deadline_us)?,
            fence: action.fence,
            who: action.who,
            expect_agent: agent(action.expect_agent),
            expect_agent_pid: Some(action.expect_agent_pid).filter(|pid| *pid != 0),
            expect_shell: action.expect_shell,
            trace_parent: action.trace_parent,
            verb: need("action.verb", action.verb)?.try_into()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let error = Action::try_from(v1::Action::default()).unwrap_err();
        assert!(error.to_string().contains("action_id"), "{error}");
    }

    #[test]
    fn control_characters_are_refused_at_the_door() {
        let verb = |text: &str| send(v1::SendText { text: text.into(), enter: true });
        assert!(verb("a\nb\tc").is_ok());
        for text in ["a\u{1b}[201~b", "a\r", "\u{0}", "", "\u{9b}"] {
            assert!(verb(text).is_err(), "{text:?}");
        }
    }
}
