//! What is asked of the controller while it is loaded, and the baselines beside it: how long each answer takes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep, sleep_until};
use wa_proto::wire::v1;

use super::echo::Echo;
use super::report::Asked;
use super::stand::{Client, Stand};
use crate::figures::Distribution;

/// Between two commands.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two calls over a connection that stands.
const EVERY: Duration = Duration::from_millis(100);

/// Asks until `until`.
pub(super) async fn ask(
    stand: &Arc<Stand>,
    client: &Client,
    echo: &Echo,
    nodes: u32,
    until: Instant,
) -> anyhow::Result<Asked> {
    let (commands, calls, empty) = tokio::join!(
        commands(stand, nodes, until),
        calls(client.clone(), nodes, until),
        empty_calls(echo, until)
    );
    let (command, version) = commands?;
    let of = |samples| Distribution::of(samples).context("nothing was asked: more time is needed");
    Ok(Asked { command: of(command)?, version: of(version)?, call: of(calls?)?, empty: of(empty?)? })
}

/// `wa fleet status` as people run it, and in turn with it `wa --version`, which asks nobody.
async fn commands(
    stand: &Arc<Stand>,
    nodes: u32,
    until: Instant,
) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut status, mut version) = (Vec::new(), Vec::new());
    while Instant::now() < until {
        let stand = Arc::clone(stand);
        let both = tokio::task::spawn_blocking(move || {
            let timed = |args: &[&str]| {
                let began = Instant::now();
                let answer = stand.stage.wa(args);
                (answer, began.elapsed())
            };
            (timed(&["fleet", "status", "-o", "json"]), timed(&["--version"]))
        });
        let ((answer, took), (_, idle)) = both.await?;
        ensure!(answer.code == 0, "wa fleet status: {}", answer.stderr);
        let hosts = answer.json()["items"].as_array().map_or(0, Vec::len);
        ensure!(hosts == nodes as usize, "wa fleet status names {hosts} of {nodes} hosts");
        status.push(took);
        version.push(idle);
        sleep(PAUSE).await;
    }
    Ok((status, version))
}

/// The same question as a call alone.
async fn calls(mut client: Client, nodes: u32, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut samples = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let answer = client.fleet_status(v1::FleetStatusRequest {}).await?.into_inner();
        samples.push(began.elapsed());
        ensure!(answer.nodes.len() == nodes as usize, "{} of {nodes} hosts", answer.nodes.len());
        sleep_until(began + EVERY).await;
    }
    Ok(samples)
}

async fn empty_calls(echo: &Echo, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let (mut client, mut samples) = (echo.client.clone(), Vec::new());
    while Instant::now() < until {
        let began = Instant::now();
        client.challenge(v1::ChallengeRequest {}).await?;
        samples.push(began.elapsed());
        sleep_until(began + EVERY).await;
    }
    Ok(samples)
}
