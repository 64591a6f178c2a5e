//! Keys, new panes, and the end of panes.
//!
//! A command gets a new pane inside of the wrapper of [`crate::last_words`], so that its last output is delivered and its
//! exit status told. A login shell without a command gets none: it is a place to work in, not something that ends.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use wa_match::{Composer, composer};
use wa_mux::client::Spawn;
use wa_mux::codec::{self, Modifiers, OsBytes};
use wa_proto::action::KeyCode;
use wa_proto::{Action, Key, PaneRef, PaneState};

use super::guard::{self, Sight};
use super::perform::Leave;
use super::{End, Parts};
use crate::last_words;

/// What was done must show within this time.
const SEEN: Duration = Duration::from_secs(5);
/// Of a new window, in cells.
const NEW_SIZE: (u64, u64) = (120, 36);

/// A key as the multiplexer names it.
fn wire(key: &Key) -> codec::Key {
    use codec::KeyCode as Wire;
    let mut modifiers = Modifiers::NONE;
    for (held, modifier) in [(key.ctrl, Modifiers::CTRL), (key.alt, Modifiers::ALT)] {
        if held {
            modifiers = modifiers.with(modifier);
        }
    }
    let code = match key.code {
        KeyCode::Char(c) => Wire::Char(c),
        KeyCode::Enter => Wire::Enter,
        KeyCode::Esc => Wire::Escape,
        KeyCode::Tab => Wire::Tab,
        KeyCode::BackTab => {
            modifiers = modifiers.with(Modifiers::SHIFT);
            Wire::Tab
        }
        KeyCode::Backspace => Wire::Backspace,
        KeyCode::Up => Wire::Up,
        KeyCode::Down => Wire::Down,
        KeyCode::Left => Wire::Left,
        KeyCode::Right => Wire::Right,
        KeyCode::Home => Wire::Home,
        KeyCode::End => Wire::End,
        KeyCode::PageUp => Wire::PageUp,
        KeyCode::PageDown => Wire::PageDown,
        KeyCode::F(number) => Wire::Function(number),
    };
    codec::Key::with(code, modifiers)
}

/// Presses keys one after another; done when the screen has changed.
pub(super) async fn keys(action: &Action, leave: &Leave, sight: &Sight, keys: &[Key]) -> Result<End, End> {
    not_into_anothers_work(action, sight, keys)?;
    let pane_id = action.pane.pane_id;
    let mut views = sight.views.clone();
    leave.holds()?;
    let before = sight.view.seq;
    for (at, key) in keys.iter().enumerate() {
        let pressed = sight.client.send_key(pane_id, wire(key)).await;
        pressed.map_err(|error| End::unknown(format!("key {} of {}: {error}", at + 1, keys.len())))?;
    }
    let until = Instant::now() + SEEN;
    let changed = timeout_at(until, views.wait_for(|view| view.seq > before));
    let changed = changed.instrument(tracing::info_span!("verify")).await;
    match changed {
        Ok(Ok(_)) => Ok(End::submitted("the screen changed after the keys")),
        Ok(Err(_)) => Ok(End::submitted("the pane ended after the keys")),
        Err(_) => Err(End::unknown(
            "the keys were sent, and the screen did not change within 5 s: look at the pane",
        )),
    }
}

