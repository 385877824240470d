//! `skep dev`: what happens, in words. What is done is `daemon::dev`'s.

use crate::daemon::Shutdown;
use crate::daemon::dev::{self, DevConfig, Ended, Event, Launcher, Member, Plan, Stays};
use skep_core::base::{Exit, Failure};

use super::args::DevArgs;
use super::problem::Trouble;
use super::runtime;
use super::shell::{Screen, Shell};

/// Runs it until it is ended.
pub(super) fn run(shell: &mut Shell, args: DevArgs) -> Result<(), Trouble> {
    let DevArgs { managers, agents, dir, keep } = args;
    let config = DevConfig { managers, agents, folder: dir, keep };
    let launcher = Launcher::own()?;
    // In this thread alone: what it starts ends with the thread.
    runtime()?.block_on(async {
        let shutdown = Shutdown::on_terminal().map_err(|error| {
            Failure::new(Exit::MachineLimit, format!("cannot listen to signals: {error}"))
        })?;
        let screen = &mut shell.screen;
        let mut tell = |event: Event<'_>| {
            if let Event::Up(plan) = &event {
                screen.echo(&plan.export());
            }
            tell(screen, &event);
        };
        Ok(dev::run(&config, &launcher, &shutdown, &mut tell).await?)
    })
}

fn tell(screen: &mut Screen, event: &Event<'_>) {
    match event {
        Event::Cleared { folder } => {
            let folder = folder.display();
            screen
                .say(&format!("an earlier start in {folder} never came up: what it left is gone"));
        }
        Event::Starting { plan, again } => {
            let (managers, agents) = (plan.managers.len(), plan.agents.len());
            let what = format!("{} and {}", count(managers, "manager"), count(agents, "agent"));
            let verb = if *again { "bringing back" } else { "starting" };
            screen.say(&format!("{verb} {what} in {}", plan.folder.display()));
        }
        Event::Founded => screen.say("the cluster is founded; the others join"),
        Event::Unlocked => screen.say("the managers are unlocked and have a leader"),
        Event::Joined(member) => {
            let what = if member.is_manager() { "votes" } else { "is connected" };
            screen.say(&format!("{} {what}", member.name));
        }
        Event::Up(plan) => up(screen, plan),
        Event::Ended(member, ended) => one_ended(screen, member, ended),
        Event::Ending => screen.say("ending everything; once more to end it at once"),
        Event::Over { folder, stays } => {
            over(screen, &folder.display().to_string(), stays.as_ref());
        }
    }
}

fn up(screen: &mut Screen, plan: &Plan) {
    let folder = plan.folder.display();
    screen.say("");
    screen.say("all is up; evaluate the line above in another terminal, then try:");
    screen.say("  skep node ls");
    screen.say("  echo hello | skep secret create greeting -");
    if let Some(agent) = plan.agents.first() {
        screen.say(&format!("  skep service create web --node {}", agent.name));
        screen.say("  skep service grant web greeting");
        screen.say("  skep exec --service web -- cat /run/secrets/greeting");
    }
    screen.say("");
    screen.say(&format!("in {folder}:"));
    screen.say("  NAME/log, NAME/pid, NAME/data   of each manager and agent");
    if !plan.agents.is_empty() {
        screen.say("  agent-N/secrets                 what workloads on that node may read");
    }
    screen.say("  unlock-key                      unlocks a manager that was started again");
    if let Some(manager) = plan.managers.first() {
        screen.say("to lose a manager, and to get it back:");
        screen.say(&format!("  kill -9 $(cat {})", manager.pid().display()));
        screen.say(&format!("  {} &", manager.command_line()));
        let (key, socket) = (plan.unlock_key(), manager.socket());
        let (key, socket) = (key.display(), socket.display());
        screen.say(&format!("  skep unlock --key-file {key} --socket {socket}"));
    }
    screen.say("Ctrl-C ends everything");
}

fn one_ended(screen: &mut Screen, member: &Member, ended: &Ended) {
    let last = ended.last_line.as_ref().map(|line| format!("; its log ends: {line}"));
    screen.warn(&format!("{} {}{}", member.name, ended.how, last.unwrap_or_default()));
    screen.hint(&format!("to start it again: {}", member.command_line()));
}

fn over(screen: &mut Screen, folder: &str, stays: Option<&Stays>) {
    match stays {
        None => screen.say(&format!("everything has ended, {folder} is removed")),
        Some(Stays::Asked) => {
            screen.say(&format!("everything has ended; `skep dev --dir {folder}` brings it back"));
        }
        Some(Stays::Incomplete) => {
            screen.say(&format!("everything has ended; {folder} stays with the logs in it"));
            screen.say(&format!(
                "`skep dev --dir {folder}` takes away what is left, and begins anew"
            ));
        }
        Some(Stays::Emptied) => {
            screen.say(&format!("everything has ended; {folder} holds nothing of it"));
        }
        Some(Stays::InUse(members)) => {
            let members = members.join(", ");
            screen.warn(&format!("{folder} stays: {members} was started by somebody else"));
        }
        Some(Stays::NotRemoved(why)) => screen.warn(&format!("{folder} stays: {why}")),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
