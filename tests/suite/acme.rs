//! Certificates by ACME, from Pebble, Let's Encrypt's small authority for tests: both challenges, renewal, what is kept, and an
//! authority that is down, refuses, or has forgotten us.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use sluice_harness::pki::{Ca, client, client_of, connect};
use sluice_harness::{Call, Conn, Gateway, TempDir, eventually, eventually_within, skip, tool};

/// Pebble takes its time, and renewals are a matter of seconds here.
const SOON: Duration = Duration::from_secs(90);

/// Ports for programs that can't tell which one the kernel gave them.
struct Ports {
    authority: u16,
    management: u16,
    dns: u16,
}

fn free_ports() -> Ports {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [authority, management] = held.each_ref().map(|socket| socket.local_addr().unwrap().port());
    let dns = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Ports { authority, management, dns }
}

/// A program, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an authority consists of, running or not.
struct World {
    dir: TempDir,
    ports: Ports,
    ca: Ca,
    dns: Option<Running>,
}

impl World {
    fn new() -> Self {
        let (dir, ca) = (TempDir::new(), Ca::new("pebble's own"));
        ca.leaf(&["localhost"]).write(dir.path(), "pebble");
        dir.file("pebble-ca.pem", &ca.pem());
        Self { dir, ports: free_ports(), ca, dns: None }
    }

    /// `[acme]`, and two certificates by different challenges.
    fn config(&self) -> String {
        let (state, ca) = (self.state(), self.dir.path().join("pebble-ca.pem"));
        format!(
            "[routes.a]\npath = \"/a\"\nmock_body = \"over tls\"\n\
             [certificates.site]\nacme = \"tls-alpn-01\"\nnames = [\"a.acme.test\"]\n\
             [certificates.api]\nacme = \"http-01\"\nnames = [\"b.acme.test\", \"c.acme.test\"]\n\
             [acme]\ndirectory = \"https://localhost:{}/dir\"\naccept_terms = true\ncontact = [\"mailto:ops@acme.test\"]\n\
             ca_file = \"{}\"\nstate_dir = \"{}\"\nretry_ms = 1000\n",
            self.ports.authority,
            ca.display(),
            state.display()
        )
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The files of the one authority in the state folder.
    fn kept(&self, name: &str) -> PathBuf {
        let folder = fs::read_dir(self.state()).unwrap().next().unwrap().unwrap().path();
        folder.join(name)
    }

    fn gateway(&self) -> Gateway {
        Gateway::builder().server("cores = 2\nlisten_tls = [\"127.0.0.1:0\"]").start(&self.config())
    }

    /// Starts Pebble, which connects to these ports; its certificates are good for so long.
    fn authority(&mut self, http: u16, tls: u16, valid_s: u32) -> Authority {
        let (dir, ports) = (self.dir.path(), &self.ports);
        if self.dns.is_none() {
            let address = format!("127.0.0.1:{}", ports.dns);
            let mut dns = Command::new("pebble-challtestsrv");
            dns.args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ]);
            dns.args(["-dns01", &address, "-management", "127.0.0.1:0"]);
            self.dns = Some(Running(dns.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
        }
        let config = format!(
            "{{\"pebble\":{{\"listenAddress\":\"127.0.0.1:{}\",\"managementListenAddress\":\"127.0.0.1:{}\",\
             \"certificate\":\"{dir}/pebble.crt\",\"privateKey\":\"{dir}/pebble.key\",\"httpPort\":{http},\
             \"tlsPort\":{tls},\"ocspResponderURL\":\"\",\"externalAccountBindingRequired\":false,\
             \"certificateValidityPeriod\":{valid_s}}}}}",
            ports.authority,
            ports.management,
            dir = dir.display()
        );
        let config = self.dir.file("pebble.json", &config);
        let log = fs::File::create(dir.join("pebble.log")).unwrap();
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(config).args(["-dnsserver", &format!("127.0.0.1:{}", ports.dns)]);
        // No pauses before it looks; every proof is asked for anew. It still refuses a nonce now and then.
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0").current_dir(dir);
        let running = Running(pebble.stdout(log).stderr(Stdio::null()).spawn().unwrap());
        Authority { _running: running, roots: self.roots() }
    }

    /// What clients of the gateway trust: Pebble makes a new root whenever it starts.
    fn roots(&self) -> RootCertStore {
        let management = SocketAddr::from(([127, 0, 0, 1], self.ports.management));
        let trusting = client(&self.ca, &[&TLS13, &TLS12], None);
        let response = eventually_within(SOON, "pebble", || {
            connect(&trusting, management, "localhost")
                .ok()?
                .try_call(&Call::get("/roots/0").host("localhost"))
                .ok()
        });
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(response.text().as_bytes()).unwrap()).unwrap();
        roots
    }
}

struct Authority {
    _running: Running,
    roots: RootCertStore,
}

impl Authority {
    /// The certificate that a client which trusts this authority is shown for a name, if it takes it.
    fn shown(&self, gateway: &Gateway, name: &str) -> Option<CertificateDer<'static>> {
        let config = client_of(self.roots.clone(), &[&TLS13]);
        let mut conn = connect(&config, gateway.tls_addr(), name).ok()?;
        assert_eq!(conn.call(&Call::get("/a").host(name)).text(), "over tls");
        Some(conn.server())
    }

    fn wait_for(&self, gateway: &Gateway, name: &str) -> CertificateDer<'static> {
        eventually_within(SOON, name, || self.shown(gateway, name))
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn line(gateway: &Gateway, text: &str) -> String {
    eventually_within(SOON, text, || gateway.stderr().into_iter().find(|line| line.contains(text)))
}

