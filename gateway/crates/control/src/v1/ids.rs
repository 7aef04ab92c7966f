//! Identifiers and keys, from the system's random numbers.

use aws_lc_rs::rand;

const LOWER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const MIXED: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Lower-case letters and digits, as AWS's identifiers are.
pub(crate) fn id(length: usize) -> String {
    from(LOWER, length)
}

/// A new value of an API key: 40 letters and digits.
pub(crate) fn secret() -> String {
    from(MIXED, 40)
}

fn from(alphabet: &[u8], length: usize) -> String {
    let mut out = String::with_capacity(length);
    // Bytes from here on would make the first letters likelier than the others.
    let bound = 256 - 256 % alphabet.len();
    while out.len() < length {
        let mut bytes = [0; 64];
        // The system's source does not fail once it has been seeded.
        let _ = rand::fill(&mut bytes);
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < bound);
        out.extend(
            fair.filter_map(|byte| alphabet.get(byte % alphabet.len()))
                .map(|b| char::from(*b))
                .take(length - out.len()),
        );
    }
    out
}
