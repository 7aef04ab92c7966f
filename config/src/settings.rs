//! The resolved configuration: every default filled, every value in range.

use crate::diagnostic::{Diagnostic, Located, Position, Severity};
use crate::tokens::{Authorizer, UserPool};
use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

mod upstreams;

pub use upstreams::{Balance, HealthCheck, HealthRequest, Protocol, Target, Upstream, UpstreamTls};

/// A whole configuration. Lists are in the order of the file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// File name as given, for diagnostics.
    pub file: Arc<str>,
    /// `[server]`.
    pub server: Server,
    /// `[tls]`.
    pub tls: Tls,
    /// `[certificates.*]`.
    pub certificates: Vec<Certificate>,
    /// `[acme]`; present if a certificate needs it.
    pub acme: Option<Acme>,
    /// `[upstreams.*]`, then the implicit groups of routes that name an address.
    pub upstreams: Vec<Upstream>,
    /// `[routes.*]`.
    pub routes: Vec<Route>,
    /// `[keys.*]`.
    pub keys: Vec<ApiKey>,
    /// `[limits.*]`.
    pub limits: Vec<Limit>,
    /// `[cache]`.
    pub cache: Cache,
    /// `[access_log]`.
    pub access_log: AccessLog,
    /// `[xdp]`; `None` when absent or off.
    pub xdp: Option<Xdp>,
    /// `[bans]`; `None` when absent or off.
    pub bans: Option<Bans>,
    /// `[store]`.
    pub store: Store,
    /// `[aws]`.
    pub aws: Aws,
    /// `[access_keys.*]`.
    pub access_keys: Vec<AccessKey>,
    /// `[functions.*]`.
    pub functions: Vec<Function>,
    /// `[lambda]`.
    pub lambda: Lambda,
    /// `[services.*]`.
    pub services: Vec<Service>,
    /// `[credentials.*]`.
    pub credentials: Vec<Credentials>,
    /// `[authorizers.*]`.
    pub authorizers: Vec<Authorizer>,
    /// `[user_pools.*]`.
    pub user_pools: Vec<UserPool>,
    /// `[vpc_links.*]`.
    pub vpc_links: Vec<VpcLink>,
}

/// Where a policy document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// Here.
    Text(String),
    /// In a file.
    File(PathBuf),
}

impl Settings {
    /// A diagnostic in this file.
    pub fn diagnostic(
        &self,
        severity: Severity,
        at: Position,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic { file: Arc::clone(&self.file), line: at.line, column: at.column, severity, message, help }
    }
}

/// `[server]`: the client side.
#[derive(Clone, Debug)]
pub struct Server {
    /// Plain data listeners. Empty only where there are TLS listeners.
    pub listen: Vec<Located<SocketAddr>>,
    /// TLS data listeners.
    pub listen_tls: Vec<Located<SocketAddr>>,
    /// Admin listener, `None`: off.
    pub admin_listen: Option<Located<SocketAddr>>,
    /// Data cores, `None`: one for each CPU the process may use.
    pub cores: Option<usize>,
    /// A connection goes to the core on whose CPU it came in.
    pub steers_by_cpu: bool,
    /// Longest request line.
    pub request_line_max_bytes: usize,
    /// All header lines together.
    pub header_max_bytes: usize,
    /// Header lines.
    pub header_max_count: usize,
    /// Longest request body, 0: no limit.
    pub body_max_bytes: u64,
    /// For a whole request head.
    pub header_timeout_ms: u64,
    /// Between two requests of a connection.
    pub idle_timeout_ms: u64,
    /// Between two reads or writes of a body.
    pub body_timeout_ms: u64,
    /// Connections of the process.
    pub max_connections: usize,
    /// Connections of one client address, 0: no limit.
    pub max_connections_per_address: u32,
    /// How the client is named to upstreams.
    pub forwarded: Forwarded,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Streams that an HTTP/2 client may have open.
    pub http2_max_streams: u32,
    /// Proxies that are believed about clients.
    pub trusted_proxies: Vec<IpNet>,
    /// They name clients in `Forwarded` rather than `X-Forwarded-For`.
    pub trusted_forwarded: bool,
    /// Balancers that send PROXY protocol headers.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether `Via` is added.
    pub via: bool,
    /// For requests in flight when the gateway stops.
    pub drain_timeout_ms: u64,
    /// What carries I/O out.
    pub engine: Engine,
    /// What an idle core does.
    pub wait: Wait,
}

