//! Who somebody is: users, keys and tokens.
//!
//! What there is so far is [`tempauth`], Swift's v1 authentication over users named in the configuration:
//! enough for one team and for tests. Keystone (v3 and v2.0: projects, roles, the catalogue, Fernet tokens,
//! EC2 credentials) is not here yet. When it comes it will answer the same [`wire::Authenticator`], so the
//! front door will not notice; `tempauth` then stays as the other way in.
//!
//! Absent on purpose: any path into storage. Whether somebody may do a thing is judged by the proxy, which
//! knows accounts and their ACLs; here it is only said who asks.

mod config;
pub mod tempauth;

pub use config::{Config, Secret, UrlScheme, User};
pub use tempauth::{ConfigError, TempAuth};
