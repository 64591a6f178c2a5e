//! `wa rules push`: packs to all nodes.
//!
//! The controller checks the packs first and keeps what was pushed; a node that is away takes them when it is back. The
//! exit code speaks of the nodes: all have taken them, some have not, all refuse.

use std::time::Duration;

use wa_proto::wire::v1;

use super::packs;
use crate::args::PushRules;
use crate::client::ANSWER;
use crate::command::{Desk, say};
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::shape::Pushed;

/// How long the controller waits for its nodes unless `--timeout` says otherwise.
const USUAL: Duration = Duration::from_secs(10);

/// Reads the packs, so that what is wrong with the files is said before anybody is asked.
pub(super) fn check(args: &PushRules) -> Result<(), Failure> {
    read(args).map(drop)
}

fn read(args: &PushRules) -> Result<Vec<v1::RulePack>, Failure> {
    let mut all: Vec<v1::RulePack> = Vec::new();
    for file in &args.files {
        let pack = packs::read(file, args.shadow)?;
        if all.iter().any(|known| known.name == pack.name) {
            return Err(Failure::usage(format!("two of the files are called {}.toml", pack.name)));
        }
        all.push(v1::RulePack { name: pack.name, text: pack.text, shadow: pack.shadow });
    }
    Ok(all)
}

pub(super) async fn push(desk: &mut Desk<'_>, args: &PushRules) -> Result<Exit, Failure> {
    let session = &desk.session;
    let wait = session.within(USUAL);
    let request = v1::PushRulesRequest {
        packs: read(args)?,
        remove: args.remove.clone(),
        dry_run: args.dry_run,
        timeout_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
    };
    // The time is the nodes'; checking the packs takes some, too.
    let answer = session.call(wait + ANSWER, session.fleet().push_rules(request)).await?;
    let pushed = Pushed::of(answer, args.dry_run);
    match desk.out.look.format {
        Format::Json | Format::Jsonl => desk.out.document(&pushed)?,
        Format::Table | Format::Wide | Format::Name => desk.out.list(&pushed.nodes)?,
    }
    if args.dry_run {
        say("the packs are good; nothing was sent");
    } else if pushed.nodes.is_empty() {
        say("no host has joined yet; those that join will run them");
    }
    Ok(pushed.exit())
}
