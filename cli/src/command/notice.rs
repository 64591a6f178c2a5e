//! `wa notice`: what people are told and asked, and their answers.

use wa_proto::wire::v1;

use super::{Desk, say};
use crate::args::Notice;
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::shape::NoticeItem;

pub(super) async fn notice(desk: &mut Desk<'_>, command: &Notice) -> Result<Exit, Failure> {
    match command {
        Notice::List { open, limit } => list(desk, *open, *limit).await,
        Notice::Answer { id, choice } => answer(desk, *id, choice).await,
    }
}

async fn list(desk: &mut Desk<'_>, open: bool, limit: u32) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::ListNoticesRequest { open, limit };
    let answer = session.call(session.within(ANSWER), session.fleet().list_notices(request)).await?;
    let items: Vec<NoticeItem> =
        answer.notices.into_iter().map(NoticeItem::try_from).collect::<Result<_, _>>()?;
    desk.out.list(&items)?;
    if items.is_empty() {
        say(if open { "nothing waits for an answer" } else { "no workflow has told anything yet" });
    }
    Ok(Exit::Done)
}

async fn answer(desk: &mut Desk<'_>, id: u64, choice: &str) -> Result<Exit, Failure> {
    let session = &desk.session;
    let request = v1::AnswerNoticeRequest { id, choice: choice.to_owned() };
    session.call(session.within(ANSWER), session.fleet().answer_notice(request)).await?;
    say(&format!("question {id} was answered: {choice}"));
    Ok(Exit::Done)
}
