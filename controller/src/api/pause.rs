//! Pause and unpause.
//!
//! After `Pause` has answered, no action begins where it holds: the gate refuses first, then the pause is made durable,
//! then permits that were given just before are waited out. A pause that could not be made durable is taken back, so
//! that what a person is told is what holds after a restart too.

use tokio::time::sleep_until;
use tonic::Status;
use wa_proto::wire::v1;
use wa_proto::{ErrorCode, PaneAddress};

use super::{Fleet, optional_address, selector, status, usage};
use crate::gate::Scope;
use crate::identity::peer::Peer;

impl Fleet {
    pub(super) async fn set_pause(
        &self,
        peer: &Peer,
        request: v1::PauseRequest,
    ) -> Result<v1::PauseResponse, Status> {
        if !request.workflow.is_empty() {
            return self.pause_workflow(peer, request).await;
        }
        let selector = selector(&request.selector)?;
        let pane = optional_address(peer, request.pane)?;
        let views = match &pane {
            Some(pane) => vec![self.pane(pane)?],
            None => self.select(peer, &selector),
        };
        let panes: Vec<PaneAddress> = views.iter().map(|view| view.address()).collect();
        let scope = match pane {
            Some(pane) => Scope::Pane(pane),
            None if selector.is_empty() => Scope::Everything,
            None => Scope::Selector(selector),
        };
        if request.paused {
            self.hold(scope, peer, request.reason).await?;
        } else {
            self.release(&scope, &panes, peer, request.reason).await?;
        }
        let panes = panes.into_iter().map(Into::into).collect();
        Ok(v1::PauseResponse { panes, everything: self.gate.everything_paused() })
    }

    async fn pause_workflow(
        &self,
        peer: &Peer,
        request: v1::PauseRequest,
    ) -> Result<v1::PauseResponse, Status> {
        if !request.selector.is_empty() || request.pane.is_some() {
            return Err(usage("a workflow is paused everywhere: give neither pane nor selector"));
        }
        let scope = self.workflow_scope(&request.workflow)?;
        if request.paused {
            self.hold(scope, peer, request.reason).await?;
        } else {
            self.release(&scope, &[], peer, request.reason).await?;
        }
        Ok(v1::PauseResponse { panes: Vec::new(), everything: self.gate.everything_paused() })
    }

    async fn hold(&self, scope: Scope, peer: &Peer, reason: String) -> Result<(), Status> {
        let (who, caller) = (peer.who(), peer.clone());
        let scopes = [scope];
        let new = !self.gate.scopes().contains(&scopes[0]);
        let quiet = self.gate.pause(&scopes, &who, &reason);
        let text = scopes[0].to_string();
        let stored = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.add_pause(&text, &who, &reason)
        });
        if let Err(error) = stored.await {
            if new {
                self.gate.unpause(&scopes);
            }
            return Err(status(&error));
        }
        if let Some(quiet) = quiet {
            sleep_until(quiet).await;
        }
        Ok(())
    }

    /// Takes back what holds by this very scope and, for a selector, on the panes that it names; `wa unpause` without
    /// one takes everything back.
    async fn release(
        &self,
        scope: &Scope,
        panes: &[PaneAddress],
        peer: &Peer,
        reason: String,
    ) -> Result<(), Status> {
        let (who, caller) = (peer.who(), peer.clone());
        let goes = |held: &Scope| match (scope, held) {
            (Scope::Everything, _) => true,
            (Scope::Selector(_), Scope::Pane(pane)) => panes.contains(pane),
            (scope, held) => scope == held,
        };
        let scopes: Vec<Scope> = self.gate.scopes().into_iter().filter(goes).collect();
        let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        let stored = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            texts.iter().try_for_each(|text| tx.remove_pause(text, &who, &reason))
        });
        stored.await.map_err(|e| status(&e))?;
        self.gate.unpause(&scopes);
        for view in panes.iter().filter_map(|pane| self.registry.pane(pane)) {
            if let Some(still) = self.gate.paused(Some(&view.address()), &view.labels()) {
                let message = format!("{} stays paused: {still}; unpause that", view.address());
                return Err(ErrorCode::Refused.status(message));
            }
        }
        Ok(())
    }
}
