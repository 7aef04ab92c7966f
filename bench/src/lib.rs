//! Benchmarks. `SPEC.md` says what is promised, `cargo xtask bench` measures it, `cargo bench -p sluice-bench` times the parts.
