//! Leases and sign-ins of runs, inside the commit: what is decided is durable before anything is done about it.
//!
//! Constraints: an account is chosen and leased in the commit that steps the run, and once per run, however often that is
//! asked for; what cannot be had is told to the run as an input, in words. Nothing here speaks to a node or a browser: that
//! is an errand (`errands.rs`), which begins when the commit is durable.

use std::time::Duration;

use jiff::SignedDuration;
use wa_link::clock;
use wa_proto::{AccountAlias, ActionId, AgentKind, Timestamp};
use wa_workflow::{Definition, End, Input, Run, Status};

use super::Orchestrator;
use super::errands::{Errand, What};
use crate::accounts::choice::SignIn;
use crate::store::{InboxRow, LeaseAnswer, LeaseRequest, StoreError, Tx, on_pane};

/// Which account a run wants.
pub(super) struct Wanted {
    pub(super) alias: Option<AccountAlias>,
    pub(super) login: bool,
    pub(super) deadline: Timestamp,
}

/// Of which account a code is, and what had it printed.
pub(super) struct Code {
    pub(super) alias: AccountAlias,
    pub(super) action: ActionId,
    pub(super) deadline: Timestamp,
}

/// The sign-in data of an agent whose account names none.
fn provider_of(agent: &AgentKind) -> &str {
    match agent.as_str() {
        "codex" => "openai",
        "claude" => "anthropic",
        "gemini" => "google",
        other => other,
    }
}

fn feed(tx: &Tx<'_>, run: &Run, input: &Input) -> Result<(), StoreError> {
    tx.inbox_input(&run.trigger.host, &run.trigger.pane, run.id, input, &run.trigger.trace_parent)
}

/// `left`: of the step's time.
fn errand(
    run: &Run,
    step: usize,
    agent: AgentKind,
    alias: AccountAlias,
    left: SignedDuration,
    what: What,
) -> Errand {
    Errand {
        run: run.id,
        step,
        workflow: run.workflow.clone(),
        host: run.trigger.host.clone(),
        pane: run.trigger.pane.clone(),
        trace_parent: run.trigger.trace_parent.clone(),
        agent,
        alias,
        until: clock::monotonic() + Duration::try_from(left).unwrap_or_default(),
        what,
    }
}

impl Orchestrator {
    /// Why a workflow that switches accounts does not begin by itself on this pane, if so.
    pub(super) fn may_not_switch(
        &self,
        tx: &Tx<'_>,
        definition: &Definition,
        row: &InboxRow,
    ) -> Result<Option<String>, StoreError> {
        if !definition.leases() {
            return Ok(None);
        }
        match self.known(&row.host, &row.pane) {
            Some(pane) => Ok(tx.may_switch(&row.host, &pane)?.err()),
            None => Ok(None),
        }
    }

    /// Leases an account for a run; its home is an errand.
    pub(super) fn lease(
        &self,
        tx: &Tx<'_>,
        run: &Run,
        step: usize,
        wanted: Wanted,
    ) -> Result<(), StoreError> {
        let Some(agent) = run.trigger.agent.clone() else {
            let reason = "which agent the account is for is not known".to_owned();
            return feed(tx, run, &Input::NotLeased { step, reason, until: None });
        };
        let (host, pane) = (&run.trigger.host, &run.trigger.pane);
        let known = self.known(host, pane);
        let from = match &known {
            Some(known) if !wanted.login => tx.account_of(host, known)?,
            _ => None,
        };
        let told = run.trigger.fields.get("model").cloned();
        let model = told.or_else(|| known?.session.map(|session| session.model)).unwrap_or_default();
        let request = LeaseRequest {
            run: run.id,
            host: host.clone(),
            pane: pane.clone(),
            agent: agent.clone(),
            from,
            wanted: wanted.alias,
            model,
            login: wanted.login,
            now: tx.now,
        };
        match tx.lease_account(&request)? {
            LeaseAnswer::Leased { alias, api_key, reason, .. } => {
                note(
                    tx,
                    run,
                    "leased",
                    &format!("{alias}, after {}: {reason}", named(request.from.as_ref())),
                )?;
                let what = What::Home { api_key };
                let left = wanted.deadline.duration_since(tx.now);
                tx.send(run.id, Some(errand(run, step, agent, alias, left, what)));
                Ok(())
            }
            LeaseAnswer::None { reason, earliest, .. } => {
                note(tx, run, "not_leased", &reason)?;
                feed(tx, run, &Input::NotLeased { step, reason, until: earliest })
            }
        }
    }

    /// Lets a code be entered for a run; that is an errand.
    pub(super) fn sign_in(&self, tx: &Tx<'_>, run: &Run, step: usize, code: Code) -> Result<(), StoreError> {
        let Code { alias, action, deadline } = code;
        match provider_for(tx, run, &alias)? {
            Ok((agent, provider)) => {
                let what = What::SignIn { action, provider };
                let left = deadline.duration_since(tx.now);
                tx.send(run.id, Some(errand(run, step, agent, alias, left, what)));
                Ok(())
            }
            Err(reason) => feed(tx, run, &Input::SignInFailed { step, reason }),
        }
    }

    /// A run that is over keeps its account for the pane only where the pane is on it, or may be.
    pub(super) fn give_back(&self, tx: &Tx<'_>, run: &Run) -> Result<(), StoreError> {
        if !self.definition_of(run).is_some_and(Definition::leases) {
            return Ok(());
        }
        let leased = run.vars.get("account").map(String::as_str);
        let known = self.known(&run.trigger.host, &run.trigger.pane);
        let on = known.as_ref().and_then(|pane| pane.account.as_ref()).map(AccountAlias::as_str);
        let elsewhere = known.as_ref().is_some_and(|pane| pane.agent.is_some() && on != leased);
        let succeeded = matches!(run.status, Status::Ended { end: End::Succeeded, .. });
        if (leased.is_some() && on == leased) || (succeeded && !elsewhere) {
            return Ok(());
        }
        tx.end_leases_of_run(run.id)
    }
}

/// What is done with accounts, for the audit.
fn note(tx: &Tx<'_>, run: &Run, decision: &str, detail: &str) -> Result<(), StoreError> {
    let target = on_pane(&run.trigger.host, &run.trigger.pane);
    tx.audit_workflow(&run.workflow, &target, "account", decision, &format!("run {}: {detail}", run.id))
}

fn named(account: Option<&AccountAlias>) -> &str {
    account.map_or("none of ours", AccountAlias::as_str)
}

/// For which agent, and by which sign-in data, the run may have a code of this account entered; else why not.
fn provider_for(
    tx: &Tx<'_>,
    run: &Run,
    alias: &AccountAlias,
) -> Result<Result<(AgentKind, String), String>, StoreError> {
    let Some(account) = tx.account(alias)? else {
        return Ok(Err(format!("there is no account {alias} any more")));
    };
    if account.sign_in != SignIn::DeviceCode {
        return Ok(Err(format!("{alias} is an account that a person signs in")));
    }
    if let Err(refusal) = tx.begin_sign_in(alias, &run.trigger.host, run.id)? {
        return Ok(Err(refusal.to_string()));
    }
    let provider = match account.provider.as_str() {
        "" => provider_of(&account.agent).to_owned(),
        named => named.to_owned(),
    };
    Ok(Ok((account.agent, provider)))
}
