//! What outlives the process: one folder for each authority, with the account's key and one file for each certificate.
//!
//! ```text
//! STATE_DIR/acme-v02.api.letsencrypt.org-directory/account.json
//!                                                 /NAME.pem       private key, then the chain
//! ```
//! Key and chain share a file, so that renaming a new one over it replaces both at once. Only the owner may read.

use sluice_tls::{Identity, identity};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder of one authority.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder for the authority with this directory URL.
    #[must_use]
    pub fn new(state_dir: &Path, directory: &str) -> Self {
        let bare = directory.strip_prefix("https://").unwrap_or(directory);
        let name: String = bare
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' })
            .collect();
        // Not `..`: a URL's host begins with something else, but who knows what is configured.
        Self { folder: state_dir.join(format!("ca-{name}")) }
    }

    /// The stored certificate of this name, if there is one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn identity(&self, name: &str) -> Result<Option<Identity>, String> {
        let file = self.certificate(name);
        if !file.exists() {
            return Ok(None);
        }
        identity(&file, &file, None).map(Some).map_err(|(_, why)| why)
    }

    pub(crate) fn put_certificate(&self, name: &str, pem: &str) -> Result<(), String> {
        self.put(&self.certificate(name), pem.as_bytes())
    }

    pub(crate) fn account(&self) -> Result<Option<String>, String> {
        let file = self.folder.join("account.json");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("can't read {}: {error}", file.display())),
        }
    }

    pub(crate) fn put_account(&self, text: &str) -> Result<(), String> {
        self.put(&self.folder.join("account.json"), text.as_bytes())
    }

    /// The authority does not know it any more.
    pub(crate) fn forget_account(&self) {
        // If that fails, the next order says again why it can't be placed.
        let _ = fs::remove_file(self.folder.join("account.json"));
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// Whole or not at all: written beside, synced, renamed.
    fn put(&self, file: &Path, bytes: &[u8]) -> Result<(), String> {
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let beside = file.with_extension("new");
            // Not one that was left with other permissions.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            out.write_all(bytes)?;
            out.sync_all()?;
            fs::rename(&beside, file)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| format!("can't write {}: {error}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_reads_what_is_kept() {
        let state = std::env::temp_dir().join(format!("sluice-acme-{}", std::process::id()));
        let store = Store::new(&state, "https://ca.test:14000/dir");
        assert_eq!(store.account(), Ok(None));
        assert!(store.identity("site").unwrap().is_none());
        store.put_account("{}").unwrap();
        store.put_account("{\"a\":1}").unwrap();
        assert_eq!(store.account().unwrap().as_deref(), Some("{\"a\":1}"));
        store.put_certificate("site", "nonsense").unwrap();
        assert!(store.identity("site").is_err());
        let folder = state.join("ca-ca.test-14000-dir");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for file in ["account.json", "site.pem"] {
            assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        }
        store.forget_account();
        assert_eq!(store.account(), Ok(None));
        fs::remove_dir_all(&state).unwrap();
    }
}
