//! Join tokens: what a new node is given to come in once.
//!
//! Constraints: one line that survives mail and chat; it binds a name; it lets the node recognise the controller before
//! it trusts anything (the fingerprint of the CA); the controller keeps only the hash of the secret; expiry is the
//! controller's business and stands not inside.
//!
//! Format: `wa-join-1.NAME.SECRET.FINGERPRINT`. SECRET is 32 random bytes in unpadded URL-safe base64, FINGERPRINT the
//! SHA-256 of the CA certificate's DER in hex. Names may hold dots, so the text is read from the right.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use wa_proto::Host;
use wa_proto::ids::InvalidName;

use crate::tls::Fingerprint;

const PREFIX: &str = "wa-join-1.";
const SECRET_BYTES: usize = 32;

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error(
        "this is not a join token: it does not begin with `wa-join-1.`; copy the whole line that `wa fleet token` printed"
    )]
    Prefix,
    #[error("the join token is cut short: copy the whole line that `wa fleet token` printed")]
    Parts,
    #[error("the name in the join token is damaged: {0}")]
    Name(#[from] InvalidName),
    #[error("the secret in the join token is damaged: copy the whole line that `wa fleet token` printed")]
    Secret,
    #[error(
        "the fingerprint in the join token is damaged: copy the whole line that `wa fleet token` printed"
    )]
    Fingerprint,
    #[error("this system gives no random numbers")]
    Random,
}

/// The secret of a token. Never shown by `Debug`; [`Self::expose`] is the only way out.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret([u8; SECRET_BYTES]);

impl TokenSecret {
    /// The text that travels in `JoinRequest.token`.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the controller keeps: SHA-256 of the secret bytes.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &self.0).as_ref());
        hash
    }
}

impl FromStr for TokenSecret {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Secret)?;
        Ok(Self(bytes.try_into().map_err(|_| TokenError::Secret)?))
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// A whole token. `Debug` does not show the secret; [`Self::expose`] gives the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The name that the node will have.
    pub name: Host,
    pub secret: TokenSecret,
    pub ca_fingerprint: Fingerprint,
}

impl JoinToken {
    /// A new one with a fresh secret.
    ///
    /// # Errors
    /// [`TokenError::Random`] when the system has no randomness to give.
    pub fn generate(name: Host, ca_fingerprint: Fingerprint) -> Result<Self, TokenError> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).map_err(|_| TokenError::Random)?;
        Ok(Self { name, secret: TokenSecret(secret), ca_fingerprint })
    }

    /// The line to hand over.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}.{}.{}", self.name, self.secret.expose(), self.ca_fingerprint)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Blanks and line ends around the token are ignored.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        let mut parts = body.rsplitn(3, '.');
        let (Some(fingerprint), Some(secret), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(TokenError::Parts);
        };
        Ok(Self {
            name: Host::new(name)?,
            secret: secret.parse()?,
            ca_fingerprint: fingerprint.parse().map_err(|_| TokenError::Fingerprint)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> JoinToken {
        JoinToken::generate(Host::new("web-1.example.org").unwrap(), Fingerprint([7; 32])).unwrap()
    }

    proptest! {
        #[test]
        fn tokens_read_as_written(name in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}", secret: [u8; 32], ca: [u8; 32]) {
            let token = JoinToken {
                name: Host::new(name).unwrap(),
                secret: TokenSecret(secret),
                ca_fingerprint: Fingerprint(ca),
            };
            let line = token.expose();
            prop_assert!(!line.contains(char::is_whitespace));
            prop_assert_eq!(format!(" {line}\n").parse::<JoinToken>().unwrap(), token);
        }

        #[test]
        fn no_text_does_harm(text in ".{0,200}", tail in "[a-zA-Z0-9._-]{0,200}") {
            prop_assert!(text.parse::<JoinToken>().is_err());
            drop(format!("{PREFIX}{tail}").parse::<JoinToken>());
        }

        #[test]
        fn a_cut_token_is_refused(cut in 1_usize..100) {
            let line = token().expose();
            prop_assert!(line[..line.len() - cut].parse::<JoinToken>().is_err());
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let token = token();
        let shown = format!("{token:?}");
        assert!(shown.contains("web-1") && !shown.contains(&token.secret.expose()), "{shown}");
    }

    #[test]
    fn two_tokens_differ_and_hash_by_content() {
        let (one, two) = (token(), token());
        assert_ne!(one.secret.hash(), two.secret.hash());
        let read: TokenSecret = one.secret.expose().parse().unwrap();
        assert_eq!(read.hash(), one.secret.hash());
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let line = token().expose();
        let parse = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(parse("hello"), TokenError::Prefix);
        assert_eq!(parse("wa-join-1.web-1"), TokenError::Parts);
        assert!(matches!(parse(&line.replace("web-1", "web/1")), TokenError::Name(_)));
        assert_eq!(
            parse(&line.replace(&token().ca_fingerprint.to_string(), "0707")),
            TokenError::Fingerprint
        );
    }
}
