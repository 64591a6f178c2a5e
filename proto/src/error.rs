//! The closed set of error codes at the gRPC edge, and what each means as an exit code of `wa`.

use crate::pane::words;

words! {
    ErrorCode, "error code" {
        /// The request itself is wrong.
        Usage = "usage",
        NotFound = "not_found",
        /// Role, policy or guard.
        Refused = "refused",
        TimedOut = "timed_out",
        /// The controller, or the pane's node, cannot be reached.
        Unreachable = "unreachable",
        /// Too much at once; try again.
        Busy = "busy",
        Internal = "internal",
    }
}

impl ErrorCode {
    /// Exit code of `wa`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::TimedOut => 5,
            Self::Unreachable => 6,
            Self::Busy | Self::Internal => 1,
        }
    }
}

#[cfg(feature = "wire")]
mod status {
    use super::ErrorCode;
    use tonic::{Code, Status};

    impl ErrorCode {
        pub fn status(self, message: impl Into<String>) -> Status {
            let code = match self {
                Self::Usage => Code::InvalidArgument,
                Self::NotFound => Code::NotFound,
                Self::Refused => Code::PermissionDenied,
                Self::TimedOut => Code::DeadlineExceeded,
                Self::Unreachable => Code::Unavailable,
                Self::Busy => Code::ResourceExhausted,
                Self::Internal => Code::Internal,
            };
            Status::new(code, message)
        }

        /// What a status from the wire means to us.
        pub fn of(status: &Status) -> Self {
            match status.code() {
                Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Self::Usage,
                Code::NotFound => Self::NotFound,
                Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => Self::Refused,
                Code::DeadlineExceeded => Self::TimedOut,
                Code::Unavailable | Code::Cancelled => Self::Unreachable,
                Code::ResourceExhausted | Code::Aborted | Code::AlreadyExists => Self::Busy,
                Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
            }
        }
    }
}
