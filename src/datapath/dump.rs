//! Dumps that are read piece by piece.
//!
//! A [`FlowDump`] hands out pieces, which whoever asks for them reads on its own: threads that share a
//! dump hold it for as long as one takes to arrive, and between two pieces there is time for something
//! more urgent.

use ovs_netlink::DumpDatagram;
use ovs_netlink::flow::{FlowCounts, FlowMsg};
use ovs_netlink::msg::{Message, MsgBuf, MsgError, MsgFlags, MsgHead};
use ovs_netlink::uapi::{OVS_FLOW_CMD_NEW, OVS_FLOW_VERSION};

use super::{DpError, DpErrorKind};

/// A dump of flows under way; one thread at a time. Dropping it ends it.
pub trait FlowDump: Send {
    /// Brings the next piece in place of what `piece` holds; false at the end.
    ///
    /// # Errors
    /// When there is no more to be had although this is not the end.
    fn next(&mut self, piece: &mut DumpPiece) -> Result<bool, DpError>;
}

/// Some of the flows of a dump.
#[derive(Debug, Default)]
pub struct DumpPiece {
    pub(super) datagram: DumpDatagram,
}

impl DumpPiece {
    /// Without flows and memory.
    pub const fn new() -> Self {
        Self { datagram: DumpDatagram::new() }
    }

    /// Its flows.
    ///
    /// # Errors
    /// [`DpErrorKind::Malformed`] for what is none.
    pub fn flows(&self) -> impl Iterator<Item = Result<FlowMsg<'_>, DpError>> {
        let parsed = self.datagram.objects().map(|message| FlowMsg::parse(message.genl()?.body));
        parsed.map(|flow| flow.map_err(malformed))
    }

    /// Hands out names and counters of its flows, and the messages that tell them.
    ///
    /// # Errors
    /// As for [`Self::flows`], after the flows before that place.
    #[inline]
    pub fn each_counts(
        &self,
        mut each: impl FnMut(&FlowCounts, &Message<'_>),
    ) -> Result<(), DpError> {
        for message in self.datagram.objects() {
            let counts = message.genl().and_then(|genl| FlowCounts::parse(genl.body));
            match counts {
                Ok(counts) => each(&counts, &message),
                Err(error) => return Err(malformed(error)),
            }
        }
        Ok(())
    }

    /// Holds the flows that `tell` tells, of a datapath that is none of the kernel's.
    pub(super) fn fill(&mut self, tell: impl FnOnce(&mut dyn FnMut(&FlowMsg<'_>))) {
        let mut messages = MsgBuf::new();
        tell(&mut |flow| {
            let mut message = messages.begin(MsgHead {
                family: MADE_UP,
                cmd: OVS_FLOW_CMD_NEW,
                version: OVS_FLOW_VERSION,
                flags: MsgFlags::MULTI,
                seq: 0,
                dp_ifindex: flow.dp_ifindex,
            });
            flow.write(message.attrs());
            let written = message.finish();
            debug_assert!(written.is_ok(), "what was a flow once fits: {written:?}");
        });
        self.datagram.fill(&messages);
    }
}

/// A family's number, where nobody looks at it.
const MADE_UP: u16 = u16::MAX;

fn malformed(error: MsgError) -> DpError {
    DpError::new(DpErrorKind::Malformed, "dump flows", 0).with_message(Some(error.to_string()))
}
