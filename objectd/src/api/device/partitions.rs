//! PARTITIONS: where there is something, and how much.
//!
//! The engine keeps summaries of all hashes that begin with the same 16 bits, so up to a part power of 16 nothing is
//! counted; above that the objects are.

use super::{DeviceRequest, PAGE_MAX, json};
use crate::api::error::Refusal;
use std::ops::ControlFlow;
use types::{HashRange, PartPower, Partition};
use wire::Response;
use wire::device::{PartitionSummary, Partitions};

/// Cells that are read at a time.
const CELLS: usize = 4096;
/// Bits that the hashes of a cell have in common.
const CELL_BITS: u64 = 16;

pub(super) async fn partitions(device: DeviceRequest) -> Result<Response, Refusal> {
    let asked = match device.number("part_power")? {
        None => device.part_power,
        Some(power) => {
            let power = u8::try_from(power).ok().and_then(PartPower::new);
            Some(power.ok_or_else(|| Refusal::Bad("part_power is over 32".to_owned()))?)
        }
    };
    let power = asked.ok_or(Refusal::PartPower)?;
    let first = device.number("marker")?.unwrap_or(0);
    let first = u32::try_from(first).ok().map(Partition);
    let range = first.and_then(|first| HashRange::of_partition(power, first));
    let range = range.ok_or_else(|| Refusal::Bad("there is no partition marker".to_owned()))?;
    let range = HashRange { last: HashRange::ALL.last, ..range };
    let limit = device.limit("limit", PAGE_MAX, PAGE_MAX)? as usize;
    let page = Page { limit, ..Page::default() };
    let page = match power.partitions() <= 1 << CELL_BITS {
        true => summed(&device, power, range, page).await?,
        false => counted(&device, power, range, page).await?,
    };
    json(&page.found)
}

#[derive(Default)]
struct Page {
    limit: usize,
    found: Partitions,
}

impl Page {
    /// Counts something; breaks when that is on the next page.
    fn add(&mut self, partition: Partition, objects: u64, bytes: u64) -> ControlFlow<()> {
        let full = self.found.partitions.len() >= self.limit;
        match self.found.partitions.last_mut() {
            Some(last) if last.partition == partition.0 => {
                last.objects += objects;
                last.bytes += bytes;
            }
            Some(_) if full => {
                self.found.marker = Some(partition.0);
                return ControlFlow::Break(());
            }
            _ => {
                let partition = partition.0;
                self.found.partitions.push(PartitionSummary { partition, objects, bytes });
            }
        }
        ControlFlow::Continue(())
    }
}

async fn summed(
    device: &DeviceRequest,
    power: PartPower,
    mut range: HashRange,
    mut page: Page,
) -> Result<Page, Refusal> {
    loop {
        let cells = device.engine.cells(prefix(&range.first.0), [0xff; 2], CELLS).await?;
        for (prefix, cell) in &cells {
            let cell_first = HashRange::between(&types::hex_encode(prefix), "");
            let cell_first = cell_first.map_or(range.first, |cell| cell.first);
            if page.add(power.partition(&cell_first), cell.objects, cell.bytes).is_break() {
                return Ok(page);
            }
        }
        let last = cells.last().filter(|_| cells.len() == CELLS);
        let next = last.and_then(|(prefix, _)| u16::from_be_bytes(*prefix).checked_add(1));
        let Some(next) = next else { return Ok(page) };
        range.first.0[..2].copy_from_slice(&next.to_be_bytes());
    }
}

fn prefix(hash: &[u8; 16]) -> [u8; 2] {
    [hash[0], hash[1]]
}

async fn counted(
    device: &DeviceRequest,
    power: PartPower,
    range: HashRange,
    page: Page,
) -> Result<Page, Refusal> {
    let counted = device.engine.scan(range, page, move |page, hash, state| {
        let bytes = state.data().map_or(0, |data| data.data_len);
        page.add(power.partition(&hash), 1, bytes)
    });
    Ok(counted.await?)
}
