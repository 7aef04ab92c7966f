//! Development mode: a change in the directory replaces the instances.
//!
//! By looking again and again rather than by inotify, which does not see what other machines change in a shared
//! directory, as containers in development have it.

use crate::function::Function;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(300);

/// The most files that are looked at.
const FILES: usize = 20_000;

/// Directories in which nothing is looked at: they change by running, or with what installs them.
const LEFT_OUT: &[&str] = &[".git", "__pycache__", "node_modules"];

pub(crate) async fn run(function: Weak<Function>, directory: PathBuf) {
    let look = || {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || fingerprint(&directory))
    };
    let mut before = look().await.ok();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = look().await.ok();
        let Some(function) = function.upgrade() else { return };
        if now != before {
            before = now;
            function.reload();
        }
    }
}

/// A number that changes when a file comes, goes, or is written.
fn fingerprint(directory: &Path) -> u64 {
    let mut sum = 0_u64;
    let mut left = FILES;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                if !LEFT_OUT.iter().any(|name| entry.file_name() == **name) {
                    folders.push(entry.path());
                }
                continue;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return sum;
            }
            let mut hasher = DefaultHasher::new();
            (entry.path(), metadata.len(), metadata.modified().ok()).hash(&mut hasher);
            // Whatever order the entries come in.
            sum = sum.wrapping_add(hasher.finish());
        }
    }
    sum
}
