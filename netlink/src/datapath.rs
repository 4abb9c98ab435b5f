//! The family `ovs_datapath`: create, find, change and remove datapaths.
//!
//! What always holds: a [`Datapath`] written again gives the attributes that it was parsed from, in
//! the kernel's order, those this crate does not know included (at the end).
//!
//! Control side, any thread. Source: `include/uapi/linux/openvswitch.h`, `enum ovs_datapath_cmd` and
//! `enum ovs_datapath_attr`; `net/openvswitch/datapath.c`.

use bitflags::bitflags;
use zerocopy::IntoBytes;

use crate::attr::{AttrError, AttrWriter, OwnedAttr};
use crate::error::Error;
use crate::family::Families;
use crate::msg::{MsgBuf, MsgError, MsgFlags, MsgHead, MsgWriter, split_ovs_header};
use crate::socket::Socket;
use crate::uapi::*;

bitflags! {
    /// `OVS_DP_ATTR_USER_FEATURES`: what user space can cope with or asks for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UserFeatures: u32 {
        /// The last attribute of an upcall may lack its padding.
        const UNALIGNED = OVS_DP_F_UNALIGNED;
        /// A vport may have several port ids for its upcalls, chosen by hash.
        const VPORT_PIDS = OVS_DP_F_VPORT_PIDS;
        /// The chain number of tc hardware offload and the recirculation id are shared.
        const TC_RECIRC_SHARING = OVS_DP_F_TC_RECIRC_SHARING;
        /// Upcalls go to the port id of the CPU that saw the packet (Linux 5.15).
        const DISPATCH_UPCALL_PER_CPU = OVS_DP_F_DISPATCH_UPCALL_PER_CPU;
        const _ = !0;
    }
}

/// `struct ovs_dp_stats`: packets through the datapath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatapathStats {
    /// Packets that matched a flow.
    pub hit: u64,
    /// Packets that matched none.
    pub missed: u64,
    /// Misses that did not reach user space.
    pub lost: u64,
    /// Flows in the table now.
    pub flows: u64,
}

/// `struct ovs_dp_megaflow_stats`: the work of finding flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MegaflowStats {
    /// Masks probed, all packets together.
    pub mask_hit: u64,
    /// Masks in the table now.
    pub masks: u32,
    /// Look-ups that the mask cache answered (Linux 5.10; 0 before).
    pub cache_hit: u64,
}

/// A datapath as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datapath {
    /// Ifindex of the local port's device: the datapath's handle in all requests.
    pub ifindex: u32,
    /// Name of the local port's device: the datapath's name.
    pub name: String,
    /// Packet counters.
    pub stats: Option<DatapathStats>,
    /// Look-up counters.
    pub megaflow_stats: Option<MegaflowStats>,
    /// Features that user space has set.
    pub user_features: UserFeatures,
    /// Entries of each CPU's mask cache (Linux 5.10).
    pub masks_cache_size: Option<u32>,
    /// Port ids for upcalls by CPU number, with [`UserFeatures::DISPATCH_UPCALL_PER_CPU`].
    pub per_cpu_pids: Vec<u32>,
    /// Attributes that this crate does not know.
    pub unknown: Vec<OwnedAttr>,
}

impl Datapath {
    /// Parses what follows the generic netlink header of a reply or notification.
    ///
    /// # Errors
    /// [`MsgError`] when it is malformed or has no name.
    pub fn parse(body: &[u8]) -> Result<Self, MsgError> {
        let (ifindex, attrs) = split_ovs_header(body)?;
        let mut dp = Self { ifindex, ..Self::default() };
        let mut name = None;
        for a in attrs {
            let a = a?;
            match a.kind {
                OVS_DP_ATTR_NAME => name = Some(a.str()?.to_owned()),
                OVS_DP_ATTR_STATS => {
                    let s: ovs_dp_stats = a.read()?;
                    dp.stats = Some(DatapathStats {
                        hit: s.n_hit.get(),
                        missed: s.n_missed.get(),
                        lost: s.n_lost.get(),
                        flows: s.n_flows.get(),
                    });
                }
                OVS_DP_ATTR_MEGAFLOW_STATS => {
                    let s: ovs_dp_megaflow_stats = a.read()?;
                    dp.megaflow_stats = Some(MegaflowStats {
                        mask_hit: s.n_mask_hit.get(),
                        masks: s.n_masks.get(),
                        cache_hit: s.n_cache_hit.get(),
                    });
                }
                OVS_DP_ATTR_USER_FEATURES => {
                    dp.user_features = UserFeatures::from_bits_retain(a.u32()?);
                }
                OVS_DP_ATTR_MASKS_CACHE_SIZE => dp.masks_cache_size = Some(a.u32()?),
                OVS_DP_ATTR_PER_CPU_PIDS => dp.per_cpu_pids = a.u32s()?,
                OVS_DP_ATTR_PAD => {}
                _ => dp.unknown.push(a.into()),
            }
        }
        dp.name = name.ok_or(AttrError::Missing { kind: OVS_DP_ATTR_NAME })?;
        Ok(dp)
    }

