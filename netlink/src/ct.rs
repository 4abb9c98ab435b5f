//! The conntrack action: `OVS_CT_ATTR_*` and, inside it, `OVS_NAT_ATTR_*`.
//!
//! [`CtAttrs`] and [`NatAttrs`] walk what is inside
//! [`Action::Ct`](crate::action::Action::Ct), in whatever order it came and with unknown attributes
//! kept. [`Ct`] and [`Nat`] are the same as a whole, for those who compose or judge an action.
//!
//! What always holds: no input makes a walk panic; writing attributes that were parsed gives the
//! same bytes.
//!
//! Plain values: any thread. Source: `include/uapi/linux/openvswitch.h`, `net/openvswitch/conntrack.c`.

use std::net::IpAddr;

use crate::attr::{Attr, AttrError, AttrWriter};
use crate::nsh::{halves, write_halves};
use crate::uapi::*;
use crate::walk::walker;

/// One attribute of a conntrack action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtAttr<'a> {
    /// Enter the connection in the table.
    Commit,
    /// Conntrack zone.
    Zone(u16),
    /// Set the connection's mark where `mask` has ones.
    Mark {
        /// Bits to set.
        value: u32,
        /// Which of them.
        mask: u32,
    },
    /// Set the connection's labels where `mask` has ones.
    Labels {
        /// Bits to set.
        value: [u8; OVS_CT_LABELS_LEN],
        /// Which of them.
        mask: [u8; OVS_CT_LABELS_LEN],
    },
    /// Name of the protocol helper.
    Helper(&'a str),
    /// Address translation: a list for [`NatAttrs`].
    Nat(&'a [u8]),
    /// Commit, and start anew if the connection runs the other way.
    ForceCommit,
    /// 1 << `IPCT_*` of the events to announce.
    EventMask(u32),
    /// Name of the timeout policy.
    Timeout(&'a str),
    /// An attribute that this version does not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its value.
        value: &'a [u8],
    },
}

impl<'a> CtAttr<'a> {
    /// Reads one attribute of a conntrack action.
    ///
    /// # Errors
    /// [`AttrError::Size`] or [`AttrError::Text`] when a known attribute is not what the kernel
    /// takes.
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        let flag = |this| attr.array::<0>().map(|_| this);
        Ok(match attr.kind {
            OVS_CT_ATTR_COMMIT => flag(Self::Commit)?,
            OVS_CT_ATTR_ZONE => Self::Zone(attr.u16()?),
            OVS_CT_ATTR_MARK => {
                attr.array::<8>()?;
                let (value, mask) = halves(attr)?;
                Self::Mark { value: value.u32()?, mask: mask.u32()? }
            }
            OVS_CT_ATTR_LABELS => {
                attr.array::<{ 2 * OVS_CT_LABELS_LEN }>()?;
                let (value, mask) = halves(attr)?;
                Self::Labels { value: *value.array()?, mask: *mask.array()? }
            }
            OVS_CT_ATTR_HELPER => Self::Helper(text(attr)?),
            OVS_CT_ATTR_NAT => Self::Nat(attr.value),
            OVS_CT_ATTR_FORCE_COMMIT => flag(Self::ForceCommit)?,
            OVS_CT_ATTR_EVENTMASK => Self::EventMask(attr.u32()?),
            OVS_CT_ATTR_TIMEOUT => Self::Timeout(text(attr)?),
            kind => Self::Unknown { kind, value: attr.value },
        })
    }

    /// Appends the attribute.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        let kind = self.kind();
        match *self {
            Self::Commit | Self::ForceCommit => w.flag(kind),
            Self::Zone(zone) => w.u16(kind, zone),
            Self::Mark { value, mask } => {
                write_halves(w, kind, &value.to_ne_bytes(), &mask.to_ne_bytes());
            }
            Self::Labels { value, mask } => write_halves(w, kind, &value, &mask),
            Self::EventMask(mask) => w.u32(kind, mask),
            Self::Helper(name) | Self::Timeout(name) => w.str(kind, name),
            Self::Nat(value) | Self::Unknown { value, .. } => w.bytes(kind, value),
        }
    }

    /// The attribute's type, `OVS_CT_ATTR_*`.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Commit => OVS_CT_ATTR_COMMIT,
            Self::Zone(_) => OVS_CT_ATTR_ZONE,
            Self::Mark { .. } => OVS_CT_ATTR_MARK,
            Self::Labels { .. } => OVS_CT_ATTR_LABELS,
            Self::Helper(_) => OVS_CT_ATTR_HELPER,
            Self::Nat(_) => OVS_CT_ATTR_NAT,
            Self::ForceCommit => OVS_CT_ATTR_FORCE_COMMIT,
            Self::EventMask(_) => OVS_CT_ATTR_EVENTMASK,
            Self::Timeout(_) => OVS_CT_ATTR_TIMEOUT,
            Self::Unknown { kind, .. } => kind,
        }
    }
}

