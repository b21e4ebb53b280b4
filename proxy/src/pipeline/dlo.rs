//! Dynamic large objects: a header names a container and a prefix, and a read gives the bytes of all objects there, in the
//! order of their names. Swift: common/middleware/dlo.py.
//!
//! Whoever reads one must be allowed to list the container of the segments, and to read them: both are asked for by the
//! caller's right. The first page of the listing is read before the answer begins. If it is the only one, the length
//! and the ETag of the whole are known; if not, the answer has neither, and the listing goes on while segments are sent.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use md5::{Digest, Md5};
use percent_encoding::percent_decode;
use serde::Deserialize;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use types::{ContainerName, ObjectName, hex_encode};
use wire::conditions::unquoted;
use wire::{Response, headers};

use super::segments::{
    Asked, Pace, Piece, Pieces, Section, Segment, SegmentError, Shape, Source, add_name, paced,
};
use super::{Answer, Handler, Middleware, Parts};
use crate::call::Call;
use crate::config::StartError;
use crate::store::{Entity, Level};
use crate::swift::error::Refusal;

const SOURCE: &str = "DLO";
const MANIFEST: HeaderName = HeaderName::from_static("x-object-manifest");
/// A page of a listing is never longer.
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `[proxy.dlo]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a read may take.
    pub max_get_time_s: u64,
    /// Segments below this size are small …
    pub rate_limit_under_size: u64,
    /// … of which a read gets so many at once …
    pub rate_limit_after_segment: u32,
    /// … and then so many a second; 0 for no limit.
    pub rate_limit_segments_per_sec: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_get_time_s: 86_400,
            rate_limit_under_size: 1024 * 1024,
            rate_limit_after_segment: 10,
            rate_limit_segments_per_sec: 1,
        }
    }
}

struct DynamicLargeObjects {
    config: Config,
    /// How many rows a page of a listing has, unless it is the last.
    page_rows: usize,
}

pub(super) fn make(parts: &Parts) -> Result<Arc<dyn Middleware>, StartError> {
    let page_rows = parts.config.limits.container_listing_limit as usize;
    Ok(Arc::new(DynamicLargeObjects { config: parts.config.dlo.clone(), page_rows }))
}

impl Middleware for DynamicLargeObjects {
    fn handle(self: Arc<Self>, call: Call, next: Handler) -> Answer {
        if call.entity.level() != Level::Object {
            return next.answer(call);
        }
        match call.method.as_str() {
            "GET" | "HEAD" if call.query.get("multipart-manifest") != Some("get") => {
                Box::pin(async move { self.read(call, next).await.unwrap_or_else(Response::from) })
            }
            "PUT" | "POST" => match check(&call) {
                Ok(()) => next.answer(call),
                Err(refusal) => Box::pin(async { refusal.into() }),
            },
            _ => next.answer(call),
        }
    }
}

/// Whether what makes an object a manifest can be followed later.
fn check(call: &Call) -> Result<(), Refusal> {
    let Some(value) = call.headers.get(MANIFEST) else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let (container, prefix) = text.split_once('/').unwrap_or_default();
    let sound = !container.is_empty()
        && !prefix.is_empty()
        && !prefix.starts_with('/')
        && !text.contains(['?', '&']);
    // A POST that says nothing behind the name makes a plain object of it.
    let taken_away = call.method == Method::POST && text.is_empty();
    if sound || taken_away {
        return Ok(());
    }
    Err(Refusal::bad_request("X-Object-Manifest must be in the format container/prefix"))
}

/// Where segments are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    container: Entity,
    prefix: String,
}

impl Place {
    /// From the header's value, in which names may be percent-encoded.
    fn parse(value: &HeaderValue, entity: &Entity) -> Option<Self> {
        let text = percent_decode(value.as_bytes()).decode_utf8().ok()?;
        let (container, prefix) = text.split_once('/')?;
        let container = entity.with_container(ContainerName::parse(container).ok()?);
        Some(Place { container, prefix: prefix.to_owned() })
    }
}

/// A row of the listing.
#[derive(Deserialize)]
struct Row {
    name: String,
    bytes: u64,
    hash: String,
}

/// How segments are listed.
#[derive(Clone)]
struct Listing {
    next: Handler,
    asked: Arc<Asked>,
    place: Place,
    page_rows: usize,
}

/// Why there is no page.
enum NoPage {
    /// What was answered instead.
    Refused(Response),
    Unreadable,
}

impl Listing {
    async fn page(&self, marker: &str) -> Result<VecDeque<Row>, NoPage> {
        let mut call = self.asked.sub(Method::GET, self.place.container.clone(), SOURCE);
        call = call.ask("format", "json").ask("prefix", self.place.prefix.as_str());
        if !marker.is_empty() {
            call = call.ask("marker", marker);
        }
        let response = self.next.answer(call).await;
        if !response.status().is_success() {
            return Err(NoPage::Refused(response));
        }
        let page = axum::body::to_bytes(response.into_body(), PAGE_BYTES_MAX).await;
        let page = page.map_err(|_| NoPage::Unreadable)?;
        let rows = tokio::task::spawn_blocking(move || rows(&page)).await;
        rows.ok().flatten().ok_or(NoPage::Unreadable)
    }

    /// The pieces that make a range of all segments, the first page of which is known.
    fn pieces(self, first_page: VecDeque<Row>, range: Option<&Range<u64>>) -> Pieces {
        let first = range.map_or(0, |range| range.start);
        let left = range.map_or(u64::MAX, |range| range.end.saturating_sub(range.start));
        let is_last = first_page.len() < self.page_rows;
        let walk = Walk { listing: self, rows: first_page, is_last, skip: first, left };
        let step = |mut walk: Walk| async { Ok(walk.step().await?.map(|piece| (piece, walk))) };
        stream::try_unfold(walk, step).boxed()
    }
}

fn rows(page: &Bytes) -> Option<VecDeque<Row>> {
    serde_json::from_slice(page).ok()
}

struct Walk {
    listing: Listing,
    rows: VecDeque<Row>,
    is_last: bool,
    /// Bytes that are not wanted before those that are.
    skip: u64,
    /// Bytes that are wanted.
    left: u64,
}

impl Walk {
    async fn step(&mut self) -> Result<Option<Piece>, SegmentError> {
        while self.left > 0 {
            let Some(row) = self.rows.pop_front() else { return Ok(None) };
            if self.rows.is_empty() && !self.is_last {
                self.go_on(&row.name).await?;
            }
            if row.bytes <= self.skip {
                self.skip -= row.bytes;
                continue;
            }
            let range = self.skip..row.bytes.min(self.skip.saturating_add(self.left));
            self.skip = 0;
            self.left -= range.end - range.start;
            let object = ObjectName::parse(&row.name);
            let object = object.map_err(|_| SegmentError::Manifest("a name is none".to_owned()))?;
            let whole = range == (0..row.bytes);
            return Ok(Some(Piece::Object(Segment {
                entity: self.listing.place.container.with_object(object),
                // Only names count: what is there now is sent.
                etag: None,
                size: None,
                listed: row.bytes,
                part: (!whole).then_some(range),
            })));
        }
        Ok(None)
    }

    async fn go_on(&mut self, marker: &str) -> Result<(), SegmentError> {
        self.rows = self.listing.page(marker).await.map_err(|why| {
            SegmentError::Manifest(match why {
                NoPage::Refused(response) => {
                    format!("the listing was refused: {}", response.status())
                }
                NoPage::Unreadable => "a listing is unreadable".to_owned(),
            })
        })?;
        self.is_last = self.rows.len() < self.listing.page_rows;
        Ok(())
    }
}

impl DynamicLargeObjects {
    async fn read(&self, mut call: Call, next: Handler) -> Result<Response, Refusal> {
        let asked = Asked::of(&call);
        let unless = headers::X_BACKEND_IGNORE_RANGE_IF_METADATA_PRESENT;
        add_name(&mut call.headers, unless, "x-object-manifest");
        let response = next.answer(call).await;
        let Some(value) = response.headers().get(MANIFEST) else { return Ok(response) };
        let place = Place::parse(value, &asked.entity);
        let place = place.ok_or(Refusal::Status(StatusCode::CONFLICT))?;
        let (manifest, _) = response.into_parts();
        Box::pin(self.whole(manifest.headers, asked, next, place)).await
    }

    async fn whole(
        &self,
        manifest: HeaderMap,
        mut asked: Asked,
        next: Handler,
        place: Place,
    ) -> Result<Response, Refusal> {
        let page_rows = self.page_rows;
        let listing =
            Listing { next: next.clone(), asked: Arc::new(asked.clone()), place, page_rows };
        let page = match listing.page("").await {
            Ok(page) => page,
            Err(NoPage::Refused(response)) => return Ok(response),
            Err(NoPage::Unreadable) => {
                return Err(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE));
            }
        };
        let known = Known::of(&page, page.len() < page_rows);
        if !known.can_cut(&asked) {
            asked.choosing.remove(header::RANGE);
        }
        let cut = asked.choosing.contains_key(header::RANGE);
        let len = Some(known.len).filter(|_| cut || known.is_complete);
        let shape = Shape::new(&manifest, known.etag, len);
        let source = Source {
            next,
            asked: Arc::new(asked),
            name: SOURCE,
            time_max: Duration::from_secs(self.config.max_get_time_s),
        };
        let page = std::sync::Mutex::new(Some(page));
        let section = |range: Option<&Range<u64>>| {
            // There is but one section.
            let page = page.lock().ok().and_then(|mut page| page.take()).unwrap_or_default();
            let pieces = listing.clone().pieces(page, range);
            let len = range.map_or(len, |range| Some(range.end - range.start));
            Section { pieces: paced(pieces, self.pace()), len }
        };
        shape.answer(&source, section).await
    }

    fn pace(&self) -> Pace {
        Pace {
            under_size: self.config.rate_limit_under_size,
            after: self.config.rate_limit_after_segment,
            per_second: self.config.rate_limit_segments_per_sec,
        }
    }
}

/// What the first page tells of the whole.
struct Known {
    /// Whether it is the only one.
    is_complete: bool,
    /// How long what it lists is.
    len: u64,
    etag: Option<String>,
}

impl Known {
    fn of(page: &VecDeque<Row>, is_complete: bool) -> Self {
        let len = page.iter().map(|row| row.bytes).fold(0, u64::saturating_add);
        let etag = is_complete.then(|| {
            let mut md5 = Md5::new();
            for row in page {
                md5.update(unquoted(&row.hash));
            }
            hex_encode(&md5.finalize())
        });
        Known { is_complete, len, etag }
    }

    /// Whether a part can be cut out: one, and the bytes of it are known to be there or not. Otherwise all is sent.
    fn can_cut(&self, asked: &Asked) -> bool {
        let range = asked.choosing.get(header::RANGE).and_then(|range| range.to_str().ok());
        let specs = range.and_then(wire::ranges::range_specs).unwrap_or_default();
        match specs.as_slice() {
            [_] if self.is_complete => true,
            [(Some(_), Some(last))] if !asked.choosing.contains_key(header::IF_RANGE) => {
                last.saturating_add(1) < self.len
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::{call, entity};
    use crate::pipeline::Layered;
    use crate::pipeline::memory::{Answered, Memory, ask};
    use proptest::prelude::*;

    fn checked(method: Method, value: &'static str) -> bool {
        let mut call = call(method, "a/c/o");
        call.headers.insert(MANIFEST, HeaderValue::from_static(value));
        check(&call).is_ok()
    }

    #[test]
    fn manifests_name_a_container_and_a_prefix() {
        assert!(checked(Method::PUT, "c/p") && checked(Method::POST, "c/p/q"));
        for bad in ["c", "/c/p", "c/", "c//p", "c/p?a", "c/p&a", ""] {
            assert!(!checked(Method::PUT, bad), "{bad}");
        }
        assert!(checked(Method::POST, ""));
        let place = Place::parse(&HeaderValue::from_static("c%20d/p%2525"), &entity("a/c/o"));
        let place = place.expect("a place");
        assert_eq!((place.container, place.prefix.as_str()), (entity("a/c d"), "p%25"));
        for bad in ["c", "/p", "%ff/p"] {
            let place = Place::parse(&HeaderValue::from_static(bad), &entity("a/c/o"));
            assert_eq!(place, None, "{bad}");
        }
    }

    fn known(sizes: &[u64], is_complete: bool, pairs: &[(&'static str, &'static str)]) -> bool {
        let row = |bytes: &u64| Row { name: "n".into(), bytes: *bytes, hash: "h".into() };
        let page: VecDeque<Row> = sizes.iter().map(row).collect();
        let mut call = call(Method::GET, "a/c/o");
        for (name, value) in pairs {
            call.headers.insert(*name, HeaderValue::from_static(value));
        }
        Known::of(&page, is_complete).can_cut(&Asked::of(&call))
    }

    #[test]
    fn parts_are_cut_out_of_what_is_known() {
        let cut = |is_complete, range| known(&[10, 10], is_complete, &[("range", range)]);
        assert!(cut(true, "bytes=5-") && cut(true, "bytes=-5") && cut(true, "bytes=90-"));
        assert!(!cut(true, "bytes=0-4,10-14") && !cut(true, "nonsense"));
        assert!(cut(false, "bytes=5-15") && !cut(false, "bytes=5-19"));
        assert!(!cut(false, "bytes=5-") && !cut(false, "bytes=-5"));
        assert!(!known(&[10, 10], false, &[("range", "bytes=0-1"), ("if-range", "x")]));
    }

    fn around(memory: &Arc<Memory>) -> Handler {
        let config = Config { rate_limit_segments_per_sec: 0, ..Config::default() };
        let dlo = DynamicLargeObjects { config, page_rows: memory.page_rows };
        tower::Layer::layer(&Layered(Arc::new(dlo)), memory.handler())
    }

    fn fixture(page_rows: usize) -> (Arc<Memory>, Handler) {
        let memory = Arc::new(Memory { page_rows, ..Memory::default() });
        for (name, body) in [("p/1", "aaaaa"), ("p/2", "bbbbb"), ("p/3", "c"), ("q", "other")] {
            memory.put(&format!("a/s/{name}"), body);
        }
        memory.put_with("a/c/m", "manifest", &[("x-object-manifest", "s/p%2F")]);
        let handler = around(&memory);
        (memory, handler)
    }

    async fn get(handler: &Handler, path: &str, headers: &[(&'static str, &str)]) -> Answered {
        ask(handler, "GET", path, headers, "").await
    }

    fn etag() -> String {
        let md5 = |text: &str| hex_encode(&Md5::digest(text));
        format!("\"{}\"", md5(&[md5("aaaaa"), md5("bbbbb"), md5("c")].concat()))
    }

    #[tokio::test]
    async fn segments_are_what_the_listing_says() {
        let (memory, handler) = fixture(100);
        let whole = get(&handler, "a/c/m", &[]).await;
        assert_eq!((whole.status, whole.text().as_str()), (200, "aaaaabbbbbc"));
        assert_eq!((whole.header("content-length"), whole.header("etag")), ("11", etag().as_str()));
        assert_eq!(whole.header("x-object-manifest"), "s/p%2F");
        let part = get(&handler, "a/c/m", &[("range", "bytes=4-5")]).await;
        assert_eq!((part.status, part.text().as_str()), (206, "ab"));
        assert_eq!(part.header("content-range"), "bytes 4-5/11");
        assert_eq!(get(&handler, "a/c/m", &[("range", "bytes=-2")]).await.text(), "bc");
        let many = get(&handler, "a/c/m", &[("range", "bytes=0-1,4-5")]).await;
        assert_eq!((many.status, many.text().as_str()), (200, "aaaaabbbbbc"));
        let beyond = get(&handler, "a/c/m", &[("range", "bytes=11-")]).await;
        assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */11"));
        assert_eq!(get(&handler, "a/c/m?multipart-manifest=get", &[]).await.text(), "manifest");
        memory.seen("");
        let head = ask(&handler, "HEAD", "a/c/m", &[], "").await;
        assert_eq!((head.header("content-length"), head.header("etag")), ("11", etag().as_str()));
        assert_eq!(memory.seen("GET").len(), 1, "the listing alone");
    }

    #[tokio::test]
    async fn conditions_are_those_of_the_whole() {
        let (_, handler) = fixture(100);
        let status =
            async |name, value: &str| get(&handler, "a/c/m", &[(name, value)]).await.status;
        assert_eq!(status("if-match", &etag()).await, 200);
        assert_eq!(status("if-match", "\"x\"").await, 412);
        assert_eq!(status("if-none-match", &etag()).await, 304);
        assert_eq!(status("if-none-match", "\"x\"").await, 200);
    }

    #[tokio::test]
    async fn listings_of_several_pages_are_followed() {
        for page_rows in [1, 2, 3] {
            let (_, handler) = fixture(page_rows);
            let whole = get(&handler, "a/c/m", &[]).await;
            assert_eq!(whole.text(), "aaaaabbbbbc", "{page_rows}");
            assert_eq!(whole.header("content-length"), "", "not known");
            assert_eq!(whole.header("etag"), hex_encode(&Md5::digest("manifest")));
            let part = get(&handler, "a/c/m", &[("range", "bytes=1-3")]).await;
            assert_eq!((part.status, part.text().as_str()), (206, "aaa"));
            let unknown = get(&handler, "a/c/m", &[("range", "bytes=9-10")]).await;
            let seen = (unknown.status, unknown.text());
            assert_eq!(seen, (200, "aaaaabbbbbc".to_owned()), "{page_rows}");
        }
    }

    #[tokio::test]
    async fn whoever_may_not_list_may_not_read() {
        let (memory, handler) = fixture(100);
        memory.refuse("a/s/p/2", StatusCode::NOT_FOUND);
        assert_eq!(get(&handler, "a/c/m", &[]).await.body, None, "the connection ends");
        memory.refuse("a/s/p/1", StatusCode::FORBIDDEN);
        assert_eq!(get(&handler, "a/c/m", &[]).await.status, 409);
        memory.refuse("a/s", StatusCode::FORBIDDEN);
        assert_eq!(get(&handler, "a/c/m", &[]).await.status, 403);
    }

    proptest! {
        #[test]
        fn never_panics(value in "[a-z/%?&0-9 ]{0,20}") {
            if let Ok(value) = HeaderValue::from_str(&value) {
                let _ = Place::parse(&value, &entity("a/c/o"));
            }
        }
    }
}
