//! A server that says anything: after an honest beginning, each line of the input is a message, or, when it
//! begins with `u` or `v`, an update of the replica in the form of that server's age. Whatever comes, the
//! columns can be read, and tell of bridges.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rovs::bridge::engine::DummyMode;
use rovs::database::desired::{Circumstances, desire};
use rovs::ovsdb::schema::Table;
use rovs::ovsdb::session::Session;

const SCHEMA: &str = r#"{"name":"Open_vSwitch","version":"1.0.0","tables":{
    "Open_vSwitch":{"columns":{"bridges":{"type":{"key":"uuid","min":0,"max":"unlimited"}},"cur_cfg":{"type":"integer"},
        "other_config":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}}}},
    "Bridge":{"columns":{"name":{"type":"string"},"ports":{"type":{"key":"uuid","min":0,"max":"unlimited"}},
        "datapath_type":{"type":"string"},"fail_mode":{"type":{"key":"string","min":0,"max":1}},
        "flood_vlans":{"type":{"key":"integer","min":0,"max":4096}},
        "other_config":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}}}},
    "Interface":{"columns":{"name":{"type":"string"},"type":{"type":"string"},
        "mac":{"type":{"key":"string","min":0,"max":1}},"ofport_request":{"type":{"key":"integer","min":0,"max":1}},
        "mtu_request":{"type":{"key":"integer","min":0,"max":1}},
        "options":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}}}},
    "Port":{"columns":{"name":{"type":"string"},"tag":{"type":{"key":"integer","min":0,"max":1}},
        "interfaces":{"type":{"key":"uuid","min":0,"max":"unlimited"}},"vlan_mode":{"type":{"key":"string","min":0,"max":1}},
        "trunks":{"type":{"key":"integer","min":0,"max":4096}},"protected":{"type":"boolean"},
        "other_config":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}}}}}}"#;
const ROWS: &str = r#"{
    "Open_vSwitch":{"00010101-0101-0101-0101-010101010101":{"initial":{"bridges":["uuid","02010101-0101-0101-0101-010101010101"]}}},
    "Bridge":{"02010101-0101-0101-0101-010101010101":{"initial":{"name":"b","ports":["uuid","01010101-0101-0101-0101-010101010101"]}}},
    "Port":{"01010101-0101-0101-0101-010101010101":{"initial":{"name":"a","trunks":["set",[1,2]],
        "interfaces":["uuid","03010101-0101-0101-0101-010101010101"]}}},
    "Interface":{"03010101-0101-0101-0101-010101010101":{"initial":{"name":"a","type":"internal"}}}}"#;

fn filled() -> Session {
    let mut session = Session::new(Some("l".to_owned()));
    session.connected();
    for message in [
        r#"{"id":0,"result":{"locked":true},"error":null}"#.to_owned(),
        r#"{"id":1,"result":null,"error":"unknown database"}"#.to_owned(),
        format!(r#"{{"id":2,"result":{SCHEMA},"error":null}}"#),
        format!(r#"{{"id":3,"result":{ROWS},"error":null}}"#),
    ] {
        session.receive(message.as_bytes()).expect("an honest beginning");
    }
    session
}

fuzz_target!(|data: &[u8]| {
    let recorded = BTreeMap::new();
    let mut connections = 0;
    let mut session = filled();
    for line in data.split(|byte| *byte == b'\n') {
        let wrap = |method: &str, rest: &[u8]| {
            let head =
                format!(r#"{{"id":null,"method":"{method}","params":[["monid","Open_vSwitch"],"#);
            [head.as_bytes(), rest, b"]}"].concat()
        };
        let text = match line.split_first() {
            Some((b'u', rest)) => wrap("update2", rest),
            Some((b'v', rest)) => wrap("update", rest),
            _ => line.to_vec(),
        };
        if session.receive(&text).is_err() {
            session.disconnected();
            assert!(session.replica().rows(Table::Port).len() <= data.len() + 1);
            // Each connection costs more than what it is told.
            connections += 1;
            if connections > 2 {
                return;
            }
            session = filled();
        }
        for row in Table::ALL.into_iter().flat_map(|table| session.replica().rows(table)) {
            for column in row.table().columns() {
                let _ = (row.string(column), row.integer(column), row.boolean(column));
                let _ =
                    (row.opt_uuid(column), row.strings(column).count(), row.uuids(column).count());
                let _ =
                    (row.integers(column).count(), row.map(column).count(), row.key(column, "a"));
            }
        }
        let around =
            Circumstances { recorded: &recorded, dummy: DummyMode::Override, restored: false };
        let desired = desire(session.replica(), around);
        assert!(desired.rows.bridges.len() >= desired.config.bridges.len());
        while session.next_event().is_some() {}
        session.take_output();
    }
});
