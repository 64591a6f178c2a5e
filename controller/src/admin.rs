//! The admin address: `/healthz` and `/metrics` over plain HTTP/1.1, for probes and Prometheus.
//!
//! Constraints (promise S1): it tells counters and nothing else, no pane text and no names; it reads no body, obeys no
//! header and keeps no connection; a request is 4 KiB and two seconds at most, and few are served at a time. That little
//! is written out here.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wa_link::shutdown::Shutdown;

use crate::metrics::Metrics;
use crate::policy::PolicyFile;
use crate::registry::Registry;
use crate::store::Store;

const REQUEST_LIMIT: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(2);
const AT_A_TIME: usize = 32;

pub(crate) struct Admin {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) policy_file: Option<Arc<PolicyFile>>,
}

/// Serves until the shutdown.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>, shutdown: Shutdown) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            Some(done) = serving.join_next() => {
                if let Err(error) = done {
                    tracing::warn!(%error, "a request of the admin address ended badly");
                }
            }
            accepted = listener.accept(), if serving.len() < AT_A_TIME => match accepted {
                Ok((stream, _)) => {
                    let admin = Arc::clone(&admin);
                    serving.spawn(async move { admin.answer(stream).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin address cannot accept connections for the moment");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Admin {
    async fn answer(&self, mut stream: TcpStream) {
        let Ok(Some(head)) = timeout(PATIENCE, read_head(&mut stream)).await else { return };
        let (status, body) = match route(&head) {
            Route::Health => self.health().await,
            Route::Metrics => ("200 OK", self.render()),
            Route::Unknown => ("404 Not Found", "there are /healthz and /metrics\n".to_owned()),
            Route::Method => ("405 Method Not Allowed", "only GET\n".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let reply = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        };
        if let Ok(Err(error)) = timeout(PATIENCE, reply).await {
            tracing::debug!(%error, "a client of the admin address went away");
        }
    }

    /// Healthy: the writer of the database answers. Readers alone would, long after nothing is logged any more.
    async fn health(&self) -> (&'static str, String) {
        match timeout(PATIENCE, self.store.check()).await {
            Ok(Ok(())) if self.policy_refused() => (
                "200 OK",
                "ok\nthe policy file cannot be used: the policy before it stays in force\n".to_owned(),
            ),
            Ok(Ok(())) => ("200 OK", "ok\n".to_owned()),
            Ok(Err(error)) => ("503 Service Unavailable", format!("{error}\n")),
            Err(_) => ("503 Service Unavailable", "the database does not answer\n".to_owned()),
        }
    }

    fn policy_refused(&self) -> bool {
        self.policy_file.as_ref().is_some_and(|file| file.problem().is_some())
    }

    fn render(&self) -> String {
        self.metrics.set_policy_refused(self.policy_refused());
        self.metrics.set_nodes_connected(self.registry.connected_nodes());
        self.metrics.set_nodes_dropped(self.registry.dropped());
        self.metrics.set_nodes_rules_off(self.registry.nodes_off(&self.store.rules().borrow().revision));
        self.metrics.render()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Route {
    Health,
    Metrics,
    Unknown,
    Method,
}

fn route(head: &[u8]) -> Route {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/healthz")) => Route::Health,
        (Some(b"GET"), Some(b"/metrics")) => Route::Metrics,
        (Some(b"GET"), _) => Route::Unknown,
        _ => Route::Method,
    }
}

/// Request line and headers; `None` when there are none, or too many.
async fn read_head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() >= REQUEST_LIMIT || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_fixed() {
        assert_eq!(route(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"), Route::Health);
        assert_eq!(route(b"GET /metrics HTTP/1.1\r\n\r\n"), Route::Metrics);
        assert_eq!(route(b"GET /../etc/passwd HTTP/1.1\r\n\r\n"), Route::Unknown);
        assert_eq!(route(b"POST /metrics HTTP/1.1\r\n\r\n"), Route::Method);
        assert_eq!(route(b"\r\n\r\n"), Route::Method);
    }

    proptest::proptest! {
        /// Anything but the two lines leads nowhere.
        #[test]
        fn nothing_else_is_a_route(method in "[A-Z]{0,8}", path in "[ -~]{0,40}", rest in "[\\x00-\\x7f]{0,60}") {
            let head = format!("{method} {path} HTTP/1.1\r\n{rest}");
            let first = path.split(' ').next().unwrap_or_default();
            let wanted = match (method.as_str(), first) {
                ("GET", "/healthz") => Route::Health,
                ("GET", "/metrics") => Route::Metrics,
                ("GET", _) => Route::Unknown,
                _ => Route::Method,
            };
            proptest::prop_assert_eq!(route(head.as_bytes()), wanted);
        }
    }
}
