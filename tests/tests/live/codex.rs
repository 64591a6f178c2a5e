//! Codex: signed in, worked, compacted, reached its limit, continued with another account: all of it typed by `wa`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use wa_tests::{IdentityPage, ModelService, Person, Stage, wait_for};

use crate::{LONG, Live, cut_off, fetched};

#[test]
fn codex_0_89_goes_on_with_another_account() {
    switch("codex::codex_0_89_goes_on_with_another_account", "codex-0.89.0");
}

#[test]
fn codex_0_144_goes_on_with_another_account() {
    switch("codex::codex_0_144_goes_on_with_another_account", "codex-0.144.0");
}

/// What Codex is told at home: which services to ask, and to ask nothing else.
fn configuration(models: &ModelService, work: &Path) -> String {
    let url = models.url();
    format!(
        "model = 'gpt-5.1-codex'\nmodel_provider = 'local'\nmodel_auto_compact_token_limit = 100000\n\
         chatgpt_base_url = '{url}/backend-api/'\ncheck_for_update_on_startup = false\n\
         [model_providers.local]\nname = 'local'\nbase_url = '{url}/v1'\nwire_api = 'responses'\n\
         requires_openai_auth = true\n\
         [projects.'{}']\ntrust_level = 'trusted'\n",
        work.display()
    )
}

/// Base32 of what a second factor's codes are made from; put together here, so that no scanner takes it for a real one.
fn one_time_secret(letter: char) -> String {
    std::iter::repeat_n(letter, 32).collect()
}

fn people() -> Vec<Person> {
    let person = |name: &str, letter| Person {
        username: format!("{name}@example.test"),
        password: format!("{name}-opens-{}", 7 * 191),
        one_time_secret: Some(one_time_secret(letter)),
    };
    vec![person("ann", 'K'), person("bob", 'R')]
}

fn add_accounts(live: &Live) {
    for (alias, person) in ["first", "second"].into_iter().zip(people()) {
        let file = live.scene.stage.path(format!("{alias}.toml"));
        let secret = person.one_time_secret.unwrap();
        let credentials = format!("password = '{}'\none_time_secret = '{secret}'\n", person.password);
        fs::write(&file, credentials).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let added = live.scene.stage.wa(&[
            "account",
            "add",
            alias,
            "--agent",
            "codex",
            "--username",
            &person.username,
            "--sign-in",
            "device-code",
            "--credentials-file",
            file.to_str().unwrap(),
        ]);
        assert_eq!(added.code, 0, "{added:?}");
    }
    let on = live.scene.stage.wa(&["account", "pool", "set", "default", "--switching", "on"]);
    assert_eq!(on.code, 0, "{on:?}");
}

fn account(live: &Live) -> Option<Value> {
    Some(live.scene.status()?["account"].clone())
}

/// Until it is ready for a prompt; a version that offers another model first is told to keep its own.
fn begin(live: &Live) {
    let state = wait_for("codex to begin", LONG, || {
        let state = live.scene.status()?["state"].as_str()?.to_owned();
        matches!(state.as_str(), "idle" | "waiting").then_some(state)
    });
    if state == "waiting" {
        let kept = live.scene.stage.wa(&["approve", &live.scene.pane, "--choice", "Use existing model"]);
        assert_eq!(kept.code, 0, "{kept:?}\n{}", live.scene.screen());
    }
    live.wait_state("idle");
}

fn switch(test: &str, program: &str) {
    if !cut_off(test) {
        return;
    }
    let program = fetched(program).join("codex");
    let stage = Stage::new().unwrap();
    let identity = IdentityPage::start(people()).unwrap();
    fs::write(stage.path("provider.toml"), identity.provider_toml("openai")).unwrap();
    let config = stage.path("controller.toml");
    let login = format!("codex login --device-auth --experimental_issuer {}", identity.issuer());
    fs::write(
        &config,
        format!(
            "enable_workflows = ['codex-account-switch']\nsign_in_providers = ['provider.toml']\n\
             [[override]]\nvars = {{ login_command = '{login}' }}\n"
        ),
    )
    .unwrap();
    let arguments = ["--config", config.to_str().unwrap()];
    let models = ModelService::start().unwrap();
    let live = Live::start(("codex", &program), &arguments, models, stage, |stage, models| {
        let home = stage.path("home/.codex");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("config.toml"), configuration(models, &stage.path("work"))).unwrap();
    });
    add_accounts(&live);

    // Signed in by the browser, in a pane that is opened for it.
    let login = live.scene.stage.wa(&["account", "login", "first", "--host", live.scene.stage.host()]);
    assert_eq!(login.code, 0, "{login:?}");
    let run = live.wait_end("account-login", LONG);
    assert_eq!(run["state"], "succeeded", "{}", live.tale(&run));

    let home = live.scene.stage.path("node/accounts/first/codex");
    live.send(&format!("CODEX_HOME={} codex", home.display()));
    begin(&live);
    assert_eq!(account(&live), Some("first".into()));
    let (first, second) = ("ann@example.test", "bob@example.test");
    live.models.cost(first, 180_000);
    live.send("summarise the parser");
    wait_for("the first answer", LONG, || (!live.answered(first).is_empty()).then_some(()));
    live.wait_state("idle");
    live.send("and the printer");
    wait_for("the compaction", LONG, || (live.count("context.compacted") > 0).then_some(()));
    live.wait_state("idle");

    live.models.limit(first, Duration::from_secs(7200));
    live.send("add tests for both");
    let run = live.wait_end("codex-account-switch", Duration::from_secs(300));
    assert_eq!(run["state"], "succeeded", "{}", live.tale(&run));
    assert_eq!(account(&live), Some("second".into()));
    wait_for("the answer", LONG, || {
        let answered = live.answered(second);
        answered.contains(&"proceed".to_owned()).then_some(())
    });
    assert_eq!(identity.confirmed().len(), 2, "one code for each account");
    // The session is the one that was left: what was asked before stands in it.
    let conversation = live.scene.stage.wa(&["logs", &live.scene.pane, "--conversation"]).stdout;
    assert!(
        conversation.contains("summarise the parser") && conversation.contains("proceed"),
        "{conversation}"
    );
}
