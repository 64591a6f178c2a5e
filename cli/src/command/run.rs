//! `wa run`: what workflows did, do, and may do.

use wa_proto::PaneAddress;
use wa_proto::wire::v1;

use super::{Desk, say};
use crate::args::{Run, RunList};
use crate::client::{ANSWER, Session};
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::shape::{RunItem, RunShown};

pub(super) async fn run(desk: &mut Desk<'_>, command: &Run) -> Result<Exit, Failure> {
    match command {
        Run::List(args) => list(desk, args).await,
        Run::Show { run } => {
            let shown = get(&desk.session, run).await?;
            desk.out.one(&shown.run)?;
            Ok(Exit::Done)
        }
        Run::Explain { run } => {
            let shown = get(&desk.session, run).await?;
            if matches!(desk.out.look.format, Format::Json | Format::Jsonl) {
                desk.out.one(&shown)?;
            } else {
                desk.out.list(&shown.inputs)?;
                desk.out.one(&shown.run)?;
            }
            Ok(Exit::Done)
        }
        Run::Start { workflow, pane } => start(desk, workflow, pane).await,
        Run::Cancel { run, reason } => cancel(desk, run, reason).await,
        Run::Retry { run, sure } => retry(desk, run, *sure).await,
    }
}

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

async fn list(desk: &mut Desk<'_>, args: &RunList) -> Result<Exit, Failure> {
    let found = runs(&desk.session, args.pane.as_ref(), args.limit).await?;
    desk.out.list(&found)?;
    if found.is_empty() {
        say("no workflow has run yet");
    }
    Ok(Exit::Done)
}

async fn get(session: &Session, run: &str) -> Result<RunShown, Failure> {
    let request = v1::GetRunRequest { run_id: run.to_owned() };
    let answer = session.call(session.within(ANSWER), session.fleet().get_run(request)).await?;
    Ok(RunShown::try_from(answer)?)
}

async fn start(desk: &mut Desk<'_>, workflow: &str, pane: &PaneAddress) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::StartRunRequest { workflow: workflow.to_owned(), pane: Some(pane.clone().into()) };
    let answer = session.call(session.within(ANSWER), session.fleet().start_run(request)).await?;
    match answer.run {
        Some(run) => desk.out.one(&RunItem::try_from(run)?)?,
        None => say(&format!(
            "no run began yet: another one acts on {pane}, or this one began too often there; see `wa run list {pane}`"
        )),
    }
    Ok(Exit::Done)
}

async fn retry(desk: &mut Desk<'_>, run: &str, sure: bool) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::RetryRunRequest { run_id: run.to_owned(), sure };
    let answer = session.call(session.within(ANSWER), session.fleet().retry_run(request)).await?;
    let run =
        answer.run.ok_or_else(|| Failure::failed("the controller did not say how the new run stands"))?;
    desk.out.one(&RunItem::try_from(run)?)?;
    Ok(Exit::Done)
}

async fn cancel(desk: &mut Desk<'_>, run: &str, reason: &str) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::CancelRunRequest { run_id: run.to_owned(), reason: reason.to_owned() };
    let answer = session.call(session.within(ANSWER), session.fleet().cancel_run(request)).await?;
    let run =
        answer.run.ok_or_else(|| Failure::failed("the controller did not say how the run stands now"))?;
    desk.out.one(&RunItem::try_from(run)?)?;
    Ok(Exit::Done)
}
