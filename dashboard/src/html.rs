//! HTML made from texts that others have chosen.

use std::borrow::Cow;

/// A service that can be reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// What it is, for people: `Object storage`.
    pub name: &'a str,
    /// Where it is.
    pub url: &'a str,
}

/// Makes a text harmless between tags and within quoted attributes of HTML: it is shown, and means nothing.
/// (It does not make a text harmless inside of a script or a style, where nothing that others chose may stand.)
pub fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(['&', '<', '>', '"', '\'']) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for character in text[first..].chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The page that lists where the services are. An address is a link only when it is one of the web; a
/// `javascript:` address would run with the rights of who clicks it.
///
/// The page loads nothing from anywhere and holds no script, so it can be served with
/// `Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'`.
pub fn page(title: &str, endpoints: &[Endpoint<'_>]) -> String {
    let title = escape(title);
    let rows: String = endpoints.iter().map(row).collect();
    let list = match endpoints {
        [] => "<p>No service is running.</p>\n".to_owned(),
        _ => format!(
            "<table>\n<thead><tr><th scope=\"col\">Service</th><th scope=\"col\">Address</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table>\n"
        ),
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{list}</main>\n</body>\n</html>\n"
    )
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;\
    padding:0 1rem}table{border-collapse:collapse}th,td{text-align:left;padding:.25rem 1rem .25rem 0}";

fn row(endpoint: &Endpoint<'_>) -> String {
    let (name, url) = (escape(endpoint.name), escape(endpoint.url));
    let address = match is_web(endpoint.url) {
        true => format!("<a href=\"{url}\">{url}</a>"),
        false => url.into_owned(),
    };
    format!("<tr><td>{name}</td><td>{address}</td></tr>\n")
}

fn is_web(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_shown_and_mean_nothing() {
        assert_eq!(
            escape("a & b <i> \"c\" 'd' ü"),
            "a &amp; b &lt;i&gt; &quot;c&quot; &#39;d&#39; ü"
        );
        assert!(matches!(escape("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn the_page_lists_what_there_is() {
        let endpoints = [
            Endpoint { name: "Object storage", url: "http://127.0.0.1:8080/v1" },
            Endpoint { name: "A <trap>", url: "javascript:alert('x')" },
        ];
        let page = page("apus & friends", &endpoints);
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
        assert!(page.contains("<title>apus &amp; friends</title>"));
        assert!(page.contains("<a href=\"http://127.0.0.1:8080/v1\">http://127.0.0.1:8080/v1</a>"));
        assert!(page.contains("<td>A &lt;trap&gt;</td><td>javascript:alert(&#39;x&#39;)</td>"));
        assert_eq!(page.matches("<a ").count(), 1);
        assert_eq!(page.matches("<tr>").count(), 3);
    }

    #[test]
    fn an_empty_page_says_so() {
        let page = page("apus", &[]);
        assert!(page.contains("No service is running.") && !page.contains("<table>"));
    }

    proptest! {
        #[test]
        fn no_text_brings_a_tag_or_ends_an_attribute(name in ".{0,40}", url in "(https://)?.{0,40}") {
            let plain = page("t", &[Endpoint { name: "", url: "" }]);
            let page = page("t", &[Endpoint { name: &name, url: &url }]);
            let linked = usize::from(is_web(&url));
            let count = |page: &str, what| page.matches(what).count();
            prop_assert_eq!(count(&page, "<"), count(&plain, "<") + 2 * linked);
            prop_assert_eq!(count(&page, "\""), count(&plain, "\"") + 2 * linked);
        }

        #[test]
        fn the_text_can_be_had_back(text in ".{0,60}") {
            let back = escape(&text)
                .replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
                .replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(back, text);
        }
    }
}
