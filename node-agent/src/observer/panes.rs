//! The panes of one server: met, ended, shown on the board.

use std::collections::HashSet;

use wa_proto::wire::v1;
use wa_proto::{EventKind, GapCause, Generation, PaneRef};
use wa_screen::{Options, Removal};

use super::pane::{News, Watched};
use super::ttys::Terminal;
use super::{MAX_PANES, Observer, batch};
use crate::spool::Group;

impl Observer {
    /// The server process has ended: its panes are gone, and their numbers will mean others.
    pub(super) async fn lose_panes(&mut self, removal: Removal) {
        if removal == Removal::MuxLost {
            tracing::warn!(mux = %self.name, panes = self.panes.len(), "the mux server process has ended");
        }
        for (id, mut pane) in std::mem::take(&mut self.panes) {
            self.files.forget(id);
            let group = pane.removed(removal, false);
            self.shared.board.remove_pane(&pane.pane);
            self.append(group).await;
        }
        self.share_ttys();
    }

    /// A pane that was not known. False: there are too many.
    pub(super) fn add(&mut self, generation: &Generation, id: u64, options: Options) -> bool {
        if self.panes.len() >= MAX_PANES {
            return false;
        }
        let pane = PaneRef { mux: self.name.clone(), generation: generation.clone(), pane_id: id };
        let position = self.positions.remove(&(generation.to_string(), id));
        let mut watched = Watched::new(&self.shared, pane, options, position);
        // Until its terminal is known.
        watched.set_mirror(self.is_gui());
        self.panes.insert(id, watched);
        self.numbers.meet(id);
        true
    }

    /// A pane that has ended; `by_itself`: nobody has closed it, as far as that can be told. False: it was not known.
    pub(super) async fn drop_pane(&mut self, id: u64, by_itself: bool) -> bool {
        let Some(mut pane) = self.panes.remove(&id) else { return false };
        self.files.forget(id);
        let group = pane.removed(Removal::Exit, by_itself);
        self.shared.board.remove_pane(&pane.pane);
        self.append(group).await;
        self.share_ttys();
        true
    }

    /// A pane that ended before it was met: whatever it printed is lost.
    pub(super) async fn lose_unmet(&mut self, generation: &Generation, id: u64) {
        if self.is_gui() || !self.numbers.end_unmet(id) {
            return;
        }
        let pane = PaneRef { mux: self.name.clone(), generation: generation.clone(), pane_id: id };
        let position = v1::PanePosition { pane: Some(pane.into()), ..v1::PanePosition::default() };
        self.append(batch::lost(position, GapCause::Exit)).await;
    }

    /// Panes that ended while the node was away.
    pub(super) async fn lose_unclaimed(&mut self) {
        for (_, position) in std::mem::take(&mut self.positions) {
            self.append(batch::lost(position, GapCause::NodeDown)).await;
        }
    }

    /// Says which terminals are here, and which panes are another server's.
    pub(super) fn share_ttys(&mut self) {
        let terminals: HashSet<_> =
            self.panes.values().filter_map(|pane| pane.tty.as_deref().map(Terminal::of)).collect();
        self.ttys.share(terminals);
        self.judge_mirrors();
    }

    pub(super) fn judge_mirrors(&mut self) {
        let is_gui = self.is_gui();
        for pane in self.panes.values_mut() {
            let mirror = match &pane.tty {
                Some(tty) => self.ttys.is_foreign(&Terminal::of(tty)),
                None => is_gui,
            };
            pane.set_mirror(mirror);
        }
        self.tell_board();
        self.follow_sessions();
    }

    /// Panes of server processes that ended while the node was away.
    pub(super) async fn lose_older_generations(&mut self, present: &Generation) {
        let older: Vec<_> =
            self.positions.keys().filter(|(generation, _)| generation != present.as_str()).cloned().collect();
        for key in older {
            if let Some(position) = self.positions.remove(&key) {
                self.append(batch::lost(position, GapCause::MuxLost)).await;
            }
        }
    }

    pub(super) async fn flush_all(&mut self) {
        let groups: Vec<Group> = self.panes.values_mut().filter_map(Watched::flush).collect();
        for group in groups {
            self.append(group).await;
        }
    }

    pub(super) async fn append(&self, group: Group) {
        if let Err(error) = self.shared.spool.append(group).await {
            tracing::error!(%error, "records lost: the spool ended before the observer");
        }
    }

    /// An event of the server itself.
    pub(super) async fn event(&self, kind: EventKind, fields: &[(&str, String)]) {
        self.append(batch::mux_event(
            &self.shared.redactor,
            kind,
            &self.name,
            self.generation.as_ref(),
            fields,
        ))
        .await;
    }

    /// Shows on the board what is new of the panes.
    pub(super) fn tell_board(&mut self) {
        for pane in self.panes.values_mut() {
            match pane.news() {
                News::Report(report) => self.shared.board.set_pane(*report),
                News::Output(at) => self.shared.board.set_output(&pane.pane, at),
            }
        }
    }
}
