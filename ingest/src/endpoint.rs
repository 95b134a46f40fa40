//! The handlers of one form. `submit` processes a submission from headers to receipt.

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
    http::{
        body,
        cors::CorsPolicy,
        negotiation::prefers_html,
        rate::{self, RateLimits},
        trace,
    },
    limits::Limits,
    metrics::{SubmissionCounters, SubmissionOutcome},
    openapi::paths::schema_path,
    page::FormPage,
    problem::{Problem, ProblemKind},
    submission::{
        fields::Fields,
        idempotency_key,
        media::{encoding::Encoding, urlencoded},
        response,
        sanitize::sanitize,
        sender::{Draft, Receipt, Sender},
    },
};

/// A form with everything that is derived from it once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    form: Arc<Form>,
    schema: Arc<str>,
    fields: Fields,
    rate_limits: RateLimits,
    cors: CorsPolicy,
    page: FormPage,
    counters: SubmissionCounters,
    limits: Limits,
    sender: Arc<Sender>,
}

/// The headers of a submission.
struct SubmissionHead {
    encoding: Encoding,
    key: Option<String>,
    trace_parent: Option<HeaderValue>,
}

/// The methods of a form's own path.
const FORM_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// The methods of a form's path under `/v1`.
const SUBMISSIONS_METHODS: &str = "POST, OPTIONS";

/// Maximum number of query parameters; if there are more, all are ignored.
const MAX_QUERY_PARAMETERS: usize = 16;

// === impl Endpoint ===

impl Endpoint {
    /// Prepares the handlers of a form.
    pub(crate) fn new(
        form: &Arc<Form>,
        counters: SubmissionCounters,
        limits: Limits,
        sender: Arc<Sender>,
    ) -> Arc<Self> {
        Arc::new(Self {
            schema: schema_path(&form.name).into(),
            fields: Fields::from_schema(form.schema.source()),
            rate_limits: RateLimits::new(form.rate_limit),
            cors: CorsPolicy::new(&form.origins),
            page: FormPage::new(form),
            form: Arc::clone(form),
            counters,
            limits,
            sender,
        })
    }

    /// The form's rate limits.
    pub(crate) fn rate_limits(&self) -> &RateLimits {
        &self.rate_limits
    }

    /// GET on the form's path: the form as an HTML page.
    pub(crate) async fn get(State(endpoint): State<Arc<Self>>) -> Response {
        endpoint.page.empty(&endpoint.fields)
    }

    /// OPTIONS on the form's path.
    pub(crate) async fn options(State(endpoint): State<Arc<Self>>, headers: HeaderMap) -> Response {
        endpoint.cors.preflight(&headers, FORM_METHODS)
    }

    /// OPTIONS on the form's path under `/v1`.
    pub(crate) async fn submissions_options(
        State(endpoint): State<Arc<Self>>,
        headers: HeaderMap,
    ) -> Response {
        endpoint.cors.preflight(&headers, SUBMISSIONS_METHODS)
    }

    /// POST: accepts one submission.
    pub(crate) async fn post(
        State(endpoint): State<Arc<Self>>,
        ConnectInfo(peer): ConnectInfo<SocketAddr>,
        request: Request,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let result = endpoint.submit(&parts, body, peer.ip()).await;
        if let Err(problem) = &result {
            endpoint.counters.count(outcome(problem.kind));
        }
        let mut response = result.into_response();
        let origin = parts.headers.get(header::ORIGIN).cloned();
        endpoint.cors.expose(origin, response.headers_mut());
        response
    }

    async fn submit(&self, parts: &Parts, body: Body, peer: IpAddr) -> Result<Response, Problem> {
        let head = self.head(&parts.headers, peer)?;
        let body = body::read(body, &self.limits).await?;
        let value = head.encoding.read(body, &self.fields, &self.limits).await?;
        if !prefers_html(&parts.headers) {
            let receipt = self.accept(value, head.key, head.trace_parent).await?;
            return Ok(response::accepted(&receipt));
        }
        let entered = value.clone();
        match self.accept(value, head.key, head.trace_parent).await {
            Ok(_) => Ok(self.page.confirmation(self.redirect(&parts.uri))),
            // The user gets the form again with the entered values.
            Err(problem) => Err(self.page.with_problem(&self.fields, &entered, problem)),
        }
    }

    /// Makes the checks that do not need the body.
    fn head(&self, headers: &HeaderMap, peer: IpAddr) -> Result<SubmissionHead, Problem> {
        self.cors.check(headers)?;
        self.rate_limits
            .check(rate::client(peer, headers, self.limits.proxies))?;
        Ok(SubmissionHead {
            encoding: Encoding::from_headers(headers)?,
            key: idempotency_key::from_headers(headers)?,
            trace_parent: trace::parent(headers),
        })
    }

    /// Validates a submission and stores it.
    async fn accept(
        &self,
        mut value: Value,
        key: Option<String>,
        trace_parent: Option<HeaderValue>,
    ) -> Result<Receipt, Problem> {
        if self.remove_honeypot(&mut value) {
            self.counters.count(SubmissionOutcome::Honeypot);
            let id = key.map_or_else(EventId::new, |key| EventId::keyed(&self.form.name, &key));
            return Ok(Receipt {
                id,
                received_at: Timestamp::now(),
                is_replay: false,
            });
        }
        self.validate(&mut value)?;
        let draft = Draft {
            form: Arc::clone(&self.form),
            schema: Arc::clone(&self.schema),
            subject: self.form.key.as_ref().and_then(|key| key.of(&value)),
            value: serde_json::to_vec(&value).expect("a JSON value always serializes"),
            trace_parent,
        };
        let receipt = self.sender.send(draft, key.as_deref()).await?;
        let outcome = if receipt.is_replay {
            SubmissionOutcome::Replayed
        } else {
            SubmissionOutcome::Accepted
        };
        self.counters.count(outcome);
        Ok(receipt)
    }

    /// Sanitizes the texts, then validates the value against the schema.
    fn validate(&self, value: &mut Value) -> Result<(), Problem> {
        let mut errors = sanitize(value, &self.form.sanitize);
        if errors.is_empty() && self.form.schema.is_valid(value) {
            return Ok(());
        }
        errors.extend(self.form.schema.violations(value));
        Err(Problem::invalid(errors))
    }

    /// Removes the honeypot field, which is not a part of the submission, and returns whether it
    /// was filled in. Users do not see this field, so only a robot fills it in.
    fn remove_honeypot(&self, value: &mut Value) -> bool {
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

    /// Where to redirect a browser: to the address in `?redirect=` if the form allows it, and
    /// otherwise to the form's first address. Redirecting to any other address would be an open
    /// redirect.
    fn redirect(&self, uri: &Uri) -> Option<&str> {
        let query = uri.query().unwrap_or_default().as_bytes();
        let requested = urlencoded::pairs(query, MAX_QUERY_PARAMETERS)
            .into_iter()
            .flatten()
            .find(|(name, _)| name == "redirect");
        let is_requested = |address: &&String| {
            requested
                .as_ref()
                .is_some_and(|(_, value)| value == *address)
        };
        let target = self
            .form
            .redirect
            .iter()
            .find(is_requested)
            .or(self.form.redirect.first());
        target.map(String::as_str)
    }
}

fn outcome(kind: ProblemKind) -> SubmissionOutcome {
    match kind {
        ProblemKind::RateLimited => SubmissionOutcome::Limited,
        ProblemKind::Overloaded | ProblemKind::Unavailable | ProblemKind::Internal => {
            SubmissionOutcome::Failed
        }
        _ => SubmissionOutcome::Refused,
    }
}
