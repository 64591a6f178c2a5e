//! Workflows and their runs: list, look into, begin and end by hand.

use tokio::time::sleep_until;
use tonic::Status;
use uuid::Uuid;
use wa_proto::wire::{optional_us, to_us, v1};
use wa_proto::{AccountAlias, AgentKind, ErrorCode, Event, EventId, EventKind, Host, PaneRef, RunId};
use wa_workflow::{Definition, Input, Run, WANTED_ACCOUNT};

use super::{Fleet, address, check_host, convert, status, usage};
use crate::gate::Scope;
use crate::identity::peer::Peer;
use crate::registry::PaneView;
use crate::store::{Entry, RecordedInput, RunSummary, StoreError, on_pane};

/// Bytes of a reason.
const MAX_REASON: usize = 1000;

fn run_id(text: &str) -> Result<RunId, Status> {
    let id = Uuid::parse_str(text)
        .map_err(|_| usage(format!("{text:?} is no id of a run; `wa run list` has them")))?;
    Ok(RunId(id))
}

impl Fleet {
    async fn known_run(&self, peer: &Peer, id: RunId) -> Result<(RunSummary, Vec<RecordedInput>), Status> {
        let found = self.store.run(id).await.map_err(|e| status(&e))?;
        let found = found.ok_or_else(|| ErrorCode::NotFound.status(format!("there is no run {id}")))?;
        check_host(peer, &found.0.run.trigger.host)?;
        Ok(found)
    }

    fn told_run(&self, summary: RunSummary) -> v1::Run {
        convert::run(summary, &self.definitions)
    }

    pub(super) async fn run_of(
        &self,
        peer: &Peer,
        request: v1::GetRunRequest,
    ) -> Result<v1::GetRunResponse, Status> {
        let (summary, inputs) = self.known_run(peer, run_id(&request.run_id)?).await?;
        let definition = self.definitions.iter().find(|definition| definition.name == summary.run.workflow);
        let inputs = folded(definition, &summary.run, inputs);
        Ok(v1::GetRunResponse { run: Some(self.told_run(summary)), inputs })
    }

