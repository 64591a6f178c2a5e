//! TLS between real programs on loopback: who gets in, who does not, and what the one outside is told.
#![allow(clippy::unwrap_used, reason = "this is a test, its helpers included")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, SanType,
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Request, Response, Status};
use wa_link::accept::Counters;
use wa_link::dial::{self, DialError};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls::{self, Fingerprint, Identity, SERVER_NAME, ServerIdentity};
use wa_link::{accept, principal::Principal};
use wa_proto::wire::v1;
use wa_proto::wire::v1::enrollment_client::EnrollmentClient;
use wa_proto::wire::v1::enrollment_server::{Enrollment, EnrollmentServer};

const LIMIT: Duration = Duration::from_secs(10);

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, names: Vec<SanType>, expired: bool) -> Identity {
        let (request, key_pem) = tls::csr().unwrap();
        let mut request = CertificateSigningRequestParams::from_pem(&request).unwrap();
        request.params.subject_alt_names = names;
        if expired {
            request.params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            request.params.not_after = rcgen::date_time_ymd(2020, 1, 2);
        }
        let certificate_pem = request.signed_by(&self.issuer).unwrap().pem();
        Identity { certificate_pem, key_pem, ca_pem: self.pem.clone() }
    }

    fn server(&self) -> Identity {
        self.issue(vec![SanType::DnsName(SERVER_NAME.try_into().unwrap())], false)
    }

    fn node(&self) -> Identity {
        self.issue(vec![SanType::URI("spiffe://wa/node/web-1".try_into().unwrap())], false)
    }
}

/// Answers with the number of certificates that the client showed.
struct Door;

#[tonic::async_trait]
impl Enrollment for Door {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let shown = request.peer_certs().map_or(0, |certificates| certificates.len());
        Ok(Response::new(v1::JoinResponse { name: shown.to_string(), ..Default::default() }))
    }

    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        Err(Status::unimplemented("not at this door"))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverResponse>, Status> {
        Err(Status::unimplemented("not at this door"))
    }
}

struct Server {
    address: SocketAddr,
    identity: Arc<ServerIdentity>,
    counters: Arc<Counters>,
    tasks: Tasks,
}

impl Server {
    async fn start(ca: &Ca) -> Self {
        Self::start_with(&ca.server()).await
    }

    async fn start_with(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let server = ServerIdentity::new(identity).unwrap();
        let config = tls::server_config_with(Arc::clone(&server), &identity.ca_pem).unwrap();
        let incoming = accept::incoming(listener, config, &tasks);
        let counters = incoming.counters();
        let end = tasks.shutdown().triggered();
        let router = accept::server().add_service(EnrollmentServer::new(Door));
        tasks.spawn_critical("server", router.serve_with_incoming_shutdown(incoming, end));
        Self { address, identity: server, counters, tasks }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Connects and asks how many of our certificates arrived.
    async fn call(&self, config: Arc<ClientConfig>) -> Result<String, DialError> {
        let channel = dial::connect(&self.url(), config, LIMIT).await?;
        let answer = EnrollmentClient::new(channel).join(v1::JoinRequest::default()).await.unwrap();
        Ok(answer.into_inner().name)
    }

    async fn stop(self) {
        let finished = self.tasks.finish(LIMIT).await;
        assert_eq!((finished.failure, finished.stayed), (None, vec![]));
    }
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    assert_eq!(server.call(tls::client_config(&ca.node()).unwrap()).await.unwrap(), "1");
    assert_eq!((server.counters.accepted(), server.counters.failed()), (1, 0));
    server.stop().await;
}

#[tokio::test]
async fn joining_needs_no_certificate_but_the_right_fingerprint() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let right = Fingerprint::of_pem(&ca.pem).unwrap();
    assert_eq!(server.call(tls::client_config_anonymous_pinned(right).unwrap()).await.unwrap(), "0");

