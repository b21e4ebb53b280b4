//! Why a request gets no answer of its own, and the one place where that becomes a status.

use crate::database::DatabaseError;
use crate::metadata::MetadataError;
use http::{HeaderValue, StatusCode, header};
use wire::{PathError, QueryError, Response, UpdateError};

/// Why a request is refused, in the words of Swift's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something in the request is malformed; the sentence says what.
    Invalid(String),
    /// The path holds no name.
    Path(&'static str),
    /// A longer body than is read; the sentence says how long one may be.
    TooLarge(String),
    /// A longer page than allowed was asked for.
    Limit(u32),
    /// No format that the client accepts.
    NotAcceptable,
    /// The method is none of these.
    Method(&'static str),
    /// The server does not have this device.
    NoDevice,
    /// Something that is not built.
    NotImplemented(&'static str),
    /// The database cannot serve it.
    Database(DatabaseError),
}

impl Refusal {
    /// The response.
    pub fn response(&self) -> Response {
        match self {
            Refusal::Invalid(sentence) => daemon::text(StatusCode::BAD_REQUEST, sentence),
            Refusal::TooLarge(sentence) => daemon::text(StatusCode::PAYLOAD_TOO_LARGE, sentence),
            Refusal::Path(sentence) => daemon::text(StatusCode::PRECONDITION_FAILED, *sentence),
            Refusal::Limit(max) => {
                daemon::text(StatusCode::PRECONDITION_FAILED, format!("Maximum limit is {max}"))
            }
            Refusal::NotAcceptable => daemon::error_page(
                StatusCode::NOT_ACCEPTABLE,
                "The resource is not available in a format acceptable to your browser.",
            ),
            Refusal::Method(allowed) => {
                let mut response = daemon::error_page(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "The method is not allowed for this resource.",
                );
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                response
            }
            Refusal::NotImplemented(sentence) => {
                daemon::text(StatusCode::NOT_IMPLEMENTED, *sentence)
            }
            Refusal::NoDevice => daemon::error_page(
                StatusCode::INSUFFICIENT_STORAGE,
                "There is no such device on this server.",
            ),
            Refusal::Database(error) => {
                let status = match error {
                    DatabaseError::Busy | DatabaseError::Stopping => {
                        StatusCode::SERVICE_UNAVAILABLE
                    }
                    // Not 507: that would make proxies turn away from the whole device.
                    DatabaseError::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
                    DatabaseError::Device | DatabaseError::Full => StatusCode::INSUFFICIENT_STORAGE,
                };
                daemon::error_page(status, &error.to_string())
            }
        }
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        Refusal::Database(error)
    }
}

impl From<MetadataError> for Refusal {
    fn from(error: MetadataError) -> Self {
        Refusal::Invalid(error.to_string())
    }
}

impl From<UpdateError> for Refusal {
    fn from(error: UpdateError) -> Self {
        Refusal::Invalid(error.to_string())
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Refusal::Invalid(format!("\"{}\" parameter not valid UTF-8", error.name))
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Name(types::NameError::NotUtf8) => {
                Refusal::Path("Invalid UTF8 or contains NULL")
            }
            error @ PathError::Namespace { .. } => Refusal::Invalid(error.to_string()),
            other => Refusal::Invalid(format!("Invalid path: {other}")),
        }
    }
}
