//! The way to the writer thread: two bounded lanes, in each of them a turn for every source, so that what is urgent waits for
//! at most one commit of bulk and nobody waits for another's backlog.
//!
//! Tasks wait for a slot without blocking their thread; the writer waits for its bell. The writer takes a
//! *group* at a time: what is urgent, or else bulk, up to a budget of costs ([`super::slices`]). After an urgent group
//! comes a bulk group when both wait, so that neither starves the other. Within a lane the sources take turns, a request at
//! a time; those of one source keep their order. A request that costs more than a slice is done slice by slice: after each
//! commit its rest is put back before what else its source has, and until then nothing of that source is taken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use wa_link::worker::Bell;
use wa_proto::{Host, Lane};

use super::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Events, actions, identities: a person or an agent waits.
    Urgent,
    /// Blocks of the log.
    Bulk,
}

/// Requests that may wait in each lane; more wait at the door, and with them the streams that they came from.
const SLOTS: usize = 512;
/// Of bulk in one commit: what an urgent request may have to wait for.
pub(super) const BULK_BUDGET: usize = 384 * 1024;
/// Of urgent requests in one commit.
const URGENT_BUDGET: usize = 512 * 1024;
/// Of one node's events in one commit.
const URGENT_SLICE: usize = 256 * 1024;
/// What an urgent request that is no block is taken to cost.
const REQUEST: usize = 2048;

impl Urgency {
    pub(super) fn of(lane: Lane) -> Self {
        match lane {
            Lane::Events => Self::Urgent,
            Lane::Bulk => Self::Bulk,
        }
    }

    /// What one commit takes of one request.
    pub(super) fn slice(self) -> usize {
        match self {
            Self::Urgent => URGENT_SLICE,
            Self::Bulk => BULK_BUDGET,
        }
    }

    fn budget(self) -> usize {
        match self {
            Self::Urgent => URGENT_BUDGET,
            Self::Bulk => BULK_BUDGET,
        }
    }
}

/// Where a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) urgency: Urgency,
    /// The node that it came from; `None`: people, and the controller itself.
    pub(super) source: Option<Host>,
    pub(super) cost: usize,
}

impl Place {
    pub(super) fn urgent(source: Option<Host>) -> Self {
        Self { urgency: Urgency::Urgent, source, cost: REQUEST }
    }

    pub(super) fn bulk(source: Option<Host>, cost: usize) -> Self {
        Self { urgency: Urgency::Bulk, source, cost }
    }
}

pub(super) struct Queue<T> {
    lanes: Mutex<Lanes<T>>,
    bell: Bell,
    urgent_slots: Semaphore,
    bulk_slots: Semaphore,
}

/// What the writer finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    Group(Vec<(Place, T)>),
    /// Until the bell rings.
    Nothing,
    /// Nothing, for ever.
    Closed,
}

struct Lanes<T> {
    urgent: Sources<T>,
    bulk: Sources<T>,
    closed: bool,
    /// Whose turn it is when both wait.
    bulk_next: bool,
}

impl<T> Lanes<T> {
    fn lane(&mut self, urgency: Urgency) -> &mut Sources<T> {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Bulk => &mut self.bulk,
        }
    }
}

/// One lane. A source has a turn for as long as something of it waits.
struct Sources<T> {
    waiting: BTreeMap<Option<Host>, VecDeque<(Place, T)>>,
    turns: VecDeque<Option<Host>>,
}

impl<T> Sources<T> {
    fn new() -> Self {
        Self { waiting: BTreeMap::new(), turns: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn of(&mut self, source: &Option<Host>) -> &mut VecDeque<(Place, T)> {
        self.waiting.entry(source.clone()).or_insert_with(|| {
            self.turns.push_back(source.clone());
            VecDeque::new()
        })
    }

    fn take(&mut self, urgency: Urgency) -> Vec<(Place, T)> {
        let (mut group, mut cost, mut resting) = (Vec::new(), 0, Vec::new());
        while let Some(source) = self.turns.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&source) else { continue };
            let next = waiting.front().map_or(0, |(place, _)| place.cost);
            let charged = next.min(urgency.slice());
            if !group.is_empty() && cost + charged > urgency.budget() {
                self.turns.push_front(source);
                break;
            }
            cost += charged;
            group.extend(waiting.pop_front());
            if waiting.is_empty() {
                self.waiting.remove(&source);
            } else if next > urgency.slice() {
                resting.push(source);
            } else {
                self.turns.push_back(source);
            }
        }
        self.turns.extend(resting);
        group
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let lanes = Lanes { urgent: Sources::new(), bulk: Sources::new(), closed: false, bulk_next: false };
        Self {
            lanes: Mutex::new(lanes),
            bell: Bell::default(),
            urgent_slots: Semaphore::new(SLOTS),
            bulk_slots: Semaphore::new(SLOTS),
        }
    }

