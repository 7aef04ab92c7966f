//! What the tests and the benchmark need besides Rust: found, installed, or named.

use crate::{ebpf, sh};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is about to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Test,
    Bench,
    Everything,
}

/// A program from the distribution, or a file of it.
struct Program {
    name: &'static str,
    /// Debian's package.
    package: &'static str,
    test: bool,
    bench: bool,
    why: &'static str,
}

#[rustfmt::skip] // One program a line.
const PROGRAMS: &[Program] = &[
    Program { name: "curl", package: "curl", test: true, bench: false, why: "a client that is not ours" },
    Program { name: "ip", package: "iproute2", test: true, bench: true, why: "network namespaces" },
    Program { name: "python3", package: "python3", test: true, bench: false, why: "readers of TOML and JSON Schema that are not ours" },
    Program { name: "node", package: "nodejs", test: true, bench: false, why: "the public suite for HTTP caches" },
    Program { name: "npm", package: "npm", test: true, bench: false, why: "brings that suite" },
    Program { name: "wrk", package: "wrk", test: true, bench: true, why: "load" },
    Program { name: "h2load", package: "nghttp2-client", test: true, bench: true, why: "load over HTTP/2" },
    Program { name: "nginx", package: "nginx-light", test: true, bench: true, why: "a real upstream, and the peer of all ratios" },
    Program { name: "javac", package: "default-jdk-headless", test: true, bench: false, why: "runs the Java that templates come from" },
    Program { name: "/usr/share/java/velocity.jar", package: "velocity", test: true, bench: false, why: "what templates are compared with" },
    Program { name: "/usr/share/java/json-path.jar", package: "libjsonpath-java", test: true, bench: false, why: "what paths are compared with" },
    Program { name: "chromium", package: "chromium", test: true, bench: false, why: "a browser" },
    Program { name: "systemd-analyze", package: "systemd", test: true, bench: false, why: "a reader of units that is not ours" },
    Program { name: "ab", package: "apache2-utils", test: true, bench: false, why: "an HTTP/1.0 client that keeps connections" },
    Program { name: "pebble", package: "pebble", test: true, bench: false, why: "an ACME authority" },
    Program { name: "haproxy", package: "haproxy", test: true, bench: true, why: "a balancer in front, and a peer of the benchmark" },
    Program { name: "setpriv", package: "util-linux", test: true, bench: false, why: "a gateway without root, with capabilities" },
    Program { name: "unshare", package: "util-linux", test: false, bench: true, why: "a private network namespace" },
    Program { name: "taskset", package: "util-linux", test: false, bench: true, why: "pinning to a core" },
];

/// Installs what is missing, or fails with the list of it and the command that would help.
pub(crate) fn run(need: Need) -> Result<(), String> {
    check_toolchain()?;
    let missing = missing(need);
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::is_root() || sh::which("apt-get").is_none() {
        return Err(explain(&missing));
    }
    apt_install(&missing.iter().map(|program| program.package).collect::<Vec<_>>())?;
    let still: Vec<_> = missing.into_iter().filter(|program| !is_there(program.name)).collect();
    if still.is_empty() { Ok(()) } else { Err(explain(&still)) }
}

fn missing(need: Need) -> Vec<&'static Program> {
    PROGRAMS
        .iter()
        .filter(|program| match need {
            Need::Test => program.test,
            Need::Bench => program.bench,
            Need::Everything => true,
        })
        .filter(|program| !is_there(program.name))
        .collect()
}

/// A program on the path, or a file by its whole name.
fn is_there(name: &str) -> bool {
    if name.starts_with('/') { Path::new(name).exists() } else { sh::which(name).is_some() }
}

fn explain(missing: &[&Program]) -> String {
    let mut text = "missing programs:\n".to_owned();
    for program in missing {
        text.push_str(&format!("  {:<8} {} (Debian: {})\n", program.name, program.why, program.package));
    }
    let packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    text.push_str(&format!("on Debian or Ubuntu: sudo apt-get install {}", packages.join(" ")));
    text
}

/// What the tests import in Python, and the packages of PyPI that have it.
const PYTHON: &[(&str, &str)] = &[
    ("jsonschema", "jsonschema"),
    ("grpc", "grpcio"),
    ("awslambdaric", "awslambdaric"),
    ("boto3", "boto3"),
    ("awscli", "awscli"),
];

/// A folder with a `python3` that has what the tests import, if the one on the path has not and PyPI can be reached.
pub(crate) fn python_for_tests() -> Option<PathBuf> {
    let imports: Vec<_> = PYTHON.iter().map(|(module, _)| *module).collect();
    let script = format!("import tomllib, {}", imports.join(", "));
    let has_it = |python: &Path| sh::succeeds(Command::new(python).args(["-c", &script]));
    let bin = sh::target_dir().join("test-venv/bin");
    let python = bin.join("python3");
    if has_it(Path::new("python3")) {
        return None;
    }
    if !has_it(&python) {
        for (_, package) in PYTHON {
            venv(&sh::target_dir().join("test-venv"), package).ok()?;
        }
    }
    has_it(&python).then_some(bin)
}

/// What the tests use of npm, with the versions that their records are about.
const NPM_PACKAGES: &[&str] = &[
    "http-cache-tests@0.4.5",
    "ws@8.18.3",
    "@aws-sdk/client-api-gateway@3.1142.0",
    "@aws-sdk/signature-v4@3.374.0",
];

