//! How clients prove who they are: the `[auth]` table and its options.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::duration::parse_duration;
use super::fault::{ConfigError, Fault};
use super::path::of_process;
use crate::access::role::Role;
use crate::access::settings::{AuthSettings, CertifiedClient, JwtSettings};
use crate::access::token_file::check_grant;
use crate::process::ids::ProcessId;

/// The claim of a JWT that holds the role, if none is given.
const ROLE_CLAIM: &str = "snapledger_role";

/// The longest lifetime of a JWT, if none is given.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The `[auth]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthBlock {
    /// The token file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
    /// The key set (JWKS) of an issuer of JWTs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_keys: Option<PathBuf>,
    /// The claim `iss` of its JWTs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_issuer: Option<String>,
    /// The claim `aud` of its JWTs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_audience: Option<String>,
    /// The claim that holds the role. If absent, `snapledger_role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_role_claim: Option<String>,
    /// A duration; see [`JwtSettings::lifetime_max`]. If absent, 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_lifetime_max: Option<Spanned<String>>,
    /// The file of the audit trail; `{id}` in its name stands for the process. If absent, the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_log: Option<PathBuf>,
    /// The clients that a certificate names.
    #[serde(rename = "client", default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientBlock>,
}

/// A `[[auth.client]]` block.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientBlock {
    /// The name in the certificate, `snapledger://CLUSTER/client/NAME`.
    pub name: Spanned<String>,
    /// What it may do.
    pub role: Role,
    /// The beginnings of the accounts and keys that it may use. If absent, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

/// Options of authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct AuthOptions {
    /// The token file, made by `snapledger token create`. With it clients need a token, a JWT or a certificate.
    #[arg(long, env = "SNAPLEDGER_AUTH_TOKENS", value_name = "FILE")]
    pub auth_tokens: Option<PathBuf>,

    /// The key set (JWKS) of an issuer of JWTs; it needs --auth-jwt-issuer and --auth-jwt-audience.
    #[arg(long, env = "SNAPLEDGER_AUTH_JWT_KEYS", value_name = "FILE")]
    pub auth_jwt_keys: Option<PathBuf>,

    /// The issuer of accepted JWTs (iss).
    #[arg(long, env = "SNAPLEDGER_AUTH_JWT_ISSUER", value_name = "ISSUER")]
    pub auth_jwt_issuer: Option<String>,

    /// The audience of accepted JWTs (aud).
    #[arg(long, env = "SNAPLEDGER_AUTH_JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub auth_jwt_audience: Option<String>,

    /// The claim of a JWT that holds the role [default: snapledger_role].
    #[arg(long, env = "SNAPLEDGER_AUTH_JWT_ROLE_CLAIM", value_name = "CLAIM")]
    pub auth_jwt_role_claim: Option<String>,

    /// The longest time from the issue of a JWT (iat) to its end (exp) [default: 24h].
    #[arg(
        long,
        env = "SNAPLEDGER_AUTH_JWT_LIFETIME_MAX",
        value_name = "DURATION"
    )]
    pub auth_jwt_lifetime_max: Option<String>,

    /// The file of the audit trail [default: the log].
    #[arg(long, env = "SNAPLEDGER_AUTH_AUDIT_LOG", value_name = "FILE")]
    pub auth_audit_log: Option<PathBuf>,
}

impl AuthBlock {
    /// Checks the lifetime and the clients; `locate` adds the line to a fault.
    pub(super) fn check(
        &self,
        locate: impl Fn(&Spanned<String>, Fault) -> ConfigError,
    ) -> Result<(), ConfigError> {
        if let Some(text) = &self.jwt_lifetime_max {
            parse_duration(text.get_ref()).map_err(|fault| locate(text, fault))?;
        }
        for (index, client) in self.clients.iter().enumerate() {
            let name = client.name.get_ref();
            let before = &self.clients[..index];
            let is_twice = before.iter().any(|other| other.name.get_ref() == name);
            let checked = match is_twice {
                true => Err(format!(
                    "client {name:?} is named twice; give each its own block"
                )),
                false => check_grant(name, client.role, &client.accounts),
            };
            checked.map_err(|why| locate(&client.name, Fault::Client(why)))?;
        }
        Ok(())
    }
}

