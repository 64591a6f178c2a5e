//! TLS: who we are, whom we trust.
//!
//! Constraints: TLS 1.3 and HTTP/2 only, with our own CA and no other. The client's certificate is optional at the TLS
//! level, for joining comes before having one; every service but that one asks for it (`Request::peer_certs`). The
//! server sends its CA certificate along, so that a joining node can recognise it by the fingerprint in its token.
//! Sessions are never resumed: a resumed session would carry a certificate that has expired or been revoked since, and a
//! client that renewed its own would go on as its old self. Every certificate of the controller has the DNS name
//! [`SERVER_NAME`], whatever address it is reached by.
//!
//! The CA may be several certificates while it is being replaced: all of them are trusted and sent.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use wa_proto::Timestamp;

use crate::validity;

/// Certificates begin so long before they are made, for clocks that go behind.
pub const CLOCK_MARGIN: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// The DNS name in every certificate of the controller.
pub const SERVER_NAME: &str = "wa-controller";

/// The one protocol that is spoken inside.
pub(crate) const ALPN: &[u8] = b"h2";

/// What is wrong with an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("the {what} holds no certificate in PEM form")]
    NoCertificate { what: &'static str },
    #[error("the {what} is damaged: {reason}")]
    Damaged { what: &'static str, reason: String },
    #[error("certificate and key cannot be used together: {reason}")]
    Unusable { reason: String },
    #[error("cannot make a certificate request: {reason}")]
    Request { reason: String },
    #[error("{0:?} is not a fingerprint: expected 64 hexadecimal digits")]
    Fingerprint(String),
}

/// A certificate with its key, and the CA to trust. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Own certificate first, then what leads from it to the CA, if anything.
    pub certificate_pem: String,
    /// PKCS#8.
    pub key_pem: String,
    /// One certificate, or several while the CA is being replaced.
    pub ca_pem: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate_pem", &self.certificate_pem)
            .field("key_pem", &"…")
            .field("ca_pem", &self.ca_pem)
            .finish()
    }
}

/// Chooses the process-wide crypto for libraries that ask for one. Called first in every `main`; what is configured here
/// names its provider and does not need it.
pub fn install_provider() {
    // An error only says that one was installed before.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Certificates are judged by the clock that everything else goes by.
#[derive(Debug)]
struct OurClock;

impl TimeProvider for OurClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(crate::clock::now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

// ---- server

/// The server's own certificate, which can be replaced while connections are being accepted.
#[derive(Debug)]
pub struct ServerIdentity(RwLock<Arc<CertifiedKey>>);

impl ServerIdentity {
    /// # Errors
    /// When certificate or key cannot be read or do not belong together.
    pub fn new(identity: &Identity) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(certified(identity)?))))
    }

    /// From now on, new connections see this one.
    ///
    /// # Errors
    /// As [`Self::new`]; the old one then stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), TlsError> {
        let fresh = certified(identity)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, TlsError> {
    let mut chain = certificates(&identity.certificate_pem, "certificate")?;
    for ca in certificates(&identity.ca_pem, "CA")? {
        if !chain.contains(&ca) {
            chain.push(ca);
        }
    }
    CertifiedKey::from_der(chain, private_key(&identity.key_pem)?, &provider())
        .map(Arc::new)
        .map_err(|error| TlsError::Unusable { reason: error.to_string() })
}

/// TLS 1.3, HTTP/2, client certificate optional but if there is one, of our CA.
///
/// # Errors
/// When the identity cannot be read or its parts do not belong together.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_with(ServerIdentity::new(identity)?, &identity.ca_pem)
}

/// As [`server_config`], for a server whose certificate is renewed while it runs.
///
/// # Errors
/// When the CA cannot be read.
pub fn server_config_with(server: Arc<ServerIdentity>, ca_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Damaged { what: "CA", reason: error.to_string() })?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(OurClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(server);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Whether a client's certificate is one of this CA and held at that time.
///
/// # Errors
/// When the CA cannot be read, or why the certificate is not accepted.
pub fn verify_client(certificate: &CertificateDer<'_>, ca_pem: &str, at: Timestamp) -> Result<(), TlsError> {
    let refused = |reason: String| TlsError::Damaged { what: "certificate", reason };
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
        .build()
        .map_err(|error| TlsError::Damaged { what: "CA", reason: error.to_string() })?;
    let since_epoch = u64::try_from(at.as_second()).map_err(|error| refused(error.to_string()))?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(since_epoch));
    clients.verify_client_cert(certificate, &[], at).map(drop).map_err(|error| refused(error.to_string()))
}

// ---- client