    /// Writes the attributes as the kernel does: for made-up kernels and recordings.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        w.str(OVS_DP_ATTR_NAME, &self.name);
        if let Some(s) = self.stats {
            let s = ovs_dp_stats {
                n_hit: s.hit.into(),
                n_missed: s.missed.into(),
                n_lost: s.lost.into(),
                n_flows: s.flows.into(),
            };
            w.bytes(OVS_DP_ATTR_STATS, s.as_bytes());
        }
        if let Some(s) = self.megaflow_stats {
            let s = ovs_dp_megaflow_stats {
                n_mask_hit: s.mask_hit.into(),
                n_masks: s.masks.into(),
                n_cache_hit: s.cache_hit.into(),
                ..Default::default()
            };
            w.bytes(OVS_DP_ATTR_MEGAFLOW_STATS, s.as_bytes());
        }
        w.u32(OVS_DP_ATTR_USER_FEATURES, self.user_features.bits());
        if let Some(size) = self.masks_cache_size {
            w.u32(OVS_DP_ATTR_MASKS_CACHE_SIZE, size);
        }
        if !self.per_cpu_pids.is_empty() {
            w.u32s(OVS_DP_ATTR_PER_CPU_PIDS, &self.per_cpu_pids);
        }
        self.unknown.iter().for_each(|a| w.bytes(a.kind, &a.value));
    }
}

/// Which datapath a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatapathId<'a> {
    /// By the ifindex of its local port's device.
    Ifindex(u32),
    /// By its name.
    Name(&'a str),
}

/// `OVS_DP_CMD_NEW`: creates a datapath with its local port, an internal device of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatapathNew<'a> {
    /// Name of the datapath and of the device.
    pub name: &'a str,
    /// Port id for upcalls of the local port; 0 for none.
    pub upcall_pid: u32,
    /// Features. The kernel refuses the ones it does not know (`EOPNOTSUPP`).
    pub user_features: UserFeatures,
    /// Port ids by CPU number, for [`UserFeatures::DISPATCH_UPCALL_PER_CPU`].
    pub per_cpu_pids: Option<&'a [u32]>,
    /// Entries of each CPU's mask cache: a power of two, or 0 for none.
    pub masks_cache_size: Option<u32>,
    /// Ifindex for the device (Linux 6.7); older kernels ignore it.
    pub ifindex: Option<u32>,
}

impl DatapathNew<'_> {
    /// Appends the request.
    ///
    /// # Errors
    /// [`AttrError::TooLong`].
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        let mut w = begin(buf, family, OVS_DP_CMD_NEW, flags, seq, DatapathId::Name(self.name));
        let attrs = w.attrs();
        attrs.u32(OVS_DP_ATTR_UPCALL_PID, self.upcall_pid);
        attrs.u32(OVS_DP_ATTR_USER_FEATURES, self.user_features.bits());
        optional(attrs, self.masks_cache_size, self.per_cpu_pids);
        if let Some(ifindex) = self.ifindex {
            attrs.u32(OVS_DP_ATTR_IFINDEX, ifindex);
        }
        w.finish()
    }
}

/// `OVS_DP_CMD_SET`: sets the features, and besides changes what is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatapathSet<'a> {
    /// The datapath.
    pub id: DatapathId<'a>,
    /// All features, those to keep included: a request that did not name them would clear them.
    pub user_features: UserFeatures,
    /// Port ids by CPU number. The kernel looks at them only together with
    /// [`UserFeatures::DISPATCH_UPCALL_PER_CPU`].
    pub per_cpu_pids: Option<&'a [u32]>,
    /// Entries of each CPU's mask cache: a power of two, or 0 for none.
    pub masks_cache_size: Option<u32>,
}

