//! A form that is still arriving. Whoever uploads a file of it and whoever reads on after that share it.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use wire::Body;

use wire::multipart::{Event, MultipartError, PartHead, Splitter};

/// Most bytes of a field's value that count; the rest is passed over, as in Swift.
const VALUE_MAX: usize = 4096;

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error(transparent)]
    Multipart(#[from] MultipartError),
    #[error("the form could not be read to its end")]
    Gone,
    #[error("nothing of the form came for too long")]
    Timeout,
}

/// The body of a request, taken apart as it comes.
pub(super) struct Form {
    body: Body,
    splitter: Splitter,
    timeout: Duration,
    /// How much of the file that is uploaded now may still come.
    left: u64,
    too_large: bool,
    /// The part that was begun is not at its end.
    in_part: bool,
}

impl Form {
    pub(super) fn new(body: Body, boundary: &str, timeout: Duration) -> Self {
        let splitter = Splitter::new(boundary);
        Form { body, splitter, timeout, left: 0, too_large: false, in_part: false }
    }

    async fn event(&mut self) -> Result<Event, FormError> {
        loop {
            match self.splitter.event()? {
                Event::Hungry => {}
                event => return Ok(event),
            }
            match tokio::time::timeout(self.timeout, self.body.frame()).await {
                Err(_) => return Err(FormError::Timeout),
                Ok(None) => self.splitter.close(),
                Ok(Some(Err(_))) => return Err(FormError::Gone),
                Ok(Some(Ok(frame))) => {
                    // Trailers say nothing here.
                    self.splitter.feed(&frame.into_data().unwrap_or_default());
                }
            }
        }
    }

    /// The next piece of the part that was begun.
    async fn piece(&mut self) -> Result<Option<Bytes>, FormError> {
        if !self.in_part {
            return Ok(None);
        }
        match self.event().await? {
            Event::Data(data) => Ok(Some(data)),
            _ => {
                self.in_part = false;
                Ok(None)
            }
        }
    }
}

/// The same form in several hands, of which one reads at a time.
#[derive(Clone)]
pub(super) struct SharedForm(Arc<Mutex<Form>>);

impl SharedForm {
    pub(super) fn new(form: Form) -> Self {
        SharedForm(Arc::new(Mutex::new(form)))
    }

    /// The next part; what is left of the one before is passed over.
    pub(super) async fn next_part(&self) -> Result<Option<PartHead>, FormError> {
        let mut form = self.0.lock().await;
        while form.piece().await?.is_some() {}
        match form.event().await? {
            Event::Head(head) => {
                form.in_part = true;
                Ok(Some(head))
            }
            _ => Ok(None),
        }
    }

    /// The value of a field.
    pub(super) async fn value(&self) -> Result<Vec<u8>, FormError> {
        let mut form = self.0.lock().await;
        let mut value = Vec::new();
        while let Some(piece) = form.piece().await? {
            let wanted = piece.len().min(VALUE_MAX - value.len());
            value.extend_from_slice(&piece[..wanted]);
        }
        Ok(value)
    }

    /// The part as the body of an upload. It ends with an error when the form does, or when it is too large; then nothing
    /// is stored.
    pub(super) async fn file(&self, bytes_max: u64) -> Body {
        let mut form = self.0.lock().await;
        (form.left, form.too_large) = (bytes_max, false);
        drop(form);
        let next = |shared: SharedForm| async move {
            let mut form = shared.0.lock().await;
            let piece = form.piece().await.map_err(std::io::Error::other)?;
            let Some(piece) = piece else { return Ok(None) };
            let Some(left) = form.left.checked_sub(piece.len() as u64) else {
                form.too_large = true;
                return Err(std::io::Error::other("the file is larger than the form allows"));
            };
            form.left = left;
            drop(form);
            Ok(Some((piece, shared)))
        };
        Body::from_stream(stream::try_unfold(self.clone(), next))
    }

    /// Whether the last file was larger than it may be.
    pub(super) async fn was_too_large(&self) -> bool {
        self.0.lock().await.too_large
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(document: &'static str) -> SharedForm {
        let pieces = document.as_bytes().chunks(5).map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
        SharedForm::new(Form::new(body, "b", Duration::from_secs(5)))
    }

    const TWO: &str = "--b\r\nContent-Disposition: form-data; name=a; filename=x\r\n\r\nhello\r\n--b\r\n\
        Content-Disposition: form-data; name=c\r\n\r\nvalue\r\n--b--";

    async fn bytes(body: Body) -> Option<Vec<u8>> {
        axum::body::to_bytes(body, 1000).await.ok().map(|bytes| bytes.to_vec())
    }

    #[tokio::test]
    async fn a_file_is_a_body_and_the_form_goes_on_after_it() {
        let form = form(TWO);
        let head = form.next_part().await.expect("reads").expect("a part");
        assert_eq!(head.filename.as_deref(), Some("x"));
        assert_eq!(bytes(form.file(5).await).await.as_deref(), Some(&b"hello"[..]));
        let head = form.next_part().await.expect("reads").expect("a part");
        assert_eq!((head.name.as_deref(), head.filename), (Some("c"), None));
        assert_eq!(form.value().await.expect("reads"), b"value");
        assert!(form.next_part().await.expect("reads").is_none());
        assert!(!form.was_too_large().await);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_passed_over() {
        let form = form(TWO);
        assert!(form.next_part().await.expect("reads").is_some());
        drop(form.file(5).await);
        let head = form.next_part().await.expect("reads").expect("a part");
        assert_eq!(head.name.as_deref(), Some("c"));
    }

    #[tokio::test]
    async fn a_file_that_is_too_large_has_no_end() {
        let form = form(TWO);
        assert!(form.next_part().await.expect("reads").is_some());
        assert_eq!(bytes(form.file(4).await).await, None);
        assert!(form.was_too_large().await);
    }

    #[tokio::test]
    async fn a_form_that_breaks_off_gives_no_whole_file() {
        let form = form("--b\r\nContent-Disposition: form-data; filename=x\r\n\r\nhello wor");
        assert!(form.next_part().await.expect("reads").is_some());
        assert_eq!(bytes(form.file(100).await).await, None);
    }

    #[tokio::test]
    async fn long_values_are_cut() {
        let long = "v".repeat(2 * VALUE_MAX);
        let document =
            format!("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n{long}\r\n--b--");
        let form = Form::new(Body::from(document), "b", Duration::from_secs(5));
        let form = SharedForm::new(form);
        assert!(form.next_part().await.expect("reads").is_some());
        assert_eq!(form.value().await.expect("reads").len(), VALUE_MAX);
        assert!(form.next_part().await.expect("reads").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_in_a_timeout() {
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let form = SharedForm::new(Form::new(silent, "b", Duration::from_secs(5)));
        assert_eq!(form.next_part().await.err(), Some(FormError::Timeout));
    }
}
