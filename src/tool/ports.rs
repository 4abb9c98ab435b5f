//! `rovs ports`: the datapath's ports with their counters and their upcalls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::control::Control;
use super::table::{Align, Table};
use super::{Failure, print};

/// Of `dpctl/show`, where it stands under its name.
#[derive(Debug, Deserialize)]
struct Datapath {
    ports: Vec<Device>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Device {
    port: u32,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    rx_packets: u64,
    tx_packets: u64,
    rx_bytes: u64,
    tx_bytes: u64,
    #[serde(default)]
    rx_dropped: u64,
    #[serde(default)]
    tx_dropped: u64,
}

/// Of `upcall/ports`.
#[derive(Debug, Default, Deserialize)]
struct Upcalls {
    port: String,
    #[serde(default, alias = "upcalls")]
    asked: u64,
    #[serde(default)]
    served: u64,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    lost: Option<u64>,
}

/// `rovs ports`.
pub(super) fn list(target: &str, json: bool) -> Result<(), Failure> {
    let mut control = Control::connect(target)?;
    let datapaths: BTreeMap<String, Datapath> = control.ask("dpctl/show", &[])?;
    let upcalls: Vec<Upcalls> = control.ask("upcall/ports", &[])?;
    let upcalls: BTreeMap<&str, &Upcalls> =
        upcalls.iter().map(|upcalls| (upcalls.port.as_str(), upcalls)).collect();
    let none = Upcalls::default();
    let rows = datapaths
        .values()
        .flat_map(|datapath| &datapath.ports)
        .map(|device| (device, upcalls.get(device.name.as_str()).copied().unwrap_or(&none)));
    if json {
        let rows = rows.map(|(device, upcalls)| {
            let mut row = json!(device);
            row["upcalls"] = json!({"asked": upcalls.asked, "served": upcalls.served,
                "dropped": upcalls.dropped, "lost": upcalls.lost});
            row
        });
        return print(&format!("{:#}\n", serde_json::Value::from_iter(rows)));
    }
    let mut table = Table::new(&[
        ("PORT", Align::Right),
        ("NAME", Align::Left),
        ("TYPE", Align::Left),
        ("RX PACKETS", Align::Right),
        ("RX BYTES", Align::Right),
        ("RX DROP", Align::Right),
        ("TX PACKETS", Align::Right),
        ("TX BYTES", Align::Right),
        ("TX DROP", Align::Right),
        ("UPCALLS", Align::Right),
        ("SERVED", Align::Right),
        ("DROPPED", Align::Right),
        ("LOST", Align::Right),
    ]);
    for (device, upcalls) in rows {
        let numbers = [
            device.rx_packets,
            device.rx_bytes,
            device.rx_dropped,
            device.tx_packets,
            device.tx_bytes,
            device.tx_dropped,
            upcalls.asked,
            upcalls.served,
            upcalls.dropped,
        ];
        let mut row = vec![device.port.to_string(), device.name.clone(), device.kind.clone()];
        row.extend(numbers.iter().map(u64::to_string));
        row.push(upcalls.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string()));
        table.add(row);
    }
    print(&table.lines().iter().map(|line| format!("{line}\n")).collect::<String>())
}
