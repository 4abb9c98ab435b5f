//! The ids of the six OVS families and of their multicast groups, which the kernel chooses when the
//! module is loaded.
//!
//! What always holds: a [`Families`] has all that forwarding needs; meters and conntrack limits came
//! later (Linux 4.15 and 4.18) or need an option of the kernel's configuration, so they may be
//! missing. A missing module is told apart from a failing exchange, with its remedy.
//!
//! Plain values, any thread. Ids change when the module is loaded anew; the monitor tells
//!. Source: `include/uapi/linux/genetlink.h`.

use netlink_packet_core::NetlinkMessage;
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs};
use thiserror::Error as ThisError;

use crate::attr::{Attr, AttrError, Attrs};
use crate::error::Error;
use crate::msg::{Genl, MsgBuf};
use crate::socket::Socket;
use crate::uapi::{
    OVS_CT_LIMIT_FAMILY, OVS_DATAPATH_FAMILY, OVS_FLOW_FAMILY, OVS_METER_FAMILY, OVS_PACKET_FAMILY,
    OVS_VPORT_FAMILY,
};

const CTRL_ATTR_FAMILY_ID: u16 = libc::CTRL_ATTR_FAMILY_ID as u16;
const CTRL_ATTR_FAMILY_NAME: u16 = libc::CTRL_ATTR_FAMILY_NAME as u16;
const CTRL_ATTR_MCAST_GROUPS: u16 = libc::CTRL_ATTR_MCAST_GROUPS as u16;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = libc::CTRL_ATTR_MCAST_GRP_NAME as u16;
const CTRL_ATTR_MCAST_GRP_ID: u16 = libc::CTRL_ATTR_MCAST_GRP_ID as u16;

/// A generic netlink family as the kernel registered it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// What `nlmsg_type` must be.
    pub id: u16,
    /// Multicast groups: name and id.
    pub groups: Vec<(String, u32)>,
}

impl Family {
    /// The id of a multicast group.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(n, _)| n == name).map(|(_, id)| *id)
    }

    /// Parses a family's description by `nlctrl`; `None` when it is something else. (Not by
    /// `netlink-packet-generic`, which panics on some descriptions that lie about their lengths.)
    pub fn parse(genl: Genl<'_>) -> Option<Self> {
        let mut family = Self::default();
        Attrs::each::<AttrError>(genl.body, |attr, _| {
            match attr.kind {
                CTRL_ATTR_FAMILY_ID => family.id = attr.u16()?,
                CTRL_ATTR_FAMILY_NAME => attr.str()?.clone_into(&mut family.name),
                CTRL_ATTR_MCAST_GROUPS => {
                    for entry in attr.attrs() {
                        family.groups.extend(group(&entry?)?);
                    }
                }
                _ => {}
            }
            Ok(())
        })
        .ok()?;
        (family.id != 0).then_some(family)
    }
}

/// A multicast group, if it has a name and an id.
fn group(entry: &Attr<'_>) -> Result<Option<(String, u32)>, AttrError> {
    let (mut name, mut id) = (None, None);
    for attr in entry.attrs() {
        let attr = attr?;
        match attr.kind {
            CTRL_ATTR_MCAST_GRP_NAME => name = Some(attr.str()?.to_owned()),
            CTRL_ATTR_MCAST_GRP_ID => id = Some(attr.u32()?),
            _ => {}
        }
    }
    Ok(name.zip(id))
}

/// The OVS families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Families {
    /// `ovs_datapath`, with its group of the same name.
    pub datapath: Family,
    /// `ovs_vport`, with its group of the same name.
    pub vport: Family,
    /// `ovs_flow`, with its group of the same name.
    pub flow: Family,
    /// `ovs_packet`.
    pub packet: Family,
    /// `ovs_meter`, since Linux 4.15.
    pub meter: Option<Family>,
    /// `ovs_ct_limit`, since Linux 4.18 where `CONFIG_NETFILTER_CONNCOUNT` is set.
    pub ct_limit: Option<Family>,
}

/// Why the families could not be resolved.
#[derive(Debug, ThisError)]
pub enum FamilyError {
    /// The kernel does not know a family without which nothing works.
    #[error(
        "the kernel has no generic netlink family {name}: the openvswitch module is not loaded; \
         load it with \"modprobe openvswitch\""
    )]
    Missing {
        /// The family's name.
        name: &'static str,
    },
    /// The exchange itself failed.
    #[error("cannot resolve generic netlink family {name}: {source}")]
    Exchange {
        /// The family's name.
        name: &'static str,
        /// What happened.
        source: Error,
    },
    /// The asynchronous exchange failed.
    #[error("cannot resolve generic netlink family {name}: {source}")]
    Async {
        /// The family's name.
        name: &'static str,
        /// What happened.
        source: genetlink::GenetlinkError,
    },
}

impl Families {
    /// Resolves all over a socket of its own.
    ///
    /// # Errors
    /// [`FamilyError::Missing`] when the module is not loaded, else [`FamilyError::Exchange`].
    pub fn resolve() -> Result<Self, FamilyError> {
        let failed = |e| FamilyError::Exchange { name: OVS_DATAPATH_FAMILY, source: Error::Io(e) };
        Self::resolve_on(&mut Socket::open().map_err(failed)?)
    }

