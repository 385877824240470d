//! What a robot is made of: its account at the token servers, and what its machine carries.

use skep_client::{Change, lookup};
use skep_core::base::{Exit, Failure, Label, Labels, Name, SecretBytes, ServiceId, draw};
use skep_core::domain::{Activation, Placement, ServiceSpec};
use skep_program::Way;
use zeroize::Zeroizing;

use super::act::{Act, FileOf};
use super::site::{self, ACCOUNT, FORM, KIND, REGISTRY, Site};
use super::usage;
use super::user::{NewAccount, credential, put_account};
use crate::rules::credential::{Tag, Verifier};
use crate::rules::login::{Form, Login};
use crate::rules::password::{draw_robot_password, robot_verifier};
use crate::rules::slug::Account;

/// Permissions of a credential's file: its owner's alone, or everybody's in the workload.
pub(super) const OWNERS: u32 = 0o400;
pub(super) const WORKLOADS: u32 = 0o444;

/// A robot to be made.
#[derive(Clone, Debug)]
pub(super) struct NewRobot {
    pub(super) account: Account,
    /// The text of its rights.
    pub(super) rights: String,
    /// Seconds since 1970.
    pub(super) ends_s: Option<u64>,
    pub(super) form: Form,
    /// What the credential's file is called, if not as its form has it.
    pub(super) target: Option<String>,
    pub(super) file_owner: Option<(u32, u32)>,
    pub(super) file_mode: u32,
}

/// What the robot carries, as it is written.
pub(super) fn written(
    site: &Site,
    robot: &Account,
    password: &str,
    form: Form,
) -> Result<Zeroizing<String>, Failure> {
    let host = site.host()?;
    let password = Zeroizing::new(password.to_owned());
    let login = Login::new(vec![host], robot.clone(), password);
    login.map(|login| login.write(form)).map_err(|error| Failure::new(Exit::Bug, error))
}

/// Draws its password, and puts both ends into the act: the verifier for the token servers, and
/// the credential for the service that uses it. Answers the credential's text.
pub(super) fn put_robot(
    act: &mut Act,
    way: &mut Way,
    site: &Site,
    new: &NewRobot,
    to: Option<ServiceId>,
) -> Result<Zeroizing<String>, Failure> {
    let robot = &new.account;
    let password = draw_robot_password(&mut way.dice);
    let text = written(site, robot, &password, new.form)?;
    let id = Tag::from_bytes(draw::<16>(&mut way.dice));
    let credential = credential(way, id, verifier_of(&password)?, 0);
    let (rights, ends_s) = (&new.rights, new.ends_s);
    let account = NewAccount { account: robot, kind: "robot", rights, ends_s };
    put_account(act, way, site, account, &credential)?;
    let Some(service) = to else { return Ok(text) };
    let name = site.secret_name("robot", robot);
    let labels = [
        (REGISTRY, site.name.as_str()),
        (KIND, "credential"),
        (ACCOUNT, robot.as_str()),
        (FORM, new.form.as_str()),
    ];
    let value = SecretBytes::copy_of(text.as_bytes());
    let secret = act.create(&mut way.dice, &name, &labels, value)?;
    let target = new.target.as_deref().unwrap_or(new.form.file_name());
    let (uid, gid) = new.file_owner.unzip();
    act.grant(
        service,
        secret,
        target,
        FileOf { uid, gid, mode: Some(new.file_mode), write: None },
    )?;
    Ok(text)
}

/// The verifier of a password that was drawn.
pub(super) fn verifier_of(password: &str) -> Result<Verifier, Failure> {
    Verifier::read("sha256", robot_verifier(password.as_bytes()))
        .map_err(|error| Failure::new(Exit::Bug, error))
}

/// The service of robots on a node: the one that is there, or a new one.
pub(super) async fn service_on(
    act: &mut Act,
    way: &mut Way,
    site: &Site,
    node: Name,
) -> Result<ServiceId, Failure> {
    let text = format!("{}.on.{node}", site.name);
    let name = text.parse::<Name>().map_err(|error| {
        usage(format!("{text}: {error}"), "make a service by hand, and name it with --service")
    })?;
    if let Some(view) = site::service(way, name.as_str()).await? {
        return lookup::id(&view.id).map_err(|error| error.failure());
    }
    let id = ServiceId::draw(&mut way.dice);
    let label = Label::new(REGISTRY, site.name.as_str());
    let labels = label.and_then(|label| Labels::new([label])).map_err(|error| usage(error, ""))?;
    let placement = Placement { nodes: vec![node], ..Placement::default() };
    // Engines and helpers are no workloads of ours: the files are there as long as the node is.
    let activation = Activation::Placed;
    let spec = ServiceSpec { placement, activation, labels, ..ServiceSpec::default() };
    act.change(Change::CreateService { id, name, spec });
    Ok(id)
}
