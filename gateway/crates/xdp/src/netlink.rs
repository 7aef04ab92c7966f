//! What program an interface has, asked of the kernel by rtnetlink (`IFLA_XDP` in `linux/if_link.h`), and its removal
//! where that was attached the same way. All messages are native-endian, attributes padded to four bytes.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use crate::Mode;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
const NESTED: u16 = 1 << 15;
const ATTACHED_GENERIC: u8 = 2;
const FLAG_GENERIC: u32 = 1 << 1;
const FLAG_NATIVE: u32 = 1 << 2;

const MESSAGE_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
/// Larger than any answer about one link.
const ANSWER_BYTES: usize = 32_768;

/// The program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) program_id: u32,
    pub(crate) mode: Mode,
}

/// The program that an interface has now.
pub(crate) fn attached(index: u32) -> io::Result<Option<Attached>> {
    let answer = request(&message(RTM_GETLINK, NLM_F_REQUEST, index, &[]))?;
    match head(&answer)? {
        (RTM_NEWLINK, body) => Ok(parse_link(body)),
        _ => Err(io::Error::other("rtnetlink: unexpected answer")),
    }
}

/// Takes a program off that was attached by rtnetlink. The kernel refuses it for one that is held by a link.
pub(crate) fn detach(index: u32, mode: Mode) -> io::Result<()> {
    let flags = if mode == Mode::Generic { FLAG_GENERIC } else { FLAG_NATIVE };
    let mut nested = attribute(IFLA_XDP_FD, &(-1i32).to_ne_bytes());
    nested.extend(attribute(IFLA_XDP_FLAGS, &flags.to_ne_bytes()));
    let xdp = attribute(IFLA_XDP | NESTED, &nested);
    head(&request(&message(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, index, &xdp))?).map(|_| ())
}

fn request(message: &[u8]) -> io::Result<Vec<u8>> {
    // SAFETY: takes no pointers; the descriptor is new and ours.
    let socket = unsafe {
        let fd =
            check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
                as isize)?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    let fd = socket.as_raw_fd();
    // SAFETY: a live slice of the length given.
    check(unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), 0) })?;
    let mut answer = vec![0; ANSWER_BYTES];
    // SAFETY: as above.
    let bytes = check(unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0) })?;
    answer.truncate(bytes as usize);
    Ok(answer)
}

fn check(result: isize) -> io::Result<isize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A message about one link: `nlmsghdr`, `ifinfomsg`, attributes.
fn message(kind: u16, flags: u16, index: u32, attributes: &[u8]) -> Vec<u8> {
    let length = MESSAGE_HEADER + LINK_HEADER + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8 + 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::new();
    attribute.extend((4 + value.len() as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// The kind and the body of an answer's first message; the system's error if that is what it says.
fn head(answer: &[u8]) -> io::Result<(u16, &[u8])> {
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "rtnetlink: answer cut off");
    let kind = u16_at(answer, 4).ok_or_else(short)?;
    let body = answer.get(MESSAGE_HEADER..).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let code = u32_at(body, 0).ok_or_else(short)? as i32;
        if code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
    }
    Ok((kind, body))
}

fn parse_link(body: &[u8]) -> Option<Attached> {
    let xdp = find(body.get(LINK_HEADER..)?, IFLA_XDP)?;
    let program_id = u32_at(find(xdp, IFLA_XDP_PROG_ID)?, 0)?;
    let is_generic = find(xdp, IFLA_XDP_ATTACHED)?.first() == Some(&ATTACHED_GENERIC);
    let mode = if is_generic { Mode::Generic } else { Mode::Native };
    (program_id != 0).then_some(Attached { program_id, mode })
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        if u16_at(attributes, 2)? & !NESTED == kind {
            return attributes.get(4..length);
        }
        // A length of less than its own header would never end.
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(xdp: &[u8]) -> Vec<u8> {
        let mut attributes = attribute(3, b"eth0\0");
        attributes.extend(attribute(IFLA_XDP | NESTED, xdp));
        message(RTM_NEWLINK, 0, 7, &attributes)[MESSAGE_HEADER..].to_vec()
    }

    #[test]
    fn the_program_of_a_link_is_found() {
        let mut xdp = attribute(IFLA_XDP_ATTACHED, &[ATTACHED_GENERIC]);
        assert_eq!(parse_link(&link(&xdp)), None);
        xdp.extend(attribute(IFLA_XDP_PROG_ID, &77u32.to_ne_bytes()));
        assert_eq!(parse_link(&link(&xdp)), Some(Attached { program_id: 77, mode: Mode::Generic }));
        assert_eq!(parse_link(&link(&attribute(IFLA_XDP_ATTACHED, &[0]))), None);
        assert_eq!(parse_link(&[]), None);
    }

    #[test]
    fn errors_and_strange_answers_are_told_apart() {
        let mut answer = message(NLMSG_ERROR, 0, 0, &[]);
        answer[MESSAGE_HEADER..MESSAGE_HEADER + 4].copy_from_slice(&(-libc::EBUSY).to_ne_bytes());
        assert_eq!(head(&answer).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert!(head(&message(NLMSG_ERROR, 0, 0, &[])).is_ok(), "an acknowledgement");
        assert_eq!(head(&[0; 5]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_loopback_interface_of_this_host_is_known() {
        // Whatever it has attached: the kernel understands the question.
        assert!(attached(1).is_ok());
        assert!(attached(u32::MAX / 2).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_or_loop(bytes in proptest::collection::vec(0u8..48, 0..200)) {
            let _ = parse_link(&bytes);
            let _ = head(&bytes);
        }
    }
}
