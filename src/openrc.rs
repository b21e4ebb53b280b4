//! What a person needs to begin: an `openrc` to source, and a banner.

use crate::secrets::private_file;
use std::net::SocketAddr;
use std::path::Path;

/// A user whose key this start made, or the first one that is configured.
pub(crate) struct FirstUser {
    pub(crate) name: String,
    pub(crate) key: String,
}

/// What another cloud's openrc may have left in a shell. Both clients take them all together: with a project
/// or a version of Keystone among them they do not even try.
const STALE: [&str; 17] = [
    "OS_AUTH_TOKEN",
    "OS_AUTH_VERSION",
    "OS_CLOUD",
    "OS_IDENTITY_API_VERSION",
    "OS_PROJECT_DOMAIN_ID",
    "OS_PROJECT_DOMAIN_NAME",
    "OS_PROJECT_ID",
    "OS_PROJECT_NAME",
    "OS_REGION_NAME",
    "OS_STORAGE_URL",
    "OS_SYSTEM_SCOPE",
    "OS_TENANT_ID",
    "OS_TENANT_NAME",
    "OS_TOKEN",
    "OS_USER_DOMAIN_ID",
    "OS_USER_DOMAIN_NAME",
    "OS_USER_ID",
];

/// Where clients reach a listener: an address that stands for all is no address to go to.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Writes `<data>/openrc`, readable by this user alone.
pub(crate) fn write(data: &Path, listen: SocketAddr, user: &FirstUser) -> std::io::Result<()> {
    let auth = format!("http://{}/auth/v1.0", reachable(listen));
    let (name, key) = (quoted(&user.name), quoted(&user.key));
    let text = format!(
        "# source this file, then use the swift or openstack client\n\
         unset {}\n\
         export ST_AUTH={auth}\n\
         export ST_AUTH_VERSION=1.0\n\
         export ST_USER={name}\n\
         export ST_KEY={key}\n\
         # the openstack client, by python-swiftclient's plugin for version 1 of authentication\n\
         export OS_AUTH_TYPE=v1password\n\
         export OS_AUTH_URL={auth}\n\
         export OS_USERNAME={name}\n\
         export OS_PASSWORD={key}\n",
        STALE.join(" ")
    );
    std::fs::rename(private_file(data, &text)?, data.join("openrc"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What `apus serve` says when it is ready.
pub(crate) fn banner(data: &Path, listen: SocketAddr, devices: usize, replicas: usize) -> String {
    let data = data.display();
    let base = format!("http://{}", reachable(listen));
    format!(
        "\n  apus is ready: {devices} devices here, {replicas} copies of everything\n\n\
         \x20   Swift        {base}/v1        authentication {base}/auth/v1.0\n\
         \x20   abilities    {base}/info\n\
         \x20   metrics      {base}/metrics\n\
         \x20   secrets      {data}/secrets.toml and {data}/openrc\n\n\
         \x20 Try, in another terminal:\n\n\
         \x20   source {data}/openrc\n\
         \x20   swift upload photos README.md\n\
         \x20   swift list photos\n\n\
         \x20 The swift client is in the package python3-swiftclient. Stop apus with Ctrl-C.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_takes_the_key_as_it_is_and_forgets_another_cloud() {
        let dir = tempfile::tempdir().expect("a directory");
        let user = FirstUser { name: "a:b".to_owned(), key: "it's $HOME `x` \"".to_owned() };
        write(dir.path(), "0.0.0.0:8080".parse().expect("an address"), &user).expect("written");
        let script = ". ./openrc; printf '%s|' \"$ST_KEY\" \"$OS_PASSWORD\" \"$OS_AUTH_URL\" \"${OS_PROJECT_NAME-none}\"";
        let shell = Command::new("sh")
            .args(["-euc", script])
            .current_dir(dir.path())
            .env("OS_PROJECT_NAME", "demo")
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&shell.stdout).into_owned();
        let key = &user.key;
        assert_eq!(said, format!("{key}|{key}|http://127.0.0.1:8080/auth/v1.0|none|"));
    }
}
