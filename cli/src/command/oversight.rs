//! `wa approve`, `wa deny`, `wa approval`, `wa audit`, `wa policy`: people in charge.

use std::collections::HashMap;

use wa_proto::PaneAddress;
use wa_proto::wire::v1;

use super::rules::source;
use super::{Desk, act, say};
use crate::args::{
    Approval, Audit, AuditCommand, AuditRows, Decide, KeptHead, TestPolicy, VerifyAudit, Waiting,
};
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::shape::{ApprovalItem, AuditCheck, AuditItem, PolicyAnswer, kind};
use crate::target::since;

/// Bytes of a policy file.
const LARGEST_POLICY: u64 = 1024 * 1024;
/// Approvals looked through at most.
const MOST_APPROVALS: u32 = 10_000;

/// What is wrong with the line of an `approve` or a `deny`.
pub(super) fn check_decide(args: &Decide) -> Result<(), Failure> {
    match (&args.what, &args.choice) {
        (Waiting::Action(id), Some(_)) => Err(Failure::usage(format!(
            "{id} is a held action and no dialog: it has no choices, leave out --choice"
        ))),
        _ => Ok(()),
    }
}

pub(super) async fn decide(desk: &mut Desk<'_>, args: &Decide, deny: bool) -> Result<Exit, Failure> {
    match &args.what {
        Waiting::Dialog(pane) => dialog(desk, pane, args, deny).await,
        Waiting::Action(id) if args.dry_run => would_answer(desk, id, deny).await,
        Waiting::Action(id) => held(desk, id, deny).await,
    }
}

async fn dialog(desk: &mut Desk<'_>, pane: &PaneAddress, args: &Decide, deny: bool) -> Result<Exit, Failure> {
    let within = desk.session.within(act::USUAL);
    let request = v1::DecideRequest {
        pane: Some(pane.clone().into()),
        deny,
        choice: args.choice.clone().unwrap_or_default(),
        timeout_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
        dry_run: args.dry_run,
        trace_parent: wa_link::trace::current_parent(),
    };
    let mut fleet = desk.session.fleet();
    let answer = desk.session.call(within.saturating_add(act::SLACK), fleet.decide(request)).await?;
    act::receipt::<kind::Decide>(desk, answer, pane)
}

async fn held(desk: &mut Desk<'_>, id: &str, deny: bool) -> Result<Exit, Failure> {
    let within = desk.session.within(act::USUAL);
    let request = v1::AnswerApprovalRequest {
        id: id.to_owned(),
        allow: !deny,
        timeout_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
    };
    let mut fleet = desk.session.fleet();
    let asked = fleet.answer_approval(request);
    let answer = desk.session.call(within.saturating_add(act::SLACK), asked).await?;
    let approval = answer
        .approval
        .ok_or_else(|| Failure::failed(format!("the controller did not say how {id} stands")))?;
    let approval = ApprovalItem::try_from(approval)?;
    desk.out.one(&approval)?;
    let exit = approval.exit(!deny);
    if exit != Exit::Done {
        say(&format!("wa: {}", approval.words()));
    }
    Ok(exit)
}

async fn would_answer(desk: &mut Desk<'_>, id: &str, deny: bool) -> Result<Exit, Failure> {
    let found = approvals(desk, true, MOST_APPROVALS).await?.into_iter().find(|one| one.is(id));
    let found = found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("no action waits under the id {id}"))
            .remedy("`wa approval list --all` has those that were answered or lapsed, too")
    })?;
    desk.out.one(&found)?;
    say(&format!("{id} would be {}", if deny { "denied" } else { "allowed" }));
    Ok(Exit::Done)
}

async fn approvals(desk: &Desk<'_>, open: bool, limit: u32) -> Result<Vec<ApprovalItem>, Failure> {
    let session = &desk.session;
    let request = v1::ListApprovalsRequest { open, limit };
    let answer = session.call(session.within(ANSWER), session.fleet().list_approvals(request)).await?;
    Ok(answer.approvals.into_iter().map(ApprovalItem::try_from).collect::<Result<_, _>>()?)
}

