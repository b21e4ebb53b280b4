//! Signatures that stand in place of a token: an HMAC under a key that the owner of an account or a container has set.
//! Swift: common/digest.py.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// 160 bits; Swift still accepts it, and tells clients that it will not for ever.
    Sha1,
    /// 256 bits.
    Sha256,
    /// 512 bits.
    Sha512,
}

impl Digest {
    /// All that Swift knows: the default of what is accepted.
    pub(crate) const ALL: [Digest; 3] = [Digest::Sha1, Digest::Sha256, Digest::Sha512];

    /// Whether clients are told to use another.
    pub(crate) fn is_deprecated(self) -> bool {
        self == Digest::Sha1
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Digest::Sha1),
            "sha256" => Some(Digest::Sha256),
            "sha512" => Some(Digest::Sha512),
            _ => None,
        }
    }

    fn of_length(bytes: usize) -> Option<Self> {
        match bytes {
            20 => Some(Digest::Sha1),
            32 => Some(Digest::Sha256),
            64 => Some(Digest::Sha512),
            _ => None,
        }
    }
}

/// A signature that a client sent. What it shows of itself in logs is only its digest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) digest: Digest,
    mac: Vec<u8>,
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({:?}, ***)", self.digest)
    }
}

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Signature {
    /// Reads `<hex>`, whose length tells the digest, or `<digest>:<base64>`, in either alphabet of base64.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some((name, encoded)) = text.split_once(':') else {
            let mac = unhex(text)?;
            return Some(Signature { digest: Digest::of_length(mac.len())?, mac });
        };
        let url_safe = encoded.contains(['-', '_']) && !encoded.contains(['+', '/']);
        let mac = match url_safe {
            true => BASE64.decode(encoded.replace('-', "+").replace('_', "/")),
            false => BASE64.decode(encoded),
        };
        Some(Signature { digest: Digest::named(name)?, mac: mac.ok()? })
    }

    /// Whether it is the signature of a message under a key. How long this takes says nothing about the right one.
    pub(crate) fn is_of(&self, key: &[u8], message: &[u8]) -> bool {
        match self.digest {
            Digest::Sha1 => verified::<Hmac<Sha1>>(key, message, &self.mac),
            Digest::Sha256 => verified::<Hmac<Sha256>>(key, message, &self.mac),
            Digest::Sha512 => verified::<Hmac<Sha512>>(key, message, &self.mac),
        }
    }

    /// The usual form: hex digits.
    pub(crate) fn hex(&self) -> String {
        types::hex_encode(&self.mac)
    }
}

