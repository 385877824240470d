//! From a closed key file to a running manager, and back.

use crate::manager::problem::{self, Explain};
use skep_core::base::{Fingerprint, Key32, SecretBytes};
use std::sync::Arc;
use std::time::Duration;

use crate::consensus::{Leadership, Standing};
use crate::manager::end::End;
use crate::manager::life::begin::{NotStarted, begin};
use crate::manager::life::identity::identity;
use crate::manager::life::lifecycle::{Lifecycle, Manager};
use crate::manager::life::phase::{Needs, Phase};
use crate::manager::life::renewal::at_start;
use crate::manager::running::{Running, Started};
use crate::manager::task::to_the_end;
use crate::manager::word::Word;
use skep_client::transport::Problem;
use skep_core::seal::{FileKey, KeyFile, KeyFileBody, KeyFileHeader, SealError, UnlockKey};
use skep_core::wire::api;

/// How long `unlock` waits before it answers, so that its answer says more than
/// "no leader yet".
const LEADER_WAIT: Duration = Duration::from_secs(3);
/// How long the manager of an unfinished `init` may take to find its own first
/// command.
const GENESIS_WAIT: Duration = Duration::from_secs(10);

impl Manager {
    /// What `unlock` opens on the operator's side.
    pub(in crate::manager) fn unlock_header(&self) -> Result<api::UnlockHeaderReply, Problem> {
        self.phase().admits(Needs::Locked)?;
        if self.was_removed() {
            return Err(problem::life::removed());
        }
        let (header, _) = self.0.closed_header().ok_or_else(problem::locked)?;
        let names = self.0.folder.node_file();
        Ok(api::UnlockHeaderReply {
            header: header.to_bytes(),
            node_name: names.name,
            cluster_name: names.cluster,
        })
    }

    /// Unlocks with the file key that an operator opened. Goes on to its end also
    /// when the caller is gone.
    pub(in crate::manager) async fn unlock(
        &self,
        request: api::UnlockRequest,
    ) -> Result<api::UnlockReply, Problem> {
        let file_key = SecretBytes::take(request.file_key);
        let file_key = Key32::copy_of(file_key.expose())
            .ok_or_else(|| problem::request::bad("a file key", "has 32 bytes"))?;
        let fingerprint: [u8; 32] = request
            .fingerprint
            .as_slice()
            .try_into()
            .map_err(|_| problem::request::bad("a fingerprint", "has 32 bytes"))?;
        let (fingerprint, generation) = (Fingerprint(fingerprint), request.generation);
        let of_header = request.of_header;
        let manager = self.clone();
        let opening = async move {
            manager.open_with(FileKey(file_key), fingerprint, generation, of_header).await
        };
        let word = to_the_end("unlock", opening).await?;
        Ok(api::UnlockReply { state: api::ManagerState::from(word).into() })
    }

    /// Unlocks with an unlock key that lies on this machine (`--unlock-key-file`),
    /// unless an operator locked this manager: then it stays so until an operator
    /// unlocks it.
    ///
    /// # Errors
    /// What an operator would be told.
    pub async fn unlock_with(&self, key: &UnlockKey) -> Result<(), Problem> {
        self.phase().admits(Needs::Locked)?;
        if self.0.folder.stays_locked() {
            return Err(problem::life::locked_by_operator());
        }
        let (header, _) = self.0.closed_header().ok_or_else(problem::locked)?;
        let file_key = header.open_file_key(key).map_err(|error| match error {
            SealError::NotARecipient => problem::life::not_a_recipient(error),
            // A box for this very key.
            _ => self.0.key_file_damaged("is damaged or was tampered with"),
        })?;
        self.open_with(file_key, key.fingerprint(), header.generation, true).await?;
        Ok(())
    }

