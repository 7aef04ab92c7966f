//! Byte classification, by vectors where the CPU has them.
//!
//! A token type ([`Avx2`], [`Scalar`]) stands for an instruction set; holding one proves that the CPU has it.
//! The parsers are generic over the token and compiled once for each, so that everything inlines.

/// A set of ASCII bytes: bit `high` of `rows[low]` says whether byte `high << 4 | low` belongs to it.
pub(crate) struct Class {
    rows: [u8; 16],
}

#[allow(clippy::indexing_slicing, reason = "evaluated when compiling: an overrun is a compile error")]
impl Class {
    const fn new(members: &[u8], alphanumeric: bool) -> Self {
        let mut rows = [0; 16];
        let mut byte = 0u8;
        while byte < 128 {
            let mut is = alphanumeric && byte.is_ascii_alphanumeric();
            let mut i = 0;
            while i < members.len() {
                is |= members[i] == byte;
                i += 1;
            }
            if is {
                rows[(byte & 15) as usize] |= 1 << (byte >> 4);
            }
            byte += 1;
        }
        Self { rows }
    }

    #[inline(always)]
    pub(crate) fn has(&self, byte: u8) -> bool {
        byte < 128 && self.rows.get(usize::from(byte & 15)).is_some_and(|row| row >> (byte >> 4) & 1 == 1)
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(crate) static TOKEN: Class = Class::new(b"!#$%&'*+-.^_`|~", true);
/// What a DNS name may hold on the wire: RFC 3986 `unreserved`.
pub(crate) static HOST: Class = Class::new(b"-._~", true);
/// Visible ASCII but `#`: RFC 3986 is narrower, but browsers send `|`, `{`, `"` and others raw.
pub(crate) static TARGET: Class = Class::new(b"!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true);

/// Whether `bytes` is a token (RFC 9110 section 5.6.2), as a method or field name must be.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| TOKEN.has(*b))
}

/// Whether `bytes` can be sent as a field value: no control byte but HTAB, no white space at either end.
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !blank(bytes.first()) && !blank(bytes.last()) && bytes.iter().all(|b| !is_control(*b))
}

#[inline(always)]
pub(crate) const fn is_control(byte: u8) -> bool {
    byte < 0x20 && byte != b'\t' || byte == 0x7f
}

/// Bit i speaks of byte i of a block.
#[derive(Clone, Copy, Default)]
pub(crate) struct Marks {
    /// Control bytes but HTAB.
    pub control: u64,
    pub colon: u64,
}

pub(crate) trait Simd: Copy {
    fn marks(self, block: &[u8; 64]) -> Marks;
    /// Bytes not in the class.
    fn outside(self, block: &[u8; 32], class: &Class) -> u32;
    /// Bytes equal to `byte`.
    fn equal(self, block: &[u8; 32], byte: u8) -> u32;
    /// Bytes of `block` that equal those of `lower` once bit 5 is set in them.
    fn equal_folded(self, block: &[u8; 32], lower: &[u8; 32]) -> u32;
}

/// 32 bytes that hold `bytes[at]`, and its index among them; `None` when there are not so many.
#[inline(always)]
pub(crate) fn window(bytes: &[u8], at: usize) -> Option<(&[u8; 32], u32)> {
    if let Some(block) = bytes.get(at..)?.first_chunk() {
        return Some((block, 0));
    }
    let block = bytes.last_chunk()?;
    (at < bytes.len()).then(|| (block, (at + 32 - bytes.len()) as u32))
}

/// The first byte of `bytes[from..end]` that is not in the class.
#[inline(always)]
pub(crate) fn first_outside<S: Simd>(
    simd: S,
    bytes: &[u8],
    from: usize,
    end: usize,
    class: &Class,
) -> Option<usize> {
    let mut at = from;
    while at < end {
        let Some((block, shift)) = window(bytes, at) else {
            let rest = bytes.get(at..end)?;
            return rest.iter().position(|b| !class.has(*b)).map(|i| at + i);
        };
        let outside = simd.outside(block, class) >> shift;
        if outside != 0 {
            let found = at + outside.trailing_zeros() as usize;
            return (found < end).then_some(found);
        }
        at += 32 - shift as usize;
    }
    None
}

/// Checks that `bytes[from..end]` may stand in a request target; its first `?`, or `end`. The error is the first byte that
/// may not.
#[inline(always)]
pub(crate) fn question_mark<S: Simd>(simd: S, bytes: &[u8], from: usize, end: usize) -> Result<usize, u8> {
    let mut at = from;
    let mut mark = end;
    while at < end {
        let Some((block, shift)) = window(bytes, at) else {
            let rest = bytes.get(at..end).unwrap_or_default();
            let found = rest.iter().find(|b| !TARGET.has(**b));
            mark = rest.iter().position(|b| *b == b'?').map_or(mark, |i| mark.min(at + i));
            return found.map_or(Ok(mark), |b| Err(*b));
        };
        let outside = simd.outside(block, &TARGET) >> shift;
        let marks = simd.equal(block, b'?') >> shift;
        if marks != 0 {
            mark = mark.min(at + marks.trailing_zeros() as usize);
        }
        if outside != 0 {
            let found = at + outside.trailing_zeros() as usize;
            return if found < end { Err(bytes.get(found).copied().unwrap_or(0)) } else { Ok(mark) };
        }
        at += 32 - shift as usize;
    }
    Ok(mark)
}

/// Bytes classified at once: a usual head in one go, without reading far into what follows it.
const BATCH: usize = 512;
/// One bit a byte of a batch, and a word of zeros so that any position can be read as a word.
type Bits = [u8; BATCH / 8 + 8];
/// There is no such byte. Greater than any position, so that `colon < end` tells whether a line has a colon.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Finds line ends and colons in a head.
///
/// Positions are `u32`, as in spans: then adding to one cannot overflow a `usize`, and slicing costs one comparison.
pub(crate) struct Lines<'a, S> {
    pub bytes: &'a [u8],
    pub simd: S,
    base: u32,
    control: Bits,
    colon: Bits,
}

