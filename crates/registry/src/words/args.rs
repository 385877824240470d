//! The words typed: what clap reads.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::audit::AuditArgs;
use super::auth::AuthArgs;
use super::cluster::{
    AclImportArgs, HoldCommand, KeyCommand, PolicyArgs, RobotCommand, RootCommand, SetArgs,
    SetupArgs, SignerCommand, StatusArgs, UserCommand,
};
use super::draw::DrawArgs;
use super::import::ImportArgs;
use super::password::OwnPasswordArgs;
use super::remote::{AccessArgs, CatalogArgs, TagsArgs};
use super::sign::SignArgs;
use super::verify::VerifyArgs;

/// Tokens for a Docker registry.
#[derive(Debug, Parser)]
#[command(name = "skep-registry", bin_name = "skep registry", version, max_term_width = 80)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub(super) struct Words {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Who may do what: rules, checked, explained and put in force
    #[command(subcommand, arg_required_else_help = true)]
    Acl(AclCommand),
    Audit(AuditArgs),
    Auth(AuthArgs),
    Catalog(CatalogArgs),
    /// Print completions for a shell; in bash, of `skep registry` too
    #[command(after_help = "Examples:
  skep registry completion bash > /etc/bash_completion.d/skep-registry
  skep registry completion zsh > ~/.zfunc/_skep-registry")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(hide = true)]
    DrawOpenpgp(DrawArgs),
    /// Digests that nobody is to pull for the time being
    #[command(subcommand, arg_required_else_help = true)]
    Hold(HoldCommand),
    /// Turn another token server's configuration into files for Skep
    Import(ImportArgs),
    /// The keys that sign images
    #[command(subcommand, arg_required_else_help = true)]
    Key(KeyCommand),
    /// Write manual pages, one for each command, into a folder
    #[command(after_help = "Examples:
  skep registry man /usr/local/share/man/man1
  skep registry man . && man ./skep-registry-hold-add.1")]
    Man {
        /// The folder
        folder: PathBuf,
    },
    Passwd(OwnPasswordArgs),
    Policy(PolicyArgs),
    /// Machines' accounts
    #[command(subcommand, arg_required_else_help = true)]
    Robot(RobotCommand),
    /// The token CA that the registry trusts
    #[command(subcommand, arg_required_else_help = true)]
    Root(RootCommand),
    Setup(SetupArgs),
    Sign(SignArgs),
    /// The key that signs tokens
    #[command(subcommand, arg_required_else_help = true)]
    Signer(SignerCommand),
    Status(StatusArgs),
    Tags(TagsArgs),
    Token(AccessArgs),
    /// People's accounts
    #[command(subcommand, arg_required_else_help = true)]
    User(UserCommand),
    Verify(VerifyArgs),
    /// Print the version
    #[command(after_help = "Examples:
  skep registry version
  skep registry --version")]
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum AclCommand {
    /// Put rules in force in a registry, after they were checked
    #[command(after_help = "Examples:
  skep registry acl set web acl.toml
  skep registry acl set web acl.toml --detach")]
    Set(SetArgs),
    /// Check a file of rules; or those in force, on a token server's node
    #[command(after_help = "Examples:
  skep registry acl check acl.toml
  skep exec --service web.auth -- skep registry acl check web")]
    Check(CheckArgs),
    /// Say what is given, by which rule, and why those before it don't match
    ///
    /// Of a registry's name it says what its token server would decide now, by the
    /// rules, accounts and holds that are in force on this node: run it as a workload
    /// of the service NAME.auth, for nobody else sees them.
    #[command(after_help = "Examples:
  skep registry acl explain acl.toml --account ann repository:team/app:push
  skep registry acl explain acl.toml --account ann --label team=web \\
      --ip 10.1.2.3 --service registry.example.com registry:catalog:*
  skep exec --service web.auth -- skep registry acl explain web \\
      --account ann+ci repository:app:pull")]
    Explain(ExplainArgs),
    /// Bring rules and users of `docker_auth` over into a registry
    ///
    /// Their passwords stay. Users come first, then the rules, which take the place of
    /// those that are there. What can't come over is named, and nothing is changed then.
    #[command(after_help = "Examples:
  skep registry acl import web docker_auth.yml
  skep registry acl import web docker_auth.yml --keep-existing")]
    Import(AclImportArgs),
}

/// Where rules are.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The rules: a path that ends in .toml or has a slash; or a registry
    #[arg(value_name = "RULES")]
    pub(super) rules: String,
    /// Where the files of NAME.auth are
    #[arg(long, value_name = "DIR", default_value = "/run/secrets")]
    pub(super) secrets: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    pub(super) at: CheckArgs,
    /// What is asked for: kind:name:actions
    #[arg(value_name = "SCOPE", required = true)]
    pub(super) scopes: Vec<String>,
    /// Who asks; '' is somebody without a name
    #[arg(long, value_name = "NAME")]
    pub(super) account: String,
    /// A label of the account, as often as there are values; of a FILE alone
    #[arg(short, long = "label", value_name = "K=V")]
    pub(super) labels: Vec<String>,
    /// Where it is asked from; without it no rule with an ip matches
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<IpAddr>,
    /// Which registry the token is for [default: of NAME the first that it serves]
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
}

/// Where rules are.
#[derive(Debug)]
pub(super) enum RulesAt {
    /// In a file of this machine.
    File(PathBuf),
    /// Those of a registry of the cluster.
    Registry(String),
}

impl RulesAt {
    /// A path has a slash or an ending; the name of a registry has neither.
    pub(super) fn of(text: &str) -> Self {
        let ends = std::path::Path::new(text).extension().is_some_and(|end| end == "toml");
        if ends || text.contains('/') || text == "-" {
            Self::File(PathBuf::from(text))
        } else {
            Self::Registry(text.to_owned())
        }
    }
}
