//! The archive on Google Cloud Storage and on Azure: each verb, creators that race, and a lost disk. Without this the two would be named
//! in the documents, and nobody would know whether they work. The first is played by the S3 server in this process, in that dialect; the
//! second by Azurite, the emulator of its maker.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use snapledger::archive::listing::Keys;
use snapledger::archive::{Creation, Objects};
use snapledger::bench::ports::free_ports;
use snapledger::shipping::SegmentIndex;
use tempfile::TempDir;
use tokio::task::JoinSet;
use ureq::Agent;

use crate::archive::lost_disk;
use crate::archive_faults::{objects_at, one_of_many_wins};
use crate::archive_place::{Place, Served};
use crate::await_it::until;
use crate::required;
use crate::s3::{BUCKET, PREFIX, S3, ServiceAccount};

const AZURITE: &str = "SNAPLEDGER_AZURITE";
const ACCOUNT: &str = "ledgeraccount";
/// More than a storage lists at once.
const MANY: u64 = 1_010;

fn once() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn over(storage: impl ObjectStore) -> Objects {
    Objects::over(Arc::new(storage), Path::from(PREFIX), "a cloud")
}

/// Google Cloud Storage, played by the S3 server.
struct Gcs {
    server: S3,
    /// Has the file of its account.
    dir: TempDir,
}

impl Gcs {
    async fn start() -> Option<Self> {
        let Some(account) = ServiceAccount::new() else {
            required::absent("openssl");
            return None;
        };
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("account.json"), account.file()).expect("there is room");
        let server = S3::start_gcs(account).await;
        Some(Self { server, dir })
    }

    fn account(&self) -> String {
        let path = self.dir.path().join("account.json");
        path.to_str().expect("text").to_owned()
    }

    fn objects(&self) -> Objects {
        snapledger::tls::install_provider();
        let storage = GoogleCloudStorageBuilder::new()
            .with_base_url(&self.server.endpoint())
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_application_credentials(self.account())
            .with_bucket_name(BUCKET)
            .with_retry(once())
            .build();
        over(storage.expect("everything is given"))
    }

    fn place(&self) -> Place {
        let environment = [
            ("GOOGLE_APPLICATION_CREDENTIALS", self.account()),
            ("GOOGLE_BASE_URL", self.server.endpoint()),
            ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ];
        served("gs", environment)
    }
}

fn served<const N: usize>(scheme: &str, environment: [(&str, String); N]) -> Place {
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    Place::Served(Served {
        url: format!("{scheme}://{BUCKET}/{PREFIX}"),
        environment: environment.into(),
    })
}

/// A running Azurite with a container; `None` where it is not installed.
struct Azurite {
    program: Child,
    endpoint: String,
    key: String,
    _dir: TempDir,
}

impl Azurite {
    async fn start() -> Option<Self> {
        let program =
            std::env::var_os(AZURITE).map_or_else(|| "azurite-blob".into(), PathBuf::from);
        let port = free_ports(1).expect("a free port")[0].to_string();
        let (dir, key) = (tempfile::tempdir(), STANDARD.encode([7; 64]));
        let dir = dir.expect("a temporary directory");
        // The client asks in a newer version of the interface than Azurite knows.
        let program = Command::new(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port])
            .args(["--inMemoryPersistence", "--skipApiVersionCheck"])
            .args(["--disableTelemetry", "--silent"])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(program) = program else {
            required::absent("azurite-blob");
            return None;
        };
        let azurite = Self {
            program,
            endpoint: format!("http://127.0.0.1:{port}/{ACCOUNT}"),
            key,
            _dir: dir,
        };
        until("a container of Azurite", async || {
            let request = azurite.create_container();
            let created = tokio::task::spawn_blocking(request);
            created.await.expect("the client does not panic").ok()
        })
        .await;
        Some(azurite)
    }

    // A request with the signature of the account.
    fn create_container(&self) -> impl FnOnce() -> Result<(), ureq::Error> + Send + use<> {
        const VERSION: &str = "2021-08-06";
        let now = jiff::Timestamp::now();
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signed = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container",
            "\n".repeat(12)
        );
        let key = EncodingKey::from_base64_secret(&self.key).expect("base64");
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256);
        let signature = URL_SAFE_NO_PAD.decode(signature.expect("it is signed"));
        let signature = STANDARD.encode(signature.expect("base64"));
        let url = format!("{}/{BUCKET}?restype=container", self.endpoint);
        move || {
            let agent: Agent = Agent::config_builder().proxy(None).build().into();
            let request = agent.put(&url).header("x-ms-date", &date);
            let request = request.header("x-ms-version", VERSION);
            let request =
                request.header("authorization", format!("SharedKey {ACCOUNT}:{signature}"));
            request.send_empty().map(drop)
        }
    }

    fn objects(&self) -> Objects {
        snapledger::tls::install_provider();
        let storage = MicrosoftAzureBuilder::new()
            .with_endpoint(self.endpoint.clone())
            .with_allow_http(true)
            .with_account(ACCOUNT)
            .with_access_key(&self.key)
            .with_container_name(BUCKET)
            .with_retry(once())
            .build();
        over(storage.expect("everything is given"))
    }

    fn place(&self) -> Place {
        let environment = [
            ("AZURE_STORAGE_ENDPOINT", self.endpoint.clone()),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", self.key.clone()),
        ];
        served("az", environment)
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.program.kill();
        let _ended = self.program.wait();
    }
}

