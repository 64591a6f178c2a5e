//! How much bulk may be on its way.
//!
//! Constraints: what was handed to the transport cannot be overtaken, and on a slow link it waits there for long, in
//! buffers of which we know nothing; an event that comes now must wait for no more than the link carries in 200 ms, and
//! for 64 KiB at most. Yet a link that is fast or far must not run dry: what travels is no queue.
//!
//! Operation: each block is timed from handing over to its acknowledgement. That gives the rate (what was acknowledged
//! since the acknowledgement before it was sent) and, from small blocks that find the way empty, how long the way is. Allowed is what
//! fills the way at that rate, and the queue of 200 ms. The way is let run empty at the beginning and every ten seconds,
//! for one small block: with a queue on it, its length cannot be seen.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::block::BLOCK_BYTES;

/// What an event may wait for: so much of the link's time …
const QUEUE: Duration = Duration::from_millis(200);
/// … or so many bytes on the wire, whichever is less; …
const MOST: u64 = 64 << 10;
/// … but however slow the link is, blocks are not made smaller than this, in bytes of records.
const LEAST: u64 = 1 << 10;
/// How long the fastest of the latest rates counts, or for so many times the way, whichever is longer.
const RATES: Duration = Duration::from_secs(1);
const WAYS: u32 = 4;
/// How long the length of the way is believed.
const WAY: Duration = Duration::from_secs(10);

/// A block on its way.
#[derive(Debug)]
struct Sent {
    last_seq: u64,
    /// Bytes of records, and on the wire.
    raw: u64,
    wire: u64,
    at: Instant,
    /// Bytes that had been acknowledged when it was sent, and since when: not before it was sent, if the way was empty.
    before: u64,
    since: Instant,
    /// It found the way empty, and is small.
    measures: bool,
}

