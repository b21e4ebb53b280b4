//! What the cluster can do.

use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Map, Value, json};
use types::Timestamp;
use wire::{Body, Response};

use super::error::{Refusal, page};
use crate::auth::signature::{Digest, Signature};
use crate::call::Query;
use crate::config::Config;

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// GET `/info`: only what there is. Features that are not in the pipeline have no section, so clients do without.
/// Swift: proxy/controllers/info.py.
pub(crate) fn info(
    config: &Config,
    sections: &Map<String, Value>,
    request: &http::request::Parts,
    now: Timestamp,
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
    if !config.expose_info {
        return Err(Refusal::Status(StatusCode::FORBIDDEN));
    }
    let admin = is_admin(config, request, now)?;
    let mut document = document(config, sections);
    for section in &config.disallowed_sections {
        withhold(&mut document, section);
    }
    if admin {
        document["admin"] = json!({ "disallowed_sections": config.disallowed_sections });
    }
    let mut response = Response::new(Body::from(document.to_string()));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if let Some(origin) = headers.get(header::ORIGIN) {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static("x-trans-id");
        out.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    Ok(response)
}

/// Whether the administrator asks: by a signature under the administrator's key, of the method and of the time until when
/// it is good. One for GET is good for HEAD.
fn is_admin(
    config: &Config,
    request: &http::request::Parts,
    now: Timestamp,
) -> Result<bool, Refusal> {
    let unauthorized = || Refusal::Unauthorized("unknown".to_owned());
    let Ok(query) = wire::parse_query(request.uri.query()).map(Query) else {
        return Ok(false);
    };
    let given = |name| query.get(name).filter(|value| !value.is_empty());
    let (signature, expires) = (given("swiftinfo_sig"), given("swiftinfo_expires"));
    if signature.is_none() && expires.is_none() {
        return Ok(false);
    }
    let key = config.admin_key.as_ref().ok_or(Refusal::Status(StatusCode::FORBIDDEN))?;
    let expires: Option<i64> = expires.and_then(|text| text.trim().parse().ok());
    let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    let expires = expires.filter(|at| *at >= now).ok_or_else(unauthorized)?;
    let signature = signature.and_then(Signature::parse);
    let signature =
        signature.filter(|known| known.digest == Digest::Sha1).ok_or_else(unauthorized)?;
    let methods: &[&str] = if request.method == "HEAD" { &["HEAD", "GET"] } else { &["GET"] };
    let right = methods.iter().any(|method| {
        signature.is_of(key.bytes(), format!("{method}\n{expires}\n/info").as_bytes())
    });
    if right { Ok(true) } else { Err(unauthorized()) }
}

/// Takes a section out, or one key of it: `section.key`.
fn withhold(document: &mut Value, section: &str) {
    let mut keys: Vec<&str> = section.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let inner = keys.into_iter().try_fold(document, |value, key| value.get_mut(key));
    if let Some(object) = inner.and_then(Value::as_object_mut) {
        // Not `remove`, which would put the last one in its place.
        object.shift_remove(last);
    }
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
            "strict_cors_mode": config.cors.strict_cors_mode,
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
            "valid_api_versions": config.valid_api_versions,
            "auto_create_account_prefix": ".",
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
    use crate::config::AdminKey;

    #[test]
    fn promises_nothing_that_is_not_there() {
        let document = document(&Config::default(), &Map::new());
        let sections: Vec<&String> = document.as_object().expect("an object").keys().collect();
        assert_eq!(sections, ["swift"]);
        assert_eq!(document["swift"]["policies"][0]["default"], true);
        assert_eq!(document["swift"]["max_file_size"], 5_368_709_122_u64);
    }

    /// The answer's status and document.
    fn ask(config: &Config, method: &str, uri: &str) -> (u16, Value) {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = method.parse().expect("a method");
        parts.uri = uri.parse().expect("a path");
        let answer = info(config, &Map::new(), &parts, Timestamp::from_seconds(1_000));
        let response = answer.unwrap_or_else(Response::from);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 100_000);
        let body = futures_util::FutureExt::now_or_never(body).expect("ready").expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    #[test]
    fn the_administrators_view_needs_a_key_and_a_signature() {
        let config = Config::default();
        assert_eq!(ask(&config, "GET", "/info?a=b").0, 200);
        assert_eq!(ask(&config, "GET", "/info?swiftinfo_sig=1&swiftinfo_expires=2000").0, 403);
        let config = Config { admin_key: Some(AdminKey::new("secret")), ..Config::default() };
        assert!(!format!("{config:?}").contains("secret"));
        let signed = |method: &str, expires: i64| {
            let message = format!("{method}\n{expires}\n/info");
            let signature = crate::auth::signature::tests::sign(Digest::Sha1, "secret", &message);
            format!("/info?swiftinfo_sig={signature}&swiftinfo_expires={expires}")
        };
        let (status, document) = ask(&config, "GET", &signed("GET", 1_000));
        assert_eq!(
            (status, document["admin"]["disallowed_sections"].as_array().map(Vec::len)),
            (200, Some(2))
        );
        assert_eq!(ask(&config, "HEAD", &signed("GET", 1_000)).0, 200);
        assert_eq!(ask(&config, "HEAD", &signed("HEAD", 1_000)).0, 200);
        assert_eq!(ask(&config, "GET", &signed("HEAD", 1_000)).0, 401);
        assert_eq!(ask(&config, "GET", &signed("GET", 999)).0, 401);
        assert_eq!(ask(&config, "GET", "/info?swiftinfo_sig=00&swiftinfo_expires=2000").0, 401);
        assert_eq!(ask(&config, "GET", "/info?swiftinfo_expires=2000").0, 401);
        assert_eq!(ask(&config, "GET", &signed("GET", 1_000).replace("1000", "soon")).0, 401);
        assert!(ask(&config, "GET", "/info").1.get("admin").is_none());
        let hidden = Config { expose_info: false, ..config };
        assert_eq!(ask(&hidden, "GET", &signed("GET", 1_000)).0, 403);
    }

    #[test]
    fn sections_and_their_keys_can_be_withheld() {
        let shown = |sections: &[&str]| {
            let disallowed_sections =
                sections.iter().map(|section| (*section).to_owned()).collect();
            ask(&Config { disallowed_sections, ..Config::default() }, "GET", "/info").1
        };
        let all = shown(&[]);
        assert_eq!(all["swift"]["valid_api_versions"], json!(["v1", "v1.0"]));
        let usual = ask(&Config::default(), "GET", "/info").1;
        assert!(usual["swift"].get("valid_api_versions").is_none());
        assert!(usual["swift"].get("auto_create_account_prefix").is_none());
        assert_eq!(usual["swift"]["max_meta_count"], 90);
        let less =
            shown(&["swift.max_meta_count", "swift.no.such", "nothing", "", "swift.version.x"]);
        assert!(less["swift"].get("max_meta_count").is_none());
        assert!(less["swift"]["version"].is_string());
        assert_eq!(shown(&["swift"]), json!({}));
    }
}
