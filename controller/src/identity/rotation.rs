//! Another CA in the place of the present one, with an overlap in which both are trusted.
//!
//! Constraints: nobody who keeps in touch is locked out, and a step that is cut short is completed or does not count.
//! Three steps, each made while the controller is stopped. After each it runs for a day at least; the day begins when it
//! first starts again (`rotation.since`), for a controller that is off tells nobody:
//!
//! 1. `prepare` makes `next.pem` and `next.key`. From the next start on everybody who is given a certificate is told to
//!    trust both; nodes and the contexts of their agents within half a day. The present CA goes on signing.
//! 2. `switch` lets the new one sign, the controller's own certificate too. Certificates of the old one hold on.
//! 3. `finish` ends the trust in the old one.
//!
//! People renew nothing by themselves: between 1 and 2 they are given new contexts. The key of the new CA takes its place before the certificate does, so a `next.pem` that belongs to `ca.key` is
//! a switch that was cut short.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::SignedDuration;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use wa_link::files;
use wa_proto::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ca::{CaError, FILE_LIMIT, ca_params};

/// Every node has renewed by then.
const APART: SignedDuration = SignedDuration::from_hours(24);
/// Words of `rotation.since` for what the controller tells while it runs.
const PREPARED: &str = "prepared";
const SWITCHED: &str = "switched";

/// A step of the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Prepare,
    Switch,
    Finish,
}

impl FromStr for Step {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "prepare" => Ok(Self::Prepare),
            "switch" => Ok(Self::Switch),
            "finish" => Ok(Self::Finish),
            _ => Err("prepare, switch or finish"),
        }
    }
}

/// The files of a CA.
pub(super) struct Place<'a>(pub(super) &'a Path);

impl Place<'_> {
    pub(super) fn present(&self) -> (PathBuf, PathBuf) {
        (self.0.join("ca.pem"), self.0.join("ca.key"))
    }

    fn next(&self) -> (PathBuf, PathBuf) {
        (self.0.join("next.pem"), self.0.join("next.key"))
    }

    fn old(&self) -> PathBuf {
        self.0.join("old.pem")
    }

    fn since(&self) -> PathBuf {
        self.0.join("rotation.since")
    }

    /// The controller starts: from now on, if not already, it tells of the step that was made last.
    pub(super) fn note_start(&self, now: Timestamp) -> Result<(), CaError> {
        let told = if self.next().0.exists() {
            PREPARED
        } else if self.old().exists() {
            SWITCHED
        } else {
            return Ok(());
        };
        if self.told_since(told)?.is_none() {
            files::write_private(&self.since(), format!("{told} {now}\n").as_bytes())?;
        }
        Ok(())
    }

    /// When the controller first ran after this step.
    fn told_since(&self, told: &str) -> Result<Option<Timestamp>, CaError> {
        if !self.since().exists() {
            return Ok(None);
        }
        let text = files::read_text(&self.since(), FILE_LIMIT)?;
        let Some((step, at)) = text.trim_end().split_once(' ') else {
            return Err(self.damaged("rotation.since does not say since when"));
        };
        let at = at.parse().map_err(|_| self.damaged("rotation.since does not say since when"))?;
        Ok(Some(at).filter(|_| step == told))
    }

    /// The controller has run long enough after the last step.
    fn a_day_after(&self, told: &str, now: Timestamp) -> Result<(), CaError> {
        let Some(since) = self.told_since(told)? else {
            return Err(CaError::Turn(
                "too early: the controller has not run since the last step, so no node knows of it. Start it, and \
                 take this step a day later"
                    .to_owned(),
            ));
        };
        let earliest = since.saturating_add(APART).unwrap_or(Timestamp::MAX);
        if now < earliest {
            return Err(CaError::Turn(format!(
                "too early: not before {earliest}, for nodes that have not renewed since would be locked out"
            )));
        }
        Ok(())
    }

    /// Completes a switch that was cut short.
    pub(super) fn complete(&self) -> Result<(), CaError> {
        let ((next, next_key), (present, key)) = (self.next(), self.present());
        if !next.exists() || next_key.exists() || !key.exists() {
            return Ok(());
        }
        if !belong_together(&files::read_text(&next, FILE_LIMIT)?, &files::read_text(&key, FILE_LIMIT)?) {
            return Err(self.damaged("next.pem stands without its key next.key"));
        }
        self.rename(&next, &present)
    }

    /// CAs that are trusted beside the present one, PEM.
    pub(super) fn others(&self, present: &str) -> Result<String, CaError> {
        let mut out = String::new();
        for path in [self.next().0, self.old()] {
            if !path.exists() {
                continue;
            }
            let pem = files::read_text(&path, FILE_LIMIT)?;
            if pem != present {
                out.push_str(&pem);
            }
        }
        Ok(out)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), CaError> {
        std::fs::rename(from, to).map_err(|error| self.damaged(&format!("{}: {error}", from.display())))?;
        Ok(files::sync_dir(self.0)?)
    }

    fn damaged(&self, reason: &str) -> CaError {
        CaError::Damaged { directory: self.0.display().to_string(), reason: reason.to_owned() }
    }
}