/// A line up to its first control byte.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    /// Where the first control byte is, or [`NOWHERE`].
    pub end: u32,
    /// Where the first colon is; not within the line unless less than `end`.
    pub colon: u32,
}

impl<'a, S: Simd> Lines<'a, S> {
    /// Nothing is classified yet: call [`Self::fill`]. (In one function the marks would be moved right after they are
    /// written, in wider pieces, which stalls the CPU's store buffer.)
    #[inline(always)]
    pub(crate) fn new(simd: S, bytes: &'a [u8]) -> Self {
        // Limits are far below 4 GiB, so nothing is lost of a head that they allow.
        let bytes = bytes.get(..NOWHERE as usize - 1).unwrap_or(bytes);
        Self { bytes, simd, base: 0, control: [0; BATCH / 8 + 8], colon: [0; BATCH / 8 + 8] }
    }

    /// Classifies the batch that starts at `base`. The batch must be empty: what lies beyond the bytes stays so.
    #[inline(always)]
    pub(crate) fn fill(&mut self, base: u32) {
        self.base = base;
        let (blocks, rest) = self.bytes.get(base as usize..).unwrap_or_default().as_chunks::<64>();
        let (control, _) = self.control.as_chunks_mut::<8>();
        let (colon, _) = self.colon.as_chunks_mut::<8>();
        let mut words = control.iter_mut().zip(colon).take(BATCH / 64);
        for (block, (control, colon)) in blocks.iter().zip(words.by_ref()) {
            let marks = self.simd.marks(block);
            (*control, *colon) = (marks.control.to_le_bytes(), marks.colon.to_le_bytes());
        }
        if !rest.is_empty()
            && let Some((control, colon)) = words.next()
        {
            let marks = tail_marks(self.simd, self.bytes, rest);
            (*control, *colon) = (marks.control.to_le_bytes(), marks.colon.to_le_bytes());
        }
    }

