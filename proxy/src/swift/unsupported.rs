//! What Swift knows and this cluster does not know yet. Each of it is refused clearly and changes nothing: half
//! of a feature would be worse than none (a link that leads nowhere, a copy that is not one).
//!
//! An empty value takes a setting away that nobody can have made, so it does no harm and is let through.

use http::header::HeaderMap;

use super::error::Refusal;
use crate::call::Call;
use crate::pipeline::Pipeline;

/// A feature, as sentences call it, and the middleware that takes care of it.
type Feature = (&'static str, &'static str);

const COPY: Feature = ("Server-side copy", "copy");
const DLO: Feature = ("The dynamic large object", "dlo");
const SLO: Feature = ("The static large object", "slo");
const SYMLINK: Feature = ("The symbolic link", "symlink");
const VERSIONS: Feature = ("Object versioning", "versioned_writes");
const TEMPURL: Feature = ("The temporary URL", "tempurl");
const BULK: Feature = ("Bulk work", "bulk");

/// Which middlewares stand before the application.
pub(crate) struct Features(Vec<&'static str>);

impl Features {
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        Features(pipeline.names().to_vec())
    }

    fn lack(&self, feature: &Feature) -> bool {
        !self.0.contains(&feature.1)
    }

    /// What an object that another proxy stored cannot be here: read without its parts, it would be wrong.
    pub(crate) fn missing_for(&self, stored: &HeaderMap) -> Option<&'static str> {
        let needs = [
            ("x-static-large-object", SLO),
            ("x-object-manifest", DLO),
            ("x-object-sysmeta-symlink-target", SYMLINK),
        ];
        let lacking =
            |(name, feature): &&(&str, Feature)| stored.contains_key(*name) && self.lack(feature);
        needs.iter().find(lacking).map(|(_, feature)| feature.0)
    }
}

/// What a header would have to do, by its name.
fn feature_of_header(name: &str) -> Option<Feature> {
    let exact = match name {
        "x-copy-from" | "x-copy-from-account" | "x-fresh-metadata" => Some(COPY),
        "x-object-manifest" => Some(DLO),
        "x-static-large-object" => Some(SLO),
        "x-symlink-target"
        | "x-symlink-target-account"
        | "x-symlink-target-etag"
        | "x-symlink-target-bytes" => Some(SYMLINK),
        "x-versions-enabled" | "x-versions-location" | "x-versions-mode" | "x-history-location" => {
            Some(VERSIONS)
        }
        "x-container-sharding" => Some(("Container sharding", "sharding")),
        "x-account-meta-temp-url-key"
        | "x-account-meta-temp-url-key-2"
        | "x-container-meta-temp-url-key"
        | "x-container-meta-temp-url-key-2" => Some(TEMPURL),
        _ => None,
    };
    let by_prefix = [
        ("x-container-sync-", ("Container synchronization", "container_sync")),
        ("x-container-meta-quota-", ("The container quota", "container_quotas")),
        ("x-account-meta-quota-", ("The account quota", "account_quotas")),
        ("x-account-quota-", ("The account quota", "account_quotas")),
        ("x-container-meta-web-", ("The static web site", "staticweb")),
        ("x-container-meta-access-control-", ("Cross-origin resource sharing", "cors")),
    ];
    exact.or_else(|| {
        by_prefix.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, what)| *what)
    })
}

/// What a parameter would have to do. Asking for a manifest or a link as such is harmless where there are none:
/// python-swiftclient does so with every delete and every skip of identical files.
fn feature_of_parameter(reading: bool, name: &str, value: &str) -> Option<Feature> {
    match name {
        "multipart-manifest" | "symlink" if reading && value == "get" => None,
        "multipart-manifest" => Some(SLO),
        "symlink" => Some(SYMLINK),
        "part-number" => Some(SLO),
        "extract-archive" => Some(BULK),
        "bulk-delete" => Some(BULK),
        "versions" | "version-id" => Some(VERSIONS),
        "temp_url_sig" => Some(TEMPURL),
        _ => None,
    }
}

