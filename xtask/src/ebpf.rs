//! Rebuilding the XDP program: its object is committed, so this is needed only after changing `ebpf` or `common`.
//!
//! Either of two toolchains will do. Debian's `rustc-web` with `rust-web-src` is a stable compiler that brings the
//! sources of `core`; a nightly of rustup with `rust-src` is the way on any other machine. Both need `bpf-linker`, which
//! loads the LLVM of a rustup toolchain, so that one's major version must not be below the compiler's.

#[path = "../../ebpf/fingerprint.rs"]
mod fingerprint;

use crate::{args::Args, setup, sh};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The last release whose library needs no newer compiler than the project.
const LINKER_HINT: &str = "cargo install bpf-linker --version 0.10.4 --locked";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/core";
const BUILT: &str = "bpfel-unknown-none/release/sluice-ebpf";

/// `cargo xtask ebpf`: builds and refreshes `ebpf/prebuilt`. `--check` leaves that alone, and runs the XDP tests on the
/// fresh object instead.
pub(crate) fn run(mut args: Args) -> Result<(), String> {
    let is_check = args.flag("--check");
    args.finish()?;
    let root = sh::root();
    let target = sh::target_dir().join("ebpf");
    let toolchain = Toolchain::find()?;
    println!("building the XDP program with {}", toolchain.name);
    sh::run(&mut toolchain.build(&root, &target, is_check))?;
    let stripped = target.join("sluice.bpf.o");
    toolchain.strip(&target.join(BUILT), &stripped)?;
    if is_check {
        let tests = ["test", "--package", "sluice-xdp", "--tests", "--", "--show-output"];
        return sh::run(sh::cargo(tests).env("SLUICE_XDP_OBJECT", &stripped));
    }
    let failed = |error: std::io::Error| format!("ebpf/prebuilt: {error}");
    let is_new = fs::read(&stripped).ok() != fs::read(root.join(fingerprint::OBJECT)).ok();
    fs::copy(&stripped, root.join(fingerprint::OBJECT)).map_err(failed)?;
    // Read only now: the build may have refreshed the lock file.
    let print = fingerprint::of_sources(&root).map_err(failed)?;
    fs::write(root.join(fingerprint::FINGERPRINT), print + "\n").map_err(failed)?;
    println!("{}: {}", fingerprint::OBJECT, if is_new { "new, commit it" } else { "as it was" });
    Ok(())
}

/// What this machine lacks for a rebuild.
pub(crate) fn missing() -> Option<String> {
    Toolchain::find().err()
}

/// A compiler that can build `core` for BPF, and the rustup toolchain that lends its LLVM and its tools.
struct Toolchain {
    name: &'static str,
    /// `RUSTC` and `RUSTDOC` where they are not the sysroot's own.
    compiler: Option<(PathBuf, PathBuf)>,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Finds one of the two, or says what each lacks.
    fn find() -> Result<Self, String> {
        if sh::which("bpf-linker").is_none() {
            return Err(format!("no `bpf-linker` on the path: {LINKER_HINT}"));
        }
        let missing_debian = match Self::debian() {
            Ok(toolchain) => return Ok(toolchain),
            Err(missing) => missing,
        };
        Self::nightly().map_err(|missing_nightly| {
            format!(
                "the XDP program needs a compiler with the sources of `core`, either of:\n  \
                 Debian's: {missing_debian}\n  rustup's nightly: {missing_nightly}"
            )
        })
    }

    fn debian() -> Result<Self, String> {
        if !Path::new(DEBIAN_RUSTC).is_file() || !Path::new(DEBIAN_SOURCES).is_dir() {
            return Err("apt-get install rustc-web rust-web-src".to_owned());
        }
        // Package lists of some months ago have an older one.
        setup::check_rust(
            Path::new(DEBIAN_RUSTC),
            "apt-get update && apt-get install rustc-web rust-web-src",
        )?;
        let sysroot = sysroot(None).ok_or("a rustup toolchain as well, for its LLVM (https://rustup.rs)")?;
        let rustdoc = Path::new(DEBIAN_RUSTC).with_file_name("rustdoc");
        Ok(Self {
            name: "Debian's rustc-web",
            compiler: Some((PathBuf::from(DEBIAN_RUSTC), rustdoc)),
            sysroot,
        })
    }

    fn nightly() -> Result<Self, String> {
        let sysroot =
            sysroot(Some("+nightly")).ok_or("rustup toolchain install nightly --component rust-src")?;
        if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            return Err("rustup component add rust-src --toolchain nightly".to_owned());
        }
        Ok(Self { name: "rustup's nightly", compiler: None, sysroot })
    }

    /// The real cargo, not rustup's proxy, which would replace the compiler. Flags are in `ebpf/.cargo/config.toml`.
    fn build(&self, root: &Path, target: &Path, is_check: bool) -> Command {
        let mut command = Command::new(self.sysroot.join("bin/cargo"));
        command.args(["build", "--release", "--config", &self.remapped(root)]).current_dir(root.join("ebpf"));
        if is_check {
            command.arg("--locked");
        }
        for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
        {
            command.env_remove(inherited);
        }
        let bin = self.sysroot.join("bin");
        let (rustc, rustdoc) = self.compiler.clone().unwrap_or((bin.join("rustc"), bin.join("rustdoc")));
        command.env("RUSTC", rustc).env("RUSTDOC", rustdoc);
        // `build-std` is unstable, and a stable compiler must be told that this is meant.
        command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target);
        command.env("LD_LIBRARY_PATH", self.sysroot.join("lib"));
        command
    }

    /// BTF names source files: the same ones wherever it is built, so that equal sources give an equal object.
    fn remapped(&self, root: &Path) -> String {
        let library = if self.compiler.is_some() { Path::new("/usr") } else { &self.sysroot };
        let mut prefixes = vec![(root.to_owned(), "sluice"), (library.join("lib/rustlib/src/rust"), "rust")];
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home).unwrap_or_default();
        let registries = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten().flatten();
        prefixes.extend(registries.map(|registry| (registry.path(), "registry")));
        let flags: Vec<String> = prefixes
            .iter()
            .map(|(from, to)| format!("'--remap-path-prefix={}={to}'", from.display()))
            .collect();
        format!("build.rustflags=[{}]", flags.join(", "))
    }

    /// Debug information is needed to make BTF of it, and for nothing afterwards.
    fn strip(&self, built: &Path, stripped: &Path) -> Result<(), String> {
        let tools =
            self.sysroot.join(format!("lib/rustlib/{}-unknown-linux-gnu/bin", std::env::consts::ARCH));
        let mut command = Command::new(tools.join("rust-objcopy"));
        command
            .arg("--strip-debug")
            .arg(built)
            .arg(stripped)
            .env("LD_LIBRARY_PATH", self.sysroot.join("lib"));
        sh::run(&mut command)
    }
}

/// Where a rustup toolchain lives.
fn sysroot(toolchain: Option<&str>) -> Option<PathBuf> {
    let mut command = Command::new("rustc");
    command.args(toolchain).args(["--print", "sysroot"]);
    // Cargo sets this for us to the toolchain that runs xtask, which would outweigh the argument.
    command.env_remove("RUSTUP_TOOLCHAIN");
    let path = PathBuf::from(sh::output(&mut command).ok()?.trim());
    path.join("bin/cargo").is_file().then_some(path)
}