    /// The line that starts at `at`.
    #[inline(always)]
    pub(crate) fn line(&mut self, at: u32) -> Line {
        let offset = at - self.base;
        let (byte, bit) = (offset as usize / 8, offset % 8);
        if let (Some(control), Some(colon)) = (word(&self.control, byte), word(&self.colon, byte)) {
            let (control, colon) = (control >> bit, colon >> bit);
            if control != 0 {
                // Without a colon: 64, which is past the end.
                return Line { end: at + control.trailing_zeros(), colon: at + colon.trailing_zeros() };
            }
        }
        let line = self.long_line(at);
        if line.end == NOWHERE { self.line_beyond(at) } else { line }
    }

    /// A line longer than a word shows, within the batch.
    #[inline(always)]
    fn long_line(&self, at: u32) -> Line {
        let offset = (at - self.base) as usize;
        let first = |bits: &Bits| {
            let mut byte = offset / 8;
            let mut bits_from = word(bits, byte)? >> (offset % 8) << (offset % 8);
            while bits_from == 0 {
                byte += 8;
                bits_from = word(bits, byte)?;
            }
            Some(self.base + byte as u32 * 8 + bits_from.trailing_zeros())
        };
        Line { end: first(&self.control).unwrap_or(NOWHERE), colon: first(&self.colon).unwrap_or(NOWHERE) }
    }

    /// A line that does not end in this batch: the next one begins with it.
    #[cold]
    #[inline(never)]
    fn line_beyond(&mut self, at: u32) -> Line {
        if self.base as usize + BATCH >= self.bytes.len() {
            return Line { end: NOWHERE, colon: NOWHERE };
        }
        (self.control, self.colon) = ([0; BATCH / 8 + 8], [0; BATCH / 8 + 8]);
        self.fill(at);
        let mut line = self.long_line(at);
        if line.end == NOWHERE {
            let from = at as usize + BATCH;
            line.end = self.control_from(from);
            if line.colon == NOWHERE {
                let rest = self.bytes.get(from..line.end as usize).unwrap_or_default();
                line.colon = rest.iter().position(|b| *b == b':').map_or(NOWHERE, |i| (from + i) as u32);
            }
        }
        line
    }

    /// The first control byte of a line longer than a batch.
    fn control_from(&self, from: usize) -> u32 {
        let (blocks, rest) = self.bytes.get(from..).unwrap_or_default().as_chunks::<64>();
        let mut at = from as u32;
        for block in blocks {
            let control = self.simd.marks(block).control;
            if control != 0 {
                return at + control.trailing_zeros();
            }
            at += 64;
        }
        if rest.is_empty() {
            return NOWHERE;
        }
        let control = tail_marks(self.simd, self.bytes, rest).control;
        if control == 0 { NOWHERE } else { at + control.trailing_zeros() }
    }
}

/// The 64 bits from that byte on.
#[inline(always)]
fn word(bits: &Bits, byte: usize) -> Option<u64> {
    bits.get(byte..byte + 8).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b))
}

/// Marks of `rest`, the last bytes of `bytes`: some, but less than 64.
#[inline(always)]
fn tail_marks<S: Simd>(simd: S, bytes: &[u8], rest: &[u8]) -> Marks {
    if let Some(block) = bytes.last_chunk::<64>() {
        let marks = simd.marks(block);
        let before = 64 - rest.len();
        return Marks { control: marks.control >> before, colon: marks.colon >> before };
    }
    let mut block = [b' '; 64];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    simd.marks(&block)
}

/// Eight bytes at a time in general registers: CPUs without AVX2, and Miri.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

const fn splat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Bit 7 of each byte that is 0. (No borrow or carry leaves a byte, so this is exact.)
#[inline(always)]
const fn zeros(word: u64) -> u64 {
    !(((word & splat(0x7f)) + splat(0x7f)) | word) & splat(0x80)
}

/// One bit a byte of a block, from a function that answers in bit 7 of each of eight bytes.
#[inline(always)]
fn gather<const N: usize>(block: &[u8; N], mut answer: impl FnMut(usize, u64) -> u64) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    words.iter().enumerate().fold(0, |bits, (i, word)| {
        // The product moves bit 7 of byte k to bit 56 + k.
        let eight = (answer(i, u64::from_le_bytes(*word)) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits | eight << (i * 8)
    })
}