/// What carries I/O out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring, or epoll where that is refused.
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// What an idle core does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Sleeps until something completes.
    Balanced,
    /// Polls for a moment before it sleeps.
    LowLatency,
    /// Lets completions gather for a moment before it wakes.
    Efficient,
}

/// How the client is named to upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// `X-Forwarded-For` and its kin.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Standard,
    /// Both.
    Both,
    /// Not at all.
    Off,
}

/// `[tls]`: TLS of the client side.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls12: bool,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Authorities of client certificates; present unless `client_auth` is off.
    pub client_ca_file: Option<Located<PathBuf>>,
    /// Refuse names without a certificate.
    pub strict_sni: bool,
    /// Let clients resume.
    pub session_tickets: bool,
    /// For a whole handshake.
    pub handshake_timeout_ms: u64,
    /// Handshakes at once, per core.
    pub max_handshakes: usize,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    Off,
    /// Asked for.
    Optional,
    /// Refused without.
    Required,
}

/// `[certificates.NAME]`.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Name.
    pub name: Located<Arc<str>>,
    /// Where it comes from.
    pub source: CertificateSource,
    /// DER response to staple.
    pub ocsp_file: Option<Located<PathBuf>>,
    /// Names it is served for; empty: those in the certificate.
    pub names: Vec<Located<String>>,
    /// For clients that name no other.
    pub default: bool,
    /// What is asked of clients; `None`: what `[tls]` says.
    pub client_auth: Option<ClientAuth>,
    /// Authorities of client certificates; `None`: those of `[tls]`.
    pub client_ca_file: Option<Located<PathBuf>>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Files of the operator's.
    Files {
        /// PEM chain.
        cert: Located<PathBuf>,
        /// PEM key.
        key: Located<PathBuf>,
    },
    /// The authority of `[acme]`.
    Acme(AcmeChallenge),
}

/// How an ACME authority is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// An answer over plain HTTP on port 80 (RFC 8555 8.3).
    Http01,
    /// A certificate over TLS on port 443 (RFC 8737).
    TlsAlpn01,
}

/// `[acme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// URL of the directory.
    pub directory: Located<String>,
    /// `mailto:` addresses.
    pub contact: Vec<String>,
    /// Authorities of the directory's own certificate, `None`: the system's.
    pub ca_file: Option<Located<PathBuf>>,
    /// Where account, keys and certificates are kept.
    pub state_dir: PathBuf,
    /// After a first failure, milliseconds.
    pub retry_ms: u64,
}

/// `[routes.NAME]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name.
    pub name: Located<Arc<str>>,
    /// Exact or `*.` wildcard host, lower case; `None`: any.
    pub host: Option<Located<String>>,
    /// Path pattern.
    pub path: Located<String>,
    /// Methods; empty: any.
    pub methods: Vec<Located<String>>,
    /// Name of an upstream group.
    pub upstream: Option<Located<String>>,
    /// Path sent upstream.
    pub upstream_path: Option<Located<String>>,
    /// A fixed answer.
    pub mock: Option<Located<Mock>>,
    /// A function: a name of `[functions]`, or an ARN.
    pub function: Option<Located<String>>,
    /// The function's events have payload format 1.0.
    pub has_payload_v1: bool,
    /// Name of an authorizer.
    pub authorizer: Option<Located<String>>,
    /// 403 without a known key.
    pub api_key_required: bool,
    /// Names of limits.
    pub limits: Vec<Located<String>>,
    /// Caching, `None`: off.
    pub cache: Option<Located<RouteCache>>,
    /// Longest request body, 0: no limit.
    pub body_max_bytes: u64,
    /// Overrides the group's.
    pub total_timeout_ms: Option<u64>,
    /// Protocols that connections may change to, lower case.
    pub upgrade: Vec<Located<String>>,
    /// Without a byte in either direction.
    pub tunnel_idle_timeout_ms: u64,
    /// In all, 0: no limit.
    pub tunnel_total_timeout_ms: u64,
}

