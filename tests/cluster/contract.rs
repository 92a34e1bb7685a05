//! The OpenAPI document as the judge: every REST answer in any test must match it. Without this the document becomes
//! outdated.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::rest::Answer;

static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut document = snapledger::api::rest::document().clone();
    close(&mut document);
    document
});

static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

// Clients are told that fields may be added; an added field must be described.
fn close(value: &mut Value) {
    if value["type"] == "object" && value["properties"].is_object() {
        let object = value.as_object_mut().expect("it has a type");
        object
            .entry("additionalProperties")
            .or_insert(Value::Bool(false));
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(close),
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn validator(pointer: &str) -> Arc<Validator> {
    let mut known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = known.entry(pointer.to_owned()).or_insert_with(|| {
        let mut schema = resolve(pointer).1.clone();
        schema["components"] = CLOSED["components"].clone();
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        let built = options.should_validate_formats(true).build(&schema);
        Arc::new(built.unwrap_or_else(|why| unreachable!("{pointer}: {why}")))
    });
    made.clone()
}

/// The value at a JSON pointer of the document with references resolved, and its pointer.
pub(crate) fn resolve(pointer: &str) -> (String, &'static Value) {
    let found = CLOSED.pointer(pointer);
    let found = found.unwrap_or_else(|| unreachable!("nothing at {pointer}"));
    match found["$ref"].as_str() {
        Some(reference) => resolve(reference.trim_start_matches('#')),
        None => (pointer.to_owned(), found),
    }
}

/// A name as a step of a JSON pointer.
pub(crate) fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Whether a value matches the schema at a pointer.
pub(crate) fn fit(pointer: &str, value: &Value) -> Result<(), String> {
    let errors: Vec<_> = validator(pointer)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\nin {value:#}", errors.join("\n"))),
    }
}

/// The route of the document that matches a path.
fn route(path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.split('/').collect();
    let takes = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        let fits = |(wanted, given): (&&str, &&str)| match wanted.starts_with('{') {
            true => !given.is_empty(),
            false => wanted == given,
        };
        wanted.len() == segments.len() && wanted.iter().zip(&segments).all(fits)
    };
    let paths = CLOSED["paths"].as_object().expect("an object").keys();
    let fitting = paths.filter(|template| takes(template));
    let closest = fitting.min_by_key(|template| template.matches('{').count());
    closest.map(String::as_str)
}

/// Fails on an answer that the document does not describe.
pub(crate) fn check(method: &str, uri: &str, answer: &Answer) {
    let path = uri.split('?').next().unwrap_or(uri);
    let is_head = method == "HEAD";
    let method = if is_head { "get" } else { method };
    let operation = route(path).map(|template| {
        let operation = format!("/paths/{}/{}", step(template), method.to_lowercase());
        (template, operation)
    });
    let described = operation.filter(|(_, operation)| CLOSED.pointer(operation).is_some());
    let Some((template, operation)) = described else {
        // Every existing route must be described.
        assert!(
            !(200..300).contains(&answer.status),
            "{method} {path} is not in src/api/rest/openapi/: {answer:?}"
        );
        return;
    };
    let status = format!("{operation}/responses/{}", answer.status);
    let asked = format!("{method} {template}");
    assert!(
        CLOSED.pointer(&status).is_some(),
        "{asked} answers {}, which is not in src/api/rest/openapi/: {answer:?}",
        answer.status
    );
    let (at, described) = resolve(&status);
    check_headers(&at, described, answer);
    if described["content"].is_null() {
        assert_eq!(answer.body, "", "{asked} has no content: {answer:?}");
    }
    if is_head || described["content"].is_null() {
        return;
    }
    let content_type = answer.header("content-type");
    let media_type = content_type.split(';').next().unwrap_or("");
    if media_type.ends_with("json") {
        // A newline at the end keeps the next prompt on its own line.
        assert!(
            answer.body.is_empty() || answer.body.ends_with('\n'),
            "{asked}: {answer:?}"
        );
    }
    let content = format!("{at}/content/{}", step(media_type));
    assert!(
        CLOSED.pointer(&content).is_some(),
        "{asked}: {content_type:?}"
    );
    if let Err(why) = judge(&content, media_type, &answer.body) {
        unreachable!("{asked} answers what is not in src/api/rest/openapi/: {why}");
    }
}

/// Whether a body matches the content at a pointer: as a whole, or each of its lines, or the data of each event.
pub(crate) fn judge(content: &str, media_type: &str, body: &str) -> Result<(), String> {
    let described = resolve(content).1;
    let json = |text: &str| {
        let read = serde_json::from_str(text);
        read.unwrap_or_else(|why| unreachable!("{why}: {text} in {body}"))
    };
    if !described["schema"].is_null() {
        let whole = match media_type.ends_with("json") && media_type != "application/x-ndjson" {
            true => json(body),
            false => json!(body),
        };
        fit(&format!("{content}/schema"), &whole)?;
    }
    if !described["x-line"].is_null() {
        for line in body.lines() {
            fit(&format!("{content}/x-line"), &json(line))?;
        }
    }
    if described["x-events"].is_null() {
        return Ok(());
    }
    for event in body.split("\n\n").filter(|event| event.contains("event: ")) {
        let field = |name: &str| {
            let found = event.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| unreachable!("no {name} in {event}"))
        };
        let (name, data) = (step(field("event: ")), json(field("data: ")));
        fit(&format!("{content}/x-events/{name}"), &data)?;
    }
    Ok(())
}

fn check_headers(at: &str, described: &Value, answer: &Answer) {
    let headers = described["headers"].as_object();
    for name in headers.into_iter().flatten().map(|(name, _)| name) {
        let (at, header) = resolve(&format!("{at}/headers/{}", step(name)));
        let given = answer.header(name);
        if given.is_empty() {
            assert!(header["required"] != true, "{name} is missing: {answer:?}");
            continue;
        }
        let value = match header["schema"]["type"] == "integer" {
            true => given.parse::<u64>().map_or(Value::Null, Value::from),
            false => json!(given),
        };
        if let Err(why) = fit(&format!("{at}/schema"), &value) {
            unreachable!("{name}: {why}");
        }
    }
}
