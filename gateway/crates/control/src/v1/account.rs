//! The one account.

use super::fault::Fault;
use super::patch::patches;
use super::{Answer, Call, Reply, show};
use serde_json::Value;
use sluice_catalog::{Account, Catalog};

fn view(account: &Account) -> Value {
    let mut out = show(account);
    if let Value::Object(members) = &mut out {
        members.remove("tags");
    }
    out
}

pub(crate) fn get(catalog: &Catalog, _call: &Call) -> Answer {
    Ok(Reply::ok(view(&catalog.account)))
}

pub(crate) fn update(catalog: &mut Catalog, call: &Call) -> Answer {
    for patch in patches(call, "updateAccountInput")? {
        match patch.parts().as_slice() {
            ["cloudwatchRoleArn"] => {
                let arn = patch.replacement()?;
                if arn.as_deref().is_some_and(|arn| !arn.starts_with("arn:")) {
                    return Err(Fault::bad_request(
                        "The role ARN does not have required permissions configured. Please grant trust permission for API Gateway and add the required role policy.",
                    ));
                }
                catalog.account.cloudwatch_role_arn = arn;
            }
            ["features"] => {
                patch.needs(&["add", "remove"])?;
                if patch.removes() && patch.value.as_deref() == Some("UsagePlans") {
                    return Err(Fault::bad_request("Usage Plans cannot be disabled once enabled"));
                }
                patch.item(&mut catalog.account.features, &patch.text());
            }
            _ => return Err(patch.bad_path()),
        }
    }
    Ok(Reply::ok(view(&catalog.account)))
}
