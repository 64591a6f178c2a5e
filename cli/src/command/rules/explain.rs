//! `wa rules explain`: why a pane, or a saved screen, is in its state.

use wa_proto::wire::v1;

use super::{packs, scan};
use crate::args::ExplainPane;
use crate::client::ANSWER;
use crate::command::Desk;
use crate::failure::{Exit, Failure};
use crate::output::text::{Keep, printable};
use crate::output::{Format, Out};
use crate::shape::Explained;

/// A saved screen; nobody is asked.
pub(super) fn saved(args: &ExplainPane, out: &mut Out) -> Result<Exit, Failure> {
    let Some(file) = &args.file else { return Ok(Exit::Done) };
    let loaded = packs::load(&args.pack)?;
    let still = scan::saved(file, args.size)?;
    let facts = scan::facts(args.agent.as_ref());
    let explanation = wa_match::explain_screen(loaded.engine(), &still.frame, &facts, out.look.now);
    print(out, &Explained::of_file(file, explanation, still.above)?)
}

/// A pane, of its node.
pub(super) async fn pane(desk: &mut Desk<'_>, args: &ExplainPane) -> Result<Exit, Failure> {
    let Some(pane) = &args.pane else { return Ok(Exit::Done) };
    let session = &desk.session;
    let request = v1::ExplainPaneRequest { pane: Some(pane.clone().into()) };
    let answer = session.call(session.within(ANSWER), session.fleet().explain_pane(request)).await?;
    print(desk.out, &Explained::of_pane(pane, answer)?)
}

fn print(out: &mut Out, explained: &Explained) -> Result<Exit, Failure> {
    match out.look.format {
        Format::Json | Format::Jsonl => out.document(explained)?,
        Format::Name => out.list(&explained.rules)?,
        Format::Table | Format::Wide => {
            out.line(&printable(&explained.words(), Keep::Nothing))?;
            if explained.rules.is_empty() {
                out.line("no rule fires here, and none nearly does")?;
            }
            out.list(&explained.rules)?;
        }
    }
    Ok(Exit::Done)
}
