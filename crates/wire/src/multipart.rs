//! A document in several parts (RFC 7578), read piece by piece.
//!
//! Browsers send forms so, and proxies send an object with metadata behind it.
//!
//! [`Splitter`] is a plain machine: bytes go in as they come, events come out. It keeps no more than one boundary's length
//! of a file's data, and one part's headers. There is a crate for this (multer), but it takes in as much of a body as
//! the client has sent so far, however slowly the storage nodes take the files; this one is asked for the next event first.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

/// Most bytes of the headers of one part.
const HEADERS_MAX: usize = 16 * 1024;
/// Most bytes of a boundary (RFC 2046 has 70).
const BOUNDARY_MAX: usize = 1024;

/// Why a document cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// It does not begin with its boundary.
    #[error("invalid starting boundary")]
    StartingBoundary,
    /// A part's headers do not end in time.
    #[error("the headers of a part are too long")]
    HeadersTooLong,
    /// The document ends in the middle of a part.
    #[error("the document has no end")]
    NoEnd,
}

/// What a part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// The field's name.
    pub name: Option<String>,
    /// The file's name, if it is a file.
    pub filename: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// How it is encoded.
    pub content_encoding: Option<String>,
    /// The MD5 of its data, in hex here.
    pub content_md5: Option<String>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Head(PartHead),
    /// Some of its data.
    Data(Bytes),
    /// It ends.
    PartEnd,
    /// Nothing more comes.
    End,
    /// More bytes are needed.
    Hungry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Head,
    Data,
    /// After a boundary: another part, or the end.
    Between,
    End,
}

/// Takes a document apart.
#[derive(Debug)]
pub struct Splitter {
    /// `\r\n--boundary`
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
    /// No more bytes come.
    closed: bool,
}

impl Splitter {
    /// Of parts between these boundaries.
    pub fn new(boundary: &str) -> Self {
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        Splitter { delimiter, buffer: BytesMut::new(), state: State::Start, closed: false }
    }

    /// Takes some bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What follows the end says nothing.
        if self.state != State::End {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// No more bytes come.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The next event.
    pub fn event(&mut self) -> Result<Event, MultipartError> {
        match self.state {
            State::Start => self.start(),
            State::Head => self.head(),
            State::Data => self.data(),
            State::Between => self.between(),
            State::End => Ok(Event::End),
        }
    }

    fn hungry(&self, error: MultipartError) -> Result<Event, MultipartError> {
        if self.closed { Err(error) } else { Ok(Event::Hungry) }
    }

    fn start(&mut self) -> Result<Event, MultipartError> {
        // Empty lines may come first, and are forgotten as they come.
        while self.buffer.starts_with(b"\r\n") {
            let _ = self.buffer.split_to(2);
        }
        let boundary = &self.delimiter[2..];
        let known = self.buffer.len().min(boundary.len());
        let is_line_end = self.buffer.is_empty() || self.buffer[..] == *b"\r";
        if !is_line_end && self.buffer[..known] != boundary[..known] {
            return Err(MultipartError::StartingBoundary);
        }
        if known < boundary.len() || is_line_end {
            return self.hungry(MultipartError::StartingBoundary);
        }
        let _ = self.buffer.split_to(known);
        self.state = State::Between;
        self.between()
    }

    fn between(&mut self) -> Result<Event, MultipartError> {
        match self.buffer.get(..2) {
            None => self.hungry(MultipartError::NoEnd),
            Some(b"--") => {
                self.state = State::End;
                self.buffer.clear();
                Ok(Event::End)
            }
            Some(_) => {
                let _ = self.buffer.split_to(2);
                self.state = State::Head;
                self.head()
            }
        }
    }

    fn head(&mut self) -> Result<Event, MultipartError> {
        // The headers of a part may be none at all.
        let (end, skip) = match self.buffer.starts_with(b"\r\n") {
            true => (Some(0), 2),
            false => (memmem::find(&self.buffer, b"\r\n\r\n"), 4),
        };
        match end {
            Some(end) if end <= HEADERS_MAX => {
                let lines = self.buffer.split_to(end + skip);
                self.state = State::Data;
                Ok(Event::Head(part_head(&lines[..end])))
            }
            None if self.buffer.len() <= HEADERS_MAX => self.hungry(MultipartError::NoEnd),
            _ => Err(MultipartError::HeadersTooLong),
        }
    }

    fn data(&mut self) -> Result<Event, MultipartError> {
        if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
            if at > 0 {
                return Ok(Event::Data(self.buffer.split_to(at).freeze()));
            }
            let _ = self.buffer.split_to(self.delimiter.len());
            self.state = State::Between;
            return Ok(Event::PartEnd);
        }
        // The end may be the beginning of a delimiter.
        let keep = self.delimiter.len() - 1;
        if self.buffer.len() > keep {
            let sure = self.buffer.len() - keep;
            return Ok(Event::Data(self.buffer.split_to(sure).freeze()));
        }
        self.hungry(MultipartError::NoEnd)
    }
}

