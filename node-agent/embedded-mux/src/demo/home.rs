//! Files that an agent keeps for itself. What stands in them may be anything: reads are bounded.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Bytes of a file of settings.
const MAX_SETTINGS: u64 = 64 << 10;

/// At most so many bytes of a file, as text.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes a directory with its parents, for its owner alone.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file, or an old one emptied, for its owner alone.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// `$NAME`, or a folder of the user's home.
pub(super) fn folder(name: &str, under_home: &str) -> anyhow::Result<PathBuf> {
    match (std::env::var_os(name), std::env::var_os("HOME")) {
        (Some(own), _) if !own.is_empty() => Ok(own.into()),
        (_, Some(home)) => Ok(PathBuf::from(home).join(under_home)),
        _ => anyhow::bail!("neither {name} nor HOME is set"),
    }
}

/// The key in the `.env` of Gemini CLI's home.
pub(super) fn gemini_key(home: &Path) -> Option<String> {
    let text = read(&home.join(".gemini/.env"), MAX_SETTINGS).ok()?;
    text.lines().find_map(|line| line.strip_prefix("GEMINI_API_KEY=")).map(str::to_owned)
}

/// Codex's home: settings, the sign-in, sessions.
#[derive(Debug, Clone)]
pub(super) struct CodexHome(pub(super) PathBuf);

impl CodexHome {
    pub(super) fn find() -> anyhow::Result<Self> {
        folder("CODEX_HOME", ".codex").map(Self)
    }

    /// The model that the settings name.
    pub(super) fn model(&self) -> String {
        let text = read(&self.0.join("config.toml"), MAX_SETTINGS).unwrap_or_default();
        let named = text.lines().find_map(|line| line.strip_prefix("model = \"")?.strip_suffix('"'));
        named.unwrap_or("gpt-5.1-codex").to_owned()
    }

    fn sign_in_file(&self) -> PathBuf {
        self.0.join("auth.json")
    }

    /// Who is signed in, by the address in the token.
    pub(super) fn account(&self) -> Option<String> {
        let text = read(&self.sign_in_file(), MAX_SETTINGS).ok()?;
        let file: Value = serde_json::from_str(&text).ok()?;
        let claims = file["tokens"]["id_token"].as_str()?.split('.').nth(1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(claims["email"].as_str().unwrap_or("somebody").to_owned())
    }

    /// Keeps the tokens that the identity server gave.
    pub(super) fn sign_in(&self, tokens: &Value, now: jiff::Timestamp) -> io::Result<()> {
        make_dir(&self.0)?;
        let token = |name: &str| tokens[name].clone();
        let file = json!({
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": null,
            "tokens": {
                "id_token": token("id_token"),
                "access_token": token("access_token"),
                "refresh_token": token("refresh_token"),
                "account_id": null,
            },
            "last_refresh": now.to_string(),
        });
        write(&self.sign_in_file(), &format!("{file:#}"))
    }

    /// False: nobody was signed in.
    pub(super) fn sign_out(&self) -> io::Result<bool> {
        match std::fs::remove_file(self.sign_in_file()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_remembers_who_signed_in() {
        let dir = tempfile::tempdir().unwrap();
        let home = CodexHome(dir.path().join("codex"));
        assert_eq!((home.account(), home.model()), (None, "gpt-5.1-codex".to_owned()));
        let claims = URL_SAFE_NO_PAD.encode(r#"{"email":"dev@example.com"}"#);
        let tokens = json!({ "id_token": format!("e30.{claims}."), "access_token": "a" });
        home.sign_in(&tokens, jiff::Timestamp::UNIX_EPOCH).unwrap();
        write(&home.0.join("config.toml"), "# mine\nmodel = \"gpt-6\"\n").unwrap();
        assert_eq!((home.account().as_deref(), home.model().as_str()), (Some("dev@example.com"), "gpt-6"));
        assert!(home.sign_out().unwrap());
        assert!(!home.sign_out().unwrap());
        write(&home.sign_in_file(), "{").unwrap();
        assert_eq!(home.account(), None);
    }
}
