//! Header blocks: two in a row through one decoder, into heads. What comes out is written again and read back.
#![no_main]
#![allow(clippy::indexing_slicing, reason = "a panic is a finding")]

use libfuzzer_sys::fuzz_target;
use sluice_wire::h2::{Decoder, Encoder, Field, FieldName, HeadCollector};
use sluice_wire::{Limits, Method, RequestHead, ResponseHead};

fn decode(decoder: &mut Decoder, block: &[u8], out: &mut Vec<u8>) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let complete = decoder.decode(block, out, 8192, |field| fields.push(field)).ok()?;
    assert!(!complete || out.len() <= 8192);
    Some(fields)
}

fuzz_target!(|input: &[u8]| {
    // The first byte says where the second block begins.
    let Some((cut, blocks)) = input.split_first() else { return };
    let (first, second) = blocks.split_at(usize::from(*cut).min(blocks.len()));
    let mut decoder = Decoder::default();
    for block in [first, second] {
        let mut out = Vec::new();
        let Some(fields) = decode(&mut decoder, block, &mut out) else { return };
        let mut encoder = Encoder::default();
        let mut again = Decoder::default();
        // Thrice, so that fields enter the table and are found there.
        for _ in 0..3 {
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            let mut sent = Vec::new();
            for field in &fields {
                if let FieldName::Header(id) = field.kind {
                    encoder.field(&mut coded, id, field.name.of(&out), field.value.of(&out));
                    sent.push((field.name.of(&out), field.value.of(&out)));
                }
            }
            let seen = decode(&mut again, &coded, &mut back).expect("our own coding");
            assert_eq!(seen.iter().map(|f| (f.name.of(&back), f.value.of(&back))).collect::<Vec<_>>(), sent);
        }
    }
    heads(first);
});

fn heads(block: &[u8]) {
    let limits = Limits::default();
    for end_stream in [false, true] {
        let (mut collector, mut out) = (HeadCollector::default(), Vec::new());
        if collector.decode(&mut Decoder::default(), block, &mut out, &limits).is_err() {
            return;
        }
        let mut lines = Vec::new();
        let _ = collector.trailers(&out, &mut lines);
        let mut head = RequestHead::new();
        if collector.request(&mut out, &limits, end_stream, &mut head).is_ok() {
            assert!(!head.method_name.is_empty());
            for h in &head.headers {
                let (name, value) = (h.name.of(&out), h.value.of(&out));
                assert!(sluice_wire::is_token(name) && sluice_wire::is_field_value(value));
            }
        }
        if collector.decode(&mut Decoder::default(), block, &mut out, &limits).is_ok() {
            let mut head = ResponseHead::new();
            if collector.response(&out, Method::Get, end_stream, &mut head).is_ok() {
                assert!((100..600).contains(&head.status));
            }
        }
    }
}
