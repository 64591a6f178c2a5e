//! `wa status`: panes and their states. `wa show`: one of them.

use std::collections::BTreeMap;
use std::time::Duration;

use wa_proto::wire::v1;

use super::{Desk, say};
use crate::args;
use crate::client::{ANSWER, Session};
use crate::failure::{Exit, Failure};
use crate::shape::{PaneStatus, Secret, Shown};
use crate::target::Target;

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(1);

/// The panes of a target, in the order of their addresses.
pub(crate) async fn panes(session: &Session, target: &Target) -> Result<Vec<PaneStatus>, Failure> {
    let (pane, selector) = target.wire();
    let request = v1::ListPanesRequest { selector, pane };
    let answer = session.call(session.within(ANSWER), session.fleet().list_panes(request)).await?;
    let panes: Result<Vec<_>, _> = answer.panes.into_iter().map(PaneStatus::try_from).collect();
    let mut panes = panes?;
    panes.sort_by(|a, b| a.place().cmp(&b.place()));
    Ok(panes)
}

pub(super) async fn status(desk: &mut Desk<'_>, args: &args::Status) -> Result<Exit, Failure> {
    let target = Target::of(args.target.as_deref(), args.labels.selector.as_deref())?;
    if args.watch {
        return watch(desk, &target).await;
    }
    let found = panes(&desk.session, &target).await?;
    desk.out.list(&found)?;
    if found.is_empty() {
        match target {
            Target::All => say("no panes yet: is a node connected? See `wa fleet status`"),
            Target::Selector(text) => say(&format!("no pane matches {text}")),
            Target::Pane(_) => {}
        }
    }
    Ok(Exit::Done)
}

/// `wa show`: one pane, a fact a line.
pub(super) async fn show(desk: &mut Desk<'_>, args: &args::Show) -> Result<Exit, Failure> {
    let found = panes(&desk.session, &Target::Pane(args.pane.clone())).await?;
    for pane in found {
        let secrets = if args.reveal { Some(secrets(desk, args).await?) } else { None };
        if secrets.as_ref().is_some_and(Vec::is_empty) {
            say("no sign-in waits there, or its code is older than 15 minutes or than the node");
        }
        desk.out.one(&Shown { pane, secrets })?;
    }
    Ok(Exit::Done)
}

async fn secrets(desk: &Desk<'_>, args: &args::Show) -> Result<Vec<Secret>, Failure> {
    let request = v1::GetScreenRequest { pane: Some(args.pane.clone().into()), reveal: true };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().get_screen(request)).await?;
    Ok(answer.secrets.into_iter().map(Into::into).collect())
}

/// Prints all, then what changes, until it is stopped or the time is over.
async fn watch(desk: &mut Desk<'_>, target: &Target) -> Result<Exit, Failure> {
    let mut seen: BTreeMap<String, PaneStatus> = BTreeMap::new();
    let session = desk.session.clone();
    let watching = async {
        let mut stream = desk.out.stream(true);
        let mut ticks = tokio::time::interval(WATCH);
        loop {
            ticks.tick().await;
            let now: BTreeMap<String, PaneStatus> =
                panes(&session, target).await?.into_iter().map(|pane| (pane.pane.clone(), pane)).collect();
            for (name, pane) in &now {
                if seen.get(name).is_none_or(|before| before.differs(pane)) {
                    stream.push(pane)?;
                }
            }
            for (name, pane) in seen {
                if !now.contains_key(&name) && pane.state != "gone" {
                    stream.push(&pane.gone())?;
                }
            }
            seen = now;
        }
    };
    match session.limit() {
        None => watching.await,
        Some(limit) => {
            tokio::time::timeout(limit, watching).await.unwrap_or_else(|_| Err(session.over(true)))
        }
    }
}
