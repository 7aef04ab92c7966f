//! Loom explores every interleaving of the flight table:
//! `RUSTFLAGS="--cfg loom" cargo test -p sluice-cache --lib --release model`.

use crate::entry::{Entry, Validity};
use crate::flight::{Flight, Flights, Waiter};
use crate::key::{CacheKey, KeyBuilder};
use bytes::Bytes;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Counts its wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn key() -> CacheKey {
    KeyBuilder::with_seed(1).start().push(b"key").finish().to_owned()
}

fn answer() -> Arc<Entry> {
    Arc::new(Entry {
        status: 200,
        head: Bytes::new(),
        body: Bytes::from_static(b"body"),
        stored_at_ms: 0,
        expires_at_ms: 1,
        validity: Validity::Ttl,
    })
}

fn poll(waiter: &mut Waiter, count: &Arc<Count>) -> Poll<Option<Arc<Entry>>> {
    let waker = Waker::from(Arc::clone(count));
    Pin::new(waiter).poll(&mut Context::from_waker(&waker))
}

/// A follower either sees the end at once or is woken, exactly once; then it sees it.
#[test]
fn no_wake_is_lost() {
    for gives_up in [false, true] {
        loom::model(move || {
            let flights = Arc::new(Flights::new());
            let Flight::Leader(guard) = flights.join(key().as_key_ref()) else {
                panic!("nobody else is there")
            };
            let follower = {
                let flights = Arc::clone(&flights);
                thread::spawn(move || {
                    let count = Arc::new(Count::default());
                    match flights.join(key().as_key_ref()) {
                        Flight::Leader(_) => None,
                        Flight::Follower(mut waiter) => {
                            let first = poll(&mut waiter, &count);
                            Some((waiter, count, first))
                        }
                    }
                })
            };
            let expected = if gives_up { None } else { Some(answer()) };
            match &expected {
                Some(answer) => guard.complete(Some(Arc::clone(answer))),
                None => drop(guard),
            }
            if let Some((mut waiter, count, first)) = follower.join().unwrap() {
                let wakes = count.0.load(Ordering::SeqCst);
                match first {
                    Poll::Ready(seen) => assert_eq!((seen, wakes), (expected.clone(), 0)),
                    Poll::Pending => assert_eq!(wakes, 1),
                }
                assert_eq!(poll(&mut waiter, &count), Poll::Ready(expected));
            }
            assert_eq!(flights.in_flight(), 0);
        });
    }
}

/// Followers that leave and stay while the leader ends: who stays is woken, nothing else breaks.
#[test]
fn a_follower_may_leave_at_any_time() {
    loom::model(|| {
        let flights = Arc::new(Flights::new());
        let Flight::Leader(guard) = flights.join(key().as_key_ref()) else { panic!("nobody else is there") };
        let Flight::Follower(mut leaves) = flights.join(key().as_key_ref()) else {
            panic!("there is a leader")
        };
        let Flight::Follower(mut stays) = flights.join(key().as_key_ref()) else {
            panic!("there is a leader")
        };
        let (left, stayed) = (Arc::new(Count::default()), Arc::new(Count::default()));
        assert!(poll(&mut leaves, &left).is_pending());
        assert!(poll(&mut stays, &stayed).is_pending());
        let thread = thread::spawn(move || drop(leaves));
        guard.complete(Some(answer()));
        thread.join().unwrap();
        assert_eq!(stayed.0.load(Ordering::SeqCst), 1);
        assert!(left.0.load(Ordering::SeqCst) <= 1);
        assert_eq!(poll(&mut stays, &stayed), Poll::Ready(Some(answer())));
    });
}

/// Of two that come at once one leads, and the other follows it or comes after its end.
#[test]
fn one_leads() {
    loom::model(|| {
        let flights = Arc::new(Flights::new());
        let other = Arc::clone(&flights);
        let thread = thread::spawn(move || other.join(key().as_key_ref()));
        let here = flights.join(key().as_key_ref());
        let there = thread.join().unwrap();
        assert_eq!(flights.in_flight(), 1);
        match (here, there) {
            (Flight::Leader(guard), Flight::Follower(mut waiter))
            | (Flight::Follower(mut waiter), Flight::Leader(guard)) => {
                guard.complete(None);
                assert_eq!(poll(&mut waiter, &Arc::default()), Poll::Ready(None));
            }
            both => panic!("{both:?}"),
        }
    });
}
