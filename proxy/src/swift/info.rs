//! What the cluster can do, and whether the proxy is alive.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;
use wire::{Body, Response};

use super::error::{Refusal, page, text};
use crate::config::Config;

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// GET `/healthcheck`.
pub(crate) fn healthcheck(method: &Method) -> Result<Response, Refusal> {
    match method.as_str() {
        "GET" | "HEAD" => Ok(text(StatusCode::OK, "OK".to_owned())),
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
    }
}

/// GET `/info`: only what there is. Features that are not built have no section, so clients do without.
pub(crate) fn info(
    config: &Config,
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    match method.as_str() {
        "GET" | "HEAD" => {}
        "OPTIONS" => {
            let mut response = page(StatusCode::OK);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOW));
            return Ok(response);
        }
        _ => return Err(Refusal::MethodNotAllowed(ALLOW)),
    }
    // The administrator's view needs a key, and there is none.
    let signed = wire::parse_query(query).is_ok_and(|query| {
        query.iter().any(|(name, _)| matches!(name.as_str(), "swiftinfo_sig" | "swiftinfo_expires"))
    });
    if !config.expose_info || signed {
        return Err(Refusal::Status(StatusCode::FORBIDDEN));
    }
    let mut response = Response::new(Body::from(document(config).to_string()));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if let Some(origin) = headers.get(header::ORIGIN) {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static("x-trans-id");
        out.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    Ok(response)
}

fn document(config: &Config) -> serde_json::Value {
    let policies = config.policies.iter().enumerate().map(|(number, policy)| {
        let mut entry = json!({ "name": policy.name, "aliases": policy.name });
        if number == 0 {
            entry["default"] = true.into();
        }
        entry
    });
    let limits = &config.limits;
    json!({
        "swift": {
            "version": env!("CARGO_PKG_VERSION"),
            "policies": policies.collect::<Vec<_>>(),
            "strict_cors_mode": true,
            "account_autocreate": config.account_autocreate,
            "allow_account_management": config.allow_account_management,
            "allow_open_expired": false,
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_nothing_that_is_not_there() {
        let document = document(&Config::default());
        let sections: Vec<&String> = document.as_object().expect("an object").keys().collect();
        assert_eq!(sections, ["swift"]);
        assert_eq!(document["swift"]["policies"][0]["default"], true);
        assert_eq!(document["swift"]["max_file_size"], 5_368_709_122_u64);
    }

    #[test]
    fn the_administrators_view_needs_a_key() {
        let headers = HeaderMap::new();
        let ask = |query| info(&Config::default(), &Method::GET, query, &headers).is_ok();
        assert!(ask(None) && ask(Some("a=b")));
        assert!(!ask(Some("swiftinfo_sig=1&swiftinfo_expires=2")));
        let hidden = Config { expose_info: false, ..Config::default() };
        assert!(info(&hidden, &Method::GET, None, &headers).is_err());
    }
}
