//! The same gateway on either engine, with each way to wait, and on epoll where the system refuses io_uring.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sluice_harness::{Backend, Call, Gateway, Reply, TempDir, skip, sluice_binary, tool};

/// Answers with the request's target and body.
fn echo() -> Backend {
    Backend::start(|request| Reply::ok([request.target.as_bytes(), &request.body].concat()))
}

/// Small and large, both ways, on one connection and on several.
fn assert_serves(gateway: &Gateway) {
    let large = "x".repeat(300_000);
    let mut conns: Vec<_> = (0..8).map(|_| gateway.conn()).collect();
    for round in 0..4 {
        for (n, conn) in conns.iter_mut().enumerate() {
            let target = format!("/{round}/{n}");
            let body = if (round + n) % 2 == 0 { large.as_str() } else { "small" };
            let response = conn.call(&Call::post(&target, body));
            assert_eq!(response.status, 200);
            assert!(response.text() == format!("{target}{body}"), "{target}");
        }
    }
    for n in 0..32 {
        assert_eq!(gateway.get(&format!("/new/{n}")).text(), format!("/new/{n}"));
    }
}

#[test]
fn both_engines_serve_with_each_way_to_wait() {
    let backend = echo();
    for engine in ["io_uring", "epoll"] {
        for wait in ["balanced", "low_latency", "efficient"] {
            let server = format!("engine = \"{engine}\"\nwait = \"{wait}\"\ncores = 2");
            let gateway = Gateway::builder()
                .server(&server)
                .start(&format!("[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n", backend.addr()));
            assert_serves(&gateway);
        }
    }
}

/// What Docker's default profile does since 2023: the three calls fail with EPERM.
const REFUSE_IO_URING: &str = r#"#!/usr/bin/env python3
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0),                   # load the number of the call
        (0x35, 0, 2, 425), (0x35, 1, 0, 428),  # 425 to 427 are io_uring's
        (0x06, 0, 0, 0x00050001),          # EPERM
        (0x06, 0, 0, 0x7fff0000)]          # allowed
text = b"".join(struct.pack("HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(text)
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(buffer))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program)):
    sys.exit("no seccomp")
os.execv("SLUICE", ["sluice"] + sys.argv[1:])
"#;

#[test]
fn epoll_serves_where_seccomp_forbids_io_uring() {
    if tool("python3").is_none() {
        skip!(
            "epoll_serves_where_seccomp_forbids_io_uring",
            "python3, which sets the filter, is not installed"
        );
    }
    let dir = TempDir::new();
    let text = REFUSE_IO_URING.replace("SLUICE", &sluice_binary().display().to_string());
    let program = dir.file("refuse.py", &text);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let backend = echo();
    let config = format!("[routes.all]\npath = \"/{{proxy+}}\"\nupstream = \"{}\"\n", backend.addr());
    let gateway = Gateway::builder().program(&program).server("cores = 2").start(&config);
    let notes: Vec<_> =
        gateway.stderr().into_iter().filter(|line| line.contains("epoll serves instead")).collect();
    assert_eq!(notes.len(), 1, "said once, for all cores: {notes:?}");
    assert!(notes[0].contains("seccomp"), "{notes:?}");
    assert_serves(&gateway);
}
