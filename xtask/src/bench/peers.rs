//! The gateway and its peers: how each is told to serve the shapes. The configurations are templates in bench/load.

use super::Shape;
use super::host::Work;
use crate::sh;
use std::path::PathBuf;
use std::process::Command;

/// The fixed answer, byte for byte what the responder's small one is, so that mock, proxied and cached compare.
pub(crate) const MOCK: &str = include_str!("../../../bench/load/answer.json");
/// A body of about 1 KiB.
pub(crate) const POSTED: &str = include_str!("../../../bench/load/posted.json");
const REQUEST_TEMPLATE: &str = include_str!("../../../bench/load/request.vtl");
const RESPONSE_TEMPLATE: &str = include_str!("../../../bench/load/response.vtl");
/// The key that every request carries; only Sluice looks at it.
pub(crate) const API_KEY: &str = "bench-4f1c2d7a9b3e8c6d5f0a1b2c3d4e";
/// Good until 2100; its key is in keys.json, and its private key is nowhere.
const TOKEN: &str = include_str!("../../../bench/load/token.txt");
const KEYS: &str = include_str!("../../../bench/load/keys.json");
/// What requests are signed with.
const ACCESS_KEY: &str = "AKIABENCH";
const SECRET: &str = "bench-4f1c2d7a9b3e8c6d5f0a1b2c3d4e";
/// What requests name as their host.
const HOST: &str = "api.example.com";
/// How many routes Sluice chooses among.
const ROUTES: usize = 1000;
/// The TLS listener is so far above the plain one.
pub(crate) const TLS_OFFSET: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Sluice,
    /// Sluice with `wait = "low_latency"`.
    LowLatency,
    /// Sluice with `wait = "efficient"`.
    Efficient,
    /// Sluice with `engine = "epoll"`.
    Epoll,
    Nginx,
    Haproxy,
    Envoy,
    Pingora,
}

impl Peer {
    pub(crate) const ALL: [Peer; 8] = [
        Peer::Sluice,
        Peer::LowLatency,
        Peer::Efficient,
        Peer::Epoll,
        Peer::Nginx,
        Peer::Haproxy,
        Peer::Envoy,
        Peer::Pingora,
    ];

    /// What it has in `[server]` beside the rest, if it is Sluice.
    fn setting(self) -> Option<&'static str> {
        match self {
            Peer::Sluice => Some(""),
            Peer::LowLatency => Some("wait = \"low_latency\"\n"),
            Peer::Efficient => Some("wait = \"efficient\"\n"),
            Peer::Epoll => Some("engine = \"epoll\"\n"),
            Peer::Nginx | Peer::Haproxy | Peer::Envoy | Peer::Pingora => None,
        }
    }

    pub(crate) fn is_sluice(self) -> bool {
        self.setting().is_some()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Sluice => "sluice",
            Peer::LowLatency => "sluice-low-latency",
            Peer::Efficient => "sluice-efficient",
            Peer::Epoll => "sluice-epoll",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "haproxy",
            Peer::Envoy => "envoy",
            Peer::Pingora => "pingora",
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|peer| peer.name() == name).ok_or_else(|| {
            format!("no peer `{name}`: expected one of {}", Self::ALL.map(Self::name).join(", "))
        })
    }

    /// The program.
    pub(crate) fn program(self) -> Result<PathBuf, String> {
        let program = match self {
            peer if peer.is_sluice() => sh::target_dir().join("release/sluice"),
            Peer::Nginx | Peer::Haproxy => {
                return sh::which(self.name()).ok_or_else(|| format!("no {}", self.name()));
            }
            Peer::Envoy => sh::target_dir().join("bench-envoy/bin/envoy"),
            _ => sh::root().join("bench/peers/target/release/bench-pingora"),
        };
        if program.is_file() { Ok(program) } else { Err(format!("{} is missing", program.display())) }
    }

    /// Which port serves a shape. Envoy's cache filter has a listener of its own, and so has nginx's HTTP/2.
    pub(crate) fn port(self, port: u16, shape: Shape) -> u16 {
        match (self, shape) {
            (Peer::Envoy, Shape::Cached) | (Peer::Nginx, Shape::H2) => port + 1,
            _ => port,
        }
    }

    /// Whether the peer has what the shape asks for: Pingora's proxy of a page has no cache, and HTTP/2 is compared with
    /// nginx alone.
    ///
    /// Waiting otherwise is about moderate load, and epoll stands in where io_uring may not be used.
    pub(crate) fn serves(self, shape: Shape) -> bool {
        match self {
            Peer::LowLatency | Peer::Efficient => return shape == Shape::Paced,
            Peer::Epoll => {
                return matches!(shape, Shape::Mock | Shape::Proxied | Shape::Large | Shape::Paced);
            }
            _ => {}
        }
        match shape {
            Shape::Cached => self != Peer::Pingora,
            Shape::H2 | Shape::H2Upstream => matches!(self, Peer::Sluice | Peer::Nginx),
            _ if shape.is_rest() || shape == Shape::Jwt => self == Peer::Sluice,
            _ if shape.is_tls() => matches!(self, Peer::Sluice | Peer::Nginx | Peer::Haproxy),
            _ => true,
        }
    }

    /// Writes the configuration and gives the command that serves it.
    pub(crate) fn command(self, work: &Work, port: u16, upstream: &str) -> Result<Command, String> {
        let write = |name: &str, text: &str| -> Result<PathBuf, String> {
            let path = work.path(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(path)
        };
        let mock = write("mock.json", MOCK)?;
        certificate(work)?;
        let mut command = Command::new(self.program()?);
        match self {
            Peer::Sluice | Peer::LowLatency | Peer::Efficient | Peer::Epoll => {
                let log = work.path("access.log");
                // Each measurement begins with an empty one: it grows by tens of megabytes a second, in memory.
                let _ = std::fs::remove_file(&log);
                command
                    .args(["run", "--config"])
                    .arg(write("sluice.toml", &sluice_config(self, port, upstream, work.folder())?)?)
            }
            Peer::Nginx => {
                let config = write("nginx.conf", &template("nginx.conf", work, port, upstream)?)?;
                command.arg("-p").arg(work.folder()).arg("-c").arg(config)
            }
            Peer::Haproxy => command
                .args(["-db", "-f"])
                .arg(write("haproxy.cfg", &template("haproxy.cfg", work, port, upstream)?)?),
            Peer::Envoy => {
                let config = write("envoy.yaml", &template("envoy.yaml", work, port, upstream)?)?;
                command
                    .args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart", "-c"])
                    .arg(config)
            }
            Peer::Pingora => command.arg(format!("127.0.0.1:{port}")).arg(upstream).arg(mock),
        };
        Ok(command)
    }
}

