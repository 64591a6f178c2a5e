//! The steps of a login, on the page.
//!
//! A page is looked at again and again until one of the steps that may come now is seen, one of the known failures, an
//! address that is not listed, or the end of the time. What is typed into is found first; then the browser is asked where it
//! is; then the text goes in, as a whole and only if the element still belongs to the page that is shown. So it cannot reach
//! another page than the one that was asked about, whatever that page or the network do in between.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use wa_link::clock;
use zeroize::Zeroizing;

use super::SignInError;
use super::page::{Found, Page, Trouble};
use super::provider::{Click, Fill, Meaning, Provider, See, Standing, Step, Value};
use crate::accounts::Credentials;
use crate::accounts::one_time::one_time_code;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(150);

/// Why a turn did not come to its end.
enum Stop {
    /// The page was exchanged or is not ready: look again.
    Again,
    For(SignInError),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Moved | Trouble::Unusable | Trouble::Slow => Self::Again,
            Trouble::NotCss | Trouble::Broken(_) => {
                Self::For(SignInError::BrowserFailed { what: trouble.to_string() })
            }
        }
    }
}

/// One login under way.
pub(super) struct Walk<'a> {
    page: &'a Page,
    provider: &'a Provider,
    credentials: &'a Credentials,
    code: &'a str,
    /// The step that is waited for or done.
    at: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        page: &'a Page,
        provider: &'a Provider,
        credentials: &'a Credentials,
        code: &'a str,
    ) -> Self {
        Self { page, provider, credentials, code, at: 0 }
    }

    /// Name of the step that is waited for or done.
    pub(super) fn step(&self) -> &str {
        self.provider.steps().get(self.at).map_or("", |step| step.name.as_str())
    }

    /// All steps, from the entry.
    pub(super) async fn run(&mut self) -> Result<(), SignInError> {
        // A page that is not there is waited for like a slow one.
        if let Err(Stop::For(error)) = self.page.go(self.provider.entry()).await.map_err(Stop::from) {
            return Err(error);
        }
        while self.at < self.provider.steps().len() {
            self.at = self.next().await? + 1;
        }
        Ok(())
    }

    /// Waits for one of the steps that may come now and does it. Its index.
    async fn next(&mut self) -> Result<usize, SignInError> {
        let rest = self.provider.steps().get(self.at..).unwrap_or_default();
        let count = rest.iter().position(|step| !step.optional).map_or(rest.len(), |required| required + 1);
        let candidates = rest.get(..count).unwrap_or_default();
        let seen: Vec<&See> = candidates.iter().map(|step| &step.see).collect();
        let end = Instant::now() + candidates.iter().map(|step| step.timeout).max().unwrap_or_default();
        let (mut filled, mut loading) = (None, true);
        loop {
            match self.turn(candidates, &seen, &mut filled, &mut loading).await {
                Ok(Some(done)) => return Ok(self.at + done),
                Ok(None) | Err(Stop::Again) => {}
                Err(Stop::For(error)) => return Err(error),
            }
            if Instant::now() >= end {
                let step = candidates
                    .get(filled.unwrap_or(count.saturating_sub(1)))
                    .map_or("", |step| step.name.as_str());
                let (provider, step) = (self.provider.name().to_owned(), step.to_owned());
                return Err(match loading {
                    true => SignInError::TooSlow { step },
                    false => SignInError::PageChanged { provider, step },
                });
            }
            sleep(EVERY).await;
        }
    }

    /// One look, and what follows from it. Which of the candidates was done by it, if one was.
    async fn turn(
        &self,
        candidates: &[Step],
        seen: &[&See],
        filled: &mut Option<usize>,
        loading: &mut bool,
    ) -> Result<Option<usize>, Stop> {
        *loading = true;
        let standing = self.standing().await?;
        let failures: Vec<&See> = self.provider.failures().iter().map(|failure| &failure.see).collect();
        let look = self.page.look(seen, &failures).await?;
        *loading = look.loading;
        let failure = self.provider.failures().iter().zip(&look.failures).find(|(_, seen)| **seen);
        if let Some((failure, _)) = failure {
            return Err(Stop::For(self.means(failure.means)));
        }
        let now = look.seen.iter().position(|seen| *seen);
        if let Some(begun) = *filled
            && now != Some(begun)
        {
            // Filled in, and the page went on by itself.
            return Ok((now.is_some() || !look.loading).then_some(begun));
        }
        let Some((n, step)) = now.and_then(|n| Some((n, candidates.get(n)?))) else { return Ok(None) };
        let passive = step.fill.is_empty() && step.click.is_none();
        match standing {
            Standing::Own { .. } => {}
            Standing::Passing if passive => {}
            Standing::Passing | Standing::Blank | Standing::Foreign => return Ok(None),
        }
        // Again in each turn until the click: a page whose script comes late empties what was filled in before.
        for fill in &step.fill {
            self.fill(fill).await?;
            *filled = Some(n);
        }
        if let Some(click) = &step.click {
            self.click(click).await?;
        }
        Ok(Some(n))
    }

    /// What the page is by the address that the browser tells.
    async fn standing(&self) -> Result<Standing, Stop> {
        let url = self.page.url().await?;
        match self.provider.standing(&url) {
            Standing::Foreign => Err(Stop::For(SignInError::ForeignPage {
                provider: self.provider.name().to_owned(),
                origin: url.origin().ascii_serialization(),
            })),
            standing => Ok(standing),
        }
    }

    async fn fill(&self, fill: &Fill) -> Result<(), Stop> {
        let found = self.page.find(Some(&fill.css), None).await?;
        let text = self.value(fill.value)?;
        let parts = parts(&found, &text).ok_or(Stop::Again)?;
        for (found, part) in found.iter().zip(parts) {
            let allowed = match (self.standing().await?, fill.value) {
                (Standing::Own { code, .. }, Value::UserCode) => code,
                (Standing::Own { credentials, .. }, _) => credentials,
                (Standing::Blank | Standing::Passing | Standing::Foreign, _) => false,
            };
            if !(allowed && self.page.put(found, part).await?) {
                return Err(Stop::Again);
            }
        }
        Ok(())
    }

    async fn click(&self, click: &Click) -> Result<(), Stop> {
        let found = self.page.find(click.css.as_deref(), click.text.as_deref()).await?;
        match found.as_slice() {
            [one] if matches!(self.standing().await?, Standing::Own { .. }) => {
                Ok(self.page.click(one).await?)
            }
            // Which of several is meant nobody knows.
            _ => Err(Stop::Again),
        }
    }

    fn value(&self, value: Value) -> Result<Zeroizing<String>, Stop> {
        let missing = |what| Stop::For(SignInError::NoCredential { what });
        let credentials = self.credentials;
        match value {
            Value::UserCode => Ok(Zeroizing::new(self.code.to_owned())),
            Value::Username => credentials.username.clone().map(Zeroizing::new).ok_or(missing("user name")),
            Value::Password => credentials.password.clone().ok_or(missing("password")),
            Value::OneTimeCode => match &credentials.one_time_secret {
                Some(secret) => {
                    one_time_code(secret, clock::now()).map_err(|_| missing("usable one-time secret"))
                }
                None => Err(Stop::For(self.means(Meaning::SecondFactorNeeded))),
            },
        }
    }

    fn means(&self, meaning: Meaning) -> SignInError {
        let provider = self.provider.name().to_owned();
        match meaning {
            Meaning::WrongPassword => SignInError::WrongPassword { provider },
            Meaning::SecondFactorNeeded => SignInError::SecondFactorNeeded { provider },
            Meaning::SecondFactorRefused => SignInError::SecondFactorRefused { provider },
            Meaning::CodeExpired => SignInError::CodeExpired,
            Meaning::CodeRefused => SignInError::CodeRefused { provider },
            Meaning::PersonWanted => SignInError::PersonWanted { provider },
        }
    }
}