/// `mock_*` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mock {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Body.
    pub body: String,
    /// Media type of the body.
    pub content_type: String,
}

/// What says how long a response is served from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// The route's time to live.
    Ttl,
    /// The response itself (RFC 9111).
    Standard,
}

/// `cache*` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCache {
    /// What says how long.
    pub mode: CacheMode,
    /// Time to live.
    pub ttl_ms: u64,
    /// Beside method, host and path.
    pub keys: Vec<Located<CacheKey>>,
}

/// A chosen part of the cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKey {
    /// `query.NAME`.
    Query(String),
    /// `query.*`.
    WholeQuery,
    /// `header.NAME`, lower case.
    Header(String),
}

/// `[keys.NAME]`.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Name.
    pub name: Located<Arc<str>>,
    /// What clients send in `x-api-key`.
    pub value: Located<Secret>,
    /// A disabled key is refused.
    pub enabled: bool,
    /// Further limits of this key.
    pub limits: Vec<Located<String>>,
}

/// A string that does not show in `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// `[limits.NAME]`: a token bucket.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Name.
    pub name: Located<Arc<str>>,
    /// What one bucket is for.
    pub scope: Scope,
    /// Tokens per second, above 0.
    pub rate: f64,
    /// Bucket size, 1 or more.
    pub burst: u32,
}

/// What one bucket of a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each route that names the limit.
    Route,
    /// Each API key.
    Key,
    /// Each client address.
    Client,
    /// All together.
    Global,
}

/// `[cache]`: the store shared by all routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// All entries with their overhead.
    pub capacity_bytes: u64,
    /// Larger responses are passed on, not stored.
    pub entry_max_bytes: u64,
}

/// `[access_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// File, `None`: standard output.
    pub path: Option<PathBuf>,
    /// Format of a line.
    pub format: LogFormat,
}

/// Format of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Common log format with referer and user agent.
    Clf,
    /// No log.
    Off,
}

/// `[xdp]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Xdp {
    /// Never empty.
    pub interfaces: Vec<Located<String>>,
    /// How to attach.
    pub mode: XdpMode,
    /// Refused networks.
    pub block: Vec<IpNet>,
    /// Files of refused networks, one a line.
    pub block_files: Vec<Located<PathBuf>>,
    /// Networks that are never refused.
    pub allow: Vec<IpNet>,
    /// Folder of the BPF file system to pin to; `None`: nothing outlives the process.
    pub pin_path: Option<Located<PathBuf>>,
    /// Replace programs of others.
    pub force: bool,
    /// Rates of one source.
    pub source: XdpLimits,
    /// Rates of one prefix.
    pub prefix: XdpLimits,
    /// Length of an IPv4 prefix.
    pub prefix_v4_bits: u8,
    /// Length of an IPv6 prefix.
    pub prefix_v6_bits: u8,
    /// Connection attempts of all sources together.
    pub syn_budget: Option<XdpRate>,
    /// Drop UDP to the gateway's ports.
    pub drop_udp: bool,
    /// Drop first fragments of packets to the gateway's ports.
    pub drop_fragments: bool,
    /// Drop the other fragments of TCP, which tell no port.
    pub drop_later_fragments: bool,
    /// Drop nothing, only count.
    pub dry_run: bool,
    /// Give up the capabilities for it once it is attached.
    pub drop_capabilities: bool,
    /// Samples of drops per second and CPU, 0: none.
    pub events_per_s: u32,
}

/// Rates of a source or a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpLimits {
    /// Packets.
    pub packets: Option<XdpRate>,
    /// Bytes.
    pub bytes: Option<XdpRate>,
    /// Connection attempts.
    pub syns: Option<XdpRate>,
}

/// A rate of the packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpRate {
    /// In a second, at least 1.
    pub per_s: u64,
    /// At once.
    pub burst: u64,
}

/// How to attach the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, or generic where the driver has no support.
    Auto,
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
}

