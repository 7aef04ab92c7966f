//! The wire codec: parsing heads (against httparse), decoding chunks, encoding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may panic"
)]
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_wire::{
    ChunkedDecoder, Limits, Method, RequestHead, ResponseHead, Status, enc, parse_request, parse_response,
    portable,
};
use std::hint::black_box;

/// 436 bytes, ten headers: what an API client behind a browser sends. Comparisons in documents refer to this one.
const REQUEST: &[u8] = b"GET /users/1234567/orders?page=2&limit=50 HTTP/1.1\r\n\
Host: api.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
Accept: application/json\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Accept-Language: en-GB,en;q=0.9\r\n\
Connection: keep-alive\r\n\
X-API-Key: 0123456789abcdef0123456789abcdef\r\n\
X-Request-Id: 6f1c1bfa-3f0e-4d5a-9c55-0d2c4f7a1b20\r\n\
Cookie: session=4f9a8b7c6d5e\r\n\
Cache-Control: no-cache\r\n\r\n";

/// What wrk and curl send: three headers.
const SMALL: &[u8] =
    b"GET /users/42 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: nginx/1.28.0\r\n\
Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
Content-Type: application/json; charset=utf-8\r\n\
Content-Length: 187\r\n\
Connection: keep-alive\r\n\
Cache-Control: public, max-age=60\r\n\
ETag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\
X-Request-Id: 6f1c1bfa-3f0e-4d5a-9c55-0d2c4f7a1b20\r\n\r\n";

fn requests(c: &mut Criterion) {
    let limits = Limits::default();
    for (name, bytes) in [("request/436", REQUEST), ("request/small", SMALL)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let mut head = RequestHead::new();
        group.bench_function("sluice", |b| {
            b.iter(|| {
                let status = parse_request(black_box(bytes), &limits, &mut head);
                assert_eq!(status, Ok(Status::Complete));
                black_box(&mut head);
            });
        });
        group.bench_function("sluice without AVX2", |b| {
            b.iter(|| {
                let status = portable::parse_request(black_box(bytes), &limits, &mut head);
                assert_eq!(status, Ok(Status::Complete));
                black_box(&mut head);
            });
        });
        group.bench_function("httparse", |b| {
            b.iter(|| {
                let mut headers = [const { std::mem::MaybeUninit::<httparse::Header<'_>>::uninit() }; 32];
                let mut request = httparse::Request::new(&mut []);
                let status = request.parse_with_uninit_headers(black_box(bytes), &mut headers);
                assert!(status.unwrap().is_complete());
                black_box(&mut request);
            });
        });
        group.finish();
    }
}

fn responses(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("response");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    let mut head = ResponseHead::new();
    group.bench_function("sluice", |b| {
        b.iter(|| {
            let status = parse_response(black_box(RESPONSE), &limits, Method::Get, &mut head);
            assert_eq!(status, Ok(Status::Complete));
            black_box(&mut head);
        });
    });
    group.bench_function("httparse", |b| {
        b.iter(|| {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut response = httparse::Response::new(&mut headers);
            assert!(response.parse(black_box(RESPONSE)).unwrap().is_complete());
            black_box(&mut response);
        });
    });
    group.finish();
}

fn chunks(c: &mut Criterion) {
    let mut body = Vec::new();
    for _ in 0..16 {
        enc::chunk_head(&mut body, 4096);
        body.resize(body.len() + 4096, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(enc::LAST_CHUNK);
    let mut group = c.benchmark_group("chunked/64 KiB");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode", |b| {
        b.iter_batched_ref(
            || ChunkedDecoder::new(&Limits::default()),
            |decoder| {
                let mut at = 0;
                while !decoder.is_done() {
                    let chunk = decoder.decode(black_box(body.get(at..).unwrap())).unwrap();
                    black_box(&chunk.data);
                    at += chunk.consumed;
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn encoding(c: &mut Criterion) {
    let mut out = Vec::with_capacity(1024);
    c.bench_function("encode/response head", |b| {
        let date = enc::http_date_bytes(784_111_777);
        b.iter(|| {
            out.clear();
            enc::status_line(&mut out, black_box(200));
            enc::header(&mut out, b"date", &date);
            enc::header(&mut out, b"content-type", black_box(b"application/json"));
            enc::content_length(&mut out, black_box(187));
            enc::header(&mut out, b"x-amzn-requestid", black_box(b"6f1c1bfa-3f0e-4d5a-9c55-0d2c4f7a1b20"));
            out.extend_from_slice(b"\r\n");
            black_box(&mut out);
        });
    });
    c.bench_function("encode/date", |b| b.iter(|| enc::http_date_bytes(black_box(784_111_777))));
}

criterion_group!(benches, requests, responses, chunks, encoding);
criterion_main!(benches);
