//! Both ends of a TLS connection on one core.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sluice_rt::{Config, Listener, bind_reuseport, now_ms, run, spawn};
use sluice_tls::{Certificates, HandshakeError, Stream, accept, connect};
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Long enough that only a hang reaches it.
const PATIENCE_MS: u64 = 60_000;

fn core<F: Future<Output = ()> + 'static>(root: impl FnOnce() -> F) {
    run(Config::default(), root).unwrap();
}

async fn sockets() -> (sluice_rt::Stream, sluice_rt::Stream) {
    let listener = bind_reuseport("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = Listener::new(listener).unwrap();
    let connected = sluice_rt::Stream::connect(addr, now_ms() + PATIENCE_MS).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    for stream in [&accepted, &connected] {
        stream.set_deadline_ms(Some(now_ms() + PATIENCE_MS));
    }
    (accepted, connected)
}

fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let cert = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let signer = any_supported_type(&key).unwrap();
    let mut certificates = Certificates::new();
    certificates.set_default(Arc::new(CertifiedKey::new(vec![cert.clone()], signer)));
    let provider = Arc::new(default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    (Arc::new(server), Arc::new(client))
}

fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

async fn pair(version: &'static SupportedProtocolVersion) -> (Stream, Stream) {
    let (server, client) = configs(version);
    let (accepted, connected) = sockets().await;
    let done = Rc::new(Cell::new(None));
    let for_server = Rc::clone(&done);
    spawn(async move { for_server.set(Some(accept(accepted, &server.into()).await)) });
    let connected = connect(connected, client, name("a.test")).await.unwrap();
    let accepted = loop {
        match done.take() {
            Some(accepted) => break accepted.unwrap(),
            None => sluice_rt::yield_now().await,
        }
    };
    (accepted, connected)
}

fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

async fn read_exact(stream: &Stream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let buf = stream.recv().await.unwrap().expect("the stream ended early");
        let take = buf.len().min(len - bytes.len());
        bytes.extend_from_slice(&buf[..take]);
        stream.unread(buf, take);
    }
    bytes
}

#[test]
fn both_versions_carry_bytes_both_ways() {
    for version in [&TLS12, &TLS13] {
        core(move || async move {
            let (server, client) = pair(version).await;
            let facts = server.tls().unwrap();
            assert_eq!(facts.server_name.as_deref(), Some("a.test"));
            assert_eq!(facts.version, if version.version == TLS13.version { "TLSv1.3" } else { "TLSv1.2" });
            assert!(facts.cipher.contains("AES") || facts.cipher.contains("CHACHA"), "{facts:?}");
            assert_eq!(server.alpn(), Some(b"http/1.1".as_slice()));
            assert!(!facts.resumed);
            for len in [1, 100, 4096, 16 * 1024, 16 * 1024 + 1, 100_000, 3_000_000] {
                let sent = pattern(len);
                for (from, to) in [(&server, &client), (&client, &server)] {
                    from.write(&sent);
                    from.flush();
                    assert!(read_exact(to, len).await == sent, "{len}");
                    from.flushed().await.unwrap();
                    assert_eq!(from.unsent_bytes(), 0);
                }
            }
            assert!(server.is_idle_open() && client.is_idle_open());
        });
    }
}

#[test]
fn writes_of_all_kinds_keep_their_order() {
    core(|| async {
        let (server, client) = pair(&TLS13).await;
        let bytes = pattern(300_000);
        let mut rest = bytes.as_slice();
        for (at, len) in [3, 700, 20_000, 9_000, 50_000, 1, 40_000].into_iter().cycle().enumerate() {
            let (piece, after) = rest.split_at(len.min(rest.len()));
            match at % 4 {
                0 => client.write(piece),
                1 => client.write_with(|out| out.extend_from_slice(piece)),
                2 => client.write_bytes(bytes::Bytes::copy_from_slice(piece)),
                _ => client.write_buf(sluice_rt::Buf::from(piece.to_vec())),
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        client.flush();
        assert!(read_exact(&server, bytes.len()).await == bytes);
    });
}

#[test]
fn what_one_turn_writes_is_one_record() {
    core(|| async {
        let (server, client) = pair(&TLS13).await;
        client.write(b"a");
        client.write(b"b");
        client.write_with(|out| out.push(b'c'));
        client.flush();
        assert_eq!(&*server.recv().await.unwrap().unwrap(), b"abc");
    });
}

#[test]
fn an_end_is_told_from_a_cut() {
    core(|| async {
        let (server, client) = pair(&TLS13).await;
        server.write(b"whole");
        server.shutdown_write();
        assert_eq!(read_exact(&client, 5).await, b"whole");
        assert!(client.recv().await.unwrap().is_none());
        assert!(!client.is_idle_open());
        // The other half is still open.
        client.write(b"after");
        client.flush();
        assert_eq!(read_exact(&server, 5).await, b"after");

        let (server, client) = pair(&TLS13).await;
        server.write(b"cut");
        server.flushed().await.unwrap();
        drop(server);
        assert_eq!(read_exact(&client, 3).await, b"cut");
        assert_eq!(client.recv().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_server_of_another_name_is_refused_and_told() {
    core(|| async {
        let (server, client) = configs(&TLS13);
        let (accepted, connected) = sockets().await;
        let done = Rc::new(Cell::new(None));
        let for_server = Rc::clone(&done);
        spawn(async move { for_server.set(Some(accept(accepted, &server.into()).await)) });
        let error = connect(connected, client, name("b.test")).await.unwrap_err();
        assert_eq!(error.label(), "bad_certificate", "{error}");
        let served = loop {
            match done.take() {
                Some(served) => break served,
                None => sluice_rt::yield_now().await,
            }
        };
        assert_eq!(served.unwrap_err().label(), "alert");
    });
}

#[test]
fn garbage_and_silence_end_a_handshake() {
    core(|| async {
        let (config, _) = configs(&TLS13);
        let (accepted, connected) = sockets().await;
        connected.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        connected.flush();
        let error = accept(accepted, &Arc::clone(&config).into()).await.unwrap_err();
        assert_eq!(error.label(), "malformed", "{error}");

        let (accepted, _silent) = sockets().await;
        accepted.set_deadline_ms(Some(now_ms() + 20));
        let error = accept(accepted, &Arc::clone(&config).into()).await.unwrap_err();
        assert!(matches!(error, HandshakeError::TimedOut), "{error}");

        let (accepted, connected) = sockets().await;
        drop(connected);
        let error = accept(accepted, &config.into()).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Closed), "{error}");
    });
}
