//! A manager renews its own certificate, with the key that it has: however long it was away,
//! also when all were, and also one that must first be unlocked. Clocks are libfaketime's:
//! each manager is stopped, its clock is set, and it is started again.

use serde_json::Value;

use cluster_tests::{Cluster, Manager, clocked, set_clock, until};

/// Of a leaf.
const LIFE_DAYS: i64 = 90;

fn stop_and_set(cluster: &mut Cluster, numbers: &[usize], ahead: i64) {
    for number in numbers {
        let manager = cluster.manager_mut(*number);
        let _ = manager.stop();
        set_clock(&manager.data(), &format!("+{ahead}d"));
    }
}

/// Seconds since 1970 of a time in a status.
fn seconds(time: &Value) -> i64 {
    let time = time.as_str().unwrap_or_default();
    let words = ["-u", "-d", time, "+%s"];
    let said = cluster_tests::run(std::process::Command::new("date").args(words), b"");
    said.out.trim().parse().unwrap_or_default()
}

/// Days from a time so many days ahead to the end of its certificate, as it says.
fn days_left(manager: &Manager, ahead: i64) -> Option<i64> {
    let status = manager.status();
    let all = status["certificates"].as_array()?;
    let own = all.iter().find(|one| one["what"] == "manager")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((seconds(&own["ends"]) - i64::try_from(now.as_secs()).ok()?) / 86_400 - ahead)
}

/// Waits until all of these take part with certificates that have just been signed, and the
/// state says when they end.
fn all_young(cluster: &Cluster, ahead: i64) {
    for manager in cluster.managers() {
        until("a certificate that is new", || {
            let takes_part = ["leader", "follower"].contains(&manager.state().as_str());
            let young = days_left(manager, ahead).is_some_and(|days| days >= LIFE_DAYS - 1);
            (takes_part && young).then_some(())
        });
        let status = manager.status();
        let warnings = status["warnings"].as_array().expect("a list");
        // Those of other members have not renewed: nobody runs them.
        let own = warnings.iter().find(|one| {
            let says =
                |field: &str, start| one[field].as_str().is_some_and(|of| of.starts_with(start));
            says("code", "certificate-") && !says("text", "the certificate of")
        });
        assert!(own.is_none(), "{own:?}");
    }
}

fn writes(cluster: &Cluster, name: &str) {
    let manager = cluster.managers().next().expect("one");
    until("a write", || {
        let words = ["secret", "create", name, "-", "--timeout", "5s"];
        let created = manager.skep_with(&words, b"v");
        (created.status == 0 || created.err.contains("exists")).then_some(())
    });
}

#[test]
fn all_managers_come_back_at_once_after_their_certificates_have_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    // Each is from fresh certificates: 60, 110 and 400 days.
    for ahead in [110, 510] {
        stop_and_set(&mut cluster, &[0, 1, 2], ahead);
        for number in 0..3 {
            cluster.manager_mut(number).start_again();
        }
        for manager in cluster.managers() {
            let status = manager.status();
            assert_eq!(status["state"], "locked", "{status}");
            assert_eq!(manager.warnings(), ["certificate-ended"], "{status}");
        }
        let key = cluster.unlock_key().display().to_string();
        for manager in cluster.managers() {
            let _ = manager.skep(&["unlock", "--key-file", &key]).ok();
        }
        all_young(&cluster, ahead);
        writes(&cluster, &format!("after{ahead}"));
    }
}

fn unattended(cluster: &mut Cluster) {
    let key = cluster.unlock_key().display().to_string();
    for number in 0..3 {
        cluster.manager_mut(number).settings(|text| format!("unlock-key-file = {key:?}\n{text}"));
    }
}

#[test]
fn one_that_comes_late_finds_the_others_who_renewed_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    unattended(&mut cluster);
    // From fresh certificates the others stop and start at 60 and 120 days; it is away.
    let _ = cluster.manager_mut(2).stop();
    for ahead in [60, 120, 400] {
        stop_and_set(&mut cluster, &[0, 1], ahead);
        cluster.manager_mut(0).start_again();
        cluster.manager_mut(1).start_again();
        until("a leader", || cluster.managers().take(2).find(|one| one.state() == "leader"));
    }
    set_clock(&cluster.manager_mut(2).data(), "+400d");
    cluster.manager_mut(2).start_again();
    all_young(&cluster, 400);
}

