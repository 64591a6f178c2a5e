//! What goes wrong, and when: drawn from the seed.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::SignedDuration;

use super::accounts::Switching;
use super::dialogs::Talk;
use super::disk::Health;
use super::runs::Errand;
use super::strikes::{Phase, Strike, Trap};

/// One thing that happens to the world.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deed {
    /// Nothing that one of them says reaches the other.
    Cut {
        node: usize,
        up: bool,
        down: bool,
    },
    Mend {
        node: usize,
    },
    /// In milliseconds.
    Delay {
        least: u64,
        most: u64,
    },
    Kill {
        node: usize,
    },
    /// The power fails in one of the next steps of the disk, or at the given moment.
    PowerCut {
        node: usize,
        steps: u32,
    },
    PowerCutNow {
        node: usize,
    },
    Start {
        node: usize,
    },
    Disk {
        node: usize,
        health: Health,
    },
    KillHead,
    /// It does not come to say what it does …
    SilenceHead,
    /// … and crashes.
    PowerCutHead,
    StartHead,
    /// Somebody asks for a key to be pressed.
    Act {
        node: usize,
        within: Duration,
    },
    /// Somebody sends a text to a pane of the node, and something happens in the middle of it.
    Send {
        node: usize,
        pane: usize,
        within: Duration,
        trap: Option<Trap>,
    },
    OfRuns(Errand),
    Talk(Talk),
    Switching(Switching),
    /// The controller removes what has long been over.
    Sweep,
    /// An operator pauses everything, and takes it back after so long.
    Pause {
        long: Duration,
    },
    /// The clock on the wall is set; without a node it is the controller's.
    Jump {
        node: Option<usize>,
        by: SignedDuration,
    },
    Right {
        node: Option<usize>,
    },
}

/// Until when things go wrong.
pub(crate) const TROUBLE: Duration = Duration::from_secs(75);

