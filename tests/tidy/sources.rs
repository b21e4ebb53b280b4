//! What stands in the files of the workspace.

use crate::rules::{LINES_LONG, LINES_MAX, MENTIONS_BANNED, NAMES_BANNED, is_main};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Directories that hold nothing we wrote.
const SKIPPED: &[&str] = &[".git", "target", "data", ".venv", "__pycache__", "node_modules"];

/// Kinds of files that are read; others only have their names judged.
const READ: &[&str] = &[
    "rs", "md", "toml", "sh", "py", "yml", "yaml", "json", "html", "css", "js", "Makefile", "run",
];

/// The files of the workspace: their paths from its root, and their texts as far as they are texts.
pub(crate) struct Sources(Vec<(String, String)>);

impl Sources {
    /// Reads everything below a directory.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut sources = Sources(Vec::new());
        sources.walk(root, root)?;
        sources.0.sort();
        Ok(sources)
    }

    /// For tests of the rules.
    pub(crate) fn from_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Sources(texts.into_iter().map(|(path, text)| (path.into(), text.into())).collect())
    }

    fn walk(&mut self, root: &Path, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !SKIPPED.contains(&name.as_ref()) {
                    self.walk(root, &path)?;
                }
                continue;
            }
            let kind = name.rsplit('.').next().unwrap_or_default();
            let text = if READ.contains(&kind) { fs::read(&path)? } else { Vec::new() };
            let text = String::from_utf8_lossy(&text).into_owned();
            let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
            self.0.push((path, text));
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A line for each file that is long but not too long.
    pub(crate) fn long_files(&self) -> Vec<String> {
        let rust = self.0.iter().filter(|(path, _)| path.ends_with(".rs"));
        let long = rust.map(|(path, text)| (path, text.lines().count()));
        long.filter(|(_, lines)| *lines > LINES_LONG)
            .map(|(path, lines)| format!("{path} has {lines} lines; about 200 are easier to read"))
            .collect()
    }

    /// What is wrong, each with its file.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.0.iter().flat_map(|(path, text)| complaints(path, text)).collect()
    }
}

fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let names = path.split('/').map(|part| part.split('.').next().unwrap_or_default());
    for name in names.chain(modules(path, text)) {
        if NAMES_BANNED.contains(&name) {
            found.push(format!("{path}: {name} names nothing; call it by what it is"));
        }
    }
    for (line, number) in text.lines().zip(1..) {
        if let Some(mention) = MENTIONS_BANNED.iter().find(|mention| line.contains(**mention)) {
            found.push(format!("{path}:{number}: mentions {mention}, which only this machine has"));
        }
    }
    if path.ends_with(".rs") {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path}: {lines} lines; {LINES_MAX} are the most"));
        }
        if !is_main(path) && text.contains("anyhow::") {
            found.push(format!("{path}: anyhow is for mains, tools and tests"));
        }
    }
    found
}

/// The modules that a Rust file declares.
fn modules<'t>(path: &str, text: &'t str) -> impl Iterator<Item = &'t str> {
    let lines = path.ends_with(".rs").then(|| text.lines()).into_iter().flatten();
    lines.filter_map(|line| {
        let line = line.trim_start();
        let rest = match line.strip_prefix("pub") {
            Some(rest) => rest.split_once("mod ").map(|(_, rest)| rest)?,
            None => line.strip_prefix("mod ")?,
        };
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    })
}
