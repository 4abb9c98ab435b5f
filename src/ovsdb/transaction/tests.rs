use std::sync::Arc;

use super::*;
use crate::ovsdb::schema::tests::small_schema;
use crate::ovsdb::updates::{Form, apply};
use serde_json::json;
use serde_json::value::RawValue;

fn uuid(n: u8) -> Uuid {
    Uuid([n; 16])
}

/// One port with something in each column.
fn replica() -> Replica {
    let mut replica = Replica::new(Arc::new(small_schema()));
    let updates = json!({
        "Open_vSwitch": { (uuid(1).to_string()): { "initial": { "cur_cfg": 3, "next_cfg": 4 } } },
        "Port": { (uuid(2).to_string()): { "initial": { "name": "p", "tag": 5, "trunks": ["set", [1, 2]],
            "other_config": ["map", [["a", "1"], ["b", "2"]]] } } },
    });
    let raw = RawValue::from_string(updates.to_string()).expect("JSON");
    apply(&mut replica, &raw, Form::Difference).expect("applied");
    replica
}

fn operations(transaction: &Transaction) -> Vec<Value> {
    transaction
        .compile(&replica(), &BTreeSet::new())
        .map(|mut compiled| params(&mut compiled))
        .unwrap_or_default()
}

fn params(compiled: &mut Compiled) -> Vec<Value> {
    serde_json::from_slice(&compiled.take_params()).expect("an array")
}

fn this(n: u8) -> Value {
    json!([["_uuid", "==", ["uuid", uuid(n).to_string()]]])
}

#[test]
fn operations_of_rfc_7047() {
    let mut transaction = Transaction::new();
    assert!(transaction.is_empty());
    transaction.comment("why");
    assert!(transaction.is_empty());
    transaction.wait(Table::OpenVSwitch, &uuid(1), "next_cfg", 4);
    transaction.update(Table::OpenVSwitch, &uuid(1), "cur_cfg", 4);
    transaction.update(Table::Port, &uuid(2), "tag", Datum::EMPTY);
    transaction.update(Table::Port, &uuid(2), "protected", true);
    transaction.mutate_map(
        Table::Port,
        &uuid(2),
        "other_config",
        [("a", "9"), ("c", "3")],
        ["b", "x"],
    );
    transaction.mutate_set(Table::Port, &uuid(2), "trunks", [2, 3], [1, 7]);
    assert!(!transaction.is_empty());
    assert_eq!(
        operations(&transaction),
        [
            json!("Open_vSwitch"),
            json!({ "op": "wait", "timeout": 0, "table": "Open_vSwitch", "where": this(1),
            "columns": ["next_cfg"], "until": "==", "rows": [{ "next_cfg": 4 }] }),
            json!({ "op": "update", "table": "Open_vSwitch", "where": this(1), "row": { "cur_cfg": 4 } }),
            json!({ "op": "update", "table": "Port", "where": this(2), "row": { "protected": true, "tag": ["set", []] } }),
            json!({ "op": "mutate", "table": "Port", "where": this(2), "mutations": [
            ["other_config", "delete", ["set", ["a", "b"]]],
            ["other_config", "insert", ["map", [["a", "9"], ["c", "3"]]]],
            ["trunks", "delete", 1],
            ["trunks", "insert", 3],
        ] }),
            json!({ "op": "comment", "comment": "why" }),
        ]
    );
}

#[test]
fn what_the_database_holds_is_left_out() {
    let mut same = Transaction::new();
    same.wait(Table::OpenVSwitch, &uuid(1), "next_cfg", 4);
    same.update(Table::OpenVSwitch, &uuid(1), "cur_cfg", 3);
    same.update(Table::Port, &uuid(2), "trunks", Datum::set([2, 1, 2]));
    same.update(Table::Port, &uuid(2), "other_config", Datum::map([("b", "2"), ("a", "1")]));
    same.mutate_map(Table::Port, &uuid(2), "other_config", [("a", "1")], ["x"]);
    same.mutate_set(Table::Port, &uuid(2), "trunks", [1], [9]);
    // Columns, tables and rows that are not there.
    same.update(Table::Port, &uuid(2), "statistics", Datum::map([("x", 1)]));
    same.update(Table::Interface, &uuid(2), "ofport", 1);
    same.update(Table::Port, &uuid(9), "tag", 1);
    same.delete(Table::Port, &uuid(9));
    same.insert(Table::Interface);
    let gone = same.insert(Table::Port);
    same.delete(Table::Port, gone.uuid());
    same.comment("nothing");
    assert_eq!(operations(&same), [] as [Value; 0]);
    // The last word counts; a map is emptied by the empty set, too.
    let mut transaction = Transaction::new();
    transaction.update(Table::Port, &uuid(2), "tag", 9);
    transaction.update(Table::Port, &uuid(2), "tag", 5);
    transaction.update(Table::Port, &uuid(2), "other_config", Datum::EMPTY);
    assert_eq!(
        operations(&transaction).get(1..),
        Some(
            &[
                json!({ "op": "update", "table": "Port", "where": this(2), "row": { "other_config": ["map", []] } })
            ][..]
        )
    );
    transaction.delete(Table::Port, &uuid(2));
    assert_eq!(
        operations(&transaction).get(1..),
        Some(&[json!({ "op": "delete", "table": "Port", "where": this(2) })][..])
    );
}

