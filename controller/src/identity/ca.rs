//! The CA of one fleet.
//!
//! Constraints: made at the first start and never replaced silently (see [`super::rotation`]), for every node and operator trusts it by its
//! fingerprint; its key is written before its certificate, so a key alone means that nothing was ever signed with it,
//! while a certificate alone means that the key was lost. Keys are P-256.
//!
//! Lifetimes: nodes 24 hours, renewed at half life on the live session; people and agent contexts 90 days; the
//! controller's own certificate 90 days and new at each start and before it runs out. Everything begins five minutes
//! back, for clocks that go behind.

use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use wa_link::files::{self, FileError};
use wa_link::principal::{Principal, Role};
use wa_link::tls::{CLOCK_MARGIN, Fingerprint, Identity, SERVER_NAME, TlsError};
use wa_proto::Timestamp;

use super::peer::Peer;
use super::rotation::Place;
use crate::store::IssuedCertificate;

const CA_LIFE: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// Of a node's certificate, unless the controller is told otherwise.
pub const NODE_LIFE: SignedDuration = SignedDuration::from_hours(24);
const PEOPLE_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);
pub const SERVER_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);
/// No file of the CA is larger.
pub(super) const FILE_LIMIT: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{certificate} stands without its key {key}: restore the key from a backup; a new CA would lock every node out"
    )]
    KeyLost { certificate: String, key: String },
    #[error("the CA in {directory} cannot be used: {reason}; restore it from a backup")]
    Damaged { directory: String, reason: String },
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("this system gives no random numbers")]
    Random,
    #[error("the certificate request is damaged: {0}")]
    Request(String),
    #[error("the certificate request has another key than P-256")]
    Algorithm,
    /// It is not the turn of this step of a rotation.
    #[error("{0}")]
    Turn(String),
}

/// The CA with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    fingerprint: Fingerprint,
    node_life: SignedDuration,
}

/// A fresh certificate and what the store keeps of it.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate_pem: String,
    pub record: IssuedCertificate,
    issued: Timestamp,
}

impl Issued {
    /// Whoever shows this certificate.
    pub fn peer(&self) -> Peer {
        let IssuedCertificate { serial, principal, expires } = self.record.clone();
        Peer { principal, serial, issued: self.issued, expires }
    }
}

impl Authority {
    /// Loads the CA from `directory`, or makes it there. Blocks.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, CaError> {
        files::create_private_dir(directory)?;
        let place = Place(directory);
        place.complete()?;
        let (certificate_path, key_path) = place.present();
        match (certificate_path.exists(), key_path.exists()) {
            (true, true) => {}
            (true, false) => {
                return Err(CaError::KeyLost {
                    certificate: certificate_path.display().to_string(),
                    key: key_path.display().to_string(),
                });
            }
            (false, _) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let certificate = ca_params(now)?.self_signed(&key)?;
                files::write_private(&key_path, key.serialize_pem().as_bytes())?;
                files::write_private(&certificate_path, certificate.pem().as_bytes())?;
            }
        }
        // The one that signs comes first.
        let certificate_pem = files::read_text(&certificate_path, FILE_LIMIT)?;
        let damaged =
            |reason: String| CaError::Damaged { directory: directory.display().to_string(), reason };
        let key = KeyPair::from_pem(&files::read_text(&key_path, FILE_LIMIT)?)
            .map_err(|e| damaged(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key).map_err(|e| damaged(e.to_string()))?;
        let fingerprint = Fingerprint::of_pem(&certificate_pem).map_err(|e| damaged(e.to_string()))?;
        let others = place.others(&certificate_pem)?;
        place.note_start(now)?;
        Ok(Self { issuer, certificate_pem: certificate_pem + &others, fingerprint, node_life: NODE_LIFE })
    }

    /// From now on nodes are given certificates that hold for so long.
    #[must_use]
    pub fn with_node_life(self, node_life: SignedDuration) -> Self {
        Self { node_life, ..self }
    }

    fn life_of(&self, role: Role) -> SignedDuration {
        match role {
            Role::Node => self.node_life,
            Role::Viewer | Role::Operator | Role::Admin | Role::Agent => PEOPLE_LIFE,
        }
    }

    /// The CA's certificate; while it is being replaced both, first the one that signs.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A certificate with a fresh key for the controller itself.
    pub fn server_identity(&self, now: Timestamp) -> Result<Identity, CaError> {
        let (mut params, _) = params(now, SERVER_LIFE)?;
        params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
        })
    }

    /// Signs the public key of a request for `who`; whatever else the request says does not count.
    pub fn sign(&self, who: Principal, request: &Csr, now: Timestamp) -> Result<Issued, CaError> {
        let life = self.life_of(who.role);
        let (params, serial) = client_params(&who, now, life)?;
        let certificate = params.signed_by(&request.0.public_key, &self.issuer)?;
        let record = IssuedCertificate { serial, principal: who, expires: expiry(now, life) };
        Ok(Issued { certificate_pem: certificate.pem(), record, issued: now })
    }

    /// A certificate for `who` with a key made here: for contexts that the controller hands out whole.
    pub fn make_identity(
        &self,
        who: Principal,
        now: Timestamp,
    ) -> Result<(Identity, IssuedCertificate), CaError> {
        let life = self.life_of(who.role);
        let (params, serial) = client_params(&who, now, life)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
        };
        Ok((identity, IssuedCertificate { serial, principal: who, expires: expiry(now, life) }))
    }
}

