//! What the machine offers: directories, descriptors, tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A directory that is removed when dropped.
pub struct TempDir(PathBuf);

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl TempDir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sluice-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in the directory and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Raises this process's descriptor limit, which its children inherit; says why when it cannot.
pub fn raise_fd_limit(wanted: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit { current: Some(wanted), maximum };
    let within = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, within)
        .or_else(|_| setrlimit(Resource::Nofile, raised))
        .map_err(|e| format!("cannot raise the descriptor limit from {limit:?} to {wanted}: {e}"))
}

/// How many descriptors this process, and one that it starts, may have.
pub fn fd_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The path of a program when it is installed.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file())?;
    let answers = ["--version", "-v"].iter().any(|flag| {
        Command::new(&found)
            .arg(flag)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .status()
            .is_ok()
    });
    answers.then_some(found)
}

/// Where `cargo xtask setup` puts what the tests need of npm and PyPI: TARGET/test-npm and TARGET/test-venv.
pub fn target_dir() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CARGO_TARGET_DIR") {
        return Some(PathBuf::from(path));
    }
    // This executable is TARGET/PROFILE/deps/NAME.
    std::env::current_exe().ok()?.ancestors().nth(3).map(Path::to_path_buf)
}

/// The folder of an npm package when it is installed.
pub fn npm_package(name: &str) -> Option<PathBuf> {
    let folder = target_dir()?.join("test-npm/node_modules").join(name);
    folder.join("package.json").is_file().then_some(folder)
}

/// A Python that has a module, if there is one.
pub fn python(module: &str) -> Option<PathBuf> {
    let own = target_dir().map(|target| target.join("test-venv/bin/python3"));
    own.into_iter().chain(tool("python3")).find(|python| {
        let mut import = Command::new(python);
        import.args(["-c", &format!("import {module}")]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    })
}

/// A folder with Terraform's AWS provider. It is of some hundred megabytes: it is used where it is on the disk already.
pub fn terraform_provider() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let beneath = |folder: &str| home.as_ref().map(|home| home.join(folder));
    let folders = [
        std::env::var_os("TF_PLUGIN_CACHE_DIR").map(PathBuf::from),
        beneath(".terraform.d/plugins"),
        beneath(".terraform.d/plugin-cache"),
        beneath(".local/share/terraform/plugins"),
        Some(PathBuf::from("/usr/local/share/terraform/plugins")),
        Some(PathBuf::from("/usr/share/terraform/plugins")),
        Some(PathBuf::from("/opt/tf-plugins")),
    ];
    let provider = "registry.terraform.io/hashicorp/aws/5.100.0";
    folders.into_iter().flatten().find(|folder| folder.join(provider).is_dir())
}

/// A memory figure from `/proc/PID/status`, such as `VmRSS`, in bytes.
pub fn memory_bytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// How many descriptors a process has open.
pub fn open_fds(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
