//! `cargo xtask bench`: Sluice and its peers under the same load in the same minutes, in CPU per request.
//!
//! What is measured and what is promised: `bench/SPEC.md`. The way: prepare (build, install) -> enter a private network
//! namespace -> for each round, shape and peer one measurement -> medians -> `bench/RESULTS.md` and `bench/results.json`.

mod check;
mod h2load;
mod host;
mod idle;
mod k6;
mod measure;
mod pace;
mod peers;
mod prepare;
mod report;
mod wrk;

use crate::args::Args;
use crate::sh;
use peers::Peer;
use std::path::PathBuf;
use std::process::Command;

/// What one request asks of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Answered by the gateway itself.
    Mock,
    /// 187 bytes of JSON from the responder.
    Proxied,
    /// The same from the gateway's cache.
    Cached,
    /// 100 KiB from the responder.
    Large,
    /// Mock, on a new connection each time.
    Conn,
    /// Mock over HTTP/2 in clear text, many streams on few connections.
    H2,
    /// Proxied to an upstream that speaks HTTP/2; for nginx, which can't, proxied.
    H2Upstream,
    /// Proxied at a fixed rate far from saturation: what latency is like, and what waking up costs.
    Paced,
    /// Mock over TLS 1.3.
    Tls,
    /// Proxied over TLS 1.3.
    TlsProxied,
    /// 100 KiB over TLS 1.3.
    TlsLarge,
    /// Mock over TLS 1.3, with a full handshake each time: wrk resumes no session.
    TlsHandshake,
    /// Mock, as a method of a REST API with a key, a usage plan and the same limits.
    RestMock,
    /// Proxied, likewise.
    RestProxied,
    /// Proxied, with a token that the core has verified before.
    Jwt,
    /// Proxied, as a method of a REST API, with a signature that is verified anew each time.
    Sigv4,
    /// About 1 KiB of JSON, through a template to the responder, and its answer through another.
    RestMapped,
    /// The small answer from a function that the gateway hosts. The CPU is the gateway's and its function's.
    Function,
}

impl Shape {
    const ALL: [Shape; 18] = [
        Shape::Mock,
        Shape::Proxied,
        Shape::Cached,
        Shape::Large,
        Shape::Conn,
        Shape::H2,
        Shape::H2Upstream,
        Shape::Paced,
        Shape::Tls,
        Shape::TlsProxied,
        Shape::TlsLarge,
        Shape::TlsHandshake,
        Shape::RestMock,
        Shape::RestProxied,
        Shape::RestMapped,
        Shape::Function,
        Shape::Jwt,
        Shape::Sigv4,
    ];

    /// Whether it is a REST API's, which only Sluice has.
    pub(crate) fn is_rest(self) -> bool {
        matches!(
            self,
            Shape::RestMock | Shape::RestProxied | Shape::RestMapped | Shape::Function | Shape::Sigv4
        )
    }

    /// The shape that this one is compared with, and next to which it is measured.
    pub(crate) fn base(self) -> Option<Self> {
        match self {
            Shape::RestMock => Some(Shape::Mock),
            Shape::RestProxied | Shape::Jwt | Shape::Sigv4 => Some(Shape::Proxied),
            _ => None,
        }
    }

    /// Whether it is asked over TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Shape::Tls | Shape::TlsProxied | Shape::TlsLarge | Shape::TlsHandshake)
    }

    /// The name in options and results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Mock => "mock",
            Shape::Proxied => "proxied",
            Shape::Cached => "cached",
            Shape::Large => "100k",
            Shape::Conn => "conn",
            Shape::H2 => "h2",
            Shape::H2Upstream => "h2-upstream",
            Shape::Paced => "20k/s",
            Shape::Tls => "tls",
            Shape::TlsProxied => "tls-proxied",
            Shape::TlsLarge => "tls-100k",
            Shape::TlsHandshake => "tls-handshake",
            Shape::RestMock => "rest-mock",
            Shape::RestProxied => "rest-proxied",
            Shape::RestMapped => "rest-mapped",
            Shape::Function => "function",
            Shape::Jwt => "jwt",
            Shape::Sigv4 => "sigv4",
        }
    }

    fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|shape| shape.name() == name).ok_or_else(|| {
            format!("no shape `{name}`: expected one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }

    /// The request's target.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Shape::Mock | Shape::Conn | Shape::H2 | Shape::Tls | Shape::TlsHandshake => {
                "/mock/12345?expand=lines"
            }
            Shape::RestMock => "/_aws/execute-api/bench/prod/mock/12345?expand=lines",
            Shape::RestProxied => "/_aws/execute-api/bench/prod/items/12345?expand=lines",
            Shape::Function => "/_aws/execute-api/bench/prod/function/12345?expand=lines",
            Shape::RestMapped => "/_aws/execute-api/bench/prod/mapped/12345?page=1&sort=name",
            Shape::Jwt => "/token/12345?expand=lines",
            Shape::Sigv4 => "/_aws/execute-api/bench/prod/signed/12345?expand=lines",
            Shape::Proxied | Shape::Paced | Shape::TlsProxied => "/items/12345?expand=lines",
            Shape::H2Upstream => "/shared/12345?expand=lines",
            Shape::Cached => "/cached/12345?expand=lines",
            Shape::Large | Shape::TlsLarge => "/100k/12345?expand=lines",
        }
    }

    /// The length of the right answer's body.
    pub(crate) fn body_bytes(self) -> usize {
        match self {
            Shape::Large | Shape::TlsLarge => 100 * 1024,
            // What response.vtl makes of the small answer.
            Shape::RestMapped => 302,
            _ => peers::MOCK.len(),
        }
    }

    /// What the request posts.
    pub(crate) fn posted(self) -> Option<&'static str> {
        (self == Shape::RestMapped).then_some(peers::POSTED)
    }
}

