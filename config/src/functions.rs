//! `[functions.NAME]`, `[lambda]`, `[services.NAME]` and `[credentials.NAME]`.

use crate::diagnostic::{Located, Reporter};
use crate::entries::choice;
use crate::read::Fields;
use crate::settings::{Code, Credentials, Function, Lambda, Runtime, Secret, Service, VpcLink};
use std::path::PathBuf;
use std::sync::Arc;

/// Keys that only a function which is hosted here has.
const HOSTED: &[&str] = &[
    "handler",
    "directory",
    "environment",
    "memory_mb",
    "timeout_ms",
    "init_timeout_ms",
    "min_instances",
    "max_instances",
    "idle_timeout_ms",
    "reload",
];

pub(crate) fn function(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Option<Function> {
    let endpoint = endpoint(fields, out);
    let code = code(fields, out);
    match (code, endpoint) {
        (Some(code), None) => Some(Function::Hosted { name, code: Box::new(code) }),
        (None, Some(endpoint_url)) => {
            for key in HOSTED.iter().filter(|key| fields.has(key)) {
                let help = Some("drop it, or write runtime = \"…\" instead of endpoint_url".to_owned());
                out.error(
                    fields.place(key, out),
                    format!("`{key}` has no use for a function that runs elsewhere"),
                    help,
                );
            }
            Some(Function::Remote { name, endpoint_url })
        }
        (Some(_), Some(endpoint)) => {
            let message = format!("function `{}` has both `runtime` and `endpoint_url`", name.value);
            out.error(endpoint.at, message, Some("drop one of them".to_owned()));
            None
        }
        (None, None) => {
            if !fields.has("runtime") && !fields.has("endpoint_url") {
                let help = "write runtime = \"node\", \"python\" or \"provided\"".to_owned();
                let message = format!("function `{}` has neither `runtime` nor `endpoint_url`", name.value);
                out.error(fields.at, message, Some(help));
            }
            None
        }
    }
}

fn code(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<Code> {
    let runtime = match fields.text("runtime", out)?.value.as_str() {
        "node" => Runtime::Node,
        "python" => Runtime::Python,
        "provided" => Runtime::Provided,
        // Its diagnostic has been written.
        _ => return None,
    };
    let handler = fields.text("handler", out);
    if runtime != Runtime::Provided && handler.as_ref().is_none_or(|handler| !handler.value.contains('.')) {
        let help = match runtime {
            Runtime::Node => "for example handler = \"index.handler\"",
            Runtime::Python | Runtime::Provided => "for example handler = \"app.handler\"",
        };
        let message = "`handler` expects a file and a function of it, with a dot between them".to_owned();
        out.error(fields.place("handler", out), message, Some(help.to_owned()));
    }
    let Some(directory) = fields.text("directory", out) else {
        out.error(fields.at, "a hosted function needs `directory`", None);
        return None;
    };
    let min_instances: usize = fields.integer("min_instances");
    let max_instances: usize = fields.integer("max_instances");
    if min_instances > max_instances {
        let message = format!(
            "`min_instances` expects at most `max_instances` ({max_instances}), found {min_instances}"
        );
        out.error(fields.place("min_instances", out), message, None);
    }
    Some(Code {
        runtime,
        handler: handler.map(|handler| handler.value).unwrap_or_default(),
        directory: Located::new(PathBuf::from(directory.value), directory.at),
        environment: environment(fields, out),
        memory_mb: fields.integer("memory_mb"),
        timeout_ms: fields.integer("timeout_ms"),
        init_timeout_ms: fields.integer("init_timeout_ms"),
        min_instances,
        max_instances,
        idle_timeout_ms: fields.integer("idle_timeout_ms"),
        reload: fields.bool("reload"),
    })
}

fn environment(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for item in fields.texts("environment", out) {
        match item.value.split_once('=') {
            // What was written is not shown: it may be a secret.
            None => out.error(item.at, "`environment` expects NAME=value, found no `=`", None),
            Some(("", _)) => out.error(item.at, "`environment` expects a name before `=`", None),
            Some((name, _)) if name.contains('\0') || item.value.contains('\0') => {
                out.error(item.at, "`environment` cannot hold NUL", None);
            }
            Some((name, _)) if found.iter().any(|(known, _)| known == name) => {
                out.error(item.at, format!("`environment` has `{name}` twice"), None);
            }
            Some((name, value)) => found.push((name.to_owned(), value.to_owned())),
        }
    }
    found
}

/// `http://host:port/path`, as far as it can be checked without a URI parser: `compile` reads it as it reads those of
/// integrations.
fn endpoint(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Option<Located<String>> {
    let url = fields.text("endpoint_url", out)?;
    let rest = url.value.strip_prefix("http://").or_else(|| url.value.strip_prefix("https://"));
    let whole = |rest: &str| {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        !authority.is_empty() && !rest.contains(['?', '#', '{', '$', '@', ' '])
    };
    if !rest.is_some_and(whole) {
        let message = format!(
            "`endpoint_url` expects http://HOST or https://HOST, a path at most after it, found \"{}\"",
            url.value
        );
        out.error(url.at, message, Some("for example \"http://127.0.0.1:3001\"".to_owned()));
        return None;
    }
    Some(url)
}

pub(crate) fn lambda(fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Lambda {
    let id = |key| fields.integer_if_any(key).and_then(|id| u32::try_from(id).ok());
    let user = match (id("user_id"), id("group_id")) {
        (Some(user), Some(group)) => Some((user, group)),
        (None, None) => None,
        (given, _) => {
            let key = if given.is_some() { "user_id" } else { "group_id" };
            out.error(fields.place(key, out), "`user_id` and `group_id` go together", None);
            None
        }
    };
    Lambda {
        user,
        cgroup: fields.text("cgroup", out).map(|text| PathBuf::from(text.value)),
        log_lines: fields.integer("log_lines"),
    }
}

pub(crate) fn service(name: Located<Arc<str>>, fields: &Fields<'_, '_>, out: &mut Reporter<'_>) -> Service {
    Service {
        name,
        endpoint_url: endpoint(fields, out),
        region: fields.text("region", out).map(|region| region.value),
        credentials: fields.text("credentials", out),
    }
}

pub(crate) fn credentials(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Credentials {
    if &*name.value == "none" {
        out.error(name.at, "credentials cannot be named `none`: that means unsigned requests", None);
    }
    Credentials {
        name,
        access_key_id: choice(fields, "access_key_id", out),
        secret: Secret::new(choice(fields, "secret_access_key", out)),
        session_token: fields.text("session_token", out).map(|token| Secret::new(token.value)),
        roles: fields.texts("roles", out).into_iter().map(|role| role.value).collect(),
    }
}

pub(crate) fn vpc_link(
    name: Located<Arc<str>>,
    fields: &Fields<'_, '_>,
    out: &mut Reporter<'_>,
) -> Option<VpcLink> {
    Some(VpcLink { name, upstream: fields.text("upstream", out)? })
}

/// Names that are meant to be those of other tables.
pub(crate) fn check(services: &[Service], credentials: &[Credentials], out: &mut Reporter<'_>) {
    for named in services.iter().filter_map(|service| service.credentials.as_ref()) {
        let known = |name: &str| credentials.iter().any(|credentials| &*credentials.name.value == name);
        if !matches!(named.value.as_str(), "none" | "default") && !known(&named.value) {
            let names = credentials.iter().map(|credentials| &*credentials.name.value);
            let help = crate::suggest::known_names(&named.value, "credentials", names);
            out.error(named.at, format!("unknown credentials `{}`", named.value), Some(help));
        }
    }
}
