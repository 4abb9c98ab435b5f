//! `dpctl/add-dp`, `del-dp`, `add-if`, `set-if`, `del-if`: datapaths and ports that come and go.
//!
//! An interface is written `NAME[,type=TYPE][,port_no=NUMBER][,KEY=VALUE]…`, as in ovs-dpctl(8).

use super::{Asked, Datapaths, Failed, Opened, Said, kind_and_name};
use crate::bridge::commands::leading_number;
use crate::datapath::dummy::by_hand;
use crate::datapath::fake::DeviceOptions;
use crate::datapath::kernel::KernelDatapath;
use crate::datapath::{DpErrorKind, OdpPort, PortKind};
use crate::netdev::{HostDevices as _, KernelDevices};

pub(super) fn add_dp(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    let (kind, name) = kind_and_name(asked.arg(0));
    let created = match kind {
        _ if datapaths.is_dummy(kind) && datapaths.exists(asked.arg(0)) => {
            return Err(said.complain_errno(libc::EEXIST, "add_dp"));
        }
        _ if datapaths.is_dummy(kind) => by_hand::create(kind, name),
        "system" => KernelDatapath::create(name).map(drop),
        _ => return Err(said.complain_errno(libc::EAFNOSUPPORT, "add_dp")),
    };
    created.map_err(|error| said.complain_error(&error, "add_dp"))?;
    if asked.args.len() > 1 { add_if(datapaths, asked, said) } else { Ok(()) }
}

pub(super) fn del_dp(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    let opened = open(datapaths, asked, said)?;
    opened.datapath.destroy().map_err(|error| said.complain_error(&error, "del_dp"))
}

fn open(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<Opened, Failed> {
    datapaths.open(asked.arg(0)).map_err(|error| said.complain_error(&error, "opening datapath"))
}

/// Does `one` to each interface named; goes on after a failure.
fn each_interface(
    datapaths: &Datapaths,
    asked: &Asked,
    said: &mut Said,
    one: impl Fn(&Opened, &Interface<'_>, &str, &mut Said) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let opened = open(datapaths, asked, said)?;
    let mut result = Ok(());
    for text in asked.args.iter().skip(1) {
        let done = match Interface::parse(text, said) {
            Some(interface) => one(&opened, &interface, asked.arg(0), said),
            None => Err(said.complain(format_args!("{text} is not a valid network device name"))),
        };
        result = result.and(done);
    }
    result
}

/// An interface as it is written.
#[derive(Debug, PartialEq, Eq)]
struct Interface<'a> {
    name: &'a str,
    kind: Option<&'a str>,
    port_no: Option<u32>,
    /// Keys that a device would have to know.
    others: Vec<&'a str>,
}

impl<'a> Interface<'a> {
    fn parse(text: &'a str, said: &mut Said) -> Option<Self> {
        let mut words = text.split(',').filter(|word| !word.is_empty());
        let mut interface =
            Self { name: words.next()?, kind: None, port_no: None, others: Vec::new() };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "type" => interface.kind = Some(value),
                "port_no" => interface.port_no = Some(leading_number(value) as u32),
                key if interface.others.contains(&key) => {
                    said.complain(format_args!("duplicate \"{key}\" option"));
                }
                key => interface.others.push(key),
            }
        }
        Some(interface)
    }
}

pub(super) fn add_if(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    each_interface(datapaths, asked, said, |opened, interface, dp, said| {
        let name = interface.name;
        let refused = |errno, said: &mut Said| {
            Err(said.complain_errno(errno, format_args!("{name}: failed to open network device")))
        };
        let type_name = interface.kind.unwrap_or("system");
        let kind = match type_name {
            _ if opened.devices.is_some() => match dummy_kind(datapaths, opened, name, type_name) {
                Ok(kind) => kind,
                Err(errno) => return refused(errno, said),
            },
            "system" => match KernelDevices.link(name) {
                Ok(Some(_)) => PortKind::Netdev,
                Ok(None) => return refused(libc::ENODEV, said),
                Err(error) => return refused(error.errno().unwrap_or(libc::EIO), said),
            },
            "internal" => PortKind::Internal,
            _ => return refused(libc::EAFNOSUPPORT, said),
        };
        if !interface.others.is_empty() {
            tracing::warn!(
                target: "netdev", "{name}: arguments provided to device that is not configurable"
            );
        }
        let want = interface.port_no.map(OdpPort);
        if let Err(error) = opened.datapath.port_add(name, kind, want) {
            let what = format!("adding {name} to {dp} failed");
            return Err(said.complain_error(&error, what));
        }
        // Dummies are up from the start.
        if opened.devices.is_some() {
            return Ok(());
        }
        if let Err(error) = KernelDevices.set_up(name, true) {
            let what = format!("{name}: failed bringing interface up");
            return Err(said.complain_errno(error.errno().unwrap_or(libc::EIO), what));
        }
        Ok(())
    })
}

