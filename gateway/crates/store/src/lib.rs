//! The catalog on disk: one file, one commit for each change.
//!
//! ```text
//! change ──> edit a copy ──> guard: can it be served? ──> write what differs, fsync ──> publish ──> acknowledged
//!                 │ refused              │ no                     │ fails: what does the file say?
//!                 └──────────────────────┴────────────────────────┴─────> nothing has changed
//! ```
//! So nothing is ever served that a restart would not serve, and nothing is kept that could not be served.
//!
//! What is acknowledged is on the disk, whenever the process ends after that. What is not is either wholly there or not at
//! all. The file is a redb database (copy-on-write B-trees, checksummed, the two latest roots kept): see `file`. Without a
//! path everything is kept in memory only.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod check;
mod error;
mod file;
mod items;

pub use check::problems;
pub use error::StoreError;

use check::misnamed;
use file::File;
use serde::{Deserialize, Serialize};
use sluice_catalog::{Catalog, Usage};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told of every catalog that is on the disk, in the order of the changes. Must not block.
pub type Hook = Box<dyn Fn(&Arc<Catalog>) + Send + Sync>;

/// Judges a change before it is written, by the catalog as it is and as it would be: what keeps it from being served. Called under the
/// store's lock: must not block.
pub type Guard = Box<dyn Fn(&Catalog, &Catalog) -> Vec<String> + Send + Sync>;

/// The one place that changes the catalog.
pub struct Store {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    catalog: Arc<Catalog>,
    backing: Backing,
    hook: Option<Hook>,
    guard: Option<Guard>,
}

impl State {
    fn serve(&mut self, catalog: Catalog) {
        self.catalog = Arc::new(catalog);
        if let Some(hook) = &self.hook {
            hook(&self.catalog);
        }
    }
}

enum Backing {
    Memory,
    File(File),
    /// A write has failed, and the file could not be opened again since.
    Closed,
    /// Another process has the file now.
    HandedOver,
}

/// What `sluice store export` writes and `import` reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// Of the items in it.
    pub format: u32,
    /// All of it.
    pub catalog: Catalog,
}

