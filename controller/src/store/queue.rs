//! The way to the writer thread: two bounded lanes, so that what is urgent waits for at most one bulk commit.
//!
//! Tasks wait for a slot without blocking their thread; the writer waits for its bell. The writer takes a
//! *group* at a time: everything urgent that waits, or else bulk up to a budget of bytes. After an urgent group comes a
//! bulk group when both wait, so that neither starves the other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use wa_link::worker::Bell;

use super::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Events, actions, identities: a person or an agent waits.
    Urgent,
    /// Log blocks, with about so many bytes.
    Bulk(usize),
}

/// Requests that may wait in each lane; more wait at the door, and with them the streams that they came from.
const SLOTS: usize = 512;
/// Bytes of bulk in one commit: what an urgent request may have to wait for.
pub(super) const BULK_BUDGET: usize = 128 * 1024;
/// Urgent requests in one commit.
const URGENT_BUDGET: usize = 256;

pub(super) struct Queue<T> {
    lanes: Mutex<Lanes<T>>,
    bell: Bell,
    urgent_slots: Semaphore,
    bulk_slots: Semaphore,
}

/// What the writer finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    Group(Vec<T>),
    /// Until the bell rings.
    Nothing,
    /// Nothing, for ever.
    Closed,
}

struct Lanes<T> {
    urgent: VecDeque<T>,
    bulk: VecDeque<(usize, T)>,
    closed: bool,
    /// Whose turn it is when both wait.
    bulk_next: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let lanes = Lanes { urgent: VecDeque::new(), bulk: VecDeque::new(), closed: false, bulk_next: false };
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

    /// Waits for a slot, then queues.
    pub(super) async fn push(&self, urgency: Urgency, item: T) -> Result<(), StoreError> {
        let slots = match urgency {
            Urgency::Urgent => &self.urgent_slots,
            Urgency::Bulk(_) => &self.bulk_slots,
        };
        let slot = slots.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(StoreError::Closed);
        }
        match urgency {
            Urgency::Urgent => lanes.urgent.push_back(item),
            Urgency::Bulk(bytes) => lanes.bulk.push_back((bytes, item)),
        }
        // Given back by `take`.
        slot.forget();
        drop(lanes);
        self.bell.ring();
        Ok(())
    }

    /// The next group, in order of arrival.
    pub(super) fn take(&self) -> Taken<T> {
        let mut lanes = self.lock();
        if lanes.urgent.is_empty() && lanes.bulk.is_empty() {
            return if lanes.closed { Taken::Closed } else { Taken::Nothing };
        }
        let take_bulk = lanes.urgent.is_empty() || (lanes.bulk_next && !lanes.bulk.is_empty());
        lanes.bulk_next = !take_bulk;
        if !take_bulk {
            let count = lanes.urgent.len().min(URGENT_BUDGET);
            let group: Vec<T> = lanes.urgent.drain(..count).collect();
            drop(lanes);
            self.urgent_slots.add_permits(group.len());
            return Taken::Group(group);
        }
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some((size, _)) = lanes.bulk.front()
            && (group.is_empty() || bytes + size <= BULK_BUDGET)
            && let Some((size, item)) = lanes.bulk.pop_front()
        {
            bytes += size;
            group.push(item);
        }
        drop(lanes);
        self.bulk_slots.add_permits(group.len());
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

    #[tokio::test]
    async fn urgent_waits_for_at_most_one_bulk_group() {
        let queue = Queue::new();
        for n in 0..4 {
            queue.push(Urgency::Bulk(BULK_BUDGET / 2), n).await.unwrap();
        }
        for n in 10..13 {
            queue.push(Urgency::Urgent, n).await.unwrap();
        }
        assert_eq!(queue.take(), Taken::Group(vec![10, 11, 12]));
        queue.push(Urgency::Urgent, 13).await.unwrap();
        assert_eq!(queue.take(), Taken::Group(vec![0, 1]), "bulk has its turn");
        assert_eq!(queue.take(), Taken::Group(vec![13]));
        assert_eq!(queue.take(), Taken::Group(vec![2, 3]));
        queue.close();
        assert_eq!(queue.take(), Taken::Closed);
        assert!(queue.push(Urgency::Urgent, 1).await.is_err());
    }

    fn taken(queue: &Queue<usize>) -> usize {
        match queue.take() {
            Taken::Group(group) => group.len(),
            Taken::Nothing | Taken::Closed => 0,
        }
    }

    #[tokio::test]
    async fn a_full_lane_makes_its_senders_wait_and_no_others() {
        let queue = Queue::new();
        for n in 0..SLOTS {
            queue.push(Urgency::Bulk(1), n).await.unwrap();
        }
        let waits = tokio::task::unconstrained(queue.push(Urgency::Bulk(1), 0)).now_or_never();
        assert!(waits.is_none(), "waits at the door");
        queue.push(Urgency::Urgent, 0).await.unwrap();
        assert_eq!(taken(&queue), 1);
        assert_eq!(taken(&queue), SLOTS);
        queue.push(Urgency::Bulk(1), 0).await.unwrap();
    }
}
