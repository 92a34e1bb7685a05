//! The authority of a node: who a caller is, and what it may do. It reads the token file and the key set again when they
//! change; a broken new file leaves the old one in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::caller::{Caller, Grant, Via};
use super::connection::Connection;
use super::identity::Holder;
use super::jwt::{KeySetError, Keys};
use super::private_file::{PrivateFileError, read_private, read_trusted};
use super::refusals::{LoginRefused, Refusals};
use super::role::Capacity;
use super::settings::AuthSettings;
use super::stale::Stale;
use super::token::{PREFIX, TokenHash};
use super::token_file::{StoredToken, TokenFile, TokenFileError};
use super::trail::{Asked, Ended, Line, Outcome, Trail};
use crate::process::ids::ProcessId;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token file cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// The key set cannot be used.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// The file of the key set cannot be used.
    #[error("the key set (JWKS) of the issuer: {0}")]
    KeyFile(#[from] PrivateFileError),
    /// The audit trail cannot be opened.
    #[error("cannot write the audit trail {path}: {source}; name a file that this user may write")]
    Trail {
        /// The file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// The authority of one node. Clones share it.
#[derive(Clone)]
pub struct Authority(Arc<Shared>);

struct Shared {
    cluster: String,
    /// The processes of the cluster, once they are known.
    members: OnceLock<Box<[ProcessId]>>,
    settings: AuthSettings,
    table: RwLock<Arc<Table>>,
    /// The contents that were read last, good or not.
    seen: Mutex<Contents>,
    refusals: Refusals,
    stale: Stale,
    reload_failures: Counter,
    trail: Trail,
}

#[derive(Default, PartialEq, Eq)]
struct Contents {
    tokens: Option<Vec<u8>>,
    keys: Option<Vec<u8>>,
}

#[derive(Default)]
struct Table {
    tokens: HashMap<[u8; 8], Vec<Arc<Entry>>>,
    keys: Option<Keys>,
    clients: HashMap<String, Arc<Entry>>,
}

/// A grant that lasts as long as the entry.
struct Entry {
    stored: Option<StoredToken>,
    grant: Arc<Grant>,
    _live: watch::Sender<()>,
}

impl Entry {
    fn new(
        stored: Option<StoredToken>,
        grant: impl FnOnce(watch::Receiver<()>) -> Grant,
    ) -> Arc<Self> {
        let (live, is_live) = watch::channel(());
        Arc::new(Self {
            stored,
            grant: Arc::new(grant(is_live)),
            _live: live,
        })
    }
}

impl Authority {
    /// Reads the files and opens the audit trail.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn open(settings: AuthSettings, cluster: &str) -> Result<Self, AuthError> {
        let contents = Contents::read(&settings)?;
        let table = Table::of(&settings, &contents, &Table::default())?;
        let path = settings.audit_log.as_deref();
        let trail = Trail::open(path).map_err(|source| AuthError::Trail {
            path: path
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            source,
        })?;
        Ok(Self(Arc::new(Shared {
            cluster: cluster.to_owned(),
            members: OnceLock::new(),
            settings,
            table: RwLock::new(Arc::new(table)),
            seen: Mutex::new(contents),
            refusals: Refusals::default(),
            stale: Stale::default(),
            reload_failures: Counter::default(),
            trail,
        })))
    }

    /// Adds the metrics of authentication.
    pub fn register(&self, registry: &mut Registry) {
        self.0.refusals.register(registry);
        self.0.trail.register(registry);
        self.0.stale.register(registry);
        registry.register(
            "auth_reload_failures",
            "Changes of the token file or key set that were not taken; the files before remain in use",
            self.0.reload_failures.clone(),
        );
    }

    /// Sets the processes of the cluster, once. A certificate of another process proves nothing.
    pub fn set_members(&self, members: &[ProcessId]) {
        let _first = self.0.members.set(members.into());
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    /// The caller that `authorization` (the values of this header) and the connection prove. A token counts before a
    /// certificate.
    ///
    /// # Errors
    /// [`LoginRefused`].
    pub fn caller<'a>(
        &self,
        mut authorization: impl Iterator<Item = Option<&'a str>>,
        connection: Option<&Connection>,
    ) -> Result<Caller, LoginRefused> {
        let grant = match (authorization.next(), authorization.next()) {
            (None, _) => self.certified(connection)?,
            (Some(Some(header)), None) => self.bearer(header)?,
            _ => return Err(LoginRefused::Malformed),
        };
        if grant.expires.is_some_and(|end| end <= Timestamp::now()) {
            return Err(LoginRefused::Expired);
        }
        Ok(Caller::known(grant))
    }

    fn bearer(&self, header: &str) -> Result<Arc<Grant>, LoginRefused> {
        let (scheme, token) = header.split_once(' ').ok_or(LoginRefused::Malformed)?;
        let token = token.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(LoginRefused::Malformed);
        }
        let table = self.table();
        match (&table.keys, &self.0.settings.jwt) {
            (Some(keys), Some(settings)) if !token.starts_with(PREFIX) => {
                let grant = keys.verify(token, settings);
                grant.map(Arc::new).map_err(LoginRefused::Jwt)
            }
            _ => {
                let hash = TokenHash::of(token);
                let entries = table.tokens.get(&hash.place()).into_iter().flatten();
                let found = entries.into_iter().find(|entry| {
                    entry
                        .stored
                        .as_ref()
                        .is_some_and(|stored| stored.sha256 == hash)
                });
                let found = found.ok_or(LoginRefused::Unknown)?;
                Ok(Arc::clone(&found.grant))
            }
        }
    }

    fn certified(&self, connection: Option<&Connection>) -> Result<Arc<Grant>, LoginRefused> {
        let identity = connection.and_then(|connection| connection.identity.as_ref());
        let identity = identity.filter(|identity| identity.cluster == self.0.cluster);
        match identity.map(|identity| &identity.holder) {
            None => Err(LoginRefused::Missing),
            Some(Holder::Process(process)) if !self.is_member(process) => {
                Err(LoginRefused::NoSuchProcess(process.clone()))
            }
            Some(Holder::Process(process)) => Ok(Arc::new(Grant {
                name: process.to_string(),
                via: Via::Certificate,
                capacity: Capacity::Process,
                accounts: Vec::new(),
                expires: None,
                // The connection ends with the certificate.
                live: ALWAYS.subscribe(),
            })),
            Some(Holder::Client(name)) => {
                let table = self.table();
                let found = table.clients.get(name);
                let found = found.ok_or_else(|| LoginRefused::NoSuchClient(name.clone()))?;
                // The connection may outlast the certificate.
                Ok(Arc::new(Grant {
                    expires: connection.and_then(|connection| connection.expires),
                    ..Grant::clone(&found.grant)
                }))
            }
        }
    }

    // Before the members are known, processes may greet alone.
    fn is_member(&self, process: &ProcessId) -> bool {
        let members = self.0.members.get();
        members.is_none_or(|members| members.contains(process))
    }

    /// Counts and reports a refused log-in.
    pub fn login_refused(&self, asked: &Asked, refused: &LoginRefused) {
        let ended = Ended::because(Outcome::Unauthenticated, refused.to_string());
        let line = Line::of(asked, &Caller::default(), ended);
        let address = asked.address.map(|address| address.ip());
        let refusals = &self.0.refusals;
        if let Some(line) = refusals.count(refused, address, line, Instant::now()) {
            self.0.trail.add(&line);
        }
    }

    /// Reports the end of a call. Counts it if its caller has not the right.
    pub fn ended(&self, asked: &Asked, caller: &Caller, ended: Ended) {
        self.count(&ended);
        self.0.trail.add(&Line::of(asked, caller, ended));
    }

    /// Reports the end of a stream, once all that it began has ended.
    pub fn closes(&self, asked: &Asked, caller: &Caller, ended: Ended) {
        self.count(&ended);
        let (authority, asked) = (self.clone(), asked.clone());
        caller.at_end(move |grant, notes| {
            let line = Line::noted(&asked, Some(grant), Some(notes), ended);
            authority.0.trail.add(&line);
        });
    }

    fn count(&self, ended: &Ended) {
        if ended.outcome == Outcome::Forbidden {
            self.0.refusals.count_forbidden();
        }
    }

    /// Writes what the audit trail still holds back.
    pub fn end(&self) {
        for line in self.0.refusals.rest() {
            self.0.trail.add(&line);
        }
        self.flush();
    }

    /// Waits until the audit trail is written.
    pub fn flush(&self) {
        self.0.trail.flush();
    }

    /// Looks at the files every few seconds and at SIGHUP, which also opens the audit trail again. Never returns.
    pub async fn watch(self) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        loop {
            let hung_up = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hung_up => self.0.trail.reopen(),
                () = tokio::time::sleep(LOOK) => {}
            }
            for line in self.0.refusals.due(Instant::now()) {
                self.0.trail.add(&line);
            }
            let authority = self.clone();
            // A read may hang, such as on a network file system.
            if let Err(panicked) = spawn_blocking(move || authority.reload()).await {
                tracing::error!(%panicked, "the tokens and keys of clients could not be read again");
            }
        }
    }

    /// Reads the files again and takes them if they have changed and are good.
    pub fn reload(&self) {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = &self.0.settings;
        let contents = match Contents::read(settings) {
            Ok(contents) if contents == *seen => return self.0.stale.note(None),
            Ok(contents) => contents,
            Err(error) => {
                let unread = Contents::default();
                if *seen != unread {
                    *seen = unread;
                    self.0.reload_failures.inc();
                }
                return self.0.stale.note(Some(error.to_string()));
            }
        };
        match Table::of(settings, &contents, &self.table()) {
            Ok(table) => {
                let count: usize = table.tokens.values().map(Vec::len).sum();
                *self.0.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
                self.0.stale.clear();
                tracing::info!(
                    tokens = count,
                    "the tokens and keys of clients were read again"
                );
            }
            Err(error) => {
                self.0.reload_failures.inc();
                self.0.stale.note(Some(error.to_string()));
            }
        }
        *seen = contents;
    }

    /// Why the files are not those in use, as a sentence, while they are not.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.0.stale.sentence()
    }

    fn table(&self) -> Arc<Table> {
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }
}

