//! `wa hooks …` on real files.

#![allow(clippy::unwrap_used)] // the helpers are tests too

mod support;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A home with a `wa` and a `wa-node` of its own.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let bin = home.at("bin");
        std::fs::create_dir(&bin).unwrap();
        let wa = Path::new(env!("CARGO_BIN_EXE_wa"));
        if std::fs::hard_link(wa, bin.join("wa")).is_err() {
            std::fs::copy(wa, bin.join("wa")).unwrap();
        }
        home.write("bin/wa-node", "#!/bin/sh\n");
        std::fs::set_permissions(bin.join("wa-node"), std::fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.at("bin/wa"));
        command.arg("hooks").args(args).env_clear().env("HOME", self.0.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        support::answer(&mut self.command(args))
    }

    fn items(&self, args: &[&str]) -> (i32, Vec<Value>) {
        let (code, stdout, stderr) = self.run(&[args, &["-o", "json"]].concat());
        let value: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        assert_eq!(value["schema"], "wa.hooks/1");
        (code, value["items"].as_array().unwrap().clone())
    }

    fn backups(&self, dir: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.at(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().contains(".wa-backup-")).collect()
    }
}

fn states(items: &[Value]) -> Vec<(&str, &str)> {
    items.iter().map(|item| (item["agent"].as_str().unwrap(), item["state"].as_str().unwrap())).collect()
}

#[test]
fn every_agent_that_is_set_up_is_installed_once() {
    let home = Home::new();
    home.write(".claude/settings.json", "{\n  \"model\": \"opus\"\n}\n");
    home.write(".codex/config.toml", "# mine\nmodel = \"gpt\"\n");
    let (code, items) = home.items(&["install"]);
    assert_eq!(code, 0);
    assert_eq!(
        states(&items),
        [("claude", "installed"), ("codex", "installed"), ("codex", "installed"), ("gemini", "no_agent")]
    );
    assert!(!home.at(".gemini").exists(), "an agent that is not there is not set up");
    let settings: Value = serde_json::from_str(&home.read(".claude/settings.json")).unwrap();
    let command = settings["hooks"]["Stop"][0]["hooks"][0]["command"].as_str().unwrap();
    let node = home.at("bin/wa-node").canonicalize().unwrap();
    let state = home.at(".local/state/wa-node");
    assert_eq!(command, format!("{} hook --state-dir {} claude Stop", node.display(), state.display()));
    assert_eq!(items[0]["program"], node.to_str().unwrap());
    assert!(
        home.read(".codex/config.toml").starts_with("# mine\n")
            && home.read(".codex/config.toml").contains("notify")
    );
    assert!(home.read(".codex/hooks.json").contains("codex PermissionRequest"));
    assert_eq!(std::fs::metadata(home.at(".codex/hooks.json")).unwrap().mode() & 0o777, 0o600);

    let (backup, path) = (items[0]["backup"].as_str().unwrap(), home.at(".claude/settings.json"));
    assert!(backup.starts_with(&format!("{}.wa-backup-", path.display())), "{backup}");
    assert_eq!(std::fs::read_to_string(backup).unwrap(), "{\n  \"model\": \"opus\"\n}\n");

    let before = home.read(".claude/settings.json");
    let (code, items) = home.items(&["install"]);
    assert_eq!(code, 0);
    assert!(items.iter().all(|item| item["changed"] == false && item["backup"].is_null()), "{items:?}");
    assert_eq!((home.read(".claude/settings.json"), home.backups(".claude").len()), (before, 1));

    let (_, items) = home.items(&["status"]);
    assert!(states(&items)[..3].iter().all(|(_, state)| *state == "installed"), "{items:?}");
    let (_, items) = home.items(&["status", "--state-dir", "/elsewhere"]);
    assert!(states(&items)[..3].iter().all(|(_, state)| *state == "outdated"), "{items:?}");

    let (code, items) = home.items(&["remove"]);
    assert_eq!((code, items[0]["state"].as_str()), (0, Some("absent")));
    assert_eq!(home.read(".claude/settings.json"), "{\n  \"model\": \"opus\"\n}\n");
    assert_eq!(home.read(".codex/config.toml"), "# mine\nmodel = \"gpt\"\n");
    assert_eq!(home.items(&["status", "--agent", "claude"]).1[0]["state"], "absent");
}

