//! What managers know of a registry: its services, and the secrets of its accounts.

use skep_client::{Change, lookup};
use skep_core::base::{Exit, Failure, Name, SecretId, ServiceId};
use skep_core::wire::api::{LabelPair, SecretView, ServiceView};

use super::act::Act;
use super::usage;
use crate::rules::login::Host;
use crate::rules::shown;
use crate::rules::slug::Account;
use skep_program::Way;

/// Characters of a registry's name: with `.rights.` and a slug it is still a secret's name.
const NAME_CHARS: usize = 16;
/// The label that says which registry a thing belongs to.
pub(super) const REGISTRY: &str = "registry";
/// The label that says what it is.
pub(super) const KIND: &str = "kind";
/// The label with the account's name.
pub(super) const ACCOUNT: &str = "account";
/// The label with the account's id.
pub(super) const ID: &str = "id";
/// The label with the moment at which an account or a certificate ends.
pub(super) const ENDS: &str = "ends";
/// The label with a signing certificate's life, in seconds.
pub(super) const LIFE: &str = "life";
/// The label of a credential's form.
pub(super) const FORM: &str = "form";
/// The label of NAME.auth with the registry's service name.
pub(super) const SERVED: &str = "registry-service";

/// The label of NAME.auth whose token servers let people change their passwords.
pub(super) const SELF_SERVICE: &str = "registry-self-service";

/// The name of a registry, as it was typed.
pub(in crate::words) fn registry_name(text: &str) -> Result<Name, String> {
    let name = text.parse::<Name>().map_err(|error| error.to_string())?;
    if name.as_str().len() > NAME_CHARS {
        return Err(format!("a registry's name has at most {NAME_CHARS} characters"));
    }
    Ok(name)
}

/// The name of an account, as it was typed.
pub(super) fn account_name(text: &str) -> Result<Account, String> {
    text.parse::<Account>().map_err(|error| error.to_string())
}

/// One registry.
#[derive(Debug)]
pub(super) struct Site {
    /// Its name.
    pub(super) name: Name,
    /// The service of its token servers.
    pub(super) auth: ServiceId,
    /// What tokens are for, and where engines find it.
    served: String,
    /// Whether people change their own passwords.
    pub(super) self_service: bool,
}

impl Site {
    /// One that is being set up.
    pub(super) fn new(name: Name, auth: ServiceId, served: &str, self_service: bool) -> Self {
        Self { name, auth, served: served.to_owned(), self_service }
    }

    /// What was set up under this name.
    pub(super) async fn find(way: &mut Way, name: Name) -> Result<Self, Failure> {
        let Some(auth) = service(way, &format!("{name}.auth")).await? else {
            let text = format!("there is no registry {name}: no service {name}.auth");
            let hint = "see `skep registry setup --help`";
            return Err(Failure::new(Exit::Refused, text).hint(hint));
        };
        let labels = auth.spec.as_ref().map(|spec| spec.labels.as_slice()).unwrap_or_default();
        let served = label(labels, SERVED).unwrap_or_default().to_owned();
        let self_service = label(labels, SELF_SERVICE) == Some("yes");
        let auth = lookup::id(&auth.id).map_err(|error| error.failure())?;
        Ok(Self { name, auth, served, self_service })
    }

    /// What tokens are for, as its label says.
    pub(super) fn served(&self) -> &str {
        &self.served
    }

    /// Where engines find it.
    pub(super) fn host(&self) -> Result<Host, Failure> {
        self.served.parse::<Host>().map_err(|error| {
            usage(
                format!("the registry {} is at no host: {error}", self.name),
                format!("mend the label `{SERVED}` of the service {}.auth: HOST[:PORT]", self.name),
            )
        })
    }

