//! Requests to objects.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use wire::conditions::CHOOSING;
use wire::{Response, headers};

use super::constraints::{self, BodyLength, is_true};
use super::error::{Refusal, page};
use super::{Face, expiry, relay};
use crate::call::Call;
use crate::store::{ContainerInfo, ObjectPut};

const ALLOW: &str = "DELETE, GET, HEAD, OPTIONS, POST, PUT";

/// What belongs to the connection or the client, or is secret, and so does not belong to the object.
fn is_for_nodes(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "accept"
            | "accept-encoding"
            | "accept-language"
            | "authorization"
            | "connection"
            | "content-length"
            | "cookie"
            | "expect"
            | "host"
            | "keep-alive"
            | "proxy-authorization"
            | "proxy-connection"
            | "range"
            | "referer"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "user-agent"
            | "x-auth-token"
            | "x-detect-content-type"
            | "x-newest"
            | "x-service-token"
            | "x-storage-token"
            | "x-trans-id-extra"
    )
}

impl Face {
    pub(super) async fn object(&self, mut call: Call) -> Result<Response, Refusal> {
        match call.method.as_str() {
            "OPTIONS" => return Self::options(&call, ALLOW),
            "GET" | "HEAD" | "PUT" | "POST" | "DELETE" => {}
            _ => return Err(Refusal::MethodNotAllowed(ALLOW)),
        }
        let reading = call.method == Method::GET || call.method == Method::HEAD;
        if call.method == Method::PUT {
            check_if_none_match(&call.headers)?;
        }
        let info = self.store.container_info(&call.entity).await?;
        let acl = info.as_deref().and_then(|info| {
            if reading { info.read_acl.as_deref() } else { info.write_acl.as_deref() }
        });
        self.authorize(&call, acl).await?;
        let info = info.ok_or_else(Refusal::not_found)?;
        if let Some(notes) = &call.context.notes {
            notes.policy(info.policy.0);
        }
        if self.config.allow_open_expired && is_true(call.headers.get("x-open-expired")) {
            let open = HeaderValue::from_static("true");
            call.headers.insert(headers::X_BACKEND_OPEN_EXPIRED, open);
        }
        match call.method.as_str() {
            "PUT" => self.put_object(call, &info).await,
            "POST" => self.post_object(call, &info).await,
            "DELETE" => {
                let headers = call.node_headers();
                let deleted = self.store.delete_object(&call.entity, &info, &headers);
                Ok(relay::written(deleted.await?))
            }
            _ => self.get_object(&call, &info).await,
        }
    }

    async fn get_object(&self, call: &Call, info: &ContainerInfo) -> Result<Response, Refusal> {
        let mut read = call.read(None, &CHOOSING);
        if call.method == Method::HEAD {
            read.headers.remove(header::RANGE);
        }
        read.policy = Some(info.policy);
        let response = self.store.read(&call.entity, read).await?;
        if let Some(what) = self.features.missing_for(response.headers()) {
            return Err(Refusal::NotAvailable(what));
        }
        Ok(relay::object(response))
    }

