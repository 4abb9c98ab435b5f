//! The family `ovs_vport`: attach, find, change and detach the ports of a datapath.
//!
//! What always holds: a [`Vport`] written again gives the attributes that it was parsed from, in the
//! kernel's order, those this crate does not know included (at the end).
//!
//! Control side, any thread. Source: `include/uapi/linux/openvswitch.h`, `enum ovs_vport_cmd` and
//! `enum ovs_vport_attr`; `net/openvswitch/datapath.c`, `vport.c`, `vport-vxlan.c`.

use zerocopy::IntoBytes;

use crate::attr::{Attr, AttrError, AttrWriter, Attrs, OwnedAttr};
use crate::error::Error;
use crate::family::Families;
use crate::msg::{MsgBuf, MsgError, MsgFlags, MsgHead, MsgWriter, split_ovs_header};
use crate::socket::Socket;
use crate::uapi::*;

/// `OVS_VPORT_ATTR_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VportType {
    /// An existing network device.
    Netdev,
    /// A network device that the datapath makes.
    Internal,
    /// A GRE tunnel; the peer of today attaches a `gre` device as [`Self::Netdev`] instead.
    Gre,
    /// A VXLAN tunnel, as above.
    Vxlan,
    /// A Geneve tunnel, as above.
    Geneve,
    /// One that this crate does not know.
    Unknown(u32),
}

impl VportType {
    /// The kernel's number.
    pub const fn to_u32(self) -> u32 {
        match self {
            Self::Netdev => OVS_VPORT_TYPE_NETDEV,
            Self::Internal => OVS_VPORT_TYPE_INTERNAL,
            Self::Gre => OVS_VPORT_TYPE_GRE,
            Self::Vxlan => OVS_VPORT_TYPE_VXLAN,
            Self::Geneve => OVS_VPORT_TYPE_GENEVE,
            Self::Unknown(number) => number,
        }
    }

    /// From the kernel's number.
    pub const fn from_u32(number: u32) -> Self {
        match number {
            OVS_VPORT_TYPE_NETDEV => Self::Netdev,
            OVS_VPORT_TYPE_INTERNAL => Self::Internal,
            OVS_VPORT_TYPE_GRE => Self::Gre,
            OVS_VPORT_TYPE_VXLAN => Self::Vxlan,
            OVS_VPORT_TYPE_GENEVE => Self::Geneve,
            _ => Self::Unknown(number),
        }
    }
}

/// `struct ovs_vport_stats`, in the order of the kernel's structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VportStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Bad packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Dropped on receive for want of buffers.
    pub rx_dropped: u64,
    /// Dropped on send for want of buffers.
    pub tx_dropped: u64,
}

/// `OVS_VPORT_ATTR_UPCALL_STATS`: upcalls made for packets of this port (Linux 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VportUpcallStats {
    /// Delivered to a socket.
    pub success: u64,
    /// Lost.
    pub fail: u64,
}

/// `OVS_VPORT_ATTR_OPTIONS` of a tunnel port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelOptions {
    /// UDP destination port.
    pub dst_port: Option<u16>,
    /// VXLAN's group policy extension (`OVS_VXLAN_EXT_GBP`).
    pub gbp: bool,
    /// Options that this crate does not know.
    pub unknown: Vec<OwnedAttr>,
}

impl TunnelOptions {
    fn parse(nest: &Attr<'_>) -> Result<Self, AttrError> {
        let mut options = Self::default();
        for a in nest.attrs() {
            let a = a?;
            match a.kind {
                OVS_TUNNEL_ATTR_DST_PORT => options.dst_port = Some(a.u16()?),
                OVS_TUNNEL_ATTR_EXTENSION if is_gbp(a.attrs()) => options.gbp = true,
                _ => options.unknown.push(a.into()),
            }
        }
        Ok(options)
    }

    fn write(&self, w: &mut AttrWriter<'_>) {
        let nest = w.begin(OVS_VPORT_ATTR_OPTIONS);
        if let Some(port) = self.dst_port {
            w.u16(OVS_TUNNEL_ATTR_DST_PORT, port);
        }
        if self.gbp {
            let extension = w.begin(OVS_TUNNEL_ATTR_EXTENSION);
            w.flag(OVS_VXLAN_EXT_GBP);
            // The writer remembers a failure and tells it at the end.
            let _ = w.end(extension);
        }
        self.unknown.iter().for_each(|a| w.bytes(a.kind, &a.value));
        let _ = w.end(nest);
    }
}

