//! The node's own trouble, told: its disk.
//!
//! What is wrong stands among the node's problems while it lasts, and its beginning is an event, `node.degraded`: on a full
//! disk the event lane still has room for it. A disk that is full and free by turns tells no more than once a minute.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wa_link::shutdown::Shutdown;
use wa_proto::wire::v1;
use wa_proto::{Event, EventKind, Lane};

use crate::board::Board;
use crate::journal::Journal;
use crate::spool::{Group, NewRecord, Spool};

/// Between two events.
const EVERY: Duration = Duration::from_secs(60);

/// Between attempts to write a journal that nobody needs just now.
const RETRY: Duration = Duration::from_secs(5);

/// Shows what is wrong with spool and journal until the shutdown.
pub(crate) async fn run(spool: Spool, journal: Journal, board: Arc<Board>, shutdown: Shutdown) {
    let (mut trouble, mut silent) = (spool.trouble(), journal.trouble());
    let (mut refused, mut told) = (false, None::<Instant>);
    loop {
        let now = trouble.borrow_and_update().clone();
        let no_journal = silent.borrow_and_update().clone();
        let degraded = now.refused || no_journal.is_some();
        let reason: Vec<String> = [&now.problem, &no_journal].into_iter().flatten().cloned().collect();
        board.set_problem("spool", now.problem);
        let untyped = no_journal.is_some();
        board.set_problem("journal", no_journal);
        let soon = told.is_some_and(|told| told.elapsed() < EVERY);
        if degraded && !std::mem::replace(&mut refused, degraded) && !soon {
            told = Some(Instant::now());
            tell(&spool, reason.join("; ")).await;
        }
        refused = degraded;
        tokio::select! {
            () = shutdown.triggered() => return,
            Ok(()) = trouble.changed() => {}
            Ok(()) = silent.changed() => {}
            // Whether it went well shows in the trouble.
            () = tokio::time::sleep(RETRY), if untyped => drop(journal.retry().await),
            else => return,
        }
    }
}

async fn tell(spool: &Spool, reason: String) {
    let event = Event::new(EventKind::NodeDegraded, [("reason", reason)]);
    let record = NewRecord {
        lane: Lane::Events,
        time: wa_link::clock::now(),
        trace_parent: String::new(),
        body: v1::record::Body::Event(event.into()),
    };
    if let Err(error) = spool.append(Group { records: vec![record], positions: Vec::new() }).await {
        tracing::warn!(%error, "nobody is told that the node is degraded");
    }
}
