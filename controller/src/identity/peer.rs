//! The caller, read from its certificate. TLS has verified the signature and the times; here it is read for its words.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use wa_link::principal::{NotAPrincipal, Principal};
use wa_link::tls::CLOCK_MARGIN;
use wa_proto::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ca::hex;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub principal: Principal,
    /// Lower-case hex.
    pub serial: String,
    /// Whole seconds.
    pub issued: Timestamp,
    pub expires: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPeer {
    #[error("the client certificate cannot be read")]
    Unreadable,
    #[error("the client certificate does not have exactly one URI name")]
    Names,
    #[error("the client certificate names {0}")]
    Principal(#[from] NotAPrincipal),
}

impl Peer {
    /// Reads a certificate in DER.
    pub fn of(certificate: &[u8]) -> Result<Self, UnknownPeer> {
        let (rest, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| UnknownPeer::Unreadable)?;
        if !rest.is_empty() {
            return Err(UnknownPeer::Unreadable);
        }
        let names = certificate.subject_alternative_name().map_err(|_| UnknownPeer::Unreadable)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris.as_slice() else { return Err(UnknownPeer::Names) };
        let time = |second| Timestamp::from_second(second).map_err(|_| UnknownPeer::Unreadable);
        let validity = certificate.validity();
        let begins = time(validity.not_before.timestamp())?;
        Ok(Self {
            principal: uri.parse()?,
            serial: hex(certificate.raw_serial()),
            issued: begins.saturating_add(CLOCK_MARGIN).map_err(|_| UnknownPeer::Unreadable)?,
            expires: time(validity.not_after.timestamp())?,
        })
    }

    /// As [`Self::of`], of the first certificate of a PEM text; `None` if it is nobody's.
    pub fn of_pem(pem: &str) -> Option<Self> {
        Self::of(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?).ok()
    }

    /// The name under which the caller stands in audit, actions and policy files.
    pub fn who(&self) -> String {
        self.principal.author()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_certificate_with_two_names_or_none_is_nobody() {
        let key = rcgen::KeyPair::generate().unwrap();
        for uris in [&[][..], &["spiffe://wa/node/a", "spiffe://wa/admin/b"]] {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            let uris = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()));
            params.subject_alt_names.extend(uris);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(Peer::of(certificate.der()), Err(UnknownPeer::Names));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_nobody(bytes: Vec<u8>) {
            prop_assert!(Peer::of(&bytes).is_err());
        }
    }
}
