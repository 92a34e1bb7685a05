//! The URL of an archive, and the client of the storage that it names.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::ArchiveError;
use super::environment::{self, Service};
use super::root::Root;
use super::time_limits::TimeLimits;
use crate::shipping::object::STORED_BYTES_MAX;

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// An opened storage.
pub(super) struct Storage {
    pub(super) client: Arc<dyn ObjectStore>,
    /// If it is a directory.
    pub(super) root: Option<Root>,
    pub(super) prefix: Path,
}

/// Opens the storage that a URL names.
pub(super) fn open(url: &str) -> Result<Storage, ArchiveError> {
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
    let (scheme, prefix) =
        ObjectStoreScheme::parse(&parsed).map_err(|error| refused(error.to_string()))?;
    let service = match scheme {
        ObjectStoreScheme::Local => {
            let directory = parsed.to_file_path().map_err(|()| {
                refused("its path is not absolute; write file:///DIRECTORY".to_owned())
            })?;
            return in_directory(&directory).map_err(refused);
        }
        ObjectStoreScheme::AmazonS3 => Service::S3,
        ObjectStoreScheme::GoogleCloudStorage => Service::Gcs,
        ObjectStoreScheme::MicrosoftAzure => Service::Azure,
        _ => {
            let reason = "its scheme is none of s3, gs, az, file".to_owned();
            return Err(refused(reason));
        }
    };
    environment::check(service, std::env::vars_os()).map_err(refused)?;
    let client = client(service, url).map_err(|error| refused(error.to_string()))?;
    Ok(Storage {
        client,
        root: None,
        prefix,
    })
}

fn in_directory(directory: &FilePath) -> Result<Storage, String> {
    let shown = directory.display();
    let root = Root::at(directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("there is no directory {shown}; mount it, or create the directory")
        }
        std::io::ErrorKind::NotADirectory => format!("{shown} is not a directory"),
        _ => format!("{shown}: {error}"),
    })?;
    let local = LocalFileSystem::new_with_prefix(directory).map_err(|error| error.to_string())?;
    Ok(Storage {
        client: Arc::new(local.with_fsync(true)),
        root: Some(root),
        prefix: Path::default(),
    })
}

fn client(service: Service, url: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    let limits = ClientOptions::new()
        // That of a page of a list, too; otherwise `Objects` has shorter ones, by the bytes of a request.
        .with_timeout(TimeLimits::default().of(STORED_BYTES_MAX))
        .with_connect_timeout(CONNECT_MAX)
        .with_allow_http(environment::allows_http(service));
    // The library itself repeats nothing: attempts are counted and reported by `Objects`.
    let once = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    Ok(match service {
        Service::S3 => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(url)
                .with_retry(once)
                .with_client_options(limits)
                .build()?,
        ),
        Service::Gcs => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .with_retry(once)
                .with_client_options(limits)
                .build()?,
        ),
        Service::Azure => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .with_retry(once)
                .with_client_options(limits)
                .build()?,
        ),
    })
}
