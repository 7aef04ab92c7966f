//! The few system calls that `aya` has no form of: whole lists at once, links that are kept, updated and pinned apart from
//! a program, and waiting for packets under way.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

/// Commands of bpf(2), from `linux/bpf.h`.
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const OBJECT_PIN: libc::c_long = 6;
const OBJECT_GET: libc::c_long = 7;
const PROGRAM_TEST_RUN: libc::c_long = 10;
const OBJECT_INFO: libc::c_long = 15;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_BY_ID: libc::c_long = 30;
const LINK_DETACH: libc::c_long = 34;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const MAP_UPDATE_BATCH: libc::c_long = 26;
const MAP_DELETE_BATCH: libc::c_long = 27;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
/// `ENOTSUPP`, which is the kernel's own and not in libc: a map type without batches.
const NOT_SUPPORTED: i32 = 524;
/// From `linux/membarrier.h`.
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// The `batch` arm of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The arm for one element.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The arms of links and pins, as far as they are used: a word's meaning depends on the command.
#[repr(C)]
#[derive(Default)]
struct Words([u32; 4]);

/// Of `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    fd: u32,
    bytes: u32,
    info: u64,
}

/// Of `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    in_bytes: u32,
    out_bytes: u32,
    in_data: u64,
    out_data: u64,
    repeat: u32,
    duration_ns: u32,
    context: [u32; 8],
}

/// The beginning of `struct bpf_link_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    kind: u32,
    id: u32,
    /// The program that it has.
    pub(crate) program_id: u32,
    padding: u32,
    /// Where it is; 0 once the interface is gone.
    pub(crate) interface: u32,
    padding_2: u32,
}

/// Puts a program on an interface; `flags` are those of `linux/if_link.h`. It stays until the last descriptor of the
/// link is closed, and the last pin is removed.
pub(crate) fn create_link(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut words = Words([program.as_raw_fd() as u32, interface, ATTACH_XDP, flags]);
    // SAFETY: no pointers; the descriptor is new and ours.
    unsafe { bpf(LINK_CREATE, &raw mut words).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Replaces the program in a link: no packet sees none.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut words = Words([link.as_raw_fd() as u32, program.as_raw_fd() as u32, 0, 0]);
    // SAFETY: no pointers.
    unsafe { bpf(LINK_UPDATE, &raw mut words) }.map(|_| ())
}

/// Ends a link that others hold.
pub(crate) fn detach_link(id: u32) -> io::Result<()> {
    let mut words = Words([id, 0, 0, 0]);
    // SAFETY: no pointers; the descriptor is new and ours.
    let link = unsafe { bpf(LINK_BY_ID, &raw mut words).map(|fd| OwnedFd::from_raw_fd(fd)) }?;
    let mut words = Words([link.as_raw_fd() as u32, 0, 0, 0]);
    // SAFETY: no pointers.
    unsafe { bpf(LINK_DETACH, &raw mut words) }.map(|_| ())
}

/// What a link says of itself.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let bytes = size_of::<LinkInfo>() as u32;
    let mut attributes = Info { fd: link.as_raw_fd() as u32, bytes, info: &raw mut info as u64 };
    // SAFETY: the kernel writes at most as many bytes as are told, into a live structure of integers.
    unsafe { bpf(OBJECT_INFO, &raw mut attributes) }?;
    Ok(info)
}

/// Makes a link or a map stay for as long as the file does.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin { path: path.as_ptr() as u64, fd: object.as_raw_fd() as u32, flags: 0 };
    // SAFETY: the path is a live C string.
    unsafe { bpf(OBJECT_PIN, &raw mut attributes) }.map(|_| ())
}

