//! From a frame to the TCP segment or UDP datagram in it, as far as the verdict needs.
//!
//! What no host can use is `Malformed` and dropped. That includes first fragments too short for a TCP header
//! (RFC 1858) or for their whole header chain (RFC 7112), and chains longer than any that RFC 8200 4.1 allows: each
//! of them would hide the port, and so a blocked source, from this program but not from the host.
//!
//! Every read is checked against the end of the buffer right before it; that is also what the verifier asks for.

use core::arch::asm;
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
const TCP_SYN: u64 = 0x02;
const TCP_ACK: u64 = 0x10;

/// A packet as far as the verdict needs it: three words, so that they fit into registers on every way that leads here.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// The reason's discriminant, then the bits below, the length in bytes, and the ports.
    head: u64,
    pub(crate) source: Source,
}

const REASON_MASK: u64 = 0x1f;
/// There is a TCP segment or a UDP datagram to judge; otherwise the reason is final.
const HAS_SEGMENT: u64 = 1 << 5;
const IS_V4: u64 = 1 << 6;
/// Opens a connection: SYN without ACK.
const IS_SYN: u64 = 1 << 7;
const IS_UDP: u64 = 1 << 8;
/// Only the first part of it; others have no ports.
const IS_FRAGMENT: u64 = 1 << 9;
/// A fragment of TCP other than the first. It has a source, and neither ports nor flags.
const IS_LATER_OF_TCP: u64 = 1 << 27;
const BYTES_SHIFT: u32 = 10;
/// As large as an IPv6 packet with a header and 65,535 more.
const BYTES_MASK: u64 = 0x1_ffff;
const DESTINATION_SHIFT: u32 = 32;
const SOURCE_SHIFT: u32 = 48;

impl Packet {
    #[inline(always)]
    const fn has(&self, bit: u64) -> bool {
        self.head & bit != 0
    }

    #[inline(always)]
    pub(crate) const fn has_segment(&self) -> bool {
        self.has(HAS_SEGMENT)
    }

    #[inline(always)]
    pub(crate) const fn is_v4(&self) -> bool {
        self.has(IS_V4)
    }

    #[inline(always)]
    pub(crate) const fn is_syn(&self) -> bool {
        self.has(IS_SYN)
    }

    #[inline(always)]
    pub(crate) const fn is_udp(&self) -> bool {
        self.has(IS_UDP)
    }

    #[inline(always)]
    pub(crate) const fn is_fragment(&self) -> bool {
        self.has(IS_FRAGMENT)
    }

    #[inline(always)]
    pub(crate) const fn is_later_of_tcp(&self) -> bool {
        self.has(IS_LATER_OF_TCP)
    }

    /// Why, by discriminant, if there is no segment.
    #[inline(always)]
    pub(crate) const fn reason(&self) -> u32 {
        (self.head & REASON_MASK) as u32
    }

    /// Length by the IP header, 0 where there is none. `end - data` would be arithmetic on packet pointers.
    #[inline(always)]
    pub(crate) const fn bytes(&self) -> u64 {
        self.head >> BYTES_SHIFT & BYTES_MASK
    }

    /// Host order.
    #[inline(always)]
    pub(crate) const fn destination_port(&self) -> u16 {
        (self.head >> DESTINATION_SHIFT) as u16
    }

    /// Host order.
    #[inline(always)]
    pub(crate) const fn source_port(&self) -> u16 {
        (self.head >> SOURCE_SHIFT) as u16
    }

    #[inline(always)]
    pub(crate) const fn subscriber(&self) -> Source {
        self.source.subscriber(self.is_v4())
    }
}

/// Whether so many bytes from `at` on lie before `end`.
#[inline(always)]
fn has(at: usize, bytes: usize, end: usize) -> bool {
    at + bytes <= end
}

