//! Connections of one address: counted over all cores, refused at once, given back.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use sluice_harness::{Conn, Gateway, eventually};

const ROUTE: &str = "[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n";

fn from(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// Whether a new connection of this address is served.
fn is_served(gateway: &Gateway, last: u8) -> Option<Conn> {
    let mut conn = Conn::open_from(from(last), gateway.addr());
    match conn.try_call(&sluice_harness::Call::get("/a")) {
        Ok(response) => {
            assert_eq!(response.status, 200);
            Some(conn)
        }
        Err(error) => {
            let closed = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(closed.contains(&error.kind()), "{error}");
            None
        }
    }
}

#[test]
fn each_address_gets_so_many_and_others_are_unharmed() {
    let gateway = Gateway::builder().server("cores = 2\nmax_connections_per_address = 5").start(ROUTE);
    let open: Vec<Conn> =
        (0..5).map(|n| is_served(&gateway, 2).unwrap_or_else(|| panic!("number {n}"))).collect();
    for _ in 0..20 {
        assert!(is_served(&gateway, 2).is_none(), "a sixth");
    }
    assert!(is_served(&gateway, 3).is_some(), "another address");
    assert_eq!(gateway.metrics().sum("sluice_connections_over_address_total", &[]), 20.0);
    drop(open);
    eventually("room again", || is_served(&gateway, 2));
}

#[test]
fn a_reload_changes_the_bound_and_keeps_the_count() {
    let gateway = Gateway::builder().server("cores = 2\nmax_connections_per_address = 3").start(ROUTE);
    let mut open: Vec<Conn> = (0..3).filter_map(|_| is_served(&gateway, 2)).collect();
    assert_eq!(open.len(), 3);
    // The harness keeps [server] as it was: the new bound goes into the file by hand.
    let raise = |from: &str, to: &str| {
        let text = std::fs::read_to_string(gateway.config_path()).unwrap();
        std::fs::write(gateway.config_path(), text.replace(from, to)).unwrap();
        assert_eq!(gateway.reload().status, 200);
    };
    raise("per_address = 3", "per_address = 4");
    eventually("the new bound on every core", || {
        open.extend(is_served(&gateway, 2));
        (open.len() == 4).then_some(())
    });
    assert!(is_served(&gateway, 2).is_none(), "the three from before count");
    raise("per_address = 4", "per_address = 0");
    eventually("no bound", || is_served(&gateway, 2));
}
