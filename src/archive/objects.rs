//! The client of the archive: four verbs over object storage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
};
use percent_encoding::percent_decode_str;
use tokio_stream::StreamExt as _;

use super::ArchiveError;
use super::address::{self, Storage};
use super::attempts::Attempts;
use super::diagnosis::{Diagnosis, in_short, is_conflict, is_empty, told};
use super::object_part::ObjectPart;
use super::remembered::Remembered;
use super::root::Root;
use super::time_limits::TimeLimits;

/// The most bytes of an object of a few names and numbers: a claim, a link, a boundary.
pub(super) const SMALL_BYTES_MAX: u64 = 64 << 10;

/// The objects below one prefix of a storage.
#[derive(Clone)]
pub struct Objects {
    pub(super) storage: Arc<dyn ObjectStore>,
    /// If it is a directory.
    root: Option<Root>,
    prefix: Path,
    url: Arc<str>,
    /// How long a request that fails is repeated.
    patience: Duration,
    pub(super) limits: Option<TimeLimits>,
    /// Segments that were read, if they are read several times.
    pub(super) remembered: Option<Arc<Remembered>>,
}

/// What is read of an object. Its size is known before its first byte is read.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Only so many of its first bytes; all if `None`.
    first: Option<u64>,
    /// No object of its kind has more bytes: a larger one is refused.
    bytes_max: u64,
    /// Of a larger one only the size is read.
    whole_max: u64,
}

impl Extent {
    fn whole(bytes_max: u64) -> Self {
        Self {
            first: None,
            bytes_max,
            whole_max: u64::MAX,
        }
    }

    fn first(bytes: u64, bytes_max: u64) -> Self {
        Self {
            first: Some(bytes),
            ..Self::whole(bytes_max)
        }
    }

    fn options(self) -> GetOptions {
        GetOptions {
            range: self.first.map(|bytes| GetRange::Bounded(0..bytes)),
            ..GetOptions::default()
        }
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// The number of objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Kept {
    /// Adds what else is kept.
    pub fn add(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
    }
}

/// Whether an object was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It was.
    Created,
    /// There is one already; possibly the own one, if an earlier answer was lost.
    Exists,
}

impl Objects {
    /// Opens an archive by its URL: `s3://BUCKET/PREFIX`, `gs://…`, `az://…` or `file:///DIRECTORY`. Credentials and
    /// endpoints come from the environment variables that these services define.
    ///
    /// # Errors
    /// [`ArchiveError::Address`].
    pub fn open(url: &str) -> Result<Self, ArchiveError> {
        let Storage {
            client,
            root,
            prefix,
        } = address::open(url)?;
        // A request to a file system that is given up would go on, and each repetition would hold another thread.
        let limits = root.is_none().then(TimeLimits::default);
        Ok(Self {
            root,
            limits,
            ..Self::over(client, prefix, url)
        })
    }

    /// The objects of a storage below a prefix; `url` names it in messages. Requests have no time limits.
    #[must_use]
    pub fn over(storage: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> Self {
        Self {
            storage,
            root: None,
            prefix,
            url: url.into(),
            patience: Duration::ZERO,
            limits: None,
            remembered: None,
        }
    }

    /// The same objects, with requests that are repeated for so long if they fail and may succeed.
    #[must_use]
    pub fn patient(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// The archive's URL, for messages.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The objects below a folder of these.
    #[must_use]
    pub fn below(&self, folder: &str) -> Self {
        Self {
            prefix: self.prefix.clone().join(folder),
            ..self.clone()
        }
    }

    /// Creates an object, durably, unless there is one.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`], [`ArchiveError::Elsewhere`]: whether it was created is not known.
    pub async fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Creation, ArchiveError> {
        let payload = PutPayload::from(bytes);
        self.change(|| self.create_once(key, payload.clone())).await
    }

    async fn create_once(&self, key: &str, payload: PutPayload) -> Result<Creation, ArchiveError> {
        let (at, options) = (self.at(key), PutMode::Create.into());
        let bytes = payload.content_length() as u64;
        let put = self.storage.put_opts(&at, payload, options);
        match self.in_time(bytes, put).await {
            Ok(_) => Ok(Creation::Created),
            Err(error @ Error::AlreadyExists { .. }) if !is_conflict(&error) => {
                Ok(Creation::Exists)
            }
            Err(error) => Err(self.failed("create", key, &error)),
        }
    }

    // Executes a request that changes something, and repeats it while it fails and may succeed. It is not sent to another directory.
    async fn change<T, F>(&self, request: impl Fn() -> F) -> Result<T, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        let in_place = || {
            let request = request();
            async move {
                self.check_root().await?;
                request.await
            }
        };
        self.patiently(in_place).await
    }

    // Executes a request, and repeats it while it fails and may succeed. An answer counts if the directory is still the one that was
    // opened.
    pub(super) async fn patiently<T, F>(&self, request: impl Fn() -> F) -> Result<T, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        let mut attempts = Attempts::within(self.patience);
        loop {
            let done = request().await;
            match self.check_root().await.and(done) {
                Err(error) => attempts.next(error).await?,
                done => return done,
            }
        }
    }

