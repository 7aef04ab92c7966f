//! The guide is part of the product: its configurations are valid, and its reference knows every key.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_harness::{Sluice, TempDir};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The fenced blocks of a language, each with its line number.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let (mut found, mut open): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    for (n, line) in text.lines().enumerate() {
        match (open, line.trim()) {
            (true, "```") => open = false,
            (true, _) => {
                let block = &mut found.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            }
            (false, fence) if fence == format!("```{language}") => {
                open = true;
                found.push((n + 2, String::new()));
            }
            (false, _) => {}
        }
    }
    found
}

#[test]
fn every_configuration_in_the_documents_is_valid() {
    let dir = TempDir::new();
    let mut count = 0;
    for document in ["README.md", "docs/guide.md", "docs/configuration.md"] {
        for (line, block) in blocks(&read(document), "toml") {
            let path = dir.file("gateway.toml", &block);
            let output = Sluice::output(&["validate", path.to_str().unwrap()]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{document}:{line}: {told}\n{block}");
            count += 1;
        }
    }
    assert!(count >= 5, "only {count} configurations found");
}

/// The reference lists each key of the schema once, and no others. A row may have several, separated by commas.
#[test]
fn the_reference_lists_exactly_the_keys_of_the_schema() {
    let schema: serde_json::Value = serde_json::from_slice(&Sluice::output(&["schema"]).stdout).unwrap();
    let mut expected = Vec::new();
    for (section, table) in schema["properties"].as_object().unwrap() {
        let entry = &table["additionalProperties"];
        let keys = if entry.is_object() { &entry["properties"] } else { &table["properties"] };
        let keys = keys.as_object().unwrap_or_else(|| panic!("no properties in {section}: {table}"));
        expected.extend(keys.keys().map(|key| format!("{section}.{key}")));
    }
    let reference = read("docs/configuration.md");
    let (mut section, mut listed) = (String::new(), Vec::new());
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            section = heading.split(['.', ']']).next().unwrap().to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let cell = row.split('|').next().unwrap_or_default();
            listed.extend(cell.split('`').step_by(2).map(|key| format!("{section}.{key}")));
        }
    }
    expected.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, expected);
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut documents = vec![PathBuf::from("README.md"), "CHANGELOG.md".into()];
    for file in fs::read_dir(workspace().join("docs")).unwrap() {
        documents.push(Path::new("docs").join(file.unwrap().file_name()));
    }
    for document in documents.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = read(document.to_str().unwrap());
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            let path = workspace().join(document).parent().unwrap().join(file);
            assert!(path.exists(), "{}: {target} leads nowhere", document.display());
        }
    }
}

#[test]
fn the_refusals_of_the_metrics_are_documented() {
    let gateway = sluice_harness::Gateway::start("[routes.a]\npath = \"/a\"\nmock_body = \"a\"\n");
    let errors = read("docs/errors.md");
    for line in gateway.metrics().text.lines() {
        let Some(reason) =
            line.strip_prefix("sluice_refusals_total{reason=\"").and_then(|l| l.split('"').next())
        else {
            continue;
        };
        assert!(errors.contains(&format!("`{reason}`")), "docs/errors.md does not tell of `{reason}`");
    }
}
