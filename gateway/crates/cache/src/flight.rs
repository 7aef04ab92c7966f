//! Single flight: of all requests that miss the same key at once, one fetches and the others wait for its answer.
//!
//! ```text
//! join ──> Leader(FillGuard) ── complete(answer) ─┐
//!      └─> Follower(Waiter)  <─── wakes ──────────┴── dropped: None, join again
//! ```
//!
//! The leader takes its flight out of the table before it says how it ended. So a follower found it in the table and will
//! be told, or comes too late and leads the next one. Wakers are called outside all locks.

use crate::entry::Entry;
use crate::key::KeyRef;
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::collections::hash_map;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const SHARDS: usize = 16;

/// The fills in progress, shared by all cores. Flights of different keys never meet: whether two principals may share a
/// fill is decided by what went into the key.
#[derive(Debug)]
pub struct Flights {
    shards: Arc<[Mutex<Table>; SHARDS]>,
}

type Table = HashMap<u128, Arc<Progress>>;

/// What [`Flights::join`] found.
#[derive(Debug)]
pub enum Flight {
    /// Nobody is fetching: fetch. Look into the cache once more first: a flight may have ended since it was last asked.
    Leader(FillGuard),
    /// Somebody is.
    Follower(Waiter),
}

#[derive(Debug)]
struct Progress {
    key: Box<[u8]>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Flying(Wakers),
    Ended(Option<Arc<Entry>>),
}

/// Those to wake, each at a place of its own until it leaves.
#[derive(Debug, Default)]
struct Wakers {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    fn add(&mut self, waker: Waker) -> usize {
        if let Some(place) = self.free.pop()
            && let Some(free) = self.places.get_mut(place)
        {
            *free = Some(waker);
            return place;
        }
        self.places.push(Some(waker));
        self.places.len() - 1
    }

    fn update(&mut self, place: usize, waker: &Waker) {
        if let Some(Some(old)) = self.places.get_mut(place) {
            old.clone_from(waker);
        }
    }

    fn remove(&mut self, place: usize) -> Option<Waker> {
        let waker = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        Some(waker)
    }
}

impl Flights {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { shards: Arc::new(std::array::from_fn(|_| Mutex::new(Table::new()))) }
    }

    /// Joins the fill of `key`, or begins it.
    #[must_use]
    pub fn join(&self, key: KeyRef<'_>) -> Flight {
        let new = || {
            Arc::new(Progress {
                key: key.bytes().into(),
                state: Mutex::new(State::Flying(Wakers::default())),
            })
        };
        let Some(shard) = self.shards.get(shard_of(key.hash())) else {
            return Flight::Leader(FillGuard { flights: None, hash: key.hash(), progress: new() }); // Not reached.
        };
        match lock(shard).entry(key.hash()) {
            hash_map::Entry::Vacant(vacant) => {
                let progress = Arc::clone(vacant.insert(new()));
                let flights = Some(Arc::clone(&self.shards));
                Flight::Leader(FillGuard { flights, hash: key.hash(), progress })
            }
            hash_map::Entry::Occupied(flying) if *flying.get().key == *key.bytes() => {
                Flight::Follower(Waiter { progress: Arc::clone(flying.get()), place: None })
            }
            // Another key with the same 128-bit hash: it fetches for itself alone.
            hash_map::Entry::Occupied(_) => {
                Flight::Leader(FillGuard { flights: None, hash: key.hash(), progress: new() })
            }
        }
    }

    /// Fills in progress, for metrics.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl Default for Flights {
    fn default() -> Self {
        Self::new()
    }
}

fn shard_of(hash: u128) -> usize {
    (hash >> 96) as usize % SHARDS
}

/// The duty to fetch. Dropping it gives up: followers get None.
#[derive(Debug)]
#[must_use = "dropping it tells the followers that the fill failed"]
pub struct FillGuard {
    /// Taken when the flight has ended; None for one that isn't in the table.
    flights: Option<Arc<[Mutex<Table>; SHARDS]>>,
    hash: u128,
    progress: Arc<Progress>,
}

impl FillGuard {
    /// Ends the flight. Put the answer into the cache before, so that whoever comes after finds it there. None tells the
    /// followers to fetch for themselves: the answer may not be shared.
    pub fn complete(self, entry: Option<Arc<Entry>>) {
        self.end(entry);
    }

    fn end(&self, entry: Option<Arc<Entry>>) {
        if let Some(shard) = self.flights.as_ref().and_then(|shards| shards.get(shard_of(self.hash))) {
            let mut table = lock(shard);
            // Dropped after `complete`, the key may be another leader's.
            if table.get(&self.hash).is_some_and(|flying| Arc::ptr_eq(flying, &self.progress)) {
                table.remove(&self.hash);
            }
        }
        let wakers = {
            let mut state = lock(&self.progress.state);
            match &mut *state {
                State::Ended(_) => return,
                State::Flying(wakers) => {
                    let wakers = std::mem::take(wakers);
                    *state = State::Ended(entry);
                    wakers
                }
            }
        };
        for waker in wakers.places.into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Drop for FillGuard {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Waits for the leader. Resolves to its answer, or to None if it gave up: then join again. Dropping it leaves the flight.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Waiter {
    progress: Arc<Progress>,
    place: Option<usize>,
}

impl Future for Waiter {
    type Output = Option<Arc<Entry>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let progress = Arc::clone(&self.progress);
        let mut state = lock(&progress.state);
        match &mut *state {
            State::Ended(entry) => Poll::Ready(entry.clone()),
            State::Flying(wakers) => {
                match self.place {
                    Some(place) => wakers.update(place, context.waker()),
                    None => self.place = Some(wakers.add(context.waker().clone())),
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let waker = match &mut *lock(&self.progress.state) {
            State::Flying(wakers) => wakers.remove(place),
            State::Ended(_) => None,
        };
        // Outside the lock: a waker's drop may free its task.
        drop(waker);
    }
}
