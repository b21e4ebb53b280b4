//! Devices as `swift-ring-builder` takes them: `r1z1-127.0.0.1:6200/d1`, with `=WEIGHT` behind it.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ring_builder::Device;

const FORM: &str = "a device is written r<region>z<zone>-<ip>:<port>[R<ip>:<port>]/<device>[_<meta>][=<weight>], \
     like r1z1-127.0.0.1:6200/d1=100";

/// Reads one device. Without a region it is 1, without a weight 1.
pub(crate) fn parse(text: &str, id: u32) -> Result<Device> {
    parse_parts(text, id).with_context(|| format!("{text:?} is not a device: {FORM}"))
}

fn parse_parts(text: &str, id: u32) -> Result<Device> {
    let (address, weight) = match text.rsplit_once('=') {
        None => (text, 1.0),
        Some((address, weight)) => {
            let weight: f64 = weight.parse().context("the weight is not a number")?;
            ensure!(weight.is_finite() && weight >= 0.0, "the weight is not a number from 0 up");
            (address, weight)
        }
    };
    let (region, rest) = match address.strip_prefix('r') {
        None => (1, address),
        Some(rest) => number(rest).context("the region is not a number")?,
    };
    let rest = rest.strip_prefix('z').context("there is no zone")?;
    let (zone, rest) = number(rest).context("the zone is not a number")?;
    let rest = rest.strip_prefix('-').context("there is no address")?;
    let (addresses, rest) = rest.split_once('/').context("there is no device name")?;
    let (service, replication) = match addresses.split_once('R') {
        None => (addresses, addresses),
        Some(both) => both,
    };
    let (ip, port) = endpoint(service)?;
    let (replication_ip, replication_port) = endpoint(replication)?;
    let (device, meta) = rest.split_once('_').unwrap_or((rest, ""));
    let slashes = device.contains(['/', '\0']);
    ensure!(!slashes && !matches!(device, "" | "." | ".."), "the device name is not one");
    Ok(Device {
        device: device.to_owned(),
        id,
        ip,
        meta: meta.to_owned(),
        port,
        region,
        replication_ip,
        replication_port,
        weight,
        zone,
    })
}

/// The number at the start, and what follows it.
fn number(text: &str) -> Result<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Ok((text[..end].parse()?, &text[end..]))
}

fn endpoint(text: &str) -> Result<(String, u16)> {
    let (host, port) = text.rsplit_once(':').context("there is no port")?;
    let port = port.parse().context("the port is not a number from 0 to 65535")?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // Rings compare addresses as text, so each has one form.
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok((ip.to_string(), port));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if host.is_empty() || host.len() > 255 || !host.chars().all(is_name) {
        bail!("the address is neither an IP address nor a host name");
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_devices() {
        let full = parse("r2z3-10.0.0.1:6200R[FE80::0:1]:6300/sdb1_rack a_b=2.5", 7).expect("one");
        let expected = Device {
            device: "sdb1".into(),
            id: 7,
            ip: "10.0.0.1".into(),
            meta: "rack a_b".into(),
            port: 6200,
            region: 2,
            replication_ip: "fe80::1".into(),
            replication_port: 6300,
            weight: 2.5,
            zone: 3,
        };
        assert_eq!(full, expected);
        let short = parse("z1-Storage-1.example:6200/d1", 0).expect("one");
        assert_eq!((short.region, short.weight, short.meta.as_str()), (1, 1.0, ""));
        assert_eq!(
            (short.replication_ip.as_str(), short.replication_port),
            ("storage-1.example", 6200)
        );
        assert_eq!(short.ip, short.replication_ip);
    }

    #[test]
    fn refuses_other_text() {
        for bad in [
            "",
            "r1",
            "rz1-h:1/d",
            "r1z-h:1/d",
            "r1z1h:1/d",
            "r1z1-h/d",
            "r1z1-h:x/d",
            "r1z1-h:65536/d",
            "r1z1-h:1",
            "r1z1-h:1/",
            "r1z1-h:1/..",
            "r1z1-h:1/a/b",
            "r1z1-:1/d",
            "r1z1-h h:1/d",
            "r1z1-h:1/d=",
            "r1z1-h:1/d=-1",
            "r1z1-h:1/d=nan",
            "r4294967296z1-h:1/d",
            "r1z1-h:1R/d",
        ] {
            let error = parse(bad, 0).expect_err(bad).to_string();
            assert!(error.contains("is not a device"), "{error}");
        }
    }
}