#[test]
fn one_that_was_removed_while_it_was_away_stays_removed_a_year_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    unattended(&mut cluster);
    let _ = cluster.manager_mut(2).stop();
    let removed = cluster.managers().next().expect("one").skep(&["node", "rm", "manager-3"]);
    let _ = removed.ok();
    stop_and_set(&mut cluster, &[0, 1], 400);
    cluster.manager_mut(0).start_again();
    cluster.manager_mut(1).start_again();
    until("a leader", || cluster.managers().take(2).find(|one| one.state() == "leader"));
    let late = cluster.manager_mut(2);
    set_clock(&late.data(), "+400d");
    late.start_again();
    assert_eq!(late.ended(), 24, "{}", std::fs::read_to_string(late.log()).unwrap_or_default());
}

#[test]
fn managers_that_run_on_renew_in_time_and_the_state_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    let key_file = |manager: &Manager| std::fs::read(manager.data().join("manager.key")).ok();
    let before: Vec<_> = cluster.managers().map(key_file).collect();
    for ahead in [75, 150] {
        // A step that all share is believed; on real machines it is 75 days.
        for manager in cluster.managers() {
            set_clock(&manager.data(), &format!("+{ahead}d"));
        }
        all_young(&cluster, ahead);
        writes(&cluster, &format!("after{ahead}"));
        for number in 1..=3 {
            let name = format!("manager-{number}");
            until("the state to say so", || {
                let words = ["node", "inspect", &name, "--stale"];
                let said = cluster.managers().next()?.skep(&words);
                let node: Value = serde_json::from_str(&said.out).ok()?;
                let node = node.as_array().and_then(|all| all.first()).unwrap_or(&node).clone();
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let now = i64::try_from(now.ok()?.as_secs()).ok()?;
                let days = (seconds(&node["certificate_ends"]) - now) / 86_400 - ahead;
                (days >= LIFE_DAYS - 1).then_some(())
            });
        }
    }
    let after: Vec<_> = cluster.managers().map(key_file).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
    // What was written opens with the key of before, for whom it is the same file.
    for number in 0..3 {
        cluster.manager_mut(number).kill();
        cluster.bring_back(number);
    }
    all_young(&cluster, 150);
}

#[test]
fn a_manager_that_dies_with_its_next_certificate_written_and_not_used_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 1, 0);
    let key = cluster.unlock_key().display().to_string();
    for ahead in [110, 510] {
        stop_and_set(&mut cluster, &[0], ahead);
        let manager = cluster.manager_mut(0);
        manager.start_again();
        let file = manager.data().join("manager.key");
        let before = std::fs::read(&file).expect("a key file");
        let unlocking = std::thread::scope(|scope| {
            let unlocking = scope.spawn(|| manager.skep(&["unlock", "--key-file", &key]));
            until("another key file", || (std::fs::read(&file).ok()? != before).then_some(()));
            manager.kill_amid_work();
            unlocking.join().expect("ended")
        });
        assert!(unlocking.status != 4, "{}", unlocking.err);
        manager.kill();
        manager.start_again();
        let _ = manager.skep(&["unlock", "--key-file", &key]).ok();
        all_young(&cluster, ahead);
    }
}

/// The state says that a certificate ends later than the one in its key file: it died after the
/// next was signed, by itself or by the leader, and before it was written.
#[test]
fn a_manager_that_dies_before_its_next_certificate_is_written_asks_for_another_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start_by(&clocked(folder.path()), 3, 0);
    unattended(&mut cluster);
    let key_files = |cluster: &Cluster| -> Vec<Vec<u8>> {
        let read = |manager: &Manager| std::fs::read(manager.data().join("manager.key"));
        cluster.managers().map(|manager| read(manager).expect("a key file")).collect()
    };
    let mut before = key_files(&cluster);
    // The certificate of before is due at 75 days, and at 185 it has ended.
    for ahead in [75, 185] {
        stop_and_set(&mut cluster, &[0, 1, 2], ahead);
        for number in 0..3 {
            cluster.manager_mut(number).start_again();
        }
        all_young(&cluster, ahead);
        let renewed = key_files(&cluster);
        for number in 0..3 {
            let manager = cluster.manager_mut(number);
            manager.kill();
            let file = manager.data().join("manager.key");
            std::fs::write(&file, &before[number]).expect("the key file of before");
            // What was to take its place was written to its half.
            let half = &renewed[number][..renewed[number].len() / 2];
            std::fs::write(manager.data().join("manager.key.tmp"), half).expect("a file");
            manager.start_again();
            until("another key file", || {
                (std::fs::read(&file).ok()? != before[number]).then_some(())
            });
            all_young(&cluster, ahead);
        }
        writes(&cluster, &format!("after{ahead}"));
        before = key_files(&cluster);
    }
}