/// Reads an integer in the packet's order, which need not be aligned. In assembly, because for an unaligned read the
/// compiler takes bytes one by one, as some machines need it; those that the gateway runs on do not.
macro_rules! load {
    ($name:ident, $value:ty, $size:literal) => {
        /// # Safety
        /// All of it must lie within the packet, and have been checked to.
        #[inline(always)]
        unsafe fn $name<const AT: usize>(from: usize) -> $value {
            let value: u64;
            // SAFETY: the caller's promise; the instruction fills the whole register.
            unsafe {
                asm!(
                    concat!("{value} = *(", $size, " *)({from} + {at})"),
                    value = lateout(reg) value,
                    from = in(reg) from,
                    at = const AT,
                    options(pure, readonly, nostack, preserves_flags)
                );
            }
            value as $value
        }
    };
}
load!(load8, u8, "u8");
load!(load16, u16, "u16");
load!(load32, u32, "u32");
load!(load64, u64, "u64");

/// Says what the frame between `data` and `end` is.
#[inline(always)]
pub(crate) fn parse(data: usize, end: usize) -> Packet {
    if !has(data, ETHERNET_HEADER, end) {
        return settled(Reason::Malformed, 0);
    }
    // SAFETY: checked.
    let mut ethertype = u16::from_be(unsafe { load16::<ETHERTYPE_AT>(data) });
    let mut at = data + ETHERNET_HEADER;
    for _ in 0..VLAN_TAGS_MAX {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        if !has(at, VLAN_TAG, end) {
            return settled(Reason::Malformed, 0);
        }
        // SAFETY: checked.
        ethertype = u16::from_be(unsafe { load16::<{ VLAN_TAG - 2 }>(at) });
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
    if !has(at, IPV4_HEADER, end) {
        return settled(Reason::Malformed, 0);
    }
    // SAFETY: checked. The fields are those of RFC 791 3.1.
    let (version_and_words, total_bytes, fragment, protocol, source) =
        unsafe { (load8::<0>(at), load16::<2>(at), load16::<6>(at), load8::<9>(at), load32::<12>(at)) };
    let total_bytes = usize::from(u16::from_be(total_bytes));
    let header_bytes = usize::from(version_and_words & 0x0f) * 4;
    let fragment = u16::from_be(fragment);
    if version_and_words >> 4 != 4 || header_bytes < IPV4_HEADER || total_bytes < header_bytes {
        return settled(Reason::Malformed, total_bytes);
    }
    if fragment & IPV4_FRAGMENT_OFFSET != 0 {
        return Packet { head: later(total_bytes, protocol) | IS_V4, source: Source::from_v4_word(source) };
    }
    let is_fragment = fragment & IPV4_MORE_FRAGMENTS != 0;
    let found = Network { at: at + header_bytes, end, total_bytes, header_bytes, is_fragment };
    let head = transport(&found, protocol);
    Packet { head: head | IS_V4, source: Source::from_v4_word(source) }
}

#[inline(always)]
fn ipv6(at: usize, end: usize) -> Packet {
    if !has(at, IPV6_HEADER, end) {
        return settled(Reason::Malformed, 0);
    }
    // SAFETY: checked. The fields are those of RFC 8200 3.
    let (payload_bytes, mut next, source) =
        unsafe { (load16::<4>(at), load8::<6>(at), [load64::<8>(at), load64::<16>(at)]) };
    let total_bytes = IPV6_HEADER + usize::from(u16::from_be(payload_bytes));
    let mut at = at + IPV6_HEADER;
    let mut is_first_fragment = false;
    // How much of the packet the extension headers take.
    let mut header_bytes = IPV6_HEADER;
    for _ in 0..IPV6_EXTENSIONS_MAX {
        if !is_extension(next) {
            break;
        }
        if !has(at, 4, end) {
            return settled(Reason::Malformed, total_bytes);
        }
        // SAFETY: checked.
        let [following, length, high, low] = unsafe { load32::<0>(at) }.to_ne_bytes();
        let bytes = match next {
            NEXT_FRAGMENT => {
                let fragment = u16::from_be_bytes([high, low]);
                if fragment & IPV6_FRAGMENT_OFFSET != 0 {
                    // What the fragments are of may begin with more headers, and then TCP is not seen here.
                    return Packet {
                        head: later(total_bytes, following),
                        source: Source::from_v6_words(source),
                    };
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
    if is_extension(next) {
        return settled(Reason::Malformed, total_bytes);
    }
    let found = Network { at, end, total_bytes, header_bytes, is_fragment: is_first_fragment };
    Packet { head: transport(&found, next), source: Source::from_v6_words(source) }
}

#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(next, NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_FRAGMENT | NEXT_AUTHENTICATION | NEXT_DESTINATION)
}

/// What the IP headers, which take `header_bytes`, say of what follows them.
struct Network {
    /// Where that begins.
    at: usize,
    end: usize,
    total_bytes: usize,
    header_bytes: usize,
    is_fragment: bool,
}

/// What follows the IP headers.
#[inline(always)]
fn transport(network: &Network, protocol: u8) -> u64 {
    let total_bytes = network.total_bytes;
    match protocol {
        PROTOCOL_TCP => {
            // A whole packet this short is the host's to answer or ignore; only a fragment can be completed behind our
            // back.
            if network.is_fragment && total_bytes < network.header_bytes + TCP_HEADER {
                return verdict(Reason::Malformed, total_bytes);
            }
            tcp(network)
        }
        PROTOCOL_UDP => udp(network),
        _ => verdict(Reason::NotServed, total_bytes),
    }
}

/// A segment whose header does not lie in the buffer as a whole is of no use to the host either: drivers put the
/// headers into the first buffer.
#[inline(always)]
fn tcp(network: &Network) -> u64 {
    if !has(network.at, TCP_HEADER, network.end) {
        return verdict(Reason::Malformed, network.total_bytes);
    }
    // SAFETY: checked. The fields are those of RFC 9293 3.1.
    let (ports, flags) = unsafe { (load32::<0>(network.at), u64::from(load8::<13>(network.at))) };
    // Without a branch: which of them it is, is for nobody to predict.
    let is_syn = flags / TCP_SYN & !(flags / TCP_ACK) & 1;
    segment(network, ports) | is_syn * IS_SYN
}

/// A datagram without its header goes to no port, so it is not ours to judge.
#[inline(always)]
fn udp(network: &Network) -> u64 {
    if !has(network.at, UDP_HEADER, network.end) {
        return verdict(Reason::NotServed, network.total_bytes);
    }
    // SAFETY: checked.
    let ports = unsafe { load32::<0>(network.at) };
    segment(network, ports) | IS_UDP
}

/// What TCP and UDP have in common, of their first four bytes.
#[inline(always)]
fn segment(network: &Network, ports: u32) -> u64 {
    let is_fragment = if network.is_fragment { IS_FRAGMENT } else { 0 };
    let ports = u64::from(u32::from_be(ports)) << DESTINATION_SHIFT;
    verdict(Reason::NotServed, network.total_bytes) | HAS_SEGMENT | is_fragment | ports
}

/// A fragment other than the first.
#[inline(always)]
fn later(total_bytes: usize, protocol: u8) -> u64 {
    let of_tcp = if protocol == PROTOCOL_TCP { IS_LATER_OF_TCP } else { 0 };
    verdict(Reason::Fragment, total_bytes) | of_tcp
}

#[inline(always)]
fn verdict(reason: Reason, total_bytes: usize) -> u64 {
    reason as u64 | (total_bytes as u64) << BYTES_SHIFT
}

#[inline(always)]
fn settled(reason: Reason, total_bytes: usize) -> Packet {
    Packet { head: verdict(reason, total_bytes), source: Source::from_v6_words([0; 2]) }
}
