//! A proof as JSON, written by REST and read by the command line. Bytes are base64 (RFC 4648 §4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::process::ids::{AccountId, ProcessId};
use crate::store::{Proof, Proven, RunProof};

/// The only known format.
const FORMAT: &str = "snapledger proof 1";

/// A balance and its proof. Only the bytes are evidence; the other fields state what the bytes must prove.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofDocument {
    format: String,
    snapshot_id: String,
    revision: u32,
    status: String,
    root: String,
    process: String,
    account: String,
    existed: bool,
    balance: i64,
    proof: Bytes,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bytes {
    revision: String,
    runs: Vec<RunBytes>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBytes {
    index: Vec<String>,
    cells: Option<String>,
}

/// What a verified proof says.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The process that keeps the account.
    pub process: ProcessId,
    /// The account whose balance is proven.
    pub account: AccountId,
    /// The revision with its root, and the balance.
    pub proven: Proven,
}

impl ProofDocument {
    /// Whether the document claims to be a proof.
    #[must_use]
    pub fn is_one(json: &serde_json::Value) -> bool {
        json["format"] == FORMAT
    }

    /// The document of a proof.
    #[must_use]
    pub fn new(proof: &Proof, process: &ProcessId, account: &AccountId, proven: &Proven) -> Self {
        let published = &proven.published;
        let run = |run: &RunProof| RunBytes {
            index: run
                .index
                .iter()
                .map(|chunk| STANDARD.encode(chunk))
                .collect(),
            cells: run.cells.as_ref().map(|chunk| STANDARD.encode(chunk)),
        };
        Self {
            format: FORMAT.to_owned(),
            snapshot_id: published.state.snapshot.to_string(),
            revision: published.state.revision,
            status: published.state.status().to_owned(),
            root: published.root.to_string(),
            process: process.to_string(),
            account: account.to_string(),
            existed: proven.balance.is_some(),
            balance: proven.balance.unwrap_or(0),
            proof: Bytes {
                revision: STANDARD.encode(&proof.revision),
                runs: proof.runs.iter().map(run).collect(),
            },
        }
    }

    /// Verifies the bytes, and all other fields against them.
    ///
    /// # Errors
    /// A sentence with the first fault.
    pub fn check(&self) -> Result<Checked, String> {
        if self.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", self.format));
        }
        let process = ProcessId::parse(&self.process).map_err(|why| why.to_string())?;
        let account = AccountId::parse(&self.account).map_err(|why| why.to_string())?;
        let proof = self.proof.decoded()?;
        let proven = proof.of(&process, &account);
        let proven = proven.map_err(|unproven| unproven.to_string())?;
        let state = &proven.published.state;
        let figures = [
            ("root", self.root.clone(), proven.published.root.to_string()),
            (
                "snapshot_id",
                self.snapshot_id.clone(),
                state.snapshot.to_string(),
            ),
            (
                "revision",
                self.revision.to_string(),
                state.revision.to_string(),
            ),
            ("status", self.status.clone(), state.status().to_owned()),
            (
                "existed",
                self.existed.to_string(),
                proven.balance.is_some().to_string(),
            ),
            (
                "balance",
                self.balance.to_string(),
                proven.balance.unwrap_or(0).to_string(),
            ),
        ];
        match figures.iter().find(|(_, stated, is)| stated != is) {
            Some((figure, stated, is)) => Err(format!("{figure} is {is}, not {stated} as stated")),
            None => Ok(Checked {
                process,
                account,
                proven,
            }),
        }
    }
}

impl Bytes {
    fn decoded(&self) -> Result<Proof, String> {
        let run = |run: &RunBytes| {
            let index = run.index.iter().map(|text| decoded(text));
            Ok::<_, String>(RunProof {
                index: index.collect::<Result<_, _>>()?,
                cells: run.cells.as_deref().map(decoded).transpose()?,
            })
        };
        Ok(Proof {
            revision: decoded(&self.revision)?,
            runs: self.runs.iter().map(run).collect::<Result<_, _>>()?,
        })
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let bytes = STANDARD.decode(text);
    bytes.map_err(|error| format!("its bytes are not valid base64: {error}"))
}
