//! The command line.

use clap::{Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// What `sluice version` prints.
pub(crate) const VERSION: &str = concat!("sluice ", env!("CARGO_PKG_VERSION"));

const DEFAULT_ADMIN: &str = "127.0.0.1:8081";

const AFTER_HELP: &str = "\
Exit codes: 0 success, 1 failure while running, 2 bad command line, 3 invalid configuration.
Signals: SIGHUP reloads the configuration, SIGUSR1 reopens the access log, SIGUSR2 upgrades the program,
SIGTERM and SIGINT drain and exit.";

#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    about = "An API gateway: routes, keys, limits and caching over io_uring, drops in XDP"
)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve; without --config an embedded quick start on 127.0.0.1:8080.
    Run {
        /// Configuration file (TOML).
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a configuration file and say everything that is wrong with it.
    Validate {
        /// Configuration file (TOML).
        file: PathBuf,
    },
    /// Tell a running gateway to read its configuration again.
    Reload {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
    },
    /// Put the program's present file, with its present configuration, in a running gateway's place.
    ///
    /// The new process gets the listening sockets, and no connection is refused or reset; the old one drains and ends. If
    /// the new one doesn't get ready, nothing changes.
    Upgrade {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
    },
    /// The kernel path.
    Xdp {
        #[command(subcommand)]
        command: XdpCommand,
    },
    /// Say how a client stands: refusals, bans and why, lists of the packet filter, connections.
    ExplainClient {
        /// Its IPv4 or IPv6 address.
        #[arg(value_name = "ADDRESS")]
        address: IpAddr,
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List what is served, and where each route comes from.
    Routes {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the servers of upstream groups, and how they stand with their health checks.
    Upstreams {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say how stages of REST APIs differ from their APIs: what was edited and is not deployed.
    Plan {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lambda functions that the gateway hosts.
    Functions {
        #[command(subcommand)]
        command: FunctionsCommand,
    },
    /// Say what is wrong with something that serves.
    Doctor {
        #[command(subcommand)]
        command: DoctorCommand,
    },
    /// Mapping templates, offline.
    Vtl {
        #[command(subcommand)]
        command: VtlCommand,
    },
    /// What the AWS-compatible control plane was told, while no gateway runs on it.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print the version.
    Version,
}

/// `sluice xdp …`.
#[derive(Subcommand)]
pub(crate) enum XdpCommand {
    /// Show packet counters by reason, rule and client, refreshed every second.
    Top {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print once and exit.
        #[arg(long)]
        once: bool,
    },
    /// Show who is banned and for what, and who was lately.
    Bans {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Detach the packet filter at once; requests go on. `sluice reload` attaches it again.
    Detach {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Detach what is pinned in this folder (`xdp.pin_path`), although no gateway runs.
        #[arg(long, value_name = "FOLDER", conflicts_with = "admin")]
        pinned: Option<PathBuf>,
    },
}

/// `sluice functions …`.
#[derive(Subcommand)]
pub(crate) enum FunctionsCommand {
    /// Show each function with its instances and counts.
    List {
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Invoke a function and print its answer; a function error exits with 1.
    Invoke {
        /// Its name.
        name: String,
        /// The event, as JSON.
        #[arg(long, short, value_name = "JSON", default_value = "{}", conflicts_with = "payload_file")]
        payload: String,
        /// File with the event, `-`: standard input.
        #[arg(long, value_name = "FILE")]
        payload_file: Option<PathBuf>,
        /// Do not wait for the answer.
        #[arg(long)]
        event: bool,
        /// Print the end of what the invocation logs, at most 4 KB, on standard error.
        #[arg(long, conflicts_with = "event")]
        tail: bool,
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
    },
    /// Print what a function has logged: instance, where from, line.
    Logs {
        /// Its name.
        name: String,
        /// Go on as lines come.
        #[arg(long, short)]
        follow: bool,
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
    },
}

/// `sluice doctor …`.
#[derive(Subcommand)]
pub(crate) enum DoctorCommand {
    /// Say for each route of a stage what a browser would keep from a page of another origin, and why; 1 if anything.
    Cors {
        /// Id of a REST API, or its name.
        api: String,
        /// Name of the stage.
        stage: String,
        /// The page's origin.
        #[arg(long, value_name = "ORIGIN", default_value = "https://app.example")]
        origin: String,
        /// The gateway's admin listener.
        #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN)]
        admin: String,
    },
}

/// `sluice store …`.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Write everything as JSON. Values of API keys are in it.
    Export {
        /// The store's file (`store.path`).
        store: PathBuf,
        /// File to write, for its owner only; standard output if there is none.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put such JSON in place of everything, all or nothing.
    Import {
        /// The store's file; made if it is not there.
        store: PathBuf,
        /// File to read; standard input if there is none.
        #[arg(long, short, value_name = "FILE")]
        input: Option<PathBuf>,
    },
    /// Verify checksums, that every item can be read, and that what items name is there.
    Check {
        /// The store's file.
        store: PathBuf,
    },
}

/// `sluice vtl …`.
#[derive(Subcommand)]
pub(crate) enum VtlCommand {
    /// Run a template as API Gateway would; its overrides go to standard error.
    Run(VtlInput),
    /// Run every case (*.json) of a folder, and show how outputs differ.
    Test {
        /// Folder of cases: {"template", "input", "context", "output"}.
        folder: PathBuf,
    },
    /// Run a template and show, line by line, what each reference and condition came to.
    Trace(VtlInput),
}

/// A template and what it sees.
#[derive(clap::Args)]
pub(crate) struct VtlInput {
    /// File with the template.
    pub(crate) template: PathBuf,
    /// File with the input: {"body", "params": {"path", "querystring", "header"}, "stageVariables"}.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// File with the body as it is, instead of the input's.
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// File with the $context variables: {"stage": "prod", "identity": {"sourceIp": …}}.
    #[arg(long, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
}

/// Parses the command line; on a mistake prints what was expected and exits with 2.
pub(crate) fn parse() -> Command {
    Cli::parse().command
}
