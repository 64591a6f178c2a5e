//! A limit is reached, and the pane goes on with another account: its session left key by key, the account signed in where
//! it must be, the session resumed in that account's own home, and told to proceed. Nothing is signed out.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use serde_json::{Value, json};
use wa_tests::{IdentityPage, Person, Scene, Stage, no_browser, wait_for};

const SOON: Duration = Duration::from_secs(40);
/// For a whole switch, also beside other tests.
const LONG: Duration = Duration::from_secs(120);
const FIRST: &str = "ann@example.test";
const SECOND: &str = "bob@example.test";

fn people() -> Vec<Person> {
    // Base32 of what a second factor's codes are made from; put together here, so that no scanner takes it for a real one.
    let person = |username: &str, letter| Person {
        username: username.to_owned(),
        password: format!("{username}-opens-{}", 7 * 191),
        one_time_secret: Some(std::iter::repeat_n(letter, 32).collect()),
    };
    vec![person(FIRST, 'K'), person(SECOND, 'R')]
}

/// A shell in which a scripted agent will run, a provider of identities, and a pool of accounts.
struct House {
    scene: Scene,
    identity: IdentityPage,
}

impl House {
    /// `browser`: whether the controller finds one, if there is one.
    fn new(agent: &str, browser: bool) -> Self {
        let mut stage = Stage::new().unwrap();
        if !browser {
            let nothing = stage.path("nothing");
            fs::create_dir(&nothing).unwrap();
            stage.set_env("PATH", nothing.to_str().unwrap());
        }
        let identity = IdentityPage::start(people()).unwrap();
        fs::write(stage.path("provider.toml"), identity.provider_toml("openai")).unwrap();
        let config = stage.path("controller.toml");
        let on =
            format!("enable_workflows = ['{agent}-account-switch']\nsign_in_providers = ['provider.toml']\n");
        fs::write(&config, on).unwrap();
        let (quota, issuer) = (stage.path("quota"), identity.issuer());
        let env = [
            ("SCRIPTED_ISSUER", issuer.as_str()),
            ("SCRIPTED_QUOTA", quota.to_str().unwrap()),
            ("SCRIPTED_TURN", "1s"),
            // Over the composer, after the limit and after the session was resumed.
            ("SCRIPTED_OFFER", "limit,resume"),
        ];
        let controller = ["--config", config.to_str().unwrap()];
        let scene = Scene::with_shell_and(stage, &controller, &env);
        scene.wait_state("shell");
        let house = Self { scene, identity };
        house.wa(&["account", "pool", "set", "default", "--switching", "on"]);
        house
    }

    fn wa(&self, args: &[&str]) -> String {
        let answer = self.scene.stage.wa(args);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stdout
    }

    /// With these credentials, if any.
    fn add_account(&self, alias: &str, agent: &str, more: &[&str], credentials: &str) {
        let file = self.scene.stage.path(format!("{alias}.toml"));
        fs::write(&file, credentials).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut args = vec!["account", "add", alias, "--agent", agent];
        if !credentials.is_empty() {
            args.extend(["--credentials-file", file.to_str().unwrap()]);
        }
        args.extend(more);
        self.wa(&args);
    }

    /// The account may not be used for the next hour.
    fn use_up(&self, account: &str) {
        let until = wa_link::clock::now() + SignedDuration::from_hours(1);
        fs::write(self.scene.stage.path("quota"), format!("{account} {until}\n")).unwrap();
    }

    /// A turn from its beginning to its end. It may be too short to be seen under way.
    fn works_once(&self) {
        self.scene.tell("begin");
        wait_for("the end of the turn", SOON, || self.scene.events("turn.finished").pop());
        self.scene.wait_state("idle");
    }

    fn run(&self, workflow: &str) -> Option<Value> {
        self.scene.runs().into_iter().find(|run| run["workflow"] == workflow)
    }

    /// The run, once it is over or asks somebody.
    fn settled(&self, workflow: &str) -> Value {
        let ends = ["succeeded", "failed", "unknown", "cancelled", "asking"];
        wait_for(&format!("the end of {workflow}"), LONG, || {
            self.run(workflow).filter(|run| ends.contains(&run["state"].as_str().unwrap()))
        })
    }

    /// How the run went, for whom it went wrong.
    fn tale(&self, run: &Value) -> String {
        let explained = self.scene.stage.wa(&["run", "explain", run["run"].as_str().unwrap()]);
        format!("{run}\n{}\n{}", explained.stdout, self.scene.screen())
    }

    fn status(&self) -> Value {
        self.scene.stage.wa(&["status", "-o", "json"]).json()["items"][0].clone()
    }

    fn home(&self, alias: &str, agent: &str) -> std::path::PathBuf {
        self.scene.stage.path(format!("node/accounts/{alias}/{agent}"))
    }
}

