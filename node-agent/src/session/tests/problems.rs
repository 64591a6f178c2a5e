//! What is wrong on the host is told with the heartbeat.

use wa_proto::MuxName;

use super::*;

/// A rule that denies and can never fit is as good as none: its owner hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_a_mux_server_that_is_not_here_is_told() {
    let stage = stage(1 << 20, true).await;
    stage.fake.until("a heartbeat", |memory| (memory.heartbeats > 0).then_some(())).await;
    let rule = "[[rule]]\nwho = 'operator:*'\nverbs = ['send']\npanes = 'web-1/3'\ndecision = 'deny'\n";
    std::fs::write(stage.dir.path().join("policy.toml"), rule).unwrap();
    let main = v1::MuxStatus { name: "main".into(), ..Default::default() };
    stage.board.set_mux(&MuxName::main(), main);
    let told = |memory: &mut Memory| memory.problems.iter().find(|one| one.contains("policy.toml")).cloned();
    let told = stage.fake.until("the problem", told).await;
    assert!(told.contains("\"web-1/3\"") && told.contains("no such mux server here, only main"), "{told}");
    stage.stop().await;
}