impl Simd for Scalar {
    #[inline(always)]
    fn marks(self, block: &[u8; 64]) -> Marks {
        let control = gather(block, |_, word| {
            let from_space = (word & splat(0x7f)) + splat(0x60);
            let low = !(from_space | word) & splat(0x80);
            low & !zeros(word ^ splat(b'\t')) | zeros(word ^ splat(0x7f))
        });
        Marks { control, colon: gather(block, |_, word| zeros(word ^ splat(b':'))) }
    }

    #[inline(always)]
    fn outside(self, block: &[u8; 32], class: &Class) -> u32 {
        block.iter().enumerate().fold(0, |bits, (i, b)| bits | u32::from(!class.has(*b)) << i)
    }

    #[inline(always)]
    fn equal(self, block: &[u8; 32], byte: u8) -> u32 {
        gather(block, |_, word| zeros(word ^ splat(byte))) as u32
    }

    #[inline(always)]
    fn equal_folded(self, block: &[u8; 32], lower: &[u8; 32]) -> u32 {
        let (lower, _) = lower.as_chunks::<8>();
        let lower = |i: usize| lower.get(i).map_or(0, |l| u64::from_le_bytes(*l));
        gather(block, |i, word| zeros((word | splat(0x20)) ^ lower(i))) as u32
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use x86::Avx2;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use super::{Class, Marks, Simd};
    use std::arch::x86_64::*;

    /// Proof that the CPU has AVX2 and BMI.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// Asks the CPU; the answer is cached by the standard library.
        #[inline(always)]
        pub(crate) fn detect() -> Option<Self> {
            let has = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2");
            has.then_some(Self(()))
        }
    }

    impl Simd for Avx2 {
        #[inline(always)]
        fn marks(self, block: &[u8; 64]) -> Marks {
            // SAFETY: `self` exists only where AVX2 was detected.
            unsafe { marks_avx2(block) }
        }

        #[inline(always)]
        fn outside(self, block: &[u8; 32], class: &Class) -> u32 {
            // SAFETY: `self` exists only where AVX2 was detected.
            unsafe { outside_avx2(block, class) }
        }

        #[inline(always)]
        fn equal(self, block: &[u8; 32], byte: u8) -> u32 {
            // SAFETY: `self` exists only where AVX2 was detected.
            unsafe { equal_avx2(block, byte) }
        }

