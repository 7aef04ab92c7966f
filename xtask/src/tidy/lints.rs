//! The lint tables of the manifests: only some crates may relax the ban on unsafe code, and nothing else gets lost on the way.

use super::metadata::Metadata;
use crate::sh;
use std::path::Path;

/// Crates that talk to the kernel, to SIMD or to memory reclamation; every other one forbids unsafe code.
const MAY_BE_UNSAFE: &[&str] = &["sluice-rt", "sluice-wire", "sluice-cache", "sluice-xdp", "sluice-common"];

/// Crates with a table of their own that is shorter, each with the reason; they forbid unsafe code all the same.
const MAY_PANIC: &[(&str, &str)] =
    &[("sluice-harness", "a test stops at the first surprise: panics are its purpose")];

/// Violations in any member's manifest.
pub(super) fn check(metadata: &Metadata) -> Result<Vec<String>, String> {
    let workspace = read(&sh::root().join("Cargo.toml"))?;
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let manifest = read(Path::new(&package.manifest_path))?;
        let found = manifest_violations(&package.name, &manifest, &workspace);
        violations.extend(found.into_iter().map(|what| format!("{}: {what}", package.manifest_path)));
    }
    Ok(violations)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn manifest_violations(package: &str, manifest: &str, workspace: &str) -> Vec<String> {
    if table(manifest, "lints").any(|(key, value)| key == "workspace" && value == "true") {
        return Vec::new();
    }
    if MAY_PANIC.iter().any(|(name, _)| *name == package) {
        let forbids = table(manifest, "lints.rust").any(|lint| lint == ("unsafe_code", "\"forbid\""));
        return if forbids { Vec::new() } else { vec!["expected unsafe_code = \"forbid\"".to_owned()] };
    }
    let mut violations = Vec::new();
    if !MAY_BE_UNSAFE.contains(&package) {
        violations.push("expected `[lints] workspace = true`".to_owned());
        return violations;
    }
    // Cargo cannot override one inherited lint, so these crates repeat the table: hold the copy to the original.
    for section in ["rust", "clippy"] {
        for (key, value) in table(workspace, &format!("workspace.lints.{section}")) {
            let own = table(manifest, &format!("lints.{section}")).find(|(name, _)| *name == key);
            match own {
                Some(_) if key == "unsafe_code" => {}
                Some((_, own)) if own == value => {}
                Some((_, own)) => violations.push(format!("lint {key}: expected {value}, found {own}")),
                None => violations.push(format!("lint {key} = {value} is missing from [lints.{section}]")),
            }
        }
    }
    violations
}

/// The `key = value` lines under `[name]`.
fn table<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let header = format!("[{name}]");
    manifest
        .lines()
        .skip_while(move |line| line.trim() != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::manifest_violations;

    const WORKSPACE: &str = "[workspace.lints.rust]\n# why\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n\n\
                             [workspace.lints.clippy]\npanic = \"deny\"\n";

    #[test]
    fn inheriting_is_right() {
        let manifest = "[package]\nname = \"x\"\n[lints]\nworkspace = true\n[dependencies]\n";
        assert!(manifest_violations("sluice-server", manifest, WORKSPACE).is_empty());
    }

    #[test]
    fn a_crate_outside_the_list_may_not_relax_anything() {
        let manifest = "[lints.rust]\nunsafe_code = \"allow\"\nmissing_docs = \"warn\"\n[lints.clippy]\npanic = \"deny\"\n";
        assert_eq!(manifest_violations("sluice-server", manifest, WORKSPACE).len(), 1);
        assert_eq!(manifest_violations("sluice-server", "[package]\n", WORKSPACE).len(), 1);
    }

    #[test]
    fn tests_may_panic_but_not_be_unsafe() {
        assert!(
            manifest_violations("sluice-harness", "[lints.rust]\nunsafe_code = \"forbid\"\n", WORKSPACE)
                .is_empty()
        );
        assert_eq!(
            manifest_violations("sluice-harness", "[lints.rust]\nunsafe_code = \"allow\"\n", WORKSPACE).len(),
            1
        );
    }

    #[test]
    fn an_unsafe_crate_keeps_every_other_lint() {
        let whole = "[lints.rust]\nunsafe_code = \"allow\"\nmissing_docs = \"warn\"\n\n[lints.clippy]\npanic = \"deny\"\n";
        assert!(manifest_violations("sluice-rt", whole, WORKSPACE).is_empty());
        let lost = "[lints.rust]\nunsafe_code = \"allow\"\n[lints.clippy]\npanic = \"warn\"\n";
        let violations = manifest_violations("sluice-rt", lost, WORKSPACE);
        assert_eq!(
            violations,
            [
                "lint missing_docs = \"warn\" is missing from [lints.rust]",
                "lint panic: expected \"deny\", found \"warn\""
            ]
        );
    }
}