/// A home of Codex in which somebody is signed in.
fn codex_home(home: &Path, who: &str) {
    fs::create_dir(home).unwrap();
    fs::write(home.join("config.toml"), "model = \"gpt-5.1-codex-max\"\n").unwrap();
    let claims = URL_SAFE_NO_PAD.encode(json!({ "email": who }).to_string());
    let signed_in = json!({ "tokens": { "id_token": format!("e30.{claims}."), "access_token": "none" } });
    fs::write(home.join("auth.json"), signed_in.to_string()).unwrap();
}

/// Codex has worked on its first account, which is used up now; another prompt has run into that.
fn used_up_codex(browser: bool) -> House {
    let house = House::new("codex", browser);
    codex_home(&house.scene.stage.path("home/.codex"), FIRST);
    house.add_account("first", "codex", &["--username", FIRST, "--default-on", "stage"], "password = 'x'\n");
    let sign_in = ["--username", SECOND, "--sign-in", "device-code"];
    let second = people().remove(1);
    let secret = second.one_time_secret.unwrap();
    let credentials = format!("password = '{}'\none_time_secret = '{secret}'\n", second.password);
    house.add_account("second", "codex", &sign_in, &credentials);
    house.scene.tell("codex");
    house.scene.wait_state("idle");
    house.works_once();
    house.use_up(FIRST);
    house.scene.tell("and the lexer");
    house
}

/// What opens an account, as it would look in a file or in a process table.
fn forms_of(secrets: &[String]) -> Vec<Vec<u8>> {
    let forms = |secret: &String| {
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        [secret.clone().into_bytes(), wide, STANDARD_NO_PAD.encode(secret).into_bytes()]
    };
    secrets.iter().flat_map(forms).collect()
}

fn holds(bytes: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// Files below a directory that hold one of these, but for those that the test wrote itself.
fn files_with(dir: &Path, forms: &[Vec<u8>], but: &[PathBuf]) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        // What is taken away meanwhile holds nothing.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file()
                && !but.contains(&path)
                && holds(&fs::read(&path).unwrap_or_default(), forms)
            {
                found.push(path);
            }
        }
    }
    found
}

/// Looks at the arguments and variables of every process, again and again, until it is asked what it saw.
struct Onlooker {
    over: Arc<AtomicBool>,
    looking: JoinHandle<Vec<String>>,
}

