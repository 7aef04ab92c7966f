//! OpenAPI documents: none panics, in JSON or YAML; what is imported is exported as a document that is imported again, as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_catalog::Definition;
use sluice_openapi::{BasePath, ExportOptions, ImportOptions, Version, export, import, read, write_yaml};

fuzz_target!(|input: &[u8]| {
    let Ok(document) = read(input) else { return };
    assert_eq!(read(write_yaml(&document).as_bytes()).as_ref(), Ok(&document), "what is written is read again");
    let mut next = 0;
    let mut ids = |length: usize| {
        next += 1;
        format!("{next:0length$}")
    };
    let options = ImportOptions { api: "a", base_path: BasePath::Prepend, merge: false, timeout_max_ms: 29_000 };
    let Ok(made) = import(&document, &Definition::default(), &options, &mut ids) else { return };
    assert!(made.definition.resources.contains_key(&made.root), "the root is there");
    for version in [Version::Oas30, Version::Swagger] {
        let shown = ExportOptions {
            version,
            title: &made.name,
            api_version: "1",
            description: None,
            host: "h",
            stage: "s",
            integrations: true,
            authorizers: true,
            apigateway: true,
        };
        let again = ImportOptions { base_path: BasePath::Ignore, ..options };
        let document = export(&made.definition, &shown);
        let again = import(&document, &Definition::default(), &again, &mut ids).expect("an export is imported");
        let paths = |of: &Definition| {
            let resources = of.resources.values().filter(|resource| !resource.methods.is_empty());
            let mut paths: Vec<_> =
                resources.map(|resource| (resource.path.clone(), resource.methods.keys().cloned().collect::<Vec<_>>())).collect();
            paths.sort();
            paths
        };
        assert_eq!(paths(&again.definition), paths(&made.definition));
    }
});