#[test]
fn new_rows_refer_to_each_other() {
    let mut transaction = Transaction::new();
    let port = transaction.insert(Table::Port);
    transaction.update(Table::Port, port.uuid(), "name", "new");
    let bridge = transaction.insert(Table::Bridge);
    transaction.update(Table::Bridge, bridge.uuid(), "ports", Datum::set([*port.uuid(), uuid(2)]));
    transaction.mutate_map(Table::Bridge, bridge.uuid(), "other_config", [("k", "v")], [""; 0]);
    transaction.mutate_set(Table::OpenVSwitch, &uuid(1), "bridges", [*bridge.uuid()], [0_i64; 0]);
    let found = operations(&transaction);
    let name = |of: &str| {
        let insert = found.iter().find(|op| op["op"] == "insert" && op["table"] == of);
        insert.map(|op| op["uuid-name"].clone()).expect("an insert")
    };
    let (port_name, bridge_name) = (name("Port"), name("Bridge"));
    assert!(
        found.contains(
            &json!({ "op": "insert", "table": "Bridge", "uuid-name": bridge_name, "row": {
        "other_config": ["map", [["k", "v"]]],
        "ports": ["set", [["uuid", uuid(2).to_string()], ["named-uuid", port_name]]],
    } })
        ),
        "{found:?}"
    );
    assert!(found.contains(&json!({ "op": "mutate", "table": "Open_vSwitch", "where": this(1),
        "mutations": [["bridges", "insert", ["named-uuid", bridge_name]]] })));
    // An <id> of RFC 7047.
    let id = port_name.as_str().expect("a string");
    assert!(
        id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !id.starts_with(|c: char| c.is_ascii_digit())
    );

    let compiled = transaction.compile(&replica(), &BTreeSet::new()).expect("something");
    let answer = |at: usize| json!(["uuid", uuid(u8::try_from(at).expect("few")).to_string()]);
    let results: Vec<Value> = found
        .iter()
        .skip(1)
        .enumerate()
        .map(|(at, op)| match op["op"].as_str() {
            Some("insert") => json!({ "uuid": answer(at) }),
            _ => json!({ "count": 1 }),
        })
        .collect();
    let done = compiled.outcome(&json!(results)).expect("done");
    assert_eq!(done.inserted.keys().collect::<Vec<_>>(), [&port, &bridge]);
    assert_eq!(compiled.outcome(&json!([{}, {}, {}])), Err(TxnError::Malformed));
}

#[test]
fn outcomes() {
    let mut transaction = Transaction::new();
    transaction.wait(Table::OpenVSwitch, &uuid(1), "next_cfg", 4);
    transaction.update(Table::Port, &uuid(2), "tag", 6);
    let mut compiled = transaction.compile(&replica(), &BTreeSet::new()).expect("something");
    compiled.assert_lock("l");
    assert_eq!(params(&mut compiled).last(), Some(&json!({ "op": "assert", "lock": "l" })));
    let outcome = |results: Value| compiled.outcome(&results);
    assert_eq!(outcome(json!([{}, { "count": 1 }, {}])), Ok(Done::default()));
    assert_eq!(outcome(json!([{}, { "count": 1 }])), Err(TxnError::Malformed));
    assert_eq!(outcome(json!({})), Err(TxnError::Malformed));
    let failed = json!({ "error": "timed out", "details": "\"where\" ..." });
    assert_eq!(outcome(json!([failed, null, null])), Err(TxnError::Aborted));
    let failed = json!({ "error": "not owner", "details": "" });
    assert_eq!(outcome(json!([{}, { "count": 1 }, failed])), Err(TxnError::NotLocked));
    let failed = json!({ "error": "constraint violation", "details": "4097 is not in range" });
    let refused = |row| {
        Err(TxnError::Refused {
            error: "constraint violation".to_owned(),
            details: "4097 is not in range".to_owned(),
            row,
        })
    };
    assert_eq!(outcome(json!([{}, failed, null])), refused(Some((Table::Port, uuid(2)))));
    // An error after all operations is about the commit.
    assert_eq!(outcome(json!([{}, { "count": 1 }, {}, failed])), refused(None));
    assert!(TxnError::Aborted.is_transient());
    assert!(!TxnError::Malformed.is_transient());
}

#[test]
fn what_is_on_its_way_may_change_what_the_database_holds() {
    let mut transaction = Transaction::new();
    transaction.update(Table::Port, &uuid(2), "tag", 5);
    transaction.update(Table::Port, &uuid(2), "name", "p");
    transaction.mutate_map(Table::Port, &uuid(2), "other_config", [("a", "1")], ["x"]);
    transaction.mutate_set(Table::Port, &uuid(2), "trunks", [1], [9]);
    let cells = ["tag", "other_config", "trunks"].map(|column| (Table::Port, uuid(2), column));
    let mut compiled = transaction.compile(&replica(), &BTreeSet::from(cells)).expect("something");
    assert_eq!(
        params(&mut compiled).get(1..),
        Some(
            &[
                json!({ "op": "update", "table": "Port", "where": this(2), "row": { "tag": 5 } }),
                json!({ "op": "mutate", "table": "Port", "where": this(2), "mutations": [
            ["other_config", "delete", ["set", ["a", "x"]]],
            ["other_config", "insert", ["map", [["a", "1"]]]],
            ["trunks", "delete", 9],
            ["trunks", "insert", 1],
        ] }),
            ][..]
        )
    );
    assert_eq!(compiled.written.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(cells));
}
