//! The vault: what is sealed before it reaches the database, and the keys that open it.
//!
//! Constraints: nothing secret is in the database, its write-ahead log or a backup of either without the key, which
//! never stands there; what is sealed belongs to its place (account, field, action) and opens nowhere else; a wrong key
//! is told before anything is changed; nothing of a key or of what was sealed is in an error, a log or a `Debug`.
//!
//! Format: `version (1) · key id (8) · nonce (12) · ciphertext and tag`, AES-256-GCM with a random nonce for each
//! sealing; the associated data are version, key id, and the words of the place with their lengths. Sealing key and key
//! id are derived from the secret of the key (HKDF-SHA-256), so the id tells nothing of it.
//!
//! Operation: the database names the key in force. A rotation adds a key here, then re-seals everything and names it in
//! one commit: a commit that fails leaves all as it was. What is sealed inside a commit asks the commit which key that is.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::keys::KeyFileError;

const VERSION: u8 = 1;
const ID_LEN: usize = 8;
const HEAD: usize = 1 + ID_LEN + NONCE_LEN;

/// Names a key. It follows from the key and tells nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; ID_LEN]);

impl KeyId {
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why something is not sealed, or not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    #[error("{0}")]
    Key(KeyFileError),
    #[error(
        "the vault's key {given} ({source_of}) is not the one that the accounts are sealed with ({wanted}): nothing was \
         changed; bring that key back, or give it as the previous one and run `wa account rotate`; if it is lost for good, \
         `wa-controller --forget-credentials` goes on without what it sealed"
    )]
    WrongKey { given: KeyId, wanted: KeyId, source_of: String },
    #[error("{what} is sealed with a key ({key}) that is not here: was the database restored without it?")]
    UnknownKey { what: String, key: KeyId },
    #[error("{what} does not open: it was changed, or belongs to another place of the database")]
    Tampered { what: String },
    #[error("{what} is not UTF-8 text")]
    NotText { what: String },
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// Where something sealed stands: it opens nowhere else.
#[derive(Clone, Copy)]
pub struct Place<'a>(pub &'a [&'a str]);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

struct Key {
    id: KeyId,
    sealing: LessSafeKey,
}

/// Keys of one controller. Its `Debug` names their ids only.
pub struct Vault {
    keys: RwLock<Vec<Key>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(keys.iter().map(|key| key.id.to_string())).finish()
    }
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// The id of the key with this secret, and the key.
fn derive(secret: &[u8]) -> Result<Key, VaultError> {
    let secret = Salt::new(HKDF_SHA256, b"wa vault 1").extract(secret);
    let mut id = [0; ID_LEN];
    secret
        .expand(&[b"key id"], Bytes(ID_LEN))
        .and_then(|okm| okm.fill(&mut id))
        .map_err(|_| VaultError::NoRandomness)?;
    let sealing = secret.expand(&[b"seal"], &AES_256_GCM).map_err(|_| VaultError::NoRandomness)?;
    Ok(Key { id: KeyId(id), sealing: LessSafeKey::new(UnboundKey::from(sealing)) })
}

/// The id of the key with this secret.
///
/// # Errors
/// Never in practice: the lengths are fixed.
pub fn key_id(secret: &[u8]) -> Result<KeyId, VaultError> {
    derive(secret).map(|key| key.id)
}

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| VaultError::NoRandomness)?;
    Ok(bytes)
}

impl Vault {
    /// A vault without keys: it opens and seals nothing.
    pub fn empty() -> Self {
        Self { keys: RwLock::default() }
    }

    /// Adds a key by its secret; its id.
    ///
    /// # Errors
    /// Never in practice: the lengths are fixed.
    pub fn add(&self, secret: &[u8]) -> Result<KeyId, VaultError> {
        let key = derive(secret)?;
        let id = key.id;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if !keys.iter().any(|known| known.id == id) {
            keys.push(key);
        }
        Ok(id)
    }

