//! Turns the services of the `.proto` files into clients and servers, without `protoc`.
//! Their messages are `skep-core`'s.

use std::path::Path;

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let folder = Path::new("../core/src/wire/proto");
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
    tonic_prost_build::configure()
        .extern_path(".skep.api.v1", "::skep_core::wire::api")
        .extern_path(".skep.local.v1", "::skep_core::wire::local")
        .extern_path(".skep.raft.v1", "::skep_core::wire::raft")
        .extern_path(".skep.stored.v1", "::skep_core::wire::stored::shape")
        .compile_fds(descriptors)?;
    Ok(())
}