    async fn put_object(&self, mut call: Call, info: &ContainerInfo) -> Result<Response, Refusal> {
        let name = call.entity.object.as_ref().map_or("", |name| name.as_str());
        guess_content_type(&mut call.headers, name);
        expiry::settle(&mut call.headers, self.store.env.clock.now())?;
        let limits = &self.config.limits;
        let length = constraints::body_length(&call.headers, limits)?;
        constraints::check_name("Object", name, limits.max_object_name_length)?;
        constraints::check_metadata(&call.headers, "x-object-meta-", limits)?;
        constraints::check_content_type(&call.headers)?;
        let mut headers = call.node_headers();
        let length = match length {
            BodyLength::Known(length) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                Some(length)
            }
            BodyLength::Chunked => None,
        };
        let body = call.take_body();
        let only_if_new = call.headers.contains_key(header::IF_NONE_MATCH);
        let put = ObjectPut { headers, body, length, only_if_new };
        let stored = self.store.put_object(&call.entity, info, put).await?;
        let mut response = page(StatusCode::CREATED);
        let headers = response.headers_mut();
        if let Some(etag) = stored.etag {
            headers.insert(header::ETAG, etag);
        }
        if let Ok(date) = HeaderValue::try_from(stored.timestamp.http_date()) {
            headers.insert(header::LAST_MODIFIED, date);
        }
        Ok(response)
    }

    async fn post_object(&self, mut call: Call, info: &ContainerInfo) -> Result<Response, Refusal> {
        expiry::settle(&mut call.headers, self.store.env.clock.now())?;
        constraints::check_metadata(&call.headers, "x-object-meta-", &self.config.limits)?;
        constraints::check_content_type(&call.headers)?;
        let headers = call.node_headers();
        let answer = self.store.post_object(&call.entity, info, &headers).await?;
        // What was posted to may be more than bytes, and middlewares see it by this.
        let mut sysmeta = answer.headers.clone();
        let mut response = relay::written(answer);
        if response.status().is_success() {
            let kept = |name: &HeaderName| name.as_str().starts_with("x-object-sysmeta-");
            let names: Vec<HeaderName> =
                sysmeta.keys().filter(|name| kept(name)).cloned().collect();
            for name in names {
                if let Some(value) = sysmeta.remove(&name) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
        Ok(response)
    }
}

impl Call {
    /// Everything that storage nodes may want to keep; which of it they do is their setting.
    fn node_headers(&self) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(self.headers.len() + 4);
        for (name, value) in self.headers.iter().filter(|(name, _)| is_for_nodes(name)) {
            out.append(name.clone(), value.clone());
        }
        out.insert(headers::X_TRANS_ID, self.context.trans_id.clone());
        out
    }
}

/// On PUT only "if there is none at all" is defined.
fn check_if_none_match(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::IF_NONE_MATCH) else { return Ok(()) };
    if value.as_bytes().split(|byte| *byte == b',').any(|tag| tag.trim_ascii() == b"*") {
        return Ok(());
    }
    Err(Refusal::bad_request("If-None-Match only supports *"))
}

/// Names the type by the name's ending when the client did not, or asked for it.
pub(crate) fn guess_content_type(headers: &mut HeaderMap, name: &str) {
    let detect = is_true(headers.get("x-detect-content-type"));
    let given = headers.get(header::CONTENT_TYPE).is_some_and(|value| !value.is_empty());
    if detect || !given {
        let guess = guess(name).unwrap_or("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(guess));
    }
}

/// As Python's mimetypes, which take `.gz` and the like for an encoding of what stands before it.
fn guess(name: &str) -> Option<&'static str> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let file = match file.rsplit_once('.') {
        Some((base, ending)) if is_encoding(ending) => base,
        Some((_, "tgz" | "taz" | "tz" | "tbz2" | "txz")) => return Some("application/x-tar"),
        // Where the table has another name for the same.
        Some((_, "wav")) => return Some("audio/x-wav"),
        _ => file,
    };
    mime_guess::from_path(file).first_raw()
}

fn is_encoding(ending: &str) -> bool {
    matches!(ending, "gz" | "Z" | "bz2" | "xz" | "br")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(name: &str, pairs: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        guess_content_type(&mut headers, name);
        headers[header::CONTENT_TYPE].to_str().expect("text").to_owned()
    }

    #[test]
    fn the_type_is_the_clients_or_the_endings() {
        assert_eq!(typed("a/b.jpg", &[]), "image/jpeg");
        assert_eq!(typed("a.tar.gz", &[]), "application/x-tar");
        assert_eq!(typed("a.gz", &[]), "application/octet-stream");
        assert_eq!(typed("a.html/b", &[]), "application/octet-stream");
        assert_eq!(typed("a.jpg", &[("content-type", "x/y")]), "x/y");
        assert_eq!(typed("a.jpg", &[("content-type", "")]), "image/jpeg");
        let detect = [("content-type", "x/y"), ("x-detect-content-type", "true")];
        assert_eq!(typed("a.jpg", &detect), "image/jpeg");
    }

    #[test]
    fn puts_know_one_condition() {
        let check = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            check_if_none_match(&headers).is_ok()
        };
        assert!(check("*") && check("x, *"));
        assert!(!check("\"abc\"") && !check(""));
    }

    proptest! {
        #[test]
        fn guessing_never_panics(name in "\\PC{0,30}") {
            let _ = guess(&name);
        }
    }
}
