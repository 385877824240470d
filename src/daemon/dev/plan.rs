//! What stands where, and the words that start it. Pure: nothing is made here.

use std::path::{Path, PathBuf};

use serde::Serialize;

use skep_core::base::{Exit, Failure};

/// Bytes of a socket's path, the end included, that the system takes.
const SOCKET_PATH_BYTES: usize = 108;
/// Managers of one cluster.
const MOST_MANAGERS: usize = 7;
/// Agents on one machine: each is a process with threads and mounts of its own.
const MOST_AGENTS: usize = 64;

/// What a member does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A manager that listens at this address.
    Manager(String),
    /// An agent that joins by these managers.
    Agent(Vec<String>),
}

/// A manager or an agent, and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its node name, and that of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What it does.
    pub kind: MemberKind,
}

/// A settings file as `skep manager run` or `skep agent run` reads it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings<'a> {
    name: &'a str,
    data_dir: PathBuf,
    socket: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advertise: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    manager: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<PathBuf>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    wipe_on_stop: bool,
}

impl Member {
    /// A manager in `folder`, which is named as it is.
    #[must_use]
    pub fn manager(folder: PathBuf, port: u16) -> Self {
        Self {
            name: name_of(&folder),
            folder,
            kind: MemberKind::Manager(format!("127.0.0.1:{port}")),
        }
    }

    /// An agent in `folder`, which is named as it is.
    #[must_use]
    pub fn agent(folder: PathBuf, managers: Vec<String>) -> Self {
        Self { name: name_of(&folder), folder, kind: MemberKind::Agent(managers) }
    }

    /// Whether it is a manager.
    #[must_use]
    pub fn is_manager(&self) -> bool {
        matches!(self.kind, MemberKind::Manager(_))
    }

    /// Where a manager listens.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match &self.kind {
            MemberKind::Manager(address) => Some(address),
            MemberKind::Agent(_) => None,
        }
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join(if self.is_manager() { "manager.sock" } else { "agent.sock" })
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// An agent's join token.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// Where an agent shows secrets.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("secrets")
    }

    /// Its settings file.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.folder.join(if self.is_manager() { "manager.toml" } else { "agent.toml" })
    }

    /// What its settings file says. An agent that does not `keep` its mounts wipes
    /// them at its end, also those of workloads that go on.
    ///
    /// # Errors
    /// [`Exit::Configuration`] for a path that is no text.
    pub fn settings_text(&self, keep: bool) -> Result<String, Failure> {
        let agent = |path: PathBuf| (!self.is_manager()).then_some(path);
        let managers: &[String] = match &self.kind {
            MemberKind::Manager(_) => &[],
            MemberKind::Agent(managers) => managers,
        };
        let settings = Settings {
            name: &self.name,
            data_dir: self.data(),
            socket: self.socket(),
            listen: self.address(),
            advertise: self.address().into_iter().collect(),
            manager: managers,
            token_file: agent(self.token()),
            root: agent(self.root()),
            wipe_on_stop: !keep && !self.is_manager(),
        };
        toml::to_string(&settings).map_err(|_not_text| {
            Failure::new(Exit::Configuration, "the folder's path is not UTF-8 text")
                .hint("choose another --dir")
        })
    }

    /// The words that run it, without the program.
    #[must_use]
    pub fn words(&self) -> [PathBuf; 4] {
        let role = if self.is_manager() { "manager" } else { "agent" };
        [role.into(), "run".into(), "--config".into(), self.settings()]
    }

    /// What a person types to start it again.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words = self.words().map(|word| quoted(&word.to_string_lossy()));
        format!("skep {}", words.join(" "))
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A cluster on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Everything is below it.
    pub folder: PathBuf,
    /// The cluster's name.
    pub cluster: String,
    /// The managers; the first founds the cluster.
    pub managers: Vec<Member>,
    /// The agents.
    pub agents: Vec<Member>,
    /// Whether agents that end leave the mounts of workloads that go on.
    pub keep_mounts: bool,
}

impl Plan {
    /// `manager-1`… on these ports and `agent-1`…, below `folder`.
    ///
    /// # Errors
    /// [`Exit::Usage`] for too few or too many of them, [`Exit::Configuration`]
    /// for a folder whose path is too long for sockets or no text.
    pub fn new(folder: &Path, ports: &[u16], agents: usize) -> Result<Self, Failure> {
        Self::named(folder, "agent", ports, agents)
    }

    /// The same with agents of another name.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn named(
        folder: &Path,
        agent: &str,
        ports: &[u16],
        agents: usize,
    ) -> Result<Self, Failure> {
        counts(ports.len(), agents)?;
        let place = |kind: &str, number: usize| folder.join(format!("{kind}-{number}"));
        let numbered = (1..).zip(ports);
        let managers: Vec<Member> = numbered
            .map(|(number, port)| Member::manager(place("manager", number), *port))
            .collect();
        let addresses: Vec<String> =
            managers.iter().filter_map(Member::address).map(str::to_owned).collect();
        let agents =
            (1..=agents).map(|number| Member::agent(place(agent, number), addresses.clone()));
        let agents = agents.collect();
        let plan = Self {
            folder: folder.to_owned(),
            cluster: "dev".to_owned(),
            managers,
            agents,
            keep_mounts: false,
        };
        plan.check_paths()?;
        Ok(plan)
    }

    fn check_paths(&self) -> Result<(), Failure> {
        let longest = self.members().map(|member| member.socket().as_os_str().len()).max();
        if longest.is_some_and(|longest| longest >= SOCKET_PATH_BYTES) {
            let shown = self.folder.display();
            return Err(Failure::new(
                Exit::Configuration,
                format!("{shown}: the path is too long for sockets below it"),
            )
            .hint("choose a --dir with a shorter path, of 80 bytes at most"));
        }
        self.members().try_for_each(|member| member.settings_text(false).map(drop))
    }

    /// Managers, then agents.
    pub fn members(&self) -> impl Iterator<Item = &Member> + Clone {
        self.managers.iter().chain(&self.agents)
    }

    /// The first admin's identity.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.folder.join("admin.skepid")
    }

    /// The unlock key of all managers.
    #[must_use]
    pub fn unlock_key(&self) -> PathBuf {
        self.folder.join("unlock-key")
    }

    /// Where the managers listen, as `--host` takes it.
    #[must_use]
    pub fn hosts(&self) -> String {
        self.managers.iter().filter_map(Member::address).collect::<Vec<_>>().join(",")
    }

    /// The line that a shell evaluates to reach this cluster.
    #[must_use]
    pub fn export(&self) -> String {
        let identity = self.identity();
        let mut line =
            format!("export SKEP_HOST={} SKEP_IDENTITY={}", self.hosts(), shown(&identity));
        if let Some(agent) = self.agents.first() {
            line += " SKEP_AGENT=";
            line += &shown(&agent.socket());
        }
        line
    }
}

