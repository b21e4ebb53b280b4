//! What goes wrong with a request, and the one place where that becomes HTTP.

use crate::engine::EngineError;
use daemon::{empty, error_page, text};
use http::{HeaderValue, StatusCode, header};
use types::Timestamp;
use wire::conditions::Unmet;
use wire::metadata::MetadataError;
use wire::records::RecordsError;
use wire::{PathError, Response, headers};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("the path does not name an object")]
    NoObject,
    #[error("{0}")]
    Bad(String),
    #[error("there is no such device here")]
    Device,
    #[error("there is no policy of that index here")]
    Policy,
    #[error("there is no such object")]
    NotFound(Option<Timestamp>),
    #[error("what is stored is as new or newer")]
    Conflict(Timestamp),
    #[error("a condition of the request does not hold")]
    Precondition,
    #[error("the object has not changed")]
    NotModified,
    #[error("the request says neither how long its body is nor that it is chunked")]
    LengthRequired,
    #[error("the body is longer than an object may be")]
    TooLarge,
    #[error("the body is not what its ETag says")]
    Etag,
    #[error("the metadata behind the body is not what its Content-MD5 says")]
    Footer,
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    #[error("the body ended early")]
    Disconnected,
    #[error("the body came too slowly")]
    Slow,
    #[error("{error}; what came before it has been taken")]
    Records { error: RecordsError },
    #[error("the part power of the object ring is not known here")]
    PartPower,
    // To the letter what Swift says: its own tests compare it.
    #[error("The Range requested is not available.")]
    Range(u64),
    #[error("{0} is not served here")]
    Method(String),
    #[error("the engine did not do it")]
    Engine(#[from] EngineError),
}

impl From<Unmet> for Refusal {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::NotModified => Refusal::NotModified,
            Unmet::Precondition => Refusal::Precondition,
        }
    }
}

const ALLOW: &str = "DELETE, FINGERPRINTS, GET, HEAD, MERGE, PARTITIONS, POST, PUT, QUARANTINED, RECORDS, REPLICATE, UPDATES, VERIFY";

impl Refusal {
    pub(crate) fn response(self) -> Response {
        let sentence = self.to_string();
        match self {
            Refusal::Path(_) | Refusal::NoObject => text(StatusCode::BAD_REQUEST, sentence),
            Refusal::Bad(_) | Refusal::Metadata(_) => text(StatusCode::BAD_REQUEST, sentence),
            Refusal::Device => error_page(StatusCode::INSUFFICIENT_STORAGE, &sentence),
            Refusal::Policy => text(StatusCode::SERVICE_UNAVAILABLE, sentence),
            Refusal::NotFound(at) => {
                stamped(error_page(StatusCode::NOT_FOUND, "The resource could not be found."), at)
            }
            Refusal::Conflict(at) => stamped(error_page(StatusCode::CONFLICT, &sentence), Some(at)),
            Refusal::Precondition => error_page(StatusCode::PRECONDITION_FAILED, &sentence),
            Refusal::NotModified => empty(StatusCode::NOT_MODIFIED),
            Refusal::LengthRequired => error_page(StatusCode::LENGTH_REQUIRED, &sentence),
            Refusal::TooLarge => error_page(StatusCode::PAYLOAD_TOO_LARGE, &sentence),
            Refusal::Etag | Refusal::Footer => {
                error_page(StatusCode::UNPROCESSABLE_ENTITY, &sentence)
            }
            Refusal::Disconnected => error_page(client_disconnect(), &sentence),
            Refusal::Records { .. } => text(StatusCode::UNPROCESSABLE_ENTITY, sentence),
            Refusal::PartPower => text(StatusCode::SERVICE_UNAVAILABLE, sentence),
            Refusal::Slow => error_page(StatusCode::REQUEST_TIMEOUT, &sentence),
            Refusal::Range(len) => {
                let mut response = error_page(StatusCode::RANGE_NOT_SATISFIABLE, &sentence);
                if let Ok(value) = HeaderValue::try_from(format!("bytes */{len}")) {
                    response.headers_mut().insert(header::CONTENT_RANGE, value);
                }
                response
            }
            Refusal::Method(_) => {
                let mut response = error_page(StatusCode::METHOD_NOT_ALLOWED, &sentence);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOW));
                response
            }
            Refusal::Engine(error) => engine(error),
        }
    }
}

fn engine(error: EngineError) -> Response {
    let status = match &error {
        EngineError::Poisoned | EngineError::Full => StatusCode::INSUFFICIENT_STORAGE,
        EngineError::Overloaded | EngineError::Stopping | EngineError::Changed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        EngineError::TooLarge => StatusCode::BAD_REQUEST,
        // The copy here is bad; another replica's may be good, and the proxy goes on to that one.
        EngineError::Damaged(_) | EngineError::Read(_) => StatusCode::SERVICE_UNAVAILABLE,
        EngineError::Index(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status != StatusCode::BAD_REQUEST {
        tracing::warn!(error = daemon::telemetry::chain(&error), "a request failed on the disk");
        metrics::counter!("apus_object_errors_total").increment(1);
    }
    error_page(status, &error.to_string())
}

/// nginx's and Swift's 499: the client went away.
fn client_disconnect() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Tells what is known of the object, so that a proxy can weigh this answer against others'.
pub(crate) fn stamped(mut response: Response, at: Option<Timestamp>) -> Response {
    if let Some(value) = at.and_then(|at| HeaderValue::try_from(at.internal()).ok()) {
        response.headers_mut().insert(headers::X_BACKEND_TIMESTAMP, value);
    }
    response
}
