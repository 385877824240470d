//! Files that a setup writes: nothing of them is secret.

use skep_core::base::Name;

use super::keys::LEAF_S;

/// Where the program is.
const SKEP: &str = "/usr/bin/skep";
/// The user of token servers, and what their folder is called.
const USER: &str = "skep-registry";
/// The account of a registry's signer.
pub(super) const SIGNER: &str = "signer";
/// Where their records are.
const STATE: &str = "/var/lib/skep-registry";
/// A certificate with a shorter life is looked at each hour.
const OFTEN_S: u64 = 15 * 24 * 3_600;

/// What a registry is told of its token server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'t> {
    pub(super) name: &'t Name,
    pub(super) realm: &'t str,
    pub(super) served: &'t str,
    pub(super) issuer: &'t str,
    /// As whom the token server runs, where people change their own passwords.
    pub(super) self_service: Option<u32>,
    /// Seconds of a signing certificate's life.
    pub(super) leaf_s: u64,
    /// What its signer is told, where there is one.
    pub(super) sign: Option<SignTold<'t>>,
}

/// What a signer is told of its registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignTold<'t> {
    /// Where it is asked, if not by https and its name.
    pub(super) api: Option<&'t str>,
}

impl Told<'_> {
    fn bundle(self) -> String {
        format!("/etc/docker/registry/{}-root.crt", self.name)
    }

    /// The part of the registry's config.yml.
    pub(super) fn config(self) -> String {
        let Self { realm, served, issuer, .. } = self;
        format!(
            "# Into the registry's config.yml, with root.crt at this place.\n\
             auth:\n  token:\n    realm: \"{realm}\"\n    service: \"{served}\"\n    \
             issuer: \"{issuer}\"\n    rootcertbundle: \"{}\"\n",
            self.bundle()
        )
    }

    /// The same as variables of the environment.
    pub(super) fn env(self) -> String {
        let Self { realm, served, issuer, .. } = self;
        format!(
            "REGISTRY_AUTH=token\nREGISTRY_AUTH_TOKEN_REALM={realm}\n\
             REGISTRY_AUTH_TOKEN_SERVICE={served}\nREGISTRY_AUTH_TOKEN_ISSUER={issuer}\n\
             REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE={}\n",
            self.bundle()
        )
    }

    /// The token server's settings.
    pub(super) fn settings(self) -> String {
        let Self { name, served, issuer, self_service, .. } = self;
        let sign = self.sign.map(|_| format!(", \"{name}.sign\"")).unwrap_or_default();
        let passwords = if self_service.is_some() { "passwords = true\n" } else { "" };
        format!(
            "version = 1\nissuer = \"{issuer}\"\nservices = [\"{served}\"{sign}]\nfresh = true\n{passwords}"
        )
    }

    /// Rules that give nothing, with one to begin with.
    pub(super) fn rules(self) -> String {
        let name = self.name;
        let signer = match self.sign {
            None => String::new(),
            Some(_) => format!(
                "\n# The signer reads images and writes signatures.\n\
                 [[rule]]\nmatch = {{ account = \"{SIGNER}\", name = \"**\" }}\n\
                 actions = [\"pull\", \"push\"]\n"
            ),
        };
        format!(
            "# Who may do what: docs/registry/acl.md. As it stands no person may do anything.\n\
             # After each change: `skep registry acl set {name} acl.toml`\n\
             version = 1\n\n\
             # [[rule]]\n# match = {{ account = \"alice\", name = \"web/**\" }}\n\
             # actions = [\"pull\", \"push\"]\n{signer}"
        )
    }

    /// The signer's settings: each of its keys signs everything.
    pub(super) fn sign_settings(self) -> Option<String> {
        let Self { name, realm, served, issuer, .. } = self;
        let api = self.sign?.api.map(|api| format!("api = \"{api}\"\n")).unwrap_or_default();
        Some(format!(
            "version = 1\nregistry = \"{served}\"\n{api}realm = \"{realm}\"\n\
             issuer = \"{issuer}\"\nservice = \"{name}.sign\"\n\
             annotations = [\"commit\", \"pipeline\"]\n\n\
             [[key]]\nname = \"*\"\nrepositories = [\"**\"]\n"
        ))
    }

    /// The unit that runs a signer.
    pub(super) fn sign_unit(self) -> Option<String> {
        let name = self.name;
        self.sign?;
        Some(format!(
            "[Unit]\nDescription=Signatures of images of the registry {name}\n\
             After=skep-agent.service\n\n\
             [Service]\nStateDirectory={USER}\n\
             ExecStartPre=/usr/bin/install -d -m 0700 -o {USER} -g {USER} {STATE}/{name}.sign\n\
             ExecStart={SKEP} exec --service {name}.sign --user {USER} -- \
             {SKEP} registry sign {name} --serve --audit {STATE}/{name}.sign/audit\n\
             Restart=always\nRestartSec=2\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        ))
    }

    /// The unit that runs a token server. `skep exec` is root and gives the server its user, so
    /// the folder of its record is made for that user here.
    pub(super) fn unit(self) -> String {
        let name = self.name;
        format!(
            "[Unit]\nDescription=Tokens of the registry {name}\nAfter=skep-agent.service\n\n\
             [Service]\nStateDirectory={USER}\n\
             ExecStartPre=/usr/bin/install -d -m 0700 -o {USER} -g {USER} {STATE}/{name}\n\
             ExecStart={SKEP} exec --service {name}.auth --user {USER} -- \
             {SKEP} registry auth {name} --audit {STATE}/{name}/audit\n\
             Restart=always\nRestartSec=2\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        )
    }

    /// The unit that renews the key that signs tokens, once it is due.
    pub(super) fn signer_unit(self) -> String {
        let Self { name, leaf_s, .. } = self;
        let life = match leaf_s {
            LEAF_S => String::new(),
            other => format!(" --leaf-life {other}s"),
        };
        format!(
            "[Unit]\nDescription=The next key that signs tokens of the registry {name}\n\
             After=skep-agent.service\n\n[Service]\nType=oneshot\n\
             ExecStart={SKEP} exec --service {name}.ca -- \
             {SKEP} registry signer rotate {name} --by-agent --if-due{life}\n"
        )
    }

    /// When that is looked at: several times in a third of the certificate's life.
    pub(super) fn signer_timer(self) -> String {
        let Self { name, leaf_s, .. } = self;
        let often = if leaf_s < OFTEN_S { "hourly" } else { "daily" };
        format!(
            "[Unit]\nDescription=Renews the key that signs tokens of the registry {name}\n\n\
             [Timer]\nOnCalendar={often}\nRandomizedDelaySec=10min\nPersistent=true\n\n\
             [Install]\nWantedBy=timers.target\n"
        )
    }

    /// The user that it runs as, for systemd-sysusers.
    pub(super) fn user(self) -> String {
        let id = self.self_service.map_or_else(|| "-".to_owned(), |uid| uid.to_string());
        format!("u skep-registry {id} \"Tokens of Docker registries\"\n")
    }
}