static ALWAYS: std::sync::LazyLock<watch::Sender<()>> =
    std::sync::LazyLock::new(|| watch::Sender::new(()));

impl Contents {
    fn read(settings: &AuthSettings) -> Result<Self, AuthError> {
        let tokens = settings.tokens.as_deref().map(read_private).transpose();
        let tokens = tokens.map_err(TokenFileError::from)?;
        let keys = settings
            .jwt
            .as_ref()
            .map(|jwt| read_trusted(&jwt.keys))
            .transpose()?;
        Ok(Self { tokens, keys })
    }
}

impl Table {
    // What is unchanged is taken over, so that its streams go on.
    fn of(settings: &AuthSettings, contents: &Contents, before: &Self) -> Result<Self, AuthError> {
        let mut table = Self::default();
        if let (Some(path), Some(bytes)) = (&settings.tokens, &contents.tokens) {
            for stored in TokenFile::parse(path, bytes)?.tokens {
                let place = stored.sha256.place();
                let mut old = before.tokens.get(&place).into_iter().flatten();
                let known = old
                    .find(|entry| entry.stored.as_ref() == Some(&stored))
                    .cloned();
                let entry = known.unwrap_or_else(|| of_token(stored));
                table.tokens.entry(place).or_default().push(entry);
            }
        }
        if let (Some(jwt), Some(bytes)) = (&settings.jwt, &contents.keys) {
            table.keys = Some(Keys::parse(&jwt.keys, bytes, before.keys.as_ref())?);
        }
        for client in &settings.clients {
            let known = before.clients.get(&client.name).cloned();
            let entry = known.unwrap_or_else(|| {
                Entry::new(None, |live| Grant {
                    name: client.name.clone(),
                    via: Via::Certificate,
                    capacity: Capacity::Role(client.role),
                    accounts: client.accounts.clone(),
                    expires: None,
                    live,
                })
            });
            table.clients.insert(client.name.clone(), entry);
        }
        Ok(table)
    }
}

fn of_token(stored: StoredToken) -> Arc<Entry> {
    let token = stored.clone();
    Entry::new(Some(stored), |live| Grant {
        name: token.name,
        via: Via::Token,
        capacity: Capacity::Role(token.role),
        accounts: token.accounts,
        expires: token.expires,
        live,
    })
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Authority {}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}
