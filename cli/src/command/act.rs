//! `wa send`, `keys`, `kill`, `spawn`: what changes a pane. Each gives a receipt, and its outcome is the exit code.
//!
//! An answer that did not come in time is `unknown`, not `refused`: the text may have arrived. Who is asked to act on
//! several panes does so on a few at a time and says of each how it went.

use std::io::Read as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use wa_proto::wire::v1::{self, act_request::Verb};
use wa_proto::{Host, PaneAddress};

use super::{Desk, say, status};
use crate::args::{self, Acting};
use crate::client::{Session, words};
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::shape::{Receipt, ReceiptKind, kind};
use crate::target::{Target, selector};

/// How long to wait for the outcome unless `--timeout` says otherwise.
pub(super) const USUAL: Duration = Duration::from_secs(30);
/// The controller itself ends the wait; only if it does not, we do.
pub(super) const SLACK: Duration = Duration::from_secs(5);
/// Panes acted on at the same time.
const AT_ONCE: usize = 8;
/// Nobody types more into a composer.
const LONGEST_TEXT: u64 = 1024 * 1024;

/// One request, all but the pane.
fn request(verb: Verb, acting: &Acting, within: Duration) -> v1::ActRequest {
    v1::ActRequest {
        generation: acting.if_generation.clone().unwrap_or_default(),
        timeout_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
        dry_run: acting.dry_run,
        trace_parent: wa_link::trace::current_parent(),
        verb: Some(verb),
        ..v1::ActRequest::default()
    }
}

async fn act<K>(session: &Session, request: v1::ActRequest) -> Result<Receipt<K>, Failure> {
    let within = Duration::from_millis(u64::from(request.timeout_ms));
    let asked = request.pane.clone().map(PaneAddress::try_from).transpose()?;
    let mut fleet = session.fleet();
    let answer = session.call(within.saturating_add(SLACK), fleet.act(request)).await.map_err(|failure| {
        if failure.exit != Exit::TimedOut {
            return failure;
        }
        let message = format!("no outcome within {}: nobody knows whether it arrived", words(within));
        Failure::new(Exit::TimedOut, message).remedy("look with `wa screen` before you send it again")
    })?;
    Ok(Receipt::of(answer, asked.as_ref())?)
}

/// Acts on one pane and prints the receipt.
async fn one<K: ReceiptKind>(desk: &mut Desk<'_>, request: v1::ActRequest) -> Result<Exit, Failure> {
    let receipt: Receipt<K> = act(&desk.session, request).await?;
    print(desk, &receipt)
}

/// Prints the receipt of an answer about this pane.
pub(super) fn receipt<K: ReceiptKind>(
    desk: &mut Desk<'_>,
    answer: v1::ActResponse,
    pane: &PaneAddress,
) -> Result<Exit, Failure> {
    print(desk, &Receipt::<K>::of(answer, Some(pane))?)
}

fn print<K: ReceiptKind>(desk: &mut Desk<'_>, receipt: &Receipt<K>) -> Result<Exit, Failure> {
    desk.out.one(receipt)?;
    let exit = receipt.exit();
    if exit != Exit::Done && !matches!(desk.out.look.format, Format::Json | Format::Jsonl) {
        say(&format!("wa: {}: {}", receipt.outcome(), receipt.reason().unwrap_or("no reason given")));
    }
    Ok(exit)
}

/// Where `send` goes.
fn destination(args: &args::Send) -> Result<Target, Failure> {
    let labels = selector(args.labels.selector.as_deref())?;
    match (&args.pane, args.labels.selector.is_some()) {
        (Some(pane), false) => match Target::of(Some(pane), None)? {
            Target::Pane(pane) => Ok(Target::Pane(pane)),
            _ => Err(Failure::usage(format!(
                "{pane:?} is no pane: write HOST/PANE, or name several with -l SELECTOR"
            ))),
        },
        (None, true) if labels.is_empty() => {
            Err(Failure::usage("an empty selector would send to every pane: name them, for example -l agent"))
        }
        (None, true) => Ok(Target::Selector(labels)),
        (Some(_), true) => Err(Failure::usage("give either a pane or -l SELECTOR, not both")),
        (None, false) => Err(Failure::usage("a pane or a text is missing: wa send PANE TEXT")),
    }
}

/// What is wrong with the line of a `send`, if anything.
pub(super) fn check(args: &args::Send) -> Result<(), Failure> {
    destination(args)?;
    let verb = Verb::Send(v1::SendText { text: args.text.clone(), enter: true });
    match wa_proto::Verb::try_from(verb) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::usage(error.to_string())),
    }
}

