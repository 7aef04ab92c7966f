//! The shortest way through everything a core does.
#![allow(clippy::unwrap_used)]
use sluice_rt::*;
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn smoke() {
    let l = bind_reuseport("127.0.0.1:0".parse().unwrap()).unwrap();
    let a = l.local_addr().unwrap();
    let (tx, mut rx) = mailbox::<u32>();
    let t = std::thread::spawn(move || {
        let mut c = std::net::TcpStream::connect(a).unwrap();
        c.write_all(b"hello").unwrap();
        let mut b = [0; 5];
        c.read_exact(&mut b).unwrap();
        assert_eq!(&b, b"hello");
        tx.send(7).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        tx.send(8).unwrap();
    });
    run(Config::default(), move || async move {
        let l = Listener::new(l).unwrap();
        let s = l.accept().await.unwrap();
        let b = s.recv().await.unwrap().unwrap();
        s.write_buf(b);
        s.flushed().await.unwrap();
        assert_eq!(rx.recv().await, Some(7));
        assert_eq!(rx.recv().await, Some(8));
        assert_eq!(rx.recv().await, None);
        assert!(s.recv().await.unwrap().is_none());
        let t0 = now_ms();
        sleep_until_ms(t0 + 55).await;
        assert!(now_ms() - t0 >= 55 && now_ms() - t0 < 100);
        let c = Stream::connect(a, now_ms() + 1000).await.unwrap();
        let s2 = l.accept().await.unwrap();
        c.write(b"x");
        c.flush();
        assert_eq!(&**s2.recv().await.unwrap().as_ref().unwrap(), b"x");
        c.set_deadline_ms(Some(now_ms() + 30));
        assert_eq!(c.recv().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        drop(s2);
        c.set_deadline_ms(None);
        assert!(c.recv().await.unwrap().is_none());
    })
    .unwrap();
    t.join().unwrap();
}
