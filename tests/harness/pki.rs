//! Certificates made on the spot, and both ends of TLS as rustls speaks it.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use crate::call::Call;
use crate::http::{MessageReader, Response};
use crate::wait::PATIENCE;

/// A certificate authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key in PEM.
#[derive(Clone)]
pub struct Leaf {
    pub cert: String,
    pub key: String,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.as_ref().der().clone()
    }

    /// A P-256 certificate for these names; the first is its common name.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = common_name(names.first().map_or("nobody", String::as_str));
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Leaf { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// A client's certificate: a common name only.
    pub fn client(&self, name: &str) -> Leaf {
        self.client_with(name, |_| {})
    }

    /// The same, but it ended long ago.
    pub fn ended_client(&self, name: &str) -> Leaf {
        self.client_with(name, |params| {
            params.not_before = date_time_ymd(2019, 5, 28);
            params.not_after = date_time_ymd(2021, 5, 7);
        })
    }

    fn client_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = common_name(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Leaf { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        roots
    }
}

impl Leaf {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        std::fs::write(&cert, &self.cert).unwrap();
        std::fs::write(&key, &self.key).unwrap();
        (cert, key)
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect::<Result<_, _>>().unwrap()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

/// A client's TLS connection.
pub struct TlsConn(MessageReader<StreamOwned<ClientConnection, TcpStream>>);

impl TlsConn {
    pub fn call(&mut self, call: &Call) -> Response {
        self.try_call(call).unwrap_or_else(|e| panic!("{call:?}: {e}"))
    }

    pub fn try_call(&mut self, call: &Call) -> io::Result<Response> {
        self.send(&call.bytes())?;
        self.0.response(&call.method)
    }

    pub fn reader(&mut self) -> &mut MessageReader<StreamOwned<ClientConnection, TcpStream>> {
        &mut self.0
    }

    /// The socket alone: the session is forgotten, the other end is not told.
    pub fn into_socket(self) -> TcpStream {
        self.0.into_inner().sock
    }

    /// Says that nothing more follows: `close_notify`, then FIN.
    pub fn finish(&mut self) -> io::Result<()> {
        let tls = self.0.inner_mut();
        tls.conn.send_close_notify();
        tls.flush()?;
        tls.sock.shutdown(std::net::Shutdown::Write)
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let tls = self.0.inner_mut();
        tls.write_all(bytes)?;
        tls.flush()
    }

    /// What the handshake settled, and the way to the session's details.
    pub fn session(&mut self) -> &ClientConnection {
        &self.0.inner_mut().conn
    }

    /// The server's own certificate.
    pub fn server(&mut self) -> CertificateDer<'static> {
        self.session().peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// A client that trusts `ca`; connections of one configuration share their sessions.
pub fn client(
    ca: &Ca,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Leaf>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(ca.roots());
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.private_key()).unwrap(),
    })
}

/// A client that trusts `ca` and shows this chain with this key, whether they fit or not.
pub fn client_showing(
    ca: &Ca,
    versions: &[&'static SupportedProtocolVersion],
    chain: &[CertificateDer<'static>],
    key: &Leaf,
) -> Arc<ClientConfig> {
    let provider = Arc::new(default_provider());
    let key = provider.key_provider.load_private_key(key.private_key()).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(chain.to_vec(), key));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(ca.roots());
    Arc::new(builder.with_client_cert_resolver(Arc::new(shown)))
}

/// A client that trusts these authorities.
pub fn client_of(roots: RootCertStore, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Connects and shakes hands.
pub fn connect(config: &Arc<ClientConfig>, addr: SocketAddr, name: &str) -> io::Result<TlsConn> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut tls =
        StreamOwned::new(ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?, stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(TlsConn(MessageReader::new(tls)))
}

/// For each connection: the name that the client asked for, and whether it showed a certificate.
type Seen = Vec<(Option<String>, bool)>;

/// An HTTP/1.1 server over TLS that answers every request with `200` and what it was told.
pub struct TlsBackend {
    addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl TlsBackend {
    /// `clients`: authorities of client certificates, which are then required.
    pub fn start(leaf: &Leaf, clients: Option<&Ca>, body: Vec<u8>) -> Self {
        let provider = Arc::new(default_provider());
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(ca) => {
                WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), Arc::clone(&provider))
                    .build()
                    .unwrap()
            }
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(leaf.chain(), leaf.private_key())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (for_thread, body) = (Arc::clone(&seen), Arc::new(body));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, seen, body) = (Arc::clone(&config), Arc::clone(&for_thread), Arc::clone(&body));
                // A client that breaks off ends its thread; the test sees it on the other side.
                thread::spawn(move || drop(serve(stream, config, &seen, &body)));
            }
        });
        Self { addr, seen }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What each connection brought.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, seen: &Mutex<Seen>, body: &[u8]) -> io::Result<()> {
    let conn = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(conn, stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    seen.lock()
        .unwrap()
        .push((tls.conn.server_name().map(str::to_owned), tls.conn.peer_certificates().is_some()));
    let mut reader = MessageReader::new(tls);
    while let Some(request) = reader.request()? {
        let received = request.body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nx-received: {received}\r\nContent-Length: {}\r\n\r\n", body.len());
        let tls = reader.inner_mut();
        tls.write_all(head.as_bytes())?;
        tls.write_all(body)?;
        tls.flush()?;
    }
    Ok(())
}
