//! Every method of every service, without a certificate and with each role (promise S1).

use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wa_link::principal::Role;
use wa_proto::wire::v1;
use wa_proto::wire::v1::enrollment_client::EnrollmentClient;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_proto::wire::v1::node_link_client::NodeLinkClient;

use crate::desk::Desk;

const READ: &[Role] = &[Role::Viewer, Role::Operator, Role::Admin, Role::Agent];
const ACT: &[Role] = &[Role::Operator, Role::Admin, Role::Agent];

/// Which roles may call what. `None`: anybody.
const METHODS: &[(&str, Option<&[Role]>)] = &[
    ("Join", None),
    ("Challenge", None),
    ("Recover", None),
    ("Session", Some(&[Role::Node])),
    ("CreateToken", Some(&[Role::Admin])),
    ("FleetStatus", Some(READ)),
    ("ListPanes", Some(READ)),
    ("GetScreen", Some(READ)),
    ("Logs", Some(READ)),
    ("Search", Some(READ)),
    ("Events", Some(READ)),
    ("Wait", Some(READ)),
    ("Act", Some(ACT)),
    ("Pause", Some(&[Role::Operator, Role::Admin])),
    ("ListRuns", Some(READ)),
    ("GetRun", Some(READ)),
    ("CancelRun", Some(&[Role::Operator, Role::Admin])),
    ("RetryRun", Some(&[Role::Operator, Role::Admin])),
    ("StartRun", Some(&[Role::Operator, Role::Admin])),
    ("ListWorkflows", Some(READ)),
    ("ListNotices", Some(READ)),
    ("AnswerNotice", Some(&[Role::Operator, Role::Admin])),
    ("Decide", Some(&[Role::Operator, Role::Admin])),
    ("PushRules", Some(&[Role::Admin])),
    ("ListRules", Some(READ)),
    ("ExplainPane", Some(READ)),
    ("UnknownScreens", Some(READ)),
    ("Revoke", Some(&[Role::Admin])),
    ("AddOperator", Some(&[Role::Admin])),
    ("ListOperators", Some(&[Role::Admin])),
    ("AddAccount", Some(&[Role::Admin])),
    ("UpdateAccount", Some(&[Role::Admin])),
    ("ListAccounts", Some(READ)),
    ("TestAccount", Some(&[Role::Admin])),
    ("SetPool", Some(&[Role::Admin])),
    ("RotateVaultKey", Some(&[Role::Admin])),
    ("LoginAccount", Some(&[Role::Operator, Role::Admin])),
    ("SwitchAccount", Some(&[Role::Operator, Role::Admin])),
    ("VerifyAudit", Some(&[Role::Operator, Role::Admin])),
    ("ListApprovals", Some(READ)),
    ("AnswerApproval", Some(&[Role::Operator, Role::Admin])),
    ("TestPolicy", Some(&[Role::Operator, Role::Admin])),
    ("ListAudit", Some(&[Role::Operator, Role::Admin])),
];

