//! Heads as this codec and as httparse read them; see the oracle for the differences that are meant.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;

#[path = "../../../gateway/crates/wire/tests/oracle/mod.rs"]
mod oracle;

fuzz_target!(|bytes: &[u8]| {
    oracle::request(bytes);
    oracle::response(bytes);
});
