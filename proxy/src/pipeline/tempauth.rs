//! Who asks: the token's holder, as the identity service says. Swift: common/middleware/tempauth.py, `__call__`.
//! What they may do is decided where it is known what it takes ([`Call::authorize`]).

use std::sync::Arc;
use wire::{AuthUnavailable, Authenticator, Response};

use super::{Answer, Handler, Middleware, Parts};
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
        let token =
            call.headers.get("x-auth-token").or_else(|| call.headers.get("x-storage-token"));
        let decided = !matches!(call.context.authority, Authority::Caller);
        let Some(token) = token.filter(|token| !token.is_empty() && !decided).cloned() else {
            return next.answer(call);
        };
        Box::pin(async move {
            // A token that is not valid is refused even where none would be needed: its holder believes to be
            // somebody.
            let Ok(text) = token.to_str() else { return call.unauthorized().into() };
            match self.auth.verify(text).await {
                Ok(Some(caller)) => call.context.caller = Some(Arc::new(caller)),
                Ok(None) => return call.unauthorized().into(),
                Err(AuthUnavailable) => {
                    return Response::from(Refusal::Status(http::StatusCode::SERVICE_UNAVAILABLE));
                }
            }
            next.answer(call).await
        })
    }
}