/// The boundary of a document of this type, if it is a form.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, attributes) = parameters(content_type);
    let boundary = attributes.into_iter().rev().find(|(name, _)| name == "boundary")?.1;
    let fits = !boundary.is_empty() && boundary.len() <= BOUNDARY_MAX;
    (kind == "multipart/form-data" && fits).then_some(boundary)
}

fn part_head(lines: &[u8]) -> PartHead {
    let mut head = PartHead::default();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = String::from_utf8(line[colon + 1..].trim_ascii().to_vec());
        // Some browsers still send what is not UTF-8; every byte is a letter then.
        let value =
            value.unwrap_or_else(|error| error.as_bytes().iter().map(|b| char::from(*b)).collect());
        let name = line[..colon].to_ascii_lowercase();
        match name.as_slice() {
            b"content-disposition" => {
                let (kind, attributes) = parameters(&value);
                for (name, value) in attributes {
                    match name.as_str() {
                        "name" => head.name = Some(value),
                        "filename" if kind == "form-data" && !value.is_empty() => {
                            head.filename = Some(value);
                        }
                        _ => {}
                    }
                }
            }
            b"content-type" => head.content_type = Some(value),
            b"content-encoding" => head.content_encoding = Some(value),
            b"content-md5" => head.content_md5 = Some(value),
            _ => {}
        }
    }
    head
}

/// `kind; name=value; name="value"`, as Swift's `parse_content_disposition` takes it apart: what does not look like this
/// ends it.
fn parameters(text: &str) -> (&str, Vec<(String, String)>) {
    let Some((kind, mut rest)) = text.split_once(';') else { return (text, Vec::new()) };
    let mut found = Vec::new();
    rest = rest.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_word) {
            break;
        }
        let end = match after.strip_prefix('"') {
            // Up to the quote at whose right the value can end.
            Some(quoted) => match quoted_end(quoted) {
                Some(end) => end + 2,
                None => break,
            },
            None => after.find(['"', ';']).unwrap_or(after.len()),
        };
        let (value, after) = after.split_at(end);
        let ends = after.is_empty() || after.starts_with(';');
        if value.is_empty() || !ends {
            break;
        }
        found.push((name.to_owned(), value.trim_matches('"').to_owned()));
        rest = after.strip_prefix(';').unwrap_or(after);
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    (kind.trim(), found)
}

