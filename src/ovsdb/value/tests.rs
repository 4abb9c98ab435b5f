use super::*;
use proptest::prelude::*;
use serde_json::json;

fn encode(content: &Datum) -> Value {
    let is_inserted = &|_: &Uuid| false;
    serde_json::to_value(Encoded { content, is_inserted }).expect("values")
}

const SET_OF_STRINGS: ColumnType =
    ColumnType { key: AtomType::String, value: None, min: 0, max: u64::MAX };
const OPTIONAL_INTEGER: ColumnType =
    ColumnType { key: AtomType::Integer, value: None, min: 0, max: 1 };
const STRING_MAP: ColumnType =
    ColumnType { key: AtomType::String, value: Some(AtomType::String), min: 0, max: u64::MAX };

#[test]
fn forms_of_rfc_7047() {
    // Section 5.1: a set of one may be written as its element, and with "set".
    let strings = |value| SET_OF_STRINGS.decode(&value);
    assert_eq!(strings(json!("a")), Ok(Datum::from("a")));
    assert_eq!(strings(json!(["set", ["a"]])), Ok(Datum::from("a")));
    assert_eq!(strings(json!(["set", ["b", "a"]])), Ok(Datum::set(["a", "b"])));
    assert_eq!(strings(json!(["set", []])), Ok(Datum::EMPTY));
    assert_eq!(encode(&Datum::from("a")), json!("a"));
    assert_eq!(encode(&Datum::set(["b", "a", "b"])), json!(["set", ["a", "b"]]));
    assert_eq!(encode(&Datum::EMPTY), json!(["set", []]));
    let text = "550e8400-e29b-41d4-a716-446655440000";
    let uuid = ColumnType::scalar(AtomType::Uuid).decode(&json!(["uuid", text])).expect("a UUID");
    assert_eq!(encode(&uuid), json!(["uuid", text]));
    assert_eq!(uuid, Datum::from(text.parse::<Uuid>().expect("a UUID")));
    let map = STRING_MAP.decode(&json!(["map", [["k", "v"], ["a", "b"]]])).expect("a map");
    assert_eq!(map, Datum::map([("a", "b"), ("k", "v")]));
    assert_eq!(encode(&map), json!(["map", [["a", "b"], ["k", "v"]]]));
    let integer = ColumnType::scalar(AtomType::Integer);
    assert_eq!(integer.decode(&json!(5.0)), Ok(Datum::from(5)));
    assert_eq!(integer.decode(&json!(i64::MIN)), Ok(Datum::from(i64::MIN)));
    let real = ColumnType::scalar(AtomType::Real);
    assert_eq!(real.decode(&json!(5)), Ok(Datum::Set(vec![Atom::Real(5.0)])));
}

#[test]
fn what_is_of_no_type() {
    use ValueError::{Atom, Duplicate, Map, Set, Size};
    let string = AtomType::String;
    for (kind, value, want) in [
        (SET_OF_STRINGS, json!(1), Atom(string)),
        (SET_OF_STRINGS, json!(["set", ["a", 1]]), Atom(string)),
        (SET_OF_STRINGS, json!(["set", ["a", "a"]]), Duplicate),
        (SET_OF_STRINGS, json!(["set"]), Set),
        (SET_OF_STRINGS, json!(["set", {}]), Set),
        (SET_OF_STRINGS, json!(["set", [], []]), Set),
        (SET_OF_STRINGS, json!(["map", []]), Atom(string)),
        (SET_OF_STRINGS, json!(null), Atom(string)),
        (OPTIONAL_INTEGER, json!(["set", [1, 2]]), Size(2, 0, 1)),
        (OPTIONAL_INTEGER, json!(1.5), Atom(AtomType::Integer)),
        (OPTIONAL_INTEGER, json!(1e300), Atom(AtomType::Integer)),
        (OPTIONAL_INTEGER, json!(u64::MAX), Atom(AtomType::Integer)),
        (ColumnType::scalar(string), json!(["set", []]), Size(0, 1, 1)),
        (ColumnType::scalar(AtomType::Uuid), json!(["uuid", "x"]), Atom(AtomType::Uuid)),
        (ColumnType::scalar(AtomType::Uuid), json!(["named-uuid", "x"]), Atom(AtomType::Uuid)),
        (STRING_MAP, json!(["map", [["a"]]]), Map),
        (STRING_MAP, json!(["map", [["a", "b"], ["a", "c"]]]), Duplicate),
        (STRING_MAP, json!(["set", []]), Map),
        (STRING_MAP, json!("a"), Map),
    ] {
        assert_eq!(kind.decode(&value), Err(want), "{value}");
        assert_eq!(kind.read(&value.to_string()), Err(want), "{value}");
    }
    for bad in [
        "",
        "550e8400e29b41d4a716446655440000",
        "550e8400-e29b-41d4-a716-44665544000g",
        "550e8400-e29b-41d4-a716+446655440000",
        "é50e8400-e29b-41d4-a716-44665544000",
    ] {
        assert_eq!(bad.parse::<Uuid>(), Err(NotUuid), "{bad}");
    }
}

