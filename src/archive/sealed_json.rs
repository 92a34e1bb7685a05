//! Small objects in JSON that carry their own hash, as the last member: what a storage has changed in one is not taken at its word.
//! Objects of programs before it have none; they are read if they say nothing else.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Not the name of a member of such an object.
const BEFORE: &str = ",\"content_hash\":\"";
const BEHIND: &str = "\"}";
const HEX: usize = 2 * blake3::OUT_LEN;

/// The object that says this.
pub(super) fn seal(content: &impl Serialize) -> Vec<u8> {
    let mut object = plain(content);
    let end = object.pop();
    assert_eq!(end, Some(b'}'), "it is a structure with members");
    let hash = blake3::hash(&object).to_hex();
    for part in [BEFORE, &hash, BEHIND] {
        object.extend_from_slice(part.as_bytes());
    }
    object
}

/// What an object says.
///
/// # Errors
/// What is wrong with it.
pub(super) fn open<T: Serialize + DeserializeOwned>(object: &[u8]) -> Result<T, String> {
    let hashed = hashed(object);
    if let Some((content, hash)) = hashed
        && blake3::hash(content).to_hex().as_bytes() != hash
    {
        return Err("its content does not have its hash".to_owned());
    }
    let content = serde_json::from_slice(object).map_err(|error| error.to_string())?;
    match hashed.is_some() || plain(&content) == object {
        true => Ok(content),
        false => Err("it has no hash, and says something else".to_owned()),
    }
}

fn plain(content: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(content).expect("a plain structure always encodes")
}

// What is hashed of an object, and its hash, if it ends with one.
fn hashed(object: &[u8]) -> Option<(&[u8], &[u8])> {
    let object = object.strip_suffix(BEHIND.as_bytes())?;
    let (object, hash) = object.split_at_checked(object.len().checked_sub(HEX)?)?;
    Some((object.strip_suffix(BEFORE.as_bytes())?, hash))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Said {
        name: String,
        number: u64,
        more: Option<u64>,
    }

    fn said() -> Said {
        Said {
            name: "a \"name\"".to_owned(),
            number: 1_200,
            more: Some(7),
        }
    }

    // Without this a rotten bit would be another secret, another promise of a lost process, or the end of an archived journal.
    #[test]
    fn no_changed_bit_and_no_cut_is_taken_at_its_word() {
        let object = seal(&said());
        assert_eq!(open(&object), Ok(said()));
        for at in 0..object.len() {
            for bit in 0..8 {
                let mut rotten = object.clone();
                rotten[at] ^= 1 << bit;
                let text = String::from_utf8_lossy(&rotten).into_owned();
                open::<Said>(&rotten).expect_err(&text);
            }
            open::<Said>(&object[..at]).expect_err("it is cut");
        }
    }

    #[test]
    fn an_object_without_a_hash_is_read_if_that_is_all_that_it_lacks() {
        let object = plain(&said());
        assert_eq!(open(&object), Ok(said()));
        let other = br#"{"name":"a","number":1,"more":null,"content_hasi":"0"}"#;
        open::<Said>(other).expect_err("its hash may have been there");
        open::<Said>(b"{\"name\":\"a\"}").expect_err("it lacks members");
    }

    // So that a member which a later program adds does not keep an older one from reading what it knows.
    #[test]
    fn a_sealed_object_may_say_more() {
        #[derive(Serialize)]
        struct More {
            name: &'static str,
            number: u64,
            more: Option<u64>,
            new: bool,
        }
        let object = seal(&More {
            name: "a",
            number: 1,
            more: None,
            new: true,
        });
        let read = open::<Said>(&object).expect("it is whole");
        assert_eq!((read.number, read.more), (1, None));
    }
}
