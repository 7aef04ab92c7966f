//! What a frame is, said a second time: slices instead of pointers, a recursive walk instead of bounded loops. Checked
//! against the program on mutated frames.

use sluice_xdp::Reason;

/// The reason that the program must give while no list, ban or rate is set, and the bytes that it must count.
pub(crate) fn classify(frame: &[u8], served: &[u16]) -> (Reason, u64) {
    let Some(mut ethertype) = be16(frame, 12) else { return (Reason::Malformed, 0) };
    let mut rest = &frame[14..];
    for _ in 0..2 {
        if matches!(ethertype, 0x8100 | 0x88a8) {
            let Some(inner) = be16(rest, 2) else { return (Reason::Malformed, 0) };
            (ethertype, rest) = (inner, &rest[4..]);
        }
    }
    match ethertype {
        0x0800 => ipv4(rest, served),
        0x86dd if rest.len() >= 40 => {
            let total = 40 + u64::from(be16(rest, 4).unwrap());
            (ipv6(rest[6], &rest[40..], total - 40, 8, false, served), total)
        }
        0x86dd => (Reason::Malformed, 0),
        _ => (Reason::NotIp, 0),
    }
}

fn ipv4(packet: &[u8], served: &[u16]) -> (Reason, u64) {
    if packet.len() < 20 {
        return (Reason::Malformed, 0);
    }
    let (header, total) = (usize::from(packet[0] % 16) * 4, be16(packet, 2).unwrap());
    let fragment = be16(packet, 6).unwrap();
    let reason = if packet[0] / 16 != 4 || header < 20 || usize::from(total) < header {
        Reason::Malformed
    } else if fragment & 0x1fff != 0 {
        Reason::Fragment
    } else if packet[9] != 6 {
        Reason::NotServed
    } else if fragment & 0x2000 != 0 && usize::from(total) < header + 20 {
        Reason::Malformed
    } else {
        tcp(packet.get(header..).unwrap_or_default(), served)
    };
    (reason, u64::from(total))
}

fn ipv6(next: u8, rest: &[u8], left: u64, depth: u32, is_fragment: bool, served: &[u16]) -> Reason {
    if matches!(next, 0 | 43 | 44 | 51 | 60) {
        if depth == 0 || rest.len() < 4 {
            return Reason::Malformed;
        }
        let field = be16(rest, 2).unwrap();
        let bytes = match next {
            44 if field >= 8 => return Reason::Fragment,
            44 => 8,
            51 => 8 + 4 * usize::from(rest[1]),
            _ => 8 + 8 * usize::from(rest[1]),
        };
        let is_fragment = if next == 44 { field % 2 == 1 } else { is_fragment };
        let left = left.saturating_sub(bytes as u64);
        return ipv6(rest[0], rest.get(bytes..).unwrap_or_default(), left, depth - 1, is_fragment, served);
    }
    if next != 6 {
        Reason::NotServed
    } else if is_fragment && left < 20 {
        Reason::Malformed
    } else {
        tcp(rest, served)
    }
}

fn tcp(segment: &[u8], served: &[u16]) -> Reason {
    if segment.len() < 20 {
        Reason::Malformed
    } else if served.contains(&be16(segment, 2).unwrap()) {
        Reason::Accepted
    } else {
        Reason::NotServed
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().unwrap()))
}
