//! What systemd is told of a program that runs as a unit of `Type=notify`.
//!
//! Outside systemd (no `NOTIFY_SOCKET`) every call here does nothing. A message that cannot be delivered is not the
//! program's trouble: it is logged at debug level and forgotten.

use sd_notify::NotifyState;
use tracing::debug;

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd was not told");
    }
}

/// The program does its work now; `status` is the line that `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The program has begun to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}
