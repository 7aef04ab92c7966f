//! The `sluice` binary: composition only. What it composes is in `crates/`.

// A command line tool talks to people on stdout and stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod acme;
mod affinity;
mod args;
mod bans;
mod boot;
mod cores;
mod credentials;
mod demo;
mod doctor;
mod feed;
mod functions;
mod health;
mod keys;
mod listeners;
mod listing;
mod notify;
mod operate;
mod publish;
mod serving;
mod signals;
mod slots;
mod store;
mod tls;
mod trial;
mod upgrade;
mod usage;
mod vtl;
mod watchdog;
mod xdp;

use args::{Command, XdpCommand};
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the program ends, as an exit code (`sluice --help` lists them).
enum Failure {
    /// 1: something failed while running.
    Runtime(String),
    /// 3: the configuration is invalid; each line is a diagnostic.
    Config(Vec<String>),
}

impl Failure {
    /// As lines of text.
    fn into_lines(self) -> Vec<String> {
        match self {
            Self::Runtime(text) => vec![text],
            Self::Config(lines) => lines,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Runtime(text) => {
                eprintln!("sluice: error: {text}");
                Self::from(1)
            }
            Failure::Config(lines) => {
                for line in lines {
                    eprintln!("{line}");
                }
                Self::from(3)
            }
        }
    }
}

fn main() -> ExitCode {
    // A bad command line ends inside `parse`, with code 2.
    match dispatch(args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.into(),
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { config } => boot::run(config.as_deref()),
        Command::Validate { file } => validate(&file),
        Command::Reload { admin } => {
            let answer = operate::post(&admin, "/reload")?;
            match answer.status {
                200 => {
                    println!("{}", answer.body.trim_end());
                    Ok(())
                }
                422 => Err(Failure::Config(publish::errors_of(&answer.body))),
                status => Err(operate::refused(status, &answer.body)),
            }
        }
        Command::Upgrade { admin } => {
            let answer = operate::post(&admin, "/upgrade")?;
            match answer.status {
                200 => {
                    println!("{}", answer.body.trim_end());
                    Ok(())
                }
                403 => Err(operate::refused(403, &answer.body)),
                _ => Err(Failure::Runtime(publish::errors_of(&answer.body).join("\n"))),
            }
        }
        Command::Xdp { command: XdpCommand::Top { admin, once } } => xdp::top(&admin, once),
        Command::Xdp { command: XdpCommand::Bans { admin, json } } => operate::show_bans(&admin, json),
        Command::Xdp { command: XdpCommand::Detach { admin, pinned: None } } => operate::detach(&admin),
        Command::Xdp { command: XdpCommand::Detach { pinned: Some(folder), .. } } => {
            operate::detach_pinned(&folder)
        }
        Command::ExplainClient { address, admin, json } => operate::explain(&admin, address, json),
        Command::Routes { admin, json } => listing::show_routes(&admin, json),
        Command::Plan { admin, json } => listing::show_plan(&admin, json),
        Command::Upstreams { admin, json } => listing::show_upstreams(&admin, json),
        Command::Functions { command } => functions::dispatch(command),
        Command::Doctor { command } => doctor::dispatch(command),
        Command::Vtl { command } => vtl::dispatch(command),
        Command::Store { command } => store::dispatch(command),
        Command::Schema => {
            println!("{}", sluice_config::schema());
            Ok(())
        }
        Command::Version => {
            println!("{}", args::VERSION);
            Ok(())
        }
    }
}

/// Parses and compiles a file without serving it.
fn validate(file: &Path) -> Result<(), Failure> {
    let settings = publish::read(file)?;
    let warnings = publish::check(&settings)?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    println!("{}: valid", file.display());
    Ok(())
}