fn verified<M: Mac + KeyInit>(key: &[u8], message: &[u8], mac: &[u8]) -> bool {
    // A key may be of any length.
    let keyed = <M as KeyInit>::new_from_slice(key);
    keyed.is_ok_and(|keyed| keyed.chain_update(message).verify_slice(mac).is_ok())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // The longest digest has 64 bytes.
    if !text.len().is_multiple_of(2) || text.len() > 128 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

/// Which digests are accepted, as the sections of `/info` say it.
pub(crate) fn described(allowed: &[Digest]) -> serde_json::Map<String, serde_json::Value> {
    let mut allowed = allowed.to_vec();
    allowed.sort_unstable();
    allowed.dedup();
    let deprecated: Vec<_> = allowed.iter().filter(|digest| digest.is_deprecated()).collect();
    let mut section = serde_json::Map::new();
    if !deprecated.is_empty() {
        section.insert("deprecated_digests".to_owned(), serde_json::json!(deprecated));
    }
    section.insert("allowed_digests".to_owned(), serde_json::json!(allowed));
    section
}

/// When something ends: seconds since 1970, or `YYYY-MM-DDThh:mm:ssZ`.
pub(crate) fn moment(text: &str) -> Option<i64> {
    text.trim().parse().ok().or_else(|| iso_8601(text))
}

fn iso_8601(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |text: &str, digits: usize| {
        let fits = !text.is_empty() && text.len() <= digits;
        let plain = fits && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let year = number(year, 4).filter(|_| year.len() == 4)?;
    let (month, day) = (number(month, 2)?, number(day, 2)?);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (number(time.next()?, 2)?, number(time.next()?, 2)?);
    let second = number(time.next()?, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=longest).contains(&day) || hour > 23 || minute > 59 || second > 61 {
        return None;
    }
    // Days since 1970, counting years from March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The hex form of a right signature.
    pub(crate) fn sign(digest: Digest, key: &str, message: &str) -> String {
        let (key, message) = (key.as_bytes(), message.as_bytes());
        fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> String {
            let keyed = <M as KeyInit>::new_from_slice(key).expect("any length");
            types::hex_encode(&keyed.chain_update(message).finalize().into_bytes())
        }
        match digest {
            Digest::Sha1 => mac::<Hmac<Sha1>>(key, message),
            Digest::Sha256 => mac::<Hmac<Sha256>>(key, message),
            Digest::Sha512 => mac::<Hmac<Sha512>>(key, message),
        }
    }

    #[test]
    fn known_signatures_are_right() {
        // RFC 2202 and RFC 4231, test case 2: key "Jefe".
        let cases = [
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "sha256:W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
            "sha256:W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM",
            "sha1:7_zfauXrL6LSdBbV8YTfnCWafHk=",
            "sha1:7/zfauXrL6LSdBbV8YTfnCWafHk",
        ];
        for text in cases {
            let signature = Signature::parse(text).expect("a signature");
            assert!(signature.is_of(b"Jefe", b"what do ya want for nothing?"), "{text}");
            assert!(!signature.is_of(b"Jefe", b"what do ya want for nothing"), "{text}");
            assert!(!signature.is_of(b"jefe", b"what do ya want for nothing?"), "{text}");
        }
        let sha512 = Signature::parse(&sign(Digest::Sha512, "k", "m")).expect("a signature");
        assert_eq!(sha512.digest, Digest::Sha512);
        assert!(sha512.is_of(b"k", b"m"));
    }

    #[test]
    fn what_is_no_signature() {
        let bad = ["", "ab", "zz", "md5:aaaa", "sha1:!", "sha1:7_/zfau", ":", &"a".repeat(39)];
        for text in bad {
            assert_eq!(Signature::parse(text), None, "{text}");
        }
        // Too short for its digest is well formed, and right for nothing.
        let short = Signature::parse("sha1:").expect("well formed");
        assert!(!short.is_of(b"k", b"m"));
        assert_eq!(format!("{short:?}"), "Signature(Sha1, ***)");
    }

    #[test]
    fn moments() {
        let cases = [
            ("1400000000", Some(1_400_000_000)),
            (" 5 ", Some(5)),
            ("-5", Some(-5)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2014-05-13T16:53:20Z", Some(1_400_000_000)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2001-02-29T12:00:00Z", None),
            ("2014-13-01T00:00:00Z", None),
            ("2014-05-13T16:53:20", None),
            ("2014-05-13 16:53:20Z", None),
            ("14-05-13T16:53:20Z", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(moment(text), seconds, "{text}");
        }
    }

    #[test]
    fn clients_are_told_what_is_accepted() {
        let section = described(&Digest::ALL);
        assert_eq!(section["allowed_digests"], serde_json::json!(["sha1", "sha256", "sha512"]));
        assert_eq!(section["deprecated_digests"], serde_json::json!(["sha1"]));
        assert!(!described(&[Digest::Sha256]).contains_key("deprecated_digests"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "(sha1:|sha256:)?[\\PC]{0,50}", date in "[0-9]{0,5}-[0-9]{0,3}-[0-9]{0,3}T[0-9:]{0,9}Z?") {
            if let Some(signature) = Signature::parse(&text) {
                signature.is_of(text.as_bytes(), date.as_bytes());
            }
            let _ = (moment(&text), moment(&date));
        }
    }
}
