//! Streams and listeners over loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use bytes::Bytes;
use common::{
    bind, client, core, pair, pattern, read_exact, read_to_end, receive, receive_to_end, send_all, soon,
};
use sluice_rt::{Buf, Listener, Stream, now_ms, sleep_until_ms, spawn, stats, yield_now};
use std::{cell::Cell, io::ErrorKind, net::Shutdown, os::fd::AsRawFd, rc::Rc, thread};

#[test]
fn echoes_to_many_clients() {
    let (listener, addr) = bind();
    let clients = thread::spawn(move || {
        let clients: Vec<_> = (0..40).map(|_| client(addr)).collect();
        for round in 0..20 {
            for (index, client) in clients.iter().enumerate() {
                send_all(client, format!("{index}:{round};").as_bytes());
            }
            for (index, client) in clients.iter().enumerate() {
                let expected = format!("{index}:{round};");
                assert_eq!(receive(client, expected.len()), expected.as_bytes());
            }
        }
    });
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let mut streams = Vec::new();
        for _ in 0..40 {
            let stream = Rc::new(listener.accept().await.unwrap());
            streams.push(Rc::clone(&stream));
            spawn(async move {
                while let Some(buf) = stream.recv().await.unwrap() {
                    stream.write_buf(buf);
                    stream.flush();
                }
                stream.shutdown_write();
            });
        }
        for stream in streams {
            while Rc::strong_count(&stream) > 1 {
                sleep_until_ms(now_ms() + 10).await;
            }
        }
    });
    clients.join().unwrap();
}

#[test]
fn each_half_closes_on_its_own() {
    core(|| async {
        let (accepted, connected) = pair().await;
        connected.write(b"question");
        connected.shutdown_write();
        assert_eq!(read_to_end(&accepted).await.unwrap(), b"question");
        assert!(accepted.recv().await.unwrap().is_none(), "the end is reported as often as one asks");
        accepted.write(b"answer");
        accepted.shutdown_write();
        assert_eq!(read_to_end(&connected).await.unwrap(), b"answer");
    });
}

#[test]
fn a_dropped_stream_sends_what_was_flushed_and_fin() {
    let (listener, addr) = bind();
    let body = pattern(300_000);
    let expected = body.clone();
    let reader = thread::spawn(move || {
        let client = client(addr);
        assert!(receive_to_end(&client) == expected);
    });
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let stream = listener.accept().await.unwrap();
        stream.write_bytes(Bytes::from(body));
        stream.flush();
        drop(stream);
    });
    reader.join().unwrap();
}

#[test]
fn a_dropped_stream_with_its_receive_armed_sends_fin() {
    let (listener, addr) = bind();
    let reader = thread::spawn(move || receive_to_end(&client(addr)));
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let stream = listener.accept().await.unwrap();
        stream.write(b"never flushed");
        drop(stream);
        // The core lives on: it is the drop that closes.
        while stats().sockets > 0 {
            sleep_until_ms(now_ms() + 10).await;
        }
        assert_eq!(reader.join().unwrap(), b"");
    });
}

#[test]
fn every_way_of_writing_keeps_the_order() {
    core(|| async {
        let (accepted, connected) = pair().await;
        let accepted = Rc::new(accepted);
        let writer = Rc::clone(&accepted);
        let mut expected = Vec::new();
        for round in 0..400usize {
            expected.extend_from_slice(&vec![round as u8; 1 + round * 31 % 3000]);
        }
        spawn(async move {
            for round in 0..400usize {
                let bytes = vec![round as u8; 1 + round * 31 % 3000];
                match round % 4 {
                    0 => writer.write(&bytes),
                    1 => writer.write_bytes(bytes.into()),
                    2 => writer.write_buf(Buf::from(bytes)),
                    _ => writer.write_with(|out| out.extend_from_slice(&bytes)),
                }
                match round % 7 {
                    0 => writer.flush(),
                    3 => writer.flushed().await.unwrap(),
                    5 => writer.sent_below(1000).await.unwrap(),
                    _ => {}
                }
            }
            writer.shutdown_write();
        });
        assert!(read_to_end(&connected).await.unwrap() == expected);
        assert_eq!(accepted.unsent_bytes(), 0);
    });
}

