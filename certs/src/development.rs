//! A CA and a leaf for development, kept in one folder:
//!
//! ```text
//! ca.pem, ca.key        the CA: ten years
//! node.pem, node.key    the leaf: ninety days, renewed in its last thirty
//! node.names            what the leaf was made for, and until when, so that a change is seen
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::CertError;

const CA_LIFE: Duration = Duration::days(3650);
const LEAF_LIFE: Duration = Duration::days(90);
const RENEW_BEFORE: Duration = Duration::days(30);

/// Where development certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Development {
    /// What clients trust.
    pub ca: PathBuf,
    /// The chain that a node serves.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Development {
    /// Where they are in a folder, whether made or not.
    pub fn at(dir: &Path) -> Development {
        Development { ca: dir.join("ca.pem"), cert: dir.join("node.pem"), key: dir.join("node.key") }
    }
}

/// Makes a development CA and a leaf for these names in a folder, or keeps those that are there: a leaf is made anew
/// when the names change or its last thirty days begin, the CA only if it is missing.
///
/// # Errors
/// [`CertError`]: a name that cannot be, or a folder that cannot be used.
pub fn make_development(dir: &Path, names: &[String]) -> Result<Development, CertError> {
    let io = |source| CertError::Io { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    sync_names(dir).map_err(io)?;
    let made = Development::at(dir);
    let ca_key = dir.join("ca.key");
    let now = OffsetDateTime::now_utc();
    if !made.ca.exists() || !ca_key.exists() {
        make_ca(&made.ca, &ca_key, now)?;
        // A leaf of another CA is worth nothing.
        let _ = fs::remove_file(dir.join("node.names"));
    }
    let stamp = dir.join("node.names");
    if !is_current(&stamp, names, now) || crate::load_chain(&made.cert, &made.key).is_err() {
        make_leaf(&made, &ca_key, names, now)?;
        let until = (now + LEAF_LIFE - RENEW_BEFORE).unix_timestamp();
        write_whole(&stamp, format!("{until}\n{}\n", names.join("\n")).as_bytes(), 0o644)?;
    }
    Ok(made)
}

fn is_current(stamp: &Path, names: &[String], now: OffsetDateTime) -> bool {
    let Ok(text) = fs::read_to_string(stamp) else { return false };
    let mut lines = text.lines();
    let until = lines.next().and_then(|line| line.parse::<i64>().ok()).unwrap_or(0);
    until > now.unix_timestamp() && lines.eq(names.iter().map(String::as_str))
}

fn make_ca(cert: &Path, key: &Path, now: OffsetDateTime) -> Result<(), CertError> {
    let ca = |source| CertError::Ca { path: cert.to_owned(), source };
    let pair = KeyPair::generate().map_err(ca)?;
    let certificate = ca_params(now).self_signed(&pair).map_err(ca)?;
    write_whole(key, pair.serialize_pem().as_bytes(), 0o600)?;
    write_whole(cert, certificate.pem().as_bytes(), 0o644)
}

/// What the CA says of itself. As an issuer only its name and its key count, which are the same each time.
fn ca_params(now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Godwit development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (now - Duration::days(1), now + CA_LIFE);
    params
}

fn make_leaf(
    made: &Development,
    ca_key: &Path,
    names: &[String],
    now: OffsetDateTime,
) -> Result<(), CertError> {
    let io = |path: &Path, source| CertError::Io { path: path.to_owned(), source };
    let ca = |source| CertError::Ca { path: made.ca.clone(), source };
    let ca_key = KeyPair::from_pem(&fs::read_to_string(ca_key).map_err(|e| io(ca_key, e))?).map_err(ca)?;
    let issuer = Issuer::new(ca_params(now), ca_key);
    let name = |source| CertError::Name { name: names.join(", "), source };
    let mut params = CertificateParams::new(names.to_vec()).map_err(name)?;
    params.distinguished_name.push(DnType::CommonName, "Godwit development node");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (now - Duration::days(1), now + LEAF_LIFE);
    let key = KeyPair::generate().map_err(ca)?;
    let leaf = params.signed_by(&key, &issuer).map_err(ca)?;
    write_whole(&made.key, key.serialize_pem().as_bytes(), 0o600)?;
    write_whole(&made.cert, leaf.pem().as_bytes(), 0o644)
}

/// Syncs the folders above a folder, so that a power loss does not take its name. One that may not be read was not made
/// here.
fn sync_names(dir: &Path) -> io::Result<()> {
    for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        match File::open(above).and_then(|folder| folder.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

/// Writes beside, syncs, renames: whoever reads meanwhile sees the old file or the new one.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertError> {
    let write = || -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|source| CertError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn r150_made_once_renewed_for_new_names_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("certs");
        let made = make_development(&dir, &names(&["localhost", "127.0.0.1"])).unwrap();
        let (ca, leaf) = (fs::read(&made.ca).unwrap(), fs::read(&made.cert).unwrap());
        make_development(&dir, &names(&["localhost", "127.0.0.1"])).unwrap();
        assert_eq!((fs::read(&made.ca).unwrap(), fs::read(&made.cert).unwrap()), (ca.clone(), leaf.clone()));
        make_development(&dir, &names(&["localhost"])).unwrap();
        assert_eq!(fs::read(&made.ca).unwrap(), ca);
        assert_ne!(fs::read(&made.cert).unwrap(), leaf);
        for key in [made.key.clone(), dir.join("ca.key")] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        crate::load_chain(&made.cert, &made.key).unwrap();
        assert_eq!(crate::load_roots(&made.ca).unwrap().len(), 1);
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.pem");
        assert!(crate::load_roots(&missing).unwrap_err().to_string().contains("none.pem"));
        fs::write(&missing, "nothing").unwrap();
        assert!(matches!(crate::load_roots(&missing), Err(CertError::Pem { .. })));
        let bad = make_development(&dir.path().join("c"), &names(&["héllo wörld"]));
        assert!(matches!(bad, Err(CertError::Name { .. })), "{bad:?}");
    }
}
