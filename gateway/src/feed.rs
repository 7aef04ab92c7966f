//! From the store to the publisher.

use sluice_catalog::Catalog;
use sluice_store::Store;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Catalogs on their way from the store to the publisher. Only the latest counts: what comes while one is being published
/// takes the place of what waits.
pub(crate) struct Feed {
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Option<Arc<Catalog>>,
    /// Catalogs offered so far.
    offered: u64,
    /// How many of those were seen to.
    served: u64,
}

impl Feed {
    /// Starts the thread that calls `publish`; from here on it gets every catalog that is not overtaken.
    pub(crate) fn start(
        store: &Store,
        publish: impl Fn(Arc<Catalog>) + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let feed = Arc::new(Self { queue: Mutex::default(), moved: Condvar::new() });
        let worker = Arc::clone(&feed);
        thread::Builder::new().name("sluice-publish".into()).spawn(move || worker.work(publish))?;
        let offers = Arc::clone(&feed);
        store.on_change(Box::new(move |catalog| offers.offer(Arc::clone(catalog))));
        Ok(feed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, catalog: Arc<Catalog>) {
        let mut queue = self.queue();
        queue.waiting = Some(catalog);
        queue.offered += 1;
        self.moved.notify_all();
    }

    fn work(&self, publish: impl Fn(Arc<Catalog>)) {
        loop {
            let mut queue = self.queue();
            let (catalog, upto) = loop {
                if let Some(catalog) = queue.waiting.take() {
                    break (catalog, queue.offered);
                }
                queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            publish(catalog);
            self.queue().served = upto;
            self.moved.notify_all();
        }
    }

    /// Waits until what has been offered so far is served, but not longer than this.
    pub(crate) fn settle(&self, patience: Duration) {
        let queue = self.queue();
        let target = queue.offered;
        drop(self.moved.wait_timeout_while(queue, patience, |queue| queue.served < target));
    }
}