#[derive(Debug)]
pub(super) struct Pace {
    sent: VecDeque<Sent>,
    raw: u64,
    wire: u64,
    acknowledged: u64,
    /// Since when it is so many, or since when something is on its way.
    since: Instant,
    /// Bytes a second, and when that was seen.
    rates: VecDeque<(Instant, u64)>,
    /// How long the way is, there and back, and when that was seen.
    way: Option<(Instant, Duration)>,
    /// Bytes of records in a hundred bytes on the wire.
    packed: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: VecDeque::new(),
            raw: 0,
            wire: 0,
            acknowledged: 0,
            since: now,
            rates: VecDeque::new(),
            way: None,
            packed: 100,
        }
    }

    /// Bytes of records in the next block, `None`: none is to be sent before another acknowledgement. `credit`: bytes of
    /// records that the controller takes; a block that is larger goes alone.
    pub(super) fn next(&self, credit: u64, now: Instant) -> Option<usize> {
        if self.sent.is_empty() {
            return Some(usize::try_from(self.fits(self.queue() / 2, now)).unwrap_or(BLOCK_BYTES));
        }
        if self.raw >= credit || self.is_to_measure(now) {
            return None;
        }
        let part = self.queue() / 2;
        let fits = self.wire + part <= self.fills() + self.queue();
        fits.then(|| usize::try_from(self.fits(part, now)).unwrap_or(BLOCK_BYTES))
    }

    /// A block was handed to the transport; its size in bytes of records, and on the wire.
    pub(super) fn sent(&mut self, last_seq: u64, raw: u64, wire: u64, now: Instant) {
        let measures = self.sent.is_empty() && self.is_to_measure(now);
        let (before, at) = (self.acknowledged, now);
        let since = if self.sent.is_empty() { now } else { self.since };
        self.since = since;
        self.sent.push_back(Sent { last_seq, raw, wire, at, before, since, measures });
        self.raw += raw;
        self.wire += wire;
        // What packs well may be followed by what does not: it is believed step by step.
        let believed = self.packed + self.packed / 4;
        self.packed = (raw * 100 / wire.max(1)).clamp(100, believed);
    }

    /// Everything up to `seq` was acknowledged.
    pub(super) fn acknowledged(&mut self, seq: u64, now: Instant) {
        let mut newest = None;
        while let Some(block) = self.sent.pop_front_if(|block| block.last_seq <= seq) {
            self.raw -= block.raw;
            self.wire -= block.wire;
            self.acknowledged += block.wire;
            newest = Some(block);
        }
        let Some(block) = newest else { return };
        let took = now.saturating_duration_since(block.at);
        let bytes = u128::from(self.acknowledged - block.before);
        let within = now.saturating_duration_since(block.since).as_micros().max(1);
        let rate = u64::try_from(bytes * 1_000_000 / within).unwrap_or(u64::MAX);
        self.since = now;
        let counts = self.way.map_or(RATES, |(_, way)| RATES.max(way * WAYS));
        while self.rates.pop_front_if(|(at, _)| now.saturating_duration_since(*at) > counts).is_some() {}
        // The fastest comes first.
        while self.rates.pop_back_if(|(_, slower)| *slower <= rate).is_some() {}
        self.rates.push_back((now, rate));
        let shorter = self.way.is_none_or(|(_, way)| took < way);
        if block.measures || shorter {
            self.way = Some((now, took));
        }
    }

    fn is_to_measure(&self, now: Instant) -> bool {
        self.way.is_none_or(|(at, _)| now.saturating_duration_since(at) > WAY)
    }

    /// Bytes a second.
    fn rate(&self) -> u64 {
        self.rates.front().map_or(0, |(_, rate)| *rate)
    }

    fn carried_in(&self, time: Duration) -> u64 {
        u64::try_from(u128::from(self.rate()) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
    }

    /// Bytes on the wire that may wait before an event.
    fn queue(&self) -> u64 {
        self.carried_in(QUEUE).clamp(LEAST, MOST)
    }

    /// Bytes that are on the wire when nothing waits and nothing is missing.
    fn fills(&self) -> u64 {
        self.way.map_or(0, |(_, way)| self.carried_in(way))
    }

    /// Bytes of records that make so many on the wire.
    fn fits(&self, wire: u64, now: Instant) -> u64 {
        if self.is_to_measure(now) {
            return LEAST;
        }
        (wire * self.packed / 100).clamp(LEAST, BLOCK_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDIT: u64 = 256 << 10;
    /// Bytes of records in a byte on the wire.
    const PACKED: u64 = 4;

    /// A link with more bulk before it than it can carry.
    struct Link {
        /// Bytes a second, and how long the way is, there and back.
        rate: u64,
        way: Duration,
        pace: Pace,
        start: Instant,
        free: Duration,
        /// Last seq, and when it is acknowledged.
        acks: VecDeque<(u64, Duration)>,
        carried: u64,
    }

    impl Link {
        fn new(rate: u64, way_ms: u64) -> Self {
            let way = Duration::from_millis(way_ms);
            let (pace, start) = (Pace::new(Instant::now()), Instant::now());
            Self { rate, way, pace, start, free: Duration::ZERO, acks: VecDeque::new(), carried: 0 }
        }

        /// Runs until then; the longest that an event would have waited, and the bytes that were carried, after `settled`.
        fn run(&mut self, settled: Duration, until: Duration) -> (Duration, u64) {
            let (mut now, mut seq, mut longest) = (self.free, 0, Duration::ZERO);
            let (mut before, mut waits) = (None, |at: Duration, free: Duration| {
                if at >= settled {
                    longest = longest.max(free.saturating_sub(at));
                }
            });
            while now < until {
                while let Some(raw) = self.pace.next(CREDIT, self.start + now) {
                    seq += 1;
                    let (raw, wire) = (raw as u64, raw as u64 / PACKED);
                    self.pace.sent(seq, raw, wire, self.start + now);
                    self.free = self.free.max(now) + Duration::from_micros(wire * 1_000_000 / self.rate);
                    self.acks.push_back((seq, self.free + self.way));
                    self.carried += wire;
                    waits(now, self.free);
                }
                let (acked, at) = self.acks.pop_front().expect("something is always on its way");
                now = at;
                if now >= settled && before.is_none() {
                    before = Some(self.carried);
                }
                self.pace.acknowledged(acked, self.start + now);
            }
            (longest, self.carried - before.unwrap_or(0))
        }
    }

    #[test]
    fn an_event_waits_for_200_ms_of_the_link_and_the_link_is_used() {
        for rate in [8_000, 20_000, 50_000, 200_000, 500_000] {
            for way in [1, 20, 100] {
                let (settled, until) = (Duration::from_secs(5), Duration::from_secs(45));
                let (longest, carried) = Link::new(rate, way).run(settled, until);
                let most = QUEUE.min(Duration::from_micros(MOST * 1_000_000 / rate));
                // What it takes to count in whole blocks.
                let used = carried * 100 / (rate * (until - settled).as_secs());
                println!("{rate} B/s, {way} ms: an event waits {longest:?}, {used} % of the link are used");
                assert!(longest <= most * 3 / 2, "{rate} B/s, {way} ms: an event waits {longest:?}");
                assert!(used >= 85, "{rate} B/s, {way} ms: {used} % of the link are used");
            }
        }
    }

    #[test]
    fn a_fast_link_is_held_by_the_credit_alone() {
        let mut link = Link::new(50_000_000, 2);
        link.run(Duration::ZERO, Duration::from_millis(500));
        let now = link.start + link.free + link.way;
        let mut sent = 0;
        link.pace.acknowledged(u64::MAX, now);
        while let Some(raw) = link.pace.next(CREDIT, now) {
            link.pace.sent(u64::MAX, raw as u64, raw as u64 / PACKED, now);
            sent += raw as u64;
        }
        assert!(sent >= CREDIT, "{sent}");
    }

    /// Seen on the wire: thousands of equal letters, and then a file in base 64.
    #[test]
    fn a_block_that_packs_well_does_not_make_the_next_one_large() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let mut at = now;
        for seq in 1..50 {
            let raw = pace.next(CREDIT, at).expect("nothing is on its way") as u64;
            // 20,000 bytes a second, 20 ms.
            let wire = if seq == 49 { raw / 20 } else { raw };
            pace.sent(seq, raw, wire, at);
            at += Duration::from_micros(20_000 + wire * 50);
            pace.acknowledged(seq, at);
        }
        let next = pace.next(CREDIT, at).expect("nothing is on its way");
        assert!(next <= 4096, "{next}");
    }

    #[test]
    fn a_link_that_became_slow_is_noticed() {
        let mut link = Link::new(500_000, 20);
        link.run(Duration::ZERO, Duration::from_secs(3));
        link.rate = 10_000;
        let from = link.free;
        let (longest, _) = link.run(from + Duration::from_secs(8), from + Duration::from_secs(20));
        assert!(longest <= QUEUE * 3 / 2, "{longest:?}");
    }

    #[test]
    fn what_is_acknowledged_twice_or_was_never_sent_counts_once() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.next(CREDIT, now), Some(1024));
        pace.sent(7, 1000, 500, now);
        assert_eq!(pace.next(CREDIT, now), None);
        for seq in [3, 7, 7, 9] {
            pace.acknowledged(seq, now + Duration::from_millis(10));
        }
        assert_eq!((pace.raw, pace.wire, pace.acknowledged), (0, 0, 500));
        assert!(pace.next(CREDIT, now).is_some());
    }
}