walker! {
    /// Walks a conntrack action; ends after the first error.
    CtAttrs, CtAttr
}

/// One attribute of an address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatAttr<'a> {
    /// Translate the source.
    Src,
    /// Translate the destination.
    Dst,
    /// First address.
    IpMin(IpAddr),
    /// Last address.
    IpMax(IpAddr),
    /// First port.
    ProtoMin(u16),
    /// Last port.
    ProtoMax(u16),
    /// The same client keeps its address.
    Persistent,
    /// Ports by hash.
    ProtoHash,
    /// Ports at random.
    ProtoRandom,
    /// An attribute that this version does not know.
    Unknown {
        /// Its type.
        kind: u16,
        /// Its value.
        value: &'a [u8],
    },
}

impl<'a> NatAttr<'a> {
    /// Reads one attribute of an address translation.
    ///
    /// # Errors
    /// [`AttrError::Size`] when a known attribute does not have the kernel's size.
    pub fn parse(attr: Attr<'a>) -> Result<Self, AttrError> {
        let flag = |this| attr.array::<0>().map(|_| this);
        Ok(match attr.kind {
            OVS_NAT_ATTR_SRC => flag(Self::Src)?,
            OVS_NAT_ATTR_DST => flag(Self::Dst)?,
            OVS_NAT_ATTR_IP_MIN => Self::IpMin(address(attr)?),
            OVS_NAT_ATTR_IP_MAX => Self::IpMax(address(attr)?),
            OVS_NAT_ATTR_PROTO_MIN => Self::ProtoMin(attr.u16()?),
            OVS_NAT_ATTR_PROTO_MAX => Self::ProtoMax(attr.u16()?),
            OVS_NAT_ATTR_PERSISTENT => flag(Self::Persistent)?,
            OVS_NAT_ATTR_PROTO_HASH => flag(Self::ProtoHash)?,
            OVS_NAT_ATTR_PROTO_RANDOM => flag(Self::ProtoRandom)?,
            kind => Self::Unknown { kind, value: attr.value },
        })
    }

    /// Appends the attribute.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        let kind = self.kind();
        match *self {
            Self::Src | Self::Dst | Self::Persistent | Self::ProtoHash | Self::ProtoRandom => {
                w.flag(kind)
            }
            Self::IpMin(IpAddr::V4(ip)) | Self::IpMax(IpAddr::V4(ip)) => {
                w.bytes(kind, &ip.octets());
            }
            Self::IpMin(IpAddr::V6(ip)) | Self::IpMax(IpAddr::V6(ip)) => {
                w.bytes(kind, &ip.octets());
            }
            Self::ProtoMin(port) | Self::ProtoMax(port) => w.u16(kind, port),
            Self::Unknown { value, .. } => w.bytes(kind, value),
        }
    }

    /// The attribute's type, `OVS_NAT_ATTR_*`.
    pub const fn kind(&self) -> u16 {
        match *self {
            Self::Src => OVS_NAT_ATTR_SRC,
            Self::Dst => OVS_NAT_ATTR_DST,
            Self::IpMin(_) => OVS_NAT_ATTR_IP_MIN,
            Self::IpMax(_) => OVS_NAT_ATTR_IP_MAX,
            Self::ProtoMin(_) => OVS_NAT_ATTR_PROTO_MIN,
            Self::ProtoMax(_) => OVS_NAT_ATTR_PROTO_MAX,
            Self::Persistent => OVS_NAT_ATTR_PERSISTENT,
            Self::ProtoHash => OVS_NAT_ATTR_PROTO_HASH,
            Self::ProtoRandom => OVS_NAT_ATTR_PROTO_RANDOM,
            Self::Unknown { kind, .. } => kind,
        }
    }
}

