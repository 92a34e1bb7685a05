//! Where the asynchronous code of the program runs that ships what is kept, deletes it and restores from it: as tasks of a runtime
//! without clock and threads. Each request of a task is an event of the world, so a task goes on only when its answer arrives, and ends
//! where its process does.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use snapledger::offsite::origin::{NotShipped, StoreReader};
use snapledger::store::StoreError;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, unconstrained, yield_now};
use tokio_stream::{Stream, StreamExt as _};

use crate::archive::keeping::Looked;
use crate::archive::refilling::Refilled;
use crate::disk::Disk;
use crate::world::Life;

/// The runtime is idle when it was so many times in a row: it interrupts a task that does much at once.
const IDLE_LOOKS: usize = 4;

/// A request of a task.
#[derive(Debug, Clone)]
pub(crate) enum Verb {
    Put(Path, PutPayload, PutOptions),
    Get(Path, GetOptions),
    Delete(Path),
    /// Everything below a path, or behind another one there.
    List(Path, Option<Path>),
}

/// The answer.
#[derive(Debug)]
pub(crate) enum Reply {
    Put(Result<PutResult>),
    Got(Result<GetResult>),
    Deleted(Result<()>),
    Listed(Vec<ObjectMeta>),
}

/// The result of a task.
pub(crate) enum Ended {
    Looked(Looked),
    Refilled(Box<Refilled>),
}

type Look = Box<dyn FnOnce(&Disk) + Send>;

/// What tasks ask of the world.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) asked: Vec<(Life, Verb, oneshot::Sender<Reply>)>,
    pub(crate) looks: Vec<(Life, Look)>,
    pub(crate) ended: Vec<(Life, Ended)>,
}

impl Mail {
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.looks.is_empty() && self.ended.is_empty()
    }
}

/// The tasks of a run.
pub(crate) struct Desk {
    runtime: Runtime,
    mail: Arc<Mutex<Mail>>,
    /// The requests that are not answered.
    pub(crate) waiting: BTreeMap<u64, oneshot::Sender<Reply>>,
}

/// A running task; it ends with this.
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Task {
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .event_interval(u32::MAX)
            .build();
        Self {
            runtime: runtime.expect("a runtime without threads"),
            mail: Arc::default(),
            waiting: BTreeMap::new(),
        }
    }

    /// Begins a task.
    pub(crate) fn begin(
        &self,
        by: Life,
        work: impl Future<Output = Ended> + Send + 'static,
    ) -> Task {
        let mail = Arc::clone(&self.mail);
        Task(self.runtime.spawn(unconstrained(async move {
            let ended = work.await;
            opened(&mail).ended.push((by, ended));
        })))
    }

    /// Runs all tasks until each waits, and takes what they ask.
    pub(crate) fn run(&self) -> Mail {
        self.runtime.block_on(async {
            for _ in 0..IDLE_LOOKS {
                // It goes on when nothing else is left to do.
                yield_now().await;
            }
        });
        std::mem::take(&mut *opened(&self.mail))
    }

    /// Executes work whose requests are executed at once.
    pub(crate) fn run_at_once<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.runtime.block_on(work)
    }

    /// The way of a program to the object store.
    pub(crate) fn storage(&self, by: Life) -> Arc<dyn ObjectStore> {
        Arc::new(self.way(by))
    }

    /// The way of a program to what it does beside its turns.
    pub(crate) fn way(&self, by: Life) -> Way {
        let mail = Arc::clone(&self.mail);
        Way { by, mail }
    }
}

fn opened(mail: &Mutex<Mail>) -> MutexGuard<'_, Mail> {
    mail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way of a task to the object store, and to the disk of its process.
#[derive(Clone)]
pub(crate) struct Way {
    by: Life,
    mail: Arc<Mutex<Mail>>,
}

impl Way {
    async fn ask(&self, verb: Verb) -> Reply {
        let (answer, answered) = oneshot::channel();
        opened(&self.mail).asked.push((self.by, verb, answer));
        match answered.await {
            Ok(reply) => reply,
            // The run has ended.
            Err(_) => std::future::pending().await,
        }
    }
}

impl StoreReader for Way {
    type Origin = Disk;

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> std::result::Result<T, StoreError> + Send + 'static,
    ) -> std::result::Result<T, NotShipped> {
        let (answer, answered) = oneshot::channel();
        let look: Look = Box::new(move |disk: &Disk| drop(answer.send(work(disk))));
        opened(&self.mail).looks.push((self.by, look));
        let read = answered.await.map_err(|_| NotShipped::Stopping)?;
        read.map_err(NotShipped::Damaged)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.by).finish()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

type Listed<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// The objects of a list, once it is there.
enum Listing {
    Asked(Pin<Box<dyn Future<Output = Reply> + Send>>),
    Answered(std::vec::IntoIter<ObjectMeta>),
}

impl Stream for Listing {
    type Item = Result<ObjectMeta>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut *self {
                Self::Answered(left) => return Poll::Ready(left.next().map(Ok)),
                Self::Asked(asked) => match asked.as_mut().poll(context) {
                    Poll::Ready(Reply::Listed(found)) => {
                        *self = Self::Answered(found.into_iter());
                    }
                    Poll::Ready(other) => return Poll::Ready(Some(Err(mixed_up(other)))),
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

fn mixed_up(reply: Reply) -> Error {
    unasked(format!("answered {reply:?}"))
}

fn unasked(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: "simulated",
        source: what.into(),
    }
}

impl Way {
    fn listed(&self, below: Option<&Path>, behind: Option<&Path>) -> Listed<ObjectMeta> {
        let (way, below) = (self.clone(), below.cloned().unwrap_or_default());
        let verb = Verb::List(below, behind.cloned());
        Box::pin(Listing::Asked(Box::pin(async move { way.ask(verb).await })))
    }
}

#[async_trait]
impl ObjectStore for Way {
    async fn put_opts(&self, at: &Path, bytes: PutPayload, how: PutOptions) -> Result<PutResult> {
        match self.ask(Verb::Put(at.clone(), bytes, how)).await {
            Reply::Put(put) => put,
            other => Err(mixed_up(other)),
        }
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        match self.ask(Verb::Get(at.clone(), how)).await {
            Reply::Got(got) => got,
            other => Err(mixed_up(other)),
        }
    }

    fn delete_stream(&self, places: Listed<Path>) -> Listed<Path> {
        let way = self.clone();
        Box::pin(places.then(move |at| {
            let way = way.clone();
            async move {
                let at = at?;
                match way.ask(Verb::Delete(at.clone())).await {
                    Reply::Deleted(deleted) => deleted.map(|()| at),
                    other => Err(mixed_up(other)),
                }
            }
        }))
    }

    fn list(&self, below: Option<&Path>) -> Listed<ObjectMeta> {
        self.listed(below, None)
    }

    fn list_with_offset(&self, below: Option<&Path>, behind: &Path) -> Listed<ObjectMeta> {
        self.listed(below, Some(behind))
    }

    // The program does none of these on an archive: whoever begins to must extend the simulation.
    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unasked("an upload in parts is not simulated"))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unasked("a list of folders is not simulated"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unasked("a copy is not simulated"))
    }
}
