//! FINGERPRINTS: by which two devices find where they differ, first without a scan, then object by object.

use super::{DeviceRequest, PAGE_MAX, json};
use crate::api::error::Refusal;
use crate::index::state_digest;
use std::ops::ControlFlow;
use types::hex_encode;
use wire::Response;
use wire::device::{CellSummary, Fingerprints, ObjectDigest, ObjectDigests};

pub(super) async fn fingerprints(device: DeviceRequest) -> Result<Response, Refusal> {
    let limit = device.limit("limit", PAGE_MAX, PAGE_MAX)? as usize;
    if device.asks("objects") {
        return objects(&device, limit).await;
    }
    let range = device.range()?;
    let prefix = |hash: &[u8; 16]| [hash[0], hash[1]];
    let (from, until) = (prefix(&range.first.0), prefix(&range.last.0));
    let mut cells = device.engine.cells(from, until, limit + 1).await?;
    let next = (cells.len() > limit).then(|| cells.pop()).flatten();
    let cells = cells.into_iter().map(|(prefix, cell)| CellSummary {
        cell: hex_encode(&prefix),
        objects: cell.objects,
        bytes: cell.bytes,
        fingerprint: format!("{:032x}", cell.fingerprint),
    });
    let marker = next.map(|(prefix, _)| hex_encode(&prefix));
    json(&Fingerprints { cells: cells.collect(), marker })
}

async fn objects(device: &DeviceRequest, limit: usize) -> Result<Response, Refusal> {
    let page = ObjectDigests::default();
    let page = device.engine.scan(device.range()?, page, move |page, hash, state| {
        let digest = state_digest(&hash, &state);
        // What only this device may know of an object has no digest.
        if digest == 0 {
            return ControlFlow::Continue(());
        }
        let hash = hash.to_string();
        if page.objects.len() == limit {
            page.marker = Some(hash);
            return ControlFlow::Break(());
        }
        page.objects.push(ObjectDigest { hash, digest: format!("{digest:032x}") });
        ControlFlow::Continue(())
    });
    json(&page.await?)
}