    /// Rings when something was queued, and at the end.
    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<T>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self, urgency: Urgency) -> &Semaphore {
        match urgency {
            Urgency::Urgent => &self.urgent_slots,
            Urgency::Bulk => &self.bulk_slots,
        }
    }

    /// Waits for a slot, then queues.
    pub(super) async fn push(&self, place: Place, item: T) -> Result<(), StoreError> {
        let slot = self.slots(place.urgency).acquire().await.map_err(|_| StoreError::Closed)?;
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(StoreError::Closed);
        }
        lanes.lane(place.urgency).of(&place.source).push_back((place, item));
        // Given back by `take`.
        slot.forget();
        drop(lanes);
        self.bell.ring();
        Ok(())
    }

    /// Queues the rest of what was taken, before all else of its source. Neither this nor what was not begun needs a slot:
    /// there are never more of them than one group has.
    pub(super) fn put_back(&self, place: Place, item: T) {
        self.lock().lane(place.urgency).of(&place.source).push_front((place, item));
    }

    /// Queues what was taken and not begun: its source has the next turn. Of several the last comes first.
    pub(super) fn put_first(&self, place: Place, item: T) {
        let mut lanes = self.lock();
        let lane = lanes.lane(place.urgency);
        let source = place.source.clone();
        lane.of(&source).push_front((place, item));
        lane.turns.retain(|other| *other != source);
        lane.turns.push_front(source);
    }

    /// The next group.
    pub(super) fn take(&self) -> Taken<T> {
        let mut lanes = self.lock();
        if lanes.urgent.is_empty() && lanes.bulk.is_empty() {
            return if lanes.closed { Taken::Closed } else { Taken::Nothing };
        }
        let take_bulk = lanes.urgent.is_empty() || (lanes.bulk_next && !lanes.bulk.is_empty());
        lanes.bulk_next = !take_bulk;
        let urgency = if take_bulk { Urgency::Bulk } else { Urgency::Urgent };
        let group = lanes.lane(urgency).take(urgency);
        drop(lanes);
        self.slots(urgency).add_permits(group.len());
        Taken::Group(group)
    }

    /// No more comes in; what waits is still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.urgent_slots.close();
        self.bulk_slots.close();
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn of(node: &str) -> Option<Host> {
        Some(Host::new(node).unwrap())
    }

    async fn urgent(queue: &Queue<usize>, source: Option<Host>, n: usize) {
        queue.push(Place::urgent(source), n).await.unwrap();
    }

    async fn bulk(queue: &Queue<usize>, source: Option<Host>, cost: usize, n: usize) {
        queue.push(Place::bulk(source, cost), n).await.unwrap();
    }

    /// What the next group holds; `None`: nothing will ever come.
    fn taken(queue: &Queue<usize>) -> Option<Vec<usize>> {
        match queue.take() {
            Taken::Group(group) => Some(group.into_iter().map(|(_, n)| n).collect()),
            Taken::Nothing => Some(vec![]),
            Taken::Closed => None,
        }
    }

    #[tokio::test]
    async fn urgent_waits_for_at_most_one_bulk_group() {
        let queue = Queue::new();
        for n in 0..4 {
            bulk(&queue, None, BULK_BUDGET / 2, n).await;
        }
        for n in 10..13 {
            urgent(&queue, None, n).await;
        }
        assert_eq!(taken(&queue).unwrap(), [10, 11, 12]);
        urgent(&queue, None, 13).await;
        assert_eq!(taken(&queue).unwrap(), [0, 1], "bulk has its turn");
        assert_eq!(taken(&queue).unwrap(), [13]);
        assert_eq!(taken(&queue).unwrap(), [2, 3]);
        queue.close();
        assert_eq!(taken(&queue), None);
        assert!(queue.push(Place::urgent(None), 1).await.is_err());
    }

    #[tokio::test]
    async fn a_full_lane_makes_its_senders_wait_and_no_others() {
        let queue = Queue::new();
        for n in 0..SLOTS {
            bulk(&queue, None, 1, n).await;
        }
        let waits = tokio::task::unconstrained(queue.push(Place::bulk(None, 1), 0)).now_or_never();
        assert!(waits.is_none(), "waits at the door");
        urgent(&queue, None, 0).await;
        assert_eq!(taken(&queue).unwrap().len(), 1);
        assert_eq!(taken(&queue).unwrap().len(), SLOTS);
        bulk(&queue, None, 1, 0).await;
    }

    #[tokio::test]
    async fn a_source_that_has_much_waits_behind_one_that_has_little() {
        let queue = Queue::new();
        for n in 0..6 {
            bulk(&queue, of("bad"), BULK_BUDGET / 2, n).await;
        }
        bulk(&queue, of("good"), 1, 10).await;
        assert_eq!(taken(&queue).unwrap(), [0, 10]);
        assert_eq!(taken(&queue).unwrap(), [1, 2], "alone it has all of a commit");
        bulk(&queue, of("good"), 1, 11).await;
        bulk(&queue, None, 1, 12).await;
        assert_eq!(taken(&queue).unwrap(), [3, 11, 12]);
    }

    #[tokio::test]
    async fn what_is_done_in_slices_goes_on_before_what_its_source_sent_later() {
        let queue = Queue::new();
        bulk(&queue, of("bad"), 3 * BULK_BUDGET, 0).await;
        bulk(&queue, of("bad"), 1, 1).await;
        let Taken::Group(mut group) = queue.take() else { panic!() };
        let (place, first) = group.remove(0);
        assert!(first == 0 && group.is_empty(), "nothing passes what is not done");
        bulk(&queue, of("good"), 1, 10).await;
        queue.put_back(Place { cost: 1, ..place }, 100);
        assert_eq!(taken(&queue).unwrap(), [100, 10, 1]);
        // Also where nothing else of it waited.
        queue.put_back(Place::urgent(of("bad")), 101);
        assert_eq!(taken(&queue).unwrap(), [101]);
        assert_eq!(taken(&queue).unwrap(), [] as [usize; 0]);
    }

    #[tokio::test]
    async fn what_was_taken_in_vain_comes_first() {
        let queue = Queue::new();
        for (source, n) in [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4)] {
            urgent(&queue, of(source), n).await;
        }
        let Taken::Group(group) = queue.take() else { panic!() };
        urgent(&queue, of("d"), 5).await;
        urgent(&queue, of("c"), 6).await;
        let mut taken_in_vain = group.into_iter().skip(1).rev();
        taken_in_vain.by_ref().for_each(|(place, n)| queue.put_first(place, n));
        assert_eq!(taken(&queue).unwrap(), [1, 2, 3, 5, 4, 6], "in turns again, from where it stopped");
    }
}
