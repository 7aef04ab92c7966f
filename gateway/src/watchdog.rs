//! The service manager's watchdog, tied to the data cores: it is fed only while all of them turn.

use crate::cores::Pulse;
use crate::notify::Notifier;
use std::sync::Arc;

/// Compares the cores' pulses with those of the last look.
pub(crate) struct Watchdog {
    pulses: Vec<Arc<Pulse>>,
    seen: Vec<u64>,
    silent: Vec<usize>,
}

impl Watchdog {
    pub(crate) fn new(pulses: Vec<Arc<Pulse>>) -> Self {
        let seen = vec![u64::MAX; pulses.len()];
        Self { pulses, seen, silent: Vec::new() }
    }

    /// Feeds the watchdog if every core has turned since the last call; names cores that begin to be silent, or that are
    /// back. To be called in intervals much longer than a core's pulse, which is a quarter of a second.
    pub(crate) fn check(&mut self, notifier: &Notifier) {
        let beats: Vec<u64> = self.pulses.iter().map(|pulse| pulse.beats()).collect();
        let silent: Vec<usize> = beats
            .iter()
            .zip(&self.seen)
            .enumerate()
            .filter(|(_, (now, before))| now == before)
            .map(|(core, _)| core)
            .collect();
        if silent.is_empty() {
            notifier.watchdog();
        }
        if silent != self.silent {
            eprintln!("{}", describe(&silent));
        }
        self.seen = beats;
        self.silent = silent;
    }
}

fn describe(silent: &[usize]) -> String {
    let cores: Vec<String> = silent.iter().map(usize::to_string).collect();
    match cores.as_slice() {
        [] => "sluice: all data cores turn again".to_owned(),
        cores => format!(
            "sluice: error: no sign of life from data core {}: the watchdog is not fed",
            cores.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_stands_still_is_noticed_and_so_is_its_return() {
        let pulses: Vec<Arc<Pulse>> = (0..3).map(|_| Arc::default()).collect();
        let mut watchdog = Watchdog::new(pulses.clone());
        let nobody = Notifier::default();
        watchdog.check(&nobody);
        assert!(watchdog.silent.is_empty(), "the first look has nothing to compare with");
        pulses.iter().take(2).for_each(|pulse| pulse.beat());
        watchdog.check(&nobody);
        assert_eq!(watchdog.silent, [2]);
        pulses.iter().for_each(|pulse| pulse.beat());
        watchdog.check(&nobody);
        assert!(watchdog.silent.is_empty());
        assert!(describe(&[0, 2]).contains("data core 0, 2"));
    }
}
