//! The signer's part of a setup: its service, its settings, and the robot that it pushes
//! signatures as. Keys are made by a command of their own.

use std::path::Path;

use skep_client::Change;
use skep_core::base::{Failure, Labels, Name, SecretBytes, SecretId, ServiceId};
use skep_core::domain::{MountKind, Placement, ServiceSpec};
use skep_program::Way;

use super::act::{Act, FileOf};
use super::held::{NewRobot, WORKLOADS, put_robot};
use super::site::{KIND, REGISTRY, Site};
use super::texts::{SIGNER, Told};
use super::usage;
use super::user::rights_text;
use crate::proto::place::WebPlace;
use crate::rules::credential::RightsAsked;
use crate::rules::login::Form;

/// The secret with its settings, and the one with whom its TLS believes.
pub(super) const SETTINGS: &str = "sign.toml";
pub(super) const TRUST: &str = "sign.ca.crt";

/// Where a signer asks its registry, as it was typed.
pub(super) fn api(text: &str) -> Result<String, String> {
    let place = WebPlace::read(text).ok().filter(|place| place.path() == "/");
    let text = text.trim_end_matches('/').to_owned();
    place.map(|_| text).ok_or_else(|| "is written https://HOST[:PORT]".to_owned())
}

/// What is to be typed after a setup.
pub(super) fn next(name: &Name, out: &Path) -> [String; 3] {
    let out = out.display();
    [
        format!("the signer's nodes: {out}/skep-registry-{name}-sign.service"),
        format!("skep registry key create {name} release --kind cosign"),
        format!("skep registry key create {name} hosts --kind openpgp"),
    ]
}

/// What a signer is made of.
pub(super) struct Parts<'p> {
    pub(super) told: Told<'p>,
    pub(super) labels: Labels,
    pub(super) nodes: Vec<Name>,
    /// The certificate of whose key it takes tokens.
    pub(super) leaf: Option<SecretId>,
    /// The CA of the registry's TLS, if it isn't one that the machine believes.
    pub(super) trust: Option<&'p str>,
}

impl Parts<'_> {
    /// Puts it into the act.
    pub(super) fn put(self, act: &mut Act, way: &mut Way, site: &Site) -> Result<(), Failure> {
        let name = self.told.name;
        let service = ServiceId::draw(&mut way.dice);
        let called = format!("{name}.sign").parse::<Name>();
        let called = called.map_err(|error| usage(error, "choose a shorter name"))?;
        let placement = Placement { nodes: self.nodes, ..Placement::default() };
        // Each open of a key is on record, and is refused once the key was taken away.
        let (mount, labels) = (MountKind::Fuse, self.labels);
        let spec = ServiceSpec { placement, mount, labels, ..ServiceSpec::default() };
        act.change(Change::CreateService { id: service, name: called, spec });
        let settings = self.told.sign_settings().unwrap_or_default();
        let trust = self.trust.map(|pem| (TRUST, pem, "ca.crt"));
        for (part, value, target) in
            [(SETTINGS, settings.as_str(), SETTINGS)].into_iter().chain(trust)
        {
            let labels = [(REGISTRY, name.as_str()), (KIND, part)];
            let value = SecretBytes::copy_of(value.as_bytes());
            let secret = act.create(&mut way.dice, &format!("{name}.{part}"), &labels, value)?;
            act.grant(service, secret, target, FileOf::default())?;
        }
        if let Some(leaf) = self.leaf {
            act.grant(service, leaf, "signer.crt", FileOf::default())?;
        }
        let asked = RightsAsked {
            scopes: vec!["repository:**:pull,push".to_owned()],
            ..RightsAsked::default()
        };
        let account = SIGNER.parse().map_err(|error| usage(error, "choose another name"))?;
        let rights = rights_text(&asked)?;
        let (form, file_owner, target) = (Form::Helper, None, None);
        let robot = NewRobot {
            account,
            rights,
            ends_s: None,
            form,
            target,
            file_owner,
            file_mode: WORKLOADS,
        };
        put_robot(act, way, site, &robot, Some(service)).map(drop)
    }
}