/// A port as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vport {
    /// The datapath it belongs to.
    pub dp_ifindex: u32,
    /// Its number in that datapath: 0 is the local port.
    pub port_no: u32,
    /// Its type.
    pub ty: VportType,
    /// Its name, that of the network device.
    pub name: String,
    /// Tunnel options.
    pub options: Option<TunnelOptions>,
    /// Port ids for its upcalls.
    pub upcall_pids: Vec<u32>,
    /// Packet counters.
    pub stats: Option<VportStats>,
    /// Upcall counters (Linux 6.3).
    pub upcall_stats: Option<VportUpcallStats>,
    /// Ifindex of the network device.
    pub ifindex: Option<u32>,
    /// Id of the network namespace of the device, where it is not the datapath's.
    pub netnsid: Option<i32>,
    /// Attributes that this crate does not know.
    pub unknown: Vec<OwnedAttr>,
}

impl Vport {
    /// Parses what follows the generic netlink header of a reply or notification.
    ///
    /// # Errors
    /// [`MsgError`] when it is malformed or lacks number, type or name.
    pub fn parse(body: &[u8]) -> Result<Self, MsgError> {
        let (dp_ifindex, attrs) = split_ovs_header(body)?;
        let mut port = Self {
            dp_ifindex,
            port_no: 0,
            ty: VportType::Unknown(OVS_VPORT_TYPE_UNSPEC),
            name: String::new(),
            options: None,
            upcall_pids: Vec::new(),
            stats: None,
            upcall_stats: None,
            ifindex: None,
            netnsid: None,
            unknown: Vec::new(),
        };
        let (mut port_no, mut ty, mut name) = (None, None, None);
        for a in attrs {
            let a = a?;
            match a.kind {
                OVS_VPORT_ATTR_PORT_NO => port_no = Some(a.u32()?),
                OVS_VPORT_ATTR_TYPE => ty = Some(VportType::from_u32(a.u32()?)),
                OVS_VPORT_ATTR_NAME => name = Some(a.str()?.to_owned()),
                OVS_VPORT_ATTR_OPTIONS => port.options = Some(TunnelOptions::parse(&a)?),
                OVS_VPORT_ATTR_UPCALL_PID => port.upcall_pids = a.u32s()?,
                OVS_VPORT_ATTR_STATS => port.stats = Some(parse_stats(&a)?),
                OVS_VPORT_ATTR_IFINDEX => port.ifindex = Some(a.u32()?),
                OVS_VPORT_ATTR_NETNSID => port.netnsid = Some(a.u32()?.cast_signed()),
                OVS_VPORT_ATTR_UPCALL_STATS => port.upcall_stats = Some(parse_upcall_stats(&a)?),
                OVS_VPORT_ATTR_PAD => {}
                _ => port.unknown.push(a.into()),
            }
        }
        port.port_no = port_no.ok_or(AttrError::Missing { kind: OVS_VPORT_ATTR_PORT_NO })?;
        port.ty = ty.ok_or(AttrError::Missing { kind: OVS_VPORT_ATTR_TYPE })?;
        port.name = name.ok_or(AttrError::Missing { kind: OVS_VPORT_ATTR_NAME })?;
        Ok(port)
    }

    /// Writes the attributes as the kernel does: for made-up kernels and recordings.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        w.u32(OVS_VPORT_ATTR_PORT_NO, self.port_no);
        w.u32(OVS_VPORT_ATTR_TYPE, self.ty.to_u32());
        w.str(OVS_VPORT_ATTR_NAME, &self.name);
        if let Some(ifindex) = self.ifindex {
            w.u32(OVS_VPORT_ATTR_IFINDEX, ifindex);
        }
        if let Some(id) = self.netnsid {
            w.u32(OVS_VPORT_ATTR_NETNSID, id.cast_unsigned());
        }
        if let Some(stats) = &self.stats {
            write_stats(stats, w);
        }
        if let Some(s) = self.upcall_stats {
            let nest = w.begin(OVS_VPORT_ATTR_UPCALL_STATS);
            w.u64(OVS_VPORT_UPCALL_ATTR_SUCCESS, s.success);
            w.u64(OVS_VPORT_UPCALL_ATTR_FAIL, s.fail);
            let _ = w.end(nest);
        }
        if !self.upcall_pids.is_empty() {
            w.u32s(OVS_VPORT_ATTR_UPCALL_PID, &self.upcall_pids);
        }
        if let Some(options) = &self.options {
            options.write(w);
        }
        self.unknown.iter().for_each(|a| w.bytes(a.kind, &a.value));
    }
}

