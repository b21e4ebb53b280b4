//! Query strings, decoded strictly.

use percent_encoding::percent_decode;

/// A parameter that is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name} is not valid UTF-8")]
pub struct QueryError {
    /// The parameter, as far as it can be read.
    pub name: String,
}

/// Decodes `a=b&c` to pairs in their order; `+` is a space, a missing value is empty.
pub fn parse_query(query: Option<&str>) -> Result<Vec<(String, String)>, QueryError> {
    let decode = |text: &str| {
        let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
        String::from_utf8(percent_decode(&spaced).collect())
    };
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = |name: &str| QueryError { name: name.to_owned() };
            let name = decode(name).map_err(|_| bad(name))?;
            let value = decode(value).map_err(|_| bad(&name))?;
            Ok((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_names_the_bad_one() {
        let pairs = parse_query(Some("prefix=a%2Fb+c&&limit=3&reverse")).expect("decodes");
        let expected = [("prefix", "a/b c"), ("limit", "3"), ("reverse", "")];
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, expected);
        assert_eq!(parse_query(Some("marker=%ff")), Err(QueryError { name: "marker".into() }));
        assert_eq!(parse_query(None), Ok(vec![]));
    }
}
