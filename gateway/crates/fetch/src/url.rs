//! `http` and `https` URLs, as far as a GET needs them.

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    https: bool,
    host: String,
    port: u16,
    authority: String,
    target: String,
}

impl Url {
    /// Takes a URL apart. No user information, no fragment.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (https, rest) = match text.split_once("://")? {
            ("https", rest) => (true, rest),
            ("http", rest) => (false, rest),
            _ => return None,
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['#', '@', '\\']) {
            return None;
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            _ => (authority, if https { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        (!host.is_empty()).then(|| Self {
            https,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            target,
        })
    }

    /// By TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// Name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The one given, or the scheme's.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let parts = |text: &str| {
            let url = Url::parse(text)?;
            Some(format!("{} {} {} {} {}", url.https, url.host, url.port, url.authority, url.target))
        };
        for (text, expected) in [
            ("https://a.example/keys?x=1", Some("true a.example 443 a.example /keys?x=1")),
            ("http://127.0.0.1:8080", Some("false 127.0.0.1 8080 127.0.0.1:8080 /")),
            ("http://[::1]:80/a", Some("false ::1 80 [::1]:80 /a")),
            ("http://a?b", Some("false a 80 a /?b")),
            ("ftp://a/", None),
            ("http://", None),
            ("http://u:p@a/", None),
            ("http://a:0/", None),
            ("http://a/ b", None),
            ("http://a/#b", None),
            ("a", None),
        ] {
            assert_eq!(parts(text).as_deref(), expected, "{text}");
        }
    }
}