impl Store {
    /// Opens the file, or makes it; brings an older format up to date.
    ///
    /// # Errors
    /// It can't be opened, another process has it, or it is damaged or too new.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (file, catalog) = File::open(path)?;
        Ok(Self::with(Some(path.to_owned()), catalog, Backing::File(file)))
    }

    /// A store that ends with the process.
    pub fn in_memory() -> Self {
        Self::with(None, Catalog::default(), Backing::Memory)
    }

    fn with(path: Option<PathBuf>, catalog: Catalog, backing: Backing) -> Self {
        let state = State { catalog: Arc::new(catalog), backing, hook: None, guard: None };
        Self { path, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in an edit has changed nothing: the copy is dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of now.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.state().catalog)
    }

    /// Whether it outlives the process.
    pub fn is_durable(&self) -> bool {
        self.path.is_some()
    }

    /// Calls `hook` with the catalog as it is, and after each change.
    pub fn on_change(&self, hook: Hook) {
        let mut state = self.state();
        hook(&state.catalog);
        state.hook = Some(hook);
    }

    /// Asks `guard` about every change from now on.
    pub fn guard(&self, guard: Guard) {
        self.state().guard = Some(guard);
    }

    /// Makes a change: `edit` gets a copy. What it gives back is given back once the change is on the disk.
    ///
    /// # Errors
    /// What `edit` says, or the change could not be kept. Either way nothing has changed.
    pub fn change<T, E: From<StoreError>>(
        &self,
        edit: impl FnOnce(&mut Catalog) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.state();
        self.reopen(&mut state)?;
        let mut next = Catalog::clone(&state.catalog);
        let answer = edit(&mut next)?;
        let faults = state.guard.as_ref().map(|guard| guard(&state.catalog, &next)).unwrap_or_default();
        if !faults.is_empty() {
            return Err(StoreError::Refused(faults).into());
        }
        self.keep(&mut state, next)?;
        Ok(answer)
    }

    /// Puts a catalog in place of everything.
    ///
    /// # Errors
    /// Something in it has another name than its id, or as [`Store::change`].
    pub fn replace(&self, catalog: Catalog) -> Result<(), StoreError> {
        let misnamed = misnamed(&catalog);
        if !misnamed.is_empty() {
            return Err(StoreError::Refused(misnamed));
        }
        self.change(|stored| {
            *stored = catalog;
            Ok(())
        })
    }

    /// Writes what differs, then tells the hook.
    fn keep(&self, state: &mut State, next: Catalog) -> Result<(), StoreError> {
        match &state.backing {
            Backing::Memory => {}
            Backing::File(file) => {
                if let Err(error) = file.write(&state.catalog, &next) {
                    // After an error of the disk redb takes nothing more until it is opened again, and a commit whose sync
                    // failed may be there or not. The file knows: what it has now is what a restart would serve.
                    state.backing = Backing::Closed;
                    let _ = self.reopen(state);
                    return if *state.catalog == next { Ok(()) } else { Err(error) };
                }
            }
            Backing::Closed => return Err(StoreError::Write("the file is closed".to_owned())),
            Backing::HandedOver => return Err(StoreError::HandedOver),
        }
        state.serve(next);
        Ok(())
    }

    /// Opens the file again if a write has failed.
    fn reopen(&self, state: &mut State) -> Result<(), StoreError> {
        if let (Backing::Closed, Some(path)) = (&state.backing, &self.path) {
            let (file, catalog) = File::open(path)?;
            state.backing = Backing::File(file);
            if *state.catalog != catalog {
                state.serve(catalog);
            }
        }
        Ok(())
    }

    /// What keys have used of their quotas, as it was kept last. Nothing is kept without a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        match &self.state().backing {
            Backing::File(file) => file.usage(),
            Backing::Memory | Backing::Closed | Backing::HandedOver => Ok(Vec::new()),
        }
    }

    /// Keeps what keys have used of their quotas: these, and what was kept of others.
    ///
    /// # Errors
    /// It could not be kept.
    pub fn keep_usage(&self, usage: &[Usage]) -> Result<(), StoreError> {
        let mut state = self.state();
        self.reopen(&mut state)?;
        let kept = match &state.backing {
            Backing::File(file) => file.keep_usage(usage),
            Backing::Memory => Ok(()),
            Backing::Closed => Err(StoreError::Write("the file is closed".to_owned())),
            Backing::HandedOver => Err(StoreError::HandedOver),
        };
        if matches!(kept, Err(StoreError::Write(_))) {
            state.backing = Backing::Closed;
        }
        kept
    }

    /// Closes the file for another process; changes are refused from now on.
    pub fn hand_over(&self) {
        let mut state = self.state();
        if matches!(state.backing, Backing::File(_) | Backing::Closed) {
            state.backing = Backing::HandedOver;
        }
    }

    /// Opens the file again, because the other process did not take it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn take_back(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        if let (Backing::HandedOver, Some(path)) = (&state.backing, &self.path) {
            let (file, catalog) = File::open(path)?;
            state.backing = Backing::File(file);
            state.serve(catalog);
        }
        Ok(())
    }

    /// Everything, to be written as JSON.
    pub fn export(&self) -> Export {
        Export { format: file::FORMAT, catalog: Catalog::clone(&self.catalog()) }
    }

    /// Replaces everything, in one commit.
    ///
    /// # Errors
    /// It has another format, or as [`Store::replace`].
    pub fn import(&self, export: Export) -> Result<(), StoreError> {
        if export.format != file::FORMAT {
            return Err(StoreError::Format { found: export.format, known: file::FORMAT });
        }
        self.replace(export.catalog)
    }

    /// What is wrong with the file and with what is in it; empty if nothing is.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn check(path: &Path) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        if !File::verify(path)? {
            found.push("checksums did not hold; the last good commit was restored".to_owned());
        }
        let (_, catalog) = File::open(path)?;
        found.extend(problems(&catalog));
        Ok(found)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
