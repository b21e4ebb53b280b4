//! The way from a link to what it leads to. Swift: `SymlinkObjectContext._recursive_get_head`.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use types::AccountName;
use wire::headers::{X_BACKEND_ALLOW_RESERVED_NAMES, X_BACKEND_STORAGE_POLICY_INDEX};
use wire::{Response, encode_segment};

use super::headers::{
    SYSMETA_ALLOW_RESERVED_NAMES, SYSMETA_SYMLOOP_EXTEND, SYSMETA_TARGET, SYSMETA_TARGET_ACCOUNT,
    SYSMETA_TARGET_ETAG,
};
use crate::call::{Call, Context};
use crate::pipeline::Handler;
use crate::store::Entity;
use crate::swift::constraints::is_true;
use crate::swift::error::{Refusal, text};
use crate::swift::reference;

/// Which links are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    /// All.
    All,
    /// Only those that say which ETag their target must have: a dynamic link is an object itself then.
    Static,
}

/// Why a way has no end.
#[derive(Debug)]
pub(super) enum Lost {
    /// Too many links.
    Loop(u32),
    /// The ETag is not the one that a static link asks for.
    Etag { sentence: String, at: Option<String> },
    /// A link that cannot be read, which no client can have made.
    Refused(Refusal),
}

impl From<Lost> for Response {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Loop(most) => {
                let sentence =
                    format!("Too many levels of symbolic links, maximum allowed is {most}");
                text(StatusCode::CONFLICT, sentence)
            }
            Lost::Etag { sentence, at } => located(text(StatusCode::CONFLICT, sentence), at),
            Lost::Refused(refusal) => refusal.into(),
        }
    }
}

/// A response that tells where it comes from.
pub(super) fn located(mut response: Response, at: Option<String>) -> Response {
    if let Some(at) = at.and_then(|at| HeaderValue::try_from(at).ok()) {
        response.headers_mut().insert(header::CONTENT_LOCATION, at);
    }
    response
}

/// The path of an object, as clients are told it. Both are encoded already.
pub(super) fn location(account: &str, object: &str) -> String {
    format!("/v1/{account}/{}", object.trim_start_matches('/'))
}

/// One way.
pub(super) struct Way<'a> {
    next: &'a Handler,
    through: Through,
    /// How many links may be followed.
    links_max: u32,
    /// Those that were.
    links: u32,
    /// Those that were, and do not count.
    hidden: u32,
    /// Where it has led so far.
    pub(super) at: Option<String>,
}

/// What every step asks.
struct Question {
    method: Method,
    headers: HeaderMap,
    context: Context,
}

/// A link as it stands in an answer's headers.
struct Link {
    object: HeaderValue,
    account: Option<HeaderValue>,
    etag: Option<HeaderValue>,
    reserved: bool,
    uncounted: bool,
}

impl Link {
    fn of(headers: &HeaderMap) -> Option<Self> {
        Some(Link {
            object: headers.get(SYSMETA_TARGET)?.clone(),
            account: headers.get(SYSMETA_TARGET_ACCOUNT).cloned(),
            etag: headers.get(SYSMETA_TARGET_ETAG).cloned(),
            reserved: headers.contains_key(SYSMETA_ALLOW_RESERVED_NAMES),
            uncounted: is_true(headers.get(SYSMETA_SYMLOOP_EXTEND)),
        })
    }
}

impl<'a> Way<'a> {
    pub(super) fn new(next: &'a Handler, through: Through, links_max: u32) -> Self {
        Way { next, through, links_max, links: 0, hidden: 0, at: None }
    }

    /// Goes it to its end, and gives the answer from there. `wanted` is the ETag that must be found.
    pub(super) async fn go(
        &mut self,
        mut call: Call,
        mut wanted: Option<HeaderValue>,
    ) -> Result<Response, Lost> {
        let question = Question {
            method: call.method.clone(),
            headers: call.headers.clone(),
            context: call.context.clone(),
        };
        loop {
            let account = call.entity.account.clone();
            let response = self.next.answer(call).await;
            let followed = |link: &Link| link.etag.is_some() || self.through == Through::All;
            let Some(link) = Link::of(response.headers()).filter(followed) else {
                return self.arrived(response, wanted);
            };
            let found = link.etag.as_ref().or(response.headers().get(header::ETAG));
            if wanted.is_some() && wanted.as_ref() != found {
                let sentence = "X-Symlink-Target-Etag headers do not match".to_owned();
                return Err(Lost::Etag { sentence, at: self.at.take() });
            }
            self.count(&link)?;
            call = self.step(&question, account, &link).map_err(Lost::Refused)?;
            wanted = link.etag;
        }
    }

    fn count(&mut self, link: &Link) -> Result<(), Lost> {
        // Links that do not count lead to versions, which may be links that do; so there are never more of them.
        if self.links >= self.links_max || self.hidden > self.links_max {
            return Err(Lost::Loop(self.links_max));
        }
        let counter = if link.uncounted { &mut self.hidden } else { &mut self.links };
        *counter += 1;
        Ok(())
    }

    /// The question for what a link leads to.
    fn step(
        &mut self,
        question: &Question,
        own: AccountName,
        link: &Link,
    ) -> Result<Call, Refusal> {
        let account = link.account.as_ref().map(reference::account).transpose()?.unwrap_or(own);
        let (container, object) = reference::object("X-Symlink-Target", &link.object)?;
        let path = encode_segment(&format!("{container}/{object}"));
        self.at = Some(location(&encode_segment(account.as_str()), &path));
        let target = Entity { account, container: Some(container), object: Some(object) };
        let mut call = question.context.call(question.method.clone(), target, "SYM");
        call.headers = question.headers.clone();
        call.headers.remove(X_BACKEND_STORAGE_POLICY_INDEX);
        if link.reserved {
            call = call
                .granted()
                .with(X_BACKEND_ALLOW_RESERVED_NAMES, HeaderValue::from_static("true"));
        }
        Ok(call)
    }

    fn arrived(&self, response: Response, wanted: Option<HeaderValue>) -> Result<Response, Lost> {
        let found = response.headers().get(header::ETAG);
        if let (Some(wanted), Some(found)) = (wanted, found)
            && wanted != found
        {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let (found, wanted) = (text(found), text(&wanted));
            let sentence = format!(
                "Object Etag '{found}' does not match X-Symlink-Target-Etag header '{wanted}'"
            );
            return Err(Lost::Etag { sentence, at: self.at.clone() });
        }
        Ok(located(response, self.at.clone()))
    }
}
