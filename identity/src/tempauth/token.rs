//! The form of a token, and the keys derived from the cluster's secret.
//!
//! A token is the reseller prefix, `tk`, and 48 bytes in lower-case hexadecimal:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | when it expires, in seconds since 1970, big endian |
//! | 8..24 | the user: the first half of an HMAC of the full name, so that a token shows no names |
//! | 24..32 | random, so that two tokens are never the same |
//! | 32..48 | the first half of an HMAC-SHA256 over the prefix, the bytes before, and the fingerprint of the user's key |
//!
//! Every HMAC is keyed by one derived from the secret and starts with a word that says what it is for, so that
//! a value made for one purpose is never good for another.

use crate::config::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use types::{hex_decode, hex_encode};

/// Shorter secrets could be guessed.
pub(super) const SECRET_BYTES_MIN: usize = 16;

const SIGNED_LEN: usize = 32;
const MAC_LEN: usize = 16;
const TOKEN_LEN: usize = SIGNED_LEN + MAC_LEN;

/// Stands for a user's name in a token.
pub(super) type UserId = [u8; 16];

/// What is left of a user's key in memory. It is compared instead of the key: all fingerprints are of the same
/// length, so the time that takes tells nothing.
#[derive(Clone, Copy)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Whether both are of the same key, in constant time.
    pub(super) fn is_same(&self, other: &Fingerprint) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// What a token says, to be believed only when [`Signer::confirms`] it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Seconds since 1970.
    pub(super) expires: u64,
    /// For whom it was made.
    pub(super) user: UserId,
    nonce: [u8; 8],
}

impl Claim {
    fn encode(&self) -> [u8; SIGNED_LEN] {
        let mut bytes = [0; SIGNED_LEN];
        bytes[..8].copy_from_slice(&self.expires.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.user);
        bytes[24..].copy_from_slice(&self.nonce);
        bytes
    }

    fn decode(bytes: &[u8; TOKEN_LEN]) -> Self {
        let (mut expires, mut user, mut nonce) = ([0; 8], [0; 16], [0; 8]);
        expires.copy_from_slice(&bytes[..8]);
        user.copy_from_slice(&bytes[8..24]);
        nonce.copy_from_slice(&bytes[24..SIGNED_LEN]);
        Claim { expires: u64::from_be_bytes(expires), user, nonce }
    }
}

/// Makes and checks tokens.
pub(super) struct Signer {
    keyed: Hmac<Sha256>,
    prefix: String,
}

impl Signer {
    /// `prefix` is the reseller's, with its underscore.
    pub(super) fn new(secret: &Secret, prefix: &str) -> Self {
        Signer { keyed: keyed(secret.expose().as_bytes()), prefix: format!("{prefix}tk") }
    }

    /// What stands for a user in tokens.
    pub(super) fn user_id(&self, full_name: &str) -> UserId {
        let mac = self.mac("user", &[full_name.as_bytes()]).finalize().into_bytes();
        let mut id = UserId::default();
        id.copy_from_slice(&mac[..16]);
        id
    }

    /// What stands for a key.
    pub(super) fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        Fingerprint(self.mac("key", &[key]).finalize().into_bytes().into())
    }

    /// What a user's tokens are bound to. With another generation than before none of them is valid any more.
    pub(super) fn token_key(&self, key: &Fingerprint, generation: u64) -> Fingerprint {
        match generation {
            0 => *key,
            _ => {
                let generation = generation.to_be_bytes();
                Fingerprint(
                    self.mac("generation", &[&generation, &key.0]).finalize().into_bytes().into(),
                )
            }
        }
    }

    /// A new token.
    pub(super) fn issue(&self, user: UserId, key: &Fingerprint, expires: u64) -> String {
        let claim = Claim { expires, user, nonce: rand::random() };
        let mac = self.token_mac(&claim, key).finalize().into_bytes();
        format!("{}{}{}", self.prefix, hex_encode(&claim.encode()), hex_encode(&mac[..MAC_LEN]))
    }

    /// What a token says, if it has the form of one.
    pub(super) fn read(&self, token: &str) -> Option<Claim> {
        Some(Claim::decode(&self.bytes(token)?))
    }

    /// Whether a token was made here, for this claim and a user with this key. Takes constant time.
    pub(super) fn confirms(&self, token: &str, claim: &Claim, key: &Fingerprint) -> bool {
        let Some(bytes) = self.bytes(token) else { return false };
        self.token_mac(claim, key).verify_truncated_left(&bytes[SIGNED_LEN..]).is_ok()
    }

    fn bytes(&self, token: &str) -> Option<[u8; TOKEN_LEN]> {
        let digits = token.strip_prefix(&self.prefix)?;
        if digits.len() != TOKEN_LEN * 2 {
            return None;
        }
        hex_decode(digits).ok()?.try_into().ok()
    }

    fn token_mac(&self, claim: &Claim, key: &Fingerprint) -> Hmac<Sha256> {
        self.mac("token", &[self.prefix.as_bytes(), &claim.encode(), &key.0])
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        for part in [purpose.as_bytes()].iter().chain(parts) {
            // With its length before each part, two lists of parts never give the same bytes.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// HMAC fills a shorter key up with zeros to one block; given a whole block, it cannot refuse it.
fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..32].copy_from_slice(&Sha256::digest(secret));
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signer(secret: &str) -> Signer {
        Signer::new(&Secret::new(secret), "AUTH_")
    }

    proptest! {
        #[test]
        fn reads_what_it_issued_and_nothing_else(expires: u64, flip in 0usize..TOKEN_LEN, bit in 0u8..8) {
            let signer = signer("0123456789abcdef");
            let (user, key) = (signer.user_id("test:tester"), signer.fingerprint(b"testing"));
            let token = signer.issue(user, &key, expires);
            let claim = signer.read(&token).expect("a token");
            prop_assert_eq!((claim.expires, claim.user), (expires, user));
            prop_assert!(signer.confirms(&token, &claim, &key));
            prop_assert!(!signer.confirms(&token, &claim, &signer.fingerprint(b"testing2")));
            prop_assert!(!self::signer("0123456789abcdeF").confirms(&token, &claim, &key));

            let mut bytes = hex_decode(&token["AUTH_tk".len()..]).expect("digits");
            bytes[flip] ^= 1 << bit;
            let forged = format!("AUTH_tk{}", hex_encode(&bytes));
            let claim = signer.read(&forged).expect("of the right form");
            prop_assert!(!signer.confirms(&forged, &claim, &key));
        }

        #[test]
        fn any_text_is_only_no_token(text in ".{0,200}", digits in "[0-9a-f]{0,120}") {
            let signer = signer("0123456789abcdef");
            prop_assert_eq!(signer.read(&text), None);
            let read = signer.read(&format!("AUTH_tk{digits}"));
            prop_assert_eq!(read.is_some(), digits.len() == TOKEN_LEN * 2);
        }
    }

    #[test]
    fn purposes_and_prefixes_do_not_mix() {
        let signer = signer("0123456789abcdef");
        let name = signer.user_id("x");
        assert_ne!(name[..], signer.fingerprint(b"x").0[..16]);
        let other = Signer::new(&Secret::new("0123456789abcdef"), "OTHER_");
        let token = signer.issue(name, &signer.fingerprint(b"k"), 9);
        assert_eq!(other.read(&token), None);
        let moved = token.replace("AUTH_tk", "OTHER_tk");
        let claim = other.read(&moved).expect("of the right form");
        assert!(!other.confirms(&moved, &claim, &other.fingerprint(b"k")));
    }
}
