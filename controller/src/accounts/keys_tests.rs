use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::super::vault::Place;
use super::*;

fn put(path: &Path, content: &[u8]) {
    files::write_private(path, content).unwrap();
}

fn own(dir: &Path) -> Sources {
    Sources::find(&VaultConfig::default(), None, dir).unwrap()
}

#[test]
fn a_key_is_made_once_and_never_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("vault.key");
    let first = open(&own(place.path()), None).unwrap().in_force;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(open(&own(place.path()), Some(&first)).unwrap().in_force, first);

    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let error = open(&own(place.path()), Some(&first)).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains("vault.key"), "{error}");

    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = open(&own(place.path()), Some(&first)).unwrap_err().to_string();
    assert!(error.contains("missing") && error.contains("backup"), "{error}");
    assert!(!path.exists(), "another key would hide that the first is lost");

    put(&path, &[9; 32]);
    let error = open(&own(place.path()), Some(&first)).unwrap_err();
    assert!(matches!(error, VaultError::WrongKey { wanted, .. } if wanted == first.id));
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    put(&path, &kept);
    open(&own(place.path()), Some(&first)).unwrap();
}

#[test]
fn the_first_place_that_there_is_gives_the_key() {
    let place = tempfile::tempdir().unwrap();
    let (credentials, data) = (place.path().join("credentials"), place.path().join("data"));
    for dir in [&credentials, &data] {
        files::create_private_dir(dir).unwrap();
    }
    let file = place.path().join("file");
    let config = VaultConfig { key_file: Some(file.clone()), ..VaultConfig::default() };
    let (words, key) = (credentials.join("wa-vault-passphrase"), credentials.join("wa-vault-key"));
    let found = |config: &VaultConfig| Sources::find(config, Some(&credentials), &data).unwrap().current;
    assert_eq!(found(&VaultConfig::default()), Source::Own { path: data.join("vault.key") });
    put(&words, b"some words that are kept\n");
    assert!(matches!(found(&VaultConfig::default()), Source::Passphrase { credential: true, .. }));
    assert_eq!(found(&config), Source::Key { path: file, credential: false });
    put(&key, &[1; 32]);
    // systemd's own way of letting one user in shows in the mode.
    std::fs::set_permissions(&key, Permissions::from_mode(0o440)).unwrap();
    assert_eq!(found(&config), Source::Key { path: key, credential: true });
    open(&Sources::find(&config, Some(&credentials), &data).unwrap(), None).unwrap();
    let both = VaultConfig { passphrase_file: Some(words), ..config };
    assert!(Sources::find(&both, None, &data).unwrap_err().to_string().contains("keep one"));
}

#[test]
fn a_passphrase_is_stretched_with_a_salt_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    let words = place.path().join("words");
    let config = VaultConfig { passphrase_file: Some(words.clone()), ..VaultConfig::default() };
    let sources = Sources::find(&config, None, place.path()).unwrap();
    put(&words, b"short\n");
    assert!(matches!(open(&sources, None), Err(VaultError::Key(KeyFileError::ShortPassphrase { .. }))));
    put(&words, b"horse staple battery\n");
    let first = open(&sources, None).unwrap().in_force;
    assert!(first.stretched.as_ref().is_some_and(|(salt, count)| salt.len() == 16 && *count == ITERATIONS));
    assert_ne!(open(&sources, None).unwrap().in_force.id, first.id, "another salt");
    put(&words, b"horse staple battery");
    assert_eq!(open(&sources, Some(&first)).unwrap().in_force, first, "the line's end is none of it");
    put(&words, b"horse staple batteries");
    assert!(matches!(open(&sources, Some(&first)), Err(VaultError::WrongKey { .. })));
    let hours = KeyRow { stretched: Some((vec![0; 16], u32::MAX)), ..first };
    assert_eq!(open(&sources, Some(&hours)).unwrap_err(), KeyFileError::Stretching.into());
}

#[test]
fn another_key_takes_over_by_the_previous_one() {
    let place = tempfile::tempdir().unwrap();
    let stored = open(&own(place.path()), None).unwrap().in_force;
    let words = place.path().join("words");
    put(&words, b"horse staple battery\n");
    let config = VaultConfig { passphrase_file: Some(words.clone()), ..VaultConfig::default() };
    let sources = Sources::find(&config, None, place.path()).unwrap();
    let opened = open(&sources, Some(&stored)).unwrap();
    let next = opened.next.unwrap();
    assert_eq!(opened.in_force, stored);
    let (old, new) = (Place(&["x"]), Place(&["y"]));
    let sealed = opened.vault.seal(stored.id, old, b"1").unwrap();
    assert_eq!(opened.vault.open(old, &sealed).unwrap().as_slice(), b"1");
    let sealed = opened.vault.seal(next.id, new, b"2").unwrap();
    let after = open(&sources, Some(&next)).unwrap();
    assert_eq!((&after.in_force, after.next), (&next, None));
    assert_eq!(after.vault.open(new, &sealed).unwrap().as_slice(), b"2");
    assert!(matches!(sources.renew(&after.vault), Err(VaultError::Key(KeyFileError::NotOurs(_)))));
}

/// The commit decides which key it is, wherever the rotation was cut off, and however many were.
#[test]
fn a_rotation_that_was_cut_off_is_finished_or_forgotten() {
    let place = tempfile::tempdir().unwrap();
    let sources = own(place.path());
    let opened = open(&sources, None).unwrap();
    let before = opened.in_force;
    let renew = || sources.renew(&opened.vault).unwrap();
    let files = || std::fs::read_dir(place.path()).unwrap().count();
    // Before the commits: keys of nothing, which the next start forgets.
    assert!(renew().id != renew().id && files() == 3);
    assert_eq!(open(&sources, Some(&before)).unwrap().in_force, before);
    assert_eq!(files(), 1);
    // After the first commit, but before the rename; and again.
    let (first, second) = (renew(), renew());
    for _ in 0..2 {
        assert_eq!(open(&sources, Some(&first)).unwrap().in_force, first);
    }
    assert_eq!(files(), 1);
    assert!(matches!(open(&sources, Some(&before)), Err(VaultError::WrongKey { .. })));
    assert!(matches!(open(&sources, Some(&second)), Err(VaultError::WrongKey { .. })));
    // Two commits, of which only the second was followed by its rename.
    let (_, second) = (renew(), renew());
    sources.renewed(second.id).unwrap();
    assert_eq!(open(&sources, Some(&second)).unwrap().in_force, second);
}

/// Back from a passphrase to a key of the controller's own.
#[test]
fn the_own_key_is_made_when_it_takes_over() {
    let place = tempfile::tempdir().unwrap();
    let words = place.path().join("words");
    put(&words, b"horse staple battery\n");
    let config = |current: Option<PathBuf>, previous: Option<PathBuf>| VaultConfig {
        passphrase_file: current,
        previous_passphrase_file: previous,
        ..VaultConfig::default()
    };
    let find = |config: &VaultConfig| Sources::find(config, None, place.path()).unwrap();
    let stored = open(&find(&config(Some(words.clone()), None)), None).unwrap().in_force;
    assert!(matches!(
        open(&own(place.path()), Some(&stored)),
        Err(VaultError::Key(KeyFileError::Missing { .. }))
    ));
    let back = find(&config(None, Some(words)));
    let next = open(&back, Some(&stored)).unwrap().next.unwrap();
    assert_eq!(open(&own(place.path()), Some(&next)).unwrap().in_force, next);
}
