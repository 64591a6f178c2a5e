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

pub use convert::{Invalid, from_us, optional_us, to_us};
