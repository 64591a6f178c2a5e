//! Weighs sets of packs, one at a time, and puts them in force.
//!
//! A set that holds is kept on disk and then put in force. Should the disk fail, the node still does what the controller
//! wants, and says that a restart would bring the earlier set back. A set that was refused is remembered, and weighed again
//! when the local packs have changed, for it may have been them that it did not go with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_match::{Engine, Pack};
use wa_proto::wire::v1;

use super::disk::{self, Set};
use super::local::{LocalPacks, Reloads};
use super::{Part, Rules};
use crate::board::Board;
use crate::config::ConfigError;

/// Keeps the rules of a node up to date.
pub struct Worker {
    rules: Rules,
    wanted: watch::Receiver<Option<Arc<v1::RulePacks>>>,
    file: PathBuf,
    local: Vec<Pack>,
    pushed: Set,
    /// The pushed set is on disk as it is in force.
    kept: bool,
    /// The last set that was refused, if it came after the one in force.
    refused: Option<Arc<v1::RulePacks>>,
}

/// A set, ready to run.
struct Made {
    engine: Engine,
    pushed: Set,
}

/// What was read from the disk at the start.
struct Begun {
    made: Made,
    kept: bool,
    refused: Option<(Set, String)>,
    problem: Option<(Part, String)>,
}

impl Worker {
    pub(super) fn open(
        state_dir: &Path,
        local: &LocalPacks,
        board: Arc<Board>,
    ) -> Result<(Rules, Self), ConfigError> {
        let file = disk::path(state_dir);
        let packs = local.read()?;
        let begun = begin(&file, local, &packs)?;
        let Made { engine, pushed } = begun.made;
        let rules = Rules::fixed(Arc::new(engine), board);
        let refused = begun.refused.map(|(set, why)| {
            rules.refuse(set.revision.clone(), why);
            Arc::new(message(set))
        });
        rules.standing().revision.clone_from(&pushed.revision);
        if let Some((part, problem)) = begun.problem {
            rules.set_problem(part, Some(problem));
        }
        let wanted = rules.0.wanted.subscribe();
        let worker =
            Self { rules: rules.clone(), wanted, file, local: packs, pushed, kept: begun.kept, refused };
        Ok((rules, worker))
    }

    /// Takes sets and reloads until the shutdown.
    pub async fn run(mut self, tasks: Tasks, mut reloads: Reloads, shutdown: Shutdown) {
        let triggered = shutdown.triggered();
        tokio::pin!(triggered);
        loop {
            tokio::select! {
                biased;
                () = &mut triggered => return,
                changed = self.wanted.changed() => {
                    let wanted = self.wanted.borrow_and_update().clone();
                    match (changed, wanted) {
                        (Ok(()), Some(wanted)) => self.pushed(&tasks, wanted).await,
                        (Ok(()), None) => {}
                        (Err(_), _) => return,
                    }
                }
                packs = reloads.next() => self.reload(&tasks, packs).await,
            }
        }
    }

    /// A set from the controller.
    async fn pushed(&mut self, tasks: &Tasks, wanted: Arc<v1::RulePacks>) {
        if wanted.revision == self.pushed.revision && self.kept {
            self.refused = None;
            return self.rules.confirm();
        }
        if self.refused.as_ref().is_some_and(|refused| *refused == wanted) {
            return self.rules.tell();
        }
        let (message, local) = (Arc::clone(&wanted), self.local.clone());
        let weigh = move || make(Set::received(&message)?, &local);
        match blocking(tasks, weigh).await {
            Ok(made) => self.take(tasks, made).await,
            Err(why) => {
                tracing::warn!(
                    revision = wanted.revision,
                    why,
                    "pushed rules are refused; the rules of before stay in force"
                );
                self.rules.refuse(wanted.revision.clone(), why);
                self.refused = Some(wanted);
            }
        }
    }

