//! The Fleet service: what people and agents ask.
//!
//! Constraints: every call names the roles that may make it, and an agent sees and reaches its own host alone; errors
//! are the closed set of [`ErrorCode`]; a stream ends when its caller goes or the controller shuts down, and holds no
//! database connection while it waits.

mod accounts;
mod act;
mod approvals;
mod audit;
mod conversation;
mod convert;
mod decide;
mod identity;
mod pause;
mod policy;
mod rules;
mod runs;
mod screen;
mod streams;
mod wait;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use wa_link::clock;
use wa_link::principal::Role;
use wa_link::shutdown::Tasks;
use wa_link::token::JoinToken;
use wa_proto::selector::Selector;
use wa_proto::wire::{from_us, to_us, v1};
use wa_proto::{ErrorCode, Host, PaneAddress, Timestamp};
use wa_workflow::Definition;

use crate::accounts::Accounts;
use crate::gate::Gate;
use crate::identity::Doorkeeper;
use crate::identity::ca::Authority;
use crate::identity::peer::Peer;
use crate::policy::PolicyFile;
use crate::registry::{NoAnswer, PaneView, Registry};
use crate::store::{NewToken, Store, StoreError};

const READERS: &[Role] = &[Role::Viewer, Role::Operator, Role::Admin, Role::Agent];
const ACTORS: &[Role] = &[Role::Operator, Role::Admin, Role::Agent];
const OPERATORS: &[Role] = &[Role::Operator, Role::Admin];
const ADMINS: &[Role] = &[Role::Admin];

/// The service, with all that it asks.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) accounts: Accounts,
    pub(crate) authority: Arc<Authority>,
    pub(crate) doorkeeper: Arc<Doorkeeper>,
    pub(crate) definitions: Arc<Vec<Definition>>,
    /// `None`: there is no policy but those of the hosts.
    pub(crate) policy_file: Option<Arc<PolicyFile>>,
    /// Packs are checked one set after the other.
    pub(crate) checking: Arc<Semaphore>,
    pub(crate) tasks: Tasks,
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a store's refusal is on the wire.
pub(crate) fn status(error: &StoreError) -> Status {
    let code = match error {
        StoreError::Missing { .. } | StoreError::Invalid(_) => ErrorCode::Usage,
        StoreError::NotFound(_) => ErrorCode::NotFound,
        StoreError::Refused(_) => ErrorCode::Refused,
        StoreError::Closed => ErrorCode::Unreachable,
        StoreError::Open { .. }
        | StoreError::Full
        | StoreError::ReadOnly
        | StoreError::Damaged(_)
        | StoreError::Vault(_)
        | StoreError::Failed(_) => ErrorCode::Internal,
    };
    code.status(error.to_string())
}

fn usage(problem: impl std::fmt::Display) -> Status {
    ErrorCode::Usage.status(problem.to_string())
}

fn selector(text: &str) -> Result<Selector, Status> {
    text.parse().map_err(usage)
}

fn optional_time(field: &'static str, us: i64) -> Result<Option<Timestamp>, Status> {
    if us == 0 { Ok(None) } else { from_us(field, us).map(Some).map_err(usage) }
}

fn no_pane(pane: &PaneAddress) -> Status {
    ErrorCode::NotFound.status(format!("there is no pane {pane}; `wa status` lists them"))
}

fn away(host: &Host) -> Status {
    ErrorCode::Unreachable
        .status(format!("the node {host} is not connected; `wa fleet status` says since when"))
}

/// Why a node did not tell what only it knows.
fn no_answer(error: &NoAnswer) -> Status {
    match error {
        NoAnswer::Away(host) => away(host),
        // The node sees the pane and cannot show it just now: its mux server is away, or frozen.
        NoAnswer::Late(_) | NoAnswer::Node(_) => ErrorCode::Unreachable.status(error.to_string()),
        NoAnswer::Busy(_) => ErrorCode::Busy.status(error.to_string()),
        NoAnswer::NoPane(_) => ErrorCode::NotFound.status(error.to_string()),
    }
}

/// How long the caller is ready to wait, a little less so that it gets an answer and not a broken call.
fn patience<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    let limit = match unit {
        "H" => Duration::from_secs(count.checked_mul(3600)?),
        "M" => Duration::from_secs(count.checked_mul(60)?),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(limit.saturating_sub((limit / 10).min(Duration::from_millis(100))))
}

