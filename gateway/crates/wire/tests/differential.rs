//! Random messages, whole and mutated, read by this codec and by httparse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod oracle;

use sluice_wire::{KnownHeader, Limits, RequestHead, Status, parse_request};

/// SplitMix64: a failure replays from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn text(&mut self, alphabet: &[u8], max: usize) -> Vec<u8> {
        (0..self.below(max + 1)).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

const NAME: &[u8] = b"abcXYZ019-_!#$%&'*+.^`|~";
const VALUE: &[u8] = b"abc XYZ019:;,=\"\t/\\\x80\xff";

/// Field lines that are mostly well formed and often decide something.
fn fields(random: &mut Random, out: &mut Vec<u8>) {
    for _ in 0..random.below(14) {
        match random.below(4) {
            0 => out.extend_from_slice(&[b"n", &random.text(NAME, 40)[..]].concat()),
            1 => out.extend_from_slice(
                random
                    .pick(&["Content-Length", "transfer-encoding", "CONNECTION", "Host", "Upgrade"])
                    .as_bytes(),
            ),
            _ => {
                let known = KnownHeader::ALL[random.below(KnownHeader::ALL.len())].as_str();
                out.extend(
                    known.bytes().map(|b| if random.below(2) == 0 { b.to_ascii_uppercase() } else { b }),
                );
            }
        }
        out.extend_from_slice(random.pick(&[": ", ":", ":  ", ":\t"]).as_bytes());
        match random.below(3) {
            0 => out.extend_from_slice(
                random.pick(&["5", "chunked", "close", "keep-alive, x", "gzip, chunked", ""]).as_bytes(),
            ),
            _ => out.extend_from_slice(&random.text(VALUE, 60)),
        }
        out.extend_from_slice(random.pick(&["\r\n", "\r\n", "\r\n", " \r\n", "\t\r\n"]).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn request(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(
        random.pick(&["GET", "POST", "PUT", "DELETE", "OPTIONS", "X-Y", "CONNECT"]).as_bytes(),
    );
    out.push(b' ');
    out.extend_from_slice(random.pick(&["/", "/a?b", "/a/b/", "http://b:1/x", "*", "b:443"]).as_bytes());
    let more = random.text(b"abcXYZ019-._~!$&'()*+,;=:@/?%", 90);
    if out.contains(&b'/') {
        out.extend_from_slice(&more);
    }
    out.extend_from_slice(random.pick(&[" HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.0\r\n"]).as_bytes());
    if random.below(8) != 0 {
        out.extend_from_slice(
            random.pick(&["Host: a.example\r\n", "host:[::1]:80\r\n", "HOST: b:8080 \r\n"]).as_bytes(),
        );
    }
    fields(random, &mut out);
    out
}

fn response(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(random.pick(&["HTTP/1.1 ", "HTTP/1.1 ", "HTTP/1.0 "]).as_bytes());
    out.extend_from_slice(
        random.pick(&["200 OK", "204 No Content", "304 ", "404", "503 \x7e x", "100 Continue"]).as_bytes(),
    );
    out.extend_from_slice(b"\r\n");
    fields(random, &mut out);
    out
}

/// A few edits of the kind that attackers make: bytes that mean something, cuts, repetitions.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    const TELLING: &[u8] = b"\r\n\0\t \x0b\x7f\x80\xff:;,@#?/\\\"0aA_-";
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = TELLING[random.below(TELLING.len())],
            1 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            2 => {
                bytes.remove(at);
            }
            3 => bytes.truncate(at),
            _ => {
                let end = (at + random.below(24)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// Miri is a thousand times slower, and has httparse run without vectors anyway.
const ROUNDS: u64 = if cfg!(miri) { 12 } else { 40_000 };

#[test]
fn requests_read_as_httparse_reads_them() {
    let mut accepted = 0;
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let mut bytes = request(&mut random);
        oracle::request(&bytes);
        let whole = parse_request(&bytes, &Limits::default(), &mut RequestHead::new());
        accepted += u64::from(whole == Ok(Status::Complete));
        mutate(&mut random, &mut bytes);
        oracle::request(&bytes);
    }
    assert!(
        accepted * 10 > ROUNDS || cfg!(miri),
        "the generator makes requests that are accepted: {accepted} of {ROUNDS}"
    );
}

#[test]
fn responses_read_as_httparse_reads_them() {
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let mut bytes = response(&mut random);
        oracle::response(&bytes);
        mutate(&mut random, &mut bytes);
        oracle::response(&bytes);
    }
}
