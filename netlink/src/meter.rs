//! The family `ovs_meter` (Linux 4.15): rate limits that the METER action names by number.
//!
//! What always holds: a [`Meter`] and a [`MeterConfig`] written again give the attributes that they
//! were parsed from; of a meter those this crate does not know included (at the end).
//!
//! Control side, any thread. Source: `include/uapi/linux/openvswitch.h`, `enum ovs_meter_cmd`,
//! `enum ovs_meter_attr`, `enum ovs_band_attr`; `net/openvswitch/meter.c`.

use zerocopy::IntoBytes;

use crate::attr::{Attr, AttrError, AttrWriter, Attrs, OwnedAttr};
use crate::error::Error;
use crate::family::Family;
use crate::flow::FlowStats;
use crate::msg::{MsgBuf, MsgError, MsgFlags, MsgHead, split_ovs_header};
use crate::socket::Socket;
use crate::uapi::*;

/// `OVS_BAND_ATTR_TYPE`: what happens to packets beyond the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BandType {
    /// They are dropped; the only type that any kernel has.
    Drop,
    /// One that this crate does not know.
    Unknown(u32),
}

impl BandType {
    /// The kernel's number.
    pub const fn to_u32(self) -> u32 {
        match self {
            Self::Drop => OVS_METER_BAND_TYPE_DROP,
            Self::Unknown(number) => number,
        }
    }

    /// From the kernel's number.
    pub const fn from_u32(number: u32) -> Self {
        match number {
            OVS_METER_BAND_TYPE_DROP => Self::Drop,
            _ => Self::Unknown(number),
        }
    }
}

/// One rate of a meter; the highest that is exceeded applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// What happens beyond the rate.
    pub ty: BandType,
    /// Kilobits or packets per second, as [`MeterConfig::kbps`] says.
    pub rate: u32,
    /// Kilobits or packets that may pass at once.
    pub burst: u32,
}

/// A meter as it is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterConfig {
    /// Its number in the datapath.
    pub id: u32,
    /// Rates count kilobits if set, packets if not.
    pub kbps: bool,
    /// Start with counters of zero, where a meter that replaces another otherwise goes on with its
    /// counters.
    pub clear: bool,
    /// Its rates.
    pub bands: Vec<Band>,
}

impl MeterConfig {
    /// Parses what follows the generic netlink header of a request.
    ///
    /// # Errors
    /// [`MsgError`] when it is malformed, has no id, or a band lacks something.
    pub fn parse(body: &[u8]) -> Result<Self, MsgError> {
        let (_, attrs) = split_ovs_header(body)?;
        let (mut config, mut id) = (Self::default(), None);
        for a in attrs {
            let a = a?;
            match a.kind {
                OVS_METER_ATTR_ID => id = Some(a.u32()?),
                OVS_METER_ATTR_KBPS => config.kbps = true,
                OVS_METER_ATTR_CLEAR => config.clear = true,
                OVS_METER_ATTR_BANDS => {
                    let bands = a.attrs().map(|band| parse_band(band?.attrs()));
                    config.bands = bands.collect::<Result<_, _>>()?;
                }
                _ => {}
            }
        }
        config.id = id.ok_or(AttrError::Missing { kind: OVS_METER_ATTR_ID })?;
        Ok(config)
    }

    /// Writes the attributes.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        w.u32(OVS_METER_ATTR_ID, self.id);
        if self.kbps {
            w.flag(OVS_METER_ATTR_KBPS);
        }
        if self.clear {
            w.flag(OVS_METER_ATTR_CLEAR);
        }
        // The kernel insists on the list, even on an empty one. The writer remembers a failure to
        // end a nest and tells it at the end.
        let nest = w.begin(OVS_METER_ATTR_BANDS);
        for band in &self.bands {
            let nest = w.begin(OVS_BAND_ATTR_UNSPEC);
            w.u32(OVS_BAND_ATTR_TYPE, band.ty.to_u32());
            w.u32(OVS_BAND_ATTR_RATE, band.rate);
            w.u32(OVS_BAND_ATTR_BURST, band.burst);
            let _ = w.end(nest);
        }
        let _ = w.end(nest);
    }
}

