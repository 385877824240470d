//! `skep node`.

use clap::{Args, Subcommand};

use super::{ClientArgs, ListArgs, ShowArgs, WaitArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List managers and workers
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  skep node ls
  skep node ls --filter label=tier=db --format '{{.Name}} {{.State}}'"
    )]
    Ls {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show all about nodes: labels, services, certificates
    #[command(after_help = "Examples:
  skep node inspect db3
  skep node inspect --format '{{.Pending}}' db3")]
    Inspect {
        /// Names, ids or unique beginnings of ids
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        show: ShowArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Label, pause or drain a node; say where a manager is reached
    #[command(after_help = "Examples:
  skep node update --label-add tier=db --label-rm old db3
  skep node update --availability drain db3
  skep node update --address m2.example.org:4440 m2

A manager that is started with another --advertise tells the cluster by itself. --address is
for one that runs and is reached elsewhere, or that is down and will be; it must answer there
if it answers where it is on record. Managers, agents and identity files follow.")]
    Update(NodeUpdateArgs),
    /// Let nodes renew certificates that ended more than 30 days ago
    #[command(after_help = "Examples:
  skep node readmit db3
  skep node readmit --label tier=db
  skep node readmit --all

A readmitted node keeps its id, its name and what is placed on it. Within a day its agent or
manager has to be started again: it renews its certificate by itself. --label and --all choose
those nodes alone whose certificate has ended.")]
    Readmit {
        /// Full names or ids
        #[arg(required_unless_present_any = ["label", "all"], value_name = "NODE")]
        nodes: Vec<String>,
        /// All with this label, KEY=VALUE or KEY, whose certificate has ended
        #[arg(long, value_name = "LABEL", conflicts_with_all = ["nodes", "all"])]
        label: Option<String>,
        /// All whose certificate has ended
        #[arg(long, conflicts_with = "nodes")]
        all: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Remove nodes, and wait until they hold nothing
    #[command(
        visible_alias = "remove",
        after_help = "Examples:
  skep node rm db3
  skep node rm --force db3          # writes off what an unreachable node holds
  skep node rm --force --yes db3    # the same in a script

With --force it asks on a terminal for the names; elsewhere it takes --yes."
    )]
    Rm {
        /// Full names or ids
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
        /// Do not wait for the node: write off what it holds
        #[arg(long)]
        force: bool,
        /// With --force: go on without being asked for the names
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct NodeUpdateArgs {
    /// Its full name or id
    pub(crate) node: String,
    /// A label more, KEY=VALUE (repeatable)
    #[arg(long, value_name = "LABEL")]
    pub(crate) label_add: Vec<String>,
    /// A label less (repeatable)
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    /// pause: nothing new arrives; drain: everything is wiped
    #[arg(long, value_name = "WHAT", value_parser = ["active", "pause", "drain"])]
    pub(crate) availability: Option<String>,
    /// Where a manager is reached from now on (repeatable)
    #[arg(long = "address", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) addresses: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}
