//! `wa screen`: what a pane shows now.

use wa_proto::wire::v1;

use super::Desk;
use crate::args;
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::shape::ScreenView;

pub(super) async fn screen(desk: &mut Desk<'_>, args: &args::Screen) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::GetScreenRequest { pane: Some(args.pane.clone().into()), reveal: false };
    let answer = session.call(session.within(ANSWER), session.fleet().get_screen(request)).await?;
    let view = ScreenView::of(&args.pane, answer, args.ansi)?;
    match desk.out.look.format {
        Format::Json | Format::Jsonl => desk.out.document(&view)?,
        Format::Name => desk.out.line(&args.pane.to_string())?,
        Format::Table | Format::Wide => {
            for line in view.lines() {
                desk.out.line(&line)?;
            }
        }
    }
    desk.out.flush()?;
    Ok(Exit::Done)
}
