//! Splicing between sockets: nothing lost, nothing twice, and the streams usable afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use common::{
    PATIENCE_MS, bind, client, core, pair, pattern, read_exact, read_to_end, receive, receive_to_end,
    send_all, soon,
};
use sluice_rt::{Listener, Stream, now_ms, sleep_until_ms, spawn, yield_now};
use std::{
    future::{Future, poll_fn},
    io::ErrorKind,
    net::Shutdown,
    pin::pin,
    rc::Rc,
    sync::{Arc, mpsc},
    task::Poll,
    thread,
};

const BODY_BYTES: usize = 10 << 20;
const TAIL: &[u8] = b"what comes after the body";

#[test]
fn ten_megabytes_arrive_in_order_those_received_before_included() {
    let (listener, addr) = bind();
    let body = Arc::new(pattern(BODY_BYTES));
    let (sent, expected) = (Arc::clone(&body), body);
    let producer = thread::spawn(move || {
        let client = client(addr);
        send_all(&client, b"head");
        send_all(&client, &sent);
        send_all(&client, TAIL);
        // The stream is in order again: an ordinary exchange follows.
        assert_eq!(receive(&client, 4), b"done");
    });
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let source = listener.accept().await.unwrap();
        assert_eq!(read_exact(&source, 4).await, b"head");
        // Some of the body is in our buffers by now, some in the kernel's.
        while source.is_idle_open() {
            yield_now().await;
        }
        let consumer = thread::spawn(move || {
            let client = client(addr);
            assert_eq!(receive(&client, 7), b"before;");
            assert!(receive(&client, BODY_BYTES) == *expected);
            assert_eq!(receive_to_end(&client), b";after");
        });
        let sink = listener.accept().await.unwrap();
        sink.write(b"before;");
        let moved = source.splice_to(&sink, BODY_BYTES as u64).await.unwrap();
        assert_eq!(moved, BODY_BYTES as u64);
        sink.write(b";after");
        sink.shutdown_write();
        sink.flushed().await.unwrap();
        assert_eq!(read_exact(&source, TAIL.len()).await, TAIL);
        source.write(b"done");
        source.flushed().await.unwrap();
        consumer.join().unwrap();
    });
    producer.join().unwrap();
}

#[test]
fn a_body_that_was_received_whole_needs_no_pipe() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, reader) = pair().await;
        feeder.write(b"bodynext");
        feeder.flushed().await.unwrap();
        while source.is_idle_open() {
            yield_now().await;
        }
        assert_eq!(source.splice_to(&sink, 4).await.unwrap(), 4);
        assert_eq!(source.splice_to(&sink, 0).await.unwrap(), 0);
        assert_eq!(read_exact(&reader, 4).await, b"body");
        assert_eq!(read_exact(&source, 4).await, b"next");
        feeder.write(b"more");
        feeder.flush();
        assert_eq!(read_exact(&source, 4).await, b"more");
    });
}

#[test]
fn a_bulk_source_is_received_piece_by_piece_and_can_go_back() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, reader) = pair().await;
        for bulk in [true, false, true, false] {
            source.set_bulk(bulk);
            feeder.write(b"head");
            feeder.flush();
            assert_eq!(read_exact(&source, 4).await, b"head");
            let body = vec![5; 200_000];
            feeder.write(&body);
            feeder.flush();
            assert_eq!(source.splice_to(&sink, 200_000).await.unwrap(), 200_000);
            assert!(read_exact(&reader, 200_000).await == body);
            assert!(source.is_idle_open());
        }
        // Switched between two receives, with nothing to arm it but the second.
        source.set_bulk(true);
        for bulk in [true, false] {
            feeder.write(b"one");
            feeder.flush();
            assert_eq!(read_exact(&source, 3).await, b"one");
            source.set_bulk(bulk);
        }
        feeder.write(b"two");
        feeder.flush();
        assert_eq!(read_exact(&source, 3).await, b"two");
    });
}

#[test]
fn the_end_of_the_source_ends_it() {
    for prefix in [0, 5] {
        core(move || async move {
            let (source, feeder) = pair().await;
            let (sink, reader) = pair().await;
            let source = Rc::new(source);
            let (from, to) = (Rc::clone(&source), Rc::new(sink));
            let (result, outcome) = mpsc::channel();
            let into = Rc::clone(&to);
            feeder.write(&b"12345"[..prefix]);
            feeder.flush();
            spawn(async move { result.send(from.splice_to(&into, u64::MAX).await).unwrap() });
            sleep_until_ms(now_ms() + 20).await;
            feeder.write(&b"12345"[prefix..]);
            feeder.shutdown_write();
            assert_eq!(read_exact(&reader, 5).await, b"12345");
            while Rc::strong_count(&source) > 1 {
                yield_now().await;
            }
            assert_eq!(outcome.recv().unwrap().unwrap(), 5);
            assert!(source.recv().await.unwrap().is_none());
            to.write(b"still open");
            to.flush();
            assert_eq!(read_exact(&reader, 10).await, b"still open");
        });
    }
}

