//! Who `--user` means: names are asked of `getent`, which knows what the machine knows
//! (files, LDAP, what else nsswitch.conf(5) names). This program can't ask itself: it is
//! linked statically, and those who answer are loaded at run time. They may take their
//! time or never end: there is a limit to both, and to what they say.

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::agent::machine::User;
use skep_client::machine::SystemClock;
use skep_core::base::{BootTime, Clock as _};

/// Where the program is: not looked for, as PATH is the caller's.
const PLACES: [&str; 2] = ["/usr/bin/getent", "/bin/getent"];
/// Time for all answers at most: a directory service that is away takes some seconds to say so.
const ANSWER: Duration = Duration::from_secs(20);
/// Time for an answer that is done without where there is none.
const NICETY: Duration = Duration::from_secs(3);
/// Bytes of one answer: the numbers of 65,536 groups, the most that the kernel takes.
const ANSWER_BYTES: u64 = 1024 * 1024;
/// Its exit status where the key is in no table.
const NOT_FOUND: i32 = 2;

/// Why a user is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    /// No such user or group on this machine.
    #[error("no such user or group: {0}")]
    Unknown(String),
    /// The program that looks names up is not there.
    #[error("cannot look up users and groups: there is no {}", PLACES[0])]
    Missing,
    /// It did not answer.
    #[error("cannot look up users and groups: `getent {database}` {why}")]
    Unanswered {
        /// What it was asked about.
        database: &'static str,
        /// What became of it.
        why: String,
    },
}

impl UserError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "give numbers for both, as in --user 1000:1000",
            Self::Missing => {
                "install it (Debian: libc-bin), or give numbers for both, as in --user 1000:1000"
            }
            Self::Unanswered { .. } => {
                "see nsswitch.conf(5), or give numbers for both, as in --user 1000:1000"
            }
        }
    }
}

/// What the machine's tables say of a user beside the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// What it is called.
    pub(super) name: String,
    /// Its folder; may be empty.
    pub(super) home: String,
    /// Its shell; may be empty.
    pub(super) shell: String,
}

/// A user, and what is known of it.
type Found = (User, Option<Account>);

/// Reads `USER[:GROUP]`, each a name or a number, before `until`. With a group given, that is
/// the only one. A number is taken also if nobody has it: its group, if none is given, is
/// the same number.
///
/// # Errors
/// [`UserError`].
pub(super) fn resolve(text: &str, until: BootTime) -> Result<Found, UserError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let program = PLACES.map(Path::new).into_iter().find(|place| place.exists());
    let numbers = (user.parse::<u32>(), group.map(str::parse::<u32>));
    if let (Ok(uid), Some(Ok(gid))) = numbers {
        // The numbers are all that it takes, whatever becomes of this.
        let until = until.min(after(NICETY));
        let line = program.and_then(|program| ask(program, "passwd", user, until).ok().flatten());
        let account = line.as_deref().and_then(account);
        return checked((User { uid, gid, groups: Vec::new() }, account), text);
    }
    let program = program.ok_or(UserError::Missing)?;
    let until = until.min(after(ANSWER));
    let found = look_up(user, group, |database, key| ask(program, database, key, until))?;
    found.map_or_else(|| Err(UserError::Unknown(text.to_owned())), |found| checked(found, text))
}

/// -1 would mean "as it is" to the system: never a user.
fn checked(found: Found, text: &str) -> Result<Found, UserError> {
    let user = &found.0;
    if user.uid == u32::MAX || user.gid == u32::MAX || user.groups.contains(&u32::MAX) {
        return Err(UserError::Unknown(text.to_owned()));
    }
    Ok(found)
}