/// Refuses what cannot be done, and forgets headers that only take away what never was.
pub(crate) fn check(call: &mut Call, features: &Features) -> Result<(), Refusal> {
    if call.method.as_str() == "COPY" && features.lack(&COPY) {
        // Not 405: the method belongs to Swift's API, and clients are told why it fails.
        return Err(Refusal::NotAvailable(COPY.0));
    }
    let reading = call.is_read();
    for (name, value) in &call.query.0 {
        let feature = feature_of_parameter(reading, name, value);
        if let Some(feature) = feature.filter(|feature| features.lack(feature)) {
            return Err(Refusal::NotAvailable(feature.0));
        }
    }
    if reading {
        return Ok(());
    }
    let headers = &mut call.headers;
    let mut empty = Vec::new();
    for (name, value) in headers.iter() {
        let feature = feature_of_header(name.as_str());
        let Some(feature) = feature.filter(|feature| features.lack(feature)) else { continue };
        if !value.as_bytes().trim_ascii().is_empty() {
            return Err(Refusal::NotAvailable(feature.0));
        }
        empty.push(name.clone());
    }
    for name in empty {
        // An account or container forgets the setting; an object is written whole and needs no telling.
        let keeps = name.as_str().contains("-meta-");
        if !keeps {
            headers.remove(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use http::header::{HeaderName, HeaderValue};

    fn refused(
        method: &Method,
        query: &[(&str, &str)],
        headers: &[(&'static str, &'static str)],
    ) -> u16 {
        let mut call = crate::call::tests::call(method.clone(), "a/c");
        for (name, value) in query {
            call.query.set(name, *value);
        }
        for (name, value) in headers {
            call.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        match check(&mut call, &Features(Vec::new())) {
            Ok(()) => 0,
            Err(refusal) => wire::Response::from(refusal).status().as_u16(),
        }
    }

    #[test]
    fn every_feature_is_refused() {
        for name in [
            "multipart-manifest",
            "extract-archive",
            "bulk-delete",
            "versions",
            "version-id",
            "symlink",
            "temp_url_sig",
            "part-number",
        ] {
            assert_eq!(refused(&Method::PUT, &[(name, "x")], &[]), 501, "{name}");
        }
        for name in [
            "x-copy-from",
            "x-object-manifest",
            "x-symlink-target",
            "x-symlink-target-etag",
            "x-versions-enabled",
            "x-versions-location",
            "x-history-location",
            "x-container-sync-to",
            "x-container-sync-key",
            "x-container-meta-quota-bytes",
            "x-account-meta-quota-bytes",
            "x-account-quota-bytes",
            "x-container-meta-web-index",
            "x-container-meta-access-control-allow-origin",
            "x-account-meta-temp-url-key",
            "x-container-meta-temp-url-key-2",
        ] {
            assert_eq!(refused(&Method::POST, &[], &[(name, "x")]), 501, "{name}");
            assert_eq!(refused(&Method::POST, &[], &[(name, "")]), 0, "{name}");
            assert_eq!(refused(&Method::GET, &[], &[(name, "x")]), 0, "{name}");
        }
        let copy = Method::from_bytes(b"COPY").expect("a method");
        assert_eq!(refused(&copy, &[], &[]), 501);
    }

    #[test]
    fn what_the_usual_client_sends_passes() {
        assert_eq!(refused(&Method::HEAD, &[("symlink", "get")], &[]), 0);
        assert_eq!(refused(&Method::GET, &[("multipart-manifest", "get")], &[]), 0);
        assert_eq!(refused(&Method::DELETE, &[("multipart-manifest", "delete")], &[]), 501);
    }

    #[test]
    fn removals_reach_lists_but_not_objects() {
        let mut call = crate::call::tests::call(Method::POST, "a/c");
        for name in ["x-container-meta-web-index", "x-object-manifest"] {
            call.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(""));
        }
        assert!(check(&mut call, &Features(Vec::new())).is_ok());
        assert!(call.headers.contains_key("x-container-meta-web-index"));
        assert!(!call.headers.contains_key("x-object-manifest"));
    }

    #[test]
    fn a_middleware_in_the_pipeline_makes_a_feature_known() {
        let mut call = crate::call::tests::call(Method::POST, "a/c");
        call.headers.insert("x-container-meta-web-index", HeaderValue::from_static("i"));
        assert!(check(&mut call, &Features(vec!["staticweb"])).is_ok());
        assert!(check(&mut call, &Features(vec!["slo"])).is_err());
    }
}