async fn call(channel: Channel, method: &str) -> Result<(), Status> {
    let mut fleet = FleetClient::new(channel.clone());
    match method {
        "Join" => EnrollmentClient::new(channel).join(v1::JoinRequest::default()).await.map(drop),
        "Challenge" => EnrollmentClient::new(channel).challenge(v1::ChallengeRequest {}).await.map(drop),
        "Recover" => EnrollmentClient::new(channel).recover(v1::RecoverRequest::default()).await.map(drop),
        "Session" => {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            drop(sender);
            let stream = NodeLinkClient::new(channel).session(ReceiverStream::new(receiver)).await;
            stream?.into_inner().message().await.map(drop)
        }
        "CreateToken" => fleet.create_token(v1::CreateTokenRequest::default()).await.map(drop),
        "FleetStatus" => fleet.fleet_status(v1::FleetStatusRequest {}).await.map(drop),
        "ListPanes" => fleet.list_panes(v1::ListPanesRequest::default()).await.map(drop),
        "GetScreen" => fleet.get_screen(v1::GetScreenRequest::default()).await.map(drop),
        "Logs" => fleet.logs(v1::LogsRequest::default()).await.map(drop),
        "Search" => fleet.search(v1::SearchRequest::default()).await.map(drop),
        "Events" => fleet.events(v1::EventsRequest::default()).await.map(drop),
        "Wait" => fleet.wait(v1::WaitRequest::default()).await.map(drop),
        "Act" => fleet.act(v1::ActRequest::default()).await.map(drop),
        "Pause" => fleet.pause(v1::PauseRequest::default()).await.map(drop),
        "ListRuns" => fleet.list_runs(v1::ListRunsRequest::default()).await.map(drop),
        "GetRun" => fleet.get_run(v1::GetRunRequest::default()).await.map(drop),
        "RetryRun" => fleet.retry_run(v1::RetryRunRequest::default()).await.map(drop),
        "CancelRun" => fleet.cancel_run(v1::CancelRunRequest::default()).await.map(drop),
        "StartRun" => fleet.start_run(v1::StartRunRequest::default()).await.map(drop),
        "ListWorkflows" => fleet.list_workflows(v1::ListWorkflowsRequest {}).await.map(drop),
        "ListNotices" => fleet.list_notices(v1::ListNoticesRequest::default()).await.map(drop),
        "AnswerNotice" => fleet.answer_notice(v1::AnswerNoticeRequest::default()).await.map(drop),
        "Decide" => fleet.decide(v1::DecideRequest::default()).await.map(drop),
        "PushRules" => fleet.push_rules(v1::PushRulesRequest::default()).await.map(drop),
        "ListRules" => fleet.list_rules(v1::ListRulesRequest {}).await.map(drop),
        "ExplainPane" => fleet.explain_pane(v1::ExplainPaneRequest::default()).await.map(drop),
        "UnknownScreens" => fleet.unknown_screens(v1::UnknownScreensRequest::default()).await.map(drop),
        "Revoke" => fleet.revoke(v1::RevokeRequest::default()).await.map(drop),
        "AddOperator" => fleet.add_operator(v1::AddOperatorRequest::default()).await.map(drop),
        "ListOperators" => fleet.list_operators(v1::ListOperatorsRequest {}).await.map(drop),
        "AddAccount" => fleet.add_account(v1::AddAccountRequest::default()).await.map(drop),
        "UpdateAccount" => fleet.update_account(v1::UpdateAccountRequest::default()).await.map(drop),
        "ListAccounts" => fleet.list_accounts(v1::ListAccountsRequest::default()).await.map(drop),
        "TestAccount" => fleet.test_account(v1::TestAccountRequest::default()).await.map(drop),
        "SetPool" => fleet.set_pool(v1::SetPoolRequest::default()).await.map(drop),
        "RotateVaultKey" => fleet.rotate_vault_key(v1::RotateVaultKeyRequest::default()).await.map(drop),
        "LoginAccount" => fleet.login_account(v1::LoginAccountRequest::default()).await.map(drop),
        "SwitchAccount" => fleet.switch_account(v1::SwitchAccountRequest::default()).await.map(drop),
        "VerifyAudit" => fleet.verify_audit(v1::VerifyAuditRequest::default()).await.map(drop),
        "ListApprovals" => fleet.list_approvals(v1::ListApprovalsRequest::default()).await.map(drop),
        "AnswerApproval" => fleet.answer_approval(v1::AnswerApprovalRequest::default()).await.map(drop),
        "TestPolicy" => fleet.test_policy(v1::TestPolicyRequest::default()).await.map(drop),
        "ListAudit" => fleet.list_audit(v1::ListAuditRequest::default()).await.map(drop),
        other => panic!("no such method: {other}"),
    }
}

/// Refused at the door, whatever the request says.
fn turned_away(result: &Result<(), Status>) -> bool {
    let of_the_door = |status: &Status| {
        status.code() == Code::PermissionDenied
            && ["needs a client certificate", "needs the role"]
                .iter()
                .any(|word| status.message().contains(word))
    };
    result.as_ref().is_err_and(of_the_door)
}

#[test]
fn the_table_has_every_method() {
    let protos =
        [include_str!("../../../proto/wa/v1/link.proto"), include_str!("../../../proto/wa/v1/fleet.proto")];
    let mut methods: Vec<&str> = protos
        .iter()
        .flat_map(|proto| proto.lines())
        .filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next())
        .collect();
    let mut table: Vec<&str> = METHODS.iter().map(|(method, _)| *method).collect();
    methods.sort_unstable();
    table.sort_unstable();
    assert_eq!(methods, table);
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate() {
    let desk = Desk::start().await;
    for (method, roles) in METHODS {
        let result = call(desk.anonymous().await, method).await;
        assert_eq!(turned_away(&result), roles.is_some(), "{method}: {result:?}");
    }
}

