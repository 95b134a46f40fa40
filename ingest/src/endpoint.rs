//! One form, ready to take submissions. `submit` is the path that every submission takes, from headers to receipt.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use formline_core::{EventId, app::Form};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    answer, body,
    definitions::schema_path,
    fields::Fields,
    keys,
    limits::Limits,
    media::{self, Media},
    metrics::{Outcome, Outcomes},
    negotiation::prefers_html,
    origins::Origins,
    page::Page,
    problem::{Kind, Problem},
    rate::{self, Rate},
    sanitize::sanitize,
    sender::{Draft, Receipt, Sender},
    trace,
};

/// A form and all that was worked out for it beforehand.
#[derive(Debug)]
pub(crate) struct Endpoint {
    form: Arc<Form>,
    schema: Arc<str>,
    fields: Fields,
    rate: Rate,
    origins: Origins,
    page: Page,
    outcomes: Outcomes,
    limits: Limits,
    sender: Arc<Sender>,
}

/// What the headers of a submission say.
struct Head {
    media: Media,
    key: Option<String>,
    trace_parent: Option<HeaderValue>,
}

/// Methods of a form's own path, and of its address below `/v1`.
const FORM_METHODS: &str = "GET, HEAD, POST, OPTIONS";
const SUBMISSIONS_METHODS: &str = "POST, OPTIONS";

// === impl Endpoint ===

impl Endpoint {
    /// Prepares a form.
    pub(crate) fn new(
        form: &Arc<Form>,
        outcomes: Outcomes,
        limits: Limits,
        sender: Arc<Sender>,
    ) -> Arc<Self> {
        Arc::new(Self {
            schema: schema_path(&form.name).into(),
            fields: Fields::of(form.schema.source()),
            rate: Rate::new(form.rate_limit),
            origins: Origins::new(&form.origins),
            page: Page::new(form),
            form: Arc::clone(form),
            outcomes,
            limits,
            sender,
        })
    }

    /// The form's rate limits.
    pub(crate) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// GET: the form as a page.
    pub(crate) async fn get(State(endpoint): State<Arc<Self>>) -> Response {
        endpoint.page.empty(&endpoint.fields)
    }

    /// OPTIONS on the form's path.
    pub(crate) async fn options(State(endpoint): State<Arc<Self>>, headers: HeaderMap) -> Response {
        endpoint.origins.preflight(&headers, FORM_METHODS)
    }

    /// OPTIONS on the form's address below `/v1`.
    pub(crate) async fn submissions_options(
        State(endpoint): State<Arc<Self>>,
        headers: HeaderMap,
    ) -> Response {
        endpoint.origins.preflight(&headers, SUBMISSIONS_METHODS)
    }

    /// POST: takes one submission.
    pub(crate) async fn post(
        State(endpoint): State<Arc<Self>>,
        ConnectInfo(peer): ConnectInfo<SocketAddr>,
        request: Request,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let answer = endpoint.submit(&parts, body, peer.ip()).await;
        if let Err(problem) = &answer {
            endpoint.outcomes.count(outcome(problem.kind));
        }
        let mut response = answer.into_response();
        let origin = parts.headers.get(header::ORIGIN).cloned();
        endpoint.origins.expose(origin, response.headers_mut());
        response
    }

    async fn submit(&self, parts: &Parts, body: Body, peer: IpAddr) -> Result<Response, Problem> {
        let head = self.head(&parts.headers, peer)?;
        let body = body::read(body, &self.limits).await?;
        let value = head.media.read(body, &self.fields, &self.limits).await?;
        if !prefers_html(&parts.headers) {
            let receipt = self.receive(value, head.key, head.trace_parent).await?;
            return Ok(answer::accepted(&receipt));
        }
        let entered = value.clone();
        match self.receive(value, head.key, head.trace_parent).await {
            Ok(_) => Ok(self.page.thanks(self.redirect(&parts.uri))),
            // The person gets the form back, with what was typed: nobody likes to write twice.
            Err(problem) => Err(self.page.again(&self.fields, &entered, problem)),
        }
    }

    /// Everything that can be refused without reading the body.
    fn head(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Head, Problem> {
        self.origins.check(headers)?;
        self.rate
            .check(rate::client(peer, headers, self.limits.proxies))?;
        Ok(Head {
            media: Media::of(headers)?,
            key: keys::of(headers)?,
            trace_parent: trace::parent(headers),
        })
    }

    /// Checks a submission and stores it.
    async fn receive(
        &self,
        mut value: Value,
        key: Option<String>,
        trace_parent: Option<HeaderValue>,
    ) -> Result<Receipt, Problem> {
        if self.is_by_robot(&mut value) {
            self.outcomes.count(Outcome::Honeypot);
            let id = key.map_or_else(EventId::new, |key| EventId::keyed(&self.form.name, &key));
            return Ok(Receipt {
                id,
                received_at: Timestamp::now(),
                is_replay: false,
            });
        }
        self.check(&mut value)?;
        let draft = Draft {
            form: Arc::clone(&self.form),
            schema: Arc::clone(&self.schema),
            subject: self.form.key.as_ref().and_then(|key| key.of(&value)),
            value: serde_json::to_vec(&value).expect("a json value is always json"),
            trace_parent,
        };
        let receipt = self.sender.send(draft, key.as_deref()).await?;
        let outcome = if receipt.is_replay {
            Outcome::Replayed
        } else {
            Outcome::Accepted
        };
        self.outcomes.count(outcome);
        Ok(receipt)
    }

    /// Cleans the texts, then holds the value against the schema.
    fn check(&self, value: &mut Value) -> Result<(), Problem> {
        let unclean = sanitize(value, &self.form.sanitize);
        if unclean.is_empty() && self.form.schema.is_valid(value) {
            return Ok(());
        }
        let mut errors = unclean;
        errors.extend(self.form.schema.violations(value));
        Err(Problem::invalid(errors))
    }

    /// Whether the field that people do not see was filled. It is no part of the submission and is taken out.
    fn is_by_robot(&self, value: &mut Value) -> bool {
        let Some(honeypot) = &self.form.honeypot else {
            return false;
        };
        let filled = value
            .as_object_mut()
            .and_then(|object| object.shift_remove(honeypot));
        match filled {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        }
    }

    /// Where a browser goes now: the address that `?redirect=` asks for if the form allows it, else the form's first.
    /// Any other address would make the form a springboard for phishing.
    fn redirect(&self, uri: &Uri) -> Option<&str> {
        let pairs = media::pairs(uri.query().unwrap_or_default().as_bytes(), QUERY);
        let asked = pairs
            .into_iter()
            .flatten()
            .find(|(name, _)| name == "redirect");
        let allowed =
            |address: &&String| asked.as_ref().is_some_and(|(_, value)| value == *address);
        let target = self
            .form
            .redirect
            .iter()
            .find(allowed)
            .or(self.form.redirect.first());
        target.map(String::as_str)
    }
}

/// Most parameters in an address; with more, none is regarded.
const QUERY: usize = 16;

fn outcome(kind: Kind) -> Outcome {
    match kind {
        Kind::RateLimited => Outcome::Limited,
        Kind::Overloaded | Kind::Unavailable | Kind::Internal => Outcome::Failed,
        _ => Outcome::Refused,
    }
}
