//! Where a backup lies: a folder, or a bucket of an S3-compatible service.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use store::durable;
use url::Url;

use crate::ObjectError;

/// A place for one backup. Cheap to clone.
#[derive(Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    under: Name,
    said: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.said).finish()
    }
}

impl Place {
    /// A place by its name: a folder's path, `file:///PATH` or `s3://BUCKET/PATH`. What S3 needs comes from the usual
    /// variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, …), handed in
    /// as pairs. A folder that is not there is made if `make` is true, readable by nobody else.
    ///
    /// # Errors
    /// [`ObjectError::Place`]; [`ObjectError::NoBackup`] if a folder is not there.
    pub fn parse(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        make: bool,
    ) -> Result<Place, ObjectError> {
        match text.split_once("://") {
            None => Place::folder(Path::new(text), make),
            Some(("file", path)) if path.starts_with('/') => Place::folder(Path::new(path), make),
            Some(("s3" | "s3a", _)) => Place::bucket(text, variables),
            Some(_) => Err(ObjectError::Place { place: text.to_owned(), source: None }),
        }
    }

    /// A place in a store that is already open; nothing else lies in it.
    pub fn of(store: Arc<dyn ObjectStore>) -> Place {
        Place { said: store.to_string(), store, under: Name::default() }
    }

    fn folder(path: &Path, make: bool) -> Result<Place, ObjectError> {
        let place = path.display().to_string();
        let error = |source: Box<dyn std::error::Error + Send + Sync>| ObjectError::Place {
            place: place.clone(),
            source: Some(source),
        };
        if place.is_empty() {
            return Err(ObjectError::Place { place, source: None });
        }
        if make {
            durable::create_dir_all(path, 0o700).map_err(|source| error(source.into()))?;
        } else if !path.try_exists().map_err(|source| error(source.into()))? {
            return Err(ObjectError::NoBackup);
        }
        let store = LocalFileSystem::new_with_prefix(path).map_err(|source| error(source.into()))?;
        let said = place;
        // A manifest says that all objects are there: also after a power loss.
        Ok(Place { store: Arc::new(store.with_fsync(true)), under: Name::default(), said })
    }

    fn bucket(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Place, ObjectError> {
        let error = |source: Box<dyn std::error::Error + Send + Sync>| ObjectError::Place {
            place: text.to_owned(),
            source: Some(source),
        };
        let url = Url::parse(text).map_err(|source| error(source.into()))?;
        let options = variables.into_iter().filter(|(name, _)| name.starts_with("AWS_"));
        let (store, under) =
            object_store::parse_url_opts(&url, options).map_err(|source| error(source.into()))?;
        Ok(Place { store: Arc::from(store), under, said: text.to_owned() })
    }

    /// Whatever lies there, by name; the first one of it.
    pub(crate) async fn anything(&self) -> Result<Option<String>, ObjectError> {
        let under = (!self.under.as_ref().is_empty()).then_some(&self.under);
        match self.store.list(under).next().await {
            None => Ok(None),
            Some(Ok(meta)) => Ok(Some(meta.location.to_string())),
            Some(Err(source)) => Err(ObjectError::Io { doing: "listing", name: self.said.clone(), source }),
        }
    }

    pub(crate) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let put = self.store.put(&self.under.clone().join(name), PutPayload::from_bytes(bytes)).await;
        put.map(drop).map_err(|source| ObjectError::Io { doing: "writing", name: name.to_owned(), source })
    }

    /// An object's bytes; `None` if there is none of the name, its length if it is above `bytes_max`.
    pub(crate) async fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Got>, ObjectError> {
        let io = |source| ObjectError::Io { doing: "reading", name: name.to_owned(), source };
        match self.store.get(&self.under.clone().join(name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(io(source)),
            Ok(found) if found.meta.size > bytes_max => Ok(Some(Got::TooLong(found.meta.size))),
            Ok(found) => Ok(Some(Got::Bytes(found.bytes().await.map_err(io)?))),
        }
    }
}

/// What lies under a name.
pub(crate) enum Got {
    Bytes(Bytes),
    TooLong(u64),
}
