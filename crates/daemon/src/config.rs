//! TOML configuration: unknown keys refused with the nearest known one, every key settable by environment.

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML, or a value is of the wrong kind, or a key is unknown.
    #[error("the configuration{place} is not valid: {detail}")]
    Invalid {
        /// ` FILE`, or nothing when there is none.
        place: String,
        /// What is wrong, with a suggestion if there is one.
        detail: String,
    },
}

/// Reads the file, if one is named, and lets variables like `APUS_PROXY__LISTEN=…` override its keys
/// (`__` stands between tables). A value that reads as TOML is taken so, any other as text.
pub fn load_config<T: DeserializeOwned>(
    path: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let place = path.map(|path| format!(" {}", path.display())).unwrap_or_default();
    let invalid = |detail: String| ConfigError::Invalid { place: place.clone(), detail };
    let text = match path {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
    };
    let mut table: toml::Table = text.parse().map_err(|error| invalid(format!("{error}")))?;
    for (name, value) in variables {
        if let Some(key) = name.strip_prefix("APUS_") {
            let keys: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            set(&mut table, &keys, parse_value(&value))
                .map_err(|()| invalid(format!("variable {name} names a key inside a value")))?;
        }
    }
    T::deserialize(toml::Value::Table(table))
        .map_err(|error| invalid(with_suggestion(error.message())))
}

fn parse_value(text: &str) -> toml::Value {
    let parsed = format!("v = {text}").parse::<toml::Table>();
    let value = parsed.ok().and_then(|mut table| table.remove("v"));
    value.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn set(table: &mut toml::Table, keys: &[String], value: toml::Value) -> Result<(), ()> {
    match keys {
        [] => Err(()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| toml::Table::new().into());
            set(inner.as_table_mut().ok_or(())?, rest, value)
        }
    }
}

/// serde names the unknown field and all known ones; a person wants the one that was meant.
fn with_suggestion(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown field") => {
            let nearest = known.iter().min_by_key(|known| distance(unknown, known));
            match nearest {
                Some(nearest) if distance(unknown, nearest) <= 2 + unknown.len() / 3 => {
                    format!("unknown key `{unknown}`, did you mean `{nearest}`?")
                }
                _ => format!("unknown key `{unknown}`; known here are {}", known.join(", ")),
            }
        }
        _ => message.to_owned(),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        listen: String,
        devices: u32,
        proxy: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        node_timeout_ms: u64,
    }

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Outer, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("apus.toml");
        std::fs::write(&path, text).expect("written");
        let variables = variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        load_config(Some(&path), variables)
    }

    #[test]
    fn environment_overrides_the_file() {
        let vars =
            [("APUS_LISTEN", "[::1]:1"), ("APUS_PROXY__NODE_TIMEOUT_MS", "7"), ("HOME", "/")];
        let config = load("listen = 'a'\ndevices = 4", &vars).expect("valid");
        assert_eq!((config.listen.as_str(), config.devices), ("[::1]:1", 4));
        assert_eq!(config.proxy.node_timeout_ms, 7);
    }

    #[test]
    fn says_what_was_meant() {
        let error = load("lisen = 'a'", &[]).expect_err("refused").to_string();
        assert!(error.contains("unknown key `lisen`, did you mean `listen`?"), "{error}");
        let error = load("[proxy]\nnode_timeout = 3", &[]).expect_err("refused").to_string();
        assert!(error.contains("did you mean `node_timeout_ms`?"), "{error}");
        let error = load("listen = ", &[]).expect_err("refused").to_string();
        assert!(error.contains("is not valid"), "{error}");
        let error = load("", &[("APUS_LISTEN__X", "1"), ("APUS_LISTEN", "1")]);
        assert!(error.is_err());
    }
}
