//! An existing `swift.conf`: the secret ends of hashed paths, and the storage policies, as Swift has them.

use anyhow::{Context, bail};
use std::path::Path;
use types::{Policy, PolicyIndex};

/// Sections with their keys and values, in the order of the file.
pub(crate) struct SwiftConf(Vec<(String, Vec<(String, String)>)>);

impl SwiftConf {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut sections: Vec<(String, Vec<(String, String)>)> = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                sections.push((name.to_owned(), Vec::new()));
            } else if let (Some((_, pairs)), Some((key, value))) =
                (sections.last_mut(), line.split_once(['=', ':']))
            {
                pairs.push((key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        SwiftConf(sections)
    }

    /// The value of a key in a section.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let pairs = self.0.iter().filter(|(name, _)| name == section).flat_map(|(_, pairs)| pairs);
        pairs.rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The sections `[storage-policy:N]`.
    pub(crate) fn policies(&self) -> anyhow::Result<Vec<Policy>> {
        let mut policies = Vec::new();
        for (section, _) in &self.0 {
            let Some(index) = section.strip_prefix("storage-policy:") else { continue };
            let index: u32 =
                index.parse().with_context(|| format!("[{section}] does not end in a number"))?;
            let get = |key| self.get(section, key);
            if let Some(kind) = get("policy_type").filter(|kind| *kind != "replication") {
                bail!("[{section}] is of the type {kind}, which is not available yet");
            }
            let name = get("name").with_context(|| format!("[{section}] has no name"))?;
            let aliases = get("aliases").unwrap_or_default().split(',').map(str::trim);
            let aliases = aliases.filter(|alias| !alias.is_empty() && *alias != name);
            let is_true = |key| {
                let value = get(key).unwrap_or_default().to_ascii_lowercase();
                matches!(value.as_str(), "true" | "1" | "yes" | "on" | "t" | "y")
            };
            policies.push(Policy {
                index: PolicyIndex(index),
                name: name.to_owned(),
                aliases: aliases.map(str::to_owned).collect(),
                default: is_true("default"),
                deprecated: is_true("deprecated"),
            });
        }
        Ok(policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[swift-hash]\n# a comment = 1\nswift_hash_path_suffix = end\n\
        [storage-policy:0]\nname = gold\naliases = gold, au\n\
        [storage-policy:1]\nname: silver\ndefault = yes\npolicy_type = replication\n";

    #[test]
    fn policies_and_ends_are_found() {
        let conf = SwiftConf::parse(CONF);
        assert_eq!(conf.get("swift-hash", "swift_hash_path_suffix"), Some("end"));
        let policies = conf.policies().expect("valid");
        assert_eq!(policies[0].aliases, ["au"]);
        assert_eq!((policies[1].name.as_str(), policies[1].default), ("silver", true));
    }

    #[test]
    fn what_is_not_available_is_said() {
        let refused = |text: &str| SwiftConf::parse(text).policies().expect_err("refused");
        let error = refused("[storage-policy:0]\nname = a\npolicy_type = erasure_coding\n");
        assert!(error.to_string().contains("erasure_coding"), "{error}");
        refused("[storage-policy:x]\nname = a\n");
        refused("[storage-policy:0]\n");
    }
}