    async fn take(&mut self, tasks: &Tasks, made: Made) {
        self.pushed = made.pushed;
        self.refused = None;
        tracing::info!(
            revision = self.pushed.revision,
            packs = self.pushed.packs.len(),
            "pushed rules are in force"
        );
        let (file, set) = (self.file.clone(), self.pushed.clone());
        let saved = blocking(tasks, move || disk::save(&file, &set).map_err(|error| error.to_string())).await;
        self.kept = saved.is_ok();
        let problem = saved.err().map(|error| {
            format!("pushed rules are in force and could not be kept: {error}; a restart brings back the earlier ones until the controller is there")
        });
        self.rules.set_problem(Part::Disk, problem);
        self.rules.set_problem(Part::Pushed, None);
        self.rules.put_in_force(made.engine, self.pushed.revision.clone(), None);
    }

    /// The local packs are to be read again.
    async fn reload(&mut self, tasks: &Tasks, packs: Result<LocalPacks, String>) {
        let refused = self.refused.clone();
        let pushed = self.pushed.clone();
        let weigh = move || {
            let packs = packs?;
            let local = packs.read().map_err(|error| error.to_string())?;
            let again = refused.and_then(|refused| make(Set::received(&refused).ok()?, &local).ok());
            let taken = again.is_some();
            let made = match again {
                Some(made) => made,
                // Alone they tell which of their files is wrong.
                None => make(pushed, &local).map_err(|why| match packs.engine(&local) {
                    Ok(_) => format!("beside the pushed ones: {why}"),
                    Err(error) => error.to_string(),
                })?,
            };
            Ok((local, made, taken))
        };
        match blocking(tasks, weigh).await {
            Ok((local, made, taken)) => {
                tracing::info!(packs = local.len(), "local rule packs read again");
                self.local = local;
                self.rules.set_problem(Part::Local, None);
                if taken {
                    return self.take(tasks, made).await;
                }
                let standing = self.rules.standing().refused.clone();
                self.rules.put_in_force(made.engine, self.pushed.revision.clone(), standing);
            }
            Err(error) => {
                let problem =
                    format!("local rule packs were not read again, the rules of before run: {error}");
                self.rules.set_problem(Part::Local, Some(problem));
            }
        }
    }
}

/// The pushed set of the disk beside the local packs, as far as it can be had. An error is one of the local packs.
fn begin(file: &Path, local: &LocalPacks, packs: &[Pack]) -> Result<Begun, ConfigError> {
    let (set, unreadable) = match disk::load(file) {
        Ok(set) => (set, None),
        Err(error) => (Set::default(), Some(error)),
    };
    let why = match make(set.clone(), packs) {
        Ok(made) => {
            let kept = unreadable.is_none();
            let problem = unreadable.map(|error| {
                let text = format!(
                    "the pushed rules cannot be read: {error}; built-in and local rules run until the controller sends them again"
                );
                (Part::Disk, text)
            });
            return Ok(Begun { made, kept, refused: None, problem });
        }
        Err(why) => why,
    };
    // Where the local packs do not hold alone, it is not the pushed ones that are wrong.
    let made = Made { engine: local.engine(packs)?, pushed: Set::default() };
    let problem = format!(
        "the pushed rules on disk do not hold any more: {why}; built-in and local rules run until the controller sends others"
    );
    Ok(Begun { made, kept: false, refused: Some((set, why)), problem: Some((Part::Pushed, problem)) })
}

/// Compiles and proves a pushed set with the local packs, which come last and so have the last word.
fn make(pushed: Set, local: &[Pack]) -> Result<Made, String> {
    let packs: Vec<Pack> = pushed.packs.iter().chain(local).cloned().collect();
    let engine = Engine::with_packs(&packs).map_err(|error| error.to_string())?;
    Ok(Made { engine, pushed })
}

/// The set as the controller would send it.
fn message(set: Set) -> v1::RulePacks {
    let packs = set.packs.into_iter();
    let pack = |pack: Pack| v1::RulePack { name: pack.name, text: pack.text, shadow: pack.shadow };
    v1::RulePacks { revision: set.revision, packs: packs.map(pack).collect() }
}

/// On a thread of its own.
async fn blocking<T: Send + 'static>(
    tasks: &Tasks,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tasks.spawn_blocking("rules", work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the rules could not be weighed: {error}")),
    }
}