/// The one host that this caller may see; `None` = all.
fn only_host(peer: &Peer) -> Option<Host> {
    (peer.principal.role == Role::Agent).then(|| peer.principal.name.clone())
}

fn check_host(peer: &Peer, host: &Host) -> Result<(), Status> {
    match only_host(peer) {
        Some(own) if own != *host => Err(ErrorCode::Refused.status(format!(
            "an agent sees and reaches its own host {own} only, not {host}; a person can with --context"
        ))),
        _ => Ok(()),
    }
}

/// An address that the caller may name.
fn address(peer: &Peer, pane: v1::PaneAddress) -> Result<PaneAddress, Status> {
    let pane = PaneAddress::try_from(pane).map_err(usage)?;
    check_host(peer, &pane.host)?;
    Ok(pane)
}

fn optional_address(peer: &Peer, pane: Option<v1::PaneAddress>) -> Result<Option<PaneAddress>, Status> {
    pane.map(|pane| address(peer, pane)).transpose()
}

impl Fleet {
    /// Panes that the caller may see and the selector names.
    fn select(&self, peer: &Peer, selector: &Selector) -> Vec<PaneView> {
        let own = only_host(peer);
        let mut panes = self.registry.panes();
        panes.retain(|view| {
            let labels = view.labels();
            own.as_ref().is_none_or(|own| *own == view.host)
                && selector.matches(|key| labels.get(key).map(String::as_str))
        });
        panes
    }

    /// Waits for an answer that may take long, and no longer than its caller may ask: what was begun goes on.
    async fn while_admitted<T>(
        &self,
        peer: &Peer,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            answer = answer => answer,
            refusal = self.doorkeeper.barred(peer) => Err(refusal),
        }
    }

    fn pane(&self, pane: &PaneAddress) -> Result<PaneView, Status> {
        self.registry.pane(pane).ok_or_else(|| no_pane(pane))
    }

    /// A pane that can be reached now.
    fn pane_here(&self, pane: &PaneAddress) -> Result<PaneView, Status> {
        let view = self.pane(pane)?;
        if view.connected {
            Ok(view)
        } else if self.registry.session(&view.host).is_some() {
            Err(ErrorCode::Unreachable.status(format!(
                "the node {} has connected and not yet found {pane} again: try again in a moment",
                view.host
            )))
        } else {
            Err(away(&view.host))
        }
    }

    fn item(&self, view: PaneView) -> v1::PaneItem {
        let labels = view.labels();
        let paused = self.gate.paused(Some(&view.address()), &labels).is_some();
        convert::pane_item(view, labels, paused)
    }
}

