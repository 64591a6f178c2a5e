//! `wa fleet …`: hosts and how they join.

use wa_link::cause::chain;
use wa_link::files;
use wa_proto::wire::v1;

use super::reserved::Reserved;
use super::{Desk, say};
use crate::args;
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::shape::{HostStatus, Token};

pub(super) async fn status(desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let session = &desk.session;
    let answer =
        session.call(session.within(ANSWER), session.fleet().fleet_status(v1::FleetStatusRequest {})).await?;
    let hosts: Result<Vec<_>, _> = answer.nodes.into_iter().map(HostStatus::try_from).collect();
    let mut hosts = hosts?;
    hosts.sort_by(|a, b| a.host.cmp(&b.host));
    desk.out.list(&hosts)?;
    if hosts.is_empty() {
        // With a host they stand beside it.
        answer.problems.iter().for_each(|problem| say(problem));
        say("no host has joined yet: make a token with `wa fleet token NAME`");
    }
    Ok(Exit::Done)
}

pub(super) async fn token(desk: &mut Desk<'_>, args: &args::Token) -> Result<Exit, Failure> {
    let seconds = u32::try_from(args.ttl.as_secs()).unwrap_or(u32::MAX);
    if !(1..=3600).contains(&seconds) {
        return Err(Failure::usage("--ttl is from 1s to 1h"));
    }
    let reserved = args.out.as_deref().map(|path| Reserved::new(path, args.force)).transpose()?;
    let made = make_token(desk, args, seconds).await;
    if made.is_err() {
        reserved.inspect(Reserved::give_up);
    }
    made
}

async fn make_token(desk: &mut Desk<'_>, args: &args::Token, seconds: u32) -> Result<Exit, Failure> {
    let request =
        v1::CreateTokenRequest { name: args.name.to_string(), ttl_seconds: seconds, replace: args.replace };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().create_token(request)).await?;
    let mut token = Token::of(args.name.to_string(), answer)?;
    if let Some(path) = &args.out {
        let line = format!("{}\n", token.move_to(path));
        files::write_private(path, line.as_bytes()).map_err(|error| Failure::failed(chain(&error)))?;
    }
    desk.out.one(&token)?;
    say(&format!(
        "good once, until {}; on the host: wa-node enroll --controller {} --token-file FILE --state-dir DIR",
        token.expires,
        desk.session.controller()
    ));
    if args.out.is_none() {
        say(
            "whoever has it first is this host: keep it in a file that only its owner reads, as --out FILE does",
        );
    }
    Ok(Exit::Done)
}