    /// Seals for this place, with this key.
    ///
    /// # Errors
    /// When the key is not here, or the system gives no random numbers.
    pub fn seal(&self, key: KeyId, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = keys.iter().find(|known| known.id == key);
        let found = found.ok_or_else(|| VaultError::UnknownKey { what: place.to_string(), key })?;
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = Vec::with_capacity(HEAD + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.0);
        sealed.extend_from_slice(&nonce);
        let mut body = Zeroizing::new(plain.to_vec());
        let tag = found
            .sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(key, place)),
                &mut body,
            )
            .map_err(|_| VaultError::Tampered { what: place.to_string() })?;
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// When its key is not here, or it is not what was sealed for this place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let tampered = || VaultError::Tampered { what: place.to_string() };
        let (head, body) = sealed.split_at_checked(HEAD).ok_or_else(tampered)?;
        let (version, head) = head.split_first().ok_or_else(tampered)?;
        let (id, nonce) = head.split_at(ID_LEN);
        let key = KeyId::from_slice(id).filter(|_| *version == VERSION).ok_or_else(tampered)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = keys.iter().find(|known| known.id == key);
        let found = found.ok_or_else(|| VaultError::UnknownKey { what: place.to_string(), key })?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| tampered())?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = found.sealing.open_in_place(nonce, Aad::from(associated(key, place)), &mut body);
        let length = plain.map_err(|_| tampered())?.len();
        body.truncate(length);
        Ok(body)
    }

    /// As [`Self::open`], of text.
    ///
    /// # Errors
    /// As [`Self::open`], and when it is no text.
    pub fn open_text(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<String>, VaultError> {
        let plain = self.open(place, sealed)?;
        let text =
            std::str::from_utf8(&plain).map_err(|_| VaultError::NotText { what: place.to_string() })?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// The key that something was sealed with.
pub fn key_of(sealed: &[u8]) -> Option<KeyId> {
    sealed.get(1..=ID_LEN).and_then(KeyId::from_slice)
}

fn associated(key: KeyId, place: Place<'_>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&key.0);
    for word in place.0 {
        bytes.extend_from_slice(&(word.len() as u64).to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vault() -> (Vault, KeyId) {
        let vault = Vault::empty();
        let id = vault.add(&[7; 32]).unwrap();
        (vault, id)
    }

    #[test]
    fn neither_keys_nor_words_are_shown() {
        let (vault, id) = vault();
        assert_eq!(format!("{vault:?}"), format!("[\"{id}\"]"));
        let sealed = vault.seal(id, Place(&["account", "a", "password"]), b"horse staple").unwrap();
        let error = vault.open(Place(&["account", "b", "password"]), &sealed).unwrap_err();
        assert!(!error.to_string().contains("horse"));
        assert!(error.to_string().starts_with("account b password does not open"), "{error}");
    }

    #[test]
    fn a_key_is_known_by_what_follows_from_it() {
        let (vault, id) = vault();
        assert_eq!(key_id(&[7; 32]).unwrap(), id);
        assert_ne!(key_id(&[8; 32]).unwrap(), id);
        let other = Vault::empty();
        other.add(&[8; 32]).unwrap();
        let sealed = vault.seal(id, Place(&["x"]), b"y").unwrap();
        assert_eq!(key_of(&sealed), Some(id));
        assert!(
            matches!(other.open(Place(&["x"]), &sealed), Err(VaultError::UnknownKey { key, .. }) if key == id)
        );
        other.add(&[7; 32]).unwrap();
        assert_eq!(other.open(Place(&["x"]), &sealed).unwrap().as_slice(), b"y");
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_in_its_place_alone(
            plain in proptest::collection::vec(any::<u8>(), 0..300),
            place in proptest::collection::vec("[a-z]{0,6}", 1..4),
            other in proptest::collection::vec("[a-z]{0,6}", 1..4),
        ) {
            let (vault, id) = vault();
            let place: Vec<&str> = place.iter().map(String::as_str).collect();
            let other: Vec<&str> = other.iter().map(String::as_str).collect();
            let sealed = vault.seal(id, Place(&place), &plain).unwrap();
            prop_assert_eq!(&*vault.open(Place(&place), &sealed).unwrap(), &plain);
            prop_assert_eq!(vault.open(Place(&other), &sealed).is_ok(), place == other);
            prop_assert_ne!(vault.seal(id, Place(&place), &plain).unwrap(), sealed, "no nonce twice");
        }

        #[test]
        fn no_changed_byte_goes_unseen(
            plain in proptest::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), flip in 1_u8..,
            cut in any::<prop::sample::Index>(),
        ) {
            let (vault, id) = vault();
            let place = Place(&["account", "a", "password"]);
            let sealed = vault.seal(id, place, &plain).unwrap();
            let mut changed = sealed.clone();
            let at = at.index(changed.len());
            changed[at] ^= flip;
            prop_assert!(vault.open(place, &changed).is_err(), "byte {}", at);
            prop_assert!(vault.open(place, &sealed[..cut.index(sealed.len())]).is_err());
        }
    }
}
