//! Whole tokens: public vectors, forgeries, and every claim.

use crate::base64::encode;
use crate::{Audience, Claims, Discovery, Error, Expected, KeySet, discovery_url, verify, verify_signature};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding};
use serde_json::{Value, json};

const NOW_S: u64 = 1_700_000_000;

fn keys(jwk: &Value) -> KeySet {
    KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap()
}

fn signed(header: &Value, payload: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let input =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(payload.to_string().as_bytes()));
    let signature = sign(input.as_bytes());
    format!("{input}.{}", encode(&signature))
}

/// A key pair, and its public half as a JWK.
struct Ec(EcdsaKeyPair, Value);

impl Ec {
    fn new(curve: &'static signature::EcdsaSigningAlgorithm, name: &str) -> Self {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let jwk = json!({"kty": "EC", "crv": name, "kid": "k", "x": encode(x), "y": encode(y)});
        Self(pair, jwk)
    }

    fn sign(&self, header: &Value, payload: &Value) -> String {
        signed(header, payload, |input| self.0.sign(&SystemRandom::new(), input).unwrap().as_ref().to_vec())
    }
}

fn es256() -> Ec {
    Ec::new(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
}

#[test]
fn examples_of_rfc_7515_and_8037() {
    // RFC 7515, appendix A.3.
    let es256 =
        keys(&json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}));
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
        yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let expected = Expected { issuer: "joe", audience: Audience::Any, token_use: None, skew_s: 0 };
    let claims = verify(token, &es256, &expected, 1_300_819_379).unwrap();
    assert_eq!(claims.get("http://example.com/is_root"), Some(&Value::Bool(true)));
    assert_eq!(verify(token, &es256, &expected, 1_300_819_380).unwrap_err(), Error::Expired);
    // Appendix A.5: unsecured.
    let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9\
        pc19yb290Ijp0cnVlfQ.";
    assert_eq!(verify_signature(unsecured, &es256), Err(Error::Algorithm("none".to_owned())));
    // RFC 8037, appendix A.4.
    let ed25519 =
        keys(&json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}));
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6\
        dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(verify_signature(token, &ed25519).unwrap(), b"Example of Ed25519 signing");
}

/// Project Wycheproof's `json_web_signature_test.json`, group es256 (Apache-2.0), by comment.
#[test]
fn wycheproof_jws() {
    let es256 = keys(
        &json!({"alg": "ES256", "use": "sig", "crv": "P-256", "kid": "kid-ec-sign", "kty": "EC",
        "x": "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY", "y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"}),
    );
    let header = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0";
    let sig = "5cA0OHyMP7ezamUd5c9kV-FrGxdx4hbGXOdplQkutrqWrte5P-pAvsE3Ve6xSyU3YDQwUHjVVOtvcrEbbnZ8yA";
    let valid = format!("{header}.Zm9v.{sig}");
    assert_eq!(verify_signature(&valid, &es256).unwrap(), b"foo");
    for (comment, token) in [
        ("rejectsModifiedSignature", format!("{header}.Zm9v.X{}", &sig[1..])),
        ("rejectsMissingSignature", format!("{header}.Zm9v.")),
        ("rejectsMissingSignatureAndSeparator", format!("{header}.Zm9v")),
        ("rejectsModifiedPayload", format!("{header}.WG9v.{sig}")),
        ("rejectsMissingPayload", format!("{header}..{sig}")),
        ("rejectsMissingPayloadAndSeparator", format!("{header}.{sig}")),
        ("rejectsModifiedHeader", format!("eyJhbGciOiJFUzI1NiIsImtpZCI6IlhpZC1lYy1zaWduIn0.Zm9v.{sig}")),
        ("rejectsMissingHeader", format!(".Zm9v.{sig}")),
        ("rejectsMissingHeaderAndSeparator", format!("Zm9v.{sig}")),
        ("rejectsMissingHeaderAndSignature", ".Zm9v.".to_owned()),
        ("rejectsMissingHeaderSignatureAndSeparators", "Zm9v".to_owned()),
        ("rejectsEmptyString", String::new()),
        ("rejectsExtraEmptyComponent", format!("{valid}.")),
        ("rejectsExtraComponent", format!("{valid}.foo")),
        ("rejectsNoneAlgorithmAndMissingSignature", "eyJhbGciOiJub25lIiwia2lkIjoia2lkLWFlcy1zaWduIn0.Zm9v.".to_owned()),
        ("rejectsSymmetryConfusionAttacks",
            "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIn0.Zm9v.TgWtz2FIRukBQ_mA5sgHa0Ybtgn7bl-YBPAi7Z0XdHU".to_owned()),
        ("rejectsAttackerProvidedEmbeddedJwk",
            "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtpZC1lYy1zaWduIiwiandrIjp7Imt0eSI6IkVDIiwia2lkIjoia2lkLWVjLXNpZ24iLCJ1c2UiOiJzaWciLCJhbGciOiJFUzI1NiIsIngiOiJNZG5UWkRJaERKYmZBU2RGcWFtY3BPMkNoOUdOS0sybTBNUWxoNDAyU3BvIiwieSI6Ijdhdko0bHFfV3l4LW5MUERCUTJZcHl0dUh5TWlvMDdCVXl2bDNqYUMtMVkiLCJjcnYiOiJQLTI1NiJ9fQ.Zm9v.4jmsollQD8ZxvySzXYnIEYA4fwaZi2ZbC0aI1J4LYmW2Bn31NhKdjms2N6o51Dff5-InWXQF9m45VtTexl6yjg".to_owned()),
        ("JsonSerialization", format!("{{\"payload\":\"Zm9v\",\"protected\":\"{header}\",\"signature\":\"{sig}\"}}")),
        ("padding", format!("{valid}==")),
        ("whitespace", format!("{valid}\n")),
    ] {
        assert!(verify_signature(&token, &es256).is_err(), "{comment}");
    }
}

