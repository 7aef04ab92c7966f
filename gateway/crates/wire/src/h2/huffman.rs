//! The Huffman code of RFC 7541 appendix B. It is canonical, so lengths alone define it.

/// Code length of each byte, and of the end-of-string symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;
/// The end-of-string symbol; a string must not contain it (RFC 7541 section 5.2).
const EOS: u16 = 256;
/// Bits looked up at once: what all letters, digits and common marks fit in.
const FAST_BITS: u32 = 9;

/// A symbol found by [`FAST_BITS`] bits; length 0: the code is longer.
#[derive(Clone, Copy)]
struct Short {
    symbol: u8,
    len: u8,
}

struct Code {
    /// Code of each byte, right-aligned.
    codes: [u32; 257],
    fast: [Short; 1 << FAST_BITS],
    /// By length: the first code past those of this length, aligned to the left of 32 bits.
    limits: [u32; LONGEST + 1],
    /// By length: index into `symbols` of the first symbol, minus its code.
    offsets: [i64; LONGEST + 1],
    /// Symbols by length, then value.
    symbols: [u16; 257],
}

static CODE: Code = Code::build();

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
impl Code {
    const fn build() -> Self {
        let mut code = Self {
            codes: [0; 257],
            fast: [Short { symbol: 0, len: 0 }; 1 << FAST_BITS],
            limits: [0; LONGEST + 1],
            offsets: [0; LONGEST + 1],
            symbols: [0; 257],
        };
        let (mut next, mut sorted, mut len) = (0u32, 0usize, 1usize);
        while len <= LONGEST {
            next <<= 1;
            code.offsets[len] = sorted as i64 - next as i64;
            let mut symbol = 0;
            while symbol < 257 {
                if LENGTHS[symbol] as usize == len {
                    code.codes[symbol] = next;
                    code.symbols[sorted] = symbol as u16;
                    if len <= FAST_BITS as usize {
                        let spare = FAST_BITS as usize - len;
                        let mut i = 0;
                        while i < 1 << spare {
                            code.fast[((next as usize) << spare) + i] =
                                Short { symbol: symbol as u8, len: len as u8 };
                            i += 1;
                        }
                    }
                    next += 1;
                    sorted += 1;
                }
                symbol += 1;
            }
            // The longest codes end at 2^30: shifted to the left that is 2^32, one past what fits.
            let limit = (next as u64) << (32 - len);
            code.limits[len] = if limit > u32::MAX as u64 { u32::MAX } else { limit as u32 };
            len += 1;
        }
        code
    }
}

/// Bytes that `text` takes when coded.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize =
        text.iter().map(|b| LENGTHS.get(usize::from(*b)).map_or(0, |len| usize::from(*len))).sum();
    bits.div_ceil(8)
}

/// Appends `text`, coded, and padded with ones.
pub(super) fn encode(out: &mut Vec<u8>, text: &[u8]) {
    let (mut bits, mut held) = (0u64, 0u32);
    for byte in text {
        let at = usize::from(*byte);
        let (Some(code), Some(len)) = (CODE.codes.get(at), LENGTHS.get(at)) else { continue };
        bits = bits << len | u64::from(*code);
        held += u32::from(*len);
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        let pad = 8 - held;
        out.push((bits << pad) as u8 | ((1u16 << pad) - 1) as u8);
    }
}

/// Appends what `coded` stands for. `false`: it is no valid coding (RFC 7541 section 5.2).
pub(super) fn decode(out: &mut Vec<u8>, coded: &[u8]) -> bool {
    out.reserve(coded.len() * 8 / 5 + 1);
    let mut input = coded.iter();
    // Bits not yet decoded, aligned to the left.
    let (mut bits, mut held) = (0u64, 0u32);
    loop {
        while held <= 56 {
            let Some(byte) = input.next() else { break };
            bits |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        if held == 0 {
            return true;
        }
        let fast = CODE.fast.get((bits >> (64 - FAST_BITS)) as usize);
        let (symbol, len) = match fast {
            Some(Short { symbol, len }) if *len > 0 => (u16::from(*symbol), u32::from(*len)),
            _ => long(bits),
        };
        if len > held || symbol == EOS {
            // Only padding is left: ones, and fewer than a byte of them. Anything else is broken.
            let padding = !0u64 << (64 - held);
            return held < 8 && bits == padding;
        }
        out.push(symbol as u8);
        bits <<= len;
        held -= len;
    }
}

/// A symbol whose code is longer than [`FAST_BITS`].
#[inline(never)]
fn long(bits: u64) -> (u16, u32) {
    let top = (bits >> 32) as u32;
    for len in FAST_BITS as usize + 1..LONGEST {
        if CODE.limits.get(len).is_some_and(|limit| top < *limit) {
            return (symbol(top, len), len as u32);
        }
    }
    (symbol(top, LONGEST), LONGEST as u32)
}

fn symbol(top: u32, len: usize) -> u16 {
    let code = i64::from(top >> (32 - len));
    let at = code + CODE.offsets.get(len).copied().unwrap_or(0);
    usize::try_from(at).ok().and_then(|at| CODE.symbols.get(at)).copied().unwrap_or(EOS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_appendix_b() {
        // (symbol, code, bits), from all lengths of the table.
        for (symbol, code, bits) in [
            (0, 0x1ff8, 13),
            (1, 0x007f_ffd8, 23),
            (9, 0x00ff_ffea, 24),
            (10, 0x3fff_fffc, 30),
            (13, 0x3fff_fffd, 30),
            (32, 0x14, 6),
            (48, 0x0, 5),
            (58, 0x5c, 7),
            (92, 0x7fff0, 19),
            (97, 0x3, 5),
            (122, 0x7b, 7),
            (123, 0x7ffe, 15),
            (124, 0x7fc, 11),
            (195, 0x7fff1, 19),
            (249, 0x0fff_fffe, 28),
            (255, 0x03ff_ffee, 26),
            (256, 0x3fff_ffff, 30),
        ] {
            assert_eq!((CODE.codes[symbol], LENGTHS[symbol]), (code, bits), "{symbol}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [&b""[..], b"a", b"www.example.com", b"302", &all] {
            for start in (0..text.len().max(1)).step_by(if cfg!(miri) { 60 } else { 1 }) {
                let text = &text[start.min(text.len())..];
                let (mut coded, mut back) = (Vec::new(), Vec::new());
                encode(&mut coded, text);
                assert_eq!(coded.len(), encoded_len(text));
                assert!(decode(&mut back, &coded), "{text:?}");
                assert_eq!(back, text);
            }
        }
    }

    #[test]
    fn broken_padding_and_the_end_symbol_are_refused() {
        // "a" is 00011: padded with zeros, with a byte too many of ones, and the end symbol itself.
        for coded in [&[0b0001_1000][..], &[0b0001_1111, 0xff], &[0xff, 0xff, 0xff, 0xff], &[0xff], &[0xfe]] {
            assert!(!decode(&mut Vec::new(), coded), "{coded:?}");
        }
        assert!(decode(&mut Vec::new(), &[0b0001_1111]));
    }
}