/// What a port of a dummy datapath is, whose device is made here; else an error number.
fn dummy_kind(
    datapaths: &Datapaths,
    opened: &Opened,
    name: &str,
    type_name: &str,
) -> Result<PortKind, i32> {
    match (type_name, &opened.devices) {
        ("dummy-internal", _) => Ok(PortKind::Internal),
        (_, Some(devices)) if type_name == "dummy" || datapaths.is_dummy(type_name) => {
            let made = devices.configure_device(name, type_name, &DeviceOptions::new());
            made.map(|()| PortKind::Netdev).map_err(|error| error.errno)
        }
        _ => Err(libc::EAFNOSUPPORT),
    }
}

/// Nothing of a port can be changed but what a device knows, and none of ours knows anything: all that
/// is left is to say so.
pub(super) fn set_if(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    each_interface(datapaths, asked, said, |opened, interface, dp, said| {
        let name = interface.name;
        let port = match opened.datapath.port(name) {
            Ok(Some(port)) => port,
            found => {
                let errno = found.err().map_or(libc::ENODEV, |error| error.errno);
                let what = format!("{name}: failed to query port in {dp}");
                return Err(said.complain_errno(errno, what));
            }
        };
        let kind = opened.datapath.port_type(&port);
        if let Some(wanted) = interface.kind.filter(|wanted| *wanted != kind.as_ref()) {
            let what = format!("{name}: can't change type from {kind} to {wanted}");
            return Err(said.complain(what));
        }
        if let Some(wanted) = interface.port_no.filter(|wanted| *wanted != port.odp.0) {
            let (odp, wanted) = (port.odp, wanted as i32);
            let what = format!("{name}: can't change port number from {odp} to {wanted}");
            return Err(said.complain(what));
        }
        if !interface.others.is_empty() {
            said.complain(format_args!(
                "{name}: arguments provided to device that is not configurable"
            ));
        }
        Ok(())
    })
}

pub(super) fn del_if(datapaths: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    let opened = open(datapaths, asked, said)?;
    let mut result = Ok(());
    for name in asked.args.iter().skip(1) {
        let done = del_one(&opened, name, asked.arg(0), said);
        result = result.and(done);
    }
    result
}

fn del_one(opened: &Opened, name: &str, dp: &str, said: &mut Said) -> Result<(), Failed> {
    let number = name.bytes().all(|byte| byte.is_ascii_digit()).then(|| leading_number(name));
    let odp = match number {
        Some(number) => OdpPort(number as u32),
        None => match opened.datapath.port(name) {
            Ok(Some(port)) => port.odp,
            _ => return Err(said.complain(format_args!("no port named {name}"))),
        },
    };
    opened.datapath.port_del(odp).map_err(|error| {
        let what = format!("deleting port {name} from {dp} failed");
        match error.kind {
            DpErrorKind::NoSuchPort => said.complain_errno(libc::ENODEV, what),
            _ => said.complain_error(&error, what),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_as_they_are_written() {
        let mut said = Said::default();
        let read = Interface::parse("i1,type=internal,port_no=7,a=b,a=c,d", &mut said);
        assert_eq!(
            read,
            Some(Interface {
                name: "i1",
                kind: Some("internal"),
                port_no: Some(7),
                others: vec!["a", "d"]
            })
        );
        assert_eq!(said.text, "ovs-vswitchd: duplicate \"a\" option\n");
        assert_eq!(Interface::parse(",,", &mut said), None);
    }
}
