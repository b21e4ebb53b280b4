//! Uploads by a form in a browser: a POST of `multipart/form-data`, signed by whoever made the form, becomes one PUT for each
//! file in it. Swift: common/middleware/formpost.py.
//!
//! Fields count for the files after them, as in Swift: the form is read once, from its beginning to its end, and no file
//! is kept in memory. What a form may upload is inside of the container that it is sent to, by [`Authority::Signed`].

mod fields;
mod form;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use types::ObjectName;
use wire::{Body, Response, encode_segment};

use super::{Answer, Handler, Middleware, Parts};
use crate::auth::signature::{Digest, Signature, described};
use crate::auth::{ScopedKey, keys_for};
use crate::call::{Authority, Call};
use crate::config::StartError;
use crate::store::Store;
use crate::swift::error::{Refusal, text};
use fields::Fields;
use form::{Form, FormError, SharedForm};
use wire::multipart;

/// `[proxy.formpost]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The digests that are accepted.
    pub allowed_digests: Vec<Digest>,
}

impl Default for Config {
    fn default() -> Self {
        Config { allowed_digests: Digest::ALL.to_vec() }
    }
}

struct FormPost {
    allowed_digests: Vec<Digest>,
    client_timeout: std::time::Duration,
    store: Arc<Store>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let allowed_digests = parts.config.formpost.allowed_digests.clone();
    if allowed_digests.is_empty() {
        let why = "without a digest no form is valid";
        return Err(StartError::Setting { key: "formpost.allowed_digests", why });
    }
    let client_timeout = parts.config.client_timeout();
    Ok(Arc::new(FormPost { allowed_digests, client_timeout, store: Arc::clone(&parts.store) }))
}

