//! Turns `src/wire/proto/*.proto` into messages, without `protoc`.

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
    // Services are made in `skep-client`: nothing here knows a socket.
    let mut descriptors = protox::compile(&files, [folder])?;
    for file in &mut descriptors.file {
        file.service.clear();
    }
    prost_build::Config::new()
        .bytes([
            ".skep.api.v1.NewVersion.sealed_value",
            ".skep.api.v1.Value.sealed_value",
            ".skep.local.v1.PutValue.sealed_value",
            ".skep.raft.v1.Entry.command",
            ".skep.raft.v1.SnapshotChunk.data",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