    let wrong = Fingerprint::of_pem(&Ca::new().pem).unwrap();
    let error = server.call(tls::client_config_anonymous_pinned(wrong).unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::Untrusted { .. }), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_chain_that_only_quotes_the_pinned_ca_is_not_trusted() {
    let (ca, thief) = (Ca::new(), Ca::new());
    let mut forged = thief.server();
    // The true CA is sent along, but it has not signed this.
    forged.ca_pem = format!("{}{}", thief.pem, ca.pem);
    let server = Server::start_with(&forged).await;
    let pinned = tls::client_config_anonymous_pinned(Fingerprint::of_pem(&ca.pem).unwrap()).unwrap();
    let error = server.call(pinned).await.unwrap_err();
    assert!(matches!(error, DialError::Untrusted { .. }), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_for_another_purpose_is_no_controller() {
    let ca = Ca::new();
    // A node of the same CA that plays the controller.
    let server = Server::start_with(&ca.node()).await;
    for config in [
        tls::client_config(&ca.node()).unwrap(),
        tls::client_config_anonymous_pinned(Fingerprint::of_pem(&ca.pem).unwrap()).unwrap(),
    ] {
        let error = server.call(config).await.unwrap_err();
        assert!(matches!(error, DialError::Untrusted { .. }), "{error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn another_ca_is_refused_on_both_sides() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let server = Server::start(&ours).await;

    let error = server.call(tls::client_config(&theirs.node()).unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::Untrusted { .. }), "{error}");

    // Trusts the server, but shows a certificate that the server does not know.
    let foreign = Identity { ca_pem: ours.pem.clone(), ..theirs.node() };
    let error = server.call(tls::client_config(&foreign).unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::NotAccepted { expired: false, .. }), "{error}");
    assert!(error.to_string().contains("does not accept our certificate"), "{error}");
    assert_eq!((server.counters.accepted(), server.counters.failed()), (0, 2));
    server.stop().await;
}

#[tokio::test]
async fn expired_certificates_are_refused_on_both_sides() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let old = ca.issue(vec![SanType::URI("spiffe://wa/node/web-1".try_into().unwrap())], true);
    let error = server.call(tls::client_config(&old).unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::NotAccepted { expired: true, .. }), "{error}");
    server.stop().await;

    let old = ca.issue(vec![SanType::DnsName(SERVER_NAME.try_into().unwrap())], true);
    assert_eq!(tls::certificate_expiry(&old.certificate_pem).unwrap().to_string(), "2020-01-02T00:00:00Z");
    let server = Server::start_with(&old).await;
    let error = server.call(tls::client_config(&ca.node()).unwrap()).await.unwrap_err();
    assert!(matches!(error, DialError::Clock { .. }), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn the_ca_can_be_replaced_while_both_are_trusted() {
    let (old, new) = (Ca::new(), Ca::new());
    let both = format!("{}{}", new.pem, old.pem);
    let server = Server::start_with(&Identity { ca_pem: both.clone(), ..old.server() }).await;
    let not_yet = tls::client_config(&Identity { ca_pem: both.clone(), ..old.node() }).unwrap();
    let already = tls::client_config(&Identity { ca_pem: both.clone(), ..new.node() }).unwrap();
    let only_new = tls::client_config(&new.node()).unwrap();

    assert_eq!(server.call(Arc::clone(&not_yet)).await.unwrap(), "1");
    assert_eq!(server.call(Arc::clone(&already)).await.unwrap(), "1");
    assert!(matches!(server.call(Arc::clone(&only_new)).await, Err(DialError::Untrusted { .. })));

    server.identity.replace(&Identity { ca_pem: both, ..new.server() }).unwrap();
    for config in [not_yet, already, only_new] {
        assert_eq!(server.call(config).await.unwrap(), "1");
    }
    server.stop().await;
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let pem = rustls_pki_types::pem::PemObject::from_pem_slice(ca.pem.as_bytes()).unwrap();
    roots.add(pem).unwrap();
    let connect = async |version| {
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.map(|stream| stream.get_ref().1.protocol_version())
    };
    let error = connect(&rustls::version::TLS12).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let agreed = connect(&rustls::version::TLS13).await.unwrap();
    assert_eq!(agreed, Some(rustls::ProtocolVersion::TLSv1_3));
    server.stop().await;
}

#[tokio::test]
async fn garbage_and_silence_on_the_port_hurt_nobody() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
        let mut rude = TcpStream::connect(server.address).await.unwrap();
        rude.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // Ends with an alert or a reset, whichever comes first.
        drop(rude.read_to_end(&mut answer).await);
        assert!(answer.len() < 100, "{answer:?}");
    }
    assert_eq!(server.call(tls::client_config(&ca.node()).unwrap()).await.unwrap(), "1");
    assert_eq!((server.counters.accepted(), server.counters.failed()), (1, 20));
    server.stop().await;
}

#[tokio::test]
async fn failures_to_reach_the_controller_are_told_apart() {
    let config = tls::client_config(&Ca::new().node()).unwrap();
    let dial = async |url: &str, limit| dial::connect(url, Arc::clone(&config), limit).await.unwrap_err();

    let error = dial("https://no-such-host.invalid:1", LIMIT).await;
    assert!(matches!(error, DialError::Resolve { .. }), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let error = dial(&format!("https://{address}"), LIMIT).await;
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    // The kernel completes the connection, but nobody ever answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", deaf.local_addr().unwrap());
    let error = dial(&url, Duration::from_millis(50)).await;
    assert!(matches!(error, DialError::TimedOut { .. }), "{error}");

    let (answered, ()) = tokio::join!(dial(&url, LIMIT), async {
        // The first in the queue is the attempt before.
        for _ in 0..2 {
            let (mut stream, _) = deaf.accept().await.unwrap();
            drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await);
        }
    });
    assert!(matches!(answered, DialError::Protocol { .. }), "{answered}");
}

#[tokio::test]
async fn a_channel_tells_why_a_later_call_failed_and_recovers() {
    let ca = Ca::new();
    let server = Server::start(&ca).await;
    let (url, address) = (server.url(), server.address);
    let config = tls::client_config(&ca.node()).unwrap();
    let mut client = EnrollmentClient::new(dial::connect(&url, config, LIMIT).await.unwrap());
    client.join(v1::JoinRequest::default()).await.unwrap();
    server.stop().await;

    let status = loop {
        let status = client.join(v1::JoinRequest::default()).await.unwrap_err();
        // The first call may still meet the old connection on its way down.
        if DialError::of_status(&status).is_some() {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(matches!(DialError::of_status(&status), Some(DialError::Refused { .. })), "{status:?}");

    let tasks = Tasks::new(Shutdown::new());
    let listener = TcpListener::bind(address).await.unwrap();
    let incoming = accept::incoming(listener, tls::server_config(&ca.server()).unwrap(), &tasks);
    let router = accept::server().add_service(EnrollmentServer::new(Door));
    let end = tasks.shutdown().triggered();
    tasks.spawn_critical("server", router.serve_with_incoming_shutdown(incoming, end));
    client.join(v1::JoinRequest::default()).await.unwrap();
    assert_eq!(tasks.finish(LIMIT).await.stayed, Vec::<String>::new());
}

#[test]
fn a_principal_fits_into_a_certificate() {
    let principal: Principal = "spiffe://wa/node/web-1".parse().unwrap();
    let identity = Ca::new().issue(vec![SanType::URI(principal.to_string().try_into().unwrap())], false);
    let (from, to) = tls::certificate_validity(&identity.certificate_pem).unwrap();
    assert!(from < to);
}
