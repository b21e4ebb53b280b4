//! Making a link. Swift: `SymlinkObjectContext.handle_put`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use wire::headers::X_BACKEND_ALLOW_RESERVED_NAMES;
use wire::{Response, encode_segment};

use super::Symlink;
use super::follow::{Lost, Through, Way, located, location};
use super::headers::{
    OVERRIDE_ETAG, SYSMETA_TARGET, SYSMETA_TARGET_ACCOUNT, SYSMETA_TARGET_BYTES,
    SYSMETA_TARGET_ETAG, TARGET, TARGET_ACCOUNT, TARGET_BYTES, TARGET_ETAG,
};
use crate::call::Call;
use crate::pipeline::Handler;
use crate::store::Entity;
use crate::swift::constraints::is_true;
use crate::swift::error::{Refusal, page, text};
use crate::swift::path::not_text;
use crate::swift::reference;
use crate::swift::rewrite_listing::Hash;

/// The MD5 of no bytes: every link's ETag.
const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";
/// What is kept of links in the hashes of listings; see [`super::told`].
const PARAMETERS: [&str; 4] =
    ["symlink_target", "symlink_target_account", "symlink_target_etag", "symlink_target_bytes"];

const SLO_ETAG: &str = "x-object-sysmeta-slo-etag";
const SLO_SIZE: &str = "x-object-sysmeta-slo-size";

/// Why a link is not made.
pub(super) enum Unlinked {
    Refused(Refusal),
    /// What the target's answer says.
    Target(Box<Response>),
}

impl From<Refusal> for Unlinked {
    fn from(refusal: Refusal) -> Self {
        Unlinked::Refused(refusal)
    }
}

impl From<Lost> for Unlinked {
    fn from(lost: Lost) -> Self {
        Unlinked::Target(Box::new(lost.into()))
    }
}

impl From<Unlinked> for Response {
    fn from(unlinked: Unlinked) -> Self {
        match unlinked {
            Unlinked::Refused(refusal) => refusal.into(),
            Unlinked::Target(response) => *response,
        }
    }
}

/// What a client wants a link to lead to.
struct Wanted {
    target: Entity,
    /// The account, if it was named.
    account: bool,
    etag: Option<HeaderValue>,
}

impl Symlink {
    pub(super) async fn put(&self, mut call: Call, next: &Handler) -> Result<Response, Unlinked> {
        if call.has_body(self.client_timeout).await? {
            return Err(Refusal::bad_request("Symlink requests require a zero byte body").into());
        }
        let wanted = wanted(&call)?;
        for name in [TARGET, TARGET_ACCOUNT, TARGET_ETAG, TARGET_BYTES] {
            call.headers.remove(name);
        }
        match &wanted.etag {
            Some(etag) => self.describe_target(&mut call, next, &wanted.target, etag).await?,
            None => {
                let kind = HeaderValue::from_static("application/symlink");
                set_kind(&mut call.headers, Some(&kind));
            }
        }
        describe_link(&mut call.headers, &wanted);
        Ok(next.answer(call).await)
    }

    /// Makes sure that the target of a static link has the ETag, and writes down what else is known of it.
    async fn describe_target(
        &self,
        call: &mut Call,
        next: &Handler,
        target: &Entity,
        etag: &HeaderValue,
    ) -> Result<(), Unlinked> {
        let mut head = call.sub(Method::HEAD, target.clone(), "SYM");
        if let Some(allowed) = call.headers.get(X_BACKEND_ALLOW_RESERVED_NAMES) {
            head.headers.insert(X_BACKEND_ALLOW_RESERVED_NAMES, allowed.clone());
        }
        let mut way = Way::new(next, Through::Static, self.symloop_max);
        way.at = Some(location(&encode_segment(target.account.as_str()), &path(target)));
        let found = way.go(head, Some(etag.clone())).await?;
        if found.status() == StatusCode::NOT_FOUND {
            let sentence = "X-Symlink-Target does not exist".to_owned();
            let missing = located(text(StatusCode::CONFLICT, sentence), way.at);
            return Err(Unlinked::Target(Box::new(missing)));
        }
        if !found.status().is_success() {
            return Err(Unlinked::Target(Box::new(page(found.status()))));
        }
        let (found, headers) = (found.headers(), &mut call.headers);
        // What listings tell of the target, they tell of the link.
        if !headers.contains_key(OVERRIDE_ETAG)
            && let Some(hash) = listed_hash(found)
            && let Ok(hash) = HeaderValue::try_from(hash)
        {
            headers.insert(OVERRIDE_ETAG, hash);
        }
        let bytes = found.get(SLO_SIZE).or(found.get(header::CONTENT_LENGTH));
        let zero = HeaderValue::from_static("0");
        headers.insert(SYSMETA_TARGET_BYTES, bytes.cloned().unwrap_or(zero));
        headers.insert(SYSMETA_TARGET_ETAG, etag.clone());
        set_kind(headers, found.get(header::CONTENT_TYPE));
        Ok(())
    }
}