#[tokio::test]
async fn each_role_opens_what_is_its_own() {
    let desk = Desk::start().await;
    for role in Role::ALL {
        let identity = desk.identity(role, "web-1");
        for (method, roles) in METHODS {
            let result = call(desk.channel(&identity).await, method).await;
            let allowed = roles.is_none_or(|roles| roles.contains(&role));
            assert_eq!(turned_away(&result), !allowed, "{role} {method}: {result:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let (desk, other) = (Desk::start().await, Desk::start().await);
    let mut stranger = other.identity(Role::Admin, "owner");
    stranger.ca_pem = desk.authority().certificate_pem().to_owned();
    let config = wa_link::tls::client_config(&stranger).unwrap();
    let error = wa_link::dial::connect(&desk.running().url, config, crate::desk::LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("does not accept our certificate"), "{error}");
}

#[tokio::test]
async fn an_agent_sees_and_reaches_its_own_host_only() {
    let desk = Desk::start().await;
    for host in ["web-1", "web-2"] {
        desk.enrol(host).await;
    }
    let mut agent = desk.fleet(Role::Agent, "web-1").await;
    let nodes = agent.fleet_status(v1::FleetStatusRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.iter().map(|node| node.host.as_str()).collect::<Vec<_>>(), ["web-1"]);
    let rules = agent.list_rules(v1::ListRulesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(rules.iter().map(|node| node.host.as_str()).collect::<Vec<_>>(), ["web-1"]);
    let unknown =
        agent.unknown_screens(v1::UnknownScreensRequest::default()).await.unwrap().into_inner().hosts;
    assert_eq!(unknown.iter().map(|host| host.host.as_str()).collect::<Vec<_>>(), ["web-1"]);
    let elsewhere = Some(crate::desk::address("web-2", 1));
    let refused = [
        agent
            .list_panes(v1::ListPanesRequest { pane: elsewhere.clone(), ..Default::default() })
            .await
            .map(drop),
        agent
            .get_screen(v1::GetScreenRequest { pane: elsewhere.clone(), ..Default::default() })
            .await
            .map(drop),
        agent.logs(v1::LogsRequest { pane: elsewhere.clone(), ..Default::default() }).await.map(drop),
        agent.explain_pane(v1::ExplainPaneRequest { pane: elsewhere.clone() }).await.map(drop),
        agent.unknown_screens(v1::UnknownScreensRequest { host: "web-2".into() }).await.map(drop),
        agent
            .act(v1::ActRequest {
                pane: elsewhere,
                verb: Some(v1::act_request::Verb::Kill(v1::KillPane {})),
                ..Default::default()
            })
            .await
            .map(drop),
    ];
    for result in refused {
        let status = result.unwrap_err();
        assert!(status.code() == Code::PermissionDenied && status.message().contains("own host"), "{status}");
    }
}

/// TLS looks at the times of a certificate once; a connection may live on.
#[tokio::test]
async fn a_certificate_that_runs_out_closes_its_live_connection() {
    let desk = Desk::start().await;
    let who = wa_link::principal::Principal { role: Role::Viewer, name: "v".parse().unwrap() };
    let long_ago = wa_link::clock::now() - std::time::Duration::from_secs(90 * 86_400 - 3);
    let (identity, _) = desk.authority().make_identity(who, long_ago).unwrap();
    let mut viewer = FleetClient::new(desk.channel(&identity).await);
    viewer.fleet_status(v1::FleetStatusRequest {}).await.unwrap();
    let wait = v1::WaitRequest { condition: "bell".into(), ..Default::default() };
    let ended = tokio::time::timeout(crate::desk::LIMIT, viewer.wait(wait)).await.unwrap().unwrap_err();
    assert!(ended.code() == Code::PermissionDenied && ended.message().contains("expired"), "{ended}");
    let refused = viewer.fleet_status(v1::FleetStatusRequest {}).await.unwrap_err();
    assert!(refused.code() == Code::PermissionDenied && refused.message().contains("expired"), "{refused}");
}
