//! The screen of a pane, and the secrets of a sign-in that waits there.
//!
//! Whoever may read sees a screen, redacted by its node. Codes and addresses go to operators only; that they were asked
//! for is written down before they are.

use tonic::Status;
use wa_proto::PaneAddress;
use wa_proto::wire::v1;

use super::{Fleet, address, no_answer, status, usage};
use crate::identity::peer::Peer;
use crate::store::Entry;

impl Fleet {
    pub(super) async fn show_screen(
        &self,
        peer: &Peer,
        request: v1::GetScreenRequest,
    ) -> Result<v1::GetScreenResponse, Status> {
        let pane = request.pane.ok_or_else(|| usage("pane is missing"))?;
        let view = self.pane_here(&address(peer, pane)?)?;
        if request.reveal {
            self.write_down_reveal(peer, &view.address()).await?;
        }
        let asked = self.registry.screen(&view.host, view.pane.pane, request.reveal).await;
        asked.map_err(|error| no_answer(&error))
    }

    async fn write_down_reveal(&self, peer: &Peer, pane: &PaneAddress) -> Result<(), Status> {
        let (who, target) = (peer.who(), pane.to_string());
        let stored = self.store.write(move |tx| {
            tx.audit(&Entry { who: &who, what: "reveal", target: &target, decision: "granted", detail: "" })
        });
        stored.await.map_err(|error| status(&error))
    }
}
