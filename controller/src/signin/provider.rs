//! How one signs in at a provider, as data: what a page shows, what is filled in there, what is clicked.
//!
//! Constraints: pages change without notice and in several ways at once, so nothing about them is code. A file can only
//! say what a person would do on the page; it cannot run scripts, and where a credential may be typed is a list of whole
//! origins (scheme, host, port) that no step can widen.
//!
//! Format: TOML, one provider a file.
//! ```toml
//! schema = "wa.sign-in/1"
//! name = "example"
//! entry = "https://login.example/device"           # where the user types the code; no query
//! credential_origins = ["https://login.example"]   # user name, password, one-time code: only on pages of these
//! passing_origins = ["https://www.example"]        # may come by; nothing is typed or clicked there
//!
//! [[failure]]                                      # looked for all the time
//! see = { text = "Wrong password" }
//! means = "wrong_password"
//!
//! [[step]]
//! name = "password"
//! see = { css = "input[type=password]", path = "/login" }   # all that is given must hold
//! fill = [{ css = "input[type=password]", with = "password" }]
//! click = { css = "button", text = "Continue" }             # exactly one visible element
//! optional = true                                           # a page that is not always shown
//! timeout = "20s"
//! ```
//! Operation: steps are done in order. A step that is optional is passed over when one of those behind it, up to and with
//! the next that is not optional, is on the page first; so a login only goes forward and ends. The last step is what a
//! finished login shows: it fills and clicks nothing. `path` may end with `*`. The code is filled in only on the page of
//! `entry` itself, whatever is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Origin, Url};
use wa_link::config::{self, ConfigError};
use wa_link::files::{self, FileError};

const SCHEMA: &str = "wa.sign-in/1";
const LIMIT: u64 = 256 * 1024;
const MOST_STEPS: usize = 32;
const MOST_FAILURES: usize = 64;
const MOST_ORIGINS: usize = 16;
const MOST_CHARS: usize = 500;
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Why sign-in data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProvider {
    #[error(transparent)]
    Toml(#[from] ConfigError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {place}: {problem}", path.display())]
    Data { path: PathBuf, place: String, problem: String },
}

/// What is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Value {
    Username,
    Password,
    OneTimeCode,
    UserCode,
}

/// What a text on the page means for the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Meaning {
    WrongPassword,
    SecondFactorNeeded,
    SecondFactorRefused,
    CodeExpired,
    CodeRefused,
    PersonWanted,
}

/// How something on a page is recognised; everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct See {
    /// A visible element that is not disabled.
    pub(super) css: Option<String>,
    /// Words of the page as they are shown, blanks and line ends counting as one blank; of a button: all its words.
    pub(super) text: Option<String>,
    /// Path of the page; with `*` at its end the beginning of it.
    pub(super) path: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fill {
    pub(super) css: String,
    #[serde(rename = "with")]
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Click {
    pub(super) css: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    name: String,
    see: See,
    #[serde(default)]
    fill: Vec<Fill>,
    click: Option<Click>,
    #[serde(default)]
    optional: bool,
    timeout: Option<jiff::SignedDuration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub(super) see: See,
    pub(super) means: Meaning,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: String,
    name: String,
    entry: String,
    credential_origins: Vec<String>,
    #[serde(default)]
    passing_origins: Vec<String>,
    #[serde(default, rename = "failure")]
    failures: Vec<Failure>,
    #[serde(rename = "step")]
    steps: Vec<RawStep>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) see: See,
    pub(super) fill: Vec<Fill>,
    pub(super) click: Option<Click>,
    pub(super) optional: bool,
    pub(super) timeout: Duration,
}

/// How one signs in at one provider. Clones share the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider(Arc<Data>);

#[derive(Debug, PartialEq, Eq)]
struct Data {
    name: String,
    entry: Url,
    credential_origins: Vec<Origin>,
    passing_origins: Vec<Origin>,
    failures: Vec<Failure>,
    steps: Vec<Step>,
}

/// What a page is to a login, by its address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is there yet, or the browser's own page.
    Blank,
    /// The provider's: things are clicked there.
    Own {
        /// User name, password and one-time code may go in.
        credentials: bool,
        /// It is the page of the entry itself: the code may go in.
        code: bool,
    },
    /// Only looked at.
    Passing,
    Foreign,
}

