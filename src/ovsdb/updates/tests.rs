use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;
use serde_json::json;
use serde_json::{Map, Value};

use crate::ovsdb::schema::tests::small_schema;

fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("JSON")
}

fn empty() -> Replica {
    Replica::new(Arc::new(small_schema()))
}

fn uuid(n: u8) -> Uuid {
    Uuid([n; 16])
}

fn told(replica: &mut Replica, form: Form, updates: Value) -> Result<Changes, String> {
    apply(replica, &raw(&updates), form).map_err(|error| error.to_string())
}

#[test]
fn the_example_of_rfc_7047() {
    // Section 4.1.6: "old" and "new", with what is not in "old" unchanged.
    let mut replica = empty();
    let id = uuid(1).to_string();
    let insert = json!({ "Port": { (&id): { "new": { "name": "p", "tag": 5, "trunks": ["set", [1, 2]] } } } });
    let changes = told(&mut replica, Form::Whole, insert).expect("applied");
    assert_eq!(
        changes.touched.into_iter().collect::<Vec<_>>(),
        [((Table::Port, uuid(1)), Change::Inserted)]
    );
    let modify = json!({ "Port": { (&id): { "old": { "tag": 5 }, "new":
        { "name": "p", "tag": ["set", []], "trunks": ["set", [1, 2]] } } } });
    let changes = told(&mut replica, Form::Whole, modify).expect("applied");
    assert_eq!(changes.touched.into_values().collect::<Vec<_>>(), [Change::Modified(vec!["tag"])]);
    let delete = json!({ "Port": { (&id): { "old": { "name": "p" } } } });
    let changes = told(&mut replica, Form::Whole, delete).expect("applied");
    assert_eq!(changes.touched.into_values().collect::<Vec<_>>(), [Change::Deleted]);
    assert_eq!(replica.rows(Table::Port).len(), 0);
}

#[test]
fn rows_that_make_no_sense() {
    let mut replica = empty();
    let (good, bad) = (uuid(1).to_string(), uuid(2).to_string());
    // A wrong type: the column is as good as absent, everything else works.
    let insert = json!({ "Port": {
        (&good): { "insert": { "name": "good", "tag": 7 } },
        (&bad): { "insert": { "name": 5, "tag": "x", "trunks": [[[]]], "unknown": 1, "other_config": ["map", [["a", "b"]]] } },
    }, "Unknown": { "x": 5 } });
    let changes = told(&mut replica, Form::Difference, insert).expect("applied");
    assert_eq!(changes.touched.len(), 2);
    let row = replica.row(Table::Port, &uuid(2)).expect("the row");
    assert_eq!((row.string("name"), row.opt_integer("tag")), ("", None));
    assert_eq!(row.get("trunks"), None);
    assert_eq!(row.key("other_config", "a"), Some("b"));
    assert_eq!(replica.row(Table::Port, &uuid(1)).map(|row| row.integer("tag")), Some(7));
    // A difference to what is absent stays absent; of another type than asked reads as absent.
    let modify = json!({ "Port": { (&bad): { "modify": { "trunks": 5, "name": "named" } } } });
    told(&mut replica, Form::Difference, modify).expect("applied");
    let row = replica.row(Table::Port, &uuid(2)).expect("the row");
    assert_eq!((row.string("name"), row.get("trunks")), ("named", None));
    assert_eq!(
        (row.integer("name"), row.strings("tag").count(), row.map("name").count()),
        (0, 0, 0)
    );
    assert_eq!(
        (row.opt_boolean("name"), row.key("name", "x"), row.get("no such")),
        (None, None, None)
    );
    // References may dangle.
    let insert = json!({ "Bridge": { (&good): { "insert": { "ports": ["uuid", (&uuid(9).to_string())] } } } });
    told(&mut replica, Form::Difference, insert).expect("applied");
    let bridge = replica.row(Table::Bridge, &uuid(1)).expect("the row");
    assert_eq!(bridge.uuids("ports").collect::<Vec<_>>(), [uuid(9)]);
    assert!(replica.row(Table::Port, &uuid(9)).is_none());
}

