//! `snapledger.v1.HistoryService`: snapshots and their contents; balances of any process, current, at instants and in
//! snapshots; audits and statements.
//!
//! Over 500 lines: the calls of one service are one implementation of its trait.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::super::error::Failure;
use super::super::named::{Among, RevisionRef, named};
use super::super::range::{Given, Range};
use super::super::recorded;
use super::super::rest::cursor::{QueryFingerprint, going_on};
use super::super::rest::missing::{MISSING, from_snapshot};
use super::super::rest::query::{LIMIT_DEFAULT, LIMIT_MAX};
use super::super::serve::limits::{Resource, client};
use super::super::time::Instant;
use super::super::time_argument;
use super::stream::{Answer, AnswerSender, stream};
use super::{
    cluster, differences, figures, handle_for, named_snapshot, node_watched, own_account,
    process_or_here, series, watched,
};
use crate::access::caller::Caller;
use crate::cluster::audit::Cut;
use crate::cluster::differences::Sides;
use crate::cluster::{audit, balance, balance_at, diagram, statement};
use crate::history::part::Part;
use crate::history::verify::verify;
use crate::node::{Handle, SnapshotFilter, SnapshotView};
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::proto::snapledger::history_service_server::HistoryService;
use crate::proto::snapledger::{
    AccountSeriesRequest, AccountSeriesResponse, AuditAtRequest, AuditAtResponse,
    AuditSeriesRequest, AuditSeriesResponse, BalanceAtRequest, BalanceAtResponse, BalancesRequest,
    ChannelsRequest, ClusterFigures, ClusterRequest, DiagramRequest, DiffRequest, Difference,
    GetRequest, ListRequest, ListResponse, NodeEvent, RecordedBalance, RecordedChannelMessage,
    RevisionsRequest, RevisionsResponse, Snapshot, SnapshotCounts, SnapshotDiagram, SnapshotEvent,
    StatementPage, StatementRequest, Verification, VerifyRequest, WatchNodeRequest, WatchRequest,
    audit_at_request,
};
use crate::store::{StatementQuery, States, Store, StoreError};

/// The service of one node.
pub(super) struct History {
    handle: Handle,
}

impl History {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    async fn view(
        &self,
        caller: &Caller,
        snapshot: &str,
        revision: u32,
        among: Among,
    ) -> Result<SnapshotView, Failure> {
        let snapshot = named_snapshot(&self.handle, caller, snapshot, among).await?;
        recorded::view_of(&self.handle, snapshot, going_on(revision)).await
    }
}

#[tonic::async_trait]
impl HistoryService for History {
    async fn balance_at(
        &self,
        request: Request<BalanceAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let handle = handle_for(&request, &self.handle);
        let asked = request.into_inner();
        let account = own_account(&caller, "account", &asked.account)?;
        let process = process_or_here("process", &asked.process)?;
        let process = process.unwrap_or_else(|| handle.config().me.clone());
        let answer = match (asked.at_us, &*asked.snapshot_id) {
            (None, "") => {
                let balance = balance::now(&handle, &process, account.clone()).await?;
                super::balance::now(&process, &account, &balance)
            }
            (Some(at_us), "") => {
                let time = time_argument::past(&handle, "at_us", Instant::of_us(at_us)).await?;
                let then = balance_at::balance(&handle, &process, &account, time).await?;
                super::balance::then(&process, &account, time, &then)
            }
            (None, snapshot) => {
                let among = Among::Finished;
                let snapshot = named_snapshot(&handle, &caller, snapshot, among).await?;
                let revision = going_on(asked.revision);
                let found = self.in_snapshot(snapshot, revision, process, account);
                found.await?
            }
            (Some(_), _) => {
                let why = "give it alone: a snapshot has its own instant";
                return Err(Failure::malformed("snapshot_id", why).into());
            }
        };
        Ok(Response::new(answer))
    }

