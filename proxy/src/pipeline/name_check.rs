//! Names that the operator does not want. Swift: common/middleware/name_check.py.
//!
//! It looks at whole paths, as Swift does: `/v1/account/container/object`, decoded. Not in the pipeline unless it is named
//! there, because its defaults forbid much that clients do.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::Entity;
use crate::swift::error::Refusal;

/// `[proxy.name_check]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// None of these characters may be in a path.
    pub forbidden_chars: String,
    /// A path may have so many bytes.
    pub maximum_length: usize,
    /// Paths in which this is found are refused; none if it is empty.
    pub forbidden_regexp: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            forbidden_chars: "'\"`<>".to_owned(),
            maximum_length: 255,
            forbidden_regexp: r"/\./|/\.\./|/\.$|/\.\.$".to_owned(),
        }
    }
}

struct NameCheck {
    config: Config,
    forbidden: Option<Regex>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    Ok(Arc::new(NameCheck::new(parts.config.name_check.clone())?))
}

impl Middleware for NameCheck {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        match self.check(&path_of(&call.entity)) {
            Ok(()) => next.answer(call),
            Err(refusal) => Box::pin(std::future::ready(refusal.into())),
        }
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        let section = json!({
            "forbidden_chars": self.config.forbidden_chars,
            "maximum_length": self.config.maximum_length,
            "forbidden_regexp": self.config.forbidden_regexp,
        });
        Some(("name_check", section))
    }
}

fn path_of(entity: &Entity) -> String {
    let mut path = format!("/v1/{}", entity.account);
    let container = entity.container.as_ref().map(|name| name.as_str());
    let object = entity.object.as_ref().map(|name| name.as_str());
    for name in [container, object].into_iter().flatten() {
        path.push('/');
        path.push_str(name);
    }
    path
}

impl NameCheck {
    fn new(config: Config) -> Result<Self, StartError> {
        let forbidden = match config.forbidden_regexp.as_str() {
            "" => None,
            expression => Some(Regex::new(expression).map_err(|_| StartError::Setting {
                key: "name_check.forbidden_regexp",
                why: "it is no regular expression, or has something in it that takes unbounded time",
            })?),
        };
        Ok(NameCheck { config, forbidden })
    }

    fn check(&self, path: &str) -> Result<(), Refusal> {
        let Config { forbidden_chars, maximum_length, forbidden_regexp } = &self.config;
        let name = "Object/Container/Account name";
        let wrong = if path.contains(|c| forbidden_chars.contains(c)) {
            format!("{name} contains forbidden chars from {forbidden_chars}")
        } else if path.len() > *maximum_length {
            format!("{name} longer than the allowed maximum {maximum_length}")
        } else if self.forbidden.as_ref().is_some_and(|forbidden| forbidden.is_match(path)) {
            format!(
                "{name} contains a forbidden substring from regular expression {forbidden_regexp}"
            )
        } else {
            return Ok(());
        };
        Err(Refusal::bad_request(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden() {
        let check = NameCheck::new(Config::default()).expect("valid");
        let refused =
            |path: &str| check.check(&path_of(&crate::call::tests::entity(path))).is_err();
        assert!(!refused("a/c/o.txt") && !refused("a/c/.o/..p") && !refused("a/c/é"));
        for path in ["a/c/it's", "a/c/<o>", "a/`c`/o", "a/c/\"", "a/./o", "a/c/..", "a/c/x/./y"] {
            assert!(refused(path), "{path}");
        }
        let prefix = "/v1/a/c/".len();
        assert!(!refused(&format!("a/c/{}", "x".repeat(255 - prefix))));
        assert!(refused(&format!("a/c/{}", "x".repeat(256 - prefix))));
    }

    #[test]
    fn an_expression_that_is_none_is_refused_at_start() {
        let config = |text: &str| Config { forbidden_regexp: text.into(), ..Config::default() };
        assert!(NameCheck::new(config("(")).is_err());
        let check = NameCheck::new(config("")).expect("valid");
        assert!(check.check("/v1/a/c/./o").is_ok());
    }
}
