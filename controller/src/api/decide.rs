//! Decide: a person answers the dialog that a pane showed last.
//!
//! Constraints: which choice approves and which denies is read from the labels that the event listed; what approves more than
//! this once is never taken unless a person names it; the node answers only if the very same dialog still stands there.

use std::time::Duration;

use tonic::Status;
use wa_link::clock;
use wa_proto::wire::v1;
use wa_proto::{ErrorCode, EventKind, PaneAddress, PaneRef, PaneState};

use super::{Fleet, address, status, usage};
use crate::identity::peer::Peer;
use crate::registry::changed_before;
use crate::store::{EventRange, StoredEvent};

/// How long what a waiting pane asks may take to arrive.
const EVENT_COMES: Duration = Duration::from_secs(2);

impl Fleet {
    pub(super) async fn decide_dialog(
        &self,
        peer: &Peer,
        request: v1::DecideRequest,
    ) -> Result<v1::ActResponse, Status> {
        let pane = address(peer, request.pane.clone().ok_or_else(|| usage("pane is missing"))?)?;
        let (choices, dialog) = self.last_dialog(&pane).await?;
        let label = choose(&choices, request.deny, &request.choice).map_err(|why| {
            let offered = choices.join(" | ");
            ErrorCode::Usage.status(format!("{why}; {pane} offers: {offered}. Name one with --choice"))
        })?;
        let verb = v1::act_request::Verb::Choose(v1::ChooseLabel { labels: vec![label], dialog });
        let act = v1::ActRequest {
            pane: Some(pane.into()),
            timeout_ms: request.timeout_ms,
            dry_run: request.dry_run,
            trace_parent: request.trace_parent,
            verb: Some(verb),
            ..v1::ActRequest::default()
        };
        self.carry_out(peer, act).await
    }

    /// Labels and identity of the dialog that was told last of this pane. That a pane waits is known a moment before what it
    /// asks: the state comes live, the event through the spool.
    async fn last_dialog(&self, pane: &PaneAddress) -> Result<(Vec<String>, String), Status> {
        let view = self.pane_here(pane)?;
        let deadline = clock::monotonic() + EVENT_COMES;
        let mut grew = self.store.events_grew();
        let event = loop {
            grew.mark_unchanged();
            let newest = self.newest_dialog(pane, &view.pane.pane).await?;
            // Of the same clock, and hardly of the same instant.
            let begun = view.pane.detail.since.map(|since| since.checked_sub(EVENT_COMES).unwrap_or(since));
            let told = newest.as_ref().is_some_and(|stored| begun.is_none_or(|begun| stored.time >= begun));
            let waits = view.pane.state == PaneState::Waiting && !told;
            if !waits || !changed_before(&mut grew, deadline).await {
                break newest.map(|stored| stored.event);
            }
        };
        let event = event.ok_or_else(|| {
            ErrorCode::NotFound.status(format!("no dialog of {pane} is known; look with `wa screen {pane}`"))
        })?;
        let field = |name: &str| event.fields.get(name).cloned().unwrap_or_default();
        let choices: Vec<String> =
            field("choices").split(" | ").map(str::to_owned).filter(|label| !label.is_empty()).collect();
        let dialog = field("dialog");
        if choices.is_empty() || dialog.is_empty() {
            let message =
                format!("what the dialog of {pane} offers is not known; answer it with `wa keys {pane}`");
            return Err(ErrorCode::Refused.status(message));
        }
        Ok((choices, dialog))
    }

    async fn newest_dialog(&self, pane: &PaneAddress, here: &PaneRef) -> Result<Option<StoredEvent>, Status> {
        let range = EventRange {
            pane: Some(pane.clone()),
            kinds: vec![EventKind::ApprovalRequested],
            ..EventRange::default()
        };
        let found = self.store.events(range, 1, true).await.map_err(|e| status(&e))?;
        Ok(found.into_iter().next_back().filter(|stored| stored.event.pane.as_ref() == Some(here)))
    }
}

/// How labels begin that approve, and that deny.
const APPROVE: &[&str] = &["yes", "allow", "approve", "accept", "proceed", "run", "ok", "trust"];
const DENY: &[&str] = &["no", "deny", "reject", "decline", "cancel", "don't", "do not", "stop", "exit"];
/// What a label says that approves more than this once.
const MORE: &[&str] =
    &["always", "again", "session", "auto", "all ", "every", "never", "don't ask", "do not ask"];

/// The label to choose, or why none is.
fn choose(choices: &[String], deny: bool, named: &str) -> Result<String, String> {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    if !named.is_empty() {
        let mut found = choices.iter().filter(|label| squeezed(label) == squeezed(named));
        return match (found.next(), found.next()) {
            (Some(label), None) => Ok(label.clone()),
            _ => Err(format!("there is no one choice {named:?}")),
        };
    }
    let begins = |label: &str, words: &[&str]| {
        words.iter().any(|word| {
            label.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })
    };
    let wanted = |label: &&String| {
        let label = squeezed(label);
        let more = MORE.iter().any(|word| label.contains(word));
        begins(&label, if deny { DENY } else { APPROVE }) && (deny || !more)
    };
    let what = if deny { "denies" } else { "approves this once" };
    choices.iter().find(wanted).cloned().ok_or_else(|| format!("no choice plainly {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(choices: &str, deny: bool) -> Option<String> {
        let choices: Vec<String> = choices.split(" | ").map(str::to_owned).collect();
        choose(&choices, deny, "").ok()
    }

    /// Choices as the agents print them.
    #[test]
    fn the_choice_that_approves_once_is_taken() {
        let cases = [
            (
                "Yes | Yes, and don't ask again for npm commands in /srv | No, and tell Claude what to do differently (esc)",
                "Yes",
                "No, and tell Claude what to do differently (esc)",
            ),
            ("Yes, allow all edits during this session | Yes | No (esc)", "Yes", "No (esc)"),
            (
                "Yes, proceed (y) | Yes, and don't ask again for this command (a) | No, and tell Codex what to do differently (esc)",
                "Yes, proceed (y)",
                "No, and tell Codex what to do differently (esc)",
            ),
            (
                "Allow once | Allow for this session | No, suggest changes (esc)",
                "Allow once",
                "No, suggest changes (esc)",
            ),
            ("Yes, allow once | Yes, allow always ... | Cancel", "Yes, allow once", "Cancel"),
        ];
        for (choices, approve, deny) in cases {
            assert_eq!(pick(choices, false).as_deref(), Some(approve), "{choices}");
            assert_eq!(pick(choices, true).as_deref(), Some(deny), "{choices}");
        }
        for choices in ["Switch to gpt-5-mini | Keep current model", "Always allow | Notify me"] {
            assert_eq!(pick(choices, false), None, "{choices}");
        }
    }

    #[test]
    fn a_named_choice_is_taken_whatever_it_means() {
        let choices = ["Keep current model".to_owned(), "Switch".to_owned()];
        assert_eq!(choose(&choices, false, "keep  current Model").unwrap(), "Keep current model");
        assert!(choose(&choices, false, "Keep").is_err());
    }
}
