//! `wa events`: what happened.

use wa_proto::wire::v1;

use super::Desk;
use crate::args;
use crate::failure::{Exit, Failure};
use crate::shape::EventLine;
use crate::target::{selector, since};

pub(super) async fn events(desk: &mut Desk<'_>, args: &args::Events) -> Result<Exit, Failure> {
    let request = v1::EventsRequest {
        pane: args.pane.clone().map(Into::into),
        selector: selector(args.labels.selector.as_deref())?,
        since_us: since(args.since.as_deref(), desk.out.look.now)?,
        follow: args.follow,
        tail: args.tail.unwrap_or(0),
        events: args.events.iter().map(|event| event.as_str().to_owned()).collect(),
    };
    let mut fleet = desk.session.fleet();
    let mut incoming = desk.session.stream(args.follow, fleet.events(request)).await?;
    let mut stream = desk.out.stream(args.follow);
    while let Some(item) = incoming.next().await? {
        stream.push(&EventLine::try_from(item)?)?;
    }
    stream.finish()?;
    Ok(Exit::Done)
}
