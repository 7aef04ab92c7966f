//! What can go wrong with a store.

use std::fmt;
use std::path::PathBuf;

/// What went wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The file can't be opened or made.
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another process has it open.
    InUse(PathBuf),
    /// Written by another version of the program.
    Format {
        /// The file's.
        found: u32,
        /// The latest that this program reads.
        known: u32,
    },
    /// An item can't be read.
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
    /// A change could not be kept.
    Write(String),
    /// A change that could be kept but not served; what is wrong with it, a line or more each.
    Refused(Vec<String>),
    /// Another process has taken the file over; ask that one.
    HandedOver,
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, why } => write!(out, "can't open the store {}: {why}", path.display()),
            Self::InUse(path) => {
                write!(out, "the store {} is in use: is another gateway running?", path.display())
            }
            Self::Format { found, known } => {
                write!(
                    out,
                    "the store has format {found}, expected 1 to {known}: written by a newer version?"
                )
            }
            Self::Damaged { key, why } => write!(out, "the store's item {key} can't be read: {why}"),
            Self::Write(why) => write!(out, "the change could not be stored: {why}"),
            Self::Refused(faults) => out.write_str(&faults.join("; ")),
            Self::HandedOver => out.write_str("another process has taken the store over"),
        }
    }
}

impl std::error::Error for StoreError {}