#[test]
fn a_dry_run_prints_what_would_change_and_changes_nothing() {
    let home = Home::new();
    home.write(".claude/settings.json", "{}\n");
    let (code, stdout, _) = home.run(&["install", "--dry-run", "--agent", "claude", "--agent", "gemini"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("+++ ") && stdout.contains("--- /dev/null"), "{stdout}");
    assert!(stdout.contains("claude UserPromptSubmit") && stdout.contains("gemini BeforeAgent"), "{stdout}");
    assert_eq!((home.read(".claude/settings.json").as_str(), home.at(".gemini").exists()), ("{}\n", false));
    let (_, items) = home.items(&["install", "--dry-run", "--agent", "claude"]);
    assert!(items[0]["diff"].as_str().unwrap().starts_with("--- "));
    assert!(home.backups(".claude").is_empty());
}

#[test]
fn mode_and_link_of_a_file_stay() {
    let home = Home::new();
    home.write("dotfiles/claude.json", "{\"a\": 1}\n");
    std::fs::set_permissions(home.at("dotfiles/claude.json"), std::fs::Permissions::from_mode(0o640))
        .unwrap();
    std::fs::create_dir(home.at(".claude")).unwrap();
    symlink("../dotfiles/claude.json", home.at(".claude/settings.json")).unwrap();
    assert_eq!(home.items(&["install"]).1[0]["changed"], true);
    assert!(home.at(".claude/settings.json").is_symlink());
    assert!(home.read("dotfiles/claude.json").contains("wa-node"));
    assert_eq!(std::fs::metadata(home.at("dotfiles/claude.json")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!((home.backups(".claude").len(), home.backups("dotfiles").len()), (1, 0));

    std::fs::remove_file(home.at("dotfiles/claude.json")).unwrap();
    let (code, items) = home.items(&["install", "--agent", "claude"]);
    assert_eq!((code, items[0]["state"].as_str()), (1, Some("unreadable")), "a link that leads nowhere");
}

#[test]
fn what_cannot_be_read_is_left_alone_and_the_others_are_done() {
    let home = Home::new();
    let broken = "{\n  \"model\": \"opus\",\n}\n";
    home.write(".claude/settings.json", broken);
    home.write(".gemini/settings.json", "// why\n{}\n");
    let (code, items) = home.items(&["install"]);
    assert_eq!(code, 7);
    assert_eq!(states(&items), [("claude", "unreadable"), ("codex", "no_agent"), ("gemini", "installed")]);
    assert!(items[0]["notes"][0].as_str().unwrap().contains("line 3"), "{items:?}");
    assert_eq!((home.read(".claude/settings.json").as_str(), home.backups(".claude").len()), (broken, 0));
    assert!(home.read(".gemini/settings.json").starts_with("// why\n"));
    let (code, _, stderr) = home.run(&["install", "--agent", "claude"]);
    assert!(
        code == 1 && stderr.contains("settings.json was left as it is") && stderr.contains("line 3"),
        "{stderr}"
    );

    std::fs::write(home.at(".claude/settings.json"), b"{\"a\":\n\"\xff\"}").unwrap();
    assert!(home.items(&["status"]).1[0]["notes"][0].as_str().unwrap().contains("line 2: not UTF-8"));
    std::fs::write(home.at(".claude/settings.json"), vec![b' '; 5 << 20]).unwrap();
    assert_eq!(home.items(&["status"]).1[0]["state"], "unreadable");
    std::fs::remove_file(home.at(".claude/settings.json")).unwrap();
    std::fs::create_dir(home.at(".claude/settings.json")).unwrap();
    assert_eq!(home.items(&["install", "--agent", "claude"]).0, 1);
}

#[test]
fn the_agents_own_variables_say_where_they_are() {
    let home = Home::new();
    for (variable, dir, agent, file) in [
        ("CLAUDE_CONFIG_DIR", "a", "claude", "a/settings.json"),
        ("CODEX_HOME", "b", "codex", "b/hooks.json"),
        ("GEMINI_CLI_HOME", "c", "gemini", "c/.gemini/settings.json"),
    ] {
        let mut command = home.command(&["install", "--agent", agent, "--state-dir", "rel"]);
        command.env(variable, home.at(dir)).current_dir(home.0.path());
        let (code, _, stderr) = support::answer(&mut command);
        assert_eq!(code, 0, "{stderr}");
        let text = home.read(file);
        assert!(text.contains(&format!("{}/rel ", home.0.path().display())), "{text}");
        assert_eq!(std::fs::metadata(home.at(file)).unwrap().mode() & 0o777, 0o600);
    }
    assert!(!home.at(".claude").exists() && !home.at(".codex").exists() && !home.at(".gemini").exists());
}

#[test]
fn hooks_that_a_user_keeps_in_config_toml_are_joined_by_ours() {
    let home = Home::new();
    let config = "notify = [\"beep\"]\n\n[[hooks.Stop]]\n[[hooks.Stop.hooks]]\ntype = \"command\"\ncommand = \"beep\"\n";
    home.write(".codex/config.toml", config);
    let (_, items) = home.items(&["install", "--agent", "codex"]);
    assert_eq!(states(&items), [("codex", "installed")]);
    assert!(items[0]["notes"][0].as_str().unwrap().contains("notify runs beep and stays"), "{items:?}");
    assert!(!home.at(".codex/hooks.json").exists());
    home.items(&["remove"]);
    assert_eq!(home.read(".codex/config.toml"), config);
}

#[test]
fn without_a_program_nothing_is_installed() {
    let home = Home::new();
    std::fs::remove_file(home.at("bin/wa-node")).unwrap();
    home.write(
        ".claude/settings.json",
        "{\"hooks\":{\"Stop\":[{\"hooks\":[{\"type\":\"command\",\"command\":\"/gone/wa-node hook\"}]}]}}\n",
    );
    let (code, _, stderr) = home.run(&["install"]);
    assert!(code == 3 && stderr.contains("no wa-node"), "{code} {stderr}");
    let (code, items) = home.items(&["status", "--agent", "claude"]);
    assert_eq!((code, items[0]["events"][0].as_str()), (0, Some("Stop")));
    assert!(items[0]["notes"][0].as_str().unwrap().contains("not there any more"));
    assert_eq!(home.items(&["remove"]).0, 0);
    assert_eq!(home.read(".claude/settings.json"), "{}\n");
}
