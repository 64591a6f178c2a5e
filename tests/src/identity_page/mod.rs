//! A provider of identities on the loopback: sign-in pages for a real browser, and beside them the device-authorisation
//! calls that `codex login --device-auth --experimental_issuer ISSUER` makes.
//!
//! People sign in with user name, password and, if they have a secret, a one-time password; then they type the code that the
//! program printed, and say yes. A session is a cookie, so a browser that comes again is known. What real pages do to
//! programs can be turned on: see [`Mood`]. Everything that was sent in a form is kept, for tests that ask what reached whom.

mod device;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use ring::hmac;

/// Somebody with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub username: String,
    pub password: String,
    /// In base32; `None`: there is no second factor.
    pub one_time_secret: Option<String>,
}

/// What the pages are like. The default is a provider on a good day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mood {
    /// What each answer takes.
    pub delay: Duration,
    /// The page of the code is not the one that people know.
    pub changed: bool,
    /// What the button below the code says; `None`: what it usually says.
    pub button: Option<String>,
    /// An input that takes the focus sends the browser there.
    pub leaves: Option<String>,
    /// Whatever is typed is sent at once, as a form to `/typed`.
    pub tells: bool,
    /// Whoever should sign in is sent there.
    pub redirect: Option<String>,
    /// The code is typed into boxes of one character each.
    pub boxes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Open,
    /// Typed in, not yet agreed to.
    Typed(String),
    Confirmed(String),
    Expired,
}

#[derive(Debug)]
struct Code {
    device: String,
    standing: Standing,
}

#[derive(Debug, Default)]
struct Book {
    people: Vec<Person>,
    mood: Mood,
    /// By the code that is printed.
    codes: BTreeMap<String, Code>,
    /// Who is behind a cookie, and how far: name, and whether everything was asked.
    sessions: BTreeMap<String, (String, bool)>,
    forms: Vec<(String, String)>,
    visited: BTreeSet<String>,
    count: usize,
}

impl Book {
    /// Another number, never the same.
    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    fn person(&self, username: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.username == username)
    }
}

type Shared = Arc<Mutex<Book>>;

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a service of its own has a clock of its own")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct IdentityPage {
    at: SocketAddr,
    book: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl IdentityPage {
    /// On a free port of the loopback.
    pub fn start(people: Vec<Person>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let book = Arc::new(Mutex::new(Book { people, ..Book::default() }));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&book));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        let at = listener.local_addr()?;
        // Ends with the runtime.
        drop(runtime.spawn(async move { axum::serve(listener, router).await }));
        Ok(Self { at, book, _runtime: runtime })
    }

    /// For `--experimental_issuer`.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.at)
    }

    /// The page on which the code is typed; what the program prints.
    pub fn device_url(&self) -> String {
        format!("{}{}", self.issuer(), pages::DEVICE)
    }

    /// The sign-in data of this provider, under the name that accounts call it by.
    pub fn provider_toml(&self, name: &str) -> String {
        include_str!("provider.toml").replace("NAME", name).replace("ISSUER", &self.issuer())
    }

    pub fn set_mood(&self, mood: Mood) {
        lock(&self.book).mood = mood;
    }

    /// A code as the program would get it and print it.
    pub fn new_code(&self) -> String {
        device::new_code(&mut lock(&self.book)).0
    }

    /// Nobody's code is good any more.
    pub fn expire_codes(&self) {
        for code in lock(&self.book).codes.values_mut() {
            code.standing = Standing::Expired;
        }
    }

    /// A person who has signed in with a browser of their own types a code, and says yes.
    ///
    /// # Panics
    /// When there is no such code.
    pub fn confirm(&self, code: &str, username: &str) {
        let mut book = lock(&self.book);
        let code = book.codes.get_mut(code).expect("a code that was given");
        code.standing = Standing::Confirmed(username.to_owned());
    }

    /// The codes that were agreed to, and by whom.
    pub fn confirmed(&self) -> Vec<(String, String)> {
        let confirmed = |(code, state): (&String, &Code)| match &state.standing {
            Standing::Confirmed(username) => Some((code.clone(), username.clone())),
            Standing::Open | Standing::Typed(_) | Standing::Expired => None,
        };
        lock(&self.book).codes.iter().filter_map(confirmed).collect()
    }

    /// Path and body of every form that was sent, the oldest first.
    pub fn forms(&self) -> Vec<(String, String)> {
        lock(&self.book).forms.clone()
    }

    /// Paths that were asked for, without their queries.
    pub fn visited(&self) -> BTreeSet<String> {
        lock(&self.book).visited.clone()
    }
}

async fn answer(
    State(book): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    let delay = {
        let mut book = lock(&book);
        book.visited.insert(uri.path().to_owned());
        book.mood.delay
    };
    tokio::time::sleep(delay).await;
    let mut book = lock(&book);
    match (method, uri.path()) {
        (Method::POST, path) if device::is_call(path) => device::answer(&mut book, path, &body),
        (Method::GET, path) => pages::show(&mut book, path, session(&headers)),
        (Method::POST, path) => {
            book.forms.push((path.to_owned(), body.clone()));
            pages::take(&mut book, path, session(&headers), &body)
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// The cookie that a browser brings.
fn session(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session=")).map(str::to_owned)
}

/// Fields of a form.
fn field(body: &str, name: &str) -> String {
    let found = url::form_urlencoded::parse(body.as_bytes()).find(|(key, _)| key == name);
    found.map_or_else(String::new, |(_, value)| value.into_owned())
}

/// Whether this is the secret's code now, or half a minute ago (RFC 6238 with SHA-1, 6 digits, 30 s).
fn is_one_time_code(secret: &str, typed: &str) -> bool {
    let Ok(key) = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let count = now().as_secs() / 30;
    [count, count.saturating_sub(1)].into_iter().any(|count| {
        let tag = hmac::sign(&key, &count.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let bytes: [u8; 4] = std::array::from_fn(|n| tag.as_ref()[at + n]);
        let code = (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000;
        format!("{code:06}") == typed
    })
}
