//! Sign-in data: what is taken, what is refused and with which words.

use std::path::{Path, PathBuf};

use url::Url;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_proto::AccountAlias;

use super::BrowserConfig;
use super::profile::Profile;
use super::provider::{Provider, Providers, Standing};

const GOOD: &str = r#"
schema = "wa.sign-in/1"
name = "example"
entry = "https://login.example.test/device"
credential_origins = ["https://login.example.test", "https://id.example.test:8443"]
passing_origins = ["https://www.example.test"]

[[failure]]
see = { text = "Wrong password" }
means = "wrong_password"

[[step]]
name = "code"
see = { css = "input" }
fill = [{ css = "input", with = "user_code" }]
click = { text = "Continue" }
timeout = "5s"

[[step]]
name = "done"
see = { text = "Done" }
"#;

fn parse(text: &str) -> Result<Provider, String> {
    Provider::parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
}

#[test]
fn built_in_data_can_be_used() {
    let openai = Providers::builtin().unwrap().get("openai").unwrap();
    assert_eq!(openai.entry().as_str(), "https://auth.openai.com/codex/device");
    assert!(openai.is_entry("https://auth.openai.com/codex/device"));
    assert!(openai.is_entry("https://auth.openai.com:443/codex/device?lang=en"));
}

#[test]
fn mistakes_are_told_with_file_and_place() {
    for (from, to, place) in [
        ("wa.sign-in/1", "wa.sign-in/2", "p.toml: schema:"),
        ("name = \"example\"", "name = \"a b\"", "p.toml: name:"),
        ("https://login.example.test/device", "http://login.example.test/device", "p.toml: entry:"),
        ("https://login.example.test/device", "https://ann@login.example.test/device", "p.toml: entry:"),
        ("https://login.example.test/device", "https://login.example.test/device?x=1", "p.toml: entry:"),
        ("test:8443\"", "test:8443/path\"", "p.toml: credential_origins[1]:"),
        ("passing_origins = [", "passing_origins = [\"ftp://x\", ", "p.toml: passing_origins[0]:"),
        ("see = { text = \"Wrong password\" }", "see = {}", "p.toml: failure[0].see:"),
        ("means = \"wrong_password\"", "means = \"sorry\"", "failure[0].means"),
        ("with = \"user_code\"", "with = \"pin\"", "step[0].fill[0].with"),
        ("with = \"user_code\"", "with = \"password\"", "no step fills in the user_code"),
        ("click = { text = \"Continue\" }", "click = {}", "p.toml: step[0].click:"),
        ("click = { text", "press = { text", "press"),
        ("timeout = \"5s\"", "timeout = \"10m\"", "p.toml: step[0].timeout:"),
        ("see = { text = \"Done\" }", "see = { path = \"done\" }", "p.toml: step[1].see.path:"),
        ("name = \"done\"", "name = \"code\"", "p.toml: step[1].name:"),
        ("see = { text = \"Done\" }", "see = { text = \"Done\" }\noptional = true", "p.toml: step:"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replace(from, to)).unwrap_err();
        assert!(error.contains(place), "{to}: {error}");
    }
}

#[test]
fn files_take_the_place_of_built_in_data_but_not_of_each_other() {
    let place = tempfile::tempdir().unwrap();
    let write = |file: &str, name: &str| -> PathBuf {
        let path = place.path().join(file);
        std::fs::write(&path, GOOD.replace("example\"", &format!("{name}\""))).unwrap();
        path
    };
    let (one, two) = (write("one.toml", "openai"), write("two.toml", "openai"));
    let providers = Providers::builtin().unwrap().with_files(std::slice::from_ref(&one)).unwrap();
    assert_eq!(providers.get("openai").unwrap().entry().host_str(), Some("login.example.test"));
    let error = Providers::builtin().unwrap().with_files(&[one, two]).unwrap_err().to_string();
    assert!(error.contains("two.toml") && error.contains("\"openai\""), "{error}");
}

#[test]
fn what_a_page_is_follows_from_its_whole_origin() {
    let provider = parse(GOOD).unwrap();
    let standing = |url: &str| provider.standing(&Url::parse(url).unwrap());
    let own = |credentials, code| Standing::Own { credentials, code };
    for (url, expected) in [
        ("https://login.example.test/device?user=1#top", own(true, true)),
        ("https://login.example.test/device/", own(true, false)),
        ("https://id.example.test:8443/anything", own(true, false)),
        ("https://www.example.test/", Standing::Passing),
        ("https://id.example.test/", Standing::Foreign),
        ("http://login.example.test/device", Standing::Foreign),
        ("https://login.example.test.evil.test/device", Standing::Foreign),
        ("https://login.example.test@evil.test/device", Standing::Foreign),
        ("https://xn--lgin-5qa.example.test/device", Standing::Foreign),
        ("data:text/html,hello", Standing::Foreign),
        ("about:blank", Standing::Blank),
    ] {
        assert_eq!(standing(url), expected, "{url}");
    }
    // The code has its own page; that does not make it one for passwords.
    let apart = parse(&GOOD.replace("[\"https://login.example.test\", ", "[")).unwrap();
    let url = Url::parse("https://login.example.test/device").unwrap();
    assert_eq!(apart.standing(&url), own(false, true));
    for printed in [
        "https://login.example.test/device/..",
        "https://LOGIN.example.test:444/device",
        "login.example.test/device",
        "",
    ] {
        assert!(!provider.is_entry(printed), "{printed}");
    }
    assert!(provider.names_host("id.example.test") && !provider.names_host("evil.test"));
}

/// An account that is given to somebody else keeps its name, and a profile that is known to the provider signs in whoever
/// used it before.
#[test]
fn a_profile_is_used_for_one_user_name_only() {
    let place = tempfile::tempdir().unwrap();
    // No browser is started here: any two programs do.
    let config = BrowserConfig {
        chromium: Some("/bin/sh".into()),
        chromedriver: Some("/bin/sh".into()),
        ..BrowserConfig::new(place.path(), Tasks::new(Shutdown::new()))
    };
    let alias = AccountAlias::new("work").unwrap();
    let open = |user: Option<&str>| Profile::open(&config, &alias, user).unwrap();
    let cookies = place.path().join("accounts/work/browser/Cookies");
    drop(open(Some("ann@example.test")));
    std::fs::write(&cookies, "session of ann").unwrap();
    drop(open(Some("ann@example.test")));
    assert!(cookies.exists(), "the provider knows ann's browser again");
    for other in [Some("bob@example.test"), None] {
        drop(open(other));
        assert!(!cookies.exists() && cookies.parent().unwrap().is_dir(), "{other:?}");
        std::fs::write(&cookies, "session of the last one").unwrap();
    }
    // One from before its user was written down may be anybody's.
    std::fs::remove_file(place.path().join("accounts/work/browser.user")).unwrap();
    drop(open(None));
    assert!(!cookies.exists());
    for entry in std::fs::read_dir(place.path().join("accounts/work")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains("example.test"), "{}", path.display());
    }
}