/// Finds who is meant, by what `ask` says of a database and a key; `None`: nobody.
fn look_up(
    user: &str,
    group: Option<&str>,
    mut ask: impl FnMut(&'static str, &str) -> Result<Option<String>, UserError>,
) -> Result<Option<Found>, UserError> {
    // A key that begins so would be an option, and of a number too large the program takes a
    // part, which may be root's: nobody is called so.
    let is_none = |key: &str| {
        let digits = key.bytes().all(|byte| byte.is_ascii_digit());
        key.is_empty() || key.starts_with('-') || (digits && key.parse::<u32>().is_err())
    };
    if [Some(user), group].into_iter().flatten().any(is_none) {
        return Ok(None);
    }
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        None => None,
        Some((_, Ok(gid))) => Some(gid),
        Some((group, Err(_))) => {
            let Some(gid) = ask("group", group)?.as_deref().and_then(|line| number(line, 2)) else {
                return Ok(None);
            };
            Some(gid)
        }
    };
    let Some(line) = ask("passwd", user)? else {
        let bare = |uid| User { uid, gid: gid.unwrap_or(uid), groups: Vec::new() };
        return Ok(user.parse().ok().map(|uid| (bare(uid), None)));
    };
    let (Some(uid), Some(first)) = (number(&line, 2), number(&line, 3)) else { return Ok(None) };
    let account = account(&line);
    if let Some(gid) = gid {
        return Ok(Some((User { uid, gid, groups: Vec::new() }, account)));
    }
    let name = account.as_ref().map(|account| account.name.as_str());
    let Some(name) = name.filter(|name| !name.is_empty() && !name.starts_with('-')) else {
        return Ok(None);
    };
    let groups = ask("initgroups", name)?.unwrap_or_default();
    // The name, then a number for each group. A name may hold blanks.
    let numbers = groups.strip_prefix(name).unwrap_or_default().split_ascii_whitespace();
    let groups = numbers.filter_map(|gid| gid.parse().ok()).collect();
    Ok(Some((User { uid, gid: first, groups }, account)))
}

/// What the answer's first line says of a user.
fn account(line: &str) -> Option<Account> {
    let mut columns = line.lines().next()?.split(':').map(ToOwned::to_owned);
    let name = columns.next()?;
    let (home, shell) = (columns.nth(4)?, columns.next()?);
    Some(Account { name, home, shell })
}

/// A column of the answer's first line, as a number.
fn number(line: &str, column: usize) -> Option<u32> {
    line.lines().next()?.split(':').nth(column)?.parse().ok()
}

/// What the program says of a key; `None`: there is no such entry.
fn ask(
    program: &Path,
    database: &'static str,
    key: &str,
    until: BootTime,
) -> Result<Option<String>, UserError> {
    let unanswered = |why: String| UserError::Unanswered { database, why };
    let mut child = Command::new(program)
        .args([database, key])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| unanswered(format!("cannot be run: {error}")))?;
    let answer = hear(&mut child, until);
    if !matches!(answer, Ok(Some(_))) {
        // It is gone already, or ends by this.
        child.kill().ok();
    }
    let status = child.wait().map_err(|error| unanswered(error.to_string()))?;
    let text = match answer {
        Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(None) => return Err(unanswered("did not end in time".to_owned())),
        Err(error) => return Err(unanswered(error.to_string())),
    };
    match status.code() {
        Some(0) => Ok(Some(text)),
        Some(NOT_FOUND) => Ok(None),
        _ => Err(unanswered(format!("failed: {status}"))),
    }
}

