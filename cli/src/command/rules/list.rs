//! `wa rules list`: packs, and where they are in force.

use wa_match::Engine;
use wa_proto::wire::v1;

use super::packs;
use crate::args::ListRules;
use crate::client::ANSWER;
use crate::command::{Desk, say};
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::shape::PackItem;

/// The built-in packs and these files; nobody is asked.
pub(super) fn local(args: &ListRules, out: &mut Out) -> Result<Exit, Failure> {
    let loaded = packs::load(&args.files)?;
    let engine: &Engine = loaded.engine();
    let items: Vec<PackItem> = engine.packs().iter().map(PackItem::local).collect();
    out.list(&items)?;
    Ok(Exit::Done)
}

/// What is wanted, and what the nodes say of it.
pub(super) async fn list(desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let session = &desk.session;
    let answer =
        session.call(session.within(ANSWER), session.fleet().list_rules(v1::ListRulesRequest {})).await?;
    let nobody = answer.nodes.is_empty();
    let items = PackItem::of_fleet(answer)?;
    desk.out.list(&items)?;
    if nobody {
        say("no host has joined yet; `wa rules list --local` shows the built-in packs");
    }
    Ok(Exit::Done)
}
