//! A fingerprint of everything that goes into the compiled program, kept beside it in `prebuilt/`. Included by `xtask`,
//! which writes it, and by a test of the `xdp` crate, which notices when the object is stale.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The object, from the repository's root.
pub(crate) const OBJECT: &str = "ebpf/prebuilt/sluice.bpf.o";
/// The fingerprint of the sources that it was built from.
pub(crate) const FINGERPRINT: &str = "ebpf/prebuilt/sources.fingerprint";
/// Files and folders that go into it.
const SOURCES: [&str; 6] = [
    "common/Cargo.toml",
    "common/src",
    "ebpf/.cargo/config.toml",
    "ebpf/Cargo.lock",
    "ebpf/Cargo.toml",
    "ebpf/src",
];

/// The fingerprint of the sources as they are: FNV-1a, 128 bits, over the paths and contents of all files. It guards
/// against forgetting, not against malice.
pub(crate) fn of_sources(root: &Path) -> io::Result<String> {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = OFFSET_BASIS;
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        let contents = fs::read(&file)?;
        let length = (contents.len() as u64).to_le_bytes();
        for byte in name.bytes().chain([0]).chain(length).chain(contents) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
    }
    Ok(format!("{hash:032x}"))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}