/// All that the program says until its end; `None`: that did not come in time.
fn hear(child: &mut Child, until: BootTime) -> std::io::Result<Option<Vec<u8>>> {
    let Some(out) = child.stdout.take() else { return Ok(None) };
    let ends = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut out = out.take(ANSWER_BYTES);
    let mut said = Vec::new();
    loop {
        if !ready(out.get_ref().as_fd(), until)? {
            return Ok(None);
        }
        let mut piece = [0; 4096];
        match out.read(&mut piece)? {
            0 if out.limit() == 0 => return Err(std::io::ErrorKind::FileTooLarge.into()),
            0 => break,
            count => said.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    Ok(ready(ends.as_fd(), until)?.then_some(said))
}

/// Waits until there is something to read, or the end of it. False: not in time.
fn ready(of: BorrowedFd<'_>, until: BootTime) -> std::io::Result<bool> {
    loop {
        let left = Duration::from_millis(until.0.saturating_sub(SystemClock.boot().0));
        let wait = Timespec::try_from(left).map_err(std::io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(of, PollFlags::IN)], Some(&wait)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn after(limit: Duration) -> BootTime {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    BootTime(SystemClock.boot().0.saturating_add(limit))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    const LONG: Duration = Duration::from_mins(2);

    fn find(user: &str, group: Option<&str>) -> Option<Found> {
        let tables = |database: &'static str, key: &str| {
            let line = match (database, key) {
                ("passwd", "app" | "1000") => "app:x:1000:1001:An app:/srv/app:/bin/bash\n",
                ("passwd", "broken") => "broken:x:12\n",
                ("initgroups", "app") => "app                   999 998\n",
                ("group", "wheel") => "wheel:x:998:other\n",
                ("passwd" | "group", _) => return Ok(None),
                _ => panic!("asked for {key} of {database}"),
            };
            Ok(Some(line.to_owned()))
        };
        look_up(user, group, tables).expect("answered")
    }

    #[test]
    fn users_and_groups_are_found() {
        let app = || Account {
            name: "app".to_owned(),
            home: "/srv/app".to_owned(),
            shell: "/bin/bash".to_owned(),
        };
        let user = |uid, gid, groups: &[u32], account| {
            Some((User { uid, gid, groups: groups.to_vec() }, account))
        };
        assert_eq!(find("app", None), user(1000, 1001, &[999, 998], Some(app())));
        assert_eq!(find("1000", None), user(1000, 1001, &[999, 998], Some(app())));
        assert_eq!(find("app", Some("wheel")), user(1000, 998, &[], Some(app())));
        assert_eq!(find("app", Some("7")), user(1000, 7, &[], Some(app())));
        assert_eq!(find("1000", Some("wheel")), user(1000, 998, &[], Some(app())));
        assert_eq!(find("4242", Some("wheel")), user(4242, 998, &[], None));
        assert_eq!(find("4242", None), user(4242, 4242, &[], None));
        for (who, group) in [
            ("", None),
            ("-s", None),
            ("4294967296", None),
            ("app", Some("4294967296")),
            ("broken", None),
            ("missing", None),
            ("app", Some("nobody")),
            ("app", Some("")),
            ("app", Some("-s")),
            ("4242", Some("nobody")),
        ] {
            assert_eq!(find(who, group), None, "{who} {group:?}");
        }
    }

    #[test]
    fn numbers_need_no_table_and_nobody_is_minus_one() {
        let resolve = |text| resolve(text, after(LONG));
        let bare = |uid, gid| (User { uid, gid, groups: Vec::new() }, None);
        assert_eq!(resolve("424242:4343").expect("numbers"), bare(424_242, 4343));
        assert_eq!(resolve("424242").expect("a number"), bare(424_242, 424_242));
        for nobody in ["4294967295:0", "0:4294967295", "4294967295", "4294967296", "-1"] {
            assert!(matches!(resolve(nobody), Err(UserError::Unknown(_))), "{nobody}");
        }
    }

    #[test]
    fn this_machines_own_tables_are_asked() {
        let resolve = |text| resolve(text, after(LONG));
        let (root, account) = resolve("root").expect("every machine has one");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(account.map(|account| account.name).as_deref(), Some("root"));
        let (both, account) = resolve("0:0").expect("numbers");
        assert_eq!((both.groups, account.is_some()), (Vec::new(), true));
        assert_eq!(resolve("root:root").expect("a group").0.groups, Vec::<u32>::new());
        let nobody = resolve("no-such-user-of-this-name");
        assert!(matches!(nobody, Err(UserError::Unknown(_))), "{nobody:?}");
    }

    /// What becomes of a program that does this.
    fn does(script: &str, limit: Duration) -> Result<Option<String>, UserError> {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("getent");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o755).open(&program).unwrap();
        write!(file, "#!/bin/sh\n{script}\n").expect("written");
        drop(file);
        // Another test's child may have the file open for writing until it executes.
        loop {
            match ask(&program, "passwd", "app", after(limit)) {
                Err(UserError::Unanswered { why, .. }) if why.contains("busy") => {}
                answer => return answer,
            }
        }
    }

    #[test]
    fn an_answer_has_a_time_a_size_and_a_status() {
        let said = does("echo \"$1 $2\"", LONG).expect("answered");
        assert_eq!(said.as_deref(), Some("passwd app\n"));
        assert_eq!(does("exit 2", LONG).expect("answered"), None);
        assert!(does("echo app:x:1:1; exit 1", LONG).is_err());
        assert!(does("kill -9 $$", LONG).is_err());
        let endless = does("exec cat /dev/zero", LONG).expect_err("too much");
        assert!(endless.to_string().contains("large"), "{endless}");
        let short = Duration::from_millis(300);
        // It says nothing; it has said all and doesn't end.
        for hangs in ["exec sleep 1000", "exec >&-; exec sleep 1000"] {
            let late = does(hangs, short).expect_err("never ends");
            assert!(late.to_string().contains("did not end"), "{late}");
        }
    }
}
