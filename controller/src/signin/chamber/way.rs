//! The way out of a chamber: a SOCKS 5 proxy without a password on a socket that only we reach.
//!
//! It takes names and addresses alike, resolves names here, and leads into the internet only: what a page says must not
//! reach the services of this machine or of the network that it stands in. Hosts that the sign-in data names are led to
//! wherever they are. No UDP. At most so many connections at a time; a request that is not well formed ends its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream, lookup_host};
use tokio::time::timeout;

use super::super::Provider;

const MOST_CONNECTIONS: usize = 256;
const CONNECT: Duration = Duration::from_secs(15);
const VERSION: u8 = 5;
/// Answers of the protocol.
const DONE: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const UNREACHABLE: u8 = 4;
const NOT_SUPPORTED: u8 = 7;

/// Serves until dropped.
pub(super) async fn serve(listener: &UnixListener, provider: &Provider) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept(), if open.len() < MOST_CONNECTIONS => open.push(carry(stream, provider)),
            Some(ended) = open.next(), if !open.is_empty() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection of a browser ended");
                }
            }
            else => return,
        }
    }
}

async fn carry(mut browser: UnixStream, provider: &Provider) -> io::Result<()> {
    let host = timeout(CONNECT, request(&mut browser)).await??;
    let (answer, stream) = match host {
        None => (NOT_SUPPORTED, None),
        Some((host, port)) => match timeout(CONNECT, connect(&host, port, provider)).await {
            Ok(Ok(stream)) => (DONE, Some(stream)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => (NOT_ALLOWED, None),
            Ok(Err(_)) | Err(_) => (UNREACHABLE, None),
        },
    };
    // The address that we went out by is nobody's business.
    browser.write_all(&[VERSION, answer, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if let Some(mut stream) = stream {
        copy_bidirectional(&mut browser, &mut stream).await?;
    }
    Ok(())
}

/// Host and port that the browser wants; `None`: it wants something else.
async fn request(browser: &mut UnixStream) -> io::Result<Option<(String, u16)>> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let [version, methods] = read::<2>(browser).await?;
    let mut offered = vec![0; usize::from(methods)];
    browser.read_exact(&mut offered).await?;
    if version != VERSION || !offered.contains(&0) {
        return Err(broken());
    }
    browser.write_all(&[VERSION, 0]).await?;
    let [version, command, _, kind] = read::<4>(browser).await?;
    let host = match kind {
        1 => IpAddr::from(read::<4>(browser).await?).to_string(),
        4 => IpAddr::from(read::<16>(browser).await?).to_string(),
        3 => {
            let [length] = read::<1>(browser).await?;
            let mut name = vec![0; usize::from(length)];
            browser.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| broken())?
        }
        _ => return Err(broken()),
    };
    let port = u16::from_be_bytes(read::<2>(browser).await?);
    Ok((version == VERSION && command == 1).then_some((host, port)))
}

async fn read<const N: usize>(browser: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    browser.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn connect(host: &str, port: u16, provider: &Provider) -> io::Result<TcpStream> {
    let named = provider.names_host(host);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((host, port)).await? {
        if !(named || is_public(address)) {
            last = io::Error::from(io::ErrorKind::PermissionDenied);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_public(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.segments() {
            // Mapped, and by way of a NAT64: it leads to the IPv4 address in it.
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            // 2000::/3 is all that is given out; of it 2002::/16 (6to4) and 2001::/32 (Teredo) hold an IPv4 address.
            [0x2002, ..] | [0x2001, 0, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    // 0/8, 100.64/10 of carriers, 192.0.0/24 and 198.18/15 of networks themselves, 224/3: groups, and what nobody has
    let reserved = match ip.octets() {
        [0, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [224..=255, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        _ => false,
    };
    !(reserved || ip.is_loopback() || ip.is_private() || ip.is_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser asks in these bytes, and nothing more than these.
    fn asked(bytes: &[u8]) -> io::Result<Option<(String, u16)>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut browser, mut ours) = UnixStream::pair().unwrap();
            browser.write_all(bytes).await.unwrap();
            browser.shutdown().await.unwrap();
            request(&mut ours).await
        })
    }

    proptest::proptest! {
        #[test]
        fn a_request_is_read_whole_or_refused(name in "[a-z0-9.-]{0,80}", port: u16, command: u8, cut in 0_usize..120) {
            let mut bytes = vec![VERSION, 1, 0, VERSION, command, 0, 3, u8::try_from(name.len()).unwrap()];
            bytes.extend(name.as_bytes());
            bytes.extend(port.to_be_bytes());
            let wanted = (command == 1).then(|| (name.clone(), port));
            proptest::prop_assert_eq!(asked(&bytes).unwrap(), wanted);
            bytes.truncate(cut.min(bytes.len() - 1));
            proptest::prop_assert!(asked(&bytes).is_err());
        }

        #[test]
        fn garbage_is_no_request(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            if let Ok(Some((host, _))) = asked(&bytes) {
                proptest::prop_assert!(host.len() <= 255);
            }
        }
    }

    #[test]
    fn only_the_internet_is_led_to() {
        let public = |text: &str| is_public(SocketAddr::new(text.parse().unwrap(), 443));
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.20.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "240.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "::10.0.0.1",
            "fec0::1",
        ] {
            assert!(!public(inside), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "198.20.0.1",
            "64:ff9b::101:101",
        ] {
            assert!(public(outside), "{outside}");
        }
    }
}
