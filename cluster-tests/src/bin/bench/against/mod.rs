//! The same work on Skep, on a Docker swarm and on etcd: three managers each on this machine, in
//! turns, so that what else it does falls on all of them.

mod certificates;
mod etcd;
mod plots;
mod skep;
mod swarm;
mod table;
mod targets;
mod turn;

use std::ffi::OsStr;

use super::options::Other;
use super::size::Size;
pub(super) use table::Compared;
use table::Line;
use turn::{System, Work};

/// Clients of the rows of creates; the figures at the ends have targets.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Clients of the other rows.
const FEW: usize = 16;
/// Things that there are when they are listed and read.
const THINGS: usize = 500;

/// Programs, and the packages of Debian that have them.
const SWARM: [(&str, &str); 3] =
    [("dockerd", "docker.io"), ("docker", "docker.io"), ("busybox", "busybox-static")];
const ETCD: [(&str, &str); 1] = [("etcd", "etcd-server")];

/// What is missing, in one line.
pub(super) fn fit(others: &[Other]) -> Result<(), String> {
    lacks(others, &std::env::var_os("PATH").unwrap_or_default())
}

fn lacks(others: &[Other], path: &OsStr) -> Result<(), String> {
    for (other, programs) in [(Other::Swarm, &SWARM[..]), (Other::Etcd, &ETCD)] {
        let is_there = |program| std::env::split_paths(path).any(|at| at.join(program).is_file());
        let missing = programs.iter().find(|(program, _)| !is_there(*program));
        if let Some((program, package)) = missing.filter(|_| others.contains(&other)) {
            return Err(format!(
                "error: {program} is missing; hint: apt-get install {package}, or leave it out of \
                 --against"
            ));
        }
    }
    Ok(())
}

/// New ones, with nothing in them.
fn start(others: &[Other]) -> Vec<Box<dyn System>> {
    let mut systems: Vec<Box<dyn System>> = vec![Box::new(skep::Skep::start())];
    for other in others {
        systems.push(match other {
            Other::Swarm => Box::new(swarm::Swarm::start()),
            Other::Etcd => Box::new(etcd::Etcd::start()),
        });
    }
    systems
}

/// All of it: each kind of work on systems of its own, so that none has the other's state.
pub(super) fn compare(size: &Size, others: &[Other]) -> Compared {
    let mut lines = Vec::new();
    for clients in CLIENTS {
        let systems = start(others);
        lines.push(Line::of(&systems, Work::Create, clients, size));
    }
    let systems = start(others);
    for system in &systems {
        system.fill(THINGS);
    }
    for (work, clients) in [(Work::List, 1), (Work::Read, FEW), (Work::Act, 1), (Work::Act, FEW)] {
        lines.push(Line::of(&systems, work, clients, size));
    }
    let delivered = others.contains(&Other::Swarm).then(|| swarm::delivery(size));
    Compared { lines, delivered }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_one_line_with_a_hint() {
        let lacks = |others: &[Other]| lacks(others, OsStr::new("/nonexistent"));
        assert_eq!(lacks(&[]), Ok(()));
        for (other, package) in [(Other::Swarm, "docker.io"), (Other::Etcd, "etcd-server")] {
            let why = lacks(&[other]).expect_err("nothing is there");
            assert!(why.contains(&format!("hint: apt-get install {package}")), "{why}");
            assert_eq!(why.lines().count(), 1, "{why}");
        }
    }
}
