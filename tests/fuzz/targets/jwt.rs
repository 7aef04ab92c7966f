//! A token, NUL, a key set: whatever they are, nothing panics; and by the key of RFC 8037 nothing but its own example verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_jwt::{Audience, Discovery, Expected, KeySet, verify, verify_signature};
use std::sync::LazyLock;

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let jwk = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    KeySet::parse(jwk.as_bytes()).expect("a key set")
});

fuzz_target!(|input: &str| {
    let (token, keys) = input.split_once('\0').unwrap_or((input, ""));
    if let Ok(payload) = verify_signature(token, &KEYS) {
        assert_eq!(payload, b"Example of Ed25519 signing");
    }
    let _ = Discovery::parse(keys.as_bytes(), "https://issuer");
    if let Ok(keys) = KeySet::parse(keys.as_bytes()) {
        let expected = Expected { issuer: "i", audience: Audience::OneOf(&["a"]), token_use: None, skew_s: 0 };
        let _ = verify(token, &keys, &expected, 0);
    }
});
