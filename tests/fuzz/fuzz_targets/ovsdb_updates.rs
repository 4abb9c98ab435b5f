//! A server that says anything: after an honest beginning, each line of the input is a message, or, when it
//! begins with `u` or `v`, an update of the replica in the form of that server's age. Whatever comes, the
//! columns can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs::ovsdb::schema::Table;
use rovs::ovsdb::session::Session;

const SCHEMA: &str = r#"{"name":"Open_vSwitch","version":"1.0.0","tables":{
    "Open_vSwitch":{"columns":{"bridges":{"type":{"key":"uuid","min":0,"max":"unlimited"}},"cur_cfg":{"type":"integer"}}},
    "Port":{"columns":{"name":{"type":"string"},"tag":{"type":{"key":"integer","min":0,"max":1}},
        "trunks":{"type":{"key":"integer","min":0,"max":4096}},"protected":{"type":"boolean"},
        "other_config":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}}}}}}"#;
const ROW: &str = r#"{"Port":{"01010101-0101-0101-0101-010101010101":{"initial":{"name":"a","trunks":["set",[1,2]]}}}}"#;

fn filled() -> Session {
    let mut session = Session::new(Some("l".to_owned()));
    session.connected();
    for message in [
        r#"{"id":0,"result":{"locked":true},"error":null}"#.to_owned(),
        r#"{"id":1,"result":null,"error":"unknown database"}"#.to_owned(),
        format!(r#"{{"id":2,"result":{SCHEMA},"error":null}}"#),
        format!(r#"{{"id":3,"result":{ROW},"error":null}}"#),
    ] {
        session.receive(message.as_bytes()).expect("an honest beginning");
    }
    session
}

fuzz_target!(|data: &[u8]| {
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
            assert!(session.replica().rows(Table::Port).len() <= data.len());
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
        while session.next_event().is_some() {}
        session.take_output();
    }
});
