//! Several processes: nodes that die while clients work, disks that change what they hold, and services that run apart.

mod damage;
mod kill;
mod parts;