/// What shows who calls: `Authorization`, and `X-Amz-Date` where it is a signature. Made when it is needed: a signature is good
/// for five minutes.
pub(crate) fn credentials(shape: Shape) -> Result<Option<(String, Option<String>)>, String> {
    match shape {
        Shape::Jwt => Ok(Some((format!("Bearer {}", TOKEN.trim_end()), None))),
        Shape::Sigv4 => {
            let mut sign = Command::new(sh::target_dir().join("release/bench-sign"));
            let signed = sh::output(sign.args([HOST, shape.target(), ACCESS_KEY, SECRET]))?;
            let (time, value) = signed.trim_end().split_once('\n').ok_or("bench-sign printed one line")?;
            Ok(Some((value.to_owned(), Some(time.to_owned()))))
        }
        _ => Ok(None),
    }
}

/// The REST API that says what `sluice.toml` says.
pub(crate) fn catalog(upstream: &str) -> Result<String, String> {
    let path = sh::root().join("bench/load/catalog.json");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = text.replace("@UPSTREAM@", upstream).replace("@KEY@", API_KEY);
    for (name, content) in [
        ("MOCK", MOCK),
        ("REQUEST_TEMPLATE", REQUEST_TEMPLATE.trim_end()),
        ("RESPONSE_TEMPLATE", RESPONSE_TEMPLATE.trim_end()),
    ] {
        let content = serde_json::to_string(content).map_err(|error| error.to_string())?;
        text = text.replace(&format!("\"@{name}@\""), &content);
    }
    Ok(text)
}

/// One ECDSA P-256 certificate for all peers; HAProxy wants it in one file with its key.
fn certificate(work: &Work) -> Result<(), String> {
    let (cert, key, both) = (work.path("tls.crt"), work.path("tls.key"), work.path("tls.pem"));
    if both.is_file() {
        return Ok(());
    }
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=api.example.com", "-addext", "subjectAltName=DNS:api.example.com", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    sh::output(&mut openssl)?;
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    std::fs::write(&both, read(&cert)? + &read(&key)?).map_err(|error| format!("{}: {error}", both.display()))
}

fn template(name: &str, work: &Work, port: u16, upstream: &str) -> Result<String, String> {
    let path = sh::root().join("bench/load").join(name);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (host, upstream_port) = upstream.rsplit_once(':').ok_or("an upstream without a port")?;
    Ok(text
        .replace("@WORK@", &work.folder().display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@PORT2@", &(u32::from(port) + 1).to_string())
        .replace("@PORT_TLS@", &(u32::from(port) + TLS_OFFSET).to_string())
        .replace("@UPSTREAM@", upstream)
        .replace("@UPSTREAM_HOST@", host)
        .replace("@UPSTREAM_PORT@", upstream_port)
        .replace("@MOCK@", MOCK))
}

/// bench/load/sluice.toml and as many routes as it takes to have `ROUTES` of them, each with everything on.
fn sluice_config(peer: Peer, port: u16, upstream: &str, work: &std::path::Path) -> Result<String, String> {
    let path = sh::root().join("bench/load/sluice.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut config = text
        .replace("cores = 1\n", &format!("cores = 1\n{}", peer.setting().unwrap_or_default()))
        .replace("@PORT@", &port.to_string())
        .replace("@UPSTREAM@", upstream)
        .replace("@LOG@", &work.join("access.log").display().to_string())
        .replace("@WORK@", &work.display().to_string())
        .replace("@PORT_TLS@", &(u32::from(port) + TLS_OFFSET).to_string())
        .replace("@KEY@", API_KEY)
        .replace("@KEYS@", KEYS.trim_end())
        .replace("@SECRET@", SECRET)
        .replace("@MOCK@", MOCK)
        .replace("@ROOT@", &sh::root().display().to_string());
    for index in config.matches("[routes.").count()..ROUTES {
        let (service, resource) = (index / 10, index % 10);
        config.push_str(&format!(
            "\n[routes.r{index}]\npath = \"/service-{service}/v1/resource-{resource}/{{id}}\"\nmethods = [\"GET\"]\n\
             upstream = \"responder\"\napi_key_required = true\nlimits = [\"route\"]\n"
        ));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::{MOCK, Peer, ROUTES, sluice_config};

    #[test]
    fn the_gateway_gets_all_its_routes() {
        let config =
            |peer| sluice_config(peer, 8080, "127.0.0.1:9000", std::path::Path::new("/dev/null")).unwrap();
        assert!(config(Peer::Efficient).contains("cores = 1\nwait = \"efficient\"\n"));
        let config = config(Peer::Sluice);
        assert_eq!(config.matches("[routes.").count(), ROUTES);
        assert!(!config.contains('@'), "a placeholder was left");
        assert_eq!(MOCK.len(), 187);
    }
}
