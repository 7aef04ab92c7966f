//! Model checking: every interleaving of the hand-written atomics that loom can reach.

use crate::sh;
use crate::test::{Counts, Runner};
use std::path::{Path, PathBuf};

/// Runs `tests/loom.rs` of each crate that has one.
pub(crate) fn run() -> Result<Counts, String> {
    let mut counts = Counts::default();
    for (package, _) in crates_with_models()? {
        // Its own target folder: the cfg changes every crate, and would throw the ordinary build away.
        let target = sh::target_dir().join("loom");
        let mut command = sh::cargo(["test", "--package", &package, "--test", "loom"]);
        command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target);
        counts += Runner::Libtest.run(&mut command)?;
    }
    Ok(counts)
}

fn crates_with_models() -> Result<Vec<(String, PathBuf)>, String> {
    let metadata = crate::tidy::metadata::load()?;
    Ok(metadata
        .packages
        .into_iter()
        .filter_map(|package| {
            let folder = Path::new(&package.manifest_path).parent()?.to_path_buf();
            folder.join("tests/loom.rs").is_file().then_some((package.name, folder))
        })
        .collect())
}