/// In order of time.
pub(crate) fn draw(rng: &mut fastrand::Rng, nodes: usize) -> Vec<(Duration, Deed)> {
    let mut deeds = vec![(Duration::ZERO, Deed::Delay { least: 1, most: rng.u64(2..80) })];
    let mut at = Duration::from_millis(rng.u64(500..6_000));
    // What several seeds share is rarely what finds a fault: each has its own temper.
    let often = rng.u64(2_000..15_000);
    while at < TROUBLE {
        one(rng, rng_node(rng.clone(), nodes), at, &mut deeds);
        rng.u8(..);
        at += Duration::from_millis(rng.u64(200..often));
    }
    let mut at = Duration::from_millis(rng.u64(0..5_000));
    let often = rng.u64(500..6_000);
    while at < TROUBLE {
        let within = Duration::from_millis(rng.u64(500..40_000));
        deeds.push((at, Deed::Act { node: rng.usize(0..nodes), within }));
        at += Duration::from_millis(rng.u64(1..often));
    }
    let mut at = Duration::from_millis(rng.u64(3_000..8_000));
    while at < TROUBLE {
        deeds.push((at, send(rng, nodes)));
        at += Duration::from_millis(rng.u64(1..8_000));
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

/// More that happens, in order of time.
pub(crate) fn with(plan: Vec<(Duration, Deed)>, more: Vec<(Duration, Deed)>) -> VecDeque<(Duration, Deed)> {
    let mut all = plan;
    all.extend(more);
    all.sort_by_key(|(at, _)| *at);
    all.into()
}

/// For a run that is about sends: no more goes wrong than what is aimed at one of them.
pub(crate) fn draw_sends(rng: &mut fastrand::Rng, nodes: usize) -> Vec<(Duration, Deed)> {
    let mut deeds = vec![(Duration::ZERO, Deed::Delay { least: 1, most: rng.u64(2..60) })];
    // The nodes look at their panes first.
    let mut at = Duration::from_secs(3);
    let often = rng.u64(200..900);
    while at < TROUBLE {
        deeds.push((at, send(rng, nodes)));
        at += Duration::from_millis(rng.u64(1..often));
    }
    deeds
}

pub(crate) fn send(rng: &mut fastrand::Rng, nodes: usize) -> Deed {
    let within =
        Duration::from_millis(if rng.u8(..8) == 0 { rng.u64(1..1_500) } else { rng.u64(5_000..40_000) });
    let trap = (rng.u8(..8) != 0).then(|| trap(rng));
    Deed::Send { node: rng.usize(0..nodes), pane: rng.usize(0..1000), within, trap }
}

pub(crate) fn trap(rng: &mut fastrand::Rng) -> Trap {
    use Strike::*;
    // What takes a whole host down is rarer, for the other sends on it go with it.
    const OFTEN: [Strike; 11] =
        [Letter, PersonEnter, Focus, Dialog, Leave, Replace, Close, Resize, Deaf, Late, Again];
    const SELDOM: [Strike; 5] = [Restart, Kill, KillHead, Cut, Pause];
    let seldom = rng.u8(..6) == 0;
    let strike = if seldom { SELDOM[rng.usize(..SELDOM.len())] } else { OFTEN[rng.usize(..OFTEN.len())] };
    let (phase, most) = match rng.u8(..8) {
        0 => (Phase::Asked, 800),
        1 | 2 => (Phase::Pasted, 60),
        3 | 4 => (Phase::Pasted, 700),
        // Within a round trip of the last look.
        5 | 6 => (Phase::Looked, 20),
        _ => (Phase::Entered, 2_500),
    };
    Trap { phase, after: Duration::from_millis(rng.u64(0..most)), strike }
}

fn rng_node(mut rng: fastrand::Rng, nodes: usize) -> usize {
    rng.usize(0..nodes)
}

fn one(rng: &mut fastrand::Rng, node: usize, at: Duration, deeds: &mut Vec<(Duration, Deed)>) {
    let long = Duration::from_millis(match rng.u8(..4) {
        0 => rng.u64(20..500),
        1 | 2 => rng.u64(500..8_000),
        _ => rng.u64(8_000..40_000),
    });
    let then = at + long;
    let mut do_it = |at, deed| deeds.push((at, deed));
    match rng.u8(..12) {
        0..=2 => {
            let (up, down) = [(true, true), (true, false), (false, true)][rng.usize(..3)];
            do_it(at, Deed::Cut { node, up, down });
            do_it(then, Deed::Mend { node });
        }
        3 => {
            let least = rng.u64(50..1500);
            do_it(at, Deed::Delay { least, most: least * 2 });
            do_it(then, Deed::Delay { least: 1, most: 40 });
        }
        4 => {
            do_it(at, Deed::Kill { node });
            do_it(then, Deed::Start { node });
        }
        5 | 6 => {
            do_it(at, Deed::PowerCut { node, steps: rng.u32(0..12) });
            do_it(at + Duration::from_secs(2), Deed::PowerCutNow { node });
            do_it(then + Duration::from_secs(2), Deed::Start { node });
        }
        7 => {
            do_it(at, Deed::KillHead);
            do_it(then, Deed::StartHead);
        }
        8 => {
            let fails = at + Duration::from_millis(rng.u64(1..800));
            do_it(at, Deed::SilenceHead);
            do_it(fails, Deed::PowerCutHead);
            do_it(fails + long, Deed::StartHead);
        }
        9 => {
            let health = [Health::Full, Health::ReadOnly, Health::NoSync][rng.usize(..3)];
            do_it(at, Deed::Disk { node, health });
            do_it(then, Deed::Disk { node, health: Health::Well });
        }
        _ => {
            let node = if rng.u8(..3) == 0 { None } else { Some(node) };
            let seconds = match rng.u8(..3) {
                0 => rng.i64(-120..120),
                1 => rng.i64(-7_200..7_200),
                _ => rng.i64(-100_000..100_000),
            };
            do_it(
                at,
                Deed::Jump { node, by: SignedDuration::from_millis(seconds * 1000 + rng.i64(0..1000)) },
            );
            do_it(then, Deed::Right { node });
        }
    }
}
