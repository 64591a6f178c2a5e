//! What a node signs to recover: who can sign with the key of a certificate that has run out is who it spoke for.
//!
//! The signature is over words that nothing else is signed with, a number that the controller has just made up, and the
//! requests for the new certificates: it is good once, for this key and for these requests.

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use rustls_pki_types::PrivateKeyDer;

use crate::tls::{TlsError, private_key};

/// Bytes of the controller's number.
pub const NONCE: usize = 32;
const CONTEXT: &[u8] = b"wa recover 1\0";

/// What is signed. Both requests are PEM; the second may be empty.
pub fn message(nonce: &[u8; NONCE], csr_pem: &str, agent_csr_pem: &str) -> Vec<u8> {
    let mut message = [CONTEXT, nonce].concat();
    for request in [csr_pem, agent_csr_pem] {
        message.extend_from_slice(digest(&SHA256, request.as_bytes()).as_ref());
    }
    message
}

/// Signs with a P-256 key in PEM: ECDSA with SHA-256, ASN.1.
///
/// # Errors
/// When it is no such key, or the system has no randomness to give.
pub fn sign(key_pem: &str, message: &[u8]) -> Result<Vec<u8>, TlsError> {
    let damaged = |reason: String| TlsError::Damaged { what: "key", reason };
    let random = SystemRandom::new();
    let PrivateKeyDer::Pkcs8(key) = private_key(key_pem)? else {
        return Err(damaged("it is not in PKCS#8 form".to_owned()));
    };
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_pkcs8_der(), &random)
        .map_err(|error| damaged(error.to_string()))?;
    let signature = key.sign(&random, message).map_err(|_| damaged("it does not sign".to_owned()))?;
    Ok(signature.as_ref().to_vec())
}

/// Whether the holder of this public key (an uncompressed point of P-256) signed the message.
pub fn is_signed(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_is_good_for_its_key_nonce_and_requests_only() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let said = message(&[1; NONCE], "a", "b");
        let signature = sign(&key.serialize_pem(), &said).unwrap();
        assert!(is_signed(key.public_key_raw(), &said, &signature));
        assert!(!is_signed(other.public_key_raw(), &said, &signature));
        for (nonce, csr, agent) in [(2, "a", "b"), (1, "ab", ""), (1, "", "ab"), (1, "b", "a")] {
            let changed = message(&[nonce; NONCE], csr, agent);
            assert!(!is_signed(key.public_key_raw(), &changed, &signature), "{nonce} {csr} {agent}");
        }
        let error = sign("no key", &said).unwrap_err().to_string();
        assert!(error.contains("key is damaged"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_is_no_signature(key: Vec<u8>, said: Vec<u8>, signature: Vec<u8>) {
            prop_assert!(!is_signed(&key, &said, &signature));
        }
    }
}