/// Operators press what they like. Whoever else does presses nothing over a half-written draft, which the first Ctrl+C
/// would clear, nothing into a dialog, which takes every key for an answer (and Ctrl+C for a no), and into a sign-in
/// that waits nothing but the Ctrl+C that ends it. An agent that shows neither composer nor dialog gets no Ctrl+C:
/// after the one that it leaves by, Codex (0.89.0, 0.144.0 and 0.169.0) holds the terminal for five more seconds, and
/// another one then takes its last words, with the id to resume by, or reaches the shell.
fn not_into_anothers_work(action: &Action, sight: &Sight, keys: &[Key]) -> Result<(), End> {
    let Some(kind) = sight.foreground.agent().filter(|_| !action.who.starts_with("operator:")) else {
        return Ok(());
    };
    let interrupts = |key: &Key| key.ctrl && !key.alt && key.code == KeyCode::Char('c');
    if sight.view.state == PaneState::Authenticating && !keys.iter().all(interrupts) {
        return Err(End::refused(format!(
            "a sign-in of {kind} waits there: only C-c, which ends it, may be pressed"
        )));
    }
    match composer::read(&sight.view.frame, kind).content {
        Composer::Draft { .. } | Composer::Paste { .. } => {
            Err(End::refused(format!("a half-written draft stands in {kind}'s composer")))
        }
        Composer::Missing
            if keys.iter().any(interrupts)
                && !matches!(sight.view.state, PaneState::Authenticating | PaneState::Working) =>
        {
            Err(End::refused(format!(
                "neither a composer nor a dialog of {kind} is in sight: it may be on its way out, so no C-c is pressed"
            )))
        }
        Composer::Dialog if sight.view.state != PaneState::Authenticating => {
            Err(End::refused(format!("a dialog of {kind} waits for an answer: its keys would answer that")))
        }
        Composer::Empty | Composer::Dialog | Composer::Missing => Ok(()),
    }
}

/// Kills a pane; done when the server has removed it.
pub(super) async fn kill(action: &Action, leave: &Leave, sight: &Sight) -> Result<End, End> {
    let pane_id = action.pane.pane_id;
    let mut views = sight.views.clone();
    leave.holds()?;
    sight
        .client
        .kill_pane(pane_id)
        .await
        .map_err(|error| End::unknown(format!("killing the pane: {error}")))?;
    let until = Instant::now() + SEEN;
    let gone = async { while views.changed().await.is_ok() {} };
    match timeout_at(until, gone).instrument(tracing::info_span!("verify")).await {
        Ok(()) => Ok(End::submitted("the pane is gone")),
        Err(_) => Err(End::unknown("the mux server took the request, and the pane is still there after 5 s")),
    }
}

/// Starts a program in a new window, with the user's login environment.
pub(super) async fn spawn(
    parts: &Parts,
    action: &Action,
    command: &[String],
    cwd: &str,
    permit: impl AsyncFnOnce() -> Result<(), End>,
) -> Result<End, End> {
    let (_, connected) = guard::generation(parts, action)?;
    // A variable that is no text cannot be of use to a login shell; it must not end the node either.
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Wrapped { command, note } = in_wrapper(last_words::find().as_deref(), command);
    let request = Spawn {
        command: login_command(&environment, &command).into_iter().map(OsBytes::from).collect(),
        env: login_environment(environment)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        cwd: (!cwd.is_empty()).then(|| cwd.to_owned()),
        cols: NEW_SIZE.0,
        rows: NEW_SIZE.1,
    };
    permit().await?;
    let pane = connected.client.spawn(request).await;
    let pane = pane.map_err(|error| match error {
        wa_mux::client::RequestError::Refused { .. } => End::refused(error.to_string()),
        _ => End::unknown(format!("spawning: {error}")),
    })?;
    let spawned = PaneRef { pane_id: pane.pane_id, ..action.pane.clone() };
    Ok(End { spawned: Some(spawned), ..End::submitted(format!("pane {} was made{note}", pane.pane_id)) })
}

/// A command for a new pane, and what a person is to know of it.
struct Wrapped {
    command: Vec<String>,
    note: &'static str,
}

fn in_wrapper(wrapper: Option<&Path>, command: &[String]) -> Wrapped {
    let wrapped = wrapper.and_then(|wrapper| last_words::wrap(wrapper, command));
    match wrapped {
        _ if command.is_empty() => Wrapped { command: Vec::new(), note: "" },
        Some(command) => Wrapped { command, note: "" },
        None => Wrapped {
            command: command.to_vec(),
            note: "; its last output and exit status will not be seen: no wa-node beside the running program",
        },
    }
}

