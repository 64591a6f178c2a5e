//! Being told when files change: one watch of the system for all panes, by directory.
//!
//! Constraints. Nothing here queues: a change is a mark and a wake-up, however often it happens. The system's thread
//! calls in here and must never wait for one that waits for it, so the list of who waits has a lock of its own, which
//! nobody holds while a watch is set up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// What happened since one last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The file that is followed was written.
    pub(super) file: bool,
    /// Something came, went or was renamed in a directory, or another file was written.
    pub(super) around: bool,
}

const FILE: u8 = 1;
const AROUND: u8 = 2;

/// One pane's interest. Its directories are let go of with it.
pub(super) struct Interest {
    watcher: Watcher,
    id: u64,
    waiting: Arc<Waiting>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct Waiting {
    marks: AtomicU8,
    notify: Notify,
    file: Mutex<Option<PathBuf>>,
    /// What others write matters too.
    curious: AtomicBool,
}

/// The watch that all panes share.
#[derive(Clone, Default)]
pub(super) struct Watcher(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Arc<Mutex<Directories>>,
    system: Mutex<System>,
}

#[derive(Default)]
struct Directories {
    by_path: BTreeMap<PathBuf, BTreeMap<u64, Arc<Waiting>>>,
    next_id: u64,
}

#[derive(Default)]
enum System {
    #[default]
    NotTried,
    Running(RecommendedWatcher),
    Failed(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    pub(super) fn interest(&self) -> Interest {
        let mut directories = lock(&self.0.waiting);
        directories.next_id += 1;
        let id = directories.next_id;
        Interest { watcher: self.clone(), id, waiting: Arc::default(), dirs: BTreeSet::new() }
    }

    /// One more interest in a directory. The system's watch is asked for each time: a directory that was removed and
    /// made anew has lost it.
    fn enter(&self, dir: &Path, id: u64, waiting: &Arc<Waiting>) -> Result<(), String> {
        let mut system = lock(&self.0.system);
        // Entered first: nothing that happens after the watch begins is missed.
        lock(&self.0.waiting).by_path.entry(dir.to_owned()).or_default().insert(id, Arc::clone(waiting));
        // Started with the first directory: a host without agents needs no watch.
        if matches!(*system, System::NotTried) {
            let waiting = Arc::clone(&self.0.waiting);
            let started = notify::recommended_watcher(move |event| tell(&waiting, event));
            *system = match started {
                Ok(watcher) => System::Running(watcher),
                Err(error) => System::Failed(error.to_string()),
            };
        }
        match &mut *system {
            System::Running(watcher) => {
                watcher.watch(dir, RecursiveMode::NonRecursive).map_err(|error| error.to_string())
            }
            System::Failed(why) => Err(why.clone()),
            System::NotTried => Ok(()),
        }
    }

    fn leave(&self, dir: &Path, id: u64) {
        let mut system = lock(&self.0.system);
        let mut directories = lock(&self.0.waiting);
        let Some(of_dir) = directories.by_path.get_mut(dir) else { return };
        of_dir.remove(&id);
        if !of_dir.is_empty() {
            return;
        }
        directories.by_path.remove(dir);
        drop(directories);
        if let System::Running(watcher) = &mut *system {
            // A directory that is gone has lost its watch already.
            drop(watcher.unwatch(dir));
        }
    }
}

/// On the system's thread.
fn tell(waiting: &Mutex<Directories>, event: notify::Result<notify::Event>) {
    let directories = lock(waiting);
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        // Changes were lost: everyone looks.
        _ => {
            for waiting in directories.by_path.values().flat_map(BTreeMap::values) {
                waiting.mark(FILE | AROUND);
            }
            return;
        }
    };
    let written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any));
    let moved = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    if !written && !moved {
        return;
    }
    for path in &event.paths {
        for dir in [path.parent(), Some(path.as_path())].into_iter().flatten() {
            for waiting in directories.by_path.get(dir).into_iter().flat_map(BTreeMap::values) {
                waiting.told(path, moved);
            }
        }
    }
}

impl Waiting {
    fn told(&self, path: &Path, moved: bool) {
        let followed = lock(&self.file);
        let own = followed.as_deref() == Some(path);
        // What others write matters while one's own file is not known, or may be about to change.
        let content = followed.is_some() && !self.curious.load(Ordering::Relaxed);
        match (own, moved) {
            (true, false) => self.mark(FILE),
            (true, true) => self.mark(FILE | AROUND),
            (false, false) if content => {}
            (false, _) => self.mark(AROUND),
        }
    }

    fn mark(&self, marks: u8) {
        self.marks.fetch_or(marks, Ordering::Relaxed);
        self.notify.notify_one();
    }
}

impl Interest {
    /// Waits for a change. Safe to drop and call again: marks stay until they are taken.
    pub(super) fn waker(&self) -> impl Future<Output = ()> + Send + 'static {
        let waiting = Arc::clone(&self.waiting);
        async move { waiting.notify.notified().await }
    }

    pub(super) fn changes(&self) -> Changes {
        let marks = self.waiting.marks.swap(0, Ordering::Relaxed);
        Changes { file: marks & FILE != 0, around: marks & AROUND != 0 }
    }

    /// Whether what is written to other files is to be told although one is followed.
    pub(super) fn set_curious(&self, curious: bool) {
        self.waiting.curious.store(curious, Ordering::Relaxed);
    }

    /// The file that is followed, as a path below one of the directories.
    pub(super) fn set_file(&self, file: Option<PathBuf>) {
        *lock(&self.waiting.file) = file;
    }

    /// From now on these directories and no others. Says what keeps it from being told.
    pub(super) fn set_dirs(&mut self, wanted: BTreeSet<PathBuf>) -> Result<(), String> {
        let mut result = Ok(());
        let gone: Vec<PathBuf> = self.dirs.difference(&wanted).cloned().collect();
        for dir in gone {
            self.dirs.remove(&dir);
            self.watcher.leave(&dir, self.id);
        }
        for dir in wanted {
            if self.dirs.contains(&dir) {
                continue;
            }
            match self.watcher.enter(&dir, self.id, &self.waiting) {
                Ok(()) => {
                    self.dirs.insert(dir);
                }
                Err(why) => {
                    self.watcher.leave(&dir, self.id);
                    result = Err(why);
                }
            }
        }
        result
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        for dir in std::mem::take(&mut self.dirs) {
            self.watcher.leave(&dir, self.id);
        }
    }
}
