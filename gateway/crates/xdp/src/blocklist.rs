//! Files of networks, one a line.

use ipnet::IpNet;
use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// What is wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// Expected and found.
    pub message: String,
}

/// Why a file could not be used.
#[derive(Debug)]
pub enum BlockListError {
    /// It could not be read.
    Io(PathBuf, io::Error),
    /// Some lines are wrong: all of them.
    Lines(PathBuf, Vec<LineError>),
}

impl fmt::Display for BlockListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: error: {error}", path.display()),
            Self::Lines(path, errors) => {
                for (index, LineError { line, message }) in errors.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}:{line}: error: {message}", path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for BlockListError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::Lines(..) => None,
        }
    }
}

/// Reads a file as [`parse_block_list`] does.
///
/// # Errors
/// If it cannot be read, or naming every line that is wrong.
pub fn read_block_file(path: &Path) -> Result<Vec<IpNet>, BlockListError> {
    let text = std::fs::read_to_string(path).map_err(|error| BlockListError::Io(path.to_owned(), error))?;
    parse_block_list(&text).map_err(|errors| BlockListError::Lines(path.to_owned(), errors))
}

/// Parses one network or address a line. Blank lines, and what follows a `#` or `;` (published lists use either),
/// are ignored.
///
/// # Errors
/// Every line that is wrong. Host bits (`10.0.0.1/8`) are an error: the line may mean the address or the network.
pub fn parse_block_list(text: &str) -> Result<Vec<IpNet>, Vec<LineError>> {
    let mut nets = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        match parse_net(entry) {
            Ok(net) => nets.push(net),
            Err(message) => errors.push(LineError { line: index + 1, message }),
        }
    }
    if errors.is_empty() { Ok(nets) } else { Err(errors) }
}

fn parse_net(entry: &str) -> Result<IpNet, String> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let net: IpNet =
        entry.parse().map_err(|_| format!("expected a network like 198.51.100.0/24, found `{entry}`"))?;
    if net != net.trunc() {
        return Err(format!("`{entry}` has host bits set: write {} or {}", net.trunc(), net.addr()));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_comments() {
        let text = "# a list\n198.51.100.0/24\n\n 203.0.113.7 # one host\r\n2001:db8::/32 ; SBL1\n::1\n";
        let nets: Vec<String> = parse_block_list(text).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["198.51.100.0/24", "203.0.113.7/32", "2001:db8::/32", "::1/128"]);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let errors = parse_block_list("10.0.0.0/33\n10.0.0.0/8\n10.1.2.3/8\nexample.com\n").unwrap_err();
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(errors[1].message, "`10.1.2.3/8` has host bits set: write 10.0.0.0/8 or 10.1.2.3");
        let shown = BlockListError::Lines("/etc/block.txt".into(), errors).to_string();
        assert!(shown.starts_with("/etc/block.txt:1: error: expected a network"), "{shown}");
        assert_eq!(shown.lines().count(), 3);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_block_file(Path::new("/nonexistent/block.txt")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/block.txt: error: No such file"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            let _ = parse_block_list(&text);
        }

        #[test]
        fn what_is_printed_is_parsed(bits: u32, length in 0u8..=32) {
            let net = IpNet::new(IpAddr::from(bits.to_be_bytes()), length).unwrap().trunc();
            proptest::prop_assert_eq!(parse_block_list(&net.to_string()), Ok(vec![net]));
        }
    }
}