    /// Resolves all over `socket`.
    ///
    /// # Errors
    /// As for [`Self::resolve`].
    pub fn resolve_on(socket: &mut Socket) -> Result<Self, FamilyError> {
        let mut required = |name| match resolve(socket, name)? {
            Some(family) => Ok(family),
            None => Err(FamilyError::Missing { name }),
        };
        Ok(Self {
            datapath: required(OVS_DATAPATH_FAMILY)?,
            vport: required(OVS_VPORT_FAMILY)?,
            flow: required(OVS_FLOW_FAMILY)?,
            packet: required(OVS_PACKET_FAMILY)?,
            meter: resolve(socket, OVS_METER_FAMILY)?,
            ct_limit: resolve(socket, OVS_CT_LIMIT_FAMILY)?,
        })
    }

    /// Resolves all from within a tokio runtime, without blocking it.
    ///
    /// # Errors
    /// [`FamilyError::Missing`] when the module is not loaded, else [`FamilyError::Async`].
    pub async fn resolve_async() -> Result<Self, FamilyError> {
        let (connection, handle, _unsolicited) =
            genetlink::new_connection().map_err(|e| FamilyError::Async {
                name: OVS_DATAPATH_FAMILY,
                source: genetlink::GenetlinkError::NetlinkError(e),
            })?;
        let driver = tokio::spawn(connection);
        let resolved = async {
            Ok(Self {
                datapath: required_async(&handle, OVS_DATAPATH_FAMILY).await?,
                vport: required_async(&handle, OVS_VPORT_FAMILY).await?,
                flow: required_async(&handle, OVS_FLOW_FAMILY).await?,
                packet: required_async(&handle, OVS_PACKET_FAMILY).await?,
                meter: resolve_async(&handle, OVS_METER_FAMILY).await?,
                ct_limit: resolve_async(&handle, OVS_CT_LIMIT_FAMILY).await?,
            })
        }
        .await;
        driver.abort();
        resolved
    }
}

/// Resolves any generic netlink family by name; `None` when the kernel does not have it.
///
/// # Errors
/// [`FamilyError::Exchange`].
pub fn resolve(socket: &mut Socket, name: &'static str) -> Result<Option<Family>, FamilyError> {
    let mut request = MsgBuf::new();
    request.push(NetlinkMessage::from(GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(name.to_owned())],
    })));
    let reply = match socket.transact(&mut request) {
        Err(e) if e.errno() == Some(libc::ENOENT) => return Ok(None),
        result => result.and_then(|m| m.map(|m| m.genl()).transpose().map_err(Error::from)),
    };
    match reply {
        Ok(genl) => Ok(genl.and_then(Family::parse)),
        Err(source) => Err(FamilyError::Exchange { name, source }),
    }
}

async fn required_async(
    handle: &genetlink::GenetlinkHandle,
    name: &'static str,
) -> Result<Family, FamilyError> {
    resolve_async(handle, name).await?.ok_or(FamilyError::Missing { name })
}

async fn resolve_async(
    handle: &genetlink::GenetlinkHandle,
    name: &'static str,
) -> Result<Option<Family>, FamilyError> {
    use genetlink::GenetlinkError::NetlinkError;
    match genetlink::resolver::Resolver::new().query_family(handle, name).await {
        Ok(f) => {
            let groups = f.multicast_groups.into_iter().collect();
            Ok(Some(Family { name: name.to_owned(), id: f.id, groups }))
        }
        Err(NetlinkError(e)) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(source) => Err(FamilyError::Async { name, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::AttrWriter;

    #[test]
    fn a_description_is_read() {
        let mut body = Vec::new();
        let mut w = AttrWriter::new(&mut body);
        w.str(CTRL_ATTR_FAMILY_NAME, "ovs_vport");
        w.u16(CTRL_ATTR_FAMILY_ID, 0x22);
        let groups = w.begin(CTRL_ATTR_MCAST_GROUPS);
        for (number, name, id) in [(1, "ovs_vport", 9), (2, "other", 10)] {
            let group = w.begin(number);
            w.u32(CTRL_ATTR_MCAST_GRP_ID, id);
            w.str(CTRL_ATTR_MCAST_GRP_NAME, name);
            w.end(group).unwrap();
        }
        w.end(groups).unwrap();
        let family = Family::parse(Genl { cmd: 1, version: 2, body: &body }).unwrap();
        assert_eq!((family.name.as_str(), family.id), ("ovs_vport", 0x22));
        assert_eq!(family.group("other"), Some(10));
        assert_eq!(family.group("ovs_datapath"), None);
    }

    #[test]
    fn a_policy_that_lies_about_its_length_is_passed_over() {
        // Found by fuzzing: CTRL_ATTR_POLICY (8) whose value is an attribute of 14,848 bytes that is not
        // there.
        let body = [12, 0, 8, 0, 0, 0x3a, 1, 0, 0, 0, 0, 0, 6, 0, 1, 0, 0x22, 0, 0, 0];
        let family = Family::parse(Genl { cmd: 1, version: 2, body: &body }).unwrap();
        assert_eq!(family.id, 0x22);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        ) {
            let _ = Family::parse(Genl { cmd: 1, version: 2, body: &body });
        }
    }
}
