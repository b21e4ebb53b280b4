//! What the cluster can do.

use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};
use wire::{Body, Response};

use super::error::{Refusal, page};
use crate::config::Config;

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// GET `/info`: only what there is. Features that are not in the pipeline have no section, so clients do without.
pub(crate) fn info(
    config: &Config,
    sections: &Map<String, Value>,
    request: &http::request::Parts,
) -> Result<Response, Refusal> {
    let headers = &request.headers;
    match request.method.as_str() {
        "GET" | "HEAD" => {}
        "OPTIONS" => {
            let mut response = page(StatusCode::OK);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOW));
            return Ok(response);
        }
        _ => return Err(Refusal::MethodNotAllowed(ALLOW)),
    }
    // The administrator's view needs a key, and there is none.
    let signed = wire::parse_query(request.uri.query()).is_ok_and(|query| {
        query.iter().any(|(name, _)| matches!(name.as_str(), "swiftinfo_sig" | "swiftinfo_expires"))
    });
    if !config.expose_info || signed {
        return Err(Refusal::Status(StatusCode::FORBIDDEN));
    }
    let mut response = Response::new(Body::from(document(config, sections).to_string()));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if let Some(origin) = headers.get(header::ORIGIN) {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static("x-trans-id");
        out.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    Ok(response)
}

fn document(config: &Config, sections: &Map<String, Value>) -> Value {
    let offered = config.policies.iter().filter(|policy| !policy.deprecated);
    let policies = offered.map(|policy| {
        let names = policy.names().collect::<Vec<_>>().join(", ");
        let mut entry = json!({ "name": policy.name, "aliases": names });
        if policy.default {
            entry["default"] = true.into();
        }
        entry
    });
    let limits = &config.limits;
    let mut document = json!({
        "swift": {
            "version": env!("CARGO_PKG_VERSION"),
            "policies": policies.collect::<Vec<_>>(),
            "strict_cors_mode": true,
            "account_autocreate": config.account_autocreate,
            "allow_account_management": config.allow_account_management,
            "allow_open_expired": config.allow_open_expired,
            "max_file_size": limits.max_file_size,
            "max_meta_name_length": limits.max_meta_name_length,
            "max_meta_value_length": limits.max_meta_value_length,
            "max_meta_count": limits.max_meta_count,
            "max_meta_overall_size": limits.max_meta_overall_size,
            "max_header_size": limits.max_header_size,
            "max_object_name_length": limits.max_object_name_length,
            "max_account_name_length": limits.max_account_name_length,
            "max_container_name_length": limits.max_container_name_length,
            "container_listing_limit": limits.container_listing_limit,
            "account_listing_limit": limits.account_listing_limit,
            "extra_header_count": limits.extra_header_count,
        }
    });
    for (name, section) in sections {
        document[name] = section.clone();
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_nothing_that_is_not_there() {
        let document = document(&Config::default(), &Map::new());
        let sections: Vec<&String> = document.as_object().expect("an object").keys().collect();
        assert_eq!(sections, ["swift"]);
        assert_eq!(document["swift"]["policies"][0]["default"], true);
        assert_eq!(document["swift"]["max_file_size"], 5_368_709_122_u64);
    }

    #[test]
    fn the_administrators_view_needs_a_key() {
        let ask = |config: &Config, uri: &'static str| {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            parts.uri = http::Uri::from_static(uri);
            info(config, &Map::new(), &parts).is_ok()
        };
        let config = Config::default();
        assert!(ask(&config, "/info") && ask(&config, "/info?a=b"));
        assert!(!ask(&config, "/info?swiftinfo_sig=1&swiftinfo_expires=2"));
        let hidden = Config { expose_info: false, ..Config::default() };
        assert!(!ask(&hidden, "/info"));
    }
}