/// The settings of the node that hosts `me`, each from its option, then from the table; `None` without authentication.
///
/// # Errors
/// [`Fault::JwtIncomplete`], [`Fault::NoLogin`].
pub(super) fn settings(
    options: &AuthOptions,
    table: Option<&AuthBlock>,
    me: &ProcessId,
) -> Result<Option<AuthSettings>, ConfigError> {
    let absent = AuthBlock::default();
    let written = table.unwrap_or(&absent);
    let path = |option: &Option<PathBuf>, key: &Option<PathBuf>| {
        option
            .as_ref()
            .or(key.as_ref())
            .map(|path| of_process(path, me))
    };
    let text =
        |option: &Option<String>, key: &Option<String>| option.clone().or_else(|| key.clone());
    let jwt = (
        path(&options.auth_jwt_keys, &written.jwt_keys),
        text(&options.auth_jwt_issuer, &written.jwt_issuer),
        text(&options.auth_jwt_audience, &written.jwt_audience),
    );
    let role_claim = text(&options.auth_jwt_role_claim, &written.jwt_role_claim);
    let lifetime_max = match (&options.auth_jwt_lifetime_max, &written.jwt_lifetime_max) {
        (Some(text), _) => {
            let parsed = parse_duration(text);
            Some(parsed.map_err(|fault| fault.of("--auth-jwt-lifetime-max"))?)
        }
        (None, Some(text)) => Some(parse_duration(text.get_ref())?),
        (None, None) => None,
    };
    let jwt = match jwt {
        (Some(keys), Some(issuer), Some(audience)) => Some(JwtSettings {
            keys,
            issuer,
            audience,
            role_claim: role_claim.unwrap_or_else(|| ROLE_CLAIM.to_owned()),
            lifetime_max: lifetime_max.unwrap_or(LIFETIME_MAX),
        }),
        (None, None, None) if role_claim.is_none() && lifetime_max.is_none() => None,
        _ => return Err(Fault::JwtIncomplete.into()),
    };
    let clients = written.clients.iter().map(|client| CertifiedClient {
        name: client.name.get_ref().clone(),
        role: client.role,
        accounts: client.accounts.clone(),
    });
    let settings = AuthSettings {
        tokens: path(&options.auth_tokens, &written.tokens),
        jwt,
        clients: clients.collect(),
        audit_log: path(&options.auth_audit_log, &written.audit_log),
    };
    let has_login =
        settings.tokens.is_some() || settings.jwt.is_some() || !settings.clients.is_empty();
    match (has_login, table.is_some() || settings.audit_log.is_some()) {
        (true, _) => Ok(Some(settings)),
        (false, false) => Ok(None),
        (false, true) => Err(Fault::NoLogin.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &AuthOptions, table: &str) -> Result<Option<AuthSettings>, String> {
        let table: Option<AuthBlock> = match table {
            "" => None,
            text => Some(toml::from_str(text).map_err(|error| error.to_string())?),
        };
        let me = ProcessId::parse("n1").expect("an id");
        if let Some(table) = &table {
            table
                .check(|_, fault| fault.into())
                .map_err(|error| error.to_string())?;
        }
        settings(options, table.as_ref(), &me).map_err(|error| error.to_string())
    }

    #[test]
    fn options_come_before_the_table_and_a_table_without_a_way_in_is_refused() {
        assert_eq!(found(&AuthOptions::default(), ""), Ok(None));
        let options = AuthOptions {
            auth_tokens: Some("other.toml".into()),
            ..AuthOptions::default()
        };
        let table = "tokens = \"tokens.toml\"\naudit_log = \"audit/{id}.jsonl\"";
        let both = found(&options, table).expect("valid").expect("on");
        assert_eq!(both.tokens, Some("other.toml".into()));
        assert_eq!(both.audit_log, Some("audit/n1.jsonl".into()));
        let client = "[[client]]\nname = \"till 7\"\nrole = \"teller\"\naccounts = [\"branch-7/\"]";
        let client = found(&AuthOptions::default(), client)
            .expect("valid")
            .expect("on");
        assert_eq!(client.clients[0].accounts, ["branch-7/"]);
        for (table, why) in [
            ("audit_log = \"a\"", "no client could log in"),
            ("jwt_keys = \"k\"", "a key set, an issuer and an audience"),
            (
                "jwt_lifetime_max = \"1h\"",
                "a key set, an issuer and an audience",
            ),
            ("jwt_lifetime_max = \"1 hour\"", "is not a valid duration"),
            ("token = \"a\"", "unknown field"),
            (
                "[[client]]\nname = \"a\"\nrole = \"king\"",
                "unknown variant",
            ),
            (
                "[[client]]\nname = \"\"\nrole = \"teller\"",
                "is not a name",
            ),
        ] {
            let refused = found(&AuthOptions::default(), table).expect_err(table);
            assert!(refused.contains(why), "{refused}");
        }
        let twice = "[[client]]\nname = \"a\"\nrole = \"teller\"\n".repeat(2);
        let twice = found(&AuthOptions::default(), &twice).expect_err("twice");
        assert!(twice.contains("named twice"), "{twice}");
    }
}
