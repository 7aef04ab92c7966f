//! Signs a GET for the load generator: `bench-sign HOST TARGET KEY SECRET` prints `X-Amz-Date` and `Authorization`, a line each.
//! The signature is good for five minutes.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use sluice_sigv4::{Request, Scope, amz_date, authorization};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, target, key, secret] = arguments.as_slice() else {
        eprintln!("usage: bench-sign HOST TARGET KEY SECRET");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = amz_date(now);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = [("host", host.as_str()), ("x-amz-date", &time)];
    let request = Request { method: "GET", path, query, headers: &headers, body: b"" };
    let date = time.get(..8).unwrap_or_default();
    let scope = Scope { date, region: "us-east-1", service: "execute-api" };
    println!("{time}\n{}", authorization(&request, (key, secret), scope, &time));
    ExitCode::SUCCESS
}
