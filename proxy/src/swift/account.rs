//! Requests to accounts.

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use wire::{Body, Response};

use super::error::Refusal;
use super::listing::{self, Format, Wanted};
use super::rows::account_xml;
use super::{Face, constraints, relay};
use crate::auth::Granted;
use crate::call::Call;
use crate::store::{AccountInfo, AccountStatus};

const ALLOW: &str = "GET, HEAD, OPTIONS, POST";
const ALLOW_MANAGED: &str = "DELETE, GET, HEAD, OPTIONS, POST, PUT";

impl Face {
    pub(super) async fn account(&self, call: Call) -> Result<Response, Refusal> {
        let managed = self.config.allow_account_management;
        let allow = if managed { ALLOW_MANAGED } else { ALLOW };
        match call.method.as_str() {
            "OPTIONS" => return Self::options(&call, allow),
            "GET" | "HEAD" | "POST" => {}
            "PUT" | "DELETE" if managed => {}
            _ => return Err(Refusal::MethodNotAllowed(allow)),
        }
        let granted = self.authorize(&call, None).await?;
        let name = call.entity.account.as_str();
        constraints::check_name("Account", name, self.config.limits.max_account_name_length)?;
        match call.method.as_str() {
            "GET" | "HEAD" => self.list_account(&call, granted).await,
            "DELETE" => self.delete_account(&call).await,
            _ => self.write_account(&call).await,
        }
    }

    async fn list_account(&self, call: &Call, granted: Granted) -> Result<Response, Refusal> {
        let wanted = listing::wanted(&call.query, &call.headers)?;
        let limit = self.config.limits.account_listing_limit;
        let query = listing::backend_query(&call.query, wanted.format, limit)?;
        let is_head = call.method == Method::HEAD;
        let response = self.store.read(&call.entity, call.read(Some(query), &[])).await?;
        let info = AccountInfo::of(response.status(), response.headers());
        match info.map(|info| info.status) {
            Some(AccountStatus::Deleted) => {
                let mut gone = super::error::page(StatusCode::GONE);
                let deleted = HeaderValue::from_static("Deleted");
                gone.headers_mut().insert("x-account-status", deleted);
                Ok(gone)
            }
            Some(AccountStatus::Missing) if self.config.account_autocreate => {
                Ok(self.virgin_account(call, &wanted))
            }
            _ => Ok(relay::listing(response, &wanted, granted, &self.config, is_head)),
        }
    }

    /// An account that the first write will make looks like an empty one until then.
    fn virgin_account(&self, call: &Call, wanted: &Wanted) -> Response {
        let body = match wanted.format {
            Format::Plain => String::new(),
            Format::Json => "[]".to_owned(),
            Format::Xml | Format::TextXml => account_xml(&[], call.entity.account.as_str()),
        };
        let empty = body.is_empty() || call.method == Method::HEAD;
        let mut response = Response::new(if empty { Body::empty() } else { Body::from(body) });
        if empty {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        let headers = response.headers_mut();
        let zeros = ["x-account-container-count", "x-account-object-count", "x-account-bytes-used"];
        for name in zeros {
            headers.insert(name, HeaderValue::from_static("0"));
        }
        if let Ok(now) = HeaderValue::try_from(self.store.env.clock.now().normal()) {
            headers.insert("x-timestamp", now);
        }
        if wanted.varies {
            headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        }
        headers.insert(header::CONTENT_TYPE, wanted.format.content_type());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        response
    }

    async fn write_account(&self, call: &Call) -> Result<Response, Refusal> {
        constraints::check_metadata(&call.headers, "x-account-meta-", &self.config.limits)?;
        let metadata = call.metadata("account", &[]);
        let write =
            || self.store.write_account(&call.entity, call.method.clone(), metadata.clone());
        let mut answer = write().await?;
        let info = AccountInfo::of(answer.status, &answer.headers);
        let virgin = call.method == Method::POST
            && info.is_some_and(|info| info.status == AccountStatus::Missing)
            && self.config.account_autocreate;
        if virgin {
            self.store.autocreate_account(&call.entity, &call.context.trans_id).await?;
            answer = write().await?;
        }
        Ok(relay::written(answer))
    }

    async fn delete_account(&self, call: &Call) -> Result<Response, Refusal> {
        // Somebody who meant a bulk deletion must not lose the account over a typing error.
        if !call.query.0.is_empty() {
            return Err(Refusal::Status(StatusCode::BAD_REQUEST));
        }
        let headers = call.backend_headers();
        Ok(relay::written(self.store.write_account(&call.entity, Method::DELETE, headers).await?))
    }
}