fn atom(kind: AtomType) -> BoxedStrategy<Atom> {
    match kind {
        AtomType::Integer => any::<i64>().prop_map(Atom::Integer).boxed(),
        AtomType::Real => any::<i32>().prop_map(|n| Atom::Real(f64::from(n) / 8.0)).boxed(),
        AtomType::Boolean => any::<bool>().prop_map(Atom::Boolean).boxed(),
        AtomType::String => ".{0,6}".prop_map(Atom::from).boxed(),
        AtomType::Uuid => any::<[u8; 16]>().prop_map(|bytes| Atom::Uuid(Uuid(bytes))).boxed(),
    }
}

fn any_type() -> impl Strategy<Value = AtomType> {
    use AtomType::{Boolean, Integer, Real, String, Uuid};
    prop_oneof![Just(Integer), Just(Real), Just(Boolean), Just(String), Just(Uuid)]
}

fn typed() -> impl Strategy<Value = (ColumnType, Datum)> {
    (any_type(), proptest::option::of(any_type())).prop_flat_map(|(key, value)| {
        let kind = ColumnType { key, value, min: 0, max: u64::MAX };
        let datum = match value {
            None => proptest::collection::vec(atom(key), 0..6).prop_map(Datum::set).boxed(),
            Some(value) => proptest::collection::vec((atom(key), atom(value)), 0..6)
                .prop_map(Datum::map)
                .boxed(),
        };
        datum.prop_map(move |datum| (kind, datum))
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just("set"), Just("map"), Just("uuid"), Just("x")].prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (Just("set"), inner.clone()).prop_map(|(tag, rest)| json!([tag, rest])),
            proptest::collection::hash_map(".{0,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_the_wire((kind, datum) in typed()) {
        let text = encode(&datum).to_string();
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(kind.decode(&value), Ok(datum.clone()));
        prop_assert_eq!(kind.read(&text), Ok(datum));
    }

    #[test]
    fn any_json_is_read_or_refused(value in any_json(), key in any_type(), of in proptest::option::of(any_type())) {
        let kind = ColumnType { key, value: of, min: 0, max: 2 };
        // As it is read, for a number may lose its last bit on the way.
        let text = value.to_string();
        let value: Value = serde_json::from_str(&text).expect("JSON");
        prop_assert_eq!(kind.read(&text), kind.decode(&value));
        if let Ok(datum) = kind.decode(&value) {
            prop_assert!(datum.len() <= 2);
            prop_assert_eq!(kind.decode(&encode(&datum)), Ok(datum));
        }
    }

    #[test]
    fn uuids_survive(bytes: [u8; 16], text in "\\PC{0,40}") {
        prop_assert_eq!(Uuid(bytes).to_string().parse(), Ok(Uuid(bytes)));
        let _ = text.parse::<Uuid>();
    }

    #[test]
    fn atoms_are_in_order(a in any_type().prop_flat_map(atom), b in any_type().prop_flat_map(atom)) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
    }
}