/// A meter as the kernel tells it: by its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Its number in the datapath.
    pub id: u32,
    /// What went through it.
    pub stats: Option<FlowStats>,
    /// When it was last used, in milliseconds of the monotonic clock.
    pub used_ms: Option<u64>,
    /// What each band was applied to, in the order they were given.
    pub bands: Option<Vec<FlowStats>>,
    /// Attributes that this crate does not know.
    pub unknown: Vec<OwnedAttr>,
}

impl Meter {
    /// Parses what follows the generic netlink header of a reply.
    ///
    /// # Errors
    /// [`MsgError`] when it is malformed or has no id.
    pub fn parse(body: &[u8]) -> Result<Self, MsgError> {
        let (_, attrs) = split_ovs_header(body)?;
        let (mut meter, mut id) = (Self::default(), None);
        for a in attrs {
            let a = a?;
            match a.kind {
                OVS_METER_ATTR_ID => id = Some(a.u32()?),
                OVS_METER_ATTR_STATS => meter.stats = Some(parse_stats(&a)?),
                OVS_METER_ATTR_USED => meter.used_ms = Some(a.u64()?),
                OVS_METER_ATTR_BANDS => {
                    let bands = a.attrs().map(|band| parse_band_stats(&band?));
                    meter.bands = Some(bands.collect::<Result<_, _>>()?);
                }
                OVS_METER_ATTR_PAD => {}
                _ => meter.unknown.push(a.into()),
            }
        }
        meter.id = id.ok_or(AttrError::Missing { kind: OVS_METER_ATTR_ID })?;
        Ok(meter)
    }

    /// Writes the attributes as the kernel does: for made-up kernels and recordings.
    pub fn write(&self, w: &mut AttrWriter<'_>) {
        w.u32(OVS_METER_ATTR_ID, self.id);
        if let Some(stats) = self.stats {
            write_stats(OVS_METER_ATTR_STATS, stats, w);
        }
        if let Some(used) = self.used_ms {
            w.u64(OVS_METER_ATTR_USED, used);
        }
        if let Some(bands) = &self.bands {
            let nest = w.begin(OVS_METER_ATTR_BANDS);
            for &stats in bands {
                let nest = w.begin(OVS_BAND_ATTR_UNSPEC);
                write_stats(OVS_BAND_ATTR_STATS, stats, w);
                let _ = w.end(nest);
            }
            let _ = w.end(nest);
        }
        self.unknown.iter().for_each(|a| w.bytes(a.kind, &a.value));
    }
}

/// What meters a kernel can have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterFeatures {
    /// Meters per datapath; it depends on the machine's memory.
    pub max_meters: u32,
    /// Bands per meter.
    pub max_bands: u32,
    /// Types of bands.
    pub band_types: Vec<BandType>,
}

