//! An archive in memory that watches how it is used.

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};

use super::{Objects, journal};
use crate::process::identity::Identity;
use crate::process::ids::Hash;
use crate::shipping::chain::Link;
use crate::shipping::segment::{Owner, Segment, SegmentHead, Turns, WriterId};
use crate::shipping::{Epoch, JournalPoint, SegmentIndex};

/// So often other tasks have their turn during a request.
const YIELDS: usize = 256;

type Listed<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// The storage.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    objects: InMemory,
    seen: Arc<Seen>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    reads: AtomicUsize,
    under_way: AtomicUsize,
    together: AtomicUsize,
    listed: AtomicUsize,
    ignores_offsets: AtomicBool,
    /// What each request takes, in milliseconds.
    delay: AtomicU64,
}

impl Seen {
    /// Lets each request take so long.
    pub(crate) fn slow_down(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).expect("it is short");
        self.delay.store(delay, Ordering::Relaxed);
    }

    /// Lets each list begin at the beginning.
    pub(crate) fn ignore_offsets(&self) {
        self.ignores_offsets.store(true, Ordering::Relaxed);
    }

    async fn wait(&self) {
        let delay = Duration::from_millis(self.delay.load(Ordering::Relaxed));
        if delay > Duration::ZERO {
            let _passed = timeout(delay, pending::<()>()).await;
        }
    }

    /// The reads since the last call.
    pub(crate) fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    /// The most reads at once since the last call.
    pub(crate) fn take_together(&self) -> usize {
        self.together.swap(0, Ordering::Relaxed)
    }

    /// The names that were listed since the last call.
    pub(crate) fn take_listed(&self) -> usize {
        self.listed.swap(0, Ordering::Relaxed)
    }
}

/// A read, until it is done or given up.
struct UnderWay<'a>(&'a Seen);

impl<'a> UnderWay<'a> {
    fn begin(seen: &'a Seen) -> Self {
        seen.reads.fetch_add(1, Ordering::Relaxed);
        let now = seen.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        seen.together.fetch_max(now, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An archive, and what is seen of its use.
pub(crate) fn watched() -> (Objects, Arc<Seen>) {
    let storage = Watched::default();
    let seen = Arc::clone(&storage.seen);
    (
        Objects::over(Arc::new(storage), Path::default(), "memory:"),
        seen,
    )
}

impl Watched {
    fn counted(&self, listed: Listed<ObjectMeta>) -> Listed<ObjectMeta> {
        let seen = Arc::clone(&self.seen);
        Box::pin(listed.map(move |one| {
            seen.listed.fetch_add(1, Ordering::Relaxed);
            one
        }))
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, at: &Path, bytes: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.seen.wait().await;
        self.objects.put_opts(at, bytes, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        let _under_way = UnderWay::begin(&self.seen);
        for _ in 0..YIELDS {
            yield_now().await;
        }
        self.objects.get_opts(at, how).await
    }

    fn delete_stream(&self, places: Listed<Path>) -> Listed<Path> {
        self.objects.delete_stream(places)
    }

    fn list(&self, below: Option<&Path>) -> Listed<ObjectMeta> {
        self.counted(self.objects.list(below))
    }

    fn list_with_offset(&self, below: Option<&Path>, behind: &Path) -> Listed<ObjectMeta> {
        match self.seen.ignores_offsets.load(Ordering::Relaxed) {
            true => self.list(below),
            false => self.counted(self.objects.list_with_offset(below, behind)),
        }
    }

    async fn list_with_delimiter(&self, below: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(below).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, how).await
    }
}

/// Fills an archive with segments of one turn each, of which every tenth is large and every seventh is void. Returns those that
/// count.
pub(crate) async fn chain(objects: &Objects, count: u64) -> Vec<SegmentHead> {
    let owner = Owner {
        cluster: "c".to_owned(),
        process: "p".to_owned(),
    };
    let writer = |epoch| WriterId {
        epoch: Epoch(epoch),
        identity: Identity {
            store: [1; 16],
            boot: epoch,
            run: 7,
        },
    };
    let (mut last, mut counting) = (Link::default(), Vec::new());
    for index in (1..=count).map(SegmentIndex) {
        let is_void = index.0.is_multiple_of(7);
        let mut body = Vec::new();
        let bytes = match index.0.is_multiple_of(10) {
            true => 300_000,
            false => 10,
        };
        Turns::push(&mut body, &vec![7; bytes]);
        let turns = Turns {
            before: last.journal,
            after: JournalPoint {
                position: last.journal.position.next(),
                hash: Hash(*blake3::hash(&index.0.to_le_bytes()).as_bytes()),
            },
            body: body.into(),
        };
        let (by, previous) = match is_void {
            true => (writer(1), Hash([9; 32])),
            false => (writer(2), last.hash),
        };
        let segment = Segment::new(&owner, by, index, previous, &turns);
        let put = journal::put(objects, &segment).await;
        put.expect("it is in memory");
        if !is_void {
            last = Link::of(&segment.head);
            counting.push(segment.head);
        }
    }
    counting
}