/// Installs them into the target folder, where npm and its registry can be reached; else their tests are skipped.
pub(crate) fn npm_packages() -> Result<(), String> {
    let folder = sh::target_dir().join("test-npm");
    let present = |package: &str| {
        let name = package.rsplit_once('@').map_or(package, |(name, _)| name);
        folder.join("node_modules").join(name).join("package.json").is_file()
    };
    if NPM_PACKAGES.iter().all(|package| present(package)) {
        return Ok(());
    }
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    sh::run(install.arg(&folder).args(NPM_PACKAGES))
}

/// moto's sdist, and the version that the records are about.
const MOTO: &str = "moto==5.2.5";

/// Brings moto's test-suite from PyPI, with what it imports, into the target folder; else its test is skipped.
pub(crate) fn moto_suite() -> Result<(), String> {
    let (suite, environment) = (sh::target_dir().join("moto-suite"), sh::target_dir().join("moto-venv"));
    let pip = environment.join("bin/pip");
    if !pip.is_file()
        || !sh::succeeds(
            Command::new(environment.join("bin/python3")).args(["-c", "import moto, pytest, flask"]),
        )
    {
        for package in ["pytest", "freezegun", "moto[apigateway,server]==5.2.5"] {
            venv(&environment, package)?;
        }
    }
    let unpacked = suite.join(MOTO.replace("==", "-"));
    if unpacked.is_dir() {
        return Ok(());
    }
    let mut download = Command::new(&pip);
    download
        .args(["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"])
        .arg(&suite)
        .arg(MOTO);
    sh::run(&mut download)?;
    let archive = suite.join(MOTO.replace("==", "-") + ".tar.gz");
    sh::run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&suite))
}

/// A virtual environment of Python's with one package from PyPI in it.
pub(crate) fn venv(folder: &Path, package: &str) -> Result<(), String> {
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(folder);
    if sh::run(&mut create).is_err() {
        if !sh::is_root() || sh::which("apt-get").is_none() {
            return Err("python3 has no venv module (Debian: python3-venv)".to_owned());
        }
        apt_install(&["python3-venv"])?;
        sh::run(&mut create)?;
    }
    sh::run(Command::new(folder.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        package,
    ]))
}

/// Installs Debian packages without starting the daemons among them.
pub(crate) fn apt_install(packages: &[&str]) -> Result<(), String> {
    let mut install = apt("install");
    install.args(["--yes", "--no-install-recommends"]).args(packages);
    if sh::run(&mut install).is_ok() {
        return Ok(());
    }
    // A fresh image has no package lists yet.
    sh::run(&mut apt("update"))?;
    sh::run(&mut install)
}

fn apt(verb: &str) -> Command {
    let mut command = Command::new("apt-get");
    // invoke-rc.d starts nothing in run level 1: the benchmark runs its own instances.
    command.args([verb, "-qq"]).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

/// Makes a cargo subcommand available, from crates.io if need be.
pub(crate) fn cargo_tool(name: &str) -> Result<(), String> {
    if sh::which(name).is_some() {
        return Ok(());
    }
    sh::run(&mut sh::cargo(["install", "--locked", "--quiet", name]))
}

/// Makes the toolchain for the XDP program available, or says what is missing.
pub(crate) fn bpf_toolchain() -> Result<(), String> {
    if ebpf::missing().is_some() && sh::is_root() && sh::which("apt-get").is_some() {
        // Old lists have a compiler that is too old; whether the new ones could be had shows by the version.
        let _ = sh::run(&mut apt("update"));
        apt_install(&["rustc-web", "rust-web-src"])?;
        if sh::which("bpf-linker").is_none() {
            // The last release that the compilers above can build.
            let version = ["--version", "0.10.4"];
            sh::run(sh::cargo(["install", "--locked", "--quiet", "bpf-linker"]).args(version))?;
        }
    }
    ebpf::missing().map_or(Ok(()), Err)
}

/// Makes a component of the toolchain in use available, where rustup can bring it.
pub(crate) fn component(program: &str, component: &str) -> Result<(), String> {
    if sh::succeeds(Command::new(program).arg("--version")) {
        return Ok(());
    }
    sh::run(Command::new("rustup").args(["component", "add", component]))
        .map_err(|error| format!("{program} is missing, and rustup could not add it: {error}"))
}

/// Names the expected Rust version if it is not there.
pub(crate) fn check_toolchain() -> Result<(), String> {
    check_rust(Path::new("rustc"), "rustup update stable")
}

/// The same of any compiler, with what brings another one.
pub(crate) fn check_rust(rustc: &Path, remedy: &str) -> Result<(), String> {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let found = sh::output(Command::new(rustc).arg("--version"))?;
    let version = found.split_whitespace().nth(1).unwrap_or_default();
    if numbers(version) >= numbers(wanted) {
        return Ok(());
    }
    Err(format!("expected Rust {wanted} or later, found {version}: run `{remedy}`"))
}

/// `1.95.0-nightly` as comparable numbers.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, explain, numbers};

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.100.0") > numbers("1.95"));
        assert!(numbers("1.97.0-nightly") > numbers("1.95"));
        assert!(numbers("1.95.0") >= numbers("1.95"));
        assert!(numbers("1.94.1") < numbers("1.95"));
    }

    #[test]
    fn what_is_missing_is_named_with_its_package_and_the_command() {
        let ip = PROGRAMS.iter().find(|program| program.name == "ip").unwrap();
        let text = explain(&[ip]);
        assert!(text.contains("network namespaces"));
        assert!(text.ends_with("apt-get install iproute2"));
    }
}
