//! The volume-driver protocol, version 1: requests read, answers worded. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::words;
use crate::agent::workload::VolumeMount;
use skep_core::base::{Name, Stamp};

/// What an engine asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VolumeAsk {
    Activate,
    Capabilities,
    Create(Name),
    Remove(Name),
    Get(Name),
    Path(Name),
    List,
    Mount(VolumeMount),
    Unmount(VolumeMount),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    name: String,
    #[serde(default, rename = "ID")]
    id: String,
    opts: Option<BTreeMap<String, Value>>,
}

/// Reads a request; the error is what to answer.
pub(super) fn read(path: &str, body: &[u8]) -> Result<VolumeAsk, String> {
    match path {
        "/Plugin.Activate" => return Ok(VolumeAsk::Activate),
        "/VolumeDriver.Capabilities" => return Ok(VolumeAsk::Capabilities),
        "/VolumeDriver.List" => return Ok(VolumeAsk::List),
        _ => {}
    }
    let Some(method) = path.strip_prefix("/VolumeDriver.") else { return Err(words::unknown()) };
    if !["Create", "Remove", "Get", "Path", "Mount", "Unmount"].contains(&method) {
        return Err(words::unknown());
    }
    let request: Request = serde_json::from_slice(body).map_err(|_unread| words::not_json())?;
    let volume: Name = request.name.parse().map_err(words::bad_volume)?;
    if let Some(option) = request.opts.as_ref().and_then(|opts| opts.keys().next()) {
        return Err(words::has_options(&volume, option));
    }
    Ok(match method {
        "Create" => VolumeAsk::Create(volume),
        "Remove" => VolumeAsk::Remove(volume),
        "Get" => VolumeAsk::Get(volume),
        "Path" => VolumeAsk::Path(volume),
        _ => {
            let id = request.id.parse().map_err(words::bad_id)?;
            let mount = VolumeMount { volume, id };
            if method == "Mount" { VolumeAsk::Mount(mount) } else { VolumeAsk::Unmount(mount) }
        }
    })
}

/// One volume, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownVolume {
    pub(super) name: Name,
    pub(super) created: Stamp,
    pub(super) at: String,
    pub(super) mounts: usize,
}

impl ShownVolume {
    fn json(&self) -> Value {
        let created = i64::try_from(self.created.0).ok();
        let created = created.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        json!({
            "Name": self.name.as_str(),
            "Mountpoint": self.at,
            "CreatedAt": created.unwrap_or_default().to_string(),
            "Status": { "mounts": self.mounts },
        })
    }
}

pub(super) fn activated() -> Value {
    json!({ "Implements": ["VolumeDriver"] })
}

pub(super) fn capabilities() -> Value {
    json!({ "Capabilities": { "Scope": "local" } })
}

pub(super) fn done() -> Value {
    json!({ "Err": "" })
}

pub(super) fn at(path: &Path) -> Value {
    json!({ "Mountpoint": path.to_string_lossy(), "Err": "" })
}

pub(super) fn volume(volume: &ShownVolume) -> Value {
    json!({ "Volume": volume.json(), "Err": "" })
}

pub(super) fn volumes(volumes: &[ShownVolume]) -> Value {
    json!({ "Volumes": volumes.iter().map(ShownVolume::json).collect::<Vec<_>>(), "Err": "" })
}

pub(super) fn failed(why: &str) -> Value {
    json!({ "Err": why })
}
