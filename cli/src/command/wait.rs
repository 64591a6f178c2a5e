//! `wa wait`: until something happens, or is so.

use std::time::Duration;

use wa_proto::wire::v1;

use super::Desk;
use crate::args;
use crate::client::words;
use crate::failure::{Exit, Failure};
use crate::output::{Out, Shape};
use crate::shape::{EventLine, PaneStatus};
use crate::target::{Target, since};

/// Unless `--timeout` says otherwise.
const USUAL: Duration = Duration::from_secs(600);
/// So long after our own patience the controller may still believe that somebody waits.
const SLACK: Duration = Duration::from_secs(1);

pub(super) async fn wait(desk: &mut Desk<'_>, args: &args::Wait) -> Result<Exit, Failure> {
    let target = Target::of(args.target.as_deref(), args.labels.selector.as_deref())?;
    let (pane, selector) = target.wire();
    let mut request = tonic::Request::new(v1::WaitRequest {
        pane,
        selector,
        condition: args.condition.clone(),
        since_us: since(args.since.as_deref(), desk.out.look.now)?,
        all: args.all,
    });
    let session = &desk.session;
    let within = session.within(USUAL);
    request.set_timeout(within.saturating_add(SLACK));
    let mut fleet = session.fleet();
    let answer = session.call(within, fleet.wait(request)).await.map_err(|failure| {
        if failure.exit != Exit::TimedOut {
            return failure;
        }
        Failure::new(Exit::TimedOut, format!("{} did not come within {}", args.condition, words(within)))
    })?;
    let panes: Result<Vec<_>, _> = answer.panes.into_iter().map(PaneStatus::try_from).collect();
    let events: Result<Vec<_>, _> = answer.events.into_iter().map(EventLine::try_from).collect();
    let (panes, events) = (panes?, events?);
    if panes.is_empty() && events.is_empty() {
        return Err(Failure::failed("the controller ended the wait without saying why"));
    }
    print(desk.out, &panes, args.all)?;
    print(desk.out, &events, args.all)?;
    Ok(Exit::Done)
}

/// The object, or with `--all` the list.
fn print<T: Shape>(out: &mut Out, items: &[T], all: bool) -> Result<(), Failure> {
    match items {
        [] => Ok(()),
        [one] if !all => out.one(one),
        several => out.list(several),
    }
}
