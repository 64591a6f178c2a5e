//! The controller's process, its clients, and how nodes join.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use wa_link::context::Context;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::{dial, tls};
use wa_node::enroll::{self, EnrolError, Enrolment};
use wa_proto::wire::v1;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_tests::{Program, Stage, binary};

use super::node;
use super::relay::Relay;

pub(super) type Client = FleetClient<Channel>;

const DIAL: Duration = Duration::from_secs(5);
/// For a controller to answer.
const UP: Duration = Duration::from_secs(60);
/// Nodes that join at a time.
const JOINING: usize = 16;

/// Directory, port and programs of one run.
pub(super) struct Stand {
    pub(super) stage: Stage,
    pub(super) port: u16,
    /// Folders of the nodes.
    pub(super) nodes: PathBuf,
}

impl Stand {
    pub(super) fn new(dir: &Path, nodes: PathBuf) -> anyhow::Result<Self> {
        let stage = Stage::new_in(dir)?;
        let url = stage.controller_url();
        let port = url.rsplit(':').next().context("no port")?.parse()?;
        Ok(Self { stage, port, nodes })
    }

    /// Starts the controller, reachable at every loopback address.
    pub(super) fn start_controller(&self) -> anyhow::Result<Program> {
        let (data, home) = (self.stage.path("controller"), self.stage.path("home"));
        let listen = format!("0.0.0.0:{}", self.port);
        let args = ["--data-dir", path_text(&data)?, "--listen", &listen, "--admin-listen", "127.0.0.1:0"];
        let env =
            [("HOME", home.as_os_str()), ("LANG", OsStr::new("C.UTF-8")), ("WA_LOG", OsStr::new("info"))];
        Program::start(&binary("wa-controller"), args, &env, &self.stage.path("wa-controller.log"))
    }

    /// A connection of its own, once the controller answers.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let until = Instant::now() + UP;
        loop {
            match self.try_client().await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > until => {
                    return Err(error.context("the controller does not answer"));
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn try_client(&self) -> anyhow::Result<Client> {
        let context = Context::load(&self.stage.context_file())?;
        let config = tls::client_config(&context.identity)?;
        let channel = dial::connect(&self.stage.controller_url(), config, DIAL).await?;
        Ok(FleetClient::new(channel))
    }

    /// Every node joins as hosts do: a token of its own, redeemed by the node's own code, from an address of its own.
    pub(super) async fn enrol(&self, count: u32) -> anyhow::Result<()> {
        let client = self.client().await?;
        let tasks = Tasks::new(Shutdown::new());
        let relay = Relay::start(SocketAddr::from(([127, 0, 0, 1], self.port)), true, &tasks).await?;
        let url = format!("https://{}", relay.address);
        let joins = (0..count).map(|at| self.join(at, client.clone(), url.clone()));
        let mut joining = stream::iter(joins).buffer_unordered(JOINING);
        while let Some(joined) = joining.next().await {
            joined?;
        }
        drop(tasks.finish(Duration::from_secs(1)).await);
        Ok(())
    }

    async fn join(&self, at: u32, mut client: Client, controller: String) -> anyhow::Result<()> {
        let name = node::name(at);
        let state_dir = node::state_dir(&self.nodes, at);
        let request = v1::CreateTokenRequest { name: name.clone(), ttl_seconds: 0, replace: false };
        let token = client.create_token(request).await?.into_inner().token;
        let token_file = self.stage.path(format!("token-{name}"));
        std::fs::write(&token_file, token)?;
        let enrolment = Enrolment { controller, token_file, state_dir, name: None, replace: false };
        let until = Instant::now() + UP;
        loop {
            match Box::pin(enroll::enroll(&enrolment)).await {
                Ok(_) => break,
                // The controller lets so many join in a second.
                Err(EnrolError::Refused(why))
                    if why.contains("too many attempts") && Instant::now() < until =>
                {
                    sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error).context(name),
            }
        }
        Ok(std::fs::remove_file(&enrolment.token_file)?)
    }
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}

/// Hosts that are connected, as the controller tells it.
pub(super) async fn connected(client: &mut Client) -> anyhow::Result<u32> {
    let nodes = client.fleet_status(v1::FleetStatusRequest {}).await?.into_inner().nodes;
    Ok(u32::try_from(nodes.iter().filter(|node| node.connected).count())?)
}

/// Waits until so many hosts are connected; how long that took.
pub(super) async fn all_connected(
    client: &mut Client,
    count: u32,
    limit: Duration,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let here = connected(client).await?;
        if here >= count {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < limit, "{here} of {count} nodes are connected after {limit:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