pub(super) async fn approval(desk: &mut Desk<'_>, command: &Approval) -> Result<Exit, Failure> {
    let Approval::List { all, limit } = command;
    let items = approvals(desk, !all, *limit).await?;
    desk.out.list(&items)?;
    if items.is_empty() {
        say(if *all { "nothing was ever held" } else { "nothing waits for an approval" });
    }
    Ok(Exit::Done)
}

pub(super) async fn audit(desk: &mut Desk<'_>, args: &Audit) -> Result<Exit, Failure> {
    match &args.command {
        None => rows(desk, &args.rows).await,
        Some(AuditCommand::List(args)) => rows(desk, args).await,
        Some(AuditCommand::Verify(args)) => verify(desk, args).await,
    }
}

/// What is wrong with the line of an `audit`.
pub(super) fn check_audit(args: &Audit, now: wa_proto::Timestamp) -> Result<(), Failure> {
    let rows = match &args.command {
        Some(AuditCommand::List(rows)) => rows,
        _ => &args.rows,
    };
    since(rows.since.as_deref(), now).map(drop)
}

async fn rows(desk: &mut Desk<'_>, args: &AuditRows) -> Result<Exit, Failure> {
    let request = v1::ListAuditRequest {
        tail: args.tail.unwrap_or(0),
        since_us: since(args.since.as_deref(), desk.out.look.now)?,
        who: args.who.clone().unwrap_or_default(),
        target: args.target.clone().unwrap_or_default(),
    };
    let mut fleet = desk.session.fleet();
    let mut incoming = desk.session.stream(false, fleet.list_audit(request)).await?;
    let mut stream = desk.out.stream(false);
    let mut none = true;
    while let Some(entry) = incoming.next().await? {
        stream.push(&AuditItem::try_from(entry)?)?;
        none = false;
    }
    stream.finish()?;
    if none {
        say("the audit trail has no such row");
    }
    Ok(Exit::Done)
}

async fn verify(desk: &mut Desk<'_>, args: &VerifyAudit) -> Result<Exit, Failure> {
    let session = &desk.session;
    let mut fleet = session.fleet();
    let request = match args.head.clone() {
        Some(KeptHead { row, hash }) => v1::VerifyAuditRequest { row, hash },
        None => v1::VerifyAuditRequest::default(),
    };
    let row = request.row;
    let answer = session.call(session.within(act::USUAL), fleet.verify_audit(request)).await?;
    if answer.compared_row != row {
        return Err(Failure::failed("the controller is older and compares no head: upgrade it"));
    }
    let check = AuditCheck::from(answer);
    desk.out.one(&check)?;
    if let Some(problem) = check.problem() {
        say(&format!("wa: {problem}"));
    }
    Ok(check.exit())
}

pub(super) async fn test_policy(desk: &mut Desk<'_>, args: &TestPolicy) -> Result<Exit, Failure> {
    let policy = match &args.file {
        Some(path) => source::text(path, LARGEST_POLICY)?,
        None => String::new(),
    };
    if args.file.is_some() && policy.trim().is_empty() {
        return Err(Failure::usage("the policy file is empty")
            .remedy("leave out --file to ask the policy that is in force"));
    }
    let request = v1::TestPolicyRequest {
        policy,
        pane: args.pane.clone().map(Into::into),
        labels: args.label.iter().cloned().collect::<HashMap<_, _>>(),
        who: args.who.clone(),
        verb: args.verb.clone(),
        text: args.text.clone(),
    };
    let session = &desk.session;
    let answer = session.call(session.within(ANSWER), session.fleet().test_policy(request)).await?;
    let answer = PolicyAnswer::from(answer);
    desk.out.one(&answer)?;
    if let Some(problem) = &answer.file_problem {
        say(&format!("wa: the policy file on disk is not what has answered: {problem}"));
    }
    Ok(answer.exit())
}
