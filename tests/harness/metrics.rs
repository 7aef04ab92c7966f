//! The Prometheus text format, read strictly enough to catch a malformed exposition.

/// One parsed scrape.
pub struct Metrics {
    pub text: String,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Parses an exposition; panics on a line that is neither comment nor sample.
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse_sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}")))
            .collect();
        Self { text: text.to_owned(), samples }
    }

    /// The sum of the samples of this name that carry all these labels; 0 when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(k, v)| sample.labels.iter().any(|(name, value)| name == k && value == v))
        };
        self.samples.iter().filter(matches).map(|sample| sample.value).sum()
    }

    /// Whether a family has a sample at all.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The families declared with `# TYPE`, with their types.
    pub fn types(&self) -> Vec<(&str, &str)> {
        self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
    }

    /// Every sample name, once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.samples.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        other => other.parse().ok()?,
    };
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: Vec::new(), value });
    };
    let mut labels = Vec::new();
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (key, tail) = rest.split_once("=\"")?;
        let (text, tail) = unquote(tail)?;
        labels.push((key.to_owned(), text));
        rest = tail.strip_prefix(',').unwrap_or(tail);
    }
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads a label value up to its closing quote, undoing the escapes.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_label() {
        let metrics = Metrics::parse("# TYPE a counter\na{x=\"1\",y=\"q\\\"\"} 2\na{x=\"2\"} 3\nb 4.5\n");
        assert_eq!(metrics.sum("a", &[]), 5.0);
        assert_eq!(metrics.sum("a", &[("x", "1")]), 2.0);
        assert_eq!(metrics.sum("a", &[("y", "q\"")]), 2.0);
        assert_eq!(metrics.sum("b", &[]), 4.5);
        assert_eq!(metrics.types(), [("a", "counter")]);
    }
}
