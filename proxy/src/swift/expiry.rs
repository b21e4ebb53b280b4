//! When an object is to expire: `X-Delete-At` and `X-Delete-After`. Swift: common/constraints.py,
//! `check_delete_headers`.

use http::header::{HeaderMap, HeaderValue};
use types::Timestamp;
use wire::headers::X_DELETE_AT;

use super::error::Refusal;

const X_DELETE_AFTER: &str = "x-delete-after";
/// The last second that ten digits can name.
const LATEST: i128 = 9_999_999_999;

/// Brings what a client said into the one form that is stored, the second in ten digits, and refuses nonsense.
pub(crate) fn settle(headers: &mut HeaderMap, now: Timestamp) -> Result<(), Refusal> {
    let now_seconds = i128::from(now.seconds());
    if let Some(value) = headers.remove(X_DELETE_AFTER) {
        let after = integer(&value).ok_or(Refusal::bad_request("Non-integer X-Delete-After"))?;
        let at = now_seconds.saturating_add(after).clamp(0, LATEST);
        if at <= now_seconds {
            return Err(Refusal::bad_request("X-Delete-After in past"));
        }
        set(headers, at);
        return Ok(());
    }
    let Some(value) = headers.get(X_DELETE_AT) else { return Ok(()) };
    let at = integer(value).ok_or(Refusal::bad_request("Non-integer X-Delete-At"))?;
    let at = at.clamp(0, LATEST);
    if at <= now_seconds {
        return Err(Refusal::bad_request("X-Delete-At in past"));
    }
    set(headers, at);
    Ok(())
}

fn set(headers: &mut HeaderMap, at: i128) {
    if let Ok(value) = HeaderValue::try_from(format!("{at:010}")) {
        headers.insert(X_DELETE_AT, value);
    }
}

/// A whole number, however long.
fn integer(value: &HeaderValue) -> Option<i128> {
    let text = value.to_str().ok()?.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let huge = if text.starts_with('-') { i128::MIN } else { i128::MAX };
    Some(text.parse().unwrap_or(huge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(name: &'static str, value: &str) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        settle(&mut headers, Timestamp::from_seconds(1_700_000_000))
            .map_err(|refusal| wire::Response::from(refusal).status().as_u16())?;
        assert!(!headers.contains_key(X_DELETE_AFTER));
        Ok(headers[X_DELETE_AT].to_str().expect("text").to_owned())
    }

    #[test]
    fn both_forms_become_one() {
        assert_eq!(settled("x-delete-after", "60"), Ok("1700000060".into()));
        assert_eq!(settled("x-delete-at", " 1700000001 "), Ok("1700000001".into()));
        let far = "9".repeat(60);
        assert_eq!(settled("x-delete-at", &far), Ok("9999999999".into()));
        assert_eq!(settled("x-delete-after", &far), Ok("9999999999".into()));
    }

    #[test]
    fn nonsense_and_the_past_are_refused() {
        for value in ["", "soon", "1.5", "-", "0x10", "0", "-5", "1700000000"] {
            assert_eq!(settled("x-delete-at", value), Err(400), "{value}");
        }
        for value in ["", "soon", "0", "-1", "-99999999999999999999999999999999999999999999"] {
            assert_eq!(settled("x-delete-after", value), Err(400), "{value}");
        }
    }
}
