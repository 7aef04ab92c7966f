//! Why a packet got its verdict.

/// Why a packet got its verdict: exactly one for each packet seen, so the counters add up to the traffic.
///
/// Passing reasons come first, see [`Reason::drops`]. The discriminants index [`crate::Cpu::reasons`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// TCP to a served port that no stage objected to.
    Accepted = 0,
    /// The source is on the allow-list.
    Allowed = 1,
    /// Neither IPv4 nor IPv6 (ARP and the like).
    NotIp = 2,
    /// IP, but not TCP to a served port: none of this program's business.
    NotServed = 3,
    /// A fragment other than the first that is let pass: it carries no port and is useless without the first.
    Fragment = 4,
    /// Of a banned source, but let through so that it can learn how it stands.
    Probe = 5,
    /// Headers that are cut off, contradict each other, or hide the transport header behind too long a chain.
    Malformed = 6,
    /// UDP to a served port, where the gateway has nothing that would answer.
    Udp = 7,
    /// The first fragment of a packet to a served port, or a later one of TCP to any: TCP fits its segments to the path and
    /// needs no fragments.
    Fragmented = 8,
    /// The source's network is on a block list.
    Blocked = 9,
    /// The source is banned for a while.
    Banned = 10,
    /// The source sends packets faster than its bucket refills.
    PacketRate = 11,
    /// The source opens connections faster than its bucket refills.
    SynRate = 12,
    /// The source sends bytes faster than its bucket refills.
    ByteRate = 13,
    /// The source's wider network, as a whole, sends or connects faster than its buckets refill.
    PrefixRate = 14,
    /// All sources together open connections faster than the budget for them refills.
    SynBudget = 15,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// Each of them, by discriminant.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Accepted,
        Self::Allowed,
        Self::NotIp,
        Self::NotServed,
        Self::Fragment,
        Self::Probe,
        Self::Malformed,
        Self::Udp,
        Self::Fragmented,
        Self::Blocked,
        Self::Banned,
        Self::PacketRate,
        Self::SynRate,
        Self::ByteRate,
        Self::PrefixRate,
        Self::SynBudget,
    ];

    /// Whether it means that the packet is dropped.
    #[must_use]
    pub const fn drops(self) -> bool {
        self as u32 >= Self::Malformed as u32
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Allowed => "allowed",
            Self::NotIp => "not_ip",
            Self::NotServed => "not_served",
            Self::Fragment => "fragment",
            Self::Probe => "probe",
            Self::Malformed => "malformed",
            Self::Udp => "udp",
            Self::Fragmented => "fragmented",
            Self::Blocked => "blocked",
            Self::Banned => "banned",
            Self::PacketRate => "packet_rate",
            Self::SynRate => "syn_rate",
            Self::ByteRate => "byte_rate",
            Self::PrefixRate => "prefix_rate",
            Self::SynBudget => "syn_budget",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn all_is_in_order_and_labels_differ() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(Reason::ALL.iter().filter(|other| other.label() == reason.label()).count() == 1);
        }
    }

    #[test]
    fn what_is_not_ours_passes() {
        use Reason::{Accepted, Allowed, Fragment, NotIp, NotServed, Probe};
        for reason in Reason::ALL {
            let passes = [Accepted, Allowed, NotIp, NotServed, Fragment, Probe];
            assert_eq!(reason.drops(), !passes.contains(&reason));
        }
    }
}
