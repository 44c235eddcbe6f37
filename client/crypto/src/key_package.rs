//! Key packages: what others add this device with. Each is used once, but for the last resort.

use openmls::prelude::{Extension, Extensions, KeyPackage, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut};
use openmls::prelude::{ProtocolVersion, UnknownExtension};
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::StorageProvider;
use tls_codec::{Deserialize, Serialize};
use wire_mls::inspect;
use wire_mls::{LIFETIME_EXTENSION, Lifetime};

use crate::engine::{Call, Mls, capabilities, endless};
use crate::error::MlsError;
use crate::kv::Kv;
use crate::notes::KeyPackageNote;
use crate::{KEY_PACKAGES_MAX, SUITE};

/// How a batch may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Each once.
    Once,
    /// Again and again, while no other is left.
    LastResort,
}

impl Mls {
    /// Makes `count` key packages to be published, each at most [`wire::limits::KEY_PACKAGE_BYTES_MAX`] bytes. Their private halves are in
    /// the rows. Whoever adds this device checks `lifetime`, in wall seconds, against its own clock.
    ///
    /// # Errors
    /// [`MlsError::Batch`] if there are to be none, more than [`KEY_PACKAGES_MAX`] would be kept, or the lifetime is empty.
    pub fn key_packages(
        &mut self,
        kv: &dyn Kv,
        count: usize,
        lifetime: Lifetime,
        used: Use,
    ) -> Result<Vec<Vec<u8>>, MlsError> {
        self.call(kv, |call| {
            let mut notes = call.provider.storage().key_packages()?;
            let fits = notes.len().checked_add(count).is_some_and(|kept| kept <= KEY_PACKAGES_MAX);
            if count == 0 || !fits || lifetime.from >= lifetime.until {
                return Err(MlsError::Batch);
            }
            let mut packages = Vec::with_capacity(count);
            for _ in 0..count {
                let (note, bytes) = call.key_package(lifetime, used)?;
                notes.push(note);
                packages.push(bytes);
            }
            call.provider.storage().set_key_packages(&notes)?;
            Ok(packages)
        })
    }

    /// How many key packages have private halves here: those for one use, and those of last resort.
    ///
    /// # Errors
    /// [`MlsError::Storage`].
    pub fn key_packages_kept(&mut self, kv: &dyn Kv) -> Result<(usize, usize), MlsError> {
        self.call(kv, |call| {
            let notes = call.provider.storage().key_packages()?;
            let last = notes.iter().filter(|note| note.last_resort).count();
            Ok((notes.len() - last, last))
        })
    }

    /// Deletes the private halves of key packages whose lifetime ended before this wall second, and says how many. A device
    /// may be added up to the end of a lifetime and read of it much later, so keep them as long as a log waits for a device.
    ///
    /// # Errors
    /// [`MlsError::Storage`].
    pub fn drop_key_packages(&mut self, kv: &dyn Kv, ended_before: u64) -> Result<usize, MlsError> {
        self.call(kv, |call| {
            let storage = call.provider.storage();
            let (over, kept): (Vec<_>, Vec<_>) =
                storage.key_packages()?.into_iter().partition(|note| note.until < ended_before);
            for note in &over {
                storage.delete_key_package(&reference(note.reference)?)?;
            }
            if !over.is_empty() {
                storage.set_key_packages(&kept)?;
            }
            Ok(over.len())
        })
    }
}

impl Call<'_> {
    fn key_package(&mut self, lifetime: Lifetime, used: Use) -> Result<(KeyPackageNote, Vec<u8>), MlsError> {
        let bounds = [lifetime.from.to_be_bytes(), lifetime.until.to_be_bytes()].concat();
        let extension = Extension::Unknown(LIFETIME_EXTENSION, UnknownExtension(bounds));
        let mut builder = KeyPackage::builder()
            .key_package_lifetime(endless())
            .key_package_extensions(Extensions::single(extension).map_err(MlsError::library)?)
            .leaf_node_capabilities(capabilities());
        if used == Use::LastResort {
            builder = builder.mark_as_last_resort();
        }
        let package = builder
            .build(SUITE, &self.provider, self.key, self.credential())
            .map_err(MlsError::library)?
            .into_key_package();
        let bytes = MlsMessageOut::from(package).tls_serialize_detached().map_err(MlsError::library)?;
        let reference = inspect::key_package(&bytes)?.reference;
        let note = KeyPackageNote { reference, until: lifetime.until, last_resort: used == Use::LastResort };
        Ok((note, bytes))
    }

    /// Forgets that a key package is there, after a welcome used it up; a last resort stays.
    pub(crate) fn used_key_package(&mut self, used: &[u8; 32]) -> Result<(), MlsError> {
        let storage = self.provider.storage();
        let mut notes = storage.key_packages()?;
        notes.retain(|note| note.last_resort || note.reference != *used);
        storage.set_key_packages(&notes)?;
        Ok(())
    }

    /// Checks a key package with which a device is to be added, at the wall second `now`.
    pub(crate) fn check_key_package(
        &self,
        bytes: &[u8],
        now: u64,
    ) -> Result<(inspect::KeyPackage, KeyPackage), MlsError> {
        let seen = inspect::key_package(bytes)?;
        let device = seen.leaf.device;
        if !(seen.lifetime.from..seen.lifetime.until).contains(&now) {
            return Err(MlsError::Lifetime(device));
        }
        let message = MlsMessageIn::tls_deserialize_exact(bytes).map_err(|_| MlsError::KeyPackage(device))?;
        let MlsMessageBodyIn::KeyPackage(package) = message.extract() else {
            return Err(MlsError::KeyPackage(device));
        };
        let package = package
            .validate(self.provider.crypto(), ProtocolVersion::Mls10)
            .map_err(|_| MlsError::KeyPackage(device))?;
        Ok((seen, package))
    }
}

/// A key package's reference as the library has it.
pub(crate) fn reference(bytes: [u8; 32]) -> Result<openmls::prelude::KeyPackageRef, MlsError> {
    let mut encoded = vec![bytes.len() as u8];
    encoded.extend_from_slice(&bytes);
    openmls::prelude::KeyPackageRef::tls_deserialize_exact(encoded).map_err(MlsError::library)
}
