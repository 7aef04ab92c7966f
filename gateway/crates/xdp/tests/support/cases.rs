//! Verdicts as data: the files in `tests/cases`, whose form their heads describe.

use sluice_xdp::{Options, Reason};
use std::path::Path;

/// A file of cases.
pub(crate) struct Cases {
    pub(crate) options: Options,
    /// Networks to ban.
    pub(crate) bans: Vec<ipnet::IpNet>,
    pub(crate) cases: Vec<Case>,
}

/// A packet, and what is expected of it.
pub(crate) struct Case {
    /// Where it stands, and what it is.
    pub(crate) name: String,
    pub(crate) frame: Vec<u8>,
    pub(crate) reason: Reason,
    pub(crate) rule: Option<u32>,
    pub(crate) is_dry: bool,
}

/// Every file of cases, by name.
pub(crate) fn files() -> Vec<(String, Cases)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let cases = parse(&name, &std::fs::read_to_string(&path).unwrap());
        (name, cases)
    };
    paths.into_iter().map(read).collect()
}

fn parse(file: &str, text: &str) -> Cases {
    let mut all = Cases { options: Options::default(), bans: Vec::new(), cases: Vec::new() };
    for (number, line) in (1..).zip(text.lines()) {
        let at = format!("{file}:{number}");
        if line.is_empty() || line.starts_with('#') {
        } else if let Some(hexadecimal) = line.strip_prefix("    ") {
            let case = all.cases.last_mut().unwrap_or_else(|| panic!("{at}: a frame of nothing"));
            case.frame.extend(bytes(&at, hexadecimal));
        } else if let Some((verdict, name)) = line.split_once(": ") {
            all.cases.push(case(&at, verdict, name));
        } else {
            setting(&at, line, &mut all);
        }
    }
    all
}

fn case(at: &str, verdict: &str, name: &str) -> Case {
    let (is_dry, verdict) = match verdict.strip_prefix("dry/") {
        Some(rest) => (true, rest),
        None => (false, verdict),
    };
    let (label, rule) = match verdict.split_once('/') {
        Some((label, rule)) => (label, Some(rule.parse().unwrap())),
        None => (verdict, None),
    };
    let reason = Reason::ALL.into_iter().find(|reason| reason.label() == label);
    let reason = reason.unwrap_or_else(|| panic!("{at}: no reason `{label}`"));
    Case { name: format!("{at}: {name}"), frame: Vec::new(), reason, rule, is_dry }
}

fn setting(at: &str, line: &str, all: &mut Cases) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["serve", port] => all.options.served_ports.push(port.parse().unwrap()),
        ["block", net, rule] => all.options.block.push((net.parse().unwrap(), rule.parse().unwrap())),
        ["allow", net] => all.options.allow.push(net.parse().unwrap()),
        ["ban", net] => all.bans.push(net.parse().unwrap()),
        ["drop_udp"] => all.options.drop_udp = true,
        ["drop_fragments"] => all.options.drop_fragments = true,
        ["drop_later_fragments"] => all.options.drop_later_fragments = true,
        ["dry_run"] => all.options.dry_run = true,
        _ => panic!("{at}: expected a setting, found `{line}`"),
    }
}

fn bytes(at: &str, hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert_eq!(digits.len() % 2, 0, "{at}: half a byte");
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
