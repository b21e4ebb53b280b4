//! Several processes: nodes that die while clients work, and services that run apart.

mod kill;
mod parts;
