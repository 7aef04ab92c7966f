//! Measures what good clients see under attack, with XDP and without, and prints it as Markdown: `cargo xtask lab`.

use std::time::Duration;

use sluice_harness::lab::{Lab, Setup};

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let time = Duration::from_secs(seconds);
    println!(
        "| XDP | load | packets/s | good: served | p50 ms | p99 ms | NATed good: served | p50 ms | p99 ms | banned |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|---|");
    for xdp_mode in [None, Some("generic"), Some("native")] {
        let lab = match Lab::new(&Setup { xdp_mode, ttl_ms: 600_000 }) {
            Ok(lab) => lab,
            Err(why) => {
                eprintln!("lab: {why}");
                std::process::exit(1);
            }
        };
        let name = xdp_mode.unwrap_or("off");
        println!("| {name} | quiet | {} | |", lab.measure(time));
        let attack = lab.attack();
        // Bans take two seconds and a little. The good clients are there from the beginning: whoever shares an address with
        // a bad one is told apart by nothing but being served.
        lab.measure(Duration::from_secs(5));
        let phase = lab.measure(time);
        drop(attack);
        println!("| {name} | attack | {phase} | {} |", banned(&lab));
    }
}

/// Who was banned, by what they do.
fn banned(lab: &Lab) -> String {
    let lines = lab.gateway().stderr();
    let is_banned = |address: &str| lines.iter().any(|line| line.contains(&format!("ban {address} for")));
    let known = [("flood", Lab::flooder()), ("NATed", Lab::nated()), ("slow", Lab::slow())];
    let names: Vec<&str> =
        known.iter().filter(|(_, address)| is_banned(address)).map(|(name, _)| *name).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}
