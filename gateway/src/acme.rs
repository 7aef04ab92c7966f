//! Certificates by ACME: follows the configuration, and hands what comes of it to the publisher.

use crate::publish::Publisher;
use sluice_acme::{Answers, Host, Store, Wanted, covers, keep};
use sluice_tls::Identity;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::{JoinHandle, spawn_blocking};

/// For the data cores to serve a challenge. One that does not turn is the watchdog's business.
const PATIENCE: Duration = Duration::from_secs(5);

/// The task that keeps certificates, and what it was started for.
#[derive(Default)]
pub(crate) struct Keeper {
    running: Option<(Following, JoinHandle<()>)>,
}

type Following = (sluice_config::Acme, Vec<Wanted>);

impl Keeper {
    /// Starts, ends or changes over to what the configuration says now.
    pub(crate) fn follow(&mut self, publisher: &Arc<Publisher>) {
        let following = publisher.acme();
        if self.running.as_ref().map(|(followed, _)| followed) == following.as_ref() {
            return;
        }
        if let Some((_, task)) = self.running.take() {
            task.abort();
            let publisher = Arc::clone(publisher);
            drop(spawn_blocking(move || publisher.present(Answers::default())));
        }
        let Some((acme, wanted)) = following else { return };
        // In the middle of a publication: the next time.
        let Some((options, store)) = publisher.issuer(&acme) else { return };
        wanted.iter().for_each(|wanted| tell_state(&store, wanted));
        let host = Arc::new(Served(Arc::clone(publisher)));
        let task = tokio::spawn(keep(options, store, wanted.clone(), host));
        self.running = Some(((acme, wanted), task));
    }
}

/// What serves until the authority has issued something.
fn tell_state(store: &Store, wanted: &Wanted) {
    let (name, names) = (&wanted.name, wanted.names.join(", "));
    let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match store.identity(name) {
        Ok(None) => eprintln!(
            "sluice: note: acme: certificate {name} for {names} is not issued yet: a placeholder signed by itself serves"
        ),
        Err(why) => {
            eprintln!(
                "sluice: warning: acme: certificate {name}: {why}: a placeholder signed by itself serves"
            );
        }
        Ok(Some(identity)) if identity.not_after_unix_s < now_unix_s.cast_signed() => {
            eprintln!(
                "sluice: warning: acme: certificate {name} for {names} has expired, and serves until it is renewed"
            );
        }
        Ok(Some(identity)) if !covers(&identity, wanted) => {
            eprintln!(
                "sluice: note: acme: certificate {name} is for {} until one for {names} is issued",
                identity.names.join(", ")
            );
        }
        Ok(Some(_)) => {}
    }
}

struct Served(Arc<Publisher>);

impl Host for Served {
    fn present(&self, answers: Answers) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let publisher = Arc::clone(&self.0);
        Box::pin(async move {
            let Ok(mut served) = spawn_blocking(move || publisher.present(answers)).await else { return };
            // Nothing is ever sent: it ends when the last core has let go of its end.
            let _ = tokio::time::timeout(PATIENCE, served.recv()).await;
        })
    }

    fn install(&self, name: &str, identity: Identity) {
        let (publisher, name) = (Arc::clone(&self.0), name.to_owned());
        drop(spawn_blocking(move || publisher.install(&name, identity)));
    }

    fn tell(&self, line: &str) {
        eprintln!("sluice: {line}");
    }
}
