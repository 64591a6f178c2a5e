//! Homes on a real file system.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use wa_proto::{AccountAlias, AgentKind};

use super::super::home::{Prepared, Wanted, prepare};
use super::super::{AccountRoot, HomeError, kind};
use crate::session_file::Homes;

const OWNER: &[u8] = b"an owner of sixt";

/// A user's home and a node's state directory.
struct Place {
    dir: tempfile::TempDir,
    root: AccountRoot,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let root = AccountRoot::below(&dir.path().join("state"));
        let place = Self { dir, root };
        for file in [".codex/config.toml", ".codex/sessions/2026/11/23/rollout.jsonl", ".codex/auth.json"] {
            place.put(file, file);
        }
        place
    }

    fn user(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join("user")
    }

    fn put(&self, file: &str, text: &str) {
        let path = self.dir.path().join("user").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn home(&self, alias: &str, agent: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join("state/accounts").join(alias).join(agent)
    }

    fn prepare_with(
        &self,
        agent: &str,
        alias: &str,
        variables: &[(&str, PathBuf)],
        api_key: &str,
    ) -> Result<Prepared, HomeError> {
        let homes = Homes::new([("HOME", self.user())].into_iter().chain(variables.iter().cloned()));
        let (kind, alias) = (kind::of(agent).unwrap(), AccountAlias::new(alias).unwrap());
        let cwd = Some(self.user().join("project"));
        prepare(&self.root, &Wanted { kind, alias: &alias, homes: &homes, cwd, api_key, owner: OWNER })
    }

    fn prepare_for(&self, agent: &str, owner: &[u8]) -> Result<Prepared, HomeError> {
        let homes = Homes::new([("HOME", self.user())]);
        let (kind, alias) = (kind::of(agent).unwrap(), AccountAlias::new("work").unwrap());
        prepare(&self.root, &Wanted { kind, alias: &alias, homes: &homes, cwd: None, api_key: "", owner })
    }

    fn prepare(&self, agent: &str, alias: &str) -> Result<Prepared, HomeError> {
        self.prepare_with(agent, alias, &[], "")
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Everything below a directory, with what it is: to see that nothing changes.
fn below(dir: &Path) -> Vec<(PathBuf, u64, i64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        all.push((entry.path(), meta.ino(), meta.ctime_nsec()));
        if meta.is_dir() {
            all.extend(below(&entry.path()));
        }
    }
    all.sort();
    all
}

/// Put together here, so that nothing in this file looks like a key.
fn api_key() -> String {
    ["sk", "proj", "0123456789abcdef"].join("-")
}

#[test]
fn an_account_has_its_own_sign_in_and_shares_sessions_and_settings() {
    let place = Place::new();
    let made = place.prepare("codex", "work").unwrap();
    let home = place.home("work", "codex");
    assert_eq!(made, Prepared { path: home.clone(), signed_in: false, set_aside: None });
    for dir in [home.as_path(), home.parent().unwrap(), home.parent().unwrap().parent().unwrap()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    assert_eq!(fs::read_to_string(home.join("config.toml")).unwrap(), ".codex/config.toml");
    assert!(home.join("sessions/2026/11/23/rollout.jsonl").exists());
    assert!(!home.join("auth.json").exists() && !home.join("skills").exists());
    // What the first home has by the next time is shared then; nothing else changes.
    let before = below(&home);
    assert_eq!(place.prepare("codex", "work").unwrap(), made);
    assert_eq!(below(&home), before);
    place.put(".codex/skills/one/SKILL.md", "");
    fs::write(home.join("auth.json"), "{}").unwrap();
    assert!(place.prepare("codex", "work").unwrap().signed_in);
    assert!(home.join("skills/one/SKILL.md").exists());
}

#[test]
fn a_home_is_made_beside_the_home_in_use_also_where_that_is_an_accounts() {
    let place = Place::new();
    let other = place.dir.path().join("elsewhere");
    fs::create_dir_all(other.join("sessions/2025")).unwrap();
    let uses = |home: &Path| [("CODEX_HOME", home.to_owned())];
    place.prepare_with("codex", "one", &uses(&other), "").unwrap();
    assert!(place.home("one", "codex").join("sessions/2025").exists());
    // The second account's home leads to the first home, not to the first account's.
    place.prepare_with("codex", "two", &uses(&place.home("one", "codex")), "").unwrap();
    let link = fs::read_link(place.home("two", "codex").join("sessions")).unwrap();
    assert_eq!(link, fs::canonicalize(&other).unwrap().join("sessions"));
    // A third agent has another first home: its sessions would not be found there.
    let error = place.prepare("codex", "two").unwrap_err();
    assert!(error.to_string().contains("one account has one home"), "{error}");
    // When the first is gone there is nothing to be found there any more.
    fs::remove_dir_all(&other).unwrap();
    place.prepare("codex", "two").unwrap();
    assert!(place.home("two", "codex").join("sessions/2026/11/23/rollout.jsonl").exists());
}

#[test]
fn what_stands_in_the_way_is_refused_and_left_alone() {
    type Before = fn(&Path);
    let cases: [(&str, Before, &str); 6] = [
        (
            "a link for the accounts",
            |home| in_place_of(home.parent().unwrap().parent().unwrap()),
            "is a link",
        ),
        ("a link for the alias", |home| in_place_of(home.parent().unwrap()), "is a link"),
        ("a link for the home", in_place_of, "is a link"),
        ("a file for the home", |home| fs::write(home, "").unwrap(), "no directory"),
        ("a home that others read", |home| wide(home, 0o755), "chmod 700"),
        (
            "sessions of its own",
            |home| {
                wide(home, 0o700);
                fs::create_dir_all(home.join("sessions/2026")).unwrap();
            },
            "sessions of its own",
        ),
    ];
    for (what, before, words) in cases {
        let place = Place::new();
        let home = place.home("work", "codex");
        for dir in [home.parent().unwrap().parent().unwrap(), home.parent().unwrap()] {
            wide(dir, 0o700);
        }
        fs::create_dir(place.dir.path().join("trap")).unwrap();
        before(&home);
        let error = place.prepare("codex", "work").unwrap_err();
        assert!(error.to_string().contains(words), "{what}: {error}");
        assert_eq!(fs::read_dir(place.dir.path().join("trap")).unwrap().count(), 0, "{what}");
    }
}

fn wide(dir: &Path, mode: u32) {
    fs::create_dir_all(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
}

/// A link to a directory of somebody's choice.
fn in_place_of(dir: &Path) {
    drop(fs::remove_dir_all(dir));
    let trap = dir.ancestors().find(|dir| dir.ends_with("state")).unwrap().parent().unwrap().join("trap");
    symlink(trap, dir).unwrap();
}

#[test]
fn a_sign_in_that_is_a_link_is_none() {
    let place = Place::new();
    place.prepare("codex", "work").unwrap();
    let auth = place.home("work", "codex").join("auth.json");
    symlink(place.user().join(".codex/auth.json"), &auth).unwrap();
    assert!(!place.prepare("codex", "work").unwrap().signed_in);
    // A key takes the link's place, and does not go where it leads.
    place.prepare_with("codex", "work", &[], &api_key()).unwrap();
    assert!(fs::symlink_metadata(&auth).unwrap().is_file());
    assert_eq!(fs::read_to_string(place.user().join(".codex/auth.json")).unwrap(), ".codex/auth.json");
}

#[test]
fn a_key_goes_where_the_agent_reads_it() {
    let place = Place::new();
    let key = api_key();
    place.put(
        ".gemini/settings.json",
        r#"{"ui":{"theme":"x"},"security":{"auth":{"selectedType":"oauth-personal"}}}"#,
    );
    place.put(".claude/settings.json", r#"{"model":"opus"}"#);
    let json =
        |path: PathBuf| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    for agent in ["codex", "gemini", "claude"] {
        assert!(!place.prepare(agent, "work").unwrap().signed_in);
        for _ in 0..2 {
            assert!(place.prepare_with(agent, "work", &[], &key).unwrap().signed_in, "{agent}");
        }
    }
    let codex = place.home("work", "codex").join("auth.json");
    assert_eq!((json(codex.clone())["OPENAI_API_KEY"].as_str(), mode(&codex)), (Some(key.as_str()), 0o600));
    let gemini = place.home("work", "gemini").join(".gemini");
    let env = gemini.join(".env");
    assert_eq!((fs::read_to_string(&env).unwrap(), mode(&env)), (format!("GEMINI_API_KEY={key}\n"), 0o600));
    // Shown in a pane, none of it leaves the host.
    for file in [&codex, &env, &place.home("work", "claude").join("api-key")] {
        let shown = fs::read_to_string(file).unwrap();
        let told = wa_match::Redactor::builtin().redact(&shown).into_owned();
        assert!(!told.contains(&key), "{}", file.display());
    }
    let settings = json(gemini.join("settings.json"));
    assert_eq!(settings["security"]["auth"]["selectedType"], "gemini-api-key");
    assert_eq!(settings["ui"]["theme"], "x");
    // The first home's are as they were.
    assert_eq!(
        json(place.user().join(".gemini/settings.json"))["security"]["auth"]["selectedType"],
        "oauth-personal"
    );
    let claude = place.home("work", "claude");
    let settings = json(claude.join("settings.json"));
    assert_eq!((settings["model"].as_str(), mode(&claude.join("api-key"))), (Some("opus"), 0o600));
    // The helper is what the agent runs in a shell.
    let helper = settings["apiKeyHelper"].as_str().unwrap();
    let told = std::process::Command::new("/bin/sh").args(["-c", helper]).output().unwrap();
    assert_eq!(told.stdout, key.as_bytes());
}

#[test]
fn a_key_that_would_not_be_read_is_an_error() {
    let place = Place::new();
    place.put("project/.env", "DEBUG=1\n");
    let error = place.prepare_with("gemini", "work", &[], &api_key()).unwrap_err();
    assert!(error.to_string().contains("project/.env"), "{error}");
    assert!(!place.home("work", "gemini").join(".gemini/.env").exists());
    for odd in ["two words", "a\nb", "quo\"te", &"k".repeat(5000)] {
        let error = place.prepare_with("codex", "work", &[], odd).unwrap_err();
        assert!(matches!(error, HomeError::NotAKey) && !error.to_string().contains(odd), "{error}");
    }
    place.put(".codex/config.toml", "cli_auth_credentials_store = \"keyring\"\n");
    let error = place.prepare_with("codex", "work", &[], &api_key()).unwrap_err();
    assert!(error.to_string().contains("config.toml keeps sign-ins in the system's keyring"), "{error}");
    place.put(".claude/settings.json", "// a comment\n{}");
    let error = place.prepare_with("claude", "work", &[], &api_key()).unwrap_err();
    assert!(error.to_string().contains(".claude/settings.json"), "{error}");
}

#[test]
fn claude_code_does_not_ask_again_what_was_answered_in_the_first_home() {
    let place = Place::new();
    let project = place.user().join("project").display().to_string();
    let notes = serde_json::json!({
        "hasCompletedOnboarding": true,
        "primaryApiKey": "not to be taken over",
        "projects": { project.clone(): { "hasTrustDialogAccepted": true, "history": ["x"] }, "/other": {} },
    });
    place.put(".claude.json", &notes.to_string());
    place.prepare("claude", "work").unwrap();
    let own = fs::read(place.home("work", "claude").join(".claude.json")).unwrap();
    let own: serde_json::Value = serde_json::from_slice(&own).unwrap();
    let wanted = serde_json::json!({
        "hasCompletedOnboarding": true,
        "projects": { project: { "hasTrustDialogAccepted": true } },
    });
    assert_eq!(own, wanted);
}

#[test]
fn the_account_is_told_by_the_home_variable_alone() {
    let place = Place::new();
    place.prepare("codex", "work").unwrap();
    let home = place.home("work", "codex");
    let account = |agent: &str, variable: &str, path: &Path| {
        place.root.account_in(&AgentKind::new(agent), &Homes::new([(variable, path.to_owned())]))
    };
    assert_eq!(account("codex", "CODEX_HOME", &home).unwrap().as_str(), "work");
    let by_link = place.dir.path().join("link");
    symlink(&home, &by_link).unwrap();
    assert_eq!(account("codex", "CODEX_HOME", &by_link).unwrap().as_str(), "work");
    assert_eq!(account("codex", "HOME", &home), None);
    assert_eq!(account("codex", "CODEX_HOME", &place.user().join(".codex")), None);
    assert_eq!(account("codex", "CODEX_HOME", home.parent().unwrap()), None);
    assert_eq!(account("codex", "CODEX_HOME", &home.join("sessions")), None);
    assert_eq!(account("claude", "CLAUDE_CONFIG_DIR", &home), None);
    // The sessions have one name, whichever way an agent takes to them.
    let shared = place.root.home_of_sessions(&AgentKind::codex(), home);
    assert_eq!(shared, place.user().join(".codex"));
}

/// Whoever has the alias next does not work on as the one before.
#[test]
fn a_home_of_another_owner_is_set_aside() {
    for (agent, sign_in) in [("codex", "auth.json"), ("gemini", ".gemini/oauth_creds.json")] {
        let place = Place::new();
        let home = place.home("work", agent);
        assert!(!place.prepare_for(agent, b"ada").unwrap().signed_in);
        fs::write(home.join(sign_in), "of ada").unwrap();
        let again = place.prepare_for(agent, b"ada").unwrap();
        assert_eq!((again.signed_in, again.set_aside), (true, None));
        let other = place.prepare_for(agent, b"bob").unwrap();
        assert_eq!((other.path.as_path(), other.signed_in), (home.as_path(), false), "{agent}");
        assert!(!home.join(sign_in).exists());
        let aside = other.set_aside.unwrap();
        assert_eq!(
            (fs::read_to_string(aside.join(sign_in)).unwrap().as_str(), mode(&aside)),
            ("of ada", 0o700)
        );
        // No account is read from there, and the new home stays.
        let uses = Homes::new([(kind::of(agent).unwrap().variable, aside.clone())]);
        assert_eq!(place.root.account_in(&AgentKind::new(agent), &uses), None);
        fs::write(home.join(sign_in), "of bob").unwrap();
        assert_eq!(place.prepare_for(agent, b"bob").unwrap().set_aside, None);
        assert_eq!(fs::read_to_string(home.join(sign_in)).unwrap(), "of bob");
        // The sessions are the user's, and were never anybody else's.
        assert_eq!(agent == "codex", home.join("sessions/2026/11/23/rollout.jsonl").exists());
    }
}

#[test]
fn a_home_without_a_mark_is_taken_over_unless_it_is_signed_in() {
    let place = Place::new();
    let home = place.home("work", "codex");
    // An older controller does not ask, and changes nothing.
    place.prepare_for("codex", b"").unwrap();
    assert!(!home.join(".wa-owner").exists());
    assert_eq!(place.prepare_for("codex", b"ada").unwrap().set_aside, None);
    assert_eq!(mode(&home.join(".wa-owner")), 0o600);
    // It is not known whose this is.
    for damage in [None, Some("nonsense".to_owned()), Some("x".repeat(5000))] {
        let home_before = place.prepare_for("codex", b"ada").unwrap();
        fs::write(home.join("auth.json"), "{}").unwrap();
        fs::remove_file(home.join(".wa-owner")).unwrap();
        if let Some(text) = &damage {
            fs::write(home.join(".wa-owner"), text).unwrap();
        }
        drop(home_before);
        let made = place.prepare_for("codex", b"ada").unwrap();
        assert!(!made.signed_in, "{damage:?}");
        // Two within one second would take each other's place.
        fs::rename(
            made.set_aside.unwrap(),
            place.dir.path().join(format!("{}", damage.map_or(0, |text| text.len()))),
        )
        .unwrap();
    }
    assert!(matches!(place.prepare_for("codex", &[7; 65]), Err(HomeError::NoOwner)));
}

/// A program there would write its own sign-in into the new home.
#[cfg(target_os = "linux")]
#[test]
fn a_home_in_which_a_process_works_is_left_alone() {
    let place = Place::new();
    place.prepare_for("codex", b"ada").unwrap();
    let home = place.home("work", "codex");
    fs::write(home.join("auth.json"), "{}").unwrap();
    let mut agent =
        std::process::Command::new("/bin/sleep").arg("600").env("CODEX_HOME", &home).spawn().unwrap();
    // Right after it was started its environment may not stand in its place yet.
    let (environ, since) = (format!("/proc/{}/environ", agent.id()), std::time::Instant::now());
    while !fs::read(&environ).unwrap().windows(10).any(|word| word == b"CODEX_HOME") {
        assert!(since.elapsed() < std::time::Duration::from_secs(20), "{environ}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(place.prepare_for("codex", b"ada").unwrap().signed_in, "the owner's own may go on");
    let error = place.prepare_for("codex", b"bob").unwrap_err();
    assert!(error.to_string().contains(&format!("process {} works in", agent.id())), "{error}");
    assert!(home.join("auth.json").exists());
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(place.prepare_for("codex", b"bob").unwrap().set_aside.is_some());
}
