//! Checked tables to [`Settings`]: addresses, names and the few rules that one entry must obey alone.

use crate::aws;
use crate::diagnostic::{Diagnostic, Located, Position, Reporter};
use crate::functions;
use crate::read::Fields;
use crate::secure::{acme, certificate, tls};
use crate::settings::{
    AccessLog, ApiKey, Bans, Cache, CacheKey, CacheMode, Certificate, Engine, Forwarded, Limit, LogFormat,
    Mock, Route, RouteCache, Scope, Secret, Server, Settings, Upstream, Wait, Xdp, XdpLimits, XdpMode,
    XdpRate,
};
use crate::spec::{SECTIONS, Section};
use crate::suggest::known_names;
use crate::tokens;
use crate::upstreams::{implicit_upstreams, upstream};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const NAME_MAX_CHARS: usize = 64;

impl Settings {
    /// Reads a configuration, or says everything that is wrong with it.
    ///
    /// # Errors
    /// All problems in the order of the file.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Vec<Diagnostic>> {
        parse(text, file_name, None)
    }

    /// The embedded quick start with its backend at `demo`.
    ///
    /// # Errors
    /// None in a build whose tests passed.
    pub fn quickstart(demo: SocketAddr) -> Result<Self, Vec<Diagnostic>> {
        parse(crate::QUICKSTART, crate::QUICKSTART_NAME, Some(demo))
    }
}

fn parse(text: &str, file_name: &str, demo: Option<SocketAddr>) -> Result<Settings, Vec<Diagnostic>> {
    let file: Arc<str> = file_name.into();
    let mut out = Reporter::new(text, Arc::clone(&file));
    let Some(root) = tree(text, &mut out) else { return Err(out.finish()) };
    let file_tables = Tables::new(root.get_ref(), &mut out);
    let server = server(&file_tables.single("server", &mut out), &mut out);
    let certificates: Vec<Certificate> = file_tables.entries("certificates", &mut out, certificate);
    let tls = tls(&file_tables.single("tls", &mut out), &server, &certificates, &mut out);
    let issuer = file_tables.has("acme").then(|| file_tables.single("acme", &mut out));
    let acme = acme(issuer.as_ref(), &server, &certificates, &mut out);
    let mut upstreams: Vec<Upstream> =
        file_tables.entries("upstreams", &mut out, |name, fields, out| upstream(name, fields, demo, out));
    let routes =
        file_tables.entries("routes", &mut out, |name, fields, out| route(name, fields, &server, out));
    let keys = file_tables.entries("keys", &mut out, api_key);
    let limits = file_tables.entries("limits", &mut out, limit);
    let cache = cache(&file_tables.single("cache", &mut out), &mut out);
    let access_log = access_log(&file_tables.single("access_log", &mut out), &out);
    let xdp = if file_tables.has("xdp") { xdp(&file_tables.single("xdp", &mut out), &mut out) } else { None };
    let bans = if file_tables.has("bans") { bans(&file_tables, &mut out) } else { None };
    let store = aws::store(&file_tables.single("store", &mut out), &out);
    let aws_settings = aws::aws(&file_tables.single("aws", &mut out), &mut out);
    let access_keys = file_tables.entries("access_keys", &mut out, aws::access_key);
    let functions = file_tables.entries("functions", &mut out, functions::function);
    let lambda = functions::lambda(&file_tables.single("lambda", &mut out), &mut out);
    let services = file_tables.entries("services", &mut out, functions::service);
    let credentials = file_tables.entries("credentials", &mut out, functions::credentials);
    functions::check(&services, &credentials, &mut out);
    let authorizers = file_tables.entries("authorizers", &mut out, tokens::authorizer);
    let user_pools = file_tables.entries("user_pools", &mut out, tokens::user_pool);
    let vpc_links = file_tables.entries("vpc_links", &mut out, functions::vpc_link);
    let absent = Fields::absent(Tables::section("upstreams"));
    implicit_upstreams(&absent, &routes, &mut upstreams, &mut out);
    unique_key_values(&keys, &mut out);
    if !out.is_clean() {
        return Err(out.finish());
    }
    Ok(Settings {
        file,
        server,
        tls,
        certificates,
        acme,
        upstreams,
        routes,
        keys,
        limits,
        cache,
        access_log,
        xdp,
        bans,
        store,
        aws: aws_settings,
        access_keys,
        functions: functions.into_iter().flatten().collect(),
        lambda,
        services,
        credentials,
        authorizers,
        user_pools,
        vpc_links: vpc_links.into_iter().flatten().collect(),
    })
}

