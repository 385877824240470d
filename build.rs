//! Turns `src/wire/proto/*.proto` into messages and services, without `protoc`.

use std::path::Path;

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let folder = Path::new("src/wire/proto");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "proto") {
            files.push(path);
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [folder])?;

    // Messages go to `wire`, which knows no sockets; services to `transport`.
    let out = std::env::var("OUT_DIR")?;
    let messages = Path::new(&out).join("messages");
    let services = Path::new(&out).join("services");
    std::fs::create_dir_all(&messages)?;
    std::fs::create_dir_all(&services)?;
    let mut only_messages = descriptors.clone();
    for file in &mut only_messages.file {
        file.service.clear();
    }
    tonic_prost_build::configure()
        .out_dir(&messages)
        .bytes(".skep.api.v1.NewVersion.sealed_value")
        .bytes(".skep.api.v1.Value.sealed_value")
        .bytes(".skep.raft.v1.Entry.command")
        .bytes(".skep.raft.v1.SnapshotChunk.data")
        .compile_fds(only_messages)?;
    tonic_prost_build::configure()
        .out_dir(&services)
        .extern_path(".skep.api.v1", "crate::wire::api")
        .extern_path(".skep.local.v1", "crate::wire::local")
        .extern_path(".skep.raft.v1", "crate::wire::raft")
        .extern_path(".skep.stored.v1", "crate::wire::stored::shape")
        .compile_fds(descriptors)?;
    Ok(())
}