    async fn audit_at(
        &self,
        request: Request<AuditAtRequest>,
    ) -> Result<Response<AuditAtResponse>, Status> {
        let cluster = &self.handle.config().cluster;
        let found = match request.into_inner().point {
            Some(audit_at_request::Point::AtUs(at_us)) => {
                let time =
                    time_argument::past(&self.handle, "at_us", Instant::of_us(at_us)).await?;
                audit::at(&self.handle, time).await?
            }
            Some(audit_at_request::Point::Cut(token)) => {
                audit::cut(&self.handle, Cut::read(&token, cluster)?).await?
            }
            None => audit::at(&self.handle, self.handle.latest().await).await?,
        };
        let ahead = audit::dated_ahead(&self.handle, &found);
        Ok(Response::new(AuditAtResponse {
            dated_ahead: ahead
                .map(|(process, newest)| super::audit::ahead(process, newest))
                .collect(),
            ..super::audit::answer(&found, cluster)
        }))
    }

    async fn statement(
        &self,
        request: Request<StatementRequest>,
    ) -> Result<Response<StatementPage>, Status> {
        let caller = Caller::of(request.extensions());
        let handle = handle_for(&request, &self.handle);
        let asked = request.into_inner();
        let process = process_or_here("process", &asked.process)?;
        let process = process.unwrap_or_else(|| handle.config().me.clone());
        let [from, to] = [asked.from_us, asked.to_us].map(|us| us.map(Instant::of_us));
        let (from, to) = time_argument::range("from_us", from, "to_us", to)?;
        let query = StatementQuery {
            account: own_account(&caller, "account", &asked.account)?,
            from,
            to,
            after: asked.after.map(statement::place),
            oldest_first: asked.oldest_first,
            limit: match asked.limit {
                0 => LIMIT_DEFAULT,
                limit => usize::try_from(limit).map_or(LIMIT_MAX, |limit| limit.min(LIMIT_MAX)),
            },
        };
        let page = statement::page(&handle, &process, query).await?;
        Ok(Response::new(page))
    }

    type BalancesStream = Answer<RecordedBalance>;