/// The file's tree, if there is no fault of syntax: after one the rest is a guess, and complaints about it would mislead.
fn tree<'i>(text: &'i str, out: &mut Reporter<'_>) -> Option<Spanned<DeTable<'i>>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        out.error_at(&span, error.message().to_owned(), None);
    }
    out.is_clean().then_some(root)
}

/// The top level of the file.
struct Tables<'a, 'i> {
    root: &'a DeTable<'i>,
}

/// A named entry and its key's place.
type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a DeTable<'i>);

impl<'a, 'i> Tables<'a, 'i> {
    fn new(root: &'a DeTable<'i>, out: &mut Reporter<'_>) -> Self {
        for (name, value) in root {
            let Some(section) = SECTIONS.iter().find(|s| s.name == name.get_ref()) else {
                let known = known_names(name.get_ref(), "tables", SECTIONS.iter().map(|s| s.name));
                let what = if value.get_ref().is_table() { "table" } else { "key" };
                out.error_at(&name.span(), format!("unknown {what} `{}`", name.get_ref()), Some(known));
                continue;
            };
            if !value.get_ref().is_table() {
                let written = if section.named {
                    format!("[{}.NAME]", section.name)
                } else {
                    format!("[{}]", section.name)
                };
                out.error_at(
                    &name.span(),
                    format!("`{}` expects a table", section.name),
                    Some(format!("write {written}")),
                );
            }
        }
        Self { root }
    }

    fn has(&self, name: &str) -> bool {
        self.root.contains_key(name)
    }

    fn section(name: &str) -> &'static Section {
        static NONE: Section = Section { name: "", named: false, doc: "", keys: &[] };
        SECTIONS.iter().find(|s| s.name == name).unwrap_or(&NONE)
    }

    /// `[name]`, or its defaults.
    fn single(&self, name: &str, out: &mut Reporter<'_>) -> Fields<'a, 'i> {
        let section = Self::section(name);
        match self.root.get_key_value(name) {
            Some((key, value)) => match value.get_ref() {
                DeValue::Table(table) => {
                    let at = out.position(key.span().start);
                    Fields::check(section, name, table, at, out)
                }
                _ => Fields::absent(section),
            },
            None => Fields::absent(section),
        }
    }

    /// Every `[name.ENTRY]` in the order of the file.
    fn entries<T>(
        &self,
        name: &str,
        out: &mut Reporter<'_>,
        mut read: impl FnMut(Located<Arc<str>>, &Fields<'a, 'i>, &mut Reporter<'_>) -> T,
    ) -> Vec<T> {
        let section = Self::section(name);
        let mut found: Vec<Entry<'a, 'i>> = Vec::new();
        for (entry, value) in self.root.get(name).and_then(|v| v.get_ref().as_table()).into_iter().flatten() {
            match value.get_ref() {
                DeValue::Table(table) => found.push((entry, table)),
                _ => out.error_at(
                    &entry.span(),
                    format!("`{}` stands outside a table", entry.get_ref()),
                    Some(format!("write [{name}.NAME] above it")),
                ),
            }
        }
        found.sort_by_key(|(entry, _)| entry.span().start);
        found
            .into_iter()
            .map(|(entry, table)| {
                let at = out.position(entry.span().start);
                check_name(entry.get_ref(), at, out);
                let title = format!("{name}.{}", entry.get_ref());
                let fields = Fields::check(section, &title, table, at, out);
                read(Located::new(entry.get_ref().as_ref().into(), at), &fields, out)
            })
            .collect()
    }
}

