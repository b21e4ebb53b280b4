//! Whether a caller may do what is asked. Swift: common/middleware/tempauth.py, `authorize`.

mod account_acl;
mod acl;
mod judge;
mod keys;
pub(crate) mod signature;

pub(crate) use account_acl::AccountAcl;
pub(crate) use acl::{Acl, clean};
pub(crate) use judge::Judge;
pub(crate) use keys::{ScopedKey, keys_for};

use http::Method;
use wire::Caller;

/// What somebody wants to do, as far as permission depends on it.
pub(crate) struct Asked<'a> {
    pub(crate) caller: Option<&'a Caller>,
    pub(crate) method: &'a Method,
    pub(crate) account: &'a str,
    pub(crate) has_container: bool,
    pub(crate) has_object: bool,
    /// The `Referer` of the request.
    pub(crate) referer: Option<&'a str>,
    /// The account's own ACL, if it has one.
    pub(crate) account_acl: Option<&'a AccountAcl>,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// As the owner: sees keys and ACLs too.
    Owner,
    /// As somebody whom an ACL lets in.
    Guest,
}

/// Somebody may not do what is asked; 401 for strangers and 403 for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied;

impl Asked<'_> {
    /// By what the caller is, whatever ACLs say.
    pub(crate) fn as_owner(&self) -> Option<Granted> {
        // Accounts with a dot are the cluster's own (queues of the expirer, shards).
        if self.account.starts_with('.') {
            return None;
        }
        let caller = self.caller?;
        if caller.reseller_admin {
            return Some(Granted::Owner);
        }
        // An account is made and deleted by those above it.
        let manages_account =
            !self.has_container && (*self.method == Method::PUT || *self.method == Method::DELETE);
        let owns = !manages_account && caller.administers(self.account);
        let shares = || self.account_acl.is_some_and(|acl| acl.makes_owner(&caller.groups));
        (owns || shares()).then_some(Granted::Owner)
    }

    /// By what the caller is, or by the ACL of the container for this kind of request.
    pub(crate) fn with_acl(&self, acl: Option<&str>) -> Result<Granted, Denied> {
        if let Some(granted) = self.as_owner() {
            return Ok(granted);
        }
        if self.account.starts_with('.') {
            return Err(Denied);
        }
        let reads = *self.method == Method::GET || *self.method == Method::HEAD;
        if reads && self.caller.is_some_and(|caller| caller.reseller_reader) {
            return Ok(Granted::Guest);
        }
        if let (Some(acl), Some(caller)) = (self.account_acl, self.caller)
            && acl.allows(&caller.groups, reads, self.has_container)
        {
            return Ok(Granted::Guest);
        }
        let acl = Acl::parse(acl.unwrap_or_default());
        if acl.allows_referer(self.referer) && (self.has_object || acl.allows_listing()) {
            return Ok(Granted::Guest);
        }
        match self.caller {
            Some(caller) if acl.allows_any_of(&caller.groups) => Ok(Granted::Guest),
            _ => Err(Denied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> wire::Owned {
        wire::Owned { account: "AUTH_test".into(), require_group: None }
    }

    fn caller(admin: bool) -> Caller {
        Caller {
            user: "test:tester".into(),
            account: "AUTH_test".into(),
            groups: vec!["test:tester".into(), "test".into()],
            owns: admin.then(own).into_iter().collect(),
            ..Caller::default()
        }
    }

    fn asked<'a>(caller: Option<&'a Caller>, method: &'a Method, object: bool) -> Asked<'a> {
        Asked {
            caller,
            method,
            account: "AUTH_test",
            has_container: true,
            has_object: object,
            referer: None,
            account_acl: None,
        }
    }

    #[test]
    fn owners_need_no_acl_but_do_not_manage_accounts() {
        let owner = caller(true);
        assert_eq!(asked(Some(&owner), &Method::PUT, true).with_acl(None), Ok(Granted::Owner));
        for method in [Method::PUT, Method::DELETE] {
            let account = Asked { has_container: false, ..asked(Some(&owner), &method, false) };
            assert_eq!(account.with_acl(None), Err(Denied), "{method}");
        }
        let other = Asked { account: "AUTH_other", ..asked(Some(&owner), &Method::GET, true) };
        assert_eq!(other.with_acl(None), Err(Denied));
    }

    #[test]
    fn reseller_admins_may_do_everything_but_not_inside_the_cluster() {
        let admin = Caller { reseller_admin: true, ..caller(false) };
        let other = Asked { account: "AUTH_other", ..asked(Some(&admin), &Method::DELETE, true) };
        assert_eq!(other.with_acl(None), Ok(Granted::Owner));
        let hidden =
            Asked { account: ".expiring_objects", ..asked(Some(&admin), &Method::GET, true) };
        assert_eq!(hidden.with_acl(Some(".r:*")), Err(Denied));
    }

    #[test]
    fn reseller_readers_read_everything_as_guests() {
        let reader = Caller { reseller_reader: true, ..caller(false) };
        let other = |method| Asked { account: "AUTH_other", ..asked(Some(&reader), method, true) };
        assert_eq!(other(&Method::GET).with_acl(None), Ok(Granted::Guest));
        assert_eq!(other(&Method::PUT).with_acl(None), Err(Denied));
    }

    #[test]
    fn members_and_strangers_depend_on_the_acl() {
        let member = caller(false);
        let member = asked(Some(&member), &Method::GET, true);
        assert_eq!(member.with_acl(None), Err(Denied));
        for acl in ["test", "test:tester", "x,test:tester", "*:*"] {
            assert_eq!(member.with_acl(Some(acl)), Ok(Granted::Guest), "{acl}");
        }
        let stranger = asked(None, &Method::GET, true);
        assert_eq!(stranger.with_acl(Some("*:*")), Err(Denied));
        assert_eq!(stranger.with_acl(Some(".r:*")), Ok(Granted::Guest));
        let listing = asked(None, &Method::GET, false);
        assert_eq!(listing.with_acl(Some(".r:*")), Err(Denied));
        assert_eq!(listing.with_acl(Some(".r:*,.rlistings")), Ok(Granted::Guest));
    }
}
