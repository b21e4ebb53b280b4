//! Listings as HTML. Ids, classes and links are Swift's, so that style sheets written for it fit; the rest is our own.
//!
//! Everything that comes from names, types and settings is escaped; names in links are percent-encoded, dots too, so that
//! a name can be neither `..` nor a scheme.

use std::fmt::Write;
use wire::encode_segment;

use super::human;
use super::listing::Entry;
use super::site::Site;
use crate::call::{Authority, Call};

/// Used where the site has no style sheet of its own: readable on small screens and in the dark, without scripts.
const STYLE: &str = "
    :root { color-scheme: light dark; }
    body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
    h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
    table { border-collapse: collapse; width: 100%; }
    th, td { border-bottom: 1px solid #8884; padding: .25rem .75rem .25rem 0; text-align: left; }
    .colname { overflow-wrap: anywhere; }
    .colsize { text-align: right; }
    .colsize, .coldate { font-variant-numeric: tabular-nums; white-space: nowrap; }
  ";

/// Text as it may stand in an element or in a quoted attribute.
pub(in crate::pipeline) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    out
}

/// What the bearer of a temporary URL needs at the end of every link.
#[derive(Debug, Default)]
pub(super) struct SignedLink {
    pairs: Vec<String>,
    /// What may be seen begins with this.
    prefix: String,
}

impl SignedLink {
    pub(super) fn of(call: &Call) -> Self {
        let prefix = call.query.get("temp_url_prefix");
        let (Authority::Signed(_), Some(prefix)) = (&call.context.authority, prefix) else {
            return SignedLink::default();
        };
        // In the order in which Swift has them.
        let names = ["temp_url_prefix", "temp_url_expires", "temp_url_sig", "temp_url_ip_range"];
        let pair = |name: &&str| {
            call.query.get(name).map(|value| format!("{name}={}", encode_segment(value)))
        };
        let mut pairs: Vec<String> = names.iter().filter_map(pair).collect();
        if call.query.has("inline") {
            pairs.push("inline".to_owned());
        }
        SignedLink { pairs, prefix: prefix.to_owned() }
    }

    /// To be put after a path; empty without a signature.
    pub(super) fn query(&self) -> String {
        if self.pairs.is_empty() { String::new() } else { format!("?{}", self.pairs.join("&")) }
    }
}

fn head(title: &str, site: &Site, prefix: &str) -> String {
    let style = match site.css(prefix) {
        Some(css) => {
            format!("<link rel=\"stylesheet\" type=\"text/css\" href=\"{}\" />", escaped(&css))
        }
        None => format!("<style>{STYLE}</style>"),
    };
    format!(
        "<!DOCTYPE html>\n<html>\n <head>\n  <meta charset=\"utf-8\" />\n  \
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n  \
         <title>Listing of {}</title>\n  {style}\n </head>\n <body>\n",
        escaped(title)
    )
}

fn row(out: &mut String, attributes: &str, link: &str, name: &str, size: &str, date: &str) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "   <tr {attributes}>\n    <td class=\"colname\"><a href=\"{link}\">{name}</a></td>\n    \
         <td class=\"colsize\">{size}</td>\n    <td class=\"coldate\">{date}</td>\n   </tr>\n"
    );
}

/// The name as it is shown, and the link to it from the directory it is in.
fn name_and_link(name: &str, prefix: &str, query: &str) -> (String, String) {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    let link = encode_segment(name).replace('.', "%2E");
    (escaped(name), format!("./{link}{query}"))
}

/// The page of a directory: first the directories in it, then the objects.
pub(super) fn listing(
    title: &str,
    site: &Site,
    prefix: &str,
    entries: &[Entry],
    link: &SignedLink,
) -> String {
    let query = escaped(&link.query());
    let mut out = head(title, site, prefix);
    let _ = write!(
        out,
        "  <h1 id=\"title\">Listing of {}</h1>\n  <table id=\"listing\">\n   <tr id=\"heading\">\n    \
         <th scope=\"col\" class=\"colname\">Name</th>\n    \
         <th scope=\"col\" class=\"colsize\">Size</th>\n    \
         <th scope=\"col\" class=\"coldate\">Date</th>\n   </tr>\n",
        escaped(title)
    );
    // Above what is signed there is nothing to see.
    if prefix.len() > link.prefix.len() {
        let up = format!("../{query}");
        row(&mut out, "id=\"parent\" class=\"item\"", &up, "../", "&nbsp;", "&nbsp;");
    }
    for entry in entries {
        if let Entry::Directory { subdir } = entry {
            let (name, link) = name_and_link(subdir, prefix, &query);
            row(&mut out, "class=\"item subdir\"", &link, &name, "&nbsp;", "&nbsp;");
        }
    }
    for entry in entries {
        if let Entry::Object { name, bytes, content_type, last_modified } = entry {
            let (name, link) = name_and_link(name, prefix, &query);
            let classes: Vec<String> = content_type
                .split('/')
                .map(|part| format!("type-{}", escaped(&part.to_lowercase())))
                .collect();
            let attributes = format!("class=\"item {}\"", classes.join(" "));
            let date = last_modified.split('.').next().unwrap_or_default().replace('T', " ");
            row(&mut out, &attributes, &link, &name, &human::size(*bytes), &escaped(&date));
        }
    }
    out.push_str("  </table>\n </body>\n</html>\n");
    out
}