    pub(super) async fn cancel(
        &self,
        peer: &Peer,
        request: v1::CancelRunRequest,
    ) -> Result<v1::CancelRunResponse, Status> {
        if request.reason.len() > MAX_REASON {
            return Err(usage(format!("reason: at most {MAX_REASON} bytes")));
        }
        let id = run_id(&request.run_id)?;
        let (summary, _) = self.known_run(peer, id).await?;
        if summary.run.is_over() {
            let state = summary.run.status.name();
            return Err(ErrorCode::Refused.status(format!("the run has ended already: {state}")));
        }
        let (caller, who, reason) = (peer.clone(), peer.who(), request.reason);
        let cancelled = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            let Some(run) = tx.run(id)? else { return Ok(()) };
            let pane = &run.trigger.pane;
            tx.audit(&Entry {
                who: &who,
                what: "cancel",
                target: &on_pane(&run.trigger.host, pane),
                decision: "cancelled",
                detail: &format!("run {id} {reason}"),
            })?;
            let words = if reason.is_empty() { format!("by {who}") } else { format!("by {who}: {reason}") };
            tx.inbox_input(&run.trigger.host, pane, id, &Input::Cancel { reason: words }, "")
        });
        cancelled.await.map_err(|e| status(&e))?;
        // What was permitted the moment before may begin for as long as its permit lives: not after this has answered.
        if let Some(lapsed) = self.gate.lapsed(id) {
            sleep_until(lapsed).await;
        }
        let (summary, _) = self.known_run(peer, id).await?;
        Ok(v1::CancelRunResponse { run: Some(self.told_run(summary)) })
    }

    /// Begins a run again where it failed, as a new one.
    pub(super) async fn retry(
        &self,
        peer: &Peer,
        request: v1::RetryRunRequest,
    ) -> Result<v1::RetryRunResponse, Status> {
        let (failed, _) = self.known_run(peer, run_id(&request.run_id)?).await?;
        let failed = failed.run;
        let refused = |why: String| ErrorCode::Refused.status(why);
        let definition = self.definition(&failed.workflow)?;
        let from = failed.again_from(definition, request.sure).map_err(|not| refused(not.to_string()))?;
        if let Some(why) = self.gate.workflow_paused(&failed.workflow) {
            return Err(refused(why));
        }
        let pane = crate::gate::address(&failed.trigger.host, &failed.trigger.pane);
        if self.pane_here(&pane)?.pane.pane != failed.trigger.pane {
            return Err(refused(format!("{pane} is another pane now: the mux server was restarted")));
        }
        let (id, caller, who, of) = (RunId::generate(), peer.clone(), peer.who(), failed.id);
        // What its beginning asks for is not done again.
        let (run, _) =
            Run::start(definition, id, failed.trigger.clone(), &failed.vars, wa_link::clock::now());
        let begun = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            // What it did would be done twice: by whoever did not hear that it was done, or asks once more.
            if let Some(earlier) = tx.begun_again(of)? {
                return Ok(Err(format!("it was begun again as run {earlier}: see `wa run show {earlier}`")));
            }
            if tx.open_run(&run.trigger.host, &run.trigger.pane)?.is_some() {
                return Ok(Err(format!("another run acts on {pane}: see `wa run list {pane}`")));
            }
            tx.audit(&Entry {
                who: &who,
                what: "start",
                target: &on_pane(&run.trigger.host, &run.trigger.pane),
                decision: "retried",
                detail: &format!("workflow {} run {id} after {of}", run.workflow),
            })?;
            tx.save_run(&run, None)?;
            let input = Input::Again { step: from };
            tx.inbox_input(&run.trigger.host, &run.trigger.pane, id, &input, "")?;
            tx.mark_begun_again(of, id).map(Ok)
        });
        begun.await.map_err(|e| status(&e))?.map_err(refused)?;
        let (summary, _) = self.known_run(peer, id).await?;
        Ok(v1::RetryRunResponse { run: Some(self.told_run(summary)) })
    }

    pub(super) async fn begin_run(
        &self,
        peer: &Peer,
        request: v1::StartRunRequest,
    ) -> Result<v1::StartRunResponse, Status> {
        let definition = self.definition(&request.workflow)?;
        let pane = request.pane.ok_or_else(|| usage("pane is missing"))?;
        let view = self.pane_here(&address(peer, pane)?)?;
        let agent = view.pane.agent.as_ref();
        if !definition.is_for(agent) {
            let wanted: Vec<&str> = definition.agents.iter().map(wa_proto::AgentKind::as_str).collect();
            let message =
                format!("{} is for {}, and {} runs there", definition.name, wanted.join(", "), named(agent));
            return Err(ErrorCode::Refused.status(message));
        }
        if definition.on.is_empty() {
            let message = format!("{} begins by `wa account login`, which opens its pane", definition.name);
            return Err(ErrorCode::Refused.status(message));
        }
        if definition.leases() {
            self.refuse_without_switching(&view).await?;
        }
        let by_hand = ByHand {
            workflow: &definition.name,
            host: view.host.clone(),
            pane: view.pane.pane.clone(),
            agent: view.pane.agent.clone(),
            agent_version: view.pane.agent_version.clone(),
            agent_pid: view.pane.agent_pid,
            wanted: None,
        };
        Ok(v1::StartRunResponse { run: self.begin_by_hand(peer, by_hand).await? })
    }

    /// A run that could take no account would end another one on the pane for nothing.
    async fn refuse_without_switching(&self, view: &PaneView) -> Result<(), Status> {
        let (host, pane) = (view.host.clone(), view.pane.clone());
        let asked = self.store.account_choice(host, pane, None, wa_link::clock::now()).await;
        match asked.map_err(|e| status(&e))? {
            Some((pool, _)) if !pool.switching => Err(ErrorCode::Refused.status(pool.switching_off())),
            _ => Ok(()),
        }
    }

    /// Begins a run for a person. `None`: another run acts on the pane, and this one waits for its end.
    pub(super) async fn begin_by_hand(
        &self,
        peer: &Peer,
        by_hand: ByHand<'_>,
    ) -> Result<Option<v1::Run>, Status> {
        let definition = self.definition(by_hand.workflow)?;
        if let Some(why) = self.gate.workflow_paused(&definition.name) {
            return Err(ErrorCode::Refused.status(why));
        }
        let who = peer.who();
        let pane = crate::gate::address(&by_hand.host, &by_hand.pane);
        let (host, workflow) = (by_hand.host.clone(), definition.name.clone());
        let event = by_hand.event(definition, &who);
        let (id, on) = (event.id, by_hand.pane);
        let caller = peer.clone();
        let begun = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            begin(tx, &host, &on, &event, &workflow, &who)
        });
        begun.await.map_err(|e| status(&e))?;
        let runs = self.store.runs(Some(pane), None, 16).await.map_err(|e| status(&e))?;
        let run = runs.into_iter().find(|summary| summary.run.trigger.event == id);
        Ok(run.map(|summary| self.told_run(summary)))
    }

    fn definition(&self, name: &str) -> Result<&Definition, Status> {
        self.definitions.iter().find(|definition| definition.name == name).ok_or_else(|| {
            ErrorCode::NotFound.status(format!("there is no workflow {name:?}; `wa workflow list` has them"))
        })
    }

    pub(super) fn workflows(&self) -> v1::ListWorkflowsResponse {
        let told = |definition: &Definition| v1::Workflow {
            name: definition.name.clone(),
            description: definition.description.clone(),
            version: definition.version,
            agents: definition.agents.iter().map(ToString::to_string).collect(),
            on: definition.on.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "),
            max_actions: definition.max_actions,
            steps: definition.steps.iter().map(step).collect(),
            paused: self.gate.workflow_paused(&definition.name).unwrap_or_default(),
            off: definition.opt_in || definition.on.is_empty(),
        };
        v1::ListWorkflowsResponse { workflows: self.definitions.iter().map(told).collect() }
    }

    pub(super) async fn notices(
        &self,
        peer: &Peer,
        request: v1::ListNoticesRequest,
    ) -> Result<v1::ListNoticesResponse, Status> {
        const DEFAULT: u32 = 100;
        const MOST: u32 = 10_000;
        let limit = if request.limit == 0 { DEFAULT } else { request.limit.min(MOST) };
        let listed = self.store.notices(request.open, super::only_host(peer), limit as usize);
        let notices = listed.await.map_err(|e| status(&e))?;
        let told = |notice: crate::store::Notice| v1::Notice {
            id: notice.id,
            time_us: to_us(notice.time),
            host: notice.host.into(),
            pane: Some(notice.pane.into()),
            run_id: notice.run.map(|run| run.to_string()).unwrap_or_default(),
            workflow: notice.workflow,
            level: notice.level,
            text: notice.text,
            choices: notice.choices,
            until_us: optional_us(notice.until),
            closed_us: optional_us(notice.closed),
            answer: notice.answer,
            who: notice.who,
        };
        Ok(v1::ListNoticesResponse { notices: notices.into_iter().map(told).collect() })
    }

    pub(super) async fn take_answer(
        &self,
        peer: &Peer,
        request: v1::AnswerNoticeRequest,
    ) -> Result<v1::AnswerNoticeResponse, Status> {
        let (id, choice, caller) = (request.id, request.choice, peer.clone());
        let answered = self.store.write(move |tx| {
            tx.check_caller(&caller)?;
            tx.answer(id, &choice, &caller.who())
        });
        match answered.await.map_err(|e| status(&e))? {
            Ok(()) => Ok(v1::AnswerNoticeResponse {}),
            Err(refusal) => Err(match &refusal {
                crate::store::AnswerRefusal::Unknown(_) => ErrorCode::NotFound,
                crate::store::AnswerRefusal::Closed(_) => ErrorCode::Refused,
                crate::store::AnswerRefusal::NotOffered { .. } => ErrorCode::Usage,
            }
            .status(refusal.to_string())),
        }
    }

    /// The scope of a pause that names a workflow.
    pub(super) fn workflow_scope(&self, name: &str) -> Result<Scope, Status> {
        self.definition(name).map(|definition| Scope::Workflow(definition.name.clone()))
    }
}

