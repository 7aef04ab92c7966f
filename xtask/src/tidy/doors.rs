//! Which crate may import which. A new door is one line here, and is reviewed as such.

use super::metadata::Metadata;

/// `(from, to)`; names without the `sluice-` prefix.
///
/// What is absent matters most: the pure crates know nothing of the machinery, `dataplane` has never heard of `config`,
/// `compile` or `control`, and `control` has never heard of `dataplane`.
#[rustfmt::skip]
const DOORS: &[(&str, &str)] = &[
    // Pure: values in, values out.
    ("cache", "wire"),
    ("iam", "calendar"),
    ("mapping", "calendar"),
    ("sigv4", "calendar"),
    ("throttle", "calendar"),
    ("wire", "calendar"),
    ("vtl", "jsonpath"),
    ("schema", "jsonpath"),
    ("mapping", "jsonpath"),
    ("mapping", "schema"),
    ("mapping", "vtl"),
    // Machinery: knows the kernel, not the gateway.
    ("tls", "rt"),
    ("h1", "rt"),
    ("h1", "tls"),
    ("h1", "wire"),
    ("h2", "h1"),
    ("h2", "rt"),
    ("h2", "tls"),
    ("h2", "wire"),
    ("server", "h1"),
    ("server", "h2"),
    ("server", "rt"),
    ("server", "tls"),
    ("server", "wire"),
    ("client", "h1"),
    ("client", "h2"),
    ("client", "rt"),
    ("client", "tls"),
    ("client", "wire"),
    ("telemetry", "calendar"),
    ("fetch", "tls"),
    ("fetch", "wire"),
    ("xdp", "common"),
    ("acme", "tls"),
    ("functions", "wire"),
    // Gateway: the nouns.
    ("store", "catalog"),
    ("openapi", "catalog"),
    ("control", "openapi"),
    ("control", "calendar"),
    ("control", "catalog"),
    ("control", "functions"),
    ("control", "sigv4"),
    ("control", "store"),
    ("snapshot", "cache"),
    ("snapshot", "iam"),
    ("snapshot", "mapping"),
    ("snapshot", "throttle"),
    ("snapshot", "wire"),
    ("compile", "cache"),
    ("compile", "catalog"),
    ("compile", "config"),
    ("compile", "iam"),
    ("compile", "mapping"),
    ("compile", "snapshot"),
    ("compile", "throttle"),
    ("compile", "wire"),
    ("dataplane", "cache"),
    ("dataplane", "client"),
    ("dataplane", "h1"),
    ("dataplane", "h2"),
    ("dataplane", "iam"),
    ("dataplane", "jwt"),
    ("dataplane", "mapping"),
    ("dataplane", "promote"),
    ("dataplane", "rt"),
    ("dataplane", "server"),
    ("dataplane", "sigv4"),
    ("dataplane", "snapshot"),
    ("dataplane", "telemetry"),
    ("dataplane", "throttle"),
    ("dataplane", "tls"),
    ("dataplane", "wire"),
    ("control", "mapping"),
    ("control", "snapshot"),
    ("control", "telemetry"),
    ("control", "xdp"),
];

/// The binary, the tests and the benchmark put everything together.
const MAY_IMPORT_ALL: &[&str] = &["sluice", "harness", "bench"];

/// Nobody imports these.
const CLOSED: &[&str] = &["sluice", "bench", "xtask"];

/// Imports for which there is no door.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let from = short(&package.name);
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let to = short(&dependency.name);
            let for_tests = dependency.kind.as_deref() == Some("dev");
            if !may_import(from, to, for_tests) {
                let manifest = &package.manifest_path;
                violations.push(format!("{manifest}: {from} -> {to} has no door (xtask/src/tidy/doors.rs)"));
            }
        }
    }
    violations
}

fn may_import(from: &str, to: &str, for_tests: bool) -> bool {
    if CLOSED.contains(&to) {
        return false;
    }
    // A test may borrow what the crate itself must not know.
    for_tests || MAY_IMPORT_ALL.contains(&from) || DOORS.contains(&(from, to))
}

fn short(name: &str) -> &str {
    name.strip_prefix("sluice-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::{DOORS, check};
    use crate::tidy::metadata::{Dependency, Metadata, Package};

    fn importing(from: &str, to: &str, kind: Option<&str>) -> Metadata {
        let dependency = Dependency {
            name: to.to_owned(),
            kind: kind.map(str::to_owned),
            path: Some("somewhere".to_owned()),
        };
        Metadata {
            packages: vec![Package {
                name: from.to_owned(),
                manifest_path: "Cargo.toml".to_owned(),
                dependencies: vec![dependency],
            }],
        }
    }

    #[test]
    fn an_import_without_a_door_is_found() {
        for (from, to) in [
            ("sluice-dataplane", "sluice-config"),
            ("sluice-dataplane", "sluice-compile"),
            ("sluice-control", "sluice-dataplane"),
            ("sluice-wire", "sluice-rt"),
            ("sluice-rt", "sluice-telemetry"),
        ] {
            let violations = check(&importing(from, to, None));
            assert_eq!(violations.len(), 1, "{from} -> {to}");
            assert!(violations[0].contains("has no door"));
        }
    }

    #[test]
    fn nobody_imports_the_binary_not_even_a_test() {
        assert_eq!(check(&importing("sluice-harness", "sluice", None)).len(), 1);
        assert_eq!(check(&importing("sluice-wire", "sluice", Some("dev"))).len(), 1);
    }

    #[test]
    fn doors_and_test_imports_are_open() {
        assert!(check(&importing("sluice-cache", "sluice-wire", None)).is_empty());
        assert!(check(&importing("sluice-wire", "sluice-rt", Some("dev"))).is_empty());
        assert!(check(&importing("sluice", "sluice-control", None)).is_empty());
    }

    #[test]
    fn doors_lead_one_way() {
        for (from, to) in DOORS {
            assert!(!DOORS.contains(&(to, from)), "{from} and {to} import each other");
        }
    }
}
