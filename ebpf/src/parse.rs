//! From a frame to the TCP segment or UDP datagram in it, as far as the verdict needs.
//!
//! What no host can use is `Malformed` and dropped. That includes first fragments too short for a TCP header
//! (RFC 1858) or for their whole header chain (RFC 7112), and chains longer than any that RFC 8200 4.1 allows: each
//! of them would hide the port, and so a blocked source, from this program but not from the host.
//!
//! Every read is checked against the end of the buffer right before it; that is also what the verifier asks for.

use sluice_common::{Reason, Source};

const ETHERNET_HEADER: usize = 14;
const ETHERTYPE_AT: usize = 12;
const VLAN_TAG: usize = 4;
/// IEEE 802.1Q, twice for QinQ.
const VLAN_TAGS_MAX: usize = 2;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const IPV4_HEADER: usize = 20;
const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
const IPV6_HEADER: usize = 40;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;
/// RFC 8200 4.1 allows seven, each once but destination options twice.
const IPV6_EXTENSIONS_MAX: usize = 8;

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_ROUTING: u8 = 43;
const NEXT_FRAGMENT: u8 = 44;
const NEXT_AUTHENTICATION: u8 = 51;
const NEXT_DESTINATION: u8 = 60;

const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

/// A packet as far as the verdict needs it. Everything in it is always initialised, and so there are no enums with
/// contents here: the verifier refuses even to copy what LLVM knows to be undefined and unused.
pub(crate) struct Packet {
    /// Length by the IP header, 0 where there is none. `end - data` would be arithmetic on packet pointers.
    pub(crate) bytes: u64,
    /// Whether there is a segment to judge; otherwise the reason is final.
    pub(crate) has_segment: bool,
    pub(crate) reason: Reason,
    pub(crate) segment: Segment,
}

/// A TCP segment or a UDP datagram.
pub(crate) struct Segment {
    pub(crate) source: Address,
    /// Host order.
    pub(crate) source_port: u16,
    /// Host order.
    pub(crate) destination_port: u16,
    /// Opens a connection: SYN without ACK.
    pub(crate) is_syn: bool,
    pub(crate) is_udp: bool,
    /// Only the first part of it; others have no ports.
    pub(crate) is_fragment: bool,
}

/// A source address.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    pub(crate) source: Source,
    pub(crate) is_v4: bool,
}

impl Address {
    const NONE: Self = Self { source: Source::from_v6_words([0; 2]), is_v4: false };

