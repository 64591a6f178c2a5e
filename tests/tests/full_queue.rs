//! A host with more to do than its queue holds, and a network that parts: what was typed is not told as refused.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use tonic::transport::Channel;
use wa_link::context::Context;
use wa_link::{dial, tls};
use wa_proto::wire::v1;
use wa_proto::wire::v1::act_request::Verb;
use wa_proto::wire::v1::fleet_client::FleetClient;
use wa_tests::{Proxy, Stage, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
/// Panes whose programs take a key and show nothing: an action on them lasts five seconds.
const SILENT: u64 = 63;
/// Of those, the first show something after a while: their places go to what waits.
const QUICK: u64 = 10;
/// Panes that take no text: an action on them is refused at once.
const OTHERS: u64 = 262;

async fn dialled(stage: &Stage) -> FleetClient<Channel> {
    let context = Context::load(&stage.context_file()).unwrap();
    let config = tls::client_config(&context.identity).unwrap();
    FleetClient::new(dial::connect(&context.controller, config, PATIENCE).await.unwrap())
}

fn request(pane_id: u64) -> v1::ActRequest {
    let verb = if pane_id <= SILENT {
        Verb::Keys(v1::PressKeys { keys: vec!["x".into()] })
    } else {
        Verb::Send(v1::SendText { text: "hello".into(), ..v1::SendText::default() })
    };
    v1::ActRequest {
        pane: Some(v1::PaneAddress { host: "stage".into(), mux: "main".into(), pane_id }),
        timeout_ms: 60_000,
        verb: Some(verb),
        ..v1::ActRequest::default()
    }
}

#[test]
fn what_was_typed_is_not_refused_when_the_queue_is_full_and_the_stream_is_cut() {
    let stage = Stage::new().unwrap();
    let _mux = stage.start_empty_mux().unwrap();
    let _controller = stage.start_controller(&[]).unwrap();
    let proxy = Proxy::start(stage.controller_port()).unwrap();
    stage.enroll_node_at(&proxy.url()).unwrap();
    let pane = |id: u64| {
        let key = stage.path(format!("key-{id}")).display().to_string();
        let after = if id < QUICK { "sleep 2.5; echo done; " } else { "" };
        let script =
            format!("stty -echo -icanon; dd bs=1 count=1 of={key} 2>/dev/null; {after}exec sleep 1000");
        let idle = "exec sleep 1000".to_owned();
        vec!["/bin/sh".to_owned(), "-c".to_owned(), if id <= SILENT { script } else { idle }]
    };
    stage.spawn_panes((0..=SILENT + OTHERS).map(pane).collect()).unwrap();
    let _node = stage.start_node(&[]).unwrap();
    wait_for("all panes", PATIENCE, || {
        let panes = stage.wa(&["status", "-o", "json"]).json()["items"].as_array().map_or(0, Vec::len);
        (panes as u64 > SILENT + OTHERS).then_some(())
    });

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let answers = runtime.block_on(async {
        let clients = [dialled(&stage).await, dialled(&stage).await];
        let mut asked = Vec::new();
        for id in 0..=SILENT + OTHERS {
            let mut client = clients[usize::from(id > 150)].clone();
            #[expect(clippy::disallowed_methods, reason = "a test waits for them below")]
            asked.push(tokio::spawn(async move { client.act(request(id)).await }));
            if id == SILENT {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.cut();
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.unwrap().unwrap().into_inner());
        }
        answers
    });

    let typed = |id: u64| std::fs::read(stage.path(format!("key-{id}"))).is_ok_and(|key| !key.is_empty());
    let wrong: Vec<String> = (0..=SILENT)
        .zip(&answers)
        .filter(|(id, answer)| typed(*id) && answer.outcome == "refused")
        .map(|(id, answer)| format!("pane {id}: {}", answer.reason))
        .collect();
    assert!(wrong.is_empty(), "{} keys were pressed and told as refused: {:?}", wrong.len(), wrong.first());
}
