//! A controller and a node in this process, joined as they would be over a network.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wa_controller::{Config as ControllerConfig, ConfigFile, Controller, InvalidConfig, Running};
use wa_link::cause::chain;
use wa_link::context::Context;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::{clock, files, tls};
use wa_node::Config as NodeConfig;
use wa_node::config::{Arguments, agent_context_path, identity_path};
use wa_node::enroll::{Enrolment, enroll};
use wa_node::observer::MuxSocket;
use wa_proto::wire::v1;
use wa_proto::{Host, Timestamp};

use crate::client::{self, ANSWER, Session};
use crate::command::say;
use crate::context::Found;
use crate::failure::{Exit, Failure};

/// For the node to write down and send what it has.
const NODE_GRACE: Duration = Duration::from_secs(10);
const CONTROLLER_GRACE: Duration = Duration::from_secs(5);
/// An identity that runs out sooner is made anew before the node uses it.
const LEAST_LIFE: Duration = Duration::from_secs(300);

/// What to open.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Absolute. The controller's data goes to `controller`, the node's to `node` in it.
    pub(crate) dir: PathBuf,
    pub(crate) listen: SocketAddr,
    /// The node's name.
    pub(crate) name: Host,
    /// `[NAME=]PATH`; none = those that are found.
    pub(crate) sockets: Vec<MuxSocket>,
    /// The controller's configuration file, for what it does by itself.
    pub(crate) automation: Option<PathBuf>,
}

pub(crate) struct House {
    controller: Running,
    of_controller: Tasks,
    of_node: Tasks,
    session: Session,
    node_dir: PathBuf,
}

impl House {
    /// Starts the controller, lets the node join if it has not, and starts it.
    pub(crate) async fn open(plan: &Plan) -> Result<Self, Failure> {
        let of_controller = Tasks::new(Shutdown::new());
        let opened = Box::pin(Self::open_on(plan, of_controller.clone())).await;
        if opened.is_err() {
            drop(of_controller.finish(CONTROLLER_GRACE).await);
        }
        opened
    }

    async fn open_on(plan: &Plan, of_controller: Tasks) -> Result<Self, Failure> {
        files::create_private_dir(&plan.dir).map_err(super::said)?;
        let mut config = ControllerConfig::local(plan.dir.join("controller"));
        config.listen = plan.listen;
        if let Some(file) = &plan.automation {
            let unusable =
                |error: InvalidConfig| Failure::failed(format!("{}: {}", file.display(), chain(&error)));
            config.workflows =
                ConfigFile::load(file).and_then(|file| file.definitions()).map_err(unusable)?;
        }
        let controller = Controller::start(config, of_controller.clone())
            .await
            .map_err(|error| Failure::failed(format!("the controller does not start: {}", chain(&error))))?;
        let operator =
            Context::load(&controller.operator_context).map_err(|error| Failure::failed(chain(&error)))?;
        let session = client::connect(&operator, Found::RunningUp, None).await?;
        let node_dir = plan.dir.join("node");
        if !is_good(&node_dir, &operator, &plan.name, clock::now()) {
            join(&session, &controller.url, &node_dir, &plan.name).await?;
        }
        let node = node_config(plan, node_dir.clone())?;
        let of_node = Tasks::new(Shutdown::new());
        let shutdown = of_node.shutdown().clone();
        of_node.spawn_critical("node", Box::pin(wa_node::run(node, shutdown)));
        Ok(Self { controller, of_controller, of_node, session, node_dir })
    }

    /// An operator's connection.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn url(&self) -> &str {
        &self.controller.url
    }

    /// The operator's context file.
    pub(crate) fn operator(&self) -> PathBuf {
        self.controller.operator_context.clone()
    }

    /// The context file of agents in panes of this host.
    pub(crate) fn agent(&self) -> PathBuf {
        agent_context_path(&self.node_dir)
    }

    /// Waits until either half has ended by itself, and says why.
    pub(crate) async fn broken(&self) -> Failure {
        let tasks = tokio::select! {
            () = self.of_node.shutdown().triggered() => &self.of_node,
            () = self.of_controller.shutdown().triggered() => &self.of_controller,
        };
        match tasks.failure() {
            Some(failure) => Failure::failed(failure.to_string()),
            None => Failure::failed("a part of `wa up` ended by itself"),
        }
    }

    /// Ends the node, then the controller, so that the node's last words arrive.
    pub(crate) async fn close(self) {
        // What does not end in time is named in the log.
        drop(self.of_node.finish(NODE_GRACE).await);
        drop(self.of_controller.finish(CONTROLLER_GRACE).await);
    }
}

fn node_config(plan: &Plan, state_dir: PathBuf) -> Result<NodeConfig, Failure> {
    let arguments = Arguments { state_dir, mux_sockets: plan.sockets.clone(), policy: None, file: None };
    NodeConfig::resolve(arguments, |name| std::env::var(name).ok())
        .map_err(|error| Failure::usage(error.to_string()))
}

/// Whether the node in this directory can go on with the identity that it has: of this name and this CA, and not about
/// to run out. Where the controller listens may have changed since; that is corrected.
fn is_good(node_dir: &Path, operator: &Context, name: &Host, now: Timestamp) -> bool {
    let kept = |path: PathBuf| {
        let mut context = Context::load(&path).ok()?;
        let expires = tls::certificate_expiry(&context.identity.certificate_pem).ok()?;
        let left = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
        let ours = context.name == *name && context.identity.ca_pem == operator.identity.ca_pem;
        if !ours || left < LEAST_LIFE {
            return None;
        }
        if context.controller != operator.controller {
            operator.controller.clone_into(&mut context.controller);
            context.save(&path).ok()?;
        }
        Some(())
    };
    kept(agent_context_path(node_dir)).is_some() && kept(identity_path(node_dir)).is_some()
}

/// Makes a token and redeems it, as for any other host.
async fn join(session: &Session, url: &str, node_dir: &Path, name: &Host) -> Result<(), Failure> {
    files::create_private_dir(node_dir).map_err(super::said)?;
    let request = v1::CreateTokenRequest { name: name.to_string(), ttl_seconds: 60, replace: true };
    let answer = session.call(ANSWER, session.fleet().create_token(request)).await?;
    let token_file = node_dir.join("token");
    files::write_private(&token_file, answer.token.as_bytes()).map_err(super::said)?;
    let enrolment = Enrolment {
        controller: url.to_owned(),
        token_file: token_file.clone(),
        state_dir: node_dir.to_owned(),
        name: Some(name.clone()),
        // What was there was looked at, and is not good.
        replace: true,
    };
    let joined = Box::pin(enroll(&enrolment)).await;
    // It is spent, or of no use any more.
    std::fs::remove_file(&token_file).ok();
    joined
        .map(|enrolled| enrolled.notes.iter().for_each(|note| say(note)))
        .map_err(|error| Failure::new(Exit::Failed, format!("the node could not join: {}", chain(&error))))
}
