//! The client of the archive: four verbs over object storage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _,
    ObjectStoreScheme, PutMode, PutPayload, RetryConfig,
};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use url::Url;

use super::ArchiveError;
use super::diagnosis::{Diagnosis, is_conflict};

/// The time limit of one request.
const REQUEST_MAX: Duration = Duration::from_secs(30);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The pauses before a failed request is repeated.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The shortest time between two log lines about one request.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// The largest object that is read: a segment of one turn of the greatest length.
const READ_BYTES_MAX: u64 = 320 << 20;

/// The objects below one prefix of a storage.
#[derive(Clone)]
pub struct Objects {
    storage: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
    /// How long a request that fails is repeated.
    patience: Duration,
}

/// Bytes of an object.
pub(super) struct ObjectPart {
    pub(super) bytes: Vec<u8>,
    /// The size of the whole object.
    size: u64,
}

impl ObjectPart {
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
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
        let refused = |reason: String| ArchiveError::Address {
            url: url.to_owned(),
            reason,
        };
        let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if parsed.password().is_some() || parsed.query().is_some() {
            let reason =
                "credentials and options do not belong in the URL; set them in the environment";
            // They do not belong in a log either.
            let host = parsed.host_str().unwrap_or_default();
            return Err(ArchiveError::Address {
                url: format!("{}://{host}{}", parsed.scheme(), parsed.path()),
                reason: reason.to_owned(),
            });
        }
        let (scheme, path) =
            ObjectStoreScheme::parse(&parsed).map_err(|error| refused(error.to_string()))?;
        let storage: Result<Arc<dyn ObjectStore>, Error> = match scheme {
            ObjectStoreScheme::Local => {
                let directory = parsed.to_file_path().map_err(|()| {
                    refused("its path is not absolute; write file:///DIRECTORY".to_owned())
                })?;
                let local = LocalFileSystem::new_with_prefix(&directory);
                let local = local.map_err(|error| {
                    refused(format!(
                        "{error}; create the directory {}",
                        directory.display()
                    ))
                })?;
                return Ok(Self::over(
                    Arc::new(local.with_fsync(true)),
                    Path::default(),
                    url,
                ));
            }
            ObjectStoreScheme::AmazonS3 => AmazonS3Builder::from_env()
                .with_url(url)
                .with_retry(once())
                .with_client_options(limits())
                .build()
                .map(|built| Arc::new(built) as _),
            ObjectStoreScheme::GoogleCloudStorage => GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .with_retry(once())
                .with_client_options(limits())
                .build()
                .map(|built| Arc::new(built) as _),
            ObjectStoreScheme::MicrosoftAzure => MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .with_retry(once())
                .with_client_options(limits())
                .build()
                .map(|built| Arc::new(built) as _),
            _ => {
                let reason = "its scheme is none of s3, gs, az, file".to_owned();
                return Err(refused(reason));
            }
        };
        let storage = storage.map_err(|error| refused(error.to_string()))?;
        Ok(Self::over(storage, path, url))
    }

    /// The objects of a storage below a prefix; `url` names it in messages.
    #[must_use]
    pub fn over(storage: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> Self {
        Self {
            storage,
            prefix,
            url: url.into(),
            patience: Duration::ZERO,
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
            storage: Arc::clone(&self.storage),
            prefix: self.prefix.clone().join(folder),
            url: Arc::clone(&self.url),
            patience: self.patience,
        }
    }

    /// Creates an object, durably, unless there is one.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`]: whether it was created is not known.
    pub async fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Creation, ArchiveError> {
        let payload = PutPayload::from(bytes);
        let mut attempts = Attempts::within(self.patience);
        loop {
            let (at, options) = (self.at(key), PutMode::Create.into());
            match self.storage.put_opts(&at, payload.clone(), options).await {
                Ok(_) => return Ok(Creation::Created),
                Err(error @ Error::AlreadyExists { .. }) if !is_conflict(&error) => {
                    return Ok(Creation::Exists);
                }
                Err(error) => attempts.next(self.failed("create", key, &error)).await?,
            }
        }
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.get(key, GetOptions::default()).await
    }

    /// Reads at most this many bytes of the beginning of an object.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn read_start(&self, key: &str, bytes: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..bytes)),
            ..GetOptions::default()
        };
        self.get(key, options).await
    }

    /// As [`Objects::read_start`], with the size of the whole object.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub(super) async fn read_part(
        &self,
        key: &str,
        bytes: u64,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..bytes)),
            ..GetOptions::default()
        };
        self.get_part(key, options).await
    }

    async fn get(&self, key: &str, options: GetOptions) -> Result<Option<Vec<u8>>, ArchiveError> {
        let part = self.get_part(key, options).await?;
        Ok(part.map(|part| part.bytes))
    }

    async fn get_part(
        &self,
        key: &str,
        options: GetOptions,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        let mut attempts = Attempts::within(self.patience);
        loop {
            match self.get_once(key, options.clone()).await {
                Err(error) => attempts.next(error).await?,
                got => return got,
            }
        }
    }

    async fn get_once(
        &self,
        key: &str,
        options: GetOptions,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        let found = match self.storage.get_opts(&self.at(key), options).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read", key, &error)),
        };
        let bytes = found.range.end.saturating_sub(found.range.start);
        if bytes > READ_BYTES_MAX {
            let sentence = format!("it has {bytes} bytes; no object here has that many");
            return Err(self.damaged(key, sentence));
        }
        let size = found.meta.size;
        match found.bytes().await {
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
        let mut attempts = Attempts::within(self.patience);
        loop {
            match self.names(folder).await {
                Err(error) => attempts.next(error).await?,
                listed => return listed,
            }
        }
    }

    async fn names(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        let at = self.at(folder);
        let mut listed = self.storage.list(Some(&at));
        let mut names = Vec::new();
        while let Some(entry) = listed.next().await {
            let entry = entry.map_err(|error| self.failed("list", folder, &error))?;
            let below = entry.location.prefix_match(&at).into_iter().flatten();
            let below: Vec<String> = below.map(|part| part.as_ref().to_owned()).collect();
            names.push(below.join("/"));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The names of the objects directly in a folder that sort behind a name, in any order.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn list_behind(&self, folder: &str, name: &str) -> Result<Vec<String>, ArchiveError> {
        let (at, offset) = (self.at(folder), self.at(folder).join(name));
        let mut attempts = Attempts::within(self.patience);
        'again: loop {
            let mut listed = self.storage.list_with_offset(Some(&at), &offset);
            let mut names = Vec::new();
            while let Some(entry) = listed.next().await {
                match entry {
                    Ok(entry) => names.extend(entry.location.filename().map(str::to_owned)),
                    Err(error) => {
                        attempts.next(self.failed("list", folder, &error)).await?;
                        continue 'again;
                    }
                }
            }
            return Ok(names);
        }
    }

    /// The names of the folders below these objects, sorted.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn folders(&self) -> Result<Vec<String>, ArchiveError> {
        let listed = self.storage.list_with_delimiter(Some(&self.prefix)).await;
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
        let mut attempts = Attempts::within(self.patience);
        loop {
            match self.storage.delete(&self.at(key)).await {
                Ok(()) | Err(Error::NotFound { .. }) => return Ok(()),
                Err(error) => attempts.next(self.failed("delete", key, &error)).await?,
            }
        }
    }

    /// Deletes all objects.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`].
    pub async fn delete_all(&self) -> Result<(), ArchiveError> {
        let mut listed = self.storage.list(Some(&self.prefix));
        let mut paths = Vec::new();
        while let Some(entry) = listed.next().await {
            let entry = entry.map_err(|error| self.failed("list", "", &error))?;
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

    fn at(&self, key: &str) -> Path {
        key.split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn failed(&self, verb: &'static str, key: &str, error: &Error) -> ArchiveError {
        let Diagnosis { advice, again } = Diagnosis::of(error);
        ArchiveError::Failed {
            url: self.url.to_string(),
            verb,
            key: self.at(key).to_string(),
            reason: format!("{advice}{error}"),
            again,
        }
    }
}

/// The attempts of one request.
struct Attempts {
    until: Instant,
    pause: Duration,
    /// When the log was told last.
    said: Option<Instant>,
}

impl Attempts {
    fn within(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            pause: PAUSE_FIRST,
            said: None,
        }
    }

    // Waits for the next attempt, or gives up.
    async fn next(&mut self, error: ArchiveError) -> Result<(), ArchiveError> {
        if !error.may_pass() || Instant::now() >= self.until {
            return Err(error);
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(%error, "the archive does not answer; trying again");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

// The library itself repeats nothing: attempts are counted and reported here.
fn once() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn limits() -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_MAX)
        .with_connect_timeout(CONNECT_MAX)
        .with_allow_http(std::env::var("AWS_ALLOW_HTTP").is_ok_and(|set| set == "true"))
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.url).finish()
    }
}