/// `[bans]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bans {
    /// Log and count only.
    pub dry_run: bool,
    /// More refusals of one source are too many.
    pub refused_per_s: u32,
    /// For so long.
    pub refused_for_ms: u64,
    /// Length of the first ban.
    pub ttl_ms: u64,
    /// No ban is longer.
    pub ttl_max_ms: u64,
    /// How long after a ban another is a relapse.
    pub forget_ms: u64,
    /// One connection in each such time is let through, 0: none.
    pub let_through_ms: u64,
    /// Never banned.
    pub never: Vec<IpNet>,
}

/// `[store]`: where what the control plane is told is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// One file, `None`: in memory.
    pub path: Option<Located<PathBuf>>,
}

/// `[aws]`: the AWS-compatible control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// In ARNs and host names, and what requests must be signed for.
    pub region: String,
    /// 12 digits, in ARNs and messages.
    pub account_id: String,
    /// APIs are served at `{apiId}.execute-api.{region}.{suffix}`; lower case.
    pub execute_api_suffix: String,
    /// Any signature will do, and none.
    pub development: bool,
    /// Longest `timeoutInMillis` of an integration.
    pub integration_timeout_max_ms: u32,
}

/// `[access_keys.ID]`: who may use the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Public part.
    pub id: Located<Arc<str>>,
    /// What requests are signed with.
    pub secret: Secret,
    /// What goes with each request, if these credentials are temporary.
    pub session_token: Option<Secret>,
    /// When they end: a date, as in policies.
    pub expires: Option<Located<String>>,
    /// Who has the key; `None`: the user of this id in the gateway's account.
    pub arn: Option<Located<String>>,
    /// What its owner may do; `None`: anything.
    pub policy: Option<Located<PolicySource>>,
}

/// `[functions.NAME]`: a Lambda function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// In processes of the gateway's own.
    Hosted {
        /// Its name in ARNs.
        name: Located<Arc<str>>,
        /// What runs.
        code: Box<Code>,
    },
    /// Behind an Invoke endpoint.
    Remote {
        /// Its name in ARNs.
        name: Located<Arc<str>>,
        /// The endpoint.
        endpoint_url: Located<String>,
    },
}

impl Function {
    /// Its name in ARNs.
    pub const fn name(&self) -> &Located<Arc<str>> {
        match self {
            Self::Hosted { name, .. } | Self::Remote { name, .. } => name,
        }
    }
}

/// A function's code and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// What runs it.
    pub runtime: Runtime,
    /// Where it starts.
    pub handler: String,
    /// Where it is.
    pub directory: Located<PathBuf>,
    /// Names and values.
    pub environment: Vec<(String, String)>,
    /// Of an instance.
    pub memory_mb: u32,
    /// For one invocation.
    pub timeout_ms: u64,
    /// Until the first invocation is asked for.
    pub init_timeout_ms: u64,
    /// Kept warm.
    pub min_instances: usize,
    /// At most.
    pub max_instances: usize,
    /// For instances above the minimum.
    pub idle_timeout_ms: u64,
    /// New instances when a file changes.
    pub reload: bool,
}

/// What runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// `node`.
    Node,
    /// `python3`.
    Python,
    /// Its own `bootstrap`.
    Provided,
}

/// `[lambda]`: what hosted functions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lambda {
    /// User and group of the processes.
    pub user: Option<(u32, u32)>,
    /// Parent of the instances' groups.
    pub cgroup: Option<PathBuf>,
    /// Lines of each log that are kept.
    pub log_lines: usize,
}

/// `[services.NAME]`: a service of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As ARNs name it.
    pub name: Located<Arc<str>>,
    /// Instead of AWS's own.
    pub endpoint_url: Option<Located<String>>,
    /// Instead of the ARN's.
    pub region: Option<String>,
    /// Name of credentials, or `none`.
    pub credentials: Option<Located<String>>,
}

/// `[credentials.NAME]`: what services are asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub name: Located<Arc<str>>,
    /// Access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    /// Roles that it stands for.
    pub roles: Vec<String>,
}

/// `[vpc_links.NAME]`: where a VPC link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcLink {
    /// The link's id or name.
    pub name: Located<Arc<str>>,
    /// An upstream group.
    pub upstream: Located<String>,
}