impl Middleware for FormPost {
    fn handle(self: Arc<Self>, mut call: Call, next: Handler) -> Answer {
        let boundary = match call.method == Method::POST {
            true => call.header("content-type").and_then(multipart::boundary),
            false => None,
        };
        let Some(boundary) = boundary else { return next.answer(call) };
        Box::pin(async move {
            let body = call.take_body();
            let form = Form::new(body, &boundary, self.client_timeout);
            self.post(&call, form, &next).await.unwrap_or_else(|error| error.answer(&call))
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("formpost", described(&self.allowed_digests).into()))
    }
}

/// Why a form is not, or not wholly, carried out.
enum PostError {
    Form(FormError),
    /// The form says something that cannot be.
    Invalid(Cow<'static, str>),
    /// The form is over, or not signed rightly.
    Unauthorized(&'static str),
    Refused(Refusal),
}

impl From<FormError> for PostError {
    fn from(error: FormError) -> Self {
        PostError::Form(error)
    }
}

impl PostError {
    fn answer(self, call: &Call) -> Response {
        let invalid = |sentence: &dyn std::fmt::Display| {
            text(StatusCode::BAD_REQUEST, format!("FormPost: {sentence}"))
        };
        match self {
            PostError::Form(FormError::Timeout) => {
                Refusal::Status(StatusCode::REQUEST_TIMEOUT).into()
            }
            PostError::Form(error) => invalid(&error),
            PostError::Invalid(sentence) => invalid(&sentence),
            PostError::Unauthorized(sentence) => {
                let account = call.entity.account.to_string();
                Refusal::InvalidSignature(account, format!("FormPost: {sentence}").into()).into()
            }
            PostError::Refused(refusal) => refusal.into(),
        }
    }
}

/// How a form ended, if it was not refused: the status of its last file.
struct Outcome {
    status: StatusCode,
    message: &'static str,
    /// What was answered to the last file, if that was refused.
    body: Option<Body>,
}

impl FormPost {
    async fn post(&self, call: &Call, form: Form, next: &Handler) -> Result<Response, PostError> {
        let keys = match call.entity.container {
            Some(_) => keys_for(&self.store, &call.entity).await,
            None => Ok(Vec::new()),
        };
        let keys = keys.map_err(|unavailable| PostError::Refused(unavailable.into()))?;
        let (mut fields, form) = (Fields::default(), SharedForm::new(form));
        let none = "No Files To Process";
        let mut outcome = Outcome { status: StatusCode::BAD_REQUEST, message: none, body: None };
        let mut files = 0_i64;
        while let Some(part) = form.next_part().await? {
            let Some(filename) = part.filename.clone() else {
                let value = form.value().await?;
                fields.add(part.name.as_deref(), &value)?;
                continue;
            };
            files += 1;
            if files > fields.number("max_file_count")? {
                outcome.status = StatusCode::BAD_REQUEST;
                (outcome.message, outcome.body) = ("Max File Count Exceeded", None);
                break;
            }
            let put = self.put(call, &fields, &part, &filename, &keys)?;
            let bytes_max = u64::try_from(fields.number("max_file_size")?).unwrap_or(0);
            let response = next.answer(put.carrying(form.file(bytes_max).await)).await;
            if form.was_too_large().await {
                return Err(PostError::Invalid("max_file_size exceeded".into()));
            }
            let (parts, body) = response.into_parts();
            outcome = Outcome { status: parts.status, message: "", body: None };
            if !parts.status.is_success() {
                outcome.body = Some(body);
                break;
            }
        }
        Ok(outcome.response(fields.get("redirect")))
    }

    /// The upload of one file, if the form is signed and allows it.
    fn put(
        &self,
        call: &Call,
        fields: &Fields,
        part: &multipart::PartHead,
        filename: &str,
        keys: &[ScopedKey],
    ) -> Result<Call, PostError> {
        let container = call.entity.to_container();
        if keys.is_empty() {
            return Err(PostError::Unauthorized("Invalid Signature"));
        }
        fields.number("max_file_size")?;
        let prefix = call.entity.object.as_ref().map_or("", |object| object.as_str());
        let name = ObjectName::parse(format!("{prefix}{filename}"))
            .map_err(|_| PostError::Invalid("the name of a file cannot be used".into()))?;
        let mut put = call.sub(Method::PUT, container.with_object(name), "FP");
        put.context.authority = Authority::Signed(container);
        fields.expiry("x_delete_at", "Unix timestamp", &mut put)?;
        fields.expiry("x_delete_after", "Number of seconds", &mut put)?;
        let types = [
            (header::CONTENT_TYPE, &part.content_type),
            (header::CONTENT_ENCODING, &part.content_encoding),
        ];
        for (name, of_part) in types {
            let value = fields.get_even_empty(name.as_str()).or(of_part.as_deref());
            set(&mut put, name, value)?;
        }
        let chunked = HeaderValue::from_static("chunked");
        put.headers.insert(header::TRANSFER_ENCODING, chunked);
        self.check_signature(call, fields, keys)?;
        Ok(put)
    }

    fn check_signature(
        &self,
        call: &Call,
        fields: &Fields,
        keys: &[ScopedKey],
    ) -> Result<(), PostError> {
        let now = i64::try_from(self.store.env.clock.now().seconds()).unwrap_or(i64::MAX);
        if fields.number("expires")? < now {
            return Err(PostError::Unauthorized("Form Expired"));
        }
        let number = |name| fields.get(name).unwrap_or("0");
        let message = format!(
            "{}\n{}\n{}\n{}\n{}",
            call.context.path,
            fields.get("redirect").unwrap_or_default(),
            number("max_file_size"),
            number("max_file_count"),
            number("expires"),
        );
        let signature = fields.get("signature").and_then(Signature::parse);
        let right = signature.is_some_and(|signature| {
            let of = |key: &ScopedKey| signature.is_of(key.key.as_bytes(), message.as_bytes());
            self.allowed_digests.contains(&signature.digest) && keys.iter().any(of)
        });
        if right { Ok(()) } else { Err(PostError::Unauthorized("Invalid Signature")) }
    }
}

/// See [`crate::parsers::form`].
pub(crate) fn read_anything(data: &[u8]) {
    let Some((piece, document)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(document);
    let boundary = multipart::boundary(&text).unwrap_or_else(|| "b".to_owned());
    let mut splitter = multipart::Splitter::new(&boundary);
    let mut pieces = document.chunks(usize::from(*piece).max(1));
    while let Ok(event) = splitter.event() {
        match (event, pieces.next()) {
            (multipart::Event::End, _) => break,
            (multipart::Event::Hungry, Some(piece)) => splitter.feed(piece),
            (multipart::Event::Hungry, None) => splitter.close(),
            (_, Some(piece)) => splitter.feed(piece),
            (_, None) => {}
        }
    }
}

fn set(put: &mut Call, name: HeaderName, value: Option<&str>) -> Result<(), PostError> {
    let value = match value {
        None => return Ok(()),
        Some("") if name == header::CONTENT_TYPE => "application/octet-stream",
        Some(value) => value,
    };
    let valid = HeaderValue::from_bytes(value.as_bytes());
    let invalid = |_| PostError::Invalid(format!("{name} cannot be used").into());
    put.headers.insert(&name, valid.map_err(invalid)?);
    Ok(())
}

impl Outcome {
    /// A page for people, or a way back to where the form says.
    fn response(self, redirect: Option<&str>) -> Response {
        let Some(redirect) = redirect else {
            let reason = self.status.canonical_reason().unwrap_or_default();
            let mut sentence = format!("{} {reason}", self.status.as_u16());
            if !self.message.is_empty() {
                sentence = format!("{sentence}\r\nFormPost: {}", self.message);
            }
            let mut response = text(self.status, sentence);
            if let Some(body) = self.body {
                *response.body_mut() = body;
            }
            return response;
        };
        let separator = if redirect.contains('?') { '&' } else { '?' };
        let (status, message) = (self.status.as_u16(), self.message.to_lowercase());
        let message = encode_segment(&message);
        let target = format!("{redirect}{separator}status={status}&message={message}");
        let link = super::staticweb::escaped(&target);
        let page =
            format!("<html><body><p><a href=\"{link}\">Click to continue...</a></p></body></html>");
        let mut response = Response::new(Body::from(page));
        *response.status_mut() = StatusCode::SEE_OTHER;
        let html = HeaderValue::from_static("text/html; charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        if let Ok(target) = HeaderValue::from_bytes(target.as_bytes()) {
            response.headers_mut().insert(header::LOCATION, target);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(outcome: Outcome, redirect: Option<&str>) -> (u16, String, String) {
        let response = outcome.response(redirect);
        let location = response.headers().get(header::LOCATION);
        let location = location.map(|value| value.to_str().expect("text").to_owned());
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        (status, location.unwrap_or_default(), String::from_utf8_lossy(&body).into_owned())
    }

    fn outcome(status: StatusCode, message: &'static str) -> Outcome {
        Outcome { status, message, body: None }
    }

    #[tokio::test]
    async fn without_a_redirect_the_status_is_told() {
        let created = answered(outcome(StatusCode::CREATED, ""), None).await;
        assert_eq!(created, (201, String::new(), "201 Created".to_owned()));
        let many = outcome(StatusCode::BAD_REQUEST, "Max File Count Exceeded");
        let (_, _, body) = answered(many, None).await;
        assert_eq!(body, "400 Bad Request\r\nFormPost: Max File Count Exceeded");
    }

    #[tokio::test]
    async fn redirects_tell_the_status_too_and_cannot_break_out() {
        let many = outcome(StatusCode::BAD_REQUEST, "Max File Count Exceeded");
        let (status, location, _) = answered(many, Some("http://x/?a=b")).await;
        let expected = "http://x/?a=b&status=400&message=max%20file%20count%20exceeded";
        assert_eq!((status, location.as_str()), (303, expected));
        let evil = answered(outcome(StatusCode::CREATED, ""), Some("http://x/\"><script>")).await;
        assert!(!evil.2.contains("<script>"), "{}", evil.2);
    }
}
