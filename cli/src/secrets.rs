//! Credentials on their way into the controller's vault.
//!
//! Constraints. They are never arguments, nor in the environment. They come from a file that only its owner may read, from
//! standard input, or are typed on a terminal that shows nothing. What is wrong with them is said without quoting them. They
//! are wiped when they are no longer needed, and from the first one on this process leaves no core behind; where the system
//! refuses that, it is said before anything is read or asked for.
//!
//! Format: TOML with `username`, `password`, `one_time_secret` (`otpauth://` or base32) and `api_key`, all optional.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use wa_proto::wire::v1;
use zeroize::Zeroizing;

use crate::args::{Given, SignIn};
use crate::command::say;
use crate::failure::{Exit, Failure};
use crate::prompt;

/// Bytes of a credentials file.
const LIMIT: u64 = 64 * 1024;

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Credentials {
    username: Option<Secret>,
    password: Option<Secret>,
    one_time_secret: Option<Secret>,
    api_key: Option<Secret>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// As the wire has them. `username`: of the line, which beats the file.
    pub(crate) fn wire(&self, username: Option<&str>) -> v1::Credentials {
        let text = |secret: &Option<Secret>| {
            secret.as_ref().map(|one| one.0.as_str().to_owned()).unwrap_or_default()
        };
        v1::Credentials {
            username: username.map_or_else(|| text(&self.username), str::to_owned),
            password: text(&self.password),
            one_time_secret: text(&self.one_time_secret),
            api_key: text(&self.api_key),
        }
    }

    /// Whether there is nothing to sign in with.
    pub(crate) fn is_empty(&self) -> bool {
        self.password.is_none() && self.one_time_secret.is_none() && self.api_key.is_none()
    }
}

/// One text that errors do not quote.
#[derive(Clone, PartialEq)]
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        const WRONG: &str = "must be a text in quotes";

        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                if text.is_empty() {
                    return Err(E::custom("is empty: leave it out"));
                }
                Ok(Secret(Zeroizing::new(text.to_owned())))
            }

            // What these would say by themselves quotes the value.
            fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom(WRONG))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(WRONG))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom(WRONG))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom(WRONG))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads or asks for what the line promises. `always`: also asks, on a terminal, where the line names no source. Blocks.
pub(crate) fn gather(
    given: &mut Given,
    username: Option<&str>,
    sign_in: Option<SignIn>,
    always: bool,
) -> Result<(), Failure> {
    let asks = always && prompt::can_ask() && sign_in != Some(SignIn::Manual);
    if given.credentials_file.is_none() && !asks {
        return Ok(());
    }
    if let Err(error) = wa_link::limits::no_core_dumps() {
        say(&format!("a crash of this process may leave the credentials in a core dump: {error}"));
    }
    given.credentials = match given.credentials_file.as_deref() {
        Some(path) if path != Path::new("-") => of_file(path)?,
        Some(_) if !prompt::can_ask() && io::stdin().is_terminal() => {
            return Err(Failure::usage("nobody would see what is asked for: standard error is no terminal")
                .remedy("give the credentials as a file or through a pipe"));
        }
        Some(_) if !prompt::can_ask() => read(&mut io::stdin().lock(), Path::new("standard input"))?,
        _ => ask(username, sign_in)?,
    };
    Ok(())
}

fn of_file(path: &Path) -> Result<Credentials, Failure> {
    let failure = |error: io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    };
    let mut file = File::open(path).map_err(failure)?;
    let metadata = file.metadata().map_err(failure)?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!("{} is a directory, not a credentials file", path.display())));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let message =
            format!("{} may be read or written by others (mode {mode:04o}); it was not read", path.display());
        return Err(Failure::usage(message)
            .remedy(format!("run `chmod 600 {}`; change what others may have read", path.display())));
    }
    read(&mut file, path)
}

fn read(from: &mut dyn Read, path: &Path) -> Result<Credentials, Failure> {
    let most = usize::try_from(LIMIT).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    from.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::usage(format!("{} is larger than {LIMIT} bytes", path.display())));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::usage(format!("{} is no text: not UTF-8", path.display())))?;
    let credentials: Credentials =
        wa_link::config::parse(text, path).map_err(|error| Failure::usage(error.to_string()))?;
    if credentials == Credentials::default() {
        return Err(Failure::usage(format!("{} holds no credentials", path.display()))
            .remedy("it is TOML with username, password, one_time_secret or api_key: password = \"…\""));
    }
    Ok(credentials)
}

fn ask(username: Option<&str>, sign_in: Option<SignIn>) -> Result<Credentials, Failure> {
    let secret = |text: Zeroizing<String>| (!text.is_empty()).then_some(Secret(text));
    let mut asked = Credentials::default();
    if sign_in != Some(SignIn::ApiKey) {
        if username.is_none() {
            asked.username = secret(prompt::visible("Name at the provider (empty: none): ")?);
        }
        asked.password = secret(prompt::hidden("Password (empty: none): ")?);
        if asked.password.is_some() {
            asked.one_time_secret =
                secret(prompt::hidden("Secret of the one-time passwords (empty: none): ")?);
        }
    }
    if sign_in != Some(SignIn::DeviceCode) && asked.password.is_none() {
        asked.api_key = secret(prompt::hidden("API key (empty: none): ")?);
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Credentials, Failure> {
        read(&mut text.as_bytes(), Path::new("c.toml"))
    }

    #[test]
    fn a_file_has_what_it_has() {
        let both =
            parse("username = 'me'\npassword = 'a\"b'\none_time_secret = 'ABCD'\n").unwrap().wire(None);
        assert_eq!(
            (
                both.username.as_str(),
                both.password.as_str(),
                both.one_time_secret.as_str(),
                both.api_key.as_str()
            ),
            ("me", "a\"b", "ABCD", "")
        );
        assert_eq!(parse("username = 'me'\napi_key = 'k'\n").unwrap().wire(Some("you")).username, "you");
        assert!(parse("username = 'me'").unwrap().is_empty());
        assert!(!parse("api_key = 'k'").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_named_and_nothing_is_quoted() {
        for (text, named) in [
            ("password = 73317331", "c.toml:1: password: must be a text"),
            ("password = 733.17331", "must be a text"),
            ("password = true73317331", "c.toml:1"),
            ("password = ['73317331']", "password"),
            ("password = { a = '73317331' }", "password"),
            ("password = 73317331-01-01", "c.toml:1"),
            ("\npassword = ''", "c.toml:2: password: is empty"),
            ("pasword = '73317331'", "unknown field `pasword`"),
            ("73317331", "c.toml:1"),
            ("password = '73317331", "c.toml:1"),
            ("api_key = '1'\napi_key = '73317331'", "c.toml:2"),
            ("", "holds no credentials"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{text}");
            assert!(failure.message.contains(named), "{text}: {failure}");
            assert!(!format!("{failure:?}").contains("7331"), "{text}: {failure:?}");
        }
        let long = "#".repeat(usize::try_from(LIMIT).unwrap() + 1);
        assert!(parse(&long).unwrap_err().message.contains("larger"));
        assert!(read(&mut &b"\xff"[..], Path::new("c")).unwrap_err().message.contains("UTF-8"));
    }

    #[test]
    fn nothing_shows_in_debug() {
        let text = format!("{:?}", parse("password = 'x73317331'").unwrap());
        assert!(!text.contains("7331"), "{text}");
    }
}
