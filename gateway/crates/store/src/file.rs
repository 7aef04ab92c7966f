//! The file: a redb database with two tables, `meta` (the format's number) and `items`.

use crate::items::{add, changes};
use crate::{StoreError, items::Changes};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};
use sluice_catalog::{Catalog, Usage};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const ITEMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("items");
/// By `PLAN/KEY`. It came after format 1 was fixed, and older programs do not miss it: no new format.
const USAGE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("usage");
const FORMAT_KEY: &str = "format";

/// Takes the items from one format to the next, within the transaction that also notes the new number.
pub(crate) type Migration = fn(&mut Changes) -> Result<(), StoreError>;

/// From format 1 to 2, from 2 to 3, …: a format that is changed gets a line here, and is never changed again.
const MIGRATIONS: &[Migration] = &[];

/// What this program writes.
pub(crate) const FORMAT: u32 = 1 + MIGRATIONS.len() as u32;

pub(crate) struct File(Database);

impl File {
    /// Opens or makes it, and reads everything.
    pub(crate) fn open(path: &Path) -> Result<(Self, Catalog), StoreError> {
        Self::open_with(path, MIGRATIONS)
    }

    pub(crate) fn open_with(path: &Path, migrations: &[Migration]) -> Result<(Self, Catalog), StoreError> {
        let database = database(path)?;
        migrate(&database, migrations)?;
        let mut catalog = Catalog::default();
        let reading = database.begin_read().map_err(failed)?;
        let items = reading.open_table(ITEMS).map_err(failed)?;
        for item in items.iter().map_err(failed)? {
            let (key, value) = item.map_err(failed)?;
            add(&mut catalog, key.value(), value.value())?;
        }
        if let Some(id) = catalog.rest_apis.iter().find(|(_, api)| api.id.is_empty()).map(|(id, _)| id) {
            let why = "it has deployments or stages, but is not there itself".to_owned();
            return Err(StoreError::Damaged { key: format!("restapi/{id}"), why });
        }
        drop(items);
        drop(reading);
        Ok((Self(database), catalog))
    }

    /// Whether all checksums hold; if not, the last commit that does is restored.
    pub(crate) fn verify(path: &Path) -> Result<bool, StoreError> {
        database(path)?.check_integrity().map_err(|error| opening(path, error))
    }

    /// All that was used.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        let reading = self.0.begin_read().map_err(failed)?;
        let table = match reading.open_table(USAGE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut out = Vec::new();
        for item in table.iter().map_err(failed)? {
            let (key, value) = item.map_err(failed)?;
            let usage = serde_json::from_slice(value.value()).map_err(|error| StoreError::Damaged {
                key: format!("usage/{}", key.value()),
                why: error.to_string(),
            })?;
            out.push(usage);
        }
        Ok(out)
    }

    /// Writes what was used, in one commit that is on the disk when this returns.
    pub(crate) fn keep_usage(&self, usage: &[Usage]) -> Result<(), StoreError> {
        let writing = self.0.begin_write().map_err(failed)?;
        {
            let mut table = writing.open_table(USAGE).map_err(failed)?;
            for one in usage {
                let value = serde_json::to_vec(one).map_err(failed)?;
                let key = format!("{}/{}", one.plan, one.key);
                table.insert(key.as_str(), value.as_slice()).map_err(failed)?;
            }
        }
        writing.commit().map_err(failed)
    }

    /// Writes what differs. It is on the disk when this returns.
    pub(crate) fn write(&self, old: &Catalog, new: &Catalog) -> Result<(), StoreError> {
        let changes = changes(old, new)?;
        if changes.is_empty() {
            return Ok(());
        }
        let writing = self.0.begin_write().map_err(failed)?;
        apply(&writing, &changes)?;
        // Durability::Immediate is redb's default: the commit is synced.
        writing.commit().map_err(failed)
    }
}

fn apply(writing: &WriteTransaction, changes: &Changes) -> Result<(), StoreError> {
    let mut items = writing.open_table(ITEMS).map_err(failed)?;
    for (key, value) in changes {
        match value {
            Some(value) => drop(items.insert(key.as_str(), value.as_slice()).map_err(failed)?),
            None => drop(items.remove(key.as_str()).map_err(failed)?),
        }
    }
    Ok(())
}

fn database(path: &Path) -> Result<Database, StoreError> {
    let io = |error: std::io::Error| StoreError::Open { path: path.to_owned(), why: error.to_string() };
    let is_new = !path.exists();
    // It holds the values of API keys.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let database = FileBackend::new(file.map_err(io)?)
        .and_then(|backend| Builder::new().create_with_backend(backend))
        .map_err(|error| opening(path, error))?;
    if is_new {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The name must outlive a power cut, too.
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    }
    Ok(database)
}

/// Brings the items to the latest format, in one transaction.
fn migrate(database: &Database, migrations: &[Migration]) -> Result<(), StoreError> {
    let known = 1 + u32::try_from(migrations.len()).unwrap_or(u32::MAX - 1);
    let writing = database.begin_write().map_err(failed)?;
    {
        let mut meta = writing.open_table(META).map_err(failed)?;
        let mut items = writing.open_table(ITEMS).map_err(failed)?;
        let found = meta.get(FORMAT_KEY).map_err(failed)?.map(|number| number.value());
        let found = found.unwrap_or(known);
        if found > known || found == 0 {
            return Err(StoreError::Format { found, known });
        }
        let pending = migrations.iter().skip(found as usize - 1);
        let mut all = Changes::new();
        if pending.len() > 0 {
            for item in items.iter().map_err(failed)? {
                let (key, value) = item.map_err(failed)?;
                all.insert(key.value().to_owned(), Some(value.value().to_owned()));
            }
        }
        for migration in pending {
            migration(&mut all)?;
        }
        for (key, value) in &all {
            match value {
                Some(value) => drop(items.insert(key.as_str(), value.as_slice()).map_err(failed)?),
                None => drop(items.remove(key.as_str()).map_err(failed)?),
            }
        }
        meta.insert(FORMAT_KEY, known).map_err(failed)?;
    }
    writing.commit().map_err(failed)
}

fn opening(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_owned()),
        other => StoreError::Open { path: path.to_owned(), why: other.to_string() },
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Write(error.to_string())
}
