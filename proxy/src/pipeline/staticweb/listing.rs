//! The rows of a container's listing that a page is made from.

use http::StatusCode;
use serde::Deserialize;
use wire::Response;

use crate::swift::error::page;

/// A listing of 10,000 rows is a few MiB; with the longest names, this.
const BYTES_MAX: usize = 64 << 20;

/// One row.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    /// Everything below a directory.
    Directory {
        /// Its name from the container's root, with a slash at the end.
        subdir: String,
    },
    /// An object.
    Object {
        /// Its name from the container's root.
        name: String,
        /// Its length.
        bytes: u64,
        /// Its type.
        content_type: String,
        /// When it was written, in ISO 8601.
        last_modified: String,
    },
}

/// Reads a listing in JSON. An answer that is none is given back.
pub(super) async fn read(response: Response) -> Result<Vec<Entry>, Box<Response>> {
    if !response.status().is_success() {
        return Err(Box::new(response));
    }
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "a listing could not be read");
        Box::new(page(StatusCode::SERVICE_UNAVAILABLE))
    };
    let body = axum::body::to_bytes(response.into_body(), BYTES_MAX).await;
    let body = body.map_err(|error| unreadable(&error))?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&body).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Body;

    #[tokio::test]
    async fn rows_are_objects_or_directories() {
        let body = r#"[{"subdir": "d/"}, {"name": "o", "bytes": 5, "hash": "x",
            "content_type": "a/b", "last_modified": "2014-05-13T16:53:20.000000"}]"#;
        let rows = read(Response::new(Body::from(body))).await.expect("a listing");
        assert!(matches!(&rows[0], Entry::Directory { subdir } if subdir == "d/"));
        assert!(matches!(&rows[1], Entry::Object { name, bytes: 5, .. } if name == "o"));
        assert!(read(Response::new(Body::empty())).await.expect("empty").is_empty());
    }

    #[tokio::test]
    async fn refusals_stay_and_nonsense_is_no_listing() {
        let status = |response: Response| async { read(response).await.err().map(|r| r.status()) };
        let refused = status(page(StatusCode::UNAUTHORIZED)).await;
        assert_eq!(refused, Some(StatusCode::UNAUTHORIZED));
        let nonsense = status(Response::new(Body::from("row\n"))).await;
        assert_eq!(nonsense, Some(StatusCode::SERVICE_UNAVAILABLE));
    }
}
