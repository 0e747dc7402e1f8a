//! Why something was not done, in words: the same value in an answer of its own, at the end of a long answer, and on the
//! command line. As JSON it is a problem document (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use axum::http::StatusCode;
use opendmp_engine::control::Refusal;
use opendmp_model::diagnostic::Diagnostics;
use opendmp_model::fault::{Fault, FaultKind};
use opendmp_ports::ErrorKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Its media type.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Why something asked for was not done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, thiserror::Error)]
pub struct Problem {
    /// Where more about this sort of problem can be read: nowhere yet, `code` tells them apart (RFC 9457, 4.2.1).
    #[serde(rename = "type", default = "no_page")]
    #[schema(example = "about:blank")]
    pub kind: Cow<'static, str>,
    /// What the HTTP status means.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What sort of problem, in kebab case.
    pub code: String,
    /// What is wrong: lower case, no full stop.
    #[serde(rename = "detail", alias = "message")]
    pub message: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// All that is wrong with a flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Diagnostics>,
    /// The request that it answers, by which the server's log tells of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

fn no_page() -> Cow<'static, str> {
    Cow::Borrowed("about:blank")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Problem {
    /// A problem with a status, a code and words.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        let known = StatusCode::from_u16(status).ok();
        Self {
            kind: no_page(),
            title: known.and_then(|status| status.canonical_reason()).unwrap_or_default().to_owned(),
            status,
            code: code.into(),
            message: message.into(),
            hint: None,
            diagnostics: None,
            request_id: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the id of the request that is being answered.
    pub(crate) fn of_present_request(self) -> Self {
        let request_id = self.request_id.or_else(|| crate::request::present().map(|id| id.to_string()));
        Self { request_id, ..self }
    }
}

/// What was refused, with another status than its kind says.
fn refused(status: u16, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Flow(diagnostics) => {
            let message = format!("the flow has {}", diagnostics.summary());
            Problem { diagnostics: Some(diagnostics), ..Problem::new(status, "bad-flow", message) }
        }
        Refusal::Fault(fault) => Problem { hint: fault.hint, ..Problem::new(status, fault.code, fault.message) },
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Refusal::Fault(fault).into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Flow(_) => 422,
            Refusal::Fault(fault) => match (fault.code.as_str(), fault.kind) {
                ("not-found", _) => 404,
                (_, FaultKind::Rejected) => 409,
                (_, FaultKind::Unavailable | FaultKind::NoSpace) => 503,
                _ => 500,
            },
        };
        refused(status, refusal)
    }
}

impl From<opendmp_ports::Error> for Problem {
    fn from(error: opendmp_ports::Error) -> Self {
        let status = match error.kind {
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict | ErrorKind::Newer => 409,
            ErrorKind::Invalid => 400,
            ErrorKind::Full | ErrorKind::Unavailable => 503,
            ErrorKind::Damaged => 500,
        };
        refused(status, Refusal::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_as_rfc_9457_has_them() {
        let problem = Problem::new(404, "not-found", "there is no run 9").with_hint("look");
        let json = serde_json::to_value(&problem).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "code": "not-found",
            "detail": "there is no run 9", "hint": "look",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap().message, problem.message);
        // All that a problem document must have is nothing, and a later server may name pages.
        let other = serde_json::json!({"type": "https://x/y", "status": 409, "code": "c", "detail": "d"});
        assert_eq!(serde_json::from_value::<Problem>(other).unwrap().status, 409);
    }
}
