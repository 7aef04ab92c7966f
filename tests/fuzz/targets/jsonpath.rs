//! A path on the first line, a document after it: neither may panic, and what is read writes and parses again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_jsonpath::{Budget, Heap, Out, Path, parse, write_java, write_json};

fuzz_target!(|input: &str| {
    let (path, text) = input.split_once('\n').unwrap_or((input, r#"{"a":[1,{"b":"x"},null],"b":2.5}"#));
    let path = Path::parse(path);
    let mut heap = Heap::new(100_000);
    let Ok(root) = parse(text, &mut heap) else { return };
    let found = match &path {
        Ok(path) => path.read(&mut heap, &root, &mut Budget::new(50_000)).ok().flatten(),
        Err(_) => Some(root),
    };
    let Some(found) = found else { return };
    let (mut json, mut java) = (Out::new(1 << 20), Out::new(1 << 20));
    let _ = write_java(&heap, &found, &mut java);
    if write_json(&heap, &found, &mut json).is_ok() {
        let mut again = Heap::new(1_000_000);
        let back = parse(json.as_str(), &mut again).expect("our own JSON");
        let mut twice = Out::new(1 << 20);
        write_json(&again, &back, &mut twice).expect("no longer than before");
        assert_eq!(twice.as_str(), json.as_str());
    }
});
