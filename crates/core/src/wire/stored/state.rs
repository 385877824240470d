//! The state as a sequence of length-delimited records, written and read one at
//! a time: a state of a gigabyte is never a buffer of a gigabyte.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use prost::Message;
use prost::encoding::{decode_varint, encoded_len_varint};

use super::opened::{lapsed, opened, write_lapsed, write_opened};
use super::operator::{operator, write_operator};
use super::parts::{
    actor, cluster, fixed, grant, id, labels, node, sealed, spec, text, there, token, wrapped,
    write_actor, write_cluster, write_grant, write_labels, write_node, write_spec, write_token,
    write_wrapped,
};
use super::put::{public, write_writer, writer};
use super::shape::{self, record::Of};
use super::{Bad, BadStored, Read, of_this_format, outcome};
use crate::base::{FORMAT, OtherFormat, Revision, SecretId, ServiceId, Stamp};
use crate::domain::{
    Answer, Exposure, LEVEL, Reporter, Secret, Service, State, Version, invariant,
};

/// Bytes of one record: a value, and as much again.
pub(super) const RECORD_BYTES: usize = 1024 * 1024;
/// Bytes of the length before a record of at most [`RECORD_BYTES`].
const LENGTH_BYTES: usize = 3;

/// The state's records, each with its length before it. Their concatenation is
/// what [`StateReader`] reads.
pub fn encode_state(state: &State) -> impl Iterator<Item = Vec<u8>> + '_ {
    let head = Of::Head(shape::Head {
        version: FORMAT,
        level: state.level,
        cluster: state.cluster.as_deref().map(write_cluster),
        stamp: state.stamp.0,
        revision: state.revision.0,
        audit_head: state.audit_head.to_vec(),
    });
    let records_of =
        iter::once(head).chain(members(state)).chain(contents(state)).chain(rest(state));
    let total = 1
        + state.nodes.len()
        + state.operators.len()
        + state.tokens.len()
        + state.secrets.values().map(|secret| 1 + secret.versions.len()).sum::<usize>()
        + state.services.values().map(|service| 1 + service.grants.len()).sum::<usize>()
        + state.exposed.len()
        + state.taken.len()
        + state.opened.len()
        + state.reporters.len()
        + state.lapsed.len()
        + state.answers.len();
    let records = u64::try_from(total).unwrap_or(u64::MAX);
    let end = Of::End(shape::End { records, bytes: state.bytes });
    records_of.chain(iter::once(end)).map(|of| {
        let record = shape::Record { of: Some(of) };
        record.encode_length_delimited_to_vec()
    })
}

fn members(state: &State) -> impl Iterator<Item = Of> + '_ {
    let nodes = state.nodes.iter().map(|(id, of)| {
        Of::Node(shape::KeptNode { id: id.as_bytes().to_vec(), node: Some(write_node(of)) })
    });
    let operators = state.operators.iter().map(|(id, of)| {
        let operator = Some(write_operator(of));
        Of::Operator(shape::KeptOperator { id: id.as_bytes().to_vec(), operator })
    });
    let tokens = state.tokens.iter().map(|(id, of)| {
        Of::Token(shape::KeptToken { id: id.as_bytes().to_vec(), token: Some(write_token(of)) })
    });
    nodes.chain(operators).chain(tokens)
}