    async fn check_root(&self) -> Result<(), ArchiveError> {
        match &self.root {
            Some(root) if !root.is_there().await => Err(ArchiveError::Elsewhere {
                url: self.url.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Reads an object; `None` if there is none. One that has more bytes than any of its kind is refused before it is read.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`], [`ArchiveError::Damaged`].
    pub async fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let part = self.get(key, Extent::whole(bytes_max)).await?;
        Ok(part.map(|part| part.bytes))
    }

    /// Reads at most this many bytes of the beginning of an object.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn read_start(&self, key: &str, bytes: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let part = self.get(key, Extent::first(bytes, u64::MAX)).await?;
        Ok(part.map(|part| part.bytes))
    }

    /// As [`Objects::read_start`], with the size of the whole object.
    ///
    /// # Errors
    /// As [`Objects::read`].
    pub(super) async fn read_part(
        &self,
        key: &str,
        bytes: u64,
        bytes_max: u64,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        self.get(key, Extent::first(bytes, bytes_max)).await
    }

    /// As [`Objects::read`], but of an object with more than `whole_max` bytes only the size.
    ///
    /// # Errors
    /// As [`Objects::read`].
    pub(super) async fn read_unless_large(
        &self,
        key: &str,
        whole_max: u64,
        bytes_max: u64,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        let extent = Extent {
            whole_max,
            ..Extent::whole(bytes_max)
        };
        self.get(key, extent).await
    }

    async fn get(&self, key: &str, extent: Extent) -> Result<Option<ObjectPart>, ArchiveError> {
        self.patiently(|| self.get_once(key, extent)).await
    }

    async fn get_once(
        &self,
        key: &str,
        extent: Extent,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        let (at, options) = (self.at(key), extent.options());
        let found = self.storage.get_opts(&at, options);
        let found = match self.in_time(0, found).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) if extent.first.is_some() && is_empty(&error) => {
                let (bytes, size) = (Vec::new(), 0);
                return Ok(Some(ObjectPart { bytes, size }));
            }
            Err(error) => return Err(self.failed("read", key, &error)),
        };
        let size = found.meta.size;
        if size > extent.bytes_max {
            let most = extent.bytes_max;
            let reason = format!("it has {size} bytes; no object of its kind has more than {most}");
            return Err(self.damaged(key, reason));
        }
        if extent.first.is_none() && size > extent.whole_max {
            let bytes = Vec::new();
            return Ok(Some(ObjectPart { bytes, size }));
        }
        let expected = found.range.end.saturating_sub(found.range.start);
        match self.in_time(expected, found.bytes()).await {
            Ok(bytes) => Ok(Some(ObjectPart {
                bytes: bytes.into(),
                size,
            })),
            Err(error) => Err(self.failed("read", key, &error)),
        }
    }

    /// The names of the objects below a folder, relative to it, sorted.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        self.list_as(folder, |name| Some(name.to_owned())).await
    }

    /// What the names of the objects below a folder say, sorted: of a large folder the names themselves would take far more memory. Those
    /// that say nothing are passed over.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn list_as<T: Ord>(
        &self,
        folder: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ArchiveError> {
        self.patiently(|| self.list_once(folder, &read)).await
    }

    async fn list_once<T: Ord>(
        &self,
        folder: &str,
        read: &impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ArchiveError> {
        let at = self.at(folder);
        let mut listed = self.storage.list(Some(&at));
        let mut all = Vec::new();
        while let Some(entry) = self.next_of(&mut listed, folder).await? {
            all.extend(read(&name_below(&entry.location, &at)));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The number and size of these objects, by the folder that they are in; those in none are below an empty name.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn kept(&self) -> Result<BTreeMap<String, Kept>, ArchiveError> {
        self.patiently(|| self.kept_once()).await
    }

    async fn kept_once(&self) -> Result<BTreeMap<String, Kept>, ArchiveError> {
        let mut listed = self.storage.list(Some(&self.prefix));
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        while let Some(entry) = self.next_of(&mut listed, "").await? {
            let mut below = entry
                .location
                .prefix_match(&self.prefix)
                .into_iter()
                .flatten();
            let first = below.next();
            let folder = first.filter(|_| below.next().is_some());
            let folder = folder.map_or_else(String::new, |folder| folder.as_ref().to_owned());
            kept.entry(folder).or_default().add(Kept {
                objects: 1,
                bytes: entry.size,
            });
        }
        Ok(kept)
    }

    /// Whether they are files of a directory: a list of a folder reads all names of it then.
    pub(super) fn is_directory(&self) -> bool {
        self.root.is_some()
    }

    /// The names of the folders below these objects, sorted.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn folders(&self) -> Result<Vec<String>, ArchiveError> {
        self.patiently(|| self.folders_once()).await
    }

    async fn folders_once(&self) -> Result<Vec<String>, ArchiveError> {
        let listed = self.storage.list_with_delimiter(Some(&self.prefix));
        let listed = self.in_time(0, listed).await;
        let listed = listed.map_err(|error| self.failed("list", "", &error))?;
        let folders = listed.common_prefixes.iter();
        // The names of folders are written with this encoding.
        let decoded = |name| percent_decode_str(name).decode_utf8_lossy().into_owned();
        let mut names: Vec<_> = folders
            .filter_map(|path| path.filename().map(decoded))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes an object, if there is one.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn delete(&self, key: &str) -> Result<(), ArchiveError> {
        self.change(|| self.delete_once(key)).await
    }

    async fn delete_once(&self, key: &str) -> Result<(), ArchiveError> {
        let at = self.at(key);
        match self.in_time(0, self.storage.delete(&at)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", key, &error)),
        }
    }

    /// Deletes all objects.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn delete_all(&self) -> Result<(), ArchiveError> {
        self.change(|| self.delete_all_once()).await
    }

    async fn delete_all_once(&self) -> Result<(), ArchiveError> {
        let mut listed = self.storage.list(Some(&self.prefix));
        let mut paths = Vec::new();
        while let Some(entry) = self.next_of(&mut listed, "").await? {
            paths.push(Ok(entry.location));
        }
        // Not beside the list: a storage may lose its place among what is deleted.
        let paths = tokio_stream::iter(paths);
        let mut deleted = self.storage.delete_stream(Box::pin(paths));
        while let Some(gone) = deleted.next().await {
            match gone {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("delete", "", &error)),
            }
        }
        Ok(())
    }

    /// An error about an object whose content is wrong.
    #[must_use]
    pub fn damaged(&self, key: &str, reason: impl fmt::Display) -> ArchiveError {
        ArchiveError::Damaged {
            url: self.url.to_string(),
            key: self.at(key).to_string(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn at(&self, key: &str) -> Path {
        key.split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    pub(super) fn failed(&self, verb: &'static str, key: &str, error: &Error) -> ArchiveError {
        let Diagnosis { advice, again } = Diagnosis::of(error);
        let told = told(error);
        ArchiveError::Failed {
            url: self.url.to_string(),
            verb,
            key: self.at(key).to_string(),
            cause: in_short(advice, &told),
            reason: format!("{advice}{told}"),
            again,
        }
    }
}

// The name of an object below a folder.
pub(super) fn name_below(location: &Path, folder: &Path) -> String {
    let below = location.prefix_match(folder).into_iter().flatten();
    let below: Vec<String> = below.map(|part| part.as_ref().to_owned()).collect();
    below.join("/")
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.url).finish()
    }
}