#[test]
fn an_update_is_applied_whole_or_not_at_all() {
    let mut replica = empty();
    let (a, b) = (uuid(1).to_string(), uuid(2).to_string());
    for second in [
        json!({ (&b): { "modify": { "name": "x" } } }),
        json!({ "not a uuid": { "insert": {} } }),
        json!({ (&b): { "transmute": {} } }),
        json!({ (&b): { "insert": 5 } }),
        json!({ (&b): 5 }),
        json!(5),
    ] {
        let updates = json!({ "Bridge": { (&a): { "insert": { "name": "br" } } }, "Port": second });
        assert!(told(&mut replica, Form::Difference, updates).is_err(), "{second}");
        assert_eq!(replica.rows(Table::Bridge).len(), 0);
    }
    assert!(told(&mut replica, Form::Whole, json!({ "Port": { (&a): {} } })).is_err());
    let missing = json!({ "Port": { (&b): { "modify": { "name": "x" } } } });
    assert_eq!(
        told(&mut replica, Form::Difference, missing),
        Err(format!("cannot modify missing row {b} in table Port"))
    );
    // Deleting what is not there is no harm, inserting what is there replaces it.
    let odd = json!({ "Port": { (&a): { "delete": null } } });
    assert_eq!(told(&mut replica, Form::Difference, odd), Ok(Changes::default()));
    for (name, touched) in [("x", 1), ("x", 0), ("y", 1)] {
        let insert = json!({ "Port": { (&a): { "insert": { "name": name } } } });
        let changes = told(&mut replica, Form::Difference, insert).expect("applied");
        assert_eq!(changes.touched.len(), touched);
    }
}

#[test]
fn changes_add_up() {
    let mut changes = Changes::default();
    let mut add = |n, change| changes.add(Table::Port, uuid(n), change);
    add(1, Change::Inserted);
    add(1, Change::Modified(vec!["tag"]));
    add(2, Change::Inserted);
    add(2, Change::Deleted);
    add(3, Change::Modified(vec!["tag"]));
    add(3, Change::Modified(vec!["name", "tag"]));
    add(4, Change::Modified(vec!["tag"]));
    add(4, Change::Deleted);
    add(5, Change::Deleted);
    add(5, Change::Inserted);
    let found: Vec<_> = changes.touched.into_iter().map(|((_, id), c)| (id.0[0], c)).collect();
    assert_eq!(
        found,
        [
            (1, Change::Inserted),
            (3, Change::Modified(vec!["name", "tag"])),
            (4, Change::Deleted),
            (5, Change::Modified(Table::Port.columns().to_vec())),
        ]
    );
}

/// A row as a second implementation keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    name: String,
    tag: Option<i64>,
    trunks: BTreeSet<i64>,
    config: BTreeMap<String, String>,
}
use std::collections::BTreeMap;

impl Model {
    fn set(values: impl IntoIterator<Item = i64>) -> Value {
        json!(["set", values.into_iter().collect::<Vec<_>>()])
    }

    fn whole(&self) -> Value {
        let pairs: Vec<_> = self.config.iter().map(|(k, v)| json!([k, v])).collect();
        json!({ "name": self.name, "tag": Model::set(self.tag), "trunks": Model::set(self.trunks.iter().copied()),
            "other_config": ["map", pairs] })
    }

    /// What ovsdb-server(7) says of "modify".
    fn difference(&self, new: &Model) -> Value {
        let mut row = Map::new();
        if self.name != new.name {
            row.insert("name".to_owned(), json!(new.name));
        }
        if self.tag != new.tag {
            row.insert("tag".to_owned(), Model::set(new.tag));
        }
        if self.trunks != new.trunks {
            let either = self.trunks.symmetric_difference(&new.trunks).copied();
            row.insert("trunks".to_owned(), Model::set(either));
        }
        if self.config != new.config {
            let mut pairs = Vec::new();
            for (key, value) in &self.config {
                match new.config.get(key) {
                    None => pairs.push(json!([key, value])),
                    Some(other) if other != value => pairs.push(json!([key, other])),
                    Some(_) => {}
                }
            }
            let added = new.config.iter().filter(|(key, _)| !self.config.contains_key(*key));
            pairs.extend(added.map(|(key, value)| json!([key, value])));
            row.insert("other_config".to_owned(), json!(["map", pairs]));
        }
        Value::Object(row)
    }

