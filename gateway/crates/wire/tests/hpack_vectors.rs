//! The examples of RFC 7541 Appendix C, block by block, and what else that RFC requires of a decoder and an intermediary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use sluice_wire::KnownHeader;
use sluice_wire::h2::{Decoder, Encoder};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What a block says, as lines, with a star where it must never be indexed.
fn decode(decoder: &mut Decoder, block: &[u8]) -> String {
    let (mut out, mut fields) = (Vec::new(), Vec::new());
    assert!(decoder.decode(block, &mut out, 1 << 20, |field| fields.push(field)).unwrap());
    let line = |f: &sluice_wire::h2::Field| {
        let text = |span: sluice_wire::Span| String::from_utf8(span.of(&out).to_vec()).unwrap();
        format!("{}{}: {}\n", if f.never_indexed { "*" } else { "" }, text(f.name), text(f.value))
    };
    fields.iter().map(line).collect()
}

const REQUESTS: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
];

const RESPONSES: [&str; 3] = [
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n\
     content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
];

#[test]
fn appendix_c_2_representations() {
    for (hex, said) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header\n"),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "*password: secret\n"),
        ("82", ":method: GET\n"),
    ] {
        assert_eq!(decode(&mut Decoder::default(), &bytes(hex)), said);
    }
}

#[test]
fn appendix_c_3_and_c_4_requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::default();
        for (block, said) in blocks.iter().zip(REQUESTS) {
            assert_eq!(decode(&mut decoder, &bytes(block)), said);
        }
    }
}

/// With a table of 256 bytes, so that entries are evicted.
#[test]
fn appendix_c_5_and_c_6_responses() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
         2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(256);
        for (block, said) in blocks.iter().zip(RESPONSES) {
            assert_eq!(decode(&mut decoder, &bytes(block)), said);
        }
    }
}

/// Section 4.4: an entry larger than the table is no error; it empties the table.
#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(64);
    assert_eq!(decode(&mut decoder, &bytes("4001 6101 62")), "a: b\n");
    assert_eq!(decode(&mut decoder, &[0xbe]), "a: b\n");
    let large = [&[0x40, 1, b'c', 40][..], &[b'd'; 40]].concat();
    decode(&mut decoder, &large);
    assert!(decoder.decode(&[0xbe], &mut Vec::new(), 100, |_| {}).is_err());
}

/// Section 4.2: after a change both the smallest size and the last are announced, and a reader follows.
#[test]
fn changes_of_the_table_are_announced_before_the_next_block() {
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    let write = |encoder: &mut Encoder, decoder: &mut Decoder| {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.field(&mut block, KnownHeader::Other, b"name", b"value");
        assert_eq!(decode(decoder, &block), "name: value\n");
        block
    };
    for _ in 0..2 {
        write(&mut encoder, &mut decoder);
    }
    assert_eq!(write(&mut encoder, &mut decoder), [0xbe], "it is in the table");
    encoder.set_max_table(0);
    encoder.set_max_table(100);
    let block = write(&mut encoder, &mut decoder);
    assert_eq!(block[..3], [0x20, 0x3f, 0x45], "0, then 100");
}

/// Section 6.2.3: what came so goes on so, however often it is seen.
#[test]
fn what_must_never_be_indexed_is_written_so() {
    let mut encoder = Encoder::default();
    for _ in 0..5 {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.never_indexed(&mut block, KnownHeader::Other, b"password", b"secret");
        assert_eq!(decode(&mut Decoder::default(), &block), "*password: secret\n");
    }
}