/// Steps the run again with what it was stepped with: where each input led.
fn folded(definition: Option<&Definition>, run: &Run, inputs: Vec<RecordedInput>) -> Vec<v1::RunInput> {
    let same = definition.filter(|definition| definition.is_of(run));
    let mut again = same.map(|definition| {
        (definition, Run::start(definition, run.id, run.trigger.clone(), &run.vars, run.started).0)
    });
    let told = |RecordedInput { time, input }| {
        let mut told = v1::RunInput { time_us: to_us(time), ..v1::RunInput::default() };
        if let Some((definition, run)) = &mut again
            && let Ok(read) = serde_json::from_str::<Input>(&input)
        {
            *run = wa_workflow::step(definition, run, &read, time).0;
            told.step = definition.steps.get(run.step).map(|step| step.id.clone()).unwrap_or_default();
            told.state = run.status.name().to_owned();
        }
        v1::RunInput { input, ..told }
    };
    inputs.into_iter().map(told).collect()
}

fn named(agent: Option<&wa_proto::AgentKind>) -> String {
    agent.map_or_else(|| "no known agent".to_owned(), ToString::to_string)
}

fn step(step: &wa_workflow::Step) -> v1::WorkflowStep {
    v1::WorkflowStep {
        id: step.id.clone(),
        verb: step.work.verb().to_owned(),
        timeout_ms: u64::try_from(step.timeout.as_millis()).unwrap_or(0),
    }
}

