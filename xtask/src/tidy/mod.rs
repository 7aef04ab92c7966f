//! Rules of the house that neither rustc nor clippy knows. Each rule is a function from text to violations, so each is
//! tested on a text that breaks it.

mod doors;
mod lints;
pub(crate) mod metadata;
mod source;
mod style;

use crate::sh;
use std::path::{Path, PathBuf};

/// Checks the whole tree; prints each violation as `file:line: what`.
pub(crate) fn run() -> Result<(), String> {
    let metadata = metadata::load()?;
    let mut violations = doors::check(&metadata);
    violations.extend(lints::check(&metadata)?);
    for path in rust_files(&sh::root())? {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.strip_prefix(sh::root()).unwrap_or(&path).display().to_string();
        violations.extend(style::check(&name, &text));
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("tidy: {} packages, no violation", metadata.packages.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} violations")),
    }
}

/// Every Rust file of the repository, sorted; build output and hidden folders left out.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name == "target" || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