impl Onlooker {
    fn of(secrets: &[String]) -> Self {
        let (over, forms) = (Arc::new(AtomicBool::new(false)), forms_of(secrets));
        let ends = Arc::clone(&over);
        let looking = thread::spawn(move || {
            let mut seen = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    for file in ["cmdline", "environ"] {
                        let path = entry.path().join(file);
                        if holds(&fs::read(&path).unwrap_or_default(), &forms) {
                            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                            seen.push(format!("{} ({})", path.display(), name.trim()));
                        }
                    }
                }
                thread::sleep(Duration::from_millis(50));
            }
            seen.dedup();
            seen
        });
        Self { over, looking }
    }

    fn saw(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// What holds after every switch of [`used_up_codex`].
fn check_codex(house: &House) {
    let keep = "dialog: Keep current model";
    assert_eq!(house.scene.submitted(), ["begin", "and the lexer", keep, keep, "proceed"]);
    let status = house.status();
    assert_eq!((&status["agent"], &status["account"]), (&"codex".into(), &"second".into()));
    // The session is the one that was left, and the settings are those of the first home.
    let ended = house.scene.events("session.ended").pop().unwrap();
    assert_eq!(ended["fields"]["session_id"], status["session_id"]);
    house.scene.wait_screen("gpt-5.1-codex-max default");
    // One code, typed by the one whose account it is; nobody was signed out.
    let confirmed = house.identity.confirmed();
    assert_eq!(confirmed.iter().map(|(_, who)| who.as_str()).collect::<Vec<_>>(), [SECOND]);
    assert!(house.home("second", "codex").join("auth.json").exists());
    let first = fs::read_to_string(house.scene.stage.path("home/.codex/auth.json")).unwrap();
    assert!(first.contains(&URL_SAFE_NO_PAD.encode(json!({ "email": FIRST }).to_string())));
    let audit = house.wa(&["audit", "-n", "1000", "-o", "jsonl"]);
    let of_account =
        |row: &&str| row.contains("\"account\"") && row.contains("workflow:codex-account-switch");
    assert!(audit.lines().filter(of_account).count() >= 2, "{audit}");
    for (code, _) in &confirmed {
        assert!(!audit.contains(code) && !house.wa(&["logs", &house.scene.pane]).contains(code));
    }
    // Nothing that opens the account lies in a file: database, spool, journal, logs, profile of the browser.
    let mut secrets = secrets_of_second();
    secrets.extend(confirmed.into_iter().map(|(code, _)| code));
    let stage = &house.scene.stage;
    let written = [stage.path("first.toml"), stage.path("second.toml")];
    assert_eq!(files_with(&stage.path(""), &forms_of(&secrets), &written), Vec::<PathBuf>::new());
    assert!(!files_with(&stage.path(""), &forms_of(&secrets), &[]).is_empty(), "they would be found");
}

fn secrets_of_second() -> Vec<String> {
    let second = people().remove(1);
    vec![second.password, second.one_time_secret.unwrap()]
}

#[test]
fn codex_goes_on_with_an_account_that_the_browser_signs_in() {
    if let Some(reason) = no_browser() {
        println!("skipped codex_goes_on_with_an_account_that_the_browser_signs_in: {reason}");
        return;
    }
    let onlooker = Onlooker::of(&secrets_of_second());
    let house = used_up_codex(true);
    let run = house.settled("codex-account-switch");
    assert_eq!(run["state"], "succeeded", "{}", house.tale(&run));
    assert_eq!(onlooker.saw(), Vec::<String>::new());
    check_codex(&house);
    assert!(house.run("limit-wait").is_none(), "one workflow answers a limit");
}

#[test]
fn codex_goes_on_with_an_account_that_a_person_signs_in() {
    // There is no browser: it asks, and whoever may see them finds address and code.
    let house = used_up_codex(false);
    let asking = house.settled("codex-account-switch");
    assert_eq!(asking["state"], "asking", "{}", house.tale(&asking));
    let question = wait_for("the question", SOON, || {
        house.scene.notices().into_iter().find(|notice| notice["run"] == asking["run"])
    });
    let text = question["text"].as_str().unwrap();
    assert!(text.contains("second") && text.contains("wa show stage/0 --reveal"), "{text}");
    let shown = house.wa(&["show", &house.scene.pane, "--reveal", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let secrets: Vec<&str> =
        shown["secrets"].as_array().unwrap().iter().filter_map(|secret| secret["value"].as_str()).collect();
    assert!(secrets.contains(&house.identity.device_url().as_str()), "{shown}");
    let code = secrets.iter().find(|secret| !secret.starts_with("http")).unwrap();
    house.identity.confirm(code, SECOND);
    let run = wait_for("the switch to go on by itself", LONG, || {
        house.run("codex-account-switch").filter(|run| run["state"] == "succeeded")
    });
    assert_eq!(run["run"], asking["run"]);
    check_codex(&house);
}

#[test]
fn with_no_other_account_the_session_stays_and_its_reset_is_waited_for() {
    let house = House::new("codex", false);
    codex_home(&house.scene.stage.path("home/.codex"), FIRST);
    house.add_account("first", "codex", &["--username", FIRST, "--default-on", "stage"], "password = 'x'\n");
    house.scene.tell("codex");
    house.scene.wait_state("idle");
    house.use_up(FIRST);
    house.scene.tell("begin");
    let run = wait_for("the run to wait", LONG, || {
        let run = house.run("codex-account-switch")?;
        let step = run["step"].as_str()?;
        (run["state"] == "waiting" && ["first-free", "own-reset"].contains(&step)).then_some(run)
    });
    assert_eq!(run["actions_done"], 1, "{}", house.tale(&run));
    assert_eq!(house.scene.submitted(), ["begin", "dialog: Keep current model"]);
    assert_eq!(house.status()["state"], "limited");
    assert!(house.identity.visited().is_empty(), "nobody was signed in");
}

/// An account that the agent is given a key for, in a home of its own.
fn goes_on_with_a_key(agent: &str, start: &str) {
    let house = House::new(agent, false);
    house.add_account("second", agent, &["--sign-in", "api-key"], "api_key = 'not-used-up'\n");
    house.scene.tell(start);
    house.scene.wait_state("idle");
    house.works_once();
    // Whoever has no key is used up.
    house.use_up("");
    house.scene.start_timers();
    if agent == "gemini" {
        house.scene.tell("and the lexer");
    }
    let run = house.settled(&format!("{agent}-account-switch"));
    assert_eq!(run["state"], "succeeded", "{}", house.tale(&run));
    let submitted = house.scene.submitted();
    assert_eq!(submitted.iter().filter(|text| *text == "proceed").count(), 1, "{submitted:?}");
    assert_eq!(submitted.last().unwrap(), "proceed");
    let status = house.status();
    assert_eq!((&status["agent"], &status["account"]), (&agent.into(), &"second".into()));
    let ended = house.scene.events("session.ended").pop().unwrap();
    assert!(ended["fields"]["session_id"].is_string(), "{ended}");
    house.scene.wait_screen("proceed");
    // The key is in the account's home, and nowhere that people or programs look.
    assert!(house.home("second", agent).is_dir());
    for args in [&["logs", &house.scene.pane][..], &["audit", "-n", "1000", "-o", "jsonl"]] {
        assert!(!house.wa(args).contains("not-used-up"), "{args:?}");
    }
}

#[test]
fn gemini_goes_on_with_another_key() {
    goes_on_with_a_key("gemini", "gemini");
}

#[test]
fn claude_goes_on_with_another_key() {
    goes_on_with_a_key("claude", "claude --limit-after 2s --limit-menu");
}
