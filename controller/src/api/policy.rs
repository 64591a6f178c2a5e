//! What the policy says to an action that nobody has asked for. Nothing is done.

use std::path::Path;

use tonic::Status;
use wa_proto::policy::VerbName;
use wa_proto::wire::v1;
use wa_proto::wire::v1::act_request::Verb as Wanted;
use wa_proto::{Key, Verb};

use super::act::MAX_TEXT;
use super::{Fleet, address, usage};
use crate::gate::Labels;
use crate::identity::peer::Peer;
use crate::policy::{Judgement, Policy, Question, spawn_into};

/// Labels of a pane that is described.
const MAX_LABELS: usize = 64;
const MAX_LABEL: usize = 4096;

impl Fleet {
    pub(super) fn try_policy(
        &self,
        peer: &Peer,
        request: v1::TestPolicyRequest,
    ) -> Result<v1::TestPolicyResponse, Status> {
        let verb: VerbName = request.verb.parse().map_err(usage)?;
        check_who(&request.who)?;
        check_text(verb, &request.text)?;
        let labels = match request.pane {
            Some(pane) => {
                let view = self.pane(&address(peer, pane)?)?;
                let mut labels = view.labels();
                if verb == VerbName::Spawn {
                    labels.clear();
                    spawn_into(&mut labels, &view.host, &view.pane.pane.mux);
                }
                labels
            }
            None => described(request.labels)?,
        };
        let question = Question { who: &request.who, verb, text: &request.text, labels: &labels };
        let in_force = request.policy.is_empty();
        let file_problem = self.policy_file.as_ref().filter(|_| in_force).and_then(|file| file.problem_now());
        let judged = if in_force {
            self.gate.policy().map_or_else(Judgement::open, |policy| policy.judge(&question))
        } else {
            Policy::parse(&request.policy, Path::new("the policy")).map_err(usage)?.judge(&question)
        };
        Ok(v1::TestPolicyResponse {
            decision: judged.decision.as_str().to_owned(),
            reason: match judged.limits.and_then(|(_, limits)| limits.in_words()) {
                Some(limits) => format!("{}, {limits}", judged.reason),
                None => judged.reason,
            },
            rule: judged.rule,
            file_problem: file_problem.unwrap_or_default(),
        })
    }
}

fn check_who(who: &str) -> Result<(), Status> {
    let named = ["operator:", "agent:", "workflow:"].iter().filter_map(|kind| who.strip_prefix(kind));
    if named.clone().any(|name| !name.is_empty() && name.len() <= 200) {
        return Ok(());
    }
    Err(usage(format!("who: write operator:NAME, agent:HOST or workflow:NAME, not {who:?}")))
}

/// Only what could be asked for can be judged.
fn check_text(verb: VerbName, text: &str) -> Result<(), Status> {
    if text.len() > MAX_TEXT {
        return Err(usage(format!("{} bytes of text; at most {MAX_TEXT} go at once", text.len())));
    }
    match verb {
        // A rule without `text` can be tried without one.
        VerbName::Send if text.is_empty() => Ok(()),
        VerbName::Send => {
            let send = v1::SendText { text: text.to_owned(), enter: true };
            Verb::try_from(Wanted::Send(send)).map(drop).map_err(usage)
        }
        VerbName::Keys => {
            text.split_whitespace().try_for_each(|key| key.parse::<Key>().map(drop)).map_err(usage)
        }
        VerbName::Choose | VerbName::Spawn => match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(usage(format!("text: control character {c:?}"))),
            None => Ok(()),
        },
        VerbName::Kill if text.is_empty() => Ok(()),
        VerbName::Kill => Err(usage("kill has no text")),
    }
}

fn described(labels: std::collections::HashMap<String, String>) -> Result<Labels, Status> {
    if labels.len() > MAX_LABELS || labels.iter().any(|(name, value)| name.len() + value.len() > MAX_LABEL) {
        return Err(usage(format!("at most {MAX_LABELS} labels of {MAX_LABEL} bytes")));
    }
    Ok(labels.into_iter().collect())
}
