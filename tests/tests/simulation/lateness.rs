//! Promise L4: an event waits for at most one block of bulk, which is what its link carried in 200 ms and 64 KiB at most;
//! and a node that is slow or dead delays no other.
//!
//! Constraints: judged by the network's time, from the moment an event is durable in the spool to the acknowledgement,
//! on nodes to which nothing happens. What a link carries is bounded (`network.rs`), and each of them has more bulk to
//! send than that: text that does not compress, for so long that there is always some of it waiting.
//!
//! Operation: a run of its own kind. The first node is left in peace; to others things happen, or they are slow. What is
//! allowed is reckoned from the promise: the queue, the way there and back, and a few steps of the simulation.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use wa_link::clock;
use wa_node::spool::{Group, NewRecord, Options, Spool};
use wa_proto::Lane;
use wa_proto::wire::v1;

use super::check::{Broken, broken};
use super::engine::Simulation;
use super::network::Network;
use super::node::{Ledger, Limb, pane, some_event};
use super::plan::Deed;

/// When there is more bulk than links carry, and how soon after that begins the wait of an event counts.
const FROM: Duration = Duration::from_secs(3);
const UNTIL: Duration = Duration::from_secs(26);
const SETTLED: Duration = Duration::from_secs(4);
/// A step of the simulation each way, until it is handed on inside, and until it is seen, of which one may be a long one;
/// and what else is on the link.
const STEPS: Duration = Duration::from_millis(130);

/// What a seed decides.
#[derive(Default)]
pub(crate) struct Lateness {
    links: Vec<Link>,
    /// The longest way, there and back.
    way: Duration,
}

/// Of one node.
struct Link {
    /// Bytes a second; `None`: it carries everything at once.
    rate: Option<u64>,
    /// Nothing happens to it.
    in_peace: bool,
    /// The next event that was not seen yet.
    next: u64,
    /// Events that were not acknowledged yet, and since when they are durable.
    waiting: VecDeque<(u64, Duration)>,
    longest: Duration,
    /// Since when that one waited.
    worst: Duration,
    count: usize,
}

/// How long events waited.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    count: usize,
    /// The longest wait in hundredths of what was allowed.
    worst: u128,
}

impl Waits {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, worst: self.worst.max(other.worst) }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, worst } = self;
        write!(f, "{count} events were timed, the longest wait was {worst} % of what is allowed")
    }
}

/// What happens in a run that is about this.
pub(crate) fn draw(seed: u64, nodes: usize) -> (Lateness, Vec<(Duration, Deed)>) {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x1a7e);
    let most = rng.u64(2..60);
    let mut deeds = vec![(Duration::ZERO, Deed::Delay { least: 1, most })];
    let mut links = Vec::new();
    for node in 0..nodes {
        let rate = (rng.u8(..4) != 0).then(|| rng.u64(15_000..80_000));
        let in_peace = node == 0 || rng.bool();
        if !in_peace {
            disturb(&mut rng, node, &mut deeds);
        }
        let (waiting, longest, worst) = (VecDeque::new(), Duration::ZERO, Duration::ZERO);
        links.push(Link { rate, in_peace, next: 1, waiting, longest, worst, count: 0 });
    }
    deeds.sort_by_key(|(at, _)| *at);
    (Lateness { links, way: Duration::from_millis(2 * most) }, deeds)
}

fn disturb(rng: &mut fastrand::Rng, node: usize, deeds: &mut Vec<(Duration, Deed)>) {
    let mut at = Duration::from_millis(rng.u64(3_000..9_000));
    while at < UNTIL {
        let then = at + Duration::from_millis(rng.u64(200..9_000));
        match rng.u8(..4) {
            0 | 1 => {
                deeds.push((at, Deed::Cut { node, up: rng.bool(), down: true }));
                deeds.push((then, Deed::Mend { node }));
            }
            2 => {
                deeds.push((at, Deed::Kill { node }));
                deeds.push((then, Deed::Start { node }));
            }
            _ => {
                deeds.push((at, Deed::PowerCutNow { node }));
                deeds.push((then, Deed::Start { node }));
            }
        }
        at = then + Duration::from_millis(rng.u64(500..5_000));
    }
}

impl Lateness {
    /// Makes links as they were drawn, and gives the nodes more than they carry.
    pub(crate) fn lay(&self, network: &Network, limbs: &mut [Limb]) {
        for (limb, link) in limbs.iter_mut().zip(&self.links) {
            if let Some(rate) = link.rate {
                network.narrow(&limb.host.name, rate);
            }
            limb.is_loaded(link.rate.map_or(60_000, |rate| rate * 3 / 2));
        }
    }