walker! {
    /// Walks an address translation; ends after the first error.
    NatAttrs, NatAttr
}

/// Whether a conntrack action enters the connection in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Commit {
    /// It only looks the connection up.
    #[default]
    No,
    /// It does.
    Yes,
    /// It does, and starts anew if the connection runs the other way.
    Force,
}

/// A conntrack action as a whole. The default looks the connection up in zone 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ct<'a> {
    /// Whether to enter the connection in the table.
    pub commit: Commit,
    /// 1 << `IPCT_*` of the events to announce; none for the system's default.
    pub eventmask: Option<u32>,
    /// Name of the timeout policy, at most 31 bytes.
    pub timeout: Option<&'a str>,
    /// Conntrack zone; none is zone 0.
    pub zone: Option<u16>,
    /// Mark to set: value and mask.
    pub mark: Option<(u32, u32)>,
    /// Labels to set: value and mask.
    pub labels: Option<([u8; OVS_CT_LABELS_LEN], [u8; OVS_CT_LABELS_LEN])>,
    /// Name of the protocol helper, at most 15 bytes.
    pub helper: Option<&'a str>,
    /// Address translation.
    pub nat: Option<Nat>,
}

impl<'a> Ct<'a> {
    /// Reads the value of [`Action::Ct`](crate::action::Action::Ct).
    ///
    /// # Errors
    /// Whatever [`CtAttr::parse`] finds, and [`AttrError::Value`] for an attribute that this
    /// version does not know: an action that is understood in part only is not understood.
    pub fn parse(value: &'a [u8]) -> Result<Self, AttrError> {
        let mut ct = Self::default();
        for attr in CtAttrs::new(value) {
            match attr? {
                CtAttr::Commit => ct.commit = Commit::Yes,
                CtAttr::ForceCommit => ct.commit = Commit::Force,
                CtAttr::EventMask(mask) => ct.eventmask = Some(mask),
                CtAttr::Timeout(name) => ct.timeout = Some(name),
                CtAttr::Zone(zone) => ct.zone = Some(zone),
                CtAttr::Mark { value, mask } => ct.mark = Some((value, mask)),
                CtAttr::Labels { value, mask } => ct.labels = Some((value, mask)),
                CtAttr::Helper(name) => ct.helper = Some(name),
                CtAttr::Nat(value) => ct.nat = Some(Nat::parse(value)?),
                CtAttr::Unknown { kind, .. } => return Err(AttrError::Value { kind }),
            }
        }
        Ok(ct)
    }

    /// Appends the whole action, `OVS_ACTION_ATTR_CT` included.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        let action = w.begin(OVS_ACTION_ATTR_CT);
        match self.commit {
            Commit::No => {}
            Commit::Yes => CtAttr::Commit.write(w),
            Commit::Force => CtAttr::ForceCommit.write(w),
        }
        if let Some(mask) = self.eventmask {
            CtAttr::EventMask(mask).write(w);
        }
        if let Some(name) = self.timeout {
            CtAttr::Timeout(name).write(w);
        }
        if let Some(zone) = self.zone {
            CtAttr::Zone(zone).write(w);
        }
        if let Some((value, mask)) = self.mark {
            CtAttr::Mark { value, mask }.write(w);
        }
        if let Some((value, mask)) = self.labels {
            CtAttr::Labels { value, mask }.write(w);
        }
        if let Some(name) = self.helper {
            CtAttr::Helper(name).write(w);
        }
        if let Some(nat) = &self.nat {
            nat.write(w);
        }
        // What did not fit is remembered by the writer.
        let _ = w.end(action);
    }
}