#[test]
fn a_stream_may_be_used_while_its_output_is_lent() {
    core(|| async {
        let (accepted, connected) = pair().await;
        accepted.write_with(|out| {
            out.extend_from_slice(b"outer ");
            accepted.write(b"inner");
            accepted.flush();
            assert_eq!(accepted.unsent_bytes(), 5);
            assert!(!accepted.is_idle_open());
        });
        accepted.flushed().await.unwrap();
        assert_eq!(read_exact(&connected, 11).await, b"outer inner");
    });
}

#[test]
fn unread_bytes_come_again() {
    core(|| async {
        let (accepted, connected) = pair().await;
        connected.write(b"headbody");
        connected.flush();
        let mut buf = accepted.recv().await.unwrap().unwrap();
        let rest = buf.split_off(6);
        assert_eq!((&buf[..], &rest[..]), (&b"headbo"[..], &b"dy"[..]));
        accepted.unread(rest, 0);
        accepted.unread(buf, 4);
        assert_eq!(read_exact(&accepted, 4).await, b"body");
        assert!(accepted.is_idle_open());
    });
}

#[test]
fn a_deadline_ends_receiving_and_may_be_lifted() {
    core(|| async {
        let (accepted, connected) = pair().await;
        accepted.set_deadline_ms(Some(now_ms() + 30));
        let error = accepted.recv().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        connected.write(b"late");
        connected.flushed().await.unwrap();
        assert_eq!(accepted.recv().await.unwrap_err().kind(), ErrorKind::TimedOut, "it stays elapsed");
        assert!(!accepted.is_idle_open());
        accepted.set_deadline_ms(None);
        assert_eq!(read_exact(&accepted, 4).await, b"late");
    });
}

#[test]
fn a_deadline_can_be_moved_either_way() {
    core(|| async {
        let (accepted, connected) = pair().await;
        accepted.set_deadline_ms(Some(now_ms() + 50));
        accepted.set_deadline_ms(Some(soon()));
        sleep_until_ms(now_ms() + 100).await;
        connected.write(b"x");
        connected.flush();
        assert_eq!(read_exact(&accepted, 1).await, b"x");
        accepted.set_deadline_ms(Some(now_ms() + 20));
        assert_eq!(accepted.recv().await.unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_deadline_ends_sending_to_a_peer_that_does_not_read() {
    core(|| async {
        let (accepted, _connected) = pair().await;
        accepted.write_bytes(Bytes::from(vec![0; 64 << 20]));
        accepted.set_deadline_ms(Some(now_ms() + 30));
        assert_eq!(accepted.flushed().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(accepted.unsent_bytes() > 0);
    });
}

#[test]
fn a_reset_is_reported_to_both_halves() {
    let (listener, addr) = bind();
    let peer = thread::spawn(move || {
        let client = client(addr);
        assert_eq!(receive(&client, 1), b"x");
        // Unread data at close makes a reset of it.
        drop(client);
    });
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let stream = listener.accept().await.unwrap();
        stream.write(b"xy");
        stream.flush();
        let received = stream.recv().await;
        assert_eq!(received.unwrap_err().kind(), ErrorKind::ConnectionReset);
        stream.write(b"z");
        assert!(stream.flushed().await.is_err());
        stream.write(&[0; 1000]);
        assert_eq!(stream.unsent_bytes(), 0, "output of a broken stream is not kept");
    });
    peer.join().unwrap();
}

#[test]
fn a_refused_connection_says_so() {
    core(|| async {
        let (listener, addr) = bind();
        drop(listener);
        let error = Stream::connect(addr, soon()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        while stats().sockets > 0 {
            yield_now().await;
        }
    });
}

/// A listener whose backlog is full: the kernel ignores further SYNs.
fn deaf_listener() -> (std::net::TcpListener, Vec<std::net::TcpStream>) {
    let (listener, addr) = bind();
    // SAFETY: shortens the backlog of a listening socket of ours.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    (listener, vec![client(addr)])
}

#[test]
fn connecting_ends_at_its_deadline() {
    let (listener, waiting) = deaf_listener();
    core(move || async move {
        let addr = listener.local_addr().unwrap();
        let error = Stream::connect(addr, now_ms() + 40).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(waiting);
    });
}

#[test]
fn a_closed_listener_hands_out_what_it_accepted() {
    let (listener, addr) = bind();
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let first = Stream::connect(addr, soon()).await.unwrap();
        let second = Stream::connect(addr, soon()).await.unwrap();
        sleep_until_ms(now_ms() + 10).await;
        listener.close();
        let accepted = [listener.accept().await.unwrap(), listener.accept().await.unwrap()];
        assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        for stream in &accepted {
            stream.write(b"hi");
            stream.flush();
        }
        assert_eq!(read_exact(&first, 2).await, b"hi");
        assert_eq!(read_exact(&second, 2).await, b"hi");
        let refused = Stream::connect(addr, soon()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_pool_sees_that_an_idle_connection_was_closed() {
    let (listener, addr) = bind();
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let connected = Stream::connect(addr, soon()).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert!(connected.is_idle_open());
        connected.write(b"x");
        assert!(!connected.is_idle_open(), "unsent");
        connected.flushed().await.unwrap();
        assert!(connected.is_idle_open());
        drop(accepted);
        while connected.is_idle_open() {
            yield_now().await;
        }
    });
}

#[test]
fn both_ends_know_their_peers() {
    let (listener, addr) = bind();
    let peer = thread::spawn(move || {
        let client = client(addr);
        let local = client.local_addr().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        receive_to_end(&client);
        local
    });
    let seen = Rc::new(Cell::new(None));
    let report = Rc::clone(&seen);
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        assert_eq!(listener.local_addr(), addr);
        let stream = listener.accept().await.unwrap();
        assert!(stream.recv().await.unwrap().is_none());
        report.set(stream.peer_addr());
        let again = Stream::connect(addr, soon()).await.unwrap();
        assert_eq!(again.peer_addr(), Some(addr));
    });
    assert_eq!(seen.get(), Some(peer.join().unwrap()));
}

/// Whether a watch is ready now.
async fn is_gone(watch: &sluice_rt::Watch) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(watch.poll_gone(cx).is_ready())).await
}