fn contents(state: &State) -> impl Iterator<Item = Of> + '_ {
    let secrets = state.secrets.iter().flat_map(|(id, secret)| {
        let head = Of::Secret(shape::KeptSecret {
            id: id.as_bytes().to_vec(),
            name: secret.name.to_string(),
            labels: write_labels(&secret.labels),
            created: secret.created.0,
            updated: secret.updated.0,
            revision: secret.revision.0,
            current: secret.current,
            forward_only: secret.forward_only,
        });
        let versions = secret.versions.iter().map(|(number, version)| {
            let (writer_node, writer_service) = write_writer(version.written_by);
            Of::Version(shape::KeptVersion {
                secret: id.as_bytes().to_vec(),
                number: *number,
                id: version.id.as_bytes().to_vec(),
                size: version.size,
                value: version.value.0.to_vec(),
                data_key: Some(write_wrapped(&version.data_key)),
                created: version.created.0,
                repeats: version.repeats,
                writer_node,
                writer_service,
                public: version.public.as_ref().map(ToString::to_string),
            })
        });
        iter::once(head).chain(versions)
    });
    let services = state.services.iter().flat_map(|(id, service)| {
        let head = Of::Service(shape::KeptService {
            id: id.as_bytes().to_vec(),
            name: service.name.to_string(),
            spec: Some(write_spec(&service.spec)),
            created: service.created.0,
            updated: service.updated.0,
            revision: service.revision.0,
        });
        let grants = service.grants.values().map(|grant| {
            let grant = Some(write_grant(grant));
            Of::Grant(shape::KeptGrant { service: id.as_bytes().to_vec(), grant })
        });
        iter::once(head).chain(grants)
    });
    secrets.chain(services)
}

fn rest(state: &State) -> impl Iterator<Item = Of> + '_ {
    let pairs = state.exposed.iter().map(|((node, service), exposure)| {
        Of::Pair(shape::KeptPair {
            node: node.as_bytes().to_vec(),
            service: service.as_bytes().to_vec(),
            since: exposure.since.0,
            behind: exposure.behind.map(|behind| behind.0),
            clear: (exposure.clear != exposure.since).then_some(exposure.clear.0),
            began: exposure.began.0,
        })
    });
    let taken = state.taken.iter().map(|((service, secret), revision)| {
        Of::Taken(shape::KeptTaken {
            service: service.as_bytes().to_vec(),
            secret: secret.as_bytes().to_vec(),
            revision: revision.0,
        })
    });
    let answers = state.answers.iter().map(|(request, answer)| {
        Of::Answer(shape::KeptAnswer {
            request: request.as_bytes().to_vec(),
            deadline: answer.deadline.0,
            revision: answer.revision.0,
            actor: Some(write_actor(&answer.actor)),
            outcome: Some(outcome::write(&answer.outcome)),
        })
    });
    let opened = state.opened.iter().map(|((node, revision), list)| {
        Of::Opened(shape::KeptOpened {
            node: node.as_bytes().to_vec(),
            revision: revision.0,
            list: list.iter().map(write_opened).collect(),
        })
    });
    let reporters = state.reporters.iter().map(|(node, of)| {
        Of::Reporter(shape::KeptReporter {
            node: node.as_bytes().to_vec(),
            origin: of.origin.to_vec(),
            next: of.next,
            dropped: of.dropped,
            dropped_before: of.dropped_before,
            refused: of.refused,
        })
    });
    let lapsed = state.lapsed.iter().map(|(of, span)| Of::Lapsed(write_lapsed(*of, *span)));
    pairs.chain(taken).chain(opened).chain(reporters).chain(lapsed).chain(answers)
}

/// The state in these bytes, where they are all at hand.
///
/// # Errors
/// [`BadStored`].
pub fn decode_state(bytes: &[u8]) -> Result<State, BadStored> {
    let mut reader = StateReader::default();
    reader.feed(bytes)?;
    reader.finish()
}

/// Reads a state from pieces of any size.
#[derive(Debug, Default)]
pub struct StateReader {
    state: State,
    /// The beginning of a record whose end has not come yet.
    rest: Vec<u8>,
    records: u64,
    /// The versions of the secret being read stand here until the next record.
    secret: Option<(SecretId, Secret)>,
    /// The grants of the service being read likewise.
    service: Option<(ServiceId, Service)>,
    end: Option<shape::End>,
}

