//! An answer that takes long: spaces before the document keep the connection alive, and mean nothing in any of its forms.

use bytes::Bytes;
use http::header;
use std::time::Duration;
use tokio::time::timeout;
use wire::{Body, Response};

use crate::swift::listing::Format;
use crate::swift::report::{KeepAlive, kept_alive};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Answers with a document when it is ready, and with its headers when it takes longer than `every`. A client that goes away
/// ends the work.
pub(super) async fn respond(
    format: Format,
    every: Duration,
    document: impl Future<Output = Bytes> + Send + 'static,
) -> Response {
    let declaration = match format {
        Format::Xml | Format::TextXml => DECLARATION,
        Format::Plain | Format::Json => "",
    };
    let mut document = Box::pin(document);
    // The body is asked for before anything is answered, so that a client that waits for 100 Continue is told to.
    let body = match timeout(every, &mut document).await {
        Ok(document) => Body::from(joined(declaration, &document)),
        Err(_) => {
            let opening = if declaration.is_empty() { " " } else { declaration };
            kept_alive(document, KeepAlive { every, opening, at_once: true }).await
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
    response
}

fn joined(first: &str, second: &[u8]) -> Bytes {
    [first.as_bytes(), second].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(seconds: u64, format: Format) -> String {
        let document = async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Bytes::from_static(b"done")
        };
        let response = respond(format, Duration::from_secs(10), document).await;
        let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn spaces_come_until_the_document_does() {
        assert_eq!(after(5, Format::Json).await, "done");
        assert_eq!(after(5, Format::Xml).await, format!("{DECLARATION}done"));
        assert_eq!(after(35, Format::Json).await, "   \r\n\r\ndone");
        assert_eq!(after(25, Format::Xml).await, format!("{DECLARATION} \r\n\r\ndone"));
    }
}
