//! Requests to containers.

use http::header::HeaderValue;
use http::{Method, StatusCode};
use types::PolicyIndex;
use wire::Response;

use super::error::Refusal;
use super::{Face, constraints, listing, relay};
use crate::auth::{Granted, clean};
use crate::call::Call;

const ALLOW: &str = "DELETE, GET, HEAD, OPTIONS, POST, PUT";
/// What is stored of a container beside its metadata.
const SETTINGS: [&str; 2] = ["x-container-read", "x-container-write"];

impl Face {
    pub(super) async fn container(&self, mut call: Call) -> Result<Response, Refusal> {
        match call.method.as_str() {
            "OPTIONS" => Self::options(&call, ALLOW),
            "GET" | "HEAD" => self.list_container(&call).await,
            "PUT" => {
                self.authorize_writing(&mut call).await?;
                self.put_container(&mut call).await
            }
            "POST" => {
                self.authorize_writing(&mut call).await?;
                self.post_container(&mut call).await
            }
            "DELETE" => {
                self.authorize(&call, None).await?;
                self.delete_container(&call).await
            }
            _ => Err(Refusal::MethodNotAllowed(ALLOW)),
        }
    }

    /// Whoever is let in by the account's ACL may write metadata, but neither ACLs nor keys.
    async fn authorize_writing(&self, call: &mut Call) -> Result<(), Refusal> {
        if self.authorize(call, None).await? != Granted::Owner {
            relay::without_owners_settings(&mut call.headers);
        }
        Ok(())
    }

    /// Who may list is known only when the container's ACL is; until then nothing of it is shown.
    async fn list_container(&self, call: &Call) -> Result<Response, Refusal> {
        let wanted = listing::wanted(&call.query, &call.headers)?;
        let limit = self.config.limits.container_listing_limit;
        let query = listing::backend_query(&call.query, wanted.format, limit)?;
        if !self.store.account_info(&call.entity).await?.exists() {
            self.authorize(call, None).await?;
            return Err(Refusal::not_found());
        }
        let response = self.store.read(&call.entity, call.read(Some(query), &[])).await?;
        let acl = response.headers().get("x-container-read").map(HeaderValue::as_bytes);
        let acl = acl.map(String::from_utf8_lossy);
        let granted = self.authorize(call, acl.as_deref()).await?;
        let is_head = call.method == Method::HEAD;
        Ok(relay::listing(response, &wanted, granted, &self.config, is_head))
    }

    /// Brings the ACLs of a request into the form in which they are stored.
    fn clean_acls(call: &mut Call) -> Result<(), Refusal> {
        for (name, for_writing) in [("x-container-read", false), ("x-container-write", true)] {
            let Some(value) = call.headers.get(name) else { continue };
            let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
                return Err(Refusal::bad_request("Metadata must be valid UTF-8"));
            };
            let cleaned = clean(text, for_writing);
            let cleaned = cleaned.map_err(|error| Refusal::bad_request(error.to_string()))?;
            if let Ok(cleaned) = HeaderValue::from_bytes(cleaned.as_bytes()) {
                call.headers.insert(name, cleaned);
            }
        }
        Ok(())
    }

    fn policy(&self, call: &Call) -> Result<Option<PolicyIndex>, Refusal> {
        let Some(value) = call.headers.get("x-storage-policy").filter(|value| !value.is_empty())
        else {
            return Ok(None);
        };
        let name = String::from_utf8_lossy(value.as_bytes());
        let Some(policy) = self.config.policies.by_name(&name) else {
            return Err(Refusal::bad_request(format!("Invalid X-Storage-Policy '{name}'")));
        };
        if policy.deprecated {
            let name = &policy.name;
            return Err(Refusal::bad_request(format!("Storage Policy '{name}' is deprecated")));
        }
        Ok(Some(policy.index))
    }

    async fn put_container(&self, call: &mut Call) -> Result<Response, Refusal> {
        Self::clean_acls(call)?;
        constraints::check_metadata(&call.headers, "x-container-meta-", &self.config.limits)?;
        let policy = self.policy(call)?;
        let name = call.entity.container.as_ref().map_or("", |name| name.as_str());
        constraints::check_name("Container", name, self.config.limits.max_container_name_length)?;
        let account = call.entity.account.as_str();
        constraints::check_name("Account", account, self.config.limits.max_account_name_length)?;
        if !self.store.account_info(&call.entity).await?.exists() {
            if !self.config.account_autocreate {
                return Err(Refusal::not_found());
            }
            self.store.autocreate_account(&call.entity, &call.context.trans_id).await?;
        }
        let metadata = call.metadata("container", &SETTINGS);
        Ok(relay::written(self.store.put_container(&call.entity, metadata, policy).await?))
    }

    async fn post_container(&self, call: &mut Call) -> Result<Response, Refusal> {
        Self::clean_acls(call)?;
        constraints::check_metadata(&call.headers, "x-container-meta-", &self.config.limits)?;
        if !self.store.account_info(&call.entity).await?.exists() {
            return Err(Refusal::not_found());
        }
        let metadata = call.metadata("container", &SETTINGS);
        Ok(relay::written(self.store.post_container(&call.entity, metadata).await?))
    }

    async fn delete_container(&self, call: &Call) -> Result<Response, Refusal> {
        if !self.store.account_info(&call.entity).await?.exists() {
            return Err(Refusal::not_found());
        }
        let headers = call.backend_headers();
        let mut answer = self.store.delete_container(&call.entity, headers.clone()).await?;
        if answer.as_ref().is_some_and(|answer| answer.status == StatusCode::CONFLICT)
            && self.store.delete_expired(&call.entity).await.unwrap_or(false)
        {
            answer = self.store.delete_container(&call.entity, headers).await?;
        }
        answer.map(relay::written).ok_or(Refusal::Status(StatusCode::NOT_FOUND))
    }
}