    async fn balances(
        &self,
        request: Request<BalancesRequest>,
    ) -> Result<Response<Self::BalancesStream>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = request.into_inner();
        let process = process_or_here("process", &asked.process)?;
        let view = self.view(&caller, &asked.snapshot_id, asked.revision, Among::Finished);
        let view = view.await?;
        if let Some(process) = &process {
            recorded::state_of(&view.state, process)?;
        }
        let missing = from_snapshot(&view.state, process.as_ref());
        let answer = Response::new(stream(&self.handle, move |store, sender| {
            let wanted = |part: &&Part| process.as_ref().is_none_or(|id| part.process == *id);
            for part in view.state.parts.values().filter(wanted) {
                send(store.states(), part, &asked.prefix, sender)?;
            }
            Ok(())
        }));
        Ok(mark(answer, missing))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (range, filter) = filter(&self.handle, request.get_ref()).await?;
        recorded::check_initiator(&self.handle, filter.initiator.as_ref())?;
        let found = self.handle.snapshots(filter).await.map_err(Failure::from)?;
        let question = question(request.get_ref());
        let counts = SnapshotCounts {
            complete: found.counts.complete as u64,
            partial: found.counts.partial as u64,
            in_progress: found.counts.in_progress as u64,
        };
        let next = found.next.map(|position| range.cursor(question, position));
        Ok(Response::new(ListResponse {
            snapshots: found.views.iter().map(figures::brief).collect(),
            next_cursor: next.unwrap_or_default(),
            counts: Some(counts),
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Snapshot>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = request.get_ref();
        let named = named_snapshot(&self.handle, &caller, &asked.snapshot_id, Among::All);
        let snapshot = named.await?;
        let view = match going_on(asked.revision) {
            None => recorded::view_or_assemble(&self.handle, snapshot).await?,
            revision => recorded::view_of(&self.handle, snapshot, revision).await?,
        };
        let bytes = recorded::account_bytes(&self.handle, &view).await?;
        Ok(Response::new(figures::whole(&view, &bytes)))
    }

    async fn revisions(
        &self,
        request: Request<RevisionsRequest>,
    ) -> Result<Response<RevisionsResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = &request.get_ref().snapshot_id;
        let snapshot = named_snapshot(&self.handle, &caller, asked, Among::Finished).await?;
        let found = self.handle.revisions(&snapshot).await;
        let found = found.map_err(Failure::from)?;
        if found.is_empty() {
            // The snapshot may be in progress.
            recorded::view(&self.handle, snapshot).await?;
        }
        let revisions = found.iter().map(figures::brief).collect();
        Ok(Response::new(RevisionsResponse { revisions }))
    }

    type ChannelsStream = Answer<RecordedChannelMessage>;

    async fn channels(
        &self,
        request: Request<ChannelsRequest>,
    ) -> Result<Response<Self::ChannelsStream>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = request.get_ref();
        let view = self.view(&caller, &asked.snapshot_id, asked.revision, Among::Finished);
        let view = view.await?;
        let missing = from_snapshot(&view.state, None);
        let answer = Response::new(stream(&self.handle, move |store, sender| {
            for part in view.state.parts.values() {
                for channel in &part.channels {
                    for message in store.chunks().messages(channel) {
                        let message = figures::message(&channel.from, &part.process, message?);
                        if sender.send(message).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            Ok(())
        }));
        Ok(mark(answer, missing))
    }

    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<Verification>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = request.get_ref();
        let view = self.view(&caller, &asked.snapshot_id, asked.revision, Among::Finished);
        let view = view.await?;
        let is_published = view.root.is_some();
        let verification = figures::verification(verify(&view.state), is_published);
        Ok(Response::new(verification))
    }

    type DiffStream = Answer<Difference>;

    async fn diff(
        &self,
        request: Request<DiffRequest>,
    ) -> Result<Response<Self::DiffStream>, Status> {
        let asked = request.get_ref();
        Caller::of(request.extensions()).note_snapshot(&asked.from_snapshot_id);
        let side = |field, text| named(&self.handle, field, text, Among::Finished);
        let from = side("from_snapshot_id", &asked.from_snapshot_id).await?;
        let from = RevisionRef {
            snapshot: from,
            revision: going_on(asked.from_revision),
        };
        // Before any other process is asked, as on REST: a comparison occupies a thread for long, and one with an
        // instant also every other node.
        let permit = client(&request).take(Resource::Exports, 1)?;
        let mut sides = match (asked.at_us, &*asked.to_snapshot_id) {
            (Some(at_us), "") => {
                let time =
                    time_argument::past(&self.handle, "at_us", Instant::of_us(at_us)).await?;
                let from = recorded::view_of_revision(&self.handle, from).await?;
                Sides::until(&self.handle, from, time).await?
            }
            (Some(_), _) => {
                let why = "give it or to_snapshot_id, not both";
                return Err(Failure::malformed("at_us", why).into());
            }
            (None, to) => {
                let to = side("to_snapshot_id", to).await?;
                let to = RevisionRef {
                    snapshot: to,
                    revision: going_on(asked.to_revision),
                };
                let from = recorded::view_of_revision(&self.handle, from).await?;
                let to = recorded::view_of_revision(&self.handle, to).await?;
                Sides::of(&self.handle, from, to)
            }
        };
        sides.ask().await?;
        let show = move |store: &Store, sender: &AnswerSender<_>| {
            let _permit = permit;
            differences::show(store, &sides, sender)
        };
        Ok(Response::new(stream(&self.handle, show)))
    }

    async fn diagram(
        &self,
        request: Request<DiagramRequest>,
    ) -> Result<Response<SnapshotDiagram>, Status> {
        let caller = Caller::of(request.extensions());
        let asked = request.get_ref();
        let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        let limit = Some(limit).filter(|limit| *limit > 0);
        let [before, after] =
            [asked.before_us, asked.after_us].map(|us| us.map(Duration::from_micros));
        let query = super::super::diagram::query(before, after, limit)?;
        let view = self.view(&caller, &asked.snapshot_id, asked.revision, Among::Finished);
        let view = view.await?;
        let _permit = client(&request).take(Resource::Exports, 1)?;
        let found = diagram::of(&self.handle, &view, query).await;
        let found = found.map_err(Failure::from)?;
        Ok(Response::new(super::diagram::answer(&view, &found)))
    }

    async fn cluster(
        &self,
        request: Request<ClusterRequest>,
    ) -> Result<Response<ClusterFigures>, Status> {
        let _permit = client(&request).take(Resource::Exports, 1)?;
        let caller = Caller::of(request.extensions());
        Ok(Response::new(
            cluster::figures(&self.handle, &caller).await?,
        ))
    }

    async fn audit_series(
        &self,
        request: Request<AuditSeriesRequest>,
    ) -> Result<Response<AuditSeriesResponse>, Status> {
        let _permit = client(&request).take(Resource::Exports, 1)?;
        let found = series::audits(&self.handle, request.into_inner()).await?;
        Ok(Response::new(found))
    }

    async fn account_series(
        &self,
        request: Request<AccountSeriesRequest>,
    ) -> Result<Response<AccountSeriesResponse>, Status> {
        let _permit = client(&request).take(Resource::Exports, 1)?;
        let caller = Caller::of(request.extensions());
        let asked = request.get_ref();
        let account = own_account(&caller, "account", &asked.account)?;
        let process = process_or_here("process", &asked.process)?;
        let process = process.unwrap_or_else(|| self.handle.config().me.clone());
        let found = series::balances(&self.handle, &process, &account, asked).await?;
        Ok(Response::new(found))
    }

    type WatchNodeStream = Answer<NodeEvent>;

    async fn watch_node(
        &self,
        request: Request<WatchNodeRequest>,
    ) -> Result<Response<Self::WatchNodeStream>, Status> {
        let permit = client(&request).take(Resource::Watchers, 1)?;
        let seen = &request.get_ref().last_event_id;
        Ok(Response::new(node_watched::watch(
            &self.handle,
            seen,
            permit,
        )))
    }

    type WatchStream = Answer<SnapshotEvent>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let permit = client(&request).take(Resource::Watchers, 1)?;
        let caller = Caller::of(request.extensions());
        let asked = request.into_inner();
        let all = Among::All;
        let snapshot = named_snapshot(&self.handle, &caller, &asked.snapshot_id, all).await?;
        let answer = watched::watch(&self.handle, snapshot, &asked.last_event_id, permit).await?;
        Ok(Response::new(answer))
    }
}

// Names the missing processes in the metadata of a stream, as the header on REST does.
fn mark<T>(mut answer: Response<T>, missing: Option<String>) -> Response<T> {
    if let Some(missing) = missing.and_then(|names| names.parse().ok()) {
        answer.metadata_mut().insert(MISSING, missing);
    }
    answer
}

async fn filter(handle: &Handle, asked: &ListRequest) -> Result<(Range, SnapshotFilter), Failure> {
    let bounds = Given {
        from: given(&asked.from),
        to: given(&asked.to),
        cursor: given(&asked.cursor),
    };
    let (range, before) = Range::of(handle, question(asked), bounds).await?;
    let limit = match usize::try_from(asked.limit) {
        Ok(0) => LIMIT_DEFAULT,
        Ok(limit) if limit <= LIMIT_MAX => limit,
        _ => {
            let why = format!("give a number up to {LIMIT_MAX}, or 0 for {LIMIT_DEFAULT}");
            return Err(Failure::malformed("limit", why));
        }
    };
    let filter = SnapshotFilter {
        status: given(&asked.status).map(recorded::status).transpose()?,
        initiator: process_or_here("initiator", &asked.initiator)?,
        ever_partial: asked.ever_partial,
        pinned: asked.pinned,
        from: range.from,
        to: range.to,
        before,
        limit,
    };
    Ok((range, filter))
}

fn question(asked: &ListRequest) -> QueryFingerprint {
    let said = |flag: Option<bool>| match flag {
        None => "",
        Some(true) => "ever",
        Some(false) => "never",
    };
    QueryFingerprint::of([
        &*asked.status,
        &asked.initiator,
        &asked.from,
        &asked.to,
        said(asked.ever_partial),
        said(asked.pinned),
    ])
}

// For fields in which an empty string means "not given".
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl History {
    async fn in_snapshot(
        &self,
        snapshot: SnapshotId,
        revision: Option<u32>,
        process: ProcessId,
        account: AccountId,
    ) -> Result<BalanceAtResponse, Failure> {
        let view = recorded::view_of(&self.handle, snapshot, revision).await?;
        recorded::blocking(&self.handle, move |store| {
            let state = recorded::state_of(&view.state, &process)?;
            let units = recorded::balance(store.states(), state, &account)?;
            Ok(BalanceAtResponse {
                process: process.to_string(),
                account: account.to_string(),
                balance: units.unwrap_or(0),
                existed: units.is_some(),
                journal_position: state.position.0,
                time: state.time.0,
                known_until: None,
                snapshot_id: view.state.snapshot.to_string(),
                doubtful: false,
            })
        })
        .await
    }
}

// Sends the contents of one part; ends early when the client is gone.
fn send(
    states: States<'_>,
    part: &Part,
    prefix: &str,
    sender: &AnswerSender<RecordedBalance>,
) -> Result<(), StoreError> {
    for recorded in recorded::balances(states, &part.state, prefix)? {
        let (account, balance) = recorded?;
        if !account.as_str().starts_with(prefix) {
            break;
        }
        let shown = sender.send(RecordedBalance {
            process: part.process.to_string(),
            account: account.to_string(),
            balance,
        });
        if shown.is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use std::sync::Arc;

    use super::super::super::serve::limits::places::Places;
    use super::super::super::serve::limits::{EXPORTS_MAX, address_share};
    use super::*;
    use crate::node::Node;

    // Without this, comparisons over gRPC could occupy all threads of a node and load every other node.
    #[tokio::test]
    async fn comparisons_are_bounded_as_on_rest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let history = History::new(node.handle().clone());
        let usage = Places::alone();
        let asked = async |at_us, other: &str| {
            let mut request = Request::new(DiffRequest {
                from_snapshot_id: "none".to_owned(),
                to_snapshot_id: other.to_owned(),
                at_us,
                ..DiffRequest::default()
            });
            request.extensions_mut().insert(Arc::clone(&usage));
            let answer = history.diff(request).await;
            answer.expect_err("there is no such snapshot").code()
        };
        for (at_us, other) in [(Some(0), ""), (None, "neither")] {
            let all = usage.take(Resource::Exports, address_share(EXPORTS_MAX));
            assert_eq!(asked(at_us, other).await, Code::ResourceExhausted);
            drop(all.expect("nobody has one"));
            assert_eq!(asked(at_us, other).await, Code::NotFound);
        }
        node.stop().await;
    }

    // Without this, one client could make all processes measure their stores and read their journals as fast as it asks.
    #[tokio::test]
    async fn questions_about_all_processes_are_bounded_as_on_rest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let history = History::new(node.handle().clone());
        let usage = Places::alone();
        let asked = async || {
            let mut request = Request::new(ClusterRequest {});
            request.extensions_mut().insert(Arc::clone(&usage));
            history.cluster(request).await
        };
        let all = usage.take(Resource::Exports, address_share(EXPORTS_MAX));
        let refused = asked().await.expect_err("all places are taken");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(all.expect("they were free"));
        let figures = asked().await.expect("a place is free").into_inner();
        assert_eq!(figures.processes.len(), 1);
        node.stop().await;
    }
}