/// Signs nothing: puts Wycheproof's signatures of raw messages to a key that came through a JWK.
fn raw(jwk: &Value, message: &[u8], signature: &[u8]) -> Option<bool> {
    let set = keys(jwk);
    let algorithm = crate::Algorithm::named(jwk["alg"].as_str()?)?;
    let mut candidates = set.candidates(None, algorithm);
    let key = candidates.next()?;
    Some(key.verify_sig(message, signature).is_ok())
}

#[test]
fn wycheproof_ecdsa_and_eddsa() {
    use wycheproof::{ecdsa, eddsa};
    let mut run = 0;
    for (name, alg, crv) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, "ES256", "P-256"),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, "ES384", "P-384"),
        (ecdsa::TestName::EcdsaSecp521r1Sha512P1363, "ES512", "P-521"),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let point: &[u8] = group.key.key.as_ref();
            let (x, y) = point[1..].split_at(point.len() / 2);
            let jwk = json!({"kty": "EC", "alg": alg, "crv": crv, "x": encode(x), "y": encode(y)});
            for test in group.tests {
                let accepted = raw(&jwk, &test.msg, &test.sig).unwrap();
                assert_eq!(accepted, !test.result.must_fail(), "{alg} {} {}", test.tc_id, test.comment);
                run += 1;
            }
        }
    }
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": encode(&group.key.pk)});
        for test in group.tests {
            let accepted = raw(&jwk, &test.msg, &test.sig).unwrap();
            assert_eq!(accepted, !test.result.must_fail(), "EdDSA {} {}", test.tc_id, test.comment);
            run += 1;
        }
    }
    assert!(run > 500, "{run}");
}

#[test]
fn wycheproof_rsa() {
    use wycheproof::{rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};
    let mut run = 0;
    let mut check =
        |alg: &str, n: &[u8], e: &[u8], id: usize, message: &[u8], signature: &[u8], expected: bool| {
            let jwk = json!({"kty": "RSA", "alg": alg, "n": encode(n), "e": encode(e)});
            if let Some(accepted) = raw(&jwk, message, signature) {
                assert_eq!(accepted, expected, "{alg} {id}");
                run += 1;
            }
        };
    for (name, alg) in [
        (pkcs1::TestName::Rsa2048Sha256, "RS256"),
        (pkcs1::TestName::Rsa2048Sha384, "RS384"),
        (pkcs1::TestName::Rsa4096Sha512, "RS512"),
    ] {
        for group in pkcs1::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                // Acceptable: a DigestInfo without NULL, which the provider refuses as RFC 8017 would have it.
                let expected = test.result == wycheproof::TestResult::Valid;
                check(
                    alg,
                    group.key.n.as_ref(),
                    group.key.e.as_ref(),
                    test.tc_id,
                    &test.msg,
                    &test.sig,
                    expected,
                );
            }
        }
    }
    for (name, alg) in [
        (pss::TestName::RsaPss2048Sha256Mgf1SaltLen32, "PS256"),
        (pss::TestName::RsaPss2048Sha384Mgf1SaltLen48, "PS384"),
        (pss::TestName::RsaPss4096Sha512Mgf1SaltLen64, "PS512"),
    ] {
        for group in pss::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let expected = test.result == wycheproof::TestResult::Valid;
                check(
                    alg,
                    group.key.n.as_ref(),
                    group.key.e.as_ref(),
                    test.tc_id,
                    &test.msg,
                    &test.sig,
                    expected,
                );
            }
        }
    }
    assert!(run > 500, "{run}");
}

