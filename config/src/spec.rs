//! Every key of the configuration, once: the reader, the defaults and the JSON Schema all come from here.

mod aws;
mod functions;
mod tokens;
mod upstreams;

use crate::spec_secure::{ACME, CERTIFICATES, TLS};
use aws::{ACCESS_KEYS, AWS, STORE};
use functions::{CREDENTIALS, FUNCTIONS, LAMBDA, SERVICES, VPC_LINKS};
use tokens::{AUTHORIZERS, USER_POOLS};
use upstreams::UPSTREAMS;

/// A top-level table.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// `[name.ENTRY]` rather than `[name]`.
    pub(crate) named: bool,
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

impl Section {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Default,
    pub(crate) doc: &'static str,
}

/// Type and range.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Bool,
    /// Inclusive range and its unit.
    Integer(u64, u64, &'static str),
    /// Above the first, up to the second, and the unit; integers are accepted.
    Number(f64, f64, &'static str),
    Text,
    Choice(&'static [&'static str]),
    /// `true`, `false`, or one of these.
    BoolOrChoice(&'static [&'static str]),
    TextList,
}

impl Kind {
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Integer(..) => "an integer",
            Self::Number(..) => "a number",
            Self::Text | Self::Choice(_) => "a string",
            Self::BoolOrChoice(_) => "true, false or a string",
            Self::TextList => "a list of strings",
        }
    }
}