impl Provider {
    /// Reads the data of one provider; `path` is only for the errors.
    ///
    /// # Errors
    /// When it is not TOML of this format, or says something that cannot be.
    pub fn parse(text: &str, path: &Path) -> Result<Self, InvalidProvider> {
        let raw: Raw = config::parse(text, path)?;
        let data = checked(raw).map_err(|(place, problem)| InvalidProvider::Data {
            path: path.to_owned(),
            place,
            problem,
        })?;
        Ok(Self(Arc::new(data)))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where the login begins and where the code goes in.
    pub fn entry(&self) -> &Url {
        &self.0.entry
    }

    /// Whether an address that a screen shows is this provider's entry in scheme, host, port and path. What else it
    /// carries (a query) is not used.
    pub fn is_entry(&self, printed: &str) -> bool {
        Url::parse(printed).is_ok_and(|url| is_plain(&url) && self.is_entry_page(&url))
    }

    fn is_entry_page(&self, url: &Url) -> bool {
        let entry = &self.0.entry;
        url.scheme() == entry.scheme()
            && url.host() == entry.host()
            && url.port_or_known_default() == entry.port_or_known_default()
            && url.path() == entry.path()
    }

    pub(super) fn standing(&self, url: &Url) -> Standing {
        if matches!(url.scheme(), "about" | "chrome-error") {
            return Standing::Blank;
        }
        let origin = url.origin();
        let credentials = self.0.credential_origins.contains(&origin);
        if credentials || origin == self.0.entry.origin() {
            Standing::Own { credentials, code: self.is_entry_page(url) }
        } else if self.0.passing_origins.contains(&origin) {
            Standing::Passing
        } else {
            Standing::Foreign
        }
    }

    /// Whether the machine's own network may be asked for this host: it is written in the data.
    pub(super) fn names_host(&self, host: &str) -> bool {
        let data = &self.0;
        let origins = data.credential_origins.iter().chain(&data.passing_origins);
        let listed = origins.filter_map(|origin| match origin {
            Origin::Tuple(_, host, _) => Some(host.to_string()),
            Origin::Opaque(_) => None,
        });
        listed
            .chain(data.entry.host().map(|host| host.to_string()))
            .any(|listed| listed.trim_matches(['[', ']']).eq_ignore_ascii_case(host))
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0.steps
    }

    pub(super) fn failures(&self) -> &[Failure] {
        &self.0.failures
    }
}

/// Place in the file, and what is wrong there.
type Problem = (String, String);

fn problem<T>(place: impl Into<String>, problem: impl Into<String>) -> Result<T, Problem> {
    Err((place.into(), problem.into()))
}

fn checked(raw: Raw) -> Result<Data, Problem> {
    if raw.schema != SCHEMA {
        return problem("schema", format!("{:?} is not known; this program reads {SCHEMA:?}", raw.schema));
    }
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if raw.name.is_empty() || raw.name.len() > 63 || !plain(&raw.name) {
        return problem("name", "must be 1 to 63 letters, digits, dots, hyphens or underscores");
    }
    let entry = address("entry", &raw.entry)?;
    if entry.query().is_some() || entry.fragment().is_some() {
        return problem("entry", "must have no query and no fragment");
    }
    if raw.failures.len() > MOST_FAILURES {
        return problem("failure", format!("more than {MOST_FAILURES}"));
    }
    for (n, failure) in raw.failures.iter().enumerate() {
        check_see(&format!("failure[{n}].see"), &failure.see)?;
    }
    Ok(Data {
        name: raw.name,
        entry,
        credential_origins: origins("credential_origins", &raw.credential_origins, 1)?,
        passing_origins: origins("passing_origins", &raw.passing_origins, 0)?,
        failures: raw.failures,
        steps: steps(raw.steps)?,
    })
}

fn origins(place: &str, texts: &[String], least: usize) -> Result<Vec<Origin>, Problem> {
    if texts.len() < least || texts.len() > MOST_ORIGINS {
        return problem(place, format!("must be {least} to {MOST_ORIGINS}"));
    }
    let origin = |(n, text): (usize, &String)| {
        let place = format!("{place}[{n}]");
        let url = address(&place, text)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if bare { Ok(url.origin()) } else { problem(place, "must be scheme, host and port alone") }
    };
    texts.iter().enumerate().map(origin).collect()
}

/// No user name, no password in it.
fn is_plain(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

fn address(place: &str, text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).or_else(|error| problem(place, format!("{text:?} is no address: {error}")))?;
    let own = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback() && address != Ipv4Addr::BROADCAST,
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if !is_plain(&url) || !(url.scheme() == "https" || (url.scheme() == "http" && own)) {
        return problem(
            place,
            format!("{text:?} must begin with https:// (http:// only on this machine's loopback)"),
        );
    }
    Ok(url)
}

fn short(place: &str, text: &str) -> Result<(), Problem> {
    let good = !text.trim().is_empty() && text.chars().count() <= MOST_CHARS;
    if good { Ok(()) } else { problem(place, format!("must have 1 to {MOST_CHARS} characters")) }
}

fn check_see(place: &str, see: &See) -> Result<(), Problem> {
    if *see == See::default() {
        return problem(place, "needs one of css, text, path");
    }
    if see.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return problem(format!("{place}.path"), "must begin with /");
    }
    [("css", &see.css), ("text", &see.text), ("path", &see.path)]
        .into_iter()
        .filter_map(|(key, text)| text.as_ref().map(|text| (key, text)))
        .try_for_each(|(key, text)| short(&format!("{place}.{key}"), text))
}

