//! A proof as JSON, written by REST and read by the command line. Bytes are base64 (RFC 4648 §4), hashes and salts
//! hexadecimal.

mod cells;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::process::ids::{AccountId, ProcessId};
use crate::store::{Disclosure, Proof, Proven, RunProof, WholeChunks};
use cells::{AbsentRun, FoundRun};

/// The format that this program writes.
const FORMAT: &str = "snapledger proof 2";
/// The format of whole chunks only, without `discloses`.
const FORMAT_1: &str = "snapledger proof 1";
/// What the name of every format begins with.
const ANY_FORMAT: &str = "snapledger proof ";

/// A balance and its proof. Only `proof` is evidence; the other fields state what it must prove.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discloses: Option<String>,
    proof: Evidence,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    revision: String,
    runs: Vec<RunEvidence>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum RunEvidence {
    Whole(WholeRun),
    Found(FoundRun),
    Absent(AbsentRun),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeRun {
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
    /// What the proof shows of other accounts.
    pub discloses: Disclosure,
}

impl ProofDocument {
    /// Whether the document claims to be a proof.
    #[must_use]
    pub fn is_one(json: &serde_json::Value) -> bool {
        let format = json["format"].as_str();
        format.is_some_and(|format| format.starts_with(ANY_FORMAT))
    }

    /// The document of a proof.
    #[must_use]
    pub fn new(proof: &Proof, process: &ProcessId, account: &AccountId, proven: &Proven) -> Self {
        let published = &proven.published;
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
            discloses: Some(proof.discloses().name().to_owned()),
            proof: Evidence {
                revision: STANDARD.encode(&proof.revision),
                runs: proof.runs.iter().map(RunEvidence::of).collect(),
            },
        }
    }

    /// Verifies the bytes, and all other fields against them.
    ///
    /// # Errors
    /// A sentence with the first fault.
    pub fn check(&self) -> Result<Checked, String> {
        if ![FORMAT, FORMAT_1].contains(&&*self.format) {
            let format = &self.format;
            return Err(format!(
                "its format is {format:?}; this program reads {FORMAT_1:?} and {FORMAT:?}"
            ));
        }
        let process = ProcessId::parse(&self.process).map_err(|why| why.to_string())?;
        let account = AccountId::parse(&self.account).map_err(|why| why.to_string())?;
        let proof = self.proof.decoded()?;
        let proven = proof.of(&process, &account);
        let proven = proven.map_err(|unproven| unproven.to_string())?;
        let discloses = proof.discloses();
        self.compare(&proven, discloses)?;
        Ok(Checked {
            process,
            account,
            proven,
            discloses,
        })
    }

    fn compare(&self, proven: &Proven, discloses: Disclosure) -> Result<(), String> {
        let state = &proven.published.state;
        let balance = proven.balance;
        let root = proven.published.root.to_string();
        let [existed, is_there] = [self.existed, balance.is_some()].map(|is| is.to_string());
        let [stated, held] = [self.balance, balance.unwrap_or(0)].map(|units| units.to_string());
        let [revision, number] = [self.revision, state.revision].map(|number| number.to_string());
        let discloses = discloses.name();
        let disclosed = match &self.discloses {
            Some(disclosed) => disclosed,
            // Format 1 does not say it.
            None if self.format == FORMAT_1 => discloses,
            None => "unknown",
        };
        let figures = [
            ("root", &*self.root, &*root),
            ("snapshot_id", &self.snapshot_id, state.snapshot.as_str()),
            ("revision", &revision, &number),
            ("status", &self.status, state.status()),
            ("existed", &existed, &is_there),
            ("balance", &stated, &held),
            ("discloses", disclosed, discloses),
        ];
        match figures.iter().find(|(_, stated, is)| stated != is) {
            Some((figure, stated, is)) => Err(format!("{figure} is {is}, not {stated} as stated")),
            None => Ok(()),
        }
    }
}

impl Evidence {
    fn decoded(&self) -> Result<Proof, String> {
        Ok(Proof {
            revision: decoded(&self.revision)?,
            runs: self
                .runs
                .iter()
                .map(RunEvidence::decoded)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl RunEvidence {
    fn of(run: &RunProof) -> Self {
        match run {
            RunProof::Whole(whole) => Self::Whole(WholeRun {
                index: whole
                    .index
                    .iter()
                    .map(|chunk| STANDARD.encode(chunk))
                    .collect(),
                cells: whole.cells.as_ref().map(|chunk| STANDARD.encode(chunk)),
            }),
            RunProof::Found(found) => Self::Found(FoundRun::of(found)),
            RunProof::Absent(absent) => Self::Absent(AbsentRun::of(absent)),
        }
    }

    fn decoded(&self) -> Result<RunProof, String> {
        Ok(match self {
            Self::Whole(whole) => {
                let index = whole.index.iter().map(|text| decoded(text));
                RunProof::Whole(WholeChunks {
                    index: index.collect::<Result<_, _>>()?,
                    cells: whole.cells.as_deref().map(decoded).transpose()?,
                })
            }
            Self::Found(found) => RunProof::Found(found.decoded()?),
            Self::Absent(absent) => RunProof::Absent(absent.decoded()?),
        })
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let bytes = STANDARD.decode(text);
    bytes.map_err(|error| format!("its bytes are not valid base64: {error}"))
}