/// What an absent key means.
#[derive(Clone, Copy)]
pub(crate) enum Default {
    Required,
    /// Absence has a meaning of its own, told in the key's text.
    Absent,
    Bool(bool),
    Integer(u64),
    Text(&'static str),
    EmptyList,
}

pub(crate) const fn key(name: &'static str, kind: Kind, default: Default, doc: &'static str) -> Key {
    Key { name, kind, default, doc }
}

/// A day: longer timeouts are slips of the unit.
pub(crate) const TIMEOUT: Kind = Kind::Integer(1, 86_400_000, "ms");
/// Tokens: up to 100 Gbit/s in bytes, and an hour of them.
const RATE: Kind = Kind::Integer(0, 1 << 45, "");
/// JSON and TOML tools agree on integers up to here.
const BYTES_MAX: u64 = (1 << 53) - 1;

pub(crate) const SECTIONS: &[Section] = &[
    SERVER,
    TLS,
    CERTIFICATES,
    ACME,
    UPSTREAMS,
    ROUTES,
    KEYS,
    LIMITS,
    CACHE,
    ACCESS_LOG,
    XDP,
    BANS,
    STORE,
    AWS,
    ACCESS_KEYS,
    FUNCTIONS,
    LAMBDA,
    SERVICES,
    CREDENTIALS,
    AUTHORIZERS,
    USER_POOLS,
    VPC_LINKS,
];

const SERVER: Section = Section {
    name: "server",
    named: false,
    doc: "Listeners, limits and timeouts of the client side.",
    keys: &[
        key(
            "listen",
            Kind::TextList,
            Default::EmptyList,
            "Addresses of the data listeners, `ip:port`; port 0 picks a free one. Default: [\"127.0.0.1:8080\"].",
        ),
        key(
            "listen_tls",
            Kind::TextList,
            Default::EmptyList,
            "Addresses of the data listeners that speak TLS; they need a certificate.",
        ),
        key(
            "admin_listen",
            Kind::Text,
            Default::Text("127.0.0.1:8081"),
            "Address of the admin listener, or \"off\".",
        ),
        key(
            "cores",
            Kind::Integer(1, 1024, "cores"),
            Default::Absent,
            "Data cores, one thread each. Default: every CPU the process may use.",
        ),
        key(
            "steering",
            Kind::Choice(&["hash", "cpu"]),
            Default::Text("hash"),
            "Which core gets a connection: by its addresses, or the one on whose CPU it came in.",
        ),
        key(
            "request_line_max_bytes",
            Kind::Integer(64, 1 << 20, "bytes"),
            Default::Integer(8192),
            "Longest request line (414).",
        ),
        key(
            "header_max_bytes",
            Kind::Integer(64, 1 << 20, "bytes"),
            Default::Integer(10_240),
            "All header lines together (431).",
        ),
        key(
            "header_max_count",
            Kind::Integer(1, 1024, "lines"),
            Default::Integer(100),
            "Header lines (431).",
        ),
        key(
            "body_max_bytes",
            Kind::Integer(0, BYTES_MAX, "bytes"),
            Default::Integer(10_485_760),
            "Longest request body (413), 0: no limit. A route may override it.",
        ),
        key("header_timeout_ms", TIMEOUT, Default::Integer(10_000), "For a whole request head."),
        key("idle_timeout_ms", TIMEOUT, Default::Integer(60_000), "Between two requests of a connection."),
        key("body_timeout_ms", TIMEOUT, Default::Integer(30_000), "Between two reads or writes of a body."),
        key(
            "max_connections",
            Kind::Integer(1, 16_777_216, "connections"),
            Default::Integer(65_536),
            "Client connections of the process; more are shed (503).",
        ),
        key(
            "max_connections_per_address",
            Kind::Integer(0, 65_535, "connections"),
            Default::Integer(0),
            "Connections of one client address (IPv6: /64), 0: no limit; more are closed at once.",
        ),
        key(
            "forwarded",
            Kind::Choice(&["x-forwarded", "forwarded", "both", "off"]),
            Default::Text("x-forwarded"),
            "How the client is named to upstreams.",
        ),
        key(
            "http2",
            Kind::Bool,
            Default::Bool(true),
            "Speak HTTP/2 with clients that begin with its preface, or that choose `h2` by ALPN.",
        ),
        key(
            "http2_max_streams",
            Kind::Integer(1, 10_000, "streams"),
            Default::Integer(128),
            "Requests that one HTTP/2 connection may have open; more are refused (REFUSED_STREAM).",
        ),
        key(
            "trusted_proxies",
            Kind::TextList,
            Default::EmptyList,
            "Networks of proxies in front: what they say of the client's address is believed. Default: none.",
        ),
        key(
            "trusted_proxy_header",
            Kind::Choice(&["x-forwarded-for", "forwarded"]),
            Default::Text("x-forwarded-for"),
            "What trusted proxies name the client in.",
        ),
        key(
            "proxy_protocol_from",
            Kind::TextList,
            Default::EmptyList,
            "Networks of balancers whose connections begin with a PROXY protocol header, version 1 or 2. Default: none.",
        ),
        key("via", Kind::Bool, Default::Bool(false), "Add `Via` to requests and responses."),
        key(
            "drain_timeout_ms",
            TIMEOUT,
            Default::Integer(10_000),
            "For requests in flight when the gateway stops.",
        ),
        key(
            "engine",
            Kind::Choice(&["auto", "io_uring", "epoll"]),
            Default::Text("auto"),
            "What carries I/O out: `auto` is io_uring, or epoll where that is refused.",
        ),
        key(
            "wait",
            Kind::Choice(&["balanced", "low_latency", "efficient"]),
            Default::Text("balanced"),
            "What an idle core does: sleep, poll for a moment first, or let completions gather.",
        ),
    ],
};

const ROUTES: Section = Section {
    name: "routes",
    named: true,
    doc: "What answers which requests: an upstream group, a Lambda function or a fixed (mock) answer.",
    keys: &[
        key(
            "host",
            Kind::Text,
            Default::Absent,
            "Exact host or `*.example.com` for any name below it. Default: any host.",
        ),
        key(
            "path",
            Kind::Text,
            Default::Required,
            "`/static/{param}/{proxy+}`: a static segment is preferred to a {param}, that to the greedy {proxy+}, which is last.",
        ),
        key("methods", Kind::TextList, Default::EmptyList, "Methods in capitals. Default: any."),
        key(
            "upstream",
            Kind::Text,
            Default::Absent,
            "Name of an upstream group, or an address `host:port` for a group of one with default settings.",
        ),
        key(
            "upstream_path",
            Kind::Text,
            Default::Absent,
            "Path sent upstream, with {param} of `path`. Default: the request's own, unchanged.",
        ),
        key(
            "mock_status",
            Kind::Integer(200, 599, "(HTTP status)"),
            Default::Integer(200),
            "Status of a fixed answer.",
        ),
        key("mock_body", Kind::Text, Default::Text(""), "Body of a fixed answer."),
        key(
            "mock_content_type",
            Kind::Text,
            Default::Text("application/json"),
            "Media type of a fixed answer.",
        ),
        key(
            "function",
            Kind::Text,
            Default::Absent,
            "A Lambda function that answers, as behind an HTTP API: a name of [functions], or an ARN.",
        ),
        key(
            "payload_format_version",
            Kind::Choice(&["2.0", "1.0"]),
            Default::Text("2.0"),
            "Form of the function's events and answers.",
        ),
        key(
            "authorizer",
            Kind::Text,
            Default::Absent,
            "Name of an authorizer: requests that it does not accept are refused (401, 403).",
        ),
        key(
            "api_key_required",
            Kind::Bool,
            Default::Bool(false),
            "Refuse requests without a known, enabled `x-api-key` (403).",
        ),
        key("limits", Kind::TextList, Default::EmptyList, "Names of limits; all must grant (429)."),
        key(
            "cache",
            Kind::BoolOrChoice(&["ttl", "standard"]),
            Default::Bool(false),
            "Cache responses to GET: true or \"ttl\" for `cache_ttl_ms`, \"standard\" for as long as the responses say (RFC 9111).",
        ),
        key(
            "cache_ttl_ms",
            Kind::Integer(1, 86_400_000, "ms"),
            Default::Integer(300_000),
            "How long a response is served from the cache.",
        ),
        key(
            "cache_keys",
            Kind::TextList,
            Default::EmptyList,
            "`query.NAME`, `query.*` or `header.NAME` that tell responses apart, beside method, host and path. With \"standard\" the whole query does, and headers are added to each `Vary`.",
        ),
        key(
            "body_max_bytes",
            Kind::Integer(0, BYTES_MAX, "bytes"),
            Default::Absent,
            "Longest request body (413), 0: no limit. Default: the server's.",
        ),
        key(
            "total_timeout_ms",
            TIMEOUT,
            Default::Absent,
            "From the request until the response head (504). Default: the upstream group's; 30000 for a function.",
        ),
        key(
            "upgrade",
            Kind::TextList,
            Default::EmptyList,
            "Protocols that a connection may change to, such as \"websocket\": it then becomes a tunnel to the upstream. Default: none.",
        ),
        key(
            "tunnel_idle_timeout_ms",
            TIMEOUT,
            Default::Integer(600_000),
            "A tunnel without a byte in either direction is closed after this.",
        ),
        key(
            "tunnel_total_timeout_ms",
            Kind::Integer(0, 86_400_000, "ms"),
            Default::Integer(0),
            "A tunnel is closed after this, 0: never.",
        ),
    ],
};

const KEYS: Section = Section {
    name: "keys",
    named: true,
    doc: "API keys.",
    keys: &[
        key(
            "value",
            Kind::Text,
            Default::Required,
            "What clients send in `x-api-key`: 8 to 128 visible ASCII characters.",
        ),
        key("enabled", Kind::Bool, Default::Bool(true), "A disabled key is refused like an unknown one."),
        key("limits", Kind::TextList, Default::EmptyList, "Further limits of this key, of scope `key`."),
    ],
};

const LIMITS: Section = Section {
    name: "limits",
    named: true,
    doc: "Token buckets.",
    keys: &[
        key(
            "scope",
            Kind::Choice(&["route", "key", "client", "global"]),
            Default::Text("route"),
            "One bucket for each route that names the limit, each API key, each client address, or for all together.",
        ),
        key("rate", Kind::Number(0.0, 1e9, "tokens per second"), Default::Required, "Steady rate."),
        key(
            "burst",
            Kind::Integer(1, u32::MAX as u64, "tokens"),
            Default::Required,
            "Size of the bucket: what may come at once.",
        ),
    ],
};

const CACHE: Section = Section {
    name: "cache",
    named: false,
    doc: "The response cache that all routes share.",
    keys: &[
        key(
            "capacity_bytes",
            Kind::Integer(1 << 16, BYTES_MAX, "bytes"),
            Default::Integer(67_108_864),
            "Memory for all entries with their overhead.",
        ),
        key(
            "entry_max_bytes",
            Kind::Integer(1024, 1 << 30, "bytes"),
            Default::Integer(1_048_576),
            "Larger responses are passed on, not stored.",
        ),
    ],
};

const ACCESS_LOG: Section = Section {
    name: "access_log",
    named: false,
    doc: "One line for each request.",
    keys: &[
        key("path", Kind::Text, Default::Text("-"), "File to append to, \"-\": standard output."),
        key("format", Kind::Choice(&["json", "clf", "off"]), Default::Text("json"), "Format of a line."),
    ],
};

const XDP: Section = Section {
    name: "xdp",
    named: false,
    doc: "Packet filter in front of the network stack.",
    keys: &[
        key("interface", Kind::Text, Default::Absent, "Interface to attach to."),
        key("interfaces", Kind::TextList, Default::EmptyList, "Interfaces to attach to."),
        key(
            "mode",
            Kind::Choice(&["auto", "native", "generic", "off"]),
            Default::Text("auto"),
            "How to attach: `auto` tries native, then generic.",
        ),
        key(
            "pin_path",
            Kind::Text,
            Default::Absent,
            "Folder of the BPF file system in which program and bans outlive the gateway; absent: they end with it.",
        ),
        key("force", Kind::Bool, Default::Bool(false), "Replace other XDP programs on these interfaces."),
        key("block", Kind::TextList, Default::EmptyList, "Refused networks, CIDR or single addresses."),
        key(
            "block_files",
            Kind::TextList,
            Default::EmptyList,
            "Files of refused networks, one a line, `#` begins a comment.",
        ),
        key("allow", Kind::TextList, Default::EmptyList, "Networks that are never refused."),
        key(
            "source_packets_per_s",
            RATE,
            Default::Integer(0),
            "Packets per second of one source: an IPv4 address, an IPv6 /64, 0: no limit.",
        ),
        key(
            "source_packets_burst",
            RATE,
            Default::Integer(0),
            "Burst of `source_packets_per_s`, 0: what a second brings.",
        ),
        key("source_bytes_per_s", RATE, Default::Integer(0), "Bytes per second of one source, 0: no limit."),
        key(
            "source_bytes_burst",
            RATE,
            Default::Integer(0),
            "Burst of `source_bytes_per_s`, 0: what a second brings.",
        ),
        key(
            "source_syns_per_s",
            RATE,
            Default::Integer(0),
            "Connection attempts per second of one source, 0: no limit.",
        ),
        key(
            "source_syns_burst",
            RATE,
            Default::Integer(0),
            "Burst of `source_syns_per_s`, 0: what a second brings.",
        ),
        key(
            "prefix_packets_per_s",
            RATE,
            Default::Integer(0),
            "Packets per second of one prefix, 0: no limit.",
        ),
        key(
            "prefix_packets_burst",
            RATE,
            Default::Integer(0),
            "Burst of `prefix_packets_per_s`, 0: what a second brings.",
        ),
        key("prefix_bytes_per_s", RATE, Default::Integer(0), "Bytes per second of one prefix, 0: no limit."),
        key(
            "prefix_bytes_burst",
            RATE,
            Default::Integer(0),
            "Burst of `prefix_bytes_per_s`, 0: what a second brings.",
        ),
        key(
            "prefix_syns_per_s",
            RATE,
            Default::Integer(0),
            "Connection attempts per second of one prefix, 0: no limit.",
        ),
        key(
            "prefix_syns_burst",
            RATE,
            Default::Integer(0),
            "Burst of `prefix_syns_per_s`, 0: what a second brings.",
        ),
        key(
            "prefix_v4_bits",
            Kind::Integer(8, 32, "bits"),
            Default::Integer(24),
            "Length of an IPv4 prefix.",
        ),
        key(
            "prefix_v6_bits",
            Kind::Integer(16, 64, "bits"),
            Default::Integer(48),
            "Length of an IPv6 prefix.",
        ),
        key(
            "syn_budget_per_s",
            RATE,
            Default::Integer(0),
            "Connection attempts per second of all sources together, 0: no limit.",
        ),
        key(
            "syn_budget_burst",
            RATE,
            Default::Integer(0),
            "Burst of `syn_budget_per_s`, 0: what a second brings.",
        ),
        key("drop_udp", Kind::Bool, Default::Bool(true), "Drop UDP to the gateway's ports."),
        key(
            "drop_fragments",
            Kind::Bool,
            Default::Bool(true),
            "Drop first fragments of packets to the gateway's ports.",
        ),
        key(
            "drop_later_fragments",
            Kind::Bool,
            Default::Bool(true),
            "Drop the other fragments of TCP, which tell no port.",
        ),
        key("dry_run", Kind::Bool, Default::Bool(false), "Drop nothing, only count what would be dropped."),
        key(
            "drop_capabilities",
            Kind::Bool,
            Default::Bool(false),
            "Once attached, give up the capabilities for it: lists and bans go on, attaching anew needs a restart.",
        ),
        key(
            "events_per_s",
            Kind::Integer(0, 500, ""),
            Default::Integer(0),
            "Dropped packets per second and CPU that are sampled for the log, 0: none.",
        ),
    ],
};

const BANS: Section = Section {
    name: "bans",
    named: false,
    doc: "Drops sources in the packet filter for a while that keep being refused.",
    keys: &[
        key(
            "mode",
            Kind::Choice(&["on", "dry-run", "off"]),
            Default::Text("on"),
            "`dry-run` logs and counts what would be banned, and drops nothing.",
        ),
        key(
            "refused_per_s",
            Kind::Integer(1, 1_000_000, "refusals per second"),
            Default::Integer(20),
            "More refusals of one source than this are too many.",
        ),
        key(
            "refused_for_ms",
            Kind::Integer(1_000, 3_600_000, "ms"),
            Default::Integer(30_000),
            "For so long, and without one admitted request in that time: then it is banned.",
        ),
        key(
            "ttl_ms",
            Kind::Integer(1_000, 86_400_000, "ms"),
            Default::Integer(60_000),
            "Length of the first ban; each relapse doubles it.",
        ),
        key(
            "ttl_max_ms",
            Kind::Integer(1_000, 604_800_000, "ms"),
            Default::Integer(3_600_000),
            "No ban is longer.",
        ),
        key(
            "forget_ms",
            Kind::Integer(1_000, 604_800_000, "ms"),
            Default::Integer(86_400_000),
            "How long after a ban another is a relapse.",
        ),
        key(
            "let_through_ms",
            Kind::Integer(0, 3_600_000, "ms"),
            Default::Integer(5_000),
            "A banned source may open one connection in each such time, to learn how it stands; 0: none.",
        ),
        key(
            "never",
            Kind::TextList,
            Default::EmptyList,
            "Networks that are never banned, beside `xdp.allow`: load balancers, partners.",
        ),
    ],
};
