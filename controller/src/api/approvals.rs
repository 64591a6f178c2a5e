//! Approvals: what waits for a person, and the person's answer.
//!
//! Constraints: only operators answer; an answer counts once, within the approval's time, and only while the pane is the one
//! that was asked about and shows what it showed then: it is looked at again right before. What is allowed goes its ordinary
//! way after that, with every guard of its node. A `deny` needs no look.

use std::time::Duration;

use tokio::time::timeout_at;
use tonic::Status;
use wa_link::clock;
use wa_proto::wire::{to_us, v1};
use wa_proto::{Action, ErrorCode};

use super::{Fleet, act, check_host, no_answer, only_host, status, usage};
use crate::gate::address;
use crate::identity::peer::Peer;
use crate::policy::shown;
use crate::registry::NoAnswer;
use crate::store::{Approval, ApprovalRefusal, ApprovalState, approval_name};

fn number(id: &str) -> Result<u64, Status> {
    let plain =
        id.strip_prefix("approval-").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    plain.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        let shown: String = id.chars().take(40).collect();
        usage(format!("{shown:?} is no id of an approval; they are named approval-N"))
    })
}

fn refusal(refusal: &ApprovalRefusal) -> Status {
    let code = match refusal {
        ApprovalRefusal::Unknown(_) => ErrorCode::NotFound,
        ApprovalRefusal::Closed { .. } | ApprovalRefusal::Void { .. } => ErrorCode::Refused,
        ApprovalRefusal::NotSeen(_) => ErrorCode::Busy,
    };
    code.status(refusal.to_string())
}

impl Fleet {
    pub(super) async fn approvals(
        &self,
        peer: &Peer,
        request: &v1::ListApprovalsRequest,
    ) -> Result<v1::ListApprovalsResponse, Status> {
        const DEFAULT: u32 = 100;
        const MOST: u32 = 10_000;
        let limit = if request.limit == 0 { DEFAULT } else { request.limit.min(MOST) };
        let listed = self.store.approvals(request.open, only_host(peer), limit as usize).await;
        let approvals = listed.map_err(|e| status(&e))?.into_iter().map(told).collect();
        Ok(v1::ListApprovalsResponse { approvals })
    }

    pub(super) async fn decide_approval(
        &self,
        peer: &Peer,
        request: &v1::AnswerApprovalRequest,
    ) -> Result<v1::AnswerApprovalResponse, Status> {
        let n = number(&request.id)?;
        let approval = self.known_approval(n).await?;
        check_host(peer, &approval.host)?;
        if request.allow {
            self.allow(peer, &approval, act::patience(request.timeout_ms)).await?;
        } else {
            let caller = peer.clone();
            let denied = self.store.write(move |tx| {
                tx.check_caller(&caller)?;
                tx.deny(n, &caller.who())
            });
            let denied = denied.await;
            denied.map_err(|e| status(&e))?.map_err(|error| refusal(&error))?;
        }
        let approval = told(self.known_approval(n).await?);
        Ok(v1::AnswerApprovalResponse { approval: Some(approval) })
    }

    async fn known_approval(&self, n: u64) -> Result<Approval, Status> {
        let found = self.store.approval(n).await.map_err(|e| status(&e))?;
        found.ok_or_else(|| refusal(&ApprovalRefusal::Unknown(n)))
    }

    /// Has the action go on, and waits for its outcome.
    async fn allow(&self, peer: &Peer, approval: &Approval, wait: Duration) -> Result<(), Status> {
        let (n, caller) = (approval.n, peer.clone());
        let until = clock::monotonic() + wait;
        // It is allowed, whether or not the one who allowed it waits for the end.
        let deadline = clock::now() + act::begin_within(wait.max(act::DEFAULT_TIMEOUT));
        // Where it cannot be allowed anyway, the store says why.
        let now = match &approval.action {
            Some(action) if approval.shown.is_some() => self.as_it_is(approval, action).await?,
            _ => Vec::new(),
        };
        let mut waiter = self.gate.wait_for(approval.action_id);
        let allowed = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.allow(n, &caller.who(), &now, deadline)
        });
        allowed.await.map_err(|e| status(&e))?.map_err(|error| refusal(&error))?;
        tokio::select! {
            _ = timeout_at(until, waiter.outcome()) => {}
            () = self.tasks.shutdown().triggered() => {}
        }
        Ok(())
    }

    /// What the pane shows now; it must still be that pane.
    async fn as_it_is(&self, approval: &Approval, action: &Action) -> Result<Vec<u8>, Status> {
        match shown(&self.registry, &approval.host, action).await {
            Ok(shown) => Ok(shown),
            Err(NoAnswer::NoPane(_)) => {
                let pane = address(&approval.host, &approval.pane);
                let (n, reason) = (approval.n, format!("the pane {pane} that it was for is gone"));
                let told = reason.clone();
                self.store.write(move |tx| tx.void_approval(n, &reason)).await.map_err(|e| status(&e))?;
                let refused = match self.known_approval(n).await? {
                    Approval { state: ApprovalState::Expired, reason, .. } if reason == told => {
                        ApprovalRefusal::Void { n, reason }
                    }
                    // Somebody else was quicker.
                    other => ApprovalRefusal::Closed { n, state: other.state.as_str(), by: String::new() },
                };
                Err(refusal(&refused))
            }
            Err(error) => Err(no_answer(&error)),
        }
    }
}

fn told(approval: Approval) -> v1::Approval {
    v1::Approval {
        id: approval_name(approval.n),
        time_us: to_us(approval.time),
        pane: Some(address(&approval.host, &approval.pane).into()),
        who: approval.who,
        verb: approval.verb,
        text: approval.summary,
        rule: approval.rule,
        until_us: to_us(approval.until),
        state: approval.state.as_str().to_owned(),
        answered_by: approval.answered_by,
        outcome: approval.outcome,
        reason: approval.reason,
    }
}
