//! A robot for each node: the unit of revocation is a machine.

use std::collections::HashSet;

use skep_client::lookup;
use skep_core::base::{Failure, Name};
use skep_core::wire::api::{NodeRole, NodeView, SecretView};
use skep_program::{Screen, WaitArgs, Way};

use super::act::Act;
use super::held::{NewRobot, put_robot, service_on};
use super::site::Site;
use super::usage;
use crate::rules::slug::Account;

/// Nodes of one act: each is up to seven changes, and there are 64 to an act.
const AT_ONCE: usize = 8;

/// Makes one for each worker node that has none, named by what `new` says of all.
pub(super) async fn create(
    screen: &mut Screen,
    way: &mut Way,
    site: &Site,
    new: &NewRobot,
    wait: WaitArgs,
) -> Result<(), Failure> {
    let robots = wanted(way, site, new).await?;
    let mut services = vec![site.auth.as_bytes().to_vec()];
    let look = format!("skep registry robot ls {}", site.name);
    let (mut revision, mut made) = (0, 0);
    for batch in robots.chunks(AT_ONCE) {
        let mut act = Act::default();
        for (node, robot) in batch {
            let service = service_on(&mut act, way, site, node.clone()).await?;
            let _text = put_robot(&mut act, way, site, robot, Some(service))?;
            services.push(service.as_bytes().to_vec());
        }
        revision = act.apply(way, &look).await.map_err(|mut failure| {
            if made > 0 {
                let more = format!("; {made} of {} robots were made before it", robots.len());
                failure.text.push_str(&more);
                failure = failure.hint("repeat it, which makes the rest");
            }
            failure
        })?;
        made += batch.len();
        for (_, robot) in batch {
            screen.data(robot.account.as_str())?;
        }
    }
    if made == 0 {
        screen.say("every worker node has one already");
        return Ok(());
    }
    way.wait(screen, wait, revision, services, false).await
}

/// Nodes without one, and the robot that each is to have.
async fn wanted(
    way: &mut Way,
    site: &Site,
    new: &NewRobot,
) -> Result<Vec<(Name, NewRobot)>, Failure> {
    let failed = |error: skep_client::CallError| error.failure();
    let mut nodes: Vec<NodeView> = lookup::all(&mut way.link, false).await.map_err(failed)?;
    nodes.retain(|node| node.role() == NodeRole::Worker);
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    if nodes.is_empty() {
        let hint = "`skep join-token worker` prints what one joins with";
        return Err(usage("there is no worker node", hint));
    }
    let secrets: Vec<SecretView> = lookup::all(&mut way.link, false).await.map_err(failed)?;
    let names: HashSet<String> =
        secrets.into_iter().map(|view| view.name.to_ascii_lowercase()).collect();
    let mut robots = Vec::new();
    for node in nodes {
        let bad = |error: String| usage(format!("{}: {error}", node.name), "choose a shorter name");
        let name = node.name.parse::<Name>().map_err(|error| bad(error.to_string()))?;
        let account = format!("{}.{name}", new.account).parse::<Account>();
        let account = account.map_err(|error| bad(error.to_string()))?;
        let there = names.contains(&site.secret_name("user", &account).to_ascii_lowercase());
        if !there {
            robots.push((name, NewRobot { account, ..new.clone() }));
        }
    }
    Ok(robots)
}
