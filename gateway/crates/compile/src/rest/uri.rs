//! Where an integration's URI leads: `https://api.example.com:8443/v1/{proxy}?key=value`, with stage variables.

use sluice_catalog::Strings;
use sluice_snapshot::BackendTls;

/// A URI taken apart, stage variables filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) secure: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the `Host` header says it: the port only where it is not the scheme's own.
    pub(crate) authority: String,
    /// Begins with a literal that begins with `/`.
    pub(crate) path: Vec<Piece>,
    /// Without the `?`; `None`: there is none.
    pub(crate) query: Option<Vec<Piece>>,
    /// Path and query as they are written.
    pub(crate) target: String,
}

/// A piece of a path or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    /// `{name}`: an integration path parameter.
    Param(String),
}

impl Uri {
    /// Reads a URI.
    pub(crate) fn parse(text: &str, variables: &Strings) -> Result<Self, String> {
        let text = fill_in(text, variables)?;
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(format!("expected http://… or https://…, found \"{text}\"")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = host_and_port(authority)?;
        let default = if secure { 443 } else { 80 };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self {
            secure,
            port: port.unwrap_or(default),
            authority: match port {
                Some(port) if port != default => format!("{shown}:{port}"),
                _ => shown,
            },
            host,
            path: pieces(path)?,
            query: query.map(pieces).transpose()?,
            target: match query {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            },
        })
    }

    pub(crate) const fn tls(&self, any_issuer: bool) -> BackendTls {
        match (self.secure, any_issuer) {
            (false, _) => BackendTls::Plain,
            (true, false) => BackendTls::Verified,
            (true, true) => BackendTls::AnyIssuer,
        }
    }
}

/// Replaces `${stageVariables.name}`.
pub(crate) fn fill_in(text: &str, variables: &Strings) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let (name, after) =
            after.split_once('}').ok_or_else(|| format!("`${{` without `}}` in \"{text}\""))?;
        let name = name
            .strip_prefix("stageVariables.")
            .ok_or_else(|| format!("expected ${{stageVariables.…}}, found \"${{{name}}}\""))?;
        let value = variables.get(name).ok_or_else(|| format!("the stage has no variable `{name}`"))?;
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(format!("expected a port of 1 to 65535, found \"{port}\"")),
        },
    };
    // Parameters come from callers: one that chose the host would make an open proxy.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(format!("expected the name or address of a host, found \"{authority}\""));
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| format!("`{{` without `}}` in \"{text}\""))?;
        if !before.is_empty() {
            pieces.push(Piece::Literal(checked(before)?));
        }
        pieces.push(Piece::Param(name.strip_suffix('+').unwrap_or(name).to_owned()));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(checked(rest)?));
    }
    Ok(pieces)
}

/// What stands in a request line must not end it.
fn checked(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '#')) {
        Some(bad) => Err(format!("a URI cannot hold {bad:?}: percent-encode it")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.to_owned())
    }

    fn param(name: &str) -> Piece {
        Piece::Param(name.to_owned())
    }

    #[test]
    fn taken_apart() {
        let variables = Strings::from([("host".to_owned(), "API.example.com".to_owned())]);
        let uri = Uri::parse("https://${stageVariables.host}/v1/{proxy}?k=v&id={id}", &variables).unwrap();
        assert!(uri.secure);
        assert_eq!(
            (uri.host.as_str(), uri.port, uri.authority.as_str()),
            ("api.example.com", 443, "api.example.com")
        );
        assert_eq!(uri.path, [literal("/v1/"), param("proxy")]);
        assert_eq!(uri.query, Some(vec![literal("k=v&id="), param("id")]));
        let plain = Uri::parse("http://127.0.0.1:8080", &variables).unwrap();
        assert_eq!((plain.authority.as_str(), plain.path), ("127.0.0.1:8080", vec![literal("/")]));
        let six = Uri::parse("http://[::1]:81/{a+}", &variables).unwrap();
        assert_eq!((six.host.as_str(), six.authority.as_str()), ("::1", "[::1]:81"));
        assert_eq!(six.path, [literal("/"), param("a")]);
        assert_eq!(Uri::parse("http://h:80/", &variables).unwrap().authority, "h");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "ftp://h/",
            "arn:aws:apigateway:r:lambda:path/x",
            "http:///",
            "http://{host}/",
            "http://h:0/",
            "http://h:x/",
            "http://u@h/",
            "http://h/${stageVariables.nope}",
            "http://h/${context.x}",
            "http://h/{a",
            "http://h/a b",
            "http://h/a\r\nb",
        ] {
            assert!(Uri::parse(text, &Strings::new()).is_err(), "{text}");
        }
    }
}
