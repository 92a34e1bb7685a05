//! An S3 server in the process of the test: s3s-fs over a temporary directory. It checks signatures as S3 does. s3s-fs looks for an
//! object and creates it in two steps, so puts of one key are let in one by one. The server can be slow, busy or away, lose answers,
//! and ignore `If-None-Match`. It can speak the dialect of Google Cloud Storage instead.

#![allow(dead_code, reason = "each suite uses a part of it")]

mod gcs;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::future::pending;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

pub(crate) use gcs::ServiceAccount;

pub(crate) const BUCKET: &str = "ledger";
/// What stands between the bucket and the cluster in every key.
pub(crate) const PREFIX: &str = "archive";
pub(crate) const KEY_ID: &str = "AKTEST";
pub(crate) const SECRET: &str = "secret-of-the-test";
/// Puts of as many keys at once are not held up by each other, mostly.
const LANES: usize = 64;

/// How the server behaves. One put in so many, if any, meets a fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way {
    /// The time that is added to each put.
    pub(crate) put_delay: Duration,
    /// Of so many puts one is refused with 503; 0: none.
    pub(crate) busy_every: u64,
    /// Of so many puts the answer of one is an error, although it was done; 0: none.
    pub(crate) lost_every: u64,
    /// Of so many puts one is refused because another is under way, as S3 says it; 0: none.
    pub(crate) conflict_every: u64,
    /// Replaces objects that should be created only once.
    pub(crate) ignores_conditions: bool,
    /// Does not permit to delete, as storage that is written once.
    pub(crate) keeps_all: bool,
    /// Does not permit to put.
    pub(crate) is_read_only: bool,
    /// Answers nothing but 503.
    pub(crate) is_away: bool,
    /// Never answers puts of segments.
    pub(crate) hold: Option<Hold>,
}

/// When a put of a segment is held until its client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Before it is done.
    BeforeSegments,
    /// Once it is done.
    BehindSegments,
}

/// A running server with one bucket. Its objects are gone when it is dropped.
pub(crate) struct S3 {
    address: SocketAddr,
    root: TempDir,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    service: S3Service,
    /// In the dialect of Google Cloud Storage: who may ask.
    account: Option<ServiceAccount>,
    root: PathBuf,
    way: PlainMutex<Way>,
    requests: AtomicU64,
    kinds: PlainMutex<BTreeMap<String, u64>>,
    puts: AtomicU64,
    held: AtomicU64,
    lanes: Vec<Mutex<()>>,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        Self::start_for(None).await
    }

    /// Starts a server that speaks the dialect of Google Cloud Storage, with this account.
    pub(crate) async fn start_gcs(account: ServiceAccount) -> Self {
        Self::start_for(Some(account)).await
    }

    async fn start_for(account: Option<ServiceAccount>) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(root.path().join(BUCKET)).expect("a bucket");
        let files = FileSystem::new(root.path()).expect("the directory is there");
        let mut builder = S3ServiceBuilder::new(files);
        if account.is_none() {
            builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        }
        let shared = Arc::new(Shared {
            service: builder.build(),
            account,
            root: root.path().to_owned(),
            way: PlainMutex::default(),
            requests: AtomicU64::default(),
            kinds: PlainMutex::default(),
            puts: AtomicU64::default(),
            held: AtomicU64::default(),
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self {
            address,
            root,
            shared,
            task,
        }
    }

    /// From now on it behaves this way.
    pub(crate) fn behave(&self, way: Way) {
        *self
            .shared
            .way
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// The requests of all kinds so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// The requests since the last call: lists, and the others by what is done in which folder of a process.
    pub(crate) fn take_kinds(&self) -> BTreeMap<String, u64> {
        let kinds = self.shared.kinds.lock();
        std::mem::take(&mut *kinds.unwrap_or_else(PoisonError::into_inner))
    }

    /// The puts that it was asked for.
    pub(crate) fn puts(&self) -> u64 {
        self.shared.puts.load(Ordering::Relaxed)
    }

    /// The puts that are or were held.
    pub(crate) fn held(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Its own URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The directory below which objects lie as files, named as their keys behind the prefix.
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.path().join(BUCKET).join(PREFIX)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The URL of an archive in the bucket.
pub(crate) fn url() -> String {
    format!("s3://{BUCKET}/{PREFIX}")
}

/// The environment with which programs find a server.
pub(crate) fn environment(endpoint: &str) -> Vec<(String, String)> {
    let set = [
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    set.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let _set = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let answer = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { shared.answer(request).await }
            });
            let builder = Builder::new(TokioExecutor::new());
            // A client that leaves in the middle of a request is no fault.
            let _ended = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let way = *self.way.lock().unwrap_or_else(PoisonError::into_inner);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.count(kind(&request));
        if way.is_away {
            return Ok(busy());
        }
        // Deletions of several objects are posted.
        let deletes = [Method::DELETE, Method::POST].contains(request.method());
        let is_refused = way.is_read_only && request.method() == Method::PUT;
        if is_refused || way.keeps_all && deletes {
            return Ok(refused(StatusCode::FORBIDDEN, "AccessDenied"));
        }
        let is_put = request.method() == Method::PUT;
        let mut request = request.map(Body::from);
        if let Some(account) = &self.account
            && !account.translate(request.headers_mut())
        {
            return Ok(refused(StatusCode::UNAUTHORIZED, "AuthenticationRequired"));
        }
        if !is_put {
            return self.service.call(request).await;
        }
        let number = self.puts.fetch_add(1, Ordering::Relaxed) + 1;
        let falls_on = |every: u64| every > 0 && number.is_multiple_of(every);
        if !way.put_delay.is_zero() {
            let _passed = timeout(way.put_delay, pending::<()>()).await;
        }
        if falls_on(way.busy_every) {
            return Ok(busy());
        }
        if falls_on(way.conflict_every) {
            return Ok(refused(StatusCode::CONFLICT, "ConditionalRequestConflict"));
        }
        let path = request.uri().path().to_owned();
        let hold = way.hold.filter(|_| path.contains("/journal/"));
        if hold == Some(Hold::BeforeSegments) {
            self.hold().await;
        }
        let one_by_one = self.lane(&path).lock().await;
        if way.ignores_conditions {
            // There may be none.
            let _gone = std::fs::remove_file(self.root.join(path.trim_start_matches('/')));
        }
        let answer = self.service.call(request).await?;
        drop(one_by_one);
        if hold == Some(Hold::BehindSegments) {
            self.hold().await;
        }
        match falls_on(way.lost_every) {
            true => Ok(refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            false => Ok(answer),
        }
    }

    async fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        pending().await
    }

    fn count(&self, kind: String) {
        let kinds = self.kinds.lock();
        let mut kinds = kinds.unwrap_or_else(PoisonError::into_inner);
        *kinds.entry(kind).or_default() += 1;
    }

    fn lane(&self, path: &str) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let lane = hasher.finish() % LANES as u64;
        &self.lanes[usize::try_from(lane).expect("few")]
    }
}

fn kind(request: &Request<Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default();
    // Behind the bucket, the prefix, the cluster and the process.
    let folder = request.uri().path().split('/').nth(5);
    match query.contains("list-type") {
        true => "list".to_owned(),
        false => format!("{} {}", request.method(), folder.unwrap_or_default()),
    }
}

fn busy() -> Response<Body> {
    refused(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")
}

fn refused(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>a fault of the test</Message></Error>"
    );
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    answer
}
