//! The OpenAPI document is accurate: each of its examples is sent and answered as described, and its methods are those
//! of the router. Without this a newcomer's first request could fail.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::contract::{check, fit, judge, resolve, step};
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, request};

/// Values that examples cannot know before the cluster exists.
#[derive(Default)]
struct Asked {
    /// An instant in the life of this cluster.
    at: String,
    /// A cut from one of its answers.
    cut: String,
}

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    at: String,
}

fn document() -> &'static Value {
    snapledger::api::rest::document()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

// In an order in which each finds what earlier ones have created.
fn operations() -> Vec<Operation> {
    let mut operations: Vec<_> = fields(&document()["paths"])
        .flat_map(|(path, methods)| {
            fields(methods).map(move |(method, _)| Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                at: format!("/paths/{}/{method}", step(path)),
            })
        })
        .collect();
    operations.sort_by_key(|one| {
        let methods = ["POST", "PUT", "GET", "DELETE"];
        let rank = methods.iter().position(|method| *method == one.method);
        (rank, one.path == "/v1/snapshots")
    });
    operations
}

impl Operation {
    fn value(&self) -> &'static Value {
        resolve(&self.at).1
    }

    fn parameters(&self) -> Vec<&'static Value> {
        let given = self.value()["parameters"].as_array().map_or(0, Vec::len);
        (0..given)
            .map(|index| resolve(&format!("{}/parameters/{index}", self.at)).1)
            .collect()
    }

    // The path with its examples filled in.
    fn filled(&self) -> String {
        let parameters = self.parameters();
        let segments = self.path.split('/').map(|segment| {
            let Some(name) = segment.strip_prefix('{') else {
                return segment.to_owned();
            };
            let name = name.trim_end_matches('}');
            let found = parameters.iter().find(|one| one["name"] == *name);
            let example = found.and_then(|one| one["example"].as_str());
            let example = example.unwrap_or_else(|| {
                unreachable!("{}: {name} is not described with an example", self.path)
            });
            example.to_owned()
        });
        segments.collect::<Vec<_>>().join("/")
    }

    // No parameter, and each parameter alone, since some exclude each other.
    fn queries(&self, asked: &Asked) -> Vec<String> {
        let parameters = self.parameters();
        let in_query = parameters.iter().filter(|one| one["in"] == "query");
        let tried = in_query.filter_map(|one| {
            let name = one["name"].as_str()?;
            let example = match (&one["example"], name) {
                (Value::Null, _) => return None,
                (_, "at") => asked.at.clone(),
                (_, "cut") => asked.cut.clone(),
                (Value::String(text), _) => text.clone(),
                (other, _) => other.to_string(),
            };
            let query = format!("?{name}={example}");
            Some((one["required"] == true, query))
        });
        let (required, optional): (Vec<_>, Vec<_>) = tried.partition(|(required, _)| *required);
        let base = required.first().map_or("", |(_, query)| query);
        assert!(
            required.len() < 2,
            "{}: say here how to send two",
            self.path
        );
        let optional = optional.iter().map(|(_, query)| match base {
            "" => query.clone(),
            base => format!("{base}&{}", query.trim_start_matches('?')),
        });
        [base.to_owned()].into_iter().chain(optional).collect()
    }

    fn bodies(&self) -> Vec<Option<&'static Value>> {
        let described = &self.value()["requestBody"];
        if described.is_null() {
            return vec![None];
        }
        let content = &described["content"]["application/json"];
        let several = fields(&content["examples"]).map(|(_, example)| &example["value"]);
        let one = Some(&content["example"]).filter(|example| !example.is_null());
        let bodies: Vec<_> = several.chain(one).collect();
        assert!(!bodies.is_empty(), "{}: the body has no example", self.path);
        let schema = format!("{}/requestBody/content/application~1json/schema", self.at);
        for body in &bodies {
            fit(&schema, body).unwrap_or_else(|why| unreachable!("{}: {why}", self.path));
        }
        let without = (described["required"] != true).then_some(None);
        bodies.into_iter().map(Some).chain(without).collect()
    }

    // The formats of a successful answer, each with the pointer to its description.
    fn formats(&self) -> BTreeSet<String> {
        let good = fields(&self.value()["responses"]).filter(|(status, _)| status.starts_with('2'));
        let contents = good.flat_map(|(status, _)| {
            let (_, answer) = resolve(&format!("{}/responses/{status}", self.at));
            fields(&answer["content"]).map(|(media_type, _)| media_type.clone())
        });
        contents.collect()
    }

    // The body of a stream that does not end cannot be read whole; `node_events` reads it.
    fn method_of_example(&self) -> &str {
        match &*self.path {
            "/v1/events" => "HEAD",
            _ => &self.method,
        }
    }

    async fn send(&self, rest: &Rest, asked: &Asked) -> usize {
        let mut sent = 0;
        let formats = self.formats();
        // A single format is the default; of several, each is requested.
        let accepts: Vec<_> = match formats.len() {
            0 => vec![None],
            _ if self.path.ends_with("/{file}") => vec![None],
            _ => formats.iter().map(Some).collect(),
        };
        for (query, body) in self.queries(asked).iter().flat_map(|query| {
            let bodies = self.bodies();
            bodies.into_iter().map(move |body| (query, body))
        }) {
            for accept in &accepts {
                let mut headers = vec![];
                headers.extend(accept.map(|accept| ("accept", accept.as_str())));
                headers.extend(body.map(|_| ("content-type", "application/json")));
                let uri = format!("{}{query}", self.filled());
                let text = body.map(Value::to_string).unwrap_or_default();
                let method = self.method_of_example();
                let answer = rest.send(request(method, &uri, &headers, text)).await;
                let shown = format!("{} {uri} {body:?}: {answer:?}", self.method);
                assert!((200..300).contains(&answer.status), "{shown}");
                if let Some(accept) = accept {
                    assert!(
                        answer.header("content-type").starts_with(&**accept),
                        "{shown}"
                    );
                }
                sent += 1;
            }
        }
        sent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_is_answered_as_described() {
    let mut cluster = Cluster::up(&["n1", "n2", "n3"]).await;
    let rest = cluster.rest("n1");
    let (mut sent, mut asked) = (0, Asked::default());
    for operation in operations() {
        if asked.at.is_empty() && operation.method != "POST" {
            cluster.rest("n2").balance_is("bob", 250).await;
            for id in ["first", "second"] {
                rest.snapshot(id, "complete").await;
            }
            let audit = rest.read("/v1/audit").await;
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            asked.at = text(&audit["at"]);
            asked.cut = text(&audit["cut"]["token"]);
        }
        sent += operation.send(&rest, &asked).await;
    }
    assert!(sent >= operations().len(), "{sent} were sent");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_methods_of_every_route_are_described() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    for (path, methods) in fields(&document()["paths"]) {
        let described: BTreeSet<String> = fields(methods)
            .map(|(method, _)| method.to_uppercase())
            .collect();
        let operation = operations().into_iter().find(|one| one.path == *path);
        let uri = operation.expect("it has a method").filled();
        let refused = rest.send(request("PURGE", &uri, &[], String::new())).await;
        assert_eq!(
            refused.problem(),
            "method-not-allowed",
            "{uri}: {refused:?}"
        );
        let allowed = refused.header("allow").split(',').map(str::trim);
        let allowed: BTreeSet<String> = allowed
            .filter(|method| *method != "HEAD")
            .map(str::to_owned)
            .collect();
        assert_eq!(
            allowed, described,
            "{path}: src/api/rest/openapi/ must have each of them"
        );
    }
    cluster.stop_all().await;
}

// The document cannot be tested for what it omits, but every answer in any test can.
#[test]
#[should_panic(expected = "GET /v1/left/out is not in src/api/rest/openapi/")]
fn an_answer_of_a_route_that_is_not_described_is_refused() {
    let answer = Answer {
        status: 200,
        headers: ureq::http::HeaderMap::new(),
        body: String::new(),
    };
    check("GET", "/v1/left/out?limit=1", &answer);
}

#[test]
fn operations_have_names_and_their_examples_of_answers_fit() {
    let mut names = BTreeSet::new();
    for operation in operations() {
        let value = operation.value();
        let name = value["operationId"].as_str().unwrap_or_default();
        assert!(
            !name.is_empty() && names.insert(name),
            "{}: {name:?}",
            operation.path
        );
        assert!(
            value["summary"].is_string() && value["tags"].is_array(),
            "{name}"
        );
        for (status, _) in fields(&value["responses"]) {
            let (at, answer) = resolve(&format!("{}/responses/{status}", operation.at));
            for (media_type, content) in fields(&answer["content"]) {
                let pointer = format!("{at}/content/{}", step(media_type));
                let several = fields(&content["examples"]).map(|(_, example)| &example["value"]);
                let one = Some(&content["example"]).filter(|example| !example.is_null());
                for example in several.chain(one) {
                    let text = example.as_str().map(str::to_owned);
                    let text = text.unwrap_or_else(|| example.to_string());
                    let fits = judge(&pointer, media_type, &text);
                    fits.unwrap_or_else(|why| unreachable!("{name} {status}: {why}"));
                }
            }
        }
    }
    // The judge itself must be able to refuse.
    let wrong = json!({"type": "x", "title": "", "status": 200, "detail": "d", "odd": 1});
    let refused = fit("/components/schemas/Problem", &wrong);
    let why = refused.expect_err("four things are wrong with it");
    let faults = why.lines().filter(|line| line.contains(": ")).count();
    assert!(faults >= 4, "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_to_try_it_is_whole_and_asks_nobody_else() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let rest = cluster.rest("n1");
    let page = rest.get("/docs").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    let named: Vec<&str> = page.body.split("=\"docs/").skip(1).collect();
    for rest_of_page in &named {
        let file = rest_of_page.split('"').next().expect("there is one");
        let got = rest.send(request(
            "HEAD",
            &format!("/docs/{file}"),
            &[],
            String::new(),
        ));
        assert_eq!(got.await.status, 200, "{file}");
    }
    assert!(named.len() >= 4, "{}", page.body);
    let initializer = rest.get("/docs/swagger-initializer.js").await.body;
    assert!(
        initializer.contains("\"url\": \"openapi.json\""),
        "{initializer}"
    );
    assert_eq!(rest.read("/openapi.json").await, *document());
    assert_eq!(
        rest.get("/docs/index.html").await.problem(),
        "unknown-route"
    );
    cluster.stop_all().await;
}
