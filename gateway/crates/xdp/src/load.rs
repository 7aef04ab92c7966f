//! From the object to a program that the kernel has verified.

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, Xdp as Program},
};
use sluice_common::program::{GATE, GATE_LINEAR};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::{XdpError, error::os_error};

/// Bytes at the alignment that an ELF reader expects.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../../ebpf/prebuilt/sluice.bpf.o"));

/// The compiled program that this crate was built with: `ebpf/prebuilt/sluice.bpf.o`.
pub static EMBEDDED_OBJECT: &[u8] = &EMBEDDED.0;

/// What loading and attaching takes. PERFMON: the program's offsets into a packet depend on the packet.
const CAPABILITIES: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// Stands for the last two.
const CAP_SYS_ADMIN: u32 = 21;

/// Loads an object; yields it with the name of the program that the kernel took.
pub(crate) fn load(object: &[u8]) -> Result<(Ebpf, &'static str), XdpError> {
    let missing =
        missing_capabilities(&std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default());
    if !missing.is_empty() {
        return Err(XdpError::Privileges { missing });
    }
    let mut ebpf = EbpfLoader::new().load(object).map_err(|error| refused(&error, error.to_string()))?;
    let Err(first) = verify(&mut ebpf, GATE) else {
        return Ok((ebpf, GATE));
    };
    match verify(&mut ebpf, GATE_LINEAR) {
        Ok(()) => Ok((ebpf, GATE_LINEAR)),
        Err(_) => Err(first),
    }
}

fn verify(ebpf: &mut Ebpf, name: &str) -> Result<(), XdpError> {
    program(ebpf, name)?.load().map_err(|error| {
        let message = match &error {
            // The log is pages long, and its end says what matters.
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                let is_statistics = |line: &str| {
                    ["processed ", "stack depth ", "verification time "]
                        .iter()
                        .any(|head| line.starts_with(head))
                };
                let verdict = log.lines().rev().find(|line| !line.is_empty() && !is_statistics(line));
                format!("{io_error}: {}", verdict.unwrap_or("no reason given"))
            }
            other => other.to_string(),
        };
        refused(&error, message)
    })
}

/// Loads a program of the object that is only there for measuring, once.
pub(crate) fn load_if_needed(ebpf: &mut Ebpf, name: &str) -> Result<(), XdpError> {
    if program(ebpf, name)?.fd().is_ok() { Ok(()) } else { verify(ebpf, name) }
}

/// The program of an object by its name.
pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, XdpError> {
    let absent = || XdpError::Kernel(format!("no XDP program `{name}` in the object"));
    ebpf.program_mut(name).ok_or_else(absent)?.try_into().map_err(|_| absent())
}

/// The descriptor of a loaded program.
pub(crate) fn program_fd<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<BorrowedFd<'a>, XdpError> {
    let fd = program(ebpf, name)?.fd().map_err(|error| XdpError::Kernel(error.to_string()))?;
    Ok(fd.as_fd())
}

fn refused(error: &(dyn std::error::Error + 'static), message: String) -> XdpError {
    match os_error(error) {
        Some(libc::EPERM) => XdpError::Privileges { missing: Vec::new() },
        _ => XdpError::Kernel(message),
    }
}

/// Which capabilities the text of `/proc/thread-self/status` lacks. None if it cannot be told.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Vec::new();
    };
    let has = |bit: u32| effective >> bit & 1 == 1;
    let stands_in = |bit: u32| bit != 12 && has(CAP_SYS_ADMIN);
    CAPABILITIES.iter().filter(|&&(bit, _)| !has(bit) && !stands_in(bit)).map(|&(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        let status = |bits: u64| format!("Name:\tsluice\nCapPrm:\tffffffffffffffff\nCapEff:\t{bits:016x}\n");
        assert_eq!(missing_capabilities(&status(u64::MAX)), [""; 0]);
        assert_eq!(missing_capabilities(&status(0)), ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
        assert_eq!(missing_capabilities(&status(1 << 12 | 1 << 39)), ["CAP_PERFMON"]);
        assert_eq!(missing_capabilities(&status(1 << 12 | 1 << 21)), [""; 0], "SYS_ADMIN stands for both");
        assert_eq!(missing_capabilities(&status(1 << 21)), ["CAP_NET_ADMIN"]);
        assert_eq!(missing_capabilities("no such line"), [""; 0]);
    }

    #[test]
    fn the_embedded_object_is_an_elf_for_bpf() {
        assert_eq!(EMBEDDED_OBJECT[..4], *b"\x7fELF");
        assert_eq!(EMBEDDED_OBJECT[18..20], 247u16.to_le_bytes(), "EM_BPF");
        assert_eq!(EMBEDDED_OBJECT.as_ptr().align_offset(8), 0);
    }
}
