//! The tables and columns that are read, and the schema that the server has.
//!
//! What always holds: a column is known by its place in [`Table::columns`], which is sorted; a
//! column that the server lacks is neither asked for nor written, so schemas older (8.3.1) and
//! newer than ours (8.8.0) serve. Pure values, any thread.

mod read;

use std::collections::BTreeMap;

use thiserror::Error;

use self::read::{Found, read_leniently};
use super::value::ColumnType;

/// The database's name.
pub const DATABASE: &str = "Open_vSwitch";

/// The tables of `vswitch.ovsschema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// `Open_vSwitch`: one row, the root.
    OpenVSwitch,
    /// `Bridge`.
    Bridge,
    /// `Port`.
    Port,
    /// `Interface`.
    Interface,
    /// `Flow_Table`.
    FlowTable,
    /// `QoS`.
    QoS,
    /// `Queue`.
    Queue,
    /// `Mirror`.
    Mirror,
    /// `NetFlow`.
    NetFlow,
    /// `sFlow`.
    SFlow,
    /// `IPFIX`.
    Ipfix,
    /// `Flow_Sample_Collector_Set`.
    FlowSampleCollectorSet,
    /// `Controller`.
    Controller,
    /// `Manager`.
    Manager,
    /// `Datapath`.
    Datapath,
    /// `CT_Zone`.
    CtZone,
    /// `CT_Timeout_Policy`.
    CtTimeoutPolicy,
    /// `SSL`.
    Ssl,
    /// `AutoAttach`.
    AutoAttach,
}

impl Table {
    /// All tables, each at its own number.
    pub const ALL: [Table; 19] = [
        Table::OpenVSwitch,
        Table::Bridge,
        Table::Port,
        Table::Interface,
        Table::FlowTable,
        Table::QoS,
        Table::Queue,
        Table::Mirror,
        Table::NetFlow,
        Table::SFlow,
        Table::Ipfix,
        Table::FlowSampleCollectorSet,
        Table::Controller,
        Table::Manager,
        Table::Datapath,
        Table::CtZone,
        Table::CtTimeoutPolicy,
        Table::Ssl,
        Table::AutoAttach,
    ];