#[tonic::async_trait]
impl v1::fleet_server::Fleet for Fleet {
    type LogsStream = Items<v1::LogItem>;
    type SearchStream = Items<v1::SearchHit>;
    type EventsStream = Items<v1::EventItem>;
    type ListAuditStream = Items<v1::AuditEntry>;

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        const DEFAULT: u32 = 600;
        const LONGEST: u32 = 3600;
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        let request = request.into_inner();
        let name = Host::new(request.name).map_err(usage)?;
        let seconds = if request.ttl_seconds == 0 { DEFAULT } else { request.ttl_seconds };
        if seconds > LONGEST {
            return Err(usage(format!("a token lives for at most {LONGEST} s, not {seconds}")));
        }
        let token = JoinToken::generate(name.clone(), self.authority.fingerprint())
            .map_err(|e| ErrorCode::Internal.status(e.to_string()))?;
        let expires = clock::now() + Duration::from_secs(seconds.into());
        let new = NewToken {
            secret_hash: token.secret.hash(),
            name,
            created_by: peer.who(),
            expires,
            replaces: request.replace,
        };
        let made = self.store.write(move |tx| {
            tx.check_caller(&peer)?;
            tx.create_token(&new)
        });
        made.await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::CreateTokenResponse { token: token.expose(), expires_us: to_us(expires) }))
    }

    async fn fleet_status(
        &self,
        request: Request<v1::FleetStatusRequest>,
    ) -> Result<Response<v1::FleetStatusResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        let own = only_host(&peer);
        let mut nodes = self.registry.nodes();
        nodes.retain(|node| own.as_ref().is_none_or(|own| *own == node.host));
        let wanted = Arc::clone(&self.store.rules().borrow());
        let mut nodes: Vec<_> =
            nodes.into_iter().map(|node| convert::node_status(node, &wanted.revision)).collect();
        self.note_revoked(&mut nodes).await?;
        let policy = self.policy_file.as_ref().and_then(|file| file.problem());
        let mut problems: Vec<_> =
            policy.map(|problem| format!("controller: policy: {problem}")).into_iter().collect();
        for node in &mut nodes {
            node.problems.extend(problems.iter().cloned());
        }
        if let Some(trouble) = self.store.trouble() {
            for node in &mut nodes {
                node.problems
                    .push(format!("controller: {trouble}; this host keeps what it sees in its spool"));
            }
            problems.push(format!("controller: {trouble}"));
        }
        Ok(Response::new(v1::FleetStatusResponse { nodes, problems }))
    }

    async fn list_panes(
        &self,
        request: Request<v1::ListPanesRequest>,
    ) -> Result<Response<v1::ListPanesResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        let request = request.into_inner();
        let selector = selector(&request.selector)?;
        let views = match optional_address(&peer, request.pane)? {
            Some(pane) => vec![self.pane(&pane)?],
            None => self.select(&peer, &selector),
        };
        let panes = views.into_iter().map(|view| self.item(view)).collect();
        Ok(Response::new(v1::ListPanesResponse { panes }))
    }

    async fn get_screen(
        &self,
        request: Request<v1::GetScreenRequest>,
    ) -> Result<Response<v1::GetScreenResponse>, Status> {
        let allowed = if request.get_ref().reveal { OPERATORS } else { READERS };
        let peer = self.doorkeeper.admit(&request, allowed)?;
        self.show_screen(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.open_logs(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<Self::SearchStream>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.open_search(&peer, &request.into_inner()).map(Response::new)
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.open_events(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn wait(&self, request: Request<v1::WaitRequest>) -> Result<Response<v1::WaitResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        let patience = patience(&request);
        Box::pin(self.wait_for(&peer, request.into_inner(), patience)).await.map(Response::new)
    }

    async fn act(&self, request: Request<v1::ActRequest>) -> Result<Response<v1::ActResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ACTORS)?;
        let acting = Box::pin(self.carry_out(&peer, request.into_inner()));
        self.while_admitted(&peer, acting).await.map(Response::new)
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.set_pause(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        const DEFAULT: u32 = 100;
        const MOST: u32 = 10_000;
        let peer = self.doorkeeper.admit(&request, READERS)?;
        let request = request.into_inner();
        let pane = optional_address(&peer, request.pane)?;
        let limit = if request.limit == 0 { DEFAULT } else { request.limit.min(MOST) };
        let runs = self.store.runs(pane, only_host(&peer), limit as usize).await.map_err(|e| status(&e))?;
        let runs = runs.into_iter().map(|run| convert::run(run, &self.definitions)).collect();
        Ok(Response::new(v1::ListRunsResponse { runs }))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.run_of(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn cancel_run(
        &self,
        request: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.cancel(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn retry_run(
        &self,
        request: Request<v1::RetryRunRequest>,
    ) -> Result<Response<v1::RetryRunResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.retry(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn start_run(
        &self,
        request: Request<v1::StartRunRequest>,
    ) -> Result<Response<v1::StartRunResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.begin_run(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_workflows(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        self.doorkeeper.admit(&request, READERS)?;
        Ok(Response::new(self.workflows()))
    }

    async fn list_notices(
        &self,
        request: Request<v1::ListNoticesRequest>,
    ) -> Result<Response<v1::ListNoticesResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.notices(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn answer_notice(
        &self,
        request: Request<v1::AnswerNoticeRequest>,
    ) -> Result<Response<v1::AnswerNoticeResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.take_answer(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn decide(&self, request: Request<v1::DecideRequest>) -> Result<Response<v1::ActResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        let deciding = Box::pin(self.decide_dialog(&peer, request.into_inner()));
        self.while_admitted(&peer, deciding).await.map(Response::new)
    }

    async fn push_rules(
        &self,
        request: Request<v1::PushRulesRequest>,
    ) -> Result<Response<v1::PushRulesResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        let patience = patience(&request);
        let pushing = Box::pin(self.push(&peer, request.into_inner(), patience));
        self.while_admitted(&peer, pushing).await.map(Response::new)
    }

    async fn list_rules(
        &self,
        request: Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        let listing = Box::pin(async { Ok(self.rules_now(&peer).await) });
        self.while_admitted(&peer, listing).await.map(Response::new)
    }

    async fn explain_pane(
        &self,
        request: Request<v1::ExplainPaneRequest>,
    ) -> Result<Response<v1::ExplainPaneResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.explain(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn unknown_screens(
        &self,
        request: Request<v1::UnknownScreensRequest>,
    ) -> Result<Response<v1::UnknownScreensResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        let request = request.into_inner();
        let asking = Box::pin(self.unknown(&peer, &request));
        self.while_admitted(&peer, asking).await.map(Response::new)
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeRequest>,
    ) -> Result<Response<v1::RevokeResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        self.revoke_name(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn add_operator(
        &self,
        request: Request<v1::AddOperatorRequest>,
    ) -> Result<Response<v1::AddOperatorResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        self.make_operator(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_operators(
        &self,
        request: Request<v1::ListOperatorsRequest>,
    ) -> Result<Response<v1::ListOperatorsResponse>, Status> {
        self.doorkeeper.admit(&request, ADMINS)?;
        self.operators().await.map(Response::new)
    }

    async fn add_account(
        &self,
        request: Request<v1::AddAccountRequest>,
    ) -> Result<Response<v1::AddAccountResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        self.make_account(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn update_account(
        &self,
        request: Request<v1::UpdateAccountRequest>,
    ) -> Result<Response<v1::UpdateAccountResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        self.alter_account(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn list_accounts(
        &self,
        request: Request<v1::ListAccountsRequest>,
    ) -> Result<Response<v1::ListAccountsResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.accounts_now(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn test_account(
        &self,
        request: Request<v1::TestAccountRequest>,
    ) -> Result<Response<v1::TestAccountResponse>, Status> {
        self.doorkeeper.admit(&request, ADMINS)?;
        self.check_account(request.into_inner()).await.map(Response::new)
    }

    async fn set_pool(
        &self,
        request: Request<v1::SetPoolRequest>,
    ) -> Result<Response<v1::SetPoolResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        self.change_pool(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn rotate_vault_key(
        &self,
        request: Request<v1::RotateVaultKeyRequest>,
    ) -> Result<Response<v1::RotateVaultKeyResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, ADMINS)?;
        self.rotate_key(&peer).await.map(Response::new)
    }

    async fn login_account(
        &self,
        request: Request<v1::LoginAccountRequest>,
    ) -> Result<Response<v1::LoginAccountResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        let signing_in = Box::pin(self.sign_in_account(&peer, request.into_inner()));
        self.while_admitted(&peer, signing_in).await.map(Response::new)
    }

    async fn switch_account(
        &self,
        request: Request<v1::SwitchAccountRequest>,
    ) -> Result<Response<v1::SwitchAccountResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.switch_pane(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        let checking = Box::pin(self.check_audit(request.into_inner()));
        self.while_admitted(&peer, checking).await.map(Response::new)
    }

    async fn list_approvals(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, READERS)?;
        self.approvals(&peer, request.get_ref()).await.map(Response::new)
    }

    async fn answer_approval(
        &self,
        request: Request<v1::AnswerApprovalRequest>,
    ) -> Result<Response<v1::AnswerApprovalResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        let answering = Box::pin(self.decide_approval(&peer, request.get_ref()));
        self.while_admitted(&peer, answering).await.map(Response::new)
    }

    async fn test_policy(
        &self,
        request: Request<v1::TestPolicyRequest>,
    ) -> Result<Response<v1::TestPolicyResponse>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.try_policy(&peer, request.into_inner()).map(Response::new)
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<Self::ListAuditStream>, Status> {
        let peer = self.doorkeeper.admit(&request, OPERATORS)?;
        self.open_audit(&peer, request.into_inner()).map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_patience_is_read_from_the_wire() {
        let of = |text: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
            patience(&request)
        };
        assert_eq!(of("2S"), Some(Duration::from_millis(1900)));
        assert_eq!(of("100m"), Some(Duration::from_millis(90)));
        assert_eq!(of("1H"), Some(Duration::from_millis(3_599_900)));
        for bad in ["", "S", "5", "1x", "99999999999999999999S"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(patience(&Request::new(())), None);
    }
}
