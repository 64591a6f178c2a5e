//! The screen of a pane, and the secrets of a sign-in that waits there.
//!
//! Whoever may read sees a screen, redacted by its node. Codes and addresses go to operators only; that they were asked
//! for is written down before they are.

use tonic::Status;
use wa_proto::wire::v1;
use wa_proto::{ErrorCode, PaneAddress};

use super::{Fleet, address, away, status, usage};
use crate::identity::peer::Peer;
use crate::registry::NoScreen;
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
        asked.map_err(|error| match &error {
            NoScreen::Away(host) => away(host),
            // The node sees the pane and cannot show it just now: its mux server is away, or frozen.
            NoScreen::Late(_) | NoScreen::Node(_) => ErrorCode::Unreachable.status(error.to_string()),
            NoScreen::Busy(_) => ErrorCode::Busy.status(error.to_string()),
            NoScreen::NoPane(_) => ErrorCode::NotFound.status(error.to_string()),
        })
    }

    async fn write_down_reveal(&self, peer: &Peer, pane: &PaneAddress) -> Result<(), Status> {
        let (who, target) = (peer.who(), pane.to_string());
        let stored = self.store.write(move |tx| {
            tx.audit(&Entry { who: &who, what: "reveal", target: &target, decision: "granted", detail: "" })
        });
        stored.await.map_err(|error| status(&error))
    }
}
