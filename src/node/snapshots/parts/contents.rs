//! The contents of parts that come from peers: the chunks that are not here.

use std::slice::Iter;

use tokio_stream::{Stream, StreamExt as _};

use super::Parts;
use crate::history::part::Part;
use crate::node::error::Unavailable;
use crate::node::unfetched::Unfetched;
use crate::process::ids::{Hash, SnapshotId};
use crate::store::StoreError;
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// Chunks asked for at once.
const CHUNKS_PER_REQUEST: usize = 256;
/// Chunks are taken over when so many bytes of them have come, or the last.
const TAKEN_OVER_BYTES: usize = 256 * 1024;
/// An index names chunks of cells, which name nothing: after this many times nothing can be missing any more.
const ROUNDS_MAX: usize = 3;

impl Parts {
    /// Fetches the chunks of a part that are not here. Whatever is named by chunks that came may be missing in turn: the
    /// index first, then what it names.
    pub(in crate::node) async fn fetch_contents(
        &self,
        client: &PeerClient,
        part: &Part,
    ) -> Result<(), Unfetched> {
        let mut wanted = part.clone();
        for _ in 0..ROUNDS_MAX {
            let looked_for = wanted.clone();
            let missing = self.blocking(move |store| store.parts().missing_chunks(&looked_for));
            let missing = missing.await?;
            if missing.is_empty() {
                return Ok(());
            }
            for hashes in missing.chunks(CHUNKS_PER_REQUEST) {
                self.fetch_chunks(client, &part.snapshot, hashes).await?;
            }
            // Messages are named by the part itself: all are here now, and were read as they came.
            wanted.channels.clear();
        }
        let sentence = "chunks that were received are missing again".to_owned();
        Err(Unfetched::Here(Unavailable::Damaged(sentence)))
    }

    async fn fetch_chunks(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        hashes: &[Hash],
    ) -> Result<(), Unfetched> {
        let mut chunks = client.fetch_chunks(snapshot, hashes).await?;
        let mut hashes = hashes.iter();
        while hashes.len() > 0 {
            let (came, ended) = next_chunks(&mut chunks, &mut hashes).await;
            let adopted = self.blocking(move |store| {
                // A chunk that is not what its hash says is the peer's failure, not this store's.
                match store.chunks().adopt(came) {
                    Err(StoreError::Damaged { what, damage }) => {
                        Ok(Err(format!("{what} as received from the peer: {damage}")))
                    }
                    other => other.map(Ok),
                }
            });
            adopted.await?.map_err(Unfetched::There)?;
            ended?;
        }
        Ok(())
    }
}

// The next ones with these hashes: as many as are taken over together. What came before a failure need not come again.
async fn next_chunks(
    chunks: &mut (impl Stream<Item = Result<Vec<u8>, PeerError>> + Unpin),
    hashes: &mut Iter<'_, Hash>,
) -> (Vec<(Hash, Vec<u8>)>, Result<(), Unfetched>) {
    let (mut came, mut bytes) = (Vec::new(), 0);
    while bytes < TAKEN_OVER_BYTES
        && let Some(hash) = hashes.next()
    {
        match chunks.next().await {
            Some(Ok(chunk)) => {
                bytes += chunk.len();
                came.push((*hash, chunk));
            }
            Some(Err(error)) => return (came, Err(error.into())),
            None => {
                let why = "not all requested chunks were received".to_owned();
                return (came, Err(Unfetched::There(why)));
            }
        }
    }
    (came, Ok(()))
}
