//! What an operator asks and does: the admin listener's side, and the command line's.

use crate::Failure;
use crate::bans::Bans;
use crate::credentials;
use crate::health::Checks;
use crate::xdp::Kernel;
use serde::de::DeserializeOwned;
use sluice_control::client::{self, Answer};
use sluice_control::{Actions, BanReport, ClientReport, UpstreamInfo, ban_table, client_text};
use sluice_dataplane::Connections;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// The admin listener's hands.
pub(crate) struct Operator {
    pub(crate) kernel: Kernel,
    pub(crate) bans: Bans,
    pub(crate) connections: Arc<Connections>,
    pub(crate) checks: Checks,
}

impl Actions for Operator {
    fn bans(&self) -> BanReport {
        self.bans.report()
    }

    fn client(&self, address: IpAddr) -> ClientReport {
        ClientReport {
            address: address.to_string(),
            standings: self.bans.explain(address),
            kernel: self.kernel.explain(address),
            connections: self.connections.of(address),
        }
    }

    fn detach(&self) -> Vec<String> {
        self.kernel.detach()
    }

    fn upstreams(&self) -> Vec<UpstreamInfo> {
        self.checks.report()
    }

    fn operator_seen(&self, address: IpAddr) {
        self.bans.operator_seen(address);
    }
}

/// The body of a good answer, and the same read; anything else is a failure.
pub(crate) fn read<T: DeserializeOwned>(
    admin: &str,
    answer: Result<Answer, String>,
) -> Result<(String, T), Failure> {
    let answer = answer.map_err(Failure::Runtime)?;
    let body = answer.body.trim_end();
    if answer.status != 200 {
        return Err(refused(answer.status, body));
    }
    match serde_json::from_str(body) {
        Ok(read) => Ok((body.to_owned(), read)),
        Err(error) => Err(Failure::Runtime(format!("{admin} does not answer like a gateway: {error}"))),
    }
}

/// What the gateway answered instead of doing it.
pub(crate) fn refused(status: u16, body: &str) -> Failure {
    let help = match status {
        403 => {
            "\nhelp: sign with an access key of the gateway's: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION"
        }
        _ => "",
    };
    Failure::Runtime(format!("the gateway answered {status}: {}{help}", body.trim_end()))
}

/// Posts nothing there, signed if there is anything to sign with.
pub(crate) fn post(admin: &str, path: &str) -> Result<Answer, Failure> {
    let signer = credentials::of_operator();
    client::admin_post_as(admin, path, signer.as_ref()).map_err(Failure::Runtime)
}

/// `sluice xdp bans`.
pub(crate) fn show_bans(admin: &str, json: bool) -> Result<(), Failure> {
    let (body, report) = read::<BanReport>(admin, client::admin_get(admin, "/xdp/bans"))?;
    if json {
        println!("{body}")
    } else {
        print!("{}", ban_table(&report))
    }
    Ok(())
}

/// `sluice explain-client ADDRESS`.
pub(crate) fn explain(admin: &str, address: IpAddr, json: bool) -> Result<(), Failure> {
    let (body, report) =
        read::<ClientReport>(admin, client::admin_get(admin, &format!("/clients/{address}")))?;
    if json {
        println!("{body}")
    } else {
        print!("{}", client_text(&report))
    }
    Ok(())
}

/// What `POST /xdp/detach` answers.
#[derive(serde::Deserialize)]
struct Detached {
    detached: Vec<String>,
}

/// `sluice xdp detach`.
pub(crate) fn detach(admin: &str) -> Result<(), Failure> {
    let (_, report) = read::<Detached>(admin, Ok(post(admin, "/xdp/detach")?))?;
    tell_detached(&report.detached);
    Ok(())
}

/// `sluice xdp detach --pinned`.
pub(crate) fn detach_pinned(folder: &Path) -> Result<(), Failure> {
    let detached = sluice_xdp::detach_pinned(folder).map_err(|error| Failure::Runtime(error.to_string()))?;
    tell_detached(&detached);
    Ok(())
}

fn tell_detached(interfaces: &[String]) {
    if interfaces.is_empty() {
        println!("not attached");
    } else {
        println!("detached from {}", interfaces.join(", "));
    }
}
