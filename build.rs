//! Compiles `proto/` without protoc: protox parses, tonic generates code, and reflection gets the encoded descriptor
//! set.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(["chandy_lamport.proto", "snapledger.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path("crate::proto::Contiguous")
        .compile_fds(set)?;
    Ok(())
}
