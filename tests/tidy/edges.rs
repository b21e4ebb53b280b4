//! Who imports whom, from cargo's metadata.

use crate::rules::{WALLS, layer};
use anyhow::{Context, Result};
use serde_json::Value;

/// A crate of ours and one of its direct dependencies, of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    from: String,
    /// The dependency.
    pub(crate) to: String,
}

impl Edge {
    pub(crate) fn new(from: &str, to: &str) -> Self {
        Edge { from: from.to_owned(), to: to.to_owned() }
    }
}

/// All edges that start in the workspace.
pub(crate) fn read_edges(metadata: &Value) -> Result<Vec<Edge>> {
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().context("packages")? {
        let from = package["name"].as_str().context("a name")?;
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            edges.push(Edge::new(from, dependency["name"].as_str().context("a name")?));
        }
    }
    edges.sort();
    edges.dedup();
    Ok(edges)
}

/// What is wrong with these edges, each named.
pub(crate) fn complaints(edges: &[Edge]) -> Vec<String> {
    edges.iter().filter_map(complaint).collect()
}

fn complaint(edge: &Edge) -> Option<String> {
    let Edge { from, to } = edge;
    if let (Some(above), Some(below)) = (layer(from), layer(to))
        && below >= above
    {
        return Some(format!("{from} → {to}: imports point down, and no service imports another"));
    }
    let wall = WALLS.iter().find(|wall| wall.dependency == to)?;
    let allowed = wall.allowed.contains(&from.as_str());
    (!allowed)
        .then(|| format!("{from} → {to}: only {} may; {}", wall.allowed.join(", "), wall.reason))
}