    /// The name in the schema.
    pub const fn name(self) -> &'static str {
        match self {
            Table::OpenVSwitch => "Open_vSwitch",
            Table::Bridge => "Bridge",
            Table::Port => "Port",
            Table::Interface => "Interface",
            Table::FlowTable => "Flow_Table",
            Table::QoS => "QoS",
            Table::Queue => "Queue",
            Table::Mirror => "Mirror",
            Table::NetFlow => "NetFlow",
            Table::SFlow => "sFlow",
            Table::Ipfix => "IPFIX",
            Table::FlowSampleCollectorSet => "Flow_Sample_Collector_Set",
            Table::Controller => "Controller",
            Table::Manager => "Manager",
            Table::Datapath => "Datapath",
            Table::CtZone => "CT_Zone",
            Table::CtTimeoutPolicy => "CT_Timeout_Policy",
            Table::Ssl => "SSL",
            Table::AutoAttach => "AutoAttach",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Columns that are read or written, sorted: all of schema 8.8.0 but those of others
    /// (`external_ids`, what `ovs-ctl` writes about the system, the managers' state).
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Table::OpenVSwitch => &[
                "bridges",
                "cur_cfg",
                "datapath_types",
                "datapaths",
                "dpdk_initialized",
                "dpdk_version",
                "iface_types",
                "manager_options",
                "next_cfg",
                "other_config",
                "ssl",
                "statistics",
            ],
            Table::Bridge => &[
                "auto_attach",
                "controller",
                "datapath_id",
                "datapath_type",
                "datapath_version",
                "fail_mode",
                "flood_vlans",
                "flow_tables",
                "ipfix",
                "mcast_snooping_enable",
                "mirrors",
                "name",
                "netflow",
                "other_config",
                "ports",
                "protocols",
                "rstp_enable",
                "rstp_status",
                "sflow",
                "status",
                "stp_enable",
            ],
            Table::Port => &[
                "bond_active_slave",
                "bond_downdelay",
                "bond_fake_iface",
                "bond_mode",
                "bond_updelay",
                "cvlans",
                "fake_bridge",
                "interfaces",
                "lacp",
                "mac",
                "name",
                "other_config",
                "protected",
                "qos",
                "rstp_statistics",
                "rstp_status",
                "statistics",
                "status",
                "tag",
                "trunks",
                "vlan_mode",
            ],
            Table::Interface => &[
                "admin_state",
                "bfd",
                "bfd_status",
                "cfm_fault",
                "cfm_fault_status",
                "cfm_flap_count",
                "cfm_health",
                "cfm_mpid",
                "cfm_remote_mpids",
                "cfm_remote_opstate",
                "duplex",
                "error",
                "ifindex",
                "ingress_policing_burst",
                "ingress_policing_kpkts_burst",
                "ingress_policing_kpkts_rate",
                "ingress_policing_rate",
                "lacp_current",
                "link_resets",
                "link_speed",
                "link_state",
                "lldp",
                "mac",
                "mac_in_use",
                "mtu",
                "mtu_request",
                "name",
                "ofport",
                "ofport_request",
                "options",
                "other_config",
                "statistics",
                "status",
                "type",
            ],
            Table::FlowTable => &["flow_limit", "groups", "name", "overflow_policy", "prefixes"],
            Table::QoS => &["other_config", "queues", "type"],
            Table::Queue => &["dscp", "other_config"],
            Table::Mirror => &[
                "filter",
                "name",
                "output_port",
                "output_vlan",
                "select_all",
                "select_dst_port",
                "select_src_port",
                "select_vlan",
                "snaplen",
                "statistics",
            ],
            Table::NetFlow => {
                &["active_timeout", "add_id_to_interface", "engine_id", "engine_type", "targets"]
            }
            Table::SFlow => &["agent", "header", "polling", "sampling", "targets"],
            Table::Ipfix => &[
                "cache_active_timeout",
                "cache_max_flows",
                "obs_domain_id",
                "obs_point_id",
                "other_config",
                "sampling",
                "stats_interval",
                "targets",
                "template_interval",
            ],
            Table::FlowSampleCollectorSet => &["bridge", "id", "ipfix", "local_group_id"],
            Table::Controller => &[
                "connection_mode",
                "controller_burst_limit",
                "controller_queue_size",
                "controller_rate_limit",
                "enable_async_messages",
                "inactivity_probe",
                "is_connected",
                "local_gateway",
                "local_ip",
                "local_netmask",
                "max_backoff",
                "other_config",
                "role",
                "status",
                "target",
                "type",
            ],
            Table::Manager => &["target"],
            Table::Datapath => &["capabilities", "ct_zone_default_limit", "ct_zones"],
            Table::CtZone => &["limit", "timeout_policy"],
            Table::CtTimeoutPolicy => &["timeouts"],
            Table::Ssl => &["bootstrap_ca_cert", "ca_cert", "certificate", "private_key"],
            Table::AutoAttach => &["mappings", "system_description", "system_name"],
        }
    }

    /// The place of a column in [`Table::columns`].
    pub fn column(self, name: &str) -> Option<usize> {
        self.columns().binary_search(&name).ok()
    }
}

/// What the server has of the tables and columns that we know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// For each table of [`Table::ALL`], if the server has it, the types of [`Table::columns`].
    tables: BTreeMap<Table, Vec<Option<ColumnType>>>,
    version: String,
}

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A member is missing or of another kind.
    #[error("database schema: {0} is missing or malformed")]
    Malformed(&'static str),
    /// A schema of something else.
    #[error("database schema is of \"{0}\"")]
    Name(String),
}