#[test]
fn deadlines_apply() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, _reader) = pair().await;
        source.set_deadline_ms(Some(now_ms() + 30));
        let error = source.splice_to(&sink, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        source.set_deadline_ms(None);
        sink.set_deadline_ms(Some(now_ms() + 30));
        let error = source.splice_to(&sink, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // Nothing was lost, so the source is as before.
        feeder.write(b"intact");
        feeder.flush();
        assert_eq!(read_exact(&source, 6).await, b"intact");
    });
}

#[test]
fn an_idle_timeout_counts_from_the_last_progress() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, _reader) = pair().await;
        source.set_deadline_ms(Some(now_ms() + 1));
        spawn(async move {
            // Longer than the timeout in all.
            for _ in 0..20 {
                feeder.write(b"x");
                feeder.flush();
                sleep_until_ms(now_ms() + 20).await;
            }
            sleep_until_ms(soon()).await;
        });
        let error = source.splice_to(&sink, 1000).idle_timeout_ms(200).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(sink.is_idle_open() || sink.recv().await.is_err());
    });
}

#[test]
fn a_lost_destination_fails_both() {
    let (listener, addr) = bind();
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let (quit, may_quit) = mpsc::channel::<()>();
        let reader = thread::spawn(move || {
            let client = client(addr);
            receive(&client, 1000);
            may_quit.recv().unwrap_err();
        });
        let sink = listener.accept().await.unwrap();
        let (source, feeder) = pair().await;
        spawn(async move {
            feeder.write_bytes(vec![7; 64 << 20].into());
            // Fails when the source is closed.
            let _ = feeder.flushed().await;
        });
        spawn(async move {
            sleep_until_ms(now_ms() + 100).await;
            drop(quit);
        });
        assert!(source.splice_to(&sink, 64 << 20).await.is_err());
        assert!(sink.flushed().await.is_err() || sink.recv().await.is_err());
        reader.join().unwrap();
    });
}

#[test]
fn a_tunnel_splices_both_ways_at_once() {
    let (listener, addr) = bind();
    let body = Arc::new(pattern(3 << 20));
    let peers: Vec<_> = (0..2)
        .map(|_| {
            let body = Arc::clone(&body);
            thread::spawn(move || {
                let stream = client(addr);
                let writer = stream.try_clone().unwrap();
                let sent = Arc::clone(&body);
                let sender = thread::spawn(move || {
                    send_all(&writer, &sent);
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                assert!(receive_to_end(&stream) == *body);
                sender.join().unwrap();
            })
        })
        .collect();
    core(move || async move {
        let listener = Listener::new(listener).unwrap();
        let left = Rc::new(listener.accept().await.unwrap());
        let right = Rc::new(listener.accept().await.unwrap());
        for (from, to) in [(&left, &right), (&right, &left)] {
            let (from, to) = (Rc::clone(from), Rc::clone(to));
            spawn(async move {
                assert_eq!(from.splice_to(&to, u64::MAX).await.unwrap(), 3 << 20);
                to.shutdown_write();
            });
        }
        while Rc::strong_count(&left) > 1 {
            sleep_until_ms(now_ms() + 10).await;
        }
    });
    for peer in peers {
        peer.join().unwrap();
    }
}

/// Both directions in one task, with an idle limit: message by message, in turns and crossing, then one half closes
/// and the other goes on.
#[test]
fn one_task_tunnels_both_ways() {
    core(|| async {
        let (left, client) = pair().await;
        let (right, server) = pair().await;
        let (ended, end) = mpsc::channel();
        spawn(async move {
            let one_way = async |from: &Stream, to: &Stream| {
                let moved = from.splice_to(to, u64::MAX).idle_timeout_ms(PATIENCE_MS).await.unwrap();
                to.shutdown_write();
                moved
            };
            let (mut up, mut down) = (pin!(one_way(&left, &right)), pin!(one_way(&right, &left)));
            let (mut sent, mut received) = (None, None);
            poll_fn(|cx| {
                for (way, moved) in [(up.as_mut(), &mut sent), (down.as_mut(), &mut received)] {
                    if moved.is_none()
                        && let Poll::Ready(bytes) = way.poll(cx)
                    {
                        *moved = Some(bytes);
                    }
                }
                if sent.is_some() && received.is_some() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            ended.send((sent.unwrap(), received.unwrap())).unwrap();
        });
        for round in 0..200u32 {
            client.write(&round.to_be_bytes());
            client.flush();
            if round % 3 == 0 {
                server.write(&round.to_le_bytes());
                server.flush();
            }
            assert_eq!(read_exact(&server, 4).await, round.to_be_bytes());
            if round % 3 != 0 {
                server.write(&round.to_le_bytes());
                server.flush();
            }
            assert_eq!(read_exact(&client, 4).await, round.to_le_bytes());
        }
        client.shutdown_write();
        assert!(server.recv().await.unwrap().is_none());
        let rest = pattern(2 << 20);
        server.write(&rest);
        server.shutdown_write();
        assert!(read_to_end(&client).await.unwrap() == rest);
        while let Err(mpsc::TryRecvError::Empty) = end.try_recv().map(|moved| {
            assert_eq!(moved, (800, 800 + (2 << 20)));
        }) {
            yield_now().await;
        }
    });
}

#[test]
fn ordinary_traffic_the_other_way_goes_on() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, reader) = pair().await;
        let (source, sink) = (Rc::new(source), Rc::new(sink));
        let (from, to) = (Rc::clone(&source), Rc::clone(&sink));
        spawn(async move {
            from.splice_to(&to, 1 << 20).await.unwrap();
        });
        sleep_until_ms(now_ms() + 20).await;
        // Against the splice's direction, on its non-blocking descriptors, more than they can buffer.
        let body = Rc::new(pattern(12 << 20));
        let (sent, expected) = (Rc::clone(&body), Rc::clone(&body));
        let writer = Rc::clone(&source);
        spawn(async move {
            writer.write(&sent);
            writer.flushed().await.unwrap();
        });
        let (feeder, upstream) = (Rc::new(feeder), Rc::clone(&sink));
        let late = Rc::clone(&feeder);
        spawn(async move {
            sleep_until_ms(now_ms() + 50).await;
            late.write(&vec![9; 1 << 20]);
            late.flushed().await.unwrap();
        });
        reader.write(b"up");
        reader.flush();
        assert_eq!(read_exact(&upstream, 2).await, b"up");
        assert!(read_exact(&feeder, body.len()).await == *expected);
        assert_eq!(read_exact(&reader, 1 << 20).await, vec![9; 1 << 20]);
        while Rc::strong_count(&source) > 1 {
            sleep_until_ms(now_ms() + 10).await;
        }
    });
}

