//! Signing in at a provider of identities in a real browser: what works, what goes wrong, and that nothing is left of it.
//!
//! Needs `chromium` and `chromedriver` on PATH; without them every test says that it was skipped.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use wa_controller::accounts::Credentials;
use wa_controller::signin::{Browser, BrowserConfig, DeviceLogin, Provider, SignInError};
use wa_link::clock;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_proto::AccountAlias;
use wa_tests::{IdentityPage, Mood, Person, binary, no_browser, wait_for};
use zeroize::Zeroizing;

/// Secret of one-time passwords: the one of RFC 6238's examples.
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// For a login that is to succeed, also on a machine that is busy with other tests.
const PLENTY: SignedDuration = SignedDuration::from_secs(60);

fn person(username: &str, second: bool) -> Person {
    let password = format!("secret of {username}");
    Person { username: username.to_owned(), password, one_time_secret: second.then(|| SECRET.to_owned()) }
}

fn credentials(person: &Person) -> Credentials {
    Credentials {
        username: Some(person.username.clone()),
        password: Some(Zeroizing::new(person.password.clone())),
        one_time_secret: person.one_time_secret.clone().map(Zeroizing::new),
        api_key: None,
    }
}

/// One controller's browser, and the pages of one provider.
struct Desk {
    place: tempfile::TempDir,
    tasks: Tasks,
    page: IdentityPage,
    provider: Provider,
    runtime: tokio::runtime::Runtime,
}

impl Desk {
    /// `None`, with the reason printed: there is no browser here.
    fn set(test: &str, people: Vec<Person>) -> Option<Self> {
        if let Some(reason) = no_browser() {
            println!("skipped {test}: {reason}");
            return None;
        }
        Some(Self::without_browser(people))
    }

    fn without_browser(people: Vec<Person>) -> Self {
        let page = IdentityPage::start(people).unwrap();
        let provider = Provider::parse(&page.provider_toml("local"), Path::new("local.toml")).unwrap();
        let place = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { place, tasks: Tasks::new(Shutdown::new()), page, provider, runtime }
    }

    fn config(&self) -> BrowserConfig {
        BrowserConfig {
            helper: Some(binary("wa-controller")),
            ..BrowserConfig::new(self.place.path(), self.tasks.clone())
        }
    }

    fn account(&self, alias: &str) -> PathBuf {
        self.place.path().join("accounts").join(alias)
    }

    async fn try_login(
        &self,
        alias: &str,
        credentials: Credentials,
        code: &str,
        time: SignedDuration,
    ) -> Result<(), SignInError> {
        self.try_with(self.config(), &self.page.device_url(), alias, credentials, code, time).await
    }

    async fn try_with(
        &self,
        config: BrowserConfig,
        printed_url: &str,
        alias: &str,
        credentials: Credentials,
        code: &str,
        time: SignedDuration,
    ) -> Result<(), SignInError> {
        let login = DeviceLogin {
            alias: AccountAlias::new(alias).unwrap(),
            provider: self.provider.clone(),
            printed_url,
            code: Zeroizing::new(code.to_owned()),
            credentials,
            deadline: clock::now() + time,
        };
        Browser::new(config).device_login(login).await
    }

    fn login(&self, alias: &str, credentials: Credentials, code: &str) -> Result<(), SignInError> {
        self.runtime.block_on(self.try_login(alias, credentials, code, PLENTY))
    }

    /// Processes that use the profiles of this desk.
    fn left(&self) -> Vec<String> {
        processes(&self.place.path().display().to_string(), "cmdline")
    }

    fn pictures(&self, alias: &str) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.account(alias).join("failures")).into_iter().flatten().flatten();
        folder.map(|entry| entry.path()).collect()
    }
}

