//! The attack lab, shortened: what must hold, not how fast. `cargo xtask lab` measures.

use std::time::Duration;

use sluice_harness::lab::{Lab, Setup};
use sluice_harness::{eventually_within, skip};

const SOON: Duration = Duration::from_secs(40);

#[test]
fn good_clients_are_served_while_the_bad_are_banned_and_released() {
    let lab = match Lab::new(&Setup { xdp_mode: Some("generic"), ttl_ms: 4_000 }) {
        Ok(lab) => lab,
        Err(why) => skip!("the attack lab", "{why}"),
    };
    let said = |text: &str| lab.gateway().stderr().into_iter().find(|line| line.contains(text));
    let attack = lab.attack();
    let (flooder, nated) = (Lab::flooder(), Lab::nated());
    // The good clients are there from the beginning: being served is all that tells the NATed one from its neighbour.
    eventually_within(SOON, "the flooder is banned", || {
        lab.measure(Duration::from_secs(1));
        said(&format!("ban {flooder} for"))
    });
    let phase = lab.measure(Duration::from_secs(3));
    for (who, seen) in [("good", &phase.good), ("NATed", &phase.nated)] {
        assert!(seen.success() > 0.9, "{who}: {} of {} served", seen.served, seen.asked);
    }
    drop(attack);
    eventually_within(SOON, "its release", || said(&format!("release {flooder} after")));
    eventually_within(SOON, "service for the flooder", || lab.serves_the_flooder().then_some(()));
    assert_eq!(said(&format!("ban {nated} ")), None, "who has admitted traffic is never banned");
}