/// For a node or an operator: our certificate, and only controllers of our CA.
///
/// # Errors
/// When the identity cannot be read or its parts do not belong together.
pub fn client_config(identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    let chain = certificates(&identity.certificate_pem, "certificate")?;
    let config = ClientConfig::builder_with_details(provider(), Arc::new(OurClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots(&identity.ca_pem)?)
        .with_client_auth_cert(chain, private_key(&identity.key_pem)?)
        .map_err(unusable)?;
    Ok(finish_client(config))
}

/// For joining: no certificate of our own, and only a controller whose chain holds the CA with this fingerprint.
///
/// # Errors
/// Only if the crypto provider lacks TLS 1.3.
pub fn client_config_anonymous_pinned(ca: Fingerprint) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(OurClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedCa { ca, provider: provider() }))
        .with_no_client_auth();
    Ok(finish_client(config))
}

/// For a node whose certificate has run out: none of our own, and only controllers of our CA.
///
/// # Errors
/// When the CA cannot be read.
pub fn client_config_anonymous(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(OurClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots(ca_pem)?)
        .with_no_client_auth();
    Ok(finish_client(config))
}

fn finish_client(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Finds the pinned CA among the certificates that the server presents, then verifies the server's own against it as
/// against any root: signature, validity, purpose and name.
#[derive(Debug)]
struct PinnedCa {
    ca: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.ca)
            .ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

// ---- certificates

/// SHA-256 of a certificate's DER. Shown as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// Of the first certificate in a PEM text.
    ///
    /// # Errors
    /// When there is none or it is damaged.
    pub fn of_pem(pem: &str) -> Result<Self, TlsError> {
        Ok(Self::of(&first_certificate(pem)?))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let bad = || TlsError::Fingerprint(text.chars().take(80).collect());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// A fresh P-256 key and a request for a certificate on it: (request, key), both PEM. The request names nobody: role and
/// name are the controller's to give.
///
/// # Errors
/// When the system has no randomness to give.
pub fn csr() -> Result<(String, String), TlsError> {
    let failed = |error: rcgen::Error| TlsError::Request { reason: error.to_string() };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)?;
    Ok((request, key.serialize_pem()))
}

/// From when to when the first certificate of a PEM text holds: (not before, not after).
///
/// # Errors
/// When there is none or it is damaged.
pub fn certificate_validity(pem: &str) -> Result<(Timestamp, Timestamp), TlsError> {
    validity::of(&first_certificate(pem)?)
        .ok_or_else(|| TlsError::Damaged { what: "certificate", reason: "no validity in it".to_owned() })
}

/// Until when the first certificate of a PEM text holds.
///
/// # Errors
/// When there is none or it is damaged.
pub fn certificate_expiry(pem: &str) -> Result<Timestamp, TlsError> {
    Ok(certificate_validity(pem)?.1)
}

fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    Ok(certificates(pem, "certificate")?.swap_remove(0))
}

/// All certificates of a PEM text; at least one.
fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| TlsError::Damaged { what, reason: error.to_string() })?;
    if found.is_empty() { Err(TlsError::NoCertificate { what }) } else { Ok(found) }
}

pub(crate) fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TlsError::Damaged { what: "key", reason: error.to_string() })
}

fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem, "CA")? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Damaged { what: "CA", reason: error.to_string() })?;
    }
    Ok(roots)
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unusable(error: rustls::Error) -> TlsError {
    TlsError::Unusable { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_as_written() {
        let fingerprint = Fingerprint(std::array::from_fn(|i| u8::try_from(i).unwrap() * 7));
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_or_mixed_up_is_named() {
        let (request, key) = csr().unwrap();
        let identity = |certificate: &str, key: &str, ca: &str| Identity {
            certificate_pem: certificate.to_owned(),
            key_pem: key.to_owned(),
            ca_pem: ca.to_owned(),
        };
        let own = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::default().self_signed(&own).unwrap().pem();

        let error = client_config(&identity(&request, &key, &ca)).unwrap_err();
        assert_eq!(error, TlsError::NoCertificate { what: "certificate" });
        let error = client_config(&identity(&ca, "", &ca)).unwrap_err();
        assert!(matches!(error, TlsError::Damaged { what: "key", .. }), "{error}");
        let error = server_config(&identity(&ca, &key, &ca)).unwrap_err();
        assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
        let error = server_config(&identity(&ca, &own.serialize_pem(), "x")).unwrap_err();
        assert_eq!(error, TlsError::NoCertificate { what: "CA" });
    }

    #[test]
    fn debug_hides_the_key() {
        let (certificate_pem, key_pem) = csr().unwrap();
        let shown =
            format!("{:?}", Identity { certificate_pem, key_pem: key_pem.clone(), ca_pem: String::new() });
        assert!(!shown.contains("PRIVATE") && shown.contains("REQUEST"), "{shown}");
    }
}
