//! `wa search`: text in everything that was printed. No hit is no failure.

use wa_proto::wire::v1;

use super::{Desk, say};
use crate::args;
use crate::client::Session;
use crate::failure::{Exit, Failure};
use crate::shape::Hit;
use crate::target::{selector, since};

/// The hits, at most as many as the request allows.
pub(crate) async fn hits(session: &Session, request: v1::SearchRequest) -> Result<Vec<Hit>, Failure> {
    let limit = if request.limit == 0 { 100 } else { request.limit };
    let mut fleet = session.fleet();
    let mut incoming = session.stream(false, fleet.search(request)).await?;
    let mut hits = Vec::new();
    while let Some(hit) = incoming.next().await? {
        hits.push(Hit::try_from(hit)?);
        if hits.len() >= limit as usize {
            break;
        }
    }
    Ok(hits)
}

pub(super) async fn search(desk: &mut Desk<'_>, args: &args::Search) -> Result<Exit, Failure> {
    let request = v1::SearchRequest {
        query: args.query.join(" "),
        regex: args.regex.clone().unwrap_or_default(),
        selector: selector(args.labels.selector.as_deref())?,
        since_us: since(args.since.as_deref(), desk.out.look.now)?,
        limit: args.limit,
    };
    let found = hits(&desk.session, request).await?;
    desk.out.list(&found)?;
    if found.is_empty() {
        say("no hit");
    } else if found.len() == args.limit as usize {
        say(&format!("these are the first {}; more with --limit", args.limit));
    }
    Ok(Exit::Done)
}
