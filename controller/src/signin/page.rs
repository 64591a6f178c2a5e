//! Words with a browser: every one bounded in time, none of them with a secret in its error. What is typed passes through
//! buffers of the HTTP client, which nobody wipes; they are freed with the login.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fantoccini::elements::{Element, ElementRef};
use fantoccini::error::{CmdError, ErrorStatus};
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tower::Service;
use url::Url;

use super::provider::See;

/// The longest wait for one answer of the browser.
const WORD: Duration = Duration::from_secs(10);
/// The browser's own start.
const START: Duration = Duration::from_secs(30);
/// The browser's own end, in which it writes its profile.
const END: Duration = Duration::from_secs(5);

/// Why the browser did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The page went away in the meantime: look again.
    #[error("the page was exchanged")]
    Moved,
    /// Something lies over the element, or it does not take what it was given.
    #[error("an element of the page cannot be used")]
    Unusable,
    /// A selector is none.
    #[error("a selector of the sign-in data is not CSS")]
    NotCss,
    #[error("it did not answer in time")]
    Slow,
    #[error("{0}")]
    Broken(&'static str),
}

impl From<CmdError> for Trouble {
    fn from(error: CmdError) -> Self {
        // The words of an error may quote the page; only its kind is kept.
        let CmdError::Standard(error) = error else { return Self::Broken("its driver is gone") };
        match error.error {
            ErrorStatus::StaleElementReference
            | ErrorStatus::NoSuchElement
            | ErrorStatus::DetachedShadowRoot
            | ErrorStatus::UnexpectedAlertOpen => Self::Moved,
            ErrorStatus::ElementNotInteractable | ErrorStatus::ElementClickIntercepted => Self::Unusable,
            ErrorStatus::JavascriptError if error.message.contains("not a valid selector") => Self::NotCss,
            // Also what is said of a page that is just being exchanged.
            ErrorStatus::JavascriptError | ErrorStatus::UnknownError => Self::Moved,
            ErrorStatus::Timeout | ErrorStatus::ScriptTimeout => Self::Slow,
            ErrorStatus::NoSuchWindow | ErrorStatus::InvalidSessionId => Self::Broken("it has ended"),
            _ => Self::Broken("its driver refused a command"),
        }
    }
}

async fn word<T>(said: impl Future<Output = Result<T, CmdError>>) -> Result<T, Trouble> {
    timeout(WORD, said).await.map_err(|_| Trouble::Slow)?.map_err(Trouble::from)
}

/// Connects to the socket of a chamber, whatever address is asked for.
#[derive(Debug, Clone)]
struct Road(PathBuf);

impl Service<http::Uri> for Road {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}

/// What a look at the page found.
#[derive(Debug, Deserialize)]
pub(super) struct Look {
    /// There is more to come, or nothing yet.
    pub(super) loading: bool,
    /// For each thing that was asked for, in order.
    pub(super) seen: Vec<bool>,
    pub(super) failures: Vec<bool>,
}

/// An element that was found.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    element: Json,
    /// Characters that it takes; negative: any number.
    pub(super) most: i64,
}

/// One browser with one page.
#[derive(Debug, Clone)]
pub(super) struct Page(Client);

impl Page {
    /// Starts the browser by the driver behind `socket`.
    ///
    /// # Errors
    /// In words, when it does not start.
    pub(super) async fn open(socket: PathBuf, capabilities: Capabilities) -> Result<Self, String> {
        let mut builder = ClientBuilder::new(Road(socket));
        builder.capabilities(capabilities);
        // The host is what chromedriver demands; the road leads to the socket.
        match timeout(START, builder.connect("http://localhost/")).await {
            Ok(Ok(client)) => Ok(Self(client)),
            Ok(Err(error)) => {
                let text = error.to_string();
                Err(format!("it did not start: {}", text.lines().next().unwrap_or_default()))
            }
            Err(_) => Err("it did not start in time".to_owned()),
        }
    }

    pub(super) async fn go(&self, url: &Url) -> Result<(), Trouble> {
        word(self.0.goto(url.as_str())).await
    }

    /// What the browser, not the page, says where it is.
    pub(super) async fn url(&self) -> Result<Url, Trouble> {
        word(self.0.current_url()).await
    }

    pub(super) async fn look(&self, seen: &[&See], failures: &[&See]) -> Result<Look, Trouble> {
        self.run(include_str!("scripts/look.js"), vec![json!(seen), json!(failures)]).await
    }

    pub(super) async fn find(&self, css: Option<&str>, text: Option<&str>) -> Result<Vec<Found>, Trouble> {
        self.run(include_str!("scripts/find.js"), vec![json!(css), json!(text)]).await
    }

    /// Puts a text into an input. Whether it stayed there.
    pub(super) async fn put(&self, found: &Found, text: &str) -> Result<bool, Trouble> {
        self.run(include_str!("scripts/put.js"), vec![found.element.clone(), json!(text)]).await
    }

    pub(super) async fn click(&self, found: &Found) -> Result<(), Trouble> {
        let id = found.element.as_object().and_then(|object| object.values().next()).and_then(Json::as_str);
        let id = id.ok_or(Trouble::Moved)?.to_owned();
        word(Element::from_element_id(self.0.clone(), ElementRef::from(id)).click()).await
    }

    /// Blanks what shows one of the secrets, and all inputs. Whether there was nothing to blank.
    pub(super) async fn blank(&self, secrets: &[&str]) -> Result<bool, Trouble> {
        self.run(include_str!("scripts/blank.js"), vec![json!(secrets)]).await
    }

    /// A picture of the page, as PNG.
    pub(super) async fn picture(&self) -> Result<Vec<u8>, Trouble> {
        word(self.0.screenshot()).await
    }

    /// Lets the browser end by itself, so that it writes its profile.
    pub(super) async fn close(self) {
        // It is killed afterwards in any case.
        timeout(END, self.0.close()).await.ok();
    }

    async fn run<T: for<'a> Deserialize<'a>>(&self, script: &str, args: Vec<Json>) -> Result<T, Trouble> {
        let answer = word(self.0.execute(script, args)).await?;
        // A page that tampers with what scripts use is one that nobody knows.
        serde_json::from_value(answer).map_err(|_| Trouble::Unusable)
    }
}
