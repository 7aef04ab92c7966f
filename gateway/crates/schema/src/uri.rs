//! References to schemas: resolved against a base (RFC 3986 section 5), and split from their fragment.

/// A reference without its fragment, and the fragment.
pub(crate) fn split(uri: &str) -> (&str, &str) {
    uri.split_once('#').unwrap_or((uri, ""))
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|char: char| char.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// `reference` as seen from `base`; what has no fragment keeps none.
pub(crate) fn resolve(base: &str, reference: &str) -> String {
    let (base, _) = split(base);
    if reference.is_empty() || reference.starts_with('#') {
        return format!("{base}{reference}");
    }
    if has_scheme(reference) || base.is_empty() {
        return reference.to_owned();
    }
    let scheme = base.split_once(':').map_or("", |(scheme, _)| scheme);
    if reference.starts_with("//") {
        return format!("{scheme}:{reference}");
    }
    let path = base.find("://").and_then(|at| base.get(at + 3..)?.find('/').map(|slash| at + 3 + slash));
    let (origin, path) = path.map_or((base, "/"), |at| base.split_at(at));
    let (reference, fragment) = reference.split_once('#').map_or((reference, None), |(a, b)| (a, Some(b)));
    let joined = if reference.starts_with('/') {
        reference.to_owned()
    } else {
        let folder = path.rfind('/').map_or("/", |slash| path.get(..=slash).unwrap_or("/"));
        format!("{folder}{reference}")
    };
    let mut out = format!("{origin}{}", without_dots(&joined));
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(fragment);
    }
    out
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => {
                if kept.len() > 1 {
                    kept.pop();
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.join("/")
}

/// The tokens of a JSON pointer in a fragment (RFC 6901 section 6).
pub(crate) fn tokens(pointer: &str) -> Vec<String> {
    let decoded = percent_decoded(pointer);
    decoded.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        if byte == b'%'
            && let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next()))
        {
            out.push((high << 4 | low) as u8);
            bytes = ahead;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{resolve, tokens};

    #[test]
    fn references_are_resolved() {
        let base = "http://h:1/a/b.json";
        for (reference, expected) in [
            ("", "http://h:1/a/b.json"),
            ("#x", "http://h:1/a/b.json#x"),
            ("c.json", "http://h:1/a/c.json"),
            ("c/d.json#/e", "http://h:1/a/c/d.json#/e"),
            ("../c", "http://h:1/c"),
            ("/c", "http://h:1/c"),
            ("//i/c", "http://i/c"),
            ("urn:x:y", "urn:x:y"),
        ] {
            assert_eq!(resolve(base, reference), expected);
        }
        assert_eq!(resolve("", "c.json"), "c.json");
        assert_eq!(resolve("http://h", "c"), "http://h/c");
    }

    #[test]
    fn pointers_are_taken_apart() {
        assert_eq!(tokens(""), Vec::<String>::new());
        assert_eq!(tokens("/a~1b/c~0d/%25"), ["a/b", "c~d", "%"]);
    }
}
