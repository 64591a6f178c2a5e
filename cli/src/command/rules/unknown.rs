//! `wa rules unknown`: screens that no rule knows, as the nodes have counted them.

use wa_proto::wire::v1;

use crate::args::UnknownScreens;
use crate::client::ANSWER;
use crate::command::{Desk, say};
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::output::text::{Keep, printable};
use crate::shape::UnknownItem;

const HINT: &str = "to teach one: put its text into an [[rule.example]] of a rule, `wa rules test FILE`, then `wa rules push \
                    FILE --shadow` and look at what it counts with `wa rules list -o wide`";

pub(super) async fn unknown(desk: &mut Desk<'_>, args: &UnknownScreens) -> Result<Exit, Failure> {
    let session = &desk.session;
    let host = args.host.as_ref().map(ToString::to_string).unwrap_or_default();
    let request = v1::UnknownScreensRequest { host };
    let answer = session.call(session.within(ANSWER), session.fleet().unknown_screens(request)).await?;
    let hosts = answer.hosts.len();
    let (mut items, mut silent) = (Vec::new(), Vec::new());
    for host in answer.hosts {
        if !host.error.is_empty() {
            silent.push(format!("{}: {}", host.host, host.error));
        }
        for screen in host.screens {
            items.push(UnknownItem::of(&host.host, screen)?);
        }
    }
    items.sort_by_key(|item: &UnknownItem| std::cmp::Reverse(item.count));
    if desk.out.look.format == Format::Wide {
        for item in &items {
            desk.out.line(&printable(&item.words(), Keep::Nothing))?;
            for line in item.text.lines() {
                desk.out.line(&format!("    {}", printable(line, Keep::Layout)))?;
            }
        }
        desk.out.flush()?;
    } else {
        desk.out.list(&items)?;
    }
    for host in &silent {
        say(&printable(&format!("wa: {host}"), Keep::Nothing));
    }
    if items.is_empty() && silent.is_empty() {
        say("no unknown screens");
    } else if !items.is_empty() {
        say(HINT);
    }
    Ok(match silent.len() {
        0 => Exit::Done,
        silent if silent == hosts => Exit::Unreachable,
        _ => Exit::Partly,
    })
}