/// Why there is no listing, for visitors and for the owner.
pub(super) fn no_listing(title: &str, site: &Site, prefix: &str) -> String {
    let mut out = head(title, site, prefix);
    out.push_str(
        "  <h1>Web Listing Disabled</h1>\n  <p>The owner of this web site does not list what is in \
         it.</p>\n  <p>If this is your site: <code>X-Container-Meta-Web-Listings: true</code> makes \
         listings.</p>\n",
    );
    if !site.index().is_empty() {
        let _ = write!(
            out,
            "  <h1>Index File Not Found</h1>\n  <p>By <code>X-Container-Meta-Web-Index</code> the \
             page to show is <b>{}</b>, and it is not there.</p>\n",
            escaped(site.index())
        );
    }
    out.push_str(" </body>\n</html>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::{call, entity};
    use http::Method;
    use proptest::prelude::*;

    fn object(name: &str, kind: &str) -> Entry {
        Entry::Object {
            name: name.to_owned(),
            bytes: 2048,
            content_type: kind.to_owned(),
            last_modified: "2014-05-13T16:53:20.123456".to_owned(),
        }
    }

    #[test]
    fn directories_come_first_and_links_are_relative() {
        let entries =
            [object("d/o.txt", "Text/Plain"), Entry::Directory { subdir: "d/e f/".to_owned() }];
        let site = Site::default();
        let page = listing("/v1/a/c/d/", &site, "d/", &entries, &SignedLink::default());
        let directory = page.find("<a href=\"./e%20f/\">e f/</a>").expect("the directory");
        let object = page.find("<a href=\"./o%2Etxt\">o.txt</a>").expect("the object");
        assert!(directory < object);
        assert!(page.contains("class=\"item type-text type-plain\""), "{page}");
        assert!(page.contains("<td class=\"colsize\">2Ki</td>"), "{page}");
        assert!(page.contains("<td class=\"coldate\">2014-05-13 16:53:20</td>"), "{page}");
        assert!(page.contains("<a href=\"../\">../</a>"), "{page}");
        let root = listing("/v1/a/c/", &site, "", &[], &SignedLink::default());
        assert!(!root.contains("href=\"..") && root.contains("Listing of /v1/a/c/"), "{root}");
    }

    #[test]
    fn signatures_are_kept_in_links_and_lead_no_higher() {
        let mut call = call(Method::GET, "a/c/d/")
            .ask("temp_url_sig", "ab")
            .ask("temp_url_expires", "2014-05-13T16:53:20Z")
            .ask("temp_url_prefix", "d/")
            .ask("inline", "");
        assert_eq!(SignedLink::of(&call).query(), "", "nobody checked the signature");
        call.context.authority = Authority::Signed(entity("a/c"));
        let link = SignedLink::of(&call);
        let query =
            "?temp_url_prefix=d/&temp_url_expires=2014-05-13T16%3A53%3A20Z&temp_url_sig=ab&inline";
        assert_eq!(link.query(), query);
        let page = listing("t", &Site::default(), "d/", &[object("d/o", "a/b")], &link);
        assert!(
            page.contains(&format!("<a href=\"./o{}\">", query.replace('&', "&amp;"))),
            "{page}"
        );
        assert!(!page.contains("href=\".."), "{page}");
        let below = listing("t", &Site::default(), "d/e/", &[], &link);
        assert!(below.contains("href=\"../?temp_url_prefix=d/&amp;"), "{below}");
    }

    proptest! {
        #[test]
        fn nothing_breaks_out(name in "[<>\"'&a./:]{1,20}", kind in "[<>\"'&/ =a]{0,20}") {
            let entries = [object(&name, &kind), Entry::Directory { subdir: name.clone() }];
            let link = SignedLink { pairs: vec![format!("a={}", encode_segment(&name))], prefix: String::new() };
            let page = listing(&name, &Site::default(), "", &entries, &link);
            let plain = listing("t", &Site::default(), "", &[object("n", "k"), Entry::Directory { subdir: "n".into() }], &SignedLink::default());
            // The same elements and attributes, whatever the names are.
            for mark in ['<', '>', '"', '\''] {
                prop_assert_eq!(page.matches(mark).count(), plain.matches(mark).count(), "{}", page);
            }
            prop_assert!(no_listing(&name, &Site::default(), "").matches('<').count() < 40);
        }
    }
}
