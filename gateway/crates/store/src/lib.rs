//! The catalog on disk: one file, one commit for each change.
//!
//! ```text
//! change ──> edit a copy ──> write what differs ──> commit, fsync ──> publish ──> acknowledged
//!                 │ refused          │ fails             │ fails
//!                 └──────────────────┴───────────────────┴─────> nothing has changed
//! ```
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

use file::File;
use serde::{Deserialize, Serialize};
use sluice_catalog::{Catalog, Usage};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told of every catalog that is on the disk, in the order of the changes. Must not block.
pub type Hook = Box<dyn Fn(&Arc<Catalog>) + Send + Sync>;

/// The one place that changes the catalog.
pub struct Store {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    catalog: Arc<Catalog>,
    backing: Backing,
    hook: Option<Hook>,
}

enum Backing {
    Memory,
    File(File),
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
        let state = State { catalog: Arc::new(catalog), backing, hook: None };
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

    /// Makes a change: `edit` gets a copy. What it gives back is given back once the change is on the disk.
    ///
    /// # Errors
    /// What `edit` says, or the change could not be kept. Either way nothing has changed.
    pub fn change<T, E: From<StoreError>>(
        &self,
        edit: impl FnOnce(&mut Catalog) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.state();
        let mut next = Catalog::clone(&state.catalog);
        let answer = edit(&mut next)?;
        match &state.backing {
            Backing::Memory => {}
            Backing::File(file) => file.write(&state.catalog, &next)?,
            Backing::HandedOver => return Err(StoreError::HandedOver.into()),
        }
        state.catalog = Arc::new(next);
        if let Some(hook) = &state.hook {
            hook(&state.catalog);
        }
        Ok(answer)
    }

    /// What keys have used of their quotas, as it was kept last. Nothing is kept without a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        match &self.state().backing {
            Backing::File(file) => file.usage(),
            Backing::Memory | Backing::HandedOver => Ok(Vec::new()),
        }
    }

    /// Keeps what keys have used of their quotas: these, and what was kept of others.
    ///
    /// # Errors
    /// It could not be kept.
    pub fn keep_usage(&self, usage: &[Usage]) -> Result<(), StoreError> {
        match &self.state().backing {
            Backing::File(file) => file.keep_usage(usage),
            Backing::Memory => Ok(()),
            Backing::HandedOver => Err(StoreError::HandedOver),
        }
    }

    /// Closes the file for another process; changes are refused from now on.
    pub fn hand_over(&self) {
        let mut state = self.state();
        if matches!(state.backing, Backing::File(_)) {
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
            state.catalog = Arc::new(catalog);
            state.backing = Backing::File(file);
            if let Some(hook) = &state.hook {
                hook(&state.catalog);
            }
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
    /// It has another format, or could not be kept.
    pub fn import(&self, export: Export) -> Result<(), StoreError> {
        if export.format != file::FORMAT {
            return Err(StoreError::Format { found: export.format, known: file::FORMAT });
        }
        self.change(|catalog| {
            *catalog = export.catalog;
            Ok(())
        })
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
