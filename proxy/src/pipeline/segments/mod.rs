//! Objects that are put together of others while they are read: what static and dynamic large objects have in common.
//! Swift: common/request_helpers.py, `SegmentedIterable`.
//!
//! A middleware says which pieces make the bytes wanted, as a stream ([`Pieces`]), slowed down if need be (`pace`).
//! [`Source`] asks for them further in and hands their bytes on (`body`), the next segment being opened while one is
//! sent. [`Shape`] answers the client's conditions and ranges for the whole (`shape`).

mod body;
mod pace;
mod shape;

pub(crate) use body::{Section, Source};
pub(crate) use pace::{Pace, paced};
pub(crate) use shape::{Seen, Shape};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use std::ops::Range;
use wire::conditions::CHOOSING;

use crate::call::{Call, Context, Query};
use crate::store::Entity;
use crate::swift::error::Refusal;

/// Some bytes of a large object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// They are at hand.
    Data(Bytes),
    /// They are those of an object.
    Object(Segment),
}

/// An object, or a part of it, that is a piece of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) entity: Entity,
    /// The ETag that it must have, if that matters.
    pub(crate) etag: Option<String>,
    /// The length that it must have in all, if that matters.
    pub(crate) size: Option<u64>,
    /// The length that it is said to have.
    pub(crate) listed: u64,
    /// The part that is wanted, unless it is all.
    pub(crate) part: Option<Range<u64>>,
}

/// The pieces of a large object, one after the other. The last may be an error.
pub(crate) type Pieces = BoxStream<'static, Result<Piece, SegmentError>>;

/// Why a large object cannot be put together.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error("storage answered {0} for a segment")]
    Unavailable(StatusCode),
    #[error("the segment {name} could not be read: {status}")]
    Missing { name: String, status: StatusCode },
    #[error("the segment {0} is not what it was when the manifest was written")]
    Changed(String),
    #[error("a manifest could not be read: {0}")]
    Manifest(String),
    #[error("the manifests of large objects are nested too deeply")]
    Depth,
    #[error("a segment broke off")]
    BrokenOff,
    #[error("the segments are longer than they should be")]
    TooLong,
    #[error("the segments are shorter than they should be")]
    TooShort,
    #[error("it takes longer than a read may take")]
    TooSlow,
}

impl From<SegmentError> for Refusal {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Unavailable(_) => Refusal::Status(StatusCode::SERVICE_UNAVAILABLE),
            _ => Refusal::Status(StatusCode::CONFLICT),
        }
    }
}

/// What of a client's headers counts for the segments, too.
const INHERITED: [HeaderName; 3] = [
    header::REFERER,
    HeaderName::from_static("x-open-expired"),
    HeaderName::from_static(wire::headers::X_BACKEND_OPEN_EXPIRED),
];

/// A read as the client asked for it, remembered while what it is about is looked up.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) entity: Entity,
    pub(crate) query: Query,
    pub(crate) context: Context,
    /// Conditions and ranges.
    pub(crate) choosing: HeaderMap,
    inherited: HeaderMap,
}

impl Asked {
    pub(crate) fn of(call: &Call) -> Self {
        let picked = |names: &[HeaderName]| {
            let found =
                names.iter().filter_map(|name| Some((name.clone(), call.headers.get(name)?)));
            found.map(|(name, value)| (name, value.clone())).collect()
        };
        Asked {
            is_head: call.method == http::Method::HEAD,
            entity: call.entity.clone(),
            query: call.query.clone(),
            context: call.context.clone(),
            choosing: picked(&CHOOSING),
            inherited: picked(&INHERITED),
        }
    }

    /// A request of the middleware's own for something else, on the client's behalf.
    pub(crate) fn sub(&self, method: http::Method, entity: Entity, source: &'static str) -> Call {
        let mut call = self.context.call(method, entity, source);
        call.headers = self.inherited.clone();
        call
    }
}

/// Adds a name to a header that is a list of names.
pub(crate) fn add_name(headers: &mut HeaderMap, header: &'static str, name: &'static str) {
    let known = headers.get(header).and_then(|value| value.to_str().ok());
    let names = match known.filter(|known| !known.is_empty()) {
        Some(known) => http::HeaderValue::try_from(format!("{known},{name}")),
        None => Ok(http::HeaderValue::from_static(name)),
    };
    if let Ok(names) = names {
        headers.insert(header, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_grow() {
        let mut headers = HeaderMap::new();
        add_name(&mut headers, "x-backend-etag-is-at", "x-a");
        add_name(&mut headers, "x-backend-etag-is-at", "x-b");
        assert_eq!(headers["x-backend-etag-is-at"], "x-a,x-b");
    }
}
