//! Sizes, leftovers and unexplained exceptions in one source file.

use super::source::code_only;

const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 70;

/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Folders whose code may be unsafe: the crates listed in `lints`, and the XDP program, which is no workspace member.
const UNSAFE_FOLDERS: &[&str] = &[
    "common/",
    "ebpf/",
    "gateway/crates/rt/",
    "gateway/crates/wire/",
    "gateway/crates/cache/",
    "gateway/crates/xdp/",
];

/// All violations in one file, as `file:line: what`.
pub(super) fn check(file: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let mut violations = Vec::new();
    let mut report = |line: usize, what: String| violations.push(format!("{file}:{line}: {what}"));
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES && !LONG_FILES.iter().any(|(name, _)| *name == file) {
        report(lines, format!("{lines} lines, at most {MAX_FILE_LINES}: split it, or list it with a reason"));
    }
    for (line, name, length) in long_functions(&code) {
        report(line, format!("fn {name}: {length} lines, at most {MAX_FUNCTION_LINES}"));
    }
    for (index, code_line) in code.lines().enumerate() {
        if has_word(code_line, "unsafe") && !UNSAFE_FOLDERS.iter().any(|folder| file.starts_with(folder)) {
            report(index + 1, "unsafe code outside the crates that may have it".to_owned());
        }
        for leftover in ["todo", "unimplemented"] {
            if code_line
                .split_once(&format!("{leftover}!"))
                .is_some_and(|(_, after)| after.starts_with(['(', '[']))
            {
                report(index + 1, format!("{leftover}! left over"));
            }
        }
    }
    for line in unexplained_allows(text, &code) {
        report(line, "a lint is relaxed without `reason = \"…\"` or a comment above".to_owned());
    }
    violations
}

/// `(line, name, length)` of each function that is too long, from `fn` to its closing brace.
fn long_functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code.get(..at).is_some_and(|before| !before.ends_with(is_word));
        let Some(rest) = code.get(at + 3..).filter(|_| starts_word) else { continue };
        let name: String = rest.chars().take_while(|character| is_word(*character)).collect();
        if name.is_empty() {
            continue;
        }
        let Some(length) = body_end(rest).and_then(|end| rest.get(..end)).map(|body| body.lines().count())
        else {
            continue;
        };
        if length > MAX_FUNCTION_LINES {
            let line = code.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
            found.push((line, name, length));
        }
    }
    found
}

/// Where the function ends whose text follows `fn `; `None` for a declaration without a body.
fn body_end(text: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            // `[u8; 4]` in a signature ends nothing.
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' if braces <= 1 => return Some(at + 1),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// Lines of `#[allow(…)]`, `#![allow(…)]` and `expect` attributes that do not say why. What is relaxed for tests only
/// (`cfg_attr(test, …)`) explains itself.
fn unexplained_allows(text: &str, code: &str) -> Vec<usize> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[").chain(code.match_indices("#![")) {
        let Some(attribute) =
            code.get(at..).and_then(|rest| rest.split_once(']')).map(|(attribute, _)| attribute)
        else {
            continue;
        };
        let inner = attribute.trim_start_matches(['#', '!', '[']);
        if !inner.starts_with("allow(") && !inner.starts_with("expect(") || inner.contains("reason") {
            continue;
        }
        let first = code.get(..at).map_or(0, |before| before.matches('\n').count());
        let last = first + attribute.matches('\n').count();
        // One comment may stand above several attributes.
        let mut above = lines.get(..first).unwrap_or_default().iter().rev().map(|line| line.trim_start());
        let above = above.find(|line| !line.starts_with('#')).unwrap_or_default();
        let beside = lines.get(last).is_some_and(|line| line.contains("//"));
        let above = above.starts_with("//") && !above.starts_with("///") && !above.starts_with("//!");
        if !beside && !above {
            found.push(first + 1);
        }
    }
    found.sort_unstable();
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).is_some_and(|text| text.ends_with(is_word));
        let after = line.get(at + word.len()..).is_some_and(|text| text.starts_with(is_word));
        !before && !after
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::{MAX_FILE_LINES, MAX_FUNCTION_LINES, check};

    fn function(lines: usize) -> String {
        format!("/// {{\npub(crate) async fn long(x: [u8; 4]) -> u8 {{\n{}}}\n", "    x;\n".repeat(lines - 2))
    }

    #[test]
    fn a_long_function_is_found_at_its_line() {
        assert!(check("a.rs", &function(MAX_FUNCTION_LINES)).is_empty());
        let violations = check("a.rs", &function(MAX_FUNCTION_LINES + 1));
        assert_eq!(
            violations,
            [format!("a.rs:2: fn long: {} lines, at most {MAX_FUNCTION_LINES}", MAX_FUNCTION_LINES + 1)]
        );
    }

    #[test]
    fn a_declaration_without_a_body_is_no_function() {
        assert!(check("a.rs", &format!("trait T {{ fn f(&self); }}\n{}", "// x\n".repeat(100))).is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        assert!(check("a.rs", &"// x\n".repeat(MAX_FILE_LINES)).is_empty());
        assert_eq!(check("a.rs", &"// x\n".repeat(MAX_FILE_LINES + 1)).len(), 1);
    }

    #[test]
    fn unsafe_code_is_found_but_not_the_word() {
        let text = "// unsafe here\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(check("gateway/crates/server/src/lib.rs", text).len(), 1);
        assert!(check("gateway/crates/rt/src/lib.rs", text).is_empty());
    }

    #[test]
    fn leftovers_are_found() {
        assert_eq!(check("a.rs", concat!("fn f() { to", "do!() }\n")).len(), 1);
    }

    #[test]
    fn a_relaxed_lint_says_why() {
        for explained in [
            "#[allow(dead_code, reason = \"used by the other binary\")]\nfn f() {}\n",
            "// Used by the other binary.\n#[allow(dead_code)]\nfn f() {}\n",
            "// Both unstable.\n#![feature(x)]\n#![allow(internal_features)]\n",
            "#[allow(dead_code)] // used by the other binary\nfn f() {}\n",
            "#![cfg_attr(test, allow(clippy::panic))]\n",
            "#[derive(Debug)]\nstruct S;\n",
        ] {
            assert!(check("a.rs", explained).is_empty(), "{explained}");
        }
        for bare in [
            "#[allow(dead_code)]\nfn f() {}\n",
            "#![allow(\n    dead_code,\n)]\n",
            "/// Doc.\n#[expect(dead_code)]\nfn f() {}\n",
        ] {
            assert_eq!(check("a.rs", bare).len(), 1, "{bare}");
        }
    }
}
