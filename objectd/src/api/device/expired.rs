//! EXPIRED: objects whose X-Delete-At has passed and that nobody has deleted yet, by an index in order of time.

use super::{DeviceRequest, json};
use crate::api::error::Refusal;
use crate::engine::EngineError;
use types::{ObjectHash, hex_decode, hex_encode};
use wire::Response;
use wire::device::{Expired, ExpiredObject};

/// Most objects of one answer: to tell its name, each is read.
const PAGE_MAX: u64 = 1000;

pub(super) async fn expired(device: DeviceRequest) -> Result<Response, Refusal> {
    let until = device.number("until")?;
    let until = until.ok_or_else(|| Refusal::Bad("until is missing".to_owned()))?;
    let limit = device.limit("limit", PAGE_MAX, PAGE_MAX)? as usize;
    let behind = device.text("marker").map(place_of).transpose()?;
    let found = device.engine.expired(until, behind, limit).await?;
    let full = found.len() == limit;
    let marker = found.last().filter(|_| full).map(|(at, hash)| {
        let key = [&at.to_be_bytes()[..], &hash.0].concat();
        hex_encode(&key)
    });
    let mut page = Expired { objects: Vec::with_capacity(found.len()), marker };
    for (delete_at, hash) in found {
        if let Some(name) = name_of(&device, hash).await? {
            page.objects.push(ExpiredObject { name, delete_at });
        }
    }
    json(&page)
}

fn place_of(marker: &str) -> Result<(u64, ObjectHash), Refusal> {
    let bad = || Refusal::Bad("marker is not one that was given out".to_owned());
    let key = hex_decode(marker).map_err(|_| bad())?;
    let (at, hash) = key.split_first_chunk().ok_or_else(bad)?;
    Ok((u64::from_be_bytes(*at), ObjectHash(hash.try_into().map_err(|_| bad())?)))
}

/// `None` when it is gone, has changed meanwhile, or cannot be read.
async fn name_of(device: &DeviceRequest, hash: ObjectHash) -> Result<Option<String>, Refusal> {
    let state = device.engine.state(hash).await?;
    let Some(data) = state.data() else { return Ok(None) };
    match device.engine.open_head(hash, data).await {
        Ok(opened) => {
            let name = opened.record.metadata.get("name");
            Ok(name.and_then(|name| String::from_utf8(name.to_vec()).ok()))
        }
        Err(EngineError::Changed | EngineError::Damaged(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
