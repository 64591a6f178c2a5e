//! `wa logs`: what a pane has printed, with the places where something is missing.

use wa_proto::wire::v1;

use super::Desk;
use crate::args;
use crate::failure::{Exit, Failure};
use crate::shape::LogEntry;
use crate::target::since;

pub(super) async fn logs(desk: &mut Desk<'_>, args: &args::Logs) -> Result<Exit, Failure> {
    let request = v1::LogsRequest {
        pane: Some(args.pane.clone().into()),
        tail: args.tail.unwrap_or(0),
        since_us: since(args.since.as_deref(), desk.out.look.now)?,
        follow: args.follow,
    };
    let mut fleet = desk.session.fleet();
    let mut incoming = desk.session.stream(args.follow, fleet.logs(request)).await?;
    let mut stream = desk.out.stream(args.follow);
    // A row's rewrites stand next to each other: the one before is held back until the next is another row's. Who
    // follows sees every one at once.
    let mut held: Option<LogEntry> = None;
    while let Some(item) = incoming.next().await? {
        let entry = LogEntry::try_from(item)?;
        if args.follow {
            stream.push(&entry)?;
            continue;
        }
        if let Some(before) = held.take()
            && !before.replaced_by(&entry)
        {
            stream.push(&before)?;
        }
        held = Some(entry);
    }
    if let Some(last) = held {
        stream.push(&last)?;
    }
    stream.finish()?;
    Ok(Exit::Done)
}