#[test]
fn every_algorithm_and_no_other_for_its_key() {
    let payload = json!({"iss": "i", "exp": NOW_S + 60});
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey in DER: a sequence of the modulus, after a zero for its sign, and 65537.
    let der = rsa.public_key().as_ref();
    let mut jwk = json!({"kty": "RSA", "kid": "k", "n": encode(&der[9..265]), "e": "AQAB"});
    let encodings: [(&str, &'static dyn RsaEncoding); 6] = [
        ("RS256", &signature::RSA_PKCS1_SHA256),
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ];
    for (name, encoding) in encodings {
        let token = signed(&json!({"alg": name, "kid": "k"}), &payload, |input| {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(encoding, &SystemRandom::new(), input, &mut signature).unwrap();
            signature
        });
        jwk.as_object_mut().unwrap().remove("alg");
        assert!(verify_signature(&token, &keys(&jwk)).is_ok(), "{name}");
        jwk["alg"] = name.into();
        assert!(verify_signature(&token, &keys(&jwk)).is_ok(), "{name}");
        jwk["alg"] = (if name == "RS256" { "PS256" } else { "RS256" }).into();
        assert_eq!(
            verify_signature(&token, &keys(&jwk)),
            Err(Error::UnknownKey(Some("k".to_owned()))),
            "{name}"
        );
    }
    for (name, curve, crv) in [
        ("ES256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
        ("ES384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
        ("ES512", &signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
    ] {
        let pair = Ec::new(curve, crv);
        assert!(
            verify_signature(&pair.sign(&json!({"alg": name}), &payload), &keys(&pair.1)).is_ok(),
            "{name}"
        );
        let other = if name == "ES256" { "ES384" } else { "ES256" };
        let token = pair.sign(&json!({"alg": other}), &payload);
        assert_eq!(verify_signature(&token, &keys(&pair.1)), Err(Error::UnknownKey(None)));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())});
    for name in ["EdDSA", "Ed25519"] {
        let token = signed(&json!({"alg": name}), &payload, |input| pair.sign(input).as_ref().to_vec());
        assert!(verify_signature(&token, &keys(&jwk)).is_ok());
    }
}

#[test]
fn forged_headers() {
    let pair = es256();
    let set = keys(&pair.1);
    let payload = json!({"iss": "i", "exp": NOW_S + 60});
    let outcome = |header: Value| verify_signature(&pair.sign(&header, &payload), &set).map(|_| ());
    assert_eq!(outcome(json!({"alg": "ES256", "kid": "k", "typ": "at+jwt", "x5t": "x"})), Ok(()));
    for alg in ["none", "None", "HS256", "HS512", "es256", "ES256K", ""] {
        assert_eq!(outcome(json!({"alg": alg})), Err(Error::Algorithm(alg.to_owned())));
    }
    assert_eq!(outcome(json!({"alg": "ES256", "crit": ["exp"]})), Err(Error::Critical));
    assert_eq!(outcome(json!({"alg": "ES256", "crit": []})), Err(Error::Critical));
    assert_eq!(outcome(json!({"alg": "ES256", "kid": "K"})), Err(Error::UnknownKey(Some("K".to_owned()))));
    assert!(matches!(outcome(json!({"alg": "ES256", "kid": 1})), Err(Error::Malformed(_))));
    assert!(matches!(outcome(json!({"alg": ["ES256"]})), Err(Error::Malformed(_))));
    // A stranger's key, embedded.
    let stranger = es256();
    let token = stranger.sign(&json!({"alg": "ES256", "kid": "k", "jwk": stranger.1.clone()}), &payload);
    assert_eq!(verify_signature(&token, &set), Err(Error::Signature));
    // A name twice: whatever the second says.
    let twice = encode(br#"{"alg":"none","alg":"ES256"}"#);
    assert!(matches!(verify_signature(&format!("{twice}.e30.AAAA"), &set), Err(Error::Malformed(_))));
    assert_eq!(verify_signature(&"a".repeat(crate::MAX_TOKEN_BYTES + 1), &set), Err(Error::TooLong));
}

#[test]
fn every_claim() {
    let pair = es256();
    let set = keys(&pair.1);
    let check = |change: Value, audience: &[&str], token_use: Option<&str>| -> Result<Claims, Error> {
        let mut payload = json!({"iss": "https://i", "exp": NOW_S + 60, "aud": "app"});
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => payload.as_object_mut().unwrap().remove(name),
                value => payload.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        let audience = if audience.is_empty() { Audience::Any } else { Audience::OneOf(audience) };
        let expected = Expected { issuer: "https://i", audience, token_use, skew_s: 5 };
        verify(&pair.sign(&json!({"alg": "ES256"}), &payload), &set, &expected, NOW_S)
    };
    for (change, audience, token_use, expected) in [
        (json!({}), &["app"][..], None, None),
        (json!({"exp": NOW_S - 4}), &[], None, None),
        (json!({"exp": NOW_S - 5}), &[], None, Some(Error::Expired)),
        (json!({"exp": 1.7e9 + 0.5}), &[], None, None),
        (json!({"exp": null}), &[], None, Some(Error::Claim("exp"))),
        (json!({"exp": "1700000060"}), &[], None, Some(Error::Claim("exp"))),
        (json!({"exp": -1}), &[], None, Some(Error::Claim("exp"))),
        (json!({"exp": 1e300}), &[], None, None),
        (json!({"nbf": NOW_S + 5}), &[], None, None),
        (json!({"nbf": NOW_S + 6}), &[], None, Some(Error::NotYet)),
        (json!({"nbf": "x"}), &[], None, Some(Error::Claim("nbf"))),
        (json!({"iat": NOW_S + 6}), &[], None, Some(Error::IssuedInFuture)),
        (json!({"iss": "https://i/"}), &[], None, Some(Error::Issuer)),
        (json!({"iss": null}), &[], None, Some(Error::Issuer)),
        (json!({"aud": "other"}), &[], None, None),
        (json!({"aud": "other"}), &["app"], None, Some(Error::Audience)),
        (json!({"aud": ["other", "app"]}), &["app"], None, None),
        (json!({"aud": []}), &["app"], None, Some(Error::Audience)),
        (json!({"aud": null, "client_id": "app"}), &["x", "app"], None, None),
        (json!({"aud": "other", "client_id": "app"}), &["app"], None, Some(Error::Audience)),
        (json!({"aud": null}), &["app"], None, Some(Error::Audience)),
        (json!({"token_use": "id"}), &[], Some("id"), None),
        (json!({"token_use": "id"}), &[], Some("access"), Some(Error::TokenUse)),
        (json!({}), &[], Some("access"), Some(Error::TokenUse)),
    ] {
        assert_eq!(check(change.clone(), audience, token_use).err(), expected, "{change} {audience:?}");
    }
    for scopes in [json!({"scope": "a  b/c"}), json!({"scp": ["a", "b/c"]}), json!({"scp": "a b/c"})] {
        let claims = check(scopes, &[], None).unwrap();
        assert_eq!(claims.scopes().collect::<Vec<_>>(), ["a", "b/c"]);
        assert!(
            claims.has_any_scope(["x", "b/c"]) && claims.has_any_scope([]) && !claims.has_any_scope(["b"])
        );
    }
}

#[test]
fn key_sets() {
    let good = es256().1;
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        jwk
    };
    let list = [
        good.clone(),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("d", json!("AA")),
        with("alg", json!("RS256")),
        with("alg", json!("ES256K")),
        with("crv", json!("P-384")),
        with("x", json!("AAAA")),
        with("y", json!(encode(&[1; 32]))),
        with("kid", json!(7)),
        json!({"kty": "oct", "alg": "HS256", "x": "AA"}),
        json!({"kty": "RSA", "n": encode(&[255; 128]), "e": "AQAB"}),
        json!({"kty": "OKP", "crv": "X25519", "x": encode(&[1; 32])}),
        json!("key"),
    ];
    let set = KeySet::parse(json!({"keys": list}).to_string().as_bytes()).unwrap();
    assert_eq!((set.len(), set.skipped().len()), (1, list.len() - 1), "{:?}", set.skipped());
    for document in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
    }
    assert!(KeySet::parse(br#"{"keys":[]}"#).unwrap().is_empty());
    let many = json!({"keys": vec![0; crate::MAX_KEYS + 1]}).to_string();
    assert_eq!(
        KeySet::parse(many.as_bytes()).err().unwrap().to_string(),
        "expected at most 256 keys, found 257"
    );
    assert!(KeySet::parse(&vec![b' '; crate::MAX_DOCUMENT_BYTES + 1]).is_err());
}

#[test]
fn discovery_documents() {
    assert_eq!(discovery_url("https://i/pool/"), "https://i/pool/.well-known/openid-configuration");
    let parse = |issuer: &str, uri: &str, wanted: &str| {
        Discovery::parse(json!({"issuer": issuer, "jwks_uri": uri, "x": []}).to_string().as_bytes(), wanted)
    };
    assert_eq!(parse("https://i", "https://k/jwks", "https://i").unwrap().jwks_uri, "https://k/jwks");
    assert!(parse("http://i", "http://k/jwks", "http://i").is_ok());
    for (issuer, uri, wanted) in [
        ("https://i/", "https://k", "https://i"),
        ("https://i", "http://k", "https://i"),
        ("http://i", "file:///k", "http://i"),
    ] {
        assert!(parse(issuer, uri, wanted).is_err());
    }
    assert!(Discovery::parse(b"[]", "https://i").is_err());
}