/// Puts standard input in the place of a text that is `-`. Called before there is a runtime, for it blocks. One newline
/// at the end is the shell's, not the text's.
pub(crate) fn read_text(args: &mut args::Send) -> Result<(), Failure> {
    if args.text != "-" {
        return Ok(());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST_TEXT + 1).read_to_string(&mut text);
    let length =
        read.map_err(|error| Failure::usage(format!("cannot read the text from standard input: {error}")))?;
    if length as u64 > LONGEST_TEXT {
        return Err(Failure::usage(format!("the text is longer than {LONGEST_TEXT} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
    }
    args.text = text;
    Ok(())
}

pub(super) async fn send(desk: &mut Desk<'_>, args: &args::Send) -> Result<Exit, Failure> {
    let verb = Verb::Send(v1::SendText { text: args.text.clone(), enter: !args.no_enter });
    let mut request = request(verb, &args.acting, desk.session.within(USUAL));
    request.idempotency_key = args.idempotency_key.clone().unwrap_or_default();
    match destination(args)? {
        Target::Pane(pane) => {
            request.pane = Some(pane.into());
            one::<kind::Send>(desk, request).await
        }
        target => send_to_all(desk, &target, request).await,
    }
}

async fn send_to_all(desk: &mut Desk<'_>, target: &Target, request: v1::ActRequest) -> Result<Exit, Failure> {
    let panes = status::panes(&desk.session, target).await?;
    if panes.is_empty() {
        return Err(Failure::new(Exit::NotFound, "no pane matches the selector"));
    }
    let session = &desk.session;
    let sending = panes.iter().map(|pane| {
        let mut request = request.clone();
        async move {
            let address: PaneAddress =
                pane.pane.parse().map_err(|error| Failure::failed(format!("{error}")))?;
            request.pane = Some(address.clone().into());
            // A key is for one action; each pane has its own.
            if !request.idempotency_key.is_empty() {
                request.idempotency_key = format!("{}@{address}", request.idempotency_key);
            }
            let receipt = act::<kind::Send>(session, request).await;
            Ok(receipt.unwrap_or_else(|failure| Receipt::failed(&address, failure.exit, failure.message)))
        }
    });
    let receipts: Vec<Result<Receipt<kind::Send>, Failure>> =
        futures_util::stream::iter(sending).buffered(AT_ONCE).collect().await;
    let receipts = receipts.into_iter().collect::<Result<Vec<_>, _>>()?;
    desk.out.list(&receipts)?;
    let exits: Vec<Exit> = receipts.iter().map(Receipt::exit).collect();
    Ok(together(&exits))
}

/// The exit code of several: the one that all have; partly done if some are; else failed.
fn together(exits: &[Exit]) -> Exit {
    match exits {
        [] => Exit::Done,
        [first, rest @ ..] if rest.iter().all(|exit| exit == first) => *first,
        all if all.contains(&Exit::Done) => Exit::Partly,
        _ => Exit::Failed,
    }
}

pub(super) async fn keys(desk: &mut Desk<'_>, args: &args::Keys) -> Result<Exit, Failure> {
    let keys = args.keys.iter().map(ToString::to_string).collect();
    let verb = Verb::Keys(v1::PressKeys { keys });
    let mut request = request(verb, &args.acting, desk.session.within(USUAL));
    request.pane = Some(args.pane.clone().into());
    one::<kind::Keys>(desk, request).await
}

pub(super) async fn kill(desk: &mut Desk<'_>, args: &args::Kill) -> Result<Exit, Failure> {
    let mut request = request(Verb::Kill(v1::KillPane {}), &args.acting, desk.session.within(USUAL));
    request.pane = Some(args.pane.clone().into());
    one::<kind::Kill>(desk, request).await
}

pub(super) async fn spawn(desk: &mut Desk<'_>, args: &args::Spawn) -> Result<Exit, Failure> {
    let verb = Verb::Spawn(v1::SpawnPane { command: args.command.clone(), cwd: args.cwd.clone() });
    let acting = Acting { if_generation: None, dry_run: args.dry_run };
    let mut request = request(verb, &acting, desk.session.within(USUAL));
    request.host = Host::to_string(&args.host);
    one::<kind::Spawn>(desk, request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_outcomes_make_one_exit_code() {
        use Exit::{Done, Failed, Partly, Refused, TimedOut};
        for (exits, all) in [
            (&[Done, Done][..], Done),
            (&[Refused, Refused], Refused),
            (&[Done, Refused], Partly),
            (&[Refused, TimedOut, Done], Partly),
            (&[Refused, TimedOut], Failed),
        ] {
            assert_eq!(together(exits), all, "{exits:?}");
        }
    }

    #[test]
    fn a_send_goes_to_one_pane_or_to_those_named() {
        let send = |line: &[&str]| {
            let cli = <args::Cli as clap::Parser>::try_parse_from(["wa", "send"].iter().chain(line).copied());
            match cli.unwrap().command {
                Some(args::Command::Send(send)) => check(&send).and_then(|()| destination(&send)),
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(send(&["a/1", "x\n\ty"]), Ok(Target::Pane(_))));
        assert!(matches!(send(&["-l", "agent=codex", "x"]), Ok(Target::Selector(_))));
        for line in [
            &["a/1"][..],
            &["agent=codex", "x"],
            &["a/1", "x", "-l", "b"],
            &["-l", " ", "x"],
            &["a/1", "\u{1b}[A"],
            &["a/1", "a\r"],
            &["a/1", ""],
        ] {
            assert_eq!(send(line).unwrap_err().exit, Exit::Usage, "{line:?}");
        }
    }
}