/// Which port a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VportId<'a> {
    /// By its number.
    Number {
        /// The datapath.
        dp_ifindex: u32,
        /// The port's number in it.
        port_no: u32,
    },
    /// By its name, which is unique among all datapaths.
    Name(&'a str),
}

/// `OVS_VPORT_CMD_NEW`: attaches a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VportNew<'a> {
    /// The datapath.
    pub dp_ifindex: u32,
    /// The number it is to have, from 1 to 65,534; `None` lets the kernel choose.
    pub port_no: Option<u32>,
    /// Its type.
    pub ty: VportType,
    /// Name of the network device.
    pub name: &'a str,
    /// Tunnel options.
    pub options: Option<&'a TunnelOptions>,
    /// Port ids for its upcalls, at most as many as there can be CPUs (`EINVAL`); empty for none.
    pub upcall_pids: &'a [u32],
    /// Ifindex for an internal port's device (Linux 6.7); older kernels ignore it. For a port of
    /// another type it is refused (`EOPNOTSUPP`).
    pub ifindex: Option<u32>,
}

impl VportNew<'_> {
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
        let cmd = OVS_VPORT_CMD_NEW;
        let head = MsgHead { dp_ifindex: self.dp_ifindex, ..head(family, cmd, flags, seq) };
        let mut w = buf.begin(head);
        let attrs = w.attrs();
        attrs.u32(OVS_VPORT_ATTR_TYPE, self.ty.to_u32());
        attrs.str(OVS_VPORT_ATTR_NAME, self.name);
        write_pids(self.upcall_pids, attrs);
        if let Some(port_no) = self.port_no {
            attrs.u32(OVS_VPORT_ATTR_PORT_NO, port_no);
        }
        if let Some(options) = self.options {
            options.write(attrs);
        }
        if let Some(ifindex) = self.ifindex {
            attrs.u32(OVS_VPORT_ATTR_IFINDEX, ifindex);
        }
        w.finish()
    }
}

/// `OVS_VPORT_CMD_SET`: changes what is given and leaves the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VportSet<'a> {
    /// The port.
    pub id: VportId<'a>,
    /// Port ids for its upcalls, as in [`VportNew::upcall_pids`].
    pub upcall_pids: Option<&'a [u32]>,
    /// Tunnel options.
    pub options: Option<&'a TunnelOptions>,
}

impl VportSet<'_> {
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
        let mut w = begin(buf, head(family, OVS_VPORT_CMD_SET, flags, seq), self.id);
        if let Some(pids) = self.upcall_pids {
            write_pids(pids, w.attrs());
        }
        if let Some(options) = self.options {
            options.write(w.attrs());
        }
        w.finish()
    }
}

/// Attaches a port and returns it as the kernel made it.
///
/// # Errors
/// [`Error::Kernel`] with `EBUSY` when the device or the number is taken, `ENODEV` when there is no
/// such device; otherwise as for [`Socket::transact`].
pub fn create(
    socket: &mut Socket,
    families: &Families,
    request: &VportNew<'_>,
) -> Result<Vport, Error> {
    let mut buf = MsgBuf::new();
    request.append(&mut buf, families.vport.id, MsgFlags::ECHO, 0).map_err(Error::Encode)?;
    socket.fetch(&mut buf, Vport::parse)
}

/// Finds a port.
///
/// # Errors
/// [`Error::Kernel`] with `ENODEV` when there is none; otherwise as for [`Socket::transact`].
pub fn get(socket: &mut Socket, families: &Families, id: VportId<'_>) -> Result<Vport, Error> {
    socket.fetch(&mut bare(families, OVS_VPORT_CMD_GET, id)?, Vport::parse)
}

/// Changes a port and returns it as it is then.
///
/// # Errors
/// As for [`get`].
pub fn set(
    socket: &mut Socket,
    families: &Families,
    request: &VportSet<'_>,
) -> Result<Vport, Error> {
    let mut buf = MsgBuf::new();
    request.append(&mut buf, families.vport.id, MsgFlags::ECHO, 0).map_err(Error::Encode)?;
    socket.fetch(&mut buf, Vport::parse)
}