// Puts so many segments that a list of them has several pages.
async fn put_many(objects: &Objects) {
    let answered = "the server answers";
    let mut puts = JoinSet::new();
    for index in 1..=MANY {
        let objects = objects.clone();
        puts.spawn(async move {
            objects
                .create(&format!("journal/{index:020}"), vec![1])
                .await
        });
        if puts.len() == 16 {
            puts.join_next()
                .await
                .expect("there are some")
                .expect("it ends")
                .expect(answered);
        }
    }
    while let Some(put) = puts.join_next().await {
        put.expect("it ends").expect(answered);
    }
}

/// Everything that the program asks of a storage.
async fn every_verb(objects: &Objects) {
    let answered = "the server answers";
    for bytes in [b"first".to_vec(), b"other".to_vec()] {
        let is_first = bytes == b"first";
        let created = objects.create("one", bytes).await.expect(answered);
        assert_eq!(created == Creation::Created, is_first);
    }
    assert_eq!(
        objects.create("empty", Vec::new()).await.expect(answered),
        Creation::Created
    );
    let read = objects.read("one", 5).await.expect(answered);
    assert_eq!(read.as_deref(), Some(&b"first"[..]));
    assert!(objects.read("one", 4).await.is_err(), "it is larger");
    assert_eq!(objects.read("none", 5).await.expect(answered), None);
    for (key, begin) in [
        ("one", Some(&b"fi"[..])),
        ("empty", Some(&b""[..])),
        ("none", None),
    ] {
        let read = objects.read_start(key, 2).await.expect(answered);
        assert_eq!(read.as_deref(), begin, "{key}");
        assert_eq!(
            objects.has(key).await.expect(answered),
            begin.is_some(),
            "{key}"
        );
    }

    put_many(objects).await;
    for first in [0, 2, MANY - 5, MANY + 1] {
        let mut keys = Keys::<SegmentIndex>::from(objects, first);
        let mut next = first.max(1);
        while let Some(index) = keys.next().await.expect(answered) {
            assert_eq!(index, SegmentIndex(next), "from {first}");
            next += 1;
        }
        assert_eq!(next, MANY + 1, "from {first}");
    }
    let behind = format!("{:020}", MANY - 2);
    assert_eq!(
        objects
            .list_behind("journal", &behind)
            .await
            .expect(answered)
            .len(),
        2
    );
    assert_eq!(objects.folders().await.expect(answered), ["journal"]);
    let kept = objects.kept().await.expect(answered);
    assert_eq!((kept["journal"].objects, kept[""].bytes), (MANY, 5));

    for _ in 0..2 {
        objects.delete("one").await.expect(answered);
    }
    assert_eq!(objects.read("one", 5).await.expect(answered), None);
    objects.delete_all().await.expect(answered);
    let left = objects.list("journal").await.expect(answered);
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_works_on_s3() {
    let server = S3::start().await;
    every_verb(&objects_at(&server.endpoint())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_works_on_google_cloud_storage_and_of_many_creators_one_wins() {
    let Some(gcs) = Gcs::start().await else {
        return;
    };
    every_verb(&gcs.objects()).await;
    one_of_many_wins(&gcs.objects()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_works_on_azure_and_of_many_creators_one_wins() {
    let Some(azurite) = Azurite::start().await else {
        return;
    };
    every_verb(&azurite.objects()).await;
    one_of_many_wins(&azurite.objects()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_loses_nothing_where_everything_waits_for_google_cloud_storage() {
    let Some(gcs) = Gcs::start().await else {
        return;
    };
    lost_disk(&gcs.place()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_loses_nothing_where_everything_waits_for_azure() {
    let Some(azurite) = Azurite::start().await else {
        return;
    };
    lost_disk(&azurite.place()).await;
}