/// A certificate request whose signature holds.
pub struct Csr(CertificateSigningRequestParams);

impl Csr {
    /// Reads a PKCS#10 request in PEM. Its signature shows that the asker has the key.
    pub fn parse(pem: &str) -> Result<Self, CaError> {
        const LIMIT: usize = 16 * 1024;
        if pem.len() > LIMIT {
            return Err(CaError::Request(format!("longer than {LIMIT} bytes")));
        }
        let request =
            CertificateSigningRequestParams::from_pem(pem).map_err(|e| CaError::Request(e.to_string()))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(CaError::Algorithm);
        }
        Ok(Self(request))
    }
}

fn expiry(now: Timestamp, life: SignedDuration) -> Timestamp {
    now.saturating_add(life).unwrap_or(Timestamp::MAX)
}

/// Parameters with a random serial, which is given in hex too.
fn params(now: Timestamp, life: SignedDuration) -> Result<(CertificateParams, String), CaError> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| CaError::Random)?;
    // A serial is a positive number without leading zeros, so that it reads the same everywhere.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    // A certificate knows whole seconds.
    let second = |at: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_second().try_into().unwrap_or(0))
    };
    params.not_before = second(now.saturating_sub(CLOCK_MARGIN).unwrap_or(now));
    params.not_after = second(expiry(now, life));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok((params, hex(&serial)))
}

fn client_params(
    who: &Principal,
    now: Timestamp,
    life: SignedDuration,
) -> Result<(CertificateParams, String), CaError> {
    let (mut params, serial) = params(now, life)?;
    params.distinguished_name.push(DnType::CommonName, format!("{} {}", who.role, who.name));
    params.subject_alt_names = vec![SanType::URI(who.to_string().as_str().try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok((params, serial))
}

pub(super) fn ca_params(now: Timestamp) -> Result<CertificateParams, CaError> {
    let (mut params, _) = params(now, CA_LIFE)?;
    params.distinguished_name.push(DnType::CommonName, "wa CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    Ok(params)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::peer::Peer;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    use wa_proto::Host;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00.7Z".parse().unwrap()
    }

    #[test]
    fn the_ca_is_made_once_and_kept() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("ca");
        let first = Authority::open(&directory, now()).unwrap();
        let again = Authority::open(&directory, now()).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        std::fs::remove_file(directory.join("ca.key")).unwrap();
        let error = Authority::open(&directory, now()).err().unwrap();
        assert!(matches!(error, CaError::KeyLost { .. }), "{error}");
    }

    #[test]
    fn a_key_without_its_certificate_is_a_first_start_that_was_cut_short() {
        let place = tempfile::tempdir().unwrap();
        Authority::open(place.path(), now()).unwrap();
        std::fs::remove_file(place.path().join("ca.pem")).unwrap();
        Authority::open(place.path(), now()).unwrap();
    }

    #[test]
    fn a_signed_certificate_says_what_the_controller_says() {
        let place = tempfile::tempdir().unwrap();
        let ca = Authority::open(place.path(), now()).unwrap();
        // A request that asks for another name: only its key counts.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut wish = CertificateParams::new(vec!["wa-controller".to_owned()]).unwrap();
        wish.subject_alt_names.push(SanType::URI("spiffe://wa/admin/root".try_into().unwrap()));
        let request = wish.serialize_request(&key).unwrap().pem().unwrap();
        let who = Principal { role: Role::Node, name: Host::new("web-1").unwrap() };
        let issued = ca.sign(who.clone(), &Csr::parse(&request).unwrap(), now()).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
        let peer = Peer::of(&der).unwrap();
        assert_eq!((&peer.principal, &peer.serial), (&who, &issued.record.serial));
        assert_eq!(peer.expires.as_second(), issued.record.expires.as_second());
        let (from, until) = wa_link::tls::certificate_validity(&issued.certificate_pem).unwrap();
        assert_eq!((until - from).get_hours(), 0, "{:?}", until - from);
        assert_eq!(until.duration_since(from), SignedDuration::from_hours(24) + CLOCK_MARGIN);
    }

    #[test]
    fn damaged_requests_are_refused() {
        let (good, _) = wa_link::tls::csr().unwrap();
        assert!(Csr::parse(&good).is_ok());
        let bent = good.replacen('M', "N", 1);
        for bad in ["", "hello", bent.as_str(), &good[..good.len() / 2], &"A".repeat(20_000)] {
            assert!(Csr::parse(bad).is_err());
        }
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&other).unwrap().pem().unwrap();
        assert!(matches!(Csr::parse(&request), Err(CaError::Algorithm)));
    }
}
