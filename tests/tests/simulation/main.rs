//! The fleet in a simulation: one controller and up to three nodes, with the real code of both ends (observer, spool,
//! session, journal, permits, acting; ingest, store, outbox), real TLS, a real database and real spool files, over a
//! network, disks, clocks and power that a seed makes fail. What must hold stands in `check.rs`.
//!
//! Constraints: one seed is one run, to the last line of its trace; nothing of ours is replaced, only what lies under it
//! (`wa_link::world`). What is not simulated: torn pages of the database's main file, damage in the middle of a file,
//! and threads that overtake each other.
//!
//! Operation: `engine.rs` lets time pass and makes happen what `plan.rs` drew; `host.rs` is a host with clock, disk
//! (`disk.rs`), multiplexer (`mux.rs`, with the panes of `panes.rs` and the programs of `program.rs`) and place in the
//! network (`network.rs`); `controller.rs` and `node.rs` are what runs on them, `desk.rs` is an operator's. `sends.rs` is
//! about texts that are sent while something happens, `identity.rs` and `joining.rs` about certificates and tokens,
//! `lateness.rs` about how long events wait; `runs.rs` and `ran.rs` about runs of the workflows in `workflows.rs`.
//! `dialogs.rs` and `answered.rs` are about what agents ask and what waits for a person, `accounts.rs` about limits and leases,
//! `forgotten.rs` about what is removed when it is over.
//!
//! `WA_SIM_SEED=17` runs one seed and prints what happened, line by line; `WA_SIM_SEEDS=1000` runs so many.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod accounts;
mod answered;
mod check;
mod controller;
mod desk;
mod dialogs;
mod disk;
mod engine;
mod forgotten;
mod host;
mod identity;
mod joining;
mod lateness;
mod mux;
mod network;
mod node;
mod panes;
mod plan;
mod program;
mod ran;
mod runs;
mod sends;
mod strikes;
mod trace;
mod workflows;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wa_match::Engine;

use engine::{About, Report, Simulation};
use sends::Tally;
use trace::Trace;

/// What is run when nobody says otherwise.
const SEEDS: u64 = 50;
const IDENTITY_SEEDS: u64 = 16;
const APPROVAL_SEEDS: u64 = 8;
const ACCOUNT_SEEDS: u64 = 6;
const RETENTION_SEEDS: u64 = 4;
const LATENESS_SEEDS: u64 = 8;
/// Some two hundred sends each.
const SEND_SEEDS: u64 = 8;
const LONG_SEND_SEEDS: u64 = 80;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Memory where there is a file system in it: a sync costs nothing there, and what it means is simulated.
fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let found = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    found.unwrap()
}

fn engine() -> Arc<Engine> {
    Arc::new(Engine::with_packs(&[]).unwrap())
}

/// Runs one seed; what went wrong, in words, and the trace.
fn run(seed: u64, engine: &Arc<Engine>, trace: Trace, about: About) -> (Result<Report, String>, Trace) {
    let place = scratch();
    trace.takes_place_in(place.path());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        trace.follow(|| Simulation::new(seed, place.path(), engine, trace.clone(), about).run())
    }));
    let result = match ran {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(broken)) => Err(broken.to_string()),
        Err(panic) => Err(format!("panicked: {}", words(&*panic))),
    };
    (result, trace)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// The last lines, and where all of them are.
fn failure(seed: u64, about: About, why: &str, trace: &Trace) -> String {
    let (text, test) = (trace.text(), about.test());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{seed}.trace"));
    std::fs::write(&path, &text).unwrap();
    let tail: Vec<&str> = text.lines().rev().take(60).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    format!(
        "seed {seed}: {why}\n{tail}\nThe whole trace: {}\nAgain: WA_SIM_SEED={seed} cargo test -p wa-tests --test simulation {test} -- --nocapture",
        path.display()
    )
}

impl About {
    fn test(self) -> &'static str {
        match self {
            Self::Everything => "promises_hold_whatever_fails",
            Self::Lateness => "events_wait_for_no_more_than_a_block",
            Self::Approvals => "answers_reach_what_they_were_meant_for",
            Self::Accounts => "accounts_are_leased_as_they_may_be",
            Self::Retention => "what_is_not_over_stays",
            Self::Identity => "identities_hold_whatever_fails",
            Self::Sends => "sends_end_as_they_should_whatever_happens",
        }
    }
}

