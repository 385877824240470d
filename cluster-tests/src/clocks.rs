//! Daemons and commands with clocks of their own, by libfaketime: a file beside each daemon's
//! settings says by how much its wall clock is off. Boot time and all waiting go on as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use skep::daemon::dev::Launcher;

use crate::{Cluster, Manager, binary};

/// Where Debian puts the library (package `faketime`, which `scripts/test` installs).
const LIBRARY: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

fn library() -> &'static str {
    let library = LIBRARY.into_iter().find(|path| fs::exists(path).unwrap_or(false));
    library.expect("libfaketime: apt-get install faketime")
}

/// A launcher whose daemons have clocks of their own.
///
/// # Panics
/// Where the library is missing or the script can't be written.
#[must_use]
pub fn clocked(folder: &Path) -> Launcher {
    let script = folder.join("skep");
    let text = format!(
        "#!/bin/sh\n\
         for word in \"$@\"; do\n\
         case $word in */manager.toml|*/agent.toml) folder=${{word%/*}};; esac\n\
         done\n\
         case \"$1 $2\" in 'manager run'|'agent run')\n\
         [ -e \"$folder/clock\" ] || echo +0 > \"$folder/clock\"\n\
         export LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE=\"$folder/clock\"\n\
         export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1\n\
         esac\n\
         exec {} \"$@\"\n",
        library(),
        binary().display()
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    Launcher::strict(script)
}

/// Sets the clock of the daemon that has its data there, all at once: `+60d`.
///
/// # Panics
/// Where the file can't be written.
pub fn set_clock(data: &Path, offset: &str) {
    turn_clock(&data.parent().expect("its folder").join("clock"), offset);
}

/// Gives one command a clock of its own.
pub fn with_clock(command: &mut Command, offset: &str) {
    command
        .env("LD_PRELOAD", library())
        .env("FAKETIME", offset)
        .envs([("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")]);
}

/// The command that gives the command behind it the clock that a file says.
///
/// # Panics
/// Where the file can't be written.
#[must_use]
pub fn by_clock(file: &Path) -> Vec<String> {
    fs::write(file, "+0\n").expect("a file");
    let own = [
        format!("LD_PRELOAD={}", library()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
    ];
    let rest = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];
    let rest = rest.into_iter().map(str::to_owned);
    ["env".to_owned()].into_iter().chain(own).chain(rest).collect()
}

/// Sets the clock that a file says, all at once: `+60d`.
///
/// # Panics
/// Where the file can't be written.
pub fn turn_clock(file: &Path, offset: &str) {
    let new = file.with_extension("new");
    fs::write(&new, format!("{offset}\n")).expect("a file");
    fs::rename(new, file).expect("in its place");
}

impl Cluster {
    /// A cluster of three managers, which unlock themselves, and so many agents, all with clocks
    /// of their own: managers that share a new time believe it at once.
    ///
    /// # Panics
    /// Where anything of it fails.
    #[must_use]
    pub fn start_clocked(folder: &Path, agents: usize) -> Self {
        let cluster = Self::start_by(&clocked(folder), 3, agents);
        let key = cluster.unlock_key().display().to_string();
        for manager in cluster.managers() {
            manager.settings(|text| format!("unlock-key-file = {key:?}\n{text}"));
        }
        cluster
    }

    /// Stops all that runs and starts the managers again so many days ahead.
    pub fn ahead(&mut self, days: i64) {
        for agent in &mut self.agents {
            agent.kill();
            set_clock(&agent.data(), &format!("+{days}d"));
        }
        for number in 0..self.managers().count() {
            let manager = self.manager_mut(number);
            let _ = manager.stop();
            set_clock(&manager.data(), &format!("+{days}d"));
        }
        for number in 0..self.managers().count() {
            self.manager_mut(number).start_again();
        }
        let _leader = self.leader();
    }
}

impl Manager {
    /// What its status says, or nothing.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let status = self.skep(&["status", "--format", "json"]);
        serde_json::from_str(&status.out).unwrap_or_default()
    }

    /// The codes of what it warns about.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let listed = self.status()["warnings"].as_array().cloned().unwrap_or_default();
        let code = |warning: serde_json::Value| warning["code"].as_str().map(str::to_owned);
        listed.into_iter().filter_map(code).collect()
    }
}
