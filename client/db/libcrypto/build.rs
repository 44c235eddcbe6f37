//! Hands the headers of AWS-LC on to whoever is built against this libcrypto, with what OpenSSL 3 has besides.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is read after AWS-LC's own, whenever `openssl/hmac.h` is.
const ADDED: &str = "evp_mac.h";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=include/{ADDED}");
    let theirs = headers_of_aws_lc();
    let ours = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("include");
    copy_all(&theirs, &ours)?;
    fs::copy(Path::new("include").join(ADDED), ours.join("openssl").join(ADDED))?;
    let hmac = ours.join("openssl/hmac.h");
    let text = fs::read_to_string(&hmac)?;
    fs::write(&hmac, format!("{text}\n#include <openssl/{ADDED}>\n"))?;
    println!("cargo:include={}", ours.display());
    Ok(())
}

/// `aws-lc-rs` says it under a name that has its version in it.
fn headers_of_aws_lc() -> PathBuf {
    let is_it = |name: &str| name.starts_with("DEP_AWS_LC_RS_") && name.ends_with("_SYS_INCLUDE");
    let found = env::vars_os().find(|(name, _)| name.to_str().is_some_and(is_it));
    let (_, folder) = found.expect("aws-lc-rs says where its headers are");
    folder.into()
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            // Written anew, so that a source that may not be written to makes no copy that may not.
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
