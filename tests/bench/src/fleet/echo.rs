//! The baseline of every call: an empty one, answered by a process of its own, without TLS and without work.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use wa_proto::wire::v1;
use wa_proto::wire::v1::enrollment_client::EnrollmentClient;
use wa_proto::wire::v1::enrollment_server::{Enrollment, EnrollmentServer};

struct Empty;

#[tonic::async_trait]
impl Enrollment for Empty {
    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("only the empty call"))
    }

    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        Ok(Response::new(v1::ChallengeResponse::default()))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverResponse>, Status> {
        Err(Status::unimplemented("only the empty call"))
    }
}

/// The process that answers; says its port and lasts until it is killed.
pub(crate) fn run() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let server = Server::builder().add_service(EnrollmentServer::new(Empty));
        Ok(server.serve_with_incoming(TcpListenerStream::new(listener)).await?)
    })
}

/// Dies with its handle.
pub(super) struct Echo {
    _child: Child,
    pub(super) client: EnrollmentClient<Channel>,
}

impl Echo {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("fleet-echo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let address: SocketAddr = lines.next_line().await?.context("the echo has ended")?.parse()?;
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        Ok(Self { _child: child, client: EnrollmentClient::new(channel) })
    }
}
