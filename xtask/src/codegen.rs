//! `cargo xtask codegen`: the FlatBuffers code of `wire`, made from its schema and committed.
//!
//! Invariant: the same schema makes the same bytes on every machine: one pinned compiler, then the repository's own
//! formatting.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;
use crate::{tools, workspace};

/// Where the generated code is committed, from the root.
const GENERATED: &str = "wire/src/generated";

/// Each root schema with the flags it needs. Frames include the other files, whose code lands in the same output.
const SCHEMAS: [(&[&str], &str); 2] =
    [(&["--gen-all"], "wire/schema/frame.fbs"), (&[], "wire/schema/content.fbs")];

/// Rewrites the committed code.
///
/// # Errors
/// If the compiler cannot be had, or refuses the schema.
pub(crate) fn write() -> Result<()> {
    generate(&workspace::root().join(GENERATED))
}

/// Compares the committed code with what the schema makes.
///
/// # Errors
/// [`tools::Unavailable`] if the compiler cannot be had here; otherwise what differs, and the command that mends it.
pub(crate) fn check() -> Result<()> {
    let fresh = workspace::target().join("codegen-check");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
    }
    generate(&fresh)?;
    let fresh = contents(&fresh)?;
    let committed = contents(&workspace::root().join(GENERATED))?;
    let mut stale: Vec<String> = Vec::new();
    for name in fresh.keys().chain(committed.keys()) {
        let name_text = name.to_string_lossy().into_owned();
        if fresh.get(name) != committed.get(name) && !stale.contains(&name_text) {
            stale.push(name_text);
        }
    }
    if !stale.is_empty() {
        bail!("{GENERATED} is not what wire/schema makes ({}); run `cargo xtask codegen`", stale.join(", "));
    }
    println!("{GENERATED} is what wire/schema makes");
    Ok(())
}

fn generate(folder: &Path) -> Result<()> {
    let flatc = tools::flatc()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (flags, schema) in SCHEMAS {
        let mut command = Command::new(&flatc);
        command.arg("--rust").args(flags).arg("-o").arg(folder).arg(schema).current_dir(workspace::root());
        step::run(&mut command)?;
    }
    let mut format = Command::new("rustfmt");
    format.args(["--edition", "2024", "--config-path", "rustfmt.toml"]).current_dir(workspace::root());
    format.args(contents(folder)?.keys().map(|name| folder.join(name)));
    step::run(&mut format)
}

/// The generated files of a folder: everything but the module list, which is written by hand.
fn contents(folder: &Path) -> Result<BTreeMap<OsString, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let listed = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for file in listed {
        let file = file.with_context(|| format!("cannot read {}", folder.display()))?;
        if file.file_name() == "mod.rs" {
            continue;
        }
        let bytes =
            fs::read(file.path()).with_context(|| format!("cannot read {}", file.path().display()))?;
        files.insert(file.file_name(), bytes);
    }
    Ok(files)
}