/// Detaches a port; the device of an internal one is gone with it.
///
/// # Errors
/// [`Error::Kernel`] with `EINVAL` for the local port; otherwise as for [`get`].
pub fn delete(socket: &mut Socket, families: &Families, id: VportId<'_>) -> Result<(), Error> {
    socket.transact(&mut bare(families, OVS_VPORT_CMD_DEL, id)?).map(drop)
}

/// All ports of a datapath, in no certain order.
///
/// # Errors
/// As for [`Socket::dump`]; [`Error::Kernel`] with `ENODEV` when there is no such datapath.
pub fn dump(
    socket: &mut Socket,
    families: &Families,
    dp_ifindex: u32,
) -> Result<Vec<Vport>, Error> {
    let mut buf = MsgBuf::new();
    let head = head(families.vport.id, OVS_VPORT_CMD_GET, MsgFlags::empty(), 0);
    buf.begin(MsgHead { dp_ifindex, ..head }).finish().map_err(Error::Encode)?;
    socket.dump(&mut buf, |m| Vport::parse(m.genl()?.body).map(Some))
}

/// A request that says no more than which port is meant.
fn bare(families: &Families, cmd: u8, id: VportId<'_>) -> Result<MsgBuf, Error> {
    let mut buf = MsgBuf::new();
    let w = begin(&mut buf, head(families.vport.id, cmd, MsgFlags::empty(), 0), id);
    w.finish().map_err(Error::Encode)?;
    Ok(buf)
}

fn head(family: u16, cmd: u8, flags: MsgFlags, seq: u32) -> MsgHead {
    MsgHead { family, cmd, version: OVS_VPORT_VERSION, flags, seq, dp_ifindex: 0 }
}

fn begin<'b>(buf: &'b mut MsgBuf, head: MsgHead, id: VportId<'_>) -> MsgWriter<'b> {
    match id {
        VportId::Number { dp_ifindex, port_no } => {
            let mut w = buf.begin(MsgHead { dp_ifindex, ..head });
            w.attrs().u32(OVS_VPORT_ATTR_PORT_NO, port_no);
            w
        }
        VportId::Name(name) => {
            let mut w = buf.begin(head);
            w.attrs().str(OVS_VPORT_ATTR_NAME, name);
            w
        }
    }
}

/// Whether a list of extensions is the group policy alone, the only one that exists.
fn is_gbp(mut extensions: Attrs<'_>) -> bool {
    let first = extensions.next();
    matches!(first, Some(Ok(a)) if a.kind == OVS_VXLAN_EXT_GBP && a.value.is_empty())
        && extensions.next().is_none()
}

/// The kernel refuses an empty list; a single 0 means no upcalls.
fn write_pids(pids: &[u32], w: &mut AttrWriter<'_>) {
    w.u32s(OVS_VPORT_ATTR_UPCALL_PID, if pids.is_empty() { &[0] } else { pids });
}

fn parse_stats(a: &Attr<'_>) -> Result<VportStats, AttrError> {
    let s: ovs_vport_stats = a.read()?;
    Ok(VportStats {
        rx_packets: s.rx_packets.get(),
        tx_packets: s.tx_packets.get(),
        rx_bytes: s.rx_bytes.get(),
        tx_bytes: s.tx_bytes.get(),
        rx_errors: s.rx_errors.get(),
        tx_errors: s.tx_errors.get(),
        rx_dropped: s.rx_dropped.get(),
        tx_dropped: s.tx_dropped.get(),
    })
}

fn write_stats(s: &VportStats, w: &mut AttrWriter<'_>) {
    let s = ovs_vport_stats {
        rx_packets: s.rx_packets.into(),
        tx_packets: s.tx_packets.into(),
        rx_bytes: s.rx_bytes.into(),
        tx_bytes: s.tx_bytes.into(),
        rx_errors: s.rx_errors.into(),
        tx_errors: s.tx_errors.into(),
        rx_dropped: s.rx_dropped.into(),
        tx_dropped: s.tx_dropped.into(),
    };
    w.bytes(OVS_VPORT_ATTR_STATS, s.as_bytes());
}

fn parse_upcall_stats(nest: &Attr<'_>) -> Result<VportUpcallStats, AttrError> {
    let mut stats = VportUpcallStats::default();
    for a in nest.attrs() {
        let a = a?;
        match a.kind {
            OVS_VPORT_UPCALL_ATTR_SUCCESS => stats.success = a.u64()?,
            OVS_VPORT_UPCALL_ATTR_FAIL => stats.fail = a.u64()?,
            _ => {}
        }
    }
    Ok(stats)
}
