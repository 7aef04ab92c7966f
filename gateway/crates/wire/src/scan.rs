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

/// The first `byte` in `bytes[from..end]`.
#[inline(always)]
pub(crate) fn first_equal<S: Simd>(
    simd: S,
    bytes: &[u8],
    from: usize,
    end: usize,
    byte: u8,
) -> Option<usize> {
    let mut at = from;
    while at < end {
        let Some((block, shift)) = window(bytes, at) else {
            return bytes.get(at..end)?.iter().position(|b| *b == byte).map(|i| at + i);
        };
        let equal = simd.equal(block, byte) >> shift;
        if equal != 0 {
            let found = at + equal.trailing_zeros() as usize;
            return (found < end).then_some(found);
        }
        at += 32 - shift as usize;
    }
    None
}

const WORDS: usize = 8;
/// Bytes classified at once: a usual head in one go, without reading far into what follows it.
const BATCH: usize = WORDS * 64;

/// Finds line ends and colons in a head.
pub(crate) struct Lines<'a, S> {
    pub bytes: &'a [u8],
    pub simd: S,
    base: usize,
    control: [u64; WORDS],
    colon: [u64; WORDS],
}

impl<'a, S: Simd> Lines<'a, S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, bytes: &'a [u8], start: usize) -> Self {
        let mut lines = Self { bytes, simd, base: start, control: [0; WORDS], colon: [0; WORDS] };
        lines.fill(start);
        lines
    }

    #[inline(always)]
    fn fill(&mut self, base: usize) {
        self.base = base;
        for (i, (control, colon)) in self.control.iter_mut().zip(&mut self.colon).enumerate() {
            let marks = marks_at(self.simd, self.bytes, base + i * 64);
            *control = marks.control;
            *colon = marks.colon;
        }
    }

    /// The first control byte at or after `line`, which starts a line.
    #[inline(always)]
    pub(crate) fn end_of(&mut self, line: usize) -> Option<usize> {
        if let Some(i) = first_bit(&self.control, line - self.base) {
            return Some(self.base + i);
        }
        self.end_beyond(line)
    }

    /// [`Self::end_of`] a line that does not end in this batch: the next batch begins with it.
    #[cold]
    #[inline(never)]
    fn end_beyond(&mut self, line: usize) -> Option<usize> {
        if self.base + BATCH >= self.bytes.len() {
            return None;
        }
        self.fill(line);
        if let Some(i) = first_bit(&self.control, 0) {
            return Some(line + i);
        }
        let mut at = line + BATCH;
        while at < self.bytes.len() {
            let control = marks_at(self.simd, self.bytes, at).control;
            if control != 0 {
                return Some(at + control.trailing_zeros() as usize);
            }
            at += 64;
        }
        None
    }

    /// The first colon in `bytes[line..end]`, with `end` from [`Self::end_of`].
    #[inline(always)]
    pub(crate) fn colon_in(&self, line: usize, end: usize) -> Option<usize> {
        match first_bit(&self.colon, line - self.base) {
            Some(i) => Some(self.base + i).filter(|at| *at < end),
            // A name longer than a batch.
            None if end > self.base + BATCH => {
                first_equal(self.simd, self.bytes, self.base + BATCH, end, b':')
            }
            None => None,
        }
    }
}

#[inline(always)]
fn first_bit(words: &[u64; WORDS], from: usize) -> Option<usize> {
    let mut i = from / 64;
    let mut word = words.get(i)? & (u64::MAX << (from % 64));
    while word == 0 {
        i += 1;
        word = *words.get(i)?;
    }
    Some(i * 64 + word.trailing_zeros() as usize)
}

/// Marks of the up to 64 bytes from `at` on.
#[inline(always)]
fn marks_at<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Marks {
    let Some(rest) = bytes.get(at..) else { return Marks::default() };
    if let Some(block) = rest.first_chunk() {
        return simd.marks(block);
    }
    if rest.is_empty() {
        return Marks::default();
    }
    if let Some(block) = bytes.last_chunk::<64>() {
        let marks = simd.marks(block);
        let shift = 64 - rest.len();
        return Marks { control: marks.control >> shift, colon: marks.colon >> shift };
    }
    let mut block = [b' '; 64];
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    simd.marks(&block)
}

/// One byte at a time: CPUs without AVX2, and Miri.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    #[inline(always)]
    fn marks(self, block: &[u8; 64]) -> Marks {
        let mut marks = Marks::default();
        for (i, byte) in block.iter().enumerate() {
            marks.control |= u64::from(is_control(*byte)) << i;
            marks.colon |= u64::from(*byte == b':') << i;
        }
        marks
    }

    #[inline(always)]
    fn outside(self, block: &[u8; 32], class: &Class) -> u32 {
        block.iter().enumerate().fold(0, |bits, (i, b)| bits | u32::from(!class.has(*b)) << i)
    }

    #[inline(always)]
    fn equal(self, block: &[u8; 32], byte: u8) -> u32 {
        block.iter().enumerate().fold(0, |bits, (i, b)| bits | u32::from(*b == byte) << i)
    }

    #[inline(always)]
    fn equal_folded(self, block: &[u8; 32], lower: &[u8; 32]) -> u32 {
        block.iter().zip(lower).enumerate().fold(0, |bits, (i, (b, l))| bits | u32::from(b | 0x20 == *l) << i)
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