impl StateReader {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`BadStored`]; the reader is of no use then.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), BadStored> {
        // At most one record is put together from pieces; the others are read in place.
        while !self.rest.is_empty() && !bytes.is_empty() {
            let missing = match frame(&self.rest)? {
                Frame::Whole { .. } => 0,
                Frame::Missing(missing) => missing,
            };
            let (taken, after) = bytes.split_at(missing.min(bytes.len()));
            self.rest.extend_from_slice(taken);
            bytes = after;
            if let Frame::Whole { start, end } = frame(&self.rest)? {
                let whole = std::mem::take(&mut self.rest);
                self.record(whole.get(start..end).unwrap_or_default())?;
            }
        }
        while !bytes.is_empty() {
            let Frame::Whole { start, end } = frame(bytes)? else { break };
            self.record(bytes.get(start..end).unwrap_or_default())?;
            bytes = bytes.get(end..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// The state, if it is whole and sound.
    ///
    /// # Errors
    /// [`BadStored`].
    pub fn finish(mut self) -> Result<State, BadStored> {
        let damaged = |why: String| BadStored::Damaged { what: "state", why };
        let Some(end) = self.end.take() else { return Err(damaged("it has no end".to_owned())) };
        if !self.rest.is_empty() || end.records + 1 != self.records {
            return Err(damaged("records are missing".to_owned()));
        }
        let mut state = self.state;
        state.bytes = end.bytes;
        state.indexes = crate::domain::Indexes::of(&state);
        match invariant::broken(&state).first() {
            Some(name) => Err(damaged((*name).to_owned())),
            None => Ok(state),
        }
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), BadStored> {
        let damaged = |bad: Bad| bad.of("state");
        let record = shape::Record::decode(bytes).map_err(|bad| damaged(Bad::new("shape", bad)))?;
        let of = there("record", record.of).map_err(damaged)?;
        if let Of::Head(head) = &of {
            let newer = OtherFormat::check(head.version) == Err(OtherFormat::Newer(head.version));
            if newer || head.level > LEVEL {
                return Err(BadStored::Newer { version: head.version, level: head.level });
            }
            of_this_format(head.version, "state")?;
        }
        let first = self.records == 0;
        if first != matches!(of, Of::Head(_)) || self.end.is_some() {
            return Err(damaged(Bad::new("record", "out of order")));
        }
        self.records += 1;
        self.take(of).map_err(damaged)
    }

    fn take(&mut self, of: Of) -> Read<()> {
        if !matches!(of, Of::Version(_)) {
            self.keep_secret()?;
        }
        if !matches!(of, Of::Grant(_)) {
            self.keep_service()?;
        }
        let state = &mut self.state;
        match of {
            Of::Head(of) => {
                state.level = of.level;
                state.cluster = of.cluster.map(cluster).transpose()?.map(Arc::new);
                state.stamp = Stamp(of.stamp);
                state.revision = Revision(of.revision);
                state.audit_head = fixed("audit head", &of.audit_head)?;
                Ok(())
            }
            Of::Node(of) => put(&mut state.nodes, id("node", &of.id)?, Arc::new(node(of.node)?)),
            Of::Operator(of) => {
                let operator = Arc::new(operator(of.operator)?);
                put(&mut state.operators, id("operator", &of.id)?, operator)
            }
            Of::Token(of) => {
                put(&mut state.tokens, id("token", &of.id)?, Arc::new(token(of.token)?))
            }
            Of::Secret(of) => {
                self.secret = Some((id("secret", &of.id)?, read_secret(&of)?));
                Ok(())
            }
            Of::Version(of) => self.take_version(of),
            Of::Service(of) => {
                self.service = Some((id("service", &of.id)?, read_service(of)?));
                Ok(())
            }
            Of::Grant(of) => self.take_grant(of),
            Of::Pair(of) => {
                let behind = of.behind.map(Revision);
                let pair = (id("pair", &of.node)?, id("pair", &of.service)?);
                let since = Revision(of.since);
                let clear = of.clear.map_or(since, Revision);
                let began = Stamp(of.began);
                put(&mut state.exposed, pair, Exposure { since, began, behind, clear })
            }
            Of::Taken(of) => {
                let key = (id("service", &of.service)?, id("secret", &of.secret)?);
                put(&mut state.taken, key, Revision(of.revision))
            }
            Of::Answer(of) => {
                let answer = Answer {
                    deadline: Stamp(of.deadline),
                    revision: Revision(of.revision),
                    actor: actor(of.actor)?,
                    outcome: outcome::read(of.outcome)?,
                };
                put(&mut state.answers, id("request", &of.request)?, answer)
            }
            Of::Opened(of) => {
                let key = (id("node", &of.node)?, Revision(of.revision));
                let list: Vec<_> = of.list.into_iter().map(opened).collect::<Read<_>>()?;
                put(&mut state.opened, key, Arc::from(list))
            }
            Of::Reporter(of) => {
                let reporter = Reporter {
                    origin: fixed("origin", &of.origin)?,
                    next: of.next,
                    dropped: of.dropped,
                    dropped_before: of.dropped_before,
                    refused: of.refused,
                };
                put(&mut state.reporters, id("node", &of.node)?, reporter)
            }
            Of::Lapsed(of) => {
                let (of, span) = lapsed(&of)?;
                put(&mut state.lapsed, of, span)
            }
            Of::End(end) => {
                self.end = Some(end);
                Ok(())
            }
        }
    }

    fn keep_secret(&mut self) -> Read<()> {
        match self.secret.take() {
            Some((id, secret)) => put(&mut self.state.secrets, id, Arc::new(secret)),
            None => Ok(()),
        }
    }

    fn keep_service(&mut self) -> Read<()> {
        match self.service.take() {
            Some((id, service)) => put(&mut self.state.services, id, Arc::new(service)),
            None => Ok(()),
        }
    }

    fn take_grant(&mut self, of: shape::KeptGrant) -> Read<()> {
        let grant = grant(&there("grant", of.grant)?)?;
        match &mut self.service {
            Some((service, into)) if *service.as_bytes() == *of.service => {
                put(&mut into.grants, grant.target.clone(), grant)
            }
            _ => Err(Bad::new("grant", "not after its service")),
        }
    }

    fn take_version(&mut self, of: shape::KeptVersion) -> Read<()> {
        let version = Version {
            id: id("version", &of.id)?,
            size: of.size,
            value: sealed(of.value),
            data_key: wrapped(of.data_key)?,
            created: Stamp(of.created),
            repeats: of.repeats,
            public: public(of.public)?,
            written_by: writer(&of.writer_node, &of.writer_service)?,
        };
        match &mut self.secret {
            Some((secret, into)) if *secret.as_bytes() == *of.secret => {
                put(&mut into.versions, of.number, Arc::new(version))
            }
            _ => Err(Bad::new("version", "not after its secret")),
        }
    }
}

fn read_secret(of: &shape::KeptSecret) -> Read<Secret> {
    Ok(Secret {
        name: text("secret", &of.name)?,
        labels: labels(&of.labels)?,
        created: Stamp(of.created),
        updated: Stamp(of.updated),
        revision: Revision(of.revision),
        forward_only: of.forward_only,
        current: of.current,
        versions: BTreeMap::new(),
    })
}

fn read_service(of: shape::KeptService) -> Read<Service> {
    Ok(Service {
        name: text("service", &of.name)?,
        spec: spec(of.spec)?,
        grants: BTreeMap::new(),
        created: Stamp(of.created),
        updated: Stamp(of.updated),
        revision: Revision(of.revision),
    })
}

/// A thing stands in a state once.
fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Read<()> {
    match map.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(Bad::new("record", "twice")),
    }
}

enum Frame {
    /// The record lies in this range.
    Whole { start: usize, end: usize },
    /// At least so many bytes are still to come, never 0.
    Missing(usize),
}

fn frame(bytes: &[u8]) -> Result<Frame, BadStored> {
    let damaged = || Bad::new("record", "its length is unsound").of("state");
    let ends = bytes.iter().take(LENGTH_BYTES).any(|byte| *byte < 0x80);
    if !ends {
        return if bytes.len() < LENGTH_BYTES { Ok(Frame::Missing(1)) } else { Err(damaged()) };
    }
    let mut rest = bytes;
    let length = decode_varint(&mut rest).map_err(|_| damaged())?;
    let start = encoded_len_varint(length);
    let length = usize::try_from(length).map_err(|_| damaged())?;
    if length > RECORD_BYTES || bytes.len() - rest.len() != start {
        return Err(damaged());
    }
    let end = start + length;
    match end.checked_sub(bytes.len()) {
        None | Some(0) => Ok(Frame::Whole { start, end }),
        Some(missing) => Ok(Frame::Missing(missing)),
    }
}
