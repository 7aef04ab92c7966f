//! Model checking: every interleaving of the hand-written atomics that loom can reach.

use crate::sh;
use crate::test::{Counts, Runner};
use std::path::Path;

/// Runs the models of each crate that has any: `tests/loom.rs`, or a module under `#[cfg(all(test, loom))]` in `lib.rs`.
pub(crate) fn run() -> Result<Counts, String> {
    let mut counts = Counts::default();
    for package in crate::tidy::metadata::load()?.packages {
        let folder = Path::new(&package.manifest_path).parent().unwrap_or(Path::new(".")).to_path_buf();
        let library = std::fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
        if folder.join("tests/loom.rs").is_file() {
            counts += models(&package.name, &["--test", "loom"])?;
        }
        if let Some(module) = model_module(&library) {
            counts += models(&package.name, &["--lib", &format!("{module}::")])?;
        }
    }
    Ok(counts)
}

fn models(package: &str, which: &[&str]) -> Result<Counts, String> {
    let mut command = sh::cargo(["test", "--package", package]);
    // Its own target folder: the cfg changes every crate, and would throw the ordinary build away.
    command.args(which).env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", sh::target_dir().join("loom"));
    Runner::Libtest.run(&mut command)
}

/// The module that `#[cfg(all(test, loom))]` guards.
fn model_module(library: &str) -> Option<&str> {
    let (_, after) = library.split_once("#[cfg(all(test, loom))]\n")?;
    after.trim_start().strip_prefix("mod ")?.split([';', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::model_module;

    #[test]
    fn the_guarded_module_is_found() {
        assert_eq!(model_module("mod pool;\n#[cfg(all(test, loom))]\nmod model;\n"), Some("model"));
        assert_eq!(model_module("#[cfg(test)]\nmod tests {}\n"), None);
    }
}
