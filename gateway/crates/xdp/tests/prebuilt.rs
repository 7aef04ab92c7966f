//! The committed object belongs to the committed sources, and agrees with `common` on names.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../../ebpf/fingerprint.rs"]
mod fingerprint;

use sluice_common::{map, program};
use std::path::Path;

#[test]
fn the_object_is_not_older_than_its_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let expected = fingerprint::of_sources(&root).unwrap();
    let found = std::fs::read_to_string(root.join(fingerprint::FINGERPRINT)).unwrap_or_default();
    assert!(
        found.trim() == expected,
        "{} was built from other sources than those in `ebpf` and `common`: run `cargo xtask ebpf` and commit the \
         result",
        fingerprint::OBJECT
    );
    let object = std::fs::read(root.join(fingerprint::OBJECT)).unwrap();
    assert!(object == sluice_xdp::EMBEDDED_OBJECT);
}

#[test]
fn the_object_has_every_program_and_map_that_the_gateway_asks_for() {
    let names = [
        program::GATE,
        program::GATE_LINEAR,
        program::IDLE,
        program::FLOOD,
        map::ACTIVE,
        map::CONFIG,
        map::CPU,
        map::BLOCK20,
        map::BLOCK24,
        map::BANS,
        map::BAN_FIRST,
        map::BAN_NEXT,
        map::BAN_FILTER,
        map::BUCKETS,
        map::FRONTS,
        map::SYN_BUDGET,
        map::RULES,
        map::CLIENTS,
        map::EVENTS,
    ];
    let tries = [map::ALLOW4, map::ALLOW6, map::BLOCK4, map::BLOCK6].concat();
    for name in names.into_iter().chain(tries) {
        let symbol = [b"\0", name.as_bytes(), b"\0"].concat();
        assert!(
            sluice_xdp::EMBEDDED_OBJECT.windows(symbol.len()).any(|window| window == symbol),
            "no `{name}`"
        );
    }
}