        #[inline(always)]
        fn equal_folded(self, block: &[u8; 32], lower: &[u8; 32]) -> u32 {
            // SAFETY: `self` exists only where AVX2 was detected.
            unsafe { equal_folded_avx2(block, lower) }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(block: &[u8; 32]) -> __m256i {
        // SAFETY: the reference covers the 32 bytes read, and the load needs no alignment.
        unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(v: __m256i) -> u32 {
        _mm256_movemask_epi8(v).cast_unsigned()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn marks_avx2(block: &[u8; 64]) -> Marks {
        let (halves, _) = block.as_chunks::<32>();
        let mut marks = Marks::default();
        for (i, half) in halves.iter().enumerate() {
            let v = load(half);
            // Unsigned v <= 0x1f, but not HTAB, or DEL.
            let low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
            let low = _mm256_andnot_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(9)), low);
            let control = _mm256_or_si256(low, _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f)));
            let colon = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x3a));
            marks.control |= u64::from(mask(control)) << (i * 32);
            marks.colon |= u64::from(mask(colon)) << (i * 32);
        }
        marks
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn outside_avx2(block: &[u8; 32], class: &Class) -> u32 {
        let v = load(block);
        // SAFETY: the reference covers the 16 bytes read, and the load needs no alignment.
        let rows = unsafe { _mm_loadu_si128(class.rows.as_ptr().cast()) };
        // By the low nibble the row; 0 for bytes >= 128, because the shuffle clears where bit 7 of the index is set.
        let row = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(rows), v);
        let bits =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0));
        let high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
        let bit = _mm256_shuffle_epi8(bits, high);
        mask(_mm256_cmpeq_epi8(_mm256_and_si256(row, bit), _mm256_setzero_si256()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal_avx2(block: &[u8; 32], byte: u8) -> u32 {
        mask(_mm256_cmpeq_epi8(load(block), _mm256_set1_epi8(byte.cast_signed())))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn equal_folded_avx2(block: &[u8; 32], lower: &[u8; 32]) -> u32 {
        let folded = _mm256_or_si256(load(block), _mm256_set1_epi8(0x20));
        mask(_mm256_cmpeq_epi8(folded, load(lower)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_the_grammar_says() {
        for byte in 0..=255u8 {
            let alphanumeric = byte.is_ascii_alphanumeric();
            assert_eq!(TOKEN.has(byte), alphanumeric || b"!#$%&'*+-.^_`|~".contains(&byte), "{byte}");
            assert_eq!(HOST.has(byte), alphanumeric || b"-._~".contains(&byte), "{byte}");
            assert_eq!(TARGET.has(byte), (0x21..=0x7e).contains(&byte) && byte != b'#', "{byte}");
            assert_eq!(is_token(&[byte]), TOKEN.has(byte));
            assert_eq!(is_field_value(&[b'x', byte, b'x']), byte == b'\t' || byte >= b' ' && byte != 0x7f);
        }
        assert!(is_field_value(b"") && !is_field_value(b" x") && !is_field_value(b"x\t") && !is_token(b""));
    }

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[test]
    fn vectors_see_what_single_bytes_show() {
        let Some(avx2) = Avx2::detect() else { return };
        for byte in 0..=255u8 {
            for at in 0..64 {
                let mut block = [b'a'; 64];
                block[at] = byte;
                let (fast, slow) = (avx2.marks(&block), Scalar.marks(&block));
                assert_eq!((fast.control, fast.colon), (slow.control, slow.colon), "{byte} at {at}");
                assert_eq!(fast.control, u64::from(is_control(byte)) << at, "{byte} at {at}");
                assert_eq!(fast.colon, u64::from(byte == b':') << at, "{byte} at {at}");
                let Some(half) = block.first_chunk::<32>() else { unreachable!() };
                for class in [&TOKEN, &HOST, &TARGET] {
                    assert_eq!(avx2.outside(half, class), Scalar.outside(half, class), "{byte} at {at}");
                }
                assert_eq!(avx2.equal(half, byte), Scalar.equal(half, byte));
                let lower = [b'a' | byte; 32];
                assert_eq!(avx2.equal_folded(half, &lower), Scalar.equal_folded(half, &lower));
            }
        }
    }

    #[test]
    fn lines_are_found_across_words_and_batches() {
        let firsts = [0usize, 1, 50, 61, 62, 63, 64, 65, 126, 400, 509, 510, 511, 512, 513, 575, 700, 1100];
        for first in firsts.into_iter().step_by(if cfg!(miri) { 5 } else { 1 }) {
            for second in [0, 1, 62, 63, 64, 511, 512, 600] {
                for colon in [0, 1, first / 2, first.saturating_sub(1)] {
                    let mut bytes = vec![b'n'; first];
                    if let Some(byte) = bytes.get_mut(colon) {
                        *byte = b':';
                    }
                    bytes.extend_from_slice(b"\r\n");
                    bytes.resize(bytes.len() + second, b'v');
                    bytes.extend_from_slice(b":\r\n");
                    let mut lines = Lines::new(Scalar, &bytes);
                    lines.fill(0);
                    let line = lines.line(0);
                    assert_eq!(line.end as usize, first);
                    assert_eq!(line.colon < line.end, colon < first);
                    assert!(colon >= first || line.colon as usize == colon);
                    let line = lines.line(first as u32 + 2);
                    let found = (line.end as usize, line.colon as usize);
                    assert_eq!(found, (first + 3 + second, first + 2 + second));
                    assert_eq!(lines.line(bytes.len() as u32).end, NOWHERE);
                }
            }
        }
    }
}
