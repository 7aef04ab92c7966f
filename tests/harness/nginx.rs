//! nginx as a real backend, and as an oracle.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::conn::Conn;
use crate::system::{TempDir, tool};
use crate::wait::eventually;

/// A real nginx, in one foreground process of its own.
pub struct Nginx {
    child: Child,
    pub addr: SocketAddr,
    dir: TempDir,
}

impl Nginx {
    /// Starts nginx with these `server` directives; `None` when it is not installed.
    pub fn start(server: &str, files: &[(&str, &[u8])]) -> Option<Self> {
        Self::listening("", server, files)
    }

    /// Like [`Nginx::start`], with more parameters of its `listen` directive.
    pub fn listening(parameters: &str, server: &str, files: &[(&str, &[u8])]) -> Option<Self> {
        let program = tool("nginx")?;
        let dir = TempDir::new();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        // nginx cannot report a port of the kernel's choice: take a free one, and try again if it is lost meanwhile.
        let mut attempt = || {
            let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let config = nginx_config(&dir, addr, parameters, server);
            let mut command = Command::new(&program);
            command
                .arg("-p")
                .arg(dir.path())
                .arg("-e")
                .arg(dir.path().join("error.log"))
                .arg("-c")
                .arg(&config);
            let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            loop {
                if Conn::try_open(addr).is_ok() {
                    return Some((child, addr));
                }
                if child.try_wait().unwrap().is_some() {
                    return None;
                }
                std::thread::yield_now();
            }
        };
        let (child, addr) = eventually("nginx to start", &mut attempt);
        Some(Self { child, addr, dir })
    }

    /// The text of a file that it has written, such as a log; empty if there is none.
    pub fn written(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

/// What a log with the format `seen` has of a request, once it is over.
const SEEN: &str = "'{\"method\":\"$request_method\",\"target\":\"$request_uri\",\"status\":$status,\"body\":\"$request_body\",\
                    \"port\":$server_port}'";

fn nginx_config(dir: &TempDir, addr: SocketAddr, parameters: &str, server: &str) -> PathBuf {
    let root = dir.path().display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {root}/{name};\n"))
        .concat();
    // The master is off so that the process started is the one to end; root's worker may then read the directory.
    dir.file(
        "nginx.conf",
        &format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {root}/nginx.pid;\nerror_log {root}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\naccess_log off;\nlog_format seen escape=json {SEEN};\n{temp}keepalive_requests 1000000;\n\
             server {{\nlisten {addr} reuseport {parameters};\nroot {root};\n{server}\n}}\n}}\n"
        ),
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
