//! What the process asks of the scheduler, the kernel's limits and its capabilities.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CpuSet, capabilities, sched_getaffinity, sched_setaffinity, set_capabilities,
};
use std::io;

/// The CPUs that this process may run on.
pub(crate) fn allowed() -> Vec<usize> {
    let cpus: Vec<usize> = match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => Vec::new(),
    };
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Pins the calling thread.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// A gateway needs a descriptor for each connection: the hard limit is there to be used.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(())
}

/// Gives up what only attaching the packet filter needs. Capabilities are a thread's own: threads that this one starts from
/// now on have none of these, those that exist keep theirs.
pub(crate) fn drop_bpf_capabilities() -> io::Result<()> {
    let given_up = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    let mut sets = capabilities(None)?;
    // What is not inheritable cannot be ambient either (capabilities(7)): programs that it might start have none.
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(given_up);
    }
    Ok(set_capabilities(None, sets)?)
}
