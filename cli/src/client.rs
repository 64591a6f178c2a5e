//! Speaking to the controller: one connection for one command.
//!
//! A call that the controller refuses, and a controller that is not there, are different ends with different exit codes;
//! both say which controller was asked, and on whose behalf.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use wa_link::cause::chain;
use wa_link::context::Context;
use wa_link::dial::{self, DialError};
use wa_proto::ErrorCode;
use wa_proto::wire::v1::fleet_client::FleetClient;

use crate::context::{Choice, Found};
use crate::failure::{Exit, Failure};

/// How long a connection may take.
const DIAL: Duration = Duration::from_secs(10);
/// How long a question that asks for nothing slow may take, unless `--timeout` says more.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);
/// Pages of panes of a large fleet are larger than gRPC's default of 4 MiB.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// A controller that answers.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    fleet: FleetClient<Channel>,
    controller: String,
    found: Found,
    /// As `--timeout` says.
    timeout: Option<Duration>,
}

/// Reads the context and connects.
pub(crate) async fn open(choice: &Choice, limit: Option<Duration>) -> Result<Session, Failure> {
    let context = Context::load(&choice.file).map_err(|error| {
        Failure::usage(error.to_string()).remedy(format!(
            "this context was taken because it is {}; name another with --context-file or WA_CONTEXT_FILE",
            choice.found
        ))
    })?;
    connect(&context, choice.found, limit).await
}

/// Connects with a context that has been read.
pub(crate) async fn connect(
    context: &Context,
    found: Found,
    limit: Option<Duration>,
) -> Result<Session, Failure> {
    let tls = wa_link::tls::client_config(&context.identity)
        .map_err(|error| Failure::usage(format!("the context cannot be used: {}", chain(&error))))?;
    let within = limit.map_or(DIAL, |limit| limit.min(DIAL));
    let channel = dial::connect(&context.controller, tls, within)
        .await
        .map_err(|error| unreachable(&context.controller, &error))?;
    let fleet = FleetClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    Ok(Session { fleet, controller: context.controller.clone(), found, timeout: limit })
}

fn unreachable(controller: &str, error: &DialError) -> Failure {
    Failure::new(Exit::Unreachable, format!("no answer from the controller {controller}: {error}"))
}

impl Session {
    /// A client to make a call with.
    pub(crate) fn fleet(&self) -> FleetClient<Channel> {
        self.fleet.clone()
    }

    pub(crate) fn controller(&self) -> &str {
        &self.controller
    }

    /// What `--timeout` says.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// The time that a call has: what `--timeout` says, else so much.
    pub(crate) fn within(&self, usual: Duration) -> Duration {
        self.timeout.unwrap_or(usual)
    }

    /// Waits for an answer.
    pub(crate) async fn call<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match timeout(within, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => Err(timed_out(within)),
        }
    }

    /// Opens a stream. `endless`: it follows, and silence is no failure.
    pub(crate) async fn stream<T>(
        &self,
        endless: bool,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Incoming<T>, Failure> {
        let end = self.timeout.map(|limit| Instant::now() + limit);
        let stream = self.call(self.within(ANSWER), call).await?;
        Ok(Incoming { session: self.clone(), stream, end, endless })
    }

    /// The time of `--timeout` is over.
    pub(crate) fn over(&self, endless: bool) -> Failure {
        if endless {
            Failure::new(Exit::TimedOut, "the time is over")
        } else {
            timed_out(self.within(ANSWER))
        }
    }

    /// What a status means to the user.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        if let Some(error) = DialError::of_status(status) {
            return unreachable(&self.controller, error);
        }
        // A status of our own making has a cause: the connection broke.
        if let Some(cause) = std::error::Error::source(status) {
            let text =
                format!("the connection to the controller {} broke: {}", self.controller, chain(cause));
            return Failure::new(Exit::Unreachable, text);
        }
        let code = ErrorCode::of(status);
        let failure = Failure::new(Exit::from(code), status.message());
        match code {
            ErrorCode::Refused if self.found == Found::InsidePane => failure.remedy(
                "inside a pane `wa` speaks with the host's agent context; a person names theirs by --context or \
                 --context-file",
            ),
            ErrorCode::Busy => failure.remedy("try again in a moment"),
            _ if failure.message.is_empty() => {
                Failure { message: format!("the controller answered: {}", status.code()), ..failure }
            }
            _ => failure,
        }
    }
}

fn timed_out(after: Duration) -> Failure {
    Failure::new(Exit::TimedOut, format!("nothing within {}", words(after)))
        .remedy("give it longer with --timeout")
}

/// `90s` as people say it.
pub(crate) fn words(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// A stream of answers, with an end in time.
pub(crate) struct Incoming<T> {
    session: Session,
    stream: Streaming<T>,
    end: Option<Instant>,
    endless: bool,
}

impl<T> Incoming<T> {
    /// The next, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Failure> {
        let next = self.stream.next();
        let item = match self.end {
            Some(end) => timeout_at(end, next).await.map_err(|_| self.session.over(self.endless))?,
            None if self.endless => next.await,
            None => timeout(ANSWER, next).await.map_err(|_| timed_out(ANSWER))?,
        };
        item.transpose().map_err(|status| self.session.failure(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_words() {
        let said = |ms: u64| words(Duration::from_millis(ms));
        assert_eq!(
            (said(250), said(30_000), said(600_000), said(7_200_000)),
            ("250 ms".into(), "30 s".into(), "10 min".into(), "2 h".into())
        );
    }
}
