//! `wa pause` and `wa unpause`.

use wa_proto::wire::v1;

use super::Desk;
use crate::args;
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::shape::Paused;
use crate::target::Target;

pub(super) async fn pause(desk: &mut Desk<'_>, args: &args::Pause, paused: bool) -> Result<Exit, Failure> {
    let target = Target::of(args.target.as_deref(), args.labels.selector.as_deref())?;
    let (pane, selector) = target.wire();
    let workflow = args.workflow.clone().unwrap_or_default();
    let request = v1::PauseRequest { selector, pane, paused, reason: args.reason.clone(), workflow };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().pause(request)).await?;
    let done = Paused::of(paused, args.workflow.clone(), answer)?;
    if done.is_nothing() {
        return Err(Failure::new(Exit::NotFound, "no pane matches the selector"));
    }
    desk.out.one(&done)?;
    Ok(Exit::Done)
}
