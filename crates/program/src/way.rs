//! The way to the managers: flags and `SKEP_*` as `skep` has them.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use skep_client::machine::OsDice;
use skep_client::progress::{GOES_ON, NOBODY, line_of};
use skep_client::settings::{ClientSettings, Typed, duration};
use skep_client::{CallError, IdentityFile, Link, Reached, reach, still_trying, until_delivered};
use skep_core::base::{Exit, Failure};
use skep_core::wire::api::WatchDeliveryRequest;

use crate::screen::Screen;

/// How to reach managers elsewhere.
#[derive(Args, Clone, Debug, Default)]
pub struct HostArgs {
    /// Managers to ask, comma-separated, 2 seconds each [default: those of the identity]
    #[arg(long, value_name = "HOST:PORT", env = "SKEP_HOST", hide_env_values = true)]
    #[arg(value_delimiter = ',', help_heading = "Connection")]
    host: Vec<String>,
    /// The identity file to show to managers
    #[arg(long, value_name = "FILE", env = "SKEP_IDENTITY", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    identity: Option<PathBuf>,
    /// A file with the passphrase of an encrypted identity; - is standard input [default: a prompt]
    #[arg(long, value_name = "FILE", env = "SKEP_PASSPHRASE_FILE", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    passphrase_file: Option<PathBuf>,
    /// A program that prints that passphrase, with its arguments
    #[arg(long, value_name = "COMMAND", env = "SKEP_IDENTITY_COMMAND", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    identity_command: Option<String>,
    /// How long to try and to wait [default: 30s]
    #[arg(long, value_name = "TIME", env = "SKEP_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = duration, help_heading = "Connection")]
    timeout: Option<Duration>,
    /// Make no connection without X25519MLKEM768
    #[arg(long, env = "SKEP_REQUIRE_PQ", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new(), help_heading = "Connection")]
    require_pq: bool,
    /// Settings for all of these [default: /etc/skep/cli.toml]
    #[arg(long, value_name = "FILE", env = "SKEP_CONFIG", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    config: Option<PathBuf>,
    /// A cluster by its name [default: the one that `skep context use` says]
    #[arg(long, value_name = "NAME", env = "SKEP_CONTEXT", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    context: Option<String>,
}

impl HostArgs {
    /// What was typed, else what `cli.toml` says, else the default; `socket` is that of this
    /// machine's manager.
    ///
    /// # Errors
    /// A [`Failure`] of bad configuration.
    pub fn settings(self, socket: Option<PathBuf>) -> Result<ClientSettings, Failure> {
        let Self {
            host,
            identity,
            passphrase_file,
            identity_command,
            timeout,
            require_pq,
            config,
            context,
        } = self;
        ClientSettings::of(Typed {
            host,
            identity,
            passphrase_file,
            identity_command,
            timeout,
            require_pq,
            socket,
            config,
            context,
        })
    }
}

/// How to reach managers.
#[derive(Args, Clone, Debug, Default)]
pub struct WayArgs {
    #[command(flatten)]
    hosts: HostArgs,
    /// This machine's manager [default: /run/skep/manager.sock]
    #[arg(long, value_name = "PATH", env = "SKEP_SOCKET", hide_env_values = true)]
    #[arg(help_heading = "Connection")]
    socket: Option<PathBuf>,
}

/// For commands that wait until nodes confirm.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct WaitArgs {
    /// Return after the commit, without waiting for nodes
    #[arg(short, long)]
    detach: bool,
}

/// A way to the managers.
#[derive(Debug)]
pub struct Way {
    /// To the managers.
    pub link: Link,
    /// What is drawn, is drawn of it.
    pub dice: OsDice,
    reached: Option<(PathBuf, skep_client::ca::Identity)>,
}

impl Way {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// A [`Failure`] with its hint where settings or the identity are unsound.
    pub fn open(screen: &mut Screen, args: WayArgs) -> Result<Self, Failure> {
        let settings = args.hosts.settings(args.socket)?;
        let (mut way, warning) = Self::by(&settings)?;
        if let Some(warning) = warning {
            screen.say(&format!("warning: {warning}"));
        }
        let most = settings.timeout;
        // It comes amid a call; nobody is left to tell where it can't be told.
        way.link.tell_of_tries(move |why: &CallError| {
            drop(std::io::stderr().write_all(still_trying(most, why).as_bytes()));
        });
        Ok(way)
    }

    /// The same by settings that are decided, with what is to be said of the identity's file.
    ///
    /// # Errors
    /// A [`Failure`] with its hint where the identity is unsound.
    pub fn by(settings: &ClientSettings) -> Result<(Self, Option<String>), Failure> {
        let Reached { link, identity, warning } = reach(settings)?;
        Ok((Self { link, dice: OsDice, reached: identity }, warning))
    }

    /// Waits until what was given to these services, or with `removal` taken from them, is in
    /// place, unless detached.
    ///
    /// # Errors
    /// [`Exit::NotConfirmed`], or [`Exit::Interrupted`].
    pub async fn wait(
        &mut self,
        screen: &mut Screen,
        args: WaitArgs,
        revision: u64,
        services: Vec<Vec<u8>>,
        removal: bool,
    ) -> Result<(), Failure> {
        if args.detach {
            return Ok(());
        }
        if services.is_empty() {
            screen.say(NOBODY);
            return Ok(());
        }
        let request = WatchDeliveryRequest {
            revision,
            services,
            nodes: Vec::new(),
            removal,
            secrets: Vec::new(),
        };
        let mut last = None;
        let end = {
            let told = |progress: &_| last = Some(Clone::clone(progress));
            tokio::select! {
                end = until_delivered(&mut self.link, &request, told) => end.map_err(Some),
                _ = tokio::signal::ctrl_c() => Err(None),
            }
        };
        let far = match &last {
            Some(last) => line_of(last, removal),
            None => "how far it is: not known".to_owned(),
        };
        screen.say(&far);
        match end {
            Ok(()) => Ok(()),
            Err(Some(why)) => {
                let text = format!("committed, but {why}");
                Err(Failure::new(Exit::NotConfirmed, text).hint(GOES_ON))
            }
            Err(None) => {
                let text = "interrupted while waiting for nodes: the change itself is committed";
                Err(Failure::new(Exit::Interrupted, text).hint(GOES_ON))
            }
        }
    }
}

impl Drop for Way {
    /// Where managers are, as they said meanwhile, goes into the identity's file.
    fn drop(&mut self) {
        if let Some((path, identity)) = &self.reached {
            // A file that can't be written stays as it is: it is as good as before.
            drop(IdentityFile::refresh(path, identity, &self.link.managers()));
        }
    }
}