    /// The secret that the setup made under this name, as managers have it.
    pub(super) async fn made(&self, way: &mut Way, part: &str) -> Result<SecretView, Failure> {
        let name = format!("{}.{part}", self.name);
        let view: Option<SecretView> =
            lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())?;
        view.ok_or_else(|| {
            let hint = "`skep secret ls` lists what is there";
            Failure::new(Exit::Refused, format!("there is no secret {name}")).hint(hint)
        })
    }

    /// The service of its token CA, if it is there.
    pub(super) async fn ca(&self, way: &mut Way) -> Result<Option<ServiceId>, Failure> {
        let view = service(way, &format!("{}.ca", self.name)).await?;
        let id = view.map(|view| lookup::id(&view.id)).transpose();
        id.map_err(|error| error.failure())
    }

    /// The secret's name of this part of an account.
    pub(super) fn secret_name(&self, part: &str, account: &Account) -> String {
        format!("{}.{part}.{}", self.name, account.slug())
    }

    /// That part of an account, if it is there.
    pub(super) async fn part(
        &self,
        way: &mut Way,
        part: &str,
        account: &Account,
    ) -> Result<Option<SecretView>, Failure> {
        let name = self.secret_name(part, account);
        lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())
    }

    /// The verifier of an account, which is there: a person's, or a robot's.
    pub(super) async fn verifier(
        &self,
        way: &mut Way,
        account: &Account,
        kind: &str,
    ) -> Result<SecretView, Failure> {
        let there = self.part(way, "user", account).await?;
        let fits = there.filter(|view| label(&view.labels, KIND) == Some(kind));
        fits.ok_or_else(|| {
            let (name, shown) = (&self.name, shown(account.as_str()));
            let text = format!("{kind} {shown} not found in the registry {name}");
            let hint = format!("`skep registry {kind} ls {name}` lists all");
            Failure::new(Exit::Refused, text).hint(hint)
        })
    }

    /// Refuses an account that is there, whole or in part.
    pub(super) async fn absent(&self, way: &mut Way, account: &Account) -> Result<(), Failure> {
        for part in PARTS {
            if let Some(view) = self.part(way, part, account).await? {
                let kind = label(&view.labels, KIND).unwrap_or("user");
                let kind = if kind == "robot" { kind } else { "user" };
                let text = format!("{} exists: secret {}", shown(account.as_str()), view.name);
                let hint = format!("`skep registry {kind} ls {}` lists all", self.name);
                return Err(Failure::new(Exit::Refused, text).hint(hint));
            }
        }
        Ok(())
    }

    /// All secrets of a kind: of accounts their verifiers, by name.
    pub(super) async fn accounts(
        &self,
        way: &mut Way,
        kind: &str,
    ) -> Result<Vec<SecretView>, Failure> {
        let all: Vec<SecretView> =
            lookup::all(&mut way.link, false).await.map_err(|error| error.failure())?;
        let is = |view: &SecretView| {
            label(&view.labels, REGISTRY) == Some(self.name.as_str())
                && label(&view.labels, KIND) == Some(kind)
        };
        let mut found: Vec<_> = all.into_iter().filter(is).collect();
        found.sort_by(|a, b| label(&a.labels, ACCOUNT).cmp(&label(&b.labels, ACCOUNT)));
        Ok(found)
    }

    /// Takes an account from all services that have any of it, and removes its secrets, in one
    /// act. Answers the revision and the services.
    pub(super) async fn remove(
        &self,
        way: &mut Way,
        account: &Account,
    ) -> Result<(u64, Vec<Vec<u8>>), Failure> {
        let (mut act, mut services) = (Act::default(), Vec::new());
        for part in PARTS {
            let Some(view) = self.part(way, part, account).await? else { continue };
            take_away(way, &mut act, &view, &mut services).await?;
        }
        let revision = act.apply(way, "skep secret ls").await?;
        Ok((revision, services))
    }
}

/// Takes a secret from all services that have it, which are added to `services`, and removes it.
pub(super) async fn take_away(
    way: &mut Way,
    act: &mut Act,
    view: &SecretView,
    services: &mut Vec<Vec<u8>>,
) -> Result<(), Failure> {
    let secret: SecretId = lookup::id(&view.id).map_err(|error| error.failure())?;
    for name in &view.services {
        let service = lookup::exact::<ServiceView>(&mut way.link, name).await;
        let service = service.map_err(|error| error.failure())?;
        let id = lookup::id(&service.id).map_err(|error| error.failure())?;
        act.change(Change::Revoke { service: id, secret, target: None });
        if !services.contains(&service.id) {
            services.push(service.id);
        }
    }
    act.change(Change::RemoveSecret { id: secret });
    Ok(())
}

/// The secrets of an account. The verifier is the last one to be made and the first to go.
const PARTS: [&str; 3] = ["user", "rights", "robot"];

/// One label's value.
pub(super) fn label<'l>(labels: &'l [LabelPair], key: &str) -> Option<&'l str> {
    labels.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

/// The service of this name, if there is one.
pub(super) async fn service(way: &mut Way, name: &str) -> Result<Option<ServiceView>, Failure> {
    lookup::maybe(&mut way.link, name).await.map_err(|error| error.failure())
}

/// The account's id, which is kept as long as it lives.
pub(super) fn id_of(view: &SecretView) -> Result<crate::rules::credential::Tag, Failure> {
    let id = label(&view.labels, ID).and_then(crate::rules::credential::Tag::read);
    id.ok_or_else(|| {
        usage(
            format!("the label `{ID}` of the secret {} is gone or changed", view.name),
            "remove the account and make it anew, or put the label back",
        )
    })
}
