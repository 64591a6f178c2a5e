//! The workflows of the simulated owner: files that the configuration names, as every owner's do.
//!
//! They are small: what they wait for takes seconds, so that a run that is held up ends within the seed. Every text holds
//! what its trigger calls itself, or the pane, so that what reached a pane can be told from all else.

use std::fs;
use std::path::Path;

use wa_controller::{ConfigFile, Definition};
use wa_proto::EventKind;

/// What the load never tells, and no screen here shows: an agent's, …
pub(crate) const OF_AGENT: EventKind = EventKind::ContextLow;
/// … a shell's, …
pub(crate) const OF_SHELL: EventKind = EventKind::CommandFinished;
/// … and one of the pane that counts keys.
pub(crate) const OF_COUNTER: EventKind = EventKind::ErrorRetrying;
/// What an operator begins, each at most once on a pane of a host.
pub(crate) const BY_HAND: [&str; 3] = ["hand-a", "hand-b", "hand-c"];
/// What the counting pane gets from a run.
pub(crate) const KEYS: [char; 2] = ['z', 'y'];

/// Two texts and a look in between.
const TIDY: &str = r#"
name = "tidy"
version = 1
agents = ["claude", "codex"]
on = "context.low"
max_actions = 2

[[step]]
do = "wait_until"
states = ["idle"]
timeout = "20s"
on_failure = "tell"

[[step]]
do = "type"
text = "first part of {{command}}"
timeout = "12s"
on_failure = "tell"

[[step]]
do = "verify"
states = ["working"]
events = ["turn.started", "turn.finished"]
timeout = "8s"
on_failure = "tell"

[[step]]
do = "type"
text = "second part of {{command}}"
timeout = "30s"
next = "done"

[[step]]
id = "tell"
do = "notify"
text = "{{command}} on {{pane}} was not done: {{failure}}"

[[step]]
do = "fail"
text = "{{failure}}"

[[step]]
id = "done"
do = "finish"
text = "both parts were typed"
"#;

/// Begins by the same event, so it waits for the other; a doubt is asked.
const ALSO: &str = r#"
name = "also"
version = 3
agents = ["claude"]
on = "context.low"
follows = "pane"
max_actions = 2

[[step]]
do = "type"
text = "something about {{command}}"
timeout = "25s"
next = "done"
on_unknown = "ask"
on_failure = "ask"

[[step]]
id = "ask"
do = "ask"
text = "{{agent}} on {{pane}}: {{command}} is not certain ({{failure}})"
timeout = "12s"
choices = [{ label = "more", to = "more" }, { label = "leave", to = "done" }]

[[step]]
id = "more"
do = "type"
text = "more about {{command}}"
timeout = "8s"

[[step]]
id = "done"
do = "finish"
text = "so much for {{command}}"
"#;

/// Acts on nothing: it takes no pane for itself.
const TELL: &str = r#"
name = "tell"
version = 1
agents = ["codex"]
on = "context.low"
max_actions = 0

[[step]]
do = "notify"
level = "warning"
text = "{{agent}} on {{pane}}: {{command}}"
"#;

/// Not more often than twice within a time.
const SHELL: &str = r#"
name = "shell"
version = 1
on = "command.finished"
max_actions = 1
max_runs = { count = 2, per = "20s" }

[[step]]
do = "run"
text = "make {{command}}"
timeout = "15s"

[[step]]
do = "wait_until"
states = ["shell"]
timeout = "6s"
"#;

/// Two keys.
const KEY: &str = r#"
name = "key"
version = 1
on = "error.retrying"
max_actions = 2

[[step]]
do = "keys"
keys = ["z"]
timeout = "10s"

[[step]]
do = "keys"
keys = ["y"]
timeout = "10s"
"#;

/// Begun by an operator.
const HAND: &str = r#"
name = "NAME"
version = 1
agents = ["claude", "codex"]
on = "context.full"
max_actions = 1

[[step]]
do = "wait_until"
states = ["idle", "working"]
timeout = "10s"

[[step]]
do = "type"
text = "by NAME on {{pane}}"
timeout = "10s"
"#;

/// Writes the owner's files, and gives what the controller is told of them.
pub(crate) fn put_into(folder: &Path) -> Vec<Definition> {
    let by_hand = BY_HAND.map(|name| HAND.replace("NAME", name));
    let texts: Vec<&str> =
        [TIDY, ALSO, TELL, SHELL, KEY].into_iter().chain(by_hand.iter().map(String::as_str)).collect();
    let names: Vec<String> = (1..=texts.len()).map(|n| format!("{n}.toml")).collect();
    for (name, text) in names.iter().zip(texts) {
        fs::write(folder.join(name), text).unwrap();
    }
    let config = folder.join("controller.toml");
    fs::write(&config, format!("workflows = {names:?}\n")).unwrap();
    ConfigFile::load(&config).unwrap().definitions().unwrap()
}
