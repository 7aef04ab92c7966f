//! One active check of a target: over a connection of its own, as the group's requests would be sent.

use crate::{Dial, Group, GroupSpec, Lease};
use sluice_h1::{HeadError, Scratch};
use sluice_h2::{In, Out, Timing};
use sluice_wire::h2::FieldName;
use sluice_wire::{KnownHeader, Limits, Method};
use std::io;
use std::rc::Rc;

/// What checks say they are.
const USER_AGENT: &str = concat!("sluice-health-check/", env!("CARGO_PKG_VERSION"));
/// Interim responses taken from an upstream for one request.
pub const MAX_INTERIM: usize = 16;
/// Response heads may be larger than request heads: cookies.
pub const RESPONSE_LIMITS: Limits =
    Limits { request_line_max_bytes: 8 * 1024, header_max_bytes: 64 * 1024, header_max_count: 256 };

/// What a target is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Path and query.
    pub path: &'a str,
    /// `Host`; `None`: the target's.
    pub host: Option<&'a str>,
    /// Statuses that are good, first and last of each range.
    pub statuses: &'a [(u16, u16)],
}

/// Checks the only target of a group, not beyond `deadline_ms`. Without a request a connection is enough, with TLS where the
/// group has it.
///
/// # Errors
/// Why the target is not well, in words.
pub async fn check(
    spec: GroupSpec,
    asked: Option<Asked<'_>>,
    scratch: &Rc<Scratch>,
    deadline_ms: u64,
) -> Result<(), String> {
    let group = Group::new(spec);
    let outcome = match asked {
        None => group.connect(0, deadline_ms).await.map(drop).map_err(|error| no_connection(&error)),
        Some(asked) => ask(&group, &asked, scratch, deadline_ms).await,
    };
    group.retire();
    outcome
}

async fn ask(
    group: &Group,
    asked: &Asked<'_>,
    scratch: &Rc<Scratch>,
    deadline_ms: u64,
) -> Result<(), String> {
    let spec = group.spec();
    let opened = if group.is_http2() {
        let left_ms = deadline_ms.saturating_sub(sluice_rt::now_ms());
        let timing = Timing { idle_ms: left_ms, head_ms: left_ms, write_ms: left_ms };
        let dial = Dial { limits: RESPONSE_LIMITS, scratch: Rc::clone(scratch), timing };
        group.stream(0, Method::Get, &dial, true, deadline_ms).await
    } else {
        group.connect(0, deadline_ms).await
    };
    let mut lease = opened.map_err(|error| no_connection(&error))?;
    let of_target = || spec.targets.first().map(|target| &*target.authority).unwrap_or_default();
    write(&lease, asked, asked.host.unwrap_or_else(of_target));
    lease.wire.out().set_deadline_ms(Some(deadline_ms));
    lease.wire.out().flush();
    let status = status(&mut lease, scratch).await?;
    if asked.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        Ok(())
    } else {
        Err(format!("status {status}"))
    }
}

fn write(lease: &Lease, asked: &Asked<'_>, host: &str) {
    match lease.wire.out() {
        Out::H1(stream) => stream.write_with(|out| {
            let head = format!(
                "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                asked.path
            );
            out.extend_from_slice(head.as_bytes());
        }),
        Out::H2(stream) => {
            stream.write_head(true, |out| {
                out.pseudo(FieldName::Method, b"GET");
                out.pseudo(FieldName::Scheme, if stream.is_tls() { b"https" } else { b"http" });
                out.pseudo(FieldName::Path, asked.path.as_bytes());
                out.pseudo(FieldName::Authority, host.as_bytes());
                out.field(KnownHeader::UserAgent, b"user-agent", USER_AGENT.as_bytes());
                out.field(KnownHeader::Accept, b"accept", b"*/*");
            });
        }
    }
}

/// The status of the final answer; its body is of no interest.
async fn status(lease: &mut Lease, scratch: &Rc<Scratch>) -> Result<u16, String> {
    let (_, mut from) = lease.wire.split();
    for _ in 0..MAX_INTERIM {
        let head = match &mut from {
            In::H1(stream, input) => {
                let mut head = scratch.response();
                let read =
                    input.read_response(stream, &RESPONSE_LIMITS, Method::Get, &mut head, scratch).await;
                read.map_err(|error| no_answer(&error))?.ok_or("it closed the connection")?;
                head
            }
            In::H2(stream, _) => stream.response().await.map_err(|error| broken(&error))?.0,
        };
        if !(100..200).contains(&head.status) {
            return Ok(head.status);
        }
    }
    Err("it answers without an end".to_owned())
}

fn no_connection(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no connection in time".to_owned(),
        _ => format!("no connection: {error}"),
    }
}

fn no_answer(error: &HeadError) -> String {
    match error {
        HeadError::Io { error, .. } => broken(error),
        other => format!("no HTTP: {other}"),
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => format!("no answer: {error}"),
    }
}
