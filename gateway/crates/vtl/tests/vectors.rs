//! Every case of `vectors/`: template, input, context, output. `sluice vtl test` reads the same files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use sluice_vtl::Case;
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn check(folder: &str, at_least: usize) {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(folder));
    assert!(files.len() >= at_least, "{folder}: {} cases", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let case = Case::read(&std::fs::read_to_string(&file).unwrap());
        let case = case.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Some((expected, found)) = case.judge(&case.run(&name)) {
            wrong.push(format!(
                "{folder}/{name}\n  template {:?}\n  expected {expected:?}\n  found    {found:?}",
                case.template
            ));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn answers_recorded_on_aws() {
    check("recorded-on-aws", 100);
}

/// The request and response templates that users bring along.
#[test]
fn templates_of_the_mission() {
    check("mission", 2);
}

/// What AWS's developer guide shows, written anew.
#[test]
fn templates_of_the_guide() {
    check("guide", 10);
}

#[test]
fn faults_and_bounds() {
    check("errors", 7);
}
