//! `wa fleet revoke` and `wa fleet operator`: who may come in.
//!
//! The key of an operator is made here and leaves this process only in the context file.

use wa_link::cause::chain;
use wa_link::context::Context;
use wa_link::dial::Target;
use wa_link::tls::{self, Identity};
use wa_proto::Host;
use wa_proto::wire::{from_us, v1};

use super::reserved::Reserved;
use super::{Desk, say};
use crate::args::{AddOperator, Operator, Revoke};
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::shape::{NewOperator, OperatorItem, RevokedItem};

pub(super) async fn revoke(desk: &mut Desk<'_>, args: &Revoke) -> Result<Exit, Failure> {
    let scope = match (args.host, args.operator) {
        (true, _) => v1::RevokeScope::Host,
        (_, true) => v1::RevokeScope::Operator,
        (false, false) => v1::RevokeScope::Any,
    };
    end(desk, &args.name, &args.reason, scope).await
}

async fn end(
    desk: &mut Desk<'_>,
    name: &Host,
    reason: &str,
    scope: v1::RevokeScope,
) -> Result<Exit, Failure> {
    let request =
        v1::RevokeRequest { name: name.to_string(), reason: reason.to_owned(), scope: scope.into() };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().revoke(request)).await?;
    let revoked: Vec<RevokedItem> = answer.revoked.into_iter().map(Into::into).collect();
    desk.out.list(&revoked)?;
    Ok(Exit::Done)
}

pub(super) async fn operator(desk: &mut Desk<'_>, command: &Operator) -> Result<Exit, Failure> {
    match command {
        Operator::Add(args) => add(desk, args).await,
        Operator::List => list(desk).await,
        Operator::Remove { name, reason } => end(desk, name, reason, v1::RevokeScope::Operator).await,
    }
}

async fn list(desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let session = &desk.session;
    let mut fleet = session.fleet();
    let asked = fleet.list_operators(v1::ListOperatorsRequest {});
    let answer = session.call(session.within(ANSWER), asked).await?;
    let operators: Result<Vec<_>, _> = answer.operators.into_iter().map(OperatorItem::try_from).collect();
    desk.out.list(&operators?)?;
    Ok(Exit::Done)
}

/// What is wrong with the line.
pub(super) fn check(args: &AddOperator) -> Result<(), Failure> {
    if let Some(url) = &args.controller {
        Target::parse(url).map_err(|error| Failure::usage(error.to_string()))?;
    }
    Ok(())
}

async fn add(desk: &mut Desk<'_>, args: &AddOperator) -> Result<Exit, Failure> {
    let reserved = args.out.as_deref().map(|path| Reserved::new(path, args.force)).transpose()?;
    let added = make(desk, args).await;
    if added.is_err() {
        reserved.inspect(Reserved::give_up);
    }
    added
}

async fn make(desk: &mut Desk<'_>, args: &AddOperator) -> Result<Exit, Failure> {
    let (csr_pem, key_pem) = tls::csr().map_err(|error| Failure::failed(chain(&error)))?;
    let role = args.role.role();
    let request = v1::AddOperatorRequest {
        name: args.name.to_string(),
        role: role.to_string(),
        csr_pem,
        replace: args.replace,
    };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().add_operator(request)).await?;
    let identity = Identity { certificate_pem: answer.certificate_pem, key_pem, ca_pem: answer.ca_pem };
    tls::client_config(&identity)
        .map_err(|error| Failure::failed(format!("the controller's answer cannot be used: {error}")))?;
    let controller = args.controller.as_deref().unwrap_or(session.controller()).to_owned();
    let context = Context { name: args.name.clone(), controller, role, identity };
    let mut made = NewOperator {
        name: args.name.to_string(),
        role: role.to_string(),
        expires: from_us("expires_us", answer.expires_us)?,
        file: None,
        context: None,
    };
    let failed = |error: wa_link::context::ContextError| Failure::failed(chain(&error));
    if let Some(path) = &args.out {
        context.save(path).map_err(failed)?;
        made.file = Some(path.display().to_string());
        desk.out.one(&made)?;
        say(&format!(
            "{} names the controller {}; its owner gives it to `wa` as WA_CONTEXT_FILE",
            path.display(),
            context.controller
        ));
        return Ok(Exit::Done);
    }
    let text = context.to_toml().map_err(failed)?;
    match desk.out.look.format {
        Format::Json | Format::Jsonl => {
            made.context = Some(text);
            desk.out.one(&made)?;
        }
        Format::Table | Format::Wide | Format::Name => {
            desk.out.line(text.trim_end())?;
            desk.out.flush()?;
        }
    }
    say("this holds a private key: keep it in a file that only its owner reads (chmod 600)");
    Ok(Exit::Done)
}