fn steps(raw: Vec<RawStep>) -> Result<Vec<Step>, Problem> {
    if raw.is_empty() || raw.len() > MOST_STEPS {
        return problem("step", format!("must be 1 to {MOST_STEPS}"));
    }
    let mut names = BTreeSet::new();
    let mut steps = Vec::with_capacity(raw.len());
    for (n, step) in raw.into_iter().enumerate() {
        let step = checked_step(&format!("step[{n}]"), step)?;
        if !names.insert(step.name.clone()) {
            return problem(format!("step[{n}].name"), format!("{:?} stands there twice", step.name));
        }
        steps.push(step);
    }
    let last =
        steps.last().is_some_and(|step| !step.optional && step.fill.is_empty() && step.click.is_none());
    if !last {
        return problem(
            "step",
            "the last one must be what a finished login shows: no fill, no click, not optional",
        );
    }
    if !steps.iter().flat_map(|step| &step.fill).any(|fill| fill.value == Value::UserCode) {
        return problem("step", "no step fills in the user_code");
    }
    Ok(steps)
}

fn checked_step(place: &str, raw: RawStep) -> Result<Step, Problem> {
    short(&format!("{place}.name"), &raw.name)?;
    check_see(&format!("{place}.see"), &raw.see)?;
    for (n, fill) in raw.fill.iter().enumerate() {
        short(&format!("{place}.fill[{n}].css"), &fill.css)?;
    }
    if let Some(click) = &raw.click {
        let given: Vec<_> = [&click.css, &click.text].into_iter().flatten().collect();
        if given.is_empty() {
            return problem(format!("{place}.click"), "needs css or text");
        }
        given.into_iter().try_for_each(|text| short(&format!("{place}.click"), text))?;
    }
    let timeout = match raw.timeout.map(Duration::try_from) {
        None => STEP_TIMEOUT,
        Some(Ok(timeout)) if (Duration::from_secs(1)..=LONGEST_TIMEOUT).contains(&timeout) => timeout,
        Some(_) => {
            return problem(
                format!("{place}.timeout"),
                format!("must be 1s to {}s", LONGEST_TIMEOUT.as_secs()),
            );
        }
    };
    let RawStep { name, see, fill, click, optional, .. } = raw;
    Ok(Step { name, see, fill, click, optional, timeout })
}

/// The providers that are known, by name.
#[derive(Debug, Clone, Default)]
pub struct Providers(BTreeMap<String, Provider>);

impl Providers {
    /// Those that come with the program.
    ///
    /// # Errors
    /// None that a test would not have found.
    pub fn builtin() -> Result<Self, InvalidProvider> {
        let openai =
            Provider::parse(include_str!("providers/openai.toml"), Path::new("built-in openai.toml"))?;
        Ok(Self(BTreeMap::from([(openai.name().to_owned(), openai)])))
    }

    /// Adds those of files; one of a built-in name takes its place.
    ///
    /// # Errors
    /// The first file that cannot be used, with the place in it; two files of one name.
    pub fn with_files(mut self, paths: &[PathBuf]) -> Result<Self, InvalidProvider> {
        let mut names = BTreeSet::new();
        for path in paths {
            let provider = Provider::parse(&files::read_text(path, LIMIT)?, path)?;
            if !names.insert(provider.name().to_owned()) {
                return Err(InvalidProvider::Data {
                    path: path.clone(),
                    place: "name".to_owned(),
                    problem: format!("another file is named {:?} too: rename one", provider.name()),
                });
            }
            self.0.insert(provider.name().to_owned(), provider);
        }
        Ok(self)
    }

    pub fn get(&self, name: &str) -> Option<Provider> {
        self.0.get(name).cloned()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
