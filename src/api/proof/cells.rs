//! The parts of a proof for salted runs, as JSON.

use serde::{Deserialize, Serialize};

use crate::process::ids::{AccountId, Hash};
use crate::store::{AbsentCell, Branch, CellPlace, FoundCell, Neighbour, NeighbourName};

/// The run has the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FoundRun {
    found: Found,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    balance: i64,
    id_salt: String,
    balance_salt: String,
    place: Place,
}

/// The run does not have the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AbsentRun {
    absent: Absent,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Absent {
    before: Option<Beside>,
    after: Option<Beside>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beside {
    name: Name,
    content: String,
    place: Place,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Account(AccountName),
    Hidden(HiddenName),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountName {
    account: String,
    id_salt: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HiddenName {
    kind: u8,
    hash: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    index: u32,
    entry: Leaf,
    entry_name: String,
    cell: Leaf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    position: u32,
    count: u32,
    path: Vec<String>,
    body: String,
}

impl FoundRun {
    pub(super) fn of(found: &FoundCell) -> Self {
        let [id_salt, balance_salt] = found.salts.map(hex::encode);
        Self {
            found: Found {
                balance: found.balance,
                id_salt,
                balance_salt,
                place: Place::of(&found.place),
            },
        }
    }

    pub(super) fn decoded(&self) -> Result<FoundCell, String> {
        let Found {
            balance,
            id_salt,
            balance_salt,
            place,
        } = &self.found;
        Ok(FoundCell {
            place: place.decoded()?,
            salts: [bytes(id_salt)?, bytes(balance_salt)?],
            balance: *balance,
        })
    }
}

impl AbsentRun {
    pub(super) fn of(absent: &AbsentCell) -> Self {
        Self {
            absent: Absent {
                before: absent.before.as_ref().map(Beside::of),
                after: absent.after.as_ref().map(Beside::of),
            },
        }
    }

    pub(super) fn decoded(&self) -> Result<AbsentCell, String> {
        let beside = |beside: &Option<Beside>| beside.as_ref().map(Beside::decoded).transpose();
        Ok(AbsentCell {
            before: beside(&self.absent.before)?,
            after: beside(&self.absent.after)?,
        })
    }
}

impl Beside {
    fn of(neighbour: &Neighbour) -> Self {
        Self {
            name: match &neighbour.name {
                NeighbourName::Account { account, salt } => Name::Account(AccountName {
                    account: account.to_string(),
                    id_salt: hex::encode(salt),
                }),
                NeighbourName::Hidden { kind, name } => Name::Hidden(HiddenName {
                    kind: *kind,
                    hash: name.to_string(),
                }),
            },
            content: neighbour.content.to_string(),
            place: Place::of(&neighbour.place),
        }
    }

    fn decoded(&self) -> Result<Neighbour, String> {
        Ok(Neighbour {
            name: match &self.name {
                Name::Account(name) => NeighbourName::Account {
                    account: AccountId::parse(&name.account).map_err(|why| why.to_string())?,
                    salt: bytes(&name.id_salt)?,
                },
                Name::Hidden(name) => NeighbourName::Hidden {
                    kind: name.kind,
                    name: hash(&name.hash)?,
                },
            },
            content: hash(&self.content)?,
            place: self.place.decoded()?,
        })
    }
}

impl Place {
    fn of(place: &CellPlace) -> Self {
        Self {
            index: place.index,
            entry: Leaf::of(&place.entry),
            entry_name: place.entry_name.to_string(),
            cell: Leaf::of(&place.cell),
        }
    }

    fn decoded(&self) -> Result<CellPlace, String> {
        Ok(CellPlace {
            index: self.index,
            entry: self.entry.decoded()?,
            entry_name: hash(&self.entry_name)?,
            cell: self.cell.decoded()?,
        })
    }
}

impl Leaf {
    fn of(branch: &Branch) -> Self {
        Self {
            position: branch.position,
            count: branch.count,
            path: branch.path.iter().map(Hash::to_string).collect(),
            body: branch.body.to_string(),
        }
    }

    fn decoded(&self) -> Result<Branch, String> {
        let path = self.path.iter().map(|text| hash(text));
        Ok(Branch {
            position: self.position,
            count: self.count,
            path: path.collect::<Result<_, _>>()?,
            body: hash(&self.body)?,
        })
    }
}

fn hash(text: &str) -> Result<Hash, String> {
    bytes(text).map(Hash)
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let decoded = hex::decode_to_slice(text, &mut bytes);
    let digits = 2 * N;
    decoded.map_err(|error| {
        format!("it needs {digits} hexadecimal digits where it has others: {error}")
    })?;
    Ok(bytes)
}