/// The content type, if the client named none.
fn set_kind(headers: &mut HeaderMap, kind: Option<&HeaderValue>) {
    let given = headers.get(header::CONTENT_TYPE).is_some_and(|value| !value.is_empty());
    if let (false, Some(kind)) = (given, kind) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
}

/// The hash of the link itself, with what the target's has behind it.
fn listed_hash(target: &HeaderMap) -> Option<String> {
    if let Some(hash) = target.get(OVERRIDE_ETAG) {
        let hash = String::from_utf8_lossy(hash.as_bytes());
        let parameters = hash.split_once(';').map_or("", |(_, parameters)| parameters);
        return Some(format!("{MD5_OF_NOTHING};{parameters}"));
    }
    let slo = String::from_utf8_lossy(target.get(SLO_ETAG)?.as_bytes()).into_owned();
    Some(format!("{MD5_OF_NOTHING}; slo_etag={slo}"))
}

fn path(target: &Entity) -> String {
    let container = target.container.as_ref().map_or("", |name| name.as_str());
    let object = target.object.as_ref().map_or("", |name| name.as_str());
    encode_segment(&format!("{container}/{object}"))
}

/// Reads what the client wants.
fn wanted(call: &Call) -> Result<Wanted, Refusal> {
    let value = call.headers.get(TARGET).cloned().unwrap_or(HeaderValue::from_static(""));
    if reference::decoded(&value)?.starts_with('/') {
        let sentence = "X-Symlink-Target header must be of the form <container name>/<object name>";
        return Err(Refusal::Sentence(StatusCode::PRECONDITION_FAILED, sentence.into()));
    }
    let (container, object) = reference::object("X-Symlink-Target", &value)?;
    let account = call.headers.get(TARGET_ACCOUNT).map(reference::account).transpose()?;
    let named = account.is_some();
    let account = account.unwrap_or_else(|| call.entity.account.clone());
    let target = Entity { account, container: Some(container), object: Some(object) };
    if target == call.entity {
        return Err(Refusal::bad_request("Symlink cannot target itself"));
    }
    if target.is_reserved() && !is_true(call.headers.get(X_BACKEND_ALLOW_RESERVED_NAMES)) {
        return Err(not_text());
    }
    Ok(Wanted { target, account: named, etag: wanted_etag(&call.headers)? })
}

fn wanted_etag(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let Some(value) = headers.get(TARGET_ETAG) else { return Ok(None) };
    let bytes = value.as_bytes();
    let quoted = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let etag = quoted.unwrap_or(bytes);
    let bad = || Refusal::bad_request("Bad X-Symlink-Target-Etag format");
    // It stands in listings' hashes, among their parameters.
    if etag.iter().any(|byte| b";\"\\".contains(byte)) {
        return Err(bad());
    }
    match etag {
        [] => Ok(None),
        etag => HeaderValue::from_bytes(etag).map(Some).map_err(|_| bad()),
    }
}

/// Writes down where the link leads: for who follows it, and for listings.
fn describe_link(headers: &mut HeaderMap, wanted: &Wanted) {
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let path = path(&wanted.target);
    set(SYSMETA_TARGET, &path);
    let account = encode_segment(wanted.target.account.as_str());
    if wanted.account {
        set(SYSMETA_TARGET_ACCOUNT, &account);
    }
    let text = |name: &str| {
        let value = headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut hash = Hash::parse(text(OVERRIDE_ETAG).as_deref().unwrap_or(MD5_OF_NOTHING));
    let known = [
        Some(path),
        wanted.account.then_some(account),
        text(SYSMETA_TARGET_ETAG),
        text(SYSMETA_TARGET_BYTES),
    ];
    for (name, value) in PARAMETERS.into_iter().zip(known) {
        // A copied link brings along what was told of it elsewhere.
        while hash.take(name).is_some() {}
        if let Some(value) = value {
            hash.add(name, value);
        }
    }
    if let Ok(hash) = HeaderValue::try_from(hash.render()) {
        headers.insert(OVERRIDE_ETAG, hash);
    }
}
