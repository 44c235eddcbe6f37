//! The second client of the protocol, in Python (`wire/interop/`): what it needs, and the test that runs it.
//!
//! Its FlatBuffers code is made from the schema at each run and not committed: nobody reads it, it needs no compiler
//! at build time, and so it can never be older than the schema that it is to prove.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::fdb::Fdb;
use crate::tools::Unavailable;
use crate::{step, tools, workspace};

/// Runs the test, after preparing its folder of tools.
///
/// # Errors
/// [`Unavailable`] if Python or its packages cannot be had here; otherwise the failing command.
pub(crate) fn run(fdb: &Fdb) -> Result<()> {
    let folder = workspace::target().join("tools").join("interop");
    schema(&folder.join("schema"))?;
    packages(&folder.join("venv"))?;
    // Of the whole workspace: with one package's own choice of features its dependencies would be built once more.
    let mut test = fdb.cargo(&["test", "--workspace", "--test", "interop", "--", "--ignored", "--nocapture"]);
    step::run(test.env("INTEROP_TOOLS", &folder))
}

/// Python code of both schemas, one file each.
fn schema(folder: &Path) -> Result<()> {
    let flatc = tools::flatc()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new(flatc);
    command.args(["--python", "--gen-object-api", "--gen-onefile", "--gen-all", "-o"]).arg(folder);
    command.args(["wire/schema/frame.fbs", "wire/schema/content.fbs"]).current_dir(workspace::root());
    step::run(&mut command)
}

/// A Python with the pinned packages; one that has them is left alone.
fn packages(venv: &Path) -> Result<()> {
    let wanted = workspace::root().join("wire/interop/requirements.txt");
    let wanted_text = fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let installed = venv.join("installed.txt");
    let python = venv.join("bin").join("python");
    if fs::read(&installed).is_ok_and(|text| text == wanted_text) && tools::answers(&python) {
        return Ok(());
    }
    make_venv(venv)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    install.args(["--only-binary=:all:", "--require-hashes", "--requirement"]).arg(&wanted);
    step::run(&mut install)
        .map_err(|error| Unavailable(format!("its Python packages are not to be had: {error}")))?;
    fs::write(&installed, wanted_text).with_context(|| format!("cannot write {}", installed.display()))
}

fn make_venv(venv: &Path) -> Result<()> {
    let make = || {
        let mut command = Command::new("python3");
        step::run(command.args(["-m", "venv", "--clear"]).arg(venv))
    };
    if make().is_ok() {
        return Ok(());
    }
    // Debian packs it apart from Python.
    let missing = |error| Unavailable(format!("needs Python's venv: {error}"));
    tools::apt_install("python3-venv").map_err(missing)?;
    make().map_err(|error| missing(error).into())
}
