//! Listing updates, as records carry them until the container server has answered.

use super::bytes::{FormatError, Reader, Writer};
use types::{AccountName, ContainerName, ObjectName, PolicyIndex, Timestamp};
use wire::ObjectUpdate;

/// See the format page. Texts longer than 64 KiB do not occur: names and headers are far shorter.
pub fn encode_update(update: &ObjectUpdate) -> Vec<u8> {
    let mut out = Writer::default();
    let raw = |ts: Option<Timestamp>| ts.map_or(0, |ts| ts.raw);
    out.u8(update.deleted.into()).u32(update.policy.0);
    out.u64(update.timestamp.raw).u64(update.timestamp.offset);
    out.u64(raw(update.content_type_timestamp)).u64(raw(update.meta_timestamp)).u64(update.size);
    let texts = [
        update.account.as_str(),
        update.container.as_str(),
        update.object.as_str(),
        &update.content_type,
        &update.etag,
    ];
    for text in texts {
        let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
        out.u16(text.len() as u16).put(text.as_bytes());
    }
    if update.delete_at != 0 {
        out.u64(update.delete_at);
    }
    out.0
}

/// Reads what [`encode_update`] wrote.
pub fn decode_update(bytes: &[u8]) -> Result<ObjectUpdate, FormatError> {
    let mut fields = Reader::new(bytes);
    let deleted = fields.u8()? == 1;
    let policy = PolicyIndex(fields.u32()?);
    let timestamp = Timestamp { raw: fields.u64()?, offset: fields.u64()? };
    let (content_type_raw, meta_raw, size) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let mut text = || {
        let len = fields.u16()?;
        let bytes = fields.take(usize::from(len))?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FormatError::Field("text"))
    };
    let name = |_| FormatError::Field("name");
    let some = |raw: u64| (raw != 0).then(|| Timestamp::from_raw(raw));
    let account = AccountName::parse(text()?).map_err(name)?;
    let container = ContainerName::parse(text()?).map_err(name)?;
    let object = ObjectName::parse(text()?).map_err(name)?;
    let (content_type, etag) = (text()?, text()?);
    // Not there when it is 0.
    let delete_at = if fields.is_empty() { 0 } else { fields.u64()? };
    Ok(ObjectUpdate {
        account,
        container,
        object,
        deleted,
        timestamp,
        content_type_timestamp: some(content_type_raw),
        meta_timestamp: some(meta_raw),
        size,
        content_type,
        etag,
        policy,
        delete_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(name in "[^/\0]{1,30}", deleted: bool, raw in 1u64..1 << 50, meta: bool, size: u64) {
            let update = ObjectUpdate {
                account: AccountName::parse("AUTH_a").expect("a name"),
                container: ContainerName::parse(&name).expect("a name"),
                object: ObjectName::parse(&name).expect("a name"),
                deleted,
                timestamp: Timestamp { raw, offset: 3 },
                content_type_timestamp: None,
                meta_timestamp: meta.then(|| Timestamp::from_raw(raw)),
                size,
                content_type: "text/plain".into(),
                etag: "x".into(),
                policy: PolicyIndex(2), delete_at: 0 };
            prop_assert_eq!(decode_update(&encode_update(&update)), Ok(update));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_update(&bytes);
        }
    }
}
