//! Fixtures: real `skep` processes on loopback, in a temporary folder.
//!
//! Everything a fixture starts or mounts ends with it, also when the test fails;
//! what a killed test leaves ends by the kernel's parent-death signal.

mod booted;
mod client;
mod clocks;
mod cluster;
mod commands;
mod crossing;
mod dice;
mod docker_host;
mod docker_registry;
mod engine;
mod fit;
mod flood;
mod machine;
mod net;
mod node;
mod oci_layout;
mod play;
mod process;
mod rack;
pub mod rpc;
mod scan;
mod served;
mod site;
mod small_disk;
mod stolen;
pub mod terminal;
mod token_server;
mod wait;

pub use booted::Booted;
pub use client::{Client, Outcome, secret_id};
pub use clocks::{by_clock, clocked, set_clock, turn_clock, with_clock};
pub use cluster::{Cluster, Exec};
pub use commands::{OTHER, commands, help};
pub use crossing::crossing;
pub use dice::Dice;
pub use docker_host::{BUSYBOX, DockerHost};
pub use docker_registry::DockerRegistry;
pub use engine::{Containerd, Engine};
pub use flood::{Flood, Flooding};
pub use machine::Machine;
pub use net::{Host, Net};
pub use node::{Agent, Manager, launcher};
pub use oci_layout::OciLayout;
pub use play::{lines_of, page, play, shown_in};
pub use process::{Ran, binary, run, run_until};
pub use rack::rack;
pub use scan::{Canary, Copies, processes_of};
pub use served::Served;
pub use site::{Member, Site};
pub use small_disk::SmallDisk;
pub use stolen::{KeyFileOpened, StolenIssuer};
pub use token_server::{TokenServer, basic};
pub use wait::{DEADLINE, until};