impl MeterFeatures {
    /// Parses what follows the generic netlink header of a reply.
    ///
    /// # Errors
    /// [`MsgError`] when it is malformed.
    pub fn parse(body: &[u8]) -> Result<Self, MsgError> {
        let (_, attrs) = split_ovs_header(body)?;
        let mut features = Self::default();
        for a in attrs {
            let a = a?;
            match a.kind {
                OVS_METER_ATTR_MAX_METERS => features.max_meters = a.u32()?,
                OVS_METER_ATTR_MAX_BANDS => features.max_bands = a.u32()?,
                OVS_METER_ATTR_BANDS => {
                    for band in a.attrs() {
                        if let Some(ty) = band?.attrs().find_kind(OVS_BAND_ATTR_TYPE)? {
                            features.band_types.push(BandType::from_u32(ty.u32()?));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(features)
    }
}

/// What meters the kernel can have.
///
/// # Errors
/// As for [`Socket::transact`].
pub fn features(
    socket: &mut Socket,
    family: &Family,
    dp_ifindex: u32,
) -> Result<MeterFeatures, Error> {
    let mut buf = request(family, OVS_METER_CMD_FEATURES, dp_ifindex, |_| {})?;
    socket.fetch(&mut buf, MeterFeatures::parse)
}

/// Adds or replaces a meter; returns its number and, where it replaced one and goes on with its
/// counters, those.
///
/// # Errors
/// [`Error::Kernel`]; otherwise as for [`Socket::transact`].
pub fn set(
    socket: &mut Socket,
    family: &Family,
    dp_ifindex: u32,
    meter: &MeterConfig,
) -> Result<Meter, Error> {
    let mut buf = request(family, OVS_METER_CMD_SET, dp_ifindex, |w| meter.write(w))?;
    socket.fetch(&mut buf, Meter::parse)
}

/// A meter's counters. The kernel does not tell its rates.
///
/// # Errors
/// [`Error::Kernel`] with `ENOENT` when there is none; otherwise as for [`Socket::transact`].
pub fn get(socket: &mut Socket, family: &Family, dp_ifindex: u32, id: u32) -> Result<Meter, Error> {
    let mut buf = request(family, OVS_METER_CMD_GET, dp_ifindex, |w| w.u32(OVS_METER_ATTR_ID, id))?;
    socket.fetch(&mut buf, Meter::parse)
}

/// Removes a meter and returns its last counters, `None` when there was none.
///
/// # Errors
/// As for [`Socket::transact`].
pub fn delete(
    socket: &mut Socket,
    family: &Family,
    dp_ifindex: u32,
    id: u32,
) -> Result<Option<Meter>, Error> {
    let mut buf = request(family, OVS_METER_CMD_DEL, dp_ifindex, |w| w.u32(OVS_METER_ATTR_ID, id))?;
    match socket.fetch(&mut buf, Meter::parse) {
        Ok(meter) => Ok(Some(meter)),
        // The answer for a meter that was not there has no attributes.
        Err(Error::Malformed(MsgError::Attr(AttrError::Missing { .. }))) => Ok(None),
        Err(e) => Err(e),
    }
}

fn request(
    family: &Family,
    cmd: u8,
    dp_ifindex: u32,
    attrs: impl FnOnce(&mut AttrWriter<'_>),
) -> Result<MsgBuf, Error> {
    let mut buf = MsgBuf::new();
    let mut w = buf.begin(MsgHead {
        family: family.id,
        cmd,
        version: OVS_METER_VERSION,
        flags: MsgFlags::empty(),
        seq: 0,
        dp_ifindex,
    });
    attrs(w.attrs());
    w.finish().map_err(Error::Encode)?;
    Ok(buf)
}

fn parse_band(attrs: Attrs<'_>) -> Result<Band, AttrError> {
    let find = |kind| match attrs.clone().find_kind(kind)? {
        Some(a) => a.u32(),
        None => Err(AttrError::Missing { kind }),
    };
    let ty = BandType::from_u32(find(OVS_BAND_ATTR_TYPE)?);
    Ok(Band { ty, rate: find(OVS_BAND_ATTR_RATE)?, burst: find(OVS_BAND_ATTR_BURST)? })
}

fn parse_band_stats(band: &Attr<'_>) -> Result<FlowStats, AttrError> {
    match band.attrs().find_kind(OVS_BAND_ATTR_STATS)? {
        Some(a) => parse_stats(&a),
        None => Err(AttrError::Missing { kind: OVS_BAND_ATTR_STATS }),
    }
}

fn parse_stats(a: &Attr<'_>) -> Result<FlowStats, AttrError> {
    let s: ovs_flow_stats = a.read()?;
    Ok(FlowStats { packets: s.n_packets.get(), bytes: s.n_bytes.get() })
}

fn write_stats(kind: u16, s: FlowStats, w: &mut AttrWriter<'_>) {
    let s = ovs_flow_stats { n_packets: s.packets.into(), n_bytes: s.bytes.into() };
    w.bytes(kind, s.as_bytes());
}
