//! The role that each operation needs, from the table of `access`.

use serde_json::{Map, Value, json};

use crate::access::role::{Need, Role};

/// Adds the roles, the ways to log in and the answers of a refusal to an operation.
pub(super) fn add(operation: &mut Value, need: Need) {
    if need == Need::Public {
        operation["x-role"] = json!(["anyone"]);
        operation["security"] = json!([]);
        return;
    }
    let roles: Vec<&str> = need.roles().iter().map(|role| role.as_str()).collect();
    let sentence = format!("Role: {}.", listed(need.roles()));
    let described = match operation["description"].as_str() {
        Some(text) => format!("{text} {sentence}"),
        None => sentence,
    };
    operation["description"] = described.into();
    operation["x-role"] = roles.into();
    operation["security"] = json!([{ "token": [] }, { "certificate": [] }]);
    let mut answers = Map::new();
    for (status, why) in [
        (
            "401",
            "A node with `[auth]`: there is no token, or it is unknown or expired.",
        ),
        (
            "403",
            "The request comes from a web page of another origin; or, with `[auth]`, another role is needed, or the \
                 token is bound to other accounts.",
        ),
    ] {
        let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        let content = json!({ "application/problem+json": schema });
        let answer = json!({
            "description": why,
            "headers": { "WWW-Authenticate": { "$ref": "#/components/headers/Challenge" } },
            "content": content,
        });
        answers.insert(status.to_owned(), answer);
    }
    super::merge(&mut operation["responses"], Value::Object(answers));
}

fn listed(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    match names.split_last() {
        Some((last, before @ [_, ..])) => format!("{} or {last}", before.join(", ")),
        _ => names.concat(),
    }
}
