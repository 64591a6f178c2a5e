//! A node that ends delivers what it can.

use super::*;

/// More than the credit waits: it goes as the acknowledgements come.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_credit_is_delivered_before_the_end() {
    let servers = Tasks::new(Shutdown::new());
    let (fake, url) = controller(&servers, 100, false).await;
    let stage = node(Tasks::new(Shutdown::new()), fake, url, (2000, 2200));
    // Small, for the node's last words have a limit, and the machine may be busy.
    for _ in 0..6 {
        stage.append(Lane::Bulk, &"0123456789".repeat(1_000)).await;
    }
    let seqs = |memory: &mut Memory| Stage::seqs(memory, Lane::Bulk);
    stage.fake.until("the first block", |memory| (seqs(memory) == [1]).then_some(())).await;
    stage.tasks.shutdown().trigger();
    // That nothing happens can only be waited for.
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.fake.with(|memory| memory.acks = true);
    stage.fake.say(Down::Ack(v1::Ack { lane: v1::Lane::Bulk.into(), seq: 1 })).await;
    stage.fake.until("the rest", |memory| (seqs(memory) == [1, 2, 3, 4, 5, 6]).then_some(())).await;
    stage.stop().await;
    drop(servers.finish(LIMIT).await);
}

/// A controller that acknowledges nothing does not hold the node up.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_is_kept() {
    let servers = Tasks::new(Shutdown::new());
    let (fake, url) = controller(&servers, 100, false).await;
    let stage = node(Tasks::new(Shutdown::new()), fake, url, (2000, 2200));
    for _ in 0..3 {
        stage.append(Lane::Bulk, &"0123456789".repeat(10_000)).await;
    }
    stage
        .fake
        .until("the first block", |memory| (Stage::seqs(memory, Lane::Bulk) == [1]).then_some(()))
        .await;
    let spool = stage.spool.clone();
    let began = tokio::time::Instant::now();
    drop(stage.tasks.finish(LIMIT).await);
    assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
    assert_eq!(spool.status().bulk, crate::spool::Range { first: 1, next: 4 });
    stage.stop().await;
    drop(servers.finish(LIMIT).await);
}