    #[inline(always)]
    pub(crate) fn subscriber(&self) -> Source {
        self.source.subscriber(self.is_v4)
    }
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Ipv4 {
    version_and_words: u8,
    _service: u8,
    total_bytes: [u8; 2],
    _identification: [u8; 2],
    fragment: [u8; 2],
    _time_to_live: u8,
    protocol: u8,
    _checksum: [u8; 2],
    source: u32,
    _destination: u32,
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Ipv6 {
    _version_class_flow: [u8; 4],
    payload_bytes: [u8; 2],
    next: u8,
    _hop_limit: u8,
    source: [u64; 2],
    _destination: [u64; 2],
}

const _: () = assert!(size_of::<Ipv4>() == IPV4_HEADER && size_of::<Ipv6>() == IPV6_HEADER);

/// Reads a `T` at `at`, if all of it lies before `end`.
#[inline(always)]
fn read<T: Copy>(at: usize, end: usize) -> Option<T> {
    if at + size_of::<T>() > end {
        return None;
    }
    // SAFETY: `at` derives from the packet's start and the whole `T` ends before the packet's end; every `T` used
    // here is made of integers, and the read assumes no alignment.
    Some(unsafe { (at as *const T).read_unaligned() })
}

/// Says what the frame between `data` and `end` is.
#[inline(always)]
pub(crate) fn parse(data: usize, end: usize) -> Packet {
    let Some(mut ethertype) = read::<[u8; 2]>(data + ETHERTYPE_AT, end).map(u16::from_be_bytes) else {
        return settled(Reason::Malformed, 0);
    };
    let mut at = data + ETHERNET_HEADER;
    for _ in 0..VLAN_TAGS_MAX {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let Some(inner) = read::<[u8; 2]>(at + VLAN_TAG - 2, end) else {
            return settled(Reason::Malformed, 0);
        };
        ethertype = u16::from_be_bytes(inner);
        at += VLAN_TAG;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(at, end),
        ETHERTYPE_IPV6 => ipv6(at, end),
        _ => settled(Reason::NotIp, 0),
    }
}

#[inline(always)]
fn ipv4(at: usize, end: usize) -> Packet {
    let Some(header) = read::<Ipv4>(at, end) else {
        return settled(Reason::Malformed, 0);
    };
    let total_bytes = usize::from(u16::from_be_bytes(header.total_bytes));
    let header_bytes = usize::from(header.version_and_words & 0x0f) * 4;
    let fragment = u16::from_be_bytes(header.fragment);
    if header.version_and_words >> 4 != 4 || header_bytes < IPV4_HEADER || total_bytes < header_bytes {
        return settled(Reason::Malformed, total_bytes);
    }
    if fragment & IPV4_FRAGMENT_OFFSET != 0 {
        return settled(Reason::Fragment, total_bytes);
    }
    let from = From { at: at + header_bytes, end, is_fragment: fragment & IPV4_MORE_FRAGMENTS != 0 };
    transport(
        &from,
        header.protocol,
        header_bytes,
        Address { source: Source::from_v4_word(header.source), is_v4: true },
        total_bytes,
    )
}

#[inline(always)]
fn ipv6(at: usize, end: usize) -> Packet {
    let Some(header) = read::<Ipv6>(at, end) else {
        return settled(Reason::Malformed, 0);
    };
    let total_bytes = IPV6_HEADER + usize::from(u16::from_be_bytes(header.payload_bytes));
    let mut at = at + IPV6_HEADER;
    let mut next = header.next;
    let mut is_first_fragment = false;
    // How much of the packet the extension headers take.
    let mut header_bytes = IPV6_HEADER;
    for _ in 0..IPV6_EXTENSIONS_MAX {
        let is_extension = matches!(
            next,
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_FRAGMENT | NEXT_AUTHENTICATION | NEXT_DESTINATION
        );
        if !is_extension {
            break;
        }
        let Some([following, length, high, low]) = read::<[u8; 4]>(at, end) else {
            return settled(Reason::Malformed, total_bytes);
        };
        let bytes = match next {
            NEXT_FRAGMENT => {
                let fragment = u16::from_be_bytes([high, low]);
                if fragment & IPV6_FRAGMENT_OFFSET != 0 {
                    return settled(Reason::Fragment, total_bytes);
                }
                is_first_fragment = fragment & 1 != 0;
                8
            }
            // RFC 4302 2.2 counts in words of four octets, minus two; all others (RFC 8200 4) in eights, minus one.
            NEXT_AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        at += bytes;
        header_bytes += bytes;
        next = following;
    }
    if matches!(next, NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_FRAGMENT | NEXT_AUTHENTICATION | NEXT_DESTINATION)
    {
        return settled(Reason::Malformed, total_bytes);
    }
    let from = From { at, end, is_fragment: is_first_fragment };
    transport(
        &from,
        next,
        header_bytes,
        Address { source: Source::from_v6_words(header.source), is_v4: false },
        total_bytes,
    )
}

/// Where the transport header begins.
struct From {
    at: usize,
    end: usize,
    is_fragment: bool,
}

/// What follows the IP headers, which take `header_bytes`.
#[inline(always)]
fn transport(from: &From, protocol: u8, header_bytes: usize, source: Address, total_bytes: usize) -> Packet {
    match protocol {
        PROTOCOL_TCP => {
            // A whole packet this short is the host's to answer or ignore; only a fragment can be completed behind our
            // back.
            if from.is_fragment && total_bytes < header_bytes + TCP_HEADER {
                return settled(Reason::Malformed, total_bytes);
            }
            tcp(from, source, total_bytes)
        }
        PROTOCOL_UDP => udp(from, source, total_bytes),
        _ => settled(Reason::NotServed, total_bytes),
    }
}

/// A segment whose header does not lie in the buffer as a whole is of no use to the host either: drivers put the
/// headers into the first buffer.
#[inline(always)]
fn tcp(from: &From, source: Address, total_bytes: usize) -> Packet {
    let Some(header) = read::<[u8; TCP_HEADER]>(from.at, from.end) else {
        return settled(Reason::Malformed, total_bytes);
    };
    let segment = Segment {
        source,
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        is_syn: header[13] & (TCP_SYN | TCP_ACK) == TCP_SYN,
        is_udp: false,
        is_fragment: from.is_fragment,
    };
    Packet { bytes: total_bytes as u64, has_segment: true, reason: Reason::NotServed, segment }
}

/// A datagram without its header goes to no port, so it is not ours to judge.
#[inline(always)]
fn udp(from: &From, source: Address, total_bytes: usize) -> Packet {
    let Some(header) = read::<[u8; UDP_HEADER]>(from.at, from.end) else {
        return settled(Reason::NotServed, total_bytes);
    };
    let segment = Segment {
        source,
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination_port: u16::from_be_bytes([header[2], header[3]]),
        is_syn: false,
        is_udp: true,
        is_fragment: from.is_fragment,
    };
    Packet { bytes: total_bytes as u64, has_segment: true, reason: Reason::NotServed, segment }
}

#[inline(always)]
fn settled(reason: Reason, total_bytes: usize) -> Packet {
    let segment = Segment {
        source: Address::NONE,
        source_port: 0,
        destination_port: 0,
        is_syn: false,
        is_udp: false,
        is_fragment: false,
    };
    Packet { bytes: total_bytes as u64, has_segment: false, reason, segment }
}