/// A renewal takes as long as a certificate's life, so this test goes through all that there is.
#[test]
fn certificates_are_issued_renewed_and_kept_whatever_becomes_of_the_authority() {
    if tool("pebble").is_none() || tool("pebble-challtestsrv").is_none() {
        skip!("ACME", "no `pebble` (Debian package pebble)");
    }
    let mut world = World::new();
    let mut gateway = world.gateway();
    let (http, tls) = (gateway.addr().port(), gateway.tls_addr().port());

    // The authority is down: a placeholder serves, and this is said.
    let placeholder = line(&gateway, "acme: certificate site for a.acme.test is not issued yet");
    assert!(placeholder.contains("placeholder"), "{placeholder}");
    let failed = line(&gateway, "no certificate site for a.acme.test");
    assert!(failed.contains("/dir") && failed.contains("again in"), "{failed}");
    assert_eq!(gateway.get("/a").text(), "over tls");

    // It looks at the wrong ports: its reason is told, and asking again is what mends it.
    let nowhere = free_ports();
    let refusing = world.authority(nowhere.authority, nowhere.management, 3600);
    let refused = line(&gateway, "no certificate site for a.acme.test: API error");
    assert!(refused.contains("urn:ietf:params:acme:error:"), "{refused}");
    assert!(refusing.shown(&gateway, "a.acme.test").is_none());
    drop(refusing);

    // Another one under the same name, which has never heard of our account.
    let authority = world.authority(http, tls, 30);
    let first = authority.wait_for(&gateway, "a.acme.test");
    let both = authority.wait_for(&gateway, "b.acme.test");
    assert_eq!(authority.wait_for(&gateway, "c.acme.test"), both);
    line(&gateway, "acme: certificate api for b.acme.test, c.acme.test is issued");
    assert_eq!(mode(&world.state()), 0o700);
    for name in ["account.json", "site.pem", "api.pem"] {
        assert_eq!(mode(&world.kept(name)), 0o600, "{name}");
    }
    assert!(gateway.get("/.well-known/acme-challenge/x").status == 404, "nothing is left of the challenge");

    // Renewed in time; a connection that was there goes on.
    let config = client_of(authority.roots.clone(), &[&TLS13]);
    let mut lasting = connect(&config, gateway.tls_addr(), "a.acme.test").unwrap();
    assert_eq!(lasting.call(&Call::get("/a")).text(), "over tls");
    let renewed = eventually_within(SOON, "another certificate", || {
        let shown = authority.shown(&gateway, "a.acme.test")?;
        assert_eq!(lasting.call(&Call::get("/a")).text(), "over tls");
        (shown != first).then_some(shown)
    });

    // A successor has the same certificates, or newer ones, and the same account.
    let account = fs::read(world.kept("account.json")).unwrap();
    let lines = gateway.stderr().len();
    gateway.signal(Signal::USR2);
    gateway.wait_for_successor(lines);
    assert_ne!(authority.wait_for(&gateway, "a.acme.test"), first);
    assert_eq!(fs::read(world.kept("account.json")).unwrap(), account);
    drop(gateway);

    // So does one that is started anew while the authority is down.
    let roots = authority.roots.clone();
    drop(authority);
    let gateway = world.gateway();
    let config = client_of(roots, &[&TLS13]);
    let shown = connect(&config, gateway.tls_addr(), "a.acme.test").map(|mut conn| conn.server());
    match shown {
        Ok(shown) => assert_ne!(shown, first),
        // It has run out meanwhile, on a slow machine; serving goes on with it.
        Err(error) => assert!(error.to_string().contains("xpired"), "{error}"),
    }
    assert_ne!(renewed, first);
    assert_eq!(gateway.get("/a").text(), "over tls");
}

#[test]
fn what_cannot_be_proven_is_refused_with_its_place() {
    let world = World::new();
    let gateway = world.gateway();
    for (from, to, message) in [
        ("names = [\"a.acme.test\"]", "names = [\"*.acme.test\"]", "proves host names one by one"),
        ("names = [\"a.acme.test\"]\n", "", "`acme` needs `names`"),
        ("accept_terms = true", "accept_terms = false", "`acme` needs `accept_terms`"),
        ("https://localhost", "http://localhost", "expects an https:// URL"),
        ("pebble-ca.pem", "missing.pem", "can't read"),
        ("acme = \"http-01\"", "acme = \"http-01\"\ncert_file = \"x\"", "no use beside `acme`"),
        ("mailto:", "tel:", "expects a mailto: address"),
    ] {
        gateway.write_config(&world.config().replace(from, to));
        let response = gateway.reload();
        let said = response.json()["errors"].to_string();
        assert!(
            response.status == 422 && said.contains(message) && said.contains("gateway.toml:"),
            "{to}: {said}"
        );
    }
    assert_eq!(gateway.get("/a").text(), "over tls");
    let without = world.config().replace("acme = \"", "#acme = \"");
    gateway.write_config(&without);
    assert!(gateway.reload().json()["errors"].to_string().contains("lacks `cert_file`"));
}

/// Only an answer that somebody waits for takes precedence over routes.
#[test]
fn other_peoples_challenges_are_routed_as_ever() {
    let config = "[routes.a]\npath = \"/.well-known/acme-challenge/{token}\"\nmock_body = \"theirs\"\n";
    let gateway = Gateway::start(config);
    let mut conn = Conn::open(gateway.addr());
    assert_eq!(conn.get("/.well-known/acme-challenge/abc").text(), "theirs");
    eventually("a log line", || gateway.stdout().lines().next().map(str::to_owned));
}
