//! "Did you mean": the known name nearest to an unknown one.

/// Names longer than this are not compared: no real one is, and the cost is quadratic.
const COMPARED_MAX_CHARS: usize = 64;

/// The candidate nearest to `unknown`, if it is near enough to be a slip: a third of its length, swaps counting once.
pub fn nearest<'c>(unknown: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let unknown: Vec<char> = unknown.to_lowercase().chars().collect();
    if unknown.len() > COMPARED_MAX_CHARS {
        return None;
    }
    let tolerated = (unknown.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&unknown, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?`` or the list of what there is.
pub fn known_names<'c>(unknown: &str, what: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    let names: Vec<&str> = candidates.into_iter().collect();
    if let Some(name) = nearest(unknown, names.iter().copied()) {
        return format!("did you mean `{name}`? known {what}: {}", names.join(", "));
    }
    if names.is_empty() {
        format!("there are no {what}")
    } else {
        format!("known {what}: {}", names.join(", "))
    }
}

/// Edits (insert, delete, replace, swap neighbours) between two names: Damerau's restricted distance, three rows.
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().take(COMPARED_MAX_CHARS + 1).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = Vec::with_capacity(right.len() + 1);
        row.push(i + 1);
        for (j, r) in right.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (cell(&previous, j) + usize::from(l != r))
                .min(cell(&previous, j + 1) + 1)
                .min(cell(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(r) && right.get(j - 1) == Some(l);
            if swapped {
                best = best.min(cell(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn distances() {
        for (left, right, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("upstraem", "upstream", 1),
            ("kitten", "sitting", 3),
            ("rate", "Rate", 0),
        ] {
            assert_eq!(distance(&chars(left), right), edits, "{left} {right}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["upstream", "upstream_path", "limits"];
        assert_eq!(nearest("upstrem", known), Some("upstream"));
        assert_eq!(nearest("limit", known), Some("limits"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}
