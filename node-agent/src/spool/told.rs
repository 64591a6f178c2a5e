//! What people are told of the spool: why the disk refuses, since when, and what was let go.

use std::io;
use std::path::PathBuf;

use jiff::SignedDuration;
use wa_proto::Timestamp;

use super::room::is_full;
use super::store::LetGo;

/// For so many passes over old bulk it is told that something was let go: a day.
const TOLD_FOR: u32 = 144;

/// How the disk refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Full,
    ReadOnly,
    Other(String),
}

#[derive(Debug)]
pub(super) struct Told {
    dir: PathBuf,
    max_age: SignedDuration,
    /// Since when the disk refuses, how, and whether events, too, have to wait.
    refusal: Option<(Timestamp, Refusal, bool)>,
    /// Let go lately.
    records: LetGo,
    /// From when to when lines were dropped because the disk refused, and how it did.
    dropped: Option<(Timestamp, Timestamp, Refusal)>,
    /// Passes since something was let go.
    passes: u32,
    /// Records and lines let go since the start.
    total: u64,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ if is_full(error) => Self::Full,
            _ => Self::Other(error.to_string()),
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Full => "disk full".to_owned(),
            Self::ReadOnly => "disk read-only".to_owned(),
            Self::Other(error) => format!("disk failing ({error})"),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Full => "free space on that disk",
            Self::ReadOnly => "make it writable again; the kernel's log says why it is not",
            Self::Other(_) => "repair it; the kernel's log says more",
        }
    }
}

impl Told {
    pub(super) fn new(dir: PathBuf, max_age: SignedDuration) -> Self {
        Self { dir, max_age, refusal: None, records: LetGo::default(), dropped: None, passes: 0, total: 0 }
    }

    /// The disk refuses; `stuck`: events, too. Whether that is news.
    pub(super) fn refused(&mut self, error: &io::Error, stuck: bool, now: Timestamp) -> bool {
        let before = self.refusal.take();
        let since = before.as_ref().map_or(now, |(since, ..)| *since);
        self.refusal = Some((since, Refusal::of(error), stuck));
        before.is_none()
    }

    /// The disk takes everything. Whether that is news.
    pub(super) fn healed(&mut self) -> bool {
        self.refusal.take().is_some()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    pub(super) fn let_go(&mut self, new: LetGo, now: Timestamp) {
        let LetGo { full, aged, large, refused, refused_bytes } = &mut self.records;
        *full = full.saturating_add(new.full);
        *aged = aged.saturating_add(new.aged);
        *large = large.saturating_add(new.large);
        *refused = refused.saturating_add(new.refused);
        *refused_bytes = refused_bytes.saturating_add(new.refused_bytes);
        if new.refused > 0 {
            let (since, how) = match (&self.refusal, &self.dropped) {
                (Some((_, how, _)), Some((since, ..))) => (*since, how.clone()),
                (Some((since, how, _)), None) => (*since, how.clone()),
                (None, Some((since, _, how))) => (*since, how.clone()),
                (None, None) => (now, Refusal::Full),
            };
            self.dropped = Some((since, now, how));
        }
        self.passes = 0;
        self.total =
            [new.full, new.aged, new.large, new.refused].into_iter().fold(self.total, u64::saturating_add);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// One more pass over old bulk.
    pub(super) fn pass(&mut self) {
        self.passes = self.passes.saturating_add(1);
        if self.passes > TOLD_FOR && self.refusal.is_none() {
            (self.records, self.dropped, self.passes) = (LetGo::default(), None, 0);
        }
    }

    /// All of it, in words; `None`: nothing is wrong.
    pub(super) fn text(&self) -> Option<String> {
        let told: Vec<String> = [self.disk_text(), self.let_go_text()].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn disk_text(&self) -> Option<String> {
        let dir = self.dir.display();
        let lost = self.dropped.as_ref().map(|(since, until, how)| {
            let (lines, bytes) = (self.records.refused, size(self.records.refused_bytes));
            (
                format!("{lines} lines ({bytes}) were dropped, which are gaps in the log"),
                *since,
                *until,
                how.what(),
            )
        });
        match (&self.refusal, lost) {
            (Some((since, how, stuck)), lost) => {
                let so_far = match lost {
                    Some((lost, first, ..)) => format!("since {} {lost}", minute(first)),
                    None => "nothing is lost yet".to_owned(),
                };
                let events = if *stuck { "events wait in memory" } else { "events still go through" };
                Some(format!(
                    "spool {dir}: {} since {}; {events}; {so_far}; {}",
                    how.what(),
                    minute(*since),
                    how.remedy()
                ))
            }
            (None, Some((lost, since, until, why))) => Some(format!(
                "spool {dir}: {why} from {} to {}; {lost}; it can be written again",
                minute(since),
                minute(until)
            )),
            (None, None) => None,
        }
    }

    fn let_go_text(&self) -> Option<String> {
        let LetGo { full, aged, large, .. } = self.records;
        let full = (full > 0).then(|| format!("{full} because it was full (spool_max_bytes)"));
        let max_age = self.max_age;
        let aged =
            (aged > 0).then(|| format!("{aged} because they were older than {max_age:#} (spool_max_age)"));
        let large = (large > 0).then(|| format!("{large} because they were too large for it"));
        let why: Vec<String> = [full, aged, large].into_iter().flatten().collect();
        let why = (!why.is_empty()).then(|| why.join(" and "))?;
        Some(format!(
            "the spool let go of records that the controller never had: {why}; they are gaps in the log"
        ))
    }
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

#[expect(clippy::cast_precision_loss, reason = "one digit behind the point")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_what_is_wrong_where_and_what_to_do() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let mut told = Told::new("/var/lib/wa/spool".into(), SignedDuration::from_hours(72));
        assert_eq!(told.text(), None);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(told.refused(&full, false, at("2026-11-23T01:02:40Z")));
        assert_eq!(
            told.text().unwrap(),
            "spool /var/lib/wa/spool: disk full since 2026-11-23T01:02Z; events still go through; \
             nothing is lost yet; free space on that disk"
        );
        let lost = LetGo { refused: 4711, refused_bytes: 3_355_443, ..LetGo::default() };
        told.let_go(lost, at("2026-11-23T01:05:00Z"));
        assert!(!told.refused(&full, true, at("2026-11-23T01:06:00Z")));
        assert_eq!(
            told.text().unwrap(),
            "spool /var/lib/wa/spool: disk full since 2026-11-23T01:02Z; events wait in memory; since \
             2026-11-23T01:02Z 4711 lines (3.2 MiB) were dropped, which are gaps in the log; free space on that disk"
        );
        assert!(told.healed() && !told.healed());
        assert_eq!(
            told.text().unwrap(),
            "spool /var/lib/wa/spool: disk full from 2026-11-23T01:02Z to 2026-11-23T01:05Z; 4711 lines (3.2 MiB) \
             were dropped, which are gaps in the log; it can be written again"
        );
        for _ in 0..=TOLD_FOR {
            told.pass();
        }
        assert_eq!(told.text(), None);
    }
}
