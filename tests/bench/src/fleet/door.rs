//! In the controller's place while it is away: counts who knocks, and lets nobody in.
//!
//! Every node dials the controller at a loopback address of its own; so it is known who knocks before a byte is read.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Attempts of nodes while the controller was away.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Knocks {
    pub(crate) seconds: f64,
    /// Nodes that are known by their address.
    pub(crate) nodes: usize,
    pub(crate) attempts: usize,
    /// The shortest time between two attempts of one node; `None`: no node tried twice.
    pub(crate) shortest_ms: Option<f64>,
    /// The most attempts of all nodes within 100 ms. Without jitter all of them come at once.
    pub(crate) most_in_100_ms: usize,
}

/// Stands at the port for so long.
pub(super) async fn stand(port: u16, time: Duration) -> anyhow::Result<Knocks> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let began = Instant::now();
    let mut knocks: HashMap<SocketAddr, Vec<Duration>> = HashMap::new();
    let mut all = Vec::new();
    while let Ok(accepted) = tokio::time::timeout_at(began + time, listener.accept()).await {
        let (stream, _) = accepted?;
        let (at, address) = (began.elapsed(), stream.local_addr()?);
        // What knocks at the common address has no name: a relay, or the benchmark itself.
        if address.ip() != Ipv4Addr::LOCALHOST {
            knocks.entry(address).or_default().push(at);
            all.push(at);
        }
    }
    let gaps = knocks.values().flat_map(|times| times.windows(2)).map(|pair| pair[1] - pair[0]);
    Ok(Knocks {
        seconds: began.elapsed().as_secs_f64(),
        nodes: knocks.len(),
        attempts: all.len(),
        shortest_ms: gaps.min().map(|gap| gap.as_secs_f64() * 1e3),
        most_in_100_ms: most_within(&all, Duration::from_millis(100)),
    })
}

/// Of times in order, the most that lie within such a span.
fn most_within(times: &[Duration], span: Duration) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (at, time) in times.iter().enumerate() {
        while *time - times[first] > span {
            first += 1;
        }
        most = most.max(at + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_densest_moment_is_found() {
        let times: Vec<_> = [0, 10, 150, 160, 170, 240, 600].map(Duration::from_millis).into();
        assert_eq!(most_within(&times, Duration::from_millis(100)), 4);
        assert_eq!(most_within(&times, Duration::ZERO), 1);
        assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
    }

    #[tokio::test]
    async fn knocks_are_told_apart_by_the_address_that_was_dialled() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let knock = async |last: u8| {
            tokio::time::timeout(Duration::from_secs(5), async {
                while tokio::net::TcpStream::connect((Ipv4Addr::new(127, 2, 0, last), port)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .unwrap();
        };
        let (knocks, ()) = tokio::join!(stand(port, Duration::from_millis(400)), async {
            knock(1).await;
            knock(2).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            knock(1).await;
        });
        let knocks = knocks.unwrap();
        assert_eq!((knocks.nodes, knocks.attempts), (2, 3));
        assert!(knocks.shortest_ms > Some(49.0), "{knocks:?}");
    }
}
