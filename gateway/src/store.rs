//! The store: opened at the start, and `sluice store`.

use crate::Failure;
use crate::args::StoreCommand;
use sluice_config::{AccessKey, Settings};
use sluice_control::Access;
use sluice_store::{Export, Store, StoreError};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Opens the store that the configuration names.
pub(crate) fn open(settings: &Settings) -> Result<Arc<Store>, Failure> {
    let Some(path) = &settings.store.path else {
        let signed = settings.aws.development || !settings.access_keys.is_empty();
        // Who has given nobody access to the control plane has nothing to keep.
        if signed && settings.server.admin_listen.is_some() {
            eprintln!(
                "sluice: note: no store.path: what the control plane is told is gone when the process ends"
            );
        }
        return Ok(Arc::new(guarded(Store::in_memory())));
    };
    Store::open(&path.value).map(guarded).map(Arc::new).map_err(failed)
}

/// Keeps what cannot be served out of a store.
fn guarded(store: Store) -> Store {
    store.guard(Box::new(sluice_compile::faults));
    store
}

/// Who may use the control plane, as configured.
pub(crate) fn access(settings: &Settings) -> Access {
    // Whoever is given a policy is to call APIs, not to change them; temporary credentials likewise.
    let is_whole =
        |key: &&AccessKey| key.policy.is_none() && key.session_token.is_none() && key.expires.is_none();
    let keys = settings.access_keys.iter().filter(is_whole);
    Access {
        region: settings.aws.region.clone(),
        account_id: settings.aws.account_id.clone(),
        execute_api_suffix: settings.aws.execute_api_suffix.clone(),
        development: settings.aws.development,
        integration_timeout_max_ms: settings.aws.integration_timeout_max_ms,
        keys: keys.map(|key| (key.id.value.to_string(), key.secret.expose().to_owned())).collect(),
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::Runtime(error.to_string())
}

/// `sluice store …`.
pub(crate) fn dispatch(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Export { store, output } => export(&store, output.as_deref()),
        StoreCommand::Import { store, input } => import(&store, input.as_deref()),
        StoreCommand::Check { store } => check(&store),
    }
}

fn existing(path: &Path) -> Result<(), Failure> {
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Runtime(format!("there is no store {}", path.display()))),
        Err(error) => Err(Failure::Runtime(format!("can't read {}: {error}", path.display()))),
    }
}

fn export(path: &Path, output: Option<&Path>) -> Result<(), Failure> {
    existing(path)?;
    let export = Store::open(path).map_err(failed)?.export();
    let text =
        serde_json::to_string_pretty(&export).map_err(|error| Failure::Runtime(error.to_string()))? + "\n";
    let written = match output {
        None => std::io::stdout().write_all(text.as_bytes()),
        Some(file) => write_private(file, &text),
    };
    written.map_err(|error| Failure::Runtime(format!("can't write the export: {error}")))
}

/// For the owner only: there are values of API keys in it.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}

fn import(path: &Path, input: Option<&Path>) -> Result<(), Failure> {
    let text = match input {
        Some(file) => std::fs::read_to_string(file),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
    };
    let text = text.map_err(|error| Failure::Runtime(format!("can't read the export: {error}")))?;
    let export: Export = serde_json::from_str(&text)
        .map_err(|error| Failure::Runtime(format!("expected what `sluice store export` writes: {error}")))?;
    let problems = sluice_store::problems(&export.catalog);
    if !problems.is_empty() {
        return Err(Failure::Runtime(format!("nothing is imported: {}", problems.join("; "))));
    }
    let apis = export.catalog.rest_apis.len();
    Store::open(path).map(guarded).and_then(|store| store.import(export)).map_err(failed)?;
    println!("{}: imported, {apis} REST APIs", path.display());
    Ok(())
}

fn check(path: &Path) -> Result<(), Failure> {
    existing(path)?;
    let problems = Store::check(path).map_err(failed)?;
    if problems.is_empty() {
        println!("{}: sound", path.display());
        return Ok(());
    }
    Err(Failure::Runtime(format!("{}: {}", path.display(), problems.join("\n"))))
}
