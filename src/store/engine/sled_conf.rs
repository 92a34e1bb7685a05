//! sled's `conf` file, written by the store: sled writes it in two pieces without a sync, so a crash during the first
//! start would leave a store that sled refuses forever. The version of sled and the segment size never change, and
//! neither do these bytes; any other content is damage and is overwritten.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::files::{CONF, failed, replace};
use crate::store::error::StoreError;

/// Including the checksum that sled appends.
const BYTES: &[u8] =
    b"segment_size: 16777216\nuse_compression: false\nversion: 0.34\n\xdd\x11\xab\xb6";

/// Ensures that `conf` exists and is intact, durably.
pub(super) fn ensure(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(CONF);
    match fs::read(&path) {
        Ok(found) if found == BYTES => return Ok(()),
        Ok(_) => tracing::warn!(path = %path.display(), "replaced a damaged file"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("cannot read", &path)(error)),
    }
    replace(dir, CONF, BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sled_writes_and_is_healed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = sled::Config::new()
            .path(dir.path())
            .segment_size(16 * 1024 * 1024);
        drop(config.open().expect("it is empty"));
        let conf = dir.path().join(CONF);
        assert_eq!(fs::read(&conf).expect("it is there"), BYTES);
        fs::write(&conf, &BYTES[..60]).expect("there is room");
        ensure(dir.path()).expect("there is room");
        assert_eq!(fs::read(&conf).expect("it is there"), BYTES);
    }
}
