//! Frames, built from the outside in: `ethernet().vlan(5).ipv4("192.0.2.1").tcp(8080, SYN)`.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

const DESTINATION_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Bytes so far, and what must be filled in by the layer that follows.
#[derive(Clone)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    /// Where the number of the next protocol belongs, and how wide it is.
    next_at: usize,
    next_is_ethertype: bool,
    /// Where the IP header begins, for its length field.
    ip_at: Option<(usize, Family)>,
    source_port: u16,
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    V4,
    V6,
}

pub(crate) fn ethernet() -> Frame {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend([0, 0]);
    Frame { bytes, next_at: 12, next_is_ethertype: true, ip_at: None, source_port: 40_000 }
}

impl Frame {
    /// IEEE 802.1Q.
    pub(crate) fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// IEEE 802.1ad, the outer tag.
    pub(crate) fn qinq(self, id: u16) -> Self {
        self.tag(0x88a8, id)
    }

    fn tag(mut self, ethertype: u16, id: u16) -> Self {
        self.set_next(ethertype);
        self.bytes.extend(id.to_be_bytes());
        self.next_at = self.bytes.len();
        self.bytes.extend([0, 0]);
        self
    }

    /// Anything that is not IP.
    pub(crate) fn other(mut self, ethertype: u16) -> Self {
        self.set_next(ethertype);
        self.bytes.extend([0; 46]);
        self
    }

    pub(crate) fn ipv4(self, source: &str) -> Self {
        self.ipv4_with(source, &[], 0)
    }

    /// With options (whole words) and the fragment field: 0x2000 more fragments, below it the offset.
    pub(crate) fn ipv4_with(mut self, source: &str, options: &[u8], fragment: u16) -> Self {
        self.set_next(0x0800);
        let at = self.bytes.len();
        let words = 5 + options.len() / 4;
        self.bytes.extend([0x40 | words as u8, 0, 0, 0, 0, 0]);
        self.bytes.extend(fragment.to_be_bytes());
        self.bytes.extend([64, 0, 0, 0]);
        self.bytes.extend(source.parse::<Ipv4Addr>().unwrap().octets());
        self.bytes.extend(DESTINATION_V4.octets());
        self.bytes.extend(options);
        (self.next_at, self.next_is_ethertype, self.ip_at) = (at + 9, false, Some((at, Family::V4)));
        self
    }

    pub(crate) fn ipv6(mut self, source: &str) -> Self {
        self.set_next(0x86dd);
        let at = self.bytes.len();
        self.bytes.extend([0x60, 0, 0, 0, 0, 0, 0, 64]);
        self.bytes.extend(source.parse::<Ipv6Addr>().unwrap().octets());
        self.bytes.extend(Ipv6Addr::LOCALHOST.octets());
        (self.next_at, self.next_is_ethertype, self.ip_at) = (at + 6, false, Some((at, Family::V6)));
        self
    }

    /// An IPv6 extension header of `bytes` bytes in all: hop-by-hop 0, routing 43, destination 60.
    pub(crate) fn extension(self, number: u8, bytes: usize) -> Self {
        let mut body = vec![0; bytes - 2];
        body.insert(0, (bytes / 8 - 1) as u8);
        self.header(number, &body)
    }

    /// RFC 4302: its length is in words of four bytes.
    pub(crate) fn authentication(self, bytes: usize) -> Self {
        let mut body = vec![0; bytes - 2];
        body.insert(0, (bytes / 4 - 2) as u8);
        self.header(51, &body)
    }

    /// RFC 8200 4.5: the offset in eights of bytes.
    pub(crate) fn fragment(self, offset: u16, more: bool) -> Self {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        self.header(44, &[0, high, low, 0, 0, 0, 7])
    }

    fn header(mut self, number: u8, body: &[u8]) -> Self {
        self.set_next(u16::from(number));
        self.next_at = self.bytes.len();
        self.bytes.push(0);
        self.bytes.extend(body);
        self
    }

    /// Any transport: its number, eight bytes of it.
    pub(crate) fn transport(mut self, number: u8) -> Vec<u8> {
        self.set_next(u16::from(number));
        self.bytes.extend([0; 8]);
        self.finish()
    }

    /// Another source port than 40,000.
    pub(crate) fn source_port(mut self, port: u16) -> Self {
        self.source_port = port;
        self
    }

    pub(crate) fn tcp(self, port: u16, flags: u8) -> Vec<u8> {
        self.tcp_cut(port, flags, 20)
    }

    /// Only the first bytes of the TCP header.
    pub(crate) fn tcp_cut(mut self, port: u16, flags: u8, bytes: usize) -> Vec<u8> {
        self.set_next(6);
        let [high, low] = port.to_be_bytes();
        let [source_high, source_low] = self.source_port.to_be_bytes();
        let header =
            [source_high, source_low, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
        self.bytes.extend(&header[..bytes]);
        self.finish()
    }

    /// As it is: no length filled in, nothing padded.
    pub(crate) fn raw(self) -> Vec<u8> {
        self.bytes
    }

    fn set_next(&mut self, number: u16) {
        if self.next_is_ethertype {
            self.bytes[self.next_at..self.next_at + 2].copy_from_slice(&number.to_be_bytes());
        } else {
            self.bytes[self.next_at] = number as u8;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if let Some((at, family)) = self.ip_at {
            let (field, covered) = if family == Family::V4 { (at + 2, at) } else { (at + 4, at + 40) };
            let length = (self.bytes.len() - covered) as u16;
            self.bytes[field..field + 2].copy_from_slice(&length.to_be_bytes());
        }
        self.bytes
    }
}
