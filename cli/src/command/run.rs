//! `wa run list`.

use wa_proto::PaneAddress;
use wa_proto::wire::v1;

use super::{Desk, say};
use crate::args;
use crate::client::{ANSWER, Session};
use crate::failure::{Exit, Failure};
use crate::shape::RunItem;

/// Runs, the latest first.
pub(crate) async fn runs(
    session: &Session,
    pane: Option<&PaneAddress>,
    limit: u32,
) -> Result<Vec<RunItem>, Failure> {
    let request = v1::ListRunsRequest { pane: pane.cloned().map(Into::into), limit };
    let answer = session.call(session.within(ANSWER), session.fleet().list_runs(request)).await?;
    Ok(answer.runs.into_iter().map(RunItem::try_from).collect::<Result<_, _>>()?)
}

pub(super) async fn list(desk: &mut Desk<'_>, args: &args::RunList) -> Result<Exit, Failure> {
    let found = runs(&desk.session, args.pane.as_ref(), args.limit).await?;
    desk.out.list(&found)?;
    if found.is_empty() {
        say("no workflow has run yet");
    }
    Ok(Exit::Done)
}
