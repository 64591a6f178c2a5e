//! The door: generated gRPC messages, and the conversions between them and the domain.
//!
//! Inwards is `TryFrom` with an [`Invalid`] that names the field; outwards is `From` and cannot fail. No generated type
//! goes further than the module that speaks gRPC.

mod convert;
pub mod packed;

/// Messages and services generated from `wa/v1/*.proto`.
#[allow(unreachable_pub, clippy::all, clippy::pedantic, let_underscore_drop)]
pub mod v1 {
    tonic::include_proto!("wa.v1");
}

impl std::fmt::Debug for v1::Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("handle", &self.handle)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Says only what there is.
impl std::fmt::Debug for v1::Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { username, password, one_time_secret, api_key } = self;
        f.debug_struct("Credentials")
            .field("username", &!username.is_empty())
            .field("password", &!password.is_empty())
            .field("one_time_secret", &!one_time_secret.is_empty())
            .field("api_key", &!api_key.is_empty())
            .finish()
    }
}

impl std::fmt::Debug for v1::PrepareHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrepareHome")
            .field("agent", &self.agent)
            .field("alias", &self.alias)
            .field("pane", &self.pane)
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}

pub use convert::{Invalid, from_us, optional_us, to_us};
