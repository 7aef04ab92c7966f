//! The status that a MOCK's request template names.

/// Finds `statusCode` in what an integration request became: `{"statusCode": 200}`. Like AWS this asks for no strict JSON:
/// the name may be without quotes.
#[must_use]
pub fn mock_status(text: &[u8]) -> Option<u16> {
    const NAME: &[u8] = b"statusCode";
    let at = text.windows(NAME.len()).position(|window| window == NAME)?;
    let rest = text.get(at + NAME.len()..)?;
    let rest =
        rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest).trim_ascii_start();
    let rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let status: u16 = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::mock_status;

    #[test]
    fn read_as_aws_reads_it() {
        for (text, expected) in [
            (r#"{"statusCode": 200}"#, Some(200)),
            ("{statusCode:404}", Some(404)),
            ("{\n  'statusCode' : 500,\n \"x\": 1 }", Some(500)),
            (r#"{"statusCode": "200"}"#, Some(200)),
            (r#"{"statusCode": 99}"#, None),
            (r#"{"statusCode": 70000}"#, None),
            (r#"{"statusCode": "x"}"#, None),
            (r#"{"statusCode"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(mock_status(text.as_bytes()), expected, "{text}");
        }
    }
}