/// What a person begins a run with, and where.
pub(super) struct ByHand<'a> {
    pub(super) workflow: &'a str,
    pub(super) host: Host,
    pub(super) pane: PaneRef,
    pub(super) agent: Option<AgentKind>,
    pub(super) agent_version: String,
    /// 0 = none.
    pub(super) agent_pid: u32,
    /// The account that is to be leased.
    pub(super) wanted: Option<AccountAlias>,
}

impl ByHand<'_> {
    /// What stands in the place of the event that did not come.
    fn event(&self, definition: &Definition, who: &str) -> Event {
        let wanted = self.wanted.iter().map(|alias| (WANTED_ACCOUNT.to_owned(), alias.to_string()));
        Event {
            id: EventId::generate(),
            pane: Some(self.pane.clone()),
            kind: definition.on.first().copied().unwrap_or(EventKind::Bell),
            agent: self.agent.clone(),
            agent_version: self.agent_version.clone(),
            agent_pid: self.agent_pid,
            rule: String::new(),
            fields: wanted.collect(),
            witnesses: Vec::new(),
            line: format!("begun by {who}"),
            row: 0,
            layout: 0,
        }
    }
}

fn begin(
    tx: &crate::store::Tx<'_>,
    host: &Host,
    pane: &PaneRef,
    event: &Event,
    workflow: &str,
    who: &str,
) -> Result<(), StoreError> {
    tx.audit(&Entry {
        who,
        what: "start",
        target: &format!("{host} {} {}", pane.mux, pane.pane_id),
        decision: "started",
        detail: &format!("workflow {workflow} by event {}", event.id),
    })?;
    tx.inbox_trigger(host, pane, event, workflow)
}
