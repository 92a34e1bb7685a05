//! Requests that are denied because of their sender, whatever they ask for.

use axum::http::StatusCode;
use tonic::Code;

use super::verdict::Verdict;
use crate::access::LoginRefused;
use crate::access::caller::NotItsAccount;
use crate::access::role::Need;

/// Why a request is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// A browser sent it for a page of another origin.
    #[error(
        "the request comes from a web page of another origin ({0}), which may link to answers of this node, and neither \
         load nor change anything here; send it from a page of this node, or from a program"
    )]
    ForeignOrigin(String),
    /// The request names this node by a name that it does not have.
    #[error(
        "this node is not known as {0:?}; use its address, or add the name: hosts = [\"NAME\"] in the [api] table of \
         cluster.toml, or --api-hosts NAME"
    )]
    UnknownHost(String),
    /// It proves no name.
    #[error("{refused}")]
    Unauthenticated {
        refused: LoginRefused,
        /// The cluster.
        realm: String,
    },
    /// Its role does not allow the call.
    #[error("{name} is {capacity}, and this call needs the role {}", need.allowed().replace(", ", " or "))]
    Role {
        name: String,
        capacity: String,
        need: Need,
    },
    /// Its accounts are others.
    #[error(transparent)]
    Account(#[from] NotItsAccount),
}

impl Denied {
    /// The row of the table for this failure.
    pub(super) fn verdict(&self) -> Verdict {
        let (kind, http, grpc) = match self {
            Self::ForeignOrigin(_) => {
                let http = StatusCode::FORBIDDEN;
                ("foreign-origin", http, Code::PermissionDenied)
            }
            Self::UnknownHost(_) => {
                let http = StatusCode::MISDIRECTED_REQUEST;
                ("unknown-host", http, Code::InvalidArgument)
            }
            Self::Unauthenticated { .. } => {
                let http = StatusCode::UNAUTHORIZED;
                ("unauthenticated", http, Code::Unauthenticated)
            }
            Self::Role { .. } => {
                let http = StatusCode::FORBIDDEN;
                ("role-needed", http, Code::PermissionDenied)
            }
            Self::Account(_) => {
                let http = StatusCode::FORBIDDEN;
                ("not-your-account", http, Code::PermissionDenied)
            }
        };
        let grpc = Some(grpc);
        Verdict { kind, http, grpc }
    }

    /// The header `WWW-Authenticate` (RFC 6750 §3); `None` if no token would help.
    pub(super) fn challenge(&self) -> Option<String> {
        match self {
            Self::Unauthenticated { refused, realm } => {
                // What cannot stand between quotes is left out.
                let is_plain =
                    |letter: &char| matches!(letter, ' '..='~') && !"\"\\".contains(*letter);
                let plain = |text: &str| text.chars().filter(is_plain).collect::<String>();
                let error = match refused {
                    LoginRefused::Missing => String::new(),
                    LoginRefused::Malformed => ", error=\"invalid_request\"".to_owned(),
                    other => {
                        let why = plain(&other.to_string());
                        format!(", error=\"invalid_token\", error_description=\"{why}\"")
                    }
                };
                Some(format!("Bearer realm=\"{}\"{error}", plain(realm)))
            }
            Self::Role { need, .. } => {
                let roles = need.allowed().replace(',', "");
                Some(format!(
                    "Bearer error=\"insufficient_scope\", scope=\"{roles}\""
                ))
            }
            Self::ForeignOrigin(_) | Self::UnknownHost(_) | Self::Account(_) => None,
        }
    }
}
