//! Bytes read as a script: texts of many lengths, and how they are cut. Whatever the bytes are, every kernel and the
//! service must give what the crate `md-5` gives.

use bytes::Bytes;
use lanes::{Kernel, Md5Lanes, digest_many};
use md5::{Digest, Md5};
use std::sync::OnceLock;

/// More than the lanes of the widest kernel, so that lanes are filled again.
const TEXTS_MAX: usize = 80;

struct Text {
    bytes: Bytes,
    /// Lengths of the pieces it is handed over in, by turns.
    cuts: [usize; 2],
}

/// Each four bytes of script are a text: two for its length, so that most are short and some are 100 KiB, and two for
/// the two lengths that it is cut into by turns.
fn texts(script: &[u8]) -> Vec<Text> {
    let mut texts = Vec::new();
    for words in script.chunks(4).take(TEXTS_MAX) {
        let at = |index: usize| words.get(index).copied().unwrap_or(0) as usize;
        let length = if at(1) < 192 { at(0) + 64 * (at(1) % 8) } else { at(0) * at(1) * 2 };
        let seed = at(0) * 31 + at(2) * 7 + texts.len();
        let bytes = (0..length).map(|i| ((i + seed).wrapping_mul(0x9e37_79b1) >> 13) as u8);
        let cuts = [1 + at(2) * (1 + at(3)), 1 + at(3)];
        texts.push(Text { bytes: bytes.collect(), cuts });
    }
    texts
}

async fn by_service(service: &Md5Lanes, text: &Text) -> Result<[u8; 16], lanes::Stopped> {
    let mut stream = service.stream();
    let mut rest = text.bytes.clone();
    let mut cuts = text.cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = cuts.next().copied().unwrap_or(rest.len());
        stream.update(rest.split_to(cut.min(rest.len()))).await?;
    }
    stream.finish().await
}

fn services() -> &'static [Md5Lanes] {
    static SERVICES: OnceLock<Vec<Md5Lanes>> = OnceLock::new();
    SERVICES.get_or_init(|| {
        let start = |kernel| Md5Lanes::start_with(kernel, 2).expect("threads");
        Kernel::available().map(start).collect()
    })
}

/// Runs a script.
pub(crate) fn run(script: &[u8]) {
    let texts = texts(script);
    let whole: Vec<&[u8]> = texts.iter().map(|text| &text.bytes[..]).collect();
    let expected: Vec<[u8; 16]> = whole.iter().map(|text| Md5::digest(text).into()).collect();
    for kernel in Kernel::available() {
        assert_eq!(digest_many(kernel, &whole), expected, "{kernel:?}");
    }
    for service in services() {
        let all = texts.iter().map(|text| by_service(service, text));
        let digests = futures_executor::block_on(futures_util::future::try_join_all(all));
        assert_eq!(digests.expect("a running service"), expected);
    }
}
