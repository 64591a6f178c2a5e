//! Reaching the controller: name, TCP, TLS, and only then a gRPC channel.
//!
//! A failed attempt says which of these failed and what a person can do. In TLS 1.3 a client is done before the server
//! has looked at its certificate; so a connection counts only once the first bytes of HTTP/2 have come back, which
//! our server sends unasked. Until then a refusal of our certificate would surface as a broken first call.
//!
//! Wherever the controller is reached, its certificate is checked for one name, [`crate::tls::SERVER_NAME`].

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::net::{Stream, Wire};
use crate::shutdown::error_text;
use crate::tls::{ALPN, SERVER_NAME};
use crate::world;

/// Where a controller listens when its URL names no port.
pub const DEFAULT_PORT: u16 = 7443;

/// How often, and how long for an answer, HTTP/2 asks whether the other side is still there.
pub const KEEPALIVE: Duration = Duration::from_secs(10);

/// Why the controller was not reached, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("{url:?} is not the URL of a controller: {reason}; write https://HOST:PORT")]
    Url { url: String, reason: &'static str },
    #[error("the name in {target} does not resolve: {reason}; check the controller's URL and DNS")]
    Resolve { target: Target, reason: String },
    #[error(
        "{target} refused the connection: is wa-controller running there, and does it listen on that address?"
    )]
    Refused { target: Target },
    #[error("{target} did not answer within {} s: check the address and firewalls", after.as_secs_f32())]
    TimedOut { target: Target, after: Duration },
    #[error("{target} cannot be reached: {reason}")]
    Unreachable { target: Target, reason: String },
    #[error(
        "{target} is not trusted: {reason}; it is another controller than the one that issued this identity, or someone in between"
    )]
    Untrusted { target: Target, reason: String },
    #[error("the certificate of {target} does not hold now: {reason}; compare the clocks of both hosts")]
    Clock { target: Target, reason: String },
    #[error(
        "{target} does not accept our certificate: {reason}; it may have expired, been revoked or come from another controller: enrol again or take a fresh context"
    )]
    NotAccepted {
        target: Target,
        reason: String,
        /// It has run out, by the other side's clock.
        expired: bool,
    },
    #[error("what answers at {target} is no wa-controller: {reason}; check the port")]
    Protocol { target: Target, reason: String },
}

impl DialError {
    /// The dial error behind the failure of a call, if that is why it failed. Channels redial by themselves, so this is
    /// where later failures show up.
    pub fn of_status(status: &Status) -> Option<&Self> {
        Self::within(status)
    }

    fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// Host and port of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Target {
    /// Reads `https://HOST[:PORT]`, or `HOST:PORT` alone.
    ///
    /// # Errors
    /// [`DialError::Url`] with the reason.
    pub fn parse(url: &str) -> Result<Self, DialError> {
        let bad = |reason| DialError::Url { url: url.chars().take(200).collect(), reason };
        let whole = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
        let uri: Uri = whole.parse().map_err(|_| bad("it does not read as a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("the controller speaks https only"));
        }
        if uri.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return Err(bad("there is no path"));
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("there is no user in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("") => DEFAULT_PORT,
            Some(_) => {
                authority.port_u16().filter(|port| *port != 0).ok_or_else(|| bad("the port is none"))?
            }
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Connects within `limit` and returns a channel that is up. When the connection breaks later, the channel redials by
/// itself with the next call.
///
/// # Errors
/// See [`DialError`].
pub async fn connect(url: &str, config: Arc<ClientConfig>, limit: Duration) -> Result<Channel, DialError> {
    let target = Target::parse(url)?;
    let endpoint = endpoint(&target)?;
    let dialled = Box::pin(endpoint.connect_with_connector(connector(target.clone(), config, limit))).await;
    dialled.map_err(|error| match DialError::within(&error) {
        Some(known) => known.clone(),
        None => DialError::Protocol { target, reason: error_text(&error) },
    })
}

fn endpoint(target: &Target) -> Result<Endpoint, DialError> {
    let bad = || DialError::Url { url: target.to_string(), reason: "it does not read as a URL" };
    // To tonic this is a plain connection, for the connector does the TLS; the origin is what the server sees.
    let endpoint = Endpoint::from_shared(format!("http://{target}"))
        .map_err(|_| bad())?
        .origin(Uri::from_static("https://wa-controller"))
        .user_agent(concat!("wa/", env!("CARGO_PKG_VERSION")))
        .map_err(|_| bad())?
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

fn connector(
    target: Target,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> impl tower::Service<
    Uri,
    Response = TokioIo<TlsStream<Stream>>,
    Error = DialError,
    Future = impl Future<Output = Result<TokioIo<TlsStream<Stream>>, DialError>> + Send,
> + Send
+ 'static {
    tower::service_fn(move |_: Uri| {
        let (target, config) = (target.clone(), Arc::clone(&config));
        async move {
            let deadline = Instant::now() + limit;
            let opened = timeout_at(deadline, Box::pin(open(&target, config, deadline))).await;
            let stream = opened.map_err(|_| DialError::TimedOut { target, after: limit })??;
            Ok(TokioIo::new(stream))
        }
    })
}

async fn open(
    target: &Target,
    config: Arc<ClientConfig>,
    deadline: Instant,
) -> Result<TlsStream<Stream>, DialError> {
    let tcp = match world::current() {
        Some(world) => open_simulated(target, world.connect(&target.host, target.port)).await?,
        None => Stream::Tcp(open_tcp(target, deadline).await?),
    };
    let failed = |error: io::Error| tls_failure(target, &error);
    let protocol = |reason: &str| DialError::Protocol { target: target.clone(), reason: reason.to_owned() };
    let name = ServerName::try_from(SERVER_NAME).map_err(|_| protocol("its name is none"))?;
    let mut stream = TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(protocol("it does not speak HTTP/2"));
    }
    let first = stream.fill_buf().await.map_err(failed)?;
    if first.is_empty() {
        return Err(protocol("it closed the connection at once"));
    }
    Ok(stream)
}

/// Tries the addresses one after another; each gets an even share of the time that is left, so that one that swallows
/// packets does not hide a good one.
async fn open_tcp(target: &Target, deadline: Instant) -> Result<TcpStream, DialError> {
    let resolve = |reason: String| DialError::Resolve { target: target.clone(), reason };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(|error| resolve(error.to_string()))?
        .collect();
    let mut failure = resolve("it has no address".to_owned());
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Keystrokes and events are small and must not wait for company.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Ok(Err(error)) => tcp_failure(target, &error),
            Err(_) => DialError::TimedOut { target: target.clone(), after: share },
        };
    }
    Err(failure)
}

async fn open_simulated(
    target: &Target,
    connecting: impl Future<Output = io::Result<Box<dyn Wire>>>,
) -> Result<Stream, DialError> {
    connecting.await.map(Stream::Simulated).map_err(|error| tcp_failure(target, &error))
}

fn tcp_failure(target: &Target, error: &io::Error) -> DialError {
    let target = target.clone();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused { target },
        _ => DialError::Unreachable { target, reason: error.to_string() },
    }
}

fn tls_failure(target: &Target, error: &io::Error) -> DialError {
    let target = target.clone();
    let reason = error.to_string();
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                DialError::Protocol { target, reason: "it closed the connection at once".to_owned() }
            }
            _ => DialError::Unreachable { target, reason },
        };
    };
    match tls {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => DialError::Clock { target, reason },
        rustls::Error::InvalidCertificate(_) => DialError::Untrusted { target, reason },
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => {
            let expired = *alert == AlertDescription::CertificateExpired;
            DialError::NotAccepted { target, reason, expired }
        }
        _ => DialError::Protocol { target, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, shown) in [
            ("https://wa.example", "wa.example:7443"),
            ("https://wa.example/", "wa.example:7443"),
            ("https://10.0.0.1:9000", "10.0.0.1:9000"),
            ("https://[::1]:9000", "[::1]:9000"),
            ("https://[::1]", "[::1]:7443"),
            ("wa.example:9000", "wa.example:9000"),
            ("localhost", "localhost:7443"),
        ] {
            assert_eq!(Target::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn wrong_urls_say_how_to_write_one() {
        for url in [
            "",
            "http://wa.example",
            "https://",
            "https://a/path",
            "https://a?x",
            "https://a:0",
            "https://a:99999",
            "https://u@a",
            "a b",
            "https://:1",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains("write https://HOST:PORT"), "{url}: {error}");
        }
    }
}
