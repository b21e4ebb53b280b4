//! Who asks: the token's holder, as the identity service says. Swift: common/middleware/tempauth.py, `__call__`.
//! What they may do is decided where it is known what it takes ([`crate::auth::Judge`]).
//!
//! The ACL of an account comes in here as `X-Account-Access-Control`, is checked, and goes on as system metadata.

use http::header::HeaderValue;
use serde_json::{Value, json};
use std::sync::Arc;
use wire::{AuthUnavailable, Authenticator, Caller, Response};

use super::{Answer, Handler, Middleware, Parts};
use crate::auth::AccountAcl;
use crate::call::{Authority, Call};
use crate::config::StartError;
use crate::swift::error::Refusal;

struct TempAuth {
    auth: Arc<dyn Authenticator>,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    Ok(Arc::new(TempAuth { auth: Arc::clone(&parts.auth) }))
}

impl Middleware for TempAuth {
    fn handle(self: Arc<Self>, mut call: Call, next: Handler) -> Answer {
        if let Err(refusal) = translate_acl(&mut call) {
            return Box::pin(std::future::ready(refusal.into()));
        }
        let decided = !matches!(call.context.authority, Authority::Caller);
        let Some(token) = token(&call).filter(|_| !decided).cloned() else {
            return next.answer(call);
        };
        Box::pin(async move {
            match self.caller(&call, &token).await {
                Ok(caller) => {
                    if let (Some(caller), Some(notes)) = (&caller, &call.context.notes) {
                        notes.user(&caller.user);
                    }
                    call.context.caller = caller.map(Arc::new);
                    next.answer(call).await
                }
                Err(refusal) => Response::from(refusal),
            }
        })
    }

    fn info(&self) -> Option<(&'static str, Value)> {
        Some(("tempauth", json!({ "account_acls": true })))
    }
}

fn token(call: &Call) -> Option<&HeaderValue> {
    let token = call.headers.get("x-auth-token").or_else(|| call.headers.get("x-storage-token"));
    token.filter(|token| !token.is_empty())
}

impl TempAuth {
    /// The holder of the token, and of the service's beside it. A token of ours that is not valid is refused even where
    /// none would be needed: its holder believes to be somebody. One that is not ours is as good as none.
    async fn caller(&self, call: &Call, token: &HeaderValue) -> Result<Option<Caller>, Refusal> {
        let Ok(token) = token.to_str() else { return Err(call.unauthorized()) };
        if !self.auth.issues(token) {
            return Ok(None);
        }
        let Some(mut caller) = self.verify(token).await? else { return Err(call.unauthorized()) };
        if let Some(service) = call.header("x-service-token")
            && let Some(service) = self.verify(service).await?
        {
            caller.with_service(service);
        }
        Ok(Some(caller))
    }

    async fn verify(&self, token: &str) -> Result<Option<Caller>, Refusal> {
        let unavailable = Refusal::Status(http::StatusCode::SERVICE_UNAVAILABLE);
        self.auth.verify(token).await.map_err(|AuthUnavailable| unavailable)
    }
}

/// Makes an ACL what accounts store, or says what is wrong with it.
fn translate_acl(call: &mut Call) -> Result<(), Refusal> {
    let Some(acl) = call.headers.remove("x-account-access-control") else { return Ok(()) };
    let text = String::from_utf8_lossy(acl.as_bytes());
    AccountAcl::check(&text).map_err(|error| {
        let sentence = format!("X-Account-Access-Control invalid: {error}\n\nInput: {text}\n");
        Refusal::bad_request(sentence)
    })?;
    call.headers.insert("x-account-sysmeta-core-access-control", acl);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn an_acl_becomes_system_metadata() {
        let mut call = crate::call::tests::call(Method::POST, "a");
        let acl = HeaderValue::from_static(r#"{"admin":["x"]}"#);
        call.headers.insert("x-account-access-control", acl.clone());
        assert!(translate_acl(&mut call).is_ok());
        assert_eq!(call.headers.get("x-account-sysmeta-core-access-control"), Some(&acl));
        assert!(!call.headers.contains_key("x-account-access-control"));
        call.headers.insert("x-account-access-control", HeaderValue::from_static("yuck"));
        let refused = translate_acl(&mut call).expect_err("refused");
        assert_eq!(Response::from(refused).status(), 400);
    }
}
