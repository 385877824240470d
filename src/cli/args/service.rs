//! `skep service`.

use clap::{Args, Subcommand};

use super::{ClientArgs, ListArgs, ShowArgs, WaitArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Create a service: where it may run, and how its secrets are shown
    #[command(after_help = "Examples:
  skep service create --node web1 --node web2 web
  skep service create --constraint node.labels.tier==db --owner 999:999 postgres
  skep service create --node web1 --mount fuse payments
  skep service create --node web1 --fresh registry.auth
  skep service create --node web1 --on-change signal:HUP nginx
  skep service create --node web1 --unit nginx.service --on-change reload proxy")]
    Create(ServiceCreateArgs),
    /// Change a service
    #[command(after_help = "Examples:
  skep service update --node-add web3 --node-rm web1 web
  skep service update --offline max-age=1h postgres
  skep service update --on-change exec:/usr/local/sbin/reload-web web
  skep service update --unit-add web@.service --on-change reload web")]
    Update(ServiceUpdateArgs),
    /// List services
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  skep service ls
  skep service ls --format '{{.Name}}\\t{{.Placed}}'"
    )]
    Ls {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show all about services: placement, grants, nodes
    #[command(after_help = "Examples:
  skep service inspect web
  skep service inspect --format '{{.RunningOn}}' web")]
    Inspect {
        /// Names, ids or unique beginnings of ids
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove services: a revoke of all their secrets
    #[command(
        visible_alias = "remove",
        after_help = "Examples:
  skep service rm web
  skep service rm --timeout 2m web postgres"
    )]
    Rm {
        /// Full names or ids
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Grant secrets to a service
    #[command(after_help = "Examples:
  skep service grant web db-password api-key:key.txt
  skep service grant --uid 999 --mode 0400 --pin 3 postgres db-password
  skep service grant --replace web new-password:db-password
  skep service grant --write web session-key

What is not said stays as it is where the service has that file already. More than 64 names
are granted in several acts, one after the other.")]
    Grant(GrantArgs),
    /// Take secrets from a service, and wait until no node holds them for it
    #[command(after_help = "Examples:
  skep service revoke web db-password
  skep service revoke --timeout 2m web db-password api-key
  skep service revoke web api-key:key.txt

As long as a node has not confirmed it, the same command waits for it again; after that, and
for what was never granted, it is refused.")]
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ServiceCreateArgs {
    /// The service's name
    pub(crate) name: String,
    /// A node that it may run on (repeatable: any of them)
    #[arg(long = "node", value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// node.id, node.name or node.labels.KEY, == or !=, a value (repeatable: all must hold)
    #[arg(long = "constraint", value_name = "EXPRESSION")]
    pub(crate) constraints: Vec<String>,
    /// It may run on every worker
    #[arg(long)]
    pub(crate) everywhere: bool,
    /// How secrets are shown: memory that outlives the agent, or the agent itself, which knows each read
    #[arg(long, value_name = "KIND", default_value = "tmpfs", value_parser = ["tmpfs", "fuse"])]
    pub(crate) mount: String,
    /// A node placed gets the secrets while the service runs there, or always
    #[arg(long, value_name = "WHEN", default_value = "running")]
    #[arg(value_parser = ["running", "placed"])]
    pub(crate) activation: String,
    /// Who owns the directory on the host, as numbers
    #[arg(long, value_name = "UID[:GID]", default_value = "0:0")]
    pub(crate) owner: String,
    /// While managers are away: keep, or max-age=TIME
    #[arg(long, value_name = "POLICY", default_value = "keep")]
    pub(crate) offline: String,
    /// Write beside the secrets, as `..fresh/at`, when a manager last confirmed that they are due
    #[arg(long)]
    pub(crate) fresh: bool,
    /// A unit of systemd that is this service on its nodes; web@.service: all instances (repeatable)
    #[arg(long = "unit", value_name = "UNIT")]
    pub(crate) units: Vec<String>,
    /// Once its set has changed on a node: none, signal:NAME to its processes, exec:PATH, a
    /// program that the node allows, reload of its units, or restart of its units and containers
    #[arg(long, value_name = "HOOK", default_value = "none")]
    pub(crate) on_change: String,
    /// A label, KEY=VALUE (repeatable)
    #[arg(short, long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ServiceUpdateArgs {
    /// Its full name or id
    pub(crate) service: String,
    /// A node more (repeatable)
    #[arg(long, value_name = "NODE")]
    pub(crate) node_add: Vec<String>,
    /// A node less (repeatable)
    #[arg(long, value_name = "NODE")]
    pub(crate) node_rm: Vec<String>,
    /// A constraint more (repeatable)
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) constraint_add: Vec<String>,
    /// A constraint less (repeatable)
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) constraint_rm: Vec<String>,
    /// Whether it may run on every worker
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true)]
    pub(crate) everywhere: Option<bool>,
    /// A node placed gets the secrets while the service runs there, or always
    #[arg(long, value_name = "WHEN", value_parser = ["running", "placed"])]
    pub(crate) activation: Option<String>,
    /// Who owns the directory on the host, as numbers
    #[arg(long, value_name = "UID[:GID]")]
    pub(crate) owner: Option<String>,
    /// While managers are away: keep, or max-age=TIME
    #[arg(long, value_name = "POLICY")]
    pub(crate) offline: Option<String>,
    /// Whether `..fresh/at` says when a manager last confirmed what is there
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true)]
    pub(crate) fresh: Option<bool>,
    /// A unit more (repeatable)
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit_add: Vec<String>,
    /// A unit less (repeatable)
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit_rm: Vec<String>,
    /// Once its set has changed on a node: none, signal:NAME to its processes, exec:PATH, a
    /// program that the node allows, reload of its units, or restart of its units and containers
    #[arg(long, value_name = "HOOK")]
    pub(crate) on_change: Option<String>,
    /// A label more, KEY=VALUE (repeatable)
    #[arg(long, value_name = "LABEL")]
    pub(crate) label_add: Vec<String>,
    /// A label less (repeatable)
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct GrantArgs {
    /// The service's full name or id
    pub(crate) service: String,
    /// Secrets, and under which file name the service sees them [default: the secret's name]
    #[arg(required = true, value_name = "SECRET[:TARGET]")]
    pub(crate) secrets: Vec<String>,
    /// The files' owner [default: as it is, else 0]
    #[arg(long, value_parser = super::number_of_user)]
    pub(crate) uid: Option<u32>,
    /// The files' group [default: as it is, else 0]
    #[arg(long, value_parser = super::number_of_user)]
    pub(crate) gid: Option<u32>,
    /// The files' permissions, octal [default: as they are, else 0444]
    #[arg(long)]
    pub(crate) mode: Option<String>,
    /// Always this version, or current [default: as it is, else current]
    #[arg(long, value_name = "NUMBER|current")]
    pub(crate) pin: Option<String>,
    /// Whether the service's processes may also write next values [default: as it is, else not]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true)]
    pub(crate) write: Option<bool>,
    /// Take the file names from the secrets that have them
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The service's full name or id
    pub(crate) service: String,
    /// Full names or ids of secrets, and which of their files [default: all]
    #[arg(required = true, value_name = "SECRET[:TARGET]")]
    pub(crate) secrets: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
