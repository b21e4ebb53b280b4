//! Parsers of what clients send, for fuzzing: whatever comes, they neither panic nor hang.

/// A form, in pieces as long as its first byte says.
pub fn form(data: &[u8]) {
    crate::pipeline::formpost::read_anything(data);
}

/// The query of a temporary URL, and what stands in it.
pub fn temporary_url(data: &[u8]) {
    crate::pipeline::tempurl::read_anything(data);
}

/// The body of `PUT ?multipart-manifest=put`.
pub fn static_manifest(body: &[u8]) {
    crate::pipeline::slo::read_anything(body);
}

/// The ACL of a container, and the referrer that it is asked about.
pub fn container_acl(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (acl, referer) = text.split_once('\n').unwrap_or((&text, ""));
    // Swift takes one star off a host and looks no further: `**.` becomes `*.`, which would not be taken.
    let dense: String = acl.chars().filter(|letter| !letter.is_whitespace()).collect();
    let settles = !dense.contains("**") && !dense.contains("*-");
    for for_writing in [false, true] {
        let Ok(cleaned) = crate::auth::clean(acl, for_writing) else { continue };
        let again = crate::auth::clean(&cleaned, for_writing);
        assert!(!settles || again.as_ref() == Ok(&cleaned), "{cleaned} became {again:?}");
    }
    let acl = crate::auth::Acl::parse(acl);
    let _ = (acl.allows_referer(Some(referer)), acl.allows_any_of(&[referer.to_owned()]));
}

/// The first line of a request, without its version, and then its headers, a line each.
pub fn request_head(data: &[u8]) {
    crate::swift::read_anything(data);
}

/// The body of a bulk request: an archive or a list of names, packed or not, in pieces, as its first two bytes say.
pub fn bulk(data: &[u8]) {
    crate::pipeline::bulk::read_anything(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    type Parse = fn(&[u8]);

    /// What the fuzz targets begin with.
    #[test]
    fn the_seeds_of_the_fuzz_targets() {
        let targets: [(&str, Parse); 6] = [
            ("bulk_body", super::bulk),
            ("container_acl", super::container_acl),
            ("form_post", super::form),
            ("request_head", super::request_head),
            ("slo_manifest", super::static_manifest),
            ("temporary_url", super::temporary_url),
        ];
        for (target, parse) in targets {
            let seeds = format!("{}/../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
            let seeds = std::fs::read_dir(seeds).expect("seeds").collect::<Vec<_>>();
            assert!(seeds.len() >= 3, "only {} seeds for {target}", seeds.len());
            for seed in seeds {
                parse(&std::fs::read(seed.expect("a seed").path()).expect("bytes"));
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z.:,*=&%0-9\r\n\"; -]{0,60}") {
            for data in [&data[..], text.as_bytes(), &[b"\x03--b\r\n", text.as_bytes()].concat()] {
                super::form(data);
                super::temporary_url(data);
                super::static_manifest(data);
                super::container_acl(data);
                super::request_head(data);
                for kind in 0..4 {
                    super::bulk(&[&[kind, 7], data].concat());
                }
            }
        }
    }
}