fn check_name(name: &str, at: Position, out: &mut Reporter<'_>) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > NAME_MAX_CHARS || !name.bytes().all(allowed) {
        let message =
            format!("the name \"{name}\" expects 1 to {NAME_MAX_CHARS} of letters, digits, `_` and `-`");
        out.error(at, message, None);
    }
}

fn server(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Server {
    let mut listen: Vec<Located<SocketAddr>> =
        fields.texts("listen", out).iter().filter_map(|text| listener(text, "listen", out)).collect();
    let listen_tls: Vec<Located<SocketAddr>> =
        fields.texts("listen_tls", out).iter().filter_map(|text| listener(text, "listen_tls", out)).collect();
    if !fields.has("listen") {
        listen.push(Located::new(SocketAddr::from(([127, 0, 0, 1], 8080)), fields.at));
    } else if fields.is_empty_list("listen") && listen_tls.is_empty() {
        out.error(fields.place("listen", out), "`listen` expects at least one address", None);
    }
    let admin = fields.text("admin_listen", out).filter(|text| text.value != "off");
    let admin_listen = admin.and_then(|text| listener(&text, "admin_listen", out));
    Server {
        listen,
        listen_tls,
        admin_listen,
        cores: fields.integer_if_any("cores").and_then(|n| usize::try_from(n).ok()),
        steers_by_cpu: choice(fields, "steering", out) == "cpu",
        request_line_max_bytes: fields.integer("request_line_max_bytes"),
        header_max_bytes: fields.integer("header_max_bytes"),
        header_max_count: fields.integer("header_max_count"),
        body_max_bytes: fields.integer("body_max_bytes"),
        header_timeout_ms: fields.integer("header_timeout_ms"),
        idle_timeout_ms: fields.integer("idle_timeout_ms"),
        body_timeout_ms: fields.integer("body_timeout_ms"),
        max_connections: fields.integer("max_connections"),
        max_connections_per_address: fields.integer("max_connections_per_address"),
        forwarded: match choice(fields, "forwarded", out).as_str() {
            "forwarded" => Forwarded::Standard,
            "both" => Forwarded::Both,
            "off" => Forwarded::Off,
            _ => Forwarded::XForwarded,
        },
        http2: fields.bool("http2"),
        http2_max_streams: fields.integer("http2_max_streams"),
        trusted_proxies: networks(fields, "trusted_proxies", out),
        trusted_forwarded: choice(fields, "trusted_proxy_header", out) == "forwarded",
        proxy_protocol_from: networks(fields, "proxy_protocol_from", out),
        via: fields.bool("via"),
        drain_timeout_ms: fields.integer("drain_timeout_ms"),
        engine: match choice(fields, "engine", out).as_str() {
            "io_uring" => Engine::IoUring,
            "epoll" => Engine::Epoll,
            _ => Engine::Auto,
        },
        wait: match choice(fields, "wait", out).as_str() {
            "low_latency" => Wait::LowLatency,
            "efficient" => Wait::Efficient,
            _ => Wait::Balanced,
        },
    }
}

pub(crate) fn choice(fields: &Fields<'_, '_>, name: &str, out: &Reporter<'_>) -> String {
    fields.text(name, out).map(|text| text.value).unwrap_or_default()
}

/// Listeners take addresses, not names: which interface a name means is too much of a guess.
fn listener(text: &Located<String>, key: &str, out: &mut Reporter<'_>) -> Option<Located<SocketAddr>> {
    match text.value.parse() {
        Ok(addr) => Some(Located::new(addr, text.at)),
        Err(_) => {
            let help = "for example \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::]:80\"".to_owned();
            out.error(text.at, format!("`{key}` expects ip:port, found \"{}\"", text.value), Some(help));
            None
        }
    }
}

fn route(name: Located<Arc<str>>, fields: &Fields<'_, '_>, server: &Server, out: &mut Reporter<'_>) -> Route {
    let mocked = ["mock_status", "mock_body", "mock_content_type"].into_iter().find(|key| fields.has(key));
    let mock = mocked.map(|key| {
        let text = |key| fields.text(key, out).map(|text| text.value).unwrap_or_default();
        let mock = Mock {
            status: fields.integer("mock_status"),
            body: text("mock_body"),
            content_type: text("mock_content_type"),
        };
        Located::new(mock, fields.place(key, out))
    });
    if let Some(mock) = &mock {
        check_mock(mock, fields, out);
    }
    let methods = fields.texts("methods", out);
    for method in &methods {
        check_method(method, out);
    }
    let cache = route_cache(fields, out);
    Route {
        name,
        host: fields.text("host", out).and_then(|text| host(text, out)),
        path: fields.text("path", out).unwrap_or_else(|| Located::new(String::new(), fields.at)),
        methods,
        upstream: fields.text("upstream", out),
        upstream_path: fields.text("upstream_path", out),
        mock,
        function: function(fields, out),
        has_payload_v1: choice(fields, "payload_format_version", out) == "1.0",
        authorizer: fields.text("authorizer", out),
        api_key_required: fields.bool("api_key_required"),
        limits: fields.texts("limits", out),
        cache,
        body_max_bytes: fields.integer_if_any("body_max_bytes").unwrap_or(server.body_max_bytes),
        total_timeout_ms: fields.integer_if_any("total_timeout_ms"),
        upgrade: upgrade(fields, out),
        tunnel_idle_timeout_ms: fields.integer("tunnel_idle_timeout_ms"),
        tunnel_total_timeout_ms: fields.integer("tunnel_total_timeout_ms"),
    }
}

fn function(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<Located<String>> {
    let function = fields.text("function", out);
    if function.is_none() && fields.has("payload_format_version") {
        let message = "`payload_format_version` has no use without `function`";
        out.error(fields.place("payload_format_version", out), message, Some("drop it".to_owned()));
    }
    function
}

/// Names of protocols (RFC 9110 7.8), without those that would carry requests past routes and limits.
fn upgrade(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Vec<Located<String>> {
    let mut found = Vec::new();
    for text in fields.texts("upgrade", out) {
        let lower = text.value.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&b);
        if lower.is_empty() || !lower.bytes().all(token) {
            let help = Some("for example \"websocket\"".to_owned());
            out.error(text.at, format!("`upgrade` expects protocols, found \"{}\"", text.value), help);
        } else if ["h2c", "h2", "http", "tls"].iter().any(|http| lower.split('/').next() == Some(http)) {
            let message = format!(
                "\"{}\" is never tunnelled: requests within would pass routes and limits",
                text.value
            );
            out.error(text.at, message, None);
        } else {
            found.push(Located::new(lower, text.at));
        }
    }
    if found.is_empty() {
        for key in ["tunnel_idle_timeout_ms", "tunnel_total_timeout_ms"] {
            if fields.has(key) {
                let help = Some("write upgrade = [\"websocket\"], or drop it".to_owned());
                out.error(fields.place(key, out), format!("`{key}` has no use without `upgrade`"), help);
            }
        }
    }
    found
}

fn route_cache(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<Located<RouteCache>> {
    let keys: Vec<_> =
        fields.texts("cache_keys", out).iter().filter_map(|text| cache_key(text, out)).collect();
    let mode = match fields.bool_or_choice("cache") {
        Some("standard") => Some(CacheMode::Standard),
        Some(_) => Some(CacheMode::Ttl),
        None => None,
    };
    if mode.is_none() {
        for key in ["cache_ttl_ms", "cache_keys"].into_iter().filter(|key| fields.has(key)) {
            let help = Some("write cache = true, or drop it".to_owned());
            out.error(fields.place(key, out), format!("`{key}` has no use without `cache = true`"), help);
        }
    }
    if mode == Some(CacheMode::Standard) {
        if fields.has("cache_ttl_ms") {
            let message =
                "`cache_ttl_ms` has no use with `cache = \"standard\"`: responses say how long they live";
            out.error(fields.place("cache_ttl_ms", out), message, Some("drop it".to_owned()));
        }
        for key in keys.iter().filter(|key| matches!(key.value, CacheKey::Query(_))) {
            let message = "with `cache = \"standard\"` the whole query is part of the key";
            out.error(key.at, message, Some("drop it".to_owned()));
        }
    }
    let ttl_ms = fields.integer("cache_ttl_ms");
    mode.map(|mode| Located::new(RouteCache { mode, ttl_ms, keys }, fields.place("cache", out)))
}

fn check_mock(mock: &Located<Mock>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) {
    let Mock { status, body, content_type } = &mock.value;
    // RFC 9110 15.3.5 and 15.4.5: neither has content.
    if matches!(status, 204 | 304) && !body.is_empty() {
        out.error(
            fields.place("mock_body", out),
            format!("status {status} expects no body (RFC 9110)"),
            None,
        );
    }
    // RFC 9110 5.5: a field value is visible characters and spaces; anything else would split the response.
    if content_type.is_empty() || !content_type.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        let message = "`mock_content_type` expects visible ASCII, for example \"text/plain\"";
        out.error(fields.place("mock_content_type", out), message, None);
    }
}

fn check_method(method: &Located<String>, out: &mut Reporter<'_>) {
    let token = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let text = &method.value;
    if text.is_empty() || text.len() > 32 || !text.bytes().all(token) {
        let upper = text.to_ascii_uppercase();
        let help = upper.bytes().all(token).then(|| format!("methods are case-sensitive: write \"{upper}\""));
        out.error(method.at, format!("expected a method in capitals, found \"{text}\""), help);
    } else if text == "CONNECT" {
        out.error(method.at, "CONNECT is never forwarded", None);
    } else if text == "ANY" {
        out.error(
            method.at,
            "\"ANY\" is not a method",
            Some("leave `methods` out for any method".to_owned()),
        );
    }
}

/// Lower case, because names are compared without regard to it (RFC 3986 3.2.2).
pub(crate) fn host(text: Located<String>, out: &mut Reporter<'_>) -> Option<Located<String>> {
    let lower = text.value.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let labels = name.split('.').all(|label| !label.is_empty() && label.len() <= 63);
    let bracketed = lower.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = bracketed.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    if is_address || (labels && name.len() <= 253 && name.bytes().all(allowed)) {
        return Some(Located::new(lower, text.at));
    }
    let help = "for example \"api.example.com\" or \"*.example.com\", without scheme and port".to_owned();
    out.error(text.at, format!("`host` expects a host name, found \"{}\"", text.value), Some(help));
    None
}

fn cache_key(text: &Located<String>, out: &mut Reporter<'_>) -> Option<Located<CacheKey>> {
    let token = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let part = match text.value.split_once('.') {
        Some(("query", "*")) => Some(CacheKey::WholeQuery),
        Some(("query", name)) if !name.is_empty() && !name.contains(['&', '=', '#', ' ']) => {
            Some(CacheKey::Query(name.to_owned()))
        }
        Some(("header", name)) if token(name) => Some(CacheKey::Header(name.to_ascii_lowercase())),
        _ => None,
    };
    if part.is_none() {
        let help = "the path with its parameters is always part of the key".to_owned();
        let message = format!("expected query.NAME, query.* or header.NAME, found \"{}\"", text.value);
        out.error(text.at, message, Some(help));
    }
    Some(Located::new(part?, text.at))
}

fn api_key(name: Located<Arc<str>>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> ApiKey {
    let at = fields.place("value", out);
    let value = fields.text("value", out);
    if let Some(text) = &value {
        let count = text.value.len();
        // The value itself is never shown: diagnostics end up in logs.
        if !(8..=128).contains(&count) || !text.value.bytes().all(|b| b.is_ascii_graphic()) {
            let message = format!("`value` expects 8 to 128 visible ASCII characters, found {count} bytes");
            out.error(at, message, None);
        }
    }
    let value = Located::new(Secret::new(value.map(|text| text.value).unwrap_or_default()), at);
    ApiKey { name, value, enabled: fields.bool("enabled"), limits: fields.texts("limits", out) }
}

fn unique_key_values(keys: &[ApiKey], out: &mut Reporter<'_>) {
    let mut seen: HashMap<&str, &ApiKey> = HashMap::new();
    for key in keys.iter().filter(|key| !key.value.value.expose().is_empty()) {
        if let Some(first) = seen.insert(key.value.value.expose(), key) {
            let message =
                format!("key `{}` has the same value as key `{}`", key.name.value, first.name.value);
            out.error(key.value.at, message, None);
        }
    }
}

fn limit(name: Located<Arc<str>>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Limit {
    let scope = match choice(fields, "scope", out).as_str() {
        "key" => Scope::Key,
        "client" => Scope::Client,
        "global" => Scope::Global,
        _ => Scope::Route,
    };
    Limit { name, scope, rate: fields.number("rate"), burst: fields.integer("burst") }
}

fn cache(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Cache {
    let cache = Cache {
        capacity_bytes: fields.integer("capacity_bytes"),
        entry_max_bytes: fields.integer("entry_max_bytes"),
    };
    if cache.entry_max_bytes > cache.capacity_bytes {
        let message = format!(
            "`entry_max_bytes` expects at most `capacity_bytes` ({}), found {}",
            cache.capacity_bytes, cache.entry_max_bytes
        );
        out.error(fields.place("entry_max_bytes", out), message, None);
    }
    cache
}

fn access_log(fields: &Fields<'_, '_>, out: &Reporter<'_>) -> AccessLog {
    let path = choice(fields, "path", out);
    AccessLog {
        path: (path != "-").then(|| PathBuf::from(path)),
        format: match choice(fields, "format", out).as_str() {
            "clf" => LogFormat::Clf,
            "off" => LogFormat::Off,
            _ => LogFormat::Json,
        },
    }
}

fn xdp(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<Xdp> {
    let mut interfaces: Vec<Located<String>> = fields.text("interface", out).into_iter().collect();
    interfaces.extend(fields.texts("interfaces", out));
    for interface in &interfaces {
        // IFNAMSIZ is 16 with the terminating NUL.
        if interface.value.is_empty() || interface.value.len() > 15 || interface.value.contains(['/', ' ']) {
            out.error(
                interface.at,
                format!("expected an interface name, found \"{}\"", interface.value),
                None,
            );
        }
    }
    let mode = match choice(fields, "mode", out).as_str() {
        "off" => None,
        "native" => Some(XdpMode::Native),
        "generic" => Some(XdpMode::Generic),
        _ => Some(XdpMode::Auto),
    };
    if mode.is_some() && interfaces.is_empty() {
        out.error(fields.at, "[xdp] lacks `interface`", Some("name one, or write mode = \"off\"".to_owned()));
    }
    let block_files = fields.texts("block_files", out);
    let xdp = Xdp {
        interfaces,
        mode: mode.unwrap_or(XdpMode::Auto),
        block: networks(fields, "block", out),
        block_files: block_files
            .into_iter()
            .map(|file| Located::new(PathBuf::from(file.value), file.at))
            .collect(),
        allow: networks(fields, "allow", out),
        pin_path: fields.text("pin_path", out).map(|path| Located::new(PathBuf::from(path.value), path.at)),
        force: fields.bool("force"),
        source: xdp_limits(fields, "source", out),
        prefix: xdp_limits(fields, "prefix", out),
        prefix_v4_bits: fields.integer("prefix_v4_bits"),
        prefix_v6_bits: fields.integer("prefix_v6_bits"),
        syn_budget: xdp_rate(fields, "syn_budget", 1, out),
        drop_udp: fields.bool("drop_udp"),
        drop_fragments: fields.bool("drop_fragments"),
        drop_later_fragments: fields.bool("drop_later_fragments"),
        dry_run: fields.bool("dry_run"),
        drop_capabilities: fields.bool("drop_capabilities"),
        events_per_s: fields.integer("events_per_s"),
    };
    mode.map(|_| xdp)
}

fn bans(tables: &Tables<'_, '_>, out: &mut Reporter<'_>) -> Option<Bans> {
    let fields = &tables.single("bans", out);
    let mode = choice(fields, "mode", out);
    let bans = Bans {
        dry_run: mode == "dry-run",
        refused_per_s: fields.integer("refused_per_s"),
        refused_for_ms: fields.integer("refused_for_ms"),
        ttl_ms: fields.integer("ttl_ms"),
        ttl_max_ms: fields.integer("ttl_max_ms"),
        forget_ms: fields.integer("forget_ms"),
        let_through_ms: fields.integer("let_through_ms"),
        never: networks(fields, "never", out),
    };
    if bans.ttl_max_ms < bans.ttl_ms {
        let (least, found) = (bans.ttl_ms, bans.ttl_max_ms);
        let message = format!("`ttl_max_ms` expects at least `ttl_ms` ({least}), found {found}");
        out.error(fields.place("ttl_max_ms", out), message, None);
    }
    if mode != "off" && !tables.has("xdp") {
        let help = "bans are carried out by the packet filter: write [xdp], or mode = \"off\"".to_owned();
        out.error(fields.at, "[bans] has no use without [xdp]", Some(help));
    }
    (mode != "off").then_some(bans)
}

/// An IPv6 header and the most that it can announce: a bucket of bytes must be able to grant any packet.
const PACKET_BYTES_MAX: u64 = 40 + 65_535;

fn xdp_limits(fields: &Fields<'_, '_>, whose: &str, out: &mut Reporter<'_>) -> XdpLimits {
    XdpLimits {
        packets: xdp_rate(fields, &format!("{whose}_packets"), 1, out),
        bytes: xdp_rate(fields, &format!("{whose}_bytes"), PACKET_BYTES_MAX, out),
        syns: xdp_rate(fields, &format!("{whose}_syns"), 1, out),
    }
}

/// `NAME_per_s` and `NAME_burst`. A bucket must hold what the program's coarse clock lets come in between two of its
/// ticks, and be full again within an hour.
fn xdp_rate(fields: &Fields<'_, '_>, name: &str, least: u64, out: &mut Reporter<'_>) -> Option<XdpRate> {
    const TICKS_PER_S: u64 = 100;
    const FILLS_WITHIN_S: u64 = 3_600;
    let per_s: u64 = fields.integer(&format!("{name}_per_s"));
    let key = format!("{name}_burst");
    let burst: u64 = fields.integer(&key);
    if per_s == 0 {
        return None;
    }
    let least = least.max(per_s / TICKS_PER_S);
    let most = per_s.saturating_mul(FILLS_WITHIN_S);
    let burst = if burst == 0 { per_s.max(least) } else { burst };
    if burst < least || burst > most {
        out.error(
            fields.place(&key, out),
            format!("expected {least} to {most} for `{name}_per_s` of {per_s}, found a burst of {burst}"),
            None,
        );
    }
    Some(XdpRate { per_s, burst })
}

fn networks(fields: &Fields<'_, '_>, key: &str, out: &mut Reporter<'_>) -> Vec<IpNet> {
    let mut found = Vec::new();
    for text in fields.texts(key, out) {
        let net = text.value.parse::<IpNet>().or_else(|_| text.value.parse::<IpAddr>().map(IpNet::from));
        match net {
            Ok(net) if net.trunc() == net => found.push(net),
            // 10.0.0.1/8 is more often a slip of the prefix than a way to say 10.0.0.0/8.
            Ok(net) => {
                let help = format!("write \"{}\", or \"{}\" for the one address", net.trunc(), net.addr());
                out.error(text.at, format!("\"{net}\" has address bits beyond its prefix"), Some(help));
            }
            Err(_) => {
                let message =
                    format!("`{key}` expects networks such as \"198.51.100.0/24\", found \"{}\"", text.value);
                out.error(text.at, message, None);
            }
        }
    }
    found
}
