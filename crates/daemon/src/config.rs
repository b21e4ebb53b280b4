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
/// (`__` stands between tables). A value that reads as TOML is taken so, any other as text, and so is
/// one that is not wanted as what it reads as: a secret may consist of digits. Messages name keys, never values.
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
    let mut table: toml::Table = text.parse().map_err(|error| invalid(syntax(&text, &error)))?;
    let mut unsure = Vec::new();
    for (name, text) in variables {
        if let Some(key) = name.strip_prefix("APUS_") {
            let keys: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            let value = parse_value(&text);
            let is_text = value.is_str();
            set(&mut table, &keys, value)
                .map_err(|()| invalid(format!("variable {name} names a key inside a value")))?;
            if !is_text {
                unsure.push((keys, text));
            }
        }
    }
    settle(table, unsure).map_err(|error| invalid(describe(&error)))
}

/// Deserialises; where that fails at the value of a variable, once more with that value as text.
fn settle<T: DeserializeOwned>(
    mut table: toml::Table,
    mut unsure: Vec<(Vec<String>, String)>,
) -> Result<T, toml::de::Error> {
    // Why the value that was turned into text last had been refused.
    let mut refused: Option<toml::de::Error> = None;
    loop {
        let error = match T::deserialize(toml::Value::Table(table.clone())) {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        let at = key_path(&error);
        if let Some(first) = refused.take().filter(|first| key_path(first) == at) {
            return Err(first);
        }
        let Some(found) = unsure.iter().position(|(keys, _)| keys.join(".") == at) else {
            return Err(error);
        };
        let (keys, text) = unsure.swap_remove(found);
        // It was set there before.
        let _ = set(&mut table, &keys, toml::Value::String(text));
        refused = Some(error);
    }
}

/// The key at which deserialising failed, which only the text of an error tells: its last line is "in `a.b`".
/// Empty when it does not say.
fn key_path(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let last = text.trim_end().rsplit('\n').next().unwrap_or_default();
    let path = last.strip_prefix("in `").and_then(|rest| rest.strip_suffix('`'));
    path.unwrap_or_default().to_owned()
}

/// Says which line is no TOML, but not what stands there: it may be a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before.map(|before| before.matches('\n').count() + 1) {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

/// Says what is wrong where, but no values: they may be secrets.
fn describe(error: &toml::de::Error) -> String {
    let what = with_suggestion(&without_value(error.message()));
    match key_path(error).as_str() {
        "" => what,
        path => format!("{what} (in `{path}`)"),
    }
}

/// serde's sentences name the value they refuse.
fn without_value(message: &str) -> String {
    if message.starts_with("invalid type: ") || message.starts_with("invalid value: ") {
        // From the back, because a text may contain anything.
        let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
        let kind = found.split(['`', '"']).next().unwrap_or_default().trim_end();
        return format!("{kind}, expected {expected}");
    }
    if message.starts_with("unknown variant ") {
        let expected = message.rsplit_once("`, expected ").map_or("nothing", |(_, rest)| rest);
        return format!("unknown value, expected {expected}");
    }
    message.to_owned()
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
        secret: Option<String>,
        devices: u32,
        scheme: Scheme,
        proxy: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Scheme {
        #[default]
        Http,
        Https,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        node_timeout_ms: u64,
        token: Option<String>,
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
    fn what_reads_as_a_number_may_be_meant_as_text() {
        let vars = [
            ("APUS_PROXY__TOKEN", "12345"),
            ("APUS_DEVICES", "7"),
            ("APUS_SECRET", "2001-01-01"),
            ("APUS_LISTEN", "true"),
        ];
        let config = load("", &vars).expect("valid");
        assert_eq!((config.listen.as_str(), config.devices), ("true", 7));
        assert_eq!(config.secret.as_deref(), Some("2001-01-01"));
        assert_eq!(config.proxy.token.as_deref(), Some("12345"));
        // The first refusal says what is wrong with the variable, not with its text.
        let error = load("", &[("APUS_DEVICES", "-1")]).expect_err("refused").to_string();
        assert!(error.contains("invalid value: integer, expected u32 (in `devices`)"), "{error}");
    }

    #[test]
    fn says_where_but_never_what_is_there() {
        let cases = [
            ("listen = 'a'\nsecret = 73559\"73559\n", "line 2: "),
            ("listen = 'a'\nsecret = \"73559\n", "line 2: "),
            ("secret = 73559", "invalid type: integer, expected a string (in `secret`)"),
            ("secret = 73559.5", "invalid type: floating point, expected a string"),
            ("secret = { a = 73559 }", "invalid type: map, expected a string"),
            ("[proxy]\ntoken = 73559", "(in `proxy.token`)"),
            ("devices = '73559`, \", expected 73559'", "invalid type: string, expected u32"),
            ("devices = -73559", "invalid value: integer, expected u32"),
            ("scheme = '73559'", "unknown value, expected `http` or `https` (in `scheme`)"),
        ];
        for (text, expected) in cases {
            let error = load(text, &[]).expect_err("refused");
            let (shown, debug) = (error.to_string(), format!("{error:?}"));
            assert!(shown.contains(expected), "{text}: {shown}");
            assert!(!shown.contains("73559") && !debug.contains("73559"), "{text}: {shown}");
        }
        let error = load("", &[("APUS_DEVICES", "x73559")]).expect_err("refused").to_string();
        assert!(!error.contains("73559"), "{error}");
    }

    #[test]
    fn says_what_was_meant() {
        let error = load("lisen = 'a'", &[]).expect_err("refused").to_string();
        assert!(error.contains("unknown key `lisen`, did you mean `listen`?"), "{error}");
        let error = load("[proxy]\nnode_timeout = 3", &[]).expect_err("refused").to_string();
        assert!(error.contains("did you mean `node_timeout_ms`?"), "{error}");
        let error = load("listen = ", &[]).expect_err("refused").to_string();
        assert!(error.contains("is not valid"), "{error}");
        let error = load("", &[("APUS_LISTEN", "1"), ("APUS_LISTEN__X", "1")]);
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("APUS_LISTEN__X names a key inside a value"), "{error}");
    }
}