impl DatapathSet<'_> {
    /// Appends the request.
    ///
    /// # Errors
    /// [`AttrError::TooLong`].
    pub fn append(
        &self,
        buf: &mut MsgBuf,
        family: u16,
        flags: MsgFlags,
        seq: u32,
    ) -> Result<(), AttrError> {
        let mut w = begin(buf, family, OVS_DP_CMD_SET, flags, seq, self.id);
        w.attrs().u32(OVS_DP_ATTR_USER_FEATURES, self.user_features.bits());
        optional(w.attrs(), self.masks_cache_size, self.per_cpu_pids);
        w.finish()
    }
}

/// Creates a datapath and returns it as the kernel made it.
///
/// # Errors
/// [`Error::Kernel`] with `EEXIST` when the name is taken; otherwise as for [`Socket::transact`].
pub fn create(
    socket: &mut Socket,
    families: &Families,
    request: &DatapathNew<'_>,
) -> Result<Datapath, Error> {
    let mut buf = MsgBuf::new();
    request.append(&mut buf, families.datapath.id, MsgFlags::ECHO, 0).map_err(Error::Encode)?;
    socket.fetch(&mut buf, Datapath::parse)
}

/// Finds a datapath.
///
/// # Errors
/// [`Error::Kernel`] with `ENODEV` when there is none; otherwise as for [`Socket::transact`].
pub fn get(
    socket: &mut Socket,
    families: &Families,
    id: DatapathId<'_>,
) -> Result<Datapath, Error> {
    socket.fetch(&mut bare(families, OVS_DP_CMD_GET, id)?, Datapath::parse)
}

/// Changes a datapath and returns it as it is then.
///
/// # Errors
/// As for [`get`].
pub fn set(
    socket: &mut Socket,
    families: &Families,
    request: &DatapathSet<'_>,
) -> Result<Datapath, Error> {
    let mut buf = MsgBuf::new();
    request.append(&mut buf, families.datapath.id, MsgFlags::ECHO, 0).map_err(Error::Encode)?;
    socket.fetch(&mut buf, Datapath::parse)
}

/// Removes a datapath with its ports and flows.
///
/// # Errors
/// As for [`get`].
pub fn delete(socket: &mut Socket, families: &Families, id: DatapathId<'_>) -> Result<(), Error> {
    socket.transact(&mut bare(families, OVS_DP_CMD_DEL, id)?).map(drop)
}

/// All datapaths of the network namespace.
///
/// # Errors
/// As for [`Socket::dump`].
pub fn dump(socket: &mut Socket, families: &Families) -> Result<Vec<Datapath>, Error> {
    let mut buf = bare(families, OVS_DP_CMD_GET, DatapathId::Ifindex(0))?;
    socket.dump(&mut buf, |m| Datapath::parse(m.genl()?.body).map(Some))
}

/// A request that says no more than which datapath is meant.
fn bare(families: &Families, cmd: u8, id: DatapathId<'_>) -> Result<MsgBuf, Error> {
    let mut buf = MsgBuf::new();
    let w = begin(&mut buf, families.datapath.id, cmd, MsgFlags::empty(), 0, id);
    w.finish().map_err(Error::Encode)?;
    Ok(buf)
}

fn begin<'b>(
    buf: &'b mut MsgBuf,
    family: u16,
    cmd: u8,
    flags: MsgFlags,
    seq: u32,
    id: DatapathId<'_>,
) -> MsgWriter<'b> {
    let head = MsgHead { family, cmd, version: OVS_DATAPATH_VERSION, flags, seq, dp_ifindex: 0 };
    match id {
        DatapathId::Ifindex(dp_ifindex) => buf.begin(MsgHead { dp_ifindex, ..head }),
        DatapathId::Name(name) => {
            let mut w = buf.begin(head);
            w.attrs().str(OVS_DP_ATTR_NAME, name);
            w
        }
    }
}

fn optional(
    attrs: &mut AttrWriter<'_>,
    masks_cache_size: Option<u32>,
    per_cpu_pids: Option<&[u32]>,
) {
    if let Some(size) = masks_cache_size {
        attrs.u32(OVS_DP_ATTR_MASKS_CACHE_SIZE, size);
    }
    if let Some(pids) = per_cpu_pids {
        attrs.u32s(OVS_DP_ATTR_PER_CPU_PIDS, pids);
    }
}
