//! A key in the place where an agent reads it. Never in an environment, an argument or a typed text.
//!
//! Codex: `auth.json` with `OPENAI_API_KEY`, as `codex login --with-api-key` writes it (0.89.0, 0.144.0 and 0.169.0 take
//! it, unless their settings name the system's keyring as the only place). Gemini CLI: `.gemini/.env`, and settings of its own that choose the key (0.61.0); another `.env` that it would find
//! first is refused, for with that it would work on another account or on none. Claude Code, by its documentation: a file
//! and `apiKeyHelper` in settings of its own. Settings of one's own are the first home's with that change, written anew
//! each time.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::HomeError;
use super::dir::{Dir, Entry, read_all};
use super::kind::Kind;
use crate::session_file::Homes;

/// File of Claude Code's key.
pub(super) const CLAUDE_KEY: &str = "api-key";
/// Of a key, in bytes.
const MAX_KEY: usize = 4096;
/// Of settings, in bytes.
const MAX_SETTINGS: u64 = 4 << 20;
/// Of Claude Code's own notes, in bytes.
const MAX_NOTES: u64 = 32 << 20;

/// Puts the key into the home.
pub(super) fn write(
    home: &Dir,
    first: &Path,
    kind: &Kind,
    key: &str,
    cwd: Option<&Path>,
) -> Result<(), HomeError> {
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'#' | b'$');
    if key.len() > MAX_KEY || !key.bytes().all(plain) {
        return Err(HomeError::NotAKey);
    }
    match kind.agent {
        "codex" => {
            let config = first.join("config.toml");
            if in_keyring(&config)? {
                return Err(HomeError::Keyring(config));
            }
            let content = Zeroizing::new(json!({ "OPENAI_API_KEY": key }).to_string());
            home.write("auth.json", content.as_bytes())
        }
        "gemini" => {
            if let Some(hides) = hiding(home, cwd) {
                return Err(HomeError::Hidden(hides));
            }
            let content = Zeroizing::new(format!("GEMINI_API_KEY={key}\n"));
            home.write(".env", content.as_bytes())?;
            own_settings(home, first, kind, |settings| {
                let auth = object(object(settings, "security")?, "auth")?;
                auth.insert("selectedType".to_owned(), json!("gemini-api-key"));
                Some(())
            })
        }
        _ => {
            home.write(CLAUDE_KEY, key.as_bytes())?;
            let path = home.path().join(CLAUDE_KEY).display().to_string();
            let command = format!("cat '{}'", path.replace('\'', r"'\''"));
            own_settings(home, first, kind, |settings| {
                settings.insert("apiKeyHelper".to_owned(), json!(command));
                Some(())
            })
        }
    }
}

/// Whether Codex looks for its sign-in in the system's keyring alone, where no file can put it.
fn in_keyring(config: &Path) -> Result<bool, HomeError> {
    let text =
        read(config, MAX_SETTINGS)?.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let settings: toml::Table = text.parse().unwrap_or_default();
    Ok(settings.get("cli_auth_credentials_store").and_then(toml::Value::as_str) == Some("keyring"))
}

/// The `.env` that Gemini CLI would read instead of the account's, working there.
fn hiding(home: &Dir, cwd: Option<&Path>) -> Option<PathBuf> {
    let own = home.path().join(".env");
    let upwards = cwd.into_iter().flat_map(Path::ancestors);
    upwards
        .flat_map(|dir| [dir.join(".gemini/.env"), dir.join(".env")])
        .find(|path| *path != own && path.exists())
}

/// The first home's settings with a change, in a file of the account's own.
fn own_settings(
    home: &Dir,
    first: &Path,
    kind: &Kind,
    change: impl FnOnce(&mut Map<String, Value>) -> Option<()>,
) -> Result<(), HomeError> {
    let path = first.join(kind.settings);
    let mut settings = match read(&path, MAX_SETTINGS)? {
        Some(bytes) => match serde_json::from_slice(&bytes) {
            Ok(Value::Object(settings)) => settings,
            _ => return Err(HomeError::Settings(path)),
        },
        None => Map::new(),
    };
    let changed = change(&mut settings).and_then(|()| serde_json::to_vec_pretty(&settings).ok());
    let text = changed.ok_or(HomeError::Settings(path))?;
    home.write(kind.settings, &text)
}

/// The object of this name, made where there is none. `None`: something else has the name.
fn object<'m>(map: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    map.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HomeError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        _ => return Ok(None),
    }
    let file = File::open(path).map_err(|source| HomeError::Io { path: path.to_owned(), source })?;
    read_all(file, limit, path).map(Some)
}

/// Claude Code asks everything that it asks on its first start again where its notes are missing: what was answered in the
/// first home, and that the directory is trusted there, is taken over. Nothing else of the notes is: they hold keys.
pub(super) fn take_over_start(
    home: &Dir,
    first: &Path,
    homes: &Homes,
    cwd: Option<&Path>,
) -> Result<(), HomeError> {
    const NOTES: &str = ".claude.json";
    if home.entry(NOTES)? != Entry::Missing {
        return Ok(());
    }
    let user = homes.get("HOME").map(|user| user.join(NOTES));
    let of_home = Some(first.join(NOTES)).filter(|path| path.exists());
    let Some(path) = of_home.or(user) else { return Ok(()) };
    let Some(bytes) = read(&path, MAX_NOTES).ok().flatten() else { return Ok(()) };
    let Ok(Value::Object(notes)) = serde_json::from_slice(&bytes) else { return Ok(()) };
    let mut own = Map::new();
    for name in ["hasCompletedOnboarding", "lastOnboardingVersion", "theme"] {
        if let Some(value) = notes.get(name) {
            own.insert(name.to_owned(), value.clone());
        }
    }
    let cwd = cwd.map(|cwd| cwd.display().to_string());
    let project = cwd.as_ref().and_then(|cwd| notes.get("projects")?.get(cwd));
    let trusted = project.and_then(|project| project.get("hasTrustDialogAccepted")) == Some(&json!(true));
    if let Some(cwd) = cwd.filter(|_| trusted) {
        own.insert("projects".to_owned(), json!({ cwd: { "hasTrustDialogAccepted": true } }));
    }
    if own.is_empty() {
        return Ok(());
    }
    home.write(NOTES, Value::Object(own).to_string().as_bytes())
}
