//! Tests of the standalone configuration.

use super::*;

fn wrong(text: &str) -> (usize, usize, String) {
    match parse(text) {
        Err(ConfigError::Wrong { line, column, message }) => (line, column, message),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn reads_a_whole_file() {
    let config = parse(
        r#"
        [bridge.br0]
        mac = "02:00:00:00:00:01"
        mac-table-size = 100
        mac-aging-time = 60
        flood-vlans = [99]
        [bridge.br0.port.veth0]
        tag = 10
        [bridge.br0.port.veth1]
        vlan-mode = "native-untagged"
        tag = 10
        trunks = [10, 20]
        ofport = 5
        [bridge.br0.port.customer]
        vlan-mode = "dot1q-tunnel"
        tag = 30
        cvlans = [1, 2]
        qinq-ethtype = "802.1q"
        [bridge.br0.port.host0]
        type = "internal"
        mtu-request = 1400
        [bridge.br0.port.to1]
        type = "patch"
        peer = "to0"
        [bridge.br1]
        fail-mode = "secure"
        [bridge.br1.port.to0]
        type = "patch"
        peer = "to1"
        [other-config]
        max-idle = 3000
        flow-limit = 50
        n-handler-threads = 2
        n-revalidator-threads = 3
        "#,
    )
    .unwrap();
    let br0 = &config.bridges["br0"];
    assert_eq!(br0.mac, Some(EthAddr([2, 0, 0, 0, 0, 1])));
    assert_eq!((br0.fdb.max_entries, br0.fdb.aging_ms), (100, 60_000));
    assert_eq!(br0.fdb.flood_vlans, [99]);
    assert_eq!(br0.ports["veth0"].mode(), VlanMode::Access);
    assert_eq!(br0.ports["veth1"].mode(), VlanMode::NativeUntagged);
    assert_eq!(br0.ports["veth1"].trunk_set().iter().collect::<Vec<_>>(), [10, 20]);
    assert_eq!(br0.ports["customer"].mode(), VlanMode::Dot1qTunnel(QinqType::Dot1q));
    assert_eq!(br0.ports["customer"].trunk_set().iter().collect::<Vec<_>>(), [1, 2]);
    let interface = |port: &str| br0.ports[port].interfaces[port].clone();
    assert_eq!(interface("veth1").ofport_request, Some(5));
    assert_eq!(interface("veth1").kind, InterfaceKind::System);
    assert_eq!(interface("host0").kind, InterfaceKind::Internal);
    assert_eq!(interface("host0").mtu_request, Some(1400));
    assert_eq!(interface("to1").kind, InterfaceKind::Patch { peer: "to0".to_owned() });
    assert_eq!(br0.ports["host0"].mode(), VlanMode::Trunk);
    assert_eq!(config.bridges["br1"].fail_mode, FailMode::Secure);
    assert_eq!(config.settings.max_idle_ms, Some(3000));
    assert_eq!(config.settings.flow_limit, Some(50));
    assert_eq!(config.settings.n_handler_threads, Some(2));
    assert_eq!(config.settings.n_revalidator_threads, Some(3));
    // What a recording tells of it is the same.
    assert_eq!(parse(&config.to_toml()).unwrap(), config);
}

#[test]
fn an_empty_file_wants_nothing() {
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn a_refusal_says_where_and_what_would_be_right() {
    let (line, column, message) = wrong("[bridge.br0.port.p0]\ntag = 5000\n");
    assert_eq!((line, column), (2, 7));
    assert_eq!(message, "tag is 5000; it must be from 0 to 4095");

    let (line, column, message) = wrong("[bridge.br0.port.p0]\nvlan-mode = \"acces\"\n");
    assert_eq!((line, column), (2, 13));
    assert!(message.contains("access, trunk, native-tagged, native-untagged"), "{message}");

    let (line, _, message) = wrong("[bridge.br0.port.p0]\ncvlans = [5]\n");
    assert_eq!(line, 2);
    assert!(message.contains("dot1q-tunnel"), "{message}");
    let (line, _, message) = wrong("[bridge.br0.port.p0]\nqinq-ethtype = \"802.1q\"\n");
    assert_eq!(line, 2);
    assert!(message.contains("dot1q-tunnel"), "{message}");

    let (line, _, message) = wrong("[bridge.br0.port.p0]\ntagg = 5\n");
    assert_eq!(line, 2);
    assert!(message.contains("tagg") && message.contains("tag"), "{message}");

    let (line, _, message) = wrong("[bridge.a.port.p0]\n[bridge.b.port.p0]\n");
    assert_eq!(line, 2);
    assert!(message.contains("in bridge a already"), "{message}");

    let (line, _, message) = wrong("[bridge.br0]\nmac = \"01:00:5e:00:00:01\"\n");
    assert_eq!(line, 2);
    assert!(message.contains("not of a group"), "{message}");

    let (line, _, message) =
        wrong("[bridge.a.port.p0]\nofport = 7\n[bridge.a.port.p1]\nofport = 7\n");
    assert!(line == 2 || line == 4);
    assert!(message.contains("ofport 7"), "{message}");

    let (line, _, message) = wrong("[bridge.a.port.p0]\ntype = \"patch\"\n");
    assert_eq!(line, 2);
    assert!(message.contains("needs peer"), "{message}");

    let (line, _, message) = wrong("[bridge.a.port.p0]\npeer = \"p1\"\n");
    assert_eq!(line, 2);
    assert!(message.contains("only a patch port"), "{message}");

    let (line, _, message) = wrong("[bridge.a-name-that-is-too-long]\n");
    assert_eq!(line, 1);
    assert!(message.contains("at most 15"), "{message}");

    let (line, column, _) = wrong("[bridge.br0\n");
    assert!(line >= 1 && column >= 1);

    let (_, _, message) = wrong("bridge = 5\n");
    assert!(message.contains("invalid type"), "{message}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_makes_it_panic(
        key in "(tag|trunks|cvlans|qinq-ethtype|type|vlan-mode|ofport|mac|priority-tags|x)",
        value in "(-?[0-9]{1,19}|\"[a-z0-9:.]{0,20}\"|\\[[0-9, ]{0,9}\\]|true|1e9|\\{\\})",
    ) {
        let _ = parse(&format!("[bridge.b.port.p]\n{key} = {value}\n"));
        let _ = parse(&format!("[bridge.b]\n{key} = {value}\nmac-table-size = {value}"));
        let _ = parse(&format!("[other-config]\nmax-idle = {value}\nflow-limit={value}"));
    }
}
