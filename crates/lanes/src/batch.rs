//! Jobs of different lengths, kept moving through the lanes of a kernel.

use crate::kernel::{Block, Kernel, LANES_MAX, State};

/// Blocks that a lane takes before somebody new may join: 16 KiB, which is some ten microseconds.
const GROUP: usize = 256;

/// Blocks of one stream, and the state they go into.
pub(crate) trait Job {
    fn blocks(&self) -> &[Block];
    fn state(&mut self) -> &mut State;
}

struct Lane<J> {
    job: J,
    taken: usize,
}

/// Computes what `next` gives, and what it gives in the meantime, until it gives nothing and all is computed. Each job
/// goes to `done`. Lanes that become free are filled again at once; none is waited for.
pub(crate) fn run<J: Job>(
    kernel: Kernel,
    mut next: impl FnMut() -> Option<J>,
    mut done: impl FnMut(J),
) {
    let mut lanes: Vec<Lane<J>> = Vec::with_capacity(LANES_MAX);
    loop {
        while lanes.len() < kernel.lanes() {
            let Some(job) = next() else { break };
            lanes.push(Lane { job, taken: 0 });
        }
        if lanes.is_empty() {
            return;
        }
        let now = kernel.at_once(lanes.len());
        step(kernel, &mut lanes[..now]);
        // Those that had to wait are next, so that none is left to end alone.
        lanes.rotate_left(now);
        let mut at = 0;
        while let Some(lane) = lanes.get(at) {
            if lane.taken == lane.job.blocks().len() {
                done(lanes.swap_remove(at).job);
            } else {
                at += 1;
            }
        }
    }
}

/// Takes as many blocks as all lanes have, up to [`GROUP`].
fn step<J: Job>(kernel: Kernel, lanes: &mut [Lane<J>]) {
    let left = lanes.iter().map(|lane| lane.job.blocks().len() - lane.taken);
    let count = left.min().unwrap_or(0).min(GROUP);
    let mut states = [State::default(); LANES_MAX];
    for (state, lane) in states.iter_mut().zip(&mut *lanes) {
        *state = *lane.job.state();
    }
    let first = lanes.first().map_or(&[][..], |lane| &lane.job.blocks()[lane.taken..]);
    let mut blocks = [first; LANES_MAX];
    for (blocks, lane) in blocks.iter_mut().zip(&*lanes) {
        *blocks = &lane.job.blocks()[lane.taken..];
    }
    kernel.compress(&mut states, &blocks, lanes.len(), count);
    for (state, lane) in states.iter().zip(lanes) {
        *lane.job.state() = *state;
        lane.taken += count;
    }
}
