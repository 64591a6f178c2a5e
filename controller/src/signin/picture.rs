//! A picture of the page on which a login failed, for whoever corrects the sign-in data.
//!
//! Constraints: it must not show what opens the account, nor whose it is. So before the picture is taken the values of all
//! inputs are emptied, elements whose text holds the code or the user name are hidden, and so is whatever a script cannot
//! look into: pictures, frames, drawings, components. A page may draw itself again in between; so the same blanking runs once
//! more afterwards, and the picture is thrown away unless that found nothing to do. A page of an origin that is not
//! the provider's gets no picture: blanking would mean to tell it what to look for.
//!
//! Format: `DIR/accounts/ALIAS/failures/TIME-CODE.png`, 0600, the newest five.

use std::path::{Path, PathBuf};

use wa_link::files::{self, FileError};
use wa_proto::Timestamp;

use super::page::Page;
use super::provider::{Provider, Standing};

const MOST: usize = 5;
const LARGEST: usize = 8 * 1024 * 1024;
/// Blankings before a page that does not keep still is given up.
const TRIES: usize = 4;

/// A picture with nothing secret on it, or none.
pub(super) async fn take(page: &Page, provider: &Provider, secrets: &[&str]) -> Option<Vec<u8>> {
    for _ in 0..TRIES {
        let url = page.url().await.ok()?;
        if !matches!(provider.standing(&url), Standing::Own { .. }) {
            return None;
        }
        page.blank(secrets).await.ok()?;
        let picture = page.picture().await.ok()?;
        if page.blank(secrets).await.ok()? && picture.len() <= LARGEST {
            return Some(picture);
        }
    }
    None
}

/// Writes it down and lets the oldest go. Blocks.
pub(super) fn keep(account: &Path, picture: &[u8], code: &str, now: Timestamp) -> Result<PathBuf, FileError> {
    let folder = account.join("failures");
    files::create_private_dir(&folder)?;
    let path = folder.join(format!("{}-{code}.png", now.strftime("%Y%m%dT%H%M%SZ")));
    files::write_private(&path, picture)?;
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut pictures: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    pictures.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    // Names begin with the time.
    pictures.sort();
    let old = pictures.len().saturating_sub(MOST);
    for path in pictures.iter().take(old) {
        // One that stays is tried again next time.
        std::fs::remove_file(path).ok();
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_newest_are_kept_for_their_owner_only() {
        let place = tempfile::tempdir().unwrap();
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let kept: Vec<_> = (0..7).map(|n| keep(place.path(), b"png", "too_slow", at(n)).unwrap()).collect();
        assert_eq!(kept.iter().filter(|path| path.exists()).count(), MOST);
        assert!(!kept[0].exists() && !kept[1].exists() && kept[6].exists());
        assert!(kept[6].ends_with("20231114T221326Z-too_slow.png"), "{:?}", kept[6]);
        assert_eq!(std::fs::metadata(&kept[6]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::metadata(place.path().join("failures")).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
