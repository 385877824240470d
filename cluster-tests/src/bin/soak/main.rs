//! Whether anything grows: a cluster under a load that stays the same, watched for as long
//! as one likes. Run by `scripts/soak`, whose `--help` is [`HELP`].

mod judge;
mod load;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::Load;
use watch::Watch;

use cluster_tests::{Cluster, until};

const HELP: &str = "\
Keeps a cluster of three managers and two agents busy, and watches what its processes take.

Usage: scripts/soak [--minutes N] [--release]

  --minutes N  how long (default: 2; 1 to 1440)
  --release    a release build of skep

The load stays the same all the time, and leaves nothing behind: short commands and long
ones under skep exec; opens on tmpfs and on FUSE; rotations; grants and revokes; services
and secrets that are made, used and removed. Beside it every process is restarted, one
after the other, by kill -9 and by TERM in turn, and managers are unlocked again: a lap
of at most 20 minutes begins with a restart of each, in its first half.

Each minute a table shows for every process: its age in seconds, open descriptors,
threads, mounts in its view, memory in KiB (RSS, PSS, and that which no file backs), and
the KiB of its data on the disk; below it, what the load did.

It fails (status 1), naming process and figure, when one grows without the load growing.
A process is judged from one restart to the next, without its first seconds (60, or 15 in
runs of less than 10 minutes): the median of the last third of what was seen may exceed
that of the first third by a part of it and by a fixed amount,

  descriptors 10% + 12    threads 10% + 6    mounts 10% + 6
  memory 15% + 6 MiB      disk 25% + 24 MiB

and, for managers' memory and disk, by 512 bytes for each open of a FUSE file made in
between, which is on record until 131,072 are. The disk's amount is what the log takes
between two snapshots. It fails too when a process ends by itself, when a load does
nothing in the last third of the time, when most of its rounds fail, or when a process
is never looked at for long enough to be judged.";

/// The longest time from one restart of everything to the next.
const LAP: Duration = Duration::from_mins(20);
/// Runs below it have the shorter warm-up, and are looked at more often.
const SHORT: Duration = Duration::from_mins(10);

/// How long, and how often what is done.
#[derive(Clone, Copy, Debug)]
struct Plan {
    whole: Duration,
    warm_up: Duration,
    look: Duration,
    lap: Duration,
}

impl Plan {
    fn of(minutes: u64) -> Self {
        let whole = Duration::from_mins(minutes);
        let (warm_up, look) = if whole < SHORT { (15, 2) } else { (60, 10) };
        let (warm_up, look) = (Duration::from_secs(warm_up), Duration::from_secs(look));
        // Laps of one length fill the whole time.
        let laps = whole.as_secs().div_ceil(LAP.as_secs()).max(1);
        let lap = whole / u32::try_from(laps).unwrap_or(1);
        Self { whole, warm_up, look, lap }
    }
}

fn minutes() -> Result<u64, ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = match words.as_slice() {
        [] => Some(2),
        ["--minutes", number] => number.parse().ok().filter(|number| (1..=1440).contains(number)),
        ["--help" | "-h"] => {
            println!("{HELP}");
            return Err(ExitCode::SUCCESS);
        }
        _ => None,
    };
    number.ok_or_else(|| {
        eprintln!("error: bad words; hint: scripts/soak --help");
        ExitCode::from(2)
    })
}

fn main() -> ExitCode {
    let plan = match minutes() {
        Ok(minutes) => Plan::of(minutes),
        Err(end) => return end,
    };
    let mut cluster = Cluster::start_with(3, 2);
    load::furnish(&cluster);
    let load = Load::start(&cluster);
    let watch = Watch::start(&cluster, plan.look, Arc::clone(load.counts()));
    let mut troubles = drive(&mut cluster, plan, &load);
    let seen = watch.end();
    troubles.extend(load.end());
    let (table, grown) = judge::all(&seen, plan.warm_up);
    println!("\njudged, from one restart to the next:\n{table}");
    troubles.extend(grown);
    for trouble in &troubles {
        println!("FAILED: {trouble}");
    }
    if !troubles.is_empty() {
        return ExitCode::FAILURE;
    }
    println!("nothing grew in {} minutes", plan.whole.as_secs() / 60);
    ExitCode::SUCCESS
}

/// Restarts one process after the other until the time is over.
fn drive(cluster: &mut Cluster, plan: Plan, load: &Load) -> Vec<String> {
    let start = Instant::now();
    let members = 3 + cluster.agents.len();
    let gap = plan.lap / 2 / u32::try_from(members + 1).unwrap_or(1);
    let mut troubles = Vec::new();
    let mut lap = 0;
    'laps: while start.elapsed() < plan.whole {
        let begin = plan.lap * lap;
        for place in 0..members {
            let turn = u32::try_from(place).unwrap_or(0);
            if !idle_until(cluster, start, (begin + gap * (turn + 1), plan.whole), &mut troubles) {
                break 'laps;
            }
            let gentle = (lap + turn) % 2 == 1;
            println!(
                "restart of {} by {}",
                name(cluster, place),
                if gentle { "TERM" } else { "kill -9" }
            );
            if let Err(trouble) = restart(cluster, place, gentle) {
                troubles.push(trouble);
            }
            load.restarted();
        }
        lap += 1;
        if !idle_until(cluster, start, (plan.lap * lap, plan.whole), &mut troubles) {
            break;
        }
    }
    troubles
}

/// Whether the time is not over yet when `to` is. A process that ended is told once.
fn idle_until(
    cluster: &Cluster,
    start: Instant,
    (to, whole): (Duration, Duration),
    troubles: &mut Vec<String>,
) -> bool {
    while start.elapsed() < to.min(whole) {
        std::thread::sleep(Duration::from_millis(200));
        let dead =
            (0..3 + cluster.agents.len()).find(|place| !watch::runs(&folder(cluster, *place)));
        if let Some(dead) = dead {
            troubles.push(format!("{} ended by itself", name(cluster, dead)));
            return false;
        }
    }
    to < whole
}

fn name(cluster: &Cluster, place: usize) -> String {
    folder(cluster, place).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn folder(cluster: &Cluster, place: usize) -> std::path::PathBuf {
    let data = match place.checked_sub(3) {
        None => cluster.managers().nth(place).expect("a manager").data(),
        Some(agent) => cluster.agents[agent].data(),
    };
    data.parent().expect("its folder").to_owned()
}

fn restart(cluster: &mut Cluster, place: usize, gentle: bool) -> Result<(), String> {
    let who = name(cluster, place);
    let status = if let Some(agent) = place.checked_sub(3) {
        let agent = &mut cluster.agents[agent];
        let status = if gentle { agent.stop() } else { 0 };
        agent.start_again();
        agent.connected();
        status
    } else {
        let manager = cluster.manager_mut(place);
        let status = if gentle { manager.stop() } else { 0 };
        manager.kill();
        cluster.bring_back(place);
        until("its return", || {
            let state = cluster.managers().nth(place).expect("a manager").state_here();
            ["follower", "leader"].contains(&state.as_str()).then_some(())
        });
        status
    };
    if status == 0 { Ok(()) } else { Err(format!("{who} ended with {status} after TERM")) }
}
