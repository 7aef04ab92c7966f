//! Header compression against a stranger's (`fluke-hpack`): what one writes the other reads, over long runs that fill and
//! empty the tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use sluice_wire::KnownHeader;
use sluice_wire::h2::{Decoder, Encoder};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Numbers from a seed.
struct Seed(u64);

impl Seed {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// Fields as messages have them: some names again and again, some values new each time.
    fn fields(&mut self) -> Fields {
        let count = 1 + self.below(12);
        (0..count)
            .map(|_| {
                let known = KnownHeader::ALL[self.below(KnownHeader::ALL.len() as u64) as usize];
                let name = match self.below(3) {
                    0 => format!("x-own-{}", self.below(20)).into_bytes(),
                    _ => known.as_str().as_bytes().to_vec(),
                };
                let value: Vec<u8> = match self.below(4) {
                    0 => (0..self.below(300)).map(|_| self.below(256) as u8).collect(),
                    1 => self.below(1 << 40).to_string().into_bytes(),
                    _ => format!("value {}", self.below(30)).into_bytes(),
                };
                (name, value)
            })
            .collect()
    }
}

#[test]
fn a_stranger_reads_what_we_write() {
    let (mut seed, mut ours, mut theirs) = (Seed(1), Encoder::default(), fluke_hpack::Decoder::new());
    for round in 0..3000 {
        let fields = seed.fields();
        let mut block = Vec::new();
        if round % 500 == 499 {
            ours.set_max_table(seed.below(5000) as usize);
        }
        ours.begin(&mut block);
        for (name, value) in &fields {
            ours.field(&mut block, KnownHeader::from_name(name), name, value);
        }
        assert_eq!(theirs.decode(&block).unwrap(), fields, "round {round}");
    }
}

#[test]
fn we_read_what_a_stranger_writes() {
    let (mut seed, mut theirs, mut ours) = (Seed(2), fluke_hpack::Encoder::new(), Decoder::default());
    for round in 0..3000 {
        let fields = seed.fields();
        let block = theirs.encode(fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice())));
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        assert_eq!(ours.decode(&block, &mut out, 1 << 20, |field| seen.push(field)), Ok(true));
        let seen: Fields =
            seen.iter().map(|f| (f.name.of(&out).to_vec(), f.value.of(&out).to_vec())).collect();
        assert_eq!(seen, fields, "round {round}");
    }
}
