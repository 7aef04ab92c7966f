//! `cargo run --release --manifest-path bench/peers/tls/Cargo.toml [ROUNDS]`: what a TLS 1.3 server's part of a handshake and of bulk
//! costs with rustls over aws-lc-rs and over ring, in CPU time of this thread, in one run.
//!
//! Both ends are in memory. Only calls of the server's side are timed, and the client is the same for both providers. Rounds
//! alternate between the providers; a figure is the median of its rounds.

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, ring};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// In a round.
const HANDSHAKES: u32 = 200;
const BULK_BYTES: usize = 32 << 20;
/// At most what rustls holds unsent or unread.
const STEP_BYTES: usize = 16 << 10;

/// One row of the table.
struct Case {
    provider: &'static str,
    exchange: &'static str,
    suite: CipherSuite,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    handshake_ns: Vec<u64>,
    encrypt_ns: Vec<u64>,
    decrypt_ns: Vec<u64>,
}

fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Runs a call and adds what it took.
fn timed<T>(total_ns: &mut u64, call: impl FnOnce() -> T) -> T {
    let start = cpu_ns();
    let result = call();
    *total_ns += cpu_ns() - start;
    result
}

/// This provider with one key exchange and one suite.
fn only(
    mut provider: CryptoProvider,
    exchange: &'static dyn SupportedKxGroup,
    suite: CipherSuite,
) -> Arc<CryptoProvider> {
    provider.kx_groups = vec![exchange];
    provider.cipher_suites.retain(|one| one.suite() == suite);
    Arc::new(provider)
}

impl Case {
    fn new(
        names: (&'static str, &'static str),
        provider: CryptoProvider,
        exchange: [&'static dyn SupportedKxGroup; 2],
        suite: CipherSuite,
    ) -> Outcome<Self> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = rcgen::CertificateParams::new(vec!["bench.test".to_owned()])?.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        let [of_server, of_client] = exchange;
        let server = ServerConfig::builder_with_provider(only(provider, of_server, suite))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )?;
        let mut client =
            ClientConfig::builder_with_provider(only(aws_lc_rs::default_provider(), of_client, suite))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(roots)
                .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        let (server, client) = (Arc::new(server), Arc::new(client));
        let (handshake_ns, encrypt_ns, decrypt_ns) = (Vec::new(), Vec::new(), Vec::new());
        let (provider, exchange) = names;
        Ok(Self { provider, exchange, suite, server, client, handshake_ns, encrypt_ns, decrypt_ns })
    }

    /// A connection, and what the server's part of its handshake took.
    fn connect(&self) -> Outcome<(ServerConnection, ClientConnection, u64)> {
        let mut took_ns = 0;
        let mut server = timed(&mut took_ns, || ServerConnection::new(Arc::clone(&self.server)))?;
        let mut client =
            ClientConnection::new(Arc::clone(&self.client), ServerName::try_from("bench.test")?)?;
        let mut wire = Vec::new();
        while server.is_handshaking() || client.is_handshaking() {
            wire.clear();
            while client.wants_write() {
                client.write_tls(&mut wire)?;
            }
            let mut from = wire.as_slice();
            timed(&mut took_ns, || {
                while !from.is_empty() {
                    server.read_tls(&mut from)?;
                    server.process_new_packets()?;
                }
                Outcome::Ok(())
            })?;
            wire.clear();
            timed(&mut took_ns, || {
                while server.wants_write() {
                    server.write_tls(&mut wire)?;
                }
                Outcome::Ok(())
            })?;
            let mut from = wire.as_slice();
            while !from.is_empty() {
                client.read_tls(&mut from)?;
                client.process_new_packets()?;
            }
        }
        Ok((server, client, took_ns))
    }

    fn round(&mut self) -> Outcome<()> {
        let mut total_ns = 0;
        for _ in 0..HANDSHAKES {
            total_ns += self.connect()?.2;
        }
        self.handshake_ns.push(total_ns / u64::from(HANDSHAKES));
        let (mut server, mut client, _) = self.connect()?;
        let (mut encrypt_ns, mut decrypt_ns) = (0, 0);
        let (data, mut wire, mut read) = (vec![b'x'; STEP_BYTES], Vec::new(), vec![0; STEP_BYTES]);
        for _ in 0..BULK_BYTES / STEP_BYTES {
            wire.clear();
            timed(&mut encrypt_ns, || {
                server.writer().write_all(&data)?;
                while server.wants_write() {
                    server.write_tls(&mut wire)?;
                }
                Outcome::Ok(())
            })?;
            let mut from = wire.as_slice();
            while !from.is_empty() {
                client.read_tls(&mut from)?;
                client.process_new_packets()?;
            }
            client.reader().read_exact(&mut read)?;
            wire.clear();
            client.writer().write_all(&data)?;
            while client.wants_write() {
                client.write_tls(&mut wire)?;
            }
            let mut from = wire.as_slice();
            timed(&mut decrypt_ns, || {
                while !from.is_empty() {
                    server.read_tls(&mut from)?;
                    server.process_new_packets()?;
                }
                server.reader().read_exact(&mut read)?;
                Outcome::Ok(())
            })?;
        }
        self.encrypt_ns.push(encrypt_ns);
        self.decrypt_ns.push(decrypt_ns);
        Ok(())
    }
}

fn median(rounds: &[u64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default() as f64
}

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(9), |rounds| rounds.parse::<u32>())?;
    let x25519 = aws_lc_rs::kx_group::X25519;
    let hybrid = aws_lc_rs::kx_group::X25519MLKEM768;
    let suites = [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];
    let mut cases = Vec::new();
    for suite in suites {
        let of_aws = ("aws-lc-rs", "X25519");
        cases.push(Case::new(of_aws, aws_lc_rs::default_provider(), [x25519, x25519], suite)?);
        let of_ring = ("ring", "X25519");
        cases.push(Case::new(of_ring, ring::default_provider(), [ring::kx_group::X25519, x25519], suite)?);
    }
    let post_quantum = ("aws-lc-rs", "X25519MLKEM768");
    cases.push(Case::new(post_quantum, aws_lc_rs::default_provider(), [hybrid, hybrid], suites[0])?);
    for _ in 0..rounds {
        cases.iter_mut().try_for_each(Case::round)?;
    }
    println!("| provider | key exchange | suite | handshake, us | encrypting, GB/s | decrypting, GB/s |");
    println!("|---|---|---|--:|--:|--:|");
    for case in &cases {
        let rate = |rounds: &[u64]| BULK_BYTES as f64 / median(rounds).max(1.0);
        println!(
            "| {} | {} | {:?} | {:.1} | {:.2} | {:.2} |",
            case.provider,
            case.exchange,
            case.suite,
            median(&case.handshake_ns) / 1_000.0,
            rate(&case.encrypt_ns),
            rate(&case.decrypt_ns)
        );
    }
    println!(
        "\nMedians of {rounds} rounds; CPU time of the server's calls only; ECDSA P-256; no resumption."
    );
    Ok(())
}