    /// How long an event may wait.
    fn allowed(&self, link: &Link) -> Duration {
        let queue = link.rate.map_or(Duration::ZERO, |rate| {
            let most = Duration::from_micros((64 << 10) * 1_000_000 / rate);
            // It is counted in whole blocks.
            most.min(Duration::from_millis(200)) * 3 / 2
        });
        queue + self.way + STEPS
    }
}

/// A spool that holds all of it.
pub(crate) fn spool() -> Options {
    Options { max_bytes: 64 << 20, file_bytes: 1 << 20, max_age: jiff::SignedDuration::from_hours(24 * 365) }
}

/// What stands in a spool is looked at with each step.
pub(crate) fn tend(simulation: &mut Simulation) {
    let now = simulation.now;
    for (limb, link) in simulation.limbs.iter().zip(&mut simulation.lateness.links) {
        let Some(spool) = limb.spool().filter(|_| link.in_peace) else { continue };
        let (durable, first) = (spool.durable().borrow().events, spool.status().events.first);
        while link.next < durable {
            link.waiting.push_back((link.next, now));
            link.next += 1;
        }
        while let Some((_, since)) = link.waiting.pop_front_if(|(seq, _)| *seq < first) {
            if since >= FROM + SETTLED && since < UNTIL {
                if now - since > link.longest {
                    (link.longest, link.worst) = (now - since, since);
                }
                link.count += 1;
            }
        }
    }
}

/// No event of a node in peace waited for longer than its link makes it.
pub(crate) fn judge(simulation: &Simulation) -> Result<Waits, Broken> {
    let mut waits = Waits::default();
    for (limb, link) in simulation.limbs.iter().zip(&simulation.lateness.links) {
        if !link.in_peace {
            continue;
        }
        let (allowed, longest) = (simulation.lateness.allowed(link), link.longest);
        simulation.note(format_args!(
            "{}: {:?} bytes a second, {} events waited for {longest:?} at most, allowed are {allowed:?}",
            limb.host.name, link.rate, link.count
        ));
        if link.count < 10 {
            return broken("L4", format!("only {} events of {} were timed", link.count, limb.host.name));
        }
        if longest > allowed {
            return broken(
                "L4",
                format!(
                    "an event of {} waited for {longest:?} since {:?}, on a link of {:?} bytes a second; allowed are {allowed:?}",
                    limb.host.name, link.worst, link.rate
                ),
            );
        }
        let worst = longest.as_micros() * 100 / allowed.as_micros();
        waits = waits.and(Waits { count: link.count, worst });
    }
    Ok(waits)
}

/// More bulk than the link carries, and an event now and then.
pub(crate) async fn load(spool: Spool, ledger: Ledger, mut rng: fastrand::Rng, bytes_per_s: u64) {
    const TICK: Duration = Duration::from_millis(100);
    tokio::time::sleep(FROM).await;
    let mut row = 0;
    for tick in 0..(UNTIL - FROM).as_millis() / TICK.as_millis() {
        if ledger.lock().quiet {
            return;
        }
        let mut group = Group::default();
        let text = u64::max(bytes_per_s / 10 * 4 / 3, 1);
        for _ in 0..text.div_ceil(600) {
            row += 1;
            group.records.push(noise(&mut rng, row));
        }
        if spool.append(group).await.is_err() {
            return;
        }
        if tick % 3 == 0 {
            let mut handed = Vec::new();
            let record = some_event(&ledger, 0, &mut handed);
            let group = Group { records: vec![record], ..Group::default() };
            if spool.append_durable(group).await.is_ok() {
                ledger.lock().durable_events.extend(handed);
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(50..150))).await;
    }
}

/// A line of which three quarters remain when it is compressed. Nobody asks for it again.
fn noise(rng: &mut fastrand::Rng, row: i64) -> NewRecord {
    let text: String = std::iter::repeat_with(|| rng.alphanumeric()).take(600).collect();
    let line = v1::Line { row, rows: 1, text, ..v1::Line::default() };
    let pane = v1::PaneRef { generation: "noise".into(), ..pane(0) };
    let lines = v1::Lines { pane: Some(pane), layout: 1, lines: vec![line], ..v1::Lines::default() };
    NewRecord {
        lane: Lane::Bulk,
        time: clock::now(),
        trace_parent: String::new(),
        body: v1::record::Body::Lines(lines),
    }
}
