//! The words typed: what clap reads.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::audit::AuditArgs;
use super::auth::AuthArgs;
use super::cluster::{RobotCommand, SetupArgs, SignerCommand, UserCommand};

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
    /// Check rules, and explain what they decide
    #[command(subcommand, arg_required_else_help = true)]
    Acl(AclCommand),
    Audit(AuditArgs),
    Auth(AuthArgs),
    /// Turn another token server's configuration into files for Skep
    Import(ImportArgs),
    /// Machines' accounts
    #[command(subcommand, arg_required_else_help = true)]
    Robot(RobotCommand),
    Setup(SetupArgs),
    /// The key that signs tokens
    #[command(subcommand, arg_required_else_help = true)]
    Signer(SignerCommand),
    /// People's accounts
    #[command(subcommand, arg_required_else_help = true)]
    User(UserCommand),
    /// Print the version
    #[command(after_help = "Examples:
  skep registry version
  skep registry --version")]
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum AclCommand {
    /// Check a file of rules
    #[command(after_help = "Examples:
  skep registry acl check acl.toml
  skep registry acl check ./new/acl.toml")]
    Check {
        /// The rules: a path that ends in .toml or has a slash
        #[arg(value_name = "FILE")]
        rules: String,
    },
    /// Say what is given, by which rule, and why those before it don't match
    #[command(after_help = "Examples:
  skep registry acl explain acl.toml --account ann repository:team/app:push
  skep registry acl explain acl.toml --account ann --label team=web \\
      --ip 10.1.2.3 --service registry.example.com registry:catalog:*
  skep registry acl explain acl.toml --account '' repository:app:pull")]
    Explain(ExplainArgs),
}

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The rules: a path that ends in .toml or has a slash
    #[arg(value_name = "FILE")]
    pub(super) rules: String,
    /// What is asked for: kind:name:actions
    #[arg(value_name = "SCOPE", required = true)]
    pub(super) scopes: Vec<String>,
    /// Who asks; '' is somebody without a name
    #[arg(long, value_name = "NAME")]
    pub(super) account: String,
    /// A label of the account, as often as there are values
    #[arg(short, long = "label", value_name = "K=V")]
    pub(super) labels: Vec<String>,
    /// Where it is asked from; without it no rule with an ip matches
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<IpAddr>,
    /// Which registry the token is for
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(super) service: String,
}

/// Turn another token server's configuration into files for Skep
///
/// Users, labels and rules of `docker_auth` come over. What can't is named, all of it, and
/// nothing is written then.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry import docker_auth.yml
  skep registry import /etc/docker_auth/config.yml --out new")]
pub(super) struct ImportArgs {
    /// The configuration, in YAML
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The folder to write to; it is made if it isn't there
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
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