pub(crate) struct Options {
    rounds: u64,
    seconds: u64,
    shapes: Vec<Shape>,
    peers: Vec<Peer>,
    out: PathBuf,
    check: bool,
    k6: bool,
}

impl Options {
    fn parse(mut args: Args) -> Result<(Self, bool), String> {
        let shapes = args.list("--shapes", &Shape::ALL.map(Shape::name))?;
        let peers = args.list("--peers", &Peer::ALL.map(Peer::name))?;
        let options = Self {
            rounds: args.number("--rounds", 3)?.max(1),
            seconds: args.number("--seconds", 4)?.max(1),
            shapes: shapes.iter().map(|name| Shape::from_name(name)).collect::<Result<_, _>>()?,
            peers: peers.iter().map(|name| Peer::from_name(name)).collect::<Result<_, _>>()?,
            out: args.value("--out")?.map_or_else(|| sh::root().join("bench"), PathBuf::from),
            check: args.flag("--check"),
            k6: args.flag("--k6"),
        };
        let inside = args.flag("--inside");
        args.finish()?;
        Ok((options, inside))
    }

    /// The same options for the process inside the namespace.
    fn arguments(&self) -> Vec<String> {
        let shapes: Vec<_> = self.shapes.iter().map(|shape| shape.name()).collect();
        let peers: Vec<_> = self.peers.iter().map(|peer| peer.name()).collect();
        let mut arguments = vec![
            format!("--rounds={}", self.rounds),
            format!("--seconds={}", self.seconds),
            format!("--shapes={}", shapes.join(",")),
            format!("--peers={}", peers.join(",")),
            format!("--out={}", self.out.display()),
            "--inside".to_owned(),
        ];
        arguments.extend(self.check.then(|| "--check".to_owned()));
        arguments.extend(self.k6.then(|| "--k6".to_owned()));
        arguments
    }
}

/// Runs the benchmark; with `--check`, fails where a bar was missed.
pub(crate) fn run(mut args: Args) -> Result<(), String> {
    if let Some(count) = args.value("--idle")? {
        args.finish()?;
        return idle::run(&count);
    }
    let (mut options, inside) = Options::parse(args)?;
    if inside {
        host::enter_namespace()?;
        return run_inside(&options);
    }
    if options.k6 && sh::which("k6").is_none() {
        println!("SKIPPED k6: it is not installed");
        return Ok(());
    }
    prepare::all(&mut options.peers)?;
    if !sh::is_root() {
        println!("not root: measuring on the host's loopback instead of in a private network namespace");
        return run_inside(&options);
    }
    let xtask = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command.arg("--net").arg(xtask).arg("bench").args(options.arguments());
    sh::run(&mut command)
}

/// The shapes by what they are compared with, in their order.
fn groups(shapes: &[Shape]) -> Vec<Vec<Shape>> {
    let mut groups: Vec<(Shape, Vec<Shape>)> = Vec::new();
    for &shape in shapes {
        let base = shape.base().unwrap_or(shape);
        match groups.iter_mut().find(|(of, _)| *of == base) {
            Some((_, group)) => group.push(shape),
            None => groups.push((base, vec![shape])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Measures some shapes in all rounds. Every other round goes backwards, so that no peer always comes after the same one.
fn measure_group(
    bench: &measure::Bench,
    options: &Options,
    group: &[Shape],
    samples: &mut Vec<measure::Sample>,
) -> Result<(), String> {
    let is_vital = |peer| peer == Peer::Sluice || peer == Peer::Nginx;
    let mut peers = Vec::new();
    for &peer in options.peers.iter().filter(|peer| group.iter().any(|shape| peer.serves(*shape))) {
        match bench.start_peer(peer, group) {
            Ok(running) => peers.push(running),
            Err(error) if is_vital(peer) => return Err(error),
            Err(error) => println!("SKIPPED {}: {error}", peer.name()),
        }
    }
    for round in 1..=options.rounds {
        let pairs = group.iter().flat_map(|shape| (0..peers.len()).map(|at| (*shape, at)));
        let mut order: Vec<_> = pairs.collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for (shape, at) in order {
            let Some(running) = peers.get_mut(at).filter(|running| running.peer.serves(shape)) else {
                continue;
            };
            match bench.measure(round, running, shape, options.seconds) {
                Ok(sample) => {
                    println!("round {round}  {}", report::line(&sample));
                    samples.push(sample);
                }
                Err(error) if is_vital(running.peer) => return Err(error),
                Err(error) => {
                    println!("round {round}  SKIPPED {} {}: {error}", running.peer.name(), shape.name())
                }
            }
        }
    }
    Ok(())
}

fn run_inside(options: &Options) -> Result<(), String> {
    let bench = measure::Bench::start()?;
    if options.k6 {
        return k6::run(&bench);
    }
    let mut samples = Vec::new();
    for group in groups(&options.shapes) {
        measure_group(&bench, options, &group, &mut samples)?;
    }
    let results = report::medians(&samples);
    let versions: Vec<_> = options.peers.iter().map(|peer| prepare::version(*peer)).collect();
    report::write(&results, &versions, options)?;
    if options.check { check::bars(&results) } else { Ok(()) }
}