/// Running processes that have these words in a file of theirs.
fn processes(words: &str, file: &str) -> Vec<String> {
    let read = |entry: std::fs::DirEntry| {
        let text = std::fs::read(entry.path().join(file)).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        text.contains(words).then(|| format!("{}: {text}", entry.path().display()))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(read).collect()
}

/// An account or a code of another one, told apart from it by nothing that takes another width.
const TWINS: [&str; 2] = ["anna.nana@example.test", "nana.anna@example.test"];

#[test]
fn a_code_is_confirmed_and_the_profile_is_known_again() {
    let ann = person("ann@example.test", true);
    let Some(desk) = Desk::set("a_code_is_confirmed", vec![ann.clone()]) else { return };
    let began = Instant::now();
    let first = desk.page.new_code();
    desk.login("ann", credentials(&ann), &first).unwrap();
    println!("first login: {:?}", began.elapsed());
    assert_eq!(desk.page.confirmed(), [(first.clone(), ann.username.clone())]);
    assert_eq!(desk.left(), Vec::<String>::new());
    let mode = std::fs::metadata(desk.account("ann").join("browser")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // Without a password: the provider knows the browser.
    let began = Instant::now();
    let second = desk.page.new_code();
    let named = |username: &str| Credentials { username: Some(username.into()), ..Credentials::default() };
    desk.login("ann", named(&ann.username), &second).unwrap();
    println!("second login: {:?}", began.elapsed());
    assert_eq!(desk.page.confirmed().len(), 2);
    assert_eq!(desk.page.forms().iter().filter(|(path, _)| path == "/log-in/password").count(), 1);

    // Another account does not share it.
    let error = desk.login("bob", Credentials::default(), &desk.page.new_code()).unwrap_err();
    assert_eq!(error.code(), "no_credential", "{error}");
    assert!(desk.pictures("ann").is_empty());

    // Nor does whoever the account is given to: the code is not confirmed for ann.
    let error = desk.login("ann", named("nana@example.test"), &desk.page.new_code()).unwrap_err();
    assert_eq!(error.code(), "no_credential", "{error}");
    assert_eq!(desk.page.confirmed().len(), 2);
}

#[test]
fn refusals_are_told_apart() {
    let ann = person("ann@example.test", true);
    let Some(desk) = Desk::set("refusals_are_told_apart", vec![ann.clone()]) else { return };
    let good = credentials(&ann);

    let mut wrong = good.clone();
    wrong.password = Some(Zeroizing::new("another".to_owned()));
    let error = desk.login("ann", wrong, &desk.page.new_code()).unwrap_err();
    assert_eq!(error.code(), "wrong_password", "{error}");

    let mut none = good.clone();
    none.one_time_secret = None;
    let error = desk.login("ann", none, &desk.page.new_code()).unwrap_err();
    assert_eq!(error.code(), "second_factor_needed", "{error}");

    let mut other = good.clone();
    other.one_time_secret = Some(Zeroizing::new(SECRET.chars().rev().collect()));
    let error = desk.login("ann", other, &desk.page.new_code()).unwrap_err();
    assert_eq!(error.code(), "second_factor_refused", "{error}");

    let error = desk.login("ann", good.clone(), "ABCD-EFGHI").unwrap_err();
    assert_eq!(error.code(), "code_refused", "{error}");

    let old = desk.page.new_code();
    desk.page.expire_codes();
    let error = desk.login("ann", good, &old).unwrap_err();
    assert_eq!(error.code(), "code_expired", "{error}");

    assert_eq!(desk.page.confirmed(), []);
    assert_eq!(desk.left(), Vec::<String>::new());
    let pictures = desk.pictures("ann");
    assert_eq!(pictures.len(), 5, "{pictures:?}");
    for picture in pictures {
        assert_eq!(std::fs::metadata(&picture).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_picture_shows_neither_who_nor_which_code() {
    let twins: Vec<Person> = TWINS.iter().map(|name| person(name, false)).collect();
    let Some(desk) = Desk::set("a_picture_shows_neither", twins.clone()) else { return };
    // The code is typed, and the button is not the one that the data know.
    desk.page.set_mood(Mood { button: Some("Carry on".to_owned()), ..Mood::default() });
    let mut pictures = Vec::new();
    for (alias, twin, code) in [("a", &twins[0], "ABBA-BAABA"), ("b", &twins[1], "BAAB-ABBAB")] {
        let error = desk.login(alias, credentials(twin), code).unwrap_err();
        assert!(matches!(&error, SignInError::PageChanged { step, .. } if step == "code"), "{error}");
        pictures.push(std::fs::read(&desk.pictures(alias)[0]).unwrap());
    }
    assert!(pictures[0] == pictures[1], "pictures of two accounts differ: see what is on them");

    // A picture of something else is another one: they are not just empty.
    desk.page.set_mood(Mood { changed: true, ..Mood::default() });
    let error = desk.login("b", credentials(&twins[1]), "BAAB-ABBAB").unwrap_err();
    assert!(matches!(&error, SignInError::PageChanged { step, .. } if step == "code"), "{error}");
    let newest = desk.pictures("b").into_iter().max().unwrap();
    assert!(std::fs::read(newest).unwrap() != pictures[0]);
}

#[test]
fn boxes_are_filled_and_slow_pages_are_waited_for() {
    let ann = person("ann@example.test", true);
    let Some(desk) = Desk::set("boxes_are_filled", vec![ann.clone()]) else { return };
    desk.page.set_mood(Mood { boxes: true, delay: Duration::from_millis(300), ..Mood::default() });
    let code = desk.page.new_code();
    desk.login("ann", credentials(&ann), &code).unwrap();
    assert_eq!(desk.page.confirmed(), [(code, ann.username.clone())]);

    desk.page.set_mood(Mood { delay: Duration::from_secs(120), ..Mood::default() });
    let began = Instant::now();
    let code = desk.page.new_code();
    let login = desk.try_login("ann", credentials(&ann), &code, SignedDuration::from_secs(5));
    assert_eq!(desk.runtime.block_on(login).unwrap_err().code(), "too_slow");
    assert!(began.elapsed() < Duration::from_secs(5 + 15), "{:?}", began.elapsed());
    assert_eq!(desk.left(), Vec::<String>::new());
}

#[test]
fn nothing_is_typed_on_a_page_of_another_origin() {
    let ann = person("ann@example.test", false);
    let Some(desk) = Desk::set("nothing_is_typed", vec![ann.clone()]) else { return };
    // It looks the same to the last letter, and has another port.
    let imitation = IdentityPage::start(vec![ann.clone()]).unwrap();
    let redirect = Some(format!("{}/log-in", imitation.issuer()));
    desk.page.set_mood(Mood { redirect, ..Mood::default() });
    let error = desk.login("ann", credentials(&ann), &desk.page.new_code()).unwrap_err();
    assert!(
        matches!(&error, SignInError::ForeignPage { origin, .. } if *origin == imitation.issuer()),
        "{error}"
    );
    assert!(imitation.visited().contains("/log-in"), "the browser had been there");
    assert_eq!(imitation.forms(), []);
    assert_eq!(desk.pictures("ann"), Vec::<PathBuf>::new(), "a foreign page is not told what to blank");
}

#[test]
fn a_page_that_leaves_while_it_is_typed_into_takes_nothing_along() {
    let ann = person("ann@example.test", false);
    let Some(desk) = Desk::set("a_page_that_leaves", vec![ann.clone()]) else { return };
    // It tells its server each character.
    let imitation = IdentityPage::start(vec![ann.clone()]).unwrap();
    imitation.set_mood(Mood { tells: true, ..Mood::default() });
    let leaves = Some(format!("{}/log-in", imitation.issuer()));
    desk.page.set_mood(Mood { leaves, ..Mood::default() });
    // Where the browser is slow to follow, the form is sent before it has left, and takes its place.
    for attempt in 0..10 {
        let outcome = desk.login(&format!("ann-{attempt}"), credentials(&ann), &desk.page.new_code());
        assert_eq!(imitation.forms(), []);
        if imitation.visited().contains("/log-in") {
            assert_eq!(outcome.unwrap_err().code(), "foreign_page");
            return;
        }
    }
    panic!("the browser has never been there");
}

#[test]
fn an_address_on_the_screen_must_be_the_entry() {
    let ann = person("ann@example.test", false);
    let desk = Desk::without_browser(vec![ann.clone()]);
    let port = desk.page.issuer().rsplit_once(':').unwrap().1.to_owned();
    for printed in [
        format!("http://127.0.0.1:{port}/codex/device2"),
        format!("https://127.0.0.1:{port}/codex/device"),
        format!("http://localhost:{port}/codex/device"),
        "http://127.0.0.1/codex/device".to_owned(),
        format!("http://ann@127.0.0.1:{port}/codex/device"),
        "codex/device".to_owned(),
    ] {
        let login = desk.try_with(desk.config(), &printed, "ann", credentials(&ann), "ABCD-EFGHI", PLENTY);
        let error = desk.runtime.block_on(login).unwrap_err();
        assert_eq!(error.code(), "printed_url", "{printed}");
    }
    assert!(desk.page.visited().is_empty());
}

#[test]
fn a_missing_browser_is_told_with_the_packages() {
    let desk = Desk::without_browser(Vec::new());
    let nowhere = Some(PathBuf::from("/nowhere/chromium"));
    let config = BrowserConfig { chromium: nowhere, ..desk.config() };
    let printed = desk.page.device_url();
    let login = desk.try_with(config, &printed, "ann", Credentials::default(), "ABCD-EFGHI", PLENTY);
    let error = desk.runtime.block_on(login).unwrap_err();
    assert!(error.to_string().contains("apt-get install chromium chromium-driver"), "{error}");
}

#[test]
fn one_login_a_profile_and_nothing_outlives_its_login() {
    let ann = person("ann@example.test", false);
    let Some(desk) = Desk::set("one_login_a_profile", vec![ann.clone()]) else { return };
    desk.page.set_mood(Mood { delay: Duration::from_secs(60), ..Mood::default() });
    let code = desk.page.new_code();
    desk.runtime.block_on(async {
        let second = async {
            while desk.page.visited().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let error = desk.try_login("ann", credentials(&ann), &code, PLENTY).await.unwrap_err();
            assert_eq!(error.code(), "busy", "{error}");
            assert!(!desk.left().is_empty());
        };
        tokio::select! {
            outcome = desk.try_login("ann", credentials(&ann), &code, PLENTY) => panic!("{outcome:?}"),
            () = second => {}
        }
    });
    // The first was dropped in the middle.
    wait_for("the browser to be gone", Duration::from_secs(20), || desk.left().is_empty().then_some(()));

    desk.runtime.block_on(async {
        let end = async {
            while desk.left().is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            desk.tasks.shutdown().trigger();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = desk.try_login("ann", credentials(&ann), &code, PLENTY) => {
                assert_eq!(outcome.unwrap_err().code(), "cancelled");
            }
            () = end => {}
        }
    });
    wait_for("the browser to be gone", Duration::from_secs(20), || desk.left().is_empty().then_some(()));
}

/// What is asked of a chromedriver by whoever starts a browser with it.
fn start_browser(mut stream: UnixStream, profile: &Path) {
    let root = rustix::process::geteuid().is_root();
    let mut args = vec![
        "--headless=new".to_owned(),
        "--remote-debugging-pipe".to_owned(),
        format!("--user-data-dir={}", profile.display()),
    ];
    args.extend(root.then(|| "--no-sandbox".to_owned()));
    let options = serde_json::json!({"binary": "/usr/bin/chromium", "args": args});
    let body =
        serde_json::json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}).to_string();
    let length = body.len();
    write!(stream, "POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// Processes that work in this directory.
fn working_in(dir: &Path) -> usize {
    let there =
        |entry: &std::fs::DirEntry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir);
    std::fs::read_dir("/proc").unwrap().flatten().filter(there).count()
}

#[test]
fn the_helper_takes_everything_with_it() {
    let Some(desk) = Desk::set("the_helper_takes_everything", Vec::new()) else { return };
    let chromedriver = Command::new("sh").args(["-c", "command -v chromedriver"]).output().unwrap().stdout;
    let chromedriver = String::from_utf8(chromedriver).unwrap().trim().to_owned();
    for killed in [false, true] {
        let dir = desk.place.path().join(if killed { "killed" } else { "closed" });
        std::fs::create_dir(&dir).unwrap();
        // On this machine's own loopback, without namespaces: there it has to find them all by itself.
        let mut helper = Command::new(binary("wa-controller"))
            .args(["browser-chamber", "alone"])
            .arg(&dir)
            .arg(&chromedriver)
            .env("HOME", &dir)
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Its name is there a moment before it listens.
        let stream = wait_for("the helper to listen", Duration::from_secs(30), || {
            UnixStream::connect(dir.join("driver")).ok()
        });
        start_browser(stream, &dir.join("profile"));
        assert!(working_in(&dir) > 4, "helper, driver, browser and its helpers");
        if killed {
            helper.kill().unwrap();
        }
        drop(helper.stdin.take());
        wait_for("all to be gone", Duration::from_secs(30), || (working_in(&dir) == 0).then_some(()));
        helper.wait().unwrap();
        assert!(killed || !dir.exists(), "the directory is gone as well");
    }
}
