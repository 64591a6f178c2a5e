//! `wa logs`: what a pane has printed, with the places where something is missing; or its conversation.

use wa_proto::wire::v1;

use super::{Desk, say, status};
use crate::args;
use crate::client::Incoming;
use crate::failure::{Exit, Failure};
use crate::output::{Out, Shape};
use crate::shape::{Conversed, LogEntry};
use crate::target::{Target, since};

pub(super) async fn logs(desk: &mut Desk<'_>, args: &args::Logs) -> Result<Exit, Failure> {
    let request = v1::LogsRequest {
        pane: Some(args.pane.clone().into()),
        tail: args.tail.unwrap_or(0),
        since_us: since(args.since.as_deref(), desk.out.look.now)?,
        follow: args.follow,
        conversation: args.conversation,
    };
    let mut fleet = desk.session.fleet();
    let mut incoming = desk.session.stream(args.follow, fleet.logs(request)).await?;
    if !args.conversation {
        print(&mut incoming, desk.out, args.follow, |entry| entry).await?;
        return Ok(Exit::Done);
    }
    if args.follow {
        // Whether messages will come cannot be known; whether a session file is known now, can. A pane that is gone has none.
        let panes = status::panes(&desk.session, &Target::Pane(args.pane.clone())).await.unwrap_or_default();
        if !panes.iter().any(|pane| pane.session.is_some()) {
            say(&format!("no session file is known of what runs in {}; its screen is followed", args.pane));
        }
    }
    let messages = print(&mut incoming, desk.out, args.follow, Conversed).await?;
    if messages == 0 && !args.follow {
        say(&format!("no session file of {} is known: this is what its screen showed", args.pane));
    }
    Ok(Exit::Done)
}

/// Prints entries as they come; how many messages there were.
async fn print<T: Shape>(
    incoming: &mut Incoming<v1::LogItem>,
    out: &mut Out,
    follow: bool,
    shape: impl Fn(LogEntry) -> T,
) -> Result<usize, Failure> {
    let mut stream = out.stream(follow);
    let mut messages = 0;
    // A row's rewrites stand next to each other: the one before is held back until the next is another row's. Who
    // follows sees every one at once.
    let mut held: Option<LogEntry> = None;
    while let Some(item) = incoming.next().await? {
        let entry = LogEntry::try_from(item)?;
        messages += usize::from(entry.is_message());
        if follow {
            stream.push(&shape(entry))?;
            continue;
        }
        if let Some(before) = held.take()
            && !before.replaced_by(&entry)
        {
            stream.push(&shape(before))?;
        }
        held = Some(entry);
    }
    if let Some(last) = held {
        stream.push(&shape(last))?;
    }
    stream.finish()?;
    Ok(messages)
}