/// Runs so many seeds, or the one that is asked for. What they came to.
fn sweep(about: About, seeds: u64) -> Option<Report> {
    let engine = engine();
    if let Some(seed) = number("WA_SIM_SEED") {
        let (result, trace) = run(seed, &engine, Trace::default().aloud(), about);
        match result {
            Ok(report) => println!("seed {seed}: all promises held; {report}, hash {:016x}", trace.hash()),
            Err(why) => panic!("{}", failure(seed, about, &why, &trace)),
        }
        return None;
    }
    let (seeds, from) = (number("WA_SIM_SEEDS").unwrap_or(seeds), number("WA_SIM_FROM").unwrap_or(1));
    let (next, failures) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    let reports = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let (result, trace) = run(seed, &engine, Trace::default(), about);
                    match result {
                        Ok(report) => reports.lock().unwrap().push(report),
                        Err(why) => failures.lock().unwrap().push(failure(seed, about, &why, &trace)),
                    }
                }
            });
        }
    });
    let total = reports.into_inner().unwrap().into_iter().fold(Report::default(), Report::and);
    println!("{seeds} seeds from {from}: {total}\n{}\n{}", total.sends, total.runs);
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {seeds} seeds failed\n{}", failures.len(), failures.join("\n\n"));
    Some(total)
}

#[test]
fn promises_hold_whatever_fails() {
    sweep(About::Everything, SEEDS);
}

/// The same trouble, while certificates run out, a CA is replaced and a host comes in.
#[test]
fn identities_hold_whatever_fails() {
    sweep(About::Identity, IDENTITY_SEEDS);
}

/// Promises A1 to A3 of answers: to dialogs, and to what the policy holds for a person.
#[test]
fn answers_reach_what_they_were_meant_for() {
    if let Some(total) = sweep(About::Approvals, APPROVAL_SEEDS) {
        println!("{}", total.talks);
    }
}

/// No account is used by more panes than it may be, and none where its pool may not switch.
#[test]
fn accounts_are_leased_as_they_may_be() {
    let Some(total) = sweep(About::Accounts, ACCOUNT_SEEDS) else { return };
    println!("{} leases", total.leases);
    assert!(total.leases > 0);
}

/// Nothing goes with what was over long ago, whatever the clocks say.
#[test]
fn what_is_not_over_stays() {
    let Some(total) = sweep(About::Retention, RETENTION_SEEDS) else { return };
    println!("removed: {:?}", total.swept);
    assert!(
        total.swept.actions > 0 && total.swept.runs > 0 && total.swept.approvals > 0,
        "{:?}",
        total.swept
    );
}

/// Promise L4, on links that are narrow and beside nodes that are slow or dead.
#[test]
fn events_wait_for_no_more_than_a_block() {
    if let Some(total) = sweep(About::Lateness, LATENESS_SEEDS) {
        println!("{}", total.waits);
    }
}

/// Thousands of texts are sent while something happens in the middle of nearly each.
#[test]
fn sends_end_as_they_should_whatever_happens() {
    let long = std::env::var_os("WA_LONG").is_some();
    let Some(total) = sweep(About::Sends, if long { LONG_SEND_SEEDS } else { SEND_SEEDS }) else { return };
    let Tally { doubles, elsewhere, wrong_enters, over_person, after_pause, .. } = total.sends;
    assert_eq!((doubles, elsewhere, wrong_enters, over_person, after_pause), (0, 0, 0, 0, 0));
    let asked = number("WA_SIM_SEEDS").is_some();
    assert!(asked || !long || total.sends.count() >= 10_000, "{} sends", total.sends.count());
}

/// The same seed is the same run, to the last line of the trace.
#[test]
fn a_seed_is_one_run() {
    let engine = engine();
    for (seed, about) in [
        (3, About::Everything),
        (1_000_003, About::Everything),
        (3, About::Sends),
        (4, About::Identity),
        (5, About::Identity),
        (2, About::Lateness),
        (5, About::Approvals),
        (3, About::Accounts),
        (2, About::Retention),
    ] {
        let once = || run(seed, &engine, Trace::default(), about).1;
        let (first, second) = (once(), once());
        let (a, b) = (first.text(), second.text());
        let differs = a.lines().zip(b.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.hash(), second.hash(), "seed {seed}");
    }
}
