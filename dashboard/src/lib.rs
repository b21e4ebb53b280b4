//! Horizon: a web page over the public APIs, and nothing else.
//!
//! The page will run in the browser and speak to the same endpoints as every other client, with the token of
//! whoever looks at it. It has no private path into anything: this crate imports no other of the house.
//!
//! What is here so far is the first page, [`page`], which says where the services are, and [`escape`], through which
//! every text must go that stands in HTML. Absent: signing in, and everything one could do then.

mod html;

pub use html::{Endpoint, escape, page};