impl Schema {
    /// Reads a `<database-schema>` (RFC 7047 section 3.2). A table or column that makes no sense
    /// is left out, as if the server had none.
    ///
    /// # Errors
    /// [`SchemaError`] if it is none at all, or another database's.
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        let found = match serde_json::from_str(text) {
            Ok(found) => found,
            Err(_) => read_leniently(text)?,
        };
        let Found { name, version, tables } = found;
        let name = name.ok_or(SchemaError::Malformed("name"))?;
        if name != DATABASE {
            return Err(SchemaError::Name(name));
        }
        let tables = tables.ok_or(SchemaError::Malformed("tables"))?;
        Ok(Schema { tables, version: version.unwrap_or_default() })
    }

    /// The schema's version: `8.3.1`. Empty before there is one.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Does the server have the table?
    pub fn has_table(&self, table: Table) -> bool {
        self.tables.contains_key(&table)
    }

    /// The type of a column, if the server has it.
    pub fn column(&self, table: Table, column: &str) -> Option<&ColumnType> {
        self.column_at(table, table.column(column)?)
    }

    /// The type of the column at a place of [`Table::columns`].
    pub fn column_at(&self, table: Table, column: usize) -> Option<&ColumnType> {
        self.tables.get(&table)?.get(column)?.as_ref()
    }

    /// Columns to be asked for, by table.
    pub fn monitored(&self) -> impl Iterator<Item = (Table, Vec<&'static str>)> {
        self.tables.iter().map(|(&table, types)| {
            let present = table.columns().iter().zip(types).filter(|(_, t)| t.is_some());
            (table, present.map(|(name, _)| *name).collect())
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::value::AtomType;
    use super::*;
    use serde_json::{Value, json};

    /// A few tables and columns, as the wire has them.
    pub fn small_schema_json() -> Value {
        let strings = json!({ "key": "string", "value": "string", "min": 0, "max": "unlimited" });
        let integer = json!({ "key": { "type": "integer", "minInteger": 0 }, "min": 0, "max": 1 });
        json!({ "name": "Open_vSwitch", "version": "7.0.1", "cksum": "1 2", "tables": {
            "Open_vSwitch": { "isRoot": true, "maxRows": 1, "columns": {
                "bridges": { "type": { "key": { "type": "uuid", "refTable": "Bridge" }, "min": 0, "max": "unlimited" } },
                "cur_cfg": { "type": "integer" },
                "next_cfg": { "type": "integer" },
                "other_config": { "type": strings } } },
            "Bridge": { "columns": {
                "name": { "type": "string", "mutable": false },
                "ports": { "type": { "key": { "type": "uuid", "refTable": "Port" }, "min": 0, "max": "unlimited" } },
                "other_config": { "type": strings } }, "indexes": [["name"]] },
            "Port": { "columns": {
                "name": { "type": "string" },
                "tag": { "type": integer },
                "trunks": { "type": { "key": "integer", "min": 0, "max": 4096 } },
                "protected": { "type": "boolean" },
                "interfaces": { "type": { "key": "uuid", "min": 1, "max": "unlimited" } },
                "other_config": { "type": strings },
                "external_ids": { "type": strings },
                "mac": { "type": { "key": "imaginary" } } } },
            "Telepathy": { "columns": { "range": { "type": "real" } } },
        } })
    }

    pub fn small_schema() -> Schema {
        Schema::parse(&small_schema_json().to_string()).expect("a schema")
    }

    #[test]
    fn what_the_server_has_is_asked_for() {
        let schema = small_schema();
        assert_eq!(schema.version(), "7.0.1");
        let monitored: Vec<_> = schema.monitored().collect();
        assert_eq!(
            monitored,
            [
                (Table::OpenVSwitch, vec!["bridges", "cur_cfg", "next_cfg", "other_config"]),
                (Table::Bridge, vec!["name", "other_config", "ports"]),
                (
                    Table::Port,
                    vec!["interfaces", "name", "other_config", "protected", "tag", "trunks"]
                ),
            ]
        );
        let kind = schema.column(Table::Port, "trunks");
        let want = ColumnType { key: AtomType::Integer, value: None, min: 0, max: 4096 };
        assert_eq!(kind, Some(&want));
        // A type that nobody knows is as good as no column.
        assert_eq!(schema.column(Table::Port, "mac"), None);
        assert_eq!(schema.column(Table::Port, "no such"), None);
        assert!(!schema.has_table(Table::Interface));
    }

    #[test]
    fn what_is_no_schema() {
        assert_eq!(Schema::parse("[]"), Err(SchemaError::Malformed("name")));
        assert_eq!(
            Schema::parse(&json!({ "name": DATABASE }).to_string()),
            Err(SchemaError::Malformed("tables"))
        );
        let other = json!({ "name": "OVN_Southbound", "tables": {} });
        assert_eq!(
            Schema::parse(&other.to_string()),
            Err(SchemaError::Name("OVN_Southbound".to_owned()))
        );
        for odd in [
            json!({ "key": "integer", "min": 2, "max": 3 }),
            json!({ "key": "integer", "max": 0 }),
            json!({ "key": "integer", "max": "many" }),
            json!({ "value": "integer" }),
            json!([]),
            json!("void"),
        ] {
            let text = json!({ "name": DATABASE, "tables": { "Port": { "columns": {
                "name": { "type": "string" }, "tag": { "type": odd } } } } });
            let schema = Schema::parse(&text.to_string()).expect("a schema");
            assert_eq!(schema.column(Table::Port, "tag"), None, "{odd}");
            assert!(schema.column(Table::Port, "name").is_some(), "{odd}");
        }
    }

    #[test]
    fn tables_and_columns_are_in_order() {
        for (at, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, at);
            assert_eq!(Table::from_name(table.name()), Some(table));
            assert!(table.columns().is_sorted(), "{table:?}");
        }
        assert_eq!(
            Table::Interface.column("ofport").map(|at| Table::Interface.columns()[at]),
            Some("ofport")
        );
        assert_eq!(Table::from_name("bridge"), None);
    }
}