/// Whether there may be so many.
///
/// # Errors
/// [`Exit::Usage`].
pub(super) fn counts(managers: usize, agents: usize) -> Result<(), Failure> {
    let wrong = |text: String, hint: &str| Err(Failure::new(Exit::Usage, text).hint(hint));
    if managers == 0 || managers > MOST_MANAGERS {
        return wrong(
            format!("--managers: from 1 to {MOST_MANAGERS}, not {managers}"),
            "3 managers tolerate the loss of one, 5 that of two",
        );
    }
    if agents > MOST_AGENTS {
        return wrong(
            format!("--agents: at most {MOST_AGENTS} on one machine, not {agents}"),
            "each agent is a process of its own",
        );
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &str) -> Plan {
        Plan::new(Path::new(folder), &[4001, 4002, 4003], 2).expect("a plan")
    }

    #[test]
    fn everything_has_its_place() {
        let plan = plan("/d");
        let names: Vec<_> = plan.members().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["manager-1", "manager-2", "manager-3", "agent-1", "agent-2"]);
        let second = &plan.managers[1];
        assert_eq!(second.address(), Some("127.0.0.1:4002"));
        assert_eq!(second.data(), Path::new("/d/manager-2/data"));
        assert_eq!(second.pid(), Path::new("/d/manager-2/pid"));
        assert_eq!(second.log(), Path::new("/d/manager-2/log"));
        assert_eq!(plan.agents[0].root(), Path::new("/d/agent-1/secrets"));
        assert_eq!(plan.unlock_key(), Path::new("/d/unlock-key"));
        assert_eq!(second.command_line(), "skep manager run --config /d/manager-2/manager.toml");
    }

    #[test]
    fn the_line_to_evaluate_names_all_managers_and_the_first_agent() {
        assert_eq!(
            plan("/d").export(),
            "export SKEP_HOST=127.0.0.1:4001,127.0.0.1:4002,127.0.0.1:4003 \
             SKEP_IDENTITY=/d/admin.skepid SKEP_AGENT=/d/agent-1/agent.sock"
        );
        let odd = plan("/it's $here").export();
        assert!(odd.contains(r"SKEP_IDENTITY='/it'\''s $here/admin.skepid'"), "{odd}");
        let alone = Plan::new(Path::new("/d"), &[4001], 0).expect("a plan").export();
        assert_eq!(alone, "export SKEP_HOST=127.0.0.1:4001 SKEP_IDENTITY=/d/admin.skepid");
    }

    #[test]
    fn settings_are_what_the_daemons_read() {
        let plan = plan("/a \"b\"");
        let manager: toml::Table =
            plan.managers[0].settings_text(false).expect("text").parse().expect("toml");
        assert_eq!(manager["listen"].as_str(), Some("127.0.0.1:4001"));
        assert_eq!(manager["data-dir"].as_str(), Some("/a \"b\"/manager-1/data"));
        assert_eq!(manager["name"].as_str(), Some("manager-1"));
        assert!(!manager.contains_key("wipe-on-stop") && !manager.contains_key("root"));
        let agent: toml::Table =
            plan.agents[1].settings_text(false).expect("text").parse().expect("toml");
        assert_eq!(agent["manager"].as_array().map(Vec::len), Some(3));
        assert_eq!(agent["wipe-on-stop"].as_bool(), Some(true));
        assert!(!agent.contains_key("listen"));
        let kept: toml::Table =
            plan.agents[1].settings_text(true).expect("text").parse().expect("toml");
        assert!(!kept.contains_key("wipe-on-stop"));
    }

    #[test]
    fn limits_are_refused_with_a_hint() {
        let of = |folder: &str, managers: usize, agents| {
            let ports = vec![4001; managers];
            let failure = Plan::new(Path::new(folder), &ports, agents).expect_err("refused");
            assert!(failure.hint.is_some());
            failure.exit
        };
        assert_eq!(of("/d", 0, 0), Exit::Usage);
        assert_eq!(of("/d", 8, 0), Exit::Usage);
        assert_eq!(of("/d", 1, 65), Exit::Usage);
        assert_eq!(of(&format!("/{}", "x".repeat(100)), 1, 0), Exit::Configuration);
        let bytes = std::os::unix::ffi::OsStrExt::from_bytes(b"/\xff");
        let odd = Path::new(<std::ffi::OsStr>::new::<std::ffi::OsStr>(bytes));
        assert_eq!(Plan::new(odd, &[1], 0).expect_err("no text").exit, Exit::Configuration);
    }
}
