//! What a container says of itself as a web site: `X-Container-Meta-Web-*`.

use http::header;
use types::ObjectName;
use wire::Response;

use crate::store::{ContainerInfo, Entity};

/// The settings; empty where there is none.
#[derive(Debug, Default)]
pub(super) struct Site {
    index: String,
    error: String,
    listings: String,
    css: String,
    label: String,
    directory_type: String,
}

impl Site {
    pub(super) fn of(container: Option<&ContainerInfo>) -> Self {
        let Some(container) = container else { return Site::default() };
        let text = |name: &str| {
            container.meta(&format!("web-{name}")).map(str::trim).unwrap_or_default().to_owned()
        };
        Site {
            index: text("index"),
            error: text("error"),
            listings: text("listings"),
            css: text("listings-css"),
            label: text("listings-label"),
            directory_type: text("directory-type"),
        }
    }

    /// Whether it is meant to be one at all.
    pub(super) fn is_site(&self) -> bool {
        !self.index.is_empty() || !self.listings.is_empty()
    }

    /// Whether directories without an index are listed.
    pub(super) fn lists(&self) -> bool {
        let word = http::HeaderValue::try_from(&self.listings).ok();
        crate::swift::constraints::is_true(word.as_ref())
    }

    /// The name of index pages.
    pub(super) fn index(&self) -> &str {
        &self.index
    }

    /// How the name of an error page goes on after its status.
    pub(super) fn error(&self) -> &str {
        &self.error
    }

    /// The style sheet of listings, as a link from the directory `prefix`.
    pub(super) fn css(&self, prefix: &str) -> Option<String> {
        let absolute = ["/", "http://", "https://"];
        match self.css.as_str() {
            "" => None,
            css if absolute.iter().any(|start| css.starts_with(start)) => {
                Some(wire::encode_segment(css).replace("%3A", ":"))
            }
            css => Some("../".repeat(prefix.matches('/').count()) + &wire::encode_segment(css)),
        }
    }

    /// What a listing is called: the path, whose beginning can be replaced by the label.
    pub(super) fn title(&self, path: &str) -> String {
        match self.label.as_str() {
            "" => path.to_owned(),
            // `/v1/account/container/`, and then what is left.
            label => format!("{label}/{}", path.splitn(5, '/').nth(4).unwrap_or_default()),
        }
    }

    /// Whether an object only stands for a directory.
    pub(super) fn is_directory(&self, response: &Response) -> bool {
        let wanted = match self.directory_type.as_str() {
            "" => "application/directory",
            own => own,
        };
        let headers = response.headers();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok());
        let length: u64 = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let kind = headers.get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind == wanted) && length <= 1
    }

    /// The object of a name in a directory of the site; `None` if it has no such name.
    pub(super) fn object(&self, entity: &Entity, directory: &str, name: &str) -> Option<Entity> {
        if name.is_empty() {
            return None;
        }
        let name = ObjectName::parse(format!("{directory}{name}")).ok()?;
        Some(entity.to_container().with_object(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    #[test]
    fn style_sheets_are_found_from_below() {
        let site = |css: &str| Site { css: css.to_owned(), ..Site::default() };
        assert_eq!(site("").css("a/"), None);
        assert_eq!(site("s t.css").css(""), Some("s%20t.css".to_owned()));
        assert_eq!(site("s.css").css("a/b/"), Some("../../s.css".to_owned()));
        assert_eq!(site("/s.css").css("a/"), Some("/s.css".to_owned()));
        let elsewhere = "https://x:8080/s%22.css".to_owned();
        assert_eq!(site("https://x:8080/s\".css").css("a/"), Some(elsewhere));
    }

    #[test]
    fn a_label_hides_the_account() {
        let site = Site { label: "mine".to_owned(), ..Site::default() };
        assert_eq!(site.title("/v1/a/c/"), "mine/");
        assert_eq!(site.title("/v1/a/c/d/e/"), "mine/d/e/");
        assert_eq!(Site::default().title("/v1/a/c/d/"), "/v1/a/c/d/");
    }

    #[test]
    fn only_small_objects_of_the_type_are_directories() {
        let response = |kind: &'static str, length: &'static str| {
            let mut response = Response::default();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
            response
        };
        let usual = Site::default();
        assert!(usual.is_directory(&response("application/directory", "1")));
        assert!(!usual.is_directory(&response("application/directory", "2")));
        assert!(!usual.is_directory(&response("text/directory", "0")));
        let own = Site { directory_type: "text/directory".to_owned(), ..Site::default() };
        assert!(own.is_directory(&response("text/directory", "0")));
        assert!(!own.is_directory(&response("application/directory", "0")));
    }
}
