//! Secrets that nobody configured: made at first start, never a known default.

use crate::config::ClusterConfig;
use crate::swift_conf::SwiftConf;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use types::hex_encode;

/// What `<data>/secrets.toml` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    pub(crate) hash_path_prefix: String,
    pub(crate) hash_path_suffix: String,
    pub(crate) token_secret: String,
    pub(crate) admin_key: String,
}

impl Secrets {
    fn random() -> Self {
        let secret = |bytes: usize| {
            let random: [u8; 32] = rand::random();
            hex_encode(&random[..bytes])
        };
        Secrets {
            hash_path_prefix: secret(16),
            hash_path_suffix: secret(16),
            token_secret: secret(32),
            admin_key: secret(16),
        }
    }

    /// Reads the secrets of a data directory, or makes them. Two processes that start at once get the same.
    pub(crate) fn of(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("secrets.toml");
        if !path.exists() {
            let text = toml::to_string(&Secrets::random())?;
            let temporary = private_file(data, &text).context("the secrets cannot be written")?;
            // Unlike a rename, a link never replaces what another process made in the meantime.
            let linked = std::fs::hard_link(&temporary, &path);
            std::fs::remove_file(&temporary)?;
            match linked {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).context("the secrets cannot be written");
                }
                _ => File::open(data)?.sync_all()?,
            }
        }
        Secrets::read(&path)
    }

    /// Reads the secrets of a data directory, if it has any.
    pub(crate) fn existing(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join("secrets.toml");
        if path.exists() { Secrets::read(&path).map(Some) } else { Ok(None) }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; restore it, for the data cannot be found without it",
                path.display()
            )
        })
    }
}

/// A durable file that only this user can read, under a name of its own.
pub(crate) fn private_file(dir: &Path, text: &str) -> std::io::Result<PathBuf> {
    let path = dir.join(format!(".new-{}", hex_encode(&rand::random::<[u8; 8]>())));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(path)
}

/// The hash prefix and suffix that a configuration names, if it names any.
pub(crate) fn hash_ends(cluster: &ClusterConfig) -> anyhow::Result<Option<(String, String)>> {
    match (&cluster.swift_conf, &cluster.hash_path_prefix, &cluster.hash_path_suffix) {
        (Some(path), _, _) => swift_conf(path).map(Some),
        (None, None, None) => Ok(None),
        (None, prefix, suffix) => {
            Ok(Some((prefix.clone().unwrap_or_default(), suffix.clone().unwrap_or_default())))
        }
    }
}

/// Prefix and suffix of an existing swift.conf.
fn swift_conf(path: &Path) -> anyhow::Result<(String, String)> {
    let conf = SwiftConf::read(path)?;
    let ends = |key| conf.get("swift-hash", key).map(str::to_owned);
    let (prefix, suffix) = (ends("swift_hash_path_prefix"), ends("swift_hash_path_suffix"));
    anyhow::ensure!(
        prefix.is_some() || suffix.is_some(),
        "{} has neither swift_hash_path_prefix nor swift_hash_path_suffix in [swift-hash]",
        path.display()
    );
    Ok((prefix.unwrap_or_default(), suffix.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Secrets::of(dir.path()).expect("made");
        let again = Secrets::of(dir.path()).expect("read");
        assert_eq!(first.token_secret, again.token_secret);
        assert_eq!(first.admin_key.len(), 32);
        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(Secrets::of(other.path()).expect("made").admin_key, first.admin_key);
        let mode = dir.path().join("secrets.toml").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn swift_conf_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("swift.conf");
        let text = "[swift-hash]\nswift_hash_path_suffix = s\nswift_hash_path_prefix=p\n[x]\nswift_hash_path_suffix = y\n";
        std::fs::write(&path, text).expect("written");
        assert_eq!(swift_conf(&path).expect("read"), ("p".to_owned(), "s".to_owned()));
        std::fs::write(&path, "[x]\n").expect("written");
        assert!(swift_conf(&path).is_err());
    }
}