    fn read(row: &Row) -> Model {
        Model {
            name: row.string("name").to_owned(),
            tag: row.opt_integer("tag"),
            trunks: row.integers("trunks").collect(),
            config: row.map("other_config").map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }
}

fn model() -> impl Strategy<Value = Model> {
    (
        "[ab]{0,1}",
        proptest::option::of(0..3_i64),
        proptest::collection::btree_set(0..5_i64, 0..4),
        proptest::collection::btree_map("[ab]", "[xy]", 0..3),
    )
        .prop_map(|(name, tag, trunks, config)| Model { name, tag, trunks, config })
}

proptest! {
    #[test]
    fn random_streams_lead_to_what_a_second_implementation_has(
        steps in proptest::collection::vec(
            (proptest::collection::btree_map(0..6_u8, proptest::option::of(model()), 1..4), any::<bool>()), 1..12)
    ) {
        let mut replica = empty();
        let mut state: BTreeMap<u8, Model> = BTreeMap::new();
        let begin = replica.clone();
        let mut all = Changes::default();
        for (step, whole) in steps {
            let (mut rows, mut want) = (Map::new(), BTreeSet::new());
            for (n, new) in step {
                let old = state.get(&n).cloned();
                if old == new {
                    continue;
                }
                let update = match (&old, &new) {
                    (Some(old), Some(new)) if whole => json!({ "old": old.whole(), "new": new.whole() }),
                    (None, Some(new)) if whole => json!({ "new": new.whole() }),
                    (Some(old), None) if whole => json!({ "old": old.whole() }),
                    (Some(old), Some(new)) => json!({ "modify": old.difference(new) }),
                    (None, Some(new)) => json!({ "insert": new.whole() }),
                    _ => json!({ "delete": null }),
                };
                rows.insert(uuid(n).to_string(), update);
                want.insert(uuid(n));
                match new {
                    Some(new) => drop(state.insert(n, new)),
                    None => drop(state.remove(&n)),
                }
            }
            let form = if whole { Form::Whole } else { Form::Difference };
            let before = replica.clone();
            let changes = told(&mut replica, form, json!({ "Port": rows })).expect("applied");
            prop_assert_eq!(changes.touched.keys().map(|key| key.1).collect::<BTreeSet<_>>(), want);
            prop_assert_eq!(&changes, &difference(&before, &replica));
            all.append(changes);
            let found: BTreeMap<u8, Model> =
                replica.rows(Table::Port).map(|row| (row.uuid().0[0], Model::read(row))).collect();
            prop_assert_eq!(&found, &state);
        }
        // What adds up names at least every row that differs in the end.
        let touched: BTreeSet<_> = all.touched.keys().collect();
        let end = difference(&begin, &replica);
        prop_assert!(end.touched.keys().all(|key| touched.contains(key)));
    }

    #[test]
    fn hostile_updates_are_applied_or_refused(
        name in prop_oneof![Just("Port"), Just("Bridge"), Just("x")],
        kind in prop_oneof![Just("insert"), Just("modify"), Just("initial"), Just("delete"), Just("new"), Just("old")],
        column in prop_oneof![Just("name"), Just("trunks"), Just("other_config"), Just("tag")],
        value in prop_oneof![
            Just(json!(1)), Just(json!("x")), Just(json!(["set", [1, 2]])), Just(json!(["set", [1, 1]])),
            Just(json!(["map", [["a", "b"]]])), Just(json!(["map", [["a"]]])), Just(json!(null)), Just(json!({})),
        ],
        whole: bool,
        ids in proptest::collection::vec(0..3_u8, 1..4),
    ) {
        let mut replica = empty();
        for id in ids {
            let before = replica.clone();
            let updates = json!({ (name): { (uuid(id).to_string()): { (kind): { (column): value.clone() } } } });
            let form = if whole { Form::Whole } else { Form::Difference };
            match told(&mut replica, form, updates) {
                Ok(changes) => prop_assert_eq!(changes, difference(&before, &replica)),
                Err(_) => prop_assert!(difference(&before, &replica).is_empty()),
            }
        }
    }
}