/// Where the quote is that closes a value: the first one that a semicolon or the end follows.
fn quoted_end(text: &str) -> Option<usize> {
    let mut quotes = text.match_indices('"').map(|(at, _)| at);
    quotes.find(|at| matches!(text.as_bytes().get(at + 1), None | Some(b';')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = Vec<(PartHead, Vec<u8>)>;

    /// Reads a document that arrives in pieces of some size.
    fn read(boundary: &str, document: &[u8], piece: usize) -> Result<Read, MultipartError> {
        let mut splitter = Splitter::new(boundary);
        let mut pieces = document.chunks(piece.max(1));
        let mut parts: Read = Vec::new();
        let mut largest = 0;
        loop {
            largest = largest.max(splitter.buffer.len());
            match splitter.event()? {
                Event::Head(head) => parts.push((head, Vec::new())),
                Event::Data(data) => parts.last_mut().expect("a part").1.extend_from_slice(&data),
                Event::PartEnd => {}
                Event::End => break,
                Event::Hungry => match pieces.next() {
                    Some(piece) => splitter.feed(piece),
                    None => splitter.close(),
                },
            }
        }
        assert!(largest <= HEADERS_MAX + piece + boundary.len() + 8, "{largest} bytes were kept");
        Ok(parts)
    }

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"expires\"\r\n\r\n12\r\n\
        --b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a \\\"b;.txt\"\r\n\
        Content-Type: text/plain\r\ncontent-encoding:  gzip \r\n\r\nline\r\n--not\r\n\r\n\
        --b\r\nContent-Disposition: form-data; name=\"g\"; filename=\"\"\r\n\r\n\r\n--b--\r\nrest";

    #[test]
    fn parts_are_the_same_however_they_arrive() {
        for piece in 1..FORM.len() {
            let parts = read("b", FORM.as_bytes(), piece).expect("a form");
            assert_eq!(parts.len(), 3, "{piece}");
            assert_eq!(
                (parts[0].0.name.as_deref(), &parts[0].1[..]),
                (Some("expires"), &b"12"[..])
            );
            let (head, data) = &parts[1];
            assert_eq!(head.filename.as_deref(), Some("a \\\"b;.txt"), "{piece}");
            assert_eq!(head.content_type.as_deref(), Some("text/plain"));
            assert_eq!(head.content_encoding.as_deref(), Some("gzip"));
            assert_eq!(data, b"line\r\n--not\r\n");
            assert_eq!((parts[2].0.filename.as_deref(), parts[2].1.len()), (None, 0));
        }
    }

    #[test]
    fn parts_may_be_empty_and_without_headers() {
        for form in ["--b\r\n\r\n\r\n--b--", "\r\n\r\n--b\r\nX: y\r\n\r\n\r\n--b--"] {
            for piece in 1..form.len() {
                let parts = read("b", form.as_bytes(), piece).expect("a form");
                assert_eq!((parts.len(), parts[0].1.len()), (1, 0), "{form:?} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_form() {
        let error = |document: &[u8]| read("b", document, 7).err();
        assert_eq!(error(b""), Some(MultipartError::StartingBoundary));
        assert_eq!(error(b"preamble\r\n--b\r\n"), Some(MultipartError::StartingBoundary));
        assert_eq!(error(b"--c\r\n"), Some(MultipartError::StartingBoundary));
        assert_eq!(error(b"--b\r\n"), Some(MultipartError::NoEnd));
        assert_eq!(error(b"--b\r\nA: b\r\n\r\ndata"), Some(MultipartError::NoEnd));
        assert_eq!(error(b"--b\r\nA: b\r\n\r\ndata\r\n--b"), Some(MultipartError::NoEnd));
        let long = [b"--b\r\n".to_vec(), vec![b'h'; HEADERS_MAX + 10]].concat();
        assert_eq!(error(&long), Some(MultipartError::HeadersTooLong));
    }

    #[test]
    fn boundaries() {
        let cases = [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("multipart/form-data; boundary=\"a b\"", Some("a b")),
            ("multipart/form-data; charset=x; boundary=abc", Some("abc")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("text/plain", None),
        ];
        for (text, found) in cases {
            assert_eq!(boundary(text).as_deref(), found, "{text}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "a".repeat(2000))), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_always_ends(document in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let _ = read("b", &document, piece);
            let _ = read("b", &[b"--b\r\n", &document[..]].concat(), piece);
        }

        #[test]
        fn pieces_of_syntax(words in prop::collection::vec("(--b|\r\n|--|a: b|;|\"|=|filename|x){1}", 0..40), piece in 1usize..20) {
            let document = format!("--b\r\n{}", words.concat());
            let whole = read("b", document.as_bytes(), usize::MAX / 2);
            prop_assert_eq!(read("b", document.as_bytes(), piece).is_ok(), whole.is_ok());
            if let (Ok(whole), Ok(split)) = (whole, read("b", document.as_bytes(), piece)) {
                prop_assert_eq!(whole, split);
            }
            let _ = parameters(&document);
        }

        #[test]
        fn files_come_through_unchanged(data in prop::collection::vec(any::<u8>(), 0..500), piece in 1usize..200) {
            let document = [b"--b0undary\r\nA: b\r\n\r\n", &data[..], b"\r\n--b0undary--"].concat();
            let parts = read("b0undary", &document, piece).expect("a form");
            prop_assert_eq!(&parts[0].1, &data);
        }
    }
}