/// Waits until it is.
async fn gone(watch: &sluice_rt::Watch) {
    std::future::poll_fn(|cx| watch.poll_gone(cx)).await;
}

#[test]
fn a_watch_hears_of_the_peers_end_behind_unread_data() {
    core(|| async {
        let (accepted, connected) = pair().await;
        let watch = accepted.watch();
        connected.write(b"a request");
        connected.flushed().await.unwrap();
        assert_eq!(&*accepted.recv().await.unwrap().unwrap(), b"a request");
        assert!(!is_gone(&watch).await, "data is no end");
        connected.write(b"another");
        connected.shutdown_write();
        gone(&watch).await;
        // Nothing is lost: who wants to go on can.
        assert_eq!(read_to_end(&accepted).await.unwrap(), b"another");
        accepted.write(b"answer");
        accepted.shutdown_write();
        assert_eq!(read_to_end(&connected).await.unwrap(), b"answer");
    });
}

#[test]
fn a_watch_hears_of_the_end_while_the_receive_is_stopped() {
    core(|| async {
        let (accepted, connected) = pair().await;
        let watch = accepted.watch();
        let body = pattern(2_000_000);
        let sent = body.clone();
        spawn(async move {
            connected.write_bytes(Bytes::from(sent));
            connected.shutdown_write();
            // More than the unread buffers hold: only the kernel can know of the end by the time it comes.
            let _ = connected.flushed().await;
            let _ = connected.recv().await;
        });
        let mut received = Vec::new();
        while received.len() < 1_900_000 {
            received.extend_from_slice(&accepted.recv().await.unwrap().unwrap());
        }
        gone(&watch).await;
        received.extend_from_slice(&read_to_end(&accepted).await.unwrap());
        assert!(received == body);
    });
}

#[test]
fn a_watch_hears_of_a_reset_and_of_a_dropped_stream_and_not_after_unwatch() {
    let (listener, addr) = bind();
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let clients: Vec<_> = (0..3).map(|_| client(addr)).collect();
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(listener.accept().await.unwrap());
        }
        let watches: Vec<_> = streams.iter().map(Stream::watch).collect();
        streams[1].unwatch();
        for (stream, client) in streams.iter().zip(&clients) {
            stream.write(b"x");
            stream.flushed().await.unwrap();
            assert_eq!(client.peek(&mut [0]).unwrap(), 1);
        }
        // A close on unread data is a reset.
        drop(clients);
        gone(&watches[0]).await;
        gone(&watches[2]).await;
        assert!(streams[1].recv().await.is_err());
        assert!(!is_gone(&watches[1]).await, "nobody wants to know");
        drop(streams);
        assert!(is_gone(&watches[1]).await);
        // Another stream in the same slot is another stream.
        let _client = client(addr);
        let stream = listener.accept().await.unwrap();
        assert!(!is_gone(&stream.watch()).await && is_gone(&watches[0]).await);
    });
}