/// What goes into which of the inputs that were found: all into one, or a character into each of several that take one.
fn parts<'t>(found: &[Found], text: &'t str) -> Option<Vec<&'t str>> {
    if let [_] = found {
        return Some(vec![text]);
    }
    let single: Vec<&str> = text
        .char_indices()
        .filter(|(_, char)| char.is_alphanumeric())
        .filter_map(|(at, char)| text.get(at..at + char.len_utf8()))
        .collect();
    let fits = !found.is_empty() && found.len() == single.len() && found.iter().all(|found| found.most == 1);
    fits.then_some(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(most: &[i64]) -> Vec<Found> {
        let one =
            |most: &i64| serde_json::from_value(serde_json::json!({"element": {}, "most": most})).unwrap();
        most.iter().map(one).collect()
    }

    #[test]
    fn a_code_goes_into_one_input_or_into_as_many_boxes_as_it_has_characters() {
        assert_eq!(parts(&found(&[-1]), "AB-12"), Some(vec!["AB-12"]));
        assert_eq!(parts(&found(&[1, 1, 1, 1]), "AB-12"), Some(vec!["A", "B", "1", "2"]));
        assert_eq!(parts(&found(&[1, 1, 1]), "AB-12"), None);
        assert_eq!(parts(&found(&[-1, -1]), "AB"), None, "which of the two is meant nobody knows");
        assert_eq!(parts(&[], "AB"), None);
    }
}