/// Opens what is pinned.
pub(crate) fn get_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin { path: path.as_ptr() as u64, ..Pin::default() };
    // SAFETY: the path is a live C string; the descriptor is new and ours.
    unsafe { bpf(OBJECT_GET, &raw mut attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Runs a program on a frame: its result, and the mean time it takes.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<(u32, Duration)> {
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        in_bytes: u32::try_from(frame.len()).map_err(io::Error::other)?,
        in_data: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    // SAFETY: the frame is live and as long as told; nothing is written out but to the attributes.
    unsafe { bpf(PROGRAM_TEST_RUN, &raw mut attributes) }?;
    Ok((attributes.result, Duration::from_nanos(attributes.duration_ns.into())))
}

/// Puts all of `keys` with their `values` into a map by one call; one by one where the map cannot take batches (Linux
/// before 5.14 for tries).
pub(crate) fn insert_all<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let count = keys.len().min(values.len());
    if count == 0 {
        return Ok(());
    }
    match batch(MAP_UPDATE_BATCH, map, keys.as_ptr().cast(), values.as_ptr().cast(), count) {
        Err(error) if is_unsupported(&error) => keys.iter().zip(values).try_for_each(|(key, value)| {
            element(MAP_UPDATE_ELEM, map, std::ptr::from_ref(key).cast(), std::ptr::from_ref(value).cast())
        }),
        result => result,
    }
}

/// Reads an array of `count` elements by one call.
pub(crate) fn read_all<V: aya::Pod + Default>(map: BorrowedFd<'_>, count: u32) -> io::Result<Vec<V>> {
    let (mut keys, mut values) = (vec![0u32; count as usize], vec![V::default(); count as usize]);
    let mut next = 0u32;
    let mut attributes = Batch {
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the buffers live through the call, have `count` elements of the map's key and value types, and any bits
    // are a value; a position in an array is one key.
    match unsafe { bpf(MAP_LOOKUP_BATCH, &raw mut attributes) } {
        // That there are no more is told in this way.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
        _ => {}
    }
    values.truncate(attributes.count as usize);
    Ok(values)
}

/// Reads a trie of at most `most` entries by one call; `zero` is any key.
pub(crate) fn read_trie<K: aya::Pod>(map: BorrowedFd<'_>, zero: K, most: usize) -> io::Result<Vec<(K, u32)>> {
    // Where to go on, in a form of the map's own: a key, for tries.
    let mut next = zero;
    let (mut keys, mut values) = (vec![zero; most], vec![0u32; most]);
    let mut attributes = Batch {
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(most).map_err(io::Error::other)?,
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the buffers live through the call, have `most` elements of the map's key and value types, and any bits are a
    // value; a position in a trie is one key.
    match unsafe { bpf(MAP_LOOKUP_BATCH, &raw mut attributes) } {
        // That there are no more is told in this way.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
        _ => {}
    }
    keys.truncate(attributes.count as usize);
    Ok(keys.into_iter().zip(values).collect())
}

/// Removes all of `keys`, each of which must be there, as [`insert_all`] adds them.
pub(crate) fn remove_all<K: aya::Pod>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    match batch(MAP_DELETE_BATCH, map, keys.as_ptr().cast(), std::ptr::null(), keys.len()) {
        Err(error) if is_unsupported(&error) => keys.iter().try_for_each(|key| {
            element(MAP_DELETE_ELEM, map, std::ptr::from_ref(key).cast(), std::ptr::null())
        }),
        result => result,
    }
}

/// Returns when no packet is under way any more that came in before the call: the kernel defines this command as a
/// wait for an RCU grace period, and every run of an XDP program is within one read-side section.
pub(crate) fn wait_for_packets_under_way() {
    // SAFETY: takes no pointers. Fails only where it is not built in; then the wait is left out, and the few packets
    // under way may miss the list that is about to be emptied.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(NOT_SUPPORTED | libc::EINVAL))
}

fn batch(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    keys: *const u8,
    values: *const u8,
    count: usize,
) -> io::Result<()> {
    let mut attributes = Batch {
        keys: keys as u64,
        values: values as u64,
        count: u32::try_from(count).map_err(io::Error::other)?,
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the callers' slices live through the call, and have `count` elements of the map's key and value types.
    unsafe { bpf(command, &raw mut attributes) }.map(|_| ())
}

fn element(command: libc::c_long, map: BorrowedFd<'_>, key: *const u8, value: *const u8) -> io::Result<()> {
    let mut attributes = Element {
        map_fd: map.as_raw_fd() as u32,
        key: key as u64,
        value: value as u64,
        ..Element::default()
    };
    // SAFETY: the callers' references live through the call and are of the map's key and value types.
    unsafe { bpf(command, &raw mut attributes) }.map(|_| ())
}

/// # Safety
/// `attributes` must be an arm of `union bpf_attr` that the command expects, with valid pointers in it.
unsafe fn bpf<T>(command: libc::c_long, attributes: *mut T) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
