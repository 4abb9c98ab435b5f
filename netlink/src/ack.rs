//! What the kernel says about a request: `NLMSG_ERROR` and `NLMSG_DONE` with the extended ACK.
//!
//! What always holds: any payload parses or is an error, nothing panics; an extended ACK that does
//! not hold together is left out and the error number survives.
//!
//! Borrowed values, any thread. Sources: `include/uapi/linux/netlink.h` (`struct nlmsgerr`,
//! `enum nlmsgerr_attrs`), `net/netlink/af_netlink.c` (`netlink_ack`, `netlink_dump_done`).

use crate::attr::{Attrs, align4};
use crate::msg::{Message, MsgError, MsgFlags, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN};

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;
const NLMSGERR_ATTR_MISS_NEST: u16 = 6;

/// The kernel's verdict on one request, or on a dump as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack<'a> {
    /// 0 for success, else a positive error number.
    pub errno: i32,
    /// The extended ACK's text, in the kernel's words.
    pub message: Option<&'a str>,
    /// Offset of the offending attribute from the start of the request.
    pub offset: Option<u32>,
    /// Type of a mandatory attribute that is missing.
    pub missing: Option<u32>,
    /// Offset of the nest that should have held it; without it the top level.
    pub missing_nest: Option<u32>,
}

impl<'a> Ack<'a> {
    /// The verdict in an `NLMSG_ERROR` or `NLMSG_DONE`; `None` for any other message.
    ///
    /// # Errors
    /// [`MsgError::Family`] when an `NLMSG_ERROR` has no error number.
    pub fn parse(message: &Message<'a>) -> Result<Option<Self>, MsgError> {
        let payload = message.payload;
        let (code, rest) = match (message.kind, payload.split_first_chunk::<4>()) {
            (NLMSG_ERROR | NLMSG_DONE, Some((code, rest))) => (i32::from_ne_bytes(*code), rest),
            // A DONE without a status is how a dump of old ended.
            (NLMSG_DONE, None) => return Ok(Some(Self::default())),
            (NLMSG_ERROR, None) => return Err(MsgError::Family { len: payload.len() }),
            _ => return Ok(None),
        };
        // Positive values are not errors: DONE carries the result of the dump, often a length.
        let mut ack = Self { errno: code.min(0).saturating_neg(), ..Self::default() };
        if message.flags.contains(MsgFlags::ACK_TLVS) {
            let attrs = match message.kind {
                NLMSG_ERROR => after_echo(rest, message.flags),
                _ => Some(rest),
            };
            ack.read(Attrs::new(attrs.unwrap_or_default()));
        }
        Ok(Some(ack))
    }

    fn read(&mut self, attrs: Attrs<'a>) {
        for a in attrs.map_while(Result::ok) {
            match a.kind {
                NLMSGERR_ATTR_MSG => self.message = a.str().ok(),
                NLMSGERR_ATTR_OFFS => self.offset = a.u32().ok(),
                NLMSGERR_ATTR_MISS_TYPE => self.missing = a.u32().ok(),
                NLMSGERR_ATTR_MISS_NEST => self.missing_nest = a.u32().ok(),
                _ => {}
            }
        }
    }
}

/// What follows the echoed request: only its header when capped, else all of it.
fn after_echo(echo: &[u8], flags: MsgFlags) -> Option<&[u8]> {
    if flags.contains(MsgFlags::CAPPED) {
        return echo.get(NLMSG_HDRLEN..);
    }
    let len = u32::from_ne_bytes(*echo.first_chunk()?);
    echo.get(align4(usize::try_from(len).ok()?)..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attr::AttrWriter;

    fn tlvs() -> Vec<u8> {
        let mut buf = Vec::new();
        let mut w = AttrWriter::new(&mut buf);
        w.str(NLMSGERR_ATTR_MSG, "Attribute failed policy validation");
        w.u32(NLMSGERR_ATTR_OFFS, 20);
        buf
    }

    fn error(code: i32, echo: &[u8], tlvs: &[u8]) -> Vec<u8> {
        [&code.to_ne_bytes()[..], echo, tlvs].concat()
    }

    fn parse(kind: u16, flags: MsgFlags, payload: &[u8]) -> Option<Ack<'_>> {
        Ack::parse(&Message { kind, flags, seq: 1, port: 2, payload }).unwrap()
    }

    #[test]
    fn text_and_offset_are_found_behind_a_capped_and_a_full_echo() {
        let expected = Ack {
            errno: libc::EINVAL,
            message: Some("Attribute failed policy validation"),
            offset: Some(20),
            ..Ack::default()
        };
        let capped = MsgFlags::ACK_TLVS | MsgFlags::CAPPED;
        let payload = error(-libc::EINVAL, &[0xff; 16], &tlvs());
        assert_eq!(parse(NLMSG_ERROR, capped, &payload), Some(expected));
        // The echoed request is 22 bytes long, so the attributes begin at its aligned end, 24.
        let mut echo = [0; 24];
        echo[..4].copy_from_slice(&22u32.to_ne_bytes());
        let payload = error(-libc::EINVAL, &echo, &tlvs());
        assert_eq!(parse(NLMSG_ERROR, MsgFlags::ACK_TLVS, &payload), Some(expected));
        let payload = error(-libc::EINVAL, &[], &tlvs());
        assert_eq!(parse(NLMSG_DONE, MsgFlags::ACK_TLVS, &payload), Some(expected));
    }

    #[test]
    fn without_the_flag_nothing_is_taken_for_an_attribute() {
        let payload = error(-libc::ENOENT, &[0xff; 16], &tlvs());
        let plain = Ack { errno: libc::ENOENT, ..Ack::default() };
        assert_eq!(parse(NLMSG_ERROR, MsgFlags::CAPPED, &payload), Some(plain));
    }

    #[test]
    fn done_is_a_success_unless_negative() {
        assert_eq!(parse(NLMSG_DONE, MsgFlags::MULTI, &[]), Some(Ack::default()));
        assert_eq!(parse(NLMSG_DONE, MsgFlags::MULTI, &error(52, &[], &[])), Some(Ack::default()));
        let payload = error(-libc::EBUSY, &[], &[]);
        let failed = parse(NLMSG_DONE, MsgFlags::MULTI, &payload).unwrap();
        assert_eq!(failed.errno, libc::EBUSY);
    }

    #[test]
    fn an_error_without_a_number_is_malformed() {
        let m =
            Message { kind: NLMSG_ERROR, flags: MsgFlags::empty(), seq: 0, port: 0, payload: &[1] };
        assert_eq!(Ack::parse(&m), Err(MsgError::Family { len: 1 }));
    }

    proptest! {
        #[test]
        fn any_payload_parses(
            done in any::<bool>(), flags in any::<u16>(), code in any::<i32>(),
            payload in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let kind = if done { NLMSG_DONE } else { NLMSG_ERROR };
            let payload = error(code, &payload, &[]);
            let ack = parse(kind, MsgFlags::from_bits_retain(flags), &payload);
            prop_assert!(ack.unwrap().errno >= 0);
        }
    }
}