/// The command, run by the user's login shell: the server gives a program no PATH and no HOME of its own.
fn login_command(environment: &[(String, String)], command: &[String]) -> Vec<String> {
    let shell = environment.iter().find(|(name, value)| name == "SHELL" && value.starts_with('/'));
    let shell = shell.map_or("/bin/sh", |(_, value)| value.as_str()).to_owned();
    if command.is_empty() {
        return vec![shell, "-l".to_owned()];
    }
    // Shells of another grammar would not understand the hand-over.
    let posix = ["sh", "bash", "zsh", "dash", "ksh"].iter().any(|name| shell.ends_with(&format!("/{name}")));
    let shell = if posix { shell } else { "/bin/sh".to_owned() };
    let mut args: Vec<String> = [&shell, "-l", "-c", r#"exec "$@""#, "wa"].map(str::to_owned).to_vec();
    args.extend(command.iter().cloned());
    args
}

/// Our own environment without what belongs to this process alone.
fn login_environment(environment: Vec<(String, String)>) -> Vec<(String, String)> {
    const OWN: &[&str] =
        &["WEZTERM_", "WA_", "OTEL_", "NOTIFY_", "LISTEN_", "CARGO", "RUST", "CREDENTIALS_", "INVOCATION_"];
    const ALSO: &[&str] = &[
        "TERM",
        "COLORTERM",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "JOURNAL_STREAM",
        "WATCHDOG_PID",
        "TMUX",
        "STY",
    ];
    let own = |name: &str| OWN.iter().any(|head| name.starts_with(head)) || ALSO.contains(&name);
    environment.into_iter().filter(|(name, _)| !own(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_what_the_server_knows() {
        let key = |text: &str| wire(&text.parse().unwrap());
        assert_eq!(key("C-c"), codec::Key::with(codec::KeyCode::Char('c'), Modifiers::CTRL));
        assert_eq!(key("BTab"), codec::Key::with(codec::KeyCode::Tab, Modifiers::SHIFT));
        assert_eq!(key("F5"), codec::Key::plain(codec::KeyCode::Function(5)));
        assert_eq!(key("Space"), codec::Key::plain(codec::KeyCode::Char(' ')));
    }

    #[test]
    fn a_command_goes_into_the_wrapper_where_there_is_one() {
        let command = ["codex".to_owned(), "-x".to_owned()];
        let found = in_wrapper(Some(Path::new("/opt/wa-node")), &command);
        assert_eq!((found.command.join(" ").as_str(), found.note), ("/opt/wa-node exec -- codex -x", ""));
        let missing = in_wrapper(None, &command);
        assert_eq!(missing.command, command);
        assert!(missing.note.contains("will not be seen"));
        assert!(in_wrapper(Some(Path::new("/opt/wa-node")), &[]).command.is_empty());
        assert_eq!(in_wrapper(None, &[]).note, "");
    }

    #[test]
    fn a_program_gets_a_login_shell_and_not_our_own_variables() {
        let vars = |shell: &str| {
            vec![("SHELL".to_owned(), shell.to_owned()), ("WEZTERM_PANE".to_owned(), "3".to_owned())]
        };
        let command = login_command(&vars("/usr/bin/zsh"), &["codex".to_owned(), "a b".to_owned()]);
        assert_eq!(command, ["/usr/bin/zsh", "-l", "-c", r#"exec "$@""#, "wa", "codex", "a b"]);
        assert_eq!(login_command(&vars("/usr/bin/fish"), &["x".to_owned()])[0], "/bin/sh");
        assert_eq!(login_command(&vars("/usr/bin/fish"), &[]), ["/usr/bin/fish", "-l"]);
        assert_eq!(login_environment(vars("/bin/sh")).len(), 1);
    }
}
