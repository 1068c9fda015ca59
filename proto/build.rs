//! Compiles the .proto files in Rust (protox), so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["envelope", "link", "node", "operate"].map(|name| format!("sorcha/peer/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::FrugalCodec")
        .client_mod_attribute("sorcha.peer.v1", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute("sorcha.peer.v1", "#[cfg(feature = \"grpc\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