/// Which end of a new connection an address translation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NatEnd {
    /// The source.
    Src,
    /// The destination.
    Dst,
}

/// An address translation as a whole. The default has no end: it only applies what was committed.
///
/// All but `end` needs an `end`, and a committing action; the kernel refuses anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// Which end of a new connection to change.
    pub end: Option<NatEnd>,
    /// The same client keeps its address.
    pub persistent: bool,
    /// Ports by hash.
    pub hash: bool,
    /// Ports at random.
    pub random: bool,
    /// First address.
    pub ip_min: Option<IpAddr>,
    /// Last address; none is the first. Of the same family.
    pub ip_max: Option<IpAddr>,
    /// First port.
    pub proto_min: Option<u16>,
    /// Last port; none is the first.
    pub proto_max: Option<u16>,
}

impl Nat {
    /// Reads the value of [`CtAttr::Nat`].
    ///
    /// # Errors
    /// Whatever [`NatAttr::parse`] finds, and [`AttrError::Value`] for an attribute that this
    /// version does not know.
    pub fn parse(value: &[u8]) -> Result<Self, AttrError> {
        let mut nat = Self::default();
        for attr in NatAttrs::new(value) {
            match attr? {
                NatAttr::Src => nat.end = Some(NatEnd::Src),
                NatAttr::Dst => nat.end = Some(NatEnd::Dst),
                NatAttr::Persistent => nat.persistent = true,
                NatAttr::ProtoHash => nat.hash = true,
                NatAttr::ProtoRandom => nat.random = true,
                NatAttr::IpMin(ip) => nat.ip_min = Some(ip),
                NatAttr::IpMax(ip) => nat.ip_max = Some(ip),
                NatAttr::ProtoMin(port) => nat.proto_min = Some(port),
                NatAttr::ProtoMax(port) => nat.proto_max = Some(port),
                NatAttr::Unknown { kind, .. } => return Err(AttrError::Value { kind }),
            }
        }
        Ok(nat)
    }

    /// Appends the whole attribute, `OVS_CT_ATTR_NAT` included.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        let attr = w.begin(OVS_CT_ATTR_NAT);
        match self.end {
            None => {}
            Some(NatEnd::Src) => NatAttr::Src.write(w),
            Some(NatEnd::Dst) => NatAttr::Dst.write(w),
        }
        for (set, flag) in [
            (self.persistent, NatAttr::Persistent),
            (self.hash, NatAttr::ProtoHash),
            (self.random, NatAttr::ProtoRandom),
        ] {
            if set {
                flag.write(w);
            }
        }
        let range = [
            self.ip_min.map(NatAttr::IpMin),
            self.ip_max.map(NatAttr::IpMax),
            self.proto_min.map(NatAttr::ProtoMin),
            self.proto_max.map(NatAttr::ProtoMax),
        ];
        range.iter().flatten().for_each(|attr| attr.write(w));
        // What did not fit is remembered by the writer.
        let _ = w.end(attr);
    }
}

/// A string whose NUL is its last byte, as the kernel wants it; so that it is written back as it
/// came.
fn text(attr: Attr<'_>) -> Result<&str, AttrError> {
    let text = attr.str()?;
    if text.len() + 1 != attr.value.len() {
        return Err(AttrError::Text { kind: attr.kind });
    }
    Ok(text)
}

fn address(attr: Attr<'_>) -> Result<IpAddr, AttrError> {
    match attr.array::<4>() {
        Ok(v4) => Ok(IpAddr::from(*v4)),
        Err(_) => attr.array::<16>().map(|v6| IpAddr::from(*v6)),
    }
}

#[cfg(test)]
mod tests;