fn belong_together(certificate_pem: &str, key_pem: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key_pem) else { return false };
    let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return false };
    X509Certificate::from_der(&der).is_ok_and(|(_, certificate)| {
        certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
    })
}

/// Takes a step in the directory of a CA that nobody uses now. What is to be done next. Blocks.
///
/// # Errors
/// When it is not the turn of this step, or too early for it: then nothing was changed.
pub fn rotate(directory: &Path, step: Step, now: Timestamp) -> Result<String, CaError> {
    let place = Place(directory);
    place.complete()?;
    if !place.present().0.exists() {
        return Err(CaError::Turn(
            "there is no CA yet: the first start of the controller makes it".to_owned(),
        ));
    }
    match step {
        Step::Prepare => prepare(&place, now),
        Step::Switch => switch(&place, now),
        Step::Finish => finish(&place, now),
    }
}

fn prepare(place: &Place<'_>, now: Timestamp) -> Result<String, CaError> {
    let (next, next_key) = place.next();
    if next.exists() {
        return Err(CaError::Turn("a CA is prepared already: `switch` is the next step".to_owned()));
    }
    if place.old().exists() {
        return Err(CaError::Turn("an old CA is trusted still: `finish` that rotation first".to_owned()));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = ca_params(now)?.self_signed(&key)?;
    files::write_private(&next_key, key.serialize_pem().as_bytes())?;
    files::write_private(&next, certificate.pem().as_bytes())?;
    Ok("prepared: start the controller. Nodes learn of the new CA as they renew. Give people new contexts with `wa fleet \
        operator add --replace`. When it has run for a day, stop the controller for `switch`"
        .to_owned())
}

fn switch(place: &Place<'_>, now: Timestamp) -> Result<String, CaError> {
    let ((next, next_key), (present, key)) = (place.next(), place.present());
    if !next.exists() || !next_key.exists() {
        return Err(CaError::Turn("no CA is prepared: `prepare` is the first step".to_owned()));
    }
    place.a_day_after(PREPARED, now)?;
    files::write_private(&place.old(), files::read_text(&present, FILE_LIMIT)?.as_bytes())?;
    place.rename(&next_key, &key)?;
    place.rename(&next, &present)?;
    Ok("switched: start the controller. Certificates of the old CA hold on. When it has run for a day, stop the \
        controller for `finish`"
        .to_owned())
}

fn finish(place: &Place<'_>, now: Timestamp) -> Result<String, CaError> {
    let old = place.old();
    if !old.exists() {
        return Err(CaError::Turn("no old CA is trusted: `prepare` begins a rotation".to_owned()));
    }
    if place.next().0.exists() {
        // The old one was noted and signs still.
        return Err(CaError::Turn("the switch was cut short: take that step again".to_owned()));
    }
    place.a_day_after(SWITCHED, now)?;
    for path in [old, place.since()] {
        std::fs::remove_file(&path)
            .map_err(|error| place.damaged(&format!("{}: {error}", path.display())))?;
    }
    files::sync_dir(place.0)?;
    Ok("finished: start the controller. What only the old CA signed opens nothing now: such people are given new \
        contexts, and hosts that were away all the time enrol again"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ca::Authority;
    use rustls_pki_types::CertificateDer;
    use wa_link::principal::{Principal, Role};
    use wa_link::tls;

    fn at(hours: i64) -> Timestamp {
        let start: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        start + SignedDuration::from_hours(hours)
    }

    fn certificates(pem: &str) -> usize {
        pem.matches("BEGIN CERTIFICATE").count()
    }

    /// Whether the fleet that trusts these takes a fresh certificate of the authority.
    fn trusted(authority: &Authority, by: &str, now: Timestamp) -> bool {
        let who = Principal { role: Role::Node, name: "web-1".parse().unwrap() };
        let pem = authority.make_identity(who, now).unwrap().0.certificate_pem;
        tls::verify_client(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(), by, now).is_ok()
    }

    #[test]
    fn each_step_in_its_turn_and_a_day_apart() {
        let place = tempfile::tempdir().unwrap();
        let step = |step, now| rotate(place.path(), step, now);
        assert!(step(Step::Prepare, at(0)).is_err(), "there is none to be replaced");
        let first = Authority::open(place.path(), at(0)).unwrap();
        for wrong in [Step::Switch, Step::Finish] {
            assert!(matches!(step(wrong, at(0)), Err(CaError::Turn(_))), "{wrong:?}");
        }
        step(Step::Prepare, at(-30)).unwrap();
        // The day begins when the controller first tells of it, and not anew with each start.
        let error = step(Step::Switch, at(0)).unwrap_err().to_string();
        assert!(error.contains("has not run"), "{error}");
        let prepared = Authority::open(place.path(), at(0)).unwrap();
        Authority::open(place.path(), at(20)).unwrap();
        assert_eq!(
            (prepared.fingerprint(), certificates(prepared.certificate_pem())),
            (first.fingerprint(), 2)
        );
        for (wrong, now) in [(Step::Prepare, 30), (Step::Finish, 30), (Step::Switch, 23)] {
            assert!(matches!(step(wrong, at(now)), Err(CaError::Turn(_))), "{wrong:?}");
        }
        step(Step::Switch, at(25)).unwrap();
        let switched = Authority::open(place.path(), at(25)).unwrap();
        assert_ne!(switched.fingerprint(), first.fingerprint());
        assert_eq!(certificates(switched.certificate_pem()), 2);
        for (wrong, now) in [(Step::Prepare, 90), (Step::Switch, 90), (Step::Finish, 48)] {
            assert!(matches!(step(wrong, at(now)), Err(CaError::Turn(_))), "{wrong:?}");
        }
        // Who has renewed since the first step takes either; who has not, the old one alone.
        assert!(trusted(&switched, prepared.certificate_pem(), at(26)));
        assert!(trusted(&first, switched.certificate_pem(), at(26)));
        assert!(!trusted(&switched, first.certificate_pem(), at(26)));
        step(Step::Finish, at(50)).unwrap();
        let finished = Authority::open(place.path(), at(50)).unwrap();
        assert_eq!(finished.fingerprint(), switched.fingerprint());
        assert!(!trusted(&first, finished.certificate_pem(), at(50)));
        step(Step::Prepare, at(51)).unwrap();
    }

    #[test]
    fn a_step_that_was_cut_short_is_completed_or_does_not_count() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let first = Authority::open(place.path(), at(0)).unwrap();
        // Cut short while preparing: a key, and nothing that was signed.
        std::fs::write(path("next.key"), "half a key").unwrap();
        assert_eq!(Authority::open(place.path(), at(0)).unwrap().certificate_pem(), first.certificate_pem());
        rotate(place.path(), Step::Prepare, at(0)).unwrap();
        let prepared = Authority::open(place.path(), at(0)).unwrap();
        // While switching: the old one is noted; then the key is in its place, too.
        std::fs::write(path("old.pem"), first.certificate_pem()).unwrap();
        let noted = Authority::open(place.path(), at(25)).unwrap();
        assert_eq!(noted.certificate_pem(), prepared.certificate_pem());
        assert!(matches!(rotate(place.path(), Step::Finish, at(60)), Err(CaError::Turn(_))));
        std::fs::rename(path("next.key"), path("ca.key")).unwrap();
        let completed = Authority::open(place.path(), at(25)).unwrap();
        assert_ne!(completed.fingerprint(), first.fingerprint());
        assert!(trusted(&completed, prepared.certificate_pem(), at(26)));
        assert!(!path("next.pem").exists());
        // A certificate of which nobody has the key is said so.
        std::fs::write(path("next.pem"), first.certificate_pem()).unwrap();
        let error = Authority::open(place.path(), at(25)).err().unwrap().to_string();
        assert!(error.contains("next.key"), "{error}");
    }
}
