//! One storage device of a ring, in the JSON form of Swift's ring files.

use serde::{Deserialize, Serialize};

/// A storage device. The fields stand in alphabetical order because ring files have sorted keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "DeviceJson")]
pub struct Device {
    /// Name of the device under its node's directory of devices, like `sdb1`.
    pub device: String,
    /// Number of the device: its place in the ring's list of devices.
    pub id: u32,
    /// Address (or name) of the storage node.
    pub ip: String,
    /// Free text of the operator.
    pub meta: String,
    /// Port of the storage server.
    pub port: u16,
    /// Failure domain: region.
    pub region: u32,
    /// Address for traffic between storage nodes.
    pub replication_ip: String,
    /// Port for traffic between storage nodes.
    pub replication_port: u16,
    /// Relative share of the partitions, 0 for none.
    pub weight: f64,
    /// Failure domain inside the region: zone.
    pub zone: u32,
}

/// What may stand in a file: rings of old versions of Swift lack the later keys.
#[derive(Deserialize)]
struct DeviceJson {
    device: String,
    id: u32,
    ip: String,
    meta: Option<String>,
    port: u16,
    region: Option<u32>,
    replication_ip: Option<String>,
    replication_port: Option<u16>,
    #[serde(default)]
    weight: f64,
    zone: u32,
}

impl From<DeviceJson> for Device {
    fn from(json: DeviceJson) -> Self {
        Device {
            device: json.device,
            id: json.id,
            meta: json.meta.unwrap_or_default(),
            port: json.port,
            region: json.region.unwrap_or(1),
            replication_ip: json.replication_ip.unwrap_or_else(|| json.ip.clone()),
            replication_port: json.replication_port.unwrap_or(json.port),
            weight: json.weight,
            zone: json.zone,
            ip: json.ip,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A device for tests; each has its own node unless `ip` says otherwise.
    pub(crate) fn device(id: u32, region: u32, zone: u32, ip: &str, weight: f64) -> Device {
        Device {
            device: format!("d{id}"),
            id,
            ip: ip.into(),
            meta: String::new(),
            port: 6200,
            region,
            replication_ip: ip.into(),
            replication_port: 6200,
            weight,
            zone,
        }
    }

    #[test]
    fn old_devices_get_defaults_and_unknown_keys_are_ignored() {
        let text = r#"{"id": 3, "zone": 2, "ip": "10.0.0.1", "port": 6200, "device": "sda",
            "weight": 100, "parts": 7, "replication_ip": null}"#;
        let parsed: Device = serde_json::from_str(text).expect("a device");
        let expected = Device { device: "sda".into(), ..device(3, 1, 2, "10.0.0.1", 100.0) };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn json_round_trips() {
        let mut one = device(1, 2, 3, "::1", 1.5);
        one.replication_ip = "10.1.1.1".into();
        one.replication_port = 7000;
        one.meta = "snow \u{2603}".into();
        let text = serde_json::to_string(&one).expect("JSON");
        assert_eq!(serde_json::from_str::<Device>(&text).expect("a device"), one);
    }
}
