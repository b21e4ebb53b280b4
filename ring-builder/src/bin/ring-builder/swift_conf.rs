//! The two secrets of `swift.conf` which every path is hashed with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use types::HashPaths;

/// Reads `swift_hash_path_prefix` and `swift_hash_path_suffix` of section `swift-hash`.
pub(crate) fn read(path: &Path) -> Result<HashPaths> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not a usable swift.conf", path.display()))
}

fn parse(text: &str) -> Result<HashPaths> {
    let mut paths = HashPaths::default();
    let mut in_section = false;
    for line in text.lines() {
        // An indented line continues the value above it, which neither of the two ever needs.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(section) = line.trim_end().strip_prefix('[') {
            in_section = section == "swift-hash]";
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']).filter(|_| in_section) else {
            continue;
        };
        let field = match key.trim().to_ascii_lowercase().as_str() {
            "swift_hash_path_prefix" => &mut paths.prefix,
            "swift_hash_path_suffix" => &mut paths.suffix,
            _ => continue,
        };
        let value = value.trim();
        // Swift reads the file with interpolation, where only %% is a plain percent sign.
        if value.replace("%%", "").contains('%') {
            bail!("{} has a single % sign; Swift needs it written %%", key.trim());
        }
        *field = value.replace("%%", "%");
    }
    if paths == HashPaths::default() {
        bail!("it sets neither swift_hash_path_prefix nor swift_hash_path_suffix");
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_two_secrets() {
        let text = "[other]\nswift_hash_path_prefix = no\n[swift-hash]\n# swift_hash_path_suffix = old\n\
            SWIFT_hash_path_suffix = a=b %%\nswift_hash_path_prefix:p \n";
        let paths = parse(text).expect("secrets");
        assert_eq!((paths.prefix.as_str(), paths.suffix.as_str()), ("p", "a=b %"));
    }

    #[test]
    fn refuses_files_without_any() {
        for bad in [
            "",
            "[swift-hash]\nswift_hash_path_suffix =\n",
            "[swift-hash]\nswift_hash_path_suffix = %x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
