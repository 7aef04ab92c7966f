//! `format`: the attributes of draft 4, checked as strictly as the library behind API Gateway checks them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A known attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    DateTime,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Regex,
    Uri,
}

impl Format {
    /// Unknown attributes are no error: they check nothing.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "date-time" => Some(Self::DateTime),
            "email" => Some(Self::Email),
            "hostname" => Some(Self::Hostname),
            "ipv4" => Some(Self::Ipv4),
            "ipv6" => Some(Self::Ipv6),
            "regex" => Some(Self::Regex),
            "uri" => Some(Self::Uri),
            _ => None,
        }
    }

    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::DateTime => date_time(text).is_some(),
            Self::Email => email(text),
            Self::Hostname => hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Regex => sluice_jsonpath::JavaPattern::ecma(text).is_ok(),
            Self::Uri => uri(text),
        }
    }

    /// AWS's words.
    pub(crate) fn complaint(self, text: &str) -> String {
        let what = match self {
            Self::DateTime => {
                return format!(
                    "string \"{text}\" is invalid against requested date format(s) \
                     [yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{{1,12}}Z]"
                );
            }
            Self::Email => "email address",
            Self::Hostname => "hostname",
            Self::Ipv4 => "IPv4 address",
            Self::Ipv6 => "IPv6 address",
            Self::Regex => "ECMA 262 regular expression",
            Self::Uri => "URI",
        };
        format!("string \"{text}\" is not a valid {what}")
    }
}

/// RFC 3339 section 5.6.
fn date_time(text: &str) -> Option<()> {
    let digits = |text: Option<&str>| -> Option<u32> {
        let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        text.parse().ok()
    };
    let at = |from: usize, char: &[u8]| text.as_bytes().get(from).is_some_and(|byte| char.contains(byte));
    let (year, month, day) = (digits(text.get(..4))?, digits(text.get(5..7))?, digits(text.get(8..10))?);
    let (hour, minute, second) =
        (digits(text.get(11..13))?, digits(text.get(14..16))?, digits(text.get(17..19))?);
    let separators = at(4, b"-") && at(7, b"-") && at(10, b"Tt") && at(13, b":") && at(16, b":");
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        rest = fraction.get(length..).filter(|_| length > 0)?;
    }
    let offset_minutes = match rest.strip_prefix(['+', '-']) {
        None => rest.eq_ignore_ascii_case("z").then_some(0)?,
        Some(offset) => {
            let (hours, minutes) = offset.split_once(':').filter(|(a, b)| a.len() == 2 && b.len() == 2)?;
            let (hours, minutes) = (digits(Some(hours))?, digits(Some(minutes))?);
            let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            if rest.starts_with('+') { 1440 - minutes } else { minutes }
        }
    };
    // A leap second is the last of a day in UTC.
    let utc = (hour * 60 + minute + offset_minutes) % 1440;
    let seconds = second < 60 || second == 60 && utc == 23 * 60 + 59;
    (separators && (1..=last).contains(&day) && hour < 24 && minute < 60 && seconds).then_some(())
}

fn email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let plain = !local.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte));
    let literal = domain.strip_prefix('[').and_then(|domain| domain.strip_suffix(']'));
    let domain = match literal {
        Some(inside) => match inside.strip_prefix("IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => inside.parse::<Ipv4Addr>().is_ok(),
        },
        None => hostname(domain),
    };
    (quoted || plain) && domain
}

/// RFC 1034 section 3.1 and RFC 1123 section 2.1.
fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// An absolute URI (RFC 3986 section 3).
fn uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let named = scheme.starts_with(|char: char| char.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        match byte {
            b'%' if !(hex(bytes.next()) && hex(bytes.next())) => return false,
            b'%' => {}
            _ if byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte) => {}
            _ => return false,
        }
    }
    named && rest.matches('#').count() <= 1 && authority(rest)
}

/// Where there is one, brackets belong around an IPv6 address only, and a port is a number.
fn authority(rest: &str) -> bool {
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (before, _query) = before.split_once('?').unwrap_or((before, ""));
    let bracket = |text: &str| text.contains(['[', ']']);
    let Some(rest) = before.strip_prefix("//") else { return !bracket(before) && !bracket(fragment) };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let port = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<Ipv6Addr>().is_err() && !address.starts_with('v') {
                return false;
            }
            port
        }
        None if bracket(host) => return false,
        None => host.find(':').map_or("", |at| host.get(at..).unwrap_or_default()),
    };
    let port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    port && !bracket(path) && !bracket(user) && !bracket(fragment)
}