#[test]
fn a_destination_is_written_and_read_as_before_afterwards() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, reader) = pair().await;
        let (body, answer, request) = (vec![3; 300_000], pattern(8 << 20), pattern(1 << 20));
        for _ in 0..3 {
            feeder.write(&body);
            feeder.flush();
            // In one segment, then in several.
            sink.write(b"head");
            assert_eq!(source.splice_to(&sink, 150_000).await.unwrap(), 150_000);
            sink.write_bytes(vec![1; 9000].into());
            sink.write_bytes(vec![2; 9000].into());
            assert_eq!(source.splice_to(&sink, 150_000).await.unwrap(), 150_000);
            let expected = [b"head", &body[..150_000], &[1; 9000], &[2; 9000], &body[150_000..]].concat();
            assert!(read_exact(&reader, expected.len()).await == expected);
            // More than the socket takes at once, then more than one receive brings.
            sink.write_bytes(answer.clone().into());
            sink.flush();
            assert!(read_exact(&reader, answer.len()).await == answer);
            reader.write(&request);
            reader.flush();
            assert!(read_exact(&sink, request.len()).await == request);
        }
        reader.shutdown_write();
        assert!(sink.recv().await.unwrap().is_none());
    });
}

const BEFORE_BYTES: usize = 8 << 20;

#[test]
fn what_was_written_before_goes_first_though_the_socket_is_full() {
    core(|| async {
        let (source, feeder) = pair().await;
        let (sink, reader) = pair().await;
        let (before, body) = (pattern(BEFORE_BYTES), vec![7; 1 << 20]);
        sink.write_bytes(before.clone().into());
        feeder.write(&body);
        feeder.flush();
        spawn(async move {
            assert_eq!(source.splice_to(&sink, 1 << 20).await.unwrap(), 1 << 20);
            sink.write(b"after");
            sink.flushed().await.unwrap();
            sink.shutdown_write();
        });
        assert!(read_exact(&reader, BEFORE_BYTES).await == before);
        assert!(read_exact(&reader, 1 << 20).await == body);
        assert_eq!(read_exact(&reader, 5).await, b"after");
    });
}

#[test]
fn a_splice_that_is_late_behind_what_was_written_before_leaves_no_connection_open() {
    core(|| async {
        let (source, _feeder) = pair().await;
        let (sink, reader) = pair().await;
        sink.write_bytes(vec![1; BEFORE_BYTES].into());
        let error = source.splice_to(&sink, 1 << 20).idle_timeout_ms(50).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop((source, sink));
        // To its end, whichever it is.
        while let Ok(Some(_)) = reader.recv().await {}
    });
}
