//! The contents of parts from peers: fetches the missing chunks.

use std::slice::Iter;

use tokio_stream::{Stream, StreamExt as _};

use super::Parts;
use crate::history::part::Part;
use crate::node::error::Unavailable;
use crate::node::fetch_error::FetchError;
use crate::process::ids::{Hash, SnapshotId};
use crate::store::StoreError;
use crate::transport::peer_client::PeerClient;
use crate::transport::peer_error::PeerError;

/// The number of chunks per request.
const CHUNKS_PER_REQUEST: usize = 256;
/// Chunks are stored when this many bytes have arrived, and at the end.
const STORED_AT_BYTES: usize = 256 * 1024;
/// An index names chunks of cells, which name none: after this many rounds nothing can be missing.
const ROUNDS_MAX: usize = 3;

impl Parts {
    /// Fetches the missing chunks of a part. The chunks of an index become known only once the index has arrived, so this takes
    /// several rounds.
    pub(in crate::node) async fn fetch_contents(
        &self,
        client: &PeerClient,
        part: &Part,
    ) -> Result<(), FetchError> {
        let mut wanted = part.clone();
        for _ in 0..ROUNDS_MAX {
            let looked_for = wanted.clone();
            let missing = self
                .worker
                .run(move |store| store.parts().missing_chunks(&looked_for));
            let missing = missing.await?;
            if missing.is_empty() {
                return Ok(());
            }
            for hashes in missing.chunks(CHUNKS_PER_REQUEST) {
                self.fetch_chunks(client, &part.snapshot, hashes).await?;
            }
            // Chunks of messages are named by the part itself: all are present now and were verified on arrival.
            wanted.channels.clear();
        }
        let sentence = "chunks that were received are missing again".to_owned();
        Err(FetchError::Here(Unavailable::Damaged(sentence)))
    }

    async fn fetch_chunks(
        &self,
        client: &PeerClient,
        snapshot: &SnapshotId,
        hashes: &[Hash],
    ) -> Result<(), FetchError> {
        let mut chunks = client.fetch_chunks(snapshot, hashes).await?;
        let mut hashes = hashes.iter();
        while hashes.len() > 0 {
            let (came, ended) = next_chunks(&mut chunks, &mut hashes).await;
            let adopted = self.worker.run(move |store| {
                // A chunk that does not match its hash is a fault of the peer, not of this store.
                match store.chunks().adopt(came) {
                    Err(StoreError::Damaged { what, damage }) => {
                        Ok(Err(format!("{what} as received from the peer: {damage}")))
                    }
                    other => other.map(Ok),
                }
            });
            adopted.await?.map_err(FetchError::Faulty)?;
            ended?;
        }
        Ok(())
    }
}

// The next chunks with these hashes, as many as are stored together. Chunks that arrived before a failure need not be sent
// again.
async fn next_chunks(
    chunks: &mut (impl Stream<Item = Result<Vec<u8>, PeerError>> + Unpin),
    hashes: &mut Iter<'_, Hash>,
) -> (Vec<(Hash, Vec<u8>)>, Result<(), FetchError>) {
    let (mut came, mut bytes) = (Vec::new(), 0);
    while bytes < STORED_AT_BYTES
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
                return (came, Err(FetchError::Faulty(why)));
            }
        }
    }
    (came, Ok(()))
}
