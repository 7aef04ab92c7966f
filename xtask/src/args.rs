//! Option parsing for a handful of flags: not worth a dependency that every newcomer compiles first.

/// Arguments after the command's name, taken one by one; what is left at the end was not understood.
pub(crate) struct Args(Vec<String>);

impl Args {
    pub(crate) fn new(rest: Vec<String>) -> Self {
        Self(rest)
    }

    /// Takes `--name`, and says whether it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|argument| argument != name);
        self.0.len() != before
    }

    /// Takes `--name VALUE` or `--name=VALUE`.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        let equals = format!("{name}=");
        let Some(at) = self.0.iter().position(|argument| argument == name || argument.starts_with(&equals))
        else {
            return Ok(None);
        };
        let argument = self.0.remove(at);
        if let Some(value) = argument.strip_prefix(&equals) {
            return Ok(Some(value.to_owned()));
        }
        if at < self.0.len() { Ok(Some(self.0.remove(at))) } else { Err(format!("{name} needs a value")) }
    }

    /// Takes `--name N`, or gives `default`.
    pub(crate) fn number(&mut self, name: &str, default: u64) -> Result<u64, String> {
        match self.value(name)? {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_| format!("{name}: expected a whole number, found `{text}`"))
            }
        }
    }

    /// Takes `--name a,b,c`, or gives `default`.
    pub(crate) fn list(&mut self, name: &str, default: &[&str]) -> Result<Vec<String>, String> {
        Ok(match self.value(name)? {
            None => default.iter().map(|&item| item.to_owned()).collect(),
            Some(text) => text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// Takes the next argument that is not an option.
    pub(crate) fn positional(&mut self) -> Option<String> {
        let at = self.0.iter().position(|argument| !argument.starts_with('-'))?;
        Some(self.0.remove(at))
    }

    /// Fails if anything was not taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(argument) => Err(format!("`{argument}` was not understood; see `cargo xtask help`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(text: &str) -> Args {
        Args::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_are_taken_in_both_spellings() {
        let mut args = args("--rounds 3 target --shapes=mock,conn --check");
        assert_eq!(args.number("--rounds", 1), Ok(3));
        assert_eq!(args.list("--shapes", &[]), Ok(vec!["mock".to_owned(), "conn".to_owned()]));
        assert!(args.flag("--check"));
        assert_eq!(args.positional().as_deref(), Some("target"));
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(args("--bogus").finish().unwrap_err().contains("--bogus"));
        assert!(args("--rounds").number("--rounds", 1).unwrap_err().contains("needs a value"));
        assert!(args("--rounds few").number("--rounds", 1).unwrap_err().contains("few"));
    }
}