    async fn open_with(
        &self,
        file_key: FileKey,
        fingerprint: Fingerprint,
        generation: u64,
        of_header: bool,
    ) -> Result<Word, Problem> {
        let turn = self.0.turn.lock().await;
        self.phase().admits(Needs::Locked)?;
        if self.was_removed() {
            return Err(problem::life::removed());
        }
        let (header, body) = self.0.open_key_file(&file_key, generation, of_header)?;
        identity(&header, &body, fingerprint)?;
        let listener = self.0.listen()?;
        let started = match begin(&self.0, &header, body, file_key, fingerprint).await {
            Ok(started) => started,
            Err(NotStarted::Consensus(error)) => {
                tracing::error!(event = "consensus_not_started", why = %error);
                self.end(End::from(&error));
                return Err(NotStarted::Consensus(error).explain());
            }
            Err(other) => return Err(other.explain()),
        };
        self.0.see_genesis(&started).await?;
        if let Err(problem) = at_start(&started).await {
            let ended = started.identity.own.leaf().ends;
            started.core.consensus.shutdown().await;
            drop(listener);
            self.0.become_expired(header, ended);
            return Err(problem);
        }
        if let Err(error) = self.0.on_disk(|life| life.folder.may_unlock()).await {
            tracing::warn!(event = "lock_mark_stays", why = %error);
        }
        let running = self.run(started, listener);
        drop(turn);
        tracing::info!(event = "unlocked", node = %header.node, generation);
        led(&running).await;
        Ok(running.word())
    }

    /// Locks: the process starts anew, and its memory is gone. A locked manager
    /// stays as it is.
    pub(in crate::manager) async fn lock(&self) -> Result<api::LockReply, Problem> {
        let _turn = self.0.turn.lock().await;
        self.phase().admits(Needs::Initialised)?;
        self.0.on_disk(|life| life.folder.stay_locked()).await.map_err(|error| {
            problem::life::not_written(self.0.folder.path(), &error, problem::life::STILL_UNLOCKED)
        })?;
        if matches!(self.phase(), Phase::Running | Phase::RolledBack) {
            tracing::info!(event = "locking");
            self.end(End::Locked);
        }
        Ok(api::LockReply {})
    }
}

impl Lifecycle {
    fn key_file_damaged(&self, why: impl std::fmt::Display) -> Problem {
        let path = self.folder.path().join("manager.key");
        problem::life::key_file_damaged(&path, why)
    }

    /// `of_header`: the header in the file gave the key, so that a body which it doesn't
    /// open was changed; else the key may be wrong.
    fn open_key_file(
        &self,
        file_key: &FileKey,
        generation: u64,
        of_header: bool,
    ) -> Result<(KeyFileHeader, KeyFileBody), Problem> {
        let damaged = |why: String| self.key_file_damaged(why);
        let bytes = self.folder.key_file().map_err(|error| damaged(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| damaged("is gone".to_owned()))?;
        let file = KeyFile::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        if file.header().generation != generation {
            return Err(problem::life::key_file_replaced());
        }
        let body = file.open(file_key).map_err(|error| {
            if of_header {
                return damaged("is damaged or was tampered with".to_owned());
            }
            problem::life::wrong_file_key(error)
        })?;
        Ok((file.header().clone(), body))
    }

    /// A log without its first command is an `init` that died before its end.
    async fn see_genesis(self: &Arc<Self>, started: &Started) -> Result<(), Problem> {
        if !self.folder.init_unfinished() {
            return Ok(());
        }
        let consensus = &started.core.consensus;
        let settled = consensus.linearize(GENESIS_WAIT).await.is_ok();
        if settled && consensus.read(|state| state.cluster.is_some()) {
            if let Err(error) = self.on_disk(|life| life.folder.finish_init()).await {
                tracing::warn!(event = "init_mark_stays", why = %error);
            }
            return Ok(());
        }
        consensus.shutdown().await;
        Err(problem::init_unfinished(self.folder.path()))
    }
}

/// Waits until somebody leads this manager, or its disk is found to be behind.
async fn led(running: &Running) {
    let own = running.core.node;
    let (mut leadership, mut standing) =
        (running.core.consensus.leadership(), running.core.consensus.standing());
    let led = leadership.wait_for(|seen: &Leadership| {
        seen.own || seen.quorum && seen.leader.is_some_and(|led| led != own)
    });
    let behind = standing.wait_for(|standing| matches!(standing, Standing::Behind(_)));
    tokio::select! {
        _ = led => {}
        _ = behind => {}
        () = tokio::time::sleep(LEADER_WAIT) => tracing::info!(event = "no_leader_yet"),
    }
}
