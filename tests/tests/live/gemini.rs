//! Gemini CLI reaches its limit, shows its dialog, and goes on when the limit has lifted.

use std::fs;
use std::time::Duration;

use serde_json::json;
use wa_tests::{ModelService, Stage, wait_for};

use crate::{LONG, Live, cut_off, fetched};

#[test]
fn a_limit_of_the_real_gemini_is_waited_out() {
    if !cut_off("gemini::a_limit_of_the_real_gemini_is_waited_out") {
        return;
    }
    let program = fetched("gemini-0.61.0").join("gemini");
    let stage = Stage::new().unwrap();
    // The built-in workflow with shorter pauses. The agent prints whole minutes: a minute of grace is the least.
    let quick = include_str!("../../../controller/workflow/workflows/limit-wait.toml")
        .replace("grace = \"2m\"", "grace = \"61s\"")
        .replace("jitter = \"1m\"", "jitter = \"1s\"");
    fs::write(stage.path("limit-wait.toml"), quick).unwrap();
    let config = stage.path("controller.toml");
    fs::write(&config, "workflows = ['limit-wait.toml']\n").unwrap();
    let models = ModelService::start().unwrap();
    let live = Live::start(
        ("gemini", &program),
        &["--config", config.to_str().unwrap()],
        models,
        stage,
        |stage, models| {
            let home = stage.path("home/.gemini");
            fs::create_dir(&home).unwrap();
            let settings = json!({
                "security": {"auth": {"selectedType": "oauth-personal"}, "folderTrust": {"enabled": false}},
                "ui": {"errorVerbosity": "full"},
                "general": {"enableAutoUpdate": false},
            });
            fs::write(home.join("settings.json"), settings.to_string()).unwrap();
            for (name, value) in [
                ("GOOGLE_GENAI_USE_GCA", "true"),
                ("GOOGLE_CLOUD_ACCESS_TOKEN", "none"),
                ("CODE_ASSIST_ENDPOINT", &models.url()),
                ("GEMINI_CLI_NO_RELAUNCH", "true"),
            ] {
                stage.set_env(name, value);
            }
        },
    );
    live.send("gemini");
    live.wait_state("idle");
    assert_eq!(live.scene.status().unwrap()["agent"], "gemini");
    live.send("summarise the parser");
    wait_for("the first answer", LONG, || (!live.answered("").is_empty()).then_some(()));
    live.wait_state("idle");

    let limit = Duration::from_secs(45);
    live.models.limit("", limit);
    live.send("add tests for it");
    wait_for("the run", LONG, || live.scene.runs().pop());
    let run = live.wait_end("limit-wait", Duration::from_secs(240));
    assert_eq!(run["state"], "succeeded", "{}", live.tale(&run));
    let answered = live.answered("");
    assert_eq!(answered.last().map(String::as_str), Some("proceed"), "{answered:?}");
    assert_eq!(answered.iter().filter(|prompt| *prompt == "proceed").count(), 1, "once: {answered:?}");
    live.wait_state("idle");
}
